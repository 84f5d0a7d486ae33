//! What is known of a run without its weights: how far it is, what it learns from, how it is sampled from.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use denoising::SamplingOptions;
use serde::Serialize;
use serde_json::Value;
use training::TrainingConfig;

use super::checkpoint::{self, Checkpoint};
use super::folder::MARK;
use super::metrics;
use super::read::{SMALL, read};
use crate::config::{ConfigError, RunConfig};
use crate::error::Usage;

/// The file with the configuration of a run.
const CONFIG: &str = "config.toml";

/// A run as its newest checkpoint, or the one that was opened, has it.
#[derive(Debug, Serialize)]
pub struct Overview {
    /// The folder that was named.
    pub run: PathBuf,
    /// The folder of the checkpoint.
    pub checkpoint: PathBuf,
    /// Steps taken.
    pub step: u64,
    /// Training examples seen.
    pub examples_seen: u64,
    /// Time of training, over all sessions.
    pub seconds: f64,
    /// What it is to be trained for, as in `4144 steps`.
    pub budget: String,
    /// Smoothed training loss.
    pub loss: Option<f64>,
    /// Loss of the averaged weights on the test split.
    pub held_out_loss: Option<f64>,
    /// FID, where it was measured in training.
    pub fid: Option<f64>,
    /// What it learns from: a name or a path.
    pub data: String,
    /// What that is, as in `images`.
    pub kind: String,
    /// The number of classes that the network is told; none where it is told none.
    pub classes: Option<usize>,
    /// Their names, where they are known.
    pub class_names: Vec<String>,
    /// The shape of an example: channels, height, width.
    pub shape: [usize; 3],
    /// How it is sampled from unless told otherwise, as in `ddim in 50 steps`.
    pub sampler: String,
}

impl Overview {
    /// What is known of `run`, whose `checkpoint` was opened.
    ///
    /// # Errors
    ///
    /// Why the metrics cannot be read.
    pub fn of(run: &Path, checkpoint: &Checkpoint) -> Result<Self> {
        let (config, counters) = (checkpoint.config(), checkpoint.counters());
        Ok(Self {
            run: run.to_owned(),
            checkpoint: checkpoint.folder().to_owned(),
            step: counters.step,
            examples_seen: counters.examples_seen,
            seconds: counters.seconds,
            budget: budget(&config.training),
            loss: metrics::smoothed_loss(run, counters.step)?,
            held_out_loss: counters.held_out_loss,
            fid: counters.fid,
            data: config.data.name(),
            kind: config.data.kind().to_string(),
            classes: config.num_classes(),
            class_names: config.found.class_names.clone(),
            shape: config.network.example_shape(),
            sampler: sampler(&config.sampling.options),
        })
    }
}

/// Whether a folder is that of a run, whole or not.
pub fn is_run(folder: &Path) -> bool {
    folder.join(MARK).is_file() || folder.join("checkpoints").is_dir()
}

/// What `trainer evaluate` measured last in the folder of a run; null where there is nothing that can be read.
pub fn scores_of(run: &Path) -> Value {
    let bytes = read(&run.join("scores.json"), SMALL).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

/// The runs in a folder, by name; the folder itself, if it is one.
///
/// # Errors
///
/// [`Usage`] for a folder that is not there, and why one cannot be read.
pub fn runs_in(folder: &Path) -> Result<Vec<PathBuf>> {
    if is_run(folder) {
        return Ok(vec![folder.to_owned()]);
    }
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        // Where nothing was trained yet.
        Err(error) if error.kind() == io::ErrorKind::NotFound && folder == Path::new("runs") => {
            return Ok(Vec::new());
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => bail!(Usage(format!(
            "{} does not exist: expected a folder that holds runs",
            folder.display()
        ))),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot read {}", folder.display()));
        }
    };
    let mut runs: Vec<PathBuf> = entries
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|path| is_run(path))
        .collect();
    runs.sort();
    Ok(runs)
}

/// Whether a folder is that of a run that has no checkpoint yet, but knows what it is to do.
///
/// # Errors
///
/// Why its checkpoints cannot be listed.
pub fn is_begun(folder: &Path) -> Result<bool> {
    Ok(folder.join(MARK).is_file()
        && folder.join(CONFIG).is_file()
        && checkpoint::list(&folder.join("checkpoints"))?.is_empty())
}

/// The configuration in the folder of a run, with overrides.
///
/// # Errors
///
/// Why it cannot be read, and what is wrong with it.
pub fn config_of(folder: &Path, overrides: &[String]) -> Result<RunConfig, ConfigError> {
    RunConfig::load(&folder.join(CONFIG), overrides)
}

/// A budget in words.
pub fn budget(training: &TrainingConfig) -> String {
    let budgets = [
        training.steps.map(|steps| format!("{steps} steps")),
        training.epochs.map(|epochs| format!("{epochs} epochs")),
        training.minutes.map(|minutes| format!("{minutes} minutes")),
    ];
    let budgets: Vec<String> = budgets.into_iter().flatten().collect();
    budgets.join(" or ")
}

/// A sampler in words.
fn sampler(options: &SamplingOptions) -> String {
    let guidance = match options.guidance_scale {
        1.0 => String::new(),
        scale => format!(", guidance {scale}"),
    };
    format!(
        "{} in {} steps{guidance}",
        options.sampler, options.num_inference_steps
    )
}
