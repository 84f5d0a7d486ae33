//! A trained network, and how it is sampled from.

use std::path::PathBuf;

use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use denoising::{SamplerKind, TimestepSpacing};
use training::Precision;

use super::DevicesArgs;
use super::values::finite;

/// How noise is turned into images; what is not given is as in the run's configuration.
#[derive(Debug, Args)]
#[command(next_help_heading = "Sampling")]
pub struct SamplerArgs {
    /// How noise is turned into an image.
    #[arg(long, value_parser = samplers())]
    pub sampler: Option<SamplerKind>,
    /// Denoising steps [default: for ddpm all of the chain's, else as in the run's configuration].
    #[arg(long, value_name = "N")]
    pub steps: Option<usize>,
    /// Which timesteps they visit.
    #[arg(long, value_parser = spacings())]
    pub spacing: Option<TimestepSpacing>,
    /// Share of fresh noise in DDIM's steps, from 0 to 1.
    #[arg(long, value_parser = finite)]
    pub eta: Option<f64>,
    /// Strength of guidance towards the class, 1 being none.
    #[arg(long, value_name = "SCALE", value_parser = finite)]
    pub guidance: Option<f64>,
    /// Override a key of the run's `[sampling]` table, as in sampling.clipping.kind=none. May be given again.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// The names of the samplers; those that other programs have for them are read too.
fn samplers() -> impl TypedValueParser<Value = SamplerKind> {
    let value = |kind: &SamplerKind| {
        PossibleValue::new(kind.name())
            .aliases(kind.aliases())
            .help(kind.summary())
    };
    PossibleValuesParser::new(SamplerKind::ALL.iter().map(value)).try_map(|name| name.parse())
}

/// The names of the timestep spacings.
fn spacings() -> impl TypedValueParser<Value = TimestepSpacing> {
    let value =
        |spacing: &TimestepSpacing| PossibleValue::new(spacing.name()).help(spacing.summary());
    PossibleValuesParser::new(TimestepSpacing::ALL.iter().map(value)).try_map(|name| name.parse())
}

/// The names of the precisions.
fn precisions() -> impl TypedValueParser<Value = Precision> {
    PossibleValuesParser::new(Precision::ALL.map(Precision::name)).try_map(|name| name.parse())
}

/// A trained network, and how it is sampled from.
#[derive(Debug, Args)]
pub struct ModelArgs {
    /// Folder of a run, or of one of its checkpoints.
    pub run: PathBuf,
    /// Take not the newest checkpoint but the best: of the lowest FID, where [evaluation] measured it, else
    /// of the lowest held-out loss.
    #[arg(long)]
    pub best: bool,
    /// Seed of the noise.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// How noise is turned into images.
    #[command(flatten)]
    pub sampler: SamplerArgs,
    /// Images that go through the network at once; it changes the speed, not the images.
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub batch_size: usize,
    /// What the network computes in: for images and sounds, on a device that has it.
    #[arg(long, value_parser = precisions(), default_value_t)]
    pub precision: Precision,
    /// Where to compute.
    #[command(flatten)]
    pub devices: DevicesArgs,
}
