//! What a classifier sees in generated images: whether each is of the class that it was asked to be, and
//! whether classes are as frequent as they should be.

use serde::{Deserialize, Serialize};

use crate::error::ScoreError;

/// How frequent each class is among some images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassShares(Vec<f64>);

impl ClassShares {
    /// The shares of `classes`, at least one, each below `num_classes`.
    ///
    /// # Errors
    ///
    /// [`ScoreError::TooFewSamples`] if there are none, [`ScoreError::Class`].
    pub fn of(classes: &[usize], num_classes: usize) -> Result<Self, ScoreError> {
        if classes.is_empty() {
            return Err(ScoreError::TooFewSamples {
                score: "a share of classes",
                found: 0,
                needed: 1,
            });
        }
        let mut counts = vec![0usize; num_classes];
        for &class in classes {
            let count = counts
                .get_mut(class)
                .ok_or(ScoreError::Class { class, num_classes })?;
            *count += 1;
        }
        let total = classes.len() as f64;
        Ok(Self(counts.into_iter().map(|n| n as f64 / total).collect()))
    }

    /// The share of each class; they sum to 1.
    pub fn shares(&self) -> &[f64] {
        &self.0
    }

    /// The share of images that would have to be of another class for the shares to be those of `other`
    /// (total variation distance): 0 where they are equal, 1 where no class is common to both.
    ///
    /// # Errors
    ///
    /// [`ScoreError::Widths`] if there are different numbers of classes.
    pub fn imbalance(&self, other: &Self) -> Result<f64, ScoreError> {
        crate::features::check_widths(self.0.len(), other.0.len())?;
        let differences = self.0.iter().zip(&other.0).map(|(a, b)| (a - b).abs());
        Ok(0.5 * differences.sum::<f64>())
    }
}

/// The share of images that are seen to be of the class they were asked to be; images of which none was
/// asked do not count. `None` if that leaves none.
///
/// ```
/// let agreement = evaluation::class_agreement(&[3, 7, 7], &[Some(3), Some(1), None]);
/// assert_eq!(agreement, Some(0.5));
/// ```
pub fn class_agreement(seen: &[usize], asked: &[Option<usize>]) -> Option<f64> {
    let pairs = seen.iter().zip(asked);
    let agreed: Vec<bool> = pairs
        .filter_map(|(seen, asked)| asked.map(|asked| *seen == asked))
        .collect();
    let count = agreed.iter().filter(|&&agreed| agreed).count();
    (!agreed.is_empty()).then(|| count as f64 / agreed.len() as f64)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn shares_and_their_distance() {
        let a = ClassShares::of(&[0, 0, 1, 2], 4).unwrap();
        assert_eq!(a.shares(), [0.5, 0.25, 0.25, 0.0]);
        let b = ClassShares::of(&[3, 0], 4).unwrap();
        assert_eq!(a.imbalance(&b).unwrap(), 0.5);
        assert_eq!(a.imbalance(&a).unwrap(), 0.0);
        assert!(ClassShares::of(&[], 2).is_err());
        assert_eq!(
            ClassShares::of(&[2], 2),
            Err(ScoreError::Class {
                class: 2,
                num_classes: 2
            })
        );
    }

    #[test]
    fn images_of_no_class_do_not_count() {
        let asked = [Some(1), None, Some(3), Some(0)];
        assert_eq!(class_agreement(&[1, 2, 3, 4], &asked), Some(2.0 / 3.0));
        assert_eq!(class_agreement(&[1], &[None]), None);
    }
}
