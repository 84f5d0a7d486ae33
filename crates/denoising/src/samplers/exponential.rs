//! What the DPM-Solver++ samplers share (Lu et al. 2022, "DPM-Solver++").
//!
//! With α = √ᾱ, σ = √(1 − ᾱ), λ = ln(α / σ) and h = λ_s − λ_t > 0 the flow's linear part is solved
//! exactly, and only x_0 as a function of λ is approximated (their equation 9). The step of first order
//! is [`NoiseLevel::first_order_step`]; those of second order put a better mean of x_0 along the step in
//! its place.

use burn::tensor::Tensor;

use crate::steps::{NoiseLevel, Step};

/// How the last step of a multistep method is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MultistepOptions {
    /// Whether the last step leads to ᾱ = 1, which is x_0 itself, or else to ᾱ_0, the least noisy step
    /// of the chain. True unless chosen. A step to x_0 itself is always of first order, since λ = ∞
    /// there.
    pub set_alpha_to_one: bool,
    /// Whether the last step is of first order wherever it leads. True unless chosen.
    pub lower_order_final: bool,
}

impl Default for MultistepOptions {
    fn default() -> Self {
        Self {
            set_alpha_to_one: true,
            lower_order_final: true,
        }
    }
}

/// h = λ_s − λ_t; ∞ to data and from zero SNR.
pub(super) fn lambda_difference(from: NoiseLevel, to: NoiseLevel) -> f64 {
    to.lambda() - from.lambda()
}

/// How x_0 would change over the step if it went on as since the step before, which began at level q
/// and predicted x_0(q): (x_0(t) − x_0(q)) / r, and r = (λ_t − λ_q) / h.
///
/// `None` for the first step, and where one of the two leads to data or comes from zero SNR: λ is
/// infinite there.
pub(super) fn extrapolated_change<const D: usize>(
    step: Step,
    x_0: &Tensor<D>,
    before: Option<(NoiseLevel, Tensor<D>)>,
) -> Option<(Tensor<D>, f64)> {
    let (level, x_0_before) = before?;
    let r = lambda_difference(level, step.from) / lambda_difference(step.from, step.to);
    (r.is_finite() && r > 0.0).then(|| ((x_0.clone() - x_0_before).div_scalar(r), r))
}

/// The mean of x_0 over the step if it changes by `change`: x_0 half the way.
pub(super) fn mean_x_0<const D: usize>(
    x_0: &Tensor<D>,
    change: Option<&(Tensor<D>, f64)>,
) -> Tensor<D> {
    match change {
        Some((change, _)) => x_0.clone() + change.clone().mul_scalar(0.5),
        None => x_0.clone(),
    }
}
