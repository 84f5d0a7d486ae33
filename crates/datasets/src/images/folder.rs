//! A folder of images as a dataset.
//!
//! ```text
//! DIR/cat/1.png                 class "cat"
//! DIR/dog/deep/er/2.jpg         class "dog": the first folder counts
//! DIR/3.webp                    no class
//! ```
//!
//! - What lies in `DIR/train/` is to learn from and what lies in `DIR/test/` is held out, if both are
//!   there. Otherwise one image in ten is held out by a hash of its path below `DIR`, or below `DIR/train/`
//!   where nothing lies beside it.
//! - Images are files named `.png`, `.jpg`, `.jpeg`, `.webp`, `.bmp` or `.gif`, in any case; hidden files
//!   and folders are passed over. Their order is that of their paths.
//! - Classes may also be named by a `metadata.csv` or `metadata.jsonl` in `DIR` or in the folder of each split
//!   ([`super::metadata`]); folders are then no classes.
//! - Symbolic links are passed over, so that nothing outside `DIR` is read and nothing is read twice;
//!   `DIR` itself may be one.
//! - Every image is cropped to the shape of one size, around its middle, and resized to it ([`super::picture`]).
//!
//! Images that fit into memory together are decoded once. Of a folder that is too large for that only
//! the headers are read at first, and pixels when they are asked for.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::slice;

use walkdir::WalkDir;

use super::dataset::{ImageDataset, MAX_CLASSES};
use super::metadata::{Labels, MetadataError};
use super::picture::{ImageFileError, first_messages, image_size};
use super::streamed::{FolderOptions, StreamedImages, in_parallel};
use crate::files::sha256;
use crate::splits::{Splits, order_by_hash, split_by_hash};

/// How file names of images end.
const EXTENSIONS: [&str; 6] = ["png", "jpg", "jpeg", "webp", "bmp", "gif"];

/// Files that are decoded before their pixels are put together.
const FILES_AT_ONCE: usize = 1024;

/// Why a folder gives no dataset.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// A folder cannot be read.
    #[error("cannot read the folder {}", path.display())]
    Read {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// There is no image.
    #[error(
        "no images below {}: expected files named .png, .jpg, .jpeg, .webp, .bmp or .gif, in it or in \
         folders in it ({others} other files and {links} symbolic links were passed over)",
        path.display()
    )]
    NoImages {
        /// The folder.
        path: PathBuf,
        /// Files that are no images by their names.
        others: usize,
        /// Symbolic links, which are not followed.
        links: usize,
    },
    /// There is one image, and it cannot be held out and learned from.
    #[error("only one image below {}: at least two are needed, one of them to be held out", path.display())]
    OneImage {
        /// The folder.
        path: PathBuf,
    },
    /// A folder of images has a name that is no text, and a class must have one.
    #[error(
        "the folder {} holds images, and its name, which would be that of their class, is not UTF-8: rename \
         it",
        path.display()
    )]
    ClassName {
        /// The folder.
        path: PathBuf,
    },
    /// The classes of the images cannot be read.
    #[error("the classes of the images below {} cannot be read", path.display())]
    Metadata {
        /// The folder.
        path: PathBuf,
        /// What is wrong, and where.
        source: MetadataError,
    },
    /// Classes are named in a file for one split, and for the other they are not.
    #[error(
        "of {}/train and {0}/test only one has a metadata.csv or metadata.jsonl: give the other one, too, or \
         put one of both into {0}", path.display()
    )]
    MetadataOfOne {
        /// The folder.
        path: PathBuf,
    },
    /// Images cannot be read.
    #[error(
        "{} of the {files} images below {} cannot be read; repair or remove them, or have them passed \
         over (skip_bad). The first: {}",
        errors.len(), path.display(), first_messages(errors)
    )]
    BadFiles {
        /// The folder.
        path: PathBuf,
        /// How many images there are.
        files: usize,
        /// One error a bad file.
        errors: Vec<ImageFileError>,
    },
    /// All images are unreadable.
    #[error("none of the {files} images below {} can be read. The first: {first}", path.display())]
    AllBad {
        /// The folder.
        path: PathBuf,
        /// How many images there are.
        files: usize,
        /// What is wrong with the first ones.
        first: String,
    },
    /// There are more folders than classes can be.
    #[error("{found} folders in {}: there can be at most {MAX_CLASSES} classes", path.display())]
    TooManyClasses {
        /// The folder.
        path: PathBuf,
        /// The number of folders.
        found: usize,
    },
}

