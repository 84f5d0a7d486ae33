//! DPM-Solver++(2M), the multistep method of second order (Lu et al. 2022, "DPM-Solver++", algorithm 2).
//!
//! It extrapolates x_0 from the step before, so a step costs one call of the network:
//!
//! ```text
//! D   = x_0(x_t, t) + 1 / (2 r) (x_0(x_t, t) − x_0(x_q, q)),   r = (λ_t − λ_q) / h
//! x_s = σ_s / σ_t x_t  +  α_s (1 − e^{−h}) D
//! ```
//!
//! where q is the timestep before t. The first step is of first order.

use burn::tensor::Tensor;
use noising::{NoiseSchedule, PredictionType};

use super::exponential::{MultistepOptions, extrapolated_change, mean_x_0};
use crate::clipping::X0Clipping;
use crate::error::SamplerError;
use crate::sampler::{Sampler, State};
use crate::steps::{History, NoiseLevel, Steps};

/// The sampler DPM-Solver++(2M).
#[derive(Debug, Clone)]
pub struct DpmSolver2M<const D: usize> {
    steps: Steps,
    lower_order_final: bool,
    history: History<(NoiseLevel, Tensor<D>)>,
}

impl<const D: usize> DpmSolver2M<D> {
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
        options: MultistepOptions,
    ) -> Result<Self, SamplerError> {
        let mut steps = Steps::new(schedule, timesteps, prediction_type, clipping)?;
        if !options.set_alpha_to_one {
            steps = steps.ending_on_the_chain(schedule);
        }
        Ok(Self {
            steps,
            lower_order_final: options.lower_order_final,
            history: History::new(),
        })
    }
}

impl<const D: usize> Sampler<D> for DpmSolver2M<D> {
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
        let before = self.history.before(index);
        self.history
            .record(index, (step.from, predicted_x_0.clone()));
        let before = before.filter(|_| !(step.is_last && self.lower_order_final));
        let change = extrapolated_change(step, &predicted_x_0, before);
        let mean_x_0 = mean_x_0(&predicted_x_0, change.as_ref());
        State {
            index,
            timestep: step.from.timestep,
            x: step.from.first_order_step(step.to, x_t, mean_x_0),
            predicted_x_0,
        }
    }
}
