//! Clouds of points from CSV files: a line a point, a column a dimension, any number of both.
//!
//! The first line may name the columns; it does if none of its fields is a number. Lines that start
//! with `#` and empty lines do not count.
//!
//! The points are normalised to z = (x − offset) / scale. The offset is the mean of each column and
//! the scale is one for all columns, the largest of their standard deviations: shapes keep their
//! proportions, and the widest dimension has variance 1, as the noise has.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use csv::{ByteRecord, ReaderBuilder, Trim};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::files::{open, read_whole};
use crate::shown::shown;
use crate::splits::{Splits, split_places};

/// The most bytes of a CSV file.
pub const MAX_FILE_LEN: u64 = 256 << 20;

/// The largest magnitude of a coordinate; its square still is a number.
pub const MAX_MAGNITUDE: f64 = 1e100;

/// A normalised cloud of points.
#[derive(Clone, Debug, PartialEq)]
pub struct Points {
    /// Point by point, z = (x − offset) / scale.
    normalised: Vec<f32>,
    normalisation: Normalisation,
}

/// How points were normalised, z = (x − offset) / scale, and the way back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Normalisation {
    /// The name of each coordinate: those of the file's first line, or `x1`, `x2`, ….
    pub columns: Vec<String>,
    /// The mean of each.
    pub offset: Vec<f64>,
    /// The largest of their standard deviations, or 1 if all points are the same.
    pub scale: f64,
}

impl Normalisation {
    /// The coordinates x = scale · z + offset of normalised coordinates z, point by point.
    pub fn undo(&self, normalised: &[f32]) -> Vec<f64> {
        let offsets = self.offset.iter().cycle();
        let pairs = normalised.iter().zip(offsets);
        pairs
            .map(|(&z, offset)| self.scale * f64::from(z) + offset)
            .collect()
    }
}

/// Why a file is no CSV of points.
#[derive(Debug, thiserror::Error)]
pub enum PointsError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file is longer than [`MAX_FILE_LEN`].
    #[error("{} is longer than {MAX_FILE_LEN} bytes, the limit of a CSV file", path.display())]
    FileTooLong {
        /// The file.
        path: PathBuf,
    },
    /// The file does not hold points.
    #[error("{} is no CSV of points", path.display())]
    Csv {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        source: CsvError,
    },
}

/// Why bytes are no CSV of points. Lines and columns count from 1.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CsvError {
    /// There is no line with a point.
    #[error("there are no points; expected a line of numbers for each")]
    NoPoints,
    /// A line has more or fewer fields than the first.
    #[error("line {line} has {found} columns; the first line has {expected}")]
    Ragged {
        /// The line.
        line: usize,
        /// The fields of the first line.
        expected: usize,
        /// The fields of this line.
        found: usize,
    },
    /// A field is no number.
    #[error("line {line}, column {column}: expected a number, found \"{field}\"")]
    NotANumber {
        /// The line.
        line: usize,
        /// The column.
        column: usize,
        /// What stands there, shortened.
        field: String,
    },
    /// A field is NaN, infinite or larger than [`MAX_MAGNITUDE`].
    #[error(
        "line {line}, column {column}: {value} cannot be used; expected a finite number up to \
         {MAX_MAGNITUDE:e}"
    )]
    OutOfRange {
        /// The line.
        line: usize,
        /// The column.
        column: usize,
        /// What stands there.
        value: f64,
    },
    /// There is one point, and it cannot be held out and learned from.
    #[error("there is one point; at least two are needed, one of them to be held out")]
    OnePoint,
    /// The file breaks the rules of CSV.
    #[error("not CSV: {0}")]
    Malformed(String),
}

