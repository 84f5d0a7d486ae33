//! The operations of a network: on CPUs, GPUs and workers the kernels of this crate, elsewhere those of burn.
//!
//! Images may be f16 or bf16, and what is made of them is of the same type; parameters are f32, and so are sums over
//! many numbers and softmax (Micikevicius et al. 2018, "Mixed Precision Training"). On CPUs half precision is for
//! tests: it is burn's, and slower than f32.

use burn::backend::Dispatch;
use burn::tensor::activation::{silu, softmax};
use burn::tensor::module::{self, interpolate};
use burn::tensor::ops::{ConvOptions, InterpolateMode, InterpolateOptions, PadMode};
use burn::tensor::{FloatDType, Tensor};

use crate::gradients::Operations;
use crate::images::{NormOptions, Window};
use crate::place::place_of;

/// The resolution of a 3×3 convolution's output beside that of its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sampling {
    /// The same.
    Same,
    /// Half: every second window, rounded up for odd lengths.
    Down,
    /// Half, with the pixel of padding below and on the right only, as Ho et al. 2020's code has it:
    /// rounded down for odd lengths, which must be 2 at least.
    DownBelowRight,
    /// Twice: the input is first doubled by nearest neighbour.
    Up,
}

/// What is added to the output of a convolution, in the pass that writes it.
#[derive(Clone, Debug, Default)]
pub struct Plus {
    /// `[out_channels]`: the bias.
    pub bias: Option<Tensor<1>>,
    /// `[batch, out_channels]`: a number an example and channel, such as a time embedding.
    pub per_example: Option<Tensor<2>>,
    /// `[batch, out_channels, height, width]` of the output: a residual connection.
    pub residual: Option<Tensor<4>>,
}

/// A 3×3 convolution, padded by one pixel on every side unless `sampling` says otherwise.
///
/// - `x`: `[batch, in_channels, height, width]`
/// - `weight`: `[out_channels, in_channels, 3, 3]`
/// - output: `[batch, out_channels, ..]`, at the resolution that `sampling` says
///
/// # Panics
///
/// If the shapes do not fit each other, or an image is smaller than a window.
#[must_use]
pub fn conv2d_3x3(x: Tensor<4>, weight: Tensor<4>, plus: Plus, sampling: Sampling) -> Tensor<4> {
    let window = Window {
        kernel: [3, 3],
        stride: match sampling {
            Sampling::Same | Sampling::Up => 1,
            Sampling::Down | Sampling::DownBelowRight => 2,
        },
        padding: match sampling {
            Sampling::DownBelowRight => [[0, 1]; 2],
            Sampling::Same | Sampling::Down | Sampling::Up => [[1, 1]; 2],
        },
        upsampled: sampling == Sampling::Up,
    };
    convolve(x, weight, plus, window)
}

/// A 1×1 convolution: a linear map of the channels of each pixel.
///
/// - `x`: `[batch, in_channels, height, width]`
/// - `weight`: `[out_channels, in_channels, 1, 1]`
/// - output: `[batch, out_channels, height, width]`
///
/// # Panics
///
/// If the shapes do not fit each other.
#[must_use]
pub fn conv2d_1x1(x: Tensor<4>, weight: Tensor<4>, plus: Plus) -> Tensor<4> {
    let window = Window {
        kernel: [1, 1],
        stride: 1,
        padding: [[0, 0]; 2],
        upsampled: false,
    };
    convolve(x, weight, plus, window)
}

/// A convolution of stride 1 with a kernel of any height and width.
///
/// - `x`: `[batch, in_channels, height, width]`
/// - `weight`: `[out_channels, in_channels, kernel height, kernel width]`
/// - `padding`: rows of zeros above and below, and columns of them on the left and on the right
/// - output: `[batch, out_channels, height + 2 padding - kernel height + 1, ..]`
///
/// # Panics
///
/// If the shapes do not fit each other, or a padded image is smaller than the kernel.
#[must_use]
pub fn conv2d(x: Tensor<4>, weight: Tensor<4>, plus: Plus, padding: [usize; 2]) -> Tensor<4> {
    let [.., kernel_height, kernel_width] = weight.dims();
    let window = Window {
        kernel: [kernel_height, kernel_width],
        stride: 1,
        padding: padding.map(|padding| [padding; 2]),
        upsampled: false,
    };
    convolve(x, weight, plus, window)
}

