//! Images: single pictures, and data sets of them that are normalised to [-1, 1] batch by batch.

pub mod array;
mod budget;
pub mod cifar10;
mod claims;
mod dataset;
mod error;
pub mod folder;
pub mod idx;
pub mod picture;
mod published;
mod streamed;

pub use array::{ArrayError, ArrayFileError, load_array};
pub use dataset::{ImageDataset, PartsError};
pub use error::DatasetError;
pub use folder::{folder_image_sizes, has_images, load_folder};
pub use picture::{
    Channels, ClaimError, ImageFileError, MAX_PIXELS, Picture, WHITE, decode_image, image_size,
    read_folder, read_image, read_image_on,
};
pub(crate) use published::verify_download;
pub use streamed::FolderOptions;
