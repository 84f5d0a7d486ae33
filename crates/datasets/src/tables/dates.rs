//! Dates and times of one format as whole numbers, and back.
//!
//! A format is a pattern of the letters of `strftime`: `%Y %y %m %d %b %B %H %I %M %S %p`, without padding `%-m %-d
//! %-H %-I`, and `%3f` for so many digits of a second. The number counts the format's smallest unit: months, days,
//! minutes, seconds or parts of one, from the beginning of 1970, or from midnight where there is no date. Days are
//! counted by the proleptic Gregorian calendar.

use serde::{Deserialize, Serialize};

/// The longest text that is looked at.
const MAX_LEN: usize = 48;
/// Numbers that f64 holds exactly.
const MAX_COUNT: i64 = 1 << 53;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// A part of a format.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// Four digits.
    Year,
    /// Two digits, 1969 to 2068.
    ShortYear,
    /// 1 to 12, padded to two digits or not.
    Month(bool),
    /// The first three letters or all of them.
    MonthName(bool),
    Day(bool),
    /// 0 to 23.
    Hour(bool),
    /// 1 to 12.
    HalfDayHour(bool),
    Minute,
    Second,
    /// So many digits of a second.
    Fraction(u32),
    /// AM or PM.
    HalfDay,
    Literal(char),
}

/// How the dates and times of a column are written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DateFormat {
    pattern: String,
    parts: Vec<Part>,
}

/// A pattern that is no format of dates.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no format of dates: expected one such as %Y-%m-%d")]
pub struct UnknownDateFormat(String);

/// What a text says.
#[derive(Default)]
struct Fields {
    year: Option<i64>,
    month: Option<i64>,
    day: Option<i64>,
    hour: i64,
    is_afternoon: Option<bool>,
    minute: i64,
    second: i64,
    fraction: i64,
}

impl TryFrom<String> for DateFormat {
    type Error = UnknownDateFormat;

    fn try_from(pattern: String) -> Result<Self, UnknownDateFormat> {
        let parts = parts(&pattern)
            .ok_or_else(|| UnknownDateFormat(pattern.chars().take(MAX_LEN).collect()))?;
        let format = Self { pattern, parts };
        let has = |wanted: fn(&Part) -> bool| format.parts.iter().any(wanted);
        let has_year = has(|part| matches!(part, Part::Year | Part::ShortYear));
        let has_month = has(|part| matches!(part, Part::Month(_) | Part::MonthName(_)));
        let has_day = has(|part| matches!(part, Part::Day(_)));
        let has_time = has(|part| matches!(part, Part::Hour(_) | Part::HalfDayHour(_)));
        let is_date = has_year && has_month && (has_day || !has_time);
        let is_time = !has_year && !has_month && !has_day && has_time;
        if is_date || is_time {
            Ok(format)
        } else {
            Err(UnknownDateFormat(format.pattern))
        }
    }
}

impl From<DateFormat> for String {
    fn from(format: DateFormat) -> Self {
        format.pattern
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for DateFormat {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "DateFormat".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        String::json_schema(generator)
    }
}

fn parts(pattern: &str) -> Option<Vec<Part>> {
    if pattern.len() > MAX_LEN {
        return None;
    }
    let mut parts = Vec::new();
    let mut letters = pattern.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            parts.push(Part::Literal(letter));
            continue;
        }
        let (is_padded, letter) = match letters.next()? {
            '-' => (false, letters.next()?),
            letter => (true, letter),
        };
        parts.push(match letter {
            'Y' => Part::Year,
            'y' => Part::ShortYear,
            'm' => Part::Month(is_padded),
            'b' => Part::MonthName(false),
            'B' => Part::MonthName(true),
            'd' => Part::Day(is_padded),
            'H' => Part::Hour(is_padded),
            'I' => Part::HalfDayHour(is_padded),
            'M' => Part::Minute,
            'S' => Part::Second,
            'p' => Part::HalfDay,
            digit => {
                let digits = digit
                    .to_digit(10)
                    .filter(|digits| (1..=6).contains(digits))?;
                (letters.next()? == 'f').then_some(Part::Fraction(digits))?
            }
        });
    }
    Some(parts)
}