/// GroupNorm: each group of channels of each example to mean 0 and variance 1, then times `gamma`
/// plus `beta`.
///
/// - `x`: `[batch, channels, height, width]`
/// - `gamma`, `beta`: `[channels]`
/// - `groups`: must divide the channels
/// - `epsilon`: is added to the variance
///
/// # Panics
///
/// If the shapes do not fit each other.
#[must_use]
pub fn group_norm(
    x: Tensor<4>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    groups: usize,
    epsilon: f64,
) -> Tensor<4> {
    let options = NormOptions {
        groups,
        epsilon,
        silu: false,
    };
    normalise(x, gamma, beta, None, options)
}

/// [`group_norm`], then, where given, times (1 + scale) plus shift, then SiLU.
///
/// `scale_shift`: `[batch, 2 channels]`, the scales of an example before its shifts.
///
/// # Panics
///
/// If the shapes do not fit each other.
#[must_use]
pub fn group_norm_silu(
    x: Tensor<4>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    scale_shift: Option<Tensor<2>>,
    groups: usize,
    epsilon: f64,
) -> Tensor<4> {
    let options = NormOptions {
        groups,
        epsilon,
        silu: true,
    };
    normalise(x, gamma, beta, scale_shift, options)
}

/// The channels of both side by side: `[batch, channels of first + channels of second, ..]`.
///
/// # Panics
///
/// If batch, height or width differ.
#[must_use]
pub fn concat_channels(first: Tensor<4>, second: Tensor<4>) -> Tensor<4> {
    let ([batch, a, height, width], [batch_2, b, height_2, width_2]) =
        (first.dims(), second.dims());
    assert!(
        [batch, height, width] == [batch_2, height_2, width_2],
        "channels of {:?} beside {:?}",
        first.dims(),
        second.dims()
    );
    if place_of(&first).is_some() && batch * a * b * height * width > 0 {
        return Tensor::from_dispatch(Dispatch::concatenation(
            first.into_dispatch(),
            second.into_dispatch(),
        ));
    }
    Tensor::cat(vec![first, second], 1)
}

/// Scaled dot-product attention between the pixels of each image, softmax(q kᵀ / √d) v.
///
/// - `q`, `k`, `v`: `[batch, channels, height, width]`
/// - `heads`: must divide the channels; each has d of them, side by side
/// - output: of the same shape
///
/// # Panics
///
/// If the shapes differ, or `heads` does not divide the channels.
#[must_use]
pub fn attention(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, heads: usize) -> Tensor<4> {
    let dims = q.dims();
    let [batch, channels, height, width] = dims;
    assert!(
        k.dims() == dims && v.dims() == dims,
        "q of {dims:?}, k of {:?} and v of {:?}",
        k.dims(),
        v.dims()
    );
    assert!(
        heads > 0 && channels % heads == 0,
        "{heads} heads do not divide {channels} channels"
    );
    if place_of(&q).is_some() && dims.iter().product::<usize>() > 0 {
        return Tensor::from_dispatch(Dispatch::pixel_attention(
            q.into_dispatch(),
            k.into_dispatch(),
            v.into_dispatch(),
            heads,
        ));
    }
    // [batch, heads, pixels, d]
    let (pixels, head) = (height * width, channels / heads);
    let split = |x: Tensor<4>| x.reshape([batch, heads, head, pixels]).swap_dims(2, 3);
    // The queries are scaled rather than the scores, which are the larger tensor.
    let scores = (split(q) * (head as f64).powf(-0.5)).matmul(split(k).transpose());
    let dtype = v.dtype();
    softmax(scores.cast(summed_in(dtype.into())), 3)
        .cast(dtype)
        .matmul(split(v))
        .swap_dims(2, 3)
        .reshape(dims)
}

