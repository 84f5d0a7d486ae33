//! NumPy arrays of images as a dataset: a `.npy` file, or a `.npz` file that also holds labels.
//!
//! | in the file | what it is |
//! | --- | --- |
//! | images | `[N, H, W]` (grey), `[N, H, W, C]` or `[N, C, H, W]`, with C being 1 (grey) or 3 (RGB); `u1`, or `f4` in [0, 1] |
//! | labels | `[N]`, integers from 0: the classes |
//!
//! In a `.npz` file the arrays are called `images` and `labels`, or `arr_0` and `arr_1` as
//! `numpy.savez` calls arrays without a name; labels may be left out. Real numbers are rounded to
//! bytes: v becomes 255 v. [0, 1] is the one reading of them, since it can be told from the others: an
//! image in [-1, 1] has values below 0 and one in [0, 255] has values above 1, and both are refused.
//!
//! One image in ten is held out by a hash of its index.
//!
//! Source: the NumPy Enhancement Proposal "A simple file format for NumPy arrays", versions 1 to 3.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use zip::ZipArchive;
use zip::result::ZipError;

use super::dataset::{ImageDataset, MAX_CLASSES};
use crate::files::{open, read_at_most, sha256};
use crate::splits::{Splits, split_by_hash};

/// How a `.npy` file starts.
const MAGIC: &[u8] = b"\x93NUMPY";

/// The most bytes of the header of an array: NumPy's own limit is less.
const MAX_HEADER_LEN: usize = 1 << 16;

/// How a ZIP archive starts, which a `.npz` file is.
const ZIP_MAGIC: &[u8] = b"PK";

/// Names of the arrays of a `.npz` file, the first that is there being taken.
const IMAGES: [&str; 2] = ["images", "arr_0"];
const LABELS: [&str; 2] = ["labels", "arr_1"];

/// Why a file gives no dataset: which one it is, and what is wrong with it.
#[derive(Debug, thiserror::Error)]
#[error("{}{}", path.display(), of(array))]
pub struct ArrayFileError {
    /// The file.
    path: PathBuf,
    /// The array in it, in a `.npz` file.
    array: Option<String>,
    /// What is wrong.
    source: ArrayError,
}

fn of(array: &Option<String>) -> String {
    match array {
        Some(array) => format!(", array {array:?}"),
        None => String::new(),
    }
}

