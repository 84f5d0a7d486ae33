//! Euclidean distances to nearest neighbours, by trying all.

// Lanes are indexed in step, which is what lets them be registers.
#![allow(clippy::needless_range_loop)]

use rayon::prelude::*;

use crate::features::Features;

/// Sums kept apart, so that they fit the registers of a processor.
const LANES: usize = 16;

/// |a − b|² of two vectors of one length. Exactly 0 for equal vectors, as the distance by way of inner
/// products is not.
pub(crate) fn squared_distance(a: &[f32], b: &[f32]) -> f32 {
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    let mut sums = [0.0f32; LANES];
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for lane in 0..LANES {
            let difference = a[lane] - b[lane];
            sums[lane] += difference * difference;
        }
    }
    let rest = a_rest.iter().zip(b_rest).map(|(a, b)| (a - b) * (a - b));
    sums.into_iter().sum::<f32>() + rest.sum::<f32>()
}

/// The squared distance of every sample to its `k`-th nearest neighbour among the others, k from 1 to
/// the number of the others.
pub(crate) fn squared_radii(features: &Features, k: usize) -> Vec<f32> {
    let radius = |index: usize| {
        // The k nearest so far, the farthest last.
        let mut nearest = vec![f32::INFINITY; k];
        for (other, row) in features.rows().enumerate() {
            let distance = squared_distance(features.row(index), row);
            if other != index && distance < nearest[k - 1] {
                let place = nearest.partition_point(|&near| near <= distance);
                nearest[place..].rotate_right(1);
                nearest[place] = distance;
            }
        }
        nearest[k - 1]
    };
    (0..features.len()).into_par_iter().map(radius).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn radii_are_those_of_sorted_distances() {
        let values: Vec<f32> = (0..57).map(|i| (i as f32 * 1.7).sin() * 3.0).collect();
        let features = Features::new(values, 3).unwrap();
        for k in [1, 2, 5, 18] {
            let radii = squared_radii(&features, k);
            for (index, radius) in radii.into_iter().enumerate() {
                let mut distances: Vec<f32> = (0..19)
                    .filter(|&other| other != index)
                    .map(|other| squared_distance(features.row(index), features.row(other)))
                    .collect();
                distances.sort_by(f32::total_cmp);
                assert_eq!(radius, distances[k - 1]);
            }
        }
    }

    #[test]
    fn distances_take_every_number_in() {
        let a: Vec<f32> = (0..37).map(|i| i as f32).collect();
        let b: Vec<f32> = (0..37).map(|i| i as f32 + 2.0).collect();
        assert_eq!(squared_distance(&a, &b), 37.0 * 4.0);
        assert_eq!(squared_distance(&a, &a), 0.0);
    }
}