impl DateFormat {
    /// The pattern, such as `%Y-%m-%d`.
    pub fn pattern(&self) -> &str {
        &self.pattern
    }

    /// The formats that a text can be of, the likeliest first.
    pub(crate) fn candidates(text: &str) -> Vec<Self> {
        if text.len() > MAX_LEN || !text.bytes().any(|byte| byte.is_ascii_digit()) {
            return Vec::new();
        }
        let mut dates: Vec<String> = Vec::new();
        for (mark, orders) in [
            (
                '-',
                ["%Y-%m-%d", "%d-%m-%Y", "%m-%d-%Y", "%d-%m-%y", "%m-%d-%y"],
            ),
            (
                '.',
                ["%Y-%m-%d", "%d-%m-%Y", "%m-%d-%Y", "%d-%m-%y", "%m-%d-%y"],
            ),
            (
                '/',
                ["%Y-%m-%d", "%m-%d-%Y", "%d-%m-%Y", "%m-%d-%y", "%d-%m-%y"],
            ),
        ] {
            for order in orders {
                let order = order.replace('-', &mark.to_string());
                dates.push(order.clone());
                dates.push(order.replace("%m", "%-m").replace("%d", "%-d"));
            }
        }
        dates.extend(
            [
                "%Y%m%d",
                "%d %b %Y",
                "%-d %b %Y",
                "%d-%b-%Y",
                "%-d-%b-%Y",
                "%d-%b-%y",
                "%-d-%b-%y",
                "%d %B %Y",
                "%-d %B %Y",
                "%b %d, %Y",
                "%b %-d, %Y",
                "%B %d, %Y",
                "%B %-d, %Y",
                "%Y-%m",
                "%Y/%m",
                "%m/%Y",
                "%-m/%Y",
                "%b %Y",
                "%B %Y",
                "%b-%Y",
                "%b-%y",
            ]
            .map(str::to_owned),
        );
        let mut times: Vec<String> = [
            "%H:%M:%S",
            "%H:%M",
            "%-H:%M:%S",
            "%-H:%M",
            "%I:%M:%S %p",
            "%I:%M %p",
            "%-I:%M:%S %p",
            "%-I:%M %p",
        ]
        .map(str::to_owned)
        .into();
        times.extend((1..=6).map(|digits| format!("%H:%M:%S.%{digits}f")));
        let zone = zone(text);
        let mut candidates = Vec::new();
        let mut consider = |pattern: String| {
            if let Ok(format) = Self::try_from(pattern)
                && format.parse(text).is_some()
            {
                candidates.push(format);
            }
        };
        for date in &dates {
            consider(date.clone());
        }
        for time in &times {
            consider(time.clone());
        }
        if text.contains(':') {
            for date in &dates {
                for time in &times {
                    for mark in ['T', ' '] {
                        consider(format!("{date}{mark}{time}{zone}"));
                    }
                }
            }
        }
        candidates
    }

    /// The number of a date, if the text is one of this format.
    pub fn parse(&self, text: &str) -> Option<i64> {
        let mut rest = text;
        let mut fields = Fields::default();
        for part in &self.parts {
            rest = fields.take(part, rest)?;
        }
        let count = if rest.is_empty() {
            fields.count(self)?
        } else {
            return None;
        };
        (count.abs() < MAX_COUNT).then_some(count)
    }

