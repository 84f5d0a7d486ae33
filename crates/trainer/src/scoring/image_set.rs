//! Images as scoring holds them: as the bytes that a picture of them has, with their classes. So a split of a
//! data set and what a network generated are looked at in the same way. Sounds are scored by pictures of their
//! levels.

use std::ops::Range;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use burn::tensor::{Device, Tensor, TensorData};
use datasets::Split;
use sha2::{Digest, Sha256};
use training::{Data as _, Purpose, Streams};

use crate::kinds::Dataset;

/// Images of one size as bytes, some or all of them with a class.
#[derive(Debug, Clone)]
pub struct ImageSet {
    /// Image by image, each channel, row, column.
    pixels: Vec<u8>,
    /// Channels, height, width.
    shape: [usize; 3],
    labels: Vec<Option<usize>>,
    /// The place of each in what it was taken from.
    places: Vec<usize>,
    num_classes: usize,
}

impl ImageSet {
    /// All images of a data set.
    ///
    /// # Errors
    ///
    /// An image that cannot be read, where they are read file by file.
    pub fn all(dataset: &Dataset) -> Result<Self> {
        Self::select(dataset, &Vec::from_iter(0..dataset.len()))
    }

    /// `count` images of a data set by chance, in their order, always the same ones of the same split; all
    /// of them where there are no more. The first ones would not do: those of a folder are of its first
    /// classes.
    ///
    /// # Errors
    ///
    /// As [`all`](Self::all).
    pub fn random_subset(dataset: &Dataset, count: usize, split: Split) -> Result<Self> {
        if count >= dataset.len() {
            return Self::all(dataset);
        }
        let mut rng = Streams::new(0).at(Purpose::Reference, split as u64);
        let mut indices = rand::seq::index::sample(&mut rng, dataset.len(), count).into_vec();
        indices.sort_unstable();
        Self::select(dataset, &indices)
    }

    fn select(dataset: &Dataset, indices: &[usize]) -> Result<Self> {
        Ok(Self {
            pixels: dataset.scored(indices)?,
            shape: shape(dataset)?,
            labels: indices.iter().map(|&index| dataset.label(index)).collect(),
            places: indices.to_vec(),
            num_classes: dataset.num_classes(),
        })
    }

    /// Generated examples `[N, C, H, W]` of a network that learned from `dataset`, as they are where they are
    /// written to files, and the class that each was asked to be.
    ///
    /// # Errors
    ///
    /// Examples that cannot be read back from the device.
    pub fn generated(
        dataset: &Dataset,
        examples: Tensor<4>,
        classes: &[Option<usize>],
    ) -> Result<Self> {
        Ok(Self {
            pixels: dataset.scored_of(examples)?,
            shape: shape(dataset)?,
            labels: classes.to_vec(),
            places: (0..classes.len()).collect(),
            num_classes: dataset.num_classes(),
        })
    }

    /// The files of samples of a network that learned from `dataset`, as they are, and the class of each.
    ///
    /// # Errors
    ///
    /// A file that cannot be read, and a class that the data do not have.
    pub fn of_files(dataset: &Dataset, files: &[(PathBuf, Option<usize>)]) -> Result<Self> {
        let num_classes = dataset.num_classes();
        let mut pixels = Vec::new();
        for (path, class) in files {
            if let Some(class) = class.filter(|&class| class >= num_classes) {
                bail!(
                    "{}: its class is {class}, and the data have {num_classes} classes, numbered from 0",
                    path.display()
                );
            }
            pixels.extend(dataset.scored_file(path)?);
        }
        Ok(Self {
            pixels,
            shape: shape(dataset)?,
            labels: files.iter().map(|&(_, class)| class).collect(),
            places: (0..files.len()).collect(),
            num_classes,
        })
    }

    /// The same images mirrored left to right, as `data.flip` mirrors them.
    pub fn mirrored(&self) -> Self {
        let [.., width] = self.shape;
        let rows = self.pixels.chunks_exact(width);
        Self {
            pixels: rows.flat_map(|row| row.iter().rev().copied()).collect(),
            labels: self.labels.clone(),
            places: self.places.clone(),
            ..*self
        }
    }

    /// The images of these `indices`, in this order.
    pub fn subset(&self, indices: &[usize]) -> Self {
        let image_len = self.shape.iter().product::<usize>();
        let pixels = indices
            .iter()
            .flat_map(|&index| &self.pixels[index * image_len..][..image_len]);
        Self {
            pixels: pixels.copied().collect(),
            labels: indices.iter().map(|&index| self.labels[index]).collect(),
            places: indices.iter().map(|&index| self.places[index]).collect(),
            ..*self
        }
    }

