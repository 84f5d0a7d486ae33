//! Which files a folder holds, of which classes, and which of them are held out.

use std::collections::{BTreeSet, HashMap};
use std::error::Error;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::slice;

use walkdir::WalkDir;

use super::error::{FolderError, MAX_CLASSES, first_messages};
use super::kind::FileKind;
use super::metadata::Labels;
use crate::files::sha256;
use crate::splits::{order_by_hash, split_by_hash};

/// Whether there is a file of this kind below `dir`, by its name; what cannot be read counts as not there.
pub(crate) fn has_files(dir: &Path, kind: FileKind) -> bool {
    let mut entries = WalkDir::new(dir).into_iter().flatten();
    entries.any(|entry| entry.file_type().is_file() && kind.is_named_so(entry.path()))
}

/// A file below the folder of a data set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) path: PathBuf,
    /// The path below the folder, its parts joined by slashes on every system.
    key: Vec<u8>,
    /// The first folder of it, or what a file says.
    class: Option<String>,
    /// Whether the first folder has a name that is no text.
    is_in_nameless_folder: bool,
    /// The length of the file in bytes.
    len: u64,
}

/// The files of a kind below a folder, of which nothing but the names has been read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listing {
    pub(crate) train: Vec<Found>,
    pub(crate) test: Vec<Found>,
    kind: FileKind,
    /// Whether the classes are those that a file names.
    is_labelled_by_file: bool,
}

/// The files below a folder that are good, with their classes.
#[derive(Debug)]
pub(crate) struct ReadListing {
    pub(crate) train: SplitFiles,
    pub(crate) test: SplitFiles,
    pub(crate) class_names: Vec<String>,
    /// Changes when files come, go or change.
    pub(crate) fingerprint: String,
}

/// The files of a split.
#[derive(Debug)]
pub(crate) struct SplitFiles {
    pub(crate) paths: Vec<PathBuf>,
    /// The class of each, if it has one.
    pub(crate) labels: Vec<Option<u16>>,
}

impl Listing {
    /// All files, those to learn from first.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Found> {
        self.train.iter().chain(&self.test)
    }

    /// The classes in the order of their labels: by name, or by number where all are numbers that a file
    /// gives.
    fn class_names(&self) -> Vec<String> {
        let names: BTreeSet<&String> = self.all().filter_map(|f| f.class.as_ref()).collect();
        let mut names: Vec<String> = names.into_iter().cloned().collect();
        let number = |name: &String| name.parse::<i64>().ok();
        if self.is_labelled_by_file && names.iter().all(|name| number(name).is_some()) {
            names.sort_by_key(number);
        }
        names
    }

    /// The SHA-256 of split, path and length of every file, in order, and of its class where a file says
    /// it.
    fn fingerprint(&self) -> String {
        let mut text = Vec::new();
        for (split, files) in [(b'+', &self.train), (b'-', &self.test)] {
            for found in files {
                text.push(split);
                text.extend_from_slice(&found.key);
                text.push(0);
                text.extend_from_slice(&found.len.to_le_bytes());
                if self.is_labelled_by_file {
                    text.extend_from_slice(found.class.as_deref().unwrap_or_default().as_bytes());
                    text.push(0);
                }
            }
        }
        sha256(&[&text])
    }

    /// Takes up what came of reading the files, once those that are bad have been taken out of the splits:
    /// `errors` has one for each of them.
    pub(crate) fn read<E: Error>(
        self,
        dir: &Path,
        errors: Vec<E>,
        skip_bad: bool,
    ) -> Result<ReadListing, FolderError<E>> {
        let files = self.train.len() + self.test.len() + errors.len();
        refuse_or_tell(dir, self.kind, files, errors, skip_bad)?;
        for (split, which) in [
            (&self.train, "are learned from"),
            (&self.test, "are held out"),
        ] {
            if split.is_empty() {
                let (path, kind) = (dir.to_owned(), self.kind);
                return Err(FolderError::NothingLeft { path, kind, which });
            }
        }
        let class_names = self.class_names();
        if class_names.len() > MAX_CLASSES {
            return Err(FolderError::TooManyClasses {
                path: dir.to_owned(),
                found: class_names.len(),
            });
        }
        let places: HashMap<&String, u16> = class_names.iter().zip(0..=u16::MAX).collect();
        let split = |files: &[Found]| SplitFiles {
            paths: files.iter().map(|found| found.path.clone()).collect(),
            labels: files
                .iter()
                .map(|found| found.class.as_ref().map(|class| places[class]))
                .collect(),
        };
        let (train, test) = (split(&self.train), split(&self.test));
        Ok(ReadListing {
            train,
            test,
            fingerprint: self.fingerprint(),
            class_names,
        })
    }
}

