//! Scaled dot-product attention between the pixels of an image.
//!
//! ```text
//! P = softmax(q kᵀ / √d)        o = P v        for each head of d channels
//! ```
//!
//! Vaswani et al. 2017, equation 1. The gradient needs q, k, v, o and, of each row of P, the
//! logarithm of the sum of the exponentials, L (Dao et al. 2022, "FlashAttention", appendix B.2):
//!
//! ```text
//! P = exp(q kᵀ / √d - L)             ∂v = Pᵀ ∂o        ∂P = ∂o vᵀ
//! ∂S = P ⊙ (∂P - rowsum(∂o ⊙ o)) / √d      ∂q = ∂S k         ∂k = ∂Sᵀ q
//! ```
//!
//! Images are channels-last, a head's channels side by side. A task is an image.

use rayon::prelude::*;

use crate::cpu::gemm::{Product, product};
use crate::cpu::memory::{Buffer, filled, with_scratch};
use crate::cpu::simd::{Kernel, Simd, run};

/// Lengths of an attention.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heads {
    /// Number of images.
    pub(crate) batch: usize,
    /// Pixels of an image.
    pub(crate) pixels: usize,
    /// Channels of all heads.
    pub(crate) channels: usize,
    /// Heads.
    pub(crate) heads: usize,
}

impl Heads {
    fn image(&self) -> usize {
        self.pixels * self.channels
    }

    fn head(&self) -> usize {
        self.channels / self.heads
    }

    fn scale(&self) -> f32 {
        1.0 / (self.head() as f32).sqrt()
    }
}

/// o, and L `[batch, heads, pixels]`.
pub(crate) fn forward(heads: &Heads, [q, k, v]: [&[f32]; 3]) -> (Buffer, Buffer) {
    let image = heads.image();
    let rows = heads.heads * heads.pixels;
    let mut logs = Buffer::new(heads.batch * rows);
    let o = filled(heads.batch * image, |o| {
        o.par_chunks_mut(image)
            .zip(q.par_chunks(image))
            .zip(k.par_chunks(image))
            .zip(v.par_chunks(image))
            .zip(logs.par_chunks_mut(rows))
            .for_each(|((((o, q), k), v), logs)| {
                let scores = heads.pixels * heads.pixels;
                with_scratch(scores + heads.pixels * heads.head(), |scratch| {
                    let (scores, transposed) = scratch.split_at_mut(scores);
                    run(Forward {
                        heads: *heads,
                        q,
                        k,
                        v,
                        o,
                        logs,
                        scores,
                        transposed,
                    });
                });
            });
    });
    (o, logs)
}

/// ∂q, ∂k and ∂v.
pub(crate) fn backward(
    heads: &Heads,
    [q, k, v, o]: [&[f32]; 4],
    logs: &[f32],
    gradient: &[f32],
) -> [Buffer; 3] {
    let image = heads.image();
    let len = heads.batch * image;
    let (mut dq, mut dk, mut dv) = (Buffer::new(len), Buffer::new(len), Buffer::new(len));
    dq.par_chunks_mut(image)
        .zip(dk.par_chunks_mut(image))
        .zip(dv.par_chunks_mut(image))
        .enumerate()
        .for_each(|(index, ((dq, dk), dv))| {
            let of_image = |x| -> &[f32] {
                let x: &[f32] = x;
                &x[index * image..][..image]
            };
            let rows = heads.heads * heads.pixels;
            let square = heads.pixels * heads.pixels;
            let narrow = heads.pixels * heads.head();
            with_scratch(2 * square + narrow, |scratch| {
                let (p, scratch) = scratch.split_at_mut(square);
                let (ds, transposed) = scratch.split_at_mut(square);
                run(Backward {
                    heads: *heads,
                    q: of_image(q),
                    k: of_image(k),
                    v: of_image(v),
                    o: of_image(o),
                    gradient: of_image(gradient),
                    logs: &logs[index * rows..][..rows],
                    dq,
                    dk,
                    dv,
                    p,
                    ds,
                    transposed,
                });
            });
        });
    [dq, dk, dv]
}

