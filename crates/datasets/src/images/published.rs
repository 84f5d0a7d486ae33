//! The published datasets: MNIST, Fashion-MNIST and CIFAR-10, from the files that their authors give
//! out, each checked against its SHA-256.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use tar::Archive;

use super::cifar10;
use super::dataset::ImageDataset;
use super::error::DatasetError;
use super::idx::{self, IdxArray};
use crate::files::catalogue::{CIFAR10_ARCHIVE, DatasetFile, DatasetName, Split};
use crate::files::{Sha256Writer, open_unpacked, sha256};

/// The most bytes that the archive of CIFAR-10 may unpack to: the six batches, and some text.
const MAX_ARCHIVE_LEN: u64 = 256 << 20;

impl ImageDataset {
    /// Loads a split of a dataset from `dir`, the folder that holds its files ([`find`] knows it).
    ///
    /// Every file may be plain or packed with gzip; the batches of CIFAR-10 may also lie in the archive
    /// that they are published as. Form, shape, labels and the SHA-256 of the unpacked bytes are
    /// checked.
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
            DatasetName::Fsdd | DatasetName::Adult | DatasetName::Names => {
                Err(DatasetError::NotImages { name })
            }
        }
    }
}

/// Checks a file of a data set of images that was fetched as `download` against the published SHA-256 of what
/// is in it.
pub(crate) fn verify_download(
    name: DatasetName,
    download: &str,
    path: &Path,
) -> Result<(), DatasetError> {
    let open_error = |source| DatasetError::Open {
        path: path.to_owned(),
        source,
    };
    if download == CIFAR10_ARCHIVE {
        for split in [Split::Train, Split::Test] {
            archived_batches(split, path)?;
        }
        return Ok(());
    }
    let unpacked = download.trim_end_matches(".gz");
    let files = [Split::Train, Split::Test].map(|split| name.files(split));
    let Some(file) = files.into_iter().flatten().find(|f| f.name == unpacked) else {
        let source = io::Error::new(io::ErrorKind::InvalidInput, "it is no file of the dataset");
        return Err(open_error(source));
    };
    let mut hasher = Sha256Writer::default();
    // A packed file that is cut or damaged shows here; one that unpacks to far more than the dataset
    // is only read that far.
    let reader = open_unpacked(path).map_err(open_error)?;
    io::copy(&mut reader.take(MAX_ARCHIVE_LEN), &mut hasher).map_err(open_error)?;
    verify(name, file, path.to_owned(), hasher.finish())
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
    let bad = |&label: &u8| usize::from(label) >= num_classes;
    if let Some(index) = labels.data().iter().position(bad) {
        let label = labels.data()[index];
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

    Ok(ImageDataset::held(
        images.into_data(),
        [1, SIDE as usize, SIDE as usize],
        labels
            .data()
            .iter()
            .map(|&label| Some(label.into()))
            .collect(),
        owned_class_names(name),
    ))
}

/// CIFAR-10: binary batches, or the archive of them where not one of them lies there by itself.
fn load_cifar10(split: Split, dir: &Path) -> Result<ImageDataset, DatasetError> {
    let name = DatasetName::Cifar10;
    let files = name.files(split);
    let archive = dir.join(CIFAR10_ARCHIVE);
    let batches = if archive.is_file() && files.iter().all(|file| file.locate(dir).is_none()) {
        archived_batches(split, &archive)?
    } else {
        files
            .iter()
            .map(|file| {
                let path = locate(file, dir)?;
                let reader = open_unpacked(&path).map_err(|source| DatasetError::Open {
                    path: path.clone(),
                    source,
                })?;
                read_batch(reader, file, path)
            })
            .collect::<Result<_, _>>()?
    };
    let mut pixels = Vec::with_capacity(batches.len() * cifar10::RECORDS * cifar10::IMAGE_LEN);
    let mut labels = Vec::with_capacity(batches.len() * cifar10::RECORDS);
    for (label, image) in batches.iter().flat_map(|batch| cifar10::records(batch)) {
        labels.push(Some(label.into()));
        pixels.extend_from_slice(image);
    }
    let shape = [cifar10::CHANNELS, cifar10::SIDE, cifar10::SIDE];
    Ok(ImageDataset::held(
        pixels,
        shape,
        labels,
        owned_class_names(name),
    ))
}

/// The batches of a split from the archive, in order.
fn archived_batches(split: Split, archive: &Path) -> Result<Vec<Vec<u8>>, DatasetError> {
    let open_error = |source| DatasetError::Open {
        path: archive.to_owned(),
        source,
    };
    let files = DatasetName::Cifar10.files(split);
    let mut batches = vec![None; files.len()];
    let reader = open_unpacked(archive).map_err(open_error)?;
    let mut entries = Archive::new(reader.take(MAX_ARCHIVE_LEN));
    for entry in entries.entries().map_err(open_error)? {
        let entry = entry.map_err(open_error)?;
        let path = entry.path().map_err(open_error)?.into_owned();
        let place = files
            .iter()
            .position(|file| path.file_name().is_some_and(|name| name == file.name));
        if let Some(place) = place {
            batches[place] = Some(read_batch(entry, &files[place], archive.join(path))?);
        }
        if batches.iter().all(Option::is_some) {
            break;
        }
    }
    let missing = |place: usize| DatasetError::MissingFile {
        path: archive.join(files[place].name),
        file: files[place].name,
    };
    let batches = batches.into_iter().enumerate();
    batches
        .map(|(place, batch)| batch.ok_or_else(|| missing(place)))
        .collect()
}

/// Reads and checks one batch; `path` says in messages where it lies.
fn read_batch(
    reader: impl Read,
    file: &DatasetFile,
    path: PathBuf,
) -> Result<Vec<u8>, DatasetError> {
    let batch = cifar10::parse(reader).map_err(|source| DatasetError::Cifar10 {
        path: path.clone(),
        source,
    })?;
    verify(DatasetName::Cifar10, file, path, sha256(&[&batch]))?;
    Ok(batch)
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
    name.class_names()
        .iter()
        .map(|&name| name.to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs;
    use std::io::{Read, Write};

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
        let histogram = |labels: &[Option<u16>]| {
            let mut counts = [0; 10];
            for label in labels {
                counts[usize::from(label.unwrap())] += 1;
            }
            counts
        };
        assert_eq!(
            histogram(train.labels()),
            [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
        );
        // The figures that every tutorial normalises MNIST by.
        let (mut sum, mut squares) = (0.0, 0.0);
        let pixels = train.read(&(0..train.len()).collect::<Vec<_>>()).unwrap();
        for &byte in &pixels {
            let value = f64::from(byte) / 255.0;
            sum += value;
            squares += value * value;
        }
        let mean = sum / pixels.len() as f64;
        let std = (squares / pixels.len() as f64 - mean * mean).sqrt();
        assert!((mean - 0.1307).abs() < 5e-5, "mean {mean}");
        assert!((std - 0.3081).abs() < 5e-5, "std {std}");

        let test = ImageDataset::load(DatasetName::Mnist, Split::Test, &mnist_dir()).unwrap();
        assert_eq!(test.len(), 10_000);
        assert_eq!(
            histogram(test.labels()),
            [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
        );
        assert_eq!((test.label(0), test.label(1)), (Some(7), Some(2)));
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

    #[test]
    fn the_archive_of_cifar10_is_read_without_unpacking_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(CIFAR10_ARCHIVE);
        let write = |batches: &[(&str, usize)]| {
            let packed = GzEncoder::new(fs::File::create(&path).unwrap(), Compression::fast());
            let mut archive = tar::Builder::new(packed);
            for &(name, len) in batches {
                let mut header = tar::Header::new_gnu();
                header.set_size(len as u64);
                header.set_mode(0o644);
                let name = format!("cifar-10-batches-bin/{name}");
                let bytes = io::repeat(0).take(len as u64);
                archive.append_data(&mut header, name, bytes).unwrap();
            }
            archive.into_inner().unwrap().finish().unwrap();
        };
        let load = |split| {
            chain(&ImageDataset::load(DatasetName::Cifar10, split, dir.path()).unwrap_err())
        };

        // Well formed, but not the published bytes.
        write(&[("readme.html", 100), ("test_batch.bin", 30_730_000)]);
        let message = load(Split::Test);
        assert!(
            message.contains("tar.gz/cifar-10-batches-bin/test_batch.bin"),
            "{message}"
        );
        assert!(message.contains("SHA-256"), "{message}");
        let message = load(Split::Train);
        assert!(message.contains("data_batch_1.bin is missing"), "{message}");
        write(&[("test_batch.bin", 3073)]);
        assert!(load(Split::Test).contains("found 3073"));
        // Cut short, and no archive at all.
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        assert!(load(Split::Test).contains(CIFAR10_ARCHIVE));
        fs::write(&path, "text").unwrap();
        assert!(load(Split::Test).contains(CIFAR10_ARCHIVE));
        assert!(verify_download(DatasetName::Cifar10, CIFAR10_ARCHIVE, &path).is_err());
    }

    #[test]
    fn downloads_are_checked_by_what_is_in_them() {
        let name = DatasetName::Mnist;
        assert_eq!(name.downloads().len(), 4);
        for download in name.downloads() {
            verify_download(name, &download, &mnist_dir().join(&download)).unwrap();
        }
        let labels = mnist_dir().join("t10k-labels-idx1-ubyte.gz");
        assert!(matches!(
            verify_download(name, "train-labels-idx1-ubyte.gz", &labels),
            Err(DatasetError::Checksum { .. })
        ));
        assert!(verify_download(name, "other.gz", &labels).is_err());
    }
}