/// An image below the folder of a dataset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    path: PathBuf,
    /// The path below the folder, its parts joined by slashes on every system.
    key: Vec<u8>,
    /// The first folder of it, or what a file says.
    class: Option<String>,
    /// Whether the first folder has a name that is no text.
    is_in_nameless_folder: bool,
    /// The length of the file in bytes.
    len: u64,
}

/// The images below a folder, of which nothing but the names has been read.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Listing {
    train: Vec<Found>,
    test: Vec<Found>,
    /// Whether the classes are those that a file names.
    is_labelled_by_file: bool,
}

/// Loads a folder as both splits of a dataset; see the [module](self).
///
/// ```no_run
/// use datasets::{Channels, FolderOptions, load_folder};
///
/// let options = FolderOptions {
///     channels: Channels::Grey,
///     size: [32, 32],
///     background: datasets::WHITE,
///     skip_bad: true,
///     cache_bytes: 1 << 30,
/// };
/// let splits = load_folder("my-images".as_ref(), &options)?;
/// assert_eq!(splits.train.height(), 32);
/// # Ok::<(), datasets::FolderError>(())
/// ```
///
/// # Errors
///
/// See [`FolderError`]; unreadable images are reported together.
pub fn load_folder(
    dir: &Path,
    options: &FolderOptions,
) -> Result<Splits<ImageDataset>, FolderError> {
    let mut listing = list(dir)?;
    let [height, width] = options.size;
    let image_len = options.channels.count() * height * width;
    let files = listing.train.len() + listing.test.len();
    let is_held = (files as u64).saturating_mul(image_len as u64) <= options.cache_bytes;

    let mut errors = Vec::new();
    let mut read = |files: &mut Vec<Found>| {
        if is_held {
            decode_all(files, options, &mut errors)
        } else {
            check_all(files, &mut errors);
            Vec::new()
        }
    };
    let train_pixels = read(&mut listing.train);
    let test_pixels = read(&mut listing.test);
    refuse_or_tell(dir, files, errors, options.skip_bad)?;
    if listing.train.is_empty() || listing.test.is_empty() {
        let path = dir.to_owned();
        return Err(FolderError::OneImage { path });
    }

    let class_names = listing.class_names();
    if class_names.len() > MAX_CLASSES {
        return Err(FolderError::TooManyClasses {
            path: dir.to_owned(),
            found: class_names.len(),
        });
    }
    let fingerprint = listing.fingerprint();
    let labels: HashMap<&String, u16> = class_names.iter().zip(0..=u16::MAX).collect();
    let dataset = |files: Vec<Found>, pixels: Vec<u8>| {
        let label = |found: &Found| found.class.as_ref().map(|class| labels[class]);
        let labels = files.iter().map(label).collect();
        let [height, width] = options.size;
        let shape = [options.channels.count(), height, width];
        let names = class_names.clone();
        if is_held {
            return ImageDataset::held(pixels, shape, labels, names);
        }
        let paths = files.into_iter().map(|found| found.path).collect();
        let options = options.clone();
        ImageDataset::streamed(StreamedImages { paths, options }, shape, labels, names)
    };
    Ok(Splits {
        train: dataset(listing.train, train_pixels),
        test: dataset(listing.test, test_pixels),
        fingerprint: Some(fingerprint),
    })
}

