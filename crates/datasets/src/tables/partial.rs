//! Rows of which some cells are known and the others are to be found: from a file with empty cells, or of conditions.

use rand::Rng;

use super::cells::{CellColumn, Cells};
use super::column_type::ColumnType;
use super::dialect::Layout;
use super::error::{CellError, TableError};
use super::gaps::{is_gap, is_gap_among_numbers};
use super::inference::unknown_column;
use super::schema::{Column, Content, Spelling, TableSchema};
use super::similar::{closest, list};
use super::source::Source;
use crate::shown::shown;

/// A known cell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Known {
    /// A number, or a gap where there would be one.
    Number(Option<f64>),
    /// The place of a category; of a gap the last one.
    Category(usize),
    /// A cell that is not learned.
    Nothing,
}

/// Rows of which some cells are known.
#[derive(Clone, Debug, PartialEq)]
pub struct Partial {
    rows: usize,
    /// Row by row, column by column.
    cells: Vec<Option<Known>>,
    columns: usize,
}

impl Partial {
    /// Rows of which nothing is known.
    pub(crate) fn unknown(rows: usize, columns: usize) -> Self {
        Self {
            rows,
            cells: vec![None; rows * columns],
            columns,
        }
    }

    /// Says what a cell is.
    pub(crate) fn set(&mut self, column: usize, row: usize, known: Known) {
        self.cells[row * self.columns + column] = Some(known);
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Whether a cell is known.
    ///
    /// # Panics
    ///
    /// If there is no such column or row.
    pub fn is_known(&self, column: usize, row: usize) -> bool {
        self.cell(column, row).is_some()
    }

    fn cell(&self, column: usize, row: usize) -> Option<Known> {
        self.cells[row * self.columns + column]
    }

    /// The classes of the rows, where a column is the class and they are known.
    pub fn labels(&self, schema: &TableSchema) -> Vec<Option<usize>> {
        let label = |row| match schema.class().map(|class| self.cell(class, row)) {
            Some(Some(Known::Category(place))) => Some(place),
            _ => None,
        };
        (0..self.rows).map(label).collect()
    }

    /// The rows as examples, one after the other, and for each value 1 where it is known and 0 where not. What is not
    /// known is 0. Places among equal numbers, and the noise of numbers that say nothing, come from `rng`.
    pub fn encode(&self, schema: &TableSchema, rng: &mut impl Rng) -> (Vec<f32>, Vec<f32>) {
        let len = self.rows * schema.example_len();
        let (mut values, mut mask) = (Vec::with_capacity(len), Vec::with_capacity(len));
        for row in 0..self.rows {
            for &column in schema.numbers() {
                let uniform = super::quantiles::uniform(rng);
                let known = match self.cell(column, row) {
                    Some(Known::Number(number)) => {
                        Some(schema.encode_number(column, number, uniform))
                    }
                    _ => None,
                };
                values.push(known.unwrap_or(0.0));
                mask.push(f32::from(u8::from(known.is_some())));
            }
            for &(column, _) in schema.categories() {
                let known = match self.cell(column, row) {
                    Some(Known::Number(number)) => Some(schema.state_of(column, number)),
                    Some(Known::Category(place)) => Some(place),
                    _ => None,
                };
                values.push(known.unwrap_or(0) as f32);
                mask.push(f32::from(u8::from(known.is_some())));
            }
        }
        (values, mask)
    }

    /// Puts the known cells into rows that were drawn, so that they are what was asked for to the last digit: row i
    /// of them is row i mod [`rows`](Self::rows) of these.
    ///
    /// # Panics
    ///
    /// If the cells are not of the schema.
    pub fn restore(&self, schema: &TableSchema, cells: &mut Cells) {
        if self.rows == 0 {
            return;
        }
        for (column, described) in schema.columns().iter().enumerate() {
            if !(0..self.rows).any(|row| self.is_known(column, row)) {
                continue;
            }
            let known = |row: usize| self.cell(column, row % self.rows);
            cells.columns[column] = match &described.content {
                Content::Numbers(numbers) => {
                    let values = (0..cells.rows).map(|row| {
                        let number = match known(row) {
                            Some(Known::Number(number)) => number,
                            _ => cells.number(column, row),
                        };
                        number.unwrap_or(f64::NAN)
                    });
                    CellColumn::of_numbers(values.collect(), numbers.scale())
                }
                Content::Categories { .. } => {
                    let places = (0..cells.rows).map(|row| match known(row) {
                        Some(Known::Category(place)) => place as u32,
                        _ => cells.category(column, row).unwrap_or_default() as u32,
                    });
                    CellColumn::of_categories(places.collect(), described.num_categories())
                }
                _ => CellColumn::Nothing,
            };
        }
    }
}

impl TableSchema {
    /// Reads rows of which empty cells are unknown, from a file with the table's header or some of its columns. A gap
    /// is known where it is written as such, with NA for instance.
    ///
    /// # Errors
    ///
    /// See [`TableError`]; a value that no row can have is one.
    pub fn parse_partial(&self, bytes: &[u8]) -> Result<Partial, TableError> {
        let mut source = Source::in_memory(bytes)?;
        let has_header = self.dialect().header;
        let layout = Layout::of(&mut source, Some(has_header), None)?;
        let names: Vec<String> = self
            .columns()
            .iter()
            .map(|column| column.name.clone())
            .collect();
        let is_written = |column: &Column| !matches!(column.content, Content::LeftOut { .. });
        // The column of each field.
        let columns: Vec<usize> = if has_header {
            let place = |name: &String| {
                let found = names.iter().position(|known| known == name);
                found.ok_or_else(|| unknown_column(name, &names))
            };
            layout.names.iter().map(place).collect::<Result<_, _>>()?
        } else if layout.names.len() == names.len() {
            (0..names.len()).collect()
        } else {
            (0..names.len())
                .filter(|&index| is_written(&self.columns()[index]))
                .collect()
        };
        let mut cells = Vec::new();
        let mut rows = 0;
        let mut reader = layout.rows(&mut source)?;
        while let Some(record) = reader.read()? {
            if record.len() != columns.len() {
                return Err(TableError::Ragged {
                    line: record.line,
                    expected: columns.len(),
                    found: record.len(),
                });
            }
            let start = cells.len();
            cells.resize(start + names.len(), None);
            for (field, &column) in columns.iter().enumerate() {
                let (text, _) = record.field(field);
                if !text.is_empty() {
                    let known =
                        self.parse_cell(column, text)
                            .map_err(|source| TableError::Cell {
                                line: record.line,
                                column: field + 1,
                                name: shown(self.display_name(column).as_bytes()),
                                source,
                            })?;
                    cells[start + column] = Some(known);
                }
            }
            rows += 1;
        }
        if rows == 0 {
            return Err(if has_header {
                TableError::HeaderOnly { line: 1 }
            } else {
                TableError::Empty
            });
        }
        Ok(Partial {
            rows,
            cells,
            columns: names.len(),
        })
    }

