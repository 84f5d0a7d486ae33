//! What the columns of a table are, and its rows as examples of a network.
//!
//! An example is the N numbers of a row, each normal (see [`quantiles`](super::quantiles)), and then its C categories,
//! as whole numbers from 0. A column of numbers with gaps, or with spikes (values that a large share of the rows
//! has), has a category, too: regular, gap, or one of the spikes. Where that is not "regular", the number says
//! nothing; it is filled with normal noise, so that its distribution stays normal and it depends on nothing. A
//! column that is the same in every row, one of row numbers, and one that is left out are no part of an example,
//! nor is the column of the class.

use std::borrow::Cow;

use rand::Rng;
use serde::{Deserialize, Serialize};

use super::cells::{CellColumn, Cells};
use super::column_type::ColumnType;
use super::dates::DateFormat;
use super::dialect::Dialect;
use super::numbers::NumberSpelling;
use super::quantiles::{Quantiles, normal, uniform};

/// How the values of a column of numbers are written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Spelling {
    /// As numbers.
    Number(NumberSpelling),
    /// As dates or times, whose number counts their smallest unit.
    Date(DateFormat),
}

/// The values that a column has: `origin` and whole steps from there, in units of a number's last place.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Steps {
    /// The least value, in units.
    pub origin: i64,
    /// The greatest common divisor of all distances, in units; at least 1.
    pub step: i64,
}

/// A column of numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Numbers {
    /// How they are written.
    pub spelling: Spelling,
    /// Which there can be, where their places are fixed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<Steps>,
    /// Values with a category of their own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spikes: Vec<f64>,
    /// The distribution of all others; `None` where there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantiles: Option<Quantiles>,
}

/// What is known of the cells of a column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
#[expect(clippy::large_enum_variant, reason = "there is one of it a column")]
pub enum Content {
    /// Numbers, dates or times.
    Numbers(Numbers),
    /// Categories.
    Categories {
        /// What they are taken for: a category, a boolean, or an integer or a decimal of few values.
        of: ColumnType,
        /// Their texts.
        texts: Vec<String>,
    },
    /// The same in every row.
    Constant {
        /// What stands there.
        text: String,
    },
    /// The number of the row.
    RowNumbers {
        /// The number of the first row.
        first: i64,
    },
    /// Not learned, and not written.
    LeftOut {
        /// Text or identifiers.
        of: ColumnType,
    },
}

/// A column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Column {
    /// Its name; empty where it has none.
    pub name: String,
    /// Whether its cells are quoted that need not be.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub quoted: bool,
    /// Whether gaps are.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub quoted_gap: bool,
    /// What stands where there is no value; `None` where there is always one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap: Option<String>,
    /// How many rows have each of its categories: of a column of numbers, each of the states beside them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub counts: Vec<u64>,
    /// What is known of its cells.
    pub content: Content,
}

/// All that is known of a table without its rows: to write rows as it has them, and to encode and decode examples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(try_from = "Saved", into = "Saved")]
pub struct TableSchema {
    dialect: Dialect,
    columns: Vec<Column>,
    class: Option<usize>,
    class_names: Vec<String>,
    channels: Channels,
}

/// What is saved of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct Saved {
    dialect: Dialect,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    class: Option<usize>,
    columns: Vec<Column>,
}

/// A schema that describes no table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the description of a table is damaged: {0}")]
pub struct DamagedSchema(&'static str);

/// Where the values of an example come from, and how many categories each of the latter has.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
struct Channels {
    /// Columns.
    numbers: Vec<usize>,
    /// Columns, and how many categories there are.
    categories: Vec<(usize, usize)>,
}

/// Examples that are no rows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The number of values is no multiple of those of an example.
    #[error("{found} values are no whole number of examples of {expected} values")]
    Length {
        /// The values of an example.
        expected: usize,
        /// How many there are.
        found: usize,
    },
    /// A value is NaN or infinite.
    #[error("value {channel} of row {row} is no number: the network has diverged")]
    NotFinite {
        /// The row, from 1.
        row: usize,
        /// The place in the example, from 1.
        channel: usize,
    },
    /// There is not one label for each row.
    #[error("{found} classes for {expected} rows")]
    Labels {
        /// The rows.
        expected: usize,
        /// The labels.
        found: usize,
    },
}

/// What a category beside a number says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum State {
    /// The number counts.
    Regular,
    /// There is a gap.
    Gap,
    /// It is this value.
    Spike(f64),
}

