//! Convolution as a matrix product over unrolled windows (im2col), for what Winograd does not cover:
//! stride 2, few channels, kernels of other lengths than 3×3, and among them 1×1, whose windows are the
//! pixels themselves.
//!
//! With one row of `col` an output pixel and one column a tap and input channel,
//!
//! ```text
//! y = col Wᵀ        ∂L/∂W = (∂L/∂y)ᵀ col        ∂L/∂col = ∂L/∂y W
//! ```
//!
//! (Chellapilla et al. 2006, section 4.1). Images are channels-last, W is `[out, tap, in]`.

use rayon::prelude::*;

use crate::cpu::gemm::{Product, product};
use crate::cpu::memory::{Buffer, filled, pieces, with_scratch};
use crate::cpu::simd::{Kernel, Simd, run};
use crate::cpu::winograd::Addends;

/// Output pixels whose windows are unrolled at a time.
const PIXELS: usize = 96;

/// A convolution's shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Number of images.
    pub(crate) batch: usize,
    /// Height and width of the input as stored.
    pub(crate) input: [usize; 2],
    /// Input channels.
    pub(crate) channels: usize,
    /// Output channels.
    pub(crate) out_channels: usize,
    /// Height and width of the kernel.
    pub(crate) kernel: [usize; 2],
    /// Pixels from one window to the next.
    pub(crate) stride: usize,
    /// Pixels of padding above and below, and on the left and on the right.
    pub(crate) padding: [[usize; 2]; 2],
    /// Whether each input pixel stands for 2×2 of the convolved image.
    pub(crate) upsampled: bool,
}

impl Shape {
    /// Height and width of the image that is convolved.
    pub(crate) fn convolved(&self) -> [usize; 2] {
        self.input.map(|len| len << usize::from(self.upsampled))
    }

    /// Height and width of the output.
    pub(crate) fn output(&self) -> [usize; 2] {
        let convolved = self.convolved();
        [0, 1].map(|axis| {
            let [before, after] = self.padding[axis];
            (convolved[axis] + before + after - self.kernel[axis]) / self.stride + 1
        })
    }

    /// Lengths of the outputs' axes.
    pub(crate) fn output_dims(&self) -> [usize; 4] {
        let [height, width] = self.output();
        [self.batch, self.out_channels, height, width]
    }

    /// Pixels of one output.
    pub(crate) fn output_pixels(&self) -> usize {
        let [height, width] = self.output();
        height * width
    }

    /// Numbers of all inputs.
    pub(crate) fn input_len(&self) -> usize {
        self.batch * self.input[0] * self.input[1] * self.channels
    }

    /// Whether it is a 3×3 convolution at the resolution of the image that is convolved.
    pub(crate) fn is_same_3x3(&self) -> bool {
        self.kernel == [3, 3] && self.stride == 1 && self.padding == [[1, 1]; 2]
    }

    /// Whether windows are the pixels of the input, in their order.
    fn is_pixelwise(&self) -> bool {
        self.kernel == [1, 1] && self.stride == 1 && self.padding == [[0, 0]; 2] && !self.upsampled
    }

    /// Numbers of the kernel for an input and an output channel.
    fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// Whether outputs have so few channels that it is they who are unrolled, not the inputs.
    pub(crate) fn is_narrow(&self) -> bool {
        self.is_same_3x3()
            && !self.upsampled
            && self.out_channels < self.channels
            && self.out_channels < 16
    }

    /// The convolution from output gradients to input gradients, of stride 1.
    fn swapped(&self) -> Self {
        Self {
            channels: self.out_channels,
            out_channels: self.channels,
            ..*self
        }
    }

    /// Numbers in a window.
    fn window(&self) -> usize {
        self.taps() * self.channels
    }

    /// Where the pixel of a window lies in its image, counted in pixels; none in the padding.
    #[inline(always)]
    fn pixel(&self, [row, col]: [usize; 2], [r, s]: [usize; 2]) -> Option<usize> {
        let [height, width] = self.convolved();
        let [[above, _], [left, _]] = self.padding;
        let row = (row * self.stride + r).wrapping_sub(above);
        let col = (col * self.stride + s).wrapping_sub(left);
        let shift = usize::from(self.upsampled);
        (row < height && col < width).then(|| (row >> shift) * self.input[1] + (col >> shift))
    }
}

