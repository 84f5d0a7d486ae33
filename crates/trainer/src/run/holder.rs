//! Which process trains in the folder of a run, and asking it to stop.
//!
//! A number in a file would not do: the process that wrote it may have ended, and another may have its number. What
//! the kernel says is always so: the process that trains is the one that holds the lock of the folder.

use std::path::Path;

use anyhow::Result;

/// A process, told apart from one that had its number before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
pub struct Holder {
    number: i32,
    /// In ticks of the clock since the machine was started.
    began: u64,
}

/// Asks the process that trains in `run` to finish its step and save, as Ctrl-C in its terminal does, and returns
/// which it was. It must be a process of this program and of this user. A second time would end it at once, so the one
/// that was `told` before is not told again.
///
/// # Errors
///
/// [`Usage`](crate::error::Usage) where there is no such process, or where the system does not say which it is.
pub fn interrupt(run: &Path, told: Option<Holder>) -> Result<Holder> {
    system::interrupt(run, told)
}

#[cfg(target_os = "linux")]
mod system {
    use std::env;
    use std::ffi::OsString;
    use std::fs::{self, Metadata};
    use std::os::unix::fs::MetadataExt as _;
    use std::path::{Path, PathBuf};

    use anyhow::{Context, Result, bail};
    use rustix::process::{Pid, PidfdFlags, Signal, getuid, pidfd_open, pidfd_send_signal};

    use super::Holder;
    use crate::error::Usage;
    use crate::run::folder::MARK;

    pub(super) fn interrupt(run: &Path, told: Option<Holder>) -> Result<Holder> {
        let mark = run.join(MARK);
        let mark =
            fs::metadata(&mark).with_context(|| format!("cannot read {}", mark.display()))?;
        let Some(process) = Process::that_holds(&mark) else {
            bail!(Usage(
                "no process of yours on this machine trains there: Ctrl-C in its terminal stops it"
                    .to_owned()
            ));
        };
        process.check()?;
        let pid = process.pid().context("the process has no number")?;
        // It stands for this one process, whoever has its number later.
        let handle = pidfd_open(pid, PidfdFlags::empty()).context("cannot reach the training")?;
        // Looked at again, since the number may have gone to another one just before.
        let holder = process.holder();
        let Some(holder) = holder.filter(|_| process.holds(&mark) && process.check().is_ok())
        else {
            bail!(Usage("the training has just ended".to_owned()));
        };
        if told != Some(holder) {
            pidfd_send_signal(handle, Signal::INT).context("cannot stop the training")?;
        }
        Ok(holder)
    }

    /// A process, by its folder in `/proc`.
    struct Process(PathBuf);

    impl Process {
        /// The one that holds the lock of this file; none where it is another user's, whose files are not shown.
        fn that_holds(mark: &Metadata) -> Option<Self> {
            let entries = fs::read_dir("/proc").ok()?.flatten();
            let processes = entries.map(|entry| Self(entry.path()));
            let mut processes = processes.filter(|process| process.pid().is_some());
            processes.find(|process| process.holds(mark))
        }

        fn pid(&self) -> Option<Pid> {
            let number = self.0.file_name()?.to_str()?.parse().ok()?;
            Pid::from_raw(number)
        }

        fn holder(&self) -> Option<Holder> {
            /// Where its beginning stands behind the name of the program, which may hold anything (proc_pid_stat(5)).
            const BEGAN: usize = 19;
            let about = fs::read_to_string(self.0.join("stat")).ok()?;
            let (_, fields) = about.rsplit_once(')')?;
            Some(Holder {
                number: self.pid()?.as_raw_pid(),
                began: fields.split_whitespace().nth(BEGAN)?.parse().ok()?,
            })
        }

