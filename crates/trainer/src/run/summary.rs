//! `summary.json`: what a run came to, and all that it must be read with.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use serde::Serialize;

use super::atomic_file;
use crate::config::RunConfig;

/// What `summary.json` says.
#[derive(Debug, Serialize)]
pub struct Summary<'a> {
    /// When the run ended, in UTC, as in `2026-01-31T12:00:00Z`.
    pub date: String,
    /// Version of the program.
    pub program_version: &'static str,
    /// Seed of every random number of the run.
    pub seed: u64,
    /// What it was trained on: a name or a path.
    pub data: String,
    /// Steps taken.
    pub steps: u64,
    /// Passes over the training split.
    pub epochs: f64,
    /// Training examples seen.
    pub examples_seen: u64,
    /// Numbers of the network.
    pub parameters: usize,
    /// Time of training, over all sessions.
    pub seconds: f64,
    /// The device of the last session.
    pub device: String,
    /// Loss of the averaged weights on the test split.
    pub held_out_loss: Option<f64>,
    /// FID of the last checkpoint, where it was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fid: Option<f64>,
    /// The configuration, every key in it.
    pub configuration: &'a RunConfig,
}

impl Summary<'_> {
    /// Writes it.
    ///
    /// # Errors
    ///
    /// Why the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        atomic_file::write(path, &serde_json::to_vec_pretty(self)?)
            .with_context(|| format!("cannot write {}", path.display()))
    }
}

/// A moment in UTC, to the second, as RFC 3339 writes it. Before 1970 it is 1970.
pub fn utc(time: SystemTime) -> String {
    const SECONDS_A_DAY: u64 = 24 * 60 * 60;
    let seconds = time
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let (days, second) = (seconds / SECONDS_A_DAY, seconds % SECONDS_A_DAY);
    // Years that begin in March, so that the day that comes every four years is their last: in 400 of them
    // there are 146,097 days, and in five months from March or August 153.
    let day = days + 719_468;
    let (era, day) = (day / 146_097, day % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, is_next_year) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    let year = 400 * era + year + is_next_year;
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (68_169_599, "1972-02-28T23:59:59Z"),
            (68_169_600, "1972-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(utc(UNIX_EPOCH + Duration::from_secs(seconds)), expected);
        }
    }
}
