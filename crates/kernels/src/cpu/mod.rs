//! The kernels by hand: slices of f32, channels-last, with the vectors of the processor. Memory is
//! handed out uninitialised and read by pointer here, and nowhere above.

#[allow(unsafe_code)]
pub(crate) mod attention;
#[allow(unsafe_code)]
pub(crate) mod columns;
pub(crate) mod concat;
pub(crate) mod convolution;
#[allow(unsafe_code)]
pub(crate) mod embedding;
#[allow(unsafe_code)]
mod gemm;
#[allow(unsafe_code)]
pub(crate) mod group_norm;
pub(crate) mod host;
mod images;
#[allow(unsafe_code)]
pub(crate) mod layer_norm;
pub(crate) mod linear;
#[allow(unsafe_code)]
pub(crate) mod log_softmax;
#[allow(unsafe_code)]
mod matmul;
#[allow(unsafe_code)]
pub(crate) mod memory;
pub(crate) mod optimizer;
#[allow(unsafe_code)]
mod silu;
#[allow(unsafe_code)]
pub(crate) mod simd;
#[allow(unsafe_code)]
mod tiles;
mod weights;
#[allow(unsafe_code)]
mod winograd;
