//! What the commands that draw from a trained network begin with.

use anyhow::{Result, bail};
use burn::tensor::Device;
use denoising::{SamplerKind, SamplingOptions};

use crate::cli::{ModelArgs, SamplerArgs};
use crate::config::RunConfig;
use crate::device;
use crate::error::Usage;
use crate::network::initial_network;
use crate::run::checkpoint::Checkpoint;
use crate::sampling::Model;

/// A trained network that is ready to be drawn from as the command line says.
#[derive(Debug)]
pub(super) struct Opened {
    /// Where it was read from.
    pub(super) checkpoint: Checkpoint,
    /// The network.
    pub(super) model: Model,
    /// How to draw from it.
    pub(super) sampling: SamplingOptions,
    /// The name of the device.
    pub(super) device_name: String,
}

/// Reads the network that `args` name.
pub(super) fn open(args: &ModelArgs) -> Result<Opened> {
    at_least(&[("--batch-size", args.batch_size, 1)])?;
    let device = device::select(args.device.device.as_deref())?;
    let checkpoint = Checkpoint::open(&args.run, args.best)?;
    let sampling = settings(checkpoint.config(), &args.sampler)?;
    Ok(Opened {
        model: model(&checkpoint, device.device)?,
        checkpoint,
        sampling,
        device_name: device.name,
    })
}

/// As [`open`], for a command that is for images alone.
pub(super) fn open_images(args: &ModelArgs) -> Result<Opened> {
    let opened = open(args)?;
    let kind = opened.checkpoint.config().data.kind();
    kind.must_be_images(format_args!("what {} samples", args.run.display()))?;
    Ok(opened)
}

/// Refuses an option whose number is below the least that means something: (option, number, least).
pub(super) fn at_least(options: &[(&str, usize, usize)]) -> Result<()> {
    for (option, value, least) in options {
        if value < least {
            bail!(Usage(format!(
                "{option} is {value}, and must be at least {least}"
            )));
        }
    }
    Ok(())
}

/// The averaged network of `checkpoint`, on `device`.
pub(super) fn model(checkpoint: &Checkpoint, device: Device) -> Result<Model> {
    let config = checkpoint.config();
    let network = checkpoint.load_ema(initial_network(config, &device)?)?;
    let (noise, objective) = (&config.noise, &config.objective);
    Model::new(network, noise, objective, config.null_label(), device)
}

/// A run's settings for sampling, with what the command line says in their place.
fn settings(config: &RunConfig, args: &SamplerArgs) -> Result<SamplingOptions> {
    let mut overrides = Vec::new();
    overrides.extend(args.sampler.map(|kind| format!("sampling.sampler={kind}")));
    let steps = match (args.steps, args.sampler) {
        // Ancestral sampling is made for every step of the chain.
        (None, Some(SamplerKind::Ddpm)) => Some(config.noise.num_train_timesteps),
        (steps, _) => steps,
    };
    overrides.extend(steps.map(|n| format!("sampling.num_inference_steps={n}")));
    overrides.extend(
        args.spacing
            .as_ref()
            .map(|spacing| format!("sampling.timestep_spacing={spacing}")),
    );
    overrides.extend(args.eta.map(|eta| format!("sampling.eta={eta:?}")));
    overrides.extend(
        args.guidance
            .map(|s| format!("sampling.guidance_scale={s:?}")),
    );
    for text in &args.set {
        if !text.trim_start().starts_with("sampling.") {
            return Err(Usage(format!(
                "--set {text}: a trained network is what it is; only keys of [sampling] can be set, \
                 as in sampling.clipping.kind=none"
            ))
            .into());
        }
        overrides.push(text.clone());
    }
    Ok(config.overridden(&overrides)?.sampling.options)
}
