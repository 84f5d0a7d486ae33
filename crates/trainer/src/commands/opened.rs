//! What every command that samples from a trained network begins with.

use std::fs;
use std::path::Path;

use anyhow::{Result, bail};
use burn::tensor::Device;
use denoising::{SamplerKind, SamplingOptions};
use tracing::warn;

use crate::cli::{ModelArgs, SamplerArgs};
use crate::config::RunConfig;
use crate::device;
use crate::error::Usage;
use crate::invocation::hint;
use crate::kinds::Kind;
use crate::memory::{Needs, TooMuch, check};
use crate::run::atomic_file::parent_of;
use crate::run::checkpoint::Checkpoint;
use crate::run::overview::is_begun;
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
    /// The names of the devices.
    pub(super) device_names: String,
    /// What the network asks of the memory of the machine.
    needs: Needs,
}

impl Opened {
    /// Refuses more samples, or larger batches of them, than fit into the memory of this machine; `option` is
    /// what says how many.
    ///
    /// # Errors
    ///
    /// [`Usage`].
    pub(super) fn check_memory(&self, option: &str, count: usize, batch_size: usize) -> Result<()> {
        let kind = self.checkpoint.config().data.kind();
        let bytes = kind.sample_bytes(self.model.network.example_shape());
        let refuse = |option: &str, too_much: TooMuch| Usage(format!("{option}: {too_much}"));
        check(count, bytes).map_err(|error| refuse(option, error))?;
        let batch = kind.batch_size(batch_size, count);
        // Where all go at once there is no batch to choose.
        let option = if batch == count {
            option
        } else {
            "--batch-size"
        };
        check(batch.min(count), self.needs.called_example)
            .map_err(|error| refuse(option, error))?;
        Ok(())
    }
}

/// Reads the network that `args` name.
pub(super) fn open(args: &ModelArgs) -> Result<Opened> {
    open_for(args, Samplers::Chosen)
}

fn open_for(args: &ModelArgs, samplers: Samplers) -> Result<Opened> {
    at_least(&[("--batch-size", args.batch_size, 1)])?;
    let devices = device::select_all(&args.devices.devices)?;
    exists(&args.run)?;
    device::check_precision(&devices, args.precision)?;
    let (checkpoint, mut model) = open_model(&args.run, args.best, &devices[0].device)?;
    if let Some(why) = checkpoint.config().network.why_not_in(args.precision) {
        bail!(Usage(format!("--precision {}: {why}", args.precision)));
    }
    model.network = model.network.in_precision(args.precision);
    let model = model.spread_over(&device::handles(&devices[1..]))?;
    let sampling = settings(checkpoint.config(), &args.sampler, samplers)?;
    let needs = Needs::of(&checkpoint.config().network, &devices);
    Ok(Opened {
        needs,
        model,
        checkpoint,
        sampling,
        device_names: device::names(&devices),
    })
}

/// As [`open`], for a command that is for these kinds of data alone and draws with all samplers.
pub(super) fn open_for_all_samplers(args: &ModelArgs, kinds: &[Kind]) -> Result<Opened> {
    of_kinds(open_for(args, Samplers::All)?, args, kinds)
}

/// Refuses a network that draws other kinds of data than these.
///
/// # Errors
///
/// [`Usage`].
pub(super) fn of_kinds(opened: Opened, args: &ModelArgs, kinds: &[Kind]) -> Result<Opened> {
    let kind = opened.checkpoint.config().data.kind();
    kind.must_be_one_of(kinds, format_args!("{} draws", args.run.display()))?;
    Ok(opened)
}

/// Refuses the folder of a run that is not there, with the runs that are near, and of one that has no
/// checkpoint yet.
///
/// # Errors
///
/// [`Usage`].
pub(super) fn exists(run: &Path) -> Result<()> {
    if is_begun(run)? {
        bail!(Usage(format!(
            "{} has no checkpoint yet: wait for the training that is under way there or, if it was stopped, \
             start it over with `{}`",
            run.display(),
            hint(&format!("train --resume {}", run.display()))
        )));
    }
    if run.exists() {
        return Ok(());
    }
    let nearby = runs_near(run);
    let advice = if nearby.is_empty() {
        format!("`{}` makes a run", hint("train"))
    } else {
        format!("runs nearby: {}", nearby.join(", "))
    };
    bail!(Usage(format!("{} does not exist; {advice}", run.display())))
}

