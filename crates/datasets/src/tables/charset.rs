//! Bytes of a text file to characters and back: UTF-8 and UTF-16, known by their byte order marks, and
//! Windows-1252 (which Latin-1 is a part of) for what is no UTF-8.

use std::borrow::Cow;

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

/// Finds out how the characters of a file are written, and reads them. What is no UTF-16 after its byte order mark
/// becomes U+FFFD.
pub fn decode(bytes: &[u8]) -> (Charset, Cow<'_, str>) {
    if let Some(text) = bytes.strip_prefix(UTF_8_MARK)
        && let Ok(text) = std::str::from_utf8(text)
    {
        return (Charset::Utf8Bom, Cow::Borrowed(text));
    }
    if let Some(units) = bytes.strip_prefix(UTF_16_LE_MARK) {
        return (Charset::Utf16Le, utf_16(units, u16::from_le_bytes));
    }
    if let Some(units) = bytes.strip_prefix(UTF_16_BE_MARK) {
        return (Charset::Utf16Be, utf_16(units, u16::from_be_bytes));
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => (Charset::Utf8, Cow::Borrowed(text)),
        Err(_) => {
            let text = bytes.iter().map(|&byte| match byte {
                0x80..=0x9f => WINDOWS_1252[usize::from(byte - 0x80)],
                _ => char::from(byte),
            });
            (Charset::Windows1252, Cow::Owned(text.collect()))
        }
    }
}

fn utf_16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Cow<'_, str> {
    let (units, rest) = bytes.as_chunks::<2>();
    let units = units.iter().map(|&bytes| unit(bytes));
    let characters = char::decode_utf16(units);
    let mut text: String = characters
        .map(|character| character.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect();
    if !rest.is_empty() {
        text.push(char::REPLACEMENT_CHARACTER);
    }
    Cow::Owned(text)
}

impl Charset {
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
    use proptest::prelude::*;

    use super::*;

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

        #[test]
        fn every_byte_of_windows_1252_comes_back(bytes: Vec<u8>) {
            let (charset, text) = decode(&bytes);
            if charset == Charset::Windows1252 {
                prop_assert_eq!(charset.encode(text.into_owned()), bytes);
            }
        }
    }
}
