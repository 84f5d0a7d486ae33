//! Why a folder gives no data set.

use std::error::Error;
use std::io;
use std::path::PathBuf;

use super::kind::FileKind;
use super::metadata::MetadataError;

/// The most classes of a data set.
pub const MAX_CLASSES: usize = 1 << 16;

/// Why a folder gives no data set; `E` is what can be wrong with one of its files.
#[derive(Debug, thiserror::Error)]
pub enum FolderError<E: Error + 'static> {
    /// A folder cannot be read.
    #[error("cannot read the folder {}", path.display())]
    Read {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// There is no file of the kind.
    #[error(
        "no {kind}s below {}: expected files named {}, in it or in folders in it ({others} other files and \
         {links} symbolic links were passed over)",
        path.display(), kind.file_names()
    )]
    NoFiles {
        /// The folder.
        path: PathBuf,
        /// What was looked for.
        kind: FileKind,
        /// Files that are of another kind by their names.
        others: usize,
        /// Symbolic links, which are not followed.
        links: usize,
    },
    /// All files of one split are bad, and nothing is left of it.
    #[error(
        "of the {kind}s below {}, all that {which} are bad: repair some of them, or add others", path.display()
    )]
    NothingLeft {
        /// The folder.
        path: PathBuf,
        /// What was looked for.
        kind: FileKind,
        /// Which split they are.
        which: &'static str,
    },
    /// There is one file, and it cannot be held out and learned from.
    #[error("only one {kind} below {}: at least two are needed, one of them to be held out", path.display())]
    OneFile {
        /// The folder.
        path: PathBuf,
        /// What was looked for.
        kind: FileKind,
    },
    /// A folder of files has a name that is no text, and a class must have one.
    #[error(
        "the folder {} holds {kind}s, and its name, which would be that of their class, is not UTF-8: rename \
         it",
        path.display()
    )]
    ClassName {
        /// The folder.
        path: PathBuf,
        /// What it holds.
        kind: FileKind,
    },
    /// The classes of the files cannot be read.
    #[error("the classes of the {kind}s below {} cannot be read", path.display())]
    Metadata {
        /// The folder.
        path: PathBuf,
        /// What it holds.
        kind: FileKind,
        /// What is wrong, and where.
        source: Box<MetadataError>,
    },
    /// Classes are named in a file for one split, and for the other they are not.
    #[error(
        "of {}/train and {0}/test only one has a metadata.csv or metadata.jsonl: give the other one, too, or \
         put one of both into {0}", path.display()
    )]
    MetadataOfOne {
        /// The folder.
        path: PathBuf,
    },
    /// Files cannot be read.
    #[error(
        "{} of the {files} {kind}s below {} cannot be read; repair or remove them, or have them passed \
         over (skip_bad). The first: {}",
        errors.len(), path.display(), first_messages(errors)
    )]
    BadFiles {
        /// The folder.
        path: PathBuf,
        /// What it holds.
        kind: FileKind,
        /// How many files there are.
        files: usize,
        /// One error a bad file.
        errors: Vec<E>,
    },
    /// All files are unreadable.
    #[error("none of the {files} {kind}s below {} can be read. The first: {first}", path.display())]
    AllBad {
        /// The folder.
        path: PathBuf,
        /// What it holds.
        kind: FileKind,
        /// How many files there are.
        files: usize,
        /// What is wrong with the first ones.
        first: String,
    },
    /// There are more folders than classes can be.
    #[error("{found} folders in {}: there can be at most {MAX_CLASSES} classes", path.display())]
    TooManyClasses {
        /// The folder.
        path: PathBuf,
        /// The number of folders.
        found: usize,
    },
}

/// The first few of these errors, each with what caused it.
pub(crate) fn first_messages<E: Error>(errors: &[E]) -> String {
    const SHOWN: usize = 5;
    let messages: Vec<String> = errors
        .iter()
        .take(SHOWN)
        .map(|error| match error.source() {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        })
        .collect();
    messages.join("; ")
}
