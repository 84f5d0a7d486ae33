//! Images that stay in their files and are decoded when they are asked for.

use std::path::{Path, PathBuf};

use super::picture::{Channels, ImageFileError, read_image_on};
use crate::folders::{in_parallel, read_or_next_of_class};

/// How the images of a folder are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FolderOptions {
    /// Grey, RGB or RGBA.
    pub channels: Channels,
    /// Height and width that every image is brought to.
    pub size: [usize; 2],
    /// The colour (red, green, blue) that transparent images are laid on; in RGBA, that of pixels that
    /// cannot be seen.
    pub background: [u8; 3],
    /// Whether files that cannot be read are passed over, with a warning each, and do not stop all.
    pub skip_bad: bool,
    /// The most bytes of pixels that are held in memory; a larger folder is streamed.
    pub cache_bytes: u64,
}

impl FolderOptions {
    /// The bytes of one image: each channel, row, column.
    pub(super) fn read(&self, path: &Path) -> Result<Vec<u8>, ImageFileError> {
        read_image_on(path, self.channels, Some(self.size), self.background)
            .map(|picture| picture.into_pixels())
    }
}

/// Images that are decoded when they are asked for.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct StreamedImages {
    pub(super) paths: Vec<PathBuf>,
    pub(super) options: FolderOptions,
}

impl StreamedImages {
    /// The bytes of the images of these `indices`, in this order. In the place of one that cannot be
    /// decoded stands the next one of its class that can, if bad files are to be passed over.
    pub(super) fn read(
        &self,
        indices: &[usize],
        labels: &[Option<u16>],
    ) -> Result<Vec<u8>, ImageFileError> {
        let images = in_parallel(indices.len(), |place| self.read_one(indices[place], labels));
        images
            .into_iter()
            .collect::<Result<Vec<_>, _>>()
            .map(|images| images.concat())
    }

    fn read_one(&self, index: usize, labels: &[Option<u16>]) -> Result<Vec<u8>, ImageFileError> {
        let read = |index: usize| self.options.read(&self.paths[index]);
        read_or_next_of_class(index, labels, self.options.skip_bad, read)
    }
}
