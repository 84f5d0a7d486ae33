//! Times each operation on the images of `configs/mnist.toml`'s network, forward and with all
//! gradients, and beside the convolution and the normalisation burn's own.
//!
//! ```text
//! cargo bench --workspace --bench operations
//! cargo bench --workspace --bench operations -- attention
//! ```
//!
//! `cargo test --workspace --bench operations -- --bench` does the same from the build of the tests, where
//! there is one.

use burn::tensor::{Device, Tensor};
use divan::Bencher;
use kernels::Plus;

fn main() {
    divan::main();
}

const BATCH: usize = 32;
const GROUPS: usize = 8;
const EPSILON: f64 = 1e-5;

/// The images of a level.
#[derive(Clone, Copy, Debug)]
struct Level {
    size: usize,
    channels: usize,
}

impl std::fmt::Display for Level {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{0}×{0}×{1}", self.size, self.channels)
    }
}

const LEVELS: [Level; 3] = [
    Level {
        size: 28,
        channels: 32,
    },
    Level {
        size: 14,
        channels: 64,
    },
    Level {
        size: 7,
        channels: 64,
    },
];

impl Level {
    /// Images as the kernels hand them to each other.
    fn channels_last(self) -> Tensor<4> {
        let dims = [BATCH, self.size, self.size, self.channels];
        let x = Tensor::ones(dims, &device()).permute([0, 3, 1, 2]);
        x.detach().require_grad()
    }

    /// Images as burn makes them.
    fn channels_first(self) -> Tensor<4> {
        let dims = [BATCH, self.channels, self.size, self.size];
        Tensor::ones(dims, &device()).require_grad()
    }

    fn weight(self, kernel: usize) -> Tensor<4> {
        let dims = [self.channels, self.channels, kernel, kernel];
        Tensor::ones(dims, &device()).require_grad()
    }

    fn per_channel(self) -> Tensor<1> {
        Tensor::ones([self.channels], &device()).require_grad()
    }
}

fn device() -> Device {
    Device::flex().autodiff()
}

fn forward(bencher: Bencher, operation: impl Fn() -> Tensor<4>) {
    bencher.bench_local(operation);
}

/// The gradient of the output comes from a product, so that it is one of full size.
fn forward_and_backward(bencher: Bencher, operation: impl Fn() -> Tensor<4>) {
    let direction = operation().detach();
    bencher.bench_local(|| (operation() * direction.clone()).sum().backward());
}

/// Both benches of an operation, which is made for a level.
macro_rules! benches {
    ($name:ident, $levels:expr, $operation:expr) => {
        mod $name {
            use super::*;

            #[divan::bench(args = $levels)]
            fn forward(bencher: Bencher, level: Level) {
                super::forward(bencher, $operation(level));
            }

            #[divan::bench(args = $levels)]
            fn forward_and_backward(bencher: Bencher, level: Level) {
                super::forward_and_backward(bencher, $operation(level));
            }
        }
    };
}

fn convolution_3x3(level: Level, sampling: kernels::Sampling) -> impl Fn() -> Tensor<4> {
    let (x, weight, bias) = (level.channels_last(), level.weight(3), level.per_channel());
    move || {
        let plus = Plus {
            bias: Some(bias.clone()),
            ..Plus::default()
        };
        kernels::conv2d_3x3(x.clone(), weight.clone(), plus, sampling)
    }
}

fn same(level: Level) -> impl Fn() -> Tensor<4> {
    convolution_3x3(level, kernels::Sampling::Same)
}

fn down(level: Level) -> impl Fn() -> Tensor<4> {
    convolution_3x3(level, kernels::Sampling::Down)
}

fn down_below_right(level: Level) -> impl Fn() -> Tensor<4> {
    convolution_3x3(level, kernels::Sampling::DownBelowRight)
}

fn up(level: Level) -> impl Fn() -> Tensor<4> {
    convolution_3x3(level, kernels::Sampling::Up)
}

fn same_of_burn(level: Level) -> impl Fn() -> Tensor<4> {
    let (x, weight, bias) = (level.channels_first(), level.weight(3), level.per_channel());
    move || {
        let options = burn::tensor::ops::ConvOptions::new([1, 1], [1, 1], [1, 1], 1);
        let (weight, bias) = (weight.clone(), Some(bias.clone()));
        burn::tensor::module::conv2d(x.clone(), weight, bias, options)
    }
}

fn one_by_one(level: Level) -> impl Fn() -> Tensor<4> {
    let (x, weight) = (level.channels_last(), level.weight(1));
    move || kernels::conv2d_1x1(x.clone(), weight.clone(), Plus::default())
}

fn norm(level: Level) -> impl Fn() -> Tensor<4> {
    let (x, gamma, beta) = (
        level.channels_last(),
        level.per_channel(),
        level.per_channel(),
    );
    move || kernels::group_norm(x.clone(), gamma.clone(), beta.clone(), GROUPS, EPSILON)
}

fn norm_and_silu(level: Level) -> impl Fn() -> Tensor<4> {
    let (x, gamma, beta) = (
        level.channels_last(),
        level.per_channel(),
        level.per_channel(),
    );
    move || {
        let (gamma, beta) = (gamma.clone(), beta.clone());
        kernels::group_norm_silu(x.clone(), gamma, beta, None, GROUPS, EPSILON)
    }
}

fn norm_of_burn(level: Level) -> impl Fn() -> Tensor<4> {
    let norm = burn::nn::GroupNormConfig::new(GROUPS, level.channels)
        .with_epsilon(EPSILON)
        .init(&device());
    let x = level.channels_first();
    move || norm.forward(x.clone())
}

fn norm_and_silu_of_burn(level: Level) -> impl Fn() -> Tensor<4> {
    let norm = norm_of_burn(level);
    move || burn::tensor::activation::silu(norm())
}

fn concatenation(level: Level) -> impl Fn() -> Tensor<4> {
    let (first, second) = (level.channels_last(), level.channels_last());
    move || kernels::concat_channels(first.clone(), second.clone())
}

fn attention(level: Level) -> impl Fn() -> Tensor<4> {
    let [q, k, v] = [(); 3].map(|()| level.channels_last());
    move || kernels::attention(q.clone(), k.clone(), v.clone(), 1)
}

benches!(conv2d_3x3, LEVELS, same);
benches!(conv2d_3x3_burn, LEVELS, same_of_burn);
benches!(conv2d_3x3_down, LEVELS.into_iter().take(2), down);
benches!(
    conv2d_3x3_down_below_right,
    LEVELS.into_iter().take(2),
    down_below_right
);
benches!(conv2d_3x3_up, LEVELS.into_iter().skip(1), up);
benches!(conv2d_1x1, LEVELS, one_by_one);
benches!(group_norm, LEVELS, norm);
benches!(group_norm_burn, LEVELS, norm_of_burn);
benches!(group_norm_silu, LEVELS, norm_and_silu);
benches!(group_norm_silu_burn, LEVELS, norm_and_silu_of_burn);
benches!(concat_channels, LEVELS, concatenation);
// The only level that attends.
benches!(attention, LEVELS.into_iter().skip(2), attention);