    /// The bytes of some of the images: image by image, each channel, row, column.
    pub fn pixels(&self, images: Range<usize>) -> &[u8] {
        let image_len = self.shape.iter().product::<usize>();
        &self.pixels[images.start * image_len..images.end * image_len]
    }

    /// The images of these classes alone, where any are named.
    pub fn of_classes(self, classes: Option<&[Option<usize>]>) -> Self {
        let Some(classes) = classes else {
            return self;
        };
        let holds = |&image: &usize| classes.contains(&self.labels[image]);
        let images: Vec<usize> = (0..self.len()).filter(holds).collect();
        self.subset(&images)
    }

    /// The number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Channels, height and width of an image.
    pub fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// The place of an image in the data set or among the samples that it was taken from.
    ///
    /// # Panics
    ///
    /// If there is no such image.
    pub fn place(&self, image: usize) -> usize {
        self.places[image]
    }

    /// The class of each image, if it has one.
    pub fn labels(&self) -> &[Option<usize>] {
        &self.labels
    }

    /// The number of classes.
    pub fn num_classes(&self) -> usize {
        self.num_classes
    }

    /// The images of these `indices` in [-1, 1]: `[B, C, H, W]`.
    pub fn batch(&self, indices: &[usize], device: &Device) -> Tensor<4> {
        self.shifted(indices, device, |_| [0, 0])
    }

    /// As [`batch`](Self::batch), each image moved down and right by the pixels that `shift` says; what
    /// comes in repeats the edge.
    pub fn shifted(
        &self,
        indices: &[usize],
        device: &Device,
        mut shift: impl FnMut(usize) -> [i64; 2],
    ) -> Tensor<4> {
        let [channels, height, width] = self.shape;
        let image_len = channels * height * width;
        let mut values: Vec<f32> = Vec::with_capacity(indices.len() * image_len);
        let source = |to: usize, by: i64, length: usize| {
            (to as i64 - by).clamp(0, length as i64 - 1) as usize
        };
        for &index in indices {
            let image = &self.pixels[index * image_len..][..image_len];
            let [down, right] = shift(index);
            for plane in image.chunks_exact(height * width) {
                for y in 0..height {
                    let row = &plane[source(y, down, height) * width..][..width];
                    values.extend(
                        (0..width).map(|x| f32::from(row[source(x, right, width)]) / 127.5 - 1.0),
                    );
                }
            }
        }
        let data = TensorData::new(values, [indices.len(), channels, height, width]);
        Tensor::from_data(data, device)
    }

    /// What identifies the pixels of some of the images, by their content.
    pub fn digest_pixels(&self, images: Range<usize>, digest: &mut Sha256) {
        for number in [images.len()].into_iter().chain(self.shape) {
            digest.update((number as u64).to_le_bytes());
        }
        digest.update(self.pixels(images));
    }

    /// What identifies the classes of all images.
    pub fn digest_labels(&self, digest: &mut Sha256) {
        digest.update((self.num_classes as u64).to_le_bytes());
        for label in &self.labels {
            let label = label.map_or(u64::MAX, |label| label as u64);
            digest.update(label.to_le_bytes());
        }
    }
}

