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
//!   nearest.png, .wav      the images that came nearest to training images, and those, by it too; of sounds the
//!                          training recordings also to be heard
//!   report.html            what `trainer report` wrote
//! ```

use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::error::Usage;
use crate::invocation::hint;
use crate::run::{atomic_file, checkpoint, read};

/// The folder of a run, locked against a second writer as long as this value lives.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    /// Whether there was no such folder before.
    is_made: bool,
    /// Locked, for as long as somebody trains here.
    mark: File,
}

/// The name of what marks a folder as a run; also the lock.
pub(super) const MARK: &str = ".run";

/// Everything that a run puts into its folder.
const CONTENTS: [&str; 13] = [
    "config.toml",
    "metrics.jsonl",
    "metrics.csv",
    "loss.png",
    "fid.png",
    "summary.json",
    "scores.json",
    "nearest.png",
    "nearest.wav",
    "report.html",
    "samples",
    "checkpoints",
    MARK,
];

impl RunFolder {
    /// The place of a new run at `path`. With `overwrite` there may be a run, which stays as it is until
    /// [`clear`](Self::clear); anything else that is there is never touched. A folder that is made for it goes
    /// again if nothing was written into it.
    pub fn create(path: &Path, overwrite: bool) -> Result<Self> {
        check_free(path, overwrite)?;
        let is_made = !path.exists();
        fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self {
            path: path.to_owned(),
            is_made,
            mark: lock(path)?,
        })
    }

    /// Removes the run that was there before.
    pub fn clear(&self) -> Result<()> {
        for name in CONTENTS.iter().filter(|name| **name != MARK) {
            let path = self.path.join(name);
            match atomic_file::remove(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                removed => removed.with_context(|| format!("cannot remove {}", path.display()))?,
            }
        }
        atomic_file::sweep(&self.path);
        Ok(())
    }

    /// A new run at `path` that `fill` fills, whole or not there at all: it is filled under a temporary name
    /// and then renamed. With `overwrite` a run that is there is removed after that; what is in its folder
    /// and no part of a run goes into the new one.
    pub fn create_whole(
        path: &Path,
        overwrite: bool,
        fill: impl FnOnce(&Self) -> Result<()>,
    ) -> Result<()> {
        finish_replacing(path)?;
        check_free(path, overwrite)?;
        // Nobody may be training in the old one.
        let old = path.join(MARK).is_file().then(|| lock(path)).transpose()?;
        let parent = atomic_file::parent_of(path);
        fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        let unfinished = atomic_file::temporary_sibling(path);
        // What a process of the same number left behind when it was killed.
        let _ = fs::remove_dir_all(&unfinished);
        let filled = Self::create(&unfinished, false).and_then(|folder| fill(&folder));
        let swapped = filled.and_then(|()| {
            atomic_file::swap_folder(&unfinished, path)
                .with_context(|| format!("cannot write {}", path.display()))
        });
        drop(old);
        let replaced = swapped.inspect_err(|_| {
            // The first error is the one to tell.
            let _ = fs::remove_dir_all(&unfinished);
        })?;
        atomic_file::sync_folder(parent)?;
        atomic_file::sweep(parent);
        replaced.map_or(Ok(()), |replaced| remove_replaced(&replaced, path))
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
        let folder = Self {
            path: path.to_owned(),
            is_made: false,
            mark: lock(path)?,
        };
        for place in [path, &path.join("samples")] {
            atomic_file::sweep(place);
        }
        Ok(folder)
    }

    /// Says on what is trained here, for whoever looks on: [`device_of`].
    ///
    /// # Errors
    ///
    /// A file that cannot be written.
    pub fn tell_device(&self, names: &str) -> io::Result<()> {
        self.mark.set_len(0)?;
        (&self.mark).write_all(names.as_bytes())
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
        grid(&self.path, step)
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

impl Drop for RunFolder {
    /// A run that never began leaves nothing behind.
    fn drop(&mut self) {
        let is_empty = || {
            let entries = fs::read_dir(&self.path)?;
            io::Result::Ok(entries.flatten().all(|entry| entry.file_name() == MARK))
        };
        if self.is_made && is_empty().is_ok_and(|is_empty| is_empty) {
            // If it cannot be removed, it is in nobody's way.
            let _ = fs::remove_file(self.path.join(MARK));
            let _ = fs::remove_dir(&self.path);
        }
    }
}

/// The grid that the run in a folder drew at a step.
pub fn grid(run: &Path, step: u64) -> PathBuf {
    run.join(format!("samples/step-{step:08}.png"))
}

/// The steps at which the run in a folder drew a grid, in order.
pub fn grids(run: &Path) -> Vec<u64> {
    let Ok(entries) = fs::read_dir(run.join("samples")) else {
        return Vec::new();
    };
    let step = |entry: fs::DirEntry| {
        let name = entry.file_name();
        let name = name.to_str()?.strip_prefix("step-")?;
        name.strip_suffix(".png")?.parse().ok()
    };
    let mut steps: Vec<u64> = entries.flatten().filter_map(step).collect();
    steps.sort_unstable();
    steps
}

/// On what was trained last in a folder, or is just now, where that is known.
pub fn device_of(run: &Path) -> Option<String> {
    /// More than any names of devices take.
    const MOST_BYTES: u64 = 1024;
    let names = read::read(&run.join(MARK), MOST_BYTES).ok()?;
    String::from_utf8(names)
        .ok()
        .filter(|names| !names.is_empty())
}

/// Whether a process is training in a folder just now.
pub fn is_in_training(run: &Path) -> bool {
    let mark = run.join(MARK);
    let opened = read::check_regular(&mark).and_then(|()| File::open(&mark));
    // Shared, so that those who only look do not see each other, and let go at once.
    opened.is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// Ends what a kill in the middle of [`RunFolder::create_whole`] left: the run that was there goes back, or is
/// removed where the new one has taken its place.
fn finish_replacing(path: &Path) -> Result<()> {
    let recovered = atomic_file::recover_folder(path)
        .with_context(|| format!("cannot put the older run of {} back", path.display()))?;
    recovered.map_or(Ok(()), |replaced| remove_replaced(&replaced, path))
}

/// Removes a run that another one at `path` has taken the place of. What is in its folder and no part of a run
/// goes into the new one.
fn remove_replaced(replaced: &Path, path: &Path) -> Result<()> {
    let moved = || -> io::Result<()> {
        for entry in fs::read_dir(replaced)? {
            let name = entry?.file_name();
            if !CONTENTS.iter().any(|known| name == *known) {
                fs::rename(replaced.join(&name), path.join(&name))?;
            }
        }
        fs::remove_dir_all(replaced)
    };
    moved().with_context(|| format!("cannot remove {}", replaced.display()))
}

/// Refuses a place that holds anything but, with `overwrite`, a run.
///
/// # Errors
///
/// [`Usage`] with what is there, or why it cannot be looked at.
pub fn check_free(path: &Path, overwrite: bool) -> Result<()> {
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
            "{} holds a run already: go on with `{}`, or start over with `--overwrite`",
            path.display(),
            hint(&format!("train --resume {}", path.display()))
        )));
    }
    if !is_run && !is_empty {
        bail!(Usage(format!(
            "{} is not empty and not a run: choose another folder",
            path.display()
        )));
    }
    Ok(())
}

