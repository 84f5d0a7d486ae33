//! One row of many draws of it: the mean of its numbers, and the categories that were drawn most.
//!
//! Of all single values the mean of p(number | known cells) has the least expected squared error, and the most
//! likely category the least share of errors; a draw alone has twice the squared error. Rows made so are good
//! guesses, and less varied than real ones.

use super::cells::{CellColumn, Cells};
use super::schema::{Column, Content, Numbers, TableSchema};

impl TableSchema {
    /// One row of all draws of it: row r of the `rows` that come of it has those of `draws` at r, r + `rows`,
    /// r + 2 `rows` and so on. A number is the mean of those drawn, as the column writes it, or a gap where more
    /// gaps were drawn than numbers; of categories that were drawn as often the first one counts.
    ///
    /// # Panics
    ///
    /// If there are no draws, or not as many of each row.
    pub fn estimate(&self, draws: &Cells, rows: usize) -> Cells {
        assert!(
            rows > 0 && draws.rows() >= rows && draws.rows().is_multiple_of(rows),
            "as many draws of each row"
        );
        let column = |(index, column): (usize, &Column)| {
            let of_row = |row: usize| (row..draws.rows()).step_by(rows);
            match &column.content {
                Content::Numbers(numbers) => {
                    let estimates = (0..rows).map(|row| {
                        mean(numbers, of_row(row).map(|draw| draws.number(index, draw)))
                    });
                    CellColumn::of_numbers(estimates.collect(), numbers.scale())
                }
                Content::Categories { .. } => {
                    let count = column.num_categories();
                    let places = (0..rows).map(|row| {
                        let drawn = of_row(row).filter_map(|draw| draws.category(index, draw));
                        most_frequent(drawn, count) as u32
                    });
                    CellColumn::of_categories(places.collect(), count)
                }
                _ => CellColumn::Nothing,
            }
        };
        Cells {
            rows,
            columns: self.columns().iter().enumerate().map(column).collect(),
        }
    }
}

/// NaN is a gap.
fn mean(numbers: &Numbers, drawn: impl Iterator<Item = Option<f64>>) -> f64 {
    let (mut sum, mut filled, mut gaps) = (0.0, 0_usize, 0_usize);
    for number in drawn {
        match number {
            Some(number) => {
                sum += number;
                filled += 1;
            }
            None => gaps += 1,
        }
    }
    if gaps > filled {
        f64::NAN
    } else {
        numbers.nearest(sum / filled as f64)
    }
}

fn most_frequent(places: impl Iterator<Item = usize>, count: usize) -> usize {
    let mut seen = vec![0_usize; count];
    for place in places {
        seen[place] += 1;
    }
    let most = seen.iter().max().copied().unwrap_or_default();
    seen.iter()
        .position(|&times| times == most)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use crate::tables::{ColumnType, TableOptions, parse_table};

    #[test]
    fn means_of_numbers_and_frequent_categories() {
        let draws = "n,k,d\n1,a,2020-01-01\n10,b,2020-01-01\n2,c,2020-01-03\n,c,2020-01-05\n6,b,2020-01-02\n,b,2020-01-05\n";
        let types = [
            ("n", ColumnType::Integer),
            ("k", ColumnType::Category),
            ("d", ColumnType::Date),
        ];
        let options = TableOptions {
            types: types.map(|(name, of)| (name.to_owned(), of)).into(),
            ..TableOptions::default()
        };
        // Two rows, of which three draws each: 1, 3 and 5; 2, 4 and 6.
        let (schema, draws) = parse_table(draws.as_bytes(), &options).unwrap();
        let written = String::from_utf8(schema.write(&schema.estimate(&draws, 2))).unwrap();
        assert_eq!(written, "n,k,d\n3,a,2020-01-02\n,b,2020-01-04\n");
        // One draw of each is what it was.
        let same = schema.estimate(&draws, 6);
        assert_eq!(schema.write(&same), schema.write(&draws));
    }
}
