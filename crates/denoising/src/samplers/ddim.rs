//! Denoising diffusion implicit models (Song et al. 2021, equations 12 and 16).
//!
//! ```text
//! x_s = √ᾱ_s x_0  +  √(1 − ᾱ_s − σ²) ε  +  σ z
//! σ²  = η² (1 − ᾱ_s) / (1 − ᾱ_t) (1 − ᾱ_t / ᾱ_s)
//! ```
//!
//! where s is the next timestep of the list. η = 0 is deterministic: an Euler step of the probability
//! flow. η = 1 has the distribution of DDPM's ancestral step with the small variance.

use burn::tensor::Tensor;
use noising::{NoiseSchedule, Posterior, PredictionType};

use crate::clipping::X0Clipping;
use crate::error::SamplerError;
use crate::sampler::{Sampler, State};
use crate::steps::{Prediction, Steps, add_noise};

/// What may be chosen about DDIM.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DdimOptions {
    /// η in [0, 1]: how much of DDPM's noise each step adds. 0 unless chosen.
    pub eta: f64,
    /// Whether ε is derived again from x_t and the clipped x_0. True unless chosen: the two then still
    /// make up x_t, and η = 1 keeps the distribution of DDPM, which has no ε but x_0's. With false, clipped x_0
    /// meets the ε that belonged to the unclipped one; diffusers does so by default
    /// (`use_clipped_model_output = False`), and samples differ.
    pub rederive_epsilon: bool,
    /// Whether the last step leads to ᾱ = 1, which is x_0 itself, or else to ᾱ_0, the least noisy step
    /// of the chain. True unless chosen.
    pub set_alpha_to_one: bool,
}

impl Default for DdimOptions {
    fn default() -> Self {
        Self {
            eta: 0.0,
            rederive_epsilon: true,
            set_alpha_to_one: true,
        }
    }
}

impl DdimOptions {
    /// η, and the rest as it is unless chosen.
    pub fn with_eta(eta: f64) -> Self {
        Self {
            eta,
            ..Self::default()
        }
    }

    /// Whether the numbers make sense.
    ///
    /// # Errors
    ///
    /// If η lies outside [0, 1].
    pub fn check(&self) -> Result<(), SamplerError> {
        if (0.0..=1.0).contains(&self.eta) {
            return Ok(());
        }
        Err(SamplerError::Parameter {
            parameter: "eta",
            value: self.eta,
            expected: "in [0, 1]",
        })
    }
}

/// The DDIM sampler. The last step adds no noise, whatever η is.
#[derive(Debug, Clone)]
pub struct Ddim {
    steps: Steps,
    eta: f64,
    rederive_epsilon: bool,
}

impl Ddim {
    /// A sampler that visits `timesteps`, which fall, for a network of this prediction type.
    ///
    /// # Errors
    ///
    /// If `timesteps` is empty, does not fall strictly or leaves the schedule, if ε is predicted at
    /// zero SNR, if `clipping` makes no sense, or if η lies outside [0, 1].
    pub fn new(
        schedule: &NoiseSchedule,
        timesteps: &[f64],
        prediction_type: PredictionType,
        clipping: X0Clipping,
        options: DdimOptions,
    ) -> Result<Self, SamplerError> {
        options.check()?;
        let DdimOptions {
            eta,
            rederive_epsilon,
            set_alpha_to_one,
        } = options;
        let mut steps = Steps::new(schedule, timesteps, prediction_type, clipping)?;
        if !set_alpha_to_one {
            steps = steps.ending_on_the_chain(schedule);
        }
        Ok(Self {
            steps,
            eta,
            rederive_epsilon,
        })
    }
}

impl<const D: usize> Sampler<D> for Ddim {
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
        let Prediction {
            prediction,
            predicted_x_0,
        } = self.steps.predict(step.from, x_t.clone(), model);
        let marginal = step.from.marginal();
        let epsilon = if self.rederive_epsilon {
            marginal.epsilon_from_x_0(x_t, predicted_x_0.clone())
        } else {
            marginal.predicted_epsilon(self.steps.prediction_type(), x_t, prediction)
        };

        let posterior = Posterior::between(step.from.alpha_cumprod, step.to.alpha_cumprod);
        let variance = if step.is_last {
            0.0
        } else {
            self.eta.powi(2) * posterior.variance
        };
        // Rounding may take it just below 0 where σ² is all there is.
        let direction = (1.0 - step.to.alpha_cumprod - variance).max(0.0).sqrt();
        let mean = predicted_x_0
            .clone()
            .mul_scalar(step.to.alpha_cumprod.sqrt())
            .add(epsilon.mul_scalar(direction));
        State {
            index,
            timestep: step.from.timestep,
            x: add_noise(mean, variance.sqrt(), noise),
            predicted_x_0,
        }
    }
}
