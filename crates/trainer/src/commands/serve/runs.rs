//! The runs of a folder, as a page lists them: by ids that a client cannot make up, with what their last lines of
//! metrics say, so that a thousand long ones are listed at once.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::config::RunConfig;
use crate::run::checkpoint::{self, Checkpoint, sha256};
use crate::run::folder::{device_of, grids, is_in_training};
use crate::run::metrics::{Followed, Smoothed, last_lines};
use crate::run::overview::{budget, config_of, runs_in};

/// How old a list may be that is shown.
const FRESH: Duration = Duration::from_millis(900);

/// The runs whose metrics are held in memory, of which one of 100,000 lines takes some 20 MB.
const FOLLOWED: usize = 8;

/// The runs of a folder.
#[derive(Debug)]
pub(super) struct Runs {
    folder: PathBuf,
    list: Mutex<List>,
    followed: Mutex<Vec<(String, Followed)>>,
}

#[derive(Debug, Default)]
struct List {
    made: Option<Instant>,
    known: HashMap<String, Known>,
}

/// A run that was looked at.
#[derive(Debug)]
struct Known {
    path: PathBuf,
    /// What its files were like.
    stamps: Vec<Option<(SystemTime, u64)>>,
    listed: Listed,
}

/// What a run is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    Training,
    Stopped,
    Finished,
}

/// A run in the list.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Listed {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) state: State,
    /// Why nothing more can be said of it, or what its last training ended with.
    pub(super) problem: Option<String>,
    /// Whether it was started here, and so can be stopped here.
    pub(super) is_ours: bool,
    pub(super) has_checkpoint: bool,
    /// On what it was trained last.
    pub(super) device: Option<String>,
    pub(super) step: u64,
    pub(super) epoch: f64,
    pub(super) seconds: f64,
    /// The share of its budget that is used up.
    pub(super) progress: f64,
    pub(super) seconds_left: Option<f64>,
    pub(super) examples_per_second: Option<f64>,
    pub(super) loss: Option<f64>,
    pub(super) held_out_loss: Option<f64>,
    pub(super) fid: Option<f64>,
    pub(super) nearer_than_real: Option<f64>,
    /// Of how many samples that was measured.
    pub(super) scored_in_training: usize,
    /// What its scoring, which was started here, said last; none where none goes on.
    pub(super) scoring: Option<String>,
    /// With what error its last scoring ended.
    pub(super) scoring_problem: Option<String>,
    /// When it was scored last, in milliseconds since 1970.
    pub(super) scored: Option<u64>,
    pub(super) budget: String,
    pub(super) data: String,
    pub(super) kind: String,
    pub(super) classes: Option<usize>,
    pub(super) grids: usize,
    /// When its metrics last grew, in seconds since 1970.
    pub(super) updated: u64,
}

impl Runs {
    /// Those of `folder`, or the one that it is.
    ///
    /// # Errors
    ///
    /// There is no such folder.
    pub(super) fn of(folder: &Path) -> Result<Self> {
        runs_in(folder)?;
        Ok(Self {
            folder: folder.to_owned(),
            list: Mutex::default(),
            followed: Mutex::default(),
        })
    }

    /// All runs, the one that grew last first.
    pub(super) fn list(&self) -> Vec<(PathBuf, Listed)> {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        self.refresh(&mut list);
        let runs = list.known.values();
        let mut listed: Vec<_> = runs
            .map(|run| (run.path.clone(), run.listed.clone()))
            .collect();
        listed.sort_by(|(_, a), (_, b)| {
            let newest_first = b.updated.cmp(&a.updated);
            newest_first.then_with(|| a.name.cmp(&b.name))
        });
        listed
    }

    /// Looks anew when it is asked next: something was changed from here.
    pub(super) fn look_again(&self) {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        list.made = None;
    }

    /// The folder of the run with this id.
    pub(super) fn path(&self, id: &str) -> Option<PathBuf> {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        if !list.known.contains_key(id) {
            self.refresh(&mut list);
        }
        list.known.get(id).map(|run| run.path.clone())
    }

    /// What `read` makes of the metrics of a run.
    ///
    /// # Errors
    ///
    /// Why they cannot be read.
    pub(super) fn metrics<T>(
        &self,
        id: &str,
        run: &Path,
        read: impl FnOnce(&[crate::run::metrics::Record]) -> T,
    ) -> Result<T> {
        let mut all = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        // The one that was read last stands last.
        let known = all.iter().position(|(known, _)| known == id);
        let mut followed = known.map_or_else(Followed::default, |place| all.remove(place).1);
        let records = followed.read(run);
        let made = records
            .map(read)
            .with_context(|| format!("cannot read the metrics of {}", run.display()));
        if all.len() >= FOLLOWED {
            all.remove(0);
        }
        all.push((id.to_owned(), followed));
        made
    }

    fn refresh(&self, list: &mut List) {
        if list.made.is_some_and(|made| made.elapsed() < FRESH) {
            return;
        }
        list.made = Some(Instant::now());
        // A folder that cannot be read for a moment empties the list, and comes back.
        let paths = runs_in(&self.folder).unwrap_or_default();
        let mut before = std::mem::take(&mut list.known);
        for path in paths {
            let id = id_of(&path);
            // First, so that what a training wrote last is seen when it is seen to have ended.
            let is_in_training = is_in_training(&path);
            let stamps = stamps(&path);
            let known = match before.remove(&id) {
                Some(mut known) if known.stamps == stamps => {
                    known.listed.settle(is_in_training);
                    known
                }
                _ => {
                    let mut listed = look(&id, &path);
                    listed.settle(is_in_training);
                    Known {
                        path,
                        stamps,
                        listed,
                    }
                }
            };
            list.known.insert(id, known);
        }
    }
}

