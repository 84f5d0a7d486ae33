//! GroupNorm, scale and shift, SiLU: one kernel forward, one backward.
//!
//! ```text
//! x̂ = (x - μ) r,    r = 1 / √(σ² + ε)        μ, σ² over the pixels and channels of a group
//! z = (γ x̂ + β) (1 + s) + t
//! y = z σ(z), or z
//! ```
//!
//! Wu and He 2018, "Group Normalization", equations 1 to 3; s and t: Dhariwal and Nichol 2021, section
//! 3.1. Backward, with a = γ (1 + s) r, n numbers in a group, and g = ∂L/∂z,
//!
//! ```text
//! S1 = Σ_pixels g,  S2 = Σ_pixels g x̂          a channel
//! ∂L/∂x = a g - r (Σ_group γ (1 + s) S1 + x̂ Σ_group γ (1 + s) S2) / n
//! ∂L/∂γ = Σ_batch (1 + s) S2,   ∂L/∂β = Σ_batch (1 + s) S1,   ∂L/∂s = γ S2 + β S1,   ∂L/∂t = S1
//! ```
//!
//! x, μ and r are all that the gradient needs. Images are channels-last; a task is an image, which
//! stays in cache from pass to pass.

use rayon::prelude::*;

use crate::cpu::memory::{Buffer, filled};
use crate::cpu::simd::{Kernel, Simd, read, run, write};

/// Lengths and choices of a normalisation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Norm {
    /// Number of images.
    pub(crate) batch: usize,
    /// Channels of an image.
    pub(crate) channels: usize,
    /// Pixels of an image.
    pub(crate) pixels: usize,
    /// Groups of channels.
    pub(crate) groups: usize,
    /// Added to the variance.
    pub(crate) epsilon: f64,
    /// Whether SiLU follows.
    pub(crate) silu: bool,
}

impl Norm {
    /// Fewer take less time than to hand them to another thread.
    fn images_worth_a_task(&self) -> usize {
        (1 << 15) / (self.pixels * self.channels) + 1
    }
}

/// γ, β and, unless empty, s and t, `[batch, 2 channels]`, s first.
#[derive(Clone, Copy)]
pub(crate) struct Affine<'a> {
    /// γ
    pub(crate) gamma: &'a [f32],
    /// β
    pub(crate) beta: &'a [f32],
    /// s and t
    pub(crate) scale_shift: &'a [f32],
}

impl Affine<'_> {
    /// The factor and the addend that turn x̂ into z, for each channel of an image.
    fn of_image(&self, image: usize) -> (Vec<f32>, Vec<f32>) {
        let channels = self.gamma.len();
        if self.scale_shift.is_empty() {
            return (self.gamma.to_vec(), self.beta.to_vec());
        }
        let (scale, shift) =
            self.scale_shift[2 * image * channels..][..2 * channels].split_at(channels);
        let factor = self.gamma.iter().zip(scale).map(|(g, s)| g * (1.0 + s));
        let addend = self.beta.iter().zip(scale).zip(shift);
        let addend = addend.map(|((b, s), t)| b * (1.0 + s) + t);
        (factor.collect(), addend.collect())
    }
}

/// y, and μ and r of each group, `[batch, groups, 2]`.
pub(crate) fn forward(norm: &Norm, x: &[f32], affine: Affine<'_>) -> (Buffer, Buffer) {
    let mut moments = Buffer::new(2 * norm.batch * norm.groups);
    let image_len = norm.pixels * norm.channels;
    let fill = |y: &mut [f32]| {
        y.par_chunks_mut(image_len)
            .with_min_len(norm.images_worth_a_task())
            .zip(x.par_chunks(image_len))
            .zip(moments.par_chunks_mut(2 * norm.groups))
            .enumerate()
            .for_each(|(image, ((y, x), moments))| {
                find_moments(norm, x, moments);
                let (factor, addend) = affine.of_image(image);
                // z = p x + q
                let (mut p, mut q) = (factor, addend);
                let size = norm.channels / norm.groups;
                for (channel, (p, q)) in p.iter_mut().zip(&mut q).enumerate() {
                    let group = channel / size;
                    *p *= moments[2 * group + 1];
                    *q -= *p * moments[2 * group];
                }
                run(Apply {
                    x,
                    p: &p,
                    q: &q,
                    silu: norm.silu,
                    y,
                });
            });
    };
    let y = filled(norm.batch * image_len, fill);
    (y, moments)
}