/// Why bytes are not the array of images or labels that was expected.
#[derive(Debug, thiserror::Error)]
pub enum ArrayError {
    /// The file cannot be opened or read.
    #[error("it cannot be read (it may be cut or damaged)")]
    Read(#[source] io::Error),
    /// The archive is damaged, or packed in a way that is not read.
    #[error("it is no ZIP archive that can be read (it may be cut or damaged)")]
    Zip(#[source] ZipError),
    /// The archive holds no array of images.
    #[error("it holds no array called \"images\" or \"arr_0\"; what it holds: {found}")]
    NoImages {
        /// The names in the archive.
        found: String,
    },
    /// The first bytes are others.
    #[error("it is no NumPy array: it does not start as a .npy file does")]
    Magic,
    /// The header cannot be understood.
    #[error("the header of the array cannot be understood: {0}")]
    Header(&'static str),
    /// The elements are of a type that is not read.
    #[error("its elements are of type {found:?}; expected {expected}")]
    ElementType {
        /// The type in the header.
        found: String,
        /// What is read.
        expected: &'static str,
    },
    /// The array is stored column by column.
    #[error("it is in Fortran order; save it as numpy.ascontiguousarray(array)")]
    FortranOrder,
    /// The shape is none of images.
    #[error(
        "its shape is {found:?}; expected [N, H, W], [N, H, W, C] or [N, C, H, W] with C = 1 or 3, \
         and none of them 0"
    )]
    ImageShape {
        /// The shape in the header.
        found: Vec<usize>,
    },
    /// The shape could be that of channels in either place.
    #[error(
        "its shape {found:?} may be [N, H, W, C] as well as [N, C, H, W]; leave out the axis of length \
         1, or save it with other sizes"
    )]
    AmbiguousShape {
        /// The shape in the header.
        found: Vec<usize>,
    },
    /// The labels are not one for each image.
    #[error("its shape is {found:?}; expected [{images}], a label for each image")]
    LabelShape {
        /// The shape in the header.
        found: Vec<usize>,
        /// The number of images.
        images: usize,
    },
    /// The array is larger than what may be held.
    #[error("it has {found} values; at most {limit} bytes of images are held (cache_mib)")]
    TooLarge {
        /// The number of values.
        found: usize,
        /// The limit.
        limit: u64,
    },
    /// The array ends before its last element.
    #[error("it is cut short: shape {shape:?} asks for {expected} bytes, found {found}")]
    Truncated {
        /// The shape in the header.
        shape: Vec<usize>,
        /// The bytes that the header implies.
        expected: usize,
        /// The bytes that are there.
        found: usize,
    },
    /// The file goes on after the last element.
    #[error("it goes on after the {expected} bytes that shape {shape:?} asks for")]
    TrailingBytes {
        /// The shape in the header.
        shape: Vec<usize>,
        /// The bytes that the header implies.
        expected: usize,
    },
    /// A real number is outside [0, 1].
    #[error(
        "value {index} is {value}; real numbers must be in [0, 1] (of [-1, 1] save (x + 1) / 2, of \
         [0, 255] save them as uint8)"
    )]
    Value {
        /// Which value, from 0 in the order of the file.
        index: usize,
        /// The value.
        value: f32,
    },
    /// A label is negative or too large.
    #[error("label {label} of image {index} is out of range: labels run from 0 to {}", MAX_CLASSES - 1)]
    Label {
        /// Which image, from 0.
        index: usize,
        /// The label.
        label: i128,
    },
    /// There is one image, and it cannot be held out and learned from.
    #[error("it holds one image: at least two are needed, one of them to be held out")]
    OneImage,
}

/// Loads a `.npy` or `.npz` file as both splits of a dataset; see the [module](self). At most `limit`
/// bytes of images are held.
///
/// # Errors
///
/// See [`ArrayFileError`].
pub fn load_array(path: &Path, limit: u64) -> Result<Splits<ImageDataset>, ArrayFileError> {
    let at = |array: Option<&str>| {
        let array = array.map(str::to_owned);
        move |source| ArrayFileError {
            path: path.to_owned(),
            array,
            source,
        }
    };
    let file = || open(path).map_err(ArrayError::Read).map_err(at(None));
    let start = read_at_most(file()?, ZIP_MAGIC.len())
        .map_err(|error| at(None)(ArrayError::Read(error.source)))?;
    if start != ZIP_MAGIC {
        let images = read_images(BufReader::new(file()?), limit).map_err(at(None))?;
        return images.into_splits(None).map_err(at(None));
    }

    let mut archive = ZipArchive::new(BufReader::new(file()?))
        .map_err(ArrayError::Zip)
        .map_err(at(None))?;
    let Some(name) = first_of(&archive, IMAGES) else {
        let found: Vec<_> = archive.file_names().flatten().collect();
        let found = found.join(", ");
        return Err(at(None)(ArrayError::NoImages { found }));
    };
    let images = read_member(&mut archive, name, |reader| read_images(reader, limit));
    let images = images.map_err(at(Some(name)))?;
    let labels = match first_of(&archive, LABELS) {
        Some(name) => {
            let read = |reader: &mut dyn Read| read_labels(reader, images.count);
            Some(read_member(&mut archive, name, read).map_err(at(Some(name)))?)
        }
        None => None,
    };
    images.into_splits(labels).map_err(at(Some(name)))
}

