//! What can be wrong with a dataset.

use std::io;
use std::path::PathBuf;

use super::cifar10::Cifar10Error;
use super::idx::IdxError;
use crate::files::DatasetName;

/// Why a dataset cannot be loaded: which file, what is wrong with it and what to do.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// The data set holds no images.
    #[error("the data set {name} holds sounds, not images")]
    NotImages {
        /// The data set.
        name: DatasetName,
    },
    /// Some of the dataset's files are there, this one is not.
    #[error(
        "{} is missing, and so is {file}.gz beside it; put either there \
         (data/README.md says where they come from)", path.display()
    )]
    MissingFile {
        /// Where the unpacked file would lie.
        path: PathBuf,
        /// Its name.
        file: &'static str,
    },
    /// A file cannot be opened.
    #[error("cannot open {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file is not the IDX file that it should be.
    #[error("{} is damaged or not an IDX file; fetch it again", path.display())]
    Idx {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        source: IdxError,
    },
    /// A file is not the binary batch of CIFAR-10 that it should be.
    #[error("{} is damaged or not a CIFAR-10 batch; fetch it again", path.display())]
    Cifar10 {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        source: Cifar10Error,
    },
    /// A file holds an array of another shape than the dataset's.
    #[error(
        "{} holds an array of shape {found:?}, the dataset {name} has {expected:?} here; \
         it may belong to another dataset or split", path.display()
    )]
    Shape {
        /// The file.
        path: PathBuf,
        /// The dataset.
        name: DatasetName,
        /// The shape that the dataset has.
        expected: Vec<u32>,
        /// The shape found.
        found: Vec<u32>,
    },
    /// A file of labels holds one that is no class.
    #[error(
        "{}, byte {offset} of the unpacked file: label {label} is out of range, the dataset has \
         {num_classes} classes; the file is damaged, fetch it again", path.display()
    )]
    Label {
        /// The file.
        path: PathBuf,
        /// Where the label stands in the unpacked file.
        offset: usize,
        /// The label found.
        label: u8,
        /// Labels run from 0 to one below this.
        num_classes: usize,
    },
    /// A file is well formed, but its bytes are not those that were published.
    #[error(
        "{} is not the published file of {name}: the SHA-256 of its unpacked bytes should be \
         {expected} and is {found}; it is damaged, or from another source: fetch it again \
         (data/README.md says from where)", path.display()
    )]
    Checksum {
        /// The file.
        path: PathBuf,
        /// The dataset.
        name: DatasetName,
        /// The published checksum.
        expected: &'static str,
        /// The checksum of the file.
        found: String,
    },
}