    /// The text of a number.
    pub fn write(&self, count: i64) -> String {
        let second = self.units_a_second();
        let (days, parts) = match self.units_a_day() {
            _ if self.is_of_months() => {
                (days(count.div_euclid(12), count.rem_euclid(12) + 1, 1), 0)
            }
            units => (count.div_euclid(units), count.rem_euclid(units)),
        };
        let (year, month, day) = date(days);
        // The units of a format without seconds are minutes.
        let (seconds, fraction) = match second {
            0 => (parts * 60, 0),
            second => (parts / second, parts % second),
        };
        let (hour, minute) = (seconds / 3600, seconds / 60 % 60);
        let half_day_hour = (hour + 11) % 12 + 1;
        let mut text = String::new();
        let number = |value: i64, is_padded: bool| match is_padded {
            true => format!("{value:02}"),
            false => value.to_string(),
        };
        for part in &self.parts {
            text += &match *part {
                Part::Year => format!("{year:04}"),
                Part::ShortYear => number(year.rem_euclid(100), true),
                Part::Month(is_padded) => number(month, is_padded),
                Part::MonthName(is_long) => {
                    let name = MONTHS[(month - 1).clamp(0, 11) as usize];
                    name[..if is_long { name.len() } else { 3 }].to_owned()
                }
                Part::Day(is_padded) => number(day, is_padded),
                Part::Hour(is_padded) => number(hour, is_padded),
                Part::HalfDayHour(is_padded) => number(half_day_hour, is_padded),
                Part::Minute => number(minute, true),
                Part::Second => number(seconds % 60, true),
                Part::Fraction(digits) => format!("{fraction:0width$}", width = digits as usize),
                Part::HalfDay => String::from(if hour < 12 { "AM" } else { "PM" }),
                Part::Literal(letter) => letter.to_string(),
            };
        }
        text
    }

    fn has(&self, wanted: fn(&Part) -> bool) -> bool {
        self.parts.iter().any(wanted)
    }

    /// Whether the smallest unit is a month.
    fn is_of_months(&self) -> bool {
        self.has(|part| matches!(part, Part::Year | Part::ShortYear))
            && !self.has(|part| matches!(part, Part::Day(_)))
    }

    /// Units of a second; 0 where the smallest unit is longer.
    fn units_a_second(&self) -> i64 {
        let digits = self.parts.iter().find_map(|part| match part {
            Part::Fraction(digits) => Some(*digits),
            _ => None,
        });
        match digits {
            Some(digits) => 10i64.pow(digits),
            None => i64::from(self.has(|part| *part == Part::Second)),
        }
    }

    /// Units of a day.
    fn units_a_day(&self) -> i64 {
        if !self.has(|part| matches!(part, Part::Hour(_) | Part::HalfDayHour(_))) {
            return 1;
        }
        match self.units_a_second() {
            0 => 24 * 60,
            second => 24 * 3600 * second,
        }
    }
}

