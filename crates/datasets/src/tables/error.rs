//! What is wrong with a table.

use std::io;
use std::path::PathBuf;

use super::column_type::ColumnType;
use super::source::Changed;

/// Why a file cannot be read as a table or as lines of text.
#[derive(Debug, thiserror::Error)]
pub enum TableFileError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file is longer than is read.
    #[error("{} is longer than {most} bytes, the limit of a table", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The limit.
        most: u64,
    },
    /// The file is no table.
    #[error("{} cannot be read as a table", path.display())]
    Table {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        source: Box<TableError>,
    },
    /// The file is not the published one.
    #[error(
        "{} is not the published file of {name}: its SHA-256 should be {expected} and is {found}; fetch it again \
         (data/README.md says from where)", path.display()
    )]
    Checksum {
        /// The file.
        path: PathBuf,
        /// The data set.
        name: crate::files::DatasetName,
        /// The published checksum.
        expected: &'static str,
        /// The checksum of this file.
        found: String,
    },
}

/// Why a text is no table. Lines and columns count from 1.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TableError {
    /// There is nothing in it.
    #[error("it is empty; expected a line for each row")]
    Empty,
    /// There is a header and nothing below.
    #[error("line {line} names the columns, and there are no rows below")]
    HeaderOnly {
        /// The line of the header.
        line: usize,
    },
    /// There is one row, and it cannot be held out and learned from.
    #[error("there is one row; at least two are needed, one of them to be held out")]
    OneRow,
    /// A line has more or fewer fields than the first.
    #[error("line {line} has {found} columns; the first line has {expected}")]
    Ragged {
        /// The line.
        line: usize,
        /// The fields of the first line.
        expected: usize,
        /// The fields of this line.
        found: usize,
    },
    /// Two columns have one name.
    #[error("columns {first} and {second} are both called \"{name}\"; give each a name of its own")]
    DuplicateName {
        /// The first of them.
        first: usize,
        /// The second.
        second: usize,
        /// The name, shortened.
        name: String,
    },
    /// A quoted field does not end.
    #[error("line {line}: a quote opens there and is never closed")]
    UnclosedQuote {
        /// The line of the quote.
        line: usize,
    },
    /// A byte that no text has.
    #[error(
        "line {line} has a byte of zero, so this is not text (or UTF-16 without a byte order mark)"
    )]
    Nul {
        /// The line.
        line: usize,
    },
    /// A field is longer than is read.
    #[error("line {line}, column {column}: a field of more than {most} bytes")]
    FieldTooLong {
        /// The line.
        line: usize,
        /// The column.
        column: usize,
        /// The limit.
        most: usize,
    },
    /// A line is longer than is read.
    #[error("line {line} has more than {most} bytes")]
    LineTooLong {
        /// The line.
        line: usize,
        /// The limit.
        most: usize,
    },
    /// There are more columns than are read.
    #[error("line {line} has {found} columns; at most {most} are read")]
    TooManyColumns {
        /// The line.
        line: usize,
        /// How many there are.
        found: usize,
        /// The limit.
        most: usize,
    },
    /// There are more rows than are read.
    #[error("there are more than {most} rows")]
    TooManyRows {
        /// The limit.
        most: usize,
    },
    /// Nothing in it can be learned.
    #[error(
        "no column can be learned: all are the same in every row, row numbers, text or identifiers ({columns})"
    )]
    NothingToLearn {
        /// The columns.
        columns: String,
    },
    /// There is no column of a name.
    #[error("there is no column \"{name}\"; {}", nearest(closest.as_deref(), columns))]
    UnknownColumn {
        /// The name, shortened.
        name: String,
        /// The name that is most like it.
        closest: Option<String>,
        /// The names that there are.
        columns: String,
    },
    /// A cell is not of the type that its column was said to have.
    #[error(
        "line {line}, column {column} ({name}): expected {}, found \"{field}\"", expected.article()
    )]
    WrongType {
        /// The line.
        line: usize,
        /// The column.
        column: usize,
        /// Its name, shortened.
        name: String,
        /// What it was said to be.
        expected: ColumnType,
        /// What stands there, shortened.
        field: String,
    },
    /// A column has more categories than can be learned.
    #[error("column {column} ({name}) has {found} categories; at most {most} are learned")]
    TooManyCategories {
        /// The column.
        column: usize,
        /// Its name, shortened.
        name: String,
        /// How many there are, or the limit of what is counted.
        found: usize,
        /// The limit.
        most: usize,
    },
    /// The column of the classes has none.
    #[error("column \"{name}\" cannot be the class: {why}")]
    NoClass {
        /// Its name, shortened.
        name: String,
        /// Why not.
        why: &'static str,
    },
    /// The file was another when it was read again: it is read several times, and never held whole.
    #[error("it changed while it was read; read it again when nothing writes to it")]
    Changed,
    /// The file could be read at first, and then no more.
    #[error("it could not be read to its end: {kind}")]
    Read {
        /// What the system says.
        kind: io::ErrorKind,
    },
    /// Cells that are not held in memory cannot be kept.
    #[error(
        "its cells are too many for the cache (cache_mib), and cannot be kept in a temporary file in {} (TMPDIR says \
         where): {kind}", folder.display()
    )]
    Keep {
        /// Where such files are.
        folder: PathBuf,
        /// What the system says.
        kind: io::ErrorKind,
    },
    /// A cell does not fit the table that it is to belong to.
    #[error("line {line}, column {column} ({name})")]
    Cell {
        /// The line.
        line: usize,
        /// The column.
        column: usize,
        /// Its name, shortened.
        name: String,
        /// What is wrong with it.
        source: CellError,
    },
}

impl From<io::Error> for TableError {
    /// What the reader of a text says.
    fn from(error: io::Error) -> Self {
        if error.get_ref().is_some_and(|error| error.is::<Changed>()) {
            return Self::Changed;
        }
        Self::Read { kind: error.kind() }
    }
}

/// Why a text is no value of a column.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CellError {
    /// It is none of the column's categories.
    #[error("there is no category \"{found}\"; {}", nearest(closest.as_deref(), categories))]
    UnknownCategory {
        /// The text, shortened.
        found: String,
        /// The category that is most like it.
        closest: Option<String>,
        /// Those that there are.
        categories: String,
    },
    /// It is no number, or no date as the column has them.
    #[error("expected {expected} such as {example}, found \"{found}\"")]
    NotAValue {
        /// What the column holds.
        expected: ColumnType,
        /// A value of the column.
        example: String,
        /// The text, shortened.
        found: String,
    },
    /// It is outside the range of the column.
    #[error("{found} is outside of what was seen: {least} to {most}")]
    OutOfRange {
        /// The text, shortened.
        found: String,
        /// The least value.
        least: String,
        /// The largest.
        most: String,
    },
    /// It lies between the values that the column can have.
    #[error("{found} is no value of the column: the nearest is {nearest}")]
    BetweenValues {
        /// The text, shortened.
        found: String,
        /// The nearest value.
        nearest: String,
    },
    /// The column has no gaps.
    #[error("no row has a gap there")]
    NoGaps,
    /// The column is the same in every row.
    #[error("it is {value} in every row")]
    Constant {
        /// What stands in every row.
        value: String,
    },
    /// The column is not learned.
    #[error("the column is not learned: it holds {0}")]
    NotLearned(&'static str),
}

fn nearest(closest: Option<&str>, all: &str) -> String {
    match closest {
        Some(closest) => format!("did you mean \"{closest}\"? There are: {all}"),
        None => format!("there are: {all}"),
    }
}
