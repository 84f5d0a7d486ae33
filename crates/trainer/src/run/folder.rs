//! The folder of a run, and who may write into it.
//!
//! ```text
//! runs/mnist/
//!   config.toml            the configuration, every key in it
//!   metrics.jsonl, .csv    a line each time the loss is written or measured on the test split
//!   loss.png               both as curves
//!   fid.png                the FID as a curve, where [evaluation] asks for it
//!   samples/               grids drawn during training
//!   checkpoints/           see checkpoint.rs
//!   summary.json           what the run came to and how long it took
//!   scores.json            what `trainer evaluate` measured last
//!   nearest.png            the images that came nearest to training images, and those, by it too
//! ```

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::error::Usage;
use crate::run::checkpoint;

/// The folder of a run, locked against a second writer as long as this value lives.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    _lock: File,
}

/// The name of what marks a folder as a run; also the lock.
const MARK: &str = ".run";

/// Everything that a run puts into its folder.
const CONTENTS: [&str; 11] = [
    "config.toml",
    "metrics.jsonl",
    "metrics.csv",
    "loss.png",
    "fid.png",
    "summary.json",
    "scores.json",
    "nearest.png",
    "samples",
    "checkpoints",
    MARK,
];

impl RunFolder {
    /// A new run at `path`. With `overwrite` a run that is there is removed first; anything else
    /// that is there is never touched.
    pub fn create(path: &Path, overwrite: bool) -> Result<Self> {
        let is_run = path.join(MARK).is_file();
        let is_empty = match fs::read_dir(path) {
            Ok(mut entries) => entries.next().is_none(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => true,
            Err(error) => {
                return Err(error).with_context(|| format!("cannot use {}", path.display()));
            }
        };
        if is_run && !overwrite {
            bail!(Usage(format!(
                "{path} holds a run already: go on with `trainer train --resume {path}`, or start \
                 over with `--overwrite`",
                path = path.display()
            )));
        }
        if !is_run && !is_empty {
            bail!(Usage(format!(
                "{} is not empty and not a run: choose another folder",
                path.display()
            )));
        }
        fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))?;
        let lock = lock(path)?;
        for name in CONTENTS {
            let path = path.join(name);
            let removed = if path.is_dir() {
                fs::remove_dir_all(&path)
            } else if name != MARK && path.exists() {
                fs::remove_file(&path)
            } else {
                Ok(())
            };
            removed.with_context(|| format!("cannot remove {}", path.display()))?;
        }
        Ok(Self {
            path: path.to_owned(),
            _lock: lock,
        })
    }

    /// The run at `path`, to go on with.
    pub fn open(path: &Path) -> Result<Self> {
        if checkpoint::list(&path.join("checkpoints"))?.is_empty() {
            bail!(Usage(format!(
                "there is nothing to resume in {}: expected the folder of a run with a checkpoint \
                 in checkpoints/",
                path.display()
            )));
        }
        Ok(Self {
            path: path.to_owned(),
            _lock: lock(path)?,
        })
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The configuration, for a person to read.
    pub fn config(&self) -> PathBuf {
        self.path.join("config.toml")
    }

    /// The folder of the checkpoints.
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    /// The grid drawn at a step.
    pub fn grid(&self, step: u64) -> PathBuf {
        self.path.join(format!("samples/step-{step:08}.png"))
    }

    /// The FID over the time of training.
    pub fn fid_curve(&self) -> PathBuf {
        self.path.join("fid.png")
    }

    /// The curves of the loss.
    pub fn loss_curve(&self) -> PathBuf {
        self.path.join("loss.png")
    }

    /// What the run came to.
    pub fn summary(&self) -> PathBuf {
        self.path.join("summary.json")
    }
}

fn lock(path: &Path) -> Result<File> {
    let mark = path.join(MARK);
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&mark)
        .with_context(|| format!("cannot write to {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => bail!(
            "another process is training in {}: wait for it, or choose another folder with --out",
            path.display()
        ),
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("cannot lock {}", mark.display()))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_run_is_not_started_over_unasked_and_not_written_twice_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        let first = RunFolder::create(&path, false).unwrap();
        fs::write(first.config(), "old").unwrap();

        let error = RunFolder::create(&path, true).unwrap_err().to_string();
        assert!(error.starts_with("another process is training"), "{error}");
        drop(first);

        let error = RunFolder::create(&path, false).unwrap_err().to_string();
        assert!(
            error.contains("--resume") && error.contains("--overwrite"),
            "{error}"
        );

        let second = RunFolder::create(&path, true).unwrap();
        assert!(!second.config().exists());
    }

    #[test]
    fn a_folder_that_is_not_a_run_is_never_touched() {
        let folder = tempfile::tempdir().unwrap();
        let precious = folder.path().join("config.toml");
        fs::write(&precious, "precious").unwrap();
        assert!(RunFolder::create(folder.path(), true).is_err());
        assert_eq!(fs::read_to_string(&precious).unwrap(), "precious");
    }

    #[test]
    fn there_must_be_a_checkpoint_to_resume_from() {
        let folder = tempfile::tempdir().unwrap();
        let error = RunFolder::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("nothing to resume"), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
