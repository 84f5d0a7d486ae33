//! Conditions on the rows that are drawn: `education=Bachelors`, `age>=40`.

use std::cmp::Ordering;

use rand::Rng;

use super::cells::Cells;
use super::column_type::ColumnType;
use super::dates::DateFormat;
use super::error::CellError;
use super::numbers::NumberFormat;
use super::partial::{Known, Partial};
use super::quantiles::{normal, uniform};
use super::schema::{Column, Content, State, TableSchema};
use super::similar::{closest, list};
use crate::shown::shown;

/// How a cell is compared, the longer signs first.
const SIGNS: [(&str, Comparison); 6] = [
    (">=", Comparison::AtLeast),
    ("<=", Comparison::AtMost),
    ("!=", Comparison::Not),
    (">", Comparison::Above),
    ("<", Comparison::Below),
    ("=", Comparison::Is),
];

/// How a cell is compared with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// It is the value.
    Is,
    /// It is another one, or a gap.
    Not,
    /// It is larger.
    Above,
    /// It is larger or equal.
    AtLeast,
    /// It is smaller.
    Below,
    /// It is smaller or equal.
    AtMost,
}

/// A condition on a column.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    column: usize,
    comparison: Comparison,
    test: Test,
}

#[derive(Clone, Debug, PartialEq)]
enum Test {
    /// A cell that is known.
    Cell(Known),
    /// A number.
    Number(f64),
    /// The categories that are meant.
    Among(Vec<bool>),
}

/// Conditions that all hold at once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Conditions(Vec<Condition>);

/// Why a text is no condition on a table.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ConditionError {
    /// It is written otherwise.
    #[error(
        "\"{0}\" is no condition; expected a column, one of = != < <= > >=, and a value, such as {1}"
    )]
    Malformed(String, String),
    /// There is no column of that name.
    #[error("there is no column \"{name}\"{}; there are: {columns}", did_you_mean(closest.as_deref()))]
    UnknownColumn {
        /// The name, shortened.
        name: String,
        /// The name that is most like it.
        closest: Option<String>,
        /// The names that there are.
        columns: String,
    },
    /// The value is none of the column.
    #[error("{column}")]
    Value {
        /// The column.
        column: String,
        /// What is wrong with it.
        source: CellError,
    },
    /// The column has no order.
    #[error("{column} has no order, so it can only be compared with = and !=")]
    NoOrder {
        /// The column.
        column: String,
    },
    /// No row can be so.
    #[error("no row can be so: {condition} (there is {range})")]
    Impossible {
        /// The condition, shortened.
        condition: String,
        /// What there is.
        range: String,
    },
    /// Conditions on one column that no value fits.
    #[error("no value of {column} fits all conditions on it")]
    Contradiction {
        /// The column.
        column: String,
    },
    /// Two conditions say what one column is.
    #[error("two conditions say what {column} is")]
    Twice {
        /// The column.
        column: String,
    },
}

fn did_you_mean(closest: Option<&str>) -> String {
    closest.map_or(String::new(), |closest| {
        format!(", did you mean \"{closest}\"?")
    })
}

impl Condition {
    /// The place of its column.
    pub fn column(&self) -> usize {
        self.column
    }

    /// How the cell is compared.
    pub fn comparison(&self) -> Comparison {
        self.comparison
    }

