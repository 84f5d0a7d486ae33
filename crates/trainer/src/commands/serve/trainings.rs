//! Trainings that are started, stopped and gone on with from the page: processes of this program, as a person would
//! start them in a terminal.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::processes::{Doing, LOOK, Processes};
use crate::error::Usage;
use crate::invocation::another;
use crate::run::atomic_file::parent_of;
use crate::run::folder::is_in_training;
use crate::run::holder::{Holder, interrupt};
use crate::run::overview::is_run;

/// The trainings at once.
const AT_ONCE: usize = 4;

/// How long is waited for a training to begin; data may have to be read first.
const BEGINNING: Duration = Duration::from_secs(60);

/// How long to train in all.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Budget {
    steps: Option<u64>,
    minutes: Option<f64>,
}

/// The trainings that were started here.
#[derive(Debug)]
pub(super) struct Trainings {
    folder: PathBuf,
    data_dir: Option<PathBuf>,
    device: Option<String>,
    processes: Processes,
    /// Held while a new run gets its name.
    naming: Mutex<()>,
    /// Which trainings that were started elsewhere were asked to stop.
    told: Mutex<HashMap<PathBuf, Holder>>,
}

impl Trainings {
    /// None yet, in `folder`.
    pub(super) fn new(folder: &Path, data_dir: Option<PathBuf>, device: Option<String>) -> Self {
        let folder = if is_run(folder) {
            parent_of(folder)
        } else {
            folder
        };
        Self {
            folder: folder.to_owned(),
            data_dir,
            device,
            processes: Processes::new("trainings", AT_ONCE),
            naming: Mutex::default(),
            told: Mutex::default(),
        }
    }

    /// Whether a training of `run` that was started here goes on, and with what error the last one ended.
    pub(super) fn of(&self, run: &Path) -> (bool, Option<String>) {
        match self.processes.of(run) {
            Doing::Running(_) => (true, None),
            Doing::Nothing(problem) => (false, problem),
        }
    }

    /// Starts a new run of the configuration of this name, with overrides; returns the name of the run.
    ///
    /// # Errors
    ///
    /// What the training said where it did not begin.
    pub(super) fn start(
        &self,
        configuration: &str,
        overrides: &[String],
        budget: Budget,
    ) -> Result<String> {
        let mut arguments: Vec<OsString> = vec!["train".into(), configuration.into()];
        for one in overrides {
            arguments.push("--set".into());
            arguments.push(one.into());
        }
        self.begin(configuration, arguments, budget)
    }

    /// Starts a new run with the weights and the configuration of `run`; returns its name.
    ///
    /// # Errors
    ///
    /// As of [`start`](Self::start).
    pub(super) fn branch(&self, run: &Path, budget: Budget) -> Result<String> {
        let name = run.file_name().unwrap_or(run.as_os_str());
        let name = format!("{}-branch", name.to_string_lossy());
        let arguments = vec!["train".into(), "--from".into(), run.into()];
        self.begin(&name, arguments, budget)
    }

    /// Begins a new run that is called so, or so with a number.
    fn begin(&self, name: &str, arguments: Vec<OsString>, budget: Budget) -> Result<String> {
        let naming = self.naming.lock().unwrap_or_else(PoisonError::into_inner);
        let names = (1..).map(|number| match number {
            1 => name.to_owned(),
            _ => format!("{name}-{number}"),
        });
        let is_free = |name: &String| {
            let path = self.folder.join(name);
            !path.exists() && !self.processes.has(&path)
        };
        let name = names
            .take(10_000)
            .find(is_free)
            .context("there are too many runs of this name")?;
        let path = self.folder.join(&name);
        self.spawn(&path, "--out", arguments, budget)?;
        drop(naming);
        self.wait(&path)?;
        Ok(name)
    }

    /// Goes on with `run`.
    ///
    /// # Errors
    ///
    /// As of [`start`](Self::start).
    pub(super) fn resume(&self, run: &Path, budget: Budget) -> Result<()> {
        self.spawn(run, "--resume", vec!["train".into()], budget)?;
        self.wait(run)
    }

    /// Asks the training of `run` to finish its step and save, as Ctrl-C does, wherever it was started.
    ///
    /// # Errors
    ///
    /// [`Usage`] where there is none, or none that can be asked from here.
    pub(super) fn stop(&self, run: &Path) -> Result<()> {
        if self.processes.stop(run)? {
            return Ok(());
        }
        if !is_in_training(run) {
            bail!(Usage("it is not in training".to_owned()));
        }
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let holder = interrupt(run, told.get(run).copied())?;
        told.insert(run.to_owned(), holder);
        Ok(())
    }

    fn spawn(
        &self,
        run: &Path,
        option: &str,
        arguments: Vec<OsString>,
        budget: Budget,
    ) -> Result<()> {
        if let Doing::Running(_) = self.processes.of(run) {
            bail!(Usage("it is in training already".to_owned()));
        }
        let until = match budget {
            Budget {
                steps: Some(steps), ..
            } => Some(format!("--steps={steps}").into()),
            Budget {
                minutes: Some(minutes),
                ..
            } => Some(format!("--minutes={minutes}").into()),
            Budget { .. } => None,
        };
        let arguments = arguments
            .into_iter()
            .chain([option.into(), run.into()])
            .chain(until);
        let command = another(arguments, self.data_dir.as_deref(), self.device.as_deref())?;
        self.processes.start(run, command)
    }

    /// Waits until a training has begun, or ended before.
    fn wait(&self, run: &Path) -> Result<()> {
        let began = Instant::now();
        while began.elapsed() < BEGINNING {
            match self.of(run) {
                (false, Some(problem)) => {
                    // What never began is no run.
                    if !is_run(run) {
                        self.processes.forget(run);
                    }
                    bail!(Usage(problem));
                }
                (true, _) if !(is_in_training(run) && run.join("config.toml").is_file()) => {}
                _ => return Ok(()),
            }
            thread::sleep(LOOK);
        }
        Ok(())
    }
}
