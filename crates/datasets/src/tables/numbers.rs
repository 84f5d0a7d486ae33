//! How the numbers of a column are spelled: decimal point or comma, thousands, a unit before or after them, places.
//!
//! A number with p places is the whole number of its units of 10^−p divided by 10^p. Both are exact in f64 up to
//! 2^53, and their quotient is then the f64 that the number's text is read as; so values that are brought back to
//! their units are the same to the bit.

use serde::{Deserialize, Serialize};

/// The largest magnitude of a number: differences of two still are numbers.
pub const MAX_MAGNITUDE: f64 = 1e300;

/// The most places after the point that count as fixed.
const MAX_PLACES: u8 = 12;
/// Units are whole numbers of f64 up to here.
const MAX_UNITS: f64 = 9_007_199_254_740_992.0;
/// Digits that a u64 always holds.
const MAX_DIGITS: usize = 18;

/// Where the marks of a number are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct NumberFormat {
    /// Between the whole number and its places.
    pub decimal: char,
    /// Between groups of three digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thousands: Option<char>,
    /// Before each number, such as a currency.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub prefix: String,
    /// After each number, such as a percent sign.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub suffix: String,
}

/// How exact numbers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// So many places after the point are written: at most `most`, and of these zeros at the end beyond `least` are
    /// not.
    Places {
        /// The least number of places.
        least: u8,
        /// The largest number of places.
        most: u8,
    },
    /// So many digits that count, where the point floats.
    Digits(u8),
}

/// How the numbers of a column are written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct NumberSpelling {
    /// Where the marks are.
    pub format: NumberFormat,
    /// How exact they are.
    pub precision: Precision,
}

/// A number as it was read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Parsed {
    pub(crate) value: f64,
    /// Places after the point.
    pub(crate) places: usize,
    /// Digits that count: all but zeros at the beginning.
    pub(crate) digits: usize,
    pub(crate) has_exponent: bool,
    pub(crate) has_thousands: bool,
}

/// Digits one after the other.
#[derive(Default)]
struct Digits {
    /// Their number, as long as they are at most [`MAX_DIGITS`].
    units: u64,
    count: usize,
    /// Those that are no zeros at the beginning.
    significant: usize,
}

impl Digits {
    /// Takes a text of nothing but digits.
    fn take(&mut self, text: &str) -> Option<()> {
        for byte in text.bytes() {
            if !byte.is_ascii_digit() {
                return None;
            }
            self.units = self
                .units
                .wrapping_mul(10)
                .wrapping_add(u64::from(byte - b'0'));
            self.count += 1;
            self.significant += usize::from(self.significant > 0 || byte != b'0');
        }
        Some(())
    }
}

impl Default for NumberFormat {
    fn default() -> Self {
        Self {
            decimal: '.',
            thousands: None,
            prefix: String::new(),
            suffix: String::new(),
        }
    }
}

impl NumberFormat {
    /// The formats that a column may have whose first number this is, the plainest first.
    /// `prefers_comma` says that points are the less likely ones, as where fields are parted by semicolons.
    pub(crate) fn candidates(first: &str, prefers_comma: bool) -> Vec<Self> {
        const CURRENCIES: [char; 4] = ['$', '\u{20ac}', '\u{a3}', '\u{a5}'];
        let unsigned = first.trim_start_matches(['-', '+', '\u{2212}']);
        let prefix = unsigned.chars().next().filter(|c| CURRENCIES.contains(c));
        let prefix = prefix.map_or(String::new(), |mark| {
            let rest = &unsigned[mark.len_utf8()..];
            let space = rest.len() - rest.trim_start().len();
            unsigned[..mark.len_utf8() + space].to_owned()
        });
        let is_unit = |c: char| c == '%' || CURRENCIES.contains(&c);
        let suffix = match first.chars().next_back().filter(|&c| is_unit(c)) {
            Some(mark) if unsigned.len() > prefix.len() => {
                let before = &first[..first.len() - mark.len_utf8()];
                first[before.trim_end().len()..].to_owned()
            }
            _ => String::new(),
        };
        let marks: &[(char, Option<char>)] = if prefers_comma {
            &[
                (',', None),
                (',', Some('.')),
                (',', Some(' ')),
                (',', Some('\u{a0}')),
                (',', Some('\'')),
                ('.', None),
                ('.', Some(',')),
            ]
        } else {
            &[
                ('.', None),
                ('.', Some(',')),
                ('.', Some(' ')),
                ('.', Some('\u{a0}')),
                ('.', Some('\'')),
                (',', None),
                (',', Some('.')),
                (',', Some(' ')),
            ]
        };
        let format = |&(decimal, thousands)| Self {
            decimal,
            thousands,
            prefix: prefix.clone(),
            suffix: suffix.clone(),
        };
        marks.iter().map(format).collect()
    }

