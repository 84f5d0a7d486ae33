//! Labels of a folder of images or sounds from a file beside them, as Hugging Face's `ImageFolder` and
//! `AudioFolder` have it.
//!
//! `metadata.csv` names its columns in its first line; of `metadata.jsonl` each line is a JSON object:
//!
//! ```text
//! file_name,label                {"file_name": "a/1.png", "label": "cat"}
//! a/1.png,cat                    {"file_name": "2.png", "label": 3}
//! ```
//!
//! `file_name` is a path below the folder of the file, with slashes. The class is in the column `label`, or
//! in the one other column. An empty field, `null`, or a file that has no line means no class. In a CSV
//! every label is text; in JSON it is text or a whole number.
//!
//! Source: Hugging Face datasets, "Create an image dataset", ImageFolder;
//! "Create an audio dataset", AudioFolder.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use csv::{ByteRecord, ReaderBuilder, Trim};
use serde_json::{Map, Value};

use super::kind::FileKind;
use crate::files::{open, read_whole};
use crate::shown::{shown, shown_list};

/// The names that such a file has.
const CSV: &str = "metadata.csv";
const JSON_LINES: &str = "metadata.jsonl";

const FILE_NAME: &str = "file_name";
const LABEL: &str = "label";

/// The most bytes of such a file.
const MAX_FILE_LEN: u64 = 256 << 20;

/// The most characters of the name of a class: more is a description of a file.
const MAX_NAME_LEN: usize = 200;

/// Why a file gives no labels: which one, and what is wrong.
#[derive(Debug, thiserror::Error)]
#[error("{}{}", path.display(), line.map_or_else(String::new, |line| format!(":{line}")))]
pub struct MetadataError {
    /// The file.
    path: PathBuf,
    /// The line, from 1.
    line: Option<usize>,
    /// What is wrong.
    source: LabelError,
}

/// What is wrong with a file of labels, or with a line of it.
#[derive(Debug, thiserror::Error)]
pub enum LabelError {
    /// The file cannot be read.
    #[error("it cannot be read")]
    Read(#[source] io::Error),
    /// The file is longer than 256 MiB.
    #[error("it is longer than {MAX_FILE_LEN} bytes, the limit of a file of labels")]
    FileTooLong,
    /// Both files are there.
    #[error("there is {JSON_LINES} beside it: remove one of them")]
    Both,
    /// A line is not what it should be.
    #[error("{0}")]
    Malformed(String),
    /// There is no column of paths.
    #[error("there is no column `{FILE_NAME}`; the columns: {found}")]
    NoFileName {
        /// The columns that are there.
        found: String,
    },
    /// No column is that of the labels.
    #[error(
        "there is no column `{LABEL}`, nor one column beside `{FILE_NAME}` to be it; the columns: {found}"
    )]
    NoLabel {
        /// The columns that are there.
        found: String,
    },
    /// A label is neither text nor a whole number.
    #[error("the label is {found}; expected text or a whole number")]
    Label {
        /// The label, shortened.
        found: String,
    },
    /// A label is too long to name a class.
    #[error(
        "the label starts with {found:?} and has {length} characters; the name of a class has at most \
         {MAX_NAME_LEN}"
    )]
    LongLabel {
        /// Its first characters.
        found: String,
        /// How many it has.
        length: usize,
    },
    /// A file has two lines.
    #[error("{file_name:?} has a line already, line {first}")]
    Twice {
        /// The path as it is written.
        file_name: String,
        /// Where it was named first.
        first: usize,
    },
    /// A line is about no file that is read.
    #[error(
        "{file_name:?} is no {kind} that is read: expected the path of one below this folder, with slashes"
    )]
    NoFile {
        /// The path as it is written.
        file_name: String,
        /// What the folder holds.
        kind: FileKind,
    },
}

/// The labels of the files below a folder.
#[derive(Debug)]
pub(super) struct Labels {
    path: PathBuf,
    kind: FileKind,
    /// By the path below the folder: the line, and the class if there is one.
    entries: HashMap<Vec<u8>, Entry>,
}

