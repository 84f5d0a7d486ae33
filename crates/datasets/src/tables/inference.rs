//! Which type each column of a table has, found from all its cells, and the cells themselves.
//!
//! A column is, in this order,
//! - constant, if all its cells are the same;
//! - the number of the row, if it is the first column, or is called so, and counts from 0 or 1;
//! - dates, if one format reads every cell that is no gap;
//! - numbers, if one format does. Numbers of few values that come again and again (at most 20, each five times on
//!   average) are categories: their order is lost, and that nothing lies between them is kept. A column of whole numbers
//!   that are all different, and whose name says that it is a key, is one of identifiers;
//! - categories, where texts come again: unless nearly every row has another one, which are text or identifiers.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io::{Read, Seek};

use serde::{Deserialize, Serialize};

use super::cells::{CellColumn, Cells};
use super::column_type::ColumnType;
use super::dates::DateFormat;
use super::dialect::Layout;
use super::error::TableError;
use super::gaps::{is_gap, is_gap_among_numbers};
use super::numbers::{NumberFormat, NumberSpelling};
use super::quantiles::Quantiles;
use super::records::Record;
use super::schema::{Column, Content, Numbers, Spelling, Steps, TableSchema};
use super::similar::{closest, list};
use super::source::Source;
use crate::shown::shown;

/// The most categories of a column.
pub const MAX_CATEGORIES: usize = 20_000;
/// The most rows.
const MAX_ROWS: usize = 1 << 31;

/// Numbers of at most so many different values may be categories.
const FEW_VALUES: usize = 20;
/// How often each of them comes on average, at the least.
const TIMES_EACH: usize = 5;
/// The share of the rows that a value has to have to be a spike, and the least number of rows.
const SPIKE_SHARE: f64 = 0.1;
const SPIKE_ROWS: usize = 20;
/// The most spikes of a column.
const MAX_SPIKES: usize = 8;
/// The longest text that may be a category, on average.
const CATEGORY_LEN: usize = 64;

/// How a table is read, where that is not left to the program.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct TableOptions {
    /// Whether the first line names the columns.
    pub header: Option<bool>,
    /// What parts fields.
    pub separator: Option<char>,
    /// Types of columns by name.
    pub types: BTreeMap<String, ColumnType>,
    /// The name of the column that is the class.
    pub class: Option<String>,
    /// Names of the columns of a file without a header.
    pub names: Vec<String>,
}

/// What was seen of a column.
#[derive(Default)]
struct Survey {
    /// Cells that are gaps in any column, by their text.
    gaps: BTreeMap<String, usize>,
    /// Those of them that were quoted.
    quoted_gaps: usize,
    /// Cells that are gaps among numbers alone.
    soft_gaps: BTreeMap<String, usize>,
    /// Cells that are no gaps.
    filled: usize,
    /// Those of them that were quoted.
    quoted: usize,
    /// Their bytes.
    bytes: usize,
    /// How often each text is seen that is no gap, until there are too many.
    texts: HashMap<Box<str>, usize>,
    has_too_many: bool,
    /// The formats that have read every cell; `None` before the first.
    numbers: Option<Vec<NumberCandidate>>,
    dates: Option<Vec<DateFormat>>,
    /// The first number where the rows are counted, while they are.
    counted: Option<i64>,
}

/// A format that has read every number of a column.
struct NumberCandidate {
    format: NumberFormat,
    least_places: usize,
    most_places: usize,
    digits: usize,
    largest: f64,
    has_exponent: bool,
    has_thousands: bool,
    /// Whether a cell has a decimal mark.
    has_places: bool,
}

impl NumberCandidate {
    fn new(format: NumberFormat) -> Self {
        Self {
            format,
            least_places: usize::MAX,
            most_places: 0,
            digits: 0,
            largest: 0.0,
            has_exponent: false,
            has_thousands: false,
            has_places: false,
        }
    }

    fn take(&mut self, text: &str) -> bool {
        let Some(parsed) = self.format.parse(text) else {
            return false;
        };
        self.least_places = self.least_places.min(parsed.places);
        self.most_places = self.most_places.max(parsed.places);
        self.digits = self.digits.max(parsed.digits);
        self.largest = self.largest.max(parsed.value.abs());
        self.has_exponent |= parsed.has_exponent;
        self.has_thousands |= parsed.has_thousands;
        self.has_places |= parsed.places > 0;
        true
    }

    fn spelling(&self) -> NumberSpelling {
        let places = [self.least_places.min(self.most_places), self.most_places];
        NumberSpelling::of(
            self.format.clone(),
            places,
            self.digits,
            self.largest,
            self.has_exponent,
        )
    }
}

