//! Self-attention with its projections: q, k and v are products of one x, so they are one product of all three, and so
//! are their gradients.

use std::ops::Range;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, backend_extension};
use burn::tensor::Slice;
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;

use super::convolution::{FEW_ROWS, pieces, plus, sum_of_each_example};
use super::tensor::{channels_first, channels_last};
use super::{attention, join};
use crate::gradients::{register_gradient, take, tracked};
use crate::images::Attended;

/// Self-attention as burn's backends see it.
#[backend_extension(Cube, Autodiff)]
pub(crate) trait SelfAttention: Backend {
    /// Attention between the pixels of x, `[batch, channels, height, width]`, whose q, k and v are x by a weight
    /// `[channels, channels]`, inputs first, plus a bias `[channels]`. All are f32.
    #[allow(clippy::too_many_arguments)]
    fn self_attention(
        x: FloatTensor<Self>,
        weight_q: FloatTensor<Self>,
        bias_q: FloatTensor<Self>,
        weight_k: FloatTensor<Self>,
        bias_k: FloatTensor<Self>,
        weight_v: FloatTensor<Self>,
        bias_v: FloatTensor<Self>,
        heads: usize,
    ) -> FloatTensor<Self>;
}

impl SelfAttention for CubeBackend {
    fn self_attention(
        x: CubeTensor,
        weight_q: CubeTensor,
        bias_q: CubeTensor,
        weight_k: CubeTensor,
        bias_k: CubeTensor,
        weight_v: CubeTensor,
        bias_v: CubeTensor,
        heads: usize,
    ) -> CubeTensor {
        let weights = [weight_q, weight_k, weight_v];
        forward(x, weights, [bias_q, bias_k, bias_v], heads).0
    }
}

impl<C: CheckpointStrategy> SelfAttention for Autodiff<CubeBackend, C> {
    fn self_attention(
        x: FloatTensor<Self>,
        weight_q: FloatTensor<Self>,
        bias_q: FloatTensor<Self>,
        weight_k: FloatTensor<Self>,
        bias_k: FloatTensor<Self>,
        weight_v: FloatTensor<Self>,
        bias_v: FloatTensor<Self>,
        heads: usize,
    ) -> FloatTensor<Self> {
        let (x, to_x) = x.into_parts();
        let (weight_q, to_weight_q) = weight_q.into_parts();
        let (bias_q, to_bias_q) = bias_q.into_parts();
        let (weight_k, to_weight_k) = weight_k.into_parts();
        let (bias_k, to_bias_k) = bias_k.into_parts();
        let (weight_v, to_weight_v) = weight_v.into_parts();
        let (bias_v, to_bias_v) = bias_v.into_parts();
        let weights = [weight_q, weight_k, weight_v];
        let (o, state) = forward(x, weights, [bias_q, bias_k, bias_v], heads);
        let parents = [
            to_x,
            to_weight_q,
            to_weight_k,
            to_weight_v,
            to_bias_q,
            to_bias_k,
            to_bias_v,
        ];
        let prepared = Backward::<CubeBackend, 7>::prepare::<C>(SelfAttentionBackward, parents);
        match prepared.compute_bound().stateful() {
            OpsKind::Tracked(prep) => tracked::<CubeBackend, C>(prep.finish(state, o)),
            OpsKind::UnTracked(prep) => prep.finish(o),
        }
    }
}

/// What the gradient of a self-attention needs.
#[derive(Clone, Debug)]
struct State {
    /// `[batch, height, width, channels]`
    x: CubeTensor,
    /// Of q, k and v: `[3, inputs, outputs]`
    weights: CubeTensor,
    attended: Attended<CubeBackend>,
}

/// The gradient of a self-attention. Parents: x, the three weights, the three biases.
#[derive(Debug)]
struct SelfAttentionBackward;

impl Backward<CubeBackend, 7> for SelfAttentionBackward {
    type State = State;

    fn backward(
        self,
        ops: Ops<Self::State, 7>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let d_o = take::<CubeBackend, _, _>(&ops, grads);
        let found = backward(&ops.state, d_o);
        let [to_x, parameters @ ..] = ops.parents;
        if let Some(node) = to_x {
            register_gradient!(CubeBackend, grads, node, found.x);
        }
        let gradients = parts(found.weights).into_iter().chain(parts(found.biases));
        for (node, gradient) in parameters.into_iter().zip(gradients) {
            if let Some(node) = node {
                grads.register::<CubeBackend>(node.id, gradient);
            }
        }
    }
}

/// The gradients of a self-attention.
struct FoundGradients {
    x: CubeTensor,
    /// `[3, inputs, outputs]`
    weights: CubeTensor,
    /// `[3, outputs]`
    biases: CubeTensor,
}

