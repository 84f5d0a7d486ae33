//! Labelled images of one size, held as bytes and normalised to [-1, 1] batch by batch.
//!
//! A byte b becomes b / 127.5 − 1 (Ho et al. 2020, section 3.3: "integers in {0, …, 255} scaled
//! linearly to [−1, 1]"), so a dataset in memory takes its own size and no more.

use std::fmt;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};

use crate::bytes::{normalised_bytes, open_unpacked, sha256};
use crate::catalogue::{DatasetFile, DatasetName, Split};
use crate::cifar10;
use crate::error::{DatasetError, PartsError};
use crate::idx::{self, IdxArray};

/// Labelled images of one size.
#[derive(Clone, PartialEq, Eq)]
pub struct ImageDataset {
    /// Image by image, each channel, row, column.
    pixels: Vec<u8>,
    /// Channels, height, width.
    shape: [usize; 3],
    /// The class of each image, below `class_names.len()`.
    labels: Vec<u8>,
    class_names: Vec<String>,
}

impl ImageDataset {
    /// Loads a split of a dataset from `dir`, the folder that holds its files ([`find`] knows it).
    ///
    /// Every file may be plain or packed with gzip. Form, shape, labels and the SHA-256 of the
    /// unpacked bytes are checked.
    ///
    /// # Errors
    ///
    /// See [`DatasetError`]; each names the file.
    ///
    /// [`find`]: crate::find
    pub fn load(name: DatasetName, split: Split, dir: &Path) -> Result<Self, DatasetError> {
        match name {
            DatasetName::Mnist | DatasetName::FashionMnist => load_mnist(name, split, dir),
            DatasetName::Cifar10 => load_cifar10(split, dir),
        }
    }

