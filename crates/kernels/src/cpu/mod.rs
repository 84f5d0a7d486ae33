//! The kernels by hand: slices of f32, channels-last, with the vectors of the processor.

pub(crate) mod attention;
pub(crate) mod columns;
pub(crate) mod concat;
pub(crate) mod convolution;
mod gemm;
pub(crate) mod group_norm;
pub(crate) mod host;
pub(crate) mod memory;
pub(crate) mod optimizer;
pub(crate) mod simd;
mod weights;
mod winograd;