    /// What a text is in a column.
    pub(crate) fn parse_cell(&self, column: usize, text: &str) -> Result<Known, CellError> {
        let described = &self.columns()[column];
        let found = || shown(text.as_bytes());
        let is_the_gap = described.gap.as_deref() == Some(text);
        match &described.content {
            Content::Numbers(numbers) => {
                if is_the_gap || is_gap_among_numbers(text) {
                    return if described.gap.is_some() {
                        Ok(Known::Number(None))
                    } else {
                        Err(CellError::NoGaps)
                    };
                }
                let [least, most] = numbers.range();
                // A number is understood without its marks, too.
                let plain = || match numbers.spelling {
                    Spelling::Number(_) => {
                        text.parse().ok().filter(|value: &f64| value.is_finite())
                    }
                    Spelling::Date(_) => None,
                };
                let value =
                    numbers
                        .parse(text)
                        .or_else(plain)
                        .ok_or_else(|| CellError::NotAValue {
                            expected: described.column_type(),
                            example: numbers.write(least),
                            found: found(),
                        })?;
                if !(least..=most).contains(&value) {
                    return Err(CellError::OutOfRange {
                        found: found(),
                        least: numbers.write(least),
                        most: numbers.write(most),
                    });
                }
                let nearest = numbers.nearest(value);
                if numbers.steps.is_some() && nearest != value && !numbers.spikes.contains(&value) {
                    return Err(CellError::BetweenValues {
                        found: found(),
                        nearest: numbers.write(nearest),
                    });
                }
                Ok(Known::Number(Some(value)))
            }
            Content::Categories { texts, .. } => {
                if let Some(place) = texts.iter().position(|known| known == text) {
                    return Ok(Known::Category(place));
                }
                if described.gap.is_some() && (is_the_gap || is_gap(text)) {
                    return Ok(Known::Category(texts.len()));
                }
                Err(CellError::UnknownCategory {
                    found: found(),
                    closest: closest(text, texts),
                    categories: list(texts),
                })
            }
            Content::Constant { text: value } if value != text => Err(CellError::Constant {
                value: shown(value.as_bytes()),
            }),
            _ => Ok(Known::Nothing),
        }
    }

