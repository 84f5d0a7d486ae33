//! Rows and lines as examples to learn from.

use datasets::tables::CellFileError;
use datasets::{LineRows, TableRows};
use rand_chacha::ChaCha8Rng;

use super::form::TableForm;

/// The rows of a table, or lines of text.
#[derive(Debug, Clone)]
pub enum TableExamples {
    /// Rows.
    Rows(TableRows),
    /// Lines.
    Lines(LineRows),
}

impl TableExamples {
    /// The number of examples.
    pub fn count(&self) -> usize {
        match self {
            Self::Rows(rows) => rows.len(),
            Self::Lines(lines) => lines.len(),
        }
    }

    /// Numbers and categories of an example.
    pub fn example_len(&self) -> usize {
        match self {
            Self::Rows(rows) => rows.schema().example_len(),
            Self::Lines(lines) => lines.schema().example_len(),
        }
    }

    /// What was found in them.
    pub fn form(&self) -> TableForm {
        match self {
            Self::Rows(rows) => TableForm::Rows(rows.schema().as_ref().clone()),
            Self::Lines(lines) => TableForm::Lines(lines.schema().as_ref().clone()),
        }
    }

    /// The names of the classes; empty where no column is the class.
    pub fn class_names(&self) -> &[String] {
        match self {
            Self::Rows(rows) => rows.schema().class_names(),
            Self::Lines(_) => &[],
        }
    }

    /// The class of an example, where a column is the class.
    pub fn label(&self, index: usize) -> Option<usize> {
        match self {
            Self::Rows(rows) => rows.label(index),
            Self::Lines(_) => None,
        }
    }

    /// Whether they are not in memory, and read each time that they are asked for.
    pub fn is_streamed(&self) -> bool {
        match self {
            Self::Rows(rows) => rows.is_streamed(),
            Self::Lines(_) => false,
        }
    }

    /// The values of these examples, the same each time.
    ///
    /// # Errors
    ///
    /// Rows that are not in memory and cannot be read.
    pub fn read(&self, indices: &[usize]) -> Result<Vec<f32>, CellFileError> {
        match self {
            Self::Rows(rows) => rows.read(indices),
            Self::Lines(lines) => Ok(lines.read(indices)),
        }
    }

    /// The values of these examples, with places among equal numbers from `rng`.
    ///
    /// # Errors
    ///
    /// As of [`read`](Self::read).
    pub fn read_random(
        &self,
        indices: &[usize],
        rng: &mut ChaCha8Rng,
    ) -> Result<Vec<f32>, CellFileError> {
        match self {
            Self::Rows(rows) => rows.read_random(indices, rng),
            Self::Lines(lines) => Ok(lines.read(indices)),
        }
    }
}
