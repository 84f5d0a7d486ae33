//! The Fréchet distance between two sets of features, each taken for a Gaussian: FID (Heusel et al.
//! 2017, equation 6).
//!
//! ```text
//! d² = |μ_1 − μ_2|² + tr(Σ_1 + Σ_2 − 2 (Σ_1 Σ_2)½)
//! ```
//!
//! Σ_1 Σ_2 is not symmetric, but it has the eigenvalues of LᵀΣ_2 L for any L with L Lᵀ = Σ_1, which is
//! symmetric and has none below 0. The trace of the root is the sum of the roots of these eigenvalues:
//! no root of a matrix is taken, and covariances may be singular, as they are with fewer images than
//! features.

use nalgebra::{DMatrix, DMatrixViewMut, DVector};
use rayon::prelude::*;

use crate::error::ScoreError;
use crate::features::{Features, check_widths};

/// Images whose products are summed at once.
const CHUNK: usize = 4096;
/// Features whose products with all others a thread sums at once.
const FEATURES: usize = 128;

/// What the distance needs to know of a set of features.
///
/// ```
/// use evaluation::{FeatureStatistics, Features, frechet_distance};
///
/// let first = FeatureStatistics::of(&Features::new(vec![0.0, 1.0, 2.0], 1)?)?;
/// let second = FeatureStatistics::of(&Features::new(vec![5.0, 6.0, 7.0], 1)?)?;
/// // Equal variances, and means that are five apart.
/// assert!((frechet_distance(&first, &second)? - 25.0).abs() < 1e-9);
/// # Ok::<(), evaluation::ScoreError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureStatistics {
    mean: DVector<f64>,
    covariance: DMatrix<f64>,
}

impl FeatureStatistics {
    /// Mean and unbiased covariance of features.
    ///
    /// # Errors
    ///
    /// [`ScoreError::TooFewSamples`] if there are fewer than two.
    pub fn of(features: &Features) -> Result<Self, ScoreError> {
        let (count, width) = (features.len(), features.width());
        if count < 2 {
            return Err(ScoreError::TooFewSamples {
                score: "FID",
                found: count,
                needed: 2,
            });
        }
        let indices: Vec<usize> = (0..count).collect();
        let chunks = || {
            indices
                .chunks(CHUNK)
                .map(|indices| features.columns(indices))
        };
        let mut mean = DVector::zeros(width);
        for columns in chunks() {
            mean += columns.column_sum();
        }
        mean /= count as f64;
        let mut covariance = DMatrix::zeros(width, width);
        for mut columns in chunks() {
            for mut column in columns.column_iter_mut() {
                column -= &mean;
            }
            add_products(&columns, &mut covariance);
        }
        covariance.fill_upper_triangle_with_lower_triangle();
        covariance /= (count - 1) as f64;
        Ok(Self { mean, covariance })
    }

    /// The statistics of a known distribution: its mean `[D]` and its covariance `[D, D]`.
    ///
    /// # Errors
    ///
    /// [`ScoreError::Moments`] if they do not fit each other or are not finite.
    pub fn from_moments(mean: &[f64], covariance: &[f64]) -> Result<Self, ScoreError> {
        let width = mean.len();
        let fits = width > 0 && width.checked_mul(width) == Some(covariance.len());
        if !fits
            || mean
                .iter()
                .chain(covariance)
                .any(|value| !value.is_finite())
        {
            return Err(ScoreError::Moments {
                width,
                covariance: covariance.len(),
            });
        }
        Ok(Self {
            mean: DVector::from_column_slice(mean),
            covariance: DMatrix::from_row_slice(width, width, covariance),
        })
    }
}

/// Adds the products of all columns with themselves to the lower triangle of `sums`, `[D, D]`.
fn add_products(columns: &DMatrix<f64>, sums: &mut DMatrix<f64>) {
    let width = columns.nrows();
    sums.as_mut_slice()
        .par_chunks_mut(width * FEATURES)
        .enumerate()
        .for_each(|(block, sums)| {
            let (first, count) = (block * FEATURES, sums.len() / width);
            let mut sums = DMatrixViewMut::from_slice(sums, width, count);
            let part = columns.rows(first, count).transpose();
            let below = columns.rows(first, width - first);
            sums.rows_mut(first, width - first)
                .gemm(1.0, &below, &part, 1.0);
        });
}