/// One head of images of `pixels` rows, `stride` numbers apart.
#[derive(Clone, Copy)]
struct Head {
    pixels: usize,
    stride: usize,
    start: usize,
    width: usize,
}

impl Head {
    fn of(heads: &Heads, head: usize) -> Self {
        Self {
            pixels: heads.pixels,
            stride: heads.channels,
            start: head * heads.head(),
            width: heads.head(),
        }
    }

    /// `to[width, pixels]`, the head of x transposed.
    #[inline(always)]
    fn transpose(&self, x: &[f32], to: &mut [f32]) {
        for pixel in 0..self.pixels {
            let row = &x[pixel * self.stride + self.start..][..self.width];
            for (channel, x) in row.iter().enumerate() {
                to[channel * self.pixels + pixel] = *x;
            }
        }
    }

    /// `to[pixels, pixels] = x yᵀ`, with y transposed.
    #[inline(always)]
    fn outer<S: Simd>(&self, simd: S, x: &[f32], transposed: &[f32], to: &mut [f32]) {
        self.check(x);
        assert!(transposed.len() >= self.width * self.pixels);
        assert!(to.len() >= self.pixels * self.pixels);
        // SAFETY: the lengths are asserted.
        unsafe {
            product(
                simd,
                Product {
                    a: x.as_ptr().add(self.start),
                    a_row: self.stride,
                    a_step: 1,
                    b: transposed.as_ptr(),
                    b_row: self.pixels,
                    c: to.as_mut_ptr(),
                    c_row: self.pixels,
                    m: self.pixels,
                    n: self.pixels,
                    k: self.width,
                    accumulate: false,
                },
            );
        }
    }

    /// `to = p x`, or `pᵀ x`, p being `[pixels, pixels]`.
    #[inline(always)]
    fn apply<S: Simd>(&self, simd: S, p: &[f32], is_transposed: bool, x: &[f32], to: &mut [f32]) {
        self.check(x);
        self.check(to);
        assert!(p.len() >= self.pixels * self.pixels);
        let (a_row, a_step) = if is_transposed {
            (1, self.pixels)
        } else {
            (self.pixels, 1)
        };
        // SAFETY: the lengths are asserted.
        unsafe {
            product(
                simd,
                Product {
                    a: p.as_ptr(),
                    a_row,
                    a_step,
                    b: x.as_ptr().add(self.start),
                    b_row: self.stride,
                    c: to.as_mut_ptr().add(self.start),
                    c_row: self.stride,
                    m: self.pixels,
                    n: self.width,
                    k: self.pixels,
                    accumulate: false,
                },
            );
        }
    }

    #[inline(always)]
    fn check(&self, x: &[f32]) {
        assert!(x.len() >= self.pixels * self.stride && self.start + self.width <= self.stride);
    }
}

struct Forward<'a> {
    heads: Heads,
    q: &'a [f32],
    k: &'a [f32],
    v: &'a [f32],
    o: &'a mut [f32],
    logs: &'a mut [f32],
    scores: &'a mut [f32],
    transposed: &'a mut [f32],
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn with<S: Simd>(self, simd: S) {
        let pixels = self.heads.pixels;
        let scale = self.heads.scale();
        for index in 0..self.heads.heads {
            let head = Head::of(&self.heads, index);
            head.transpose(self.k, self.transposed);
            head.outer(simd, self.q, self.transposed, self.scores);
            let logs = &mut self.logs[index * pixels..][..pixels];
            for (row, log) in self.scores.chunks_exact_mut(pixels).zip(logs) {
                let largest = scale * largest(simd, row);
                let sum = exponentials(simd, row, scale, largest);
                multiply(simd, row, 1.0 / sum);
                *log = largest + sum.ln();
            }
            head.apply(simd, self.scores, false, self.v, self.o);
        }
    }
}