impl Survey {
    fn take(&mut self, row: usize, text: &str, is_quoted: bool, prefers_comma: bool) {
        if is_gap(text) {
            count(&mut self.gaps, text);
            self.quoted_gaps += usize::from(is_quoted);
            self.counted = None;
            return;
        }
        self.filled += 1;
        self.quoted += usize::from(is_quoted);
        self.bytes += text.len();
        self.take_row_number(row, text);
        let was_seen = self.note(text);
        if is_gap_among_numbers(text) {
            count(&mut self.soft_gaps, text);
            return;
        }
        if was_seen {
            return;
        }
        let numbers = self.numbers.get_or_insert_with(|| {
            let formats = NumberFormat::candidates(text, prefers_comma);
            formats.into_iter().map(NumberCandidate::new).collect()
        });
        numbers.retain_mut(|candidate| candidate.take(text));
        let dates = self
            .dates
            .get_or_insert_with(|| DateFormat::candidates(text));
        dates.retain(|format| format.parse(text).is_some());
    }

    /// Counts a text; whether it was seen before, as far as that is known.
    fn note(&mut self, text: &str) -> bool {
        if self.has_too_many {
            return false;
        }
        if let Some(seen) = self.texts.get_mut(text) {
            *seen += 1;
            return true;
        }
        if self.texts.len() < MAX_CATEGORIES {
            self.texts.insert(text.into(), 1);
        } else {
            self.has_too_many = true;
            // They say nothing any more, and take room.
            self.texts = HashMap::new();
        }
        false
    }

    fn take_row_number(&mut self, row: usize, text: &str) {
        if row == 0 {
            self.counted = match text {
                "0" => Some(0),
                "1" => Some(1),
                _ => None,
            };
        } else if let Some(first) = self.counted {
            let is_next = text.parse::<i64>() == Ok(first + row as i64) && !text.starts_with('+');
            self.counted = Some(first).filter(|_| is_next);
        }
    }

    /// The format of its numbers.
    fn number(&self) -> Option<&NumberCandidate> {
        let candidates = self.numbers.as_deref().unwrap_or_default();
        let first = candidates.first()?;
        // "1,234" may be thousands or places; marks of thousands that are all in place are no chance.
        if first.has_places && first.format.decimal == ',' && first.format.thousands.is_none() {
            return Some(first);
        }
        let has_marks = |candidate: &&NumberCandidate| candidate.has_thousands;
        candidates
            .iter()
            .find(has_marks)
            .filter(|_| !first.has_places)
            .or(Some(first))
            .filter(|_| self.filled > self.soft_gaps.values().sum::<usize>())
    }

    fn date(&self) -> Option<&DateFormat> {
        self.dates.as_deref().unwrap_or_default().first()
    }

    /// The number of different texts; `None` where they are too many.
    fn different(&self) -> Option<usize> {
        Some(self.texts.len()).filter(|_| !self.has_too_many)
    }

    /// The text of a gap that is found most; among numbers or elsewhere.
    fn gap(&self, is_number: bool) -> Option<String> {
        let soft = self.soft_gaps.iter().filter(|_| is_number);
        let most = self.gaps.iter().chain(soft).max_by_key(|(_, seen)| **seen);
        most.map(|(text, _)| text.clone())
    }
}

fn count(counts: &mut BTreeMap<String, usize>, text: &str) {
    match counts.get_mut(text) {
        Some(seen) => *seen += 1,
        None => {
            counts.insert(text.to_owned(), 1);
        }
    }
}

/// Reads a table.
///
/// # Errors
///
/// See [`TableError`].
pub fn parse_table(
    bytes: &[u8],
    options: &TableOptions,
) -> Result<(TableSchema, Cells), TableError> {
    let mut source = Source::in_memory(bytes)?;
    let mut surveyed = Surveyed::of(&mut source, options)?;
    let cells = surveyed.read(&mut source, u64::MAX)?;
    let rows = surveyed.rows;
    let columns = cells.into_iter().map(|(_, cells)| cells).collect();
    Ok((surveyed.finish()?, Cells { rows, columns }))
}

/// A table whose types are found, and whose cells are read by and by.
pub(crate) struct Surveyed {
    layout: Layout,
    rows: usize,
    class: Option<usize>,
    /// Of the columns that are not read yet.
    plans: VecDeque<Plan>,
    /// What is known of the others.
    columns: Vec<Column>,
}