impl Numbers {
    /// The nearest value that the column can have.
    pub fn nearest(&self, value: f64) -> f64 {
        match (&self.steps, &self.spelling) {
            (Some(steps), _) => {
                let scale = self.scale().unwrap_or(1.0);
                let step = steps.step.max(1) as f64;
                let origin = steps.origin as f64;
                let units = ((value * scale - origin) / step).round() * step + origin;
                units / scale
            }
            (None, Spelling::Number(spelling)) => spelling.nearest(value),
            (None, Spelling::Date(_)) => value.round(),
        }
    }

    /// Units in 1, where places are fixed.
    pub(crate) fn scale(&self) -> Option<f64> {
        match &self.spelling {
            Spelling::Number(spelling) => spelling.scale(),
            Spelling::Date(_) => Some(1.0),
        }
    }

    /// The value that a text is.
    pub(crate) fn parse(&self, text: &str) -> Option<f64> {
        match &self.spelling {
            Spelling::Number(spelling) => spelling.format.parse(text).map(|parsed| parsed.value),
            Spelling::Date(format) => format.parse(text).map(|count| count as f64),
        }
    }

    /// The text of a value.
    pub fn write(&self, value: f64) -> String {
        match &self.spelling {
            Spelling::Number(spelling) => spelling.write(value),
            Spelling::Date(format) => format.write(value as i64),
        }
    }

    /// The least and the largest value.
    pub fn range(&self) -> [f64; 2] {
        let ends = self
            .quantiles
            .iter()
            .flat_map(|quantiles| [quantiles.least(), quantiles.largest()]);
        let all = || ends.clone().chain(self.spikes.iter().copied());
        [
            all().fold(f64::INFINITY, f64::min),
            all().fold(f64::NEG_INFINITY, f64::max),
        ]
    }

    /// The states of a column with gaps or without.
    fn states(&self, has_gaps: bool) -> impl Iterator<Item = State> {
        let regular = self.quantiles.iter().map(|_| State::Regular);
        let gap = has_gaps.then_some(State::Gap);
        regular
            .chain(gap)
            .chain(self.spikes.iter().map(|&spike| State::Spike(spike)))
    }
}

impl Column {
    /// The type of its cells.
    pub fn column_type(&self) -> ColumnType {
        match &self.content {
            Content::Numbers(Numbers { spelling, .. }) => match spelling {
                Spelling::Number(spelling) if spelling.is_whole() => ColumnType::Integer,
                Spelling::Number(_) => ColumnType::Decimal,
                Spelling::Date(_) => ColumnType::Date,
            },
            Content::Categories { of, .. } | Content::LeftOut { of } => *of,
            Content::Constant { .. } => ColumnType::Category,
            Content::RowNumbers { .. } => ColumnType::Identifier,
        }
    }

    /// What the category beside the numbers says, category by category; empty for a column without one.
    pub fn states(&self) -> Vec<State> {
        match &self.content {
            Content::Numbers(numbers) => numbers.states(self.gap.is_some()).collect(),
            _ => Vec::new(),
        }
    }

    /// How many categories it is encoded as; 1 or 0 need no value of an example.
    pub fn num_categories(&self) -> usize {
        match &self.content {
            Content::Numbers(numbers) => numbers.states(self.gap.is_some()).count(),
            Content::Categories { texts, .. } => texts.len() + usize::from(self.gap.is_some()),
            _ => 0,
        }
    }

    /// The place of a number among the states.
    pub fn state_of(&self, number: Option<f64>) -> usize {
        let Content::Numbers(numbers) = &self.content else {
            return 0;
        };
        let mut states = numbers.states(self.gap.is_some());
        let spike = number.filter(|number| numbers.spikes.contains(number));
        let place = states.position(|state| match (state, number, spike) {
            (State::Gap, None, _) => true,
            (State::Spike(known), _, Some(spike)) => known == spike,
            (State::Regular, Some(_), None) => true,
            _ => false,
        });
        place.unwrap_or(0)
    }

    /// The text of a category, or what stands in a gap.
    pub fn category_text(&self, place: usize) -> &str {
        let gap = self.gap.as_deref().unwrap_or_default();
        match &self.content {
            Content::Categories { texts, .. } => texts.get(place).map_or(gap, String::as_str),
            _ => gap,
        }
    }
}

