//! The binary version of CIFAR-10.
//!
//! A file holds 10,000 records of 3,073 bytes: a label (0 to 9), then the 1,024 red, 1,024 green
//! and 1,024 blue values of a 32 × 32 image, each plane row by row. There is no header.
//!
//! Source: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images" (2009), and the
//! description that comes with the files.

use std::io::{self, Read};

use crate::files::read_at_most;

/// Width and height of an image in pixels.
pub const SIDE: usize = 32;
/// Colour planes of an image: red, green, blue.
pub const CHANNELS: usize = 3;
/// Bytes of an image.
pub const IMAGE_LEN: usize = CHANNELS * SIDE * SIDE;
/// Bytes of a record: a label and an image.
pub const RECORD_LEN: usize = 1 + IMAGE_LEN;
/// Records of a file.
pub const RECORDS: usize = 10_000;
/// Labels run from 0 to one below this.
pub const NUM_CLASSES: u8 = 10;

const FILE_LEN: usize = RECORDS * RECORD_LEN;

/// Why bytes are not a binary batch of CIFAR-10.
#[derive(Debug, thiserror::Error)]
pub enum Cifar10Error {
    /// The file is shorter than a batch.
    #[error(
        "the file is cut short in record {}: expected {FILE_LEN} bytes \
         ({RECORDS} records of {RECORD_LEN}), found {found}", found / RECORD_LEN
    )]
    Truncated {
        /// The length of the file in bytes.
        found: usize,
    },
    /// The file is longer than a batch.
    #[error("the file goes on after byte {FILE_LEN}, where {RECORDS} records of {RECORD_LEN} end")]
    TrailingBytes,
    /// A label is none of the ten classes.
    #[error("byte {offset}: the label of record {record} is {label}; labels run from 0 to 9")]
    Label {
        /// Where the label stands.
        offset: usize,
        /// Which record it belongs to, from 0.
        record: usize,
        /// The label found.
        label: u8,
    },
    /// The disk or the gzip stream gave out.
    #[error("reading failed after {offset} bytes")]
    Unreadable {
        /// How many bytes had been read.
        offset: usize,
        /// What the system says.
        source: io::Error,
    },
}

/// Reads one batch: the bytes of the file, checked in length and labels. [`records`] takes them
/// apart.
///
/// # Errors
///
/// See [`Cifar10Error`].
pub fn parse(reader: impl Read) -> Result<Vec<u8>, Cifar10Error> {
    let bytes =
        read_at_most(reader, FILE_LEN + 1).map_err(|interrupted| Cifar10Error::Unreadable {
            offset: interrupted.offset,
            source: interrupted.source,
        })?;
    if bytes.len() < FILE_LEN {
        let found = bytes.len();
        return Err(Cifar10Error::Truncated { found });
    }
    if bytes.len() > FILE_LEN {
        return Err(Cifar10Error::TrailingBytes);
    }
    let bad = records(&bytes).position(|(label, _)| label >= NUM_CLASSES);
    match bad {
        Some(record) => Err(Cifar10Error::Label {
            offset: record * RECORD_LEN,
            record,
            label: bytes[record * RECORD_LEN],
        }),
        None => Ok(bytes),
    }
}

/// The records of a batch: label and pixels (channel, row, column) of each.
pub fn records(batch: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    batch
        .chunks_exact(RECORD_LEN)
        .map(|record| (record[0], &record[1..]))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    /// A whole batch: record i has label i mod 10, its pixels are i mod 251.
    fn batch() -> Vec<u8> {
        let mut bytes = Vec::with_capacity(FILE_LEN);
        for record in 0..RECORDS {
            bytes.push((record % 10) as u8);
            bytes.extend([(record % 251) as u8; IMAGE_LEN]);
        }
        bytes
    }

    #[test]
    fn a_whole_batch_is_read() {
        let bytes = parse(&batch()[..]).unwrap();
        let (label, pixels) = records(&bytes).nth(9_999).unwrap();
        assert_eq!(records(&bytes).count(), RECORDS);
        assert_eq!(label, 9);
        assert_eq!(pixels, [210; IMAGE_LEN]);
    }

    #[test]
    fn a_wrong_length_is_refused() {
        let whole = batch();
        for found in [0, 1, RECORD_LEN, FILE_LEN - RECORD_LEN, FILE_LEN - 1] {
            match parse(&whole[..found]) {
                Err(Cifar10Error::Truncated { found: f }) => assert_eq!(f, found),
                other => panic!("{found} bytes: {other:?}"),
            }
        }
        assert!(matches!(
            parse(whole.as_slice().chain(&[0u8][..])),
            Err(Cifar10Error::TrailingBytes)
        ));
    }

    #[test]
    fn a_label_past_nine_is_refused_with_its_place() {
        let mut bytes = batch();
        bytes[7 * RECORD_LEN] = 10;
        let error = parse(&bytes[..]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "byte 21511: the label of record 7 is 10; labels run from 0 to 9"
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_unless_they_are_a_batch(bytes: Vec<u8>) {
            prop_assert!(parse(&bytes[..]).is_err());
        }

        /// A byte changed anywhere: an error exactly if it is a label past nine.
        #[test]
        fn only_labels_are_constrained(position in 0..FILE_LEN, value: u8) {
            let mut bytes = batch();
            bytes[position] = value;
            let wrong = position % RECORD_LEN == 0 && value >= NUM_CLASSES;
            prop_assert_eq!(parse(&bytes[..]).is_err(), wrong);
        }
    }
}
