//! `trainer train`: from a configuration, or from the checkpoint of a run, to a trained network.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};
use datasets::Splits;
use tracing::{info, warn};
use training::Data as _;

use crate::cli::{BudgetArgs, TrainArgs};
use crate::config::{ConfigError, NamedConfig, RunConfig};
use crate::device;
use crate::error::{INTERRUPTED, Usage};
use crate::invocation::hint;
use crate::kinds::{self, DataConfig, Dataset, Fitted};
use crate::report;
use crate::run::atomic_file;
use crate::run::checkpoint::Checkpoint;
use crate::run::folder::RunFolder;
use crate::training_loop::{Ending, Training};

/// Trains; returns the exit code.
pub fn run(args: &TrainArgs) -> Result<u8> {
    let device = device::select(args.device.device.as_deref())?;
    let resumed = args
        .resume
        .as_deref()
        .map(|run| Checkpoint::open(run, false))
        .transpose()?;
    let (config, out) = match (&resumed, &args.resume) {
        (Some(checkpoint), Some(run)) => (resumed_config(checkpoint, args)?, run.clone()),
        _ => new_config(args)?,
    };
    let kind = config.data.kind();
    let splits = kind.load(&config.source(args.data_dir.as_deref()))?;
    let config = fit(config, &splits)?;
    let examples = splits.train.len();
    let how = if splits.train.is_streamed() {
        " (too many for data.cache_mib: read anew each time)"
    } else {
        ""
    };

    let folder = match &resumed {
        Some(_) => RunFolder::open(&out)?,
        None => RunFolder::create(&out, args.overwrite)?,
    };
    atomic_file::write(&folder.config(), config.to_toml()?.as_bytes())
        .with_context(|| format!("cannot write {}", folder.config().display()))?;
    let mut training = Training::new(&config, &folder, splits, &device.device, resumed.as_ref())?;
    info!(
        "{} {} on {}: {examples} training {kind}{how}, {} parameters, device {}",
        if resumed.is_some() {
            "going on with"
        } else {
            "training"
        },
        out.display(),
        config.data.name(),
        training.num_params(),
        device.name
    );

    let stop = stop_on_signal()?;
    match training.run(&device.name, &stop)? {
        Ending::Finished => {
            report::tell(format!(
                "sample from it with: {}",
                hint(&format!("sample {}", out.display()))
            ));
            Ok(0)
        }
        Ending::Interrupted => {
            report::tell(format!(
                "stopped and saved; go on with: {}",
                hint(&format!("train --resume {}", out.display()))
            ));
            Ok(INTERRUPTED)
        }
    }
}

/// The configuration of a new run, and its folder.
fn new_config(args: &TrainArgs) -> Result<(RunConfig, PathBuf)> {
    let named = NamedConfig::find(args.config())?;
    let overrides = [budget_overrides(&args.budget), args.set.clone()].concat();
    let config = named.load(&overrides)?;
    let config = with_budget(config, &args.budget);
    let out = args
        .out
        .clone()
        .unwrap_or_else(|| Path::new("runs").join(&named.name));
    Ok((config, out))
}

/// The configuration of a resumed run: what decides which numbers are learned stays as it was.
fn resumed_config(checkpoint: &Checkpoint, args: &TrainArgs) -> Result<RunConfig> {
    let mut saved = checkpoint.config().clone();
    if let Some(why) = saved.leave_idle_guidance_out() {
        warn!("the guidance that the run was saved with is left out of its grids: {why}");
    }
    let overrides = [budget_overrides(&args.budget), args.set.clone()].concat();
    let config = with_budget(saved.overridden(&overrides)?, &args.budget);
    let fixed = [
        ("seed", config.seed == saved.seed),
        ("data", same_data(&config.data, &saved.data)),
        ("noise", config.noise == saved.noise),
        ("network", config.network == saved.network),
        ("conditioning", config.conditioning == saved.conditioning),
        ("objective", config.objective == saved.objective),
    ];
    for (key, unchanged) in fixed {
        if !unchanged {
            bail!(Usage(format!(
                "{key} cannot change when a run goes on: start a new run for it"
            )));
        }
    }
    let training = &config.training;
    let counters = checkpoint.counters();
    let used_up = training.steps.is_some_and(|steps| counters.step >= steps)
        || training
            .minutes
            .is_some_and(|minutes| counters.seconds >= 60.0 * minutes);
    if used_up {
        bail!(Usage(format!(
            "the budget of the run is used up (step {}, {:.1} minutes): give a larger one in all, \
             as in --steps {} or --minutes {:.0}",
            counters.step,
            counters.seconds / 60.0,
            counters.step * 2,
            (counters.seconds / 60.0).ceil() * 2.0
        )));
    }
    Ok(config)
}

/// The budget of the command line as overrides, for their checks and messages.
fn budget_overrides(budget: &BudgetArgs) -> Vec<String> {
    let steps = budget.steps.map(|n| format!("training.steps={n}"));
    let epochs = budget.epochs.map(|n| format!("training.epochs={n:?}"));
    let minutes = budget.minutes.map(|n| format!("training.minutes={n:?}"));
    [steps, epochs, minutes].into_iter().flatten().collect()
}

/// A budget of the command line is the only one.
fn with_budget(mut config: RunConfig, budget: &BudgetArgs) -> RunConfig {
    if budget.steps.is_some() || budget.epochs.is_some() || budget.minutes.is_some() {
        config.training.steps = budget.steps;
        config.training.epochs = budget.epochs;
        config.training.minutes = budget.minutes;
    }
    config
}

/// Whether two configurations train on the same images. Where they lie and how many are held in memory
/// may change; that they are the same is seen by their fingerprint.
fn same_data(a: &DataConfig, b: &DataConfig) -> bool {
    let moved = DataConfig {
        path: b.path.clone(),
        cache_mib: b.cache_mib,
        ..a.clone()
    };
    moved == *b && a.path.is_some() == b.path.is_some()
}

/// Keeps in the configuration what was found in the data, and fits the network to it.
fn fit(mut config: RunConfig, splits: &Splits<Dataset>) -> Result<RunConfig> {
    config.found = kinds::found(splits);
    let kind = config.data.kind();
    let fitted = Fitted {
        name: config.data.name(),
        conditioning: &config.conditioning,
        network: &mut config.network,
    };
    kind.fit(fitted, splits)
        .map_err(|(key, message)| ConfigError::Value {
            path: None,
            line: None,
            key,
            message,
        })?;
    Ok(config)
}

/// A flag that Ctrl-C and a request to terminate set; a second one ends the program at once.
fn stop_on_signal() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::Relaxed) {
            std::process::exit(i32::from(INTERRUPTED));
        }
        eprintln!("finishing the step and saving; once more to stop at once");
    })
    .context("cannot listen for Ctrl-C")?;
    Ok(stop)
}
