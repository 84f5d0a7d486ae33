//! Which of the T timesteps of training a sampler visits.
//!
//! The three ways of Lin et al. 2024, table 2 ("Common Diffusion Noise Schedules and Sample Steps are
//! Flawed"), rounded as diffusers rounds them (`steps_offset = 0`).

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// How n timesteps are spread over 0 … T − 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
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
}

/// The number of inference steps does not fit the chain.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "num_inference_steps is {num_inference_steps}; choose 1 to {num_train_timesteps}, the number of \
     steps the chain has"
)]
pub struct SpacingError {
    num_inference_steps: usize,
    num_train_timesteps: usize,
}

impl TimestepSpacing {
    /// n = `num_inference_steps` timesteps of a chain of T = `num_train_timesteps` steps, in falling
    /// order, each below T.
    ///
    /// # Errors
    ///
    /// Unless 1 ≤ n ≤ T.
    pub fn timesteps(
        self,
        num_train_timesteps: usize,
        num_inference_steps: usize,
    ) -> Result<Vec<usize>, SpacingError> {
        if num_inference_steps == 0 || num_inference_steps > num_train_timesteps {
            return Err(SpacingError {
                num_inference_steps,
                num_train_timesteps,
            });
        }
        let steps = num_train_timesteps as f64;
        // Halves go to the even neighbour, and sums are made in NumPy's order, so that every value is
        // diffusers' own.
        let indices = 0..num_inference_steps;
        Ok(match self {
            Self::Leading => {
                let stride = num_train_timesteps / num_inference_steps;
                indices.rev().map(|i| i * stride).collect()
            }
            Self::Trailing => {
                let stride = (steps - steps / num_inference_steps as f64) - steps;
                indices
                    .map(|i| (steps + i as f64 * stride).round_ties_even() as usize - 1)
                    .collect()
            }
            Self::Linspace => {
                let intervals = (num_inference_steps - 1).max(1) as f64;
                let stride = (steps - 1.0) / intervals;
                indices
                    .rev()
                    .map(|i| (i as f64 * stride).round_ties_even() as usize)
                    .collect()
            }
        })
    }
}
