//! Images of one size, normalised to [-1, 1] batch by batch.
//!
//! A byte b becomes b / 127.5 − 1 (Ho et al. 2020, section 3.3: "integers in {0, …, 255} scaled
//! linearly to [−1, 1]"). A dataset is held in memory as bytes, so it takes its own size and no more;
//! a folder too large for that is read file by file.

use std::fmt;
use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};

use super::picture::{ImageFileError, normalised_bytes};
use super::streamed::StreamedImages;
use crate::folders::MAX_CLASSES;

/// Images of one size, some or all of them with a class.
#[derive(Clone, PartialEq, Eq)]
pub struct ImageDataset {
    images: Images,
    /// Channels, height, width.
    shape: [usize; 3],
    /// The class of each image, below `class_names.len()`, if it has one.
    labels: Vec<Option<u16>>,
    class_names: Vec<String>,
}

/// Why pixels, shape, labels and class names do not make a dataset.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PartsError {
    /// There is not one image.
    #[error("a dataset needs at least one image; there are no labels")]
    NoImages,
    /// There are more class names than labels can number.
    #[error("a dataset has at most {MAX_CLASSES} classes; there are {found} class names")]
    Classes {
        /// The number of class names.
        found: usize,
    },
    /// The number of pixel values is not what labels and shape imply.
    #[error(
        "{images} labels and the image shape {shape:?} (channels, height, width) do not fit \
         {found} pixel values"
    )]
    Pixels {
        /// The number of labels.
        images: usize,
        /// Channels, height and width.
        shape: [usize; 3],
        /// The number of pixel values.
        found: usize,
    },
    /// A label is no class.
    #[error("label {label} of image {index} is out of range: there are {num_classes} classes")]
    Label {
        /// Which image, from 0.
        index: usize,
        /// The label found.
        label: u16,
        /// Labels run from 0 to one below this.
        num_classes: usize,
    },
}

/// Where the images are.
#[derive(Clone, PartialEq, Eq)]
enum Images {
    /// In memory.
    Held {
        /// Image by image, each channel, row, column; both splits may share them.
        pixels: Arc<Vec<u8>>,
        /// Which of them are this data set's; all of them, in order, where it is left out.
        places: Option<Vec<usize>>,
    },
    /// In their files, which are decoded when they are asked for.
    Streamed(StreamedImages),
}

impl ImageDataset {
    /// A dataset of the images `pixels` (image by image, each channel, row, column) of `shape`
    /// (channels, height, width), whose classes are `labels`.
    ///
    /// # Errors
    ///
    /// See [`PartsError`].
    pub fn from_parts(
        pixels: Vec<u8>,
        shape: [usize; 3],
        labels: Vec<Option<u16>>,
        class_names: Vec<String>,
    ) -> Result<Self, PartsError> {
        if labels.is_empty() {
            return Err(PartsError::NoImages);
        }
        let num_classes = class_names.len();
        if num_classes > MAX_CLASSES {
            return Err(PartsError::Classes { found: num_classes });
        }
        let expected = shape
            .iter()
            .try_fold(labels.len(), |product, &size| product.checked_mul(size));
        if pixels.is_empty() || expected != Some(pixels.len()) {
            return Err(PartsError::Pixels {
                images: labels.len(),
                shape,
                found: pixels.len(),
            });
        }
        let bad = labels.iter().enumerate().find_map(|(index, &label)| {
            let label = label.filter(|&label| usize::from(label) >= num_classes)?;
            Some((index, label))
        });
        if let Some((index, label)) = bad {
            return Err(PartsError::Label {
                index,
                label,
                num_classes,
            });
        }
        Ok(Self::held(pixels, shape, labels, class_names))
    }

    /// As [`from_parts`](Self::from_parts), of parts that are known to fit.
    pub(super) fn held(
        pixels: Vec<u8>,
        shape: [usize; 3],
        labels: Vec<Option<u16>>,
        class_names: Vec<String>,
    ) -> Self {
        Self {
            images: Images::Held {
                pixels: Arc::new(pixels),
                places: None,
            },
            shape,
            labels,
            class_names,
        }
    }

    /// As [`held`](Self::held), of the images at `places` in pixels that others have, too.
    pub(super) fn shared(
        pixels: Arc<Vec<u8>>,
        places: Vec<usize>,
        shape: [usize; 3],
        labels: Vec<Option<u16>>,
        class_names: Vec<String>,
    ) -> Self {
        Self {
            images: Images::Held {
                pixels,
                places: Some(places),
            },
            shape,
            labels,
            class_names,
        }
    }

