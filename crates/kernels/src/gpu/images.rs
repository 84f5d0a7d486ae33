//! The kernels of images on CubeCL's backends.

use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::FloatTensor;
use burn_cubecl::CubeBackend;

use super::{attention, concat, convolution, group_norm};
use crate::cpu::host::dims4;
use crate::images::{
    Added, Attended, Convolved, ImageKernels, NormGradients, NormOptions, Normalised,
    ParameterGradients, Window, assert_shape, check_attention, check_join, check_norm, check_part,
};

type Float = FloatTensor<CubeBackend>;

impl ImageKernels for CubeBackend {
    fn convolve(
        x: Float,
        weight: Float,
        added: Added<Self>,
        window: Window,
        _is_training: bool,
    ) -> (Float, Convolved<Self>) {
        let shape = window.shape(dims4::<Self>(&x), dims4::<Self>(&weight));
        added.check(&shape);
        convolution::forward(x, weight, added, window)
    }

    fn parameter_gradients(of: &Convolved<Self>, dy: Float) -> ParameterGradients<Self> {
        check(of, &dy);
        convolution::parameter_gradients(of, dy)
    }

    fn input_gradient(of: &Convolved<Self>, dy: Float) -> Float {
        check(of, &dy);
        convolution::input_gradient(of, dy)
    }

    fn normalise(
        x: Float,
        gamma: Float,
        beta: Float,
        scale_shift: Option<Float>,
        options: NormOptions,
    ) -> (Float, Normalised<Self>) {
        check_norm::<Self>(&x, [&gamma, &beta], scale_shift.as_ref(), options.groups);
        group_norm::forward(x, gamma, beta, scale_shift, options)
    }

    fn norm_gradients(
        of: &Normalised<Self>,
        dy: Float,
        so_far: Option<Float>,
    ) -> NormGradients<Self> {
        of.check(&dy, so_far.as_ref());
        group_norm::backward(of, dy, so_far)
    }

    fn attend(inputs: [Float; 3], heads: usize) -> (Float, Attended<Self>) {
        check_attention::<Self>(&inputs, heads);
        attention::forward(inputs, heads)
    }

    fn attention_gradients(of: &Attended<Self>, gradient: Float) -> [Float; 3] {
        let [batch, _, height, width] = dims4::<Self>(&gradient);
        let pixels = height * width;
        of.check(&[batch, of.heads, pixels, pixels], &gradient);
        attention::backward(of, gradient)
    }

    fn join_channels(first: Float, second: Float) -> Float {
        check_join::<Self>(&first, &second);
        concat::join(first, second)
    }

    fn part_channels(joined: Float, first: usize) -> [Float; 2] {
        check_part::<Self>(&joined, first);
        concat::part(joined, first)
    }

    fn sum(a: Float, b: Float) -> Float {
        assert_shape::<Self>("a gradient", &b, a.meta.shape().as_slice());
        Self::float_add(a, b)
    }
}

/// Panics unless what a convolution kept fits itself and the gradient of its result. An x that was doubled is kept so.
fn check(of: &Convolved<CubeBackend>, dy: &Float) {
    let mut x = dims4::<CubeBackend>(&of.x);
    if of.window.upsampled {
        for length in &mut x[2..] {
            assert!(*length % 2 == 0, "{length} pixels, which were doubled");
            *length /= 2;
        }
    }
    let shape = of.window.shape(x, dims4::<CubeBackend>(&of.weight));
    assert_shape::<CubeBackend>("a gradient", dy, &shape.output_dims());
}