    /// Reads a condition.
    ///
    /// # Errors
    ///
    /// See [`ConditionError`].
    pub fn parse(text: &str, schema: &TableSchema) -> Result<Self, ConditionError> {
        let names: Vec<String> = (0..schema.columns().len())
            .map(|column| schema.display_name(column))
            .collect();
        // A name may have signs in it: the longest that fits.
        let fitting = names.iter().enumerate().filter_map(|(column, name)| {
            let rest = text.trim_start().strip_prefix(name.as_str())?.trim_start();
            let (sign, comparison) = SIGNS.iter().find(|(sign, _)| rest.starts_with(sign))?;
            Some((column, *comparison, rest[sign.len()..].trim()))
        });
        let longest = fitting.max_by_key(|(column, ..)| names[*column].len());
        let Some((column, comparison, value)) = longest else {
            let end = text.find(['=', '<', '>', '!']);
            let Some(name) = end
                .map(|end| text[..end].trim())
                .filter(|name| !name.is_empty())
            else {
                let example = format!("{}=…", names.first().map_or("column", String::as_str));
                return Err(ConditionError::Malformed(shown(text.as_bytes()), example));
            };
            return Err(ConditionError::UnknownColumn {
                name: shown(name.as_bytes()),
                closest: closest(name, &names),
                columns: list(&names),
            });
        };
        let value = value
            .strip_prefix('"')
            .and_then(|value| value.strip_suffix('"'))
            .unwrap_or(value);
        let name = || shown(names[column].as_bytes());
        let wrong = |source| ConditionError::Value {
            column: name(),
            source,
        };
        if matches!(comparison, Comparison::Is | Comparison::Not) {
            let known = schema.parse_learned(column, value).map_err(wrong)?;
            return Ok(Self {
                column,
                comparison,
                test: Test::Cell(known),
            });
        }
        // That it is learned.
        let described = &schema.columns()[column];
        match &described.content {
            Content::LeftOut { .. } | Content::RowNumbers { .. } => {
                return Err(wrong(match schema.parse_learned(column, value) {
                    Err(source) => source,
                    Ok(_) => CellError::NotLearned("nothing"),
                }));
            }
            Content::Constant { text } => {
                return Err(wrong(CellError::Constant {
                    value: text.clone(),
                }));
            }
            _ => {}
        }
        let impossible = |range: [String; 2]| ConditionError::Impossible {
            condition: shown(text.as_bytes()),
            range: range.join(" to "),
        };
        match &described.content {
            Content::Numbers(numbers) => {
                let range = numbers.range();
                let plain = || value.parse().ok().filter(|value: &f64| value.is_finite());
                let limit = numbers
                    .parse(value)
                    .or_else(|| plain().filter(|_| described.column_type() != ColumnType::Date));
                let limit = limit.ok_or_else(|| {
                    wrong(CellError::NotAValue {
                        expected: described.column_type(),
                        example: numbers.write(range[0]),
                        found: shown(value.as_bytes()),
                    })
                })?;
                if !range.iter().any(|end| comparison.holds(*end, limit)) {
                    return Err(impossible(range.map(|end| numbers.write(end))));
                }
                Ok(Self {
                    column,
                    comparison,
                    test: Test::Number(limit),
                })
            }
            Content::Categories { texts, .. } => {
                let (values, parse) =
                    ordered(texts).ok_or_else(|| ConditionError::NoOrder { column: name() })?;
                let limit = parse.of(value).ok_or_else(|| {
                    wrong(CellError::NotAValue {
                        expected: described.column_type(),
                        example: texts.first().cloned().unwrap_or_default(),
                        found: shown(value.as_bytes()),
                    })
                })?;
                let mut among: Vec<bool> = values
                    .iter()
                    .map(|value| comparison.holds(*value, limit))
                    .collect();
                if !among.contains(&true) {
                    let end = |text: Option<&String>| text.cloned().unwrap_or_default();
                    return Err(impossible([end(texts.first()), end(texts.last())]));
                }
                among.resize(described.num_categories(), false);
                Ok(Self {
                    column,
                    comparison,
                    test: Test::Among(among),
                })
            }
            _ => Err(ConditionError::NoOrder { column: name() }),
        }
    }

    /// Whether it holds in a row.
    fn holds(&self, cells: &Cells, row: usize) -> bool {
        self.allows(match cells.category(self.column, row) {
            Some(place) => Known::Category(place),
            None => Known::Number(cells.number(self.column, row)),
        })
    }

