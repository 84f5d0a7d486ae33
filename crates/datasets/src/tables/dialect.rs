//! How a file of rows is written: characters, separator, header, quotes and line ends.

use std::io::{Read, Seek};

use serde::{Deserialize, Serialize};

use super::charset::Charset;
use super::dates::DateFormat;
use super::error::TableError;
use super::gaps::is_gap;
use super::numbers::NumberFormat;
use super::records::{Record, Records};
use super::source::{Checked, Source};
use crate::shown::shown;

/// The most columns that are read.
pub const MAX_COLUMNS: usize = 10_000;

/// Separators, the least likely in a text first: where lines have equally many of one, it is that one.
const SEPARATORS: [char; 4] = ['\t', ';', '|', ','];
/// Records that are looked at.
const SAMPLED: usize = 200;
/// Of long ones, those that start within so many bytes.
const SAMPLED_BYTES: usize = 64 << 20;

/// How a table is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Dialect {
    /// How characters are written as bytes.
    pub charset: Charset,
    /// What parts fields: a comma, a semicolon, a tab or a vertical bar.
    pub separator: char,
    /// Whether the first line names the columns.
    pub header: bool,
    /// Whether names are quoted that need not be.
    pub quoted_names: bool,
    /// Whether lines end as on Windows.
    pub crlf: bool,
}

/// What the first line is, and what each has.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Layout {
    pub(crate) dialect: Dialect,
    /// Names, or empty ones.
    pub(crate) names: Vec<String>,
    /// Whether each row has a field more than the header, which is empty.
    pub(crate) has_empty_end: bool,
}

impl Layout {
    /// Finds out how a text is written. `header` and `separator` say so where it is known.
    pub(crate) fn of<R: Read + Seek>(
        source: &mut Source<R>,
        header: Option<bool>,
        separator: Option<char>,
    ) -> Result<Self, TableError> {
        let separator = match separator.filter(char::is_ascii) {
            Some(separator) => separator,
            None => separator_of(source)?,
        };
        let sample = sample(source, separator)?;
        let Some(first) = sample.first() else {
            return Err(TableError::Empty);
        };
        let header = header.unwrap_or_else(|| is_header(&sample));
        let mut dialect = Dialect {
            charset: source.charset(),
            separator,
            header,
            quoted_names: false,
            crlf: has_crlf(source)?,
        };
        let mut names = vec![String::new(); first.len()];
        let mut has_empty_end = false;
        if header {
            names = first.fields().map(str::to_owned).collect();
            let mut is_quoted = (0..first.len())
                .map(|index| first.field(index))
                .filter(|(name, _)| !name.is_empty());
            dialect.quoted_names = is_quoted.all(|(_, is_quoted)| is_quoted);
            let rows = &sample[1..];
            let longer = names.len() + 1;
            if !rows.is_empty() && rows.iter().all(|row| row.len() == longer) {
                has_empty_end = rows.iter().all(|row| row.fields().last() == Some(""));
                if !has_empty_end {
                    // The names of rows, as R writes them, have no name themselves.
                    names.insert(0, String::new());
                }
            }
        }
        if names.len() > MAX_COLUMNS {
            return Err(TableError::TooManyColumns {
                line: first.line,
                found: names.len(),
                most: MAX_COLUMNS,
            });
        }
        check_names(&names)?;
        Ok(Self {
            dialect,
            names,
            has_empty_end,
        })
    }

    /// The records of the rows.
    pub(crate) fn rows<'a, R: Read + Seek>(
        &self,
        source: &'a mut Source<R>,
    ) -> Result<Rows<Checked<'a, R>>, TableError> {
        let mut records = Records::new(source.text()?, self.dialect.separator as u8)?;
        let mut record = Record::default();
        if self.dialect.header {
            records.read(&mut record)?;
        }
        Ok(Rows {
            records,
            record,
            columns: self.names.len(),
            has_empty_end: self.has_empty_end,
        })
    }
}

/// The rows of a table, one after the other, each with all columns.
pub(crate) struct Rows<R> {
    records: Records<R>,
    record: Record,
    columns: usize,
    has_empty_end: bool,
}

impl<R: Read> Rows<R> {
    /// The next row.
    pub(crate) fn read(&mut self) -> Result<Option<&Record>, TableError> {
        if !self.records.read(&mut self.record)? {
            return Ok(None);
        }
        let record = &mut self.record;
        if self.has_empty_end
            && record.len() == self.columns + 1
            && record.fields().last() == Some("")
        {
            record.pop();
        }
        if record.len() != self.columns {
            return Err(TableError::Ragged {
                line: record.line,
                expected: self.columns,
                found: record.len(),
            });
        }
        Ok(Some(record))
    }
}

