//! The types of columns.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum ColumnType {
    /// Whole numbers, learned as numbers.
    Integer,
    /// Numbers, learned as numbers.
    Decimal,
    /// Texts or numbers of which there are few, each a category.
    Category,
    /// Two categories, such as yes and no.
    Boolean,
    /// Dates, times or both, all written in one format.
    Date,
    /// Free text, which is left out.
    Text,
    /// Something else in every row, such as the key of a record, which is left out.
    Identifier,
}

impl ColumnType {
    /// The name, as in configurations.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Integer => "integer",
            Self::Decimal => "decimal",
            Self::Category => "category",
            Self::Boolean => "boolean",
            Self::Date => "date",
            Self::Text => "text",
            Self::Identifier => "identifier",
        }
    }

    /// The name with its article.
    pub(crate) fn article(self) -> &'static str {
        match self {
            Self::Integer => "an integer",
            Self::Decimal => "a decimal number",
            Self::Category => "a category",
            Self::Boolean => "one of two values",
            Self::Date => "a date in the format of the column",
            Self::Text => "text",
            Self::Identifier => "an identifier",
        }
    }
}

impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
