//! The kernels against burn, PyTorch and formulas, with every set of instructions that the processor has.

#![allow(clippy::unwrap_used)]
// burn calls its ndarray backend deprecated; it is asked for by feature.
#![cfg_attr(feature = "ndarray", allow(deprecated))]

mod against_burn;
mod against_pytorch;
mod case;
#[cfg(feature = "wgpu")]
mod gpu;
mod half;
#[cfg(any(feature = "remote", feature = "wgpu"))]
mod images;
mod levels;
mod optimizer;
#[cfg(feature = "remote")]
mod remote;
