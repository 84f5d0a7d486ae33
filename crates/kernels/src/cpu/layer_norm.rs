//! LayerNorm of rows and SiLU: one kernel forward, one backward.
//!
//! ```text
//! x̂ = (x - μ) r,    r = 1 / √(σ² + ε)        μ, σ² over the n numbers of a row
//! z = γ x̂ + β,      y = z, or z σ(z)
//! ```
//!
//! Ba et al. 2016, "Layer Normalization", equation 4. Backward, with g = ∂L/∂z,
//!
//! ```text
//! ∂L/∂x = r (γ g - (Σ_row γ g + x̂ Σ_row γ g x̂) / n)      ∂L/∂γ = Σ_rows g x̂      ∂L/∂β = Σ_rows g
//! ```
//!
//! A row stays in the first-level cache from pass to pass.

use rayon::prelude::*;

use crate::cpu::linear::total;
use crate::cpu::memory::{Buffer, filled};
use crate::cpu::silu::slope;
use crate::cpu::simd::{Kernel, Simd, read, run, write};

/// Rows of a task, whose sums for γ and β are added in f32 before they go to f64.
const ROWS: usize = 64;

/// Choices of a normalisation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowNorm {
    /// Numbers in a row.
    pub(crate) width: usize,
    /// Added to the variance.
    pub(crate) epsilon: f64,
    /// Whether SiLU follows.
    pub(crate) silu: bool,
}

/// y, and μ and r of each row, `[rows, 2]`.
pub(crate) fn forward(norm: RowNorm, x: &[f32], gamma: &[f32], beta: &[f32]) -> (Buffer, Buffer) {
    let width = norm.width;
    let mut moments = Buffer::new(x.len() / width * 2);
    let y = filled(x.len(), |y| {
        y.par_chunks_mut(ROWS * width)
            .zip(x.par_chunks(ROWS * width))
            .zip(moments.par_chunks_mut(2 * ROWS))
            .for_each(|((y, x), moments)| {
                run(Forward {
                    norm,
                    x,
                    gamma,
                    beta,
                    moments,
                    y,
                });
            });
    });
    (y, moments)
}

/// The gradients of a normalisation.
pub(crate) struct Gradients {
    /// ∂L/∂x
    pub(crate) x: Buffer,
    /// ∂L/∂γ
    pub(crate) gamma: Vec<f32>,
    /// ∂L/∂β
    pub(crate) beta: Vec<f32>,
}

/// All gradients, from x, the moments that [`forward`] found, and ∂L/∂y.
pub(crate) fn backward(
    norm: RowNorm,
    x: &[f32],
    moments: &[f32],
    [gamma, beta]: [&[f32]; 2],
    dy: &[f32],
) -> Gradients {
    let width = norm.width;
    let mut sums: Vec<Vec<f32>> = Vec::new();
    let dx = filled(x.len(), |dx| {
        dx.par_chunks_mut(ROWS * width)
            .zip(x.par_chunks(ROWS * width))
            .zip(dy.par_chunks(ROWS * width))
            .zip(moments.par_chunks(2 * ROWS))
            .map(|(((dx, x), dy), moments)| {
                let mut sums = vec![0.0; 2 * width];
                run(Backward {
                    norm,
                    x,
                    gamma,
                    beta,
                    moments,
                    dy,
                    dx,
                    sums: &mut sums,
                });
                sums
            })
            .collect_into_vec(&mut sums);
    });
    let mut gamma = total(&sums, 2 * width);
    let beta = gamma.split_off(width);
    Gradients { x: dx, gamma, beta }
}

/// The sum of the lanes.
#[inline(always)]
fn sum_of_lanes<S: Simd>(simd: S, x: S::V) -> f32 {
    let mut lanes = [0.0f32; 16];
    // SAFETY: `lanes` is as long as the longest vector.
    unsafe { simd.store(lanes.as_mut_ptr(), x) };
    let mut half = 8;
    while half > 0 {
        for i in 0..half {
            lanes[i] += lanes[i + half];
        }
        half /= 2;
    }
    lanes[0]
}

/// 1 in the first `count` lanes, 0 in the others.
#[inline(always)]
fn first_ones<S: Simd>(simd: S, count: usize) -> S::V {
    const ONES: [f32; 16] = [1.0; 16];
    // SAFETY: at most 16 numbers.
    unsafe { read(simd, ONES.as_ptr(), count) }
}