/// The first of these names that the archive has.
fn first_of(
    archive: &ZipArchive<BufReader<File>>,
    names: [&'static str; 2],
) -> Option<&'static str> {
    let is_there = |name: &&str| archive.index_for_name(&format!("{name}.npy")).is_some();
    names.into_iter().find(is_there)
}

fn read_member<T>(
    archive: &mut ZipArchive<BufReader<File>>,
    name: &str,
    read: impl FnOnce(&mut dyn Read) -> Result<T, ArrayError>,
) -> Result<T, ArrayError> {
    let mut member = archive
        .by_name(&format!("{name}.npy"))
        .map_err(ArrayError::Zip)?;
    read(&mut member)
}

/// Images of one size in memory.
#[derive(Debug, PartialEq, Eq)]
struct Images {
    count: usize,
    /// Channels, height, width.
    shape: [usize; 3],
    /// Image by image, each channel, row, column.
    pixels: Vec<u8>,
}

impl Images {
    fn into_splits(self, labels: Option<Vec<u16>>) -> Result<Splits<ImageDataset>, ArrayError> {
        let keys: Vec<String> = (0..self.count).map(|index| index.to_string()).collect();
        let (train, test) = split_by_hash(&keys).ok_or(ArrayError::OneImage)?;
        let classes = labels
            .iter()
            .flatten()
            .max()
            .map_or(0, |&max| usize::from(max) + 1);
        let class_names: Vec<String> = (0..classes).map(|class| class.to_string()).collect();
        let label_bytes: Vec<u8> = labels
            .iter()
            .flatten()
            .flat_map(|l| l.to_le_bytes())
            .collect();
        let shape = format!("{:?}", self.shape);
        let fingerprint = sha256(&[shape.as_bytes(), &self.pixels, &label_bytes]);
        let image_len = self.pixels.len() / self.count;
        let dataset = |indices: Vec<usize>| {
            let mut pixels = Vec::with_capacity(indices.len() * image_len);
            for &index in &indices {
                pixels.extend_from_slice(&self.pixels[index * image_len..][..image_len]);
            }
            let label = |&index: &usize| labels.as_ref().map(|labels| labels[index]);
            let labels = indices.iter().map(label).collect();
            ImageDataset::held(pixels, self.shape, labels, class_names.clone())
        };
        Ok(Splits {
            train: dataset(train),
            test: dataset(test),
            fingerprint: Some(fingerprint),
        })
    }
}

/// Type, order and shape of an array.
#[derive(Debug, PartialEq, Eq)]
struct Header {
    element_type: String,
    shape: Vec<usize>,
}

impl Header {
    /// The number of elements, if it can be counted.
    fn elements(&self) -> Option<usize> {
        let shape = self.shape.iter();
        shape
            .copied()
            .try_fold(1_usize, |product, size| product.checked_mul(size))
    }
}

fn read_images(mut reader: impl Read, limit: u64) -> Result<Images, ArrayError> {
    let header = read_header(&mut reader)?;
    let found = || header.shape.clone();
    let (count, shape, channels_last) = image_shape(&header.shape)?;
    let elements = header.elements().unwrap_or(usize::MAX);
    if elements as u64 > limit {
        return Err(ArrayError::TooLarge {
            found: elements,
            limit,
        });
    }
    let mut pixels = match header.element_type.as_str() {
        "|u1" | "<u1" | ">u1" | "u1" => {
            read_elements::<1, _>(reader, found(), |_, [byte]| Ok(byte))?
        }
        "<f4" => read_elements::<4, _>(reader, found(), |index, bytes| {
            let value = f32::from_le_bytes(bytes);
            if (0.0..=1.0).contains(&value) {
                Ok((value * 255.0).round() as u8)
            } else {
                Err(ArrayError::Value { index, value })
            }
        })?,
        _ => {
            return Err(ArrayError::ElementType {
                found: header.element_type,
                expected: "uint8 (\"|u1\"), or float32 (\"<f4\") in [0, 1]",
            });
        }
    };
    if channels_last && shape[0] > 1 {
        let mut plain = Vec::with_capacity(shape.iter().product());
        for image in pixels.chunks_exact_mut(shape.iter().product()) {
            plain.clear();
            for channel in 0..shape[0] {
                plain.extend(image.iter().skip(channel).step_by(shape[0]));
            }
            image.copy_from_slice(&plain);
        }
    }
    Ok(Images {
        count,
        shape,
        pixels,
    })
}

