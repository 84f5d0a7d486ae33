//! Every operation against burn's own on the flex backend: values and all gradients, over drawn
//! shapes; and the same bits whatever the number of threads.

#![allow(clippy::unwrap_used)]
// burn calls its ndarray backend deprecated; it is asked for by feature.
#![cfg_attr(feature = "ndarray", allow(deprecated))]

use burn::tensor::activation::{silu, softmax};
use burn::tensor::module::{conv2d, interpolate};
use burn::tensor::ops::{ConvOptions, InterpolateMode, InterpolateOptions};
use burn::tensor::{Device, Tensor};
use cpu_ops::{Plus, Sampling, conv2d_1x1, conv2d_3x3, group_norm, group_norm_silu};
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

/// Largest difference, over the largest number of the reference.
const TOLERANCE: f32 = 1e-4;

struct Draw {
    rng: ChaCha8Rng,
    device: Device,
}

impl Draw {
    fn new(seed: u64) -> Self {
        Self {
            rng: ChaCha8Rng::seed_from_u64(seed),
            device: Device::flex().autodiff(),
        }
    }

    fn leaf<const D: usize>(&mut self, dims: [usize; D]) -> Tensor<D> {
        let values: Vec<f32> = (0..dims.iter().product())
            .map(|_| self.rng.sample::<f32, _>(StandardNormal))
            .collect();
        let data = burn::tensor::TensorData::new(values, dims);
        Tensor::from_data(data, &self.device).require_grad()
    }

    fn chance(&mut self) -> bool {
        self.rng.random()
    }
}

fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_to_vec().unwrap()
}

fn assert_close(what: &str, found: &[f32], expected: &[f32]) {
    assert_close_beside(1e-3, what, found, expected);
}

/// As [`assert_close`], for numbers that are sums of terms about as large as `terms`, which may cancel:
/// what they leave is then as inexact as they are.
fn assert_close_beside(terms: f32, what: &str, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(terms, |max, x| max.max(x.abs()));
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!(
            (found - expected).abs() <= TOLERANCE * largest,
            "{what}: number {i} is {found}, expected {expected}, of at most {largest}"
        );
    }
}

#[derive(Clone)]
struct Convolution {
    x: Tensor<4>,
    weight: Tensor<4>,
    plus: Plus,
    sampling: Sampling,
    kernel: usize,
    /// Gradient of the output.
    direction: Tensor<4>,
}

impl Convolution {
    fn draw(
        draw: &mut Draw,
        [batch, channels, out, height, width]: [usize; 5],
        kernel: usize,
        sampling: Sampling,
    ) -> Self {
        let output = |len: usize| match sampling {
            Sampling::Same => len,
            Sampling::Down => len.div_ceil(2),
            Sampling::Up => 2 * len,
        };
        let y = [batch, out, output(height), output(width)];
        Self {
            x: draw.leaf([batch, channels, height, width]),
            weight: draw.leaf([out, channels, kernel, kernel]),
            plus: Plus {
                bias: draw.chance().then(|| draw.leaf([out])),
                per_example: draw.chance().then(|| draw.leaf([batch, out])),
                residual: draw.chance().then(|| draw.leaf(y)),
            },
            sampling,
            kernel,
            direction: draw.leaf(y),
        }
    }

    fn ours(&self) -> Tensor<4> {
        let (x, weight, plus) = (self.x.clone(), self.weight.clone(), self.plus.clone());
        if self.kernel == 1 {
            conv2d_1x1(x, weight, plus)
        } else {
            conv2d_3x3(x, weight, plus, self.sampling)
        }
    }

    fn burns(&self) -> Tensor<4> {
        let [batch, out, ..] = self.direction.dims();
        let [_, _, height, width] = self.x.dims();
        let mut x = self.x.clone();
        if self.sampling == Sampling::Up {
            let nearest = InterpolateOptions::new(InterpolateMode::Nearest)
                .with_output_size([2 * height, 2 * width]);
            x = interpolate(x, nearest);
        }
        let stride = if self.sampling == Sampling::Down {
            2
        } else {
            1
        };
        let options = ConvOptions::new([stride; 2], [self.kernel / 2; 2], [1, 1], 1);
        let mut y = conv2d(x, self.weight.clone(), self.plus.bias.clone(), options);
        if let Some(per_example) = self.plus.per_example.clone() {
            y = y + per_example.reshape([batch, out, 1, 1]);
        }
        if let Some(residual) = self.plus.residual.clone() {
            y = y + residual;
        }
        y
    }