fn check_names(names: &[String]) -> Result<(), TableError> {
    let mut sorted: Vec<(&String, usize)> = names
        .iter()
        .zip(1..)
        .filter(|(name, _)| !name.is_empty())
        .collect();
    sorted.sort_unstable();
    match sorted.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        Some(pair) => Err(TableError::DuplicateName {
            first: pair[0].1,
            second: pair[1].1,
            name: shown(pair[0].0.as_bytes()),
        }),
        None => Ok(()),
    }
}

/// The first records.
fn sample<R: Read + Seek>(
    source: &mut Source<R>,
    separator: char,
) -> Result<Vec<Record>, TableError> {
    let mut records = Records::new(source.text()?, separator as u8)?;
    let mut sample = Vec::new();
    let mut record = Record::default();
    let mut bytes = 0;
    while (sample.len() < SAMPLED && bytes < SAMPLED_BYTES || sample.len() < 2)
        && records.read(&mut record)?
    {
        bytes += record.bytes();
        sample.push(record.clone());
    }
    Ok(sample)
}

/// Whether the first line ends as on Windows.
fn has_crlf<R: Read + Seek>(source: &mut Source<R>) -> Result<bool, TableError> {
    let mut text = source.text()?;
    let mut piece = String::new();
    loop {
        let is_end = !text.read(&mut piece)?;
        if let Some((line, _)) = piece.split_once('\n') {
            return Ok(line.ends_with('\r'));
        }
        if is_end {
            return Ok(false);
        }
        // The last character says all.
        let last = piece.chars().next_back();
        piece.clear();
        piece.extend(last);
    }
}

/// The separator that all records have equally many of; where none is so, one that all but the first have, which may
/// be a field shorter or longer; and else the one that most agree on.
fn separator_of<R: Read + Seek>(source: &mut Source<R>) -> Result<char, TableError> {
    let mut best = (0.0, ',');
    for separator in SEPARATORS {
        let sample = match sample(source, separator) {
            Err(error @ (TableError::Changed | TableError::Read { .. })) => return Err(error),
            Err(_) => continue,
            Ok(sample) => sample,
        };
        let (first, rows) = match &sample[..] {
            [only] => (only.len(), &sample[..]),
            [first, rows @ ..] => (first.len(), rows),
            [] => continue,
        };
        let mut lens: Vec<usize> = rows.iter().map(Record::len).collect();
        lens.sort_unstable();
        let groups = lens.chunk_by(|a, b| a == b).filter(|group| group[0] > 1);
        let Some(most) = groups.max_by_key(|group| group.len()) else {
            continue;
        };
        let share = most.len() as f64 / rows.len() as f64;
        let fit = match most[0].abs_diff(first) {
            0 => 1.0,
            1 => 0.5,
            _ => 0.0,
        };
        // Where all agree comes before where most do, and first of all where the header agrees, too.
        let score = if share == 1.0 { 1.0 + fit } else { share };
        if score > best.0 {
            best = (score, separator);
        }
    }
    Ok(best.1)
}

/// Whether a text is a number or a date in any format.
fn is_value(text: &str) -> bool {
    NumberFormat::candidates(text, false)
        .iter()
        .any(|format| format.parse(text).is_some())
        || !DateFormat::candidates(text).is_empty()
}

