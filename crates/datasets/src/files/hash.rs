//! Checksums.

use std::io;

use sha2::{Digest, Sha256};

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
