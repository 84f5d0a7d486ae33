//! IDX, the file format of MNIST and Fashion-MNIST, packed with gzip or plain.
//!
//! ```text
//! offset    bytes   meaning (integers are big-endian)
//! 0         2       zero
//! 2         1       type of the elements; 0x08 is an unsigned byte, the only one read here
//! 3         1       rank r, the number of dimensions
//! 4         4 r     the dimensions
//! 4 + 4 r   …       the elements in row-major order
//! ```
//!
//! Source: LeCun, Cortes and Burges, "The MNIST database of handwritten digits".
//!
//! The header says how long the file must be, so at most one byte more is ever unpacked: a gzip
//! bomb costs nothing.

use std::io::{self, Read};
use std::path::Path;

use crate::files::{Interrupted, open_unpacked, read_at_most, sha256};

/// The most elements that a file may announce (1 GiB).
pub const MAX_ELEMENTS: u64 = 1 << 30;

/// The element type of an IDX file of unsigned bytes.
const UNSIGNED_BYTE: u8 = 0x08;

/// An array of unsigned bytes, in row-major order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdxArray {
    dims: Vec<u32>,
    data: Vec<u8>,
}

/// Why bytes are not the IDX file that was expected. Offsets count unpacked bytes.
#[derive(Debug, thiserror::Error)]
pub enum IdxError {
    /// There is not one byte.
    #[error("the file is empty")]
    Empty,
    /// The first four bytes are others.
    #[error(
        "byte 0: expected the IDX magic number {expected:#010x} (unsigned bytes, rank {}), \
         found {found:#010x}", expected & 0xff
    )]
    Magic {
        /// The four bytes that start such a file.
        expected: u32,
        /// The four bytes that start this one.
        found: u32,
    },
    /// The file ends inside the header.
    #[error("the header is cut short: expected {expected} bytes, found {found}")]
    HeaderTruncated {
        /// The length of the header in bytes.
        expected: usize,
        /// The length of the file in bytes.
        found: usize,
    },
    /// A dimension is zero.
    #[error("byte {offset}: dimension {index} is 0")]
    ZeroDimension {
        /// Where the dimension stands.
        offset: usize,
        /// Which one it is, from 0.
        index: usize,
    },
    /// The header announces more than [`MAX_ELEMENTS`].
    #[error("byte 4: the dimensions {dims:?} hold more than {MAX_ELEMENTS} bytes, the limit")]
    TooLarge {
        /// The dimensions in the header.
        dims: Vec<u32>,
    },
    /// The file ends before its last element.
    #[error(
        "the file is cut short: the header {dims:?} asks for {expected} bytes in all, found {found}"
    )]
    Truncated {
        /// The dimensions in the header.
        dims: Vec<u32>,
        /// The length in bytes that the header implies, header included.
        expected: usize,
        /// The length of the file in bytes.
        found: usize,
    },
    /// The file goes on after its last element.
    #[error("the file goes on after byte {expected}, where the header {dims:?} says it ends")]
    TrailingBytes {
        /// The dimensions in the header.
        dims: Vec<u32>,
        /// The length in bytes that the header implies, header included.
        expected: usize,
    },
    /// The disk or the gzip stream gave out.
    #[error("reading failed after {offset} unpacked bytes (a packed file may be cut or damaged)")]
    Unreadable {
        /// How many bytes had been read, or unpacked.
        offset: usize,
        /// What the system or the unpacker says.
        source: io::Error,
    },
}

impl IdxArray {
    /// The dimensions, outermost first.
    pub fn dims(&self) -> &[u32] {
        &self.dims
    }

    /// The elements in row-major order; as many as the product of the dimensions.
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// The elements, without a copy.
    pub fn into_data(self) -> Vec<u8> {
        self.data
    }

    /// The length of the header in bytes: where the first element stands in the unpacked file.
    pub fn header_len(&self) -> usize {
        header_len(self.dims.len())
    }

    /// The SHA-256 of the unpacked file, in lower-case hexadecimal digits.
    pub fn sha256(&self) -> String {
        // An array has exactly one IDX file, so the header need not be kept.
        let mut header = magic(self.dims.len() as u8).to_be_bytes().to_vec();
        header.extend(self.dims.iter().flat_map(|dim| dim.to_be_bytes()));
        sha256(&[&header, &self.data])
    }
}

