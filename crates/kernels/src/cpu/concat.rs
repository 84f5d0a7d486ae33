//! Two images' channels side by side, and back.
//!
//! Channels-last, a row of the result is a pixel of the one image and a pixel of the other.

use rayon::prelude::*;

use crate::cpu::memory::{Buffer, filled};

/// Pixels that a task copies.
const PIXELS: usize = 512;

/// `[pixels, a + b]` from `[pixels, a]` and `[pixels, b]`.
pub(crate) fn join(first: &[f32], second: &[f32], [a, b]: [usize; 2]) -> Buffer {
    let fill = |joined: &mut [f32]| {
        joined
            .par_chunks_mut(PIXELS * (a + b))
            .zip(first.par_chunks(PIXELS * a))
            .zip(second.par_chunks(PIXELS * b))
            .for_each(|((joined, first), second)| {
                for ((to, x), y) in joined
                    .chunks_exact_mut(a + b)
                    .zip(first.chunks_exact(a))
                    .zip(second.chunks_exact(b))
                {
                    to[..a].copy_from_slice(x);
                    to[a..].copy_from_slice(y);
                }
            });
    };
    filled(first.len() + second.len(), fill)
}

/// `[pixels, count]`: the channels from `start` on, of `channels`.
pub(crate) fn part(joined: &[f32], channels: usize, start: usize, count: usize) -> Buffer {
    let fill = |part: &mut [f32]| {
        part.par_chunks_mut(PIXELS * count)
            .zip(joined.par_chunks(PIXELS * channels))
            .for_each(|(part, joined)| {
                for (to, x) in part
                    .chunks_exact_mut(count)
                    .zip(joined.chunks_exact(channels))
                {
                    to.copy_from_slice(&x[start..start + count]);
                }
            });
    };
    filled(joined.len() / channels * count, fill)
}