    /// y and the gradients, by name.
    fn results(&self, y: Tensor<4>) -> Vec<(&'static str, Vec<f32>)> {
        let mut results = vec![("y", numbers(y.clone()))];
        let grads = (y * self.direction.clone().detach()).sum().backward();
        results.push(("x", numbers(self.x.grad(&grads).unwrap())));
        results.push(("weight", numbers(self.weight.grad(&grads).unwrap())));
        if let Some(bias) = &self.plus.bias {
            results.push(("bias", numbers(bias.grad(&grads).unwrap())));
        }
        if let Some(per_example) = &self.plus.per_example {
            results.push(("per example", numbers(per_example.grad(&grads).unwrap())));
        }
        if let Some(residual) = &self.plus.residual {
            results.push(("residual", numbers(residual.grad(&grads).unwrap())));
        }
        results
    }

    fn check(&self) {
        let (ours, burns) = (self.results(self.ours()), self.results(self.burns()));
        for ((what, ours), (_, burns)) in ours.iter().zip(&burns) {
            assert_close(what, ours, burns);
        }
    }
}

/// Channels, often a multiple of 16, for which there is another algorithm.
fn channels() -> impl Strategy<Value = usize> {
    prop_oneof![1..=96usize, 1..=6usize, (1..=6usize).prop_map(|n| 16 * n)]
}