/// Finds the files of a kind below `dir` and divides them.
pub(crate) fn list<E: Error>(dir: &Path, kind: FileKind) -> Result<Listing, FolderError<E>> {
    let (train, test) = (dir.join("train"), dir.join("test"));
    let is_folder = |path: &Path| path.symlink_metadata().is_ok_and(|found| found.is_dir());
    if is_folder(&train) && is_folder(&test) {
        let mut found = [walk(&train, kind)?, walk(&test, kind)?];
        let mut is_labelled = [false; 2];
        for (place, root) in [&train, &test].into_iter().enumerate() {
            is_labelled[place] = label_by_file(root, kind, found[place].iter_mut())?;
        }
        if is_labelled[0] != is_labelled[1] {
            let path = dir.to_owned();
            return Err(FolderError::MetadataOfOne { path });
        }
        let is_labelled_by_file =
            is_labelled[0] || label_by_file(dir, kind, found.iter_mut().flatten())?;
        for found in found.iter().flatten() {
            found.check_class(kind, is_labelled_by_file)?;
        }
        let [train, test] = found;
        let order = order_by_hash(&keys(&test));
        return Ok(Listing {
            train,
            test: pick(&test, &order),
            kind,
            is_labelled_by_file,
        });
    }
    let mut root = dir;
    let mut found = walk(dir, kind)?;
    let is_training = |found: &Found| found.class.as_deref() == Some("train");
    if is_folder(&train) && found.iter().all(is_training) {
        // A training split whose test split was left away: its name is no class.
        root = &train;
        found = walk(&train, kind)?;
    }
    let is_labelled_by_file = label_by_file(root, kind, found.iter_mut())?
        || (root != dir && label_by_file(dir, kind, found.iter_mut())?);
    for found in &found {
        found.check_class(kind, is_labelled_by_file)?;
    }
    let (train, test) = split_by_hash(&keys(&found)).ok_or_else(|| FolderError::OneFile {
        path: dir.to_owned(),
        kind,
    })?;
    Ok(Listing {
        train: pick(&found, &train),
        test: pick(&found, &test),
        kind,
        is_labelled_by_file,
    })
}

fn keys(found: &[Found]) -> Vec<&[u8]> {
    found.iter().map(|found| &found.key[..]).collect()
}

fn pick(found: &[Found], indices: &[usize]) -> Vec<Found> {
    indices.iter().map(|&index| found[index].clone()).collect()
}

/// Gives files below `root` the classes that a file in it names; says whether there is one.
fn label_by_file<'a, E: Error>(
    root: &Path,
    kind: FileKind,
    files: impl Iterator<Item = &'a mut Found>,
) -> Result<bool, FolderError<E>> {
    let metadata_error = |source| FolderError::Metadata {
        path: root.to_owned(),
        kind,
        source: Box::new(source),
    };
    let Some(mut labels) = Labels::read(root, kind).map_err(metadata_error)? else {
        return Ok(false);
    };
    for found in files {
        found.class = labels.class_of(&key(root, &found.path));
    }
    labels.check_all_used().map_err(metadata_error)?;
    Ok(true)
}

/// The parts of a path below `root`.
fn parts<'a>(root: &Path, path: &'a Path) -> Vec<&'a OsStr> {
    let below = path.strip_prefix(root).unwrap_or(path);
    below
        .components()
        .filter_map(|component| match component {
            Component::Normal(part) => Some(part),
            _ => None,
        })
        .collect()
}

