//! Reads the files of a run, which are small and regular: a pipe would keep us waiting for a writer, and a
//! device may never end.

use std::fs;
use std::io;
use std::path::Path;

use datasets::files::read_file;

/// The most bytes of a configuration or of the state of a checkpoint.
pub const SMALL: u64 = 16 << 20;

/// The most bytes of the metrics of a run.
pub const METRICS: u64 = 1 << 30;

/// The bytes of the regular file at `path`, which has at most `limit`.
///
/// # Errors
///
/// As of [`fs::read`]; for what is no regular file, and for one that is longer.
pub fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    read_file(path, limit)
}

/// Refuses what is no regular file.
///
/// # Errors
///
/// What is there instead, or why nothing can be said of it.
pub fn check_regular(path: &Path) -> io::Result<()> {
    let kind = fs::metadata(path)?.file_type();
    if kind.is_file() {
        return Ok(());
    }
    let (error, what) = if kind.is_dir() {
        (io::ErrorKind::IsADirectory, "a folder")
    } else {
        (io::ErrorKind::InvalidInput, "a pipe, a socket or a device")
    };
    let message = format!("it is {what}; a regular file is wanted");
    Err(io::Error::new(error, message))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn files_are_read_up_to_a_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, b"12345").unwrap();
        assert_eq!(read(&path, 5).unwrap(), b"12345");
        assert!(read(&path, 4).unwrap_err().to_string().contains("longer"));
        assert!(
            read(folder.path(), 4)
                .unwrap_err()
                .to_string()
                .contains("folder")
        );
    }

    #[cfg(unix)]
    #[test]
    fn pipes_and_devices_are_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        for path in [&pipe, Path::new("/dev/zero")] {
            let message = read(path, 10).unwrap_err().to_string();
            assert!(message.contains("regular file"), "{message}");
        }
    }
}
