//! Bytes of a text file to characters and back: UTF-8 and UTF-16, known by their byte order marks, and
//! Windows-1252 (which Latin-1 is a part of) for what is no UTF-8.

use std::borrow::Cow;
use std::io::{self, Read};

use serde::{Deserialize, Serialize};

/// How characters are written as bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Charset {
    /// UTF-8 without a byte order mark.
    #[default]
    Utf8,
    /// UTF-8 with a byte order mark, as spreadsheets write it.
    Utf8Bom,
    /// UTF-16, the low byte first, with a byte order mark.
    Utf16Le,
    /// UTF-16, the high byte first, with a byte order mark.
    Utf16Be,
    /// Windows-1252.
    Windows1252,
}

const UTF_8_MARK: &[u8] = b"\xef\xbb\xbf";
const UTF_16_LE_MARK: &[u8] = b"\xff\xfe";
const UTF_16_BE_MARK: &[u8] = b"\xfe\xff";

/// The characters of the bytes 0x80 to 0x9f in Windows-1252, as the WHATWG's encoding standard has them: the five
/// bytes that stand for no character are control characters of the same number.
const WINDOWS_1252: [char; 32] = [
    '\u{20ac}', '\u{81}', '\u{201a}', '\u{192}', '\u{201e}', '\u{2026}', '\u{2020}', '\u{2021}',
    '\u{2c6}', '\u{2030}', '\u{160}', '\u{2039}', '\u{152}', '\u{8d}', '\u{17d}', '\u{8f}',
    '\u{90}', '\u{2018}', '\u{2019}', '\u{201c}', '\u{201d}', '\u{2022}', '\u{2013}', '\u{2014}',
    '\u{2dc}', '\u{2122}', '\u{161}', '\u{203a}', '\u{153}', '\u{9d}', '\u{17e}', '\u{178}',
];

/// The most bytes that are decoded at once.
const PIECE_LEN: usize = 64 << 10;

/// Finds out how the characters of a file are written, and reads them. What is no UTF-16 after its byte order mark
/// becomes U+FFFD.
pub fn decode(bytes: &[u8]) -> (Charset, Cow<'_, str>) {
    // Memory can always be read.
    let charset = detect(bytes).unwrap_or_default();
    if matches!(charset, Charset::Utf8 | Charset::Utf8Bom)
        && let Ok(text) = std::str::from_utf8(&bytes[charset.mark().len()..])
    {
        return (charset, Cow::Borrowed(text));
    }
    let mut text = String::new();
    let mut decoder = Decoder::new(bytes, charset);
    while decoder.read(&mut text).unwrap_or_default() {}
    (charset, Cow::Owned(text))
}

/// Finds out how the characters of a file are written, which takes all of it.
pub(crate) fn detect(mut bytes: impl Read) -> io::Result<Charset> {
    let mut start = Vec::new();
    let mut is_utf_8 = true;
    let mut piece = Vec::new();
    loop {
        let kept = piece.len();
        let is_end = read_piece(&mut bytes, &mut piece)? == 0;
        let wanted = UTF_8_MARK.len() - start.len();
        start.extend(piece[kept..].iter().take(wanted));
        if is_utf_8 && let Err(error) = std::str::from_utf8(&piece) {
            // A character may end in the next piece.
            is_utf_8 = error.error_len().is_none() && !is_end;
            piece.drain(..error.valid_up_to());
        } else {
            piece.clear();
        }
        if is_end {
            break;
        }
    }
    let has_mark = |charset: &Charset| start.starts_with(charset.mark());
    Ok(if is_utf_8 {
        Some(Charset::Utf8Bom).filter(has_mark).unwrap_or_default()
    } else {
        let mut marked = [Charset::Utf16Le, Charset::Utf16Be].into_iter();
        marked.find(has_mark).unwrap_or(Charset::Windows1252)
    })
}

/// Puts the next bytes behind `piece`; how many they are, 0 at the end.
fn read_piece(bytes: &mut impl Read, piece: &mut Vec<u8>) -> io::Result<usize> {
    let kept = piece.len();
    piece.resize(kept + PIECE_LEN, 0);
    let read = loop {
        match bytes.read(&mut piece[kept..]) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => break read,
        }
    };
    piece.truncate(kept + read.as_ref().copied().unwrap_or_default());
    read
}