/// The Fréchet distance, squared as is usual: FID where the features are those of Inception-v3.
///
/// # Errors
///
/// [`ScoreError::Widths`] if the features have different widths.
pub fn frechet_distance(
    first: &FeatureStatistics,
    second: &FeatureStatistics,
) -> Result<f64, ScoreError> {
    check_widths(first.mean.len(), second.mean.len())?;
    let means = (&first.mean - &second.mean).norm_squared();
    let traces = first.covariance.trace() + second.covariance.trace();
    let distance = means + traces - 2.0 * trace_of_root(&first.covariance, &second.covariance);
    // Rounding can leave two equal sets a little below 0.
    Ok(distance.max(0.0))
}

/// tr (Σ_1 Σ_2)½ for symmetric matrices without negative eigenvalues.
fn trace_of_root(first: &DMatrix<f64>, second: &DMatrix<f64>) -> f64 {
    let factor = factor(first);
    if factor.ncols() == 0 {
        return 0.0;
    }
    let product = factor.transpose() * second * &factor;
    let eigenvalues = without_rounding(product.symmetric_eigenvalues());
    eigenvalues.iter().map(|eigenvalue| eigenvalue.sqrt()).sum()
}

/// L with L Lᵀ = Σ, a column for each rank: `[D, rank]`. Cholesky's, which takes the largest pivot that is
/// left (Higham 1990, "Analysis of the Cholesky decomposition of a semi-definite matrix") and ends where
/// there is none but rounding. At 2048 features it takes a fifth of the time of eigenvectors, and less of a
/// lower rank.
fn factor(covariance: &DMatrix<f64>) -> DMatrix<f64> {
    let width = covariance.nrows();
    // What is left of the diagonal; of rows that have been pivots, nothing.
    let mut left = covariance.diagonal();
    let rounding = left.max() * f64::EPSILON * width as f64;
    let mut factor = DMatrix::zeros(width, width);
    for rank in 0..width {
        let pivot = left.imax();
        if left[pivot] <= rounding {
            return factor.remove_columns_at(&Vec::from_iter(rank..width));
        }
        let root = left[pivot].sqrt();
        let before = factor.columns(0, rank);
        let of_pivot = before.row(pivot).transpose();
        let mut column = (covariance.column(pivot) - before * of_pivot) / root;
        for row in 0..width {
            if left[row] == 0.0 {
                column[row] = 0.0;
            }
            left[row] = (left[row] - column[row].powi(2)).max(0.0);
        }
        column[pivot] = root;
        left[pivot] = 0.0;
        factor.set_column(rank, &column);
    }
    factor
}