/// The runs beside `run` and in runs/, at most a screenful.
fn runs_near(run: &Path) -> Vec<String> {
    const MOST: usize = 12;
    let mut runs: Vec<String> = [parent_of(run), Path::new("runs")]
        .into_iter()
        .filter_map(|folder| fs::read_dir(folder).ok())
        .flat_map(|entries| entries.filter_map(Result::ok))
        .map(|entry| entry.path())
        .filter(|path| path.join("checkpoints").is_dir())
        .map(|path| {
            let path = path.strip_prefix(".").unwrap_or(&path);
            path.display().to_string()
        })
        .collect();
    runs.sort();
    runs.dedup();
    runs.truncate(MOST);
    runs
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

/// The newest checkpoint of `run`, or with `best` the best, and its averaged network on `device`.
pub(super) fn open_model(run: &Path, best: bool, device: &Device) -> Result<(Checkpoint, Model)> {
    read_while_pruned(
        || Ok(Checkpoint::open(run, best)?),
        Checkpoint::folder,
        |checkpoint| {
            let config = checkpoint.config();
            let network = checkpoint.load_ema(config.network.init(config.seed, device)?)?;
            let (noise, objective) = (&config.noise, &config.objective);
            Model::new(network, noise, objective, config.classes(), device.clone())
        },
    )
}

/// What `read` makes of what `open` finds in a folder. A run in training removes its older checkpoints: where
/// the folder is gone meanwhile, the next one is taken.
fn read_while_pruned<C, T>(
    mut open: impl FnMut() -> Result<C>,
    folder: impl Fn(&C) -> &Path,
    mut read: impl FnMut(&C) -> Result<T>,
) -> Result<(C, T)> {
    let mut opened = open()?;
    loop {
        match read(&opened) {
            Ok(read) => return Ok((opened, read)),
            Err(error) if folder(&opened).exists() => return Err(error),
            Err(error) => {
                let next = open()?;
                if folder(&next) == folder(&opened) {
                    return Err(error);
                }
                warn!(
                    "{} was removed by the training that it belongs to: {} is taken",
                    folder(&opened).display(),
                    folder(&next).display()
                );
                opened = next;
            }
        }
    }
}

/// For which samplers the settings are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Samplers {
    /// For the one that they name.
    Chosen,
    /// For all of them, one after the other.
    All,
}

/// A run's settings for sampling, with what the command line says in their place. What it says without
/// any effect is refused.
pub(super) fn settings(
    config: &RunConfig,
    args: &SamplerArgs,
    samplers: Samplers,
) -> Result<SamplingOptions> {
    // What was typed, the key of [sampling] that it sets, and its value.
    let mut given: Vec<(String, String, String)> = Vec::new();
    let mut option = |name: &str, key: &str, value: Option<String>| {
        given.extend(value.map(|value| (name.to_owned(), key.to_owned(), value)));
    };
    option("--sampler", "sampler", args.sampler.map(|s| s.to_string()));
    let steps = match (args.steps, args.sampler) {
        // Ancestral sampling is made for every step of the chain.
        (None, Some(SamplerKind::Ddpm)) => Some(config.noise.num_train_timesteps),
        (steps, _) => steps,
    };
    option(
        "--steps",
        "num_inference_steps",
        steps.map(|n| n.to_string()),
    );
    option(
        "--spacing",
        "timestep_spacing",
        args.spacing.map(|s| s.to_string()),
    );
    option("--eta", "eta", args.eta.map(|eta| format!("{eta:?}")));
    option(
        "--guidance",
        "guidance_scale",
        args.guidance.map(|s| format!("{s:?}")),
    );
    for text in &args.set {
        let Some((key, value)) = key_of_sampling(text) else {
            return Err(Usage(format!(
                "--set {text}: a trained network is what it is; only keys of [sampling] can be set, \
                 as in sampling.clipping.kind=none"
            ))
            .into());
        };
        given.push((format!("--set {text}"), key.to_owned(), value.to_owned()));
    }
    let overrides: Vec<String> = given
        .iter()
        .map(|(_, key, value)| format!("sampling.{key}={value}"))
        .collect();
    let mut config = config.clone();
    if let Some(why) = config.leave_idle_guidance_out() {
        warn!("the guidance that the run was saved with is left out: {why}");
    }
    let options = config.overridden(&overrides)?.sampling.options;
    for (typed, key, _) in &given {
        if let Some(why) = why_idle(key, &options, samplers) {
            return Err(Usage(format!("{typed}: {why}")).into());
        }
    }
    Ok(options)
}

