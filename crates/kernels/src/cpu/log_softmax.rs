//! A log softmax for each segment of a row.
//!
//! ```text
//! y_i = x_i - m - ln Σ_j exp(x_j - m),  m = max x        ∂L/∂x_i = ∂L/∂y_i - exp(y_i) Σ_j ∂L/∂y_j
//! ```

use rayon::prelude::*;

use crate::cpu::memory::{Buffer, filled};
use crate::cpu::simd::{Kernel, Simd, read, run, write};

/// Rows of a task.
const ROWS: usize = 64;

/// y of x, both `[rows, Σ sizes]`.
pub(crate) fn forward(x: &[f32], sizes: &[usize]) -> Buffer {
    let width: usize = sizes.iter().sum();
    filled(x.len(), |y| {
        y.par_chunks_mut(ROWS * width)
            .zip(x.par_chunks(ROWS * width))
            .for_each(|(y, x)| run(Forward { x, sizes, y }));
    })
}

/// ∂L/∂x of y and ∂L/∂y.
pub(crate) fn backward(y: &[f32], dy: &[f32], sizes: &[usize]) -> Buffer {
    let width: usize = sizes.iter().sum();
    filled(y.len(), |dx| {
        dx.par_chunks_mut(ROWS * width)
            .zip(y.par_chunks(ROWS * width))
            .zip(dy.par_chunks(ROWS * width))
            .for_each(|((dx, y), dy)| run(Backward { y, dy, sizes, dx }));
    })
}

struct Forward<'a> {
    x: &'a [f32],
    sizes: &'a [usize],
    y: &'a mut [f32],
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn with<S: Simd>(self, simd: S) {
        assert!(self.x.len() == self.y.len());
        let mut start = 0;
        // Rows follow each other as their segments do.
        for &size in self.sizes.iter().cycle() {
            if start == self.x.len() {
                break;
            }
            let x = &self.x[start..][..size];
            let y = &mut self.y[start..][..size];
            start += size;
            let mut largest = f32::NEG_INFINITY;
            for x in x {
                largest = if *x > largest { *x } else { largest };
            }
            let mut sum = 0.0f32;
            let mut lanes = [0.0f32; 16];
            for x in x.chunks(S::LANES) {
                // SAFETY: as many numbers as the chunk has.
                unsafe {
                    let d = simd.sub(read(simd, x.as_ptr(), x.len()), simd.splat(largest));
                    simd.store(lanes.as_mut_ptr(), simd.exp(d));
                }
                for e in &lanes[..x.len()] {
                    sum += e;
                }
            }
            let log = sum.ln();
            for (y, x) in y.iter_mut().zip(x) {
                *y = (x - largest) - log;
            }
        }
    }
}

struct Backward<'a> {
    y: &'a [f32],
    dy: &'a [f32],
    sizes: &'a [usize],
    dx: &'a mut [f32],
}

impl Kernel for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn with<S: Simd>(self, simd: S) {
        assert!(self.y.len() == self.dx.len() && self.dy.len() == self.dx.len());
        let mut start = 0;
        for &size in self.sizes.iter().cycle() {
            if start == self.y.len() {
                break;
            }
            let (y, dy) = (&self.y[start..][..size], &self.dy[start..][..size]);
            let dx = &mut self.dx[start..][..size];
            start += size;
            let mut sum = 0.0f32;
            for dy in dy {
                sum += dy;
            }
            let inputs = y.chunks(S::LANES).zip(dy.chunks(S::LANES));
            for ((y, dy), dx) in inputs.zip(dx.chunks_mut(S::LANES)) {
                // SAFETY: as many numbers as the chunks have.
                unsafe {
                    let p = simd.exp(read(simd, y.as_ptr(), dx.len()));
                    let dy = read(simd, dy.as_ptr(), dx.len());
                    let dx_ = simd.mul_add(p, simd.splat(-sum), dy);
                    write(simd, dx.as_mut_ptr(), dx.len(), dx_);
                }
            }
        }
    }
}
