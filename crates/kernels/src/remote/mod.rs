//! The kernels on devices of other machines, by burn's remote backend.
//!
//! burn sends a worker its own operations. Those of this crate travel beside them as custom ones: a name, tensors of
//! the worker, and numbers ([`Number`]). `client` sends them, `worker` computes them with the kernels of the backend
//! that it serves. What a pass forward keeps for its gradients stays with the worker, in whatever shape its backend
//! keeps it; the client knows it by an id.

mod client;
mod numbers;
mod worker;

pub use self::worker::with_kernels;

/// The version of the operations that a worker computes for clients: of both it must be the same. It is raised with
/// every change of the name of an operation, or of what travels with it.
pub const WORKER_OPERATIONS: u32 = 2;

/// The names of the operations, each with what travels.
mod name {
    /// x, weight, addends, window, whether it is training: y and x as kept.
    pub(super) const CONVOLVE: &str = "kernels::convolve";
    /// x as kept, weight, window, whether something was added to each example, dy: the gradients of weight, bias and, if
    /// any, `per_example`.
    pub(super) const PARAMETER_GRADIENTS: &str = "kernels::parameter_gradients";
    /// The same: the gradient of x.
    pub(super) const INPUT_GRADIENT: &str = "kernels::input_gradient";
    /// x, γ, β, scale and shift, options: y, x as kept and moments.
    pub(super) const NORMALISE: &str = "kernels::normalise";
    /// x as kept, moments, γ, β, scale and shift, options, dy, the gradient of x so far: the gradients of x, γ, β and, if
    /// any, scale and shift.
    pub(super) const NORM_GRADIENTS: &str = "kernels::norm_gradients";
    /// q, k, v, heads: o, q, k and v as kept, and what else is.
    pub(super) const ATTEND: &str = "kernels::attend";
    /// q, k and v as kept, o, what else is kept, heads, ∂o: the gradients of q, k and v.
    pub(super) const ATTENTION_GRADIENTS: &str = "kernels::attention_gradients";
    /// Both images: one.
    pub(super) const JOIN_CHANNELS: &str = "kernels::join_channels";
    /// An image, channels of the first: both.
    pub(super) const PART_CHANNELS: &str = "kernels::part_channels";
    /// Both: their sum.
    pub(super) const SUM: &str = "kernels::sum";
    /// Parameters, both moments, gradient, its scale, coefficients: parameters and both moments.
    pub(super) const ADAMW: &str = "kernels::adamw";
    /// From, to, how much of the difference: the average.
    pub(super) const MOVING_AVERAGE: &str = "kernels::moving_average";
    /// A vector: the sum of its squares.
    pub(super) const SUM_OF_SQUARES: &str = "kernels::sum_of_squares";
}
