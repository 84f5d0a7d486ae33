//! The operations on rows as burn's backends see them, with their gradients for autodiff.

use std::sync::Arc;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, TensorMetadata, backend_extension};

use crate::cpu::host::{Host, Numbers, dims2, small_tensor, tensor};
use crate::cpu::layer_norm::{self, RowNorm};
use crate::cpu::linear::{self, Addends, Layer};
use crate::cpu::{embedding, log_softmax};
use crate::gradients::{given, register_gradient, take, tracked};

/// The operations on rows. An input that is left out is a tensor without elements, for the macro knows
/// no optional ones.
#[backend_extension(Flex: cfg(feature = "flex"), NdArray: cfg(feature = "ndarray"), Autodiff)]
pub(crate) trait RowOperations: Backend {
    /// A linear layer and what follows it; see [`linear`].
    fn linear_layer(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        silu: bool,
    ) -> FloatTensor<Self>;

    /// LayerNorm and what follows it; see [`layer_norm`].
    fn row_normalisation(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        norm: RowNorm,
    ) -> FloatTensor<Self>;

    /// The sum of embeddings; see [`embedding`].
    fn embeddings(
        codes: FloatTensor<Self>,
        table: FloatTensor<Self>,
        sizes: Arc<[usize]>,
    ) -> FloatTensor<Self>;

    /// A log softmax for each segment; see [`log_softmax`].
    fn segments(x: FloatTensor<Self>, sizes: Arc<[usize]>) -> FloatTensor<Self>;
}

macro_rules! host_operations {
    ($feature:literal, $backend:ident) => {
        #[cfg(feature = $feature)]
        impl RowOperations for burn::backend::$backend {
            fn linear_layer(
                x: FloatTensor<Self>,
                weight: FloatTensor<Self>,
                bias: FloatTensor<Self>,
                residual: FloatTensor<Self>,
                silu: bool,
            ) -> FloatTensor<Self> {
                apply_layer::<Self>([x, weight], [bias, residual], silu).0
            }

            fn row_normalisation(
                x: FloatTensor<Self>,
                gamma: FloatTensor<Self>,
                beta: FloatTensor<Self>,
                norm: RowNorm,
            ) -> FloatTensor<Self> {
                normalise::<Self>(x, gamma, beta, norm).0
            }

            fn embeddings(
                codes: FloatTensor<Self>,
                table: FloatTensor<Self>,
                sizes: Arc<[usize]>,
            ) -> FloatTensor<Self> {
                embed::<Self>(codes, table, sizes).0
            }

            fn segments(x: FloatTensor<Self>, sizes: Arc<[usize]>) -> FloatTensor<Self> {
                normalise_segments::<Self>(x, &sizes)
            }
        }
    };
}

host_operations!("flex", Flex);
host_operations!("ndarray", NdArray);