    /// Whether it holds where its cell is this.
    fn allows(&self, cell: Known) -> bool {
        match (&self.test, cell) {
            (Test::Cell(Known::Nothing), _) => self.comparison == Comparison::Is,
            (Test::Cell(known), cell) => (*known == cell) == (self.comparison == Comparison::Is),
            (Test::Number(limit), Known::Number(Some(number))) => {
                self.comparison.holds(number, *limit)
            }
            (Test::Among(among), Known::Category(place)) => {
                among.get(place).copied().unwrap_or(false)
            }
            _ => false,
        }
    }
}

impl Comparison {
    /// Whether a number compares so with a limit.
    fn holds(self, number: f64, limit: f64) -> bool {
        let Some(ordering) = number.partial_cmp(&limit) else {
            return false;
        };
        match self {
            Self::Is => ordering == Ordering::Equal,
            Self::Not => ordering != Ordering::Equal,
            Self::Above => ordering == Ordering::Greater,
            Self::AtLeast => ordering != Ordering::Less,
            Self::Below => ordering == Ordering::Less,
            Self::AtMost => ordering != Ordering::Greater,
        }
    }
}

/// How the texts of ordered categories are read.
enum Order {
    Number(NumberFormat),
    Date(DateFormat),
}

impl Order {
    fn of(&self, text: &str) -> Option<f64> {
        match self {
            Self::Number(format) => {
                let plain = || text.parse().ok().filter(|value: &f64| value.is_finite());
                format.parse(text).map(|parsed| parsed.value).or_else(plain)
            }
            Self::Date(format) => format.parse(text).map(|count| count as f64),
        }
    }
}

/// The numbers of categories that all are numbers or dates.
fn ordered(texts: &[String]) -> Option<(Vec<f64>, Order)> {
    let first = texts.first()?;
    let numbers = NumberFormat::candidates(first, false)
        .into_iter()
        .map(Order::Number);
    let dates = DateFormat::candidates(first).into_iter().map(Order::Date);
    numbers.chain(dates).find_map(|order| {
        let values: Option<Vec<f64>> = texts.iter().map(|text| order.of(text)).collect();
        Some((values?, order))
    })
}

impl Conditions {
    /// Reads conditions.
    ///
    /// # Errors
    ///
    /// See [`ConditionError`].
    pub fn parse<T: AsRef<str>>(texts: &[T], schema: &TableSchema) -> Result<Self, ConditionError> {
        let conditions = texts
            .iter()
            .map(|text| Condition::parse(text.as_ref(), schema));
        let conditions = conditions.collect::<Result<Vec<_>, _>>()?;
        let mut known = vec![false; schema.columns().len()];
        for condition in conditions
            .iter()
            .filter(|condition| condition.comparison == Comparison::Is)
        {
            if std::mem::replace(&mut known[condition.column], true) {
                return Err(ConditionError::Twice {
                    column: schema.display_name(condition.column),
                });
            }
        }
        Ok(Self(conditions))
    }

    /// The conditions.
    pub fn all(&self) -> &[Condition] {
        &self.0
    }

    /// Whether rows must be drawn until they are so: the chain itself keeps cells that are known, and no others.
    pub fn need_rejection(&self) -> bool {
        self.0
            .iter()
            .any(|condition| condition.comparison != Comparison::Is)
    }

    /// `rows` rows of which the cells are known that a condition says.
    pub fn partial(&self, schema: &TableSchema, rows: usize) -> Partial {
        let mut partial = Partial::unknown(rows, schema.columns().len());
        for condition in &self.0 {
            if let (Comparison::Is, Test::Cell(known)) = (condition.comparison, &condition.test) {
                for row in 0..rows {
                    partial.set(condition.column, row, *known);
                }
            }
        }
        partial
    }

