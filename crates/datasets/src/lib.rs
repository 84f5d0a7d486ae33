//! Bytes on disk to tensors in [-1, 1], with checks.
//!
//! ```
//! use burn::tensor::Device;
//! use datasets::ImageDataset;
//!
//! // Two grey images of 1 × 2 pixels, of the classes "cat" and "dog".
//! let names = vec!["cat".to_owned(), "dog".to_owned()];
//! let pixels = vec![0, 255, 51, 204];
//! let images = ImageDataset::from_parts(pixels, [1, 1, 2], vec![Some(0), Some(1)], names)?;
//! let batch = images.batch(&[1, 0], &Device::flex())?;
//! assert_eq!(batch.dims(), [2, 1, 1, 2]);
//! assert_eq!(batch.into_data().try_to_vec::<f32>()?, [-0.6, 0.6, -1.0, 1.0]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! - [`files`]: files found, and read within limits; the catalogue of published data sets.
//! - [`ImageDataset`]: images of one size, held as bytes or read file by file, and normalised batch by
//!   batch. MNIST, Fashion-MNIST and CIFAR-10 by name ([`ImageDataset::load`]; [`find`] says where they
//!   lie), any folder of images ([`load_folder`], with classes by folder or by [`folders::metadata`]) and NumPy arrays ([`load_array`]).
//! - [`images::idx`] and [`images::cifar10`]: the file formats of the published datasets.
//! - [`tables`]: rows of any CSV ([`load_table`]) with the types of their columns, as numbers that are normal and
//!   categories, and back to a CSV that is written the same way; lines of text ([`load_lines`]) as tables of characters.
//! - [`Points`]: clouds of points, from a CSV ([`load_points`]) or made by a formula ([`CloudName`]).
//! - [`SoundDataset`]: recordings of one rate and one loudness, from any folder of sounds ([`load_sounds`]) or of
//!   spoken digits ([`SoundDataset::load_fsdd`]).
//! - [`images::picture`] and [`sounds`]: single pictures and sound ([`read_sound`], [`resample()`]).
//!
//! Pixels and 16-bit samples are affine in their tensors: a byte b becomes b / 127.5 − 1, the range
//! in which the forward process of DDPM starts (Ho et al. 2020, section 3.3).
//!
//! Whatever bytes a file holds, a reader returns its contents or an error that says what is wrong
//! and where; it does not panic, and it does not allocate by a size that only a header claims.

#![forbid(unsafe_code)]

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub mod files;
pub mod folders;
pub mod images;
mod published;
mod shown;
pub mod sounds;
mod splits;
pub mod tables;

pub use files::{DatasetName, NotFound, Split, UnknownName, find};
pub use folders::{FileKind, FolderError, LabelError, MAX_CLASSES, MetadataError};
pub use images::{
    ArrayError, ArrayFileError, Channels, ClaimError, DatasetError, FolderOptions, ImageDataset,
    ImageFileError, PartsError, Picture, WHITE, decode_image, folder_image_sizes, has_images,
    image_size, load_array, load_folder, read_folder, read_image, read_image_on,
};
pub use published::{DownloadError, verify_download};
pub use sounds::{
    Audio, AudioError, FsddError, SoundDataset, SoundFileError, SoundFormat, SoundOptions,
    SoundPartsError, WavError, has_sounds, load_sounds, read_sound, read_wav, resample,
};
pub use splits::Splits;
pub use tables::{
    CloudName, ColumnType, Conditions, CsvError, LineRows, LineSchema, Normalisation, Points,
    PointsError, TableError, TableOptions, TableRows, TableSchema, UnknownCloud, holds_points,
    load_lines, load_points, load_table, read_points,
};
