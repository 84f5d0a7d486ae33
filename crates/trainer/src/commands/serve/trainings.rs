//! Trainings that were started on the page: processes of this program, as a person would start them in a terminal.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::error::{INTERRUPTED, Usage};
use crate::invocation::another;
use crate::run::atomic_file::parent_of;
use crate::run::folder::is_in_training;
use crate::run::overview::is_run;

/// The trainings at once.
const AT_ONCE: usize = 4;

/// How long is waited for a training to begin; data may have to be read first.
const BEGINNING: Duration = Duration::from_secs(60);

/// How often is looked whether a process has ended.
const LOOK: Duration = Duration::from_millis(100);

/// The bytes of a line of a process's messages, and how many of its last lines are kept.
const LINE: u64 = 4096;
const LINES: usize = 20;

/// How long to train in all.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Budget {
    steps: Option<u64>,
    minutes: Option<f64>,
}

/// The processes that were started here.
#[derive(Debug)]
pub(super) struct Trainings {
    folder: PathBuf,
    data_dir: Option<PathBuf>,
    device: Option<String>,
    sessions: Sessions,
}

type Sessions = Arc<Mutex<HashMap<PathBuf, Session>>>;

/// The last training of a run that was started here.
#[derive(Debug)]
enum Session {
    Running {
        child: Child,
        is_stopped: bool,
    },
    /// With what it ended, if that was an error.
    Ended(Option<String>),
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
            sessions: Sessions::default(),
        }
    }

    /// Whether a training of `run` that was started here goes on, and with what error the last one ended.
    pub(super) fn of(&self, run: &Path) -> (bool, Option<String>) {
        match locked(&self.sessions).get(run) {
            Some(Session::Running { .. }) => (true, None),
            Some(Session::Ended(problem)) => (false, problem.clone()),
            None => (false, None),
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
        let mut sessions = locked(&self.sessions);
        let names = (1..).map(|number| match number {
            1 => name.to_owned(),
            _ => format!("{name}-{number}"),
        });
        let is_free = |name: &String| {
            let path = self.folder.join(name);
            !path.exists() && !sessions.contains_key(&path)
        };
        let name = names
            .take(10_000)
            .find(is_free)
            .context("there are too many runs of this name")?;
        let path = self.folder.join(&name);
        self.spawn(&mut sessions, &path, "--out", arguments, budget)?;
        drop(sessions);
        self.wait(&path)?;
        Ok(name)
    }

    /// Goes on with `run`.
    ///
    /// # Errors
    ///
    /// As of [`start`](Self::start).
    pub(super) fn resume(&self, run: &Path, budget: Budget) -> Result<()> {
        let mut sessions = locked(&self.sessions);
        let arguments = vec!["train".into()];
        self.spawn(&mut sessions, run, "--resume", arguments, budget)?;
        drop(sessions);
        self.wait(run)
    }

    /// Asks the training of `run` to finish its step and save, as Ctrl-C does.
    ///
    /// # Errors
    ///
    /// [`Usage`] where it was not started here.
    pub(super) fn stop(&self, run: &Path) -> Result<()> {
        match locked(&self.sessions).get_mut(run) {
            Some(Session::Running { child, is_stopped }) => {
                // A second time would end it at once.
                if !*is_stopped {
                    interrupt(child)?;
                    *is_stopped = true;
                }
                Ok(())
            }
            _ => bail!(Usage(
                "this training was not started here: Ctrl-C in its terminal stops it".to_owned()
            )),
        }
    }

    fn spawn(
        &self,
        sessions: &mut HashMap<PathBuf, Session>,
        run: &Path,
        option: &str,
        arguments: Vec<OsString>,
        budget: Budget,
    ) -> Result<()> {
        let running = |session: &&Session| matches!(session, Session::Running { .. });
        if sessions.get(run).as_ref().is_some_and(running) {
            bail!(Usage("it is in training already".to_owned()));
        }
        if sessions.values().filter(running).count() >= AT_ONCE {
            bail!(Usage(format!(
                "{AT_ONCE} trainings go on already: stop one first"
            )));
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
        let mut child = another(arguments, self.data_dir.as_deref(), self.device.as_deref())?
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start a training")?;
        let messages = child.stderr.take();
        let session = Session::Running {
            child,
            is_stopped: false,
        };
        sessions.insert(run.to_owned(), session);
        let (sessions, run) = (Arc::clone(&self.sessions), run.to_owned());
        thread::Builder::new()
            .name("training".to_owned())
            .spawn(move || watch(&sessions, &run, messages))
            .context("cannot watch the training")?;
        Ok(())
    }

    /// Waits until a training has begun, or ended before.
    fn wait(&self, run: &Path) -> Result<()> {
        let began = Instant::now();
        while began.elapsed() < BEGINNING {
            match self.of(run) {
                (false, Some(problem)) => {
                    // What never began is no run.
                    if !is_run(run) {
                        locked(&self.sessions).remove(run);
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

fn locked(sessions: &Sessions) -> MutexGuard<'_, HashMap<PathBuf, Session>> {
    sessions.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads what a process says until it ends, and keeps with what.
fn watch(sessions: &Sessions, run: &Path, messages: Option<ChildStderr>) {
    let said = messages.map(last_lines).unwrap_or_default();
    loop {
        let mut sessions = locked(sessions);
        let Some(Session::Running { child, .. }) = sessions.get_mut(run) else {
            return;
        };
        // Under the lock, so that no signal goes to a process of the same number that came after it.
        let ended = match child.try_wait() {
            Ok(None) => None,
            Ok(Some(status)) if status.success() => Some(None),
            Ok(Some(status)) if status.code() == Some(i32::from(INTERRUPTED)) => Some(None),
            Ok(Some(status)) => Some(Some(problem(&said, &status.to_string()))),
            Err(error) => Some(Some(error.to_string())),
        };
        if let Some(problem) = ended {
            sessions.insert(run.to_owned(), Session::Ended(problem));
            return;
        }
        drop(sessions);
        thread::sleep(LOOK);
    }
}

/// The last lines of what a process says, until it says no more.
fn last_lines(messages: impl Read) -> Vec<String> {
    let mut messages = BufReader::new(messages);
    let mut lines = Vec::new();
    loop {
        let mut line = Vec::new();
        match (&mut messages).take(LINE).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return lines,
            Ok(_) => {
                if lines.len() == LINES {
                    lines.remove(0);
                }
                lines.push(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
        }
    }
}

/// The error that a process ended with, as the command line says it.
fn problem(said: &[String], status: &str) -> String {
    let error = said.iter().rposition(|line| line.starts_with("error: "));
    match error {
        Some(first) => said[first..].join("\n").replacen("error: ", "", 1),
        None => match said.last() {
            Some(last) => format!("the training ended ({status}): {last}"),
            None => format!("the training ended ({status})"),
        },
    }
}

#[cfg(unix)]
fn interrupt(child: &Child) -> Result<()> {
    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;

    let number = i32::try_from(child.id()).context("the process has no number")?;
    kill(Pid::from_raw(number), Signal::SIGINT).context("cannot stop the training")
}

#[cfg(not(unix))]
fn interrupt(_child: &Child) -> Result<()> {
    bail!(Usage(
        "on this system a training can only be stopped in its terminal, with Ctrl-C".to_owned()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_told_as_the_command_line_tells_it() {
        let said = |text: &str| last_lines(text.as_bytes());
        let text = "   0.1s  INFO training\nerror: no data\n  see there\n";
        assert_eq!(problem(&said(text), "1"), "no data\n  see there");
        assert_eq!(
            problem(&said("killed\n"), "9"),
            "the training ended (9): killed"
        );
        assert_eq!(problem(&said(""), "9"), "the training ended (9)");
        let long = "x".repeat(100_000) + &"\ny".repeat(1000);
        let lines = said(&long);
        assert_eq!(lines.len(), LINES);
        assert!(lines.iter().all(|line| line.len() <= LINE as usize));
    }
}