/// Reads the characters of a file piece by piece.
#[derive(Debug)]
pub(crate) struct Decoder<R> {
    bytes: R,
    charset: Charset,
    is_start: bool,
    /// The beginning of a character whose end was not read yet.
    kept: Vec<u8>,
}

impl<R: Read> Decoder<R> {
    /// The characters of `bytes`, which are read from the beginning. What is no character becomes U+FFFD.
    pub(crate) fn new(bytes: R, charset: Charset) -> Self {
        Self {
            bytes,
            charset,
            is_start: true,
            kept: Vec::new(),
        }
    }

    /// Puts the next characters behind `text`, which may be none; false at the end.
    pub(crate) fn read(&mut self, text: &mut String) -> io::Result<bool> {
        let is_end = read_piece(&mut self.bytes, &mut self.kept)? == 0;
        if self.is_start {
            let mark = self.charset.mark();
            if self.kept.len() < mark.len() && !is_end {
                return Ok(true);
            }
            if self.kept.starts_with(mark) {
                self.kept.drain(..mark.len());
            }
            self.is_start = false;
        }
        let used = match self.charset {
            Charset::Utf8 | Charset::Utf8Bom => utf_8(&self.kept, is_end, text),
            Charset::Utf16Le => utf_16(&self.kept, u16::from_le_bytes, is_end, text),
            Charset::Utf16Be => utf_16(&self.kept, u16::from_be_bytes, is_end, text),
            Charset::Windows1252 => {
                text.extend(self.kept.iter().map(|&byte| match byte {
                    0x80..=0x9f => WINDOWS_1252[usize::from(byte - 0x80)],
                    _ => char::from(byte),
                }));
                self.kept.len()
            }
        };
        self.kept.drain(..used);
        Ok(!is_end)
    }
}

/// Decodes bytes, but for the beginning of a character at their end where more follow; how many were decoded.
fn utf_8(bytes: &[u8], is_end: bool, text: &mut String) -> usize {
    let mut at = 0;
    while let Err(error) = std::str::from_utf8(&bytes[at..]) {
        let valid = &bytes[at..][..error.valid_up_to()];
        text.push_str(std::str::from_utf8(valid).unwrap_or_default());
        at += valid.len();
        match error.error_len() {
            Some(len) => at += len,
            None if is_end => at = bytes.len(),
            None => return at,
        }
        text.push(char::REPLACEMENT_CHARACTER);
    }
    text.push_str(std::str::from_utf8(&bytes[at..]).unwrap_or_default());
    bytes.len()
}

/// The same of UTF-16.
fn utf_16(bytes: &[u8], unit: fn([u8; 2]) -> u16, is_end: bool, text: &mut String) -> usize {
    let (mut units, rest) = bytes.as_chunks::<2>();
    if !is_end
        && let [before @ .., last] = units
        && matches!(unit(*last), 0xd800..=0xdbff)
    {
        // The first half of a character.
        units = before;
    }
    let characters = char::decode_utf16(units.iter().map(|&bytes| unit(bytes)));
    text.extend(characters.map(|character| character.unwrap_or(char::REPLACEMENT_CHARACTER)));
    if is_end && !rest.is_empty() {
        text.push(char::REPLACEMENT_CHARACTER);
        return bytes.len();
    }
    2 * units.len()
}

impl Charset {
    /// What a file begins with whose characters are written so.
    fn mark(self) -> &'static [u8] {
        match self {
            Self::Utf8Bom => UTF_8_MARK,
            Self::Utf16Le => UTF_16_LE_MARK,
            Self::Utf16Be => UTF_16_BE_MARK,
            Self::Utf8 | Self::Windows1252 => b"",
        }
    }

    /// The bytes of a whole file with this text, its byte order mark among them. A character that Windows-1252 has
    /// not becomes a question mark.
    pub fn encode(self, text: String) -> Vec<u8> {
        match self {
            Self::Utf8 => text.into_bytes(),
            Self::Utf8Bom => [UTF_8_MARK, text.as_bytes()].concat(),
            Self::Utf16Le => utf_16_bytes(UTF_16_LE_MARK, &text, u16::to_le_bytes),
            Self::Utf16Be => utf_16_bytes(UTF_16_BE_MARK, &text, u16::to_be_bytes),
            Self::Windows1252 => text.chars().map(windows_1252).collect(),
        }
    }
}