impl Surveyed {
    /// Finds out what a table holds.
    pub(crate) fn of<R: Read + Seek>(
        source: &mut Source<R>,
        options: &TableOptions,
    ) -> Result<Self, TableError> {
        let mut layout = Layout::of(source, options.header, options.separator)?;
        if !layout.dialect.header && layout.names.len() == options.names.len() {
            layout.names.clone_from(&options.names);
        }
        let names = &layout.names;
        for name in options.types.keys().chain(&options.class) {
            if !names.contains(name) {
                return Err(unknown_column(name, names));
            }
        }
        let prefers_comma = layout.dialect.separator == ';';
        let mut surveys: Vec<Survey> = names.iter().map(|_| Survey::default()).collect();
        let mut rows = 0;
        let mut reader = layout.rows(source)?;
        while let Some(record) = reader.read()? {
            for (column, survey) in surveys.iter_mut().enumerate() {
                let (field, is_quoted) = record.field(column);
                survey.take(rows, field, is_quoted, prefers_comma);
            }
            rows += 1;
            if rows > MAX_ROWS {
                return Err(TableError::TooManyRows { most: MAX_ROWS });
            }
        }
        match (rows, layout.dialect.header) {
            (0, true) => return Err(TableError::HeaderOnly { line: 1 }),
            (0, false) => return Err(TableError::Empty),
            _ => {}
        }
        let mut plans = VecDeque::with_capacity(surveys.len());
        for (index, survey) in surveys.into_iter().enumerate() {
            let asked = options.types.get(&names[index]).copied();
            let is_class = options.class.as_ref() == Some(&names[index]);
            plans.push_back(Plan::of(
                survey,
                index,
                &names[index],
                rows,
                asked,
                is_class,
            )?);
        }
        let class = options.class.as_ref();
        let class = class.and_then(|class| names.iter().position(|name| name == class));
        Ok(Self {
            layout,
            rows,
            class,
            plans,
            columns: Vec::new(),
        })
    }

    /// The number of rows.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// The number of columns.
    pub(crate) fn num_columns(&self) -> usize {
        self.layout.names.len()
    }

    /// Whether the cells of all columns are read.
    pub(crate) fn is_read(&self) -> bool {
        self.plans.is_empty()
    }

    /// The place of the column that is the class.
    pub(crate) fn class(&self) -> Option<usize> {
        self.class
    }

    /// The most bytes that the cells take which are not read yet.
    pub(crate) fn bytes_left(&self) -> u64 {
        self.plans.iter().map(|plan| plan.bytes(self.rows)).sum()
    }

    /// Reads the text for the cells of the next columns that take at most `limit` bytes together, one column at the
    /// least.
    pub(crate) fn read<R: Read + Seek>(
        &mut self,
        source: &mut Source<R>,
        limit: u64,
    ) -> Result<Vec<(usize, CellColumn)>, TableError> {
        let mut bytes = 0;
        let fit = self.plans.iter().take_while(|plan| {
            bytes += plan.bytes(self.rows);
            bytes <= limit
        });
        let count = fit.count().max(1).min(self.plans.len());
        let first = self.columns.len();
        let mut plans: Vec<Plan> = self.plans.drain(..count).collect();
        let names = &self.layout.names[first..];
        if plans.iter().any(|plan| plan.bytes(self.rows) > 0) {
            for plan in &mut plans {
                plan.reserve(self.rows);
            }
            let mut reader = self.layout.rows(source)?;
            while let Some(record) = reader.read()? {
                for ((column, plan), name) in (first..).zip(&mut plans).zip(names) {
                    plan.take(record, column, name)?;
                }
            }
        }
        let mut cells = Vec::with_capacity(count);
        for ((place, plan), name) in (first..).zip(plans).zip(names) {
            let (column, of) = plan.finish(name, self.rows);
            self.columns.push(column);
            cells.push((place, of));
        }
        Ok(cells)
    }

    /// What is known of the table when all its columns are read.
    pub(crate) fn finish(self) -> Result<TableSchema, TableError> {
        let (names, columns) = (&self.layout.names, self.columns);
        if let Some(class) = self.class
            && !matches!(columns[class].content, Content::Categories { .. })
        {
            return Err(TableError::NoClass {
                name: shown(names[class].as_bytes()),
                why: "it is the same in every row, or left out",
            });
        }
        let schema = TableSchema::new(self.layout.dialect, columns, self.class);
        if schema.example_len() == 0 {
            return Err(TableError::NothingToLearn {
                columns: list(names),
            });
        }
        Ok(schema)
    }
}

pub(crate) fn unknown_column(name: &str, names: &[String]) -> TableError {
    TableError::UnknownColumn {
        name: shown(name.as_bytes()),
        closest: closest(name, names),
        columns: list(names),
    }
}

/// What becomes of a column, and its cells as far as they were read.
struct Plan {
    quoted: bool,
    quoted_gap: bool,
    gap: Option<String>,
    reading: Reading,
}

enum Reading {
    Numbers {
        spelling: Spelling,
        values: Vec<f64>,
        asked: Option<ColumnType>,
        /// Whether the name says that it is a key.
        is_key: bool,
    },
    Categories {
        of: ColumnType,
        texts: Vec<String>,
        places: HashMap<Box<str>, u32>,
        cells: Vec<u32>,
    },
    Nothing(Content),
}