impl Fields {
    /// Reads a part at the beginning of a text, and returns the rest.
    fn take<'a>(&mut self, part: &Part, text: &'a str) -> Option<&'a str> {
        let (value, rest) = match *part {
            Part::Literal(letter) => return text.strip_prefix(letter),
            Part::HalfDay => {
                let mark = text.get(..2)?;
                self.is_afternoon = Some(match mark {
                    "AM" => false,
                    "PM" => true,
                    _ => return None,
                });
                return Some(&text[2..]);
            }
            Part::MonthName(is_long) => {
                let found = MONTHS.iter().zip(1..).find_map(|(name, month)| {
                    let name = if is_long { *name } else { &name[..3] };
                    Some((month, text.strip_prefix(name)?))
                });
                let (month, rest) = found?;
                self.month = Some(month);
                return Some(rest);
            }
            Part::Year => digits(text, 4, 4)?,
            Part::ShortYear | Part::Minute | Part::Second => digits(text, 2, 2)?,
            Part::Month(true) | Part::Day(true) | Part::Hour(true) | Part::HalfDayHour(true) => {
                digits(text, 2, 2)?
            }
            Part::Month(false)
            | Part::Day(false)
            | Part::Hour(false)
            | Part::HalfDayHour(false) => {
                let (value, rest) = digits(text, 1, 2)?;
                let is_padded = text.starts_with('0') && text.len() - rest.len() > 1;
                (!is_padded).then_some((value, rest))?
            }
            Part::Fraction(count) => digits(text, count as usize, count as usize)?,
        };
        let field = match part {
            Part::Year => {
                self.year = Some(value);
                return (value >= 1).then_some(rest);
            }
            Part::ShortYear => {
                self.year = Some(if value < 69 {
                    2000 + value
                } else {
                    1900 + value
                });
                return Some(rest);
            }
            Part::Month(_) => {
                self.month = Some(value);
                return (1..=12).contains(&value).then_some(rest);
            }
            Part::Day(_) => {
                self.day = Some(value);
                return Some(rest);
            }
            Part::Hour(_) => (&mut self.hour, 23),
            Part::HalfDayHour(_) => {
                // 12 is the first hour of either half.
                self.hour = value % 12;
                return (1..=12).contains(&value).then_some(rest);
            }
            Part::Minute => (&mut self.minute, 59),
            Part::Second => (&mut self.second, 59),
            _ => (&mut self.fraction, i64::MAX),
        };
        *field.0 = value;
        (value <= field.1).then_some(rest)
    }

    /// The number of a date with these fields.
    fn count(&self, format: &DateFormat) -> Option<i64> {
        if format.is_of_months() {
            return Some(self.year? * 12 + self.month? - 1);
        }
        let days = match self.year {
            Some(year) => {
                let (month, day) = (self.month?, self.day?);
                let count = days(year, month, day);
                // No 30th of February.
                (date(count) == (year, month, day)).then_some(count)?
            }
            None => 0,
        };
        let hour = self.hour
            + if self.is_afternoon == Some(true) {
                12
            } else {
                0
            };
        let minutes = hour * 60 + self.minute;
        let units = match (format.units_a_day(), format.units_a_second()) {
            (1, _) => 0,
            (_, 0) => minutes,
            (_, second) => (minutes * 60 + self.second) * second + self.fraction,
        };
        Some(days * format.units_a_day() + units)
    }
}

/// A number of so many digits at the beginning of a text, and the rest.
fn digits(text: &str, least: usize, most: usize) -> Option<(i64, &str)> {
    let count = text
        .bytes()
        .take(most)
        .take_while(u8::is_ascii_digit)
        .count();
    if count < least {
        return None;
    }
    let (digits, rest) = text.split_at(count);
    Some((digits.parse().ok()?, rest))
}

/// The time zone at the end of a text, which all of a column must have.
fn zone(text: &str) -> &str {
    for zone in ["Z", " UTC", " GMT"] {
        if text.ends_with(zone) {
            return zone;
        }
    }
    let bytes = text.as_bytes();
    for len in [6, 5, 3] {
        let Some(start) = bytes.len().checked_sub(len) else {
            continue;
        };
        let zone = &bytes[start..];
        // After a time, so that the end of a date is none.
        let follows_time =
            start > 2 && bytes[..start].contains(&b':') && bytes[start - 1].is_ascii_digit();
        let are_digits = zone[1..]
            .iter()
            .enumerate()
            .all(|(place, byte)| match (len, place) {
                (6, 2) => *byte == b':',
                _ => byte.is_ascii_digit(),
            });
        if follows_time
            && matches!(zone[0], b'+' | b'-')
            && are_digits
            && text.is_char_boundary(start)
        {
            return &text[start..];
        }
    }
    ""
}