    #[cfg(test)]
    pub(super) fn shares_pixels_with(&self, other: &Self) -> bool {
        match (&self.images, &other.images) {
            (Images::Held { pixels: a, .. }, Images::Held { pixels: b, .. }) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }

    /// A dataset of files that are decoded when they are asked for.
    pub(super) fn streamed(
        images: StreamedImages,
        shape: [usize; 3],
        labels: Vec<Option<u16>>,
        class_names: Vec<String>,
    ) -> Self {
        Self {
            images: Images::Streamed(images),
            shape,
            labels,
            class_names,
        }
    }

    /// The number of images, at least one.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are no images: never, for a dataset has at least one.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Channels of an image: 1 for grey, 3 for RGB.
    pub fn channels(&self) -> usize {
        self.shape[0]
    }

    /// The height of an image in pixels.
    pub fn height(&self) -> usize {
        self.shape[1]
    }

    /// The width of an image in pixels.
    pub fn width(&self) -> usize {
        self.shape[2]
    }

    /// Whether the images stay in their files and are decoded each time they are asked for.
    pub fn is_streamed(&self) -> bool {
        matches!(self.images, Images::Streamed(_))
    }

    /// The number of classes; 0 where the images have none.
    pub fn num_classes(&self) -> usize {
        self.class_names.len()
    }

    /// The names of the classes, by label.
    pub fn class_names(&self) -> &[String] {
        &self.class_names
    }

    /// The class of image `index`, if it has one.
    ///
    /// # Panics
    ///
    /// If there is no such image.
    pub fn label(&self, index: usize) -> Option<usize> {
        self.labels[index].map(usize::from)
    }

    /// The class of every image.
    pub fn labels(&self) -> &[Option<u16>] {
        &self.labels
    }

    /// The bytes of the images of these `indices`, in this order: each channel, row, column. An index
    /// may come more than once.
    ///
    /// # Errors
    ///
    /// [`ImageFileError`], where images are streamed and a file cannot be read any more.
    ///
    /// # Panics
    ///
    /// If an index is not below [`len`](Self::len).
    pub fn read(&self, indices: &[usize]) -> Result<Vec<u8>, ImageFileError> {
        match &self.images {
            Images::Held { pixels, places } => {
                let image_len = self.shape.iter().product::<usize>();
                let mut bytes = Vec::with_capacity(indices.len() * image_len);
                for &index in indices {
                    let index = places.as_ref().map_or(index, |places| places[index]);
                    bytes.extend_from_slice(&pixels[index * image_len..][..image_len]);
                }
                Ok(bytes)
            }
            Images::Streamed(images) => images.read(indices, &self.labels),
        }
    }

    /// The images of these `indices`, in this order, as a tensor `[B, C, H, W]` in [-1, 1]. An
    /// index may come more than once.
    ///
    /// # Errors
    ///
    /// See [`read`](Self::read).
    ///
    /// # Panics
    ///
    /// If there are no indices, or one is not below [`len`](Self::len).
    pub fn batch(&self, indices: &[usize], device: &Device) -> Result<Tensor<4>, ImageFileError> {
        assert!(!indices.is_empty(), "a batch needs at least one image");
        let [channels, height, width] = self.shape;
        let values = self.read_normalised(indices)?;
        let data = TensorData::new(values, [indices.len(), channels, height, width]);
        Ok(Tensor::from_data(data, device))
    }

    /// As [`read`](Self::read), the bytes normalised to [-1, 1].
    ///
    /// # Errors
    ///
    /// See [`read`](Self::read).
    ///
    /// # Panics
    ///
    /// If an index is not below [`len`](Self::len).
    pub fn read_normalised(&self, indices: &[usize]) -> Result<Vec<f32>, ImageFileError> {
        let normalised = normalised_bytes();
        let bytes = self.read(indices)?;
        let value = |byte| normalised[usize::from(byte)];
        Ok(bytes.into_iter().map(value).collect())
    }
}

impl fmt::Debug for ImageDataset {
    /// Everything but the pixels and labels, which would fill the screen many times over.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImageDataset")
            .field("images", &self.len())
            .field("shape", &self.shape)
            .field("class_names", &self.class_names)
            .field("is_streamed", &self.is_streamed())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use burn::tensor::Device;

    use super::*;

    /// Two classes, three RGB images of 2 × 1.
    fn small() -> ImageDataset {
        let pixels = (0..18).map(|i| i * 15).collect();
        let names = vec!["cat".into(), "dog".into()];
        ImageDataset::from_parts(pixels, [3, 2, 1], vec![Some(0), Some(1), None], names).unwrap()
    }

    #[test]
    fn a_batch_holds_the_images_asked_for_in_minus_one_to_one() {
        let dataset = small();
        let batch = dataset.batch(&[2, 0, 2], &Device::flex()).unwrap();
        assert_eq!(batch.dims(), [3, 3, 2, 1]);
        let values = batch.into_data().try_to_vec::<f32>().unwrap();
        for (position, first) in [(0, 12), (6, 0), (12, 12)] {
            for offset in 0..6 {
                let byte = (first + offset) as f32 * 15.0;
                assert!((values[position + offset] - (byte / 127.5 - 1.0)).abs() < 1e-6);
            }
        }
        assert_eq!(values[6], -1.0);
        assert_eq!(values[5], 1.0);
    }

    #[test]
    fn parts_that_do_not_fit_are_refused() {
        let names = || vec!["cat".to_owned(), "dog".to_owned()];
        let parts = ImageDataset::from_parts;
        assert_eq!(
            parts(vec![], [1, 1, 1], vec![], names()).unwrap_err(),
            PartsError::NoImages
        );
        // Without classes there are no labels, and that is all right.
        assert!(parts(vec![0], [1, 1, 1], vec![None], vec![]).is_ok());
        assert_eq!(
            parts(vec![0], [1, 1, 1], vec![Some(0)], vec![]).unwrap_err(),
            PartsError::Label {
                index: 0,
                label: 0,
                num_classes: 0
            }
        );
        assert!(matches!(
            parts(vec![0], [1, 1, 1], vec![None], vec![String::new(); 65_537]),
            Err(PartsError::Classes { found: 65_537 })
        ));
        assert!(matches!(
            parts(vec![0; 7], [1, 2, 2], vec![Some(0), None], names()),
            Err(PartsError::Pixels { found: 7, .. })
        ));
        for shape in [[0, 2, 2], [usize::MAX, 2, 2]] {
            assert!(matches!(
                parts(vec![], shape, vec![None], names()),
                Err(PartsError::Pixels { .. })
            ));
        }
        assert_eq!(
            parts(vec![0; 3], [1, 1, 1], vec![None, Some(1), Some(2)], names()).unwrap_err(),
            PartsError::Label {
                index: 2,
                label: 2,
                num_classes: 2
            }
        );
    }
}
