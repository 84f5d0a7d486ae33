//! A text to records of fields, by the rules of CSV (RFC 4180) with any separator.
//!
//! Fields may stand in double quotes, and a quote within them is doubled; a quoted field may go over several lines.
//! Space around a field does not count, nor do empty lines. Lines end as on any system. The reader says of each
//! field whether it was quoted, so that a table can be written as it was, and where a quote was left open, which
//! readers that take what they get do not.
//!
//! Of a text no more is held than the field that is read, of its records one.

use std::io::Read;

use super::charset::Decoder;
use super::error::TableError;

/// The most bytes of a field: a longer one is a quote that was never closed.
pub(crate) const MAX_FIELD_LEN: usize = 1 << 20;
/// The most bytes of a record, of which each field counts a few more.
const MAX_RECORD_LEN: usize = 64 << 20;
const FIELD_COST: usize = size_of::<usize>() + size_of::<bool>();

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

    /// The bytes that it takes.
    pub(crate) fn bytes(&self) -> usize {
        self.text.len() + FIELD_COST * self.len()
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
#[derive(Debug)]
pub(crate) struct Records<R> {
    decoder: Decoder<R>,
    /// What was decoded; what is before `at` is done with.
    text: String,
    at: usize,
    is_all: bool,
    line: usize,
    separator: u8,
}

impl<R: Read> Records<R> {
    /// The records of a text, whose fields are parted by `separator`, which is ASCII. A beginning of lines that
    /// start with `# ` is passed over.
    pub(crate) fn new(decoder: Decoder<R>, separator: u8) -> Result<Self, TableError> {
        let mut records = Self {
            decoder,
            text: String::new(),
            at: 0,
            is_all: false,
            line: 1,
            separator,
        };
        while records.starts_with("# ")? {
            while records
                .byte()?
                .is_some_and(|byte| !matches!(byte, b'\n' | b'\r'))
            {
                records.at += records.find(|byte| matches!(byte, b'\n' | b'\r'))?;
            }
            records.line_end()?;
        }
        Ok(records)
    }

    /// Decodes more of the text; false where there is no more. What was found beyond `at` keeps its distance.
    fn more(&mut self) -> Result<bool, TableError> {
        self.text.drain(..self.at);
        self.at = 0;
        let before = self.text.len();
        while !self.is_all && self.text.len() == before {
            self.is_all = !self.decoder.read(&mut self.text)?;
        }
        Ok(self.text.len() > before)
    }

    fn starts_with(&mut self, start: &str) -> Result<bool, TableError> {
        while self.text.len() - self.at < start.len() && self.more()? {}
        Ok(self.text[self.at..].starts_with(start))
    }

    /// The byte at which the reader stands, if not at the end.
    fn byte(&mut self) -> Result<Option<u8>, TableError> {
        if self.at == self.text.len() && !self.more()? {
            return Ok(None);
        }
        Ok(Some(self.text.as_bytes()[self.at]))
    }

    /// How far it is to the next byte of ASCII that `is_stop` knows, or to the end; where that is farther than a field
    /// may be long, any such distance.
    fn find(&mut self, is_stop: impl Fn(u8) -> bool) -> Result<usize, TableError> {
        let mut seen = 0;
        loop {
            let rest = &self.text.as_bytes()[self.at..];
            if let Some(more) = rest[seen..].iter().position(|&byte| is_stop(byte)) {
                return Ok(seen + more);
            }
            seen = rest.len();
            if seen > MAX_FIELD_LEN || !self.more()? {
                return Ok(seen);
            }
        }
    }

    /// Passes over the end of a line, if there is one, and says how it is written.
    fn line_end(&mut self) -> Result<Option<&'static str>, TableError> {
        let mut end = match self.byte()? {
            Some(b'\r') => "\r",
            Some(b'\n') => "\n",
            _ => return Ok(None),
        };
        self.at += 1;
        if end == "\r" && self.byte()? == Some(b'\n') {
            self.at += 1;
            end = "\r\n";
        }
        self.line += 1;
        Ok(Some(end))
    }

    fn spaces(&mut self) -> Result<(), TableError> {
        while let Some(byte @ (b' ' | b'\t')) = self.byte()?
            && byte != self.separator
        {
            self.at += 1;
        }
        Ok(())
    }

    /// Reads the next record; false where there are no more.
    pub(crate) fn read(&mut self, record: &mut Record) -> Result<bool, TableError> {
        record.clear();
        loop {
            self.spaces()?;
            if self.line_end()?.is_none() {
                break;
            }
        }
        if self.byte()?.is_none() {
            return Ok(false);
        }
        record.line = self.line;
        loop {
            self.spaces()?;
            let is_quoted = self.byte()? == Some(b'"');
            if is_quoted {
                self.quoted(record)?;
            }
            self.plain(record)?;
            record.end_field(is_quoted);
            if record.bytes() > MAX_RECORD_LEN {
                return Err(TableError::LineTooLong {
                    line: record.line,
                    most: MAX_RECORD_LEN,
                });
            }
            match self.byte()? {
                Some(byte) if byte == self.separator => self.at += 1,
                _ => {
                    self.line_end()?;
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
            let len = self.find(|byte| matches!(byte, b'"' | b'\n' | b'\r' | 0))?;
            if record.text.len() - first + len > MAX_FIELD_LEN {
                return Err(TableError::UnclosedQuote { line: opened });
            }
            record.text.push_str(&self.text[self.at..][..len]);
            self.at += len;
            match self.byte()? {
                Some(b'"') => {
                    self.at += 1;
                    if self.byte()? != Some(b'"') {
                        return Ok(());
                    }
                    record.text.push('"');
                    self.at += 1;
                }
                Some(0) => return Err(TableError::Nul { line: self.line }),
                Some(_) => record.text.push_str(self.line_end()?.unwrap_or_default()),
                None => return Err(TableError::UnclosedQuote { line: opened }),
            }
        }
    }

    /// What stands until the next separator or end of line; after a quoted field, nothing should.
    fn plain(&mut self, record: &mut Record) -> Result<(), TableError> {
        let separator = self.separator;
        let len = self.find(|byte| byte == separator || matches!(byte, b'\n' | b'\r' | 0))?;
        if len > MAX_FIELD_LEN {
            return Err(TableError::FieldTooLong {
                line: self.line,
                column: record.len() + 1,
                most: MAX_FIELD_LEN,
            });
        }
        record.text.push_str(self.text[self.at..][..len].trim());
        self.at += len;
        if self.byte()? == Some(0) {
            return Err(TableError::Nul { line: self.line });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::io::Cursor;

    use csv::{ReaderBuilder, Trim};
    use proptest::prelude::*;

    use super::*;
    use crate::tables::charset::Charset;
    use crate::tables::source::tests::Unsteady;

    /// Line and fields of each record; a quoted one in brackets. Pieces of any length are read as the whole is.
    fn read(text: &str, separator: u8) -> Result<Vec<(usize, Vec<String>)>, TableError> {
        let whole = read_in_pieces(text, separator, 0);
        if text.len() < 1000 {
            for piece_len in 1..4 {
                assert_eq!(read_in_pieces(text, separator, piece_len), whole);
            }
        }
        whole
    }

    fn read_in_pieces(
        text: &str,
        separator: u8,
        piece_len: usize,
    ) -> Result<Vec<(usize, Vec<String>)>, TableError> {
        let bytes = Unsteady {
            bytes: Cursor::new(text.as_bytes().to_vec()),
            piece_len,
            ..Unsteady::default()
        };
        let mut records = Records::new(Decoder::new(bytes, Charset::Utf8), separator)?;
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
    fn no_more_is_held_than_a_field_and_a_record() {
        let fields = ",".repeat(MAX_RECORD_LEN / FIELD_COST + 1);
        assert!(matches!(
            read(&format!("a,b\n{fields}"), b','),
            Err(TableError::LineTooLong { line: 2, .. })
        ));
        let text = format!("{}a,b\n", "# comment\n \r\n".repeat(100_000)).repeat(2);
        let decoder = Decoder::new(text.as_bytes(), Charset::Utf8);
        let mut records = Records::new(decoder, b',').unwrap();
        let mut record = Record::default();
        while records.read(&mut record).unwrap() {}
        assert!(records.text.capacity() < 1 << 20);
    }

    #[test]
    fn a_last_field_is_taken_away() {
        let text = Decoder::new("a,\"b\",c\n".as_bytes(), Charset::Utf8);
        let mut records = Records::new(text, b',').unwrap();
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