/// The weights `[out, in, tap]` as `[out, tap, in]`, or, `by_tap`, as `[tap, in, out]`.
fn arrange(weight: &[f32], shape: &Shape, by_tap: bool) -> Buffer {
    let (out, channels, taps) = (shape.out_channels, shape.channels, shape.taps());
    let mut arranged = Buffer::new(weight.len());
    let to = &mut arranged[..];
    for o in 0..out {
        for i in 0..channels {
            for tap in 0..taps {
                let x = weight[(o * channels + i) * taps + tap];
                if by_tap {
                    to[(tap * channels + i) * out + o] = x;
                } else {
                    to[(o * taps + tap) * channels + i] = x;
                }
            }
        }
    }
    arranged
}

/// Unrolls the windows of the output pixels from `first` on, counted through all images.
#[inline(always)]
fn unroll(shape: &Shape, x: &[f32], first: usize, columns: &mut [f32]) {
    let [_, width] = shape.output();
    let image_len = shape.input_len() / shape.batch;
    for (index, window) in columns.chunks_exact_mut(shape.window()).enumerate() {
        let image = (first + index) / shape.output_pixels();
        let pixel = (first + index) % shape.output_pixels();
        let place = [pixel / width, pixel % width];
        let x = &x[image * image_len..][..image_len];
        for (tap, to) in window.chunks_exact_mut(shape.channels).enumerate() {
            match shape.pixel(place, [tap / shape.kernel[1], tap % shape.kernel[1]]) {
                Some(at) => {
                    let from = &x[at * shape.channels..][..shape.channels];
                    // A call to copy takes longer than to copy a few numbers.
                    if from.len() < 8 {
                        for (to, x) in to.iter_mut().zip(from) {
                            *to = *x;
                        }
                    } else {
                        to.copy_from_slice(from);
                    }
                }
                None => to.fill(0.0),
            }
        }
    }
}

/// A product of slices, with the lengths checked.
struct Multiply<'a> {
    a: &'a [f32],
    a_strides: [usize; 2],
    b: &'a [f32],
    c: &'a mut [f32],
    /// m, n, k
    size: [usize; 3],
    accumulate: bool,
}

impl Kernel for Multiply<'_> {
    type Output = ();

    #[inline(always)]
    fn with<S: Simd>(self, simd: S) {
        let [m, n, k] = self.size;
        let [a_row, a_step] = self.a_strides;
        if m == 0 || n == 0 {
            return;
        }
        assert!(k > 0 && self.a.len() > (m - 1) * a_row + (k - 1) * a_step);
        assert!(self.b.len() >= k * n && self.c.len() >= m * n);
        // SAFETY: lengths are asserted, C is borrowed for writing and so overlaps nothing.
        unsafe {
            product(
                simd,
                Product {
                    a: self.a.as_ptr(),
                    a_row,
                    a_step,
                    b: self.b.as_ptr(),
                    b_row: n,
                    c: self.c.as_mut_ptr(),
                    c_row: n,
                    m,
                    n,
                    k,
                    accumulate: self.accumulate,
                },
            );
        }
    }
}

/// The convolution: `[batch, output height, output width, out_channels]`.
pub(crate) fn convolve(shape: &Shape, x: &[f32], weight: &[f32], addends: Addends<'_>) -> Buffer {
    let (out, window) = (shape.out_channels, shape.window());
    let weight = arrange(weight, shape, true);
    let pixels = shape.batch * shape.output_pixels();
    let fill = |y: &mut [f32]| {
        y.par_chunks_mut(PIXELS * out)
            .with_min_len((1 << 20) / (PIXELS * out * window) + 1)
            .enumerate()
            .for_each(|(block, y)| {
                let first = block * PIXELS;
                let count = y.len() / out;
                let multiply = |a: &[f32], y: &mut [f32]| {
                    run(Multiply {
                        a,
                        a_strides: [window, 1],
                        b: &weight,
                        c: y,
                        size: [count, out, window],
                        accumulate: false,
                    });
                };
                if shape.is_pixelwise() {
                    multiply(&x[first * window..], y);
                } else {
                    with_scratch(count * window, |columns| {
                        unroll(shape, x, first, columns);
                        multiply(columns, y);
                    });
                }
                add(shape, addends, first, y);
            });
    };
    filled(pixels * out, fill)
}