    /// A dataset of the images `pixels` (image by image, each channel, row, column) of `shape`
    /// (channels, height, width), whose classes are `labels`.
    ///
    /// # Errors
    ///
    /// See [`PartsError`].
    pub fn from_parts(
        pixels: Vec<u8>,
        shape: [usize; 3],
        labels: Vec<u8>,
        class_names: Vec<String>,
    ) -> Result<Self, PartsError> {
        if labels.is_empty() {
            return Err(PartsError::NoImages);
        }
        let num_classes = class_names.len();
        if !(1..=256).contains(&num_classes) {
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
        if let Some((index, label)) = first_bad_label(&labels, num_classes) {
            return Err(PartsError::Label {
                index,
                label,
                num_classes,
            });
        }
        Ok(Self {
            pixels,
            shape,
            labels,
            class_names,
        })
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

    /// The number of classes.
    pub fn num_classes(&self) -> usize {
        self.class_names.len()
    }

    /// The names of the classes, by label.
    pub fn class_names(&self) -> &[String] {
        &self.class_names
    }

    /// The class of image `index`.
    ///
    /// # Panics
    ///
    /// If there is no such image.
    pub fn label(&self, index: usize) -> usize {
        self.labels[index].into()
    }

    /// The class of every image.
    pub fn labels(&self) -> &[u8] {
        &self.labels
    }

    /// The bytes of image `index`: channel, row, column.
    ///
    /// # Panics
    ///
    /// If there is no such image.
    pub fn pixels(&self, index: usize) -> &[u8] {
        let image_len = self.shape.iter().product::<usize>();
        &self.pixels[index * image_len..][..image_len]
    }

    /// The images of these `indices`, in this order, as a tensor `[B, C, H, W]` in [-1, 1]. An
    /// index may come more than once.
    ///
    /// # Panics
    ///
    /// If there are no indices, or one is not below [`len`](Self::len).
    pub fn batch(&self, indices: &[usize], device: &Device) -> Tensor<4> {
        assert!(!indices.is_empty(), "a batch needs at least one image");
        let normalised = normalised_bytes();
        let values: Vec<f32> = indices
            .iter()
            .flat_map(|&index| self.pixels(index))
            .map(|&byte| normalised[usize::from(byte)])
            .collect();
        let [channels, height, width] = self.shape;
        let data = TensorData::new(values, [indices.len(), channels, height, width]);
        Tensor::from_data(data, device)
    }
}

impl fmt::Debug for ImageDataset {
    /// Everything but the pixels and labels, which would fill the screen many times over.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImageDataset")
            .field("images", &self.len())
            .field("shape", &self.shape)
            .field("class_names", &self.class_names)
            .finish_non_exhaustive()
    }
}

/// The index and value of the first label that is no class.
fn first_bad_label(labels: &[u8], num_classes: usize) -> Option<(usize, u8)> {
    labels
        .iter()
        .copied()
        .enumerate()
        .find(|&(_, label)| usize::from(label) >= num_classes)
}

/// MNIST and Fashion-MNIST: a file of images and a file of labels, both IDX.
fn load_mnist(name: DatasetName, split: Split, dir: &Path) -> Result<ImageDataset, DatasetError> {
    const SIDE: u32 = 28;
    let count = match split {
        Split::Train => 60_000,
        Split::Test => 10_000,
    };
    let files = name.files(split);
    let (images_file, labels_file) = (&files[0], &files[1]);

    // Labels first: they are small, so what is wrong with them shows at once.
    let (labels_path, labels) = read_idx(name, labels_file, dir, &[count])?;
    let num_classes = name.class_names().len();
    if let Some((index, label)) = first_bad_label(labels.data(), num_classes) {
        return Err(DatasetError::Label {
            path: labels_path,
            offset: labels.header_len() + index,
            label,
            num_classes,
        });
    }
    verify(name, labels_file, labels_path, labels.sha256())?;

    let (images_path, images) = read_idx(name, images_file, dir, &[count, SIDE, SIDE])?;
    verify(name, images_file, images_path, images.sha256())?;

    Ok(ImageDataset {
        pixels: images.into_data(),
        shape: [1, SIDE as usize, SIDE as usize],
        labels: labels.into_data(),
        class_names: owned_class_names(name),
    })
}

/// CIFAR-10: binary batches.
fn load_cifar10(split: Split, dir: &Path) -> Result<ImageDataset, DatasetError> {
    let name = DatasetName::Cifar10;
    let files = name.files(split);
    let images = files.len() * cifar10::RECORDS;
    let mut pixels = Vec::with_capacity(images * cifar10::IMAGE_LEN);
    let mut labels = Vec::with_capacity(images);
    for file in files {
        let path = locate(file, dir)?;
        let reader = open_unpacked(&path).map_err(|source| DatasetError::Open {
            path: path.clone(),
            source,
        })?;
        let batch = cifar10::parse(reader).map_err(|source| DatasetError::Cifar10 {
            path: path.clone(),
            source,
        })?;
        verify(name, file, path, sha256(&[&batch]))?;
        for (label, image) in cifar10::records(&batch) {
            labels.push(label);
            pixels.extend_from_slice(image);
        }
    }
    Ok(ImageDataset {
        pixels,
        shape: [cifar10::CHANNELS, cifar10::SIDE, cifar10::SIDE],
        labels,
        class_names: owned_class_names(name),
    })
}

fn locate(file: &DatasetFile, dir: &Path) -> Result<PathBuf, DatasetError> {
    file.locate(dir).ok_or_else(|| DatasetError::MissingFile {
        path: dir.join(file.name),
        file: file.name,
    })
}

/// Reads an IDX file of the dataset and checks its shape.
fn read_idx(
    name: DatasetName,
    file: &DatasetFile,
    dir: &Path,
    shape: &[u32],
) -> Result<(PathBuf, IdxArray), DatasetError> {
    let path = locate(file, dir)?;
    match idx::read(&path, shape.len() as u8) {
        Ok(array) if array.dims() == shape => Ok((path, array)),
        Ok(array) => Err(DatasetError::Shape {
            path,
            name,
            expected: shape.to_vec(),
            found: array.dims().to_vec(),
        }),
        Err(source) => Err(DatasetError::Idx { path, source }),
    }
}

/// Compares the checksum of a file with the published one.
fn verify(
    name: DatasetName,
    file: &DatasetFile,
    path: PathBuf,
    found: String,
) -> Result<(), DatasetError> {
    if found == file.sha256 {
        return Ok(());
    }
    Err(DatasetError::Checksum {
        path,
        name,
        expected: file.sha256,
        found,
    })
}

fn owned_class_names(name: DatasetName) -> Vec<String> {
    name.class_names().map(str::to_owned).to_vec()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs;
    use std::io::{Read, Write};

    use burn::tensor::Device;
    use flate2::{Compression, read::GzDecoder, write::GzEncoder};
    use tempfile::TempDir;

    use super::*;

    const TEST_IMAGES: &str = "t10k-images-idx3-ubyte";
    const TEST_LABELS: &str = "t10k-labels-idx1-ubyte";

    /// The folder of the MNIST that comes with the repository.
    fn mnist_dir() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data/mnist")
    }

