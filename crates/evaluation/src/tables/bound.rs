//! The variational bound of a model over tables, in nats a cell.

use serde::{Deserialize, Serialize};

use crate::error::ScoreError;

/// What a cell costs under a model, on average.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct NatsPerCell {
    /// The mean over the rows.
    pub mean: f64,
    /// The standard error of the mean: the deviation of the rows over the root of their number. Where a row's bound is
    /// estimated by random timesteps, it has their share too.
    pub standard_error: f64,
}

impl NatsPerCell {
    /// From the bound of each of at least two rows in nats, over all of its `cells`.
    ///
    /// ```
    /// use evaluation::tables::NatsPerCell;
    ///
    /// let bound = NatsPerCell::of(&[4.0, 6.0], 2)?;
    /// assert_eq!((bound.mean, bound.standard_error), (2.5, 0.5));
    /// # Ok::<(), evaluation::ScoreError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ScoreError::TooFewSamples`], [`ScoreError::Zero`] without cells.
    pub fn of(rows: &[f64], cells: usize) -> Result<Self, ScoreError> {
        if rows.len() < 2 {
            return Err(ScoreError::TooFewSamples {
                score: "the bound",
                found: rows.len(),
                needed: 2,
            });
        }
        if cells == 0 {
            return Err(ScoreError::Zero {
                name: "the number of cells",
            });
        }
        let count = rows.len() as f64;
        let mean = rows.iter().sum::<f64>() / count;
        let squares: f64 = rows.iter().map(|row| (row - mean).powi(2)).sum();
        let cells = cells as f64;
        Ok(Self {
            mean: mean / cells,
            standard_error: (squares / (count - 1.0) / count).sqrt() / cells,
        })
    }
}