impl Plan {
    fn of(
        survey: Survey,
        index: usize,
        name: &str,
        rows: usize,
        asked: Option<ColumnType>,
        is_class: bool,
    ) -> Result<Self, TableError> {
        let quoted = survey.filled > 0 && 2 * survey.quoted > survey.filled;
        let quoted_gap = 2 * survey.quoted_gaps > survey.gaps.values().sum::<usize>();
        let plan = |gap, reading| {
            Ok(Self {
                quoted,
                quoted_gap,
                gap,
                reading,
            })
        };
        let nothing = |content| plan(None, Reading::Nothing(content));
        if let Some(of @ (ColumnType::Text | ColumnType::Identifier)) = asked {
            return nothing(Content::LeftOut { of });
        }
        let is_key = is_name_of_keys(name);
        let is_first = index == 0;
        if asked.is_none()
            && !is_class
            && let Some(first) = survey.counted
            && rows > 2
            && (is_first || is_key)
        {
            return nothing(Content::RowNumbers { first });
        }
        let different = survey.different();
        let has_gaps = !survey.gaps.is_empty();
        let total = usize::from(has_gaps) + different.unwrap_or(2);
        if total <= 1 && !is_class {
            let text = survey.texts.keys().next().map(|text| text.to_string());
            let text = text.or_else(|| survey.gap(false)).unwrap_or_default();
            return nothing(Content::Constant { text });
        }
        let wants_category =
            is_class || matches!(asked, Some(ColumnType::Category | ColumnType::Boolean));
        let spelling = match asked {
            _ if wants_category => None,
            Some(ColumnType::Date) => survey.date().cloned().map(Spelling::Date),
            Some(ColumnType::Integer | ColumnType::Decimal) => {
                let number = survey.number().map(NumberCandidate::spelling);
                let fits = |spelling: &NumberSpelling| {
                    asked == Some(ColumnType::Decimal) || spelling.is_whole()
                };
                number.filter(fits).map(Spelling::Number)
            }
            _ => {
                let date = survey.date().cloned().map(Spelling::Date);
                date.or_else(|| {
                    survey
                        .number()
                        .map(|number| Spelling::Number(number.spelling()))
                })
            }
        };
        let is_asked_number = asked.is_some() && !wants_category;
        let soft: usize = survey.soft_gaps.values().sum();
        let numbers = survey.filled - soft;
        let is_few = different.is_some_and(|different| {
            let values = different - survey.soft_gaps.len();
            values <= FEW_VALUES && values * TIMES_EACH <= numbers
        });
        match spelling {
            Some(spelling) if is_asked_number || !is_few => plan(
                survey.gap(true),
                Reading::Numbers {
                    spelling,
                    values: Vec::new(),
                    asked,
                    is_key,
                },
            ),
            // The first cell that is none is found when they are read.
            None if is_asked_number => plan(
                survey.gap(true),
                Reading::Numbers {
                    spelling: Spelling::Number(NumberSpelling::of(
                        NumberFormat::default(),
                        [0, 0],
                        1,
                        0.0,
                        false,
                    )),
                    values: Vec::new(),
                    asked,
                    is_key,
                },
            ),
            spelling => Self::categories(survey, index, name, asked, is_class, spelling, quoted),
        }
    }

    fn categories(
        survey: Survey,
        index: usize,
        name: &str,
        asked: Option<ColumnType>,
        is_class: bool,
        spelling: Option<Spelling>,
        quoted: bool,
    ) -> Result<Self, TableError> {
        let filled = survey.filled;
        let left_out = |of| {
            let reading = Reading::Nothing(Content::LeftOut { of });
            Ok(Self {
                quoted,
                quoted_gap: false,
                gap: None,
                reading,
            })
        };
        let is_asked = asked.is_some() || is_class;
        let Some(different) = survey.different() else {
            if is_asked {
                return Err(TableError::TooManyCategories {
                    column: index + 1,
                    name: shown(name.as_bytes()),
                    found: MAX_CATEGORIES + 1,
                    most: MAX_CATEGORIES,
                });
            }
            return left_out(text_or_identifier(&survey));
        };
        let is_unique = different == filled && filled > 4;
        let is_scattered = different > FEW_VALUES && 2 * different > filled;
        let is_long = survey.bytes > CATEGORY_LEN * filled && different > FEW_VALUES;
        if !is_asked && (is_unique || is_scattered || is_long) {
            return left_out(text_or_identifier(&survey));
        }
        // A gap among numbers is a gap where they are categories, too.
        let gap = survey.gap(spelling.is_some());
        let is_soft = |text: &str| spelling.is_some() && survey.soft_gaps.contains_key(text);
        let mut texts: Vec<String> = survey
            .texts
            .keys()
            .filter(|text| !is_soft(text))
            .map(|text| text.to_string())
            .collect();
        texts.sort_unstable();
        let mut of = ColumnType::Category;
        if let Some(Spelling::Number(spelling)) = &spelling {
            let value = |text: &String| {
                spelling
                    .format
                    .parse(text)
                    .map_or(0.0, |parsed| parsed.value)
            };
            texts.sort_by(|a, b| value(a).total_cmp(&value(b)));
            of = if spelling.is_whole() {
                ColumnType::Integer
            } else {
                ColumnType::Decimal
            };
        } else if let Some(Spelling::Date(format)) = &spelling {
            texts.sort_by_key(|text| format.parse(text));
            of = ColumnType::Date;
        } else if is_boolean(&texts) {
            of = ColumnType::Boolean;
        }
        if let Some(asked) = asked {
            of = asked;
        }
        if asked == Some(ColumnType::Boolean) && texts.len() > 2 {
            return Err(TableError::TooManyCategories {
                column: index + 1,
                name: shown(name.as_bytes()),
                found: texts.len(),
                most: 2,
            });
        }
        let mut places: HashMap<Box<str>, u32> = texts
            .iter()
            .zip(0..)
            .map(|(text, place)| (text.as_str().into(), place))
            .collect();
        // All gaps are one category, the last.
        for soft in survey.soft_gaps.keys().filter(|text| is_soft(text)) {
            places.insert(soft.as_str().into(), texts.len() as u32);
        }
        let quoted_gap = 2 * survey.quoted_gaps > survey.gaps.values().sum::<usize>();
        Ok(Self {
            quoted,
            quoted_gap,
            gap,
            reading: Reading::Categories {
                of,
                texts,
                places,
                cells: Vec::new(),
            },
        })
    }

