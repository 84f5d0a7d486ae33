//! How far apart two sets of images are, as distributions, without a network: the sliced Wasserstein
//! distance (Rabin et al. 2012).
//!
//! On a line the Wasserstein-2 distance of two samples of equal size is the root of the mean squared
//! difference between their sorted values. Here it is taken along many directions:
//!
//! ```text
//! SW₂² = mean over directions d and ranks i of (⟨a, d⟩₍ᵢ₎ − ⟨b, d⟩₍ᵢ₎)²,  |d| = 1
//! ```
//!
//! Two samples of one distribution are not at 0; their distance is the floor that others are to be read against.

use rayon::prelude::*;

use crate::error::ScoreError;
use crate::features::{Features, check_pair, check_widths};

/// The distance between two sets of as many samples along `directions`, a row each of any length: random
/// ones, and the same for all distances that are to be compared.
///
/// ```
/// use evaluation::{Features, sliced_wasserstein};
///
/// let first = Features::new(vec![0.0, 0.0, 1.0, 0.0], 2)?;
/// let second = Features::new(vec![4.0, 0.0, 3.0, 0.0], 2)?;
/// let axes = Features::new(vec![1.0, 0.0, 0.0, 1.0], 2)?;
/// // Three apart along one axis, equal along the other.
/// assert_eq!(sliced_wasserstein(&first, &second, &axes)?, f64::sqrt(9.0 / 2.0));
/// # Ok::<(), evaluation::ScoreError>(())
/// ```
///
/// # Errors
///
/// [`ScoreError::TooFewSamples`] where there are none, [`ScoreError::Counts`], [`ScoreError::Widths`], or
/// [`ScoreError::Zero`] without directions.
pub fn sliced_wasserstein(
    first: &Features,
    second: &Features,
    directions: &Features,
) -> Result<f64, ScoreError> {
    check_pair("the sliced Wasserstein distance", first, second, 1)?;
    check_widths(first.width(), directions.width())?;
    if first.len() != second.len() {
        return Err(ScoreError::Counts {
            first: first.len(),
            second: second.len(),
        });
    }
    if directions.is_empty() {
        return Err(ScoreError::Zero {
            name: "the number of directions",
        });
    }
    let squared: Vec<f64> = (0..directions.len())
        .into_par_iter()
        .map(|index| {
            let direction = directions.row(index);
            let (a, b) = (
                sorted_along(first, direction),
                sorted_along(second, direction),
            );
            let differences = a.iter().zip(&b).map(|(a, b)| (a - b).powi(2));
            let length: f64 = direction.iter().map(|&d| f64::from(d).powi(2)).sum();
            differences.sum::<f64>() / (a.len() as f64 * length.max(f64::MIN_POSITIVE))
        })
        .collect();
    Ok((squared.iter().sum::<f64>() / squared.len() as f64).sqrt())
}

/// ⟨x, direction⟩ of every sample, sorted.
fn sorted_along(features: &Features, direction: &[f32]) -> Vec<f64> {
    let mut projections: Vec<f64> = features
        .rows()
        .map(|row| {
            let products = row.iter().zip(direction);
            products.map(|(&x, &d)| f64::from(x) * f64::from(d)).sum()
        })
        .collect();
    projections.sort_by(f64::total_cmp);
    projections
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;
    use rand_distr::StandardNormal;

    use super::*;

    const WIDTH: usize = 16;

    fn normal(seed: u64, count: usize, scale: f32, mean: f32) -> Features {
        let rng = ChaCha8Rng::seed_from_u64(seed);
        let values = rng.sample_iter::<f32, _>(StandardNormal);
        let values = values.map(|z| scale * z + mean).take(count * WIDTH);
        Features::new(values.collect(), WIDTH).unwrap()
    }

    /// Along each direction N(0, 1) scaled by 3 is 2 away from itself, and moved by m in every number it
    /// is ⟨m, d⟩ away, of mean square |m|² / WIDTH.
    #[test]
    fn of_known_distributions() {
        let directions = normal(9, 512, 1.0, 0.0);
        let distance = |a: &Features, b: &Features| sliced_wasserstein(a, b, &directions).unwrap();
        let a = normal(0, 4000, 1.0, 0.0);
        let floor = distance(&a, &normal(1, 4000, 1.0, 0.0));
        assert!(floor > 0.0 && floor < 0.06, "{floor}");
        assert_eq!(distance(&a, &a), 0.0);
        let scaled = distance(&a, &normal(1, 4000, 3.0, 0.0));
        assert!((scaled - 2.0).abs() < 0.05, "{scaled}");
        let moved = distance(&a, &normal(1, 4000, 1.0, 0.5));
        assert!((moved - 0.5).abs() < 0.05, "{moved}");
    }

    #[test]
    fn sets_that_cannot_be_compared_are_refused() {
        let directions = normal(9, 4, 1.0, 0.0);
        let a = normal(0, 3, 1.0, 0.0);
        let error = sliced_wasserstein(&a, &normal(1, 4, 1.0, 0.0), &directions);
        assert_eq!(
            error,
            Err(ScoreError::Counts {
                first: 3,
                second: 4
            })
        );
        let narrow = Features::new(vec![1.0; 6], 2).unwrap();
        assert!(matches!(
            sliced_wasserstein(&a, &narrow, &directions),
            Err(ScoreError::Widths { .. })
        ));
        assert!(matches!(
            sliced_wasserstein(&a, &a, &narrow),
            Err(ScoreError::Widths { .. })
        ));
        let none = Features::new(vec![], WIDTH).unwrap();
        assert!(matches!(
            sliced_wasserstein(&a, &a, &none),
            Err(ScoreError::Zero { .. })
        ));
        assert!(matches!(
            sliced_wasserstein(&none, &none, &directions),
            Err(ScoreError::TooFewSamples { .. })
        ));
    }
}