/// Refuses guidance that was typed where no class is asked for, which it could lead towards.
pub(super) fn refuse_idle_guidance(args: &SamplerArgs, classes: &[Option<usize>]) -> Result<()> {
    let typed = args.guidance.filter(|&scale| scale != 1.0);
    let is_guidance =
        |text: &&String| key_of_sampling(text).is_some_and(|(key, _)| key.starts_with("guidance_"));
    let set = args.set.iter().find(is_guidance);
    let set = set.map(|text| format!("--set {text}"));
    match typed.map(|_| "--guidance".to_owned()).or(set) {
        Some(typed) if classes.iter().all(Option::is_none) => bail!(Usage(format!(
            "{typed}: guidance leads towards a class, and none is asked for"
        ))),
        _ => Ok(()),
    }
}

/// Key and value of an override of `[sampling]`, if it is one: `sampling.clipping.kind=none` has the key
/// `clipping.kind`.
pub(super) fn key_of_sampling(text: &str) -> Option<(&str, &str)> {
    let (key, value) = text
        .trim_start()
        .strip_prefix("sampling.")?
        .split_once('=')?;
    Some((key.trim(), value))
}

/// Why a key of `[sampling]` has no effect on what is drawn, if it has none.
fn why_idle(key: &str, options: &SamplingOptions, samplers: Samplers) -> Option<String> {
    let used: &[SamplerKind] = match samplers {
        Samplers::Chosen => &[options.sampler],
        Samplers::All => SamplerKind::ALL,
    };
    let key = key.split('.').next().unwrap_or(key);
    let readers = |kinds: &[SamplerKind]| -> Vec<&str> {
        let reads = |kind: &&SamplerKind| kind.options().contains(&key);
        kinds.iter().filter(reads).map(|kind| kind.name()).collect()
    };
    let all = readers(SamplerKind::ALL);
    match key {
        "every" | "count" => Some("that is for the grids drawn during training".to_owned()),
        "sampler" if samplers == Samplers::All => {
            Some("all samplers are compared here; there is none to choose".to_owned())
        }
        "guidance_interval" | "guidance_rescale" if options.guidance_scale == 1.0 => Some(
            "without guidance it does nothing; give --guidance SCALE, above 1 as a rule".to_owned(),
        ),
        _ if !all.is_empty() && readers(used).is_empty() => Some(format!(
            "it does nothing with the sampler {}; only {} has it",
            options.sampler,
            all.join(", ")
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::PathBuf;

    use super::*;

    #[test]
    fn a_checkpoint_that_is_pruned_while_it_is_read_gives_way_to_the_next() {
        let run = tempfile::tempdir().unwrap();
        let place = |step: usize| run.path().join(format!("step-{step}"));
        fs::create_dir(place(1)).unwrap();
        let newest = || Ok((1..4).map(place).rfind(|place| place.exists()).unwrap());
        let read = |folder: &PathBuf| {
            if *folder == place(1) {
                // The training beside it.
                fs::create_dir(place(2))?;
                fs::remove_dir(place(1))?;
                bail!("a file of it is missing");
            }
            Ok(7)
        };
        let opened = read_while_pruned(newest, |folder| folder, read).unwrap();
        assert_eq!(opened, (place(2), 7));

        // A damaged one that is still there is an error all the same.
        let damaged = |_: &PathBuf| -> Result<()> { bail!("it is damaged") };
        let error = read_while_pruned(newest, |folder| folder, damaged).unwrap_err();
        assert_eq!(error.to_string(), "it is damaged");
    }
}
