//! The batches of a run, in the order that its seed fixes: from memory, or, where the images stay in
//! their files, decoded a few batches ahead by a thread of its own.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use anyhow::{Context, Result};
use datasets::ImageFileError;
use rand::RngExt;

use crate::config::RunConfig;
use crate::data::Dataset;
use training::DataOrder;
use training::{Purpose, Streams};

/// Batches that may wait, decoded, for the step that needs them.
const BATCHES_AHEAD: usize = 4;

/// Examples of the training split.
#[derive(Debug, PartialEq)]
pub struct Batch {
    /// Which ones.
    pub indices: Vec<usize>,
    /// Their values, some of the images mirrored: each channel, row, column.
    pub values: Vec<f32>,
}

/// An endless supply of batches.
#[derive(Debug)]
pub struct Batches {
    dataset: Arc<Dataset>,
    supply: Supply,
}

#[derive(Debug)]
enum Supply {
    /// A batch is put together when it is asked for.
    Direct(Source),
    /// A thread puts them together ahead; it ends when the receiver is gone.
    Ahead(Receiver<Result<Batch, ImageFileError>>),
}

/// What makes the batches: their place in the order of the data is all that changes.
#[derive(Debug)]
struct Source {
    dataset: Arc<Dataset>,
    order: DataOrder,
    streams: Streams,
    flip: bool,
    batch_size: usize,
    /// Examples seen before the next batch.
    seen: u64,
}

impl Batches {
    /// The batches of `dataset` after the first `seen` examples of a run.
    pub fn new(dataset: Dataset, config: &RunConfig, seen: u64) -> Self {
        let dataset = Arc::new(dataset);
        let streams = Streams::new(config.seed);
        let mut source = Source {
            dataset: Arc::clone(&dataset),
            order: DataOrder::new(dataset.len(), streams),
            streams,
            flip: config.data.flip,
            batch_size: config.training.batch_size,
            seen,
        };
        let supply = if dataset.is_streamed() {
            let (sender, receiver) = sync_channel(BATCHES_AHEAD);
            thread::spawn(move || while sender.send(source.next()).is_ok() {});
            Supply::Ahead(receiver)
        } else {
            Supply::Direct(source)
        };
        Self { dataset, supply }
    }

    /// What the batches are taken from.
    pub fn dataset(&self) -> &Dataset {
        &self.dataset
    }

    /// The next batch.
    ///
    /// # Errors
    ///
    /// A file of a streamed data set that cannot be read any more.
    #[expect(clippy::should_implement_trait, reason = "it is endless, and can fail")]
    pub fn next(&mut self) -> Result<Batch> {
        let batch = match &mut self.supply {
            Supply::Direct(source) => source.next(),
            Supply::Ahead(receiver) => receiver
                .recv()
                .context("the thread that reads the images has died")?,
        };
        batch.context("cannot read the next training images")
    }
}

impl Source {
    fn next(&mut self) -> Result<Batch, ImageFileError> {
        let micro_batch = self.seen / self.batch_size as u64;
        let indices = self.order.indices(self.seen, self.batch_size);
        self.seen += self.batch_size as u64;
        let mut values = self.dataset.read(&indices)?;
        if self.flip {
            let mut rng = self.streams.at(Purpose::Flip, micro_batch);
            let [.., width] = self.dataset.example_shape();
            let image_len = values.len() / self.batch_size;
            for image in values.chunks_mut(image_len) {
                if rng.random::<bool>() {
                    image.chunks_mut(width).for_each(<[f32]>::reverse);
                }
            }
        }
        Ok(Batch { indices, values })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::Path;

    use datasets::{Channels, FolderOptions, ImageDataset, load_folder};
    use image::{Rgb, RgbImage};

    use super::*;

    fn config(overrides: &[&str]) -> RunConfig {
        let overrides: Vec<String> = overrides.iter().map(|&text| text.to_owned()).collect();
        let text = "[data]\npath = \"images\"\n[training]\nsteps = 1\nbatch_size = 6\n";
        RunConfig::parse(text, Path::new("run.toml"), &overrides).unwrap()
    }

    /// A hundred grey images of 3 × 2, each byte another.
    fn numbered() -> Dataset {
        let pixels = (0..600).map(|i| i as u8).collect();
        let images = ImageDataset::from_parts(pixels, [1, 2, 3], vec![None; 100], vec![]);
        Dataset::Images(images.unwrap())
    }

    fn take(mut batches: Batches, count: usize) -> Vec<Batch> {
        (0..count).map(|_| batches.next().unwrap()).collect()
    }

    #[test]
    fn half_of_the_images_are_mirrored_and_a_resumed_run_mirrors_the_same() {
        let plain = take(Batches::new(numbered(), &config(&[]), 0), 40);
        let flipping = config(&["data.flip=true"]);
        let flipped = take(Batches::new(numbered(), &flipping, 0), 40);
        let mut mirrored = 0;
        for (plain, flipped) in plain.iter().zip(&flipped) {
            assert_eq!(plain.indices, flipped.indices);
            for (a, b) in plain.values.chunks(6).zip(flipped.values.chunks(6)) {
                if a != b {
                    assert_eq!([a[2], a[1], a[0], a[5], a[4], a[3]], b);
                    mirrored += 1;
                }
            }
        }
        assert!((80..160).contains(&mirrored), "{mirrored} of 240");
        let resumed = take(Batches::new(numbered(), &flipping, 6 * 25), 15);
        assert_eq!(resumed, flipped[25..]);
    }

    #[test]
    fn batches_read_ahead_are_those_of_memory() {
        let dir = tempfile::tempdir().unwrap();
        for shade in 0..20 {
            let image = RgbImage::from_fn(5, 5, |x, _| Rgb([shade, x as u8, 0]));
            image.save(dir.path().join(format!("{shade}.png"))).unwrap();
        }
        let load = |cache_bytes| {
            let options = FolderOptions {
                channels: Channels::Rgb,
                size: 5,
                background: [0; 3],
                skip_bad: false,
                cache_bytes,
            };
            Dataset::Images(load_folder(dir.path(), &options).unwrap().train)
        };
        let config = config(&["data.flip=true"]);
        let held = take(Batches::new(load(u64::MAX), &config, 12), 30);
        let streamed = Batches::new(load(0), &config, 12);
        assert!(matches!(streamed.supply, Supply::Ahead(_)));
        assert_eq!(take(streamed, 30), held);

        // A file that goes while the run goes on is an error that names it.
        let mut streamed = Batches::new(load(0), &config, 0);
        for shade in 0..20 {
            std::fs::remove_file(dir.path().join(format!("{shade}.png"))).unwrap();
        }
        let error = (0..9).find_map(|_| streamed.next().err()).unwrap();
        assert!(format!("{error:#}").contains(".png"), "{error:#}");
    }
}
