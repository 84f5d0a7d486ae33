//! The operations as burn's backends see them, with their gradients for autodiff.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, TensorMetadata, backend_extension};

use crate::accumulate;
use crate::images::{Added, Attended, Convolved, ImageKernels, NormOptions, Normalised, Window};

/// The operations. An input that is left out is a tensor without elements, for the macro knows no
/// optional ones.
#[backend_extension(
    Flex: cfg(feature = "flex"),
    NdArray: cfg(feature = "ndarray"),
    Cube: cfg(feature = "gpu"),
    Remote: cfg(feature = "remote"),
    Autodiff
)]
pub(crate) trait Operations: Backend {
    /// Convolution plus addends; see [`ImageKernels::convolve`].
    fn convolution(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        per_example: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        window: Window,
    ) -> FloatTensor<Self>;

    /// GroupNorm and what follows it; see [`ImageKernels::normalise`].
    fn normalisation(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        scale_shift: FloatTensor<Self>,
        options: NormOptions,
    ) -> FloatTensor<Self>;

    /// The channels of both side by side.
    fn concatenation(first: FloatTensor<Self>, second: FloatTensor<Self>) -> FloatTensor<Self>;

    /// Attention between pixels; see [`ImageKernels::attend`].
    fn pixel_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        heads: usize,
    ) -> FloatTensor<Self>;
}

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

/// The gradient that a tensor which may be used again has so far; see [`accumulate::so_far`].
macro_rules! gradient_so_far {
    ($backend:ident, $grads:expr, $node:expr) => {{
        let node = $node;
        $crate::accumulate::so_far::<$backend>(node.id, || $grads.consume::<$backend>(node))
    }};
}

/// Takes the gradient of a result out, at the beginning of its backward pass.
pub(crate) fn take<B: Backend, S, const N: usize>(
    ops: &Ops<S, N>,
    grads: &mut Gradients,
) -> FloatTensor<B> {
    accumulate::taken(ops.node.id);
    grads.consume::<B>(&ops.node)
}

/// The gradient of a convolution. Parents: x, weight, bias, per example, residual.
#[derive(Debug)]
struct ConvolutionBackward;

impl<B: ImageKernels> Backward<B, 5> for ConvolutionBackward {
    type State = Convolved<B>;

    fn backward(
        self,
        ops: Ops<Self::State, 5>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let dy = take::<B, _, _>(&ops, grads);
        let [to_x, to_weight, to_bias, to_per_example, to_residual] = ops.parents;
        if let Some(node) = to_residual {
            register_gradient!(B, grads, node, dy.clone());
        }
        if to_weight.is_some() || to_bias.is_some() || to_per_example.is_some() {
            let found = B::parameter_gradients(&ops.state, dy.clone());
            for (node, gradient) in [
                (to_weight, Some(found.weight)),
                (to_bias, Some(found.bias)),
                (to_per_example, found.per_example),
            ] {
                if let (Some(node), Some(gradient)) = (node, gradient) {
                    grads.register::<B>(node.id, gradient);
                }
            }
        }
        if let Some(node) = to_x {
            register_gradient!(B, grads, node, B::input_gradient(&ops.state, dy));
        }
    }
}

/// The gradient of a normalisation. Parents: x, γ, β, scale and shift.
#[derive(Debug)]
struct NormBackward;

impl<B: ImageKernels> Backward<B, 4> for NormBackward {
    type State = Normalised<B>;

    fn backward(
        self,
        ops: Ops<Self::State, 4>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let dy = take::<B, _, _>(&ops, grads);
        let [to_x, to_gamma, to_beta, to_scale_shift] = ops.parents;
        let so_far = to_x
            .as_ref()
            .and_then(|node| gradient_so_far!(B, grads, node));
        let found = B::norm_gradients(&ops.state, dy, so_far);
        if let Some(node) = to_x {
            register_gradient!(B, grads, node, found.x);
        }
        for (node, gradient) in [
            (to_gamma, Some(found.gamma)),
            (to_beta, Some(found.beta)),
            (to_scale_shift, found.scale_shift),
        ] {
            if let (Some(node), Some(gradient)) = (node, gradient) {
                grads.register::<B>(node.id, gradient);
            }
        }
    }
}

/// The gradient of a concatenation: its parts.
#[derive(Debug)]
struct ConcatenationBackward;

