//! The kernel distance: KID (Bińkowski et al. 2018, section 4).
//!
//! The squared maximum mean discrepancy under k(x, y) = (x·y / D + 1)³, estimated without bias (their
//! equation 4; Gretton et al. 2012, lemma 6):
//!
//! ```text
//! MMD² = Σ_{i≠j} k(x_i, x_j) / m(m − 1)  +  Σ_{i≠j} k(y_i, y_j) / n(n − 1)  −  2 Σ_ij k(x_i, y_j) / mn
//! ```
//!
//! Unlike FID it expects no more or less of few samples than of many; it can fall below 0. It is taken
//! over random subsets, whose deviation says how far to trust it.

use nalgebra::DMatrix;
use rand::Rng;
use rand::seq::index::sample;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::ScoreError;
use crate::features::{Features, check_pair};

/// Random subsets of both sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelSubsets {
    /// How many.
    pub count: usize,
    /// Samples in each; all that there are, where there are fewer.
    pub size: usize,
}

impl Default for KernelSubsets {
    /// 100 of 1000, as is usual.
    fn default() -> Self {
        Self {
            count: 100,
            size: 1000,
        }
    }
}

/// The squared MMD over subsets.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct KernelDistance {
    /// Its mean.
    pub mean: f64,
    /// Its standard deviation from subset to subset.
    pub deviation: f64,
}

/// KID: mean and deviation of [`squared_mmd`] over `subsets`, drawn from `rng` without replacement.
///
/// ```
/// use evaluation::{Features, KernelSubsets, kernel_distance};
/// use rand::SeedableRng;
/// use rand_chacha::ChaCha8Rng;
///
/// let rng = &mut ChaCha8Rng::seed_from_u64(0);
/// let first = Features::new(vec![0.0, 1.0, 2.0], 1)?;
/// let second = Features::new(vec![5.0, 6.0, 7.0], 1)?;
/// let far = kernel_distance(&first, &second, KernelSubsets::default(), rng)?;
/// assert!(far.mean > 1.0);
/// # Ok::<(), evaluation::ScoreError>(())
/// ```
///
/// # Errors
///
/// [`ScoreError::TooFewSamples`] where a subset has fewer than two, [`ScoreError::Widths`],
/// [`ScoreError::Zero`].
pub fn kernel_distance(
    first: &Features,
    second: &Features,
    subsets: KernelSubsets,
    rng: &mut impl Rng,
) -> Result<KernelDistance, ScoreError> {
    if subsets.count == 0 {
        return Err(ScoreError::Zero {
            name: "the number of subsets",
        });
    }
    check_pair("KID", first, second, 2)?;
    let size = subsets.size.min(first.len()).min(second.len());
    if size < 2 {
        return Err(ScoreError::TooFewSamples {
            score: "KID",
            found: size,
            needed: 2,
        });
    }
    // All are drawn before any is worked on, so that threads do not change which.
    let subsets: Vec<[Vec<usize>; 2]> = (0..subsets.count)
        .map(|_| [first.len(), second.len()].map(|len| sample(rng, len, size).into_vec()))
        .collect();
    let estimate =
        |[x, y]: &[Vec<usize>; 2]| squared_mmd_of_columns(&first.columns(x), &second.columns(y));
    let estimates: Vec<f64> = subsets.par_iter().map(estimate).collect();
    let count = estimates.len() as f64;
    let mean = estimates.iter().sum::<f64>() / count;
    let squares: f64 = estimates.iter().map(|e| (e - mean).powi(2)).sum();
    Ok(KernelDistance {
        mean,
        deviation: (squares / count).sqrt(),
    })
}

/// The unbiased estimate of the squared MMD between two whole sets.
///
/// # Errors
///
/// [`ScoreError::TooFewSamples`] where a set has fewer than two, [`ScoreError::Widths`].
pub fn squared_mmd(first: &Features, second: &Features) -> Result<f64, ScoreError> {
    check_pair("KID", first, second, 2)?;
    let all = |features: &Features| features.columns(&Vec::from_iter(0..features.len()));
    Ok(squared_mmd_of_columns(&all(first), &all(second)))
}

