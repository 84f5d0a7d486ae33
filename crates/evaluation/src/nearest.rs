//! Whether a model repeats its training set: how near generated images come to training images, beside
//! how near other real images come.
//!
//! Images held out are as near to the training set as new images can be. Where generated ones are nearer,
//! they are copies (Meehan, Chaudhuri and Dasgupta 2020, section 3.1): of m generated and n held-out images,
//!
//! ```text
//! nearer = U / mn,  U = number of pairs in which the generated image is the nearer one
//! z      = (U − mn/2) / √(mn (m + n + 1) / 12)
//! ```
//!
//! U is Mann and Whitney's statistic, z its standard score (the negative of the paper's Z_U): above 5 it is
//! no chance any more.

use rayon::prelude::*;

use crate::error::ScoreError;
use crate::features::{Features, check_pair};
use crate::neighbours::squared_distance;

/// A training image and how far it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Neighbour {
    /// Its place in the training set, counted over all of its parts.
    pub index: usize,
    /// The Euclidean distance of its features.
    pub distance: f64,
}

/// Distances to the nearest training image.
#[derive(Clone, Debug, PartialEq)]
pub struct NearestTraining {
    /// The nearest training image of each generated one.
    pub neighbours: Vec<Neighbour>,
    /// The mean distance of generated images.
    pub generated: f64,
    /// The mean distance of held-out images.
    pub held_out: f64,
    /// The chance that a generated image is nearer than a held-out one, ties counted half: ½ where
    /// they are as near, towards 1 where training images are repeated.
    pub nearer: f64,
    /// By how many of its standard deviations `nearer` is above ½, were generated images as held-out ones.
    pub z: f64,
}

impl NearestTraining {
    /// Compares how near generated and held-out images are, as [`nearest`] found them.
    ///
    /// # Errors
    ///
    /// [`ScoreError::TooFewSamples`] where there are none of either.
    pub fn new(generated: Vec<Neighbour>, held_out: &[Neighbour]) -> Result<Self, ScoreError> {
        if generated.is_empty() || held_out.is_empty() {
            return Err(ScoreError::TooFewSamples {
                score: SCORE,
                found: 0,
                needed: 1,
            });
        }
        let distances = |neighbours: &[Neighbour]| -> Vec<f64> {
            neighbours.iter().map(|nearest| nearest.distance).collect()
        };
        let (near, mut far) = (distances(&generated), distances(held_out));
        far.sort_by(f64::total_cmp);
        // For each generated image the held-out ones that are farther, and half of those as far.
        let farther = near.iter().map(|&distance| {
            let nearer = far.partition_point(|&other| other < distance);
            let not_farther = far.partition_point(|&other| other <= distance);
            far.len() as f64 - 0.5 * (nearer + not_farther) as f64
        });
        let farther: f64 = farther.sum();
        let (m, n) = (near.len() as f64, far.len() as f64);
        let mean = |distances: &[f64]| distances.iter().sum::<f64>() / distances.len() as f64;
        Ok(Self {
            generated: mean(&near),
            held_out: mean(&far),
            nearer: farther / (m * n),
            z: (farther - 0.5 * m * n) / (m * n * (m + n + 1.0) / 12.0).sqrt(),
            neighbours: generated,
        })
    }
}

const SCORE: &str = "the distance to the training set";

/// Compares how near `generated` and `held_out` images come to training images, which may lie in several
/// parts (as they are and mirrored, where mirrored ones are learned from too).
///
/// ```
/// use evaluation::{Features, nearest_training};
///
/// let line = |values: &[f32]| Features::new(values.to_vec(), 1);
/// let (training, held_out) = (line(&[0.0, 1.0, 2.0])?, line(&[0.4, 1.7])?);
/// let copies = nearest_training(&line(&[1.0, 0.0])?, &held_out, &[&training])?;
/// assert_eq!(copies.nearer, 1.0);
/// assert_eq!(copies.neighbours[0].index, 1);
/// # Ok::<(), evaluation::ScoreError>(())
/// ```
///
/// # Errors
///
/// [`ScoreError::TooFewSamples`] where a set is empty, [`ScoreError::Widths`].
pub fn nearest_training(
    generated: &Features,
    held_out: &Features,
    training: &[&Features],
) -> Result<NearestTraining, ScoreError> {
    NearestTraining::new(nearest(generated, training)?, &nearest(held_out, training)?)
}

