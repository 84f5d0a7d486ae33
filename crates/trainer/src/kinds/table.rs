//! How much is left of the data at some timesteps, in numbers.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result};
use noising::NoiseSchedule;
use serde::Serialize;

use crate::drawing::frames::evenly_spread;
use crate::run::atomic_file;

/// Timesteps in the table besides the first.
const MOMENTS: usize = 11;

/// The headings of the table, for a person and for a program.
const HEADINGS: [&str; 4] = ["t", "ᾱ", "SNR", "KL to N(0, I)"];
const KEYS: &str = "t,alpha_cumprod,snr,kl_to_pure_noise";

/// What is left of the data at a timestep.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Row {
    /// The timestep.
    t: usize,
    /// ᾱ_t.
    alpha_cumprod: f64,
    /// ᾱ_t / (1 − ᾱ_t).
    snr: f64,
    /// KL(q(x_t | x_0) ‖ N(0, I)) in nats a dimension.
    kl_to_pure_noise: f64,
}

/// The first timestep and some that are evenly spread up to the last, for data of this mean square.
pub(super) fn rows(schedule: &NoiseSchedule, x_0_mean_square: f64) -> Vec<Row> {
    let mut timesteps = evenly_spread(schedule.num_train_timesteps(), MOMENTS);
    timesteps.insert(0, 0);
    timesteps.dedup();
    timesteps
        .into_iter()
        .map(|t| Row {
            t,
            alpha_cumprod: schedule.alphas_cumprod()[t],
            snr: schedule.snr(t),
            kl_to_pure_noise: schedule.kl_to_pure_noise(t, x_0_mean_square),
        })
        .collect()
}

/// Writes the table as CSV, in full precision.
pub(super) fn save(rows: &[Row], path: &Path) -> Result<()> {
    let mut text = format!("{KEYS}\n");
    for row in rows {
        writeln!(
            text,
            "{},{:?},{:?},{:?}",
            row.t, row.alpha_cumprod, row.snr, row.kl_to_pure_noise
        )
        .context("cannot write the table")?;
    }
    atomic_file::write(path, text.as_bytes())
        .with_context(|| format!("cannot write {}", path.display()))
}

/// The table as a person reads it.
pub(super) fn aligned(rows: &[Row]) -> String {
    let cells = rows.iter().map(|row| {
        [
            row.t.to_string(),
            significant(row.alpha_cumprod),
            significant(row.snr),
            significant(row.kl_to_pure_noise),
        ]
    });
    let lines: Vec<[String; 4]> = std::iter::once(HEADINGS.map(str::to_owned))
        .chain(cells)
        .collect();
    let mut widths = [0; 4];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    for line in &lines {
        let padded = line.iter().zip(widths);
        let padded: Vec<String> = padded
            .map(|(cell, width)| format!("{cell:>width$}"))
            .collect();
        text.push_str(&padded.join("   "));
        text.push('\n');
    }
    text.push_str("(KL: the distance to pure noise, in nats a dimension; 0 is pure noise)\n");
    text
}

/// A number with four significant digits.
fn significant(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if (1e-3..1e5).contains(&size) => {
            let decimals = (3.0 - size.log10().floor()).max(0.0) as usize;
            format!("{value:.decimals$}")
        }
        _ => format!("{value:.3e}"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use noising::BetaSchedule;

    use super::*;

    #[test]
    fn the_table_runs_from_the_first_timestep_to_the_last() {
        let schedule = NoiseSchedule::new(&BetaSchedule::default(), 1000).unwrap();
        let rows = rows(&schedule, 0.5);
        assert_eq!(rows.len(), 12);
        assert_eq!((rows[0].t, rows[11].t), (0, 999));
        // ½ (ᾱ (m − 1) − ln(1 − ᾱ)) by hand, at ᾱ_999 = 4.035829765e-5 and m = ½.
        let by_hand = 0.5 * (4.035829765e-5 * -0.5 - (-4.035829765e-5_f64).ln_1p());
        assert!((rows[11].kl_to_pure_noise - by_hand).abs() < 1e-13);
        assert!(rows.is_sorted_by(|a, b| a.kl_to_pure_noise > b.kl_to_pure_noise));
    }

    #[test]
    fn short_chains_have_a_short_table() {
        for (steps, len) in [(1, 1), (2, 2), (11, 11)] {
            let schedule = NoiseSchedule::from_betas(vec![0.1; steps]).unwrap();
            assert_eq!(rows(&schedule, 1.0).len(), len, "{steps} steps");
        }
    }

    #[test]
    fn lines_are_aligned() {
        let schedule = NoiseSchedule::new(&BetaSchedule::default(), 1000).unwrap();
        let text = aligned(&rows(&schedule.rescale_zero_terminal_snr(), 1.0));
        let widths: Vec<usize> = text.lines().take(13).map(|l| l.chars().count()).collect();
        assert!(widths.iter().all(|&width| width == widths[0]), "{text}");
    }

    #[test]
    fn numbers_have_four_digits_that_count() {
        let texts = [0.0, 0.07858724, 9999.0, 4.0358e-5, 0.5, 123456.0].map(significant);
        assert_eq!(
            texts,
            ["0", "0.07859", "9999", "4.036e-5", "0.5000", "1.235e5"]
        );
    }
}
