//! The operations of images on CubeCL's backends, with their gradients for autodiff.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, TensorMetadata};
use burn_cubecl::CubeBackend;

use super::attention::{self, Attended};
use super::concat;
use super::convolution::{self, Added, Convolved};
use super::group_norm::{self, Normalised};
use crate::cpu::convolution::Window;
use crate::gradients::{NormOptions, Operations, given};

type Float = FloatTensor<CubeBackend>;

fn added(bias: Float, per_example: Float, residual: Float) -> Added {
    Added {
        bias: given::<CubeBackend>(bias),
        per_example: given::<CubeBackend>(per_example),
        residual: given::<CubeBackend>(residual),
    }
}

impl Operations for CubeBackend {
    fn convolution(
        x: Float,
        weight: Float,
        bias: Float,
        per_example: Float,
        residual: Float,
        window: Window,
    ) -> Float {
        convolution::forward(x, weight, added(bias, per_example, residual), window).0
    }

    fn normalisation(
        x: Float,
        gamma: Float,
        beta: Float,
        scale_shift: Float,
        options: NormOptions,
    ) -> Float {
        let scale_shift = given::<CubeBackend>(scale_shift);
        group_norm::forward(x, gamma, beta, scale_shift, options).0
    }

    fn concatenation(first: Float, second: Float) -> Float {
        concat::join(first, second)
    }

    fn pixel_attention(q: Float, k: Float, v: Float, heads: usize) -> Float {
        attention::forward([q, k, v], heads).0
    }
}

/// The gradient of a convolution. Parents: x, weight, bias, per example, residual.
#[derive(Debug)]
struct ConvolutionBackward;

impl Backward<CubeBackend, 5> for ConvolutionBackward {
    type State = Convolved;

    fn backward(
        self,
        ops: Ops<Self::State, 5>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let dy = grads.consume::<CubeBackend>(&ops.node);
        let state = ops.state;
        let [to_x, to_weight, to_bias, to_per_example, to_residual] = ops.parents;
        if let Some(node) = to_residual {
            grads.register::<CubeBackend>(node.id, dy.clone());
        }
        if to_bias.is_some() || to_per_example.is_some() {
            let per_example = convolution::per_example_gradient(dy.clone());
            if let Some(node) = to_bias {
                let bias = convolution::bias_gradient(per_example.clone());
                grads.register::<CubeBackend>(node.id, bias);
            }
            if let Some(node) = to_per_example {
                grads.register::<CubeBackend>(node.id, per_example);
            }
        }
        if let Some(node) = to_weight {
            let gradient = convolution::weight_gradient(&state, dy.clone());
            grads.register::<CubeBackend>(node.id, gradient);
        }
        if let Some(node) = to_x {
            let gradient = convolution::input_gradient(&state, dy);
            grads.register::<CubeBackend>(node.id, gradient);
        }
    }
}

/// The gradient of a normalisation. Parents: x, γ, β, scale and shift.
#[derive(Debug)]
struct NormBackward;

impl Backward<CubeBackend, 4> for NormBackward {
    type State = Normalised;

    fn backward(
        self,
        ops: Ops<Self::State, 4>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let dy = grads.consume::<CubeBackend>(&ops.node);
        let found = group_norm::backward(&ops.state, dy);
        let gradients = [found.x, found.gamma, found.beta, found.scale_shift];
        for (node, gradient) in ops.parents.into_iter().zip(gradients) {
            if let Some(node) = node {
                grads.register::<CubeBackend>(node.id, gradient);
            }
        }
    }
}

/// The gradient of a concatenation: its parts.
#[derive(Debug)]
struct ConcatenationBackward;

impl Backward<CubeBackend, 2> for ConcatenationBackward {
    /// Channels of the first.
    type State = usize;

    fn backward(
        self,
        ops: Ops<Self::State, 2>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = grads.consume::<CubeBackend>(&ops.node);
        let parts = concat::part(gradient, ops.state);
        for (node, gradient) in ops.parents.into_iter().zip(parts) {
            if let Some(node) = node {
                grads.register::<CubeBackend>(node.id, gradient);
            }
        }
    }
}

/// The gradient of an attention. Parents: q, k, v.
#[derive(Debug)]
struct AttentionBackward;

impl Backward<CubeBackend, 3> for AttentionBackward {
    type State = Attended;

    fn backward(
        self,
        ops: Ops<Self::State, 3>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = grads.consume::<CubeBackend>(&ops.node);
        let found = attention::backward(&ops.state, gradient);
        for (node, gradient) in ops.parents.into_iter().zip(found) {
            if let Some(node) = node {
                grads.register::<CubeBackend>(node.id, gradient);
            }
        }
    }
}

impl<C: CheckpointStrategy> Operations for Autodiff<CubeBackend, C> {
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
        let (y, state) =
            convolution::forward(x, weight, added(bias, per_example, residual), window);
        let parents = [to_x, to_weight, to_bias, to_per_example, to_residual];
        let prepared = Backward::<CubeBackend, 5>::prepare::<C>(ConvolutionBackward, parents);
        match prepared.compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(state, y),
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
        let scale_shift = given::<CubeBackend>(scale_shift);
        let (y, state) = group_norm::forward(x, gamma, beta, scale_shift, options);
        let parents = [to_x, to_gamma, to_beta, to_scale_shift];
        let prepared = Backward::<CubeBackend, 4>::prepare::<C>(NormBackward, parents);
        match prepared.compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(state, y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    fn concatenation(first: FloatTensor<Self>, second: FloatTensor<Self>) -> FloatTensor<Self> {
        let (first, to_first) = first.into_parts();
        let (second, to_second) = second.into_parts();
        let channels = first.shape()[1];
        let joined = concat::join(first, second);
        let parents = [to_first, to_second];
        let prepared = Backward::<CubeBackend, 2>::prepare::<C>(ConcatenationBackward, parents);
        match prepared.compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(channels, joined),
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
        let (o, state) = attention::forward([q, k, v], heads);
        let parents = [to_q, to_k, to_v];
        let prepared = Backward::<CubeBackend, 3>::prepare::<C>(AttentionBackward, parents);
        match prepared.compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(state, o),
            OpsKind::UnTracked(prep) => prep.finish(o),
        }
    }
}