impl TryFrom<Saved> for TableSchema {
    type Error = DamagedSchema;

    fn try_from(saved: Saved) -> Result<Self, DamagedSchema> {
        let Saved {
            dialect,
            class,
            columns,
        } = saved;
        if !dialect.separator.is_ascii() || matches!(dialect.separator, '"' | '\n' | '\r') {
            return Err(DamagedSchema("its separator is none"));
        }
        for column in &columns {
            let is_sound = match &column.content {
                Content::Numbers(numbers) => {
                    numbers.spikes.iter().all(|spike| spike.is_finite())
                        && numbers.states(column.gap.is_some()).count() > 0
                        && numbers.steps.is_none_or(|steps| steps.step > 0)
                }
                Content::Categories { .. } => column.num_categories() > 0,
                _ => true,
            };
            if !is_sound {
                return Err(DamagedSchema("a column has no values"));
            }
        }
        let is_class = |class: &usize| {
            columns
                .get(*class)
                .is_some_and(|column| matches!(column.content, Content::Categories { .. }))
        };
        if !class.iter().all(is_class) {
            return Err(DamagedSchema("its class is no column of categories"));
        }
        Ok(Self::new(dialect, columns, class))
    }
}

impl From<TableSchema> for Saved {
    fn from(schema: TableSchema) -> Self {
        Self {
            dialect: schema.dialect,
            class: schema.class,
            columns: schema.columns,
        }
    }
}

impl TableSchema {
    /// Of columns that have values each, the one of `class` one of categories.
    pub(crate) fn new(dialect: Dialect, columns: Vec<Column>, class: Option<usize>) -> Self {
        let mut channels = Channels::default();
        for (index, column) in columns
            .iter()
            .enumerate()
            .filter(|(index, _)| class != Some(*index))
        {
            if let Content::Numbers(Numbers {
                quantiles: Some(_), ..
            }) = &column.content
            {
                channels.numbers.push(index);
            }
            let count = column.num_categories();
            if count > 1 {
                channels.categories.push((index, count));
            }
        }
        let class_names = class.map_or_else(Vec::new, |class| {
            let column = &columns[class];
            (0..column.num_categories())
                .map(|place| column.category_text(place).to_owned())
                .collect()
        });
        Self {
            dialect,
            columns,
            class,
            class_names,
            channels,
        }
    }

    /// How the table is written.
    pub fn dialect(&self) -> &Dialect {
        &self.dialect
    }

    /// The columns, as they stand in the file.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The place of the column that is the class.
    pub fn class(&self) -> Option<usize> {
        self.class
    }

    /// The texts of the classes; empty where no column is the class.
    pub fn class_names(&self) -> &[String] {
        &self.class_names
    }

    /// What a column is called in messages.
    pub fn display_name(&self, column: usize) -> String {
        match self.columns[column].name.as_str() {
            "" => format!("column {}", column + 1),
            name => name.to_owned(),
        }
    }

    /// The columns of the numbers of an example, in order.
    pub fn numbers(&self) -> &[usize] {
        &self.channels.numbers
    }

    /// The columns of the categories of an example, in order, and how many categories each has, at least two.
    pub fn categories(&self) -> &[(usize, usize)] {
        &self.channels.categories
    }

    /// The values of an example: its numbers and its categories.
    pub fn example_len(&self) -> usize {
        self.channels.numbers.len() + self.channels.categories.len()
    }

    /// The place of a cell among the categories of its column.
    pub(crate) fn category_of(&self, cells: &Cells, column: usize, row: usize) -> usize {
        if let Some(place) = cells.category(column, row) {
            return place;
        }
        self.state_of(column, cells.number(column, row))
    }

    /// The place of a number's state.
    pub(crate) fn state_of(&self, column: usize, number: Option<f64>) -> usize {
        self.columns[column].state_of(number)
    }

    /// The examples of these `rows` of `cells`, one after the other: numbers, then categories. Places among equal
    /// numbers and the noise of numbers that say nothing come from `rng`.
    ///
    /// # Panics
    ///
    /// If there is no such row, or the cells are not of this schema.
    pub fn encode(&self, cells: &Cells, rows: &[usize], rng: &mut impl Rng) -> Vec<f32> {
        self.encode_with(cells, rows, |_, _| uniform(rng))
    }