fn reshape(x: CubeTensor, shape: &[usize]) -> CubeTensor {
    CubeBackend::float_reshape(x, shape.to_vec().into())
}

/// The weights of three layers, `[3, inputs, outputs]`, and their biases, `[3, outputs]`.
fn joined_layers(weights: [CubeTensor; 3], biases: [CubeTensor; 3]) -> (CubeTensor, CubeTensor) {
    let [inputs, outputs] = weights[0].meta.shape().dims();
    let weight = inputs * outputs;
    let starts = [0, 1, 2].map(|index| index * weight);
    let starts_of_biases = [0, 1, 2].map(|index| 3 * weight + index * outputs);
    let parts = weights.into_iter().chain(biases).collect();
    let starts = [starts, starts_of_biases].concat();
    let all = join(parts, &starts, 3 * (weight + outputs));
    let part = |range: Range<usize>| CubeBackend::float_slice(all.clone(), &[range.into()]);
    let weights = part(0..3 * weight);
    let biases = part(3 * weight..3 * (weight + outputs));
    (
        reshape(weights, &[3, inputs, outputs]),
        reshape(biases, &[3, outputs]),
    )
}

/// Three tensors of a shape behind each other, as a vector.
fn joined(three: [CubeTensor; 3]) -> CubeTensor {
    let length = three[0].meta.num_elements();
    let starts = [0, length, 2 * length];
    join(three.to_vec(), &starts, 3 * length)
}

/// The three of which the first axis says which, where they lie if the device takes them there.
fn parts(three: CubeTensor) -> [CubeTensor; 3] {
    let shape = three.meta.shape().as_slice()[1..].to_vec();
    [0, 1, 2].map(|index| {
        let mut slices = vec![Slice::from(index..index + 1)];
        slices.extend(shape.iter().map(|&length| Slice::from(0..length)));
        reshape(CubeBackend::float_slice(three.clone(), &slices), &shape)
    })
}

fn forward(
    x: CubeTensor,
    weights: [CubeTensor; 3],
    biases: [CubeTensor; 3],
    heads: usize,
) -> (CubeTensor, State) {
    let x = channels_last(x);
    let [batch, height, width, channels] = x.meta.shape().dims();
    let pixels = batch * height * width;
    let (weights, biases) = joined_layers(weights, biases);
    let rows = reshape(x.clone(), &[1, pixels, channels]);
    let products = CubeBackend::float_matmul(rows, weights.clone());
    // As if they were three images, with a number each for each of their channels.
    let images = channels_first(reshape(products, &[3, 1, pixels, channels]));
    let inputs = channels_last(plus(images, None, Some(biases), None));
    let image = [batch, height, width, channels];
    let inputs = parts(inputs).map(|input| channels_first(reshape(input, &image)));
    let (o, attended) = attention::forward(inputs, heads);
    let state = State {
        x,
        weights,
        attended,
    };
    (o, state)
}

fn backward(state: &State, d_o: CubeTensor) -> FoundGradients {
    let [batch, height, width, channels] = state.x.meta.shape().dims();
    let pixels = batch * height * width;
    let gradients = attention::backward(&state.attended, d_o).map(channels_last);
    let gradients = joined(gradients);

    let rows = reshape(gradients.clone(), &[3, pixels, channels]);
    let turned = CubeBackend::float_swap_dims(state.weights.clone(), 1, 2);
    let to_x = CubeBackend::float_sum_dim(CubeBackend::float_matmul(rows, turned), 0);

    // The sum over all pixels is parted, for a weight has fewer numbers than a GPU has units.
    let pieces = pieces(pixels);
    let parted = |x, three| reshape(x, &[three, pieces, pixels / pieces, channels]);
    let x = CubeBackend::float_swap_dims(parted(state.x.clone(), 1), 2, 3);
    let products = CubeBackend::float_matmul(x, parted(gradients.clone(), 3));
    let weights = if pieces == 1 {
        products
    } else {
        CubeBackend::float_sum_dim(products, 1)
    };

    let sums_of = |images: [usize; 4]| {
        sum_of_each_example(channels_first(reshape(gradients.clone(), &images)))
    };
    let biases = if pixels <= FEW_ROWS {
        sums_of([3, 1, pixels, channels])
    } else {
        let sums = sums_of([3 * batch, height, width, channels]);
        CubeBackend::float_sum_dim(reshape(sums, &[3, batch, channels]), 1)
    };

    FoundGradients {
        x: channels_first(reshape(to_x, &[batch, height, width, channels])),
        weights: reshape(weights, &[3, channels, channels]),
        biases: reshape(biases, &[3, channels]),
    }
}