/// μ and r of each group of an image.
///
/// In one pass: each channel's sums are of its differences to its first pixel, so that nothing is lost
/// where the mean is large beside the deviation.
fn find_moments(norm: &Norm, x: &[f32], moments: &mut [f32]) {
    let (channels, pixels) = (norm.channels, norm.pixels as f64);
    let size = channels / norm.groups;
    let mut sums = vec![0.0; 2 * channels];
    let (sum, square) = sums.split_at_mut(channels);
    run(Sums { x, sum, square });
    for group in 0..norm.groups {
        let group_channels = group * size..(group + 1) * size;
        let mean_of = |channel: usize| f64::from(x[channel]) + sum[channel] / pixels;
        let mean = group_channels.clone().map(mean_of).sum::<f64>() / size as f64;
        let squares = group_channels.map(|channel| {
            let within = square[channel] - sum[channel] * sum[channel] / pixels;
            let between = mean_of(channel) - mean;
            within.max(0.0) + pixels * between * between
        });
        let variance = squares.sum::<f64>() / (size as f64 * pixels);
        moments[2 * group] = mean as f32;
        moments[2 * group + 1] = (1.0 / (variance + norm.epsilon).sqrt()) as f32;
    }
}

/// Σ d and Σ d² over the pixels of each channel, d being the difference to the first pixel.
struct Sums<'a> {
    x: &'a [f32],
    sum: &'a mut [f64],
    square: &'a mut [f64],
}

/// Pixels that are summed in f32 before their sum goes to f64.
const RUN: usize = 64;

impl Kernel for Sums<'_> {
    type Output = ();

    #[inline(always)]
    fn with<S: Simd>(self, simd: S) {
        let channels = self.sum.len();
        assert!(self.square.len() == channels && self.x.len() >= channels);
        for x in self.x.chunks(RUN * channels) {
            let pixels = x.len() / channels;
            let mut channel = 0;
            while channel < channels {
                let count = (channels - channel).min(S::LANES);
                // SAFETY: `count` channels of each of the pixels.
                unsafe {
                    let first = read(simd, self.x.as_ptr().add(channel), count);
                    let mut sums = [simd.splat(0.0); 2];
                    let mut squares = [simd.splat(0.0); 2];
                    for pixel in 0..pixels {
                        let at = x.as_ptr().add(pixel * channels + channel);
                        let d = simd.sub(read(simd, at, count), first);
                        sums[pixel % 2] = simd.add(sums[pixel % 2], d);
                        squares[pixel % 2] = simd.mul_add(d, d, squares[pixel % 2]);
                    }
                    let mut lanes = [[0.0f32; 16]; 2];
                    simd.store(lanes[0].as_mut_ptr(), simd.add(sums[0], sums[1]));
                    simd.store(lanes[1].as_mut_ptr(), simd.add(squares[0], squares[1]));
                    for lane in 0..count {
                        self.sum[channel + lane] += f64::from(lanes[0][lane]);
                        self.square[channel + lane] += f64::from(lanes[1][lane]);
                    }
                }
                channel += count;
            }
        }
    }
}

/// y = p x + q, then SiLU if asked.
struct Apply<'a> {
    x: &'a [f32],
    p: &'a [f32],
    q: &'a [f32],
    silu: bool,
    y: &'a mut [f32],
}

impl Kernel for Apply<'_> {
    type Output = ();

    #[inline(always)]
    fn with<S: Simd>(self, simd: S) {
        let channels = self.p.len();
        assert!(self.q.len() == channels && self.y.len() == self.x.len());
        let pixels = self.x.len() / channels;
        let mut channel = 0;
        while channel < channels {
            let count = (channels - channel).min(S::LANES);
            // SAFETY: `count` channels of each of the pixels, of p and of q.
            unsafe {
                let p = read(simd, self.p.as_ptr().add(channel), count);
                let q = read(simd, self.q.as_ptr().add(channel), count);
                for pixel in 0..pixels {
                    let at = pixel * channels + channel;
                    let x = read(simd, self.x.as_ptr().add(at), count);
                    let mut z = simd.mul_add(p, x, q);
                    if self.silu {
                        z = simd.mul(z, simd.sigmoid(z));
                    }
                    write(simd, self.y.as_mut_ptr().add(at), count, z);
                }
            }
            channel += count;
        }
    }
}