/// Days from the beginning of 1970 to a day, by counting years from March, so that the leap day is the last, in
/// eras of 400 years or 146,097 days (Hinnant 2013, "chrono-compatible low-level date algorithms").
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Year, month and day so many days from the beginning of 1970.
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = (from_march + 2) % 12 + 1;
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn format(pattern: &str) -> DateFormat {
        DateFormat::try_from(pattern.to_owned()).unwrap()
    }

    #[test]
    fn formats_are_found() {
        let cases = [
            ("2013-02-28", "%Y-%m-%d"),
            ("28.02.2013", "%d.%m.%Y"),
            ("2/28/2013", "%-m/%-d/%Y"),
            ("02/28/13", "%m/%d/%y"),
            ("28/02/2013", "%d/%m/%Y"),
            ("20130228", "%Y%m%d"),
            ("28-Feb-2013", "%d-%b-%Y"),
            ("February 8, 2013", "%B %-d, %Y"),
            ("2013-02", "%Y-%m"),
            ("Feb 2013", "%b %Y"),
            ("23:59", "%H:%M"),
            ("7:05 PM", "%-I:%M %p"),
            ("2013-02-28T23:59:58Z", "%Y-%m-%dT%H:%M:%SZ"),
            ("2013-02-28 23:59:58.125", "%Y-%m-%d %H:%M:%S.%3f"),
            ("2013-02-28 23:59:58+01:00", "%Y-%m-%d %H:%M:%S+01:00"),
            ("2/8/2013 7:05", "%-m/%-d/%Y %-H:%M"),
        ];
        for (text, pattern) in cases {
            let candidates = DateFormat::candidates(text);
            let found = candidates.first().map(DateFormat::pattern);
            assert_eq!(found, Some(pattern), "{text}");
            let format = &candidates[0];
            assert_eq!(format.write(format.parse(text).unwrap()), text);
        }
        for text in [
            "",
            "2013",
            "2013-02-30",
            "13/13/2013",
            "24:00",
            "12",
            "hello",
            "0000-01-01",
            "1.5",
            "5-7",
        ] {
            assert!(DateFormat::candidates(text).is_empty(), "{text}");
        }
    }

    /// Of Python's `datetime`: (date(y, m, d) - date(1970, 1, 1)).days.
    #[test]
    fn days_are_those_of_the_calendar() {
        let cases = [
            ("1970-01-01", 0),
            ("2000-02-29", 11_016),
            ("1900-03-01", -25_508),
            ("2026-11-28", 20_785),
            ("0001-01-01", -719_162),
            ("9999-12-31", 2_932_896),
        ];
        let iso = format("%Y-%m-%d");
        for (text, days) in cases {
            assert_eq!(iso.parse(text), Some(days), "{text}");
            assert_eq!(iso.write(days), text);
        }
        assert_eq!(
            format("%Y-%m-%d %H:%M").parse("1970-01-02 01:01"),
            Some(1440 + 61)
        );
        assert_eq!(format("%I:%M %p").parse("12:30 AM"), Some(30));
        assert_eq!(format("%I:%M %p").parse("12:30 PM"), Some(750));
        assert_eq!(format("%b-%y").parse("Mar-69"), Some(1969 * 12 + 2));
    }

    #[test]
    fn patterns_that_are_no_dates_are_refused() {
        for pattern in [
            "",
            "%",
            "%Q",
            "%Y",
            "%m-%d",
            "%d",
            "%7f",
            "%Y-%d",
            "x",
            "%Y-%m %H:%M",
            "%-",
            "%3",
        ] {
            assert!(
                DateFormat::try_from(pattern.to_owned()).is_err(),
                "{pattern}"
            );
        }
    }

    proptest! {
        #[test]
        fn numbers_survive_text(count in -700_000i64..2_900_000, part in 0i64..86_400) {
            for pattern in [
                "%Y-%m-%d", "%-d/%-m/%Y", "%Y%m%d", "%d %B %Y", "%b %-d, %Y",
            ] {
                let format = format(pattern);
                prop_assert_eq!(format.parse(&format.write(count)), Some(count));
            }
            let seconds = count * 86_400 + part;
            let format = format("%Y-%m-%dT%I:%M:%S %p");
            prop_assert_eq!(format.parse(&format.write(seconds)), Some(seconds));
        }

        #[test]
        fn any_text_is_a_date_or_none(text in "[0-9A-Za-z:. /T\u{e9}-]{0,20}") {
            for format in DateFormat::candidates(&text) {
                let count = format.parse(&text).unwrap();
                let written = format.write(count);
                prop_assert_eq!(written, text.clone());
            }
        }

        #[test]
        fn any_pattern_is_a_format_or_none(text in "[%YymdbBHIMSpf1-7 -]{0,12}", count: i32) {
            if let Ok(format) = DateFormat::try_from(text) {
                let _ = format.parse(&format.write(count.into()));
            }
        }
    }
}
