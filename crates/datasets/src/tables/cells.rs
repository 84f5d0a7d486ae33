//! The cells of a table, column by column, in as few bytes as they need.

use std::io::{self, Write};

/// Units that stand for a gap.
const GAP: i32 = i32::MIN;

/// The cells of a column.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum CellColumn {
    /// Numbers as whole units, divided by the scale.
    Units { units: Vec<i32>, scale: f64 },
    /// Numbers; NaN is a gap.
    Numbers(Vec<f64>),
    /// Places of categories.
    Narrow(Vec<u16>),
    /// The same of many categories.
    Wide(Vec<u32>),
    /// The schema says what stands there.
    Nothing,
}

/// Rows of a table whose columns a [schema](super::TableSchema) describes.
#[derive(Clone, Debug, PartialEq)]
pub struct Cells {
    pub(crate) rows: usize,
    pub(crate) columns: Vec<CellColumn>,
}

impl Cells {
    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The number in a cell, `None` where there is a gap or the column holds no numbers. Those of dates count their
    /// smallest unit.
    ///
    /// # Panics
    ///
    /// If there is no such column or row.
    pub fn number(&self, column: usize, row: usize) -> Option<f64> {
        self.columns[column].number(row)
    }

    /// The place of a cell's category, where the column holds categories; a gap is the last one.
    ///
    /// # Panics
    ///
    /// If there is no such column or row.
    pub fn category(&self, column: usize, row: usize) -> Option<usize> {
        self.columns[column].category(row)
    }

    /// These `rows`, in this order.
    ///
    /// # Panics
    ///
    /// If there is no such row.
    pub fn select(&self, rows: &[usize]) -> Self {
        fn of<T: Copy>(values: &[T], rows: &[usize]) -> Vec<T> {
            rows.iter().map(|&row| values[row]).collect()
        }
        let columns = self.columns.iter().map(|column| match column {
            CellColumn::Units { units, scale } => CellColumn::Units {
                units: of(units, rows),
                scale: *scale,
            },
            CellColumn::Numbers(numbers) => CellColumn::Numbers(of(numbers, rows)),
            CellColumn::Narrow(places) => CellColumn::Narrow(of(places, rows)),
            CellColumn::Wide(places) => CellColumn::Wide(of(places, rows)),
            CellColumn::Nothing => CellColumn::Nothing,
        });
        Self {
            columns: columns.collect(),
            rows: rows.len(),
        }
    }

    /// Puts the rows of `other` behind these.
    ///
    /// # Panics
    ///
    /// If they are of another table.
    pub fn append(&mut self, other: &Self) {
        assert_eq!(
            self.columns.len(),
            other.columns.len(),
            "cells of another table"
        );
        let (rows, more_rows) = (self.rows, other.rows);
        for (column, other) in self.columns.iter_mut().zip(&other.columns) {
            match (&mut *column, other) {
                (
                    CellColumn::Units { units, scale },
                    CellColumn::Units {
                        units: more,
                        scale: same,
                    },
                ) if scale == same => {
                    units.extend_from_slice(more);
                }
                (CellColumn::Narrow(places), CellColumn::Narrow(more)) => {
                    places.extend_from_slice(more)
                }
                (CellColumn::Wide(places), CellColumn::Wide(more)) => {
                    places.extend_from_slice(more)
                }
                (CellColumn::Nothing, CellColumn::Nothing) => {}
                (of_numbers, other) => {
                    let all = |column: &CellColumn, rows| -> Vec<f64> {
                        (0..rows)
                            .map(|row| column.number(row).unwrap_or(f64::NAN))
                            .collect()
                    };
                    let mut numbers = all(of_numbers, rows);
                    numbers.extend(all(other, more_rows));
                    *of_numbers = CellColumn::Numbers(numbers);
                }
            }
        }
        self.rows += other.rows;
    }
}

impl CellColumn {
    /// The number of a row, if it has one.
    pub(crate) fn number(&self, row: usize) -> Option<f64> {
        match self {
            Self::Units { units, scale } => Some(units[row])
                .filter(|&units| units != GAP)
                .map(|units| f64::from(units) / scale),
            Self::Numbers(numbers) => Some(numbers[row]).filter(|number| !number.is_nan()),
            _ => None,
        }
    }

    /// The place of a row's category, if it has one.
    pub(crate) fn category(&self, row: usize) -> Option<usize> {
        match self {
            Self::Narrow(places) => Some(places[row].into()),
            Self::Wide(places) => Some(places[row] as usize),
            _ => None,
        }
    }

    /// The bytes of a cell.
    pub(crate) fn width(&self) -> usize {
        match self {
            Self::Units { .. } => size_of::<i32>(),
            Self::Numbers(_) => size_of::<f64>(),
            Self::Narrow(_) => size_of::<u16>(),
            Self::Wide(_) => size_of::<u32>(),
            Self::Nothing => 0,
        }
    }

