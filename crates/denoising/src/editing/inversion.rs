//! DDIM inversion: from data to the noise that DDIM makes it of (Song et al. 2021, section 5.4).
//!
//! It takes the steps of [`Ddim`](crate::Ddim) with η = 0 and no clipping the other way round. With
//! x̂ = x / √ᾱ and ρ = √(1 − ᾱ) / √ᾱ a step of the sampler from t to s is
//! x̂_s = x̂_t + (ρ_s − ρ_t) ε(x_t, t). Undone, it is an equation for x_t,
//!
//! ```text
//! x̂_t = x̂_s + (ρ_t − ρ_s) ε(x_t, t)
//! ```
//!
//! which is solved by iterating it (Pan et al. 2023). One iteration, from ε(√(ᾱ_t / ᾱ_s) x_s, t), is the
//! usual inversion but for the input: others (diffusers among them) ask for ε(x_s, t), though x_s has the
//! scale of s. More iterations lead the sampler back to the data more closely, at one network call each.

use burn::tensor::Tensor;
use noising::{NoiseSchedule, PredictionType};

use crate::clipping::X0Clipping;
use crate::error::SamplerError;
use crate::sampler::{Sampler, State};
use crate::steps::{NoiseLevel, Steps};

/// DDIM with η = 0 run backwards. As a sampler it leads from x_0 to x_t at the first of its timesteps.
#[derive(Debug, Clone)]
pub struct DdimInversion {
    steps: Steps,
    iterations: usize,
}

impl DdimInversion {
    /// The inversion of the DDIM sampler that visits `timesteps`, which fall; each step is solved by
    /// `iterations` calls of the network.
    ///
    /// # Errors
    ///
    /// If `timesteps` is empty, does not fall strictly, leaves the schedule or visits a step of zero
    /// SNR, or if `iterations` is 0.
    pub fn new(
        schedule: &NoiseSchedule,
        timesteps: &[f64],
        prediction_type: PredictionType,
        iterations: usize,
    ) -> Result<Self, SamplerError> {
        if iterations == 0 {
            return Err(SamplerError::Parameter {
                parameter: "the number of iterations",
                value: 0.0,
                expected: "1 or more",
            });
        }
        let steps = Steps::new(schedule, timesteps, prediction_type, X0Clipping::None)?;
        let NoiseLevel {
            timestep,
            alpha_cumprod,
        } = steps.get(0).from;
        if alpha_cumprod == 0.0 {
            return Err(SamplerError::InversionAtZeroSnr { timestep });
        }
        Ok(Self { steps, iterations })
    }
}

impl<const D: usize> Sampler<D> for DdimInversion {
    fn num_steps(&self) -> usize {
        self.steps.len()
    }

    /// A step towards noise: its `timestep` is where x is, not where it was.
    fn step(
        &mut self,
        index: usize,
        x_s: Tensor<D>,
        model: &mut dyn FnMut(Tensor<D>, f64) -> Tensor<D>,
        _noise: &mut dyn FnMut() -> Tensor<D>,
    ) -> State<D> {
        let len = self.steps.len();
        assert!(index < len, "step {index} of an inversion of {len} steps");
        let step = self.steps.get(len - 1 - index);
        let scaled = x_s.mul_scalar(step.from.alpha() / step.to.alpha());
        let way = (step.from.rho() - step.to.rho()) * step.from.alpha();
        let mut solve = |x_t| {
            let [x_0, epsilon] = self.steps.predict_x_0_and_epsilon(step.from, x_t, model);
            (x_0, scaled.clone() + epsilon.mul_scalar(way))
        };
        let (mut predicted_x_0, mut x) = solve(scaled.clone());
        for _ in 1..self.iterations {
            (predicted_x_0, x) = solve(x);
        }
        State {
            index,
            timestep: step.from.timestep,
            x,
            predicted_x_0,
        }
    }
}
