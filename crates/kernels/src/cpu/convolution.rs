//! 2D convolution over host tensors: forward and gradients, each by the faster algorithm.

use burn::backend::tensor::FloatTensor;

use crate::cpu::columns::{self, Shape};
use crate::cpu::host::{Host, Numbers, from_channels_last, small_tensor, tensor};
use crate::cpu::weights::kept_transform;
use crate::cpu::winograd::{self, Addends, CHANNELS, Direction, Images};
use crate::images::{Added, ParameterGradients};

/// Tiles for which the transform of the weights counts for much.
const FEW_TILES: usize = 1024;

/// Whether Winograd's algorithm covers the shape.
fn is_winograd(shape: &Shape) -> bool {
    shape.is_same_3x3()
        && shape.channels.is_multiple_of(CHANNELS)
        && shape.out_channels.is_multiple_of(CHANNELS)
}

/// The images that a shape convolves.
fn inputs<'a>(shape: &Shape, values: &'a [f32]) -> Images<'a> {
    let [height, width] = shape.convolved();
    Images {
        values,
        batch: shape.batch,
        height,
        width,
        channels: shape.channels,
        upsampled: shape.upsampled,
    }
}

/// The convolution, plus what is added.
///
/// `is_training` says that the weights will change before the next call.
pub(crate) fn forward<B: Host>(
    x: &Numbers<B>,
    weight: &Numbers<B>,
    added: Added<B>,
    shape: &Shape,
    is_training: bool,
    device: &B::Device,
) -> FloatTensor<B> {
    let output @ [_, out, ..] = shape.output_dims();
    let bias = added.bias.map(Numbers::<B>::plain);
    let per_example = added.per_example.map(Numbers::<B>::plain);
    let residual = added.residual.map(Numbers::<B>::channels_last);
    let channels = match (&bias, &per_example) {
        (None, None) => Vec::new(),
        (Some(bias), None) => bias.get().to_vec(),
        (None, Some(per_example)) => per_example.get().to_vec(),
        (Some(bias), Some(per_example)) => per_example
            .get()
            .chunks_exact(shape.out_channels)
            .flat_map(|row| row.iter().zip(bias.get()).map(|(x, b)| x + b))
            .collect(),
    };
    let addends = Addends {
        channels: &channels,
        residual: residual.as_ref().map_or(&[], |residual| residual.get()),
    };

    let y = if is_winograd(shape) {
        let (images, lengths) = (inputs(shape, x.get()), [out, shape.channels]);
        if is_training || images.tiles() > FEW_TILES {
            let weights = winograd::transform_weights(weight.get(), lengths, Direction::Forward);
            winograd::convolve(images, &weights, out, addends, false)
        } else {
            let weights = kept_transform(weight, lengths);
            winograd::convolve(images, &weights, out, addends, false)
        }
    } else if shape.is_narrow() {
        columns::convolve_narrow(shape, x.get(), weight.get(), addends)
    } else {
        columns::convolve(shape, x.get(), weight.get(), addends)
    };
    from_channels_last::<B>(y, output, device)
}

/// ∂L/∂x from ∂L/∂y.
pub(crate) fn input_gradient<B: Host>(
    dy: &Numbers<B>,
    weight: &Numbers<B>,
    shape: &Shape,
    device: &B::Device,
) -> FloatTensor<B> {
    let dx = if is_winograd(shape) {
        let weights = winograd::transform_weights(
            weight.get(),
            [shape.out_channels, shape.channels],
            Direction::Backward,
        );
        let [height, width] = shape.convolved();
        let images = Images {
            values: dy.get(),
            batch: shape.batch,
            height,
            width,
            channels: shape.out_channels,
            upsampled: false,
        };
        let none = Addends {
            channels: &[],
            residual: &[],
        };
        winograd::convolve(images, &weights, shape.channels, none, shape.upsampled)
    } else if shape.is_narrow() {
        columns::input_gradient_narrow(shape, dy.get(), weight.get())
    } else {
        columns::input_gradient(shape, dy.get(), weight.get())
    };
    let [height, width] = shape.input;
    from_channels_last::<B>(dx, [shape.batch, shape.channels, height, width], device)
}

/// ∂L/∂W, ∂L/∂b and, if there is one, the gradient of `per_example` from x and ∂L/∂y.
pub(crate) fn parameter_gradients<B: Host>(
    x: &Numbers<B>,
    dy: &Numbers<B>,
    shape: &Shape,
    has_per_example: bool,
    device: &B::Device,
) -> ParameterGradients<B> {
    let (dw, per_example) = if is_winograd(shape) {
        winograd::weight_gradient(inputs(shape, x.get()), dy.get(), shape.out_channels)
    } else if shape.is_narrow() {
        columns::weight_gradient_narrow(shape, x.get(), dy.get())
    } else {
        columns::weight_gradient(shape, x.get(), dy.get())
    };
    let (out, [rows, columns]) = (shape.out_channels, shape.kernel);
    let mut bias = vec![0.0f64; out];
    for row in per_example.chunks_exact(out) {
        for (sum, x) in bias.iter_mut().zip(row) {
            *sum += f64::from(*x);
        }
    }
    ParameterGradients {
        weight: tensor::<B>(dw, [out, shape.channels, rows, columns], device),
        bias: small_tensor::<B>(bias.into_iter().map(|x| x as f32).collect(), [out], device),
        per_example: has_per_example.then(|| tensor::<B>(per_example, [shape.batch, out], device)),
    }
}
