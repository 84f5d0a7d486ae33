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

/// A bound on −ln p(x) in nats, from −ln p(x | z) of several z that were drawn from p(z): −ln of the mean of p(x | z),
/// since p(x) is its expectation (Burda et al. 2016, "Importance Weighted Autoencoders", equation 8, with p(z) as
/// the proposal). One z is the variational bound; on average more are nearer to −ln p(x), and never below it.
///
/// ```
/// use evaluation::tables::importance_weighted_bound;
///
/// // p(x | z) is 1/2 and 1/8.
/// let bound = importance_weighted_bound(&[2.0_f64.ln(), 8.0_f64.ln()]);
/// assert!((bound - (16.0 / 5.0_f64).ln()).abs() < 1e-12);
/// ```
///
/// # Panics
///
/// Without a z.
pub fn importance_weighted_bound(costs: &[f64]) -> f64 {
    assert!(!costs.is_empty(), "the costs of one z at least");
    let least = costs.iter().copied().fold(f64::INFINITY, f64::min);
    let mean = costs.iter().map(|cost| (least - cost).exp()).sum::<f64>() / costs.len() as f64;
    least - mean.ln()
}
