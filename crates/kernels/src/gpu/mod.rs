//! By hand on GPUs, in CubeCL's language, for every backend of burn that is built on it: wgpu, Vulkan,
//! Metal, CUDA and ROCm.
//!
//! What a step costs on a GPU beside its products are launches and traffic. burn's operations are a kernel
//! each: GroupNorm with SiLU is 75 launches and some hundred passes over memory in a training step, here it
//! is three launches and seven passes. Convolutions and matrix products are burn's, which tunes them.
//!
//! Images lie channels-last, as burn's convolutions have them, and stay so.

mod attention;
mod concat;
mod convolution;
mod group_norm;
mod images;
mod join;
#[cfg(feature = "persistence")]
mod kept;
mod launches;
mod optimizer;
mod reduce;
mod self_attention;
mod silu;
mod tensor;

pub(crate) use self::join::join;
pub(crate) use self::optimizer::{adamw, moving_average, sum_of_squares};
pub(crate) use self::self_attention::SelfAttention;
pub(crate) use self::silu::Activation;
pub(crate) use self::tensor::{largest_buffer, vector_alignment};

#[cfg(feature = "persistence")]
pub use self::kept::keep_compiled;
pub use self::launches::count_launches;