fn sampling() -> impl Strategy<Value = Sampling> {
    prop_oneof![
        2 => Just(Sampling::Same),
        1 => Just(Sampling::Down),
        1 => Just(Sampling::Up)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn conv2d_3x3_is_burns(
        (batch, channels, out) in (1..=5usize, channels(), channels()),
        (height, width) in (1..=33usize, 1..=33usize),
        sampling in sampling(),
        seed in any::<u64>(),
    ) {
        let dims = [batch, channels, out, height, width];
        Convolution::draw(&mut Draw::new(seed), dims, 3, sampling).check();
    }

    #[test]
    fn conv2d_1x1_is_burns(
        (batch, channels, out) in (1..=5usize, channels(), channels()),
        (height, width) in (1..=33usize, 1..=33usize),
        seed in any::<u64>(),
    ) {
        let dims = [batch, channels, out, height, width];
        Convolution::draw(&mut Draw::new(seed), dims, 1, Sampling::Same).check();
    }

    #[test]
    fn group_norm_is_burns(
        (batch, groups, size) in (1..=5usize, 1..=8usize, 1..=12usize),
        (height, width) in (1..=33usize, 1..=33usize),
        (scaled, activated) in any::<(bool, bool)>(),
        seed in any::<u64>(),
    ) {
        // One number has no variance: all that is left is rounding.
        prop_assume!(size * height * width > 1);
        let channels = groups * size;
        let mut draw = Draw::new(seed);
        let x = draw.leaf([batch, channels, height, width]);
        let (gamma, beta) = (draw.leaf([channels]), draw.leaf([channels]));
        let scale_shift = (scaled && activated).then(|| draw.leaf([batch, 2 * channels]));
        let direction = draw.leaf([batch, channels, height, width]).detach();

        let ours = if activated {
            let scale_shift = scale_shift.clone();
            group_norm_silu(x.clone(), gamma.clone(), beta.clone(), scale_shift, groups, 1e-5)
        } else {
            group_norm(x.clone(), gamma.clone(), beta.clone(), groups, 1e-5)
        };
        let grouped = x.clone().reshape([batch, groups, size * height * width]);
        let centred = grouped.clone() - grouped.mean_dim(2);
        let variance = centred.clone().square().mean_dim(2);
        let mut burns = (centred / (variance + 1e-5).sqrt())
            .reshape([batch, channels, height, width])
            * gamma.clone().reshape([1, channels, 1, 1])
            + beta.clone().reshape([1, channels, 1, 1]);
        if let Some(scale_shift) = &scale_shift {
            let [scale, shift] = [0, channels].map(|start| {
                let part = scale_shift.clone().narrow(1, start, channels);
                part.reshape([batch, channels, 1, 1])
            });
            burns = burns * (scale + 1.0) + shift;
        }
        if activated {
            burns = silu(burns);
        }
        assert_close("y", &numbers(ours.clone()), &numbers(burns.clone()));

        let ours = (ours * direction.clone()).sum().backward();
        let burns = (burns * direction).sum().backward();
        for (what, leaf) in [("gamma", &gamma), ("beta", &beta)] {
            let (ours, burns) = (leaf.grad(&ours).unwrap(), leaf.grad(&burns).unwrap());
            assert_close(what, &numbers(ours), &numbers(burns));
        }
        assert_close("x", &numbers(x.grad(&ours).unwrap()), &numbers(x.grad(&burns).unwrap()));
        if let Some(leaf) = scale_shift {
            let (ours, burns) = (leaf.grad(&ours).unwrap(), leaf.grad(&burns).unwrap());
            assert_close("scale and shift", &numbers(ours), &numbers(burns));
        }
    }
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let pool = |threads| {
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap()
    };
    for (kernel, sampling, dims) in [
        (3, Sampling::Same, [5, 32, 48, 28, 28]),
        (3, Sampling::Same, [1, 64, 64, 7, 7]),
        (3, Sampling::Same, [5, 3, 20, 9, 11]),
        (3, Sampling::Same, [5, 20, 3, 9, 11]),
        (3, Sampling::Down, [3, 32, 32, 15, 15]),
        (3, Sampling::Up, [3, 32, 32, 7, 7]),
        (1, Sampling::Same, [5, 96, 40, 14, 14]),
    ] {
        let convolution = Convolution::draw(&mut Draw::new(7), dims, kernel, sampling);
        let results = [1, 2, 3]
            .map(|threads| pool(threads).install(|| convolution.results(convolution.ours())));
        for other in &results[1..] {
            for ((what, one), (_, other)) in results[0].iter().zip(other) {
                let same = one
                    .iter()
                    .zip(other)
                    .all(|(a, b)| a.to_bits() == b.to_bits());
                assert!(
                    same,
                    "{what} of {dims:?} differs between numbers of threads"
                );
            }
        }
    }
}

/// The slope along a drawn direction, by central differences, is the gradient times the direction.
#[test]
fn gradients_are_slopes() {
    for (seed, kernel, sampling, dims) in [
        (1, 3, Sampling::Same, [2, 16, 16, 6, 5]),
        (2, 3, Sampling::Same, [2, 3, 5, 6, 5]),
        (3, 3, Sampling::Down, [2, 16, 16, 6, 5]),
        (4, 3, Sampling::Up, [2, 16, 16, 3, 5]),
        (5, 1, Sampling::Same, [2, 8, 16, 6, 5]),
    ] {
        let mut draw = Draw::new(seed);
        let at = Convolution::draw(&mut draw, dims, kernel, sampling);
        let step_x = draw.leaf(at.x.dims());
        let step_weight = draw.leaf(at.weight.dims());
        let slope = |gradients: &[(&str, Vec<f32>)], name: &str, step: Vec<f32>| -> f64 {
            let (_, gradient) = gradients.iter().find(|(what, _)| *what == name).unwrap();
            let products = gradient.iter().zip(step);
            products.map(|(g, s)| f64::from(*g) * f64::from(s)).sum()
        };
        let gradients = at.results(at.ours());
        let loss = |x: Tensor<4>, weight: Tensor<4>| -> f64 {
            let moved = Convolution {
                x,
                weight,
                ..at.clone()
            };
            let y = numbers(moved.ours() * at.direction.clone());
            y.into_iter().map(f64::from).sum()
        };
        // Each is linear: the step may be long.
        let (x, weight) = (at.x.clone(), at.weight.clone());
        let along_x = loss(x.clone() + step_x.clone(), weight.clone())
            - loss(x.clone() - step_x.clone(), weight.clone());
        let expected = slope(&gradients, "x", numbers(step_x));
        assert!((along_x / 2.0 - expected).abs() < 1e-3 * expected.abs().max(10.0));
        let along_weight = loss(x.clone(), weight.clone() + step_weight.clone())
            - loss(x, weight - step_weight.clone());
        let expected = slope(&gradients, "weight", numbers(step_weight));
        assert!((along_weight / 2.0 - expected).abs() < 1e-3 * expected.abs().max(10.0));
    }
}

#[test]
fn channels_side_by_side_are_burns() {
    let mut draw = Draw::new(3);
    let (a, b) = (draw.leaf([2, 3, 5, 4]), draw.leaf([2, 7, 5, 4]));
    let direction = draw.leaf([2, 10, 5, 4]).detach();
    let ours = cpu_ops::concat_channels(a.clone(), b.clone());
    let burns = Tensor::cat(vec![a.clone(), b.clone()], 1);
    assert_eq!(numbers(ours.clone()), numbers(burns.clone()));
    let ours = (ours * direction.clone()).sum().backward();
    let burns = (burns * direction).sum().backward();
    for leaf in [a, b] {
        let (ours, burns) = (leaf.grad(&ours).unwrap(), leaf.grad(&burns).unwrap());
        assert_eq!(numbers(ours), numbers(burns));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn attention_is_burns(
        (batch, heads, head) in (1..=5usize, 1..=4usize, 1..=24usize),
        (height, width) in (1..=9usize, 1..=9usize),
        seed in any::<u64>(),
    ) {
        let mut draw = Draw::new(seed);
        let (channels, pixels) = (heads * head, height * width);
        let dims = [batch, channels, height, width];
        let leaves = [draw.leaf(dims), draw.leaf(dims), draw.leaf(dims)];
        let direction = draw.leaf(dims).detach();
        let [q, k, v] = leaves.clone();
        let ours = cpu_ops::attention(q, k, v, heads);
        let [q, k, v] = leaves
            .clone()
            .map(|x| x.reshape([batch, heads, head, pixels]).swap_dims(2, 3));
        let scores = q.matmul(k.transpose()) / (head as f64).sqrt();
        let burns = softmax(scores, 3).matmul(v).swap_dims(2, 3).reshape(dims);
        assert_close("o", &numbers(ours.clone()), &numbers(burns.clone()));
        let ours = (ours * direction.clone()).sum().backward();
        let burns = (burns * direction).sum().backward();
        for (what, leaf) in ["q", "k", "v"].iter().zip(leaves) {
            let (ours, burns) = (leaf.grad(&ours).unwrap(), leaf.grad(&burns).unwrap());
            // One pixel attends to itself alone: its gradient is 0, as a difference of numbers near 1.
            assert_close_beside(0.1, what, &numbers(ours), &numbers(burns));
        }
    }
}

/// A leaf and an inner node, each used three times, by this crate and by burn.
#[test]
fn gradients_of_a_tensor_that_is_used_again_are_added() {
    let mut draw = Draw::new(11);
    let dims = [2, 16, 5, 6];
    let x = draw.leaf(dims);
    let weight = draw.leaf([16, 16, 3, 3]);
    let (one, zero) = (draw.leaf([16]), draw.leaf([16]));
    let direction = draw.leaf([2, 32, 5, 6]).detach();
    let loss = |ours: bool| {
        let conv = |x: Tensor<4>| {
            if ours {
                conv2d_3x3(x, weight.clone(), Plus::default(), Sampling::Same)
            } else {
                let options = ConvOptions::new([1, 1], [1, 1], [1, 1], 1);
                conv2d(x, weight.clone(), None, options)
            }
        };
        let inner = conv(x.clone()) * 0.1;
        let inner = conv(inner) + x.clone();
        let inner = conv(inner) * 0.1 + conv(x.clone());
        let again = conv(inner.clone()) * 0.1 + inner.clone().tanh();
        let normal = if ours {
            group_norm(inner.clone(), one.clone(), zero.clone(), 4, 1e-5)
        } else {
            let grouped = inner.clone().reshape([2, 4, 4 * 30]);
            let centred = grouped.clone() - grouped.mean_dim(2);
            let variance = centred.clone().square().mean_dim(2);
            (centred / (variance + 1e-5).sqrt()).reshape(dims) * one.clone().reshape([1, 16, 1, 1])
                + zero.clone().reshape([1, 16, 1, 1])
        };
        let joined = if ours {
            cpu_ops::concat_channels(again, inner)
        } else {
            Tensor::cat(vec![again, inner], 1)
        };
        (joined * direction.clone()).sum() + normal.powi_scalar(3).sum()
    };
    let (ours, burns) = (loss(true).backward(), loss(false).backward());
    let gradient = |of: &burn::tensor::Gradients| numbers(x.grad(of).unwrap());
    assert_close("x", &gradient(&ours), &gradient(&burns));
    let gradient = |of: &burn::tensor::Gradients| numbers(weight.grad(of).unwrap());
    assert_close("weight", &gradient(&ours), &gradient(&burns));
}

/// The kernels are the same: so are the numbers.
#[cfg(feature = "ndarray")]
#[test]
fn ndarray_is_flex() {
    for (kernel, sampling, dims) in [
        (3, Sampling::Same, [2, 32, 16, 9, 8]),
        (3, Sampling::Down, [2, 5, 16, 9, 8]),
        (1, Sampling::Same, [2, 5, 16, 9, 8]),
    ] {
        let results = [Device::flex(), Device::ndarray()].map(|device| {
            let mut draw = Draw::new(5);
            draw.device = device.autodiff();
            let convolution = Convolution::draw(&mut draw, dims, kernel, sampling);
            let [_, out, height, width] = convolution.direction.dims();
            let y = convolution.ours();
            let (one, zero) = (draw.leaf([out]), draw.leaf([out]));
            let y = group_norm_silu(y, one, zero, None, 4, 1e-5);
            let y = cpu_ops::attention(y.clone(), y.clone(), y.clone(), 2) + y;
            let y = cpu_ops::concat_channels(y.clone(), y).narrow(1, 0, out);
            assert_eq!(y.dims(), [dims[0], out, height, width]);
            convolution.results(y)
        });
        for ((what, flex), (_, ndarray)) in results[0].iter().zip(&results[1]) {
            assert_close(what, ndarray, flex);
        }
    }
}
