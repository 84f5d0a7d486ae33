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
            Self::Rows(schema) => schema.categories().iter().map(|&(_, count)| count).collect(),
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
                    schema.class().map_or(String::new(), |class| schema.display_name(class))
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