    /// A folder with the test split of MNIST, unpacked, to be damaged.
    fn unpacked_test_split() -> TempDir {
        let dir = tempfile::tempdir().unwrap();
        for file in [TEST_IMAGES, TEST_LABELS] {
            let packed = fs::File::open(mnist_dir().join(format!("{file}.gz"))).unwrap();
            let mut bytes = Vec::new();
            GzDecoder::new(packed).read_to_end(&mut bytes).unwrap();
            fs::write(dir.path().join(file), bytes).unwrap();
        }
        dir
    }

    /// Loads the test split of a folder, one of whose files was changed.
    fn load_changed(
        file: &str,
        change: impl FnOnce(&mut Vec<u8>),
    ) -> Result<ImageDataset, DatasetError> {
        let dir = unpacked_test_split();
        let path = dir.path().join(file);
        let mut bytes = fs::read(&path).unwrap();
        change(&mut bytes);
        fs::write(&path, bytes).unwrap();
        ImageDataset::load(DatasetName::Mnist, Split::Test, dir.path())
    }

    /// The error and its sources in one line, as the program prints it.
    fn chain(error: &dyn std::error::Error) -> String {
        match error.source() {
            Some(source) => format!("{error}: {}", chain(source)),
            None => error.to_string(),
        }
    }

