//! Lines of text as tables of characters.
//!
//! A line of at most L characters is L categories: category 0 is the end and what comes after it, category k the
//! k-th character of the alphabet of all lines. L is that of the longest line, 32 at the most; longer lines are
//! passed over.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::charset::{self, Charset};
use super::error::TableFileError;
use super::published;
use crate::files::{DatasetName, open, read_whole, sha256};
use crate::shown::shown;
use crate::splits::{Splits, split_places};

/// The most bytes of a file that is read whole.
pub const MAX_FILE_LEN: u64 = 2 << 30;
/// The most characters of a line.
pub const MAX_LINE_LEN: usize = 32;
/// The most different characters.
const MAX_ALPHABET: usize = 4096;
/// The most lines.
const MAX_LINES: usize = 1 << 26;

/// What is known of lines without the lines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct LineSchema {
    /// How characters are written as bytes.
    charset: Charset,
    /// Whether lines end as on Windows.
    crlf: bool,
    /// Characters of the longest line.
    length: usize,
    /// All characters, in their order.
    alphabet: String,
}

/// Why a file has no lines to learn, or a text is none of them.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// The file cannot be read, or is not the published one.
    #[error(transparent)]
    File(#[from] TableFileError),
    /// The file has no lines to learn.
    #[error("{} has no lines to learn", path.display())]
    Lines {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: LinesError,
    },
}

/// Why a text has no lines to learn, or is none of them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinesError {
    /// Fewer than two lines.
    #[error("there are {found} lines of 1 to {MAX_LINE_LEN} characters; at least two are needed")]
    TooFew {
        /// How many there are.
        found: usize,
    },
    /// More than half of the lines are too long.
    #[error(
        "{longer} of {all} lines are longer than {MAX_LINE_LEN} characters, which is too long for a line of text as \
         this learns them; a table of columns is a .csv"
    )]
    TooLong {
        /// How many are longer.
        longer: usize,
        /// How many there are.
        all: usize,
    },
    /// A byte that no text has.
    #[error("line {line} has a byte of zero, so this is not text")]
    Nul {
        /// The line, from 1.
        line: usize,
    },
    /// Too many different characters.
    #[error("there are {found} different characters; at most {MAX_ALPHABET} are learned")]
    TooManyCharacters {
        /// How many there are.
        found: usize,
    },
    /// Too many lines.
    #[error("there are more than {MAX_LINES} lines")]
    TooMany,
    /// A text is longer than any line.
    #[error("\"{found}\" has more than {most} characters, and no line has")]
    LongerThanAny {
        /// The text, shortened.
        found: String,
        /// Those of the longest line.
        most: usize,
    },
    /// A character that is in no line.
    #[error("no line has the character \"{0}\"")]
    UnknownCharacter(char),
    /// Values that are no lines.
    #[error("{found} values are no whole number of lines of {expected} characters")]
    Length {
        /// The characters of a line.
        expected: usize,
        /// How many values there are.
        found: usize,
    },
}

/// Lines to learn from, or those held out.
#[derive(Clone, Debug, PartialEq)]
pub struct LineRows {
    schema: Arc<LineSchema>,
    /// The categories of each line, one after the other.
    categories: Vec<u16>,
    /// Lines of the file that were passed over.
    passed_over: usize,
}

impl LineSchema {
    /// The characters of an example, those after its end among them.
    pub fn example_len(&self) -> usize {
        self.length
    }

    /// The categories of each of them: the end and every character.
    pub fn num_categories(&self) -> usize {
        1 + self.alphabet.chars().count()
    }

    /// The characters, from category 1.
    pub fn alphabet(&self) -> &str {
        &self.alphabet
    }

    /// The categories of a line.
    ///
    /// # Errors
    ///
    /// A text that is longer than any line, or has a character that is in none.
    pub fn encode(&self, line: &str) -> Result<Vec<u16>, LinesError> {
        let mut categories = Vec::with_capacity(self.length);
        for letter in line.chars() {
            categories.push(self.category(letter)?);
        }
        if categories.len() > self.length {
            return Err(LinesError::LongerThanAny {
                found: shown(line.as_bytes()),
                most: self.length,
            });
        }
        categories.resize(self.length, 0);
        Ok(categories)
    }

    fn category(&self, letter: char) -> Result<u16, LinesError> {
        let place = self.alphabet.chars().position(|known| known == letter);
        place
            .map(|place| place as u16 + 1)
            .ok_or(LinesError::UnknownCharacter(letter))
    }

