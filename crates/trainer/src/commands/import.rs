//! `trainer import`: a folder of Hugging Face diffusers as a run, to sample from and to go on with.

use std::path::Path;

use anyhow::{Context, Error, Result, bail};
use burn::module::Module;
use tracing::warn;
use unet::UNetConfig;

use crate::cli::ImportArgs;
use crate::config::{NamedConfig, RunConfig};
use crate::device;
use crate::diffusers::PipelineFolder;
use crate::error::Usage;
use crate::invocation::hint;
use crate::network::Network;
use crate::report;
use crate::run::atomic_file;
use crate::run::checkpoint::{Checkpoint, Counters, Snapshot};
use crate::run::folder::RunFolder;
use training::AdamW;
use training::Ema;
use training::flatten;
use training::{Purpose, Streams};

/// Makes the run.
pub fn run(args: &ImportArgs) -> Result<()> {
    let device = device::select(None)?.device.autodiff();
    let pipeline = PipelineFolder::open(&args.folder)?;
    let config = run_config(&pipeline, args)?;
    let kind = config.data.kind();
    kind.must_be_images(config.data.name())
        .context("name other data with --config or --set")?;
    let network = Network::UNet(pipeline.load_weights(&config.network, || {
        let mut rng = Streams::new(config.seed).at(Purpose::Weights, 0);
        config.network.init(&device, &mut rng).map_err(Error::from)
    })?);

    // Only now that everything could be read.
    let folder = RunFolder::create(&args.run, args.overwrite)?;
    atomic_file::write(&folder.config(), config.to_toml()?.as_bytes())
        .with_context(|| format!("cannot write {}", folder.config().display()))?;
    Checkpoint::write(
        &folder.checkpoints(),
        &Snapshot {
            config: &config,
            network: &network,
            ema: &Ema::new(flatten(&network), 0, config.ema.decay),
            optimizer: &AdamW::new(config.optimizer.clone()),
            counters: &Counters::default(),
        },
    )
    .context("cannot write the checkpoint of the run")?;

    let run = args.run.display();
    report::tell(format!(
        "wrote {run}: {} parameters, {}",
        network.num_params(),
        match config.null_label() {
            // As in our own networks, so that what was exported comes back.
            Some(classes) => format!("{classes} classes and one embedding for no class"),
            None => "no classes".to_owned(),
        }
    ));
    report::json(&serde_json::json!({ "wrote": args.run, "parameters": network.num_params() }))?;
    report::tell(format!(
        "sample from it with: {}\ntrain it further on {} with: {}",
        hint(&format!("sample {run}")),
        config.data.name(),
        hint(&format!("train --resume {run}"))
    ));
    Ok(())
}

/// What the folder says, and where it says nothing what --config says, or else a default; then the
/// overrides of the command line.
fn run_config(pipeline: &PipelineFolder, args: &ImportArgs) -> Result<RunConfig> {
    let mut config = match &args.config {
        Some(path) => NamedConfig::find(Some(path))?.load(&[])?,
        None => default_config(&pipeline.network)?,
    };
    config.network = pipeline.network.clone();
    config.conditioning.class_labels = config.network.num_class_embeds.is_some();
    config.found.class_names = pipeline.class_names.clone();
    match &pipeline.scheduler {
        Some(scheduler) => {
            config.noise = scheduler.noise.clone();
            config.objective.prediction_type = scheduler.prediction_type;
            config.sampling.options.timestep_spacing = scheduler.timestep_spacing;
            config.sampling.options.clipping = scheduler.clipping;
            config.sampling.options.ddpm_variance = scheduler.variance;
            for difference in &scheduler.differences {
                warn!("{difference}: our samplers do it their own way");
            }
        }
        None if args.config.is_none() => bail!(Usage(format!(
            "{} holds no scheduler/scheduler_config.json: name a configuration with --config, whose \
             [noise], [objective] and [sampling] are those that the network was trained for",
            args.folder.display()
        ))),
        None => {}
    }
    let steps = &mut config.sampling.options.num_inference_steps;
    *steps = (*steps).min(config.noise.num_train_timesteps);
    config
        .overridden(&args.set)
        .with_context(|| format!("cannot make a run of {}", args.folder.display()))
}

/// The defaults, with a data set of as many channels and a budget.
fn default_config(network: &UNetConfig) -> Result<RunConfig> {
    let dataset = if network.in_channels == 1 {
        "mnist"
    } else {
        "cifar10"
    };
    let text = format!("[data]\ndataset = \"{dataset}\"\n[training]\nminutes = 10.0\n");
    Ok(RunConfig::parse(&text, Path::new("the defaults"), &[])?)
}
