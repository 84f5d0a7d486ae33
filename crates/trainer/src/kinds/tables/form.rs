//! What was found in a table or in lines of text: all that is needed to draw more of them without the file.

use anyhow::{Result, ensure};
use datasets::tables::Cells;
use datasets::{LineSchema, TableSchema};
use serde::{Deserialize, Serialize};

/// `[found.table]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TableForm {
    /// Rows of columns.
    Rows(TableSchema),
    /// Lines of text.
    Lines(LineSchema),
}

/// Examples that are rows or lines again.
pub(super) enum Drawn {
    /// Rows.
    Rows(Cells),
    /// Lines.
    Lines(Vec<String>),
}

impl TableForm {
    /// The numbers of an example.
    pub fn numbers(&self) -> usize {
        match self {
            Self::Rows(schema) => schema.numbers().len(),
            Self::Lines(_) => 0,
        }
    }

    /// How many categories each of the other values of an example has.
    pub fn categories(&self) -> Vec<usize> {
        match self {
            Self::Rows(schema) => schema
                .categories()
                .iter()
                .map(|&(_, count)| count)
                .collect(),
            Self::Lines(schema) => vec![schema.num_categories(); schema.example_len()],
        }
    }

    /// The names of the classes; empty where no column is the class.
    pub fn class_names(&self) -> &[String] {
        match self {
            Self::Rows(schema) => schema.class_names(),
            Self::Lines(_) => &[],
        }
    }

    /// The classes of `count` rows, as often as the table has each, and so in every part of them; none where no column
    /// is the class.
    pub fn classes_in_proportion(&self, count: usize) -> Vec<Option<usize>> {
        /// Steps of it, modulo 1, fall evenly over [0, 1) however many there are (Weyl 1916): the golden ratio's.
        const STEP: f64 = 0.618_033_988_749_894_9;
        let class = match self {
            Self::Rows(schema) => schema.class().map(|class| &schema.columns()[class].counts),
            Self::Lines(_) => None,
        };
        let Some(counts) = class else {
            return vec![None; count];
        };
        let all: u64 = counts.iter().sum();
        let mut up_to = Vec::new();
        for count in counts {
            up_to.push(up_to.last().copied().unwrap_or(0) + count);
        }
        let class = |index: usize| {
            let place = ((index as f64 + 0.5) * STEP).fract() * all as f64;
            up_to
                .partition_point(|&up_to| up_to as f64 <= place)
                .min(counts.len() - 1)
        };
        (0..count).map(|index| Some(class(index))).collect()
    }

    /// What an example is called, and many of them.
    pub fn noun(&self) -> &'static str {
        match self {
            Self::Rows(_) => "rows",
            Self::Lines(_) => "lines",
        }
    }

    /// The extension of a file of them.
    pub(super) fn extension(&self) -> &'static str {
        match self {
            Self::Rows(schema) if schema.dialect().separator == '\t' => "tsv",
            Self::Rows(_) => "csv",
            Self::Lines(_) => "txt",
        }
    }

    /// The rows or lines of examples, one after the other, of these classes.
    pub(super) fn decode(&self, examples: &[f32], classes: &[Option<usize>]) -> Result<Drawn> {
        Ok(match self {
            Self::Rows(schema) => {
                let labels: Vec<usize> = classes.iter().flatten().copied().collect();
                ensure!(
                    schema.class().is_none() || labels.len() == classes.len(),
                    "a row needs a class: that of column {}",
                    schema
                        .class()
                        .map_or(String::new(), |class| schema.display_name(class))
                );
                Drawn::Rows(schema.decode(examples, &labels)?)
            }
            Self::Lines(schema) => Drawn::Lines(schema.decode(examples)?),
        })
    }

    /// The file of what was decoded.
    pub(super) fn write(&self, drawn: &Drawn) -> Vec<u8> {
        match (self, drawn) {
            (Self::Rows(schema), Drawn::Rows(cells)) => schema.write(cells),
            (Self::Lines(schema), Drawn::Lines(lines)) => schema.write(lines),
            _ => Vec::new(),
        }
    }
}