    /// As [`partial`](Self::partial), where a column that other conditions are of has a value that all of them allow,
    /// drawn from those that the table has, as often as it has them: the chain keeps them, so that such rows can be
    /// drawn however rare they are.
    ///
    /// # Errors
    ///
    /// Conditions that no value of their column fits.
    pub fn partial_within(
        &self,
        schema: &TableSchema,
        rows: usize,
        rng: &mut impl Rng,
    ) -> Result<Partial, ConditionError> {
        let mut partial = self.partial(schema, rows);
        let mut done = vec![false; schema.columns().len()];
        for condition in self
            .0
            .iter()
            .filter(|condition| condition.comparison != Comparison::Is)
        {
            let column = condition.column;
            if std::mem::replace(&mut done[column], true) {
                continue;
            }
            let all = || self.0.iter().filter(|condition| condition.column == column);
            let mut allowed: Vec<(Known, f64)> = values(&schema.columns()[column])
                .into_iter()
                .filter(|(known, _)| all().all(|condition| condition.allows(*known)))
                .collect();
            // What the table hardly has, such as its ends, is a value where it has no other.
            if allowed.iter().any(|(_, weight)| *weight > 0.0) {
                allowed.retain(|(_, weight)| *weight > 0.0);
            } else {
                allowed.iter_mut().for_each(|(_, weight)| *weight = 1.0);
            }
            let total: f64 = allowed.iter().map(|(_, weight)| weight).sum();
            for row in 0..rows {
                let mut rest = uniform(rng) * total;
                let place = allowed.iter().position(|(_, weight)| {
                    rest -= weight;
                    rest < 0.0
                });
                let Some(&(known, _)) = place.map(|place| &allowed[place]).or(allowed.last())
                else {
                    return Err(ConditionError::Contradiction {
                        column: schema.display_name(column),
                    });
                };
                partial.set(column, row, known);
            }
        }
        Ok(partial)
    }

    /// Whether all hold in a row.
    ///
    /// # Panics
    ///
    /// If there is no such row, or the cells are not of the schema that they were read with.
    pub fn hold(&self, cells: &Cells, row: usize) -> bool {
        self.0.iter().all(|condition| condition.holds(cells, row))
    }
}