/// Whether the first record names the columns: none of its fields is a number, a date or a gap, and it differs from
/// what is below, where it does not follow from the types.
fn is_header(sample: &[Record]) -> bool {
    let (Some(first), rows) = (sample.first(), &sample[1..]) else {
        return false;
    };
    let mut fields = first.fields();
    let is_name = |field: &str| !is_value(field) && (field.is_empty() || !is_gap(field));
    if !fields.all(is_name) || first.fields().all(str::is_empty) {
        return false;
    }
    // Columns where a text that stands in the first row stands below, too.
    let repeated = (0..first.len()).filter(|&column| {
        let name = first.field(column).0;
        let mut below = rows.iter().filter(|row| column < row.len());
        !name.is_empty() && below.any(|row| row.field(column).0 == name)
    });
    let numbers = (0..first.len()).filter(|&column| {
        let mut below = rows.iter().filter(|row| column < row.len()).take(20);
        below.any(|row| is_value(row.field(column).0))
    });
    numbers.count() > 0 || repeated.count() == 0
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::io::Cursor;

    use super::*;
    use crate::tables::source::tests::Unsteady;

    fn source(text: &str) -> Source<Cursor<&[u8]>> {
        Source::in_memory(text.as_bytes()).unwrap()
    }

    fn layout(text: &str) -> Layout {
        Layout::of(&mut source(text), None, None).unwrap()
    }

    #[test]
    fn separators_are_found() {
        for (text, separator, names) in [
            ("a,b\n1,2\n", ',', vec!["a", "b"]),
            ("a;b\n1,5;2,5\n3,5;4,5\n", ';', vec!["a", "b"]),
            ("a\tb c\n1\t2,5\n", '\t', vec!["a", "b c"]),
            ("a|b\n1|2\n", '|', vec!["a", "b"]),
            // In every row there is a semicolon, too.
            ("a,b\n1,\"x;y\"\n2,\"z;w\"\n", ',', vec!["a", "b"]),
            ("a,b\n1,x;y\n2,z\n", ',', vec!["a", "b"]),
            ("a,b\n\"1;2\",3\n\"4;5\",6\n", ',', vec!["a", "b"]),
            ("a\n1\n2\n", ',', vec!["a"]),
        ] {
            let layout = layout(text);
            assert_eq!(layout.dialect.separator, separator, "{text}");
            assert_eq!(layout.names, names, "{text}");
        }
    }

    #[test]
    fn headers_are_found() {
        for (text, header) in [
            ("a,b\n1,2\n", true),
            ("1,2\n3,4\n", false),
            ("x,1\ny,2\n", false),
            ("sex,answer\nmale,yes\nfemale,no\n", true),
            ("male,yes\nfemale,no\nmale,no\n", false),
            ("yes,male,3\nno,female,4\n", false),
            (",b\n1,2\n", true),
            ("2020-01-01,x\n2020-01-02,y\n", false),
            ("NA,x\n1,y\n", false),
        ] {
            assert_eq!(layout(text).dialect.header, header, "{text}");
        }
        assert!(
            !Layout::of(&mut source("a,b\n1,2\n"), Some(false), None)
                .unwrap()
                .dialect
                .header
        );
    }

    #[test]
    fn line_ends_are_those_of_the_first_line() {
        for (text, crlf) in [
            ("a,b\r\n1,2\n", true),
            ("a,b\n1,2\r\n", false),
            ("a,b\r1,2\r", false),
            ("a,b\r", false),
            ("\r\na,b\n", true),
        ] {
            for piece_len in 0..3 {
                let bytes = Unsteady {
                    bytes: Cursor::new(text.into()),
                    piece_len,
                    ..Unsteady::default()
                };
                let mut source = Source::new(bytes, 100).unwrap().unwrap();
                assert_eq!(has_crlf(&mut source).unwrap(), crlf, "{text:?}");
            }
        }
    }

    #[test]
    fn rows_of_r_and_empty_ends() {
        // Names of rows without a name.
        let of_r = layout("\"x\" \"y\"\n".replace(' ', ",").as_str());
        assert!(of_r.dialect.quoted_names);
        let of_r = layout("x,y\nfirst,1,2\nsecond,3,4\n");
        assert_eq!(of_r.names, ["", "x", "y"]);
        let text = "x,y\n1,2,\n3,4,\n";
        let empty_end = layout(text);
        assert_eq!((empty_end.names.len(), empty_end.has_empty_end), (2, true));
        let mut source = source(text);
        let mut rows = empty_end.rows(&mut source).unwrap();
        assert_eq!(
            rows.read().unwrap().unwrap().fields().collect::<Vec<_>>(),
            ["1", "2"]
        );
        assert!(rows.read().unwrap().is_some() && rows.read().unwrap().is_none());
    }

    #[test]
    fn what_is_no_table_is_refused() {
        let error = |text: &str| Layout::of(&mut source(text), None, None).unwrap_err();
        assert_eq!(error(""), TableError::Empty);
        assert_eq!(error("\n \n"), TableError::Empty);
        let twice = error("a,b,a\n1,2,3\n").to_string();
        assert!(
            twice.contains("columns 1 and 3 are both called \"a\""),
            "{twice}"
        );
        let wide = vec!["1"; MAX_COLUMNS + 1].join(",");
        assert!(matches!(error(&wide), TableError::TooManyColumns { .. }));
        let text = "a,b\n1,2\n\n3\n";
        let mut source = source(text);
        let mut rows = layout(text).rows(&mut source).unwrap();
        rows.read().unwrap();
        assert_eq!(
            rows.read().unwrap_err(),
            TableError::Ragged {
                line: 4,
                expected: 2,
                found: 1
            }
        );
    }
}
