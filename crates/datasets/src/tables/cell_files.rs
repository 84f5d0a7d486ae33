//! Cells that are too many for memory, in temporary files without a name.
//!
//! The columns come in groups, as many at a time as fit into memory, and each group is a file of its own with one row
//! behind the other, all of the same length. A row is read with one access to each file.

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom};
use std::sync::{Mutex, PoisonError};

use super::cells::{CellColumn, Cells};

/// Cells cannot be read back.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the cells of a table back from a temporary file")]
pub struct CellFileError(#[from] io::Error);

/// The cells of a table.
#[derive(Debug)]
pub(crate) struct CellFiles {
    rows: usize,
    columns: usize,
    groups: Vec<Group>,
    /// The cells of the class, which are asked for one by one.
    class: CellColumn,
}

#[derive(Debug)]
struct Group {
    /// Where it stands is of no matter between two accesses.
    file: Mutex<File>,
    row_len: usize,
    /// The columns, each without cells.
    columns: Vec<(usize, CellColumn)>,
}

impl CellFiles {
    /// A table of so many rows, whose columns are yet to come; in those that do not come stands nothing.
    pub(crate) fn new(rows: usize, columns: usize) -> Self {
        Self {
            rows,
            columns,
            groups: Vec::new(),
            class: CellColumn::Nothing,
        }
    }

    /// Puts these columns into a file.
    pub(crate) fn push(&mut self, columns: &[(usize, CellColumn)]) -> io::Result<()> {
        let columns = columns
            .iter()
            .filter(|(_, cells)| cells.width() > 0)
            .collect::<Vec<_>>();
        if columns.is_empty() {
            return Ok(());
        }
        let mut file = BufWriter::new(tempfile::tempfile()?);
        for row in 0..self.rows {
            for (_, cells) in &columns {
                cells.write(row, &mut file)?;
            }
        }
        let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        let empty = columns.iter().map(|(place, cells)| (*place, cells.empty()));
        self.groups.push(Group {
            file: Mutex::new(file),
            row_len: columns.iter().map(|(_, cells)| cells.width()).sum(),
            columns: empty.collect(),
        });
        Ok(())
    }

    /// Holds the cells of the class in memory, too.
    pub(crate) fn hold_class(&mut self, cells: CellColumn) {
        self.class = cells;
    }

    /// The class of a row.
    ///
    /// # Panics
    ///
    /// If there is no such row.
    pub(crate) fn class(&self, row: usize) -> Option<usize> {
        self.class.category(row)
    }

    /// These rows, in this order.
    ///
    /// # Panics
    ///
    /// If there is no such row.
    pub(crate) fn read(&self, rows: &[usize]) -> io::Result<Cells> {
        let mut cells = Cells {
            rows: rows.len(),
            columns: vec![CellColumn::Nothing; self.columns],
        };
        for group in &self.groups {
            let mut columns = group.columns.clone();
            let mut bytes = vec![0; group.row_len];
            // Whoever panicked before has left the file as it was.
            let mut file = group.file.lock().unwrap_or_else(PoisonError::into_inner);
            for &row in rows {
                assert!(row < self.rows, "there is no such row");
                file.seek(SeekFrom::Start(row as u64 * group.row_len as u64))?;
                file.read_exact(&mut bytes)?;
                let mut rest = bytes.as_slice();
                for (_, cells) in &mut columns {
                    rest = cells.push(rest);
                }
            }
            for (place, column) in columns {
                cells.columns[place] = column;
            }
        }
        Ok(cells)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn rows_come_back_as_they_were() {
        let columns = vec![
            CellColumn::of_numbers(vec![0.5, f64::NAN, -2.25], Some(4.0)),
            CellColumn::Nothing,
            CellColumn::Numbers(vec![1.0 / 3.0, -0.0, f64::MAX]),
            CellColumn::of_categories(vec![2, 0, 1], 3),
            CellColumn::of_categories(vec![7, 99_999, 0], 100_000),
        ];
        let cells = Cells { rows: 3, columns };
        let placed: Vec<_> = (0..).zip(cells.columns.iter().cloned()).collect();
        let mut files = CellFiles::new(3, 5);
        files.push(&placed[..3]).unwrap();
        files.push(&placed[1..2]).unwrap();
        files.push(&placed[3..]).unwrap();
        assert_eq!(files.groups.len(), 2);
        assert_eq!(files.class(1), None);
        files.hold_class(cells.columns[3].clone());
        assert_eq!(files.class(0), Some(2));
        for rows in [vec![], vec![0, 1, 2], vec![2, 2, 0]] {
            // NaN is not equal to itself.
            let of = |cells: &Cells| format!("{cells:?}");
            assert_eq!(of(&files.read(&rows).unwrap()), of(&cells.select(&rows)));
        }
        files.groups[0].file.lock().unwrap().set_len(20).unwrap();
        assert!(files.read(&[2]).is_err());
    }
}
