//! The published tables and lists of lines: their files and checksums.

use std::path::{Path, PathBuf};

use super::error::TableFileError;
use crate::files::catalogue::{ADULT_FILES, DatasetFile, DatasetName, NAMES_FILE};
use crate::files::{read_file, sha256};

/// The most bytes of a published file.
const MAX_FILE_LEN: u64 = 16 << 20;

/// The file of a data set in its folder.
pub(crate) fn file_in(name: DatasetName, dir: &Path) -> PathBuf {
    let files: &[DatasetFile] = match name {
        DatasetName::Adult => &ADULT_FILES,
        _ => &[NAMES_FILE],
    };
    let paths = files.iter().map(|file| dir.join(file.name));
    let there = paths.clone().find(|path| path.exists());
    there
        .or_else(|| paths.clone().next())
        .unwrap_or_else(|| dir.to_owned())
}

/// Refuses a file whose SHA-256 `found` is not that of the published one.
pub(crate) fn check(name: DatasetName, path: &Path, found: &str) -> Result<(), TableFileError> {
    let expected = match name {
        DatasetName::Adult => ADULT_FILES[0].sha256,
        _ => NAMES_FILE.sha256,
    };
    if found == expected {
        return Ok(());
    }
    Err(TableFileError::Checksum {
        path: path.to_owned(),
        name,
        expected,
        found: found.to_owned(),
    })
}

/// Checks a file that was fetched.
pub(crate) fn verify(name: DatasetName, path: &Path) -> Result<(), TableFileError> {
    let bytes = read_file(path, MAX_FILE_LEN);
    let bytes = bytes.map_err(|source| TableFileError::Read {
        path: path.to_owned(),
        source,
    })?;
    check(name, path, &sha256(&[&bytes]))
}