impl Points {
    /// Normalises `values`, point by point, of one or more points with a coordinate for each of
    /// `columns`.
    pub(crate) fn of(values: &[f64], columns: Vec<String>) -> Self {
        let dimensions = columns.len();
        let count = (values.len() / dimensions) as f64;
        let column = |index: usize| values.iter().skip(index).step_by(dimensions);
        let offset: Vec<f64> = (0..dimensions)
            .map(|index| column(index).sum::<f64>() / count)
            .collect();
        let largest_variance = (0..dimensions)
            .map(|index| {
                let squares = column(index).map(|value| (value - offset[index]).powi(2));
                squares.sum::<f64>() / count
            })
            .fold(0.0, f64::max);
        let scale = match largest_variance.sqrt() {
            // All points are the same: there is nothing to scale.
            0.0 => 1.0,
            deviation => deviation,
        };
        let normalised = values
            .iter()
            .zip(offset.iter().cycle())
            .map(|(value, offset)| ((value - offset) / scale) as f32)
            .collect();
        Self {
            normalised,
            normalisation: Normalisation {
                columns,
                offset,
                scale,
            },
        }
    }

    /// The points of these `indices`, in this order, with the normalisation of all.
    ///
    /// # Panics
    ///
    /// If an index is not below [`len`](Self::len).
    pub fn select(&self, indices: &[usize]) -> Self {
        Self {
            normalised: self.read(indices),
            normalisation: self.normalisation.clone(),
        }
    }

    /// The normalised coordinates of the points of these `indices`, point by point.
    ///
    /// # Panics
    ///
    /// If an index is not below [`len`](Self::len).
    pub fn read(&self, indices: &[usize]) -> Vec<f32> {
        let width = self.dimensions();
        let point = |&index: &usize| &self.normalised[index * width..][..width];
        indices.iter().flat_map(point).copied().collect()
    }

    /// The number of points, at least one.
    pub fn len(&self) -> usize {
        self.normalised.len() / self.dimensions()
    }

    /// Whether there are no points: never, for a cloud has at least one.
    pub fn is_empty(&self) -> bool {
        self.normalised.is_empty()
    }

    /// The number of coordinates of a point, at least one.
    pub fn dimensions(&self) -> usize {
        self.normalisation.offset.len()
    }

    /// How they were normalised.
    pub fn normalisation(&self) -> &Normalisation {
        &self.normalisation
    }

    /// The normalised points `[N, D]`: each column has mean 0, the widest has variance 1.
    pub fn to_tensor(&self, device: &Device) -> Tensor<2> {
        let shape = [self.len(), self.dimensions()];
        Tensor::from_data(TensorData::new(self.normalised.clone(), shape), device)
    }
}

/// Reads a CSV file of points.
///
/// # Errors
///
/// See [`PointsError`].
pub fn read_points(path: &Path) -> Result<Points, PointsError> {
    let bytes = read_bytes(path)?;
    parse(&bytes).map_err(csv_error(path))
}

/// Reads a CSV file of points as both splits of a dataset: one point in ten is held out, chosen by the
/// hash of its place in the file. Both are normalised by the numbers of the whole.
///
/// # Errors
///
/// See [`PointsError`].
pub fn load_points(path: &Path) -> Result<Splits<Points>, PointsError> {
    let bytes = read_bytes(path)?;
    let points = parse(&bytes).map_err(csv_error(path))?;
    let (train, test) =
        split_places(points.len()).ok_or_else(|| csv_error(path)(CsvError::OnePoint))?;
    let digest = Sha256::digest(&bytes);
    Ok(Splits {
        train: points.select(&train),
        test: points.select(&test),
        fingerprint: Some(digest.iter().map(|byte| format!("{byte:02x}")).collect()),
    })
}

/// Whether [`load_points`] can read a file, without holding it; false where it cannot be read at all.
pub fn holds_points(path: &Path) -> bool {
    let Ok(file) = open(path) else {
        return false;
    };
    let is_short = |file: &File| file.metadata().is_ok_and(|of| of.len() <= MAX_FILE_LEN);
    let mut values = 0;
    is_short(&file)
        && each_value(&file, |_| 1, |_| values += 1).is_ok_and(|columns| values > columns.len())
}