/// Eigenvalues of a matrix that has none below 0, those that are 0 but for rounding made so: their roots
/// would be far larger than they are.
fn without_rounding(eigenvalues: DVector<f64>) -> DVector<f64> {
    let rounding = eigenvalues.amax() * f64::EPSILON * eigenvalues.len() as f64;
    eigenvalues.map(|value| if value > rounding { value } else { 0.0 })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn known(mean: &[f64], covariance: &[f64]) -> FeatureStatistics {
        FeatureStatistics::from_moments(mean, covariance).unwrap()
    }

    fn close(found: f64, expected: f64, scale: f64) -> bool {
        (found - expected).abs() <= 1e-7 * scale.max(1.0)
    }

    #[test]
    fn of_gaussians_that_vary_along_the_axes() {
        let a = known(&[1.0, 2.0], &[4.0, 0.0, 0.0, 9.0]);
        let b = known(&[0.0, 4.0], &[1.0, 0.0, 0.0, 25.0]);
        // |μ_1 − μ_2|² + Σ (σ_1 − σ_2)²
        let expected = 5.0 + 1.0 + 4.0;
        assert!((frechet_distance(&a, &b).unwrap() - expected).abs() < 1e-12);
    }

    #[test]
    fn of_a_gaussian_and_a_point() {
        let a = known(&[0.0; 3], &[2.0, 1.0, 0.0, 1.0, 3.0, 1.0, 0.0, 1.0, 4.0]);
        let b = known(&[0.0, 0.0, 3.0], &[0.0; 9]);
        for (a, b) in [(&a, &b), (&b, &a)] {
            assert!((frechet_distance(a, b).unwrap() - 18.0).abs() < 1e-12);
        }
        assert_eq!(frechet_distance(&b, &b).unwrap(), 0.0);
    }

    #[test]
    fn the_covariance_is_the_unbiased_one() {
        let features = Features::new(vec![1.0, 5.0, 3.0, 1.0], 2).unwrap();
        let statistics = FeatureStatistics::of(&features).unwrap();
        assert_eq!(statistics, known(&[2.0, 3.0], &[2.0, -4.0, -4.0, 8.0]));
    }

    #[test]
    fn what_cannot_be_compared_is_refused() {
        let one = Features::new(vec![1.0, 2.0], 2).unwrap();
        assert!(matches!(
            FeatureStatistics::of(&one),
            Err(ScoreError::TooFewSamples {
                found: 1,
                needed: 2,
                ..
            })
        ));
        let (a, b) = (known(&[0.0], &[1.0]), known(&[0.0; 2], &[1.0; 4]));
        assert_eq!(
            frechet_distance(&a, &b),
            Err(ScoreError::Widths {
                first: 1,
                second: 2
            })
        );
        for (mean, covariance) in [
            (vec![], vec![]),
            (vec![0.0], vec![1.0, 2.0]),
            (vec![0.0], vec![f64::NAN]),
        ] {
            assert!(FeatureStatistics::from_moments(&mean, &covariance).is_err());
        }
    }

    /// A covariance of some rank: the products of that many vectors with themselves.
    fn covariance(vectors: &[[f64; 2]]) -> [f64; 4] {
        let product = |i: usize, j: usize| vectors.iter().map(|v| v[i] * v[j]).sum();
        [product(0, 0), product(0, 1), product(1, 0), product(1, 1)]
    }

    fn vectors() -> impl Strategy<Value = Vec<[f64; 2]>> {
        prop::collection::vec(prop::array::uniform2(-3.0..3.0), 1..4)
    }

    proptest! {
        /// In two dimensions tr (Σ_1 Σ_2)½ = √(tr Σ_1 Σ_2 + 2 √(det Σ_1 det Σ_2)).
        #[test]
        fn in_two_dimensions(first in vectors(), second in vectors()) {
            let (a, b) = (covariance(&first), covariance(&second));
            let det = |m: &[f64; 4]| (m[0] * m[3] - m[1] * m[2]).max(0.0);
            let trace = a[0] * b[0] + 2.0 * a[1] * b[1] + a[3] * b[3];
            let root = (trace + 2.0 * (det(&a) * det(&b)).sqrt()).sqrt();
            let traces = a[0] + a[3] + b[0] + b[3];
            let found = frechet_distance(&known(&[0.0; 2], &a), &known(&[0.0; 2], &b)).unwrap();
            // Where a matrix is all but singular, both sides take roots of rounding.
            prop_assert!((found - (traces - 2.0 * root)).abs() <= 1e-6 * traces.max(1.0));
        }

        /// Also of fewer samples than features.
        #[test]
        fn it_is_symmetric_and_0_from_itself(
            (width, a, b) in (1usize..8).prop_flat_map(|width| {
                let rows = || (2usize..12).prop_flat_map(move |rows| {
                    prop::collection::vec(-5.0f32..5.0, rows * width)
                });
                (Just(width), rows(), rows())
            }),
        ) {
            let statistics = |values: Vec<f32>| {
                FeatureStatistics::of(&Features::new(values, width).unwrap()).unwrap()
            };
            let (a, b) = (statistics(a), statistics(b));
            let (ab, ba) = (frechet_distance(&a, &b).unwrap(), frechet_distance(&b, &a).unwrap());
            let scale = a.covariance.trace() + b.covariance.trace();
            prop_assert!(close(ab, ba, scale), "{ab} {ba}");
            let itself = frechet_distance(&a, &a).unwrap();
            prop_assert!(close(itself, 0.0, scale), "{itself}");
        }
    }
}