/// The widths and heights in pixels of all images below a folder that can be read, as their headers say.
///
/// # Errors
///
/// See [`FolderError`].
pub fn folder_image_sizes(dir: &Path) -> Result<Vec<(u32, u32)>, FolderError> {
    let listing = list(dir)?;
    let files: Vec<&Found> = listing.all().collect();
    let sizes = in_parallel(files.len(), |index| image_size(&files[index].path));
    Ok(sizes.into_iter().flatten().collect())
}

impl Listing {
    fn all(&self) -> impl Iterator<Item = &Found> {
        self.train.iter().chain(&self.test)
    }

    /// The classes in the order of their labels: by name, or by number where all are numbers that a file
    /// gives.
    fn class_names(&self) -> Vec<String> {
        let names: BTreeSet<&String> = self.all().filter_map(|f| f.class.as_ref()).collect();
        let mut names: Vec<String> = names.into_iter().cloned().collect();
        let number = |name: &String| name.parse::<i64>().ok();
        if self.is_labelled_by_file && names.iter().all(|name| number(name).is_some()) {
            names.sort_by_key(number);
        }
        names
    }

    /// The SHA-256 of split, path and length of every file, in order, and of its class where a file says
    /// it.
    fn fingerprint(&self) -> String {
        let mut text = Vec::new();
        for (split, files) in [(b'+', &self.train), (b'-', &self.test)] {
            for found in files {
                text.push(split);
                text.extend_from_slice(&found.key);
                text.push(0);
                text.extend_from_slice(&found.len.to_le_bytes());
                if self.is_labelled_by_file {
                    text.extend_from_slice(found.class.as_deref().unwrap_or_default().as_bytes());
                    text.push(0);
                }
            }
        }
        sha256(&[&text])
    }
}

/// Finds the images below `dir` and divides them.
fn list(dir: &Path) -> Result<Listing, FolderError> {
    let (train, test) = (dir.join("train"), dir.join("test"));
    let is_folder = |path: &Path| path.symlink_metadata().is_ok_and(|found| found.is_dir());
    if is_folder(&train) && is_folder(&test) {
        let mut found = [walk(&train)?, walk(&test)?];
        let mut is_labelled = [false; 2];
        for (place, root) in [&train, &test].into_iter().enumerate() {
            is_labelled[place] = label_by_file(root, found[place].iter_mut())?;
        }
        if is_labelled[0] != is_labelled[1] {
            let path = dir.to_owned();
            return Err(FolderError::MetadataOfOne { path });
        }
        let is_labelled_by_file = is_labelled[0] || label_by_file(dir, found.iter_mut().flatten())?;
        for found in found.iter().flatten() {
            found.check_class(is_labelled_by_file)?;
        }
        let [train, test] = found;
        let order = order_by_hash(&keys(&test));
        return Ok(Listing {
            train,
            test: pick(&test, &order),
            is_labelled_by_file,
        });
    }
    let mut root = dir;
    let mut found = walk(dir)?;
    let is_training = |found: &Found| found.class.as_deref() == Some("train");
    if is_folder(&train) && found.iter().all(is_training) {
        // A training split whose test split was left away: its name is no class.
        root = &train;
        found = walk(&train)?;
    }
    let is_labelled_by_file = label_by_file(root, found.iter_mut())?
        || (root != dir && label_by_file(dir, found.iter_mut())?);
    for found in &found {
        found.check_class(is_labelled_by_file)?;
    }
    let path = dir.to_owned();
    let (train, test) = split_by_hash(&keys(&found)).ok_or(FolderError::OneImage { path })?;
    Ok(Listing {
        train: pick(&found, &train),
        test: pick(&found, &test),
        is_labelled_by_file,
    })
}

fn keys(found: &[Found]) -> Vec<&[u8]> {
    found.iter().map(|found| &found.key[..]).collect()
}

fn pick(found: &[Found], indices: &[usize]) -> Vec<Found> {
    indices.iter().map(|&index| found[index].clone()).collect()
}

