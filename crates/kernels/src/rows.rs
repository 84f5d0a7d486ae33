//! The operations of a network of rows: on the CPU the kernels of this crate, elsewhere those of burn.

use std::sync::Arc;

use burn::backend::Dispatch;
use burn::tensor::activation::{self, log_softmax};
use burn::tensor::{DType, Int, Tensor, TensorData};

use crate::cpu::layer_norm::RowNorm;
use crate::place::on_host;
use crate::row_gradients::RowOperations;

/// What is added to the product of a linear layer, in the pass that writes it.
#[derive(Clone, Debug, Default)]
pub struct PlusRows {
    /// `[outputs]`: the bias.
    pub bias: Option<Tensor<1>>,
    /// `[rows, outputs]`: a residual connection.
    pub residual: Option<Tensor<2>>,
}

/// A linear layer: x W, plus what there is to add.
///
/// - `x`: `[rows, inputs]`
/// - `weight`: `[inputs, outputs]`, as burn's `Linear` has it
/// - output: `[rows, outputs]`
///
/// # Panics
///
/// If the shapes do not fit each other.
#[must_use]
pub fn linear(x: Tensor<2>, weight: Tensor<2>, plus: PlusRows) -> Tensor<2> {
    apply_layer(x, weight, plus, false)
}

/// [`linear`], then SiLU.
///
/// # Panics
///
/// If the shapes do not fit each other.
#[must_use]
pub fn linear_silu(x: Tensor<2>, weight: Tensor<2>, plus: PlusRows) -> Tensor<2> {
    apply_layer(x, weight, plus, true)
}

/// LayerNorm: each row to mean 0 and variance 1, then times `gamma` plus `beta`.
///
/// - `x`: `[rows, width]`
/// - `gamma`, `beta`: `[width]`
/// - `epsilon`: is added to the variance
///
/// # Panics
///
/// If the shapes do not fit each other.
#[must_use]
pub fn layer_norm(x: Tensor<2>, gamma: Tensor<1>, beta: Tensor<1>, epsilon: f64) -> Tensor<2> {
    normalise(x, gamma, beta, epsilon, false)
}

/// [`layer_norm`], then SiLU.
///
/// # Panics
///
/// If the shapes do not fit each other.
#[must_use]
pub fn layer_norm_silu(x: Tensor<2>, gamma: Tensor<1>, beta: Tensor<1>, epsilon: f64) -> Tensor<2> {
    normalise(x, gamma, beta, epsilon, true)
}

/// SiLU of each number, x σ(x) (Hendrycks and Gimpel 2016): on GPUs one launch each way.
///
/// - `x`: `[rows, width]`
/// - output: `[rows, width]`
#[must_use]
pub fn silu(x: Tensor<2>) -> Tensor<2> {
    #[cfg(feature = "gpu")]
    if crate::place::on_gpu(&x) && x.dims().iter().product::<usize>() > 0 {
        return Tensor::from_dispatch(<Dispatch as crate::gpu::Activation>::activation(
            x.into_dispatch(),
        ));
    }
    activation::silu(x)
}

/// The sum of embeddings, one for each column of codes: one-hot codes times `table`, without the ones.
///
/// - `codes`: `[rows, columns]`, whole numbers from 0 to the size of a column − 1. Others are rounded and
///   held within; they have no gradient
/// - `table`: `[Σ sizes, width]`, the embeddings of the first column before those of the second
/// - `sizes`: of each column
/// - output: `[rows, width]`
///
/// # Panics
///
/// If the shapes do not fit each other, there is no column, or a size is 0.
#[must_use]
pub fn embedding_sum(codes: Tensor<2>, table: Tensor<2>, sizes: &[usize]) -> Tensor<2> {
    let ([rows, columns], [entries, width]) = (codes.dims(), table.dims());
    assert!(
        columns == sizes.len() && entries == sizes.iter().sum::<usize>(),
        "codes of {:?} and a table of {:?} for sizes {sizes:?}",
        codes.dims(),
        table.dims()
    );
    assert!(
        columns > 0 && sizes.iter().all(|&size| size > 0),
        "sizes {sizes:?} of columns"
    );
    if on_host(&table) && codes.dtype() == DType::F32 && rows * width > 0 {
        return Tensor::from_dispatch(Dispatch::embeddings(
            codes.into_dispatch(),
            table.into_dispatch(),
            Arc::from(sizes),
        ));
    }
    let device = codes.device();
    let starts = sizes.iter().scan(0, |start, size| {
        let this = *start;
        *start += size;
        Some(this as i32)
    });
    let per_column = |values: Vec<i32>| {
        Tensor::<2, Int>::from_data(TensorData::new(values, [1, columns]), &device)
    };
    let largest = per_column(sizes.iter().map(|&size| size as i32 - 1).collect());
    let starts = per_column(starts.collect());
    let codes = codes
        .round()
        .int()
        .clamp_min(0)
        .min_pair(largest.expand([rows, columns]));
    let places = (codes + starts).reshape([rows * columns]);
    let chosen = table.select(0, places).reshape([rows, columns, width]);
    chosen.sum_dim(1).reshape([rows, width])
}