impl<B: Host, C: CheckpointStrategy> RowOperations for Autodiff<B, C> {
    fn linear_layer(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        silu: bool,
    ) -> FloatTensor<Self> {
        let (x, to_x) = x.into_parts();
        let (weight, to_weight) = weight.into_parts();
        let (bias, to_bias) = bias.into_parts();
        let (residual, to_residual) = residual.into_parts();
        let (y, state) = apply_layer::<B>([x, weight], [bias, residual], silu);
        let parents = [to_x, to_weight, to_bias, to_residual];
        let prepared = Backward::<B, 4>::prepare::<C>(LayerBackward, parents);
        match prepared.compute_bound().stateful() {
            OpsKind::Tracked(prep) => tracked::<B, C>(prep.finish(state, y)),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    fn row_normalisation(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        norm: RowNorm,
    ) -> FloatTensor<Self> {
        let (x, to_x) = x.into_parts();
        let (gamma, to_gamma) = gamma.into_parts();
        let (beta, to_beta) = beta.into_parts();
        let (y, state) = normalise::<B>(x, gamma, beta, norm);
        let parents = [to_x, to_gamma, to_beta];
        let prepared = Backward::<B, 3>::prepare::<C>(RowNormBackward, parents);
        match prepared.compute_bound().stateful() {
            OpsKind::Tracked(prep) => tracked::<B, C>(prep.finish(state, y)),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    fn embeddings(
        codes: FloatTensor<Self>,
        table: FloatTensor<Self>,
        sizes: Arc<[usize]>,
    ) -> FloatTensor<Self> {
        // What is whole has no gradient.
        let (codes, _) = codes.into_parts();
        let (table, to_table) = table.into_parts();
        let (y, state) = embed::<B>(codes, table, sizes);
        let prepared = Backward::<B, 1>::prepare::<C>(EmbeddingsBackward, [to_table]);
        match prepared.compute_bound().stateful() {
            OpsKind::Tracked(prep) => tracked::<B, C>(prep.finish(state, y)),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    fn segments(x: FloatTensor<Self>, sizes: Arc<[usize]>) -> FloatTensor<Self> {
        let (x, to_x) = x.into_parts();
        let y = normalise_segments::<B>(x, &sizes);
        let prepared = Backward::<B, 1>::prepare::<C>(SegmentsBackward, [to_x]);
        match prepared.compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let state = (Numbers::plain(y.clone()), sizes);
                tracked::<B, C>(prep.finish(state, y))
            }
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }
}

/// What the gradient of a layer needs.
#[derive(Clone, Debug)]
struct LayerState<B: Host> {
    x: Numbers<B>,
    weight: Numbers<B>,
    /// Where SiLU follows.
    z: Option<Numbers<B>>,
    layer: Layer,
    device: B::Device,
}

/// The layer, and what its gradient needs.
fn apply_layer<B: Host>(
    [x, weight]: [FloatTensor<B>; 2],
    addends: [FloatTensor<B>; 2],
    silu: bool,
) -> (FloatTensor<B>, LayerState<B>) {
    let device = x.device();
    let ([rows, inputs], [_, outputs]) = (dims2::<B>(&x), dims2::<B>(&weight));
    let layer = Layer {
        rows,
        inputs,
        outputs,
    };
    let (x, weight) = (Numbers::plain(x), Numbers::plain(weight));
    let [bias, residual] = addends.map(|x| given::<B>(x).map(Numbers::<B>::plain));
    let addends = Addends {
        bias: bias.as_ref().map_or(&[], Numbers::get),
        residual: residual.as_ref().map_or(&[], Numbers::get),
    };
    let to_tensor = |values| tensor::<B>(values, [rows, outputs], &device);
    let (y, z) = if silu {
        let (z, y) = linear::forward_silu(layer, x.get(), weight.get(), addends);
        (to_tensor(y), Some(Numbers::plain(to_tensor(z))))
    } else {
        let z = linear::forward(layer, x.get(), weight.get(), addends);
        (to_tensor(z), None)
    };
    let state = LayerState {
        x,
        weight,
        z,
        layer,
        device,
    };
    (y, state)
}

/// The gradient of a layer. Parents: x, weight, bias, residual.
#[derive(Debug)]
struct LayerBackward;

impl<B: Host> Backward<B, 4> for LayerBackward {
    type State = LayerState<B>;

    fn backward(
        self,
        ops: Ops<Self::State, 4>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = take::<B, _, _>(&ops, grads);
        let LayerState {
            x,
            weight,
            z,
            layer,
            device,
        } = ops.state;
        let Layer {
            rows,
            inputs,
            outputs,
        } = layer;
        let gradient = match z {
            Some(z) => {
                let dy = Numbers::<B>::plain(gradient);
                let dz = linear::through_silu(z.get(), dy.get());
                tensor::<B>(dz, [rows, outputs], &device)
            }
            None => gradient,
        };
        let [to_x, to_weight, to_bias, to_residual] = ops.parents;
        if let Some(node) = to_residual {
            register_gradient!(B, grads, node, gradient.clone());
        }
        let dz = Numbers::<B>::plain(gradient);
        if let Some(node) = to_bias {
            let sums = linear::column_sums(dz.get(), outputs);
            grads.register::<B>(node.id, small_tensor::<B>(sums, [outputs], &device));
        }
        if let Some(node) = to_weight {
            let dw = linear::weight_gradient(layer, x.get(), dz.get());
            grads.register::<B>(node.id, tensor::<B>(dw, [inputs, outputs], &device));
        }
        if let Some(node) = to_x {
            let dx = linear::input_gradient(layer, weight.get(), dz.get());
            register_gradient!(B, grads, node, tensor::<B>(dx, [rows, inputs], &device));
        }
    }
}

/// What the gradient of a normalisation needs.
#[derive(Clone, Debug)]
struct RowNormState<B: Host> {
    x: Numbers<B>,
    moments: Numbers<B>,
    gamma: Numbers<B>,
    beta: Numbers<B>,
    norm: RowNorm,
    device: B::Device,
}

/// The normalisation, and what its gradient needs.
fn normalise<B: Host>(
    x: FloatTensor<B>,
    gamma: FloatTensor<B>,
    beta: FloatTensor<B>,
    norm: RowNorm,
) -> (FloatTensor<B>, RowNormState<B>) {
    let device = x.device();
    let dims @ [rows, _] = dims2::<B>(&x);
    let x = Numbers::plain(x);
    let (gamma, beta) = (Numbers::<B>::plain(gamma), Numbers::<B>::plain(beta));
    let (y, moments) = layer_norm::forward(norm, x.get(), gamma.get(), beta.get());
    let moments = tensor::<B>(moments, [rows, 2], &device);
    let y = tensor::<B>(y, dims, &device);
    let state = RowNormState {
        x,
        moments: Numbers::plain(moments),
        gamma,
        beta,
        norm,
        device,
    };
    (y, state)
}

/// The gradient of a normalisation. Parents: x, γ, β.
#[derive(Debug)]
struct RowNormBackward;

impl<B: Host> Backward<B, 3> for RowNormBackward {
    type State = RowNormState<B>;

    fn backward(
        self,
        ops: Ops<Self::State, 3>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let dy = Numbers::<B>::plain(take::<B, _, _>(&ops, grads));
        let state = ops.state;
        let (width, device) = (state.norm.width, &state.device);
        let found = layer_norm::backward(
            state.norm,
            state.x.get(),
            state.moments.get(),
            [state.gamma.get(), state.beta.get()],
            dy.get(),
        );
        let [to_x, to_gamma, to_beta] = ops.parents;
        if let Some(node) = to_x {
            let rows = found.x.len() / width;
            register_gradient!(B, grads, node, tensor::<B>(found.x, [rows, width], device));
        }
        for (node, found) in [(to_gamma, found.gamma), (to_beta, found.beta)] {
            if let Some(node) = node {
                grads.register::<B>(node.id, small_tensor::<B>(found, [width], device));
            }
        }
    }
}

/// What the gradient of embeddings needs.
#[derive(Clone, Debug)]
struct EmbeddingsState<B: Host> {
    codes: Numbers<B>,
    sizes: Arc<[usize]>,
    width: usize,
    device: B::Device,
}

/// The sum of embeddings, and what its gradient needs.
fn embed<B: Host>(
    codes: FloatTensor<B>,
    table: FloatTensor<B>,
    sizes: Arc<[usize]>,
) -> (FloatTensor<B>, EmbeddingsState<B>) {
    let device = table.device();
    let ([rows, _], [_, width]) = (dims2::<B>(&codes), dims2::<B>(&table));
    let (codes, table) = (Numbers::plain(codes), Numbers::<B>::plain(table));
    let y = embedding::forward(codes.get(), table.get(), &sizes, width);
    let y = tensor::<B>(y, [rows, width], &device);
    let state = EmbeddingsState {
        codes,
        sizes,
        width,
        device,
    };
    (y, state)
}

/// The gradient of embeddings. Parent: the table.
#[derive(Debug)]
struct EmbeddingsBackward;

impl<B: Host> Backward<B, 1> for EmbeddingsBackward {
    type State = EmbeddingsState<B>;

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let dy = Numbers::<B>::plain(take::<B, _, _>(&ops, grads));
        let state = ops.state;
        let [to_table] = ops.parents;
        if let Some(node) = to_table {
            let (codes, width) = (state.codes.get(), state.width);
            let found = embedding::table_gradient(codes, dy.get(), &state.sizes, width);
            let shape = [found.len() / width, width];
            register_gradient!(B, grads, node, tensor::<B>(found, shape, &state.device));
        }
    }
}

/// A log softmax for each segment.
fn normalise_segments<B: Host>(x: FloatTensor<B>, sizes: &[usize]) -> FloatTensor<B> {
    let device = x.device();
    let dims = dims2::<B>(&x);
    let y = log_softmax::forward(Numbers::<B>::plain(x).get(), sizes);
    tensor::<B>(y, dims, &device)
}

/// The gradient of [`normalise_segments`]. Parent: x.
#[derive(Debug)]
struct SegmentsBackward;

impl<B: Host> Backward<B, 1> for SegmentsBackward {
    type State = (Numbers<B>, Arc<[usize]>);

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = take::<B, _, _>(&ops, grads);
        let device = gradient.device();
        let dims = dims2::<B>(&gradient);
        let dy = Numbers::<B>::plain(gradient);
        let (y, sizes) = ops.state;
        let [to_x] = ops.parents;
        if let Some(node) = to_x {
            let dx = log_softmax::backward(y.get(), dy.get(), &sizes);
            register_gradient!(B, grads, node, tensor::<B>(dx, dims, &device));
        }
    }
}
