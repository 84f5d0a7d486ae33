//! Where the files of a published data set lie on this machine.

use std::path::{Path, PathBuf};

use super::catalogue::DatasetName;

/// A data set lies in none of the places where it is looked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no files of the dataset {name} (such as {example}) in any of: {}",
    list(looked_in)
)]
pub struct NotFound {
    /// The data set.
    pub name: DatasetName,
    /// One of its files.
    pub example: &'static str,
    /// The folders that were looked into, in order.
    pub looked_in: Vec<PathBuf>,
}

fn list(folders: &[PathBuf]) -> String {
    let folders: Vec<String> = folders
        .iter()
        .map(|folder| folder.display().to_string())
        .collect();
    folders.join(", ")
}

/// The folder that holds the dataset's files.
///
/// With `data_dir` it is `data_dir/NAME`, or `data_dir` itself if the files lie there. Without, it
/// is the first `data/NAME` with files in it, from the working folder up to the root of the file
/// system, so the program works anywhere inside a clone.
///
/// # Errors
///
/// [`NotFound`], which lists every folder that was looked into.
pub fn find(name: DatasetName, data_dir: Option<&Path>) -> Result<PathBuf, NotFound> {
    let candidates = match data_dir {
        Some(dir) => vec![dir.join(name.as_str()), dir.to_owned()],
        // A working folder that was deleted has no path; "." then says as much as can be said.
        None => upward(
            &std::env::current_dir().unwrap_or_else(|_| ".".into()),
            name,
        ),
    };
    first_with_files(name, candidates)
}

/// `data/NAME` in `start` and in each folder above it.
fn upward(start: &Path, name: DatasetName) -> Vec<PathBuf> {
    start
        .ancestors()
        .map(|dir| dir.join("data").join(name.as_str()))
        .collect()
}

fn first_with_files(name: DatasetName, candidates: Vec<PathBuf>) -> Result<PathBuf, NotFound> {
    match candidates.iter().find(|dir| name.has_files_in(dir)) {
        Some(dir) => Ok(dir.clone()),
        None => Err(NotFound {
            name,
            example: name.example_file(),
            looked_in: candidates,
        }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs;

    use super::*;
    use crate::files::catalogue::CIFAR10_ARCHIVE;

    #[test]
    fn the_working_folder_and_all_above_it_are_searched() {
        let root = tempfile::tempdir().unwrap();
        let data = root.path().join("data/mnist");
        let nested = root.path().join("a/b/c");
        fs::create_dir_all(&data).unwrap();
        fs::create_dir_all(&nested).unwrap();
        let find_from =
            |start| first_with_files(DatasetName::Mnist, upward(start, DatasetName::Mnist));

        // A folder without the files does not count, and the error lists every place.
        let message = find_from(&nested).unwrap_err().to_string();
        for place in [nested.join("data/mnist"), data.clone()] {
            assert!(message.contains(&place.display().to_string()), "{message}");
        }

        fs::write(data.join("t10k-labels-idx1-ubyte.gz"), "").unwrap();
        assert_eq!(find_from(&nested).unwrap(), data);
        assert_eq!(find_from(root.path()).unwrap(), data);
    }

    #[test]
    fn a_data_folder_holds_the_dataset_or_its_files() {
        let root = tempfile::tempdir().unwrap();
        let inner = root.path().join("cifar10");
        fs::create_dir(&inner).unwrap();
        let find = |dir: &Path| find(DatasetName::Cifar10, Some(dir));
        assert!(find(root.path()).is_err());
        fs::write(inner.join("test_batch.bin"), "").unwrap();
        assert_eq!(find(root.path()).unwrap(), inner);
        assert_eq!(find(&inner).unwrap(), inner);
        fs::rename(inner.join("test_batch.bin"), inner.join(CIFAR10_ARCHIVE)).unwrap();
        assert_eq!(find(root.path()).unwrap(), inner);
    }
}