    /// As [`parse_cell`](Self::parse_cell), of a column that must be learned.
    pub(crate) fn parse_learned(&self, column: usize, text: &str) -> Result<Known, CellError> {
        match self.columns()[column].content {
            Content::LeftOut {
                of: ColumnType::Text,
            } => Err(CellError::NotLearned("text")),
            Content::LeftOut { .. } => Err(CellError::NotLearned("identifiers")),
            Content::RowNumbers { .. } => Err(CellError::NotLearned("row numbers")),
            _ => self.parse_cell(column, text),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::tables::{TableOptions, parse_table};

    fn schema() -> TableSchema {
        let mut text = "id,age,gain,sex\n".to_owned();
        for i in 0..100 {
            let age = if i % 10 == 0 {
                "NA".to_owned()
            } else {
                (17 + i * 7 % 60).to_string()
            };
            let gain = if i % 2 == 0 { 0 } else { i * 11 };
            text += &format!("{},{age},{gain},{}\n", i + 1, ["Male", "Female"][i % 2]);
        }
        parse_table(text.as_bytes(), &TableOptions::default())
            .unwrap()
            .0
    }

    #[test]
    fn empty_cells_are_unknown_and_known_ones_stay() {
        let schema = schema();
        let partial = schema
            .parse_partial(b"sex,age,gain\nFemale,,0\n,33,\n,NA,121\n")
            .unwrap();
        assert_eq!(partial.rows(), 3);
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let (values, mask) = partial.encode(&schema, &mut rng);
        // age, gain, and the categories age is a gap, gain is 0, sex.
        assert_eq!(schema.example_len(), 5);
        assert_eq!(mask[..5], [0.0, 1.0, 0.0, 1.0, 1.0]);
        assert_eq!(mask[5..10], [1.0, 0.0, 1.0, 0.0, 0.0]);
        assert_eq!(mask[10..], [1.0, 1.0, 1.0, 1.0, 0.0]);
        assert_eq!((values[3], values[4]), (1.0, 0.0));
        assert_eq!((values[7], values[12], values[13]), (0.0, 1.0, 0.0));
        // Whatever was drawn, the known cells are what they were.
        let drawn = vec![0.3; 4 * 5];
        let mut cells = schema.decode(&drawn, &[]).unwrap();
        partial.restore(&schema, &mut cells);
        let row = |row| -> Vec<String> {
            (0..4)
                .map(|column| schema.text(&cells, column, row).unwrap().into_owned())
                .collect()
        };
        assert_eq!((&*row(0)[2], &*row(0)[3]), ("0", "Female"));
        assert_eq!(row(1)[1], "33");
        assert_eq!((&*row(2)[1], &*row(2)[2]), ("NA", "121"));
        assert_eq!(row(3)[3], "Female");
    }

    #[test]
    fn what_no_row_can_have_is_refused() {
        let schema = schema();
        for (text, expected) in [
            ("sex\nfemale\n", "did you mean \"Female\"?"),
            ("sex\nNA\n", "there is no category \"NA\""),
            ("age\n200\n", "200 is outside of what was seen: 18 to 76"),
            ("age\nold\n", "expected integer such as 18, found \"old\""),
            ("gain\nNA\n", "no row has a gap there"),
            (
                "gain\n12\n",
                "12 is no value of the column: the nearest is 11",
            ),
            ("ages\n3\n", "did you mean \"age\"?"),
            ("age,sex\n3\n", "line 2 has 1 columns"),
            ("age\n", "there are no rows"),
        ] {
            let error = schema.parse_partial(text.as_bytes()).unwrap_err();
            let mut message = error.to_string();
            if let Some(source) = std::error::Error::source(&error) {
                message += &format!(": {source}");
            }
            assert!(message.contains(expected), "{text:?}: {message}");
        }
    }
}