        /// Whether it has the file open, and locked against all others.
        fn holds(&self, mark: &Metadata) -> bool {
            let Ok(files) = fs::read_dir(self.0.join("fd")) else {
                return false;
            };
            let is_mark = |path: &Path| {
                let found = fs::metadata(path);
                found.is_ok_and(|found| (found.dev(), found.ino()) == (mark.dev(), mark.ino()))
            };
            let is_locked = |number: OsString| {
                let about = fs::read_to_string(self.0.join("fdinfo").join(number));
                let lock = |line: &str| {
                    line.starts_with("lock:") && line.contains("FLOCK") && line.contains("WRITE")
                };
                about.is_ok_and(|about| about.lines().any(lock))
            };
            files
                .flatten()
                .any(|file| is_mark(&file.path()) && is_locked(file.file_name()))
        }

        /// Refuses one of another program or of another user than this.
        fn check(&self) -> Result<(), Usage> {
            self.check_against(getuid().as_raw(), env::current_exe().ok())
        }

        /// Refuses one of another user, or of a program of another name.
        fn check_against(&self, user: u32, program: Option<PathBuf>) -> Result<(), Usage> {
            let refuse = |why: &str| {
                Err(Usage(format!(
                    "{why} holds the lock of the run: it is left alone"
                )))
            };
            let owner = fs::metadata(&self.0).map(|folder| folder.uid());
            if owner.ok() != Some(user) {
                return refuse("another user");
            }
            let name = |program: PathBuf| {
                let name = program.file_name()?.to_str()?.to_owned();
                // Of one that was built anew meanwhile.
                let name = name
                    .strip_suffix(" (deleted)")
                    .map(str::to_owned)
                    .unwrap_or(name);
                Some(name)
            };
            let its = fs::read_link(self.0.join("exe")).ok().and_then(name);
            if its.is_none() || its != program.and_then(name) {
                return refuse("another program");
            }
            Ok(())
        }
    }

    #[cfg(test)]
    mod tests {
        #![allow(clippy::unwrap_used)]

        use super::*;

        /// Who may be told to stop, without the rights that a process of another user would need:
        /// `tests/trainer/page.rs` has one where it may.
        #[test]
        fn a_process_is_of_this_user_and_of_this_program_or_is_left_alone() {
            let me = Process(PathBuf::from("/proc/self"));
            let (user, program) = (getuid().as_raw(), env::current_exe().unwrap());
            let said = |user: u32, program: Option<PathBuf>| {
                let checked = me.check_against(user, program);
                checked.map_err(|error| error.to_string())
            };
            assert_eq!(said(user, Some(program.clone())), Ok(()));
            // Also where its file was built anew.
            let mut deleted = program.clone().into_os_string();
            deleted.push(" (deleted)");
            assert_eq!(said(user, Some(deleted.into())), Ok(()));
            let refused = |who: &str| -> Result<(), String> {
                Err(format!("{who} holds the lock of the run: it is left alone"))
            };
            let other = user.wrapping_add(1);
            assert_eq!(said(other, Some(program)), refused("another user"));
            assert_eq!(
                said(user, Some("/bin/sleep".into())),
                refused("another program")
            );
            assert_eq!(said(user, None), refused("another program"));
            // One that has ended meanwhile is nobody's.
            let gone = Process(PathBuf::from("/proc/none"));
            assert!(gone.check_against(user, None).is_err());
            assert!(gone.holder().is_none() && gone.pid().is_none());
        }

        /// The lock is held by whoever has it open and locked, and by nobody who has it open alone.
        #[test]
        fn the_holder_of_a_lock_is_found() {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join(MARK);
            let file = fs::File::create(&path).unwrap();
            let mark = fs::metadata(&path).unwrap();
            let me = Process(PathBuf::from("/proc/self"));
            assert!(!me.holds(&mark));
            assert!(Process::that_holds(&mark).is_none());
            file.lock().unwrap();
            assert!(me.holds(&mark));
            let holder = Process::that_holds(&mark).and_then(|process| process.pid());
            assert_eq!(holder, Some(rustix::process::getpid()));
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use std::path::Path;

    use anyhow::{Result, bail};

    use super::Holder;
    use crate::error::Usage;

    pub(super) fn interrupt(_run: &Path, _told: Option<Holder>) -> Result<Holder> {
        bail!(Usage(
            "this training was not started here, and on this system only Ctrl-C in its terminal stops it".to_owned()
        ))
    }
}