struct Forward<'a> {
    norm: RowNorm,
    x: &'a [f32],
    gamma: &'a [f32],
    beta: &'a [f32],
    moments: &'a mut [f32],
    y: &'a mut [f32],
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn with<S: Simd>(self, simd: S) {
        let width = self.norm.width;
        assert!(self.gamma.len() == width && self.beta.len() == width);
        let rows = self
            .x
            .chunks_exact(width)
            .zip(self.y.chunks_exact_mut(width));
        for ((x, y), moments) in rows.zip(self.moments.chunks_exact_mut(2)) {
            let vector = |at: usize| (width - at).min(S::LANES);
            let mut sums = [simd.splat(0.0); 4];
            for (i, at) in (0..width).step_by(S::LANES).enumerate() {
                // SAFETY: as many numbers as the row has.
                let x = unsafe { read(simd, x.as_ptr().add(at), vector(at)) };
                sums[i % 4] = simd.add(sums[i % 4], x);
            }
            let sum = simd.add(simd.add(sums[0], sums[1]), simd.add(sums[2], sums[3]));
            let mean = sum_of_lanes(simd, sum) / width as f32;
            let mut squares = [simd.splat(0.0); 4];
            for (i, at) in (0..width).step_by(S::LANES).enumerate() {
                let count = vector(at);
                // SAFETY: the same.
                let x = unsafe { read(simd, x.as_ptr().add(at), count) };
                let mut d = simd.sub(x, simd.splat(mean));
                if count < S::LANES {
                    d = simd.mul(d, first_ones(simd, count));
                }
                squares[i % 4] = simd.mul_add(d, d, squares[i % 4]);
            }
            let square = simd.add(
                simd.add(squares[0], squares[1]),
                simd.add(squares[2], squares[3]),
            );
            let variance = f64::from(sum_of_lanes(simd, square)) / width as f64;
            let root = (1.0 / (variance + self.norm.epsilon).sqrt()) as f32;
            (moments[0], moments[1]) = (mean, root);
            let (mean, root) = (simd.splat(mean), simd.splat(root));
            for at in (0..width).step_by(S::LANES) {
                let count = vector(at);
                // SAFETY: the same.
                unsafe {
                    let gamma = read(simd, self.gamma.as_ptr().add(at), count);
                    let beta = read(simd, self.beta.as_ptr().add(at), count);
                    let x = read(simd, x.as_ptr().add(at), count);
                    let normal = simd.mul(simd.sub(x, mean), root);
                    let mut z = simd.mul_add(gamma, normal, beta);
                    if self.norm.silu {
                        z = simd.mul(z, simd.sigmoid(z));
                    }
                    write(simd, y.as_mut_ptr().add(at), count, z);
                }
            }
        }
    }
}

struct Backward<'a> {
    norm: RowNorm,
    x: &'a [f32],
    gamma: &'a [f32],
    beta: &'a [f32],
    moments: &'a [f32],
    dy: &'a [f32],
    dx: &'a mut [f32],
    /// Σ g x̂, then Σ g.
    sums: &'a mut [f32],
}

impl Kernel for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn with<S: Simd>(self, simd: S) {
        let width = self.norm.width;
        assert!(self.gamma.len() == width && self.beta.len() == width);
        assert!(self.sums.len() == 2 * width);
        let (to_gamma, to_beta) = self.sums.split_at_mut(width);
        let rows = self.x.chunks_exact(width).zip(self.dy.chunks_exact(width));
        let rows = rows.zip(self.dx.chunks_exact_mut(width));
        for (((x, dy), dx), moments) in rows.zip(self.moments.chunks_exact(2)) {
            let (mean, root) = (simd.splat(moments[0]), simd.splat(moments[1]));
            let mut sum = simd.splat(0.0);
            let mut product = simd.splat(0.0);
            for at in (0..width).step_by(S::LANES) {
                let count = (width - at).min(S::LANES);
                // SAFETY: as many numbers as the row has. Lanes beyond it are 0 in γ, and so in the sums.
                unsafe {
                    let gamma = read(simd, self.gamma.as_ptr().add(at), count);
                    let x = read(simd, x.as_ptr().add(at), count);
                    let normal = simd.mul(simd.sub(x, mean), root);
                    let mut g = read(simd, dy.as_ptr().add(at), count);
                    if self.norm.silu {
                        let beta = read(simd, self.beta.as_ptr().add(at), count);
                        g = simd.mul(g, slope(simd, simd.mul_add(gamma, normal, beta)));
                    }
                    let to = to_gamma.as_mut_ptr().add(at);
                    write(
                        simd,
                        to,
                        count,
                        simd.mul_add(g, normal, read(simd, to, count)),
                    );
                    let to = to_beta.as_mut_ptr().add(at);
                    write(simd, to, count, simd.add(g, read(simd, to, count)));
                    let g = simd.mul(gamma, g);
                    sum = simd.add(sum, g);
                    product = simd.mul_add(g, normal, product);
                    write(simd, dx.as_mut_ptr().add(at), count, g);
                }
            }
            let n = width as f32;
            let sum = simd.splat(-sum_of_lanes(simd, sum) / n);
            let product = simd.splat(-sum_of_lanes(simd, product) / n);
            for at in (0..width).step_by(S::LANES) {
                let count = (width - at).min(S::LANES);
                // SAFETY: the same.
                unsafe {
                    let x = read(simd, x.as_ptr().add(at), count);
                    let normal = simd.mul(simd.sub(x, mean), root);
                    let to = dx.as_mut_ptr().add(at);
                    let g = simd.add(read(simd, to, count), sum);
                    write(
                        simd,
                        to,
                        count,
                        simd.mul(root, simd.mul_add(normal, product, g)),
                    );
                }
            }
        }
    }
}
