//! Files that are either whole or not there: written under a temporary name, synced, renamed.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock, RwLockWriteGuard};

/// Writes `bytes` to `path`. An older file of that name stays as it is until the new one is whole;
/// on an error nothing is left behind. Folders above `path` are made.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let _is_being_written = BEING_WRITTEN.read().unwrap_or_else(PoisonError::into_inner);
    let parent = parent_of(path);
    fs::create_dir_all(parent)?;
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
    let mut name = new.file_name().unwrap_or_default().to_owned();
    name.push(".old");
    let replaced = new.with_file_name(name);
    fs::rename(old, &replaced)?;
    if let Err(error) = fs::rename(new, old) {
        fs::rename(&replaced, old)?;
        return Err(error);
    }
    Ok(Some(replaced))
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
    fn a_failed_write_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("taken");
        fs::create_dir_all(path.join("by a folder")).unwrap();
        assert!(write(&path, b"bytes").is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
