//! Images and spectrograms that dissolve into N(0, I).

use anyhow::{Result, bail};
use burn::tensor::Tensor;
use rand_chacha::ChaCha8Rng;
use training::streams::per_image_noise;

use super::forward::{Forward, Strips};
use super::grids::Cells;
use crate::error::Usage;

/// Values that the timesteps of one picture may have in all; they are held in memory.
const MAX_VALUES: usize = 1 << 27;

/// Shows examples `[B, C, H, W]` on their way, a row each, drawn as `cells`.
pub(super) fn show(forward: &Forward, x_0: Tensor<4>, cells: &impl Cells) -> Result<()> {
    let [count, channels, height, width] = x_0.dims();
    let timesteps = 1 + forward.columns.len().max(forward.frames.len());
    if x_0.shape().num_elements().saturating_mul(timesteps) > MAX_VALUES {
        bail!(Usage(format!(
            "{count} examples of {width} × {height} pixels at {timesteps} timesteps are too much to \
             draw: choose a smaller --count or, of images, --size"
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
        |examples| cells.draw(examples),
        |examples| cells.grid(&cells.draw(examples)?, frame_columns(count)),
        strips,
    )
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
    fn frames_are_wide_rather_than_tall() {
        let columns = [1, 2, 4, 7, 10, 16, 20].map(frame_columns);
        assert_eq!(columns, [1, 2, 2, 3, 5, 4, 5]);
    }
}