/// The nearest training image for each sample, over all parts of the training set; the first of those that
/// are as near.
///
/// # Errors
///
/// [`ScoreError::TooFewSamples`] where a set is empty, [`ScoreError::Widths`].
pub fn nearest(samples: &Features, training: &[&Features]) -> Result<Vec<Neighbour>, ScoreError> {
    if training.is_empty() {
        return Err(ScoreError::TooFewSamples {
            score: SCORE,
            found: 0,
            needed: 1,
        });
    }
    for part in training {
        check_pair(SCORE, samples, part, 1)?;
    }
    let nearest = |sample: usize| {
        let squares = training
            .iter()
            .flat_map(|part| part.rows())
            .map(|row| squared_distance(samples.row(sample), row));
        let (index, square) =
            squares
                .enumerate()
                .fold((0, f32::INFINITY), |nearest, (index, square)| {
                    if square < nearest.1 {
                        (index, square)
                    } else {
                        nearest
                    }
                });
        Neighbour {
            index,
            distance: f64::from(square).sqrt(),
        }
    };
    Ok((0..samples.len()).into_par_iter().map(nearest).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn line(values: &[f32]) -> Features {
        Features::new(values.to_vec(), 1).unwrap()
    }

    #[test]
    fn by_hand() {
        let training = line(&[0.0, 10.0]);
        // Distances 1, 3 and 4 beside 3 and 5: of the six pairs, four are nearer and one is as near.
        let found = nearest_training(&line(&[1.0, 7.0, 4.0]), &line(&[13.0, 5.0]), &[&training]);
        let found = found.unwrap();
        assert!((found.generated - 8.0 / 3.0).abs() < 1e-12);
        assert_eq!(found.held_out, 4.0);
        assert!((found.nearer - 4.5 / 6.0).abs() < 1e-12);
        // (4.5 − 3) / √(6 · 6 / 12)
        assert!((found.z - 1.5 / f64::sqrt(3.0)).abs() < 1e-12);
    }

    #[test]
    fn copies_are_seen() {
        let training = line(&[0.0, 1.0, 2.0, 3.0]);
        let held_out = line(&[0.4, 1.6, 2.3]);
        let copies = nearest_training(&training, &held_out, &[&training]).unwrap();
        assert_eq!((copies.generated, copies.nearer), (0.0, 1.0));
        let places: Vec<usize> = copies.neighbours.iter().map(|near| near.index).collect();
        assert_eq!(places, [0, 1, 2, 3]);
        let itself = nearest_training(&held_out, &held_out, &[&training]).unwrap();
        assert!((itself.nearer - 0.5).abs() < 1e-12);
        assert!(itself.z.abs() < 1e-12);
    }

    #[test]
    fn copies_of_any_part_are_seen() {
        let (training, mirrored) = (line(&[0.0, 1.0]), line(&[0.0, -1.0]));
        let (generated, held_out) = (line(&[-1.0, 0.9]), line(&[0.5, 0.4]));
        let one = nearest_training(&generated, &held_out, &[&training]).unwrap();
        assert_eq!(one.nearer, 0.5);
        let both = nearest_training(&generated, &held_out, &[&training, &mirrored]).unwrap();
        assert_eq!(both.nearer, 1.0);
        let places: Vec<usize> = both.neighbours.iter().map(|near| near.index).collect();
        assert_eq!(places, [3, 1]);
    }

    #[test]
    fn empty_sets_and_other_widths_are_refused() {
        let (a, none) = (line(&[0.0]), line(&[]));
        for (samples, training) in [(&a, &none), (&none, &a)] {
            assert!(matches!(
                nearest(samples, &[training]),
                Err(ScoreError::TooFewSamples { .. })
            ));
        }
        let wide = Features::new(vec![0.0; 2], 2).unwrap();
        assert!(nearest_training(&a, &a, &[&a, &wide]).is_err());
        assert!(nearest(&a, &[]).is_err());
        assert!(NearestTraining::new(Vec::new(), &[]).is_err());
    }
}
