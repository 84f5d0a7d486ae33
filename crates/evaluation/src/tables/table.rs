//! A table as the scores see it: columns of numbers and of categories.

use crate::error::ScoreError;

/// The values of a column, a row each.
#[derive(Clone, Debug, PartialEq)]
pub enum Column {
    /// Numbers, or times counted in any unit; NaN where there is a gap.
    Numbers(Vec<f64>),
    /// Codes of categories, the same for the same category in all tables that are compared; `None` where
    /// there is a gap. They need not be without holes: only equality counts.
    Categories(Vec<Option<u32>>),
}

impl Column {
    fn len(&self) -> usize {
        match self {
            Self::Numbers(values) => values.len(),
            Self::Categories(codes) => codes.len(),
        }
    }
}

/// Columns of one length, with names.
///
/// ```
/// use evaluation::tables::{Column, Table};
///
/// let table = Table::new(vec![
///     ("age".into(), Column::Numbers(vec![39.0, f64::NAN])),
///     ("sex".into(), Column::Categories(vec![Some(0), None])),
/// ])?;
/// assert_eq!((table.len(), table.columns().len()), (2, 2));
/// # Ok::<(), evaluation::ScoreError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    names: Vec<String>,
    columns: Vec<Column>,
}

impl Table {
    /// A table of these columns, with their names.
    ///
    /// # Errors
    ///
    /// [`ScoreError::Rows`] unless all columns are of one length, [`ScoreError::Infinite`].
    pub fn new(columns: Vec<(String, Column)>) -> Result<Self, ScoreError> {
        let expected = columns.first().map_or(0, |(_, column)| column.len());
        for (name, column) in &columns {
            if column.len() != expected {
                return Err(ScoreError::Rows {
                    column: name.clone(),
                    found: column.len(),
                    expected,
                });
            }
            if let Column::Numbers(values) = column
                && let Some(row) = values.iter().position(|value| value.is_infinite())
            {
                return Err(ScoreError::Infinite {
                    column: name.clone(),
                    row,
                });
            }
        }
        let (names, columns) = columns.into_iter().unzip();
        Ok(Self { names, columns })
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.columns.first().map_or(0, Column::len)
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The names of the columns.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The columns.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The place of the column called `name`.
    ///
    /// # Errors
    ///
    /// [`ScoreError::NoColumn`].
    pub fn find(&self, name: &str) -> Result<usize, ScoreError> {
        let place = self.names.iter().position(|known| known == name);
        place.ok_or_else(|| ScoreError::NoColumn {
            column: name.to_owned(),
        })
    }

    /// The rows at these places, in this order.
    ///
    /// # Panics
    ///
    /// If there is no such row.
    #[must_use]
    pub fn select(&self, rows: &[usize]) -> Self {
        let column = |column: &Column| match column {
            Column::Numbers(values) => {
                Column::Numbers(rows.iter().map(|&row| values[row]).collect())
            }
            Column::Categories(codes) => {
                Column::Categories(rows.iter().map(|&row| codes[row]).collect())
            }
        };
        Self {
            names: self.names.clone(),
            columns: self.columns.iter().map(column).collect(),
        }
    }
}

/// Checks that `score` is defined for two tables: the same columns, and at least `needed` rows in each.
///
/// # Errors
///
/// [`ScoreError::Columns`], [`ScoreError::TooFewSamples`].
pub(crate) fn check_tables(
    score: &'static str,
    first: &Table,
    second: &Table,
    needed: usize,
) -> Result<(), ScoreError> {
    if first.columns.len() != second.columns.len() {
        return Err(ScoreError::Columns {
            reason: format!(
                "one has {} and the other {}",
                first.columns.len(),
                second.columns.len()
            ),
        });
    }
    let kind = |column: &Column| match column {
        Column::Numbers(_) => "numbers",
        Column::Categories(_) => "categories",
    };
    for index in 0..first.columns.len() {
        let [a, b] =
            [first, second].map(|table| (&table.names[index], kind(&table.columns[index])));
        if a != b {
            return Err(ScoreError::Columns {
                reason: format!(
                    "column {} is `{}` ({}) in one and `{}` ({}) in the other",
                    index + 1,
                    a.0,
                    a.1,
                    b.0,
                    b.1
                ),
            });
        }
    }
    match [first, second].iter().find(|table| table.len() < needed) {
        Some(table) => Err(ScoreError::TooFewSamples {
            score,
            found: table.len(),
            needed,
        }),
        None => Ok(()),
    }
}

/// Codes of one column in several tables as places in the sorted list of all that occur, a gap being one of
/// them, and how many occur.
pub(crate) fn dense_codes<const N: usize>(tables: [&[Option<u32>]; N]) -> ([Vec<u32>; N], usize) {
    let mut known = tables.concat();
    known.sort_unstable();
    known.dedup();
    let dense = |codes: &[Option<u32>]| {
        // All are known: they come from the same lists.
        let place = |code: &Option<u32>| known.partition_point(|other| other < code) as u32;
        codes.iter().map(place).collect()
    };
    (tables.map(dense), known.len())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn numbers(name: &str, values: &[f64]) -> (String, Column) {
        (name.to_owned(), Column::Numbers(values.to_vec()))
    }

    #[test]
    fn what_is_no_table_is_refused() {
        let error = Table::new(vec![numbers("a", &[1.0]), numbers("b", &[])]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "column `b` has 0 rows, and the first column 1"
        );
        let error = Table::new(vec![numbers("a", &[1.0, f64::NEG_INFINITY])]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "row 1 of column `a` is infinite: expected a number, or NaN for a gap"
        );
    }

    #[test]
    fn tables_of_other_columns_are_told_apart() {
        let table = |columns| Table::new(columns).unwrap();
        let a = table(vec![numbers("a", &[1.0])]);
        let renamed = table(vec![numbers("b", &[1.0])]);
        let categories = table(vec![("a".into(), Column::Categories(vec![Some(1)]))]);
        for other in [&renamed, &categories, &table(Vec::new())] {
            assert!(matches!(
                check_tables("a score", &a, other, 1),
                Err(ScoreError::Columns { .. })
            ));
        }
        assert!(check_tables("a score", &a, &a, 1).is_ok());
        assert!(matches!(
            check_tables("a score", &a, &a, 2),
            Err(ScoreError::TooFewSamples {
                found: 1,
                needed: 2,
                ..
            })
        ));
    }

    #[test]
    fn codes_become_places_in_the_list_of_those_that_occur() {
        let first = [Some(u32::MAX), None, Some(7)];
        let (codes, count) = dense_codes([&first, &[Some(9), Some(7)]]);
        assert_eq!((codes, count), ([vec![3, 0, 1], vec![2, 1]], 4));
    }
}