    /// The number that a text is in this format.
    pub(crate) fn parse(&self, text: &str) -> Option<Parsed> {
        let (is_negative, rest) = match text.strip_prefix(['-', '\u{2212}']) {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let rest = rest.strip_prefix(&self.prefix)?;
        let (is_negative, rest) = match rest.strip_prefix('-') {
            Some(rest) if !is_negative && !self.prefix.is_empty() => (true, rest),
            _ => (is_negative, rest),
        };
        let rest = rest.strip_suffix(&self.suffix)?;
        let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => {
                let digits = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
                let is_number = (1..=4).contains(&digits.len())
                    && digits.bytes().all(|byte| byte.is_ascii_digit());
                (mantissa, Some(exponent).filter(|_| is_number)?)
            }
            None => (rest, ""),
        };
        let (whole, places) = match mantissa.split_once(self.decimal) {
            Some((whole, places)) => (whole, places),
            None => (mantissa, ""),
        };
        let mut digits = Digits::default();
        let has_thousands = self.whole(whole, &mut digits)?;
        digits.take(places)?;
        if digits.count == 0 {
            return None;
        }
        let magnitude = if exponent.is_empty()
            && digits.count <= MAX_DIGITS
            && digits.units as f64 <= MAX_UNITS
        {
            // Both exact, so that their quotient is the nearest number.
            digits.units as f64 / 10f64.powi(places.len() as i32)
        } else {
            let exponent: i64 = if exponent.is_empty() {
                0
            } else {
                exponent.parse().ok()?
            };
            let all: String = mantissa.chars().filter(char::is_ascii_digit).collect();
            format!("{all}e{}", exponent - places.len() as i64)
                .parse()
                .ok()?
        };
        if magnitude > MAX_MAGNITUDE {
            return None;
        }
        let value = if is_negative && magnitude > 0.0 {
            -magnitude
        } else {
            magnitude
        };
        Some(Parsed {
            value,
            places: places.len(),
            digits: digits.significant,
            has_exponent: !exponent.is_empty(),
            has_thousands,
        })
    }

    /// The digits before the point. A zero before others is no number but a code, such as that of a place.
    fn whole(&self, whole: &str, digits: &mut Digits) -> Option<bool> {
        if whole.len() > 1 && whole.starts_with('0') {
            return None;
        }
        let Some(mark) = self.thousands else {
            digits.take(whole)?;
            return Some(false);
        };
        let mut groups = whole.split(mark);
        let first = groups.next().unwrap_or_default();
        digits.take(first)?;
        let mut has_thousands = false;
        for group in groups {
            if group.len() != 3 || first.is_empty() {
                return None;
            }
            digits.take(group)?;
            has_thousands = true;
        }
        // A long number has its marks.
        (first.len() <= 3).then_some(has_thousands)
    }

    /// Digits with a point, as the program writes them, in this format.
    fn dress(&self, plain: &str) -> String {
        let (sign, digits) = match plain.strip_prefix('-') {
            Some(digits) => ("-", digits),
            None => ("", plain),
        };
        let end = digits.find(['.', 'e']).unwrap_or(digits.len());
        let (whole, rest) = digits.split_at(end);
        let mut text = format!("{sign}{}", self.prefix);
        for (place, digit) in whole.char_indices() {
            if let Some(mark) = self.thousands
                && place > 0
                && (whole.len() - place).is_multiple_of(3)
            {
                text.push(mark);
            }
            text.push(digit);
        }
        match rest.strip_prefix('.') {
            Some(places) => {
                text.push(self.decimal);
                text.push_str(places);
            }
            None => text.push_str(rest),
        }
        text + &self.suffix
    }
}

