//! Bytes on disk to tensors in [-1, 1], with checks.
//!
//! - [`ImageDataset`]: images of one size, held as bytes or read file by file, and normalised batch by
//!   batch. MNIST, Fashion-MNIST and CIFAR-10 by name ([`ImageDataset::load`]; [`find`] says where they
//!   lie), any folder of images ([`load_folder`]) and NumPy arrays ([`load_array`]).
//! - [`idx`] and [`cifar10`]: the file formats of the published datasets.
//! - [`Points`]: clouds of points, from a CSV ([`load_points`]) or made by a formula ([`CloudName`]).
//! - [`image_file`] and [`wav`]: single pictures and sound.
//!
//! Pixels and 16-bit samples are affine in their tensors: a byte b becomes b / 127.5 − 1, the range
//! in which the forward process of DDPM starts (Ho et al. 2020, section 3.3).
//!
//! Whatever bytes a file holds, a reader returns its contents or an error that says what is wrong
//! and where; it does not panic, and it does not allocate by a size that only a header claims.

pub mod array_file;
mod bytes;
mod catalogue;
pub mod cifar10;
pub mod clouds;
mod error;
pub mod idx;
mod image_dataset;
pub mod image_file;
pub mod image_folder;
pub mod points;
mod published;
mod splits;
pub mod wav;

pub use array_file::{ArrayError, ArrayFileError, load_array};
pub use catalogue::{DatasetName, Split, UnknownName, find};
pub use clouds::{CloudName, UnknownCloud};
pub use error::{DatasetError, PartsError};
pub use image_dataset::{ImageDataset, MAX_CLASSES};
pub use image_file::{
    Channels, ImageFileError, Picture, WHITE, image_size, read_folder, read_image, read_image_on,
};
pub use image_folder::{FolderError, FolderOptions, folder_image_sizes, load_folder};
pub use points::{CsvError, Normalisation, Points, PointsError, load_points, read_points};
pub use published::verify_download;
pub use splits::Splits;
pub use wav::{Audio, AudioError, WavError, read_wav};
