//! Detection: whether boosted trees can tell drawn rows from real ones (a classifier two-sample test, Lopez-Paz and
//! Oquab 2017).
//!
//! Two thirds of both tables are learned from and the rest is told apart, three times in turn:
//!
//! ```text
//! score = 1 − mean over the thirds of (2 max(½, AUC) − 1)
//! ```
//!
//! 1 where drawn rows cannot be told from real ones, 0 where all can. The formula is that of sdmetrics' detection
//! metrics; with XGBoost and its defaults, which [`super::boosting`] follows, it is what papers on tables call C2ST.
//! Any fault counts: a range, a rounding, a value of its own; no other score is as strict.
//!
//! Categories that only drawn rows have are told apart here, where sdmetrics ends with an error, and columns of
//! booleans are looked at, which it leaves out.

use rand::Rng;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use crate::error::ScoreError;
use crate::tables::boosting::{Bins, BoostedTrees, Growth, Loss};
use crate::tables::inputs::stacked;
use crate::tables::ranking::area_under_curve;
use crate::tables::table::{Table, check_tables};

/// The parts that the rows are dealt to.
const FOLDS: usize = 3;

/// How well drawn rows can be told from real ones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Detection {
    /// The score in [0, 1]: 1 where they cannot be told apart.
    pub score: f64,
    /// The mean area under the curve: ½ where they cannot be told apart.
    pub auc: f64,
    /// How much each column gives away: its share of what all splits gained, which add up to 1. Where the score is
    /// high, they say nothing.
    pub gains: Vec<f64>,
}

/// Tells rows of `drawn` from those of `real`. The random numbers deal the rows to the three parts, by which the score
/// differs by about .01 at 10,000 rows.
///
/// ```
/// use evaluation::tables::{Column, Table, detection};
/// use rand::SeedableRng;
/// use rand_chacha::ChaCha8Rng;
///
/// let table = |numbers: std::ops::Range<u32>| {
///     Table::new(vec![("x".into(), Column::Numbers(numbers.map(f64::from).collect()))])
/// };
/// let found = detection(&table(0..60)?, &table(60..120)?, &mut ChaCha8Rng::seed_from_u64(0))?;
/// assert!(found.score < 0.1);
/// # Ok::<(), evaluation::ScoreError>(())
/// ```
///
/// # Errors
///
/// [`ScoreError::Columns`], [`ScoreError::TooFewSamples`] where a table has fewer than 3 rows.
pub fn detection<R: Rng + ?Sized>(
    real: &Table,
    drawn: &Table,
    rng: &mut R,
) -> Result<Detection, ScoreError> {
    check_tables("detection", real, drawn, FOLDS)?;
    let columns: Vec<usize> = (0..real.columns().len()).collect();
    let inputs = stacked(real, drawn, &columns);
    let rows = real.len() + drawn.len();
    let targets: Vec<f64> = (0..rows)
        .map(|row| f64::from(u8::from(row < real.len())))
        .collect();

    let mut folds = vec![0; rows];
    for kind in [0..real.len(), real.len()..rows] {
        let mut order: Vec<usize> = kind.collect();
        order.shuffle(rng);
        for (place, row) in order.into_iter().enumerate() {
            folds[row] = place % FOLDS;
        }
    }

    let growth = Growth::default();
    let (mut told, mut auc) = (0.0, 0.0);
    let mut gains = vec![0.0; columns.len()];
    for fold in 0..FOLDS {
        let (tested, learned): (Vec<u32>, Vec<u32>) =
            (0..rows as u32).partition(|&row| folds[row as usize] == fold);
        let bins = Bins::new(&inputs, &learned);
        let trees = BoostedTrees::grow(&bins, &learned, &targets, Loss::Logistic, &growth);
        let margins = trees.margins(&bins, &tested, growth.rounds);
        let is_real: Vec<bool> = tested
            .iter()
            .map(|&row| (row as usize) < real.len())
            .collect();
        // Each third has rows of both tables.
        let area = area_under_curve(&margins, &is_real).unwrap_or(0.5);
        auc += area / FOLDS as f64;
        told += (2.0 * area.max(0.5) - 1.0) / FOLDS as f64;
        for (sum, gain) in gains.iter_mut().zip(&trees.gains) {
            *sum += gain;
        }
    }
    let all: f64 = gains.iter().sum();
    if all > 0.0 {
        for gain in &mut gains {
            *gain /= all;
        }
    }
    Ok(Detection {
        score: 1.0 - told,
        auc,
        gains,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::tables::table::Column;

    /// Two dice, of which the second shows `second` of the first: of the dependence alone the tables differ.
    fn dice(rows: usize, seed: u64, second: impl Fn(u32, u32) -> u32) -> Table {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let pairs: Vec<(u32, u32)> = (0..rows)
            .map(|_| {
                let (a, b) = (rng.random_range(0..6), rng.random_range(0..6));
                (a, second(a, b))
            })
            .collect();
        Table::new(vec![
            (
                "first".into(),
                Column::Categories(pairs.iter().map(|pair| Some(pair.0)).collect()),
            ),
            (
                "second".into(),
                Column::Numbers(pairs.iter().map(|pair| f64::from(pair.1)).collect()),
            ),
        ])
        .unwrap()
    }

    #[test]
    fn equal_distributions_cannot_be_told_apart_and_another_dependence_can() {
        let real = dice(1500, 1, |a, _| a);
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let same = detection(&real, &dice(1500, 2, |a, _| a), &mut rng).unwrap();
        assert!(same.score > 0.93, "{same:?}");
        // A pair that real rows have is drawn with the chance of a sixth: the best AUC is 1 − 1/12.
        let other = detection(&real, &dice(1500, 3, |_, b| b), &mut rng).unwrap();
        assert!((other.auc - 11.0 / 12.0).abs() < 0.02, "{other:?}");
        assert!((other.score - 1.0 / 6.0).abs() < 0.04, "{other:?}");
        assert!((other.gains.iter().sum::<f64>() - 1.0).abs() < 1e-12);
    }

    #[test]
    fn the_column_that_gives_away_is_named() {
        let real = dice(600, 1, |_, b| b);
        let drawn = dice(600, 2, |_, b| b + 1);
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let found = detection(&real, &drawn, &mut rng).unwrap();
        assert!(found.gains[1] > 0.8, "{found:?}");
    }

    #[test]
    fn gaps_and_constants_are_no_trouble() {
        let table = |share: usize| {
            let numbers = (0..300).map(|row| if row % share == 0 { f64::NAN } else { 1.0 });
            let codes = (0..300).map(|row| (row % share != 0).then_some(3));
            Table::new(vec![
                ("numbers".into(), Column::Numbers(numbers.collect())),
                ("codes".into(), Column::Categories(codes.collect())),
            ])
            .unwrap()
        };
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let found = detection(&table(2), &table(30), &mut rng).unwrap();
        // Gaps are half of one and a thirtieth of the other: AUC ½ + ½ (½ − 1/30).
        assert!((found.auc - 0.733).abs() < 0.01, "{found:?}");
        let all_gaps = Table::new(vec![("x".into(), Column::Numbers(vec![f64::NAN; 9]))]).unwrap();
        assert_eq!(
            detection(&all_gaps, &all_gaps, &mut rng).unwrap().score,
            1.0
        );
        let none = Table::new(Vec::new()).unwrap();
        assert!(matches!(
            detection(&none, &none, &mut rng),
            Err(ScoreError::TooFewSamples { .. })
        ));
    }
}
