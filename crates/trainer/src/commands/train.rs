//! `trainer train`: from a configuration, or from the checkpoint of a run, to a trained network.

use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
#[cfg(feature = "remote")]
use std::{env, ffi::OsString, mem};

use anyhow::{Context, Result, bail};
use burn::tensor::Device;
use datasets::Splits;
use serde_json::json;
use tracing::{info, warn};
use training::{AdamW, Data as _, Ema, flatten};

use crate::cli::{BudgetArgs, TrainArgs};
use crate::commands::dry_run::Trial;
use crate::commands::opened::exists;
use crate::commands::pretrained;
use crate::config::{ConfigError, NamedConfig, RunConfig};
use crate::device::{self, NamedDevice};
use crate::error::{INTERRUPTED, Usage};
use crate::invocation::{another, hint};
use crate::kinds::{self, DataConfig, Dataset, Fitted};
use crate::memory::{self, F32, Needs, values};
#[cfg(feature = "remote")]
use crate::remote::{self, Remedy};
use crate::report::{self, Style};
use crate::run::atomic_file::parent_of;
use crate::run::checkpoint::{Checkpoint, Counters, Snapshot};
use crate::run::folder::{RunFolder, check_free};
use crate::run::overview::{config_of, is_begun};
use crate::training_loop::{Ending, Training};