/// A linear layer over the channels of each pixel.
#[derive(Clone, Debug)]
pub struct PixelLinear {
    /// `[inputs, outputs]`, as burn's `Linear` has it.
    pub weight: Tensor<2>,
    /// `[outputs]`
    pub bias: Option<Tensor<1>>,
}

/// A linear layer over the channels of each pixel, plus a residual connection.
///
/// - `x`: `[batch, inputs, height, width]`
/// - `residual`: `[batch, outputs, height, width]`
/// - output: `[batch, outputs, height, width]`
///
/// # Panics
///
/// If the shapes do not fit each other.
#[must_use]
pub fn pixel_linear(x: Tensor<4>, layer: PixelLinear, residual: Option<Tensor<4>>) -> Tensor<4> {
    let [inputs, outputs] = layer.weight.dims();
    let weight = layer.weight.transpose().reshape([outputs, inputs, 1, 1]);
    let plus = Plus {
        bias: layer.bias,
        residual,
        ..Plus::default()
    };
    conv2d_1x1(x, weight, plus)
}

/// [`attention`] between the pixels of one image, whose q, k and v are linear layers of it. On GPUs, in f32 and with
/// biases, those are one product, and so are their gradients.
///
/// - `x`: `[batch, channels, height, width]`
/// - `projections`: of q, k and v, each with as many outputs as inputs
/// - `heads`: must divide the channels
/// - output: `[batch, channels, height, width]`
///
/// # Panics
///
/// If the shapes do not fit each other, or `heads` does not divide the channels.
#[must_use]
pub fn self_attention(x: Tensor<4>, projections: [PixelLinear; 3], heads: usize) -> Tensor<4> {
    #[cfg(feature = "gpu")]
    if let [
        PixelLinear {
            weight: weight_q,
            bias: Some(bias_q),
        },
        PixelLinear {
            weight: weight_k,
            bias: Some(bias_k),
        },
        PixelLinear {
            weight: weight_v,
            bias: Some(bias_v),
        },
    ] = &projections
        && x.dtype() == burn::tensor::DType::F32
        && crate::place::on_gpu(&x)
        && x.dims().iter().product::<usize>() > 0
    {
        let [_, channels, ..] = x.dims();
        assert!(
            heads > 0 && channels % heads == 0,
            "{heads} heads do not divide {channels} channels"
        );
        for PixelLinear { weight, bias } in &projections {
            let dims = bias.as_ref().map(Tensor::dims);
            assert!(
                weight.dims() == [channels; 2] && dims == Some([channels]),
                "a weight of {:?} and a bias of {dims:?} for {channels} channels",
                weight.dims()
            );
        }
        return Tensor::from_dispatch(<Dispatch as crate::gpu::SelfAttention>::self_attention(
            x.into_dispatch(),
            weight_q.clone().into_dispatch(),
            bias_q.clone().into_dispatch(),
            weight_k.clone().into_dispatch(),
            bias_k.clone().into_dispatch(),
            weight_v.clone().into_dispatch(),
            bias_v.clone().into_dispatch(),
            heads,
        ));
    }
    let [q, k, v] = projections.map(|projection| pixel_linear(x.clone(), projection, None));
    attention(q, k, v, heads)
}

/// The type of sums over many numbers of a type.
fn summed_in(dtype: FloatDType) -> FloatDType {
    match dtype {
        FloatDType::F16 | FloatDType::BF16 => FloatDType::F32,
        other => other,
    }
}