/// Reads the file at `path`, packed with gzip or plain, which must have `rank` dimensions.
///
/// # Errors
///
/// See [`IdxError`]; a file that cannot be opened is [`IdxError::Unreadable`] at offset 0.
pub fn read(path: &Path, rank: u8) -> Result<IdxArray, IdxError> {
    let reader =
        open_unpacked(path).map_err(|source| IdxError::Unreadable { offset: 0, source })?;
    parse(reader, rank)
}

/// Parses an unpacked IDX file of unsigned bytes, which must have `rank` dimensions and end with
/// its last element.
///
/// # Errors
///
/// See [`IdxError`].
pub fn parse(mut reader: impl Read, rank: u8) -> Result<IdxArray, IdxError> {
    let header_len = header_len(rank.into());
    let header = read_at_most(&mut reader, header_len).map_err(|e| unreadable(e, 0))?;
    if header.is_empty() {
        return Err(IdxError::Empty);
    }
    let mut words = header
        .chunks_exact(4)
        .map(|word| u32::from_be_bytes([word[0], word[1], word[2], word[3]]));
    let expected = magic(rank);
    if let Some(found) = words.next().filter(|&found| found != expected) {
        return Err(IdxError::Magic { expected, found });
    }
    if header.len() < header_len {
        return Err(IdxError::HeaderTruncated {
            expected: header_len,
            found: header.len(),
        });
    }

    let dims: Vec<u32> = words.collect();
    if let Some(index) = dims.iter().position(|&dim| dim == 0) {
        return Err(IdxError::ZeroDimension {
            offset: self::header_len(index),
            index,
        });
    }
    let elements = dims
        .iter()
        .try_fold(1u64, |product, &dim| product.checked_mul(dim.into()))
        .filter(|&elements| elements <= MAX_ELEMENTS);
    let Some(elements) = elements else {
        return Err(IdxError::TooLarge { dims });
    };
    let elements = elements as usize;

    // One byte more than the header asks for shows whether the file ends where it should, and
    // brings a gzip stream to its own checksum.
    let data = read_at_most(reader, elements + 1).map_err(|e| unreadable(e, header_len))?;
    let expected = header_len + elements;
    if data.len() < elements {
        let found = header_len + data.len();
        return Err(IdxError::Truncated {
            dims,
            expected,
            found,
        });
    }
    if data.len() > elements {
        return Err(IdxError::TrailingBytes { dims, expected });
    }
    Ok(IdxArray { dims, data })
}

/// The big-endian number that starts a file of unsigned bytes of this rank.
fn magic(rank: u8) -> u32 {
    u32::from_be_bytes([0, 0, UNSIGNED_BYTE, rank])
}

/// The length in bytes of a header with this many dimensions.
fn header_len(rank: usize) -> usize {
    4 + 4 * rank
}

