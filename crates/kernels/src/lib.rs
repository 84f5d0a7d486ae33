//! The few kernels that training time hangs on, with hand-written gradients.
//!
//! Plain functions of `Tensor`. On burn's CPU backends (cargo features `flex` and `ndarray`), on its GPU
//! backends (`gpu`) and for f32, forward and backward are kernels of this crate; on every other backend, and
//! for every other type, the same function is burn's own operations. On GPUs convolutions, matrix products
//! and the networks of rows are burn's too. On devices of other machines (`remote`) they are those of the
//! worker, but for networks of rows, which are burn's there.
//!
//! - [`conv2d_3x3`], [`conv2d_1x1`], [`conv2d`]: convolution, with what follows it folded in ([`Plus`])
//!   and nearest-neighbour upsampling before it ([`Sampling`]). Winograd's F(4×4, 3×3) for stride 1, a
//!   matrix product over unrolled windows else.
//! - [`group_norm`], [`group_norm_silu`]: GroupNorm, scale and shift, SiLU, in one pass.
//! - [`concat_channels`]: the skip connections.
//! - [`attention`], [`self_attention`]: attention between pixels, whose probabilities are not kept.
//! - [`pixel_linear`]: a linear layer over the channels of each pixel.
//! - [`linear`], [`linear_silu`], [`layer_norm`], [`layer_norm_silu`], [`embedding_sum`],
//!   [`segment_log_softmax`], [`silu`]: networks of rows, such as those of tables.
//! - [`adamw`], [`moving_average`], [`sum_of_squares`]: the optimiser, a pass each, over one vector of all
//!   parameters ([`join_vectors`]).
//! - [`keep_at_most`]: how much unused memory is kept.
//! - `count_launches`, with `gpu`: which kernels a piece of work launches.
//! - `with_kernels`, with `remote`: a worker that has these kernels for its clients.
//!
//! # Memory
//!
//! The kernels keep images channels-last: a result has the shape `[batch, channels, height, width]`
//! with strides in which channels lie side by side. burn's operations take such a tensor as any
//! other; kernels that follow each other copy nothing.
//!
//! # Threads
//!
//! Kernels run in the rayon pool that they are called from. Results do not depend on its size: sums
//! are cut into parts by shape alone and added in a fixed order.
//!
//! # Instructions
//!
//! On x86-64 the kernels use AVX-512 or AVX2 with FMA where the processor has them, and the tiles of AMX
//! for the products of linear layers, with 16 bits of each number, as exact as they need to be (on Linux). The environment variable
//! `KERNELS_SIMD=amx|avx512|avx2|plain` sets the most that they may use, so that one machine
//! tests what another runs; empty, it is as if it were unset, and another value panics, for it would
//! seem to test what it does not. It is read once, when the first kernel runs. Levels differ from each
//! other in rounding.

// Kernels index several arrays in step, and fill small arrays of registers by index: with iterators
// they read worse, and closures are not compiled for the vectors of `cpu::simd::run`.
#![allow(clippy::needless_range_loop)]
// burn calls its ndarray backend deprecated; it is asked for by feature.
#![cfg_attr(feature = "ndarray", allow(deprecated))]
#![deny(unsafe_code)]

mod accumulate;
mod cpu;
#[cfg(feature = "gpu")]
mod gpu;
mod gradients;
mod images;
mod operations;
mod optimizer;
mod place;
#[cfg(feature = "remote")]
mod remote;
mod row_gradients;
mod rows;

pub use crate::cpu::memory::keep_at_most;
pub use crate::cpu::simd::{UnknownLevel, check_level};
#[cfg(feature = "gpu")]
pub use crate::gpu::count_launches;
#[cfg(feature = "persistence")]
pub use crate::gpu::keep_compiled;
pub use crate::operations::{
    PixelLinear, Plus, Sampling, attention, concat_channels, conv2d, conv2d_1x1, conv2d_3x3,
    group_norm, group_norm_silu, pixel_linear, self_attention,
};
pub use crate::optimizer::{
    AdamWState, AdamWStep, adamw, inputs_lie_last, join_vectors, longest_vector, moving_average,
    sum_of_squares, vector_alignment,
};
#[cfg(feature = "remote")]
pub use crate::remote::{WORKER_OPERATIONS, with_kernels};
pub use crate::rows::{
    PlusRows, embedding_sum, layer_norm, layer_norm_silu, linear, linear_silu, segment_log_softmax,
    silu,
};

/// The code of README.md, as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