#[derive(Debug)]
struct Entry {
    line: usize,
    class: Option<String>,
    is_used: bool,
}

impl Labels {
    /// The labels that a file in `folder` holds, if there is one.
    pub(super) fn read(folder: &Path, kind: FileKind) -> Result<Option<Self>, MetadataError> {
        let [csv, json_lines] = [CSV, JSON_LINES].map(|name| folder.join(name));
        let exists = |path: &Path| path.symlink_metadata().is_ok();
        let (path, parse): (_, fn(&[u8]) -> _) = match (exists(&csv), exists(&json_lines)) {
            (false, false) => return Ok(None),
            (true, false) => (csv, parse_csv),
            (false, true) => (json_lines, parse_json_lines),
            (true, true) => {
                return Err(MetadataError {
                    path: csv,
                    line: None,
                    source: LabelError::Both,
                });
            }
        };
        let bytes = read(&path).and_then(|bytes| parse(&bytes));
        match bytes {
            Ok(entries) => Ok(Some(Self {
                path,
                kind,
                entries,
            })),
            Err(AtLine { line, source }) => Err(MetadataError { path, line, source }),
        }
    }

    /// The class of the file at this path below the folder.
    pub(super) fn class_of(&mut self, key: &[u8]) -> Option<String> {
        let entry = self.entries.get_mut(key)?;
        entry.is_used = true;
        entry.class.clone()
    }

    /// Refuses lines about files that nobody asked for.
    pub(super) fn check_all_used(self) -> Result<(), MetadataError> {
        let unused = self.entries.into_iter().filter(|(_, entry)| !entry.is_used);
        match unused.min_by_key(|(_, entry)| entry.line) {
            None => Ok(()),
            Some((file_name, entry)) => Err(MetadataError {
                path: self.path,
                line: Some(entry.line),
                source: LabelError::NoFile {
                    file_name: shown(&file_name),
                    kind: self.kind,
                },
            }),
        }
    }
}

/// An error, and on which line.
struct AtLine {
    line: Option<usize>,
    source: LabelError,
}

impl From<LabelError> for AtLine {
    fn from(source: LabelError) -> Self {
        Self { line: None, source }
    }
}

type Entries = HashMap<Vec<u8>, Entry>;

fn read(path: &Path) -> Result<Vec<u8>, AtLine> {
    let file = open(path).map_err(LabelError::Read)?;
    let bytes = read_whole(file, MAX_FILE_LEN).map_err(LabelError::Read)?;
    Ok(bytes.ok_or(LabelError::FileTooLong)?)
}

/// Takes a line up; `class` is empty where there is none.
fn insert(
    entries: &mut Entries,
    line: usize,
    file_name: &[u8],
    class: Option<String>,
) -> Result<(), LabelError> {
    if let Some(class) = &class {
        let length = class.chars().count();
        if length > MAX_NAME_LEN {
            let found = shown(class.as_bytes());
            return Err(LabelError::LongLabel { found, length });
        }
    }
    let key = file_name.strip_prefix(b"./").unwrap_or(file_name).to_vec();
    let entry = Entry {
        line,
        class: class.filter(|class| !class.is_empty()),
        is_used: false,
    };
    match entries.get(&key) {
        Some(first) => Err(LabelError::Twice {
            file_name: shown(file_name),
            first: first.line,
        }),
        None => {
            entries.insert(key, entry);
            Ok(())
        }
    }
}

/// The columns of paths and of labels.
fn columns<T: AsRef<[u8]>>(names: &[T]) -> Result<[usize; 2], LabelError> {
    let place = |name: &str| names.iter().position(|n| n.as_ref() == name.as_bytes());
    let found = || shown_list(names);
    let file_name = place(FILE_NAME).ok_or_else(|| LabelError::NoFileName { found: found() })?;
    let label = match (place(LABEL), names.len()) {
        (Some(label), _) => label,
        // The one other column.
        (None, 2) => 1 - file_name,
        (None, _) => return Err(LabelError::NoLabel { found: found() }),
    };
    Ok([file_name, label])
}