    /// The most bytes that the cells of so many rows take while they are read.
    fn bytes(&self, rows: usize) -> u64 {
        let of_each = match self.reading {
            Reading::Numbers { .. } => size_of::<f64>(),
            Reading::Categories { .. } => size_of::<u32>(),
            Reading::Nothing(_) => 0,
        };
        (rows as u64).saturating_mul(of_each as u64)
    }

    /// Makes room for the cells of so many rows.
    fn reserve(&mut self, rows: usize) {
        match &mut self.reading {
            Reading::Numbers { values, .. } => values.reserve_exact(rows),
            Reading::Categories { cells, .. } => cells.reserve_exact(rows),
            Reading::Nothing(_) => {}
        }
    }

    /// Reads the cell of the next row.
    fn take(&mut self, record: &Record, column: usize, name: &str) -> Result<(), TableError> {
        let (text, _) = record.field(column);
        match &mut self.reading {
            Reading::Numbers {
                spelling,
                values,
                asked,
                ..
            } => {
                let value = match spelling {
                    _ if is_gap_among_numbers(text) => Some(f64::NAN),
                    Spelling::Number(spelling) => {
                        spelling.format.parse(text).map(|parsed| parsed.value)
                    }
                    Spelling::Date(format) => format.parse(text).map(|count| count as f64),
                };
                let is_date = matches!(spelling, Spelling::Date(_));
                let is_wrong = match asked {
                    Some(ColumnType::Date) => !is_date,
                    Some(ColumnType::Integer) => {
                        value.is_some_and(|value| value.fract() != 0.0 && !value.is_nan())
                    }
                    _ => false,
                };
                match value.filter(|value| !is_wrong || value.is_nan()) {
                    Some(value) => values.push(value),
                    None => {
                        return Err(TableError::WrongType {
                            line: record.line,
                            column: column + 1,
                            name: shown(name.as_bytes()),
                            expected: asked.unwrap_or(ColumnType::Decimal),
                            field: shown(text.as_bytes()),
                        });
                    }
                }
            }
            Reading::Categories {
                places,
                texts,
                cells,
                ..
            } => {
                let gap = texts.len() as u32;
                cells.push(places.get(text).copied().unwrap_or(gap));
            }
            Reading::Nothing(_) => {}
        }
        Ok(())
    }

    fn finish(self, name: &str, rows: usize) -> (Column, CellColumn) {
        let Self {
            quoted,
            quoted_gap,
            gap,
            reading,
        } = self;
        let mut cells = CellColumn::Nothing;
        let content = match reading {
            Reading::Numbers {
                spelling,
                values,
                asked,
                is_key,
            } => {
                let (content, of) = of_numbers(spelling, values, asked.is_none() && is_key);
                cells = of;
                content
            }
            Reading::Categories {
                of,
                texts,
                cells: places,
                ..
            } => {
                let count = texts.len() + usize::from(gap.is_some());
                cells = CellColumn::of_categories(places, count);
                Content::Categories { of, texts }
            }
            Reading::Nothing(content) => content,
        };
        let gap = gap.filter(|_| !matches!(content, Content::LeftOut { .. }));
        let mut column = Column {
            name: name.to_owned(),
            quoted,
            quoted_gap,
            gap,
            counts: Vec::new(),
            content,
        };
        column.counts = counts(&column, &cells, rows);
        (column, cells)
    }
}