fn csv_error(path: &Path) -> impl Fn(CsvError) -> PointsError + '_ {
    |source| PointsError::Csv {
        path: path.to_owned(),
        source,
    }
}

fn read_bytes(path: &Path) -> Result<Vec<u8>, PointsError> {
    let read_error = |source| PointsError::Read {
        path: path.to_owned(),
        source,
    };
    let file = open(path).map_err(read_error)?;
    let bytes = read_whole(file, MAX_FILE_LEN).map_err(read_error)?;
    bytes.ok_or_else(|| PointsError::FileTooLong {
        path: path.to_owned(),
    })
}

/// Parses a CSV of points.
///
/// ```
/// let points = datasets::tables::points::parse(b"x,y\n0,10\n2,10\n")?;
/// assert_eq!(points.normalisation().columns, ["x", "y"]);
/// // Mean 0, and variance 1 where it is largest.
/// assert_eq!(points.read(&[0, 1]), [-1.0, 0.0, 1.0, 0.0]);
/// # Ok::<(), datasets::CsvError>(())
/// ```
///
/// # Errors
///
/// See [`CsvError`].
pub fn parse(bytes: &[u8]) -> Result<Points, CsvError> {
    let mut values = Vec::new();
    let line = |record: &ByteRecord| line_of(bytes, record);
    let columns = each_value(bytes, line, |value| values.push(value))?;
    Ok(Points::of(&values, columns))
}

/// Gives `take` each coordinate of each point, and returns the names of the columns. `line_of` says where a record is
/// that is none.
fn each_value(
    bytes: impl Read,
    line_of: impl Fn(&ByteRecord) -> usize,
    mut take: impl FnMut(f64),
) -> Result<Vec<String>, CsvError> {
    let mut reader = ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .comment(Some(b'#'))
        .trim(Trim::All)
        .from_reader(bytes);
    let malformed = |error: csv::Error| CsvError::Malformed(error.to_string());

    let mut record = ByteRecord::new();
    if !reader.read_byte_record(&mut record).map_err(malformed)? {
        return Err(CsvError::NoPoints);
    }
    let dimensions = record.len();
    let columns = if record.iter().all(|field| number(field).is_none()) {
        let names = record.iter().map(shown).collect();
        if !reader.read_byte_record(&mut record).map_err(malformed)? {
            return Err(CsvError::NoPoints);
        }
        names
    } else {
        (1..=dimensions)
            .map(|column| format!("x{column}"))
            .collect()
    };

    loop {
        let line = || line_of(&record);
        if record.len() != dimensions {
            return Err(CsvError::Ragged {
                line: line(),
                expected: dimensions,
                found: record.len(),
            });
        }
        for (index, field) in record.iter().enumerate() {
            let column = index + 1;
            match number(field) {
                // NaN is not in the range either.
                Some(value) if (-MAX_MAGNITUDE..=MAX_MAGNITUDE).contains(&value) => {
                    take(value);
                }
                Some(value) => {
                    return Err(CsvError::OutOfRange {
                        line: line(),
                        column,
                        value,
                    });
                }
                None => {
                    return Err(CsvError::NotANumber {
                        line: line(),
                        column,
                        field: shown(field),
                    });
                }
            }
        }
        if !reader.read_byte_record(&mut record).map_err(malformed)? {
            return Ok(columns);
        }
    }
}

/// The number that a field holds.
fn number(field: &[u8]) -> Option<f64> {
    std::str::from_utf8(field).ok()?.parse().ok()
}

