//! NumPy arrays of images as a dataset: a `.npy` file, or a `.npz` file that also holds labels.
//!
//! | in the file | what it is |
//! | --- | --- |
//! | images | `[N, H, W]` (grey), `[N, H, W, C]` or `[N, C, H, W]`, with C being 1 (grey), 3 (RGB) or 4 (RGBA); `u1`, or `f2`, `f4` or `f8` in [0, 1] |
//! | labels | `[N]` or `[N, 1]`, integers from 0: the classes |
//!
//! In a `.npz` file the arrays are called `images` and `labels`; or `x_train` and `y_train`, as Keras calls
//! them; or `arr_0` and `arr_1`, as `numpy.savez` calls arrays without a name. Labels may be left out. Beside
//! `x_train`, `x_test` and `y_test` are what is held out, where they are there. Real numbers are rounded to
//! bytes: v becomes 255 v. [0, 1] is the one reading of them, since it can be told from the others: an
//! image in [-1, 1] has values below 0 and one in [0, 255] has values above 1, and both are refused.
//!
//! C may stand in either place where it is 1 or 3 in one of them alone; 4 is taken for a height or width
//! where the other place has 1 or 3. Pixels are read into the memory that they stay in: a file of 3 GiB takes
//! 3 GiB.
//!
//! Without `x_test`, one image in ten is held out by a hash of its index.
//!
//! Source: the NumPy Enhancement Proposal "A simple file format for NumPy arrays", versions 1 to 3.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use half::f16;
use zip::result::ZipError;
use zip::{CompressionMethod, ZipArchive};

use super::dataset::ImageDataset;
use crate::files::{open, read_at_most, sha256};
use crate::folders::MAX_CLASSES;
use crate::shown::{shown, shown_list};
use crate::splits::{Splits, split_places};

/// How a `.npy` file starts.
const MAGIC: &[u8] = b"\x93NUMPY";

/// The most bytes of the header of an array: NumPy's own limit is less.
const MAX_HEADER_LEN: usize = 1 << 16;

/// How a ZIP archive starts, which a `.npz` file is.
const ZIP_MAGIC: &[u8] = b"PK";

/// Names of the arrays of a `.npz` file, the first that is there being taken.
const IMAGES: [&str; 3] = ["images", X_TRAIN, "arr_0"];
const LABELS: [&str; 3] = ["labels", "y_train", "arr_1"];

/// Names of arrays that tell a split of the data set.
const X_TRAIN: &str = "x_train";
const X_TEST: &str = "x_test";
const Y_TEST: &str = "y_test";

/// The most dimensions of an array: NumPy's own limit.
const MAX_DIMENSIONS: usize = 64;

/// The most bytes that a byte packed by deflate can unpack to.
const DEFLATE_RATIO: u64 = 1032;

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
    #[error(
        "it holds no array called \"images\", \"x_train\" or \"arr_0\"; what it holds: {found}"
    )]
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
        "its shape is {found:?}; expected [N, H, W], [N, H, W, C] or [N, C, H, W] with C = 1, 3 or 4, \
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
    /// There is no memory for the array.
    #[error("there is no memory for the {0} bytes of its pixels")]
    Memory(usize),
    /// The images that are held out have another shape than those to learn from.
    #[error(
        "its images are {found:?} (channels, height, width), and those of \"x_train\" are {expected:?}"
    )]
    TestShape {
        /// Channels, height and width of these.
        found: [usize; 3],
        /// Channels, height and width of those to learn from.
        expected: [usize; 3],
    },
    /// One of the splits has labels, and the other one has not.
    #[error("it holds labels for only one of \"x_train\" and \"x_test\"")]
    LabelsOfOne,
    /// A real number is outside [0, 1].
    #[error(
        "value {index} is {value}; real numbers must be in [0, 1] (of [-1, 1] save (x + 1) / 2, of \
         [0, 255] save them as uint8)"
    )]
    Value {
        /// Which value, from 0 in the order of the file.
        index: usize,
        /// The value.
        value: f64,
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
/// ```no_run
/// let splits = datasets::load_array("digits.npz".as_ref(), 1 << 30)?;
/// println!("{} images, {} held out", splits.train.len(), splits.test.len());
/// # Ok::<(), datasets::ArrayFileError>(())
/// ```
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
    let plain = file()?;
    let len = plain
        .metadata()
        .map_err(ArrayError::Read)
        .map_err(at(None))?
        .len();
    if start != ZIP_MAGIC {
        let images = read_images(BufReader::new(plain), len, limit).map_err(at(None))?;
        let images = Labelled {
            images,
            labels: None,
        };
        return images.into_splits().map_err(at(None));
    }

    let archive = ZipArchive::new(BufReader::new(plain))
        .map_err(ArrayError::Zip)
        .map_err(at(None))?;
    let mut archive = Members { archive, len };
    let Some(name) = archive.first_of(IMAGES) else {
        let names = archive.archive.file_names().flatten();
        let found: Vec<String> = names.map(|name| name.into_owned()).collect();
        let found = shown_list(&found);
        return Err(at(None)(ArrayError::NoImages { found }));
    };
    let labels = archive.first_of(LABELS);
    let (has_test, has_test_labels) = (archive.has(X_TEST), archive.has(Y_TEST));
    let mut labelled = |images: &str, labels: Option<&str>, limit: u64| {
        let read = |reader: &mut dyn Read, room| read_images(reader, room, limit);
        let images = archive.read(images, read).map_err(at(Some(images)))?;
        let read = |reader: &mut dyn Read, _| read_labels(reader, images.count);
        let labels = labels
            .map(|name| archive.read(name, read).map_err(at(Some(name))))
            .transpose()?;
        Ok(Labelled { images, labels })
    };
    let train = labelled(name, labels, limit)?;
    if name != X_TRAIN || !has_test {
        return train.into_splits().map_err(at(Some(name)));
    }
    let left = limit.saturating_sub(train.images.pixels.len() as u64);
    let test = labelled(X_TEST, has_test_labels.then_some(Y_TEST), left)?;
    train.with_test(test).map_err(at(Some(X_TEST)))
}

