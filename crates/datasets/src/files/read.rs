//! Files as bounded byte strings: regular files only, unpacked on the fly, never read past a limit.

use std::fs::{self, File, Metadata};
use std::io::{self, BufReader, Read, Seek};
use std::path::Path;

use flate2::read::MultiGzDecoder;

/// The first two bytes of a gzip member (RFC 1952).
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Room that is reserved before a byte is read; past it a buffer grows with what really arrives.
const FIRST_RESERVATION: usize = 64 << 20;

/// Opens a regular file for reading. Anything else is refused: a folder may be opened on some systems, a
/// named pipe would keep us waiting for a writer, and a device may never end.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    // Before it is opened, since opening a pipe waits; after it, since another may have taken its place.
    check_regular(&fs::metadata(path)?)?;
    let file = File::open(path)?;
    check_regular(&file.metadata()?)?;
    Ok(file)
}

fn check_regular(metadata: &Metadata) -> io::Result<()> {
    if metadata.is_file() {
        return Ok(());
    }
    let (kind, what) = if metadata.is_dir() {
        (io::ErrorKind::IsADirectory, "a folder")
    } else {
        (io::ErrorKind::InvalidInput, "a pipe, a socket or a device")
    };
    let message = format!("it is {what}; a regular file is wanted");
    Err(io::Error::new(kind, message))
}

/// Opens a file and unpacks it on the fly if it starts as gzip does, whatever its name says.
pub(crate) fn open_unpacked(path: &Path) -> io::Result<Box<dyn Read>> {
    let mut file = open(path)?;
    let mut start = Vec::with_capacity(GZIP_MAGIC.len());
    file.by_ref()
        .take(GZIP_MAGIC.len() as u64)
        .read_to_end(&mut start)?;
    file.rewind()?;
    let file = BufReader::new(file);
    Ok(if start == GZIP_MAGIC {
        // The multi-member decoder reads to the end of the file, so it sees bytes that follow the
        // gzip stream; the single-member one would leave them unread.
        Box::new(MultiGzDecoder::new(file))
    } else {
        Box::new(file)
    })
}

/// Reading failed after `offset` bytes.
pub(crate) struct Interrupted {
    pub(crate) offset: usize,
    pub(crate) source: io::Error,
}

/// Reads to the end, but never more than `limit` bytes.
pub(crate) fn read_at_most(reader: impl Read, limit: usize) -> Result<Vec<u8>, Interrupted> {
    let mut bytes = Vec::with_capacity(limit.min(FIRST_RESERVATION));
    match reader.take(limit as u64).read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        Err(source) => Err(Interrupted {
            offset: bytes.len(),
            source,
        }),
    }
}

/// Reads a file to its end; nothing where it is longer than `limit`.
pub(crate) fn read_whole(mut file: File, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let len = file.metadata()?.len();
    if len > limit {
        return Ok(None);
    }
    let mut bytes = Vec::with_capacity(usize::try_from(len).unwrap_or_default());
    // It may have grown since.
    file.by_ref().take(limit + 1).read_to_end(&mut bytes)?;
    Ok(Some(bytes).filter(|bytes| bytes.len() as u64 <= limit))
}

/// Reads a regular file of at most `limit` bytes to its end.
///
/// ```
/// let path = std::env::temp_dir();
/// let error = datasets::files::read_file(&path, 100).unwrap_err();
/// assert!(error.to_string().contains("regular file"));
/// ```
///
/// # Errors
///
/// What the system says; a folder, a pipe or a device in place of a file; a file that is longer.
pub fn read_file(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    read_whole(open(path)?, limit)?.ok_or_else(|| {
        let message = format!("it is longer than {limit} bytes, the limit of such a file");
        io::Error::new(io::ErrorKind::FileTooLarge, message)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn only_regular_files_are_opened() {
        let dir = tempfile::tempdir().unwrap();
        let message = open(dir.path()).unwrap_err().to_string();
        assert!(message.contains("folder"), "{message}");
        assert!(open(&dir.path().join("none")).is_err());
        fs::write(dir.path().join("file"), "text").unwrap();
        assert!(open(&dir.path().join("file")).is_ok());
        assert_eq!(read_file(&dir.path().join("file"), 4).unwrap(), b"text");
        let message = read_file(&dir.path().join("file"), 3)
            .unwrap_err()
            .to_string();
        assert!(message.contains("longer than 3 bytes"), "{message}");
    }

    #[cfg(unix)]
    #[test]
    fn pipes_and_devices_are_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        for path in [&pipe, Path::new("/dev/zero")] {
            let message = open(path).unwrap_err().to_string();
            assert!(message.contains("regular file"), "{message}");
        }
    }
}
