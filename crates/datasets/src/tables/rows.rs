//! The rows of a table as a data set.

use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;
use std::sync::Arc;

use rand::Rng;

use super::cell_files::{CellFileError, CellFiles};
use super::cells::Cells;
use super::error::{TableError, TableFileError};
use super::inference::{Surveyed, TableOptions};
use super::published;
use super::quantiles::uniform;
use super::schema::TableSchema;
use super::source::Source;
use crate::files::{DatasetName, open};
use crate::splits::{Splits, split_places};

/// The most bytes of a file of a table.
pub const MAX_TABLE_LEN: u64 = 64 << 30;

/// Rows to learn from, or those held out.
#[derive(Clone, Debug)]
pub struct TableRows {
    schema: Arc<TableSchema>,
    /// Of both splits.
    cells: AllCells,
    rows: Vec<usize>,
    /// What chooses places among equal numbers where no generator is handed in.
    key: u64,
}

/// Where cells are.
#[derive(Clone, Debug)]
enum AllCells {
    /// In memory.
    Held(Arc<Cells>),
    /// In files.
    Kept(Arc<CellFiles>),
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
            cells: AllCells::Held(cells),
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

    /// Whether the cells are not in memory, and read each time that they are asked for.
    pub fn is_streamed(&self) -> bool {
        matches!(self.cells, AllCells::Kept(_))
    }

    /// The cells of the rows, in their order.
    ///
    /// # Errors
    ///
    /// [`CellFileError`], where they are not in memory.
    pub fn cells(&self) -> Result<Cells, CellFileError> {
        Ok(match &self.cells {
            AllCells::Held(cells) => cells.select(&self.rows),
            AllCells::Kept(files) => files.read(&self.rows)?,
        })
    }

    /// The class of a row, where a column is the class.
    ///
    /// # Panics
    ///
    /// If there is no such row.
    pub fn label(&self, index: usize) -> Option<usize> {
        let row = self.rows[index];
        match &self.cells {
            AllCells::Held(cells) => cells.category(self.schema.class()?, row),
            AllCells::Kept(files) => files.class(row),
        }
    }

    /// The examples of these rows, one after the other: the same values each time. Places among equal numbers, and
    /// the noise of numbers that say nothing, follow from the row, the column and the key.
    ///
    /// # Errors
    ///
    /// As of [`cells`](Self::cells).
    ///
    /// # Panics
    ///
    /// If there is no such row.
    pub fn read(&self, indices: &[usize]) -> Result<Vec<f32>, CellFileError> {
        self.encode(indices, |row, channel| {
            fixed_uniform([self.key, row as u64, channel as u64])
        })
    }

    /// As [`read`](Self::read), with places and noise from `rng`.
    ///
    /// # Errors
    ///
    /// As of [`cells`](Self::cells).
    ///
    /// # Panics
    ///
    /// If there is no such row.
    pub fn read_random(
        &self,
        indices: &[usize],
        rng: &mut impl Rng,
    ) -> Result<Vec<f32>, CellFileError> {
        self.encode(indices, |_, _| uniform(rng))
    }