    /// The values of an example of which some characters are known, and 1 for each that is, 0 for each that is not.
    /// `_` is one character that is not known, or an end; after `...` at the end, anything may follow, and otherwise
    /// nothing does.
    ///
    /// # Errors
    ///
    /// As of [`encode`](Self::encode).
    pub fn parse_pattern(&self, pattern: &str) -> Result<(Vec<f32>, Vec<f32>), LinesError> {
        let (known, is_open) = match pattern
            .strip_suffix("...")
            .or_else(|| pattern.strip_suffix('…'))
        {
            Some(known) => (known, true),
            None => (pattern, false),
        };
        let (mut values, mut mask) = (
            Vec::with_capacity(self.length),
            Vec::with_capacity(self.length),
        );
        for letter in known.chars() {
            let is_blank = letter == '_';
            values.push(if is_blank {
                0.0
            } else {
                self.category(letter)?.into()
            });
            mask.push(f32::from(u8::from(!is_blank)));
        }
        if values.len() > self.length {
            return Err(LinesError::LongerThanAny {
                found: shown(known.as_bytes()),
                most: self.length,
            });
        }
        values.resize(self.length, 0.0);
        mask.resize(self.length, if is_open { 0.0 } else { 1.0 });
        Ok((values, mask))
    }

    /// The lines of examples, one after the other. A category that is none becomes the nearest one; what follows the
    /// first end does not count.
    ///
    /// # Errors
    ///
    /// Values that are no whole number of examples.
    pub fn decode(&self, examples: &[f32]) -> Result<Vec<String>, LinesError> {
        self.check_length(examples)?;
        let letters: Vec<char> = self.alphabet.chars().collect();
        let letter = |value: &f32| match value.round().clamp(0.0, letters.len() as f32) as usize {
            0 => None,
            category => Some(letters[category - 1]),
        };
        Ok(examples
            .chunks(self.length)
            .map(|line| line.iter().map_while(letter).collect())
            .collect())
    }

    /// Lines on their way to noise, as text: `_` stands for a mask, and nothing for what is behind an end.
    ///
    /// # Errors
    ///
    /// As of [`decode`](Self::decode).
    pub fn decode_noised(&self, examples: &[f32]) -> Result<Vec<String>, LinesError> {
        self.check_length(examples)?;
        let letters: Vec<char> = self.alphabet.chars().collect();
        let letter = |value: &f32| match value.round().max(0.0) as usize {
            0 => ' ',
            category => letters.get(category - 1).copied().unwrap_or('_'),
        };
        Ok(examples
            .chunks(self.length)
            .map(|line| line.iter().map(letter).collect())
            .collect())
    }

    fn check_length(&self, examples: &[f32]) -> Result<(), LinesError> {
        if self.length == 0 || !examples.len().is_multiple_of(self.length) {
            return Err(LinesError::Length {
                expected: self.length,
                found: examples.len(),
            });
        }
        Ok(())
    }

    /// The file of these lines.
    pub fn write<T: AsRef<str>>(&self, lines: &[T]) -> Vec<u8> {
        let end = if self.crlf { "\r\n" } else { "\n" };
        let mut text = String::new();
        for line in lines {
            text.push_str(line.as_ref());
            text.push_str(end);
        }
        self.charset.encode(text)
    }
}

impl LineRows {
    /// The number of lines.
    pub fn len(&self) -> usize {
        self.categories.len() / self.schema.length
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.categories.is_empty()
    }

    /// What is known of the lines.
    pub fn schema(&self) -> &Arc<LineSchema> {
        &self.schema
    }

    /// Lines of the file that were longer than [`MAX_LINE_LEN`].
    pub fn passed_over(&self) -> usize {
        self.passed_over
    }

    /// The examples of these lines, one after the other.
    ///
    /// # Panics
    ///
    /// If there is no such line.
    pub fn read(&self, indices: &[usize]) -> Vec<f32> {
        let line =
            |&index: &usize| &self.categories[index * self.schema.length..][..self.schema.length];
        indices
            .iter()
            .flat_map(line)
            .map(|&category| category.into())
            .collect()
    }

    /// The text of a line.
    ///
    /// # Panics
    ///
    /// If there is no such line.
    pub fn line(&self, index: usize) -> String {
        self.schema
            .decode(&self.read(&[index]))
            .unwrap_or_default()
            .concat()
    }
}

