//! Bytes on disk to tensors in [-1, 1], with checks.
//!
//! - [`ImageDataset`]: MNIST, Fashion-MNIST and CIFAR-10, held as bytes and normalised batch by
//!   batch. [`find`] says where a dataset lies.
//! - [`idx`] and [`cifar10`]: the file formats of these datasets.
//! - [`image_file`], [`wav`] and [`points`]: single pictures, sound and point clouds.
//!
//! Pixels and 16-bit samples are affine in their tensors: a byte b becomes b / 127.5 − 1, the range
//! in which the forward process of DDPM starts (Ho et al. 2020, section 3.3).
//!
//! Whatever bytes a file holds, a reader returns its contents or an error that says what is wrong
//! and where; it does not panic, and it does not allocate by a size that only a header claims.

mod bytes;
mod catalogue;
pub mod cifar10;
mod error;
pub mod idx;
mod image_dataset;
pub mod image_file;
pub mod points;
pub mod wav;

pub use catalogue::{DatasetName, Split, UnknownName, find};
pub use error::{DatasetError, PartsError};
pub use image_dataset::ImageDataset;
pub use image_file::{Channels, ImageFileError, Picture, read_folder, read_image};
pub use points::{CsvError, Points, PointsError, read_points};
pub use wav::{Audio, AudioError, WavError, read_wav};