/// The arrays of a `.npz` file.
struct Members {
    archive: ZipArchive<BufReader<File>>,
    /// The length of the file in bytes.
    len: u64,
}

impl Members {
    fn has(&self, name: &str) -> bool {
        self.archive
            .index_for_name(&format!("{name}.npy"))
            .is_some()
    }

    /// The first of these names that the archive has.
    fn first_of(&self, names: [&'static str; 3]) -> Option<&'static str> {
        names.into_iter().find(|name| self.has(name))
    }

    /// What `read` makes of an array and of the most bytes that it can have.
    fn read<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&mut dyn Read, u64) -> Result<T, ArrayError>,
    ) -> Result<T, ArrayError> {
        let mut member = self
            .archive
            .by_name(&format!("{name}.npy"))
            .map_err(ArrayError::Zip)?;
        let packed = member.compressed_size().min(self.len);
        let room = match member.compression() {
            CompressionMethod::Stored => packed,
            _ => packed.saturating_mul(DEFLATE_RATIO),
        };
        read(&mut member, room)
    }
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

/// Images with their classes, if they have any.
struct Labelled {
    images: Images,
    labels: Option<Vec<u16>>,
}

impl Labelled {
    /// The images divided by a hash of their places; both splits share the pixels.
    fn into_splits(self) -> Result<Splits<ImageDataset>, ArrayError> {
        let Self { images, labels } = self;
        let (train, test) = split_places(images.count).ok_or(ArrayError::OneImage)?;
        let class_names = class_names(&[&labels]);
        let fingerprint = fingerprint(images.shape, &[(&images.pixels, &labels)]);
        let pixels = Arc::new(images.pixels);
        let dataset = |places: Vec<usize>| {
            let label = |&place: &usize| labels.as_ref().map(|labels| labels[place]);
            let labels = places.iter().map(label).collect();
            let (pixels, names) = (Arc::clone(&pixels), class_names.clone());
            ImageDataset::shared(pixels, places, images.shape, labels, names)
        };
        Ok(Splits {
            train: dataset(train),
            test: dataset(test),
            fingerprint: Some(fingerprint),
        })
    }