    #[test]
    fn mnist_is_whole() {
        let train = ImageDataset::load(DatasetName::Mnist, Split::Train, &mnist_dir()).unwrap();
        assert_eq!(train.len(), 60_000);
        assert_eq!(
            (train.channels(), train.height(), train.width()),
            (1, 28, 28)
        );
        assert_eq!(train.num_classes(), 10);
        assert_eq!(train.class_names()[7], "7");
        let histogram = |labels: &[u8]| {
            let mut counts = [0; 10];
            for &label in labels {
                counts[usize::from(label)] += 1;
            }
            counts
        };
        assert_eq!(
            histogram(train.labels()),
            [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
        );
        // The figures that every tutorial normalises MNIST by.
        let (mut sum, mut squares) = (0.0, 0.0);
        for &byte in &train.pixels {
            let value = f64::from(byte) / 255.0;
            sum += value;
            squares += value * value;
        }
        let mean = sum / train.pixels.len() as f64;
        let std = (squares / train.pixels.len() as f64 - mean * mean).sqrt();
        assert!((mean - 0.1307).abs() < 5e-5, "mean {mean}");
        assert!((std - 0.3081).abs() < 5e-5, "std {std}");

        let test = ImageDataset::load(DatasetName::Mnist, Split::Test, &mnist_dir()).unwrap();
        assert_eq!(test.len(), 10_000);
        assert_eq!(
            histogram(test.labels()),
            [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
        );
        assert_eq!((test.label(0), test.label(1)), (7, 2));
    }

    #[test]
    fn plain_files_load_as_packed_ones_do() {
        let dir = unpacked_test_split();
        let plain = ImageDataset::load(DatasetName::Mnist, Split::Test, dir.path()).unwrap();
        let packed = ImageDataset::load(DatasetName::Mnist, Split::Test, &mnist_dir()).unwrap();
        assert_eq!(plain, packed);
    }

    #[test]
    fn a_flipped_bit_breaks_the_checksum() {
        for (file, position) in [(TEST_IMAGES, 7_000_000), (TEST_LABELS, 5_000)] {
            match load_changed(file, |bytes| bytes[position] ^= 1) {
                Err(error @ DatasetError::Checksum { .. }) => {
                    let message = error.to_string();
                    for part in [file, "SHA-256", "fetch it again"] {
                        assert!(message.contains(part), "{message}");
                    }
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn damaged_files_are_refused_with_what_and_where() {
        let error =
            |file, change: fn(&mut Vec<u8>)| chain(&load_changed(file, change).unwrap_err());

        let message = error(TEST_IMAGES, |bytes| bytes.truncate(1_000_000));
        assert!(message.contains(TEST_IMAGES), "{message}");
        assert!(message.contains("7840016"), "{message}");
        assert!(message.contains("found 1000000"), "{message}");

        let message = error(TEST_IMAGES, |bytes| bytes.push(0));
        assert!(message.contains("after byte 7840016"), "{message}");

        let message = error(TEST_IMAGES, |bytes| bytes[3] = 1);
        assert!(message.contains("found 0x00000801"), "{message}");

        let message = error(TEST_IMAGES, Vec::clear);
        assert!(message.contains("empty"), "{message}");

        let message = error(TEST_LABELS, |bytes| bytes[8 + 1234] = 10);
        assert!(message.contains("byte 1242"), "{message}");
        assert!(message.contains("label 10"), "{message}");
    }

    #[test]
    fn a_consistent_file_of_another_count_is_refused() {
        // One image fewer, header and all.
        match load_changed(TEST_IMAGES, |bytes| {
            bytes[4..8].copy_from_slice(&9_999u32.to_be_bytes());
            bytes.truncate(16 + 9_999 * 784);
        }) {
            Err(DatasetError::Shape { found, .. }) => assert_eq!(found, [9_999, 28, 28]),
            other => panic!("{other:?}"),
        }
        // One label more than images.
        match load_changed(TEST_LABELS, |bytes| {
            bytes[4..8].copy_from_slice(&10_001u32.to_be_bytes());
            bytes.push(0);
        }) {
            Err(DatasetError::Shape { found, .. }) => assert_eq!(found, [10_001]),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_missing_file_and_a_folder_in_its_place_are_refused() {
        let dir = unpacked_test_split();
        let load = || ImageDataset::load(DatasetName::Mnist, Split::Test, dir.path());
        fs::remove_file(dir.path().join(TEST_IMAGES)).unwrap();
        let message = load().unwrap_err().to_string();
        assert!(message.contains(TEST_IMAGES), "{message}");
        assert!(message.contains("missing"), "{message}");

        fs::create_dir(dir.path().join(TEST_IMAGES)).unwrap();
        let message = chain(&load().unwrap_err());
        assert!(message.contains("folder"), "{message}");
    }

    #[test]
    fn the_file_of_another_dataset_is_refused() {
        let result = ImageDataset::load(DatasetName::FashionMnist, Split::Test, &mnist_dir());
        assert!(matches!(result, Err(DatasetError::Checksum { .. })));
    }

    #[test]
    fn cifar10_batches_are_checked() {
        let dir = tempfile::tempdir().unwrap();
        let load = |split| ImageDataset::load(DatasetName::Cifar10, split, dir.path());
        let path = dir.path().join("test_batch.bin");
        assert!(matches!(
            load(Split::Test),
            Err(DatasetError::MissingFile { .. })
        ));

        fs::write(&path, [0; 3073]).unwrap();
        let message = chain(&load(Split::Test).unwrap_err());
        assert!(message.contains("30730000"), "{message}");
        assert!(message.contains("found 3073"), "{message}");

        // Well formed, but not the published bytes; the same packed.
        let zeros = vec![0; 30_730_000];
        fs::write(&path, &zeros).unwrap();
        assert!(matches!(
            load(Split::Test),
            Err(DatasetError::Checksum { .. })
        ));
        fs::remove_file(&path).unwrap();
        let packed = fs::File::create(dir.path().join("test_batch.bin.gz")).unwrap();
        let mut encoder = GzEncoder::new(packed, Compression::fast());
        encoder.write_all(&zeros).unwrap();
        encoder.finish().unwrap();
        assert!(matches!(
            load(Split::Test),
            Err(DatasetError::Checksum { .. })
        ));
        assert!(matches!(
            load(Split::Train),
            Err(DatasetError::MissingFile { .. })
        ));
    }

    /// Two classes, three RGB images of 2 × 1.
    fn small() -> ImageDataset {
        let pixels = (0..18).map(|i| i * 15).collect();
        let names = vec!["cat".into(), "dog".into()];
        ImageDataset::from_parts(pixels, [3, 2, 1], vec![0, 1, 0], names).unwrap()
    }

    #[test]
    fn a_batch_holds_the_images_asked_for_in_minus_one_to_one() {
        let dataset = small();
        let batch = dataset.batch(&[2, 0, 2], &Device::flex());
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
        assert_eq!(
            parts(vec![0], [1, 1, 1], vec![0], vec![]).unwrap_err(),
            PartsError::Classes { found: 0 }
        );
        assert!(matches!(
            parts(vec![0; 7], [1, 2, 2], vec![0, 1], names()),
            Err(PartsError::Pixels { found: 7, .. })
        ));
        for shape in [[0, 2, 2], [usize::MAX, 2, 2]] {
            assert!(matches!(
                parts(vec![], shape, vec![0], names()),
                Err(PartsError::Pixels { .. })
            ));
        }
        assert_eq!(
            parts(vec![0; 3], [1, 1, 1], vec![0, 1, 2], names()).unwrap_err(),
            PartsError::Label {
                index: 2,
                label: 2,
                num_classes: 2
            }
        );
    }
}
