//! The exponential moving average of the weights, from which samples are drawn.
//!
//! θ̄ ← θ̄ + (1 − d)(θ − θ̄) after every step (Ho et al. 2020, appendix B). With a fixed d the average
//! would hold on to the initial weights for 1 / (1 − d) steps; it warms up instead, with
//! d = min(decay, (1 + n) / (10 + n)) in step n, so that a short run can be sampled from too.

use burn::tensor::Tensor;
use kernels::moving_average;
use serde::{Deserialize, Serialize};

use crate::error::InvalidValue;

/// `[ema]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct EmaConfig {
    /// Decay of the moving average once it has warmed up.
    pub decay: f64,
}

impl Default for EmaConfig {
    fn default() -> Self {
        Self { decay: 0.999 }
    }
}

impl EmaConfig {
    /// # Errors
    ///
    /// A decay outside [0, 1).
    pub fn check(&self) -> Result<(), InvalidValue> {
        InvalidValue::share_below_one("decay", self.decay)
    }
}

/// The averaged weights as one flat vector, and how many steps they have seen.
#[derive(Debug, Clone)]
pub struct Ema {
    /// The average: `[N]`.
    pub parameters: Tensor<1>,
    /// Number of updates.
    pub steps: u64,
    decay: f64,
}

impl Ema {
    /// An average that starts from `parameters` (`[N]`) and has seen `steps` updates.
    pub fn new(parameters: Tensor<1>, steps: u64, decay: f64) -> Self {
        Self {
            parameters,
            steps,
            decay,
        }
    }

    /// Takes the weights of one more step (`[N]`) into the average.
    pub fn update(&mut self, parameters: Tensor<1>) {
        let n = self.steps as f64;
        let decay = self.decay.min((1.0 + n) / (10.0 + n));
        self.parameters = moving_average(self.parameters.clone(), parameters, decay);
        self.steps += 1;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use burn::tensor::Device;

    use super::*;

    fn average_after(decay: f64, updates: &[f32]) -> f32 {
        let device = Device::flex();
        let mut ema = Ema::new(Tensor::from_floats([0.0], &device), 0, decay);
        for value in updates {
            ema.update(Tensor::from_floats([*value], &device));
        }
        ema.parameters.into_scalar()
    }

    #[test]
    fn it_warms_up() {
        // Decays 1/10 and 2/11 in the first two steps.
        let expected = (2.0 / 11.0) * (0.9 * 1.0) + (9.0 / 11.0) * 2.0;
        assert!((average_after(0.999, &[1.0, 2.0]) - expected).abs() < 1e-6);
    }

    #[test]
    fn the_decay_is_a_limit() {
        assert!((average_after(0.05, &[1.0]) - 0.95).abs() < 1e-6);
    }
}