impl NumberSpelling {
    /// How numbers are written that have `least` to `most` places, `digits` digits that count and magnitudes up to
    /// `largest`.
    pub(crate) fn of(
        format: NumberFormat,
        places: [usize; 2],
        digits: usize,
        largest: f64,
        has_exponent: bool,
    ) -> Self {
        let [least, most] = places.map(|places| u8::try_from(places).unwrap_or(u8::MAX));
        let is_fixed =
            !has_exponent && most <= MAX_PLACES && largest * 10f64.powi(most.into()) < MAX_UNITS;
        let precision = if is_fixed {
            Precision::Places { least, most }
        } else {
            Precision::Digits(digits.clamp(1, 17) as u8)
        };
        Self { format, precision }
    }

    /// Units of a number in 1, where its places are fixed.
    pub(crate) fn scale(&self) -> Option<f64> {
        match self.precision {
            Precision::Places { most, .. } => Some(10f64.powi(most.into())),
            Precision::Digits(_) => None,
        }
    }

    /// Whether the column's numbers are whole.
    pub fn is_whole(&self) -> bool {
        matches!(self.precision, Precision::Places { most: 0, .. })
    }

    /// The nearest number that can be written.
    pub(crate) fn nearest(&self, value: f64) -> f64 {
        match self.precision {
            Precision::Places { .. } => value,
            Precision::Digits(digits) => {
                let text = format!("{value:.*e}", usize::from(digits.max(1)) - 1);
                text.parse().unwrap_or(value)
            }
        }
    }