impl Listed {
    /// Says what the run is doing.
    fn settle(&mut self, is_in_training: bool) {
        self.state = match (is_in_training, self.progress >= 1.0) {
            (true, _) => State::Training,
            (false, true) => State::Finished,
            (false, false) => State::Stopped,
        };
    }
}

/// An id that says nothing of the path and is the same each time.
fn id_of(path: &Path) -> String {
    let mut id = sha256(path.as_os_str().as_encoded_bytes());
    id.truncate(16);
    id
}

/// When the files of a run changed that its line in the list depends on.
fn stamps(run: &Path) -> Vec<Option<(SystemTime, u64)>> {
    [
        "config.toml",
        "metrics.jsonl",
        "checkpoints",
        "samples",
        "scores.json",
    ]
    .iter()
    .map(|name| {
        let metadata = fs::metadata(run.join(name)).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    })
    .collect()
}

/// The configuration of a run, whether it has a checkpoint yet or not.
///
/// # Errors
///
/// What is wrong with it.
pub(super) fn config_in(run: &Path) -> Result<RunConfig> {
    if run.join("config.toml").is_file() {
        return Ok(config_of(run, &[])?);
    }
    Ok(Checkpoint::open(run, false)?.config().clone())
}

/// A run as its files have it.
fn look(id: &str, run: &Path) -> Listed {
    let name = run.file_name().unwrap_or(run.as_os_str());
    let mut listed = Listed {
        id: id.to_owned(),
        name: name.to_string_lossy().into_owned(),
        state: State::Stopped,
        problem: None,
        is_ours: false,
        has_checkpoint: false,
        device: device_of(run),
        step: 0,
        epoch: 0.0,
        seconds: 0.0,
        progress: 0.0,
        seconds_left: None,
        examples_per_second: None,
        loss: None,
        held_out_loss: None,
        fid: None,
        nearer_than_real: None,
        scored_in_training: 0,
        scoring: None,
        scoring_problem: None,
        scored: changed(&run.join("scores.json")).ok().map(|time| {
            let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
            u64::try_from(since.as_millis()).unwrap_or_default()
        }),
        budget: String::new(),
        data: String::new(),
        kind: String::new(),
        classes: None,
        grids: grids(run).len(),
        updated: updated(run),
    };
    if let Err(error) = fill(&mut listed, run) {
        listed.problem = Some(format!("{error:#}"));
    }
    listed
}

fn fill(listed: &mut Listed, run: &Path) -> Result<()> {
    let checkpoints = checkpoint::list(&run.join("checkpoints"))?;
    listed.has_checkpoint = !checkpoints.is_empty();
    let config = config_in(run)?;
    listed.budget = budget(&config.training);
    listed.data = config.data.name();
    listed.kind = config.data.kind().to_string();
    listed.classes = config.num_classes();
    listed.scored_in_training = config.evaluation.count;
    let lines = last_lines(run).context("cannot read the metrics")?;
    let mut smoothed = Smoothed::default();
    for line in &lines {
        listed.loss = line.loss.map(|loss| smoothed.push(loss)).or(listed.loss);
        listed.examples_per_second = line.images_per_second.or(listed.examples_per_second);
        listed.held_out_loss = line.held_out_loss.or(listed.held_out_loss);
        listed.fid = line.fid.or(listed.fid);
        listed.nearer_than_real = line.nearer_than_real.or(listed.nearer_than_real);
    }
    if let Some(last) = lines.last() {
        (listed.step, listed.epoch, listed.seconds) = (last.step, last.epoch, last.seconds);
        let training = &config.training;
        let progress = training.progress(last.step, last.epoch, last.seconds);
        listed.progress = progress.min(1.0);
        listed.seconds_left =
            (progress > 0.0 && progress < 1.0).then(|| last.seconds * (1.0 - progress) / progress);
    } else if let Some(newest) = checkpoints.first() {
        // A run that was imported has never been in training here.
        listed.step = Checkpoint::open(newest, false)?.counters().step;
    }
    // The step at which a budget of minutes ends is not the last that was logged.
    let (summary, metrics) = (run.join("summary.json"), run.join("metrics.jsonl"));
    if let (Ok(summary), Ok(metrics)) = (changed(&summary), changed(&metrics))
        && summary >= metrics
    {
        listed.progress = 1.0;
        listed.seconds_left = None;
    }
    Ok(())
}

/// When a file last changed.
fn changed(path: &Path) -> io::Result<SystemTime> {
    fs::metadata(path).and_then(|file| file.modified())
}

/// When the metrics of a run, or the run, last changed.
fn updated(run: &Path) -> u64 {
    let time = changed(&run.join("metrics.jsonl")).or_else(|_| changed(run));
    let since = time.map(|time| time.duration_since(UNIX_EPOCH).unwrap_or_default());
    since.map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_damaged_run_is_listed_with_what_is_wrong_and_ids_are_no_paths() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("mine/../mine");
        fs::create_dir_all(folder.path().join("mine/checkpoints")).unwrap();
        fs::write(folder.path().join("mine/config.toml"), "seed = \"x\"").unwrap();
        let runs = Runs::of(folder.path()).unwrap();
        let listed = runs.list();
        assert_eq!(listed.len(), 1);
        let (path, listed) = &listed[0];
        assert_eq!(listed.name, "mine");
        assert!(listed.problem.is_some());
        assert_eq!(listed.state, State::Stopped);
        assert_eq!(runs.path(&listed.id).as_ref(), Some(path));
        assert_eq!(*path, folder.path().join("mine"));
        for made_up in ["mine", "..", "", &run.display().to_string()] {
            assert_eq!(runs.path(made_up), None, "{made_up}");
        }
    }
}