fn utf_16_bytes(mark: &[u8], text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
    let units = text.encode_utf16().flat_map(bytes);
    mark.iter().copied().chain(units).collect()
}

fn windows_1252(character: char) -> u8 {
    if let Some(place) = WINDOWS_1252.iter().position(|&known| known == character) {
        return 0x80 + place as u8;
    }
    match u8::try_from(u32::from(character)) {
        Ok(byte) if !(0x80..=0x9f).contains(&byte) => byte,
        _ => b'?',
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    /// Bytes that come one by one.
    struct OneByOne<'a>(&'a [u8]);

    impl Read for OneByOne<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let most = into.len().min(1);
            self.0.read(&mut into[..most])
        }
    }

    fn decode_one_by_one(bytes: &[u8], charset: Charset) -> String {
        let mut text = String::new();
        let mut decoder = Decoder::new(OneByOne(bytes), charset);
        while decoder.read(&mut text).unwrap() {}
        text
    }

    #[test]
    fn byte_order_marks_and_the_fallback() {
        let cases: [(&[u8], Charset, &str); 6] = [
            (b"na\xc3\xafve", Charset::Utf8, "na\u{ef}ve"),
            (b"\xef\xbb\xbfx", Charset::Utf8Bom, "x"),
            (b"\xff\xfex\0\xac\x20", Charset::Utf16Le, "x\u{20ac}"),
            (b"\xfe\xff\0x\x20\xac", Charset::Utf16Be, "x\u{20ac}"),
            (
                b"na\xefve \x80\x81",
                Charset::Windows1252,
                "na\u{ef}ve \u{20ac}\u{81}",
            ),
            (b"", Charset::Utf8, ""),
        ];
        for (bytes, charset, text) in cases {
            let (found, read) = decode(bytes);
            assert_eq!((found, &*read), (charset, text));
            assert_eq!(charset.encode(text.to_owned()), bytes);
        }
        assert_eq!(&*decode(b"\xff\xfex\0y").1, "x\u{fffd}");
        assert_eq!(&*decode(b"\xff\xfe\0\xd8").1, "\u{fffd}");
    }

    proptest! {
        #[test]
        fn every_text_comes_back(text in "\\PC{1,20}") {
            for charset in [Charset::Utf8, Charset::Utf8Bom, Charset::Utf16Le, Charset::Utf16Be] {
                let bytes = charset.encode(text.clone());
                // A text may itself start with a byte order mark.
                prop_assume!(!text.starts_with('\u{feff}'));
                let (found, read) = decode(&bytes);
                prop_assert_eq!((found, &*read), (charset, &*text));
            }
        }

        /// Pieces of a byte each are the same characters, and other bytes than those that were there when the
        /// characters were found out are replaced as the standard library does.
        #[test]
        fn pieces_do_not_show(bytes: Vec<u8>, prefix in 0usize..4, charset in 0usize..5) {
            let marks: [&[u8]; 4] = [b"", UTF_8_MARK, UTF_16_LE_MARK, UTF_16_BE_MARK];
            let bytes = [marks[prefix], &bytes].concat();
            let (found, text) = decode(&bytes);
            prop_assert_eq!(detect(OneByOne(&bytes)).unwrap(), found);
            prop_assert_eq!(decode_one_by_one(&bytes, found), text);
            let lossy = String::from_utf8_lossy(&bytes);
            prop_assert_eq!(decode_one_by_one(&bytes, Charset::Utf8), lossy);
            let all = [Charset::Utf8, Charset::Utf8Bom, Charset::Utf16Le, Charset::Utf16Be, Charset::Windows1252];
            let mut whole = String::new();
            let mut decoder = Decoder::new(bytes.as_slice(), all[charset]);
            while decoder.read(&mut whole).unwrap() {}
            prop_assert_eq!(decode_one_by_one(&bytes, all[charset]), whole);
        }

        #[test]
        fn every_byte_of_windows_1252_comes_back(bytes: Vec<u8>) {
            let (charset, text) = decode(&bytes);
            if charset == Charset::Windows1252 {
                prop_assert_eq!(charset.encode(text.into_owned()), bytes);
            }
        }
    }
}
