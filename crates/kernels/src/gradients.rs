//! The operations as burn's backends see them, with their gradients for autodiff.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, TensorMetadata, backend_extension};

use crate::accumulate;
use crate::cpu::attention::{self, Heads};
use crate::cpu::columns::Shape;
use crate::cpu::concat;
use crate::cpu::convolution::{self, Added, Window};
use crate::cpu::group_norm::{self, Affine, Norm};
use crate::cpu::host::{Host, Numbers, dims4, from_channels_last, small_tensor, tensor};

/// The choices of a normalisation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NormOptions {
    /// Groups of channels.
    pub(crate) groups: usize,
    /// Added to the variance.
    pub(crate) epsilon: f64,
    /// Whether SiLU follows.
    pub(crate) silu: bool,
}

impl NormOptions {
    fn of<B: Backend>(self, x: &FloatTensor<B>) -> Norm {
        let [batch, channels, height, width] = dims4::<B>(x);
        Norm {
            batch,
            channels,
            pixels: height * width,
            groups: self.groups,
            epsilon: self.epsilon,
            silu: self.silu,
        }
    }
}

/// The operations. An input that is left out is a tensor without elements, for the macro knows no
/// optional ones.
#[backend_extension(
    Flex: cfg(feature = "flex"),
    NdArray: cfg(feature = "ndarray"),
    Cube: cfg(feature = "gpu"),
    Autodiff
)]
pub(crate) trait Operations: Backend {
    /// Convolution plus addends; see [`convolution::forward`].
    fn convolution(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        per_example: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        window: Window,
    ) -> FloatTensor<Self>;

    /// GroupNorm and what follows it; see [`group_norm`].
    fn normalisation(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        scale_shift: FloatTensor<Self>,
        options: NormOptions,
    ) -> FloatTensor<Self>;

    /// The channels of both side by side.
    fn concatenation(first: FloatTensor<Self>, second: FloatTensor<Self>) -> FloatTensor<Self>;

    /// Attention between pixels; see [`attention`].
    fn pixel_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        heads: usize,
    ) -> FloatTensor<Self>;
}

macro_rules! host_operations {
    ($feature:literal, $backend:ident) => {
        #[cfg(feature = $feature)]
        impl Operations for burn::backend::$backend {
            fn convolution(
                x: FloatTensor<Self>,
                weight: FloatTensor<Self>,
                bias: FloatTensor<Self>,
                per_example: FloatTensor<Self>,
                residual: FloatTensor<Self>,
                window: Window,
            ) -> FloatTensor<Self> {
                let device = x.device();
                let shape = convolution::shape_of::<Self>(&x, &weight, window);
                convolution::forward::<Self>(
                    &Numbers::channels_last(x),
                    &Numbers::plain(weight),
                    added::<Self>(bias, per_example, residual),
                    &shape,
                    false,
                    &device,
                )
            }

            fn normalisation(
                x: FloatTensor<Self>,
                gamma: FloatTensor<Self>,
                beta: FloatTensor<Self>,
                scale_shift: FloatTensor<Self>,
                options: NormOptions,
            ) -> FloatTensor<Self> {
                normalise::<Self>(x, gamma, beta, scale_shift, options).0
            }

            fn concatenation(
                first: FloatTensor<Self>,
                second: FloatTensor<Self>,
            ) -> FloatTensor<Self> {
                concatenate::<Self>(first, second)
            }

            fn pixel_attention(
                q: FloatTensor<Self>,
                k: FloatTensor<Self>,
                v: FloatTensor<Self>,
                heads: usize,
            ) -> FloatTensor<Self> {
                attend::<Self>([q, k, v], heads).0
            }
        }
    };
}

host_operations!("flex", Flex);
host_operations!("ndarray", NdArray);

/// Registers the gradient of a tensor that may be used again. A macro, for the type of a node has no
/// public name.
macro_rules! register_gradient {
    ($backend:ident, $grads:expr, $node:expr, $gradient:expr) => {{
        let (node, gradient) = ($node, $gradient);
        $crate::accumulate::register::<$backend>($grads, node.id, gradient, |grads| {
            grads.consume::<$backend>(&node)
        });
    }};
}

pub(crate) use register_gradient;