/// The gradients of a normalisation.
pub(crate) struct Gradients {
    /// ∂L/∂x
    pub(crate) x: Buffer,
    /// ∂L/∂γ
    pub(crate) gamma: Vec<f32>,
    /// ∂L/∂β
    pub(crate) beta: Vec<f32>,
    /// ∂L/∂s and ∂L/∂t, `[batch, 2 channels]`; empty without them.
    pub(crate) scale_shift: Vec<f32>,
}

/// All gradients, from x, the moments that [`forward`] found, and ∂L/∂y; that of x plus what it is so far.
pub(crate) fn backward(
    norm: &Norm,
    x: &[f32],
    moments: &[f32],
    affine: Affine<'_>,
    dy: &[f32],
    so_far: Option<&[f32]>,
) -> Gradients {
    let channels = norm.channels;
    let size = channels / norm.groups;
    let image_len = norm.pixels * channels;
    let count = (size * norm.pixels) as f64;
    // S1 and S2 of each image.
    let mut sums = vec![0.0f64; 2 * norm.batch * channels];
    let fill = |dx: &mut [f32]| {
        dx.par_chunks_mut(image_len)
            .with_min_len(norm.images_worth_a_task())
            .zip(x.par_chunks(image_len))
            .zip(dy.par_chunks(image_len))
            .zip(moments.par_chunks(2 * norm.groups))
            .zip(sums.par_chunks_mut(2 * channels))
            .enumerate()
            .for_each(|(image, ((((dx, x), dy), moments), sums))| {
                let (factor, addend) = affine.of_image(image);
                let mean = |channel: usize| moments[2 * (channel / size)];
                let root = |channel: usize| moments[2 * (channel / size) + 1];
                // x̂ = r x + u
                let r: Vec<f32> = (0..channels).map(root).collect();
                let u: Vec<f32> = (0..channels).map(|c| -mean(c) * root(c)).collect();
                let (s1, s2) = sums.split_at_mut(channels);
                run(BackwardSums {
                    x,
                    dy,
                    normal: [&r, &u],
                    affine: [&factor, &addend],
                    silu: norm.silu,
                    g: dx,
                    s1,
                    s2,
                });
                // ∂L/∂x = a g + b x + c
                let a: Vec<f32> = factor.iter().zip(&r).map(|(f, r)| f * r).collect();
                let (mut b, mut c) = (vec![0.0; channels], vec![0.0; channels]);
                for group in 0..norm.groups {
                    let group = group * size..(group + 1) * size;
                    let weighted = |s: &[f64]| {
                        let pairs = s[group.clone()].iter().zip(&factor[group.clone()]);
                        pairs.map(|(s, f)| s * f64::from(*f)).sum::<f64>() / count
                    };
                    let (m1, m2) = (weighted(s1), weighted(s2));
                    for channel in group.clone() {
                        let (r, u) = (f64::from(r[channel]), f64::from(u[channel]));
                        b[channel] = (-r * r * m2) as f32;
                        c[channel] = (-r * (m1 + u * m2)) as f32;
                    }
                }
                let place = image * image_len..(image + 1) * image_len;
                run(BackwardInput {
                    x,
                    abc: [&a, &b, &c],
                    so_far: so_far.map(|so_far| &so_far[place]),
                    dx,
                });
            });
    };
    let dx = filled(norm.batch * image_len, fill);

    let mut gamma = vec![0.0f64; channels];
    let mut beta = vec![0.0f64; channels];
    let mut scale_shift = Vec::with_capacity(affine.scale_shift.len());
    for (image, sums) in sums.chunks_exact(2 * channels).enumerate() {
        let (s1, s2) = sums.split_at(channels);
        for channel in 0..channels {
            let scale = if affine.scale_shift.is_empty() {
                0.0
            } else {
                affine.scale_shift[2 * image * channels + channel]
            };
            let factor = 1.0 + f64::from(scale);
            gamma[channel] += factor * s2[channel];
            beta[channel] += factor * s1[channel];
        }
        if !affine.scale_shift.is_empty() {
            for channel in 0..channels {
                let g = f64::from(affine.gamma[channel]) * s2[channel];
                let b = f64::from(affine.beta[channel]) * s1[channel];
                scale_shift.push((g + b) as f32);
            }
            scale_shift.extend(s1.iter().map(|x| *x as f32));
        }
    }
    Gradients {
        x: dx,
        gamma: gamma.into_iter().map(|x| x as f32).collect(),
        beta: beta.into_iter().map(|x| x as f32).collect(),
        scale_shift,
    }
}