    /// As [`encode`](Self::encode), with a uniform number of (0, 1) for each row and number.
    pub(crate) fn encode_with(
        &self,
        cells: &Cells,
        rows: &[usize],
        mut uniform: impl FnMut(usize, usize) -> f64,
    ) -> Vec<f32> {
        let mut values = Vec::with_capacity(rows.len() * self.example_len());
        for &row in rows {
            for (channel, &column) in self.channels.numbers.iter().enumerate() {
                let number = cells.number(column, row);
                values.push(self.encode_number(column, number, uniform(row, channel)));
            }
            for &(column, _) in &self.channels.categories {
                values.push(self.category_of(cells, column, row) as f32);
            }
        }
        values
    }

    /// z of a number; noise where the column's category says all.
    pub(crate) fn encode_number(&self, column: usize, number: Option<f64>, uniform: f64) -> f32 {
        let regular = match (&self.columns[column].content, number) {
            (Content::Numbers(numbers), Some(number)) if !numbers.spikes.contains(&number) => {
                numbers
                    .quantiles
                    .as_ref()
                    .map(|quantiles| quantiles.encode(number, uniform))
            }
            _ => None,
        };
        regular.unwrap_or_else(|| normal(uniform))
    }

    /// The rows of examples, one after the other. A category that is none, such as the mask of a chain, becomes the
    /// nearest one. `labels` are the classes of the rows, where a column is the class.
    ///
    /// # Errors
    ///
    /// See [`DecodeError`].
    pub fn decode(&self, examples: &[f32], labels: &[usize]) -> Result<Cells, DecodeError> {
        let len = self.example_len();
        if len == 0 || !examples.len().is_multiple_of(len) {
            return Err(DecodeError::Length {
                expected: len,
                found: examples.len(),
            });
        }
        let rows = examples.len() / len;
        if self.class.is_some() && labels.len() != rows {
            return Err(DecodeError::Labels {
                expected: rows,
                found: labels.len(),
            });
        }
        if let Some(place) = examples.iter().position(|value| !value.is_finite()) {
            return Err(DecodeError::NotFinite {
                row: place / len + 1,
                channel: place % len + 1,
            });
        }
        let column = |index: usize| {
            let column = &self.columns[index];
            let number = self.channels.numbers.iter().position(|&of| of == index);
            let category = self
                .channels
                .categories
                .iter()
                .position(|&(of, _)| of == index);
            let category = category.map(|place| self.channels.numbers.len() + place);
            let count = column.num_categories();
            let values = |channel: usize| examples.iter().skip(channel).step_by(len);
            let places = || -> Vec<u32> {
                let place =
                    |value: &f32| value.round().clamp(0.0, count.saturating_sub(1) as f32) as u32;
                match category {
                    _ if self.class == Some(index) => labels
                        .iter()
                        .map(|&label| label.min(count - 1) as u32)
                        .collect(),
                    Some(channel) => values(channel).map(place).collect(),
                    None => vec![0; rows],
                }
            };
            match &column.content {
                Content::Numbers(of) => {
                    let states = column.states();
                    let mut z = number.map(values);
                    let numbers = places().into_iter().map(|place| {
                        let z = z.as_mut().and_then(Iterator::next);
                        match (states[place as usize], z, &of.quantiles) {
                            (State::Spike(value), ..) => value,
                            (State::Regular, Some(&z), Some(quantiles)) => {
                                let value = of.nearest(quantiles.decode(z));
                                value.clamp(quantiles.least(), quantiles.largest())
                            }
                            _ => f64::NAN,
                        }
                    });
                    CellColumn::of_numbers(numbers.collect(), of.scale())
                }
                Content::Categories { .. } => CellColumn::of_categories(places(), count),
                _ => CellColumn::Nothing,
            }
        };
        Ok(Cells {
            rows,
            columns: (0..self.columns.len()).map(column).collect(),
        })
    }