fn squared_mmd_of_columns(x: &DMatrix<f64>, y: &DMatrix<f64>) -> f64 {
    let width = x.nrows() as f64;
    let kernel = |a: &DMatrix<f64>, b: &DMatrix<f64>| {
        let mut products = a.transpose() * b;
        products.apply(|product| *product = (*product / width + 1.0).powi(3));
        products
    };
    let within = |a: &DMatrix<f64>| {
        let (kernel, count) = (kernel(a, a), a.ncols() as f64);
        (kernel.sum() - kernel.trace()) / (count * (count - 1.0))
    };
    within(x) + within(y) - 2.0 * kernel(x, y).mean()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use rand_distr::{Distribution, StandardNormal};

    use super::*;

    fn normal(rng: &mut ChaCha8Rng, rows: usize, scale: f32) -> Features {
        let values: Vec<f32> = StandardNormal.sample_iter(rng).take(rows * 2).collect();
        Features::new(values.into_iter().map(|v| scale * v).collect(), 2).unwrap()
    }

    /// Of one number a sample k(x, y) = (xy + 1)³ = 1 + 3xy + 3x²y² + x³y³, so that
    /// MMD² = 3 (E x − E y)² + 3 (E x² − E y²)² + (E x³ − E y³)²: for the points {1, −1} and {2, 2},
    /// without the pairs of a point with itself, by hand.
    #[test]
    fn by_hand() {
        let x = Features::new(vec![1.0, -1.0], 1).unwrap();
        let y = Features::new(vec![2.0, 2.0], 1).unwrap();
        let expected = 0.0 + 125.0 - 2.0 * (27.0 + -1.0) / 2.0;
        assert!((squared_mmd(&x, &y).unwrap() - expected).abs() < 1e-12);
    }

    /// In two dimensions k = (x·y / 2 + 1)³; between N(0, I) and N(0, s² I) the odd moments vanish, and
    /// MMD² = ¾ |E xxᵀ − E yyᵀ|² = ¾ · 2 (1 − s²)².
    #[test]
    fn of_gaussians_without_bias() {
        let rng = &mut ChaCha8Rng::seed_from_u64(0);
        let (a, b, c) = (
            normal(rng, 4000, 1.0),
            normal(rng, 4000, 1.0),
            normal(rng, 4000, 0.5),
        );
        let subsets = KernelSubsets {
            count: 200,
            size: 40,
        };
        let same = kernel_distance(&a, &b, subsets, rng).unwrap();
        let error = same.deviation / (subsets.count as f64).sqrt();
        assert!(same.mean.abs() < 4.0 * error, "{same:?}");
        let other = kernel_distance(&a, &c, subsets, rng).unwrap();
        let error = other.deviation / (subsets.count as f64).sqrt();
        let expected = 0.75 * 2.0 * 0.75 * 0.75;
        assert!((other.mean - expected).abs() < 4.0 * error, "{other:?}");
        assert!(error < 0.1, "{other:?}");
    }

    #[test]
    fn a_subset_of_all_is_all() {
        let rng = &mut ChaCha8Rng::seed_from_u64(1);
        let (a, b) = (normal(rng, 30, 1.0), normal(rng, 30, 2.0));
        let all = squared_mmd(&a, &b).unwrap();
        let subsets = KernelSubsets { count: 3, size: 99 };
        let distance = kernel_distance(&a, &b, subsets, rng).unwrap();
        assert!((distance.mean - all).abs() < 1e-9 && distance.deviation < 1e-9);
        assert!((squared_mmd(&b, &a).unwrap() - all).abs() < 1e-9);
    }

    #[test]
    fn what_cannot_be_compared_is_refused() {
        let rng = &mut ChaCha8Rng::seed_from_u64(2);
        let (a, one) = (normal(rng, 5, 1.0), normal(rng, 1, 1.0));
        let narrow = Features::new(vec![0.0; 5], 1).unwrap();
        assert!(matches!(
            squared_mmd(&a, &one),
            Err(ScoreError::TooFewSamples { found: 1, .. })
        ));
        assert!(matches!(
            squared_mmd(&a, &narrow),
            Err(ScoreError::Widths { .. })
        ));
        let mut distance =
            |count, size| kernel_distance(&a, &a, KernelSubsets { count, size }, rng);
        assert!(matches!(distance(0, 5), Err(ScoreError::Zero { .. })));
        assert!(matches!(
            distance(1, 1),
            Err(ScoreError::TooFewSamples { .. })
        ));
    }
}