/// How many rows have each category of a column.
fn counts(column: &Column, cells: &CellColumn, rows: usize) -> Vec<u64> {
    let mut counts = vec![0; column.num_categories()];
    for row in 0..rows {
        let place = cells
            .category(row)
            .unwrap_or_else(|| column.state_of(cells.number(row)));
        if let Some(count) = counts.get_mut(place) {
            *count += 1;
        }
    }
    counts
}

/// Numbers of a column, NaN for gaps, as what is learned of them.
fn of_numbers(spelling: Spelling, values: Vec<f64>, may_be_keys: bool) -> (Content, CellColumn) {
    let mut sorted: Vec<f64> = values
        .iter()
        .copied()
        .filter(|value| !value.is_nan())
        .collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let scale = match &spelling {
        Spelling::Number(spelling) => spelling.scale(),
        Spelling::Date(_) => Some(1.0),
    };
    let is_whole = scale == Some(1.0) && matches!(spelling, Spelling::Number(_));
    let is_unique = sorted.windows(2).all(|pair| pair[0] < pair[1]);
    if may_be_keys && is_whole && is_unique && sorted.len() > 4 {
        return (
            Content::LeftOut {
                of: ColumnType::Identifier,
            },
            CellColumn::Nothing,
        );
    }
    let steps = scale.and_then(|scale| steps(&sorted, scale));
    let least = (sorted.len() as f64 * SPIKE_SHARE).max(SPIKE_ROWS as f64);
    let mut groups: Vec<&[f64]> = sorted
        .chunk_by(|a, b| a == b)
        .filter(|group| group.len() as f64 >= least)
        .collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.len()));
    let mut spikes: Vec<f64> = groups
        .iter()
        .take(MAX_SPIKES)
        .map(|group| group[0])
        .collect();
    spikes.sort_unstable_by(f64::total_cmp);
    sorted.retain(|value| !spikes.contains(value));
    let quantiles = Quantiles::of(&mut sorted);
    let numbers = Numbers {
        spelling,
        steps,
        spikes,
        quantiles,
    };
    (
        Content::Numbers(numbers),
        CellColumn::of_numbers(values, scale),
    )
}

/// The steps between sorted numbers in units of 1 / `scale`.
fn steps(sorted: &[f64], scale: f64) -> Option<Steps> {
    let units = |value: &f64| (value * scale).round() as i64;
    let origin = units(sorted.first()?);
    let mut step = 0;
    for value in sorted {
        step = common_divisor(step, units(value) - origin);
        if step == 1 {
            break;
        }
    }
    Some(Steps {
        origin,
        step: step.max(1),
    })
}

fn common_divisor(a: i64, b: i64) -> i64 {
    let (mut a, mut b) = (a, b);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a.abs()
}

/// What a column of texts is that are nearly all different.
fn text_or_identifier(survey: &Survey) -> ColumnType {
    let is_short = survey.bytes <= 40 * survey.filled;
    let has_spaces = survey.texts.keys().take(100).any(|text| text.contains(' '));
    let is_unique = survey
        .different()
        .is_none_or(|different| different == survey.filled);
    if is_short && is_unique && !has_spaces {
        ColumnType::Identifier
    } else {
        ColumnType::Text
    }
}

/// Whether a name is one of keys: `id`, `customer_id`, `customerId`, `index`.
fn is_name_of_keys(name: &str) -> bool {
    let lower = name.to_lowercase();
    let is_whole = [
        "",
        "id",
        "#",
        "key",
        "index",
        "rownames",
        "row",
        "rownum",
        "uuid",
        "guid",
        "unnamed: 0",
        "no",
        "no.",
    ]
    .contains(&lower.as_str());
    let ends = ["_id", " id", "-id", ".id", "_key", "_no", "_nr"]
        .iter()
        .any(|end| lower.ends_with(end));
    let is_camel = ["Id", "ID"].iter().any(|end| {
        name.strip_suffix(end)
            .is_some_and(|before| before.ends_with(|c: char| c.is_lowercase()))
    });
    is_whole || ends || is_camel
}

