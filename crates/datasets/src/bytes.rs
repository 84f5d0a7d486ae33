//! Files as bounded byte strings: unpacking, limits, checksums, and the map from bytes to [-1, 1].

use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::path::Path;

use flate2::read::MultiGzDecoder;
use sha2::{Digest, Sha256};

/// The first two bytes of a gzip member (RFC 1952).
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Room that is reserved before a byte is read; past it a buffer grows with what really arrives.
const FIRST_RESERVATION: usize = 64 << 20;

/// Opens a regular file for reading. A folder is refused here: some systems would let it be opened.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let file = File::open(path)?;
    if file.metadata()?.is_dir() {
        let message = "it is a folder; a file is wanted";
        return Err(io::Error::new(io::ErrorKind::IsADirectory, message));
    }
    Ok(file)
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

/// The SHA-256 of the parts, one after the other, in lower-case hexadecimal digits.
pub(crate) fn sha256(parts: &[&[u8]]) -> String {
    let mut hasher = Sha256Writer::default();
    for part in parts {
        hasher.0.update(part);
    }
    hasher.finish()
}

/// Takes the SHA-256 of all that is written into it.
#[derive(Default)]
pub(crate) struct Sha256Writer(Sha256);

impl Sha256Writer {
    /// The checksum in lower-case hexadecimal digits.
    pub(crate) fn finish(self) -> String {
        let digest = self.0.finalize();
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl io::Write for Sha256Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// b / 127.5 − 1 for each byte b, computed in f64.
pub(crate) fn normalised_bytes() -> [f32; 256] {
    std::array::from_fn(|byte| (byte as f64 / 127.5 - 1.0) as f32)
}
