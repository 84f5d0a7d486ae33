//! Files that are either whole or not there: written under a temporary name, synced, renamed. What a killed
//! process left under such a name is removed by the next one that writes into the folder.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, PoisonError, RwLock, RwLockWriteGuard};
use std::time::Duration;

/// Writes `bytes` to `path`. An older file of that name stays as it is until the new one is whole;
/// on an error nothing is left behind. Folders above `path` are made.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let _is_being_written = BEING_WRITTEN.read().unwrap_or_else(PoisonError::into_inner);
    let parent = parent_of(path);
    fs::create_dir_all(parent)?;
    sweep_once(parent);
    let temporary = temporary_sibling(path);
    let result = write_synced(&temporary, bytes).and_then(|()| fs::rename(&temporary, path));
    if result.is_err() {
        // The first error is the one to tell; a file that was never made cannot be removed.
        let _ = fs::remove_file(&temporary);
    }
    result.and_then(|()| sync_folder(parent))
}

/// Held for reading while a file is written.
static BEING_WRITTEN: RwLock<()> = RwLock::new(());

/// Waits until no file is being written. None is begun as long as what is returned is held.
pub fn wait_until_whole() -> RwLockWriteGuard<'static, ()> {
    BEING_WRITTEN
        .write()
        .unwrap_or_else(PoisonError::into_inner)
}

/// Writes `bytes` to a new file at `path` and waits until they are on the disk.
pub fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Puts the folder `new`, which is whole, in the place of `old`, which may not be there. What was there goes
/// back if that fails, else it is removed.
pub fn replace_folder(new: &Path, old: &Path) -> io::Result<()> {
    if let Some(replaced) = swap_folder(new, old)? {
        fs::remove_dir_all(replaced)?;
    }
    Ok(())
}

/// As [`replace_folder`], but what was there stays, under the name that is returned.
pub fn swap_folder(new: &Path, old: &Path) -> io::Result<Option<PathBuf>> {
    if !old.exists() {
        fs::rename(new, old)?;
        return Ok(None);
    }
    let replaced = replaced_sibling(old);
    fs::rename(old, &replaced)?;
    if let Err(error) = fs::rename(new, old) {
        fs::rename(&replaced, old)?;
        return Err(error);
    }
    Ok(Some(replaced))
}

/// Puts back what [`swap_folder`] took out of the place `path`, if a kill came before anything else was in it.
/// What it took out before a kill that came later is returned.
pub fn recover_folder(path: &Path) -> io::Result<Option<PathBuf>> {
    let replaced = replaced_sibling(path);
    if !replaced.is_dir() {
        return Ok(None);
    }
    if path.exists() {
        return Ok(Some(replaced));
    }
    fs::rename(&replaced, path)?;
    Ok(None)
}

/// Removes a file or a folder with all that is in it.
pub fn remove(path: &Path) -> io::Result<()> {
    // A link to a folder is not the folder.
    if fs::symlink_metadata(path)?.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    }
}

/// Removes what killed processes left unfinished in `folder`: files and folders of a temporary name whose
/// process is gone. What cannot be removed is in nobody's way.
pub fn sweep(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        if is_left_behind(&entry) {
            let _ = remove(&entry.path());
        }
    }
}

/// As [`sweep`], once in the life of this process: more would take long in a folder of many files.
fn sweep_once(folder: &Path) {
    static SWEPT: LazyLock<Mutex<HashSet<PathBuf>>> = LazyLock::new(Mutex::default);
    let mut swept = SWEPT.lock().unwrap_or_else(PoisonError::into_inner);
    if swept.insert(folder.to_owned()) {
        sweep(folder);
    }
}

/// Whether an entry of a folder is unfinished and nobody will finish it.
fn is_left_behind(entry: &fs::DirEntry) -> bool {
    /// Nothing that is written here takes as long.
    const LONG: Duration = Duration::from_secs(3600);
    let name = entry.file_name();
    let name = name.to_string_lossy();
    let Some(process) = name
        .strip_prefix(TEMPORARY_PREFIX)
        .and_then(|name| name.rsplit('.').next()?.parse::<u32>().ok())
    else {
        return false;
    };
    if cfg!(target_os = "linux") && Path::new("/proc/self").exists() {
        return !Path::new(&format!("/proc/{process}")).exists();
    }
    // Elsewhere it takes more than the standard library to see whether a process is alive.
    let age = entry.metadata().and_then(|metadata| metadata.modified());
    process != std::process::id()
        && age.is_ok_and(|time| time.elapsed().is_ok_and(|age| age > LONG))
}

/// Waits until the entries of the folder are on the disk, where the system lets one wait for that.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

/// A name beside `path` for a file or folder that is not finished yet.
pub fn temporary_sibling(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{TEMPORARY_PREFIX}{name}.{}", std::process::id()))
}

/// Where the folder `path` goes while another takes its place. It is no temporary name: what is in it must
/// not be lost.
fn replaced_sibling(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".replaced-{name}"))
}

/// How the names of unfinished files and folders start.
pub const TEMPORARY_PREFIX: &str = ".unfinished-";

/// The folder that `path` is in.
pub fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/er/file.txt");
        write(&path, b"old").unwrap();
        write(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn what_a_killed_process_left_is_removed_and_nothing_else() {
        let mut gone = std::process::Command::new(std::env::current_exe().unwrap())
            .arg("--list")
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        gone.wait().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let left = |name: &str, process: u32| {
            folder
                .path()
                .join(format!("{TEMPORARY_PREFIX}{name}.{process}"))
        };
        fs::write(left("a.png", gone.id()), "half").unwrap();
        fs::create_dir(left("step-00000001", gone.id())).unwrap();
        fs::write(left("step-00000001", gone.id()).join("model"), "half").unwrap();
        // Of a process that still writes, and what is no name of ours.
        fs::write(left("b.png", std::process::id()), "half").unwrap();
        fs::write(folder.path().join(".unfinished-symphony"), "mine").unwrap();
        write(&folder.path().join("new.png"), b"whole").unwrap();
        let mut names: Vec<String> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        let ours = left("b.png", std::process::id());
        let ours = ours.file_name().unwrap().to_string_lossy();
        if cfg!(target_os = "linux") {
            assert_eq!(names, [&ours, ".unfinished-symphony", "new.png"]);
        }
    }

    #[test]
    fn a_kill_while_a_folder_is_swapped_loses_neither() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        fs::create_dir(replaced_sibling(&path)).unwrap();
        fs::write(replaced_sibling(&path).join("file"), "old").unwrap();
        // Before the new one was in its place.
        assert_eq!(recover_folder(&path).unwrap(), None);
        assert_eq!(fs::read_to_string(path.join("file")).unwrap(), "old");
        assert_eq!(recover_folder(&path).unwrap(), None);
        // After it.
        fs::create_dir(replaced_sibling(&path)).unwrap();
        assert_eq!(
            recover_folder(&path).unwrap(),
            Some(replaced_sibling(&path))
        );
    }

    #[test]
    fn a_failed_write_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("taken");
        fs::create_dir_all(path.join("by a folder")).unwrap();
        assert!(write(&path, b"bytes").is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