fn parse_csv(bytes: &[u8]) -> Result<Entries, AtLine> {
    const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    let mut reader = ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .trim(Trim::All)
        .from_reader(bytes);
    let mut record = ByteRecord::new();
    let mut entries = Entries::new();
    // Where the record starts, and how many fields the first one had and which are wanted.
    let (mut start, mut line) = (0, 1);
    let mut header: Option<(usize, [usize; 2])> = None;
    loop {
        let more = reader.read_byte_record(&mut record);
        let next = record
            .position()
            .map_or(start, |place| place.byte() as usize);
        // The record knows only where the reader stood before it passed over empty lines.
        let is_break = |byte: &&u8| matches!(byte, b'\n' | b'\r');
        let next = next
            + bytes[next.min(bytes.len())..]
                .iter()
                .take_while(is_break)
                .count();
        line += bytes[start..next].iter().filter(|&&b| b == b'\n').count();
        start = next;
        let at = |source| AtLine {
            line: Some(line),
            source,
        };
        match more {
            Ok(true) => {}
            Ok(false) => return Ok(entries),
            Err(error) => return Err(at(LabelError::Malformed(format!("not CSV: {error}")))),
        }
        let Some((width, [file_name, label])) = header else {
            let names: Vec<&[u8]> = record.iter().collect();
            header = Some((record.len(), columns(&names).map_err(at)?));
            continue;
        };
        if record.len() != width {
            return Err(at(LabelError::Malformed(format!(
                "it has {} columns; the first line has {width}",
                record.len()
            ))));
        }
        let class = std::str::from_utf8(&record[label])
            .map_err(|_| at(LabelError::Malformed("the label is not UTF-8".to_owned())))?;
        insert(
            &mut entries,
            line,
            &record[file_name],
            Some(class.to_owned()),
        )
        .map_err(at)?;
    }
}