/// Whether two texts are yes and no.
fn is_boolean(texts: &[String]) -> bool {
    const PAIRS: [[&str; 2]; 5] = [
        ["false", "true"],
        ["no", "yes"],
        ["f", "t"],
        ["n", "y"],
        ["off", "on"],
    ];
    let lower: Vec<String> = texts.iter().map(|text| text.to_lowercase()).collect();
    PAIRS.iter().any(|pair| lower == pair.as_slice())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// A table of `rows` rows of what `row` gives for each.
    fn table(header: &str, rows: usize, row: impl Fn(usize) -> String) -> String {
        (0..rows).fold(format!("{header}\n"), |text, index| {
            text + &row(index) + "\n"
        })
    }

    fn parse(text: &str) -> (TableSchema, Cells) {
        parse_table(text.as_bytes(), &TableOptions::default()).unwrap()
    }

    fn with(text: &str, types: &[(&str, ColumnType)]) -> Result<(TableSchema, Cells), TableError> {
        let types = types
            .iter()
            .map(|(name, of)| ((*name).to_owned(), *of))
            .collect();
        parse_table(
            text.as_bytes(),
            &TableOptions {
                types,
                ..TableOptions::default()
            },
        )
    }

    #[test]
    fn types_are_found() {
        let text = table(
            "row,age,price,when,kind,smokes,stars,note,same,key,user_id",
            60,
            |i| {
                let smokes = ["yes", "no"][i % 2];
                format!(
                    "{},{},{}.{:02},2020-{:02}-{:02},{},{smokes},{},written by hand {i},x,k{i},{}",
                    i + 1,
                    20 + i * 7 % 60,
                    i * 13 % 50,
                    i,
                    i % 12 + 1,
                    i % 28 + 1,
                    ["a", "b", "c"][i % 3],
                    i % 5,
                    1000 + i * i
                )
            },
        );
        let (schema, cells) = parse(&text);
        let found: Vec<String> = schema
            .columns()
            .iter()
            .map(|column| match &column.content {
                Content::Numbers(_) => format!("number {}", column.column_type()),
                Content::Categories { of, texts } => format!("{} {of}", texts.len()),
                Content::Constant { text } => format!("constant {text}"),
                Content::RowNumbers { first } => format!("rows from {first}"),
                Content::LeftOut { of } => format!("left out: {of}"),
            })
            .collect();
        assert_eq!(
            found,
            [
                "rows from 1",
                "number integer",
                "number decimal",
                "number date",
                "3 category",
                "2 boolean",
                "5 integer",
                "left out: text",
                "constant x",
                "left out: identifier",
                "left out: identifier",
            ]
        );
        assert_eq!(cells.rows(), 60);
        assert_eq!(schema.numbers(), [1, 2, 3]);
        assert_eq!(schema.categories(), [(4, 3), (5, 2), (6, 5)]);
        assert_eq!(schema.left_out().len(), 3);
        assert_eq!(cells.number(2, 1), Some(13.01));
        assert_eq!(cells.category(4, 5), Some(2));
    }

    #[test]
    fn types_can_be_said() {
        let text = table("stars,code,word", 60, |i| {
            format!("{},{},{}", i % 5, 100 + i, ["yes", "no", "so"][i % 3])
        });
        let (schema, _) = with(
            &text,
            &[
                ("stars", ColumnType::Decimal),
                ("code", ColumnType::Category),
            ],
        )
        .unwrap();
        assert_eq!(schema.numbers(), [0]);
        assert_eq!(schema.categories(), [(1, 60), (2, 3)]);
        let (schema, _) = with(&text, &[("stars", ColumnType::Text)]).unwrap();
        assert_eq!(schema.left_out(), [("stars".to_owned(), ColumnType::Text)]);
        let error = |types: &[(&str, ColumnType)]| with(&text, types).unwrap_err().to_string();
        assert_eq!(
            error(&[("word", ColumnType::Integer)]),
            "line 2, column 3 (word): expected an integer, found \"yes\""
        );
        assert_eq!(
            error(&[("code", ColumnType::Date)]),
            "line 2, column 2 (code): expected a date in the format of the column, found \"100\""
        );
        assert_eq!(
            error(&[("word", ColumnType::Boolean)]),
            "column 3 (word) has 3 categories; at most 2 are learned"
        );
        let unknown = error(&[("wrod", ColumnType::Text)]);
        assert!(unknown.contains("did you mean \"word\"?"), "{unknown}");
        let half = table("x,y", 30, |i| format!("{}.5,{i}", i));
        let error = with(&half, &[("x", ColumnType::Integer)])
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "line 2, column 1 (x): expected an integer, found \"0.5\""
        );
    }

    #[test]
    fn gaps_are_gaps_however_they_are_written() {
        let text = table("x,kind", 90, |i| match i % 9 {
            0 => ",a".to_owned(),
            1 => "NA,?".to_owned(),
            2 => "NA,b".to_owned(),
            3 => "-,-".to_owned(),
            _ => format!("{}.{},a", i * 37 % 83, i % 10),
        });
        let (schema, cells) = parse(&text);
        assert_eq!(schema.columns()[0].gap.as_deref(), Some("NA"));
        assert_eq!(cells.number(0, 0), None);
        assert_eq!(cells.number(0, 3), None);
        // Among texts a dash is a text.
        assert_eq!(schema.columns()[1].gap.as_deref(), Some("?"));
        assert_eq!(schema.categories(), [(0, 2), (1, 4)]);
        let texts: Vec<&str> = (0..4)
            .map(|place| schema.columns()[1].category_text(place))
            .collect();
        assert_eq!(texts, ["-", "a", "b", "?"]);
    }

    #[test]
    fn spikes_have_a_category_and_the_rest_its_quantiles() {
        let text = table("gain", 400, |i| {
            if i % 4 == 0 {
                (i * 7 + 3).to_string()
            } else {
                "0".to_owned()
            }
        });
        let (schema, cells) = parse(&text);
        let Content::Numbers(numbers) = &schema.columns()[0].content else {
            panic!("{:?}", schema.columns())
        };
        assert_eq!(numbers.spikes, [0.0]);
        assert_eq!(numbers.quantiles.as_ref().unwrap().values().len(), 100);
        // 0, and 3 + 28 k.
        assert_eq!(numbers.steps, Some(Steps { origin: 0, step: 1 }));
        assert_eq!(schema.categories(), [(0, 2)]);
        assert_eq!(
            (
                schema.category_of(&cells, 0, 0),
                schema.category_of(&cells, 0, 1)
            ),
            (0, 1)
        );
        let (schema, _) = parse(&table("salary", 50, |i| (20_000 + i * i * 500).to_string()));
        let Content::Numbers(numbers) = &schema.columns()[0].content else {
            panic!("{:?}", schema.columns())
        };
        assert_eq!(
            numbers.steps,
            Some(Steps {
                origin: 20_000,
                step: 500
            })
        );
        assert_eq!(numbers.nearest(20_740.0), 20_500.0);
    }

    #[test]
    fn decimal_commas_and_thousands_are_told_apart() {
        let semicolons = table("a;b", 40, |i| format!("{},{:03};x{}", i, i * 7, i % 2));
        let (schema, cells) = parse(&semicolons);
        assert_eq!(cells.number(0, 1), Some(1.007));
        assert_eq!(schema.text(&cells, 0, 1).unwrap(), "1,007");
        let thousands = table("a,b", 40, |i| {
            format!("\"{},{:03}\",x{}", i + 1, i * 7, i % 2)
        });
        let (schema, cells) = parse(&thousands);
        assert_eq!(cells.number(0, 1), Some(2007.0));
        assert_eq!(schema.text(&cells, 0, 1).unwrap(), "2,007");
        let both = table("a;b", 40, |i| {
            format!("{}.{:03},5;x{}", i + 1, i * 7, i % 2)
        });
        let (schema, cells) = parse(&both);
        assert_eq!(cells.number(0, 1), Some(2007.5));
        assert_eq!(schema.text(&cells, 0, 1).unwrap(), "2.007,5");
    }

    #[test]
    fn a_class_is_no_part_of_an_example() {
        let text = table("x,kind", 40, |i| format!("{},{}", i * 3, ["a", "b"][i % 2]));
        let options = TableOptions {
            class: Some("kind".to_owned()),
            ..TableOptions::default()
        };
        let (schema, _) = parse_table(text.as_bytes(), &options).unwrap();
        assert_eq!(schema.class_names(), ["a", "b"]);
        assert_eq!(schema.example_len(), 1);
        let options = TableOptions {
            class: Some("king".to_owned()),
            ..TableOptions::default()
        };
        let error = parse_table(text.as_bytes(), &options)
            .unwrap_err()
            .to_string();
        assert!(error.contains("did you mean \"kind\"?"), "{error}");
    }

    #[test]
    fn what_is_no_table_is_refused() {
        let error = |text: &str| {
            parse_table(text.as_bytes(), &TableOptions::default())
                .unwrap_err()
                .to_string()
        };
        for (text, part) in [
            ("", "it is empty"),
            ("a,b\n", "line 1 names the columns"),
            ("a,b\n1,2\n1,2\n", "no column can be learned"),
            (
                "name\nAda\nBo\nCy\nDi\nEd\nFi\n",
                "no column can be learned",
            ),
            (
                "a,b\n1,2\n3\n",
                "line 3 has 1 columns; the first line has 2",
            ),
            ("a,b\n1,\"2\n", "line 2: a quote opens"),
            ("a,b\n1,\0\n", "line 2 has a byte of zero"),
        ] {
            let message = error(text);
            assert!(message.contains(part), "{text:?}: {message}");
        }
    }

    #[test]
    fn wide_columns_of_categories_are_read() {
        let text = table("code,x", 30_000, |i| format!("c{},{i}", i * 7919 % 10_000));
        let (schema, cells) = parse(&text);
        assert_eq!(schema.categories()[0], (0, 10_000));
        assert_eq!(
            schema.text(&cells, 0, 29_999).unwrap(),
            format!("c{}", 29_999 * 7919 % 10_000)
        );
        // Beyond the limit it is text, or an error where it was said to be a category.
        let text = table("code,x", 50_000, |i| format!("c{},{i}", i % 25_000));
        assert_eq!(parse(&text).0.left_out()[0].0, "code");
        assert!(matches!(
            with(&text, &[("code", ColumnType::Category)]),
            Err(TableError::TooManyCategories { .. })
        ));
    }
}