/// Reads a file of lines as both splits of a data set: one line in ten is held out, chosen by the hash of its place.
///
/// # Errors
///
/// See [`LineError`].
pub fn load_lines(path: &Path) -> Result<Splits<LineRows>, LineError> {
    split(path, &read(path)?)
}

/// Loads the published list of names from `dir`, the folder that holds its file ([`find`](crate::find) knows it).
///
/// # Errors
///
/// See [`LineError`].
pub fn load_names(dir: &Path) -> Result<Splits<LineRows>, LineError> {
    let path = published::file_in(DatasetName::Names, dir);
    let bytes = read(&path)?;
    published::check(DatasetName::Names, &path, &sha256(&[&bytes]))?;
    let splits = split(&path, &bytes)?;
    Ok(Splits {
        fingerprint: None,
        ..splits
    })
}

fn read(path: &Path) -> Result<Vec<u8>, TableFileError> {
    let read_error = |source| TableFileError::Read {
        path: path.to_owned(),
        source,
    };
    let bytes = open(path)
        .and_then(|file| read_whole(file, MAX_FILE_LEN))
        .map_err(read_error)?;
    bytes.ok_or_else(|| TableFileError::TooLong {
        path: path.to_owned(),
        most: MAX_FILE_LEN,
    })
}

fn split(path: &Path, bytes: &[u8]) -> Result<Splits<LineRows>, LineError> {
    let lines_error = |source| LineError::Lines {
        path: path.to_owned(),
        source,
    };
    let all = parse_lines(bytes).map_err(lines_error)?;
    let (train, test) = split_places(all.len())
        .ok_or_else(|| lines_error(LinesError::TooFew { found: all.len() }))?;
    let rows = |indices: &[usize]| {
        let line =
            |&index: &usize| &all.categories[index * all.schema.length..][..all.schema.length];
        LineRows {
            schema: Arc::clone(&all.schema),
            categories: indices.iter().flat_map(line).copied().collect(),
            passed_over: all.passed_over,
        }
    };
    Ok(Splits {
        train: rows(&train),
        test: rows(&test),
        fingerprint: Some(sha256(&[bytes])),
    })
}

