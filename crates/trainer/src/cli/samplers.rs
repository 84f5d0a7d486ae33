//! `trainer samplers`.

use std::path::PathBuf;

use clap::Args;

use super::ModelArgs;
use super::values::picture;

/// `trainer samplers`
#[derive(Debug, Args)]
pub struct SamplersArgs {
    /// The network, and how it is sampled from.
    #[command(flatten)]
    pub model: ModelArgs,
    /// Print how far each sampler's images are from those of DDPM over every step, for these numbers of
    /// network calls, with commas between them; else draw a row of images a sampler.
    #[arg(
        long,
        value_name = "CALLS",
        value_delimiter = ',',
        conflicts_with = "steps"
    )]
    pub calls: Vec<usize>,
    /// Number of images of each sampler.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10)]
    pub count: usize,
    /// The picture [default: samplers.png in the folder of the run].
    #[arg(short, long, value_name = "PICTURE", value_parser = picture(), conflicts_with = "calls")]
    pub out: Option<PathBuf>,
}