/// Gives images below `root` the classes that a file in it names; says whether there is one.
fn label_by_file<'a>(
    root: &Path,
    images: impl Iterator<Item = &'a mut Found>,
) -> Result<bool, FolderError> {
    let metadata_error = |source| FolderError::Metadata {
        path: root.to_owned(),
        source,
    };
    let Some(mut labels) = Labels::read(root).map_err(metadata_error)? else {
        return Ok(false);
    };
    for found in images {
        found.class = labels.class_of(&key(root, &found.path));
    }
    labels.check_all_used().map_err(metadata_error)?;
    Ok(true)
}

/// The parts of a path below `root`.
fn parts<'a>(root: &Path, path: &'a Path) -> Vec<&'a OsStr> {
    let below = path.strip_prefix(root).unwrap_or(path);
    below
        .components()
        .filter_map(|component| match component {
            Component::Normal(part) => Some(part),
            _ => None,
        })
        .collect()
}

/// A path below `root`, its parts joined by slashes on every system.
fn key(root: &Path, path: &Path) -> Vec<u8> {
    let parts = parts(root, path);
    let bytes: Vec<&[u8]> = parts.iter().map(|part| part.as_encoded_bytes()).collect();
    bytes.join(&b'/')
}

/// The images below `root` in the order of their paths; at least one.
fn walk(root: &Path) -> Result<Vec<Found>, FolderError> {
    let read_error = |path: &Path, source: io::Error| FolderError::Read {
        path: path.to_owned(),
        source,
    };
    let metadata = fs::metadata(root).map_err(|source| read_error(root, source))?;
    if !metadata.is_dir() {
        let source = io::Error::new(io::ErrorKind::NotADirectory, "it is a file");
        return Err(read_error(root, source));
    }
    let is_hidden = |name: &OsStr| name.as_encoded_bytes().starts_with(b".");
    let entries = WalkDir::new(root)
        .sort_by_file_name()
        .into_iter()
        .filter_entry(|entry| entry.depth() == 0 || !is_hidden(entry.file_name()));
    let (mut found, mut others, mut links) = (Vec::new(), 0, 0);
    for entry in entries {
        let entry = entry.map_err(|error| {
            let path = error.path().unwrap_or(root).to_owned();
            read_error(&path, error.into())
        })?;
        if entry.path_is_symlink() && entry.depth() > 0 {
            tracing::warn!("{} is a symbolic link; passed over", entry.path().display());
            links += 1;
        } else if entry.file_type().is_file() {
            if !is_image_name(entry.path()) {
                others += 1;
                continue;
            }
            let len = entry.metadata().map_err(|error| {
                let path = entry.path();
                read_error(path, error.into())
            })?;
            found.push(Found::new(root, entry.path(), len.len()));
        }
    }
    if found.is_empty() {
        return Err(FolderError::NoImages {
            path: root.to_owned(),
            others,
            links,
        });
    }
    Ok(found)
}

impl Found {
    fn new(root: &Path, path: &Path, len: u64) -> Self {
        let class = match &parts(root, path)[..] {
            [class, _, ..] => Some(*class),
            _ => None,
        };
        Self {
            path: path.to_owned(),
            key: key(root, path),
            class: class.and_then(OsStr::to_str).map(str::to_owned),
            is_in_nameless_folder: class.is_some_and(|class| class.to_str().is_none()),
            len,
        }
    }

    /// Refuses a folder that is a class and has a name that is no text: two such would be one.
    fn check_class(&self, is_labelled_by_file: bool) -> Result<(), FolderError> {
        if is_labelled_by_file || !self.is_in_nameless_folder {
            return Ok(());
        }
        let folder = self.path.parent().unwrap_or(&self.path);
        let path = folder.to_owned();
        Err(FolderError::ClassName { path })
    }
}

fn is_image_name(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default();
    EXTENSIONS
        .iter()
        .any(|known| extension.eq_ignore_ascii_case(known))
}

