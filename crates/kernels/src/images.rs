//! What a backend computes of images, forward and backward.
//!
//! Each backend with kernels of its own has them by this trait: CPUs (`cpu::images`), GPUs (`gpu::images`) and
//! devices of other machines (`remote`). `gradients` makes operations for burn's autodiff of it.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, TensorMetadata};

use crate::cpu::columns::Shape;
use crate::cpu::host::dims4;

/// The convolution that a caller asks for; its lengths come from the tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    /// Height and width of the kernel.
    pub(crate) kernel: [usize; 2],
    /// Pixels from one window to the next.
    pub(crate) stride: usize,
    /// Pixels of padding above and below, and on the left and on the right.
    pub(crate) padding: [[usize; 2]; 2],
    /// Whether the image is first doubled by nearest neighbour.
    pub(crate) upsampled: bool,
}

impl Window {
    /// The shape of a convolution of `x` `[batch, in, height, width]` by `weight` `[out, in, k, k]`.
    ///
    /// # Panics
    ///
    /// If they do not fit each other or the window, or an image, if it has pixels, is smaller than that.
    pub(crate) fn shape(self, x: [usize; 4], weight: [usize; 4]) -> Shape {
        let ([batch, channels, height, width], [out, ..]) = (x, weight);
        let [rows, columns] = self.kernel;
        assert!(
            weight == [out, channels, rows, columns],
            "a weight of {weight:?} does not fit an input of {x:?} and windows of {rows}×{columns}"
        );
        let shape = Shape {
            batch,
            input: [height, width],
            channels,
            out_channels: out,
            kernel: self.kernel,
            stride: self.stride,
            padding: self.padding,
            upsampled: self.upsampled,
        };
        let convolved = shape.convolved();
        let is_covered = (0..2).all(|axis| {
            let [before, after] = self.padding[axis];
            let padding = before.checked_add(after);
            let padded = padding.and_then(|padding| padding.checked_add(convolved[axis]));
            padded.is_some_and(|padded| padded >= self.kernel[axis])
        });
        assert!(
            is_covered || height * width == 0,
            "an image of {height}×{width} pixels is smaller than a window: {self:?}"
        );
        assert!(self.stride > 0, "windows that stand still");
        shape
    }
}

/// What is added to a convolution.
#[derive(Clone, Debug)]
pub(crate) struct Added<B: Backend> {
    /// `[out]`
    pub(crate) bias: Option<FloatTensor<B>>,
    /// `[batch, out]`
    pub(crate) per_example: Option<FloatTensor<B>>,
    /// Of the shape of the output.
    pub(crate) residual: Option<FloatTensor<B>>,
}

impl<B: Backend> Added<B> {
    /// Panics unless it can be added to a convolution.
    pub(crate) fn check(&self, shape: &Shape) {
        let output @ [batch, out, ..] = shape.output_dims();
        for (what, x, dims) in [
            ("a bias", &self.bias, &[out][..]),
            ("per_example", &self.per_example, &[batch, out]),
            ("a residual", &self.residual, &output),
        ] {
            if let Some(x) = x {
                assert_shape::<B>(what, x, dims);
            }
        }
    }
}

/// What the gradient of a convolution needs.
#[derive(Clone, Debug)]
pub(crate) struct Convolved<B: Backend> {
    /// What was convolved, as the backend keeps it.
    pub(crate) x: FloatTensor<B>,
    /// `[out, in, kernel height, kernel width]`
    pub(crate) weight: FloatTensor<B>,
    pub(crate) window: Window,
    /// Whether something was added to each example.
    pub(crate) has_per_example: bool,
}

/// The gradients of the parameters of a convolution, and of what is added a channel.
#[derive(Debug)]
pub(crate) struct ParameterGradients<B: Backend> {
    /// `[out, in, kernel height, kernel width]`
    pub(crate) weight: FloatTensor<B>,
    /// `[out]`
    pub(crate) bias: FloatTensor<B>,
    /// `[batch, out]`, as given.
    pub(crate) per_example: Option<FloatTensor<B>>,
}

/// The choices of a normalisation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct NormOptions {
    /// Groups of channels.
    pub(crate) groups: usize,
    /// Added to the variance.
    pub(crate) epsilon: f64,
    /// Whether SiLU follows.
    pub(crate) silu: bool,
}

/// What the gradient of a normalisation needs.
#[derive(Clone, Debug)]
pub(crate) struct Normalised<B: Backend> {
    /// `[batch, channels, height, width]`
    pub(crate) x: FloatTensor<B>,
    /// μ and 1/σ of each group: `[batch, groups, 2]`
    pub(crate) moments: FloatTensor<B>,
    /// `[channels]`
    pub(crate) gamma: FloatTensor<B>,
    /// `[channels]`
    pub(crate) beta: FloatTensor<B>,
    /// `[batch, 2 channels]`
    pub(crate) scale_shift: Option<FloatTensor<B>>,
    pub(crate) options: NormOptions,
}

/// The gradients of a normalisation, of the shapes of what they are of.
#[derive(Debug)]
pub(crate) struct NormGradients<B: Backend> {
    pub(crate) x: FloatTensor<B>,
    pub(crate) gamma: FloatTensor<B>,
    pub(crate) beta: FloatTensor<B>,
    /// As given.
    pub(crate) scale_shift: Option<FloatTensor<B>>,
}

/// What the gradient of an attention needs.
#[derive(Clone, Debug)]
pub(crate) struct Attended<B: Backend> {
    /// q, k and v: `[batch, channels, height, width]`
    pub(crate) inputs: [FloatTensor<B>; 3],
    /// The result.
    pub(crate) o: FloatTensor<B>,
    /// What gives the probabilities back, as the backend keeps it.
    pub(crate) kept: FloatTensor<B>,
    pub(crate) heads: usize,
}

