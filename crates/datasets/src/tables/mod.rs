//! Tables: rows of any CSV, whose columns are numbers, dates and categories; clouds of points, which are tables of
//! numbers alone, from a CSV or made by a formula; and lines of text as tables of characters.

mod cell_files;
pub mod cells;
pub mod charset;
pub mod clouds;
pub mod column_type;
pub mod conditions;
pub mod dates;
pub mod dialect;
pub mod error;
mod estimate;
mod gaps;
pub mod inference;
pub mod lines;
pub mod numbers;
pub mod partial;
pub mod points;
mod published;
pub mod quantiles;
mod records;
pub mod rows;
pub mod schema;
mod similar;
mod source;
mod writing;

pub use cell_files::CellFileError;
pub use cells::Cells;
pub use clouds::{CloudName, UnknownCloud};
pub use column_type::ColumnType;
pub use conditions::{Condition, ConditionError, Conditions};
pub use error::{CellError, TableError, TableFileError};
pub use inference::{MAX_CATEGORIES, TableOptions, parse_table};
pub use lines::{
    LineError, LineRows, LineSchema, MAX_FILE_LEN, load_lines, load_names, parse_lines,
};
pub use partial::Partial;
pub use points::{
    CsvError, Normalisation, Points, PointsError, holds_points, load_points, read_points,
};
pub(crate) use published::verify;
pub use rows::{MAX_TABLE_LEN, TableRows, load_published, load_table};
pub use schema::{Column, Content, DecodeError, Spelling, State, TableSchema};
