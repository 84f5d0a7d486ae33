//! What the commands that draw from a trained network begin with.

use anyhow::{Result, bail};
use denoising::SamplingOptions;

use crate::Usage;
use crate::cli::ModelArgs;
use crate::device;
use crate::run::checkpoint::Checkpoint;
use crate::sampling::{Model, settings};

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
        model: Model::load(&checkpoint, device.device)?,
        checkpoint,
        sampling,
        device_name: device.name,
    })
}

/// As [`open`], for a command that is for images alone.
pub(super) fn open_images(args: &ModelArgs) -> Result<Opened> {
    let opened = open(args)?;
    if opened.checkpoint.config().data.is_points() {
        bail!(Usage(format!(
            "{} draws points, and this is for images; `trainer sample` draws both",
            args.run.display()
        )));
    }
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
