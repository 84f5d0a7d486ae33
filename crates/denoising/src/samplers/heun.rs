//! Heun's method on the probability flow, with churn if wanted (Karras et al. 2022, algorithms 1 and 2).
//!
//! With x̂ = x / √ᾱ and ρ = √(1 − ᾱ) / √ᾱ (their σ) the flow is dx̂ / dρ = ε, and a step from ρ_t to ρ_s
//! takes the mean of the slopes at both of its ends:
//!
//! ```text
//! x̂'  = x̂_t + (ρ_s − ρ_t) ε(x_t, t)
//! x̂_s = x̂_t + (ρ_s − ρ_t) ½ (ε(x_t, t) + ε(x', s))
//! ```
//!
//! Two calls of the network a step, but for the last, which goes to data and has one. Churn first adds
//! noise up to ρ̂ = ρ_t (1 + γ), γ = min(S_churn / n, √2 − 1), where S_tmin ≤ ρ_t ≤ S_tmax.

use burn::tensor::Tensor;
use noising::{NoiseSchedule, PredictionType};
use serde::{Deserialize, Serialize};

use crate::clipping::X0Clipping;
use crate::error::SamplerError;
use crate::sampler::{Sampler, State};
use crate::steps::{NoiseLevel, Steps, add_noise};

/// Churn: how much noise is added before each step. None unless chosen.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct HeunOptions {
    /// S_churn, 0 or more: over n steps, each adds the share S_churn / n to ρ, at most √2 − 1.
    pub s_churn: f64,
    /// S_tmin: no noise is added below this ρ.
    pub s_tmin: f64,
    /// S_tmax: no noise is added above this ρ.
    pub s_tmax: f64,
    /// S_noise, above 0: the deviation of the noise, a little above 1 to make up for detail that is
    /// lost.
    pub s_noise: f64,
}

impl Default for HeunOptions {
    fn default() -> Self {
        Self {
            s_churn: 0.0,
            s_tmin: 0.0,
            s_tmax: f64::INFINITY,
            s_noise: 1.0,
        }
    }
}

impl HeunOptions {
    /// Whether the numbers make sense.
    ///
    /// # Errors
    ///
    /// The number that is out of its range.
    pub fn check(&self) -> Result<(), SamplerError> {
        let Self {
            s_churn,
            s_tmin,
            s_tmax,
            s_noise,
        } = *self;
        let finite = |value: f64, fits: bool| value.is_finite() && fits;
        for (parameter, value, fits, expected) in [
            (
                "s_churn",
                s_churn,
                finite(s_churn, s_churn >= 0.0),
                "finite, 0 or more",
            ),
            (
                "s_tmin",
                s_tmin,
                finite(s_tmin, s_tmin >= 0.0),
                "finite, 0 or more",
            ),
            ("s_tmax", s_tmax, s_tmax >= s_tmin, "s_tmin or more"),
            (
                "s_noise",
                s_noise,
                finite(s_noise, s_noise > 0.0),
                "finite, above 0",
            ),
        ] {
            if !fits {
                return Err(SamplerError::Parameter {
                    parameter,
                    value,
                    expected,
                });
            }
        }
        Ok(())
    }
}

/// Heun's sampler, of second order.
#[derive(Debug, Clone)]
pub struct Heun {
    steps: Steps,
    options: HeunOptions,
    schedule: NoiseSchedule,
}

impl Heun {
    /// A sampler that visits `timesteps`, which fall, for a network of this prediction type.
    ///
    /// # Errors
    ///
    /// If `timesteps` is empty, does not fall strictly or leaves the schedule, if ε is predicted at
    /// zero SNR, if `clipping` makes no sense, or if a number of `options` is out of its range.
    pub fn new(
        schedule: &NoiseSchedule,
        timesteps: &[f64],
        prediction_type: PredictionType,
        clipping: X0Clipping,
        options: HeunOptions,
    ) -> Result<Self, SamplerError> {
        options.check()?;
        Ok(Self {
            steps: Steps::new(schedule, timesteps, prediction_type, clipping)?,
            options,
            schedule: schedule.clone(),
        })
    }

    /// x at a noisier level than `from`, and that level; both as they are where nothing is churned.
    /// The chain ends where it ends: ρ̂ goes no further.
    fn churn<const D: usize>(
        &self,
        from: NoiseLevel,
        x_t: Tensor<D>,
        noise: &mut dyn FnMut() -> Tensor<D>,
    ) -> (NoiseLevel, Tensor<D>) {
        let HeunOptions {
            s_churn,
            s_tmin,
            s_tmax,
            s_noise,
        } = self.options;
        let rho = from.rho();
        if s_churn == 0.0 || !(s_tmin..=s_tmax).contains(&rho) || rho.is_infinite() {
            return (from, x_t);
        }
        let gamma = (s_churn / self.steps.len() as f64).min(2.0_f64.sqrt() - 1.0);
        let log_snr = -2.0 * (rho * (1.0 + gamma)).ln();
        let timestep = self.schedule.timestep_at_log_snr(log_snr);
        if timestep <= from.timestep {
            return (from, x_t);
        }
        let churned = NoiseLevel::at(&self.schedule, timestep);
        // In x: scaled down by √(ᾱ̂ / ᾱ), noise fills what is missing of the variance.
        let keep = churned.alpha_cumprod / from.alpha_cumprod;
        let x = x_t.mul_scalar(keep.sqrt());
        let sigma = (1.0 - keep).sqrt() * s_noise;
        (churned, add_noise(x, sigma, noise))
    }
}

impl<const D: usize> Sampler<D> for Heun {
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
        let (from, x_t) = self.churn(step.from, x_t, noise);
        let [predicted_x_0, epsilon] = self.steps.predict_x_0_and_epsilon(from, x_t.clone(), model);
        // x_s = α_s x̂_s from x_0 and the mean slope, which holds at zero SNR too.
        let euler = predicted_x_0.clone().mul_scalar(step.to.alpha())
            + epsilon.clone().mul_scalar(step.to.sigma());
        let x = if step.is_last || from.alpha_cumprod == 0.0 {
            euler
        } else {
            let [_, slope] = self
                .steps
                .predict_x_0_and_epsilon(step.to, euler.clone(), model);
            let way = step.to.rho() - from.rho();
            euler + (slope - epsilon).mul_scalar(0.5 * way * step.to.alpha())
        };
        State {
            index,
            timestep: from.timestep,
            x,
            predicted_x_0,
        }
    }
}