fn unreadable(interrupted: Interrupted, before: usize) -> IdxError {
    IdxError::Unreadable {
        offset: before + interrupted.offset,
        source: interrupted.source,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::io::{Cursor, Write};

    use flate2::{Compression, write::GzEncoder};
    use proptest::prelude::*;

    use super::*;

    /// The IDX file of `data`, made by hand.
    fn file(dims: &[u32], data: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 0, 8, dims.len() as u8];
        for dim in dims {
            bytes.extend(dim.to_be_bytes());
        }
        bytes.extend(data);
        bytes
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// What `read` makes of a file with these bytes.
    fn read_bytes(bytes: &[u8], rank: u8) -> Result<IdxArray, IdxError> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        read(file.path(), rank)
    }

    /// Noise that gzip cannot shrink to nothing.
    fn sample() -> Vec<u8> {
        let data: Vec<u8> = (0..6000u32)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
            .collect();
        file(&[60, 10, 10], &data)
    }

    #[test]
    fn plain_and_packed_files_read_the_same() {
        let plain = sample();
        let array = read_bytes(&plain, 3).unwrap();
        assert_eq!(array.dims(), [60, 10, 10]);
        assert_eq!(array.data(), &plain[16..]);
        assert_eq!(array.header_len(), 16);
        assert_eq!(array.sha256(), sha256(&[&plain]));
        assert_eq!(read_bytes(&gzip(&plain), 3).unwrap(), array);
    }

    #[test]
    fn sha256_is_the_standard_one() {
        // FIPS 180-4, the example "abc".
        assert_eq!(
            sha256(&[b"a", b"bc"]),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn an_empty_file_is_refused() {
        assert!(matches!(read_bytes(&[], 1), Err(IdxError::Empty)));
        assert!(matches!(read_bytes(&gzip(&[]), 1), Err(IdxError::Empty)));
    }

    #[test]
    fn a_wrong_magic_number_is_refused() {
        let error = read_bytes(&sample(), 1).unwrap_err();
        assert_eq!(
            error.to_string(),
            "byte 0: expected the IDX magic number 0x00000801 (unsigned bytes, rank 1), \
             found 0x00000803"
        );
        let mut floats = sample();
        floats[2] = 0x0d;
        assert!(matches!(
            read_bytes(&floats, 3),
            Err(IdxError::Magic {
                found: 0x0000_0d03,
                ..
            })
        ));
    }

    #[test]
    fn a_short_header_is_refused() {
        for found in [1, 3, 4, 9, 15] {
            match read_bytes(&sample()[..found], 3) {
                Err(IdxError::HeaderTruncated {
                    expected: 16,
                    found: f,
                }) => assert_eq!(f, found),
                other => panic!("{found} bytes: {other:?}"),
            }
        }
    }

    #[test]
    fn a_cut_file_is_refused_with_both_lengths() {
        match read_bytes(&sample()[..6015], 3) {
            Err(IdxError::Truncated {
                expected: 6016,
                found: 6015,
                ..
            }) => {}
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_cut_gzip_stream_is_refused_wherever_it_is_cut() {
        let packed = gzip(&sample());
        for len in 3..packed.len() {
            match read_bytes(&packed[..len], 3) {
                Err(IdxError::Unreadable { .. }) => {}
                other => panic!("cut at {len}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_flipped_byte_in_a_gzip_stream_never_passes_unseen() {
        let plain = sample();
        let packed = gzip(&plain);
        // The gzip header holds fields (time, system) that no checksum covers.
        for position in 10..packed.len() {
            let mut damaged = packed.clone();
            damaged[position] ^= 0x10;
            assert!(read_bytes(&damaged, 3).is_err(), "byte {position}");
        }
    }

    #[test]
    fn trailing_bytes_are_refused() {
        let mut longer = sample();
        longer.push(0);
        for bytes in [longer.clone(), gzip(&longer)] {
            assert!(matches!(
                read_bytes(&bytes, 3),
                Err(IdxError::TrailingBytes { expected: 6016, .. })
            ));
        }
        let mut after_gzip = gzip(&sample());
        after_gzip.extend(b"more");
        assert!(matches!(
            read_bytes(&after_gzip, 3),
            Err(IdxError::Unreadable { offset: 6016, .. })
        ));
    }

    #[test]
    fn zero_and_huge_dimensions_are_refused() {
        assert!(matches!(
            read_bytes(&file(&[5, 0], &[]), 2),
            Err(IdxError::ZeroDimension {
                offset: 8,
                index: 1
            })
        ));
        for dims in [[u32::MAX; 3], [1 << 30, 2, 1]] {
            assert!(matches!(
                read_bytes(&file(&dims, &[]), 3),
                Err(IdxError::TooLarge { .. })
            ));
        }
    }

    #[test]
    fn a_bomb_is_unpacked_to_one_byte_past_the_header_only() {
        /// Counts what is taken from it.
        struct Endless(u64);
        impl Read for Endless {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                self.0 += buffer.len() as u64;
                buffer.fill(0);
                Ok(buffer.len())
            }
        }
        let mut endless = Endless(0);
        let result = parse(Cursor::new(file(&[100], &[])).chain(&mut endless), 1);
        assert!(matches!(result, Err(IdxError::TrailingBytes { .. })));
        assert_eq!(endless.0, 101);
    }

    #[test]
    fn a_folder_or_a_missing_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let kind = |path: &Path| match read(path, 1) {
            Err(IdxError::Unreadable { offset: 0, source }) => source.kind(),
            other => panic!("{other:?}"),
        };
        assert_eq!(kind(folder.path()), io::ErrorKind::IsADirectory);
        assert_eq!(kind(&folder.path().join("none")), io::ErrorKind::NotFound);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>, rank in 0u8..5) {
            let _ = parse(&bytes[..], rank);
        }

        /// Bytes that look like IDX: what is accepted is exactly what the header describes.
        #[test]
        fn what_is_accepted_is_what_the_header_says(
            dims in prop::collection::vec(0u32..5, 0..4),
            data in prop::collection::vec(any::<u8>(), 0..130),
        ) {
            let product = dims.iter().map(|&dim| dim as usize).product::<usize>();
            let fits = product == data.len() && product > 0;
            match parse(&file(&dims, &data)[..], dims.len() as u8) {
                Ok(array) => {
                    prop_assert!(fits);
                    prop_assert_eq!(array.data(), &data[..]);
                }
                Err(error) => prop_assert!(!fits, "{}", error),
            }
        }
    }
}