    /// The examples of these rows, with a uniform number of (0, 1) for each row of the table and number.
    fn encode(
        &self,
        indices: &[usize],
        mut uniform: impl FnMut(usize, usize) -> f64,
    ) -> Result<Vec<f32>, CellFileError> {
        let rows: Vec<usize> = indices.iter().map(|&index| self.rows[index]).collect();
        Ok(match &self.cells {
            AllCells::Held(cells) => self.schema.encode_with(cells, &rows, uniform),
            AllCells::Kept(files) => {
                let cells = files.read(&rows)?;
                let places = Vec::from_iter(0..rows.len());
                self.schema.encode_with(&cells, &places, |place, channel| {
                    uniform(rows[place], channel)
                })
            }
        })
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
/// without a generator. Cells of more than about `cache_bytes` are not held in memory but in temporary files, and the
/// file is read as often as it takes to make them. The file itself is never held.
///
/// # Errors
///
/// See [`TableFileError`].
pub fn load_table(
    path: &Path,
    options: &TableOptions,
    key: u64,
    cache_bytes: u64,
) -> Result<Splits<TableRows>, TableFileError> {
    let mut source = open_source(path)?;
    split(&mut source, options, key, cache_bytes).map_err(table_error(path))
}

/// Loads the published table of Adult from `dir`, the folder that holds its file ([`find`](crate::find) knows it).
/// `key` and `cache_bytes` are those of [`load_table`].
///
/// # Errors
///
/// See [`TableFileError`].
pub fn load_published(
    dir: &Path,
    options: &TableOptions,
    key: u64,
    cache_bytes: u64,
) -> Result<Splits<TableRows>, TableFileError> {
    let path = published::file_in(DatasetName::Adult, dir);
    let mut source = open_source(&path)?;
    published::check(DatasetName::Adult, &path, source.sha256())?;
    let splits = split(&mut source, options, key, cache_bytes).map_err(table_error(&path))?;
    Ok(Splits {
        fingerprint: None,
        ..splits
    })
}

fn open_source(path: &Path) -> Result<Source<File>, TableFileError> {
    let read_error = |source| TableFileError::Read {
        path: path.to_owned(),
        source,
    };
    let source = open(path).and_then(|file| Source::new(file, MAX_TABLE_LEN));
    source
        .map_err(read_error)?
        .ok_or_else(|| TableFileError::TooLong {
            path: path.to_owned(),
            most: MAX_TABLE_LEN,
        })
}

fn table_error(path: &Path) -> impl Fn(TableError) -> TableFileError + '_ {
    |source| TableFileError::Table {
        path: path.to_owned(),
        source: Box::new(source),
    }
}

fn split<R: Read + Seek>(
    source: &mut Source<R>,
    options: &TableOptions,
    key: u64,
    cache_bytes: u64,
) -> Result<Splits<TableRows>, TableError> {
    let mut surveyed = Surveyed::of(source, options)?;
    let count = surveyed.rows();
    let cells = if surveyed.bytes_left() <= cache_bytes {
        let columns = surveyed.read(source, cache_bytes)?.into_iter();
        AllCells::Held(Arc::new(Cells {
            rows: count,
            columns: columns.map(|(_, cells)| cells).collect(),
        }))
    } else {
        AllCells::Kept(Arc::new(keep(&mut surveyed, source, cache_bytes)?))
    };
    let schema = Arc::new(surveyed.finish()?);
    let (train, test) = split_places(count).ok_or(TableError::OneRow)?;
    let rows = |rows| TableRows {
        schema: Arc::clone(&schema),
        cells: cells.clone(),
        rows,
        key,
    };
    Ok(Splits {
        train: rows(train),
        test: rows(test),
        fingerprint: Some(source.sha256().to_owned()),
    })
}

/// Reads columns as many at a time as fit into `cache_bytes`, and puts them into files.
fn keep<R: Read + Seek>(
    surveyed: &mut Surveyed,
    source: &mut Source<R>,
    cache_bytes: u64,
) -> Result<CellFiles, TableError> {
    let mut files = CellFiles::new(surveyed.rows(), surveyed.num_columns());
    while !surveyed.is_read() {
        let mut columns = surveyed.read(source, cache_bytes)?;
        files.push(&columns).map_err(|error| TableError::Keep {
            folder: tempfile::env::temp_dir(),
            kind: error.kind(),
        })?;
        columns.retain(|(place, _)| Some(*place) == surveyed.class());
        if let Some((_, cells)) = columns.pop() {
            files.hold_class(cells);
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::io::{self, Cursor};

    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::tables::source::tests::Unsteady;

    /// A table of columns of every type.
    fn table() -> String {
        let header = "row,age,price,tiny,when,gain,kind,smokes,stars,note,same,class";
        (0..300).fold(format!("{header}\n"), |text, i| {
            let age = match i % 11 {
                0 => "NA".to_owned(),
                _ => (20 + i * 7 % 60).to_string(),
            };
            let gain = if i % 3 == 0 { i * 17 } else { 0 };
            let kind = ["a", "\"b, \"\"c\"\"\"", "", "naïve"][i % 4];
            text + &format!(
                "{},{age},{}.{:02},{}e-{},2020-{:02}-{:02},{gain},{kind},{},{},by hand {i},x,{}\n",
                i + 1,
                i * 13 % 50,
                i % 100,
                i + 1,
                i % 40,
                i % 12 + 1,
                i % 28 + 1,
                ["yes", "no"][i % 2],
                i % 5,
                ["first", "second", "third"][i * i % 3],
            )
        })
    }

    fn options() -> TableOptions {
        TableOptions {
            class: Some("class".to_owned()),
            ..TableOptions::default()
        }
    }

    fn source(bytes: Unsteady) -> Source<Unsteady> {
        Source::new(bytes, MAX_TABLE_LEN).unwrap().unwrap()
    }

    fn unsteady(text: &str) -> Unsteady {
        Unsteady {
            bytes: Cursor::new(text.into()),
            ..Unsteady::default()
        }
    }

    fn load(bytes: Unsteady, cache_bytes: u64) -> Result<Splits<TableRows>, TableError> {
        split(&mut source(bytes), &options(), 5, cache_bytes)
    }

    /// All that is known of both splits. NaN is not equal to itself.
    fn said(splits: &Splits<TableRows>) -> String {
        let of = |rows: &TableRows| {
            let all = Vec::from_iter(0..rows.len());
            let some: Vec<usize> = all.iter().rev().step_by(3).copied().collect();
            let labels: Vec<_> = all.iter().map(|&index| rows.label(index)).collect();
            let mut rng = ChaCha8Rng::seed_from_u64(3);
            let bits =
                |values: Vec<f32>| -> Vec<u32> { values.into_iter().map(f32::to_bits).collect() };
            format!(
                "{:?} {:?} {:?} {labels:?} {:?} {:?}",
                rows.schema(),
                rows.rows,
                rows.cells().unwrap(),
                bits(rows.read(&all).unwrap()),
                bits(rows.read_random(&some, &mut rng).unwrap()),
            )
        };
        let Splits {
            train,
            test,
            fingerprint,
        } = splits;
        format!("{} {} {fingerprint:?}", of(train), of(test))
    }

    #[test]
    fn rows_in_files_are_those_of_memory() {
        let text = table();
        let held = load(unsteady(&text), u64::MAX).unwrap();
        assert!(!held.train.is_streamed());
        assert_eq!(held.train.schema().numbers().len(), 5);
        let expected = said(&held);
        let bytes = Surveyed::of(&mut source(unsteady(&text)), &options())
            .unwrap()
            .bytes_left();
        for cache_bytes in [0, bytes / 7, bytes / 2, bytes - 1] {
            let kept = load(unsteady(&text), cache_bytes).unwrap();
            assert!(kept.train.is_streamed() && kept.test.is_streamed());
            assert!(said(&kept) == expected, "with {cache_bytes} bytes");
        }
        // As much as there is is enough, and pieces of the file do not show.
        let in_pieces = Unsteady {
            piece_len: 3,
            ..unsteady(&text)
        };
        let held = load(in_pieces, bytes).unwrap();
        assert!(!held.train.is_streamed() && said(&held) == expected);
    }

    #[test]
    fn files_are_read_and_checked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("table.csv");
        std::fs::write(&path, table()).unwrap();
        let expected = said(&load(unsteady(&table()), u64::MAX).unwrap());
        for cache_bytes in [0, u64::MAX] {
            let splits = load_table(&path, &options(), 5, cache_bytes).unwrap();
            assert!(said(&splits) == expected);
        }
        let error = load_table(dir.path(), &options(), 5, 0).unwrap_err();
        assert!(matches!(error, TableFileError::Read { .. }));
    }

    #[test]
    fn a_file_that_changes_is_an_error() {
        let text = table();
        let changes = [
            // A cell of the same length, one more row, one that is cut, and nothing at all.
            text.replace("by hand 299,x,second", "by hand 299,x,fourth"),
            text.replace("by hand 299", "by hand\r299"),
            format!("{text}{}\n", text.lines().last().unwrap()),
            text[..text.len() / 2].to_owned(),
            text[..text.len() - 1].to_owned(),
            String::new(),
        ];
        for cache_bytes in [0, 5000, u64::MAX] {
            let mut steady = source(unsteady(&text));
            split(&mut steady, &options(), 5, cache_bytes).unwrap();
            let times = steady.into_inner().times;
            for later in &changes {
                assert_ne!(later, &text);
                for time in 2..=times {
                    let bytes = Unsteady {
                        later: Some((time, later.clone().into_bytes())),
                        ..unsteady(&text)
                    };
                    let error = load(bytes, cache_bytes).unwrap_err();
                    let is_clear = matches!(
                        error,
                        // What a cut leaves is no table any more.
                        TableError::Changed | TableError::Ragged { .. } | TableError::Empty
                    );
                    assert!(is_clear, "{time} of {times}: {error}");
                }
            }
            for time in 2..=times {
                let bytes = Unsteady {
                    broken: Some((time, text.len() as u64 / 2)),
                    ..unsteady(&text)
                };
                let kind = io::ErrorKind::StaleNetworkFileHandle;
                let error = load(bytes, cache_bytes).unwrap_err();
                assert_eq!(error, TableError::Read { kind });
            }
        }
    }
}