/// The number of images; their channels, height and width; whether channels come last.
fn image_shape(shape: &[usize]) -> Result<(usize, [usize; 3], bool), ArrayError> {
    let is_channels = |size: usize| size == 1 || size == 3;
    let found = || shape.to_vec();
    if shape.contains(&0) {
        return Err(ArrayError::ImageShape { found: found() });
    }
    match *shape {
        [count, height, width] => Ok((count, [1, height, width], false)),
        [_, first, _, last] if is_channels(first) && is_channels(last) => {
            Err(ArrayError::AmbiguousShape { found: found() })
        }
        [count, height, width, channels] if is_channels(channels) => {
            Ok((count, [channels, height, width], true))
        }
        [count, channels, height, width] if is_channels(channels) => {
            Ok((count, [channels, height, width], false))
        }
        _ => Err(ArrayError::ImageShape { found: found() }),
    }
}

fn read_labels(mut reader: impl Read, images: usize) -> Result<Vec<u16>, ArrayError> {
    let header = read_header(&mut reader)?;
    if header.shape != [images] {
        return Err(ArrayError::LabelShape {
            found: header.shape,
            images,
        });
    }
    let check = |index: usize, label: i128| {
        u16::try_from(label).map_err(|_| ArrayError::Label { index, label })
    };
    let shape = header.shape.clone();
    macro_rules! integers {
        ($integer:ty) => {
            read_elements::<{ size_of::<$integer>() }, _>(reader, shape, |index, bytes| {
                check(index, <$integer>::from_le_bytes(bytes).into())
            })
        };
    }
    match header.element_type.trim_start_matches(['<', '|']) {
        "u1" => integers!(u8),
        "i1" => integers!(i8),
        "u2" => integers!(u16),
        "i2" => integers!(i16),
        "u4" => integers!(u32),
        "i4" => integers!(i32),
        "u8" => integers!(u64),
        "i8" => integers!(i64),
        _ => Err(ArrayError::ElementType {
            found: header.element_type,
            expected: "integers of 8 to 64 bits, the least significant byte first, as of uint8 or int64",
        }),
    }
}

/// Reads elements of `SIZE` bytes until the end, which must come after as many as `shape` asks for.
fn read_elements<const SIZE: usize, T>(
    mut reader: impl Read,
    shape: Vec<usize>,
    element: impl Fn(usize, [u8; SIZE]) -> Result<T, ArrayError>,
) -> Result<Vec<T>, ArrayError> {
    /// Bytes that are read at a time, a multiple of every size.
    const BLOCK: usize = 1 << 20;
    let elements = shape.iter().product::<usize>();
    let expected = elements * SIZE;
    let mut values = Vec::with_capacity(elements.min(BLOCK));
    loop {
        let left = expected - values.len() * SIZE;
        // One byte more than the header asks for shows whether the file ends where it should.
        let wanted = if left > BLOCK { BLOCK } else { left + 1 };
        let block = read_at_most(&mut reader, wanted).map_err(|e| ArrayError::Read(e.source))?;
        let (whole, _) = block.as_chunks::<SIZE>();
        for &bytes in whole.iter().take(elements - values.len()) {
            values.push(element(values.len(), bytes)?);
        }
        if left <= BLOCK && block.len() > left {
            return Err(ArrayError::TrailingBytes { shape, expected });
        }
        if values.len() == elements {
            return Ok(values);
        }
        if block.len() < wanted {
            return Err(ArrayError::Truncated {
                shape,
                expected,
                found: expected - left + block.len(),
            });
        }
    }
}

