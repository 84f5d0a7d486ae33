//! What a person is told of a configuration that cannot be used: where it stands, what was expected, and
//! the nearest known name.

use std::path::{Path, PathBuf};

use thiserror::Error;

use super::embedded::EMBEDDED;

/// A configuration that cannot be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// Neither a file nor a configuration of the program.
    #[error(
        "no configuration `{name}`: expected a file, or one of {known}{}",
        nearest.map_or(String::new(), |name| format!("; did you mean `{name}`?"))
    )]
    Unknown {
        /// The name as typed.
        name: String,
        /// The configurations of the program.
        known: String,
        /// The one that is likely meant.
        nearest: Option<&'static str>,
    },
    /// The file cannot be read.
    #[error("cannot read the configuration {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not TOML, or a key is unknown or holds a value of the wrong kind.
    #[error("{}:{line}:{column}: {message}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What was wrong and what was expected.
        message: String,
    },
    /// An override of the command line that does not fit.
    #[error("--set {text}: {message}")]
    Override {
        /// The override as typed.
        text: String,
        /// What was wrong and what was expected.
        message: String,
    },
    /// A value that makes no sense.
    #[error("{}{key}: {message}", location(.path.as_deref(), *.line))]
    Value {
        /// The file, where the value stands in one.
        path: Option<PathBuf>,
        /// Line in it, from 1.
        line: Option<usize>,
        /// The key, with dots.
        key: String,
        /// What was wrong and what was expected.
        message: String,
    },
}

impl ConfigError {
    /// That there is no configuration of this name.
    pub(super) fn unknown_name(name: &str) -> Self {
        let names: Vec<&str> = EMBEDDED.iter().map(|(known, _)| *known).collect();
        Self::Unknown {
            name: name.to_owned(),
            known: names.join(", "),
            nearest: nearest(name, names.iter().copied()),
        }
    }
}

/// The name that was likely meant, if one is near enough.
fn nearest<'a>(wrong: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    names
        .map(|name| (strsim::normalized_damerau_levenshtein(wrong, name), name))
        .filter(|(similarity, _)| *similarity > 0.5)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

fn location(path: Option<&Path>, line: Option<usize>) -> String {
    match (path, line) {
        (Some(path), Some(line)) => format!("{}:{line}: ", path.display()),
        (Some(path), None) => format!("{}: ", path.display()),
        _ => String::new(),
    }
}

/// The first line of a message of serde or toml, with the nearest known name where one is
/// unknown: ``unknown field `batchsize`, expected one of `batch_size`, `steps` ``.
pub(super) fn explain(message: &str) -> String {
    let mut names = message.split('`').skip(1).step_by(2);
    let unknown = message.starts_with("unknown ");
    let nearest = match names.next() {
        Some(wrong) if unknown => nearest(wrong, names),
        _ => None,
    };
    let message = message.replacen("unknown field", "unknown key", 1);
    match nearest {
        Some(name) => format!("{message}; did you mean `{name}`?"),
        None => message,
    }
}

/// Line and column, both from 1, of a byte of `text`.
pub(super) fn position(text: &str, byte: usize) -> (usize, usize) {
    let before = text.get(..byte).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (
        before.matches('\n').count() + 1,
        before[line_start..].chars().count() + 1,
    )
}

/// The line, from 1, on which the value of a dotted key stands; the line of the nearest table
/// above it where the key itself is not in the file.
pub(super) fn line_of_key(text: &str, key: &str) -> Option<usize> {
    let document = toml::de::DeTable::parse(text).ok()?;
    let mut table = document.get_ref();
    let mut line = None;
    for part in key.split('.') {
        let Some((name, value)) = table.iter().find(|(name, _)| name.get_ref() == part) else {
            break;
        };
        line = Some(position(text, name.span().start).0);
        match value.get_ref() {
            toml::de::DeValue::Table(inner) => table = inner,
            _ => break,
        }
    }
    line
}
