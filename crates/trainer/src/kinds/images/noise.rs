//! Images that dissolve into N(0, I).

use std::collections::HashMap;

use anyhow::{Result, bail};
use burn::tensor::Tensor;
use rand_chacha::ChaCha8Rng;
use training::streams::per_image_noise;

use crate::drawing::{grid, pictures};
use crate::error::Usage;
use crate::kinds::forward::{Forward, Strips};

/// Values that the timesteps of one picture may have in all; they are held in memory.
const MAX_VALUES: usize = 1 << 27;

/// Shows images `[B, C, H, W]` in [-1, 1] on their way, a row each.
pub fn show(forward: &Forward, x_0: Tensor<4>) -> Result<()> {
    let [count, channels, height, width] = x_0.dims();
    let timesteps = 1 + forward.columns.len().max(forward.frames.len());
    if x_0.shape().num_elements().saturating_mul(timesteps) > MAX_VALUES {
        bail!(Usage(format!(
            "{count} images of {width} × {height} pixels at {timesteps} timesteps are too much to \
             draw: choose a smaller --count or --size"
        )));
    }
    let shape = [channels, height, width];
    let mut rngs: Vec<ChaCha8Rng> = (0..count).map(|index| forward.rng(index)).collect();
    let strips = Strips {
        closed_form: "closed-form.png",
        step_by_step: "step-by-step.png",
        note: "",
    };
    forward.show(
        x_0,
        || per_image_noise(shape, &mut rngs, &forward.device),
        pictures::from_tensor,
        |images| grid::grid(&pictures::from_tensor(images)?, frame_columns(count)),
        strips,
    )
}

/// The first image of each class in order, then the second of each, and so on: `count` indices, or
/// as many as there are.
pub fn one_of_each_class_first(labels: &[Option<u16>], count: usize) -> Vec<usize> {
    let mut seen = HashMap::<Option<u16>, usize>::new();
    let mut order: Vec<(usize, Option<u16>, usize)> = labels
        .iter()
        .enumerate()
        .map(|(index, &label)| {
            let rank = seen.entry(label).or_default();
            *rank += 1;
            (*rank, label, index)
        })
        .collect();
    order.sort_unstable();
    order
        .into_iter()
        .map(|(_, _, index)| index)
        .take(count)
        .collect()
}

/// Columns of a frame of `count` images: no more than a square would have twice over, and without
/// a gap at the end if that can be.
fn frame_columns(count: usize) -> usize {
    let side = count.isqrt() + usize::from(count.isqrt().pow(2) < count);
    (side..=2 * side)
        .find(|columns| count.is_multiple_of(*columns))
        .unwrap_or(side)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_come_in_turn() {
        let labels = [1, 1, 0, 2, 0, 1].map(Some);
        assert_eq!(one_of_each_class_first(&labels, 4), [2, 0, 3, 4]);
        assert_eq!(one_of_each_class_first(&labels, 9), [2, 0, 3, 4, 1, 5]);
        assert_eq!(one_of_each_class_first(&[None; 3], 2), [0, 1]);
    }

    #[test]
    fn frames_are_wide_rather_than_tall() {
        let columns = [1, 2, 4, 7, 10, 16, 20].map(frame_columns);
        assert_eq!(columns, [1, 2, 2, 3, 5, 4, 5]);
    }
}