impl<B: ImageKernels> Backward<B, 2> for ConcatenationBackward {
    /// Channels of the first.
    type State = usize;

    fn backward(
        self,
        ops: Ops<Self::State, 2>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = take::<B, _, _>(&ops, grads);
        let parts = B::part_channels(gradient, ops.state);
        for (node, part) in ops.parents.into_iter().zip(parts) {
            if let Some(node) = node {
                register_gradient!(B, grads, node, part);
            }
        }
    }
}

/// The gradient of an attention. Parents: q, k, v.
#[derive(Debug)]
struct AttentionBackward;

impl<B: ImageKernels> Backward<B, 3> for AttentionBackward {
    type State = Attended<B>;

    fn backward(
        self,
        ops: Ops<Self::State, 3>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = take::<B, _, _>(&ops, grads);
        let found = B::attention_gradients(&ops.state, gradient);
        for (node, found) in ops.parents.into_iter().zip(found) {
            if let Some(node) = node {
                register_gradient!(B, grads, node, found);
            }
        }
    }
}

/// A result whose backward pass is one of this crate.
pub(crate) fn tracked<B: Backend, C: CheckpointStrategy>(
    y: FloatTensor<Autodiff<B, C>>,
) -> FloatTensor<Autodiff<B, C>> {
    accumulate::expect(y.id());
    y
}

/// What is added to a convolution.
fn added<B: Backend>(
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

impl<B: ImageKernels> Operations for B {
    fn convolution(
        x: FloatTensor<B>,
        weight: FloatTensor<B>,
        bias: FloatTensor<B>,
        per_example: FloatTensor<B>,
        residual: FloatTensor<B>,
        window: Window,
    ) -> FloatTensor<B> {
        let added = added::<B>(bias, per_example, residual);
        B::convolve(x, weight, added, window, false).0
    }

    fn normalisation(
        x: FloatTensor<B>,
        gamma: FloatTensor<B>,
        beta: FloatTensor<B>,
        scale_shift: FloatTensor<B>,
        options: NormOptions,
    ) -> FloatTensor<B> {
        B::normalise(x, gamma, beta, given::<B>(scale_shift), options).0
    }

    fn concatenation(first: FloatTensor<B>, second: FloatTensor<B>) -> FloatTensor<B> {
        B::join_channels(first, second)
    }

    fn pixel_attention(
        q: FloatTensor<B>,
        k: FloatTensor<B>,
        v: FloatTensor<B>,
        heads: usize,
    ) -> FloatTensor<B> {
        B::attend([q, k, v], heads).0
    }
}

impl<B: ImageKernels, C: CheckpointStrategy> Operations for Autodiff<B, C> {
    fn convolution(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        per_example: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        window: Window,
    ) -> FloatTensor<Self> {
        let (x, to_x) = x.into_parts();
        let (weight, to_weight) = weight.into_parts();
        let (bias, to_bias) = bias.into_parts();
        let (per_example, to_per_example) = per_example.into_parts();
        let (residual, to_residual) = residual.into_parts();
        let added = added::<B>(bias, per_example, residual);
        let (y, state) = B::convolve(x, weight, added, window, true);
        let parents = [to_x, to_weight, to_bias, to_per_example, to_residual];
        let prepared = Backward::<B, 5>::prepare::<C>(ConvolutionBackward, parents);
        match prepared.compute_bound().stateful() {
            OpsKind::Tracked(prep) => tracked::<B, C>(prep.finish(state, y)),
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
        let (y, state) = B::normalise(x, gamma, beta, given::<B>(scale_shift), options);
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
        let channels = first.shape()[1];
        let joined = B::join_channels(first, second);
        let prepared = Backward::<B, 2>::prepare::<C>(ConcatenationBackward, [to_first, to_second]);
        match prepared.compute_bound().stateful() {
            OpsKind::Tracked(prep) => tracked::<B, C>(prep.finish(channels, joined)),
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
        let (o, state) = B::attend([q, k, v], heads);
        let prepared = Backward::<B, 3>::prepare::<C>(AttentionBackward, [to_q, to_k, to_v]);
        match prepared.compute_bound().stateful() {
            OpsKind::Tracked(prep) => tracked::<B, C>(prep.finish(state, o)),
            OpsKind::UnTracked(prep) => prep.finish(o),
        }
    }
}
