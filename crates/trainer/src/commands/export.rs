//! `trainer export`: a run's averaged network and its chain as a folder of Hugging Face diffusers.

use std::fs;
use std::io;
use std::path::Path;

use anyhow::{Context, Result, bail};
use denoising::TimestepSpacing;
use tracing::warn;
use unet::UNet;

use crate::cli::ExportArgs;
use crate::commands::opened::{exists, open_model};
use crate::config::RunConfig;
use crate::device;
use crate::diffusers;
use crate::error::Usage;
use crate::network::Network;
use crate::report;
use crate::run::atomic_file;
use crate::sampling::parse_classes;

/// Writes the folder.
pub fn run(args: &ExportArgs) -> Result<()> {
    finish_replacing(&args.out)?;
    check_place(&args.out, args.overwrite)?;
    let device = device::select(None)?;
    exists(&args.run)?;
    let (checkpoint, model) = open_model(&args.run, args.best, &device.device)?;
    let config = checkpoint.config();
    let class = class(args, config)?;
    let Network::UNet(unet) = model.network else {
        bail!(Usage(format!(
            "{} draws points by a network that diffusers does not have: only networks for images can be \
             exported",
            args.run.display()
        )));
    };
    if let spacing @ (TimestepSpacing::Karras | TimestepSpacing::LogLinear) =
        config.sampling.options.timestep_spacing
    {
        warn!("diffusers' DDPM has no {spacing:?} timesteps: they are written as trailing");
    }
    let unet = match class {
        Some(class) => unet.for_class(class),
        None => unet,
    };
    write(&args.out, &unet, config)
        .with_context(|| format!("cannot export into {}", args.out.display()))?;
    report::tell(format!(
        "wrote {} from {}",
        args.out.display(),
        checkpoint.folder().display()
    ));
    report::json(&serde_json::json!({ "wrote": args.out, "checkpoint": checkpoint.folder() }))?;
    let classes = unet.config().num_class_embeds;
    report::tell(format!(
        "open it in Python with: {}",
        match classes {
            None => format!("diffusers.DDPMPipeline.from_pretrained({:?})", args.out),
            // The pipeline would call the network without a class.
            Some(_) => format!(
                "diffusers.UNet2DModel.from_pretrained({:?}, subfolder=\"unet\")",
                args.out
            ),
        }
    ));
    Ok(())
}

/// The class embedding that is folded into the network, if one is.
fn class(args: &ExportArgs, config: &RunConfig) -> Result<Option<usize>> {
    match (&args.class, args.unconditional, config.classes()) {
        (None, false, _) => Ok(None),
        (_, _, None) => bail!(Usage(
            "--class and --unconditional: the network of this run knows no classes \
             (conditioning.class_labels = false); leave them out"
                .to_owned()
        )),
        (Some(text), _, classes) => {
            match parse_classes(text, classes, &config.found.class_names)?[..] {
                [Some(class)] => Ok(Some(class)),
                _ => bail!(Usage(format!(
                    "--class {text:?}: expected one class; --unconditional is for no class"
                ))),
            }
        }
        (None, true, Some(classes)) if classes.has_null_label => Ok(Some(classes.count)),
        (None, true, _) => bail!(Usage(
            "--unconditional: the network of this run has no label for \"no class\" \
             (conditioning.null_label = false)"
                .to_owned()
        )),
    }
}

/// Ends what a kill left that came while an older folder was replaced: it goes back, or is removed where the new
/// one has taken its place.
fn finish_replacing(out: &Path) -> Result<()> {
    let left = atomic_file::recover_folder(out)
        .with_context(|| format!("cannot put the older folder {} back", out.display()))?;
    left.map_or(Ok(()), |left| {
        fs::remove_dir_all(&left).with_context(|| format!("cannot remove {}", left.display()))
    })
}

/// Refuses a place that holds anything but, with `overwrite`, an exported folder.
fn check_place(out: &Path, overwrite: bool) -> Result<()> {
    let is_empty = match fs::read_dir(out) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => true,
        Err(error) => return Err(error).with_context(|| format!("cannot use {}", out.display())),
    };
    match (is_empty, diffusers::is_pipeline(out), overwrite) {
        (true, ..) | (_, true, true) => Ok(()),
        (_, true, false) => bail!(Usage(format!(
            "{} holds a pipeline already: choose another folder, or replace it with \
             --overwrite",
            out.display()
        ))),
        (_, false, _) => bail!(Usage(format!(
            "{} is not empty and no pipeline that was exported: choose another folder",
            out.display()
        ))),
    }
}

/// Writes the folder under a temporary name and puts it in the place of what is at `out`.
fn write(out: &Path, unet: &UNet, config: &RunConfig) -> Result<()> {
    let parent = atomic_file::parent_of(out);
    fs::create_dir_all(parent)?;
    atomic_file::sweep(parent);
    let unfinished = atomic_file::temporary_sibling(out);
    let result = diffusers::write(&unfinished, unet, config)
        .map_err(anyhow::Error::from)
        .and_then(|()| Ok(atomic_file::replace_folder(&unfinished, out)?));
    if result.is_err() {
        // The first error is the one to tell; a folder that was never made cannot be removed.
        let _ = fs::remove_dir_all(&unfinished);
    }
    result?;
    Ok(atomic_file::sync_folder(parent)?)
}