/// Reads the header: `{'descr': '|u1', 'fortran_order': False, 'shape': (60000, 28, 28), }`.
fn read_header(reader: &mut impl Read) -> Result<Header, ArrayError> {
    let mut take = |count: usize| -> Result<Vec<u8>, ArrayError> {
        let bytes = read_at_most(&mut *reader, count).map_err(|e| ArrayError::Read(e.source))?;
        if bytes.len() < count {
            return Err(ArrayError::Header("it is cut short"));
        }
        Ok(bytes)
    };
    let start = take(MAGIC.len()).map_err(|error| match error {
        ArrayError::Header(_) => ArrayError::Magic,
        other => other,
    })?;
    if start != MAGIC {
        return Err(ArrayError::Magic);
    }
    let len = match take(2)?[..] {
        [1, _] => take(2)?
            .iter()
            .rev()
            .fold(0, |len, &b| len << 8 | usize::from(b)),
        [2 | 3, _] => take(4)?
            .iter()
            .rev()
            .fold(0, |len, &b| len << 8 | usize::from(b)),
        _ => return Err(ArrayError::Header("expected version 1, 2 or 3")),
    };
    if len > MAX_HEADER_LEN {
        return Err(ArrayError::Header("it is longer than 65536 bytes"));
    }
    let header = String::from_utf8(take(len)?).map_err(|_| ArrayError::Header("it is no text"))?;

    let field = |name: &str, missing: &'static str| {
        let (_, rest) = header
            .split_once(&format!("'{name}':"))
            .ok_or(ArrayError::Header(missing))?;
        Ok(rest.trim_start())
    };
    let element_type = field("descr", "'descr' is missing")?
        .strip_prefix('\'')
        .and_then(|rest| rest.split_once('\''))
        .map(|(element_type, _)| element_type.to_owned())
        .ok_or(ArrayError::Header(
            "'descr' is no plain type, as of an array of records",
        ))?;
    let order = field("fortran_order", "'fortran_order' is missing")?;
    let shape = field("shape", "'shape' is missing")?
        .strip_prefix('(')
        .and_then(|rest| rest.split_once(')'))
        .map(|(shape, _)| shape)
        .ok_or(ArrayError::Header("'shape' is no tuple"))?;
    let shape: Vec<usize> = shape
        .split(',')
        .map(str::trim)
        .filter(|size| !size.is_empty())
        .map(|size| size.parse().ok())
        .collect::<Option<_>>()
        .ok_or(ArrayError::Header("'shape' holds what is no size"))?;
    if order.starts_with("True") && shape.len() > 1 {
        return Err(ArrayError::FortranOrder);
    }
    Ok(Header {
        element_type,
        shape,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::error::Error;
    use std::fs;
    use std::io::{Cursor, Write};

    use proptest::prelude::*;
    use zip::CompressionMethod;
    use zip::write::{SimpleFileOptions, ZipWriter};

    use super::*;

    const LIMIT: u64 = 1 << 20;

    /// A `.npy` file as NumPy writes it.
    fn npy(element_type: &str, shape: &str, data: &[u8]) -> Vec<u8> {
        let mut header =
            format!("{{'descr': '{element_type}', 'fortran_order': False, 'shape': {shape}, }}");
        while !(MAGIC.len() + 4 + header.len() + 1).is_multiple_of(64) {
            header.push(' ');
        }
        header.push('\n');
        let len = (header.len() as u16).to_le_bytes();
        [MAGIC, &[1, 0], &len, header.as_bytes(), data].concat()
    }

    fn npz(members: &[(&str, Vec<u8>)]) -> Vec<u8> {
        let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
        for (place, (name, bytes)) in members.iter().enumerate() {
            // numpy.savez stores, numpy.savez_compressed deflates.
            let method = [CompressionMethod::Deflated, CompressionMethod::Stored][place % 2];
            let options = SimpleFileOptions::default().compression_method(method);
            archive.start_file(format!("{name}.npy"), options).unwrap();
            archive.write_all(bytes).unwrap();
        }
        archive.finish().unwrap().into_inner()
    }

    fn load(bytes: &[u8]) -> Result<Splits<ImageDataset>, ArrayFileError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("images.npz");
        fs::write(&path, bytes).unwrap();
        load_array(&path, LIMIT)
    }

    #[track_caller]
    fn refused(bytes: &[u8], parts: &[&str]) {
        let error = load(bytes).unwrap_err();
        let source = error.source().unwrap();
        let further = source.source().map(ToString::to_string).unwrap_or_default();
        let message = format!("{error}: {source}: {further}");
        for part in parts.iter().chain(&["images.npz"]) {
            assert!(message.contains(part), "no {part:?} in {message}");
        }
    }

    fn counting(len: usize) -> Vec<u8> {
        (0..len).map(|i| i as u8).collect()
    }

    fn images(bytes: &[u8]) -> Images {
        read_images(bytes, LIMIT).unwrap()
    }

    #[test]
    fn every_layout_becomes_channel_row_column() {
        let data = counting(2 * 2 * 5 * 3);
        let grey = images(&npy("|u1", "(4, 3, 5)", &data));
        assert_eq!((grey.count, grey.shape), (4, [1, 3, 5]));
        assert_eq!(grey.pixels, data);
        let first = images(&npy("|u1", "(2, 3, 2, 5)", &data));
        assert_eq!((first.count, first.shape), (2, [3, 2, 5]));
        assert_eq!(first.pixels, data);
        let last = images(&npy("|u1", "(2, 2, 5, 3)", &data));
        assert_eq!((last.count, last.shape), (2, [3, 2, 5]));
        assert_eq!(last.pixels[..4], [0, 3, 6, 9]);
        assert_eq!(last.pixels[10..13], [1, 4, 7]);
        assert_eq!(last.pixels[30], 30);
    }

    #[test]
    fn real_numbers_run_from_0_to_1() {
        let floats = |values: &[f32]| -> Vec<u8> {
            let data: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            npy("<f4", &format!("({}, 1, 2)", values.len() / 2), &data)
        };
        assert_eq!(
            images(&floats(&[0.0, 1.0, 0.5, 0.1])).pixels,
            [0, 255, 128, 26]
        );
        for wrong in [-0.5, 1.5, 255.0, f32::NAN, f32::INFINITY] {
            refused(&floats(&[0.0, 1.0, 0.0, wrong]), &["value 3", "in [0, 1]"]);
        }
    }

    #[test]
    fn labels_come_from_the_second_array() {
        let pixels = npy("|u1", "(30, 2, 2)", &counting(120));
        let labels: Vec<u8> = (0..30_i64).flat_map(|i| (i % 4).to_le_bytes()).collect();
        let labels = npy("<i8", "(30,)", &labels);
        for (first, second) in [("images", "labels"), ("arr_0", "arr_1")] {
            let members = [(first, pixels.clone()), (second, labels.clone())];
            let splits = load(&npz(&members)).unwrap();
            assert_eq!(splits.train.len() + splits.test.len(), 30);
            assert_eq!(splits.train.class_names(), ["0", "1", "2", "3"]);
            for split in [&splits.train, &splits.test] {
                for index in 0..split.len() {
                    let image = usize::from(split.read(&[index]).unwrap()[0]) / 4;
                    assert_eq!(split.label(index), Some(image % 4));
                }
            }
        }
        let plain = load(&pixels).unwrap();
        assert_eq!((plain.train.num_classes(), plain.train.label(0)), (0, None));
        let zipped = load(&npz(&[("images", pixels)])).unwrap();
        assert_eq!(plain.fingerprint, zipped.fingerprint);
    }

    #[test]
    fn wrong_arrays_are_refused() {
        let pixels = || npy("|u1", "(4, 2, 2)", &counting(16));
        refused(b"", &["no NumPy array"]);
        refused(b"text, not an array", &["no NumPy array"]);
        refused(&pixels()[..40], &["cut short"]);
        refused(
            &pixels()[..pixels().len() - 3],
            &["asks for 16 bytes, found 13"],
        );
        refused(
            &[pixels(), vec![0]].concat(),
            &["goes on after the 16 bytes"],
        );
        for (element_type, shape, part) in [
            ("<f8", "(4, 2, 2)", "\"<f8\"; expected uint8"),
            (">f4", "(4, 2, 2)", "\">f4\""),
            ("|O", "(4, 2, 2)", "\"|O\""),
            ("|u1", "(4, 4)", "[4, 4]; expected [N, H, W]"),
            ("|u1", "(4, 2, 2, 2)", "[4, 2, 2, 2]"),
            ("|u1", "(1, 3, 2, 3)", "may be [N, H, W, C] as well"),
            ("|u1", "(0, 2, 2)", "[0, 2, 2]"),
            ("|u1", "()", "[]"),
            ("|u1", "(-1, 2, 2)", "no size"),
            ("|u1", "(1, 4, 4)", "one image"),
            ("|u1", "(4000000000, 4000000000, 4000000000)", "cache_mib"),
            ("|u1", "(1025, 32, 32)", "at most 1048576 bytes"),
        ] {
            refused(&npy(element_type, shape, &counting(16)), &[part]);
        }
        let fortran = String::from_utf8_lossy(&pixels()[10..]).replace("False", "True ");
        refused(
            &[&pixels()[..10], fortran.as_bytes()].concat(),
            &["Fortran"],
        );
    }

    #[test]
    fn wrong_archives_are_refused() {
        let pixels = || npy("|u1", "(4, 2, 2)", &counting(16));
        let with_labels = |labels: Vec<u8>| npz(&[("images", pixels()), ("labels", labels)]);
        refused(
            &npz(&[("pictures", pixels())]),
            &["what it holds: pictures.npy"],
        );
        refused(
            &with_labels(npy("|u1", "(3,)", &[0; 3])),
            &["\"labels\"", "expected [4]"],
        );
        refused(
            &with_labels(npy("<f4", "(4,)", &[0; 16])),
            &["\"labels\"", "integers"],
        );
        refused(
            &with_labels(npy("|i1", "(4,)", &[0, 255, 0, 0])),
            &["label -1 of image 1"],
        );
        refused(
            &with_labels(npy("|i1", "(4,)", &[0; 2])),
            &["\"labels\"", "cut short"],
        );
        let whole = with_labels(npy("|u1", "(4,)", &[0; 4]));
        assert!(load(&whole).is_ok());
        refused(&whole[..whole.len() / 2], &["ZIP"]);
        // A flipped bit in the pixels breaks the archive's own checksum, or the unpacking.
        let mut flipped = whole;
        flipped[60] ^= 0x10;
        assert!(load(&flipped).is_err());
        let missing = load_array(Path::new("/nowhere.npy"), LIMIT).unwrap_err();
        assert!(missing.to_string().contains("/nowhere.npy"));
    }

    proptest! {
        #[test]
        fn damaged_files_do_not_panic(
            zipped: bool,
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
            keep in any::<prop::sample::Index>(),
        ) {
            let mut bytes = npy("|u1", "(4, 2, 2)", &counting(16));
            if zipped {
                bytes = npz(&[("images", bytes), ("labels", npy("|u1", "(4,)", &[0; 4]))]);
            }
            for (position, value) in changes {
                let position = position.index(bytes.len());
                bytes[position] = value;
            }
            bytes.truncate(1 + keep.index(bytes.len()));
            let _ = load(&bytes);
        }
    }
}
