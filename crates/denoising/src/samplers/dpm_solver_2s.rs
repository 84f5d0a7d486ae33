//! DPM-Solver++(2S), the singlestep method of second order (Lu et al. 2022, "DPM-Solver++", algorithm 1
//! with r = ½).
//!
//! A step of first order leads half the way in λ; the x_0 predicted there serves for the whole step:
//!
//! ```text
//! u   = σ_m / σ_t x_t  +  α_m (1 − e^{−h/2}) x_0(x_t, t),   λ_m = (λ_t + λ_s) / 2
//! x_s = σ_s / σ_t x_t  +  α_s (1 − e^{−h}) x_0(u, m)
//! ```
//!
//! Two calls of the network a step, but for the last, which goes to data, where λ = ∞ has no half, and
//! has one.

use burn::tensor::Tensor;
use noising::{NoiseSchedule, PredictionType};

use crate::clipping::X0Clipping;
use crate::error::SamplerError;
use crate::sampler::{Sampler, State};
use crate::steps::{NoiseLevel, Steps};

/// The sampler DPM-Solver++(2S).
#[derive(Debug, Clone)]
pub struct DpmSolver2S {
    steps: Steps,
    schedule: NoiseSchedule,
}

impl DpmSolver2S {
    /// A sampler that visits `timesteps`, which fall, for a network of this prediction type. Between
    /// them it visits timesteps that need not be whole.
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
            schedule: schedule.clone(),
        })
    }
}

impl<const D: usize> Sampler<D> for DpmSolver2S {
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
        let predicted_x_0 = self
            .steps
            .predict(step.from, x_t.clone(), model)
            .predicted_x_0;
        let log_snr = step.from.lambda() + step.to.lambda();
        let mean_x_0 = if log_snr.is_finite() {
            let middle = NoiseLevel::at(&self.schedule, self.schedule.timestep_at_log_snr(log_snr));
            let u = step
                .from
                .first_order_step(middle, x_t.clone(), predicted_x_0.clone());
            self.steps.predict(middle, u, model).predicted_x_0
        } else {
            predicted_x_0.clone()
        };
        State {
            index,
            timestep: step.from.timestep,
            x: step.from.first_order_step(step.to, x_t, mean_x_0),
            predicted_x_0,
        }
    }
}
