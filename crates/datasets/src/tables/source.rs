//! What a table is read from: bytes that are read several times from their beginning, and never held whole.
//!
//! The first time tells how characters are written, and the SHA-256 of all. Whoever reads on to the end later learns
//! whether the bytes still are the same: what was found in one reading holds in the next, or that is an error.

use std::io::{self, Cursor, Read, Seek, Write};

use super::charset::{Charset, Decoder, detect};
use crate::files::Sha256Writer;

/// Bytes that are read several times.
#[derive(Debug)]
pub(crate) struct Source<R> {
    bytes: R,
    len: u64,
    sha256: String,
    charset: Charset,
}

/// The bytes are no longer those that were read before.
#[derive(Debug, thiserror::Error)]
#[error("it changed while it was read")]
pub(crate) struct Changed;

impl<R: Read + Seek> Source<R> {
    /// Reads `bytes` for the first time; nothing where there are more than `limit`.
    pub(crate) fn new(mut bytes: R, limit: u64) -> io::Result<Option<Self>> {
        bytes.rewind()?;
        let mut hashed = Hashed::of((&mut bytes).take(limit.saturating_add(1)));
        let charset = detect(&mut hashed)?;
        let (len, sha256) = (hashed.len, hashed.hasher.finish());
        Ok((len <= limit).then_some(Self {
            bytes,
            len,
            sha256,
            charset,
        }))
    }

    /// How characters are written.
    pub(crate) fn charset(&self) -> Charset {
        self.charset
    }

    /// The SHA-256 of all bytes, in hexadecimal digits.
    pub(crate) fn sha256(&self) -> &str {
        &self.sha256
    }

    /// The characters, from the beginning.
    pub(crate) fn text(&mut self) -> io::Result<Decoder<Checked<'_, R>>> {
        self.bytes.rewind()?;
        let checked = Checked {
            hashed: Some(Hashed::of(&mut self.bytes)),
            len: self.len,
            sha256: &self.sha256,
        };
        Ok(Decoder::new(checked, self.charset))
    }
}

impl<'a> Source<Cursor<&'a [u8]>> {
    /// Bytes that are in memory.
    pub(crate) fn in_memory(bytes: &'a [u8]) -> io::Result<Self> {
        let source = Self::new(Cursor::new(bytes), u64::MAX)?;
        source.ok_or_else(|| io::ErrorKind::FileTooLarge.into())
    }
}

/// Takes the SHA-256 of what is read.
struct Hashed<R> {
    bytes: R,
    hasher: Sha256Writer,
    len: u64,
}

impl<R> Hashed<R> {
    fn of(bytes: R) -> Self {
        Self {
            bytes,
            hasher: Sha256Writer::default(),
            len: 0,
        }
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.bytes.read(into)?;
        self.hasher.write_all(&into[..read])?;
        self.len += read as u64;
        Ok(read)
    }
}

/// Bytes that are read again, and are an error at their end where they are others than before.
pub(crate) struct Checked<'a, R> {
    /// Nothing behind the end.
    hashed: Option<Hashed<&'a mut R>>,
    len: u64,
    sha256: &'a str,
}

impl<R: Read> Read for Checked<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let Some(hashed) = &mut self.hashed else {
            return Ok(0);
        };
        let read = hashed.read(into)?;
        // What grows without end is noticed before it ends.
        let mut is_other = hashed.len > self.len;
        if read == 0
            && !into.is_empty()
            && let Some(hashed) = self.hashed.take()
        {
            is_other = hashed.hasher.finish() != self.sha256;
        }
        if is_other {
            return Err(io::Error::new(io::ErrorKind::InvalidData, Changed));
        }
        Ok(read)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]

    use std::io::SeekFrom;

    use super::*;

    /// Bytes that come in small pieces, are others from the n-th time on that they are read, or cannot be read
    /// beyond a place.
    #[derive(Debug, Default)]
    pub(crate) struct Unsteady {
        pub(crate) bytes: Cursor<Vec<u8>>,
        /// The longest piece; 0 for any length.
        pub(crate) piece_len: usize,
        /// Which time, from 1, and what is there then.
        pub(crate) later: Option<(usize, Vec<u8>)>,
        /// Which time, from 1, and from which place on there is an error.
        pub(crate) broken: Option<(usize, u64)>,
        pub(crate) times: usize,
    }

    impl Read for Unsteady {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let mut most = match self.piece_len {
                0 => into.len(),
                len => into.len().min(len),
            };
            if let Some((time, place)) = self.broken
                && self.times >= time
            {
                let left = place.saturating_sub(self.bytes.position());
                if left == 0 {
                    return Err(io::ErrorKind::StaleNetworkFileHandle.into());
                }
                most = most.min(left as usize);
            }
            self.bytes.read(&mut into[..most])
        }
    }

    impl Seek for Unsteady {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            self.times += 1;
            if let Some((time, bytes)) = &self.later
                && *time == self.times
            {
                self.bytes = Cursor::new(bytes.clone());
            }
            self.bytes.seek(to)
        }
    }

    impl<R> Source<R> {
        /// The bytes again.
        pub(crate) fn into_inner(self) -> R {
            self.bytes
        }
    }

    fn all(source: &mut Source<Unsteady>) -> io::Result<String> {
        let mut text = String::new();
        let mut decoder = source.text()?;
        while decoder.read(&mut text)? {}
        Ok(text)
    }

    fn unsteady(bytes: &[u8]) -> Unsteady {
        Unsteady {
            bytes: Cursor::new(bytes.to_vec()),
            ..Unsteady::default()
        }
    }

    #[test]
    fn a_text_is_read_again() {
        let bytes = b"\xef\xbb\xbfna\xc3\xafve";
        let mut source = Source::new(unsteady(bytes), 9).unwrap().unwrap();
        assert_eq!(source.charset(), Charset::Utf8Bom);
        assert_eq!(source.sha256(), crate::files::sha256(&[bytes]));
        for _ in 0..2 {
            assert_eq!(all(&mut source).unwrap(), "na\u{ef}ve");
        }
        assert!(Source::new(unsteady(bytes), 8).unwrap().is_none());
    }

    #[test]
    fn a_text_that_changes_is_noticed() {
        for later in ["naïve!", "naive", "naïv", "", "na\u{ef}v\u{e9}"] {
            let bytes = Unsteady {
                later: Some((3, later.into())),
                ..unsteady("naïve".as_bytes())
            };
            let mut source = Source::new(bytes, 100).unwrap().unwrap();
            assert!(all(&mut source).is_ok());
            let error = all(&mut source).unwrap_err();
            assert!(error.get_ref().unwrap().is::<Changed>(), "{later}");
        }
    }
}
