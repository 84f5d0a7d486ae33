//! Images that stay in their files and are decoded when they are asked for.

use std::num::NonZero;
use std::panic;
use std::path::{Path, PathBuf};
use std::slice;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::picture::{Channels, ImageFileError, first_messages, read_image_on};

/// How many files are tried in the place of one that cannot be read; when that many are bad, so is all.
const MAX_SUBSTITUTES: usize = 100;

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
        let image = self.options.read(&self.paths[index]);
        let (true, Err(error)) = (self.options.skip_bad, &image) else {
            return image;
        };
        tracing::warn!("{}; passed over", first_messages(slice::from_ref(error)));
        let len = self.paths.len();
        (1..len)
            .map(|step| (index + step) % len)
            .filter(|&other| labels[other] == labels[index])
            .take(MAX_SUBSTITUTES)
            .find_map(|other| self.options.read(&self.paths[other]).ok())
            .map_or(image, Ok)
    }
}

/// Does `work` for each of `0..count` on all cores, in threads of its own: those of a pool may all be
/// waiting for what is being read.
pub(super) fn in_parallel<T: Send>(count: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let next = AtomicUsize::new(0);
    let take_turns = || {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                return done;
            }
            done.push((index, work(index)));
        }
    };
    let mut results = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.min(count))
            .map(|_| scope.spawn(take_turns))
            .collect();
        let mut results = Vec::with_capacity(count);
        for worker in workers {
            match worker.join() {
                Ok(done) => results.extend(done),
                Err(payload) => panic::resume_unwind(payload),
            }
        }
        results
    });
    results.sort_unstable_by_key(|&(index, _)| index);
    results.into_iter().map(|(_, result)| result).collect()
}
