//! SDE-DPM-Solver++(2M), the multistep method of second order for the reverse diffusion with its noise
//! (Lu et al. 2022, "DPM-Solver++", equation 18):
//!
//! ```text
//! x_s = σ_s / σ_t e^{−h} x_t  +  α_s (1 − e^{−2h}) D  +  σ_s √(1 − e^{−2h}) z
//! ```
//!
//! with D and h as in [`DpmSolver2M`](crate::DpmSolver2M).

use burn::tensor::Tensor;
use noising::{NoiseSchedule, PredictionType};

use super::exponential::{extrapolated_change, lambda_difference, mean_x_0};
use crate::clipping::X0Clipping;
use crate::error::SamplerError;
use crate::sampler::{Sampler, State};
use crate::steps::{History, NoiseLevel, Steps, add_noise};

/// The sampler SDE-DPM-Solver++(2M). The last step adds no noise.
#[derive(Debug, Clone)]
pub struct DpmSolver2MSde<const D: usize> {
    steps: Steps,
    history: History<(NoiseLevel, Tensor<D>)>,
}

impl<const D: usize> DpmSolver2MSde<D> {
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

impl<const D: usize> Sampler<D> for DpmSolver2MSde<D> {
    fn num_steps(&self) -> usize {
        self.steps.len()
    }

    fn step(
        &mut self,
        index: usize,
        x_t: Tensor<D>,
        model: &mut dyn FnMut(Tensor<D>, f64) -> Tensor<D>,
        noise: &mut dyn FnMut() -> Tensor<D>,
    ) -> State<D> {
        let step = self.steps.get(index);
        let predicted_x_0 = self
            .steps
            .predict(step.from, x_t.clone(), model)
            .predicted_x_0;
        let before = self.history.before(index);
        self.history
            .record(index, (step.from, predicted_x_0.clone()));
        let change = extrapolated_change(step, &predicted_x_0, before);
        let mean_x_0 = mean_x_0(&predicted_x_0, change.as_ref());

        let h = lambda_difference(step.from, step.to);
        // 1 − e^{−2h}, the share of the variance that is drawn anew.
        let fresh = -(-2.0 * h).exp_m1();
        let mean = x_t.mul_scalar(step.to.sigma() / step.from.sigma() * (-h).exp())
            + mean_x_0.mul_scalar(step.to.alpha() * fresh);
        State {
            index,
            timestep: step.from.timestep,
            x: add_noise(mean, step.to.sigma() * fresh.sqrt(), noise),
            predicted_x_0,
        }
    }
}