/// Takes the gradient of a result out, at the beginning of its backward pass.
pub(crate) fn take<B: Host, S, const N: usize>(
    ops: &Ops<S, N>,
    grads: &mut Gradients,
) -> FloatTensor<B> {
    accumulate::taken(ops.node.id);
    grads.consume::<B>(&ops.node)
}

/// What the gradient of a convolution needs.
#[derive(Clone, Debug)]
struct ConvolutionState<B: Host> {
    x: Numbers<B>,
    weight: Numbers<B>,
    shape: Shape,
    device: B::Device,
}

/// The gradient of a convolution. Parents: x, weight, bias, per example, residual.
#[derive(Debug)]
struct ConvolutionBackward;

impl<B: Host> Backward<B, 5> for ConvolutionBackward {
    type State = ConvolutionState<B>;

    fn backward(
        self,
        ops: Ops<Self::State, 5>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = take::<B, _, _>(&ops, grads);
        let ConvolutionState {
            x,
            weight,
            shape,
            device,
        } = ops.state;
        let [to_x, to_weight, to_bias, to_per_example, to_residual] = ops.parents;
        if let Some(node) = to_residual {
            register_gradient!(B, grads, node, gradient.clone());
        }
        let dy = Numbers::<B>::channels_last(gradient);
        if to_weight.is_some() || to_bias.is_some() || to_per_example.is_some() {
            let found = convolution::parameter_gradients::<B>(&x, &dy, &shape, &device);
            for (node, gradient) in [
                (to_weight, found.weight),
                (to_bias, found.bias),
                (to_per_example, found.per_example),
            ] {
                if let Some(node) = node {
                    grads.register::<B>(node.id, gradient);
                }
            }
        }
        if let Some(node) = to_x {
            let dx = convolution::input_gradient::<B>(&dy, &weight, &shape, &device);
            register_gradient!(B, grads, node, dx);
        }
    }
}

/// What the gradient of a normalisation needs.
#[derive(Clone, Debug)]
struct NormState<B: Host> {
    x: Numbers<B>,
    moments: Numbers<B>,
    gamma: Numbers<B>,
    beta: Numbers<B>,
    scale_shift: Option<Numbers<B>>,
    norm: Norm,
    dims: [usize; 4],
    device: B::Device,
}

impl<B: Host> NormState<B> {
    fn affine(&self) -> Affine<'_> {
        Affine {
            gamma: self.gamma.get(),
            beta: self.beta.get(),
            scale_shift: self.scale_shift.as_ref().map_or(&[], Numbers::get),
        }
    }
}

/// The normalisation, and what its gradient needs.
fn normalise<B: Host>(
    x: FloatTensor<B>,
    gamma: FloatTensor<B>,
    beta: FloatTensor<B>,
    scale_shift: FloatTensor<B>,
    options: NormOptions,
) -> (FloatTensor<B>, NormState<B>) {
    let device = x.device();
    let norm = options.of::<B>(&x);
    let dims = dims4::<B>(&x);
    let x = Numbers::channels_last(x);
    let (gamma, beta) = (Numbers::plain(gamma), Numbers::plain(beta));
    let scale_shift = given::<B>(scale_shift).map(Numbers::plain);
    let affine = Affine {
        gamma: gamma.get(),
        beta: beta.get(),
        scale_shift: scale_shift.as_ref().map_or(&[], Numbers::get),
    };
    let (y, moments) = group_norm::forward(&norm, x.get(), affine);
    let y = from_channels_last::<B>(y, dims, &device);
    let moments = tensor::<B>(moments, [norm.batch, norm.groups, 2], &device);
    let state = NormState {
        x,
        moments: Numbers::plain(moments),
        gamma,
        beta,
        scale_shift,
        norm,
        dims,
        device,
    };
    (y, state)
}

/// The gradient of a normalisation. Parents: x, γ, β, scale and shift.
#[derive(Debug)]
struct NormBackward;

impl<B: Host> Backward<B, 4> for NormBackward {
    type State = NormState<B>;

