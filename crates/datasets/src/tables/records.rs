//! A text to records of fields, by the rules of CSV (RFC 4180) with any separator.
//!
//! Fields may stand in double quotes, and a quote within them is doubled; a quoted field may go over several lines.
//! Space around a field does not count, nor do empty lines. Lines end as on any system. The reader says of each
//! field whether it was quoted, so that a table can be written as it was, and where a quote was left open, which
//! readers that take what they get do not.

use super::error::TableError;

/// The most bytes of a field: a longer one is a quote that was never closed.
pub(crate) const MAX_FIELD_LEN: usize = 1 << 20;

/// The fields of a record.
#[derive(Clone, Debug, Default)]
pub(crate) struct Record {
    text: String,
    ends: Vec<usize>,
    quoted: Vec<bool>,
    /// The line on which it starts, from 1.
    pub(crate) line: usize,
}

impl Record {
    /// The number of fields, at least one once it was read.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// A field, and whether it was quoted.
    pub(crate) fn field(&self, index: usize) -> (&str, bool) {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        (&self.text[start..self.ends[index]], self.quoted[index])
    }

    /// All fields.
    pub(crate) fn fields(&self) -> impl Iterator<Item = &str> {
        (0..self.len()).map(|index| self.field(index).0)
    }

    /// Takes the last field away.
    pub(crate) fn pop(&mut self) {
        self.ends.pop();
        self.quoted.pop();
        self.text.truncate(self.ends.last().copied().unwrap_or(0));
    }

    fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
        self.quoted.clear();
    }

    fn end_field(&mut self, is_quoted: bool) {
        self.ends.push(self.text.len());
        self.quoted.push(is_quoted);
    }
}

/// Reads records one after the other.
#[derive(Clone, Debug)]
pub(crate) struct Records<'a> {
    text: &'a str,
    at: usize,
    line: usize,
    separator: u8,
}

impl<'a> Records<'a> {
    /// The records of `text`, whose fields are parted by `separator`, which is ASCII. A beginning of lines that
    /// start with `# ` is passed over.
    pub(crate) fn new(text: &'a str, separator: u8) -> Self {
        let mut records = Self {
            text,
            at: 0,
            line: 1,
            separator,
        };
        while records.text[records.at..].starts_with("# ") {
            let rest = &records.text.as_bytes()[records.at..];
            let end = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            records.at += end.unwrap_or(rest.len());
            records.line_end();
        }
        records
    }

    /// Whether the reader stands at the end.
    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Passes over the end of a line, if there is one.
    fn line_end(&mut self) -> bool {
        match self.byte() {
            Some(b'\r') => {
                self.at += 1;
                if self.byte() == Some(b'\n') {
                    self.at += 1;
                }
            }
            Some(b'\n') => self.at += 1,
            _ => return false,
        }
        self.line += 1;
        true
    }

    fn is_space(&self, byte: u8) -> bool {
        (byte == b' ' || byte == b'\t') && byte != self.separator
    }

    fn spaces(&mut self) {
        while self.byte().is_some_and(|byte| self.is_space(byte)) {
            self.at += 1;
        }
    }

    /// Reads the next record; false where there are no more.
    pub(crate) fn read(&mut self, record: &mut Record) -> Result<bool, TableError> {
        record.clear();
        loop {
            self.spaces();
            if !self.line_end() {
                break;
            }
        }
        if self.byte().is_none() {
            return Ok(false);
        }
        record.line = self.line;
        loop {
            self.spaces();
            let is_quoted = self.byte() == Some(b'"');
            if is_quoted {
                self.quoted(record)?;
            }
            self.plain(record)?;
            record.end_field(is_quoted);
            match self.byte() {
                Some(byte) if byte == self.separator => self.at += 1,
                _ => {
                    self.line_end();
                    return Ok(true);
                }
            }
        }
    }

    /// What stands between two quotes.
    fn quoted(&mut self, record: &mut Record) -> Result<(), TableError> {
        let opened = self.line;
        let first = record.text.len();
        self.at += 1;
        loop {
            let start = self.at;
            let rest = &self.text.as_bytes()[start..];
            let stop = rest
                .iter()
                .position(|byte| matches!(byte, b'"' | b'\n' | b'\r' | 0));
            let Some(stop) = stop else {
                return Err(TableError::UnclosedQuote { line: opened });
            };
            self.at += stop;
            record.text.push_str(&self.text[start..self.at]);
            if record.text.len() - first > MAX_FIELD_LEN {
                return Err(TableError::UnclosedQuote { line: opened });
            }
            match rest[stop] {
                b'"' => {
                    self.at += 1;
                    if self.byte() != Some(b'"') {
                        return Ok(());
                    }
                    record.text.push('"');
                    self.at += 1;
                }
                0 => return Err(TableError::Nul { line: self.line }),
                _ => {
                    let start = self.at;
                    self.line_end();
                    record.text.push_str(&self.text[start..self.at]);
                }
            }
        }
    }