/// The kernels of images: `[batch, channels, height, width]`, none of them empty, whose channels the backend keeps side
/// by side. What a pass forward returns beside its result is for the gradients of the same backend.
///
/// # Panics
///
/// Each where the shapes do not fit each other: what comes from another machine was checked by nobody.
pub(crate) trait ImageKernels: Backend {
    /// A convolution plus what is added. `is_training` says that the weights will change before the next call.
    fn convolve(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        added: Added<Self>,
        window: Window,
        is_training: bool,
    ) -> (FloatTensor<Self>, Convolved<Self>);

    /// The gradients of what a convolution has beside x and the residual.
    fn parameter_gradients(of: &Convolved<Self>, dy: FloatTensor<Self>)
    -> ParameterGradients<Self>;

    /// The gradient of the x of a convolution.
    fn input_gradient(of: &Convolved<Self>, dy: FloatTensor<Self>) -> FloatTensor<Self>;

    /// GroupNorm, scale and shift, SiLU.
    fn normalise(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        scale_shift: Option<FloatTensor<Self>>,
        options: NormOptions,
    ) -> (FloatTensor<Self>, Normalised<Self>);

    /// Its gradients, that of x plus what it is so far.
    fn norm_gradients(
        of: &Normalised<Self>,
        dy: FloatTensor<Self>,
        so_far: Option<FloatTensor<Self>>,
    ) -> NormGradients<Self>;

    /// Attention between the pixels of each image.
    fn attend(inputs: [FloatTensor<Self>; 3], heads: usize) -> (FloatTensor<Self>, Attended<Self>);

    /// The gradients of q, k and v.
    fn attention_gradients(
        of: &Attended<Self>,
        gradient: FloatTensor<Self>,
    ) -> [FloatTensor<Self>; 3];

    /// The channels of both side by side.
    fn join_channels(first: FloatTensor<Self>, second: FloatTensor<Self>) -> FloatTensor<Self>;

    /// The first channels of an image, so many, and those behind them.
    fn part_channels(joined: FloatTensor<Self>, first: usize) -> [FloatTensor<Self>; 2];

    /// The sum of two tensors of a shape, which may be no images. Images stay channels-last.
    fn sum(a: FloatTensor<Self>, b: FloatTensor<Self>) -> FloatTensor<Self>;
}

/// Panics unless a tensor has a shape.
pub(crate) fn assert_shape<B: Backend>(what: &str, x: &FloatTensor<B>, shape: &[usize]) {
    assert!(
        x.shape().as_slice() == shape,
        "{what} of {:?}, and not {shape:?}",
        x.shape().as_slice()
    );
}

/// Panics unless a normalisation makes sense.
pub(crate) fn check_norm<B: Backend>(
    x: &FloatTensor<B>,
    parameters: [&FloatTensor<B>; 2],
    scale_shift: Option<&FloatTensor<B>>,
    groups: usize,
) {
    let [batch, channels, ..] = dims4::<B>(x);
    assert!(
        groups > 0 && channels % groups == 0,
        "{groups} groups do not divide {channels} channels"
    );
    for parameter in parameters {
        assert_shape::<B>("a parameter", parameter, &[channels]);
    }
    if let Some(scale_shift) = scale_shift {
        assert_shape::<B>("scale_shift", scale_shift, &[batch, 2 * channels]);
    }
}

/// Panics unless an attention makes sense.
pub(crate) fn check_attention<B: Backend>(inputs: &[FloatTensor<B>; 3], heads: usize) {
    let dims @ [_, channels, ..] = dims4::<B>(&inputs[0]);
    assert!(
        heads > 0 && channels % heads == 0,
        "{heads} heads do not divide {channels} channels"
    );
    for input in inputs {
        assert_shape::<B>("q, k or v", input, &dims);
    }
}

/// Panics unless images can lie beside each other.
pub(crate) fn check_join<B: Backend>(first: &FloatTensor<B>, second: &FloatTensor<B>) {
    let ([batch, _, height, width], [_, channels, ..]) = (dims4::<B>(first), dims4::<B>(second));
    assert_shape::<B>("channels", second, &[batch, channels, height, width]);
}

/// Panics unless an image has more channels than so many, and those.
pub(crate) fn check_part<B: Backend>(joined: &FloatTensor<B>, first: usize) {
    let [_, channels, ..] = dims4::<B>(joined);
    assert!(
        (1..channels).contains(&first),
        "the first {first} of {channels} channels"
    );
}

impl<B: Backend> Normalised<B> {
    /// Panics unless it fits itself, the gradient of its result and what the gradient of x is so far.
    pub(crate) fn check(&self, dy: &FloatTensor<B>, so_far: Option<&FloatTensor<B>>) {
        let (groups, dims) = (self.options.groups, dims4::<B>(&self.x));
        let parameters = [&self.gamma, &self.beta];
        check_norm::<B>(&self.x, parameters, self.scale_shift.as_ref(), groups);
        assert_shape::<B>("moments", &self.moments, &[dims[0], groups, 2]);
        for gradient in so_far.into_iter().chain([dy]) {
            assert_shape::<B>("a gradient", gradient, &dims);
        }
    }
}

impl<B: Backend> Attended<B> {
    /// Panics unless it fits itself, what is kept, of this shape, and the gradient of its result.
    pub(crate) fn check(&self, kept: &[usize], gradient: &FloatTensor<B>) {
        let dims = dims4::<B>(&self.inputs[0]);
        check_attention::<B>(&self.inputs, self.heads);
        assert_shape::<B>("a result", &self.o, &dims);
        assert_shape::<B>("what is kept", &self.kept, kept);
        assert_shape::<B>("a gradient", gradient, &dims);
    }
}
