//! The passes of an optimiser over flat vectors.

use burn::backend::TensorMetadata;
use burn::backend::tensor::FloatTensor;
use rayon::prelude::*;

use crate::cpu::host::{Host, Numbers, small_tensor, tensor};
use crate::cpu::memory::{Buffer, filled};
use crate::cpu::simd::{Kernel, Simd, run};

/// Numbers that are worth a task, and whose squares are summed by themselves. Part of the result: a
/// sum in other pieces is rounded differently.
const PIECE: usize = 1 << 14;

/// The same numbers, as a pass over the vectors needs them: the corrections for the zero start are
/// folded into scalars, m̂ / (√v̂ + ε) = (m / (1 − β₁ᵗ)) / (√v / √(1 − β₂ᵗ) + ε).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Coefficients {
    /// β₁
    pub(crate) beta_1: f32,
    /// 1 − β₁
    pub(crate) one_minus_beta_1: f32,
    /// β₂
    pub(crate) beta_2: f32,
    /// 1 − β₂
    pub(crate) one_minus_beta_2: f32,
    /// 1 / √(1 − β₂ᵗ)
    pub(crate) root_factor: f32,
    /// ε
    pub(crate) epsilon: f32,
    /// learning rate / (1 − β₁ᵗ)
    pub(crate) step_size: f32,
    /// 1 − learning rate · weight decay
    pub(crate) kept: f32,
}

/// See `adamw`: the new parameters and both moments, of the old ones and the gradient.
pub(crate) fn adamw_on_host<B: Host>(
    old: [FloatTensor<B>; 4],
    gradient_scale: FloatTensor<B>,
    coefficients: Coefficients,
) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
    let device = gradient_scale.device();
    let gradient_scale = Numbers::<B>::plain(gradient_scale).get()[0];
    let old = old.map(Numbers::<B>::plain);
    let [parameters, first, second, gradient] = old.each_ref().map(Numbers::get);
    let length = parameters.len();
    let mut new = [(); 3].map(|()| Buffer::new(length));
    let [new_parameters, new_first, new_second] = &mut new;
    new_parameters
        .par_chunks_mut(PIECE)
        .zip(new_first.par_chunks_mut(PIECE))
        .zip(new_second.par_chunks_mut(PIECE))
        .zip(parameters.par_chunks(PIECE))
        .zip(first.par_chunks(PIECE))
        .zip(second.par_chunks(PIECE))
        .zip(gradient.par_chunks(PIECE))
        .for_each(|((((((p, m), v), from_p), from_m), from_v), gradient)| {
            run(AdamWPass {
                from: [from_p, from_m, from_v, gradient],
                to: [p, m, v],
                gradient_scale,
                c: coefficients,
            });
        });
    let [parameters, first, second] = new.map(|values| tensor::<B>(values, [length], &device));
    (parameters, first, second)
}

/// A piece of a step of AdamW.
struct AdamWPass<'a> {
    /// Parameters, first moment, second moment, gradient.
    from: [&'a [f32]; 4],
    /// Parameters, first moment, second moment.
    to: [&'a mut [f32]; 3],
    gradient_scale: f32,
    c: Coefficients,
}

impl Kernel for AdamWPass<'_> {
    type Output = ();

    // The compiler makes vectors of this loop, of the level's own length.
    #[inline(always)]
    fn with<S: Simd>(self, _simd: S) {
        let Self {
            gradient_scale, c, ..
        } = self;
        let [p, m, v] = self.to;
        let length = p.len();
        let [from_p, from_m, from_v, gradient] = self.from.map(|from| &from[..length]);
        let (m, v) = (&mut m[..length], &mut v[..length]);
        for i in 0..length {
            let g = gradient[i] * gradient_scale;
            m[i] = from_m[i] * c.beta_1 + g * c.one_minus_beta_1;
            v[i] = from_v[i] * c.beta_2 + g * g * c.one_minus_beta_2;
            let root = v[i].sqrt() * c.root_factor + c.epsilon;
            p[i] = from_p[i] * c.kept - m[i] / root * c.step_size;
        }
    }
}

/// See `moving_average`; how much of the difference is taken.
pub(crate) fn average_on_host<B: Host>(
    from: FloatTensor<B>,
    to: FloatTensor<B>,
    taken: f32,
) -> FloatTensor<B> {
    let device = from.device();
    let (from, to) = (Numbers::<B>::plain(from), Numbers::<B>::plain(to));
    let length = from.get().len();
    let averaged = filled(length, |averaged| {
        averaged
            .par_chunks_mut(PIECE)
            .zip(from.get().par_chunks(PIECE))
            .zip(to.get().par_chunks(PIECE))
            .for_each(|((averaged, from), to)| {
                run(AveragePass {
                    from: [from, to],
                    taken,
                    averaged,
                });
            });
    });
    tensor::<B>(averaged, [length], &device)
}

/// A piece of a moving average.
struct AveragePass<'a> {
    from: [&'a [f32]; 2],
    taken: f32,
    averaged: &'a mut [f32],
}

impl Kernel for AveragePass<'_> {
    type Output = ();

    #[inline(always)]
    fn with<S: Simd>(self, _simd: S) {
        let length = self.averaged.len();
        let [from, to] = self.from.map(|from| &from[..length]);
        for i in 0..length {
            self.averaged[i] = from[i] + (to[i] - from[i]) * self.taken;
        }
    }
}

/// See `sum_of_squares`.
pub(crate) fn square_sum_on_host<B: Host>(x: FloatTensor<B>) -> FloatTensor<B> {
    let device = x.device();
    let x = Numbers::<B>::plain(x);
    // Gathered in order, so that the sum does not depend on which thread is done first.
    let pieces: Vec<f64> = x
        .get()
        .par_chunks(PIECE)
        .map(|x| run(SquareSum { x }))
        .collect();
    small_tensor::<B>(vec![pieces.iter().sum::<f64>() as f32], [1], &device)
}

/// The sum of the squares of a piece.
struct SquareSum<'a> {
    x: &'a [f32],
}

/// Sums side by side, so that the compiler may make vectors of them.
const SUMS: usize = 32;

impl Kernel for SquareSum<'_> {
    type Output = f64;

    #[inline(always)]
    fn with<S: Simd>(self, _simd: S) -> f64 {
        let mut sums = [0.0f64; SUMS];
        let whole = self.x.len() / SUMS * SUMS;
        let mut at = 0;
        while at < whole {
            for i in 0..SUMS {
                let x = f64::from(self.x[at + i]);
                sums[i] += x * x;
            }
            at += SUMS;
        }
        let mut total = 0.0;
        for sum in sums {
            total += sum;
        }
        for i in whole..self.x.len() {
            let x = f64::from(self.x[i]);
            total += x * x;
        }
        total
    }
}