    /// The same column without cells.
    pub(crate) fn empty(&self) -> Self {
        match self {
            Self::Units { scale, .. } => Self::Units {
                units: Vec::new(),
                scale: *scale,
            },
            Self::Numbers(_) => Self::Numbers(Vec::new()),
            Self::Narrow(_) => Self::Narrow(Vec::new()),
            Self::Wide(_) => Self::Wide(Vec::new()),
            Self::Nothing => Self::Nothing,
        }
    }

    /// Writes the bytes of a cell.
    pub(crate) fn write(&self, row: usize, to: &mut impl Write) -> io::Result<()> {
        match self {
            Self::Units { units, .. } => to.write_all(&units[row].to_le_bytes()),
            Self::Numbers(numbers) => to.write_all(&numbers[row].to_le_bytes()),
            Self::Narrow(places) => to.write_all(&places[row].to_le_bytes()),
            Self::Wide(places) => to.write_all(&places[row].to_le_bytes()),
            Self::Nothing => Ok(()),
        }
    }

    /// Puts the cell behind the others that `bytes` start with, and returns what follows it.
    ///
    /// # Panics
    ///
    /// If there are fewer bytes than a cell has.
    pub(crate) fn push<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        fn first<const N: usize>(bytes: &[u8]) -> [u8; N] {
            *bytes.first_chunk().expect("the bytes of a cell")
        }
        match self {
            Self::Units { units, .. } => units.push(i32::from_le_bytes(first(bytes))),
            Self::Numbers(numbers) => numbers.push(f64::from_le_bytes(first(bytes))),
            Self::Narrow(places) => places.push(u16::from_le_bytes(first(bytes))),
            Self::Wide(places) => places.push(u32::from_le_bytes(first(bytes))),
            Self::Nothing => {}
        }
        &bytes[self.width()..]
    }

    /// Numbers, NaN for a gap, in units of 1 / `scale` where that loses nothing.
    pub(crate) fn of_numbers(numbers: Vec<f64>, scale: Option<f64>) -> Self {
        let Some(scale) = scale else {
            return Self::Numbers(numbers);
        };
        let units = numbers.iter().map(|&number| {
            if number.is_nan() {
                return Some(GAP);
            }
            let units = (number * scale).round();
            let fits = units.abs() < f64::from(i32::MAX) && units / scale == number;
            fits.then_some(units as i32)
        });
        match units.collect() {
            Some(units) => Self::Units { units, scale },
            None => Self::Numbers(numbers),
        }
    }

    /// Places of `count` categories.
    pub(crate) fn of_categories(places: Vec<u32>, count: usize) -> Self {
        if count <= 1 << 16 {
            Self::Narrow(places.into_iter().map(|place| place as u16).collect())
        } else {
            Self::Wide(places)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_held_as_units_where_that_is_exact() {
        let numbers = vec![0.1, -3.25, f64::NAN, 7.0];
        let column = CellColumn::of_numbers(numbers.clone(), Some(100.0));
        assert!(matches!(column, CellColumn::Units { .. }));
        let cells = Cells {
            rows: 4,
            columns: vec![column],
        };
        let read: Vec<Option<f64>> = (0..4).map(|row| cells.number(0, row)).collect();
        assert_eq!(read, [Some(0.1), Some(-3.25), None, Some(7.0)]);
        assert_eq!(cells.select(&[3, 2]).number(0, 0), Some(7.0));
        // Rows that are put behind keep their units, or none of them has any.
        for (numbers, first) in [(vec![8.5], Some(0.1)), (vec![1.0 / 3.0], Some(0.1))] {
            let mut both = cells.clone();
            let columns = vec![CellColumn::of_numbers(numbers.clone(), Some(100.0))];
            both.append(&Cells { rows: 1, columns });
            let read: Vec<Option<f64>> = [0, 2, 4].map(|row| both.number(0, row)).to_vec();
            assert_eq!(
                (both.rows(), read),
                (5, vec![first, None, Some(numbers[0])])
            );
        }
        for (numbers, scale) in [
            (vec![0.1], Some(1.0)),
            (vec![1e10], Some(1.0)),
            (vec![0.5], None),
        ] {
            assert!(matches!(
                CellColumn::of_numbers(numbers, scale),
                CellColumn::Numbers(_)
            ));
        }
    }

    #[test]
    fn categories_are_narrow_where_they_are_few() {
        for count in [3, 1 << 16, (1 << 16) + 1] {
            let last = count as u32 - 1;
            let cells = Cells {
                rows: 2,
                columns: vec![CellColumn::of_categories(vec![0, last], count)],
            };
            assert_eq!(cells.category(0, 1), Some(count - 1));
            assert_eq!(cells.number(0, 1), None);
        }
    }
}
