//! Times each operation on rows, of the shapes of a table of 6 numbers and 11 categorical columns within a
//! network of width 512, forward and with all gradients, beside burn's own.
//!
//! ```text
//! cargo bench --workspace --bench rows
//! KERNELS_SIMD=avx512 cargo bench --workspace --bench rows -- linear
//! ```

use burn::tensor::activation::{log_softmax, silu};
use burn::tensor::{Device, Int, Tensor, TensorData, module};
use divan::Bencher;
use kernels::{PlusRows, embedding_sum, layer_norm, linear, linear_silu, segment_log_softmax};

fn main() {
    divan::main();
}

const WIDTH: usize = 512;
const ROWS: [usize; 2] = [1024, 4096];
/// Adult's columns, with spikes of two.
const SIZES: [usize; 11] = [7, 16, 7, 14, 6, 5, 2, 41, 2, 3, 3];
const EPSILON: f64 = 1e-5;

fn device() -> Device {
    Device::flex().autodiff()
}

/// Numbers that are not all the same.
fn leaf(dims: [usize; 2]) -> Tensor<2> {
    let values = (0..dims[0] * dims[1]).map(|i| ((i * 7919) % 1000) as f32 / 500.0 - 1.0);
    let data = TensorData::new(values.collect::<Vec<f32>>(), dims);
    Tensor::from_data(data, &device()).require_grad()
}

fn line(width: usize) -> Tensor<1> {
    Tensor::ones([width], &device()).require_grad()
}

/// Codes of all columns.
fn codes(rows: usize) -> Vec<usize> {
    (0..rows * SIZES.len())
        .map(|i| (i * 7919) % SIZES[i % SIZES.len()])
        .collect()
}

/// Both benches of an operation, which is made for a number of rows.
macro_rules! benches {
    ($name:ident, $operation:expr) => {
        mod $name {
            use super::*;

            #[divan::bench(args = ROWS)]
            fn forward(bencher: Bencher, rows: usize) {
                let operation = $operation(rows);
                bencher.bench_local(|| operation());
            }

            #[divan::bench(args = ROWS)]
            fn forward_and_backward(bencher: Bencher, rows: usize) {
                let operation = $operation(rows);
                let direction: Tensor<2> = operation().detach();
                bencher.bench_local(|| (operation() * direction.clone()).sum().backward());
            }
        }
    };
}

fn layer(rows: usize) -> impl Fn() -> Tensor<2> {
    let (x, weight, bias) = (leaf([rows, WIDTH]), leaf([WIDTH, WIDTH]), line(WIDTH));
    move || {
        let plus = PlusRows {
            bias: Some(bias.clone()),
            residual: None,
        };
        linear(x.clone(), weight.clone(), plus)
    }
}

fn layer_of_burn(rows: usize) -> impl Fn() -> Tensor<2> {
    let (x, weight, bias) = (leaf([rows, WIDTH]), leaf([WIDTH, WIDTH]), line(WIDTH));
    move || module::linear(x.clone(), weight.clone(), Some(bias.clone()))
}

fn layer_and_silu(rows: usize) -> impl Fn() -> Tensor<2> {
    let (x, weight, bias) = (leaf([rows, WIDTH]), leaf([WIDTH, WIDTH]), line(WIDTH));
    move || {
        let plus = PlusRows {
            bias: Some(bias.clone()),
            residual: None,
        };
        linear_silu(x.clone(), weight.clone(), plus)
    }
}

fn layer_and_silu_of_burn(rows: usize) -> impl Fn() -> Tensor<2> {
    let layer = layer_of_burn(rows);
    move || silu(layer())
}

fn norm(rows: usize) -> impl Fn() -> Tensor<2> {
    let (x, gamma, beta) = (leaf([rows, WIDTH]), line(WIDTH), line(WIDTH));
    move || layer_norm(x.clone(), gamma.clone(), beta.clone(), EPSILON)
}

fn norm_of_burn(rows: usize) -> impl Fn() -> Tensor<2> {
    let (x, gamma, beta) = (leaf([rows, WIDTH]), line(WIDTH), line(WIDTH));
    move || module::layer_norm(x.clone(), gamma.clone(), Some(beta.clone()), EPSILON)
}

fn embeddings(rows: usize) -> impl Fn() -> Tensor<2> {
    let table = leaf([SIZES.iter().sum(), WIDTH]);
    let values: Vec<f32> = codes(rows).into_iter().map(|code| code as f32).collect();
    let codes = Tensor::from_data(TensorData::new(values, [rows, SIZES.len()]), &device());
    move || embedding_sum(codes.clone(), table.clone(), &SIZES)
}

fn embeddings_of_burn(rows: usize) -> impl Fn() -> Tensor<2> {
    let table = leaf([SIZES.iter().sum(), WIDTH]);
    let starts = |column: usize| SIZES[..column].iter().sum::<usize>();
    let places = codes(rows).into_iter().enumerate();
    let places = places.map(|(i, code)| (code + starts(i % SIZES.len())) as i32);
    let data = TensorData::new(places.collect::<Vec<i32>>(), [rows * SIZES.len()]);
    let places = Tensor::<1, Int>::from_data(data, &device());
    move || {
        let chosen = table.clone().select(0, places.clone());
        let chosen = chosen.reshape([rows, SIZES.len(), WIDTH]);
        chosen.sum_dim(1).reshape([rows, WIDTH])
    }
}

fn segments(rows: usize) -> impl Fn() -> Tensor<2> {
    let x = leaf([rows, SIZES.iter().sum()]);
    move || segment_log_softmax(x.clone(), &SIZES)
}

fn segments_of_burn(rows: usize) -> impl Fn() -> Tensor<2> {
    let x = leaf([rows, SIZES.iter().sum()]);
    move || {
        let starts = (0..SIZES.len()).map(|column| SIZES[..column].iter().sum::<usize>());
        let parts = starts
            .zip(SIZES)
            .map(|(start, size)| log_softmax(x.clone().narrow(1, start, size), 1));
        Tensor::cat(parts.collect(), 1)
    }
}

benches!(linear_512, layer);
benches!(linear_512_burn, layer_of_burn);
benches!(linear_512_silu, layer_and_silu);
benches!(linear_512_silu_burn, layer_and_silu_of_burn);
benches!(layer_norm_512, norm);
benches!(layer_norm_512_burn, norm_of_burn);
benches!(embedding, embeddings);
benches!(embedding_burn, embeddings_of_burn);
benches!(log_softmax_segments, segments);
benches!(log_softmax_segments_burn, segments_of_burn);