/// Reads lines. Space at their ends does not count, nor do empty ones.
///
/// ```
/// let lines = datasets::tables::parse_lines(b"anna\nbo\n")?;
/// assert_eq!(lines.schema().alphabet(), "abno");
/// assert_eq!(lines.read(&[1]), [2.0, 4.0, 0.0, 0.0]);
/// assert_eq!(lines.schema().decode(&[1.0, 3.0, 3.0, 1.0])?, ["anna"]);
/// # Ok::<(), datasets::tables::lines::LinesError>(())
/// ```
///
/// # Errors
///
/// See [`LinesError`].
pub fn parse_lines(bytes: &[u8]) -> Result<LineRows, LinesError> {
    let (charset, text) = charset::decode(bytes);
    if let Some(place) = text.find('\0') {
        let line = 1 + text[..place].matches('\n').count();
        return Err(LinesError::Nul { line });
    }
    let crlf = text.contains("\r\n");
    let all = || text.lines().map(str::trim).filter(|line| !line.is_empty());
    let is_short = |line: &&str| line.chars().nth(MAX_LINE_LEN).is_none();
    let (count, kept) = (all().count(), all().filter(is_short).count());
    if count > MAX_LINES {
        return Err(LinesError::TooMany);
    }
    if 2 * kept < count {
        return Err(LinesError::TooLong {
            longer: count - kept,
            all: count,
        });
    }
    if kept < 2 {
        return Err(LinesError::TooFew { found: kept });
    }
    let letters: BTreeSet<char> = all().filter(is_short).flat_map(str::chars).collect();
    if letters.len() > MAX_ALPHABET {
        return Err(LinesError::TooManyCharacters {
            found: letters.len(),
        });
    }
    let length = all()
        .filter(is_short)
        .map(|line| line.chars().count())
        .max()
        .unwrap_or(1);
    let schema = LineSchema {
        charset,
        crlf,
        length,
        alphabet: letters.iter().collect(),
    };
    let places: std::collections::HashMap<char, u16> = letters.into_iter().zip(1..).collect();
    let mut categories = Vec::with_capacity(kept * length);
    for line in all().filter(is_short) {
        let end = categories.len() + length;
        categories.extend(line.chars().map(|letter| places[&letter]));
        categories.resize(end, 0);
    }
    Ok(LineRows {
        schema: Arc::new(schema),
        categories,
        passed_over: count - kept,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_are_characters_and_come_back() {
        let lines = parse_lines("anna\r\n\r\n \u{e9}lo \r\nbo\r\n".as_bytes()).unwrap();
        let schema = lines.schema();
        assert_eq!(
            (lines.len(), schema.example_len(), schema.num_categories()),
            (3, 4, 7)
        );
        assert_eq!(schema.alphabet(), "abln\u{6f}\u{e9}");
        assert_eq!(
            [lines.line(0), lines.line(1), lines.line(2)],
            ["anna", "\u{e9}lo", "bo"]
        );
        assert_eq!(schema.write(&["anna", "bo"]), b"anna\r\nbo\r\n");
        // What follows the end does not count, and the mask is the last letter.
        assert_eq!(
            schema
                .decode(&[2.0, 0.0, 3.0, 1.0, 9.0, f32::NAN, 1.0, 1.0])
                .unwrap(),
            ["b", "\u{e9}"]
        );
        assert!(schema.decode(&[1.0; 5]).is_err());
        let text = serde_json::to_string(schema.as_ref()).unwrap();
        assert_eq!(
            &serde_json::from_str::<LineSchema>(&text).unwrap(),
            schema.as_ref()
        );
    }

    #[test]
    fn patterns_have_blanks() {
        let lines = parse_lines(b"anna\nbob\n").unwrap();
        let schema = lines.schema();
        assert_eq!(
            schema.parse_pattern("a_n").unwrap(),
            (vec![1.0, 0.0, 3.0, 0.0], vec![1.0, 0.0, 1.0, 1.0])
        );
        assert_eq!(
            schema.parse_pattern("b...").unwrap().1,
            [1.0, 0.0, 0.0, 0.0]
        );
        assert_eq!(
            schema.parse_pattern("_____"),
            Err(LinesError::LongerThanAny {
                found: "_____".into(),
                most: 4
            })
        );
        assert_eq!(
            schema.parse_pattern("az"),
            Err(LinesError::UnknownCharacter('z'))
        );
    }

    #[test]
    fn files_without_lines_are_refused() {
        let long = "x".repeat(MAX_LINE_LEN + 1);
        for (text, expected) in [
            (String::new(), LinesError::TooFew { found: 0 }),
            ("anna\n".to_owned(), LinesError::TooFew { found: 1 }),
            (
                format!("{long}\n{long}\nab\n"),
                LinesError::TooLong { longer: 2, all: 3 },
            ),
            ("ab\na\0\n".to_owned(), LinesError::Nul { line: 2 }),
        ] {
            assert_eq!(parse_lines(text.as_bytes()).unwrap_err(), expected);
        }
        let mixed = parse_lines(format!("{long}\nab\ncd\n").as_bytes()).unwrap();
        assert_eq!((mixed.len(), mixed.passed_over()), (2, 1));
    }

    #[test]
    fn a_file_is_split() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("names.txt");
        let text: String = (0..300).map(|i| format!("n{i}\n")).collect();
        std::fs::write(&path, text).unwrap();
        let splits = load_lines(&path).unwrap();
        assert_eq!(splits.train.len() + splits.test.len(), 300);
        assert!((15..50).contains(&splits.test.len()));
        assert!(splits.fingerprint.is_some());
        // Not the published names.
        assert!(matches!(
            load_names(dir.path()),
            Err(LineError::File(TableFileError::Checksum { .. }))
        ));
        assert!(load_lines(&dir.path().join("none.txt")).is_err());
    }

    /// The published names themselves, where `NAMES_DIR` says they lie: they are not part of the repository.
    #[test]
    fn the_published_names_are_whole() {
        let Some(dir) = std::env::var_os("NAMES_DIR") else {
            return;
        };
        let splits = load_names(Path::new(&dir)).unwrap();
        let schema = splits.train.schema();
        assert_eq!(splits.train.len() + splits.test.len(), 32_033);
        assert_eq!((schema.example_len(), schema.num_categories()), (15, 27));
    }

    proptest! {
        #[test]
        fn any_bytes_are_lines_or_refused(bytes: Vec<u8>) {
            if let Ok(lines) = parse_lines(&bytes) {
                for index in 0..lines.len() {
                    let line = lines.line(index);
                    let again = lines.schema().encode(&line).unwrap();
                    let values: Vec<f32> = again.into_iter().map(f32::from).collect();
                    prop_assert_eq!(lines.read(&[index]), values);
                }
            }
        }
    }
}