    /// The text of a cell as the table writes it, without quotes; `None` in a column that is left out.
    ///
    /// # Panics
    ///
    /// If there is no such column or row, or the cells are not of this schema.
    pub fn text<'a>(&'a self, cells: &Cells, column: usize, row: usize) -> Option<Cow<'a, str>> {
        let described = &self.columns[column];
        Some(match &described.content {
            Content::Numbers(numbers) => match cells.number(column, row) {
                Some(value) => Cow::Owned(numbers.write(value)),
                None => Cow::Borrowed(described.gap.as_deref().unwrap_or_default()),
            },
            Content::Categories { .. } => Cow::Borrowed(
                described.category_text(cells.category(column, row).unwrap_or_default()),
            ),
            Content::Constant { text } => Cow::Borrowed(text.as_str()),
            Content::RowNumbers { first } => {
                Cow::Owned(first.saturating_add(row as i64).to_string())
            }
            Content::LeftOut { .. } => return None,
        })
    }

    /// The columns that are left out, and why, for a warning.
    pub fn left_out(&self) -> Vec<(String, ColumnType)> {
        let columns =
            (0..self.columns.len()).filter_map(|index| match self.columns[index].content {
                Content::LeftOut { of } => Some((self.display_name(index), of)),
                _ => None,
            });
        columns.collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::PathBuf;

    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::tables::{TableOptions, parse_table};

    fn penguins() -> Vec<u8> {
        let path =
            PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../data/penguins/penguins.csv");
        std::fs::read(path).unwrap()
    }

    /// Every cell that is written comes back from its example.
    fn round_trip(bytes: &[u8], options: &TableOptions) -> (TableSchema, Cells) {
        let (schema, cells) = parse_table(bytes, options).unwrap();
        let rows = Vec::from_iter(0..cells.rows());
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let examples = schema.encode(&cells, &rows, &mut rng);
        let labels: Vec<usize> = match schema.class() {
            Some(class) => rows
                .iter()
                .map(|&row| cells.category(class, row).unwrap())
                .collect(),
            None => Vec::new(),
        };
        let back = schema.decode(&examples, &labels).unwrap();
        assert_eq!(back.columns.len(), cells.columns.len());
        for column in 0..schema.columns().len() {
            for row in 0..cells.rows() {
                assert_eq!(
                    schema.text(&back, column, row),
                    schema.text(&cells, column, row),
                    "{} of row {row}",
                    schema.display_name(column)
                );
            }
        }
        // What is saved is all that is known.
        let saved = serde_json::to_string(&schema).unwrap();
        assert_eq!(serde_json::from_str::<TableSchema>(&saved).unwrap(), schema);
        (schema, cells)
    }

    #[test]
    fn penguins_come_back_to_the_byte() {
        let bytes = penguins();
        let (schema, cells) = round_trip(&bytes, &TableOptions::default());
        assert_eq!(cells.rows(), 344);
        let types: Vec<ColumnType> = schema.columns().iter().map(Column::column_type).collect();
        assert_eq!(
            types,
            [
                ColumnType::Category,
                ColumnType::Category,
                ColumnType::Decimal,
                ColumnType::Decimal,
                ColumnType::Integer,
                ColumnType::Integer,
                ColumnType::Category,
                ColumnType::Integer,
            ]
        );
        // Four numbers, of which each has gaps; species, island, sex with gaps, and three years.
        assert_eq!(schema.numbers(), [2, 3, 4, 5]);
        let categories = [
            (0, 3),
            (1, 3),
            (2, 2),
            (3, 2),
            (4, 2),
            (5, 2),
            (6, 3),
            (7, 3),
        ];
        assert_eq!(schema.categories(), categories);
        assert_eq!(schema.example_len(), 12);
        assert_eq!(schema.columns()[0].counts, [152, 68, 124]);
        assert_eq!(schema.columns()[2].counts, [342, 2]);
        assert_eq!(
            String::from_utf8(schema.write(&cells)),
            String::from_utf8(bytes)
        );
        let options = TableOptions {
            class: Some("species".to_owned()),
            ..TableOptions::default()
        };
        let (schema, _) = round_trip(&penguins(), &options);
        assert_eq!(schema.class_names(), ["Adelie", "Chinstrap", "Gentoo"]);
    }

    /// What a column of numbers becomes is normal; each value, and each gap, is drawn as often as it is seen.
    #[test]
    fn noise_becomes_rows_of_the_same_distribution() {
        let mut text = "x,y\n".to_owned();
        for i in 0..2000 {
            let x = if i % 5 == 0 {
                String::new()
            } else {
                (i * 7 % 40).to_string()
            };
            let y = if i % 2 == 0 {
                0.0
            } else {
                f64::from(i * 31 % 1999) / 100.0
            };
            text += &format!("{x},{y}\n");
        }
        let (schema, cells) = parse_table(text.as_bytes(), &TableOptions::default()).unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let rows = Vec::from_iter(0..2000);
        let examples = schema.encode(&cells, &rows, &mut rng);
        assert_eq!(schema.example_len(), 4);
        for channel in 0..2 {
            let z = examples
                .iter()
                .skip(channel)
                .step_by(4)
                .map(|&z| f64::from(z));
            let mean = z.clone().sum::<f64>() / 2000.0;
            let square = z.map(|z| z * z).sum::<f64>() / 2000.0;
            // Six standard errors.
            assert!(
                mean.abs() < 0.13 && (square - 1.0).abs() < 0.19,
                "{mean}, {square}"
            );
        }
        // Fresh noise with the states of the rows: the shares of all values of x.
        let noisy: Vec<f32> = examples
            .iter()
            .enumerate()
            .map(|(place, &value)| {
                if place % 4 < 2 {
                    normal(uniform(&mut rng))
                } else {
                    value
                }
            })
            .collect();
        let drawn = schema.decode(&noisy, &[]).unwrap();
        let mut counts = [[0.0f64; 40]; 2];
        for (cells, counts) in [&cells, &drawn].into_iter().zip(&mut counts) {
            for x in (0..2000).filter_map(|row| cells.number(0, row)) {
                counts[x as usize] += 1.0;
            }
        }
        let chi_square: f64 = (0..40)
            .filter(|&value| counts[0][value] > 0.0)
            .map(|value| (counts[0][value] - counts[1][value]).powi(2) / counts[0][value])
            .sum();
        // 39 degrees of freedom: the 0.999 quantile is 72.
        assert!(chi_square < 72.0, "{chi_square}");
        let gaps = |cells: &Cells| {
            (0..2000)
                .filter(|&row| cells.number(0, row).is_none())
                .count()
        };
        assert_eq!(gaps(&drawn), gaps(&cells));
    }

    #[test]
    fn examples_that_are_none_are_refused() {
        let (schema, _) = parse_table(&penguins(), &TableOptions::default()).unwrap();
        assert!(matches!(
            schema.decode(&[0.0; 13], &[]),
            Err(DecodeError::Length {
                expected: 12,
                found: 13
            })
        ));
        let mut values = [0.0; 24];
        values[15] = f32::NAN;
        assert_eq!(
            schema.decode(&values, &[]),
            Err(DecodeError::NotFinite { row: 2, channel: 4 })
        );
        // The mask of a chain, and worse.
        values[15] = 1e30;
        values[16] = 3.0;
        values[17] = -9.0;
        let cells = schema.decode(&values, &[]).unwrap();
        assert_eq!(schema.category_of(&cells, 0, 1), 2);
        assert_eq!(schema.category_of(&cells, 1, 1), 0);
        for damaged in [
            r#"{"dialect":{"charset":"utf8","separator":"\"","header":true,"quoted_names":false,"crlf":false},"columns":[]}"#,
            r#"{"dialect":{"charset":"utf8","separator":",","header":true,"quoted_names":false,"crlf":false},"class":0,"columns":[]}"#,
            r#"{"dialect":{"charset":"utf8","separator":",","header":true,"quoted_names":false,"crlf":false},"columns":
               [{"name":"x","content":{"categories":{"of":"category","texts":[]}}}]}"#,
        ] {
            assert!(
                serde_json::from_str::<TableSchema>(damaged).is_err(),
                "{damaged}"
            );
        }
    }

    /// Adult itself, where `ADULT_DIR` says it lies: it is not part of the repository.
    #[test]
    fn adult_comes_back_to_the_byte() {
        let Some(dir) = std::env::var_os("ADULT_DIR") else {
            return;
        };
        let bytes = std::fs::read(PathBuf::from(dir).join("adult.csv")).unwrap();
        let (schema, cells) = round_trip(&bytes, &TableOptions::default());
        assert_eq!((cells.rows(), schema.columns().len()), (30_162, 15));
        assert!(schema.write(&cells) == bytes);
    }

    /// Any tables, where `TABLES_DIR` says they lie: what they are taken for, and whether they come back.
    #[test]
    fn tables_of_a_folder_come_back() {
        let Some(dir) = std::env::var_os("TABLES_DIR") else {
            return;
        };
        let mut paths: Vec<PathBuf> = std::fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        paths.sort();
        for path in paths
            .iter()
            .filter(|path| path.extension().is_some_and(|end| end == "csv"))
        {
            let bytes = std::fs::read(path).unwrap();
            let name = path.file_name().unwrap().display();
            if let Err(error) = parse_table(&bytes, &TableOptions::default()) {
                println!("{name}: refused: {error}");
                continue;
            }
            let (schema, cells) = round_trip(&bytes, &TableOptions::default());
            let kinds = schema.columns().iter().map(|column| match column.content {
                Content::Numbers(_) => column.column_type().to_string(),
                Content::Categories { of, ref texts } => format!("{of}:{}", texts.len()),
                Content::Constant { .. } => "constant".to_owned(),
                Content::RowNumbers { .. } => "row".to_owned(),
                Content::LeftOut { of } => format!("({of})"),
            });
            let kinds: Vec<String> = kinds.collect();
            println!("{name}: {} rows: {}", cells.rows(), kinds.join(" "));
            let written = schema.write(&cells);
            if schema.left_out().is_empty() && written != bytes {
                let (written, bytes) = (
                    String::from_utf8_lossy(&written),
                    String::from_utf8_lossy(&bytes),
                );
                let differs = bytes.lines().zip(written.lines()).find(|(a, b)| a != b);
                println!("{name}: written otherwise: {differs:?}");
            }
        }
    }

    /// A table of numbers, gaps and words with any separator and line end.
    fn any_table() -> impl Strategy<Value = String> {
        let cell = |column: usize| match column {
            0 => prop_oneof![
                "-?[1-9][0-9]{0,6}",
                Just(String::new()),
                Just("0".to_owned())
            ]
            .boxed(),
            1 => prop_oneof!["-?[1-9][0-9]{0,3}\\.[0-9]{1,3}", Just("NA".to_owned())].boxed(),
            2 => "[ab\"; ]{1,2}".boxed(),
            _ => "20[0-9]{2}-0[1-9]-[12][0-9]".boxed(),
        };
        let row = (cell(0), cell(1), cell(2), cell(3));
        (
            prop::collection::vec(row, 5..60),
            prop::sample::select(vec![",", ";", "\t"]),
            any::<bool>(),
        )
            .prop_map(|(rows, separator, crlf)| {
                let end = if crlf { "\r\n" } else { "\n" };
                let mut text = ["whole", "real", "word", "day"].join(separator) + end;
                for (a, b, c, d) in rows {
                    let c = format!("\"{}\"", c.replace('"', "\"\""));
                    text += &([a, b, c, d].join(separator) + end);
                }
                text
            })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_table_comes_back(text in any_table()) {
            // All may be the same, or all different words.
            if parse_table(text.as_bytes(), &TableOptions::default()).is_ok() {
                let (schema, cells) = round_trip(text.as_bytes(), &TableOptions::default());
                // And what is written is read as the same table.
                let written = schema.write(&cells);
                let (again, cells_again) = parse_table(&written, &TableOptions::default()).unwrap();
                prop_assert_eq!(again.write(&cells_again), written);
            }
        }

        /// Whatever a network gives, its rows are read as rows of the table.
        #[test]
        fn any_example_is_a_row(values in prop::collection::vec(-50.0..50.0f32, 12 * 3), seed: u64) {
            let (schema, _) = parse_table(&penguins(), &TableOptions::default()).unwrap();
            let cells = schema.decode(&values, &[]).unwrap();
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let rows = [2, 0];
            let back = schema.decode(&schema.encode(&cells, &rows, &mut rng), &[]).unwrap();
            for column in 0..8 {
                for (place, row) in rows.into_iter().enumerate() {
                    prop_assert_eq!(schema.text(&back, column, place), schema.text(&cells, column, row));
                }
            }
            let written = schema.write(&cells);
            let partial = schema.parse_partial(&written).unwrap();
            prop_assert_eq!(partial.rows(), 3);
        }

        #[test]
        fn any_bytes_are_a_table_or_refused(bytes: Vec<u8>) {
            let _ = parse_table(&bytes, &TableOptions::default());
        }

        #[test]
        fn any_csv_is_a_table_or_refused(text in "[0-3a-c.,;\"\t\n\r NA?:-]{0,120}") {
            if let Ok((schema, cells)) = parse_table(text.as_bytes(), &TableOptions::default()) {
                let mut rng = ChaCha8Rng::seed_from_u64(3);
                let examples = schema.encode(&cells, &Vec::from_iter(0..cells.rows()), &mut rng);
                prop_assert!(examples.iter().all(|value| value.is_finite()));
                let _ = schema.write(&schema.decode(&examples, &[]).unwrap());
            }
        }
    }
}