fn convolve(x: Tensor<4>, weight: Tensor<4>, plus: Plus, window: Window) -> Tensor<4> {
    let [batch, channels, height, width] = x.dims();
    let [[above, below], [left, right]] = window.padding;
    let shape = window.shape(x.dims(), weight.dims());
    let output @ [_, out, ..] = shape.output_dims();
    if let Some(bias) = &plus.bias {
        assert!(bias.dims() == [out], "a bias of {:?}", bias.dims());
    }
    if let Some(per_example) = &plus.per_example {
        let dims = per_example.dims();
        assert!(dims == [batch, out], "per_example of {dims:?}");
    }
    if let Some(residual) = &plus.residual {
        assert!(
            residual.dims() == output,
            "a residual of {:?}",
            residual.dims()
        );
    }

    // Parameters are f32, whatever the images are.
    let dtype = x.dtype();
    let weight = weight.cast(dtype);
    let plus = Plus {
        bias: plus.bias.map(|bias| bias.cast(dtype)),
        per_example: plus.per_example.map(|added| added.cast(dtype)),
        residual: plus.residual,
    };
    if place_of(&x).is_some() && batch * channels * height * width > 0 {
        let none = || Tensor::<1>::empty([0], &x.device()).into_dispatch();
        let bias = plus.bias.map_or_else(none, Tensor::into_dispatch);
        let per_example = plus.per_example.map_or_else(none, Tensor::into_dispatch);
        let residual = plus.residual.map_or_else(none, Tensor::into_dispatch);
        return Tensor::from_dispatch(Dispatch::convolution(
            x.into_dispatch(),
            weight.into_dispatch(),
            bias,
            per_example,
            residual,
            window,
        ));
    }

    let x = if window.upsampled {
        let nearest = InterpolateOptions::new(InterpolateMode::Nearest)
            .with_output_size([2 * height, 2 * width]);
        interpolate(x, nearest)
    } else {
        x
    };
    // burn's convolution pads both sides alike.
    let (x, padding) = if above == below && left == right {
        (x, [above, left])
    } else {
        let zeros = PadMode::Constant(0.0);
        (x.pad([(above, below), (left, right)], zeros), [0, 0])
    };
    let options = ConvOptions::new([window.stride; 2], padding, [1, 1], 1);
    let mut y = module::conv2d(x, weight, plus.bias, options);
    if let Some(per_example) = plus.per_example {
        y = y + per_example.reshape([batch, out, 1, 1]);
    }
    if let Some(residual) = plus.residual {
        y = residual + y;
    }
    y
}

fn normalise(
    x: Tensor<4>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    scale_shift: Option<Tensor<2>>,
    options: NormOptions,
) -> Tensor<4> {
    let [batch, channels, height, width] = x.dims();
    assert!(
        options.groups > 0 && channels % options.groups == 0,
        "{} groups do not divide {channels} channels",
        options.groups
    );
    assert!(
        gamma.dims() == [channels] && beta.dims() == [channels],
        "gamma of {:?} and beta of {:?} for {channels} channels",
        gamma.dims(),
        beta.dims()
    );
    if let Some(scale_shift) = &scale_shift {
        let dims = scale_shift.dims();
        assert!(
            dims == [batch, 2 * channels],
            "scale_shift of {dims:?} for {batch} examples of {channels} channels"
        );
    }

    if place_of(&x).is_some() && batch * channels * height * width > 0 {
        let none = || Tensor::<1>::empty([0], &x.device()).into_dispatch();
        let scale_shift = scale_shift.map_or_else(none, Tensor::into_dispatch);
        return Tensor::from_dispatch(Dispatch::normalisation(
            x.into_dispatch(),
            gamma.into_dispatch(),
            beta.into_dispatch(),
            scale_shift,
            options,
        ));
    }

    let dtype = FloatDType::from(x.dtype());
    if summed_in(dtype) != dtype {
        let x = x.cast(summed_in(dtype));
        return normalise(x, gamma, beta, scale_shift, options).cast(dtype);
    }

    let [per_channel, per_group] = [
        [1, channels, 1, 1],
        [
            batch,
            options.groups,
            channels / options.groups,
            height * width,
        ],
    ];
    let grouped = x.reshape(per_group);
    let centred = grouped.clone() - grouped.mean_dim(2).mean_dim(3);
    let variance = centred.clone().square().mean_dim(2).mean_dim(3);
    let normal =
        (centred / (variance + options.epsilon).sqrt()).reshape([batch, channels, height, width]);
    let mut z = normal * gamma.reshape(per_channel) + beta.reshape(per_channel);
    if let Some(scale_shift) = scale_shift {
        let part = |start| {
            scale_shift
                .clone()
                .narrow(1, start, channels)
                .reshape([batch, channels, 1, 1])
        };
        z = z * (part(0) + 1.0) + part(channels);
    }
    if options.silu { silu(z) } else { z }
}