    /// These images to learn from, and `test` held out.
    fn with_test(self, test: Self) -> Result<Splits<ImageDataset>, ArrayError> {
        let (expected, found) = (self.images.shape, test.images.shape);
        if found != expected {
            return Err(ArrayError::TestShape { found, expected });
        }
        if self.labels.is_some() != test.labels.is_some() {
            return Err(ArrayError::LabelsOfOne);
        }
        let class_names = class_names(&[&self.labels, &test.labels]);
        let both = [&self, &test].map(|split| (&split.images.pixels, &split.labels));
        let fingerprint = fingerprint(expected, &both);
        let dataset = |split: Self| {
            let labels = match split.labels {
                Some(labels) => labels.into_iter().map(Some).collect(),
                None => vec![None; split.images.count],
            };
            ImageDataset::held(split.images.pixels, expected, labels, class_names.clone())
        };
        Ok(Splits {
            train: dataset(self),
            test: dataset(test),
            fingerprint: Some(fingerprint),
        })
    }
}

/// The numbers of all classes up to the last one that has an image.
fn class_names(labels: &[&Option<Vec<u16>>]) -> Vec<String> {
    let all = labels.iter().copied().flatten().flatten();
    let classes = all.max().map_or(0, |&max| usize::from(max) + 1);
    (0..classes).map(|class| class.to_string()).collect()
}

/// The SHA-256 of the shape of an image, and of pixels and labels of each part.
fn fingerprint(shape: [usize; 3], parts: &[(&Vec<u8>, &Option<Vec<u16>>)]) -> String {
    let shape = format!("{shape:?}");
    let labels: Vec<Vec<u8>> = parts
        .iter()
        .map(|(_, labels)| {
            labels
                .iter()
                .flatten()
                .flat_map(|l| l.to_le_bytes())
                .collect()
        })
        .collect();
    let pixels = parts.iter().map(|(pixels, _)| &pixels[..]);
    let parts = pixels
        .zip(&labels)
        .flat_map(|(pixels, labels)| [pixels, &labels[..]]);
    let all: Vec<&[u8]> = [shape.as_bytes()].into_iter().chain(parts).collect();
    sha256(&all)
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

/// Reads images; `room` is the most bytes that the reader can give.
fn read_images(mut reader: impl Read, room: u64, limit: u64) -> Result<Images, ArrayError> {
    let header = read_header(&mut reader)?;
    let (count, shape, channels_last) = image_shape(&header.shape)?;
    let elements = header.elements().unwrap_or(usize::MAX);
    if elements as u64 > limit {
        return Err(ArrayError::TooLarge {
            found: elements,
            limit,
        });
    }
    let all = Elements {
        shape: header.shape,
        room,
    };
    let byte = |index: usize, value: f64| {
        if (0.0..=1.0).contains(&value) {
            Ok((value * 255.0).round() as u8)
        } else {
            Err(ArrayError::Value { index, value })
        }
    };
    let mut pixels = match header.element_type.as_str() {
        "|u1" | "<u1" | ">u1" | "u1" => all.read_bytes(reader)?,
        "<f2" => all.read::<2, _>(reader, |index, bytes| {
            byte(index, f16::from_le_bytes(bytes).into())
        })?,
        // In the precision that it is in, which decides about halves.
        "<f4" => all.read::<4, _>(reader, |index, bytes| {
            let value = f32::from_le_bytes(bytes);
            byte(index, value.into()).map(|_| (value * 255.0).round() as u8)
        })?,
        "<f8" => all.read::<8, _>(reader, |index, bytes| {
            byte(index, f64::from_le_bytes(bytes))
        })?,
        _ => {
            return Err(ArrayError::ElementType {
                found: shown(header.element_type.as_bytes()),
                expected: "uint8 (\"|u1\"), or float16, float32 or float64 (\"<f2\", \"<f4\", \"<f8\") \
                           in [0, 1]",
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
    let found = || shape.to_vec();
    if shape.contains(&0) {
        return Err(ArrayError::ImageShape { found: found() });
    }
    let [count, first, middle, last] = match *shape {
        [count, height, width] => return Ok((count, [1, height, width], false)),
        [count, first, middle, last] => [count, first, middle, last],
        _ => return Err(ArrayError::ImageShape { found: found() }),
    };
    // 4 is a likely height of nothing, but an unlikely number of channels beside 1 or 3.
    let of_few = |size: usize| size == 1 || size == 3;
    let places = match [of_few(first), of_few(last)] {
        [false, false] => [first == 4, last == 4],
        places => places,
    };
    match places {
        [true, true] => Err(ArrayError::AmbiguousShape { found: found() }),
        [false, true] => Ok((count, [last, first, middle], true)),
        [true, false] => Ok((count, [first, middle, last], false)),
        [false, false] => Err(ArrayError::ImageShape { found: found() }),
    }
}

fn read_labels(mut reader: impl Read, images: usize) -> Result<Vec<u16>, ArrayError> {
    let header = read_header(&mut reader)?;
    if header.shape != [images] && header.shape != [images, 1] {
        return Err(ArrayError::LabelShape {
            found: header.shape,
            images,
        });
    }
    let check = |index: usize, label: i128| {
        u16::try_from(label).map_err(|_| ArrayError::Label { index, label })
    };
    let all = Elements {
        shape: header.shape,
        // As many as the images, which were read already.
        room: u64::MAX,
    };
    macro_rules! integers {
        ($integer:ty) => {
            all.read::<{ size_of::<$integer>() }, _>(reader, |index, bytes| {
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
            found: shown(header.element_type.as_bytes()),
            expected: "integers of 8 to 64 bits, the least significant byte first, as of uint8 or int64",
        }),
    }
}

/// The elements of an array, which must end where its shape says.
struct Elements {
    shape: Vec<usize>,
    /// The most bytes that there can be, so that no header alone makes us ask for memory.
    room: u64,
}

impl Elements {
    /// Bytes, straight into the memory that they stay in.
    fn read_bytes(self, mut reader: impl Read) -> Result<Vec<u8>, ArrayError> {
        let expected = self.shape.iter().product();
        let mut bytes = self.reserve(1)?;
        let mut all = reader.by_ref().take(expected as u64);
        all.read_to_end(&mut bytes).map_err(ArrayError::Read)?;
        if bytes.len() < expected {
            return Err(self.truncated(expected, bytes.len()));
        }
        self.check_end(reader, expected)?;
        Ok(bytes)
    }

    /// What `element` makes of each of the elements, which have `SIZE` bytes.
    fn read<const SIZE: usize, T>(
        self,
        mut reader: impl Read,
        element: impl Fn(usize, [u8; SIZE]) -> Result<T, ArrayError>,
    ) -> Result<Vec<T>, ArrayError> {
        /// Bytes that are read at a time, a multiple of every size.
        const BLOCK: usize = 1 << 16;
        let elements: usize = self.shape.iter().product();
        let expected = elements * SIZE;
        let mut values = self.reserve(SIZE)?;
        let mut block = Vec::with_capacity(BLOCK);
        while values.len() < elements {
            let left = expected - values.len() * SIZE;
            block.clear();
            let mut next = reader.by_ref().take(left.min(BLOCK) as u64);
            next.read_to_end(&mut block).map_err(ArrayError::Read)?;
            let (whole, _) = block.as_chunks::<SIZE>();
            for &bytes in whole {
                values.push(element(values.len(), bytes)?);
            }
            if block.len() < left.min(BLOCK) {
                return Err(self.truncated(expected, expected - left + block.len()));
            }
        }
        self.check_end(reader, expected)?;
        Ok(values)
    }

    /// Room for all elements, as far as there can be so many of `size` bytes.
    fn reserve<T>(&self, size: usize) -> Result<Vec<T>, ArrayError> {
        let elements: usize = self.shape.iter().product();
        let most = usize::try_from(self.room / size as u64).unwrap_or(usize::MAX);
        let mut values = Vec::new();
        values
            .try_reserve_exact(elements.min(most))
            .map_err(|_| ArrayError::Memory(elements))?;
        Ok(values)
    }

    /// Whether the reader ends here; so it comes to the checksum of what was packed, too.
    fn check_end(self, mut reader: impl Read, expected: usize) -> Result<(), ArrayError> {
        let more = read_at_most(&mut reader, 1).map_err(|e| ArrayError::Read(e.source))?;
        if more.is_empty() {
            return Ok(());
        }
        Err(ArrayError::TrailingBytes {
            shape: self.shape,
            expected,
        })
    }

    fn truncated(self, expected: usize, found: usize) -> ArrayError {
        ArrayError::Truncated {
            shape: self.shape,
            expected,
            found,
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
    if shape.len() > MAX_DIMENSIONS {
        return Err(ArrayError::Header("it has more than 64 dimensions"));
    }
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
        read_images(bytes, bytes.len() as u64, LIMIT).unwrap()
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
        // Of any precision, and the same bytes.
        let halves: Vec<u8> = [0.0, 1.0, 0.5, 0.1]
            .into_iter()
            .flat_map(|v| f16::from_f64(v).to_le_bytes())
            .collect();
        let doubles: Vec<u8> = [0.0, 1.0, 0.5, 0.1_f64]
            .into_iter()
            .flat_map(f64::to_le_bytes)
            .collect();
        for (element_type, data) in [("<f2", halves), ("<f8", doubles)] {
            let bytes = npy(element_type, "(2, 1, 2)", &data);
            assert_eq!(
                images(&bytes).pixels,
                [0, 255, 128, 25 + u8::from(element_type == "<f8")]
            );
            let wrong = [&data[..data.len() - 1], &[0xbf]].concat();
            refused(
                &npy(element_type, "(2, 1, 2)", &wrong),
                &["value 3", "in [0, 1]"],
            );
        }
        for wrong in [-0.5, 1.5, 255.0, f32::NAN, f32::INFINITY] {
            refused(&floats(&[0.0, 1.0, 0.0, wrong]), &["value 3", "in [0, 1]"]);
        }
    }

    #[test]
    fn four_channels_are_told_from_sizes() {
        let shape = |shape: &[usize]| image_shape(shape).unwrap();
        assert_eq!(shape(&[9, 5, 6, 4]), (9, [4, 5, 6], true));
        assert_eq!(shape(&[9, 4, 5, 6]), (9, [4, 5, 6], false));
        // 4 is a size where the other place has 1 or 3, as it always was.
        assert_eq!(shape(&[9, 4, 4, 3]), (9, [3, 4, 4], true));
        assert_eq!(shape(&[9, 1, 4, 4]), (9, [1, 4, 4], false));
        for ambiguous in [[9, 4, 5, 4], [9, 3, 5, 1]] {
            let error = image_shape(&ambiguous).unwrap_err();
            assert!(
                matches!(error, ArrayError::AmbiguousShape { .. }),
                "{error}"
            );
        }
        let rgba = images(&npy("|u1", "(2, 1, 2, 4)", &counting(16)));
        assert_eq!(
            rgba.pixels[..8],
            [0, 1, 2, 3, 4, 5, 6, 7],
            "[N, 1, H, W] with W = 4"
        );
        let rgba = images(&npy("|u1", "(1, 2, 2, 4)", &counting(16)));
        assert_eq!(rgba.pixels[..8], [0, 4, 8, 12, 1, 5, 9, 13]);
    }

    #[test]
    fn the_splits_of_keras_are_kept() {
        let images = |count: usize| npy("|u1", &format!("({count}, 2, 2)"), &counting(4 * count));
        let labels = |count: u8, shape: &str| npy("|u1", shape, &Vec::from_iter(0..count));
        let members = [
            ("x_train", images(5)),
            ("y_train", labels(5, "(5, 1)")),
            ("x_test", images(3)),
            ("y_test", labels(3, "(3,)")),
        ];
        let splits = load(&npz(&members)).unwrap();
        assert_eq!((splits.train.len(), splits.test.len()), (5, 3));
        assert_eq!(splits.train.class_names(), ["0", "1", "2", "3", "4"]);
        assert_eq!(splits.test.class_names(), splits.train.class_names());
        assert_eq!(splits.train.label(4), Some(4));
        assert_eq!(splits.test.read(&[2]).unwrap(), [8, 9, 10, 11]);
        let without_test = load(&npz(&members[..2])).unwrap();
        assert_eq!(without_test.train.len() + without_test.test.len(), 5);
        assert_ne!(splits.fingerprint, without_test.fingerprint);
        refused(&npz(&members[..3]), &["\"x_test\"", "only one of"]);
        let other = [
            members[0].clone(),
            ("x_test", npy("|u1", "(3, 1, 2)", &counting(6))),
        ];
        refused(&npz(&other), &["\"x_test\"", "[1, 1, 2]", "[1, 2, 2]"]);
    }

    #[test]
    fn both_splits_share_one_copy_and_a_header_alone_reserves_nothing() {
        let splits = load(&npy("|u1", "(30, 2, 2)", &counting(120))).unwrap();
        for split in [&splits.train, &splits.test] {
            assert!(split.shares_pixels_with(&splits.train));
        }
        let all = Elements {
            shape: vec![1 << 40],
            room: 100,
        };
        assert_eq!(all.reserve::<u8>(1).unwrap().capacity(), 100);
        let mut exact = all.reserve::<u8>(4).unwrap();
        assert_eq!(exact.capacity(), 25);
        // What fits exactly is read without growing.
        (&[7; 25][..]).take(25).read_to_end(&mut exact).unwrap();
        assert_eq!(exact.capacity(), 25);
    }

    #[test]
    fn messages_stay_short() {
        let long = "x".repeat(60_000);
        let many: Vec<(&str, Vec<u8>)> = vec![(&long[..60_000], vec![]), ("b", vec![])];
        for bytes in [
            npy(&long, "(4, 2, 2)", &[]),
            npy("|u1", &format!("({})", "1,".repeat(5000)), &[]),
            npz(&many),
        ] {
            let error = load(&bytes).unwrap_err();
            let message = format!("{error}: {}", error.source().unwrap());
            assert!(message.len() < 1000, "{}", message.len());
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
            ("<i8", "(4, 2, 2)", "\"<i8\"; expected uint8"),
            (">f4", "(4, 2, 2)", "\">f4\""),
            ("|O", "(4, 2, 2)", "\"|O\""),
            ("|u1", "(4, 4)", "[4, 4]; expected [N, H, W]"),
            ("|u1", "(4, 2, 2, 2)", "[4, 2, 2, 2]; expected"),
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
