//! Improved precision and recall (Kynkäänniemi et al. 2019, equations 1 and 2).
//!
//! A set of features spans a manifold: all that lies within a ball around one of its samples that
//! reaches as far as the k-th nearest of the others. Precision is the share of generated samples on the
//! manifold of the real ones, recall the share of real samples on that of the generated ones.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::ScoreError;
use crate::features::{Features, check_pair};
use crate::neighbours::{squared_distance, squared_radii};

/// How much of what is generated could be real, and how much of what is real could be generated.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PrecisionRecall {
    /// Share of generated samples that lie among the real ones: quality.
    pub precision: f64,
    /// Share of real samples that lie among the generated ones: variety.
    pub recall: f64,
}

/// Precision and recall with balls that reach to the `k`-th neighbour, 3 in the paper. The two sets
/// should be equally large: balls grow smaller with the number of samples.
///
/// ```
/// use evaluation::{Features, precision_recall};
///
/// let real = Features::new(vec![0.0, 1.0, 2.0, 3.0], 1)?;
/// let generated = Features::new(vec![0.5, 0.6, 9.0, 9.1], 1)?;
/// let found = precision_recall(&real, &generated, 1)?;
/// // Two of the four lie among the real ones; none of the real ones lies among the generated.
/// assert_eq!((found.precision, found.recall), (0.5, 0.0));
/// # Ok::<(), evaluation::ScoreError>(())
/// ```
///
/// # Errors
///
/// [`ScoreError::TooFewSamples`] where a set has not more than `k`, [`ScoreError::Widths`],
/// [`ScoreError::Zero`].
pub fn precision_recall(
    real: &Features,
    generated: &Features,
    k: usize,
) -> Result<PrecisionRecall, ScoreError> {
    if k == 0 {
        return Err(ScoreError::Zero {
            name: "the number of neighbours",
        });
    }
    check_pair("precision and recall", real, generated, k.saturating_add(1))?;
    Ok(PrecisionRecall {
        precision: share_within(generated, real, k),
        recall: share_within(real, generated, k),
    })
}

/// The share of `samples` on the manifold that `support` spans.
fn share_within(samples: &Features, support: &Features, k: usize) -> f64 {
    let radii = squared_radii(support, k);
    let within = |index: &usize| {
        let sample = samples.row(*index);
        let mut balls = support.rows().zip(&radii);
        balls.any(|(centre, &radius)| squared_distance(sample, centre) <= radius)
    };
    let count = (0..samples.len()).into_par_iter().filter(within).count();
    count as f64 / samples.len() as f64
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn line(values: &[f32]) -> Features {
        Features::new(values.to_vec(), 1).unwrap()
    }

    /// Real balls: 0 ± 1, 1 ± 1, 10 ± 9. Generated balls: 5 ± 1, 6 ± 1, 30 ± 24.
    #[test]
    fn on_a_line_by_hand() {
        let (real, generated) = (line(&[0.0, 1.0, 10.0]), line(&[5.0, 6.0, 30.0]));
        let found = precision_recall(&real, &generated, 1).unwrap();
        assert_eq!(found.precision, 2.0 / 3.0);
        assert_eq!(found.recall, 1.0 / 3.0);
    }

    #[test]
    fn what_cannot_be_compared_is_refused() {
        let (a, b) = (line(&[0.0, 1.0, 2.0]), line(&[0.0; 9]));
        assert!(matches!(
            precision_recall(&a, &b, 3),
            Err(ScoreError::TooFewSamples {
                found: 3,
                needed: 4,
                ..
            })
        ));
        assert!(matches!(
            precision_recall(&a, &b, 0),
            Err(ScoreError::Zero { .. })
        ));
        assert!(precision_recall(&a, &b, usize::MAX).is_err());
        let wide = Features::new(vec![0.0; 8], 2).unwrap();
        assert!(matches!(
            precision_recall(&b, &wide, 1),
            Err(ScoreError::Widths { .. })
        ));
    }

    proptest! {
        #[test]
        fn of_parts_and_of_far_sets(values in prop::collection::vec(-9.0f32..9.0, 40), k in 1usize..6) {
            let all = Features::new(values.clone(), 2).unwrap();
            let part = all.select(&(0..10).collect::<Vec<_>>());
            prop_assert_eq!(precision_recall(&all, &part, k).unwrap().precision, 1.0);
            prop_assert_eq!(precision_recall(&part, &all, k).unwrap().recall, 1.0);
            let far = Features::new(values.iter().map(|v| v + 1e3).collect(), 2).unwrap();
            let PrecisionRecall { precision, recall } = precision_recall(&all, &far, k).unwrap();
            prop_assert_eq!((precision, recall), (0.0, 0.0));
            let there = precision_recall(&all, &part, k).unwrap();
            let back = precision_recall(&part, &all, k).unwrap();
            prop_assert_eq!((there.precision, there.recall), (back.recall, back.precision));
        }
    }
}