/// g = ∂L/∂z, S1 and S2 of an image.
struct BackwardSums<'a> {
    x: &'a [f32],
    dy: &'a [f32],
    /// r and u of x̂ = r x + u.
    normal: [&'a [f32]; 2],
    /// The factor and the addend that turn x̂ into z.
    affine: [&'a [f32]; 2],
    silu: bool,
    g: &'a mut [f32],
    s1: &'a mut [f64],
    s2: &'a mut [f64],
}

impl Kernel for BackwardSums<'_> {
    type Output = ();

    #[inline(always)]
    fn with<S: Simd>(self, simd: S) {
        let channels = self.s1.len();
        let all = [self.normal, self.affine].concat();
        assert!(all.iter().all(|x| x.len() == channels) && self.s2.len() == channels);
        assert!(self.dy.len() == self.x.len() && self.g.len() == self.x.len());
        let one = simd.splat(1.0);
        let pixels = self.x.len() / channels;
        let mut start = 0;
        while start < pixels {
            let end = (start + RUN).min(pixels);
            let mut channel = 0;
            while channel < channels {
                let count = (channels - channel).min(S::LANES);
                // SAFETY: `count` channels of each of the pixels and of the factors.
                unsafe {
                    let r = read(simd, self.normal[0].as_ptr().add(channel), count);
                    let u = read(simd, self.normal[1].as_ptr().add(channel), count);
                    let factor = read(simd, self.affine[0].as_ptr().add(channel), count);
                    let addend = read(simd, self.affine[1].as_ptr().add(channel), count);
                    let (mut s1, mut s2) = (simd.splat(0.0), simd.splat(0.0));
                    for pixel in start..end {
                        let at = pixel * channels + channel;
                        let x = read(simd, self.x.as_ptr().add(at), count);
                        let mut g = read(simd, self.dy.as_ptr().add(at), count);
                        let normal = simd.mul_add(r, x, u);
                        if self.silu {
                            // (z σ(z))' = σ(z) (1 + z (1 - σ(z)))
                            let z = simd.mul_add(factor, normal, addend);
                            let sigma = simd.sigmoid(z);
                            let slope = simd.mul_add(z, simd.sub(one, sigma), one);
                            g = simd.mul(g, simd.mul(sigma, slope));
                        }
                        s1 = simd.add(s1, g);
                        s2 = simd.mul_add(g, normal, s2);
                        write(simd, self.g.as_mut_ptr().add(at), count, g);
                    }
                    let mut lanes = [[0.0f32; 16]; 2];
                    simd.store(lanes[0].as_mut_ptr(), s1);
                    simd.store(lanes[1].as_mut_ptr(), s2);
                    for lane in 0..count {
                        self.s1[channel + lane] += f64::from(lanes[0][lane]);
                        self.s2[channel + lane] += f64::from(lanes[1][lane]);
                    }
                }
                channel += count;
            }
            start = end;
        }
    }
}

/// ∂L/∂x = a g + b x + c, with g in the place of ∂L/∂x, plus what it is so far.
struct BackwardInput<'a> {
    x: &'a [f32],
    abc: [&'a [f32]; 3],
    so_far: Option<&'a [f32]>,
    dx: &'a mut [f32],
}

impl Kernel for BackwardInput<'_> {
    type Output = ();

    #[inline(always)]
    fn with<S: Simd>(self, simd: S) {
        let channels = self.abc[0].len();
        assert!(self.abc.iter().all(|x| x.len() == channels) && self.dx.len() == self.x.len());
        assert!(
            self.so_far
                .is_none_or(|so_far| so_far.len() == self.x.len())
        );
        let pixels = self.x.len() / channels;
        let mut channel = 0;
        while channel < channels {
            let count = (channels - channel).min(S::LANES);
            // SAFETY: `count` channels of each of the pixels and of the factors.
            unsafe {
                let a = read(simd, self.abc[0].as_ptr().add(channel), count);
                let b = read(simd, self.abc[1].as_ptr().add(channel), count);
                let c = read(simd, self.abc[2].as_ptr().add(channel), count);
                for pixel in 0..pixels {
                    let at = pixel * channels + channel;
                    let x = read(simd, self.x.as_ptr().add(at), count);
                    let to = self.dx.as_mut_ptr().add(at);
                    let g = read(simd, to, count);
                    let mut dx = simd.mul_add(a, g, simd.mul_add(b, x, c));
                    if let Some(so_far) = self.so_far {
                        dx = simd.add(dx, read(simd, so_far.as_ptr().add(at), count));
                    }
                    write(simd, to, count, dx);
                }
            }
            channel += count;
        }
    }
}