fn parse_json_lines(bytes: &[u8]) -> Result<Entries, AtLine> {
    let mut entries = Entries::new();
    for (index, text) in bytes.split(|&byte| byte == b'\n').enumerate() {
        if text.trim_ascii().is_empty() {
            continue;
        }
        let line = index + 1;
        let at = |source| AtLine {
            line: Some(line),
            source,
        };
        let object: Map<String, Value> = serde_json::from_slice(text).map_err(|error| {
            // What serde says names the line of the text, which is one.
            let what = match error.classify() {
                serde_json::error::Category::Data => "expected a JSON object",
                _ => "not JSON",
            };
            at(LabelError::Malformed(what.to_owned()))
        })?;
        let names: Vec<&String> = object.keys().collect();
        let [file_name, label] = columns(&names).map_err(at)?.map(|place| names[place]);
        let Value::String(file_name) = &object[file_name] else {
            let text = format!("`{FILE_NAME}` is not text");
            return Err(at(LabelError::Malformed(text)));
        };
        let class = match &object[label] {
            Value::Null => None,
            Value::String(text) => Some(text.trim().to_owned()),
            Value::Number(number) if number.is_i64() || number.is_u64() => Some(number.to_string()),
            other => {
                let found = shown(other.to_string().as_bytes());
                return Err(at(LabelError::Label { found }));
            }
        };
        insert(&mut entries, line, file_name.as_bytes(), class).map_err(at)?;
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::error::Error;
    use std::fs;

    use super::*;

    fn read_file(name: &str, text: &[u8]) -> Result<Option<Labels>, MetadataError> {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(name), text).unwrap();
        Labels::read(dir.path(), FileKind::new("image", &["png"]))
    }

    fn classes(name: &str, text: &str) -> Vec<Option<String>> {
        let mut labels = read_file(name, text.as_bytes()).unwrap().unwrap();
        let classes = ["a/1.png", "2.png", "3.png"].map(|key| labels.class_of(key.as_bytes()));
        labels.check_all_used().unwrap();
        classes.to_vec()
    }

    #[test]
    fn labels_are_read_from_either_file() {
        let expected = [Some("cat".to_owned()), Some("3".to_owned()), None];
        for text in [
            "file_name,label\na/1.png,cat\n2.png,3\n",
            "\u{feff}label,file_name\r\ncat,a/1.png\r\n3,./2.png\r\n,3.png\r\n",
            "file_name,kind\n\"a/1.png\",\"cat\"\n2.png,3",
            "width,file_name,label\n1,a/1.png,cat\n2,2.png,3\n",
        ] {
            assert_eq!(classes(CSV, text), expected, "{text}");
        }
        for text in [
            "{\"file_name\": \"a/1.png\", \"label\": \"cat\"}\n\n{\"label\": 3, \"file_name\": \"2.png\"}",
            "{\"file_name\": \"a/1.png\", \"kind\": \"cat\"}\r\n{\"kind\": 3, \"file_name\": \"2.png\"}\n\
             {\"file_name\": \"3.png\", \"label\": null}\n",
        ] {
            assert_eq!(classes(JSON_LINES, text), expected, "{text}");
        }
        assert!(read_file("other.csv", b"").unwrap().is_none());
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let refused = |name: &str, text: &[u8], parts: &[&str]| {
            let result = read_file(name, text).and_then(|labels| labels.unwrap().check_all_used());
            let error = result.unwrap_err();
            let message = format!("{error}: {}", error.source().unwrap());
            for part in parts {
                assert!(message.contains(part), "no {part:?} in {message}");
            }
            assert!(message.len() < 700, "{message}");
        };
        let csv = |text: &str, parts: &[&str]| refused(CSV, text.as_bytes(), parts);
        csv(
            "name,label\n",
            &["metadata.csv:1", "no column `file_name`", "name, label"],
        );
        csv("file_name,a,b\n", &["no column `label`", "file_name, a, b"]);
        csv("file_name\n", &["no column `label`"]);
        csv(
            "file_name,label\n\nx.png\n",
            &["metadata.csv:3", "1 columns"],
        );
        csv(
            "file_name,label\nx.png,a\nx.png,b\n",
            &["metadata.csv:3", "line 2"],
        );
        csv(
            "file_name,label\nx.png,a\n",
            &["metadata.csv:2", "\"x.png\" is no image"],
        );
        csv(
            &format!("file_name,text\nx.png,{}\n", "word ".repeat(2000)),
            &["metadata.csv:2", "9999 characters"],
        );
        csv(
            &format!("{},label\n", "x".repeat(9000)),
            &["no column `file_name`"],
        );
        refused(
            CSV,
            b"file_name,label\nx.png,\xff\n",
            &["metadata.csv:2", "UTF-8"],
        );
        let json = |text: &str, parts: &[&str]| refused(JSON_LINES, text.as_bytes(), parts);
        json(
            "{\"file_name\": \"x\", \"label\": 1}\n{",
            &["metadata.jsonl:2", "not JSON"],
        );
        json("[1]", &["metadata.jsonl:1", "a JSON object"]);
        json(
            "{\"file_name\": 1, \"label\": 1}",
            &["`file_name` is not text"],
        );
        json(
            "{\"file_name\": \"x\", \"label\": [1]}",
            &["the label is [1]"],
        );
        json(
            "{\"file_name\": \"x\", \"label\": 1.5}",
            &["the label is 1.5"],
        );
        json("{}", &["no column `file_name`"]);

        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(CSV), "").unwrap();
        fs::write(dir.path().join(JSON_LINES), "").unwrap();
        let error = Labels::read(dir.path(), FileKind::new("image", &["png"])).unwrap_err();
        assert!(error.source().unwrap().to_string().contains("remove one"));
        fs::remove_file(dir.path().join(CSV)).unwrap();
        fs::create_dir(dir.path().join(CSV)).unwrap();
        fs::remove_file(dir.path().join(JSON_LINES)).unwrap();
        let error = Labels::read(dir.path(), FileKind::new("image", &["png"])).unwrap_err();
        assert!(error.to_string().ends_with("metadata.csv"), "{error}");
    }
}
