//! Whether a file can be written where the command line says, asked before the work that makes it.

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::error::Usage;
use crate::run::atomic_file::{parent_of, temporary_sibling};

/// Refuses a file that cannot be written: where a folder of that name is, or where its own folder neither is
/// nor can be made. `option` is what names it on the command line.
///
/// # Errors
///
/// [`Usage`] where another name is needed, else why nothing can be written there.
pub fn check_file(option: &str, path: &Path) -> Result<()> {
    if path.is_dir() || path.file_name().is_none() {
        bail!(Usage(format!(
            "{option} {}: it is a folder, expected the name of a file",
            path.display()
        )));
    }
    check_folder(option, parent_of(path))
}

/// As [`check_file`], for a folder that files are written into.
///
/// # Errors
///
/// As of [`check_file`].
pub fn check_folder(option: &str, path: &Path) -> Result<()> {
    let existing = path.ancestors().find(|folder| folder.exists());
    // Of a relative path the last is empty, and means the working folder.
    let existing = existing.unwrap_or(Path::new("."));
    let existing = if existing.as_os_str().is_empty() {
        Path::new(".")
    } else {
        existing
    };
    if !existing.is_dir() {
        bail!(Usage(format!(
            "{option}: {} is a file, and cannot hold others: expected a folder",
            existing.display()
        )));
    }
    let probe = temporary_sibling(&existing.join("probe"));
    File::create(&probe).with_context(|| {
        format!(
            "{option}: nothing can be written into {}",
            existing.display()
        )
    })?;
    fs::remove_file(&probe).with_context(|| format!("cannot remove {}", probe.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn only_what_can_be_written_passes_and_nothing_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        fs::write(path.join("file"), "").unwrap();
        check_file("--out", &path.join("new.png")).unwrap();
        check_file("--out", &path.join("file")).unwrap();
        check_file("--out", &path.join("deep/er/new.png")).unwrap();
        check_file("--out", Path::new("new.png")).unwrap();
        for bad in ["", "file/new.png", "file/deep/new.png"] {
            let error = check_file("--out", &path.join(bad)).unwrap_err();
            assert!(error.is::<Usage>(), "{error}");
        }
        assert_eq!(fs::read_dir(path).unwrap().count(), 1);
    }
}