/// What a cell of a column can be, with how often the table has it.
fn values(column: &Column) -> Vec<(Known, f64)> {
    /// Numbers between the least and the largest that are looked at.
    const NUMBERS: usize = 4096;
    let count = |place: usize| column.counts.get(place).map_or(0.0, |&count| count as f64);
    let Content::Numbers(numbers) = &column.content else {
        return (0..column.num_categories())
            .map(|place| (Known::Category(place), count(place)))
            .collect();
    };
    let mut values = Vec::new();
    for (place, state) in column.states().into_iter().enumerate() {
        match (state, &numbers.quantiles) {
            (State::Gap, _) => values.push((Known::Number(None), count(place))),
            (State::Spike(value), _) => values.push((Known::Number(Some(value)), count(place))),
            (State::Regular, Some(quantiles)) => {
                let share = count(place).max(1.0) / NUMBERS as f64;
                values.extend((0..NUMBERS).map(|index| {
                    let z = normal((index as f64 + 0.5) / NUMBERS as f64);
                    let value = numbers.nearest(quantiles.decode(z));
                    let value = value.clamp(quantiles.least(), quantiles.largest());
                    (Known::Number(Some(value)), share)
                }));
                let ends = [quantiles.least(), quantiles.largest()];
                values.extend(ends.map(|end| (Known::Number(Some(end)), 0.0)));
            }
            (State::Regular, None) => {}
        }
    }
    values
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::tables::{TableOptions, parse_table};

    fn table() -> (TableSchema, Cells) {
        let mut text = "age,income,a=b,year,name\n".to_owned();
        for i in 0..100 {
            text += &format!(
                "{},{},{},{},person {i}\n",
                if i == 50 {
                    String::new()
                } else {
                    (17 + i * 7 % 60).to_string()
                },
                ["<=50K", ">50K"][i % 2],
                i % 3,
                2007 + i % 3
            );
        }
        parse_table(text.as_bytes(), &TableOptions::default()).unwrap()
    }

    #[test]
    fn conditions_hold_where_they_say() {
        let (schema, cells) = table();
        let rows = |texts: &[&str]| -> Vec<usize> {
            let conditions = Conditions::parse(texts, &schema).unwrap();
            (0..cells.rows())
                .filter(|&row| conditions.hold(&cells, row))
                .collect()
        };
        let age = |row: usize| 17 + row * 7 % 60;
        let of = |holds: &dyn Fn(usize) -> bool| -> Vec<usize> {
            (0..100).filter(|&row| holds(row)).collect()
        };
        assert_eq!(rows(&[]), of(&|_| true));
        assert_eq!(rows(&["age>=40"]), of(&|row| row != 50 && age(row) >= 40));
        assert_eq!(rows(&[" age < 40 "]), of(&|row| row != 50 && age(row) < 40));
        assert_eq!(rows(&["age=NA"]), [50]);
        assert_eq!(
            rows(&["age!=24", "age>20", "age<=31"]),
            of(&|row| row != 50 && (21..=31).contains(&age(row)) && age(row) != 24)
        );
        assert_eq!(rows(&["income=<=50K"]), of(&|row| row % 2 == 0));
        assert_eq!(rows(&["income=\">50K\""]), of(&|row| row % 2 == 1));
        assert_eq!(rows(&["a=b=1"]), of(&|row| row % 3 == 1));
        assert_eq!(rows(&["year>2007"]), of(&|row| row % 3 > 0));
        assert_eq!(
            rows(&["income!=>50K", "year<=2007"]),
            of(&|row| row % 6 == 0)
        );
        let conditions = Conditions::parse(&["income=>50K", "age>30"], &schema).unwrap();
        assert!(conditions.need_rejection());
        let partial = conditions.partial(&schema, 2);
        assert!(partial.is_known(1, 1) && !partial.is_known(0, 1));
        assert!(
            !Conditions::parse(&["year=2008"], &schema)
                .unwrap()
                .need_rejection()
        );
    }

    #[test]
    fn rare_rows_have_values_that_the_conditions_allow() {
        let (schema, _) = table();
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        for texts in [
            &["age>=76"][..],
            &["age>75", "income!=>50K"],
            &["age!=NA", "age<18", "year<2009"],
            &["a=b=1", "year>2008"],
        ] {
            let conditions = Conditions::parse(texts, &schema).unwrap();
            let partial = conditions.partial_within(&schema, 50, &mut rng).unwrap();
            let zeros = vec![0.0; 50 * schema.example_len()];
            let mut cells = schema.decode(&zeros, &[]).unwrap();
            partial.restore(&schema, &mut cells);
            assert!((0..50).all(|row| conditions.hold(&cells, row)), "{texts:?}");
        }
        let conditions = Conditions::parse(&["age>40", "age<30"], &schema).unwrap();
        let error = conditions.partial_within(&schema, 1, &mut rng).unwrap_err();
        assert_eq!(
            error.to_string(),
            "no value of age fits all conditions on it"
        );
    }

    #[test]
    fn what_is_no_condition_is_refused() {
        let (schema, _) = table();
        for (texts, expected) in [
            (vec!["age"], "no condition"),
            (vec!["=3"], "no condition"),
            (vec!["ages=3"], "did you mean \"age\"?"),
            (
                vec!["weight=3"],
                "there is no column \"weight\"; there are: age, income, a=b, year, name",
            ),
            (vec!["income=50K"], "there is no category \"50K\""),
            (vec!["income>50K"], "income has no order"),
            (vec!["age=1000"], "outside of what was seen: 17 to 76"),
            (
                vec!["age>76"],
                "no row can be so: age>76 (there is 17 to 76)",
            ),
            (vec!["year<2007"], "no row can be so"),
            (
                vec!["age>old"],
                "expected integer such as 17, found \"old\"",
            ),
            (vec!["name=person 3"], "not learned: it holds text"),
            (vec!["name>3"], "not learned: it holds text"),
            (vec!["age=18", "age=19"], "two conditions say what age is"),
        ] {
            let error = Conditions::parse(&texts, &schema).unwrap_err();
            let mut message = error.to_string();
            if let Some(source) = std::error::Error::source(&error) {
                message += &format!(": {source}");
            }
            assert!(message.contains(expected), "{texts:?}: {message}");
        }
    }
}