fn shape(dataset: &Dataset) -> Result<[usize; 3]> {
    dataset
        .scored_shape()
        .context("there are no scores of such data")
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]

    use datasets::ImageDataset;

    use super::*;

    /// Images of 8 × 8: class 0 is striped along rows, class 1 along columns, with a dot whose place
    /// differs from image to image.
    pub(crate) fn stripes(count: usize) -> ImageSet {
        let pixel = |index: usize, position: usize| {
            let along = if index.is_multiple_of(2) {
                position / 8
            } else {
                position
            };
            let bright = along % 4 < 2;
            let dot = position == index % 64;
            if dot { 128 } else { 255 * u8::from(bright) }
        };
        ImageSet {
            pixels: (0..count * 64).map(|i| pixel(i / 64, i % 64)).collect(),
            shape: [1, 8, 8],
            labels: (0..count).map(|index| Some(index % 2)).collect(),
            places: (0..count).collect(),
            num_classes: 2,
        }
    }

    /// The same images as a data set.
    pub(crate) fn dataset(set: &ImageSet) -> Dataset {
        let labels = set
            .labels
            .iter()
            .map(|label| label.map(|label| label as u16));
        let names = (0..set.num_classes)
            .map(|class| class.to_string())
            .collect();
        let images =
            ImageDataset::from_parts(set.pixels.clone(), set.shape, labels.collect(), names);
        Dataset::Images(images.unwrap())
    }

    /// The same images with other classes.
    pub(crate) fn labelled(set: ImageSet, label: impl Fn(usize) -> Option<usize>) -> ImageSet {
        let labels = (0..set.len()).map(label).collect();
        ImageSet { labels, ..set }
    }

    #[test]
    fn a_subset_is_of_all_classes_and_always_the_same() {
        // As in a folder: all of the first class, then all of the second.
        let labels = (0..100).map(|index| Some(u16::from(index >= 50)));
        let names = vec!["a".to_owned(), "b".to_owned()];
        let pixels = (0..100).collect();
        let dataset = ImageDataset::from_parts(pixels, [1, 1, 1], labels.collect(), names).unwrap();
        let dataset = Dataset::Images(dataset);
        let subset = |split| ImageSet::random_subset(&dataset, 40, split).unwrap();
        let some = subset(Split::Train);
        assert_eq!(some.len(), 40);
        let second = some.labels().iter().filter(|label| **label == Some(1));
        assert!((10..30).contains(&second.count()));
        assert!(some.pixels.is_sorted());
        assert_eq!(some.pixels, subset(Split::Train).pixels);
        assert_ne!(some.pixels, subset(Split::Test).pixels);
        let all = ImageSet::random_subset(&dataset, 100, Split::Train).unwrap();
        assert_eq!(all.pixels, (0..100).collect::<Vec<u8>>());
        let second = all.of_classes(Some(&[Some(1)]));
        assert_eq!(second.pixels, (50..100).collect::<Vec<u8>>());
        assert_eq!((second.place(0), second.place(49)), (50, 99));
        assert!(second.labels().iter().all(|&label| label == Some(1)));
    }

    #[test]
    fn generated_images_are_what_a_picture_of_them_is() {
        let names = vec!["a".to_owned(), "b".to_owned()];
        let pixels = vec![0, 50, 200, 255, 1, 2, 3, 4];
        let labels = vec![Some(0), Some(1)];
        let images = ImageDataset::from_parts(pixels.clone(), [1, 2, 2], labels, names).unwrap();
        // What was read from a file is what is read from it again.
        let again = images.batch(&[0, 1], &Device::flex()).unwrap();
        let dataset = Dataset::Images(images);
        let generated = |images| ImageSet::generated(&dataset, images, &[Some(1), None]).unwrap();
        assert_eq!(generated(again).pixels, pixels);
        let values = [-7.0, -1.0, -0.997, 0.0, 0.1, 1.0, 1.3, 9.0];
        let images = Tensor::<1>::from_floats(values, &Device::flex()).reshape([2, 1, 2, 2]);
        let set = generated(images);
        assert_eq!(set.pixels, [0, 0, 0, 128, 140, 255, 255, 255]);
        assert_eq!(set.labels(), [Some(1), None]);
        assert_eq!(set.num_classes(), 2);
    }

    #[test]
    fn rows_are_mirrored() {
        let set = ImageSet {
            pixels: (0..12).collect(),
            shape: [1, 2, 3],
            labels: vec![Some(0), Some(1)],
            places: vec![0, 1],
            num_classes: 2,
        };
        let mirrored = set.mirrored();
        assert_eq!(mirrored.pixels, [2, 1, 0, 5, 4, 3, 8, 7, 6, 11, 10, 9]);
        assert_eq!(mirrored.labels(), set.labels());
        assert_eq!(mirrored.mirrored().pixels, set.pixels);
        let second = set.subset(&[1]);
        assert_eq!(
            (second.pixels(0..1), second.labels()),
            (&set.pixels[6..], &[Some(1)][..])
        );
    }

    #[test]
    fn a_shift_repeats_the_edge() {
        let set = ImageSet {
            pixels: (0..6).map(|i| i * 51).collect(),
            shape: [1, 2, 3],
            labels: vec![Some(0)],
            places: vec![0],
            num_classes: 2,
        };
        let values = |by: [i64; 2]| -> Vec<f32> {
            let images = set.shifted(&[0], &Device::flex(), |_| by);
            images
                .add_scalar(1.0)
                .mul_scalar(2.5)
                .try_into_vec_as()
                .unwrap()
        };
        let rounded = |by| {
            values(by)
                .iter()
                .map(|v| v.round() as i32)
                .collect::<Vec<_>>()
        };
        assert_eq!(rounded([0, 0]), [0, 1, 2, 3, 4, 5]);
        assert_eq!(rounded([1, 0]), [0, 1, 2, 0, 1, 2]);
        assert_eq!(rounded([0, -1]), [1, 2, 2, 4, 5, 5]);
        assert_eq!(rounded([-9, 9]), [3, 3, 3, 3, 3, 3]);
    }
}