/// [`convolve`] for few output channels: each pixel times all taps, then the taps added where they
/// belong.
pub(crate) fn convolve_narrow(
    shape: &Shape,
    x: &[f32],
    weight: &[f32],
    addends: Addends<'_>,
) -> Buffer {
    let (out, channels) = (shape.out_channels, shape.channels);
    let [height, width] = shape.output();
    let pixels = shape.output_pixels();
    // [in, tap, out]
    let mut by_channel = Buffer::new(weight.len());
    for o in 0..out {
        for i in 0..channels {
            for tap in 0..9 {
                by_channel[(i * 9 + tap) * out + o] = weight[(o * channels + i) * 9 + tap];
            }
        }
    }
    filled(shape.batch * pixels * out, |y| {
        y.par_chunks_mut(pixels * out)
            .zip(x.par_chunks(pixels * channels))
            .enumerate()
            .for_each(|(image, (y, x))| {
                with_scratch(pixels * 9 * out, |taps| {
                    run(Multiply {
                        a: x,
                        a_strides: [channels, 1],
                        b: &by_channel,
                        c: taps,
                        size: [pixels, 9 * out, channels],
                        accumulate: false,
                    });
                    y.fill(0.0);
                    for tap in 0..9 {
                        let (r, s) = (tap / 3, tap % 3);
                        for row in (1 - r.min(1))..height.min(height + 1 - r) {
                            let from = (row + r - 1) * width;
                            for col in (1 - s.min(1))..width.min(width + 1 - s) {
                                let from = ((from + col + s - 1) * 9 + tap) * out;
                                let to = (row * width + col) * out;
                                for o in 0..out {
                                    y[to + o] += taps[from + o];
                                }
                            }
                        }
                    }
                });
                add(shape, addends, image * pixels, y);
            });
    })
}

/// Weights `[out, in, 3, 3]` as `[in, out, 3, 3]`, flipped.
fn swap_weights(weight: &[f32], [out, in_]: [usize; 2]) -> Buffer {
    let mut swapped = Buffer::new(weight.len());
    for o in 0..out {
        for i in 0..in_ {
            for tap in 0..9 {
                swapped[(i * out + o) * 9 + 8 - tap] = weight[(o * in_ + i) * 9 + tap];
            }
        }
    }
    swapped
}

/// [`input_gradient`] for few output channels: the convolution with the weights swapped.
pub(crate) fn input_gradient_narrow(shape: &Shape, dy: &[f32], weight: &[f32]) -> Buffer {
    let weight = swap_weights(weight, [shape.out_channels, shape.channels]);
    let none = Addends {
        channels: &[],
        residual: &[],
    };
    convolve(&shape.swapped(), dy, &weight, none)
}

/// [`weight_gradient`] for few output channels: that of the swapped convolution.
pub(crate) fn weight_gradient_narrow(shape: &Shape, x: &[f32], dy: &[f32]) -> (Buffer, Buffer) {
    let out = shape.out_channels;
    let (swapped, _) = weight_gradient(&shape.swapped(), dy, x);
    let dw = swap_weights(&swapped, [shape.channels, out]);
    let mut per_example = Buffer::zeros(shape.batch * out);
    sum_pixels(dy, shape.output_pixels(), out, &mut per_example);
    (dw, per_example)
}

/// The sums over the pixels of each example, in f64: they may cancel.
fn sum_pixels(dy: &[f32], pixels: usize, out: usize, per_example: &mut [f32]) {
    let mut sums = vec![0.0f64; out];
    for (to, dy) in per_example
        .chunks_exact_mut(out)
        .zip(dy.chunks_exact(pixels * out))
    {
        sums.fill(0.0);
        for dy in dy.chunks_exact(out) {
            for (sum, x) in sums.iter_mut().zip(dy) {
                *sum += f64::from(*x);
            }
        }
        for (to, sum) in to.iter_mut().zip(&sums) {
            *to = *sum as f32;
        }
    }
}

/// Adds to the outputs of the pixels from `first` on, counted through all images.
fn add(shape: &Shape, addends: Addends<'_>, first: usize, y: &mut [f32]) {
    let out = shape.out_channels;
    if !addends.channels.is_empty() {
        for (index, y) in y.chunks_exact_mut(out).enumerate() {
            let image = (first + index) / shape.output_pixels();
            let one_for_all = addends.channels.len() == out;
            let from = if one_for_all { 0 } else { image * out };
            for (y, b) in y.iter_mut().zip(&addends.channels[from..]) {
                *y += b;
            }
        }
    }
    if !addends.residual.is_empty() {
        for (y, x) in y.iter_mut().zip(&addends.residual[first * out..]) {
            *y += x;
        }
    }
}

