//! DEIS of order two in ln ρ (Zhang and Chen 2023, "tAB-DEIS" with the ρ of their equation 15 in
//! logarithms).
//!
//! With x̂ = x / α and ρ = σ / α the flow is dx̂ / dρ = ε, and ε is taken to run linearly in ln ρ through
//! its values at t and at q, the timestep before:
//!
//! ```text
//! x̂_s = x̂_t + c_t ε(x_t, t) + c_q ε(x_q, q)
//! c_t = ∫ (ln ρ − ln ρ_q) / (ln ρ_t − ln ρ_q) dρ,  c_q = ∫ (ln ρ − ln ρ_t) / (ln ρ_q − ln ρ_t) dρ
//! ```
//!
//! from ρ_t to ρ_s. A step costs one call of the network. The first and the last step are of first order,
//! which is DDIM's.

use burn::tensor::Tensor;
use noising::{NoiseSchedule, PredictionType};

use crate::clipping::X0Clipping;
use crate::error::SamplerError;
use crate::sampler::{Sampler, State};
use crate::steps::{History, NoiseLevel, Steps};

/// The sampler DEIS-2.
#[derive(Debug, Clone)]
pub struct Deis<const D: usize> {
    steps: Steps,
    history: History<(NoiseLevel, Tensor<D>)>,
}

impl<const D: usize> Deis<D> {
    /// A sampler that visits `timesteps`, which fall, for a network of this prediction type.
    ///
    /// # Errors
    ///
    /// If `timesteps` is empty, does not fall strictly or leaves the schedule, if ε is predicted at
    /// zero SNR, or if `clipping` makes no sense.
    pub fn new(
        schedule: &NoiseSchedule,
        timesteps: &[f64],
        prediction_type: PredictionType,
        clipping: X0Clipping,
    ) -> Result<Self, SamplerError> {
        Ok(Self {
            steps: Steps::new(schedule, timesteps, prediction_type, clipping)?,
            history: History::new(),
        })
    }
}

impl<const D: usize> Sampler<D> for Deis<D> {
    fn num_steps(&self) -> usize {
        self.steps.len()
    }

    fn step(
        &mut self,
        index: usize,
        x_t: Tensor<D>,
        model: &mut dyn FnMut(Tensor<D>, f64) -> Tensor<D>,
        _noise: &mut dyn FnMut() -> Tensor<D>,
    ) -> State<D> {
        let step = self.steps.get(index);
        let [predicted_x_0, epsilon] = self.steps.predict_x_0_and_epsilon(step.from, x_t, model);
        let before = self.history.before(index);
        self.history.record(index, (step.from, epsilon.clone()));

        // x̂_s = x_0 + ρ_s ε̄, where ε̄ is ε and what its change adds over the step.
        let first_order = predicted_x_0.clone().mul_scalar(step.to.alpha())
            + epsilon.clone().mul_scalar(step.to.sigma());
        let before = before.filter(|(level, _)| !step.is_last && level.rho().is_finite());
        let x = match before {
            Some((level, epsilon_before)) => {
                let coefficient = change_coefficient(level, step.from, step.to);
                first_order + (epsilon - epsilon_before).mul_scalar(step.to.alpha() * coefficient)
            }
            None => first_order,
        };
        State {
            index,
            timestep: step.from.timestep,
            x,
            predicted_x_0,
        }
    }
}

/// ∫ (ln ρ − ln ρ_t) / (ln ρ_t − ln ρ_q) dρ from ρ_t to ρ_s: c_t = (ρ_s − ρ_t) + this, c_q = −this.
fn change_coefficient(q: NoiseLevel, t: NoiseLevel, s: NoiseLevel) -> f64 {
    let [rho_q, rho_t, rho_s] = [q.rho(), t.rho(), s.rho()];
    let integral = rho_s * (rho_s / rho_t).ln() - (rho_s - rho_t);
    integral / (rho_t / rho_q).ln()
}
