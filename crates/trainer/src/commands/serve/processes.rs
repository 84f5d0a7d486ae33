//! Processes of this program that were started from the page, one a folder: what they say, how they are stopped, and
//! with what they end.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::error::{INTERRUPTED, Usage};
use crate::threads::share_with;

/// How often is looked whether a process has ended.
pub(super) const LOOK: Duration = Duration::from_millis(100);

/// The bytes of a line of a process's messages, and how many of its last lines are kept.
const LINE: u64 = 4096;
const LINES: usize = 20;

/// Processes that do one thing, each for a folder.
#[derive(Debug, Clone)]
pub(super) struct Processes {
    /// What they do, as in "trainings".
    what: &'static str,
    /// How many may run at once.
    most: usize,
    sessions: Sessions,
}

type Sessions = Arc<Mutex<HashMap<PathBuf, Session>>>;

/// The last process of a folder.
#[derive(Debug)]
enum Session {
    Running {
        child: Child,
        is_stopped: bool,
        /// Its last line.
        said: String,
    },
    /// With what it ended, if that was an error.
    Ended(Option<String>),
}

/// What the last process of a folder does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Doing {
    /// It runs, and this is what it said last.
    Running(String),
    /// It ended with this error, if with any; or there was none.
    Nothing(Option<String>),
}

impl Processes {
    /// None yet, of which `most` may run at once; they are `what`, as in "trainings".
    pub(super) fn new(what: &'static str, most: usize) -> Self {
        Self {
            what,
            most,
            sessions: Sessions::default(),
        }
    }

    /// What that of `folder` does.
    pub(super) fn of(&self, folder: &Path) -> Doing {
        match self.locked().get(folder) {
            Some(Session::Running { said, .. }) => Doing::Running(said.clone()),
            Some(Session::Ended(problem)) => Doing::Nothing(problem.clone()),
            None => Doing::Nothing(None),
        }
    }

    /// Whether there was one for `folder`.
    pub(super) fn has(&self, folder: &Path) -> bool {
        self.locked().contains_key(folder)
    }

    /// Forgets with what that of `folder` ended.
    pub(super) fn forget(&self, folder: &Path) {
        self.locked().remove(folder);
    }

    /// Starts `command` for `folder`.
    ///
    /// # Errors
    ///
    /// [`Usage`] where one runs there, or too many do, and a process that cannot be started.
    pub(super) fn start(&self, folder: &Path, mut command: Command) -> Result<()> {
        let mut sessions = self.locked();
        let running = |session: &&Session| matches!(session, Session::Running { .. });
        let Self { what, most, .. } = self;
        if sessions.get(folder).as_ref().is_some_and(running) {
            bail!(Usage(format!("one of the {what} goes on there already")));
        }
        if sessions.values().filter(running).count() >= *most {
            bail!(Usage(format!(
                "{most} {what} go on already: stop one first"
            )));
        }
        share_with(&mut command);
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start one of the {what}"))?;
        let messages = child.stderr.take();
        let session = Session::Running {
            child,
            is_stopped: false,
            said: String::new(),
        };
        sessions.insert(folder.to_owned(), session);
        drop(sessions);
        let (all, folder) = (self.clone(), folder.to_owned());
        thread::Builder::new()
            .name("watch".to_owned())
            .spawn(move || all.watch(&folder, messages))
            .context("cannot watch the process")?;
        Ok(())
    }

    /// Asks that of `folder` to stop, as Ctrl-C does; returns whether one runs.
    ///
    /// # Errors
    ///
    /// A system that does not let it be asked.
    pub(super) fn stop(&self, folder: &Path) -> Result<bool> {
        let mut sessions = self.locked();
        let Some(Session::Running {
            child, is_stopped, ..
        }) = sessions.get_mut(folder)
        else {
            return Ok(false);
        };
        // A second time would end it at once.
        if !*is_stopped {
            interrupt(child)?;
            *is_stopped = true;
        }
        Ok(true)
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<PathBuf, Session>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads what a process says until it ends, and keeps with what.
    fn watch(&self, folder: &Path, messages: Option<ChildStderr>) {
        let last = |line: &str| {
            if let Some(Session::Running { said, .. }) = self.locked().get_mut(folder) {
                without_time(line).clone_into(said);
            }
        };
        let said = messages
            .map(|messages| last_lines(messages, last))
            .unwrap_or_default();
        loop {
            let mut sessions = self.locked();
            let Some(Session::Running { child, .. }) = sessions.get_mut(folder) else {
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
                sessions.insert(folder.to_owned(), Session::Ended(problem));
                return;
            }
            drop(sessions);
            thread::sleep(LOOK);
        }
    }
}

/// The last lines of what a process says, until it says no more; `heard` is told each.
fn last_lines(messages: impl Read, heard: impl Fn(&str)) -> Vec<String> {
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
                let line = String::from_utf8_lossy(&line).trim_end().to_owned();
                heard(&line);
                lines.push(line);
            }
        }
    }
}

/// A line of the log without its time and level, as in `   1.2s  INFO denoising: 3 of 10`.
fn without_time(line: &str) -> &str {
    line.split_once("INFO ")
        .map_or(line, |(_, said)| said)
        .trim()
}

/// The error that a process ended with, as the command line says it.
fn problem(said: &[String], status: &str) -> String {
    let error = said.iter().rposition(|line| line.starts_with("error: "));
    match error {
        Some(first) => said[first..].join("\n").replacen("error: ", "", 1),
        None => match said.last() {
            Some(last) => format!("the process ended ({status}): {last}"),
            None => format!("the process ended ({status})"),
        },
    }
}

#[cfg(unix)]
fn interrupt(child: &Child) -> Result<()> {
    use rustix::process::{Pid, Signal, kill_process};

    kill_process(Pid::from_child(child), Signal::INT).context("cannot stop the process")
}

#[cfg(not(unix))]
fn interrupt(_child: &Child) -> Result<()> {
    bail!(Usage(
        "on this system a process can only be stopped in its terminal, with Ctrl-C".to_owned()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_told_as_the_command_line_tells_it() {
        let said = |text: &str| last_lines(text.as_bytes(), |_| {});
        let text = "   0.1s  INFO training\nerror: no data\n  see there\n";
        assert_eq!(problem(&said(text), "1"), "no data\n  see there");
        assert_eq!(
            problem(&said("killed\n"), "9"),
            "the process ended (9): killed"
        );
        assert_eq!(problem(&said(""), "9"), "the process ended (9)");
        let long = "x".repeat(100_000) + &"\ny".repeat(1000);
        let lines = said(&long);
        assert_eq!(lines.len(), LINES);
        assert!(lines.iter().all(|line| line.len() <= LINE as usize));
    }

    #[test]
    fn the_last_line_is_told_as_it_comes() {
        let told = std::cell::RefCell::new(Vec::new());
        let text = "     0.1s  INFO denoising: 3 of 10\nwarning\n";
        last_lines(text.as_bytes(), |line| {
            told.borrow_mut().push(without_time(line).to_owned());
        });
        assert_eq!(*told.borrow(), ["denoising: 3 of 10", "warning"]);
    }
}
