//! Ancestral sampling (Ho et al. 2020, algorithm 2).
//!
//! x_s is drawn from q(x_s | x_t, x_0), the forward process posterior, with the predicted x_0 in place
//! of the true one:
//!
//! ```text
//! x_s = √ᾱ_s β / (1 − ᾱ_t) x_0  +  √α (1 − ᾱ_s) / (1 − ᾱ_t) x_t  +  σ z
//! ```
//!
//! where s is the next timestep of the list, α = ᾱ_t / ᾱ_s and β = 1 − α. Over all T timesteps that is
//! the paper's chain; over fewer it is the same chain with steps left out (as diffusers does it).

use burn::tensor::Tensor;
use noising::{NoiseSchedule, Posterior, PredictionType};
use serde::{Deserialize, Serialize};

use crate::clipping::X0Clipping;
use crate::error::SamplerError;
use crate::sampler::{Sampler, State};
use crate::steps::{Steps, add_noise};

/// The variance σ² of each ancestral step (Ho et al. 2020, section 3.2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum DdpmVariance {
    /// β̃ = (1 − ᾱ_s) / (1 − ᾱ_t) β: exact if the data is one point.
    #[default]
    FixedSmall,
    /// β: exact if the data is N(0, I).
    FixedLarge,
}

/// The ancestral sampler of DDPM. The last step goes to x_0 and adds no noise.
#[derive(Debug, Clone)]
pub struct Ddpm {
    steps: Steps,
    variance: DdpmVariance,
}

impl Ddpm {
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
        variance: DdpmVariance,
    ) -> Result<Self, SamplerError> {
        Ok(Self {
            steps: Steps::new(schedule, timesteps, prediction_type, clipping)?,
            variance,
        })
    }

    /// σ² of step `index`: the variance of the noise that it adds.
    ///
    /// # Panics
    ///
    /// Unless `index` is below the number of timesteps.
    pub fn variance(&self, index: usize) -> f64 {
        let step = self.steps.get(index);
        let posterior = Posterior::between(step.from.alpha_cumprod, step.to.alpha_cumprod);
        match self.variance {
            _ if step.is_last => 0.0,
            DdpmVariance::FixedSmall => posterior.variance,
            DdpmVariance::FixedLarge => posterior.beta,
        }
    }
}

impl<const D: usize> Sampler<D> for Ddpm {
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
        let posterior = Posterior::between(step.from.alpha_cumprod, step.to.alpha_cumprod);
        let mean = predicted_x_0
            .clone()
            .mul_scalar(posterior.x_0_coefficient)
            .add(x_t.mul_scalar(posterior.x_t_coefficient));
        State {
            index,
            timestep: step.from.timestep,
            x: add_noise(mean, self.variance(index).sqrt(), noise),
            predicted_x_0,
        }
    }
}