    fn backward(
        self,
        ops: Ops<Self::State, 4>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let dy = Numbers::<B>::channels_last(take::<B, _, _>(&ops, grads));
        let state = ops.state;
        let (norm, device) = (state.norm, &state.device);
        let found = group_norm::backward(
            &norm,
            state.x.get(),
            state.moments.get(),
            state.affine(),
            dy.get(),
        );
        let [to_x, to_gamma, to_beta, to_scale_shift] = ops.parents;
        if let Some(node) = to_x {
            let dx = from_channels_last::<B>(found.x, state.dims, device);
            register_gradient!(B, grads, node, dx);
        }
        if let Some(node) = to_gamma {
            grads.register::<B>(
                node.id,
                small_tensor::<B>(found.gamma, [norm.channels], device),
            );
        }
        if let Some(node) = to_beta {
            grads.register::<B>(
                node.id,
                small_tensor::<B>(found.beta, [norm.channels], device),
            );
        }
        if let Some(node) = to_scale_shift {
            let shape = [norm.batch, 2 * norm.channels];
            grads.register::<B>(node.id, small_tensor::<B>(found.scale_shift, shape, device));
        }
    }
}

/// A result whose backward pass is one of this file.
pub(crate) fn tracked<B: Host, C: CheckpointStrategy>(
    y: FloatTensor<Autodiff<B, C>>,
) -> FloatTensor<Autodiff<B, C>> {
    accumulate::expect(y.id());
    y
}

/// What is added to a convolution.
fn added<B: Host>(
    bias: FloatTensor<B>,
    per_example: FloatTensor<B>,
    residual: FloatTensor<B>,
) -> Added<B> {
    Added {
        bias: given::<B>(bias),
        per_example: given::<B>(per_example),
        residual: given::<B>(residual),
    }
}

/// An input, unless it is left out.
pub(crate) fn given<B: Backend>(input: FloatTensor<B>) -> Option<FloatTensor<B>> {
    (input.shape().num_elements() > 0).then_some(input)
}

impl<B: Host, C: CheckpointStrategy> Operations for Autodiff<B, C> {
    fn convolution(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        per_example: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        window: Window,
    ) -> FloatTensor<Self> {
        let (x, to_x) = x.into_parts();
        let device = x.device();
        let (weight, to_weight) = weight.into_parts();
        let (bias, to_bias) = bias.into_parts();
        let (per_example, to_per_example) = per_example.into_parts();
        let (residual, to_residual) = residual.into_parts();

        let shape = convolution::shape_of::<B>(&x, &weight, window);
        let (x, weight) = (Numbers::channels_last(x), Numbers::plain(weight));
        let y = convolution::forward::<B>(
            &x,
            &weight,
            added::<B>(bias, per_example, residual),
            &shape,
            true,
            &device,
        );
        let parents = [to_x, to_weight, to_bias, to_per_example, to_residual];
        let prepared = Backward::<B, 5>::prepare::<C>(ConvolutionBackward, parents);
        match prepared.compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let state = ConvolutionState {
                    x,
                    weight,
                    shape,
                    device,
                };
                tracked::<B, C>(prep.finish(state, y))
            }
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    fn normalisation(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        scale_shift: FloatTensor<Self>,
        options: NormOptions,
    ) -> FloatTensor<Self> {
        let (x, to_x) = x.into_parts();
        let (gamma, to_gamma) = gamma.into_parts();
        let (beta, to_beta) = beta.into_parts();
        let (scale_shift, to_scale_shift) = scale_shift.into_parts();
        let (y, state) = normalise::<B>(x, gamma, beta, scale_shift, options);
        let parents = [to_x, to_gamma, to_beta, to_scale_shift];
        let prepared = Backward::<B, 4>::prepare::<C>(NormBackward, parents);
        match prepared.compute_bound().stateful() {
            OpsKind::Tracked(prep) => tracked::<B, C>(prep.finish(state, y)),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    fn concatenation(first: FloatTensor<Self>, second: FloatTensor<Self>) -> FloatTensor<Self> {
        let (first, to_first) = first.into_parts();
        let (second, to_second) = second.into_parts();
        let (first_dims, second_dims) = (dims4::<B>(&first), dims4::<B>(&second));
        let device = first.device();
        let joined = concatenate::<B>(first, second);
        let prepared = Backward::<B, 2>::prepare::<C>(ConcatenationBackward, [to_first, to_second]);
        match prepared.compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                tracked::<B, C>(prep.finish((first_dims, second_dims, device), joined))
            }
            OpsKind::UnTracked(prep) => prep.finish(joined),
        }
    }

