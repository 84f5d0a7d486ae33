//! What the program says, in a way that never ends it: a closed pipe, as of `| head`, or a full disk takes
//! the words, not the work.
//!
//! `println!`, `print!` and `eprintln!` stand in this crate for those of the standard library, which panic
//! where they cannot write.

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
