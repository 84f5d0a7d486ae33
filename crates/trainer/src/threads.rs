//! How many threads everything is computed in: this program's, and those of the processes that it starts.

use std::env;
use std::error::Error as _;
use std::ffi::OsStr;
use std::process::Command;

use anyhow::{Context, Result};

use crate::error::Usage;

/// What sets the number of threads, as rayon reads it.
const THREADS: &str = "RAYON_NUM_THREADS";

/// The most of them that are asked of a machine.
pub const MOST: u16 = 1024;

/// Starts the threads that everything is computed in: `count` of them, else as many as the environment says, else one
/// a processor. Left to rayon, a system that grants no more of them would end the program with a panic.
///
/// # Errors
///
/// A number in the environment that rayon would pass over, or that no machine starts, and a system that grants none.
pub fn start(count: Option<u16>) -> Result<()> {
    check(env::var_os(THREADS).as_deref())?;
    // Of rayon, 0 is what it does by itself.
    let count = count.map_or(0, usize::from);
    // Those of a test that calls us twice are there.
    if let Err(error) = rayon::ThreadPoolBuilder::new()
        .num_threads(count)
        .build_global()
        && error.source().is_some()
    {
        return Err(error).with_context(|| {
            format!(
                "cannot start the threads to compute in; {THREADS} says how many, as in {THREADS}=1"
            )
        });
    }
    Ok(())
}

/// Lets a process of this program compute in as many threads as this one does.
pub fn share_with(command: &mut Command) {
    command.env(THREADS, rayon::current_num_threads().to_string());
}

fn check(given: Option<&OsStr>) -> Result<(), Usage> {
    let Some(text) = given.filter(|text| !text.is_empty()) else {
        return Ok(());
    };
    let number = text.to_str().and_then(|text| text.parse().ok());
    match number {
        Some(0..=MOST) => Ok(()),
        _ => Err(Usage(format!(
            "the environment variable {THREADS} is {text:?}, expected a number of threads from 1 to {MOST}, \
             or 0 for one a processor"
        ))),
    }
}