/// Decodes all files; those that cannot be are taken out of the list, and their errors kept.
fn decode_all(
    files: &mut Vec<Found>,
    options: &FolderOptions,
    errors: &mut Vec<ImageFileError>,
) -> Vec<u8> {
    let mut pixels = Vec::new();
    let mut good = Vec::with_capacity(files.len());
    for chunk in files.chunks(FILES_AT_ONCE) {
        let images = in_parallel(chunk.len(), |index| options.read(&chunk[index].path));
        for (found, image) in chunk.iter().zip(images) {
            match image {
                Ok(image) => {
                    pixels.extend_from_slice(&image);
                    good.push(found.clone());
                }
                Err(error) => errors.push(error),
            }
        }
    }
    *files = good;
    pixels
}

/// Reads the headers of all files; those that are no images are taken out of the list, and their errors
/// kept.
fn check_all(files: &mut Vec<Found>, errors: &mut Vec<ImageFileError>) {
    let sizes = in_parallel(files.len(), |index| image_size(&files[index].path));
    let mut sizes = sizes.into_iter();
    files.retain(|_| match sizes.next() {
        Some(Err(error)) => {
            errors.push(error);
            false
        }
        _ => true,
    });
}

/// Files that cannot be read: an error, or a warning for each.
fn refuse_or_tell(
    dir: &Path,
    files: usize,
    errors: Vec<ImageFileError>,
    skip_bad: bool,
) -> Result<(), FolderError> {
    let path = dir.to_owned();
    if errors.is_empty() {
        return Ok(());
    }
    if errors.len() == files {
        let first = first_messages(&errors);
        return Err(FolderError::AllBad { path, files, first });
    }
    if !skip_bad {
        return Err(FolderError::BadFiles {
            path,
            files,
            errors,
        });
    }
    for error in &errors {
        tracing::warn!("{}; passed over", first_messages(slice::from_ref(error)));
    }
    tracing::warn!(
        "{} of the {files} images below {} cannot be read and were passed over",
        errors.len(),
        dir.display()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use image::{Rgb, RgbImage};
    use tempfile::TempDir;

    use super::*;
    use crate::images::Channels;

    const OPTIONS: FolderOptions = FolderOptions {
        channels: Channels::Rgb,
        size: [4, 4],
        background: [255; 3],
        skip_bad: false,
        cache_bytes: u64::MAX,
    };

    /// A folder of images of one colour each, of mixed sizes: the shade is the place in the list.
    fn folder(names: &[&str]) -> TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (shade, name) in names.iter().enumerate() {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let (width, height) = (3 + shade as u32 % 7, 9 - shade as u32 % 5);
            let image = RgbImage::from_pixel(width, height, Rgb([shade as u8; 3]));
            image.save(path).unwrap();
        }
        dir
    }

    fn names(count: usize) -> Vec<String> {
        (0..count)
            .map(|i| format!("{}/{i:03}.png", ["b", "a"][i % 2]))
            .collect()
    }

    fn folder_of(count: usize) -> TempDir {
        let names = names(count);
        folder(&names.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// The shade of every image.
    fn shades(dataset: &ImageDataset) -> Vec<u8> {
        let all: Vec<usize> = (0..dataset.len()).collect();
        let bytes = dataset.read(&all).unwrap();
        bytes.chunks(3 * 16).map(|image| image[0]).collect()
    }

    fn load(dir: &TempDir, options: &FolderOptions) -> Result<Splits<ImageDataset>, FolderError> {
        load_folder(dir.path(), options)
    }

    #[test]
    fn classes_are_the_first_folders_by_name() {
        let dir = folder(&[
            "train/dog/1.png",
            "train/cat/deep/er/2.BMP",
            "train/3.gif",
            "test/dog/4.webp",
            "test/fox/5.png",
            "val/6.png",
        ]);
        fs::write(dir.path().join("train/cat/notes.txt"), "text").unwrap();
        fs::write(dir.path().join("train/cat/.hidden.png"), "text").unwrap();
        let splits = load(&dir, &OPTIONS).unwrap();
        assert_eq!(splits.train.class_names(), ["cat", "dog", "fox"]);
        assert_eq!(splits.test.class_names(), splits.train.class_names());
        let labels = |split: &ImageDataset| -> Vec<_> {
            (0..split.len())
                .map(|i| (shades(split)[i], split.label(i)))
                .collect()
        };
        assert_eq!(
            labels(&splits.train),
            [(2, None), (1, Some(0)), (0, Some(1))]
        );
        let mut test = labels(&splits.test);
        test.sort_unstable();
        assert_eq!(test, [(3, Some(1)), (4, Some(2))]);
        assert_eq!((splits.train.channels(), splits.train.height()), (3, 4));
    }

    #[test]
    fn a_training_split_by_itself_is_no_class() {
        let files = ["train/dog/1.png", "train/cat/2.png", "train/cat/3.png"];
        let splits = load(&folder(&files), &OPTIONS).unwrap();
        assert_eq!(splits.train.class_names(), ["cat", "dog"]);
        assert_eq!(splits.train.len() + splits.test.len(), 3);

        let beside = folder(&[&files[..], &["fox/4.png"]].concat());
        let splits = load(&beside, &OPTIONS).unwrap();
        assert_eq!(splits.train.class_names(), ["fox", "train"]);
    }

    #[test]
    fn every_image_is_on_one_side_and_stays_there() {
        let dir = folder_of(100);
        let splits = load(&dir, &OPTIONS).unwrap();
        let (train, test) = (shades(&splits.train), shades(&splits.test));
        let mut all = [train.clone(), test.clone()].concat();
        all.sort_unstable();
        assert_eq!(all, (0..100).collect::<Vec<_>>());
        assert!((3..25).contains(&test.len()), "{}", test.len());

        // One image more moves no other, and changes the fingerprint.
        RgbImage::from_pixel(9, 9, Rgb([200; 3]))
            .save(dir.path().join("new.png"))
            .unwrap();
        let more = load(&dir, &OPTIONS).unwrap();
        let without =
            |shades: Vec<u8>| -> Vec<u8> { shades.into_iter().filter(|&s| s != 200).collect() };
        assert_eq!(without(shades(&more.train)), train);
        assert_eq!(without(shades(&more.test)), test);
        assert_ne!(more.fingerprint, splits.fingerprint);
        fs::remove_file(dir.path().join("new.png")).unwrap();
        assert_eq!(
            load(&dir, &OPTIONS).unwrap().fingerprint,
            splits.fingerprint
        );
    }

    #[test]
    fn streamed_images_are_the_held_ones() {
        let dir = folder_of(30);
        let held = load(&dir, &OPTIONS).unwrap();
        let streamed = load(
            &dir,
            &FolderOptions {
                cache_bytes: 30 * 48 - 1,
                ..OPTIONS
            },
        )
        .unwrap();
        assert!(!held.train.is_streamed() && streamed.train.is_streamed());
        assert_eq!(held.train.labels(), streamed.train.labels());
        assert_eq!(held.fingerprint, streamed.fingerprint);
        let some = [3, 0, 3, 20];
        assert_eq!(
            held.train.read(&some).unwrap(),
            streamed.train.read(&some).unwrap()
        );
        assert_eq!(shades(&held.test), shades(&streamed.test));
    }

    #[test]
    fn bad_files_stop_all_or_are_passed_over() {
        let dir = folder_of(30);
        let whole = load(&dir, &OPTIONS).unwrap();
        let write = |name: &str, bytes: &[u8]| fs::write(dir.path().join(name), bytes).unwrap();
        let png = fs::read(dir.path().join("a/001.png")).unwrap();
        write("a/empty.png", b"");
        write("a/text.jpg", b"text");
        write("a/cut.png", &png[..png.len() - 20]);
        for cache_bytes in [u64::MAX, 0] {
            let options = FolderOptions {
                cache_bytes,
                ..OPTIONS
            };
            let message = load(&dir, &options).unwrap_err().to_string();
            for part in [
                "of the 33 images",
                "empty.png is empty",
                "text.jpg is no image",
                "skip_bad",
            ] {
                assert!(message.contains(part), "{message}");
            }
        }
        let skipping = FolderOptions {
            skip_bad: true,
            ..OPTIONS
        };
        let held = load(&dir, &skipping).unwrap();
        assert_eq!(shades(&held.train), shades(&whole.train));
        assert_eq!(held.fingerprint, whole.fingerprint);

        // Of a streamed folder the cut file is found when it is read: another of its class takes its
        // place. Images of class "b" have even shades, those of "a" odd ones.
        let streaming = FolderOptions {
            cache_bytes: 0,
            ..skipping
        };
        let streamed = load(&dir, &streaming).unwrap();
        assert_eq!(streamed.train.len() + streamed.test.len(), 31);
        for split in [&streamed.train, &streamed.test] {
            for (index, shade) in shades(split).into_iter().enumerate() {
                assert_eq!(split.label(index), Some(1 - usize::from(shade % 2)));
            }
        }
        write("a/text.jpg", &png);
        write("a/empty.png", &png);
        let strict = load(
            &dir,
            &FolderOptions {
                cache_bytes: 0,
                ..OPTIONS
            },
        )
        .unwrap();
        let all: Vec<usize> = (0..strict.train.len()).collect();
        let in_test: Vec<usize> = (0..strict.test.len()).collect();
        let results = [strict.train.read(&all), strict.test.read(&in_test)];
        let message = results
            .into_iter()
            .find_map(Result::err)
            .unwrap()
            .to_string();
        assert!(message.contains("cut.png"), "{message}");
    }

    #[test]
    fn folders_without_images_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a.txt"), "text").unwrap();
        let message = |path: &Path| {
            let error = load_folder(path, &OPTIONS).unwrap_err();
            let source = std::error::Error::source(&error).map(ToString::to_string);
            format!("{error}: {}", source.unwrap_or_default())
        };
        assert!(
            message(dir.path()).contains("1 other files"),
            "{}",
            message(dir.path())
        );
        assert!(message(&dir.path().join("none")).contains("No such file"));
        assert!(message(&dir.path().join("a.txt")).contains("it is a file"));
        assert!(message(folder(&["1.png"]).path()).contains("only one image"));
        fs::write(dir.path().join("a.png"), "").unwrap();
        fs::write(dir.path().join("b.png"), "").unwrap();
        let all_bad = message(dir.path());
        assert!(all_bad.contains("none of the 2 images"), "{all_bad}");
    }

    #[cfg(unix)]
    #[test]
    fn classes_whose_names_are_no_text_are_refused() {
        use std::os::unix::ffi::OsStrExt;
        let dir = folder(&["a/1.png", "a/2.png"]);
        for name in [&b"b\xff"[..], b"b\xfe"] {
            let class = dir.path().join(OsStr::from_bytes(name));
            fs::create_dir(&class).unwrap();
            fs::copy(dir.path().join("a/1.png"), class.join("1.png")).unwrap();
        }
        let message = load(&dir, &OPTIONS).unwrap_err().to_string();
        assert!(message.contains("not UTF-8: rename"), "{message}");
        // Where a file names the classes, folders need no names.
        fs::write(
            dir.path().join("metadata.csv"),
            "file_name,label\na/1.png,x\n",
        )
        .unwrap();
        assert_eq!(load(&dir, &OPTIONS).unwrap().train.class_names(), ["x"]);
    }

    #[test]
    fn classes_are_those_that_a_file_names() {
        let dir = folder_of(30);
        let by_folder = load(&dir, &OPTIONS).unwrap();
        let write = |place: &str, text: &str| fs::write(dir.path().join(place), text).unwrap();
        // The images 0, 2, 4, … are in b, the others in a; every third one is 10, the others 9.
        let lines: Vec<String> = names(30)
            .iter()
            .enumerate()
            .map(|(index, name)| format!("{name},{}", if index % 3 == 0 { 10 } else { 9 }))
            .collect();
        let text = format!("file_name,label\n{}\n", lines[..29].join("\n"));
        write("metadata.csv", &text);
        let by_file = load(&dir, &OPTIONS).unwrap();
        assert_eq!(by_file.train.class_names(), ["9", "10"], "by number");
        for split in [&by_file.train, &by_file.test] {
            for (index, shade) in shades(split).into_iter().enumerate() {
                let expected = (shade < 29).then_some(usize::from(shade % 3 == 0));
                assert_eq!(split.label(index), expected, "image {shade}");
            }
        }
        // The same images on each side; but other classes are other data.
        assert_eq!(shades(&by_file.test), shades(&by_folder.test));
        assert_ne!(by_file.fingerprint, by_folder.fingerprint);
        write("metadata.csv", &text.replace(",9", ",8"));
        let other = load(&dir, &OPTIONS).unwrap();
        assert_ne!(other.fingerprint, by_file.fingerprint);
        write("metadata.csv", &text.replace("b/000.png", "b/missing.png"));
        let error = load(&dir, &OPTIONS).unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.ends_with("metadata.csv:2"), "{source}");
        fs::remove_file(dir.path().join("metadata.csv")).unwrap();
        assert_eq!(
            load(&dir, &OPTIONS).unwrap().fingerprint,
            by_folder.fingerprint
        );
    }

    #[test]
    fn each_split_or_both_together_have_a_file() {
        let dir = folder(&["train/1.png", "train/2.png", "test/3.png"]);
        let write = |place: &str, text: &str| fs::write(dir.path().join(place), text).unwrap();
        let classes = || {
            let splits = load(&dir, &OPTIONS).unwrap();
            (
                splits.train.labels().to_vec(),
                splits.test.labels().to_vec(),
            )
        };
        let expected = (vec![Some(1), Some(0)], vec![Some(1)]);
        write(
            "metadata.csv",
            "file_name,kind\ntrain/1.png,b\ntrain/2.png,a\ntest/3.png,b\n",
        );
        assert_eq!(classes(), expected);
        fs::remove_file(dir.path().join("metadata.csv")).unwrap();
        write("train/metadata.csv", "file_name,kind\n1.png,b\n2.png,a\n");
        let message = load(&dir, &OPTIONS).unwrap_err().to_string();
        assert!(message.contains("only one has a metadata.csv"), "{message}");
        write(
            "test/metadata.jsonl",
            "{\"file_name\": \"3.png\", \"label\": \"b\"}\n",
        );
        assert_eq!(classes(), expected);
        // A training split whose test split was left away.
        fs::remove_dir_all(dir.path().join("test")).unwrap();
        let splits = load(&dir, &OPTIONS).unwrap();
        assert_eq!(splits.train.class_names(), ["a", "b"]);
    }

    #[cfg(unix)]
    #[test]
    fn links_are_not_followed() {
        use std::os::unix::fs::symlink;
        let outside = folder(&["secret.png"]);
        let dir = folder(&["a/1.png", "a/2.png", "a/3.png"]);
        symlink(outside.path(), dir.path().join("a/out")).unwrap();
        symlink(
            outside.path().join("secret.png"),
            dir.path().join("a/out.png"),
        )
        .unwrap();
        symlink(dir.path(), dir.path().join("a/loop")).unwrap();
        let splits = load(&dir, &OPTIONS).unwrap();
        assert_eq!(splits.train.len() + splits.test.len(), 3);
        // The folder itself may be a link.
        let link = outside.path().join("link");
        symlink(dir.path(), &link).unwrap();
        let through = load_folder(&link, &OPTIONS).unwrap();
        assert_eq!(through.fingerprint, splits.fingerprint);
        assert_eq!(folder_image_sizes(&link).unwrap().len(), 3);
    }
}