/// The line on which a record starts. The record knows only where the reader stood before it
/// passed over empty lines and comments.
fn line_of(bytes: &[u8], record: &ByteRecord) -> usize {
    let mut start = record
        .position()
        .map_or(0, |position| position.byte() as usize);
    loop {
        match bytes.get(start) {
            Some(b'\n' | b'\r') => start += 1,
            Some(b'#') => {
                let comment = &bytes[start..];
                let end = comment.iter().position(|&byte| byte == b'\n');
                start += end.unwrap_or(comment.len());
            }
            _ => break,
        }
    }
    let before = &bytes[..start.min(bytes.len())];
    1 + before.iter().filter(|&&byte| byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use burn::tensor::Device;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn points_are_normalised_by_one_scale() {
        // Deviations 2 and 1 about the mean (10, -5).
        let points = parse(b"8,-6\n12,-6\n8,-4\n12,-4\n").unwrap();
        assert_eq!((points.len(), points.dimensions()), (4, 2));
        assert_eq!(points.normalisation().columns, ["x1", "x2"]);
        assert_eq!(points.normalisation().offset, [10.0, -5.0]);
        assert_eq!(points.normalisation().scale, 2.0);
        let tensor = points.to_tensor(&Device::flex());
        assert_eq!(tensor.dims(), [4, 2]);
        let values = tensor.into_data().try_to_vec::<f32>().unwrap();
        assert_eq!(values, [-1.0, -0.5, 1.0, -0.5, -1.0, 0.5, 1.0, 0.5]);
        let back = points.normalisation().undo(&values);
        assert_eq!(back, [8.0, -6.0, 12.0, -6.0, 8.0, -4.0, 12.0, -4.0]);
    }

    #[test]
    fn headers_comments_spaces_and_line_ends_are_understood() {
        let text =
            "\u{feff}# made by hand\r\n\"east\", north , up\r\n\r\n 1 , 2,3e0\r\n-1,+2,\"3\"";
        let points = parse(text.as_bytes()).unwrap();
        assert_eq!(points.normalisation().columns, ["east", "north", "up"]);
        assert_eq!((points.len(), points.dimensions()), (2, 3));
        assert_eq!(points.normalisation().offset, [0.0, 2.0, 3.0]);
    }

    #[test]
    fn points_that_are_all_the_same_are_only_moved() {
        let points = parse(b"3\n3\n").unwrap();
        assert_eq!(points.normalisation().offset, [3.0]);
        assert_eq!(points.normalisation().scale, 1.0);
        assert_eq!(points.normalised, [0.0, 0.0]);
    }

    #[test]
    fn errors_name_line_and_column() {
        let cases: [(&[u8], CsvError); 9] = [
            (b"", CsvError::NoPoints),
            (b"x,y\n", CsvError::NoPoints),
            (b"\n# nothing\n\n", CsvError::NoPoints),
            (
                b"x,y\n1,2\n\n# a\n\n3,four\n",
                CsvError::NotANumber {
                    line: 6,
                    column: 2,
                    field: "four".into(),
                },
            ),
            (
                b"1,2\n3,\n",
                CsvError::NotANumber {
                    line: 2,
                    column: 2,
                    field: String::new(),
                },
            ),
            // A first line with a number is a point.
            (
                b"x,2\n",
                CsvError::NotANumber {
                    line: 1,
                    column: 1,
                    field: "x".into(),
                },
            ),
            (
                b"1,2\n1\n",
                CsvError::Ragged {
                    line: 2,
                    expected: 2,
                    found: 1,
                },
            ),
            (
                b"a,b\n1,2\r\n1,2,3\n",
                CsvError::Ragged {
                    line: 3,
                    expected: 2,
                    found: 3,
                },
            ),
            (
                b"1,2\n1,-inf\n",
                CsvError::OutOfRange {
                    line: 2,
                    column: 2,
                    value: f64::NEG_INFINITY,
                },
            ),
        ];
        for (bytes, expected) in cases {
            let text = String::from_utf8_lossy(bytes);
            assert_eq!(parse(bytes).unwrap_err(), expected, "{text:?}");
        }
        let nan = parse(b"1,2\nNaN,2\n").unwrap_err().to_string();
        assert!(nan.starts_with("line 2, column 1: NaN"), "{nan}");
        assert!(matches!(
            parse(b"1\n1e101\n"),
            Err(CsvError::OutOfRange { line: 2, .. })
        ));
        assert!(matches!(
            parse(b"1,2\n\xff\xfe,2\n"),
            Err(CsvError::NotANumber {
                line: 2,
                column: 1,
                ..
            })
        ));
    }

    #[test]
    fn a_file_that_is_not_there_or_a_folder_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        for path in [dir.path().to_owned(), dir.path().join("none.csv")] {
            assert!(matches!(read_points(&path), Err(PointsError::Read { .. })));
        }
        let path = dir.path().join("points.csv");
        std::fs::write(&path, "1\nx\n").unwrap();
        let message = read_points(&path).unwrap_err().to_string();
        assert!(message.contains("points.csv"), "{message}");
        std::fs::write(&path, "1\n2\n").unwrap();
        assert_eq!(read_points(&path).unwrap().len(), 2);
    }

    #[test]
    fn a_file_is_split_and_known_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("points.csv");
        let lines: Vec<String> = (0..500).map(|i| format!("{i},{}\n", 2 * i)).collect();
        std::fs::write(&path, lines.concat()).unwrap();
        let splits = load_points(&path).unwrap();
        assert!(
            (30..70).contains(&splits.test.len()),
            "{}",
            splits.test.len()
        );
        let values = |points: &Points| {
            points
                .normalisation()
                .undo(&points.read(&Vec::from_iter(0..points.len())))
        };
        let mut all = [values(&splits.train), values(&splits.test)].concat();
        all.sort_by(f64::total_cmp);
        let mut expected: Vec<f64> = (0..500).flat_map(|i| [i.into(), (2 * i).into()]).collect();
        expected.sort_by(f64::total_cmp);
        assert!(all.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-3));

        let again = load_points(&path).unwrap().fingerprint.unwrap();
        assert_eq!(splits.fingerprint.as_ref(), Some(&again));
        std::fs::write(&path, "1,2\n").unwrap();
        let error = load_points(&path).unwrap_err();
        assert!(matches!(
            error,
            PointsError::Csv {
                source: CsvError::OnePoint,
                ..
            }
        ));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let _ = parse(&bytes);
        }

        /// Text from the alphabet of CSV, which reaches further into the parser.
        #[test]
        fn any_csv_is_read_or_refused(text in "[0-9a-e.,\"#\n\r -]{0,80}") {
            if let Ok(points) = parse(text.as_bytes()) {
                prop_assert!(!points.is_empty());
                prop_assert!(points.normalised.iter().all(|value| value.is_finite()));
            }
        }

        #[test]
        fn normalising_gives_mean_zero_and_largest_variance_one(
            rows in prop::collection::vec([-1e3f64..1e3, -8e2..8e2, 0.0..1e3], 2..40),
        ) {
            let text: String = rows.iter().map(|[x, y, z]| format!("{x},{y},{z}\n")).collect();
            let points = parse(text.as_bytes()).unwrap();
            let n = rows.len() as f64;
            let mut largest = 0.0f64;
            for column in 0..3 {
                let values = points.normalised.iter().skip(column).step_by(3);
                let mean = values.clone().map(|&z| f64::from(z)).sum::<f64>() / n;
                let square = values.map(|&z| f64::from(z).powi(2)).sum::<f64>() / n;
                prop_assert!(mean.abs() < 1e-5, "mean {}", mean);
                largest = largest.max(square);
            }
            prop_assert!((largest - 1.0).abs() < 1e-5, "variance {}", largest);
            for (row, back) in rows.iter().zip(points.normalisation().undo(&points.normalised).chunks(3)) {
                for (x, x_back) in row.iter().zip(back) {
                    prop_assert!((x - x_back).abs() <= 1e-6 * points.normalisation().scale);
                }
            }
        }
    }
}