    /// What stands until the next separator or end of line; after a quoted field, nothing should.
    fn plain(&mut self, record: &mut Record) -> Result<(), TableError> {
        let start = self.at;
        let rest = &self.text.as_bytes()[start..];
        let stop = rest
            .iter()
            .position(|&byte| byte == self.separator || matches!(byte, b'\n' | b'\r' | 0));
        let stop = stop.unwrap_or(rest.len());
        if rest.get(stop) == Some(&0) {
            return Err(TableError::Nul { line: self.line });
        }
        if stop > MAX_FIELD_LEN {
            return Err(TableError::FieldTooLong {
                line: self.line,
                column: record.len() + 1,
                most: MAX_FIELD_LEN,
            });
        }
        self.at += stop;
        record.text.push_str(self.text[start..self.at].trim());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use csv::{ReaderBuilder, Trim};
    use proptest::prelude::*;

    use super::*;

    /// Line and fields of each record; a quoted one in brackets.
    fn read(text: &str, separator: u8) -> Result<Vec<(usize, Vec<String>)>, TableError> {
        let mut records = Records::new(text, separator);
        let mut record = Record::default();
        let mut all = Vec::new();
        while records.read(&mut record)? {
            let fields = (0..record.len()).map(|index| match record.field(index) {
                (field, true) => format!("[{field}]"),
                (field, false) => field.to_owned(),
            });
            all.push((record.line, fields.collect()));
        }
        Ok(all)
    }

    #[test]
    fn quotes_spaces_and_line_ends() {
        let text =
            "# made by hand\na, \"b\" ,c\r\n\r\n \"x \"\"y\"\",\n z\",,\r5\" pipe,\" \",q\"\"";
        let expected = [
            (2, vec!["a", "[b]", "c"]),
            (4, vec!["[x \"y\",\n z]", "", ""]),
            (6, vec!["5\" pipe", "[ ]", "q\"\""]),
        ];
        let found = read(text, b',').unwrap();
        assert_eq!(found.len(), expected.len());
        for ((line, fields), (expected_line, expected)) in found.iter().zip(&expected) {
            assert_eq!(
                (line, fields),
                (
                    expected_line,
                    &expected
                        .iter()
                        .map(|s| (*s).to_owned())
                        .collect::<Vec<String>>()
                )
            );
        }
        assert_eq!(read("a\tb c\n", b'\t').unwrap()[0].1, ["a", "b c"]);
        assert_eq!(read("\ta\t\n", b'\t').unwrap()[0].1, ["", "a", ""]);
        assert!(read("", b',').unwrap().is_empty());
        assert!(read(" \n\r\n# only\n", b',').unwrap().len() == 1);
    }

    #[test]
    fn what_is_broken_is_named_by_its_line() {
        assert!(matches!(
            read("a,b\n1,\"2\n3,4\n", b','),
            Err(TableError::UnclosedQuote { line: 2 })
        ));
        assert!(matches!(
            read("a,b\n1,2\n\n3,\0\n", b','),
            Err(TableError::Nul { line: 4 })
        ));
        assert!(matches!(
            read("a\n\"\n\0\"", b','),
            Err(TableError::Nul { line: 3 })
        ));
        let long = "x".repeat(MAX_FIELD_LEN + 1);
        assert!(matches!(
            read(&format!("a,b\n1,{long}\n"), b','),
            Err(TableError::FieldTooLong {
                line: 2,
                column: 2,
                ..
            })
        ));
        assert!(matches!(
            read(&format!("a,b\n1,\"{long}\"\n"), b','),
            Err(TableError::UnclosedQuote { line: 2 })
        ));
    }

    #[test]
    fn a_last_field_is_taken_away() {
        let mut records = Records::new("a,\"b\",c\n", b',');
        let mut record = Record::default();
        records.read(&mut record).unwrap();
        record.pop();
        assert_eq!(record.fields().collect::<Vec<_>>(), ["a", "b"]);
    }

    proptest! {
        /// The crate `csv` reads the same fields where it reads a text by the same rules.
        #[test]
        fn as_the_crate_csv(
            rows in prop::collection::vec(prop::collection::vec("[a-c,\";\n ]{0,4}", 2..4), 1..5),
        ) {
            let mut text = String::new();
            for row in &rows {
                let fields: Vec<String> = row
                    .iter()
                    .map(|field| format!("\"{}\"", field.replace('"', "\"\"")))
                    .collect();
                text += &(fields.join(",") + "\r\n");
            }
            let mut reader = ReaderBuilder::new()
                .has_headers(false)
                .flexible(true)
                .trim(Trim::None)
                .from_reader(text.as_bytes());
            let expected: Vec<Vec<String>> = reader
                .records()
                .map(|record| record.unwrap().iter().map(|field| format!("[{field}]")).collect())
                .collect();
            let found: Vec<Vec<String>> =
                read(&text, b',').unwrap().into_iter().map(|(_, fields)| fields).collect();
            prop_assert_eq!(&found, &expected);
            let same: Vec<Vec<String>> = rows
                .iter()
                .map(|row| row.iter().map(|field| format!("[{field}]")).collect())
                .collect();
            prop_assert_eq!(found, same);
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[a-c,\";\t\r\n\0 \u{e9}#]{0,40}") {
            for separator in [b',', b';', b'\t', b'|'] {
                let _ = read(&text, separator);
            }
        }
    }
}