/// A path below `root`, its parts joined by slashes on every system.
fn key(root: &Path, path: &Path) -> Vec<u8> {
    let parts = parts(root, path);
    let bytes: Vec<&[u8]> = parts.iter().map(|part| part.as_encoded_bytes()).collect();
    bytes.join(&b'/')
}

/// The files of a kind below `root` in the order of their paths; at least one.
fn walk<E: Error>(root: &Path, kind: FileKind) -> Result<Vec<Found>, FolderError<E>> {
    let read_error = |path: &Path, source: io::Error| FolderError::Read {
        path: path.to_owned(),
        source,
    };
    let metadata = fs::metadata(root).map_err(|source| read_error(root, source))?;
    if !metadata.is_dir() {
        let source = io::Error::new(io::ErrorKind::NotADirectory, "it is a file");
        return Err(read_error(root, source));
    }
    let is_hidden = |name: &OsStr| name.as_encoded_bytes().starts_with(b".");
    let entries = WalkDir::new(root)
        .sort_by_file_name()
        .into_iter()
        .filter_entry(|entry| entry.depth() == 0 || !is_hidden(entry.file_name()));
    let (mut found, mut others, mut links) = (Vec::new(), 0, 0);
    for entry in entries {
        let entry = entry.map_err(|error| {
            let path = error.path().unwrap_or(root).to_owned();
            read_error(&path, error.into())
        })?;
        if entry.path_is_symlink() && entry.depth() > 0 {
            tracing::warn!("{} is a symbolic link; passed over", entry.path().display());
            links += 1;
        } else if entry.file_type().is_file() {
            if !kind.is_named_so(entry.path()) {
                others += 1;
                continue;
            }
            let len = entry.metadata().map_err(|error| {
                let path = entry.path();
                read_error(path, error.into())
            })?;
            found.push(Found::new(root, entry.path(), len.len()));
        }
    }
    if found.is_empty() {
        return Err(FolderError::NoFiles {
            path: root.to_owned(),
            kind,
            others,
            links,
        });
    }
    Ok(found)
}

impl Found {
    fn new(root: &Path, path: &Path, len: u64) -> Self {
        let class = match &parts(root, path)[..] {
            [class, _, ..] => Some(*class),
            _ => None,
        };
        Self {
            path: path.to_owned(),
            key: key(root, path),
            class: class.and_then(OsStr::to_str).map(str::to_owned),
            is_in_nameless_folder: class.is_some_and(|class| class.to_str().is_none()),
            len,
        }
    }

    /// Refuses a folder that is a class and has a name that is no text: two such would be one.
    fn check_class<E: Error>(
        &self,
        kind: FileKind,
        is_labelled_by_file: bool,
    ) -> Result<(), FolderError<E>> {
        if is_labelled_by_file || !self.is_in_nameless_folder {
            return Ok(());
        }
        let folder = self.path.parent().unwrap_or(&self.path);
        let path = folder.to_owned();
        Err(FolderError::ClassName { path, kind })
    }
}

/// Files that cannot be read: an error, or a warning for each.
fn refuse_or_tell<E: Error>(
    dir: &Path,
    kind: FileKind,
    files: usize,
    errors: Vec<E>,
    skip_bad: bool,
) -> Result<(), FolderError<E>> {
    let path = dir.to_owned();
    if errors.is_empty() {
        return Ok(());
    }
    if errors.len() == files {
        let first = first_messages(&errors);
        return Err(FolderError::AllBad {
            path,
            kind,
            files,
            first,
        });
    }
    if !skip_bad {
        return Err(FolderError::BadFiles {
            path,
            kind,
            files,
            errors,
        });
    }
    for error in &errors {
        tracing::warn!("{}; passed over", first_messages(slice::from_ref(error)));
    }
    tracing::warn!(
        "{} of the {files} {kind}s below {} cannot be read and were passed over",
        errors.len(),
        dir.display()
    );
    Ok(())
}
