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

/// Refuses bytes that are not those of the published file.
pub(crate) fn check(name: DatasetName, path: &Path, bytes: &[u8]) -> Result<(), TableFileError> {
    let expected = match name {
        DatasetName::Adult => ADULT_FILES[0].sha256,
        _ => NAMES_FILE.sha256,
    };
    let found = sha256(&[bytes]);
    if found == expected {
        return Ok(());
    }
    Err(TableFileError::Checksum {
        path: path.to_owned(),
        name,
        expected,
        found,
    })
}

/// Checks a file that was fetched.
pub(crate) fn verify(name: DatasetName, path: &Path) -> Result<(), TableFileError> {
    let bytes = read_file(path, MAX_FILE_LEN);
    let bytes = bytes.map_err(|source| TableFileError::Read {
        path: path.to_owned(),
        source,
    })?;
    check(name, path, &bytes)
}