/// A log softmax for each segment of the columns: the logarithms of the probabilities of as many
/// distributions, side by side.
///
/// - `logits`: `[rows, Σ sizes]`
/// - `sizes`: of the segments
/// - output: of the same shape
///
/// # Panics
///
/// If the sizes do not add up to the columns.
#[must_use]
pub fn segment_log_softmax(logits: Tensor<2>, sizes: &[usize]) -> Tensor<2> {
    let [rows, columns] = logits.dims();
    assert!(
        columns == sizes.iter().sum::<usize>(),
        "{columns} columns of logits for segments of {sizes:?}"
    );
    if rows * columns == 0 {
        return logits;
    }
    if on_host(&logits) {
        return Tensor::from_dispatch(Dispatch::segments(logits.into_dispatch(), Arc::from(sizes)));
    }
    let mut start = 0;
    let mut segments = Vec::with_capacity(sizes.len());
    for &size in sizes.iter().filter(|&&size| size > 0) {
        segments.push(log_softmax(logits.clone().narrow(1, start, size), 1));
        start += size;
    }
    Tensor::cat(segments, 1)
}

fn apply_layer(x: Tensor<2>, weight: Tensor<2>, plus: PlusRows, is_activated: bool) -> Tensor<2> {
    let ([rows, inputs], [weight_inputs, outputs]) = (x.dims(), weight.dims());
    assert!(
        inputs == weight_inputs,
        "a weight of {:?} does not fit an input of {:?}",
        weight.dims(),
        x.dims()
    );
    if let Some(bias) = &plus.bias {
        assert!(bias.dims() == [outputs], "a bias of {:?}", bias.dims());
    }
    if let Some(residual) = &plus.residual {
        let dims = residual.dims();
        assert!(dims == [rows, outputs], "a residual of {dims:?}");
    }
    if on_host(&x) && rows * inputs * outputs > 0 {
        let none = || Tensor::<1>::empty([0], &x.device()).into_dispatch();
        let bias = plus.bias.map_or_else(none, Tensor::into_dispatch);
        let residual = plus.residual.map_or_else(none, Tensor::into_dispatch);
        return Tensor::from_dispatch(Dispatch::linear_layer(
            x.into_dispatch(),
            weight.into_dispatch(),
            bias,
            residual,
            is_activated,
        ));
    }
    let mut z = x.matmul(weight);
    if let Some(bias) = plus.bias {
        z = z + bias.reshape([1, outputs]);
    }
    if let Some(residual) = plus.residual {
        z = z + residual;
    }
    if is_activated { silu(z) } else { z }
}

fn normalise(
    x: Tensor<2>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    epsilon: f64,
    is_activated: bool,
) -> Tensor<2> {
    let [rows, width] = x.dims();
    assert!(
        gamma.dims() == [width] && beta.dims() == [width],
        "gamma of {:?} and beta of {:?} for rows of {width}",
        gamma.dims(),
        beta.dims()
    );
    if on_host(&x) && rows * width > 0 {
        let norm = RowNorm {
            width,
            epsilon,
            silu: is_activated,
        };
        return Tensor::from_dispatch(Dispatch::row_normalisation(
            x.into_dispatch(),
            gamma.into_dispatch(),
            beta.into_dispatch(),
            norm,
        ));
    }
    let centred = x.clone() - x.mean_dim(1);
    let variance = centred.clone().square().mean_dim(1);
    let normal = centred / (variance + epsilon).sqrt();
    let z = normal * gamma.reshape([1, width]) + beta.reshape([1, width]);
    if is_activated { silu(z) } else { z }
}
