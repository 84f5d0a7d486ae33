//! `labels.csv`, which stands beside files of samples and says of which class each is:
//!
//! ```text
//! file,class,name
//! 000000.png,3,three
//! ```

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use datasets::files::read_file;

use crate::run::atomic_file;

/// Its name.
const LABELS: &str = "labels.csv";

/// The most bytes of it that are read.
const MAX_LEN: u64 = 256 << 20;

/// Writes `labels.csv` into `folder`: the file of each sample, by `file_name` of its place, and its class by
/// number and by name.
pub(super) fn write_labels(
    classes: &[Option<usize>],
    names: &[String],
    folder: &Path,
    file_name: impl Fn(usize) -> String,
) -> Result<()> {
    let mut labels = "file,class,name\n".to_owned();
    for (index, class) in classes.iter().enumerate() {
        let name = class.and_then(|class| names.get(class));
        let name = name
            .map(|name| quoted_where_needed(name))
            .unwrap_or_default();
        let class = class.map(|class| class.to_string()).unwrap_or_default();
        writeln!(labels, "{},{class},{name}", file_name(index)).context("cannot write a label")?;
    }
    let path = folder.join(LABELS);
    atomic_file::write(&path, labels.as_bytes())
        .with_context(|| format!("cannot write {}", path.display()))
}

/// A name as a field of a CSV file.
fn quoted_where_needed(name: &str) -> String {
    if name.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", name.replace('"', "\"\""))
    } else {
        name.to_owned()
    }
}

/// The files that `labels.csv` in `folder` names, with the class of each, if it has one.
///
/// # Errors
///
/// What is wrong with it, and in which line.
pub fn read_labels(folder: &Path) -> Result<Vec<(PathBuf, Option<usize>)>> {
    let path = folder.join(LABELS);
    let bytes =
        read_file(&path, MAX_LEN).with_context(|| format!("cannot read {}", path.display()))?;
    let mut reader = csv::Reader::from_reader(&bytes[..]);
    let mut files = Vec::new();
    for (line, record) in (2..).zip(reader.records()) {
        let record = record.with_context(|| format!("{} is damaged", path.display()))?;
        let (file, class) = (
            record.get(0).unwrap_or_default(),
            record.get(1).unwrap_or_default(),
        );
        let parsed = match class {
            "" => Some(None),
            class => class.parse().ok().map(Some),
        };
        // A file beside it: nothing else on the machine is read.
        let is_name = Path::new(file).file_name().is_some_and(|name| name == file);
        match parsed {
            Some(class) if is_name => files.push((folder.join(file), class)),
            _ => bail!(
                "{}:{line}: expected the name of a file in this folder and the number of a class, or nothing for \
                 no class",
                path.display()
            ),
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn labels_survive_writing_and_reading() {
        let folder = tempfile::tempdir().unwrap();
        let names = ["cat", "dog, \"big\""].map(str::to_owned);
        let classes = [Some(1), None, Some(0)];
        let file_name = |index| format!("{index}.png");
        write_labels(&classes, &names, folder.path(), file_name).unwrap();
        let read = read_labels(folder.path()).unwrap();
        let expected: Vec<(PathBuf, Option<usize>)> = (0..3)
            .map(|index| (folder.path().join(file_name(index)), classes[index]))
            .collect();
        assert_eq!(read, expected);
    }

    #[test]
    fn a_line_names_a_file_beside_it_and_a_class() {
        let folder = tempfile::tempdir().unwrap();
        let error = |text: &str| {
            std::fs::write(folder.path().join(LABELS), text).unwrap();
            read_labels(folder.path()).unwrap_err().to_string()
        };
        let bad = [
            "../a.png,1,x",
            "/etc/a,1,x",
            ",1,x",
            "a.png,cat,x",
            "a.png,-1,x",
            "..,1,x",
        ];
        for line in bad {
            let error = error(&format!("file,class,name\nb.png,0,y\n{line}\n"));
            assert!(error.contains("labels.csv:3: expected the name"), "{error}");
        }
        assert!(error("file,class,name\na.png,1\n").contains("damaged"));
    }
}