/// How often, and how long apart, a lock is tried for.
const LOOKS: usize = 5;
const LOOK: Duration = Duration::from_millis(10);

fn lock(path: &Path) -> Result<File> {
    let mark = path.join(MARK);
    // Opening a pipe would wait for a reader.
    match read::check_regular(&mark) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        checked => checked.with_context(|| format!("cannot lock {}", mark.display()))?,
    }
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&mark)
        .with_context(|| format!("cannot write to {}", path.display()))?;
    // Who only looks whether anybody trains there (`is_in_training`) lets go at once.
    let mut locked = file.try_lock();
    for _ in 0..LOOKS {
        if !matches!(locked, Err(TryLockError::WouldBlock)) {
            break;
        }
        thread::sleep(LOOK);
        locked = file.try_lock();
    }
    match locked {
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
        assert!(is_in_training(&path));
        drop(first);
        assert!(!is_in_training(&path));

        let error = RunFolder::create(&path, false).unwrap_err().to_string();
        assert!(
            error.contains("--resume") && error.contains("--overwrite"),
            "{error}"
        );

        let second = RunFolder::create(&path, true).unwrap();
        assert!(
            second.config().exists(),
            "nothing is removed before it must"
        );
        second.clear().unwrap();
        assert!(!second.config().exists());
    }

    #[test]
    fn a_run_that_never_began_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        drop(RunFolder::create(&path, false).unwrap());
        assert!(!path.exists());
        // A folder that was there stays, and one with something in it too.
        fs::create_dir(&path).unwrap();
        drop(RunFolder::create(&path, false).unwrap());
        assert!(path.exists());
        let other = folder.path().join("other");
        let run = RunFolder::create(&other, false).unwrap();
        fs::write(run.config(), "begun").unwrap();
        drop(run);
        assert!(other.join(MARK).exists());
    }

    #[test]
    fn a_kill_while_a_run_is_replaced_loses_neither() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        let config = |text: &'static str| move |run: &RunFolder| Ok(fs::write(run.config(), text)?);
        RunFolder::create_whole(&path, false, config("old")).unwrap();
        fs::write(path.join("notes.txt"), "mine").unwrap();
        let aside = folder.path().join(".replaced-run");

        // Killed between the two renames: the old run is back, and not overwritten unasked.
        fs::rename(&path, &aside).unwrap();
        let error = RunFolder::create_whole(&path, false, config("new")).unwrap_err();
        assert!(error.to_string().contains("holds a run already"), "{error}");
        assert_eq!(fs::read_to_string(path.join("config.toml")).unwrap(), "old");

        // Killed after them: what was no part of the old run is not lost.
        fs::rename(&path, &aside).unwrap();
        fs::create_dir(&path).unwrap();
        fs::write(path.join(MARK), "").unwrap();
        RunFolder::create_whole(&path, true, config("newest")).unwrap();
        assert_eq!(fs::read_to_string(path.join("notes.txt")).unwrap(), "mine");
        assert_eq!(
            fs::read_to_string(path.join("config.toml")).unwrap(),
            "newest"
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_run_that_is_made_whole_replaces_the_old_one_only_when_it_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        let config = |text: &'static str| move |run: &RunFolder| Ok(fs::write(run.config(), text)?);
        RunFolder::create_whole(&path, false, config("old")).unwrap();
        fs::write(path.join("notes.txt"), "mine").unwrap();
        assert!(RunFolder::create_whole(&path, false, config("new")).is_err());

        let fails = |run: &RunFolder| -> Result<()> {
            // As a kill would leave it: the old run is still whole.
            fs::write(run.config(), "half")?;
            assert_eq!(fs::read_to_string(path.join("config.toml"))?, "old");
            bail!("the disk is full")
        };
        assert!(RunFolder::create_whole(&path, true, fails).is_err());
        assert_eq!(fs::read_to_string(path.join("config.toml")).unwrap(), "old");

        RunFolder::create_whole(&path, true, config("new")).unwrap();
        assert_eq!(fs::read_to_string(path.join("config.toml")).unwrap(), "new");
        assert_eq!(fs::read_to_string(path.join("notes.txt")).unwrap(), "mine");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);

        let training = RunFolder::create(&path, true).unwrap();
        let error = RunFolder::create_whole(&path, true, config("newer")).unwrap_err();
        assert!(
            error.to_string().starts_with("another process is training"),
            "{error}"
        );
        drop(training);
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
