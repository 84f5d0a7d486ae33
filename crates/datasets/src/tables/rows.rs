//! The rows of a table as a data set.

use std::path::Path;
use std::sync::Arc;

use rand::Rng;

use super::cells::Cells;
use super::error::{TableError, TableFileError};
use super::inference::{TableOptions, parse_table};
use super::published;
use super::schema::TableSchema;
use crate::files::{DatasetName, open, read_whole, sha256};
use crate::splits::{Splits, split_by_hash};

/// The most bytes of a file.
pub const MAX_FILE_LEN: u64 = 2 << 30;

/// Rows to learn from, or those held out.
#[derive(Clone, Debug, PartialEq)]
pub struct TableRows {
    schema: Arc<TableSchema>,
    /// Of both splits.
    cells: Arc<Cells>,
    rows: Vec<usize>,
    /// What chooses places among equal numbers where no generator is handed in.
    key: u64,
}

impl TableRows {
    /// These `rows` of a table.
    ///
    /// # Panics
    ///
    /// If there is no such row.
    pub fn new(schema: Arc<TableSchema>, cells: Arc<Cells>, rows: Vec<usize>, key: u64) -> Self {
        assert!(
            rows.iter().all(|&row| row < cells.rows()),
            "there is no such row"
        );
        Self {
            schema,
            cells,
            rows,
            key,
        }
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// What is known of the columns.
    pub fn schema(&self) -> &Arc<TableSchema> {
        &self.schema
    }

    /// The cells of the rows, in their order.
    pub fn cells(&self) -> Cells {
        self.cells.select(&self.rows)
    }

    /// The class of a row, where a column is the class.
    ///
    /// # Panics
    ///
    /// If there is no such row.
    pub fn label(&self, index: usize) -> Option<usize> {
        self.cells.category(self.schema.class()?, self.rows[index])
    }

    /// The examples of these rows, one after the other: the same values each time. Places among equal numbers, and
    /// the noise of numbers that say nothing, follow from the row, the column and the key.
    ///
    /// # Panics
    ///
    /// If there is no such row.
    pub fn read(&self, indices: &[usize]) -> Vec<f32> {
        self.schema
            .encode_with(&self.cells, &self.places(indices), |row, channel| {
                fixed_uniform([self.key, row as u64, channel as u64])
            })
    }

    /// As [`read`](Self::read), with places and noise from `rng`.
    ///
    /// # Panics
    ///
    /// If there is no such row.
    pub fn read_random(&self, indices: &[usize], rng: &mut impl Rng) -> Vec<f32> {
        self.schema.encode(&self.cells, &self.places(indices), rng)
    }

    fn places(&self, indices: &[usize]) -> Vec<usize> {
        indices.iter().map(|&index| self.rows[index]).collect()
    }
}

/// A uniform number of (0, 1) that follows from three numbers: the finaliser of SplitMix64 (Steele, Lea and Flood 2014)
/// over each in turn.
fn fixed_uniform(numbers: [u64; 3]) -> f64 {
    let mixed = numbers.into_iter().fold(0, |state: u64, number| {
        let z = (state ^ number).wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    });
    // The middle of one of 2^53 equal parts: never 0, never 1.
    ((mixed >> 11) as f64 + 0.5) / (1u64 << 53) as f64
}

/// Reads a CSV file as both splits of a data set: one row in ten is held out, chosen by the hash of its place in the
/// file. What is known of the columns is of all rows. `key` chooses places among equal numbers where the rows are read
/// without a generator.
///
/// # Errors
///
/// See [`TableFileError`].
pub fn load_table(
    path: &Path,
    options: &TableOptions,
    key: u64,
) -> Result<Splits<TableRows>, TableFileError> {
    split(path, &read(path)?, options, key)
}

/// Loads the published table of Adult from `dir`, the folder that holds its file ([`find`](crate::find) knows it).
///
/// # Errors
///
/// See [`TableFileError`].
pub fn load_published(
    dir: &Path,
    options: &TableOptions,
    key: u64,
) -> Result<Splits<TableRows>, TableFileError> {
    let path = published::file_in(DatasetName::Adult, dir);
    let bytes = read(&path)?;
    published::check(DatasetName::Adult, &path, &bytes)?;
    let splits = split(&path, &bytes, options, key)?;
    Ok(Splits {
        fingerprint: None,
        ..splits
    })
}

/// The bytes of a file of a table.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, TableFileError> {
    let read_error = |source| TableFileError::Read {
        path: path.to_owned(),
        source,
    };
    let bytes = open(path)
        .and_then(|file| read_whole(file, MAX_FILE_LEN))
        .map_err(read_error)?;
    bytes.ok_or_else(|| TableFileError::TooLong {
        path: path.to_owned(),
        most: MAX_FILE_LEN,
    })
}

fn split(
    path: &Path,
    bytes: &[u8],
    options: &TableOptions,
    key: u64,
) -> Result<Splits<TableRows>, TableFileError> {
    let table_error = |source: TableError| TableFileError::Table {
        path: path.to_owned(),
        source: Box::new(source),
    };
    let (schema, cells) = parse_table(bytes, options).map_err(table_error)?;
    let keys: Vec<String> = (0..cells.rows()).map(|row| row.to_string()).collect();
    let (train, test) = split_by_hash(&keys).ok_or_else(|| table_error(TableError::OneRow))?;
    let (schema, cells) = (Arc::new(schema), Arc::new(cells));
    let rows = |rows| TableRows::new(Arc::clone(&schema), Arc::clone(&cells), rows, key);
    Ok(Splits {
        train: rows(train),
        test: rows(test),
        fingerprint: Some(sha256(&[bytes])),
    })
}
