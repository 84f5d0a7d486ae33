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
use crate::kinds::Kind;
use crate::network::{Network, NetworkConfig};
use crate::report;
use crate::run::atomic_file;
use crate::run::checkpoint::{Checkpoint, Counters, Snapshot};
use crate::run::folder::RunFolder;
use crate::sampling::Classes;
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
    kind.must_be_one_of(
        Kind::of_pixels(),
        format_args!("{} are", config.data.name()),
    )
    .context("name other data with --config or --set")?;
    let NetworkConfig::UNet(unet) = &config.network else {
        bail!(Usage(
            "network.kind: expected \"unet\", as the folder holds".to_owned()
        ));
    };
    check_classes(&config, args)?;
    let network = Network::UNet(pipeline.load_weights(unet, || {
        let mut rng = Streams::new(config.seed).at(Purpose::Weights, 0);
        unet.init(&device, &mut rng).map_err(Error::from)
    })?);

    // Only now that everything could be read.
    RunFolder::create_whole(&args.run, args.overwrite, |folder| {
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
        Ok(())
    })?;

    let run = args.run.display();
    report::tell(format!(
        "wrote {run}: {} parameters, {}",
        network.num_params(),
        match config.classes() {
            // As in our own networks, so that what was exported comes back.
            Some(Classes {
                count,
                has_null_label: true,
            }) => format!("{count} classes and one embedding for no class"),
            Some(Classes { count, .. }) => format!(
                "{count} classes (if the last is \"no class\", import it with --set \
                 conditioning.null_label=true)"
            ),
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
    let knows_classes = pipeline.network.num_class_embeds.is_some();
    config.network = NetworkConfig::UNet(pipeline.network.clone());
    config.conditioning.class_labels = knows_classes;
    if knows_classes {
        let has_null_label = told_null_label(&args.set).unwrap_or(pipeline.has_null_label);
        config.conditioning.null_label = has_null_label;
        if !has_null_label {
            config.conditioning.label_dropout = 0.0;
        }
    }
    // --config may be that of a network that can be guided.
    config.leave_idle_guidance_out();
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

/// Whether the overrides say that the network has a label for no class, if they say anything of it.
fn told_null_label(overrides: &[String]) -> Option<bool> {
    let told = |text: &String| {
        let (key, value) = text.split_once('=')?;
        (key.trim() == "conditioning.null_label").then(|| value.trim().parse().ok())?
    };
    overrides.iter().rev().find_map(told)
}

/// Refuses data that were named and have other classes than the network. Those of the defaults are only
/// where training further would start, which may never be asked for.
fn check_classes(config: &RunConfig, args: &ImportArgs) -> Result<()> {
    let Some(classes) = config.num_classes() else {
        return Ok(());
    };
    let of_the_data = match config.data.dataset {
        Some(dataset) => dataset.class_names().len(),
        None => config
            .data
            .kind()
            .load(&config.source(None))
            .context("cannot count the classes of the data")?
            .train
            .num_classes(),
    };
    if of_the_data == classes {
        return Ok(());
    }
    let message = format!(
        "the network knows {classes} classes, and {} has {of_the_data}: to train it further, name data \
         of the same classes, as in --set data.path=FOLDER",
        config.data.name()
    );
    let is_named = args.config.is_some()
        || args
            .set
            .iter()
            .any(|text| text.trim_start().starts_with("data."));
    if is_named {
        bail!(Usage(message));
    }
    warn!("{message}");
    Ok(())
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