/// Trains; returns the exit code.
pub fn run(args: &TrainArgs) -> Result<u8> {
    #[cfg(feature = "remote")]
    if args.retry > 0 {
        remote::be_patient();
    }
    #[cfg(feature = "remote")]
    match &args.resume {
        Some(run) => go_on_when_lost(args, run)?,
        None => begin_again_when_lost(args)?,
    }
    let devices = device::select_all(&args.devices.devices)?;
    let Beginning { config, out, start } = begin(args)?;
    let kind = config.data.kind();
    let splits = kind.load(&config.source(args.data_dir.as_deref()))?;
    let config = fit(config, &splits)?;
    check_share(&config, devices.len())?;
    device::check_precision(&devices, config.training.precision)?;
    check_memory(&config, &devices)?;
    let examples = splits.train.len();
    let how = if splits.train.is_streamed() {
        " (too many for data.cache_mib: read anew each time)"
    } else {
        ""
    };

    if args.dry_run {
        check_free(&out, args.overwrite)?;
        let trial = Trial {
            config: &config,
            out: &out,
            devices: &devices,
        };
        return trial.run(splits.train).map(|()| 0);
    }

    let (folder, checkpoint) = match start {
        Start::Fresh { overwrite } => (RunFolder::create(&out, overwrite)?, None),
        Start::From(checkpoint) => {
            start_from(
                &checkpoint,
                &config,
                &out,
                args.overwrite,
                &devices[0].device,
            )?;
            (RunFolder::open(&out)?, Some(Checkpoint::open(&out, false)?))
        }
        Start::Resumed(checkpoint) => (RunFolder::open(&out)?, Some(*checkpoint)),
    };
    let checkpoint = checkpoint.as_ref();
    let handles = device::handles(&devices);
    let mut training = Training::new(&config, &folder, splits, &handles, checkpoint)?;
    #[cfg(feature = "remote")]
    go_on_when_lost(args, &out)?;
    let device_names = device::names(&devices);
    info!(
        "{} {} on {}: {examples} training {kind}{how}, {} parameters, device {device_names}",
        if args.resume.is_some() {
            "going on with"
        } else {
            "training"
        },
        out.display(),
        config.data.name(),
        training.num_params(),
    );

    if let Err(error) = folder.tell_device(&device_names) {
        warn!(
            "cannot say in {} what it is trained on: {error}",
            out.display()
        );
    }
    let _page = args.serve.then(|| Page::open(&out, args)).transpose()?;
    let stop = stop_on_signal()?;
    let ending = training.run(&device_names, &stop)?;
    report::json(&json!({
        "run": out,
        "step": training.step(),
        "finished": ending == Ending::Finished,
    }))?;
    match ending {
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

/// Until the configuration of a new run is written there is nothing to go on with: with `--retry` it is begun again, as it
/// was.
#[cfg(feature = "remote")]
fn begin_again_when_lost(args: &TrainArgs) -> Result<()> {
    let again = match args.retry.checked_sub(1) {
        Some(left) => {
            let arguments = with_retry(env::args_os().skip(1), left);
            Some(another(arguments, None, None)?)
        }
        None => None,
    };
    remote::on_loss(Remedy { go_on: None, again });
    Ok(())
}

/// The arguments, with another number of retries.
#[cfg(feature = "remote")]
fn with_retry(arguments: impl Iterator<Item = OsString>, left: u32) -> Vec<OsString> {
    let mut is_number = false;
    let mut kept: Vec<OsString> = arguments
        .filter(|argument| {
            let is_old = mem::replace(&mut is_number, argument == "--retry");
            let is_joined = argument.to_string_lossy().starts_with("--retry=");
            !is_old && !is_number && !is_joined
        })
        .collect();
    kept.push(format!("--retry={left}").into());
    kept
}

/// From now on a training whose worker is lost says how it goes on; with `--retry` it does so by itself, in a process of
/// its own, for no session is opened twice in one.
#[cfg(feature = "remote")]
fn go_on_when_lost(args: &TrainArgs, out: &Path) -> Result<()> {
    let mut arguments: Vec<OsString> = vec!["train".into(), "--resume".into(), out.into()];
    arguments.extend(budget_options(&args.budget).map(OsString::from));
    if args.resume.is_some() {
        // Of a run that began here they stand in its configuration.
        let given = args.set.iter();
        arguments.extend(given.flat_map(|set| ["--set".into(), set.into()]));
    }
    let Style { quiet, json } = report::style();
    let flags = [("--quiet", quiet), ("--json", json)].into_iter();
    arguments.extend(
        flags
            .filter(|(_, is_given)| *is_given)
            .map(|(flag, _)| flag.into()),
    );
    let again = match args.retry.checked_sub(1) {
        Some(left) => {
            arguments.push(format!("--retry={left}").into());
            let names = args.devices.devices.join(",");
            let device = (!names.is_empty()).then_some(&names[..]);
            Some(another(arguments, args.data_dir.as_deref(), device)?)
        }
        None => None,
    };
    remote::on_loss(Remedy {
        go_on: Some(hint(&format!(
            "train --resume {} --device …",
            out.display()
        ))),
        again,
    });
    Ok(())
}

/// The budget of the command line as its options.
#[cfg(feature = "remote")]
fn budget_options(budget: &BudgetArgs) -> impl Iterator<Item = String> {
    let steps = budget.steps.map(|n| format!("--steps={n}"));
    let epochs = budget.epochs.map(|n| format!("--epochs={n:?}"));
    let minutes = budget.minutes.map(|n| format!("--minutes={n:?}"));
    [steps, epochs, minutes].into_iter().flatten()
}

/// The page of the runs beside the one in training, for as long as this value lives: a process of its own, so that
/// nothing that is done on it harms the training.
struct Page(Child);

impl Page {
    fn open(out: &Path, args: &TrainArgs) -> Result<Self> {
        let Style { quiet, json } = report::style();
        let flags = [("--quiet", quiet), ("--json", json)].into_iter();
        let given = flags
            .filter(|(_, is_given)| *is_given)
            .map(|(flag, _)| flag.into());
        let arguments = given.chain(["serve".into(), parent_of(out).into()]);
        let device = args.devices.devices.first().map(String::as_str);
        let mut command = another(arguments, args.data_dir.as_deref(), device)?;
        let page = command.spawn();
        page.map(Self).context("cannot open the page")
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // If it has ended already there is nothing to do.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a session of training begins with.
struct Beginning {
    config: RunConfig,
    out: PathBuf,
    start: Start,
}

/// Where the weights come from.
enum Start {
    /// They are drawn.
    Fresh { overwrite: bool },
    /// Another run has learned them.
    From(Box<Checkpoint>),
    /// The same run has.
    Resumed(Box<Checkpoint>),
}

fn begin(args: &TrainArgs) -> Result<Beginning> {
    if let Some(run) = &args.resume {
        return resume(run, args);
    }
    let overrides = [budget_overrides(&args.budget), args.set.clone()].concat();
    let Some(run) = &args.from else {
        let named = match args.config() {
            Some(config) => NamedConfig::find(Some(config))?,
            None => NamedConfig::for_data(&overrides),
        };
        return Ok(Beginning {
            config: with_budget(named.load(&overrides)?, &args.budget),
            out: out(args, &named.name),
            start: Start::Fresh {
                overwrite: args.overwrite,
            },
        });
    };
    exists(run)?;
    let checkpoint = Checkpoint::open(run, false)?;
    let (config, name) = match args.config() {
        Some(path) => {
            let named = NamedConfig::find(Some(path))?;
            (named.load(&overrides)?, named.name)
        }
        None => (
            pretrained::config_of(&checkpoint).overridden(&overrides)?,
            pretrained::name_of(run),
        ),
    };
    pretrained::check(&checkpoint, &config)?;
    Ok(Beginning {
        config: with_budget(config, &args.budget),
        out: out(args, &name),
        start: Start::From(Box::new(checkpoint)),
    })
}

/// The folder of a new run of a configuration of this name.
fn out(args: &TrainArgs, name: &str) -> PathBuf {
    args.out
        .clone()
        .unwrap_or_else(|| Path::new("runs").join(name))
}

/// Goes on from the newest checkpoint; a run that was stopped before its first starts over.
fn resume(run: &Path, args: &TrainArgs) -> Result<Beginning> {
    let out = run.to_owned();
    if is_begun(run)? {
        warn!("{} has no checkpoint yet: it starts over", run.display());
        let overrides = [budget_overrides(&args.budget), args.set.clone()].concat();
        return Ok(Beginning {
            config: with_budget(config_of(run, &overrides)?, &args.budget),
            out,
            start: Start::Fresh { overwrite: true },
        });
    }
    exists(run)?;
    let checkpoint = Checkpoint::open(run, false)?;
    Ok(Beginning {
        config: resumed_config(&checkpoint, args)?,
        out,
        start: Start::Resumed(Box::new(checkpoint)),
    })
}

/// Makes the run at `out` whose first checkpoint, of step 0, has the weights of another run, so that it goes on
/// from them however early it is stopped.
fn start_from(
    checkpoint: &Checkpoint,
    config: &RunConfig,
    out: &Path,
    overwrite: bool,
    device: &Device,
) -> Result<()> {
    let network = pretrained::network(checkpoint, config, device)?;
    info!(
        "beginning with the weights of {}",
        checkpoint.folder().display()
    );
    RunFolder::create_whole(out, overwrite, |folder| {
        let snapshot = Snapshot {
            config,
            network: &network,
            ema: &Ema::new(flatten(&network), 0, config.ema.decay),
            optimizer: &AdamW::new(config.optimizer.clone()),
            counters: &Counters::default(),
        };
        Checkpoint::write(&folder.checkpoints(), &snapshot)
            .context("cannot write the first checkpoint")?;
        Ok(())
    })
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

/// Refuses more devices than a step has batches, of which some would have nothing to do. Where they cannot all have
/// as many, a warning says so.
fn check_share(config: &RunConfig, devices: usize) -> Result<(), Usage> {
    let training = &config.training;
    let (batches, batch_size) = (training.gradient_accumulation, training.batch_size);
    if batches < devices {
        let smaller = (batches * batch_size).div_ceil(devices);
        return Err(Usage(format!(
            "--device names {devices} devices, and a step has {batches} batch{} to share \
             (training.gradient_accumulation): name fewer devices, or divide a step into more batches, as with --set \
             training.gradient_accumulation={devices} --set training.batch_size={smaller}",
            if batches == 1 { "" } else { "es" }
        )));
    }
    if !batches.is_multiple_of(devices) {
        warn!(
            "a step has {batches} batches (training.gradient_accumulation), which {devices} devices cannot share \
             evenly: some wait for others"
        );
    }
    Ok(())
}

/// Refuses numbers for which this machine does not have the memory.
fn check_memory(config: &RunConfig, devices: &[NamedDevice]) -> Result<(), ConfigError> {
    /// Bytes of an example of which the held-out loss is measured, beside its batch.
    const HELD_OUT_BYTES: u64 = 16;
    /// Bytes of a range of timesteps in the metrics, in memory and as it is written.
    const BUCKET_BYTES: u64 = 32;
    let needs =
        Needs::of(&config.network, devices).recomputing(config.training.checkpoint_activations);
    let shape = config.network.example_shape();
    let training = &config.training;
    let batch = (training.batch_size as u64).saturating_mul(F32 * values(shape));
    let sample = config.data.kind().sample_bytes(shape);
    let scored = if config.evaluation.every.is_some() {
        config.evaluation.count
    } else {
        0
    };
    for (key, number, bytes) in [
        ("network", 1, needs.training),
        (
            "training.batch_size",
            training.batch_size,
            needs.trained_example,
        ),
        (
            "training.gradient_accumulation",
            training.gradient_accumulation,
            batch,
        ),
        (
            "held_out.examples",
            config.held_out.examples,
            HELD_OUT_BYTES,
        ),
        ("held_out.buckets", config.held_out.buckets, BUCKET_BYTES),
        ("sampling.count", config.sampling.count, sample),
        ("evaluation.count", scored, 2 * F32 * values(shape)),
    ] {
        memory::check(number, bytes).map_err(|too_much| ConfigError::Value {
            path: None,
            line: None,
            key: key.to_owned(),
            message: too_much.to_string(),
        })?;
    }
    Ok(())
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

#[cfg(all(test, feature = "remote"))]
mod tests {
    use super::*;

    #[test]
    fn a_training_is_begun_again_with_fewer_retries_and_all_else_as_it_was() {
        for given in [
            "train mnist --retry 3 --device a",
            "train mnist --retry=3 --device a",
        ] {
            let again = with_retry(given.split(' ').map(OsString::from), 2);
            let expected = "train mnist --device a --retry=2";
            assert_eq!(again, expected.split(' ').collect::<Vec<_>>());
        }
    }
}