/// The largest number of a row.
#[inline(always)]
fn largest<S: Simd>(simd: S, row: &[f32]) -> f32 {
    let mut largest = simd.splat(f32::NEG_INFINITY);
    let vectors = row.chunks_exact(S::LANES);
    let rest = vectors.remainder();
    for x in vectors {
        // SAFETY: a vector's worth of numbers.
        largest = simd.max(largest, unsafe { simd.load(x.as_ptr()) });
    }
    let mut lanes = [f32::NEG_INFINITY; 16];
    // SAFETY: `lanes` is as long as the longest vector.
    unsafe { simd.store(lanes.as_mut_ptr(), largest) };
    let mut largest = f32::NEG_INFINITY;
    for x in lanes.iter().chain(rest) {
        largest = if *x > largest { *x } else { largest };
    }
    largest
}

/// x = e^(scale x - shift) of a row, and their sum.
#[inline(always)]
fn exponentials<S: Simd>(simd: S, row: &mut [f32], scale: f32, shift: f32) -> f32 {
    let (scale, shift) = (simd.splat(scale), simd.splat(-shift));
    let mut sums = simd.splat(0.0);
    let mut vectors = row.chunks_exact_mut(S::LANES);
    for x in &mut vectors {
        // SAFETY: a vector's worth of numbers.
        unsafe {
            let e = simd.exp(simd.mul_add(scale, simd.load(x.as_ptr()), shift));
            simd.store(x.as_mut_ptr(), e);
            sums = simd.add(sums, e);
        }
    }
    let mut lanes = [0.0f32; 16];
    // SAFETY: `lanes` is as long as the longest vector, and the rest shorter than a vector.
    unsafe {
        simd.store(lanes.as_mut_ptr(), sums);
        let rest = vectors.into_remainder();
        if !rest.is_empty() {
            let x = simd.load_first(rest.as_ptr(), rest.len());
            let e = simd.exp(simd.mul_add(scale, x, shift));
            simd.store_first(rest.as_mut_ptr(), rest.len(), e);
        }
        let mut sum = 0.0;
        for x in lanes.iter().chain(rest.iter()) {
            sum += x;
        }
        sum
    }
}

/// x = factor x of a row.
#[inline(always)]
fn multiply<S: Simd>(simd: S, row: &mut [f32], factor: f32) {
    let factors = simd.splat(factor);
    let mut vectors = row.chunks_exact_mut(S::LANES);
    for x in &mut vectors {
        // SAFETY: a vector's worth of numbers.
        unsafe { simd.store(x.as_mut_ptr(), simd.mul(factors, simd.load(x.as_ptr()))) };
    }
    for x in vectors.into_remainder() {
        *x *= factor;
    }
}

struct Backward<'a> {
    heads: Heads,
    q: &'a [f32],
    k: &'a [f32],
    v: &'a [f32],
    o: &'a [f32],
    gradient: &'a [f32],
    logs: &'a [f32],
    dq: &'a mut [f32],
    dk: &'a mut [f32],
    dv: &'a mut [f32],
    p: &'a mut [f32],
    ds: &'a mut [f32],
    transposed: &'a mut [f32],
}

impl Kernel for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn with<S: Simd>(self, simd: S) {
        let pixels = self.heads.pixels;
        let scale = self.heads.scale();
        for index in 0..self.heads.heads {
            let head = Head::of(&self.heads, index);
            let logs = &self.logs[index * pixels..][..pixels];
            head.transpose(self.k, self.transposed);
            head.outer(simd, self.q, self.transposed, self.p);
            for (row, log) in self.p.chunks_exact_mut(pixels).zip(logs) {
                exponentials(simd, row, scale, *log);
            }
            head.apply(simd, self.p, true, self.gradient, self.dv);

            head.transpose(self.v, self.transposed);
            head.outer(simd, self.gradient, self.transposed, self.ds);
            for pixel in 0..pixels {
                let start = pixel * self.heads.channels + head.start;
                let mut dot = 0.0;
                for channel in start..start + head.width {
                    dot += self.gradient[channel] * self.o[channel];
                }
                let p = &self.p[pixel * pixels..][..pixels];
                let ds = &mut self.ds[pixel * pixels..][..pixels];
                for (ds, p) in ds.iter_mut().zip(p) {
                    *ds = p * (*ds - dot) * scale;
                }
            }
            head.apply(simd, self.ds, false, self.k, self.dq);
            head.apply(simd, self.ds, true, self.q, self.dk);
        }
    }
}
