//! Published data sets of all kinds as they are fetched.

use std::path::Path;

use crate::files::DatasetName;
use crate::images::{self, DatasetError};
use crate::sounds::{self, FsddError};
use crate::tables::{self, TableFileError};

/// Why a file that was fetched is not the published one.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// It belongs to a data set of images.
    #[error(transparent)]
    Images(#[from] DatasetError),
    /// It belongs to the Free Spoken Digit Dataset.
    #[error(transparent)]
    Fsdd(#[from] FsddError),
    /// It is a table, or lines of text.
    #[error(transparent)]
    Table(#[from] TableFileError),
}

/// Checks a file that was fetched as `download`, one of [`DatasetName::downloads`], against the
/// published SHA-256 of what is in it.
///
/// # Errors
///
/// [`DownloadError`]: another checksum, or what keeps the file from being read.
pub fn verify_download(
    name: DatasetName,
    download: &str,
    path: &Path,
) -> Result<(), DownloadError> {
    match name {
        DatasetName::Mnist | DatasetName::FashionMnist | DatasetName::Cifar10 => {
            Ok(images::verify_download(name, download, path)?)
        }
        DatasetName::Fsdd => Ok(sounds::verify_archive(path)?),
        DatasetName::Adult | DatasetName::Names => Ok(tables::verify(name, path)?),
    }
}