    fn pixel_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        heads: usize,
    ) -> FloatTensor<Self> {
        let (q, to_q) = q.into_parts();
        let (k, to_k) = k.into_parts();
        let (v, to_v) = v.into_parts();
        let (o, state) = attend::<B>([q, k, v], heads);
        let prepared = Backward::<B, 3>::prepare::<C>(AttentionBackward, [to_q, to_k, to_v]);
        match prepared.compute_bound().stateful() {
            OpsKind::Tracked(prep) => tracked::<B, C>(prep.finish(state, o)),
            OpsKind::UnTracked(prep) => prep.finish(o),
        }
    }
}

/// The channels of both side by side.
fn concatenate<B: Host>(first: FloatTensor<B>, second: FloatTensor<B>) -> FloatTensor<B> {
    let device = first.device();
    let ([batch, a, height, width], [_, b, ..]) = (dims4::<B>(&first), dims4::<B>(&second));
    let (first, second) = (
        Numbers::<B>::channels_last(first),
        Numbers::<B>::channels_last(second),
    );
    let joined = concat::join(first.get(), second.get(), [a, b]);
    from_channels_last::<B>(joined, [batch, a + b, height, width], &device)
}

/// The gradient of a concatenation: its parts.
#[derive(Debug)]
struct ConcatenationBackward;

impl<B: Host> Backward<B, 2> for ConcatenationBackward {
    type State = ([usize; 4], [usize; 4], B::Device);

    fn backward(
        self,
        ops: Ops<Self::State, 2>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = Numbers::<B>::channels_last(take::<B, _, _>(&ops, grads));
        let (first, second, device) = ops.state;
        let channels = first[1] + second[1];
        for (node, dims, start) in ops
            .parents
            .into_iter()
            .zip([(first, 0), (second, first[1])])
            .map(|(node, (dims, start))| (node, dims, start))
        {
            if let Some(node) = node {
                let part = concat::part(gradient.get(), channels, start, dims[1]);
                let part = from_channels_last::<B>(part, dims, &device);
                register_gradient!(B, grads, node, part);
            }
        }
    }
}

/// What the gradient of an attention needs.
#[derive(Clone, Debug)]
struct AttentionState<B: Host> {
    inputs: [Numbers<B>; 3],
    o: Numbers<B>,
    logs: Numbers<B>,
    heads: Heads,
    dims: [usize; 4],
    device: B::Device,
}

/// The attention, and what its gradient needs.
fn attend<B: Host>(
    inputs: [FloatTensor<B>; 3],
    heads: usize,
) -> (FloatTensor<B>, AttentionState<B>) {
    let device = inputs[0].device();
    let dims = dims4::<B>(&inputs[0]);
    let [batch, channels, height, width] = dims;
    let heads = Heads {
        batch,
        pixels: height * width,
        channels,
        heads,
    };
    let inputs = inputs.map(Numbers::<B>::channels_last);
    let (o, logs) = attention::forward(&heads, inputs.each_ref().map(Numbers::get));
    let o = from_channels_last::<B>(o, dims, &device);
    let logs = tensor::<B>(logs, [batch, heads.heads, heads.pixels], &device);
    let state = AttentionState {
        inputs,
        o: Numbers::channels_last(o.clone()),
        logs: Numbers::plain(logs),
        heads,
        dims,
        device,
    };
    (o, state)
}

/// The gradient of an attention. Parents: q, k, v.
#[derive(Debug)]
struct AttentionBackward;

impl<B: Host> Backward<B, 3> for AttentionBackward {
    type State = AttentionState<B>;

    fn backward(
        self,
        ops: Ops<Self::State, 3>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = Numbers::<B>::channels_last(take::<B, _, _>(&ops, grads));
        let state = ops.state;
        let [q, k, v] = state.inputs.each_ref().map(Numbers::get);
        let found = attention::backward(
            &state.heads,
            [q, k, v, state.o.get()],
            state.logs.get(),
            gradient.get(),
        );
        for (node, found) in ops.parents.into_iter().zip(found) {
            if let Some(node) = node {
                let found = from_channels_last::<B>(found, state.dims, &state.device);
                register_gradient!(B, grads, node, found);
            }
        }
    }
}
