//! Which timesteps a sampler visits.
//!
//! The first three are those of Lin et al. 2024, table 2 ("Common Diffusion Noise Schedules and Sample
//! Steps are Flawed"), whole timesteps rounded as diffusers rounds them (`steps_offset = 0`). The others
//! space the noise rather than the time: they choose values of ρ = √(1 − ᾱ) / √ᾱ, and visit the times,
//! between two steps of training as a rule, at which the chain has them.

use std::fmt;
use std::str::FromStr;

use noising::NoiseSchedule;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::error::UnknownName;

/// The ρ of Karras et al. 2022, section 3: the power in which ρ is spaced evenly.
const KARRAS_EXPONENT: f64 = 7.0;

/// How n timesteps are spread over 0 … T − 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum TimestepSpacing {
    /// i ⌊T/n⌋ for i = n − 1 … 0. Ends at 0 but never visits T − 1, unless n = T: not for schedules
    /// that end close to zero SNR.
    #[default]
    Leading,
    /// round(T − i T/n) − 1 for i = 0 … n − 1. Starts at T − 1.
    Trailing,
    /// round(i (T − 1) / (n − 1)) for i = n − 1 … 0. Visits both T − 1 and 0; with n = 1 it is just
    /// t = 0, which makes nothing of noise.
    Linspace,
    /// ρ^{1/7} falls evenly from T − 1 to 0 (Karras et al. 2022, equation 5): more steps where there is
    /// little noise. With n = 1 it is T − 1.
    Karras,
    /// ln ρ, and so ln SNR, changes evenly from T − 1 to 0 (Lu et al. 2022). With n = 1 it is T − 1.
    LogLinear,
}

/// Timesteps that the chain does not have.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SpacingError {
    /// The number of inference steps does not fit the chain.
    #[error(
        "num_inference_steps is {num_inference_steps}; choose 1 to {num_train_timesteps}, the number of \
         steps the chain has"
    )]
    Count {
        /// n.
        num_inference_steps: usize,
        /// T.
        num_train_timesteps: usize,
    },
    /// Noise cannot be spaced from an infinite ρ.
    #[error(
        "the noise schedule ends at zero SNR, from which karras and log-linear timesteps cannot be \
         spaced; choose leading, trailing or linspace"
    )]
    ZeroSnr,
}

impl TimestepSpacing {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::Leading,
        Self::Trailing,
        Self::Linspace,
        Self::Karras,
        Self::LogLinear,
    ];

    /// Its name in configurations and on command lines.
    pub fn name(self) -> &'static str {
        match self {
            Self::Leading => "leading",
            Self::Trailing => "trailing",
            Self::Linspace => "linspace",
            Self::Karras => "karras",
            Self::LogLinear => "log-linear",
        }
    }

    /// What it is, in a sentence.
    pub fn summary(self) -> &'static str {
        match self {
            Self::Leading => "Evenly from 0 up: never the noisiest timestep",
            Self::Trailing => "Evenly from the noisiest timestep down",
            Self::Linspace => "Evenly, both ends among them",
            Self::Karras => "More of them where there is little noise (Karras et al. 2022)",
            Self::LogLinear => "Evenly in ln SNR (Lu et al. 2022)",
        }
    }

    /// n = `num_inference_steps` timesteps of a chain of T steps, in falling order, within 0 … T − 1.
    ///
    /// # Errors
    ///
    /// Unless 1 ≤ n ≤ T, or if noise is to be spaced and the chain ends at zero SNR.
    pub fn timesteps(
        self,
        schedule: &NoiseSchedule,
        num_inference_steps: usize,
    ) -> Result<Vec<f64>, SpacingError> {
        let num_train_timesteps = schedule.num_train_timesteps();
        if num_inference_steps == 0 || num_inference_steps > num_train_timesteps {
            return Err(SpacingError::Count {
                num_inference_steps,
                num_train_timesteps,
            });
        }
        let steps = num_train_timesteps as f64;
        let indices = (0..num_inference_steps).map(|i| i as f64);
        // Halves go to the even neighbour, and sums are made in NumPy's order, so that every value is
        // diffusers' own.
        Ok(match self {
            Self::Leading => {
                let stride = (num_train_timesteps / num_inference_steps) as f64;
                indices.rev().map(|i| i * stride).collect()
            }
            Self::Trailing => {
                let stride = (steps - steps / num_inference_steps as f64) - steps;
                indices
                    .map(|i| (steps + i * stride).round_ties_even() - 1.0)
                    .collect()
            }
            Self::Linspace => {
                let intervals = (num_inference_steps - 1).max(1) as f64;
                let stride = (steps - 1.0) / intervals;
                indices
                    .rev()
                    .map(|i| (i * stride).round_ties_even())
                    .collect()
            }
            Self::Karras => spaced_in(
                schedule,
                num_inference_steps,
                |log_rho| (log_rho / KARRAS_EXPONENT).exp(),
                |root| KARRAS_EXPONENT * root.ln(),
            )?,
            Self::LogLinear => spaced_in(schedule, num_inference_steps, |x| x, |x| x)?,
        })
    }
}

impl fmt::Display for TimestepSpacing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for TimestepSpacing {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        let known = || Self::ALL.iter().copied();
        known()
            .find(|spacing| spacing.name() == text)
            .ok_or_else(|| UnknownName::new("timestep spacing", text, known().map(Self::name)))
    }
}

/// n timesteps between which f(ln ρ) changes evenly, given f and its inverse.
fn spaced_in(
    schedule: &NoiseSchedule,
    num_inference_steps: usize,
    f: impl Fn(f64) -> f64,
    inverse: impl Fn(f64) -> f64,
) -> Result<Vec<f64>, SpacingError> {
    if schedule.has_zero_terminal_snr() {
        return Err(SpacingError::ZeroSnr);
    }
    let last = schedule.num_train_timesteps() - 1;
    let [most, least] = [last, 0].map(|t| f(-0.5 * schedule.log_snr(t)));
    let intervals = (num_inference_steps - 1).max(1) as f64;
    let timestep = |i: usize| match i {
        // The ends to the last bit.
        0 => last as f64,
        i if i + 1 == num_inference_steps => 0.0,
        i => {
            let log_rho = inverse(most + i as f64 / intervals * (least - most));
            schedule.timestep_at_log_snr(-2.0 * log_rho)
        }
    };
    Ok((0..num_inference_steps).map(timestep).collect())
}