    /// The text of a number.
    pub fn write(&self, value: f64) -> String {
        let plain = match self.precision {
            Precision::Places { least, most } => {
                let mut text = format!("{value:.*}", usize::from(most));
                if most > least {
                    let point = text.len() - usize::from(most) - 1;
                    let shortest = match least {
                        0 => point,
                        least => point + 1 + usize::from(least),
                    };
                    let zeros = text.trim_end_matches('0').trim_end_matches('.').len();
                    text.truncate(zeros.max(shortest));
                }
                match text.strip_prefix('-') {
                    Some(magnitude) if magnitude.bytes().all(|b| matches!(b, b'0' | b'.')) => {
                        magnitude.to_owned()
                    }
                    _ => text,
                }
            }
            Precision::Digits(_) => {
                let value = self.nearest(value);
                if value == 0.0 || (1e-5..1e15).contains(&value.abs()) {
                    value.to_string()
                } else {
                    format!("{value:e}")
                }
            }
        };
        self.format.dress(&plain)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn format(decimal: char, thousands: Option<char>) -> NumberFormat {
        NumberFormat {
            decimal,
            thousands,
            ..NumberFormat::default()
        }
    }

    #[test]
    fn numbers_of_many_spellings() {
        let plain = NumberFormat::default();
        let cases = [
            ("12", 12.0, 0, 2),
            ("-3.50", -3.5, 2, 3),
            ("+.5", 0.5, 1, 1),
            ("5.", 5.0, 0, 1),
            ("0", 0.0, 0, 0),
            ("1e-7", 1e-7, 0, 1),
            ("2.5E3", 2500.0, 1, 2),
            ("0.1234567890123456789", 0.123_456_789_012_345_68, 19, 19),
            ("12345678901234567890123", 1.234_567_890_123_456_8e22, 0, 23),
            ("\u{2212}4", -4.0, 0, 1),
        ];
        for (text, value, places, digits) in cases {
            let found = plain.parse(text).unwrap();
            assert_eq!(
                (found.value, found.places, found.digits),
                (value, places, digits),
                "{text}"
            );
        }
        assert!(plain.parse("-0").unwrap().value.is_sign_positive());
        for text in [
            "", "-", ".", "e5", "1e", "1e+", "1,5", "007", "00.5", "1 2", "1.2.3", "inf", "nan",
            "0x1f", "1e400", "--1", "1_000", "\u{661}", "1e99999",
        ] {
            assert_eq!(plain.parse(text), None, "{text}");
        }
        let comma = format(',', None);
        assert_eq!(comma.parse("1,25").unwrap().value, 1.25);
        assert_eq!(comma.parse("1.25"), None);
        let marked = format('.', Some(','));
        assert_eq!(marked.parse("1,234,567.5").unwrap().value, 1_234_567.5);
        assert!(marked.parse("1,234").unwrap().has_thousands);
        assert_eq!(marked.parse("999").unwrap().value, 999.0);
        for text in ["12,34", "1234", ",123", "1,2345", "0,123", "1234,567"] {
            assert_eq!(marked.parse(text), None, "{text}");
        }
    }

    #[test]
    fn units_are_found_and_written_back() {
        for (text, value) in [
            ("$1,234.50", 1234.5),
            ("-$3", -3.0),
            ("$ 7", 7.0),
            ("12.5%", 12.5),
            ("3 \u{20ac}", 3.0),
        ] {
            let formats = NumberFormat::candidates(text, false);
            let found = formats
                .iter()
                .find_map(|format| Some((format, format.parse(text)?)));
            let (format, parsed) = found.unwrap();
            assert_eq!(parsed.value, value, "{text}");
            let spelling = NumberSpelling::of(
                format.clone(),
                [parsed.places; 2],
                parsed.digits,
                value.abs(),
                false,
            );
            assert_eq!(spelling.write(value), text);
        }
        assert!(
            NumberFormat::candidates("$", false)
                .iter()
                .all(|format| format.parse("$").is_none())
        );
        assert!(
            NumberFormat::candidates("%", false)
                .iter()
                .all(|format| format.parse("%").is_none())
        );
    }

    #[test]
    fn places_are_those_of_the_column() {
        let spelling = |least, most| NumberSpelling {
            format: NumberFormat::default(),
            precision: Precision::Places { least, most },
        };
        assert_eq!(spelling(2, 2).write(3.5), "3.50");
        assert_eq!(spelling(0, 2).write(3.5), "3.5");
        assert_eq!(spelling(0, 2).write(3.0), "3");
        assert_eq!(spelling(0, 2).write(30.0), "30");
        assert_eq!(spelling(1, 2).write(30.0), "30.0");
        assert_eq!(spelling(0, 0).write(-0.2), "0");
        assert_eq!(spelling(0, 0).write(1200.0), "1200");
        let floating = NumberSpelling::of(NumberFormat::default(), [0, 0], 3, 1.0, true);
        assert_eq!(floating.precision, Precision::Digits(3));
        assert_eq!(floating.write(1.2345e-9), "1.23e-9");
        assert_eq!(floating.write(1234.5), "1230");
    }

    proptest! {
        /// A value of p places is written and read back to the bit, in every format.
        #[test]
        fn what_is_written_is_read(units in -1_000_000_000_000i64..1_000_000_000_000, places in 0u8..9) {
            let value = units as f64 / 10f64.powi(places.into());
            for format in NumberFormat::candidates("1", false) {
                for least in [0, places] {
                    let precision = Precision::Places { least, most: places };
                    let spelling = NumberSpelling { format: format.clone(), precision };
                    let text = spelling.write(value);
                    let back = format.parse(&text).map(|parsed| parsed.value);
                    prop_assert_eq!(back, Some(value), "{}", text);
                }
            }
        }

        /// As Rust reads it.
        #[test]
        fn plain_numbers_are_read_as_rust_reads_them(text in "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,22})?(e-?[0-9]{1,2})?") {
            let expected: f64 = text.parse().unwrap();
            let found = NumberFormat::default().parse(&text).unwrap().value;
            prop_assert_eq!(found, expected + 0.0);
        }

        #[test]
        fn any_text_is_a_number_or_none(text in "\\PC{0,12}") {
            for format in NumberFormat::candidates(&text, text.len() % 2 == 0) {
                let _ = format.parse(&text);
            }
        }
    }
}
