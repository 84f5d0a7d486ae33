//! What the program says, in a way that never ends it: a closed pipe, as of `| head`, or a full disk takes
//! the words, not the work.
//!
//! `println!`, `print!` and `eprintln!` stand in this crate for those of the standard library, which panic
//! where they cannot write.

use std::borrow::Cow;
use std::fmt::Arguments;
use std::io::Write;

macro_rules! println {
    () => { $crate::output::write(&mut std::io::stdout(), format_args!("\n")) };
    ($($text:tt)+) => {
        $crate::output::write(&mut std::io::stdout(), format_args!("{}\n", format_args!($($text)+)))
    };
}

macro_rules! print {
    ($($text:tt)+) => { $crate::output::write(&mut std::io::stdout(), format_args!($($text)+)) };
}

macro_rules! eprintln {
    ($($text:tt)+) => {
        $crate::output::write(&mut std::io::stderr(), format_args!("{}\n", format_args!($($text)+)))
    };
}

/// Writes `text`, or as much of it as can be written.
pub fn write(to: &mut impl Write, text: Arguments<'_>) {
    // In one piece, so that lines of several threads do not mix; who reads is told nothing if it is lost.
    let _ = to.write_all(text.to_string().as_bytes());
    let _ = to.flush();
}

/// The longest word of a message, in bytes: longer than paths are, but for very deep ones.
const LONGEST_WORD: usize = 1000;

/// A message as it can be shown: what was typed, or stands in a file, may be a word of kilobytes.
pub fn shortened(text: &str) -> Cow<'_, str> {
    /// The characters that are left of such a word.
    const LEFT: usize = 100;
    let is_short = |word: &str| word.len() <= LONGEST_WORD;
    if text.split(char::is_whitespace).all(is_short) {
        return text.into();
    }
    let words = text.split_inclusive(char::is_whitespace).map(|word| {
        if is_short(word) {
            return Cow::from(word);
        }
        let start: String = word.chars().take(LEFT).collect();
        let end = word.chars().next_back().filter(|c| c.is_whitespace());
        let end = end.map_or(String::new(), String::from);
        format!("{start}… ({} bytes){end}", word.len()).into()
    });
    Cow::Owned(words.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_words_that_are_too_long_are_cut() {
        assert_eq!(shortened("a word"), "a word");
        let many = "word ".repeat(1000);
        assert!(matches!(shortened(&many), Cow::Borrowed(text) if text == many));
        let long = format!("before {} after\n", "ö".repeat(9000));
        let expected = format!("before {}… (18001 bytes) after\n", "ö".repeat(100));
        assert_eq!(shortened(&long), expected);
    }
}
