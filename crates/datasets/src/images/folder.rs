//! A folder of images as a dataset: [`crate::folders`] says which files, classes and splits it has.
//!
//! - Images are files named `.png`, `.jpg`, `.jpeg`, `.webp`, `.bmp` or `.gif`, in any case.
//! - Every image is cropped to the shape of one size, around its middle, and resized to it ([`super::picture`]).
//!
//! Images that fit into memory together are decoded once. Of a folder that is too large for that only
//! the headers are read at first, and pixels when they are asked for.

use std::path::Path;

use super::dataset::ImageDataset;
use super::picture::{ImageFileError, image_size};
use super::streamed::{FolderOptions, StreamedImages};
use crate::folders::{FileKind, FolderError, Found, SplitFiles, has_files, in_parallel, list};
use crate::splits::Splits;

/// How file names of images end.
const IMAGES: FileKind = FileKind::new("image", &["png", "jpg", "jpeg", "webp", "bmp", "gif"]);

/// Files that are decoded before their pixels are put together.
const FILES_AT_ONCE: usize = 1024;

/// Whether there are files below a folder that are images by their names.
pub fn has_images(dir: &Path) -> bool {
    has_files(dir, IMAGES)
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
/// # Ok::<(), datasets::FolderError<datasets::ImageFileError>>(())
/// ```
///
/// # Errors
///
/// See [`FolderError`]; unreadable images are reported together.
pub fn load_folder(
    dir: &Path,
    options: &FolderOptions,
) -> Result<Splits<ImageDataset>, FolderError<ImageFileError>> {
    let mut listing = list(dir, IMAGES)?;
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
    let listing = listing.read(dir, errors, options.skip_bad)?;
    let dataset = |files: SplitFiles, pixels: Vec<u8>| {
        let [height, width] = options.size;
        let shape = [options.channels.count(), height, width];
        let names = listing.class_names.clone();
        if is_held {
            return ImageDataset::held(pixels, shape, files.labels, names);
        }
        let (paths, options) = (files.paths, options.clone());
        let images = StreamedImages { paths, options };
        ImageDataset::streamed(images, shape, files.labels, names)
    };
    Ok(Splits {
        train: dataset(listing.train, train_pixels),
        test: dataset(listing.test, test_pixels),
        fingerprint: Some(listing.fingerprint),
    })
}

/// The widths and heights in pixels of all images below a folder that can be read, as their headers say.
///
/// # Errors
///
/// See [`FolderError`].
pub fn folder_image_sizes(dir: &Path) -> Result<Vec<(u32, u32)>, FolderError<ImageFileError>> {
    let listing = list(dir, IMAGES)?;
    let files: Vec<&Found> = listing.all().collect();
    let sizes = in_parallel(files.len(), |index| image_size(&files[index].path));
    Ok(sizes.into_iter().flatten().collect())
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::ffi::OsStr;
    use std::fs;

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

    fn load(
        dir: &TempDir,
        options: &FolderOptions,
    ) -> Result<Splits<ImageDataset>, FolderError<ImageFileError>> {
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