/// The gradient of the input, `[batch, input height, input width, channels]`.
pub(crate) fn input_gradient(shape: &Shape, dy: &[f32], weight: &[f32]) -> Buffer {
    let (out, window) = (shape.out_channels, shape.window());
    let weight = arrange(weight, shape, false);
    if shape.is_pixelwise() {
        let fill = |dx: &mut [f32]| {
            dx.par_chunks_mut(PIXELS * window)
                .zip(dy.par_chunks(PIXELS * out))
                .for_each(|(dx, dy)| {
                    run(Multiply {
                        a: dy,
                        a_strides: [out, 1],
                        b: &weight,
                        size: [dy.len() / out, window, out],
                        c: dx,
                        accumulate: false,
                    });
                });
        };
        return filled(shape.input_len(), fill);
    }

    // Windows overlap within an image, not between images.
    let mut dx = Buffer::zeros(shape.input_len());
    let [_, width] = shape.output();
    dx.par_chunks_mut(shape.input_len() / shape.batch)
        .zip(dy.par_chunks(shape.output_pixels() * out))
        .for_each(|(dx, dy)| {
            with_scratch(PIXELS * window, |columns| {
                for (block, dy) in dy.chunks(PIXELS * out).enumerate() {
                    let count = dy.len() / out;
                    let columns = &mut columns[..count * window];
                    run(Multiply {
                        a: dy,
                        a_strides: [out, 1],
                        b: &weight,
                        size: [count, window, out],
                        c: columns,
                        accumulate: false,
                    });
                    for (index, window) in columns.chunks_exact(window).enumerate() {
                        let pixel = block * PIXELS + index;
                        let place = [pixel / width, pixel % width];
                        for (tap, from) in window.chunks_exact(shape.channels).enumerate() {
                            let tap = [tap / shape.kernel[1], tap % shape.kernel[1]];
                            if let Some(at) = shape.pixel(place, tap) {
                                let to = &mut dx[at * shape.channels..][..shape.channels];
                                for (to, x) in to.iter_mut().zip(from) {
                                    *to += x;
                                }
                            }
                        }
                    }
                }
            });
        });
    dx
}

/// The gradients of the weights, `[out, in, tap]`, and of what was added to each example's channels,
/// `[batch, out]`.
pub(crate) fn weight_gradient(shape: &Shape, x: &[f32], dy: &[f32]) -> (Buffer, Buffer) {
    let (out, window) = (shape.out_channels, shape.window());
    let pixels = shape.output_pixels();
    // Parts are summed at the end, in their order. Their number depends on the shape alone.
    let parts = shape.batch.min(8);
    let images = shape.batch.div_ceil(parts);
    let mut sums = Buffer::zeros(shape.batch.div_ceil(images) * out * window);
    let mut per_example = Buffer::zeros(shape.batch * out);
    let lengths = per_example.len();
    let lengths = (0..lengths)
        .step_by(images * out)
        .map(|start| (lengths - start).min(images * out))
        .collect::<Vec<_>>();
    pieces(&mut per_example, lengths)
        .into_par_iter()
        .zip(sums.par_chunks_mut(out * window))
        .enumerate()
        .for_each(|(part, (per_example, sums))| {
            let first = part * images * pixels;
            let count = per_example.len() / out * pixels;
            let dy = &dy[first * out..][..count * out];
            sum_pixels(dy, pixels, out, per_example);
            with_scratch(PIXELS * window, |columns| {
                for (block, dy) in dy.chunks(PIXELS * out).enumerate() {
                    let first = first + block * PIXELS;
                    let count = dy.len() / out;
                    let columns = if shape.is_pixelwise() {
                        &x[first * window..][..count * window]
                    } else {
                        let columns = &mut columns[..count * window];
                        unroll(shape, x, first, columns);
                        columns
                    };
                    run(Multiply {
                        a: dy,
                        a_strides: [1, out],
                        b: columns,
                        c: sums,
                        size: [out, window, count],
                        accumulate: true,
                    });
                }
            });
        });

    let taps = shape.taps();
    let mut dw = Buffer::zeros(out * window);
    for sums in sums.chunks_exact(out * window) {
        for (dw, sums) in dw.chunks_exact_mut(window).zip(sums.chunks_exact(window)) {
            for tap in 0..taps {
                for i in 0..shape.channels {
                    dw[i * taps + tap] += sums[tap * shape.channels + i];
                }
            }
        }
    }
    (dw, per_example)
}
