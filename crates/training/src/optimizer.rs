//! AdamW (Loshchilov and Hutter 2019, algorithm 2) over the flat vector of all parameters, with the
//! gradient clipped by its global norm first.
//!
//! burn's own optimisers clip tensor by tensor and keep their state by the identity of a parameter
//! in this process; here the norm is that of the whole gradient, and the state is two vectors that
//! a checkpoint can hold under the parameters' names.

use burn::tensor::{Bool, Tensor};
use kernels::{AdamWState, AdamWStep, adamw, sum_of_squares};
use serde::{Deserialize, Serialize};

use crate::error::InvalidValue;

/// `[optimizer]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct OptimizerConfig {
    /// Decay of the first moment.
    pub beta_1: f64,
    /// Decay of the second moment.
    pub beta_2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self {
            beta_1: 0.9,
            beta_2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.0,
        }
    }
}

impl OptimizerConfig {
    /// # Errors
    ///
    /// The first value that makes no sense.
    pub fn check(&self) -> Result<(), InvalidValue> {
        InvalidValue::above_zero("epsilon", self.epsilon)?;
        InvalidValue::share_below_one("beta_1", self.beta_1)?;
        InvalidValue::share_below_one("beta_2", self.beta_2)?;
        InvalidValue::zero_or_above("weight_decay", self.weight_decay)
    }
}

/// AdamW and its state.
#[derive(Debug, Clone)]
pub struct AdamW {
    config: OptimizerConfig,
    /// The moving averages, once a step has been taken.
    pub moments: Option<Moments>,
}

/// Moving averages of the gradient and of its square, and over how many steps they were taken.
#[derive(Debug, Clone)]
pub struct Moments {
    /// Of the gradient: `[N]`.
    pub first: Tensor<1>,
    /// Of the gradient squared: `[N]`.
    pub second: Tensor<1>,
    /// Number of steps taken.
    pub steps: u64,
}

impl AdamW {
    /// An optimiser that has taken no step.
    pub fn new(config: OptimizerConfig) -> Self {
        Self {
            config,
            moments: None,
        }
    }

    /// The parameters after one step against `gradient` times `gradient_scale` (`[1]`). All other
    /// vectors are `[N]`.
    pub fn step(
        &mut self,
        parameters: Tensor<1>,
        gradient: Tensor<1>,
        gradient_scale: Tensor<1>,
        learning_rate: f64,
    ) -> Tensor<1> {
        let OptimizerConfig {
            beta_1,
            beta_2,
            epsilon,
            weight_decay,
        } = self.config;
        let Moments {
            first,
            second,
            steps,
        } = self.moments.take().unwrap_or_else(|| Moments {
            first: gradient.zeros_like(),
            second: gradient.zeros_like(),
            steps: 0,
        });
        let step = AdamWStep {
            beta_1,
            beta_2,
            epsilon,
            weight_decay,
            learning_rate,
            step: steps + 1,
        };
        let state = AdamWState {
            parameters,
            first,
            second,
        };
        let state = adamw(state, gradient, gradient_scale, step);
        self.moments = Some(Moments {
            first: state.first,
            second: state.second,
            steps: step.step,
        });
        state.parameters
    }

    /// As [`step`](Self::step) where `applies` (`[1]`) is true, and where not, all numbers stay as they are; the
    /// step is counted either way. Nothing is read back from the device.
    pub fn step_where(
        &mut self,
        applies: Tensor<1, Bool>,
        parameters: Tensor<1>,
        gradient: Tensor<1>,
        gradient_scale: Tensor<1>,
        learning_rate: f64,
    ) -> Tensor<1> {
        let applies = applies.expand(parameters.dims());
        let kept = |before: Tensor<1>, after| before.mask_where(applies.clone(), after);
        let moments = self.moments.clone();
        let after = self.step(parameters.clone(), gradient, gradient_scale, learning_rate);
        if let Some(after) = &mut self.moments {
            let (first, second) = match moments {
                Some(before) => (before.first, before.second),
                None => (after.first.zeros_like(), after.second.zeros_like()),
            };
            after.first = kept(first, after.first.clone());
            after.second = kept(second, after.second.clone());
        }
        kept(parameters, after)
    }
}

/// By how much to scale a gradient (`[N]`) so that its Euclidean norm is at most `max_norm` (Pascanu
/// et al. 2013), and the norm: `[1]` both. Nothing is read back from the device.
pub fn clip_by_global_norm(gradient: Tensor<1>, max_norm: f64) -> (Tensor<1>, Tensor<1>) {
    let norm = sum_of_squares(gradient).sqrt();
    let scale = (norm.clone() + 1e-6).recip() * max_norm;
    // One launch on a GPU, where `clamp_max` is two; the scale is never below zero.
    (scale.clamp(0.0, 1.0), norm)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use burn::tensor::Device;

    use super::*;

    fn vector(values: &[f32]) -> Tensor<1> {
        Tensor::from_floats(values, &Device::flex())
    }

    fn values(tensor: Tensor<1>) -> Vec<f32> {
        tensor.try_into_vec_as().unwrap()
    }

    /// PyTorch 2: AdamW(lr=0.1, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01), three steps from
    /// [1, -2] with the gradients [0.5, -1], [0.25, 2], [-1, 0.125]; worked out by the formula in
    /// f64.
    #[test]
    fn three_steps_follow_the_formula() {
        let config = OptimizerConfig {
            weight_decay: 0.01,
            ..OptimizerConfig::default()
        };
        let gradients = [[0.5, -1.0], [0.25, 2.0], [-1.0, 0.125]];
        let mut expected = [1.0f64, -2.0];
        let (mut m, mut v) = ([0.0f64; 2], [0.0f64; 2]);
        for (t, gradient) in gradients.iter().enumerate() {
            for i in 0..2 {
                m[i] = 0.9 * m[i] + 0.1 * gradient[i];
                v[i] = 0.999 * v[i] + 0.001 * gradient[i] * gradient[i];
                let m_hat = m[i] / (1.0 - 0.9f64.powi(t as i32 + 1));
                let v_hat = v[i] / (1.0 - 0.999f64.powi(t as i32 + 1));
                expected[i] -= 0.1 * 0.01 * expected[i] + 0.1 * m_hat / (v_hat.sqrt() + 1e-8);
            }
        }

        let mut optimizer = AdamW::new(config);
        let mut parameters = vector(&[1.0, -2.0]);
        for gradient in gradients {
            let gradient = vector(&gradient.map(|g| g as f32));
            parameters = optimizer.step(parameters, gradient, vector(&[1.0]), 0.1);
        }
        for (actual, expected) in values(parameters).iter().zip(expected) {
            assert!(
                (f64::from(*actual) - expected).abs() < 1e-6,
                "{actual} {expected}"
            );
        }
    }

    #[test]
    fn a_step_that_does_not_apply_changes_nothing() {
        let mut optimizer = AdamW::new(OptimizerConfig::default());
        let parameters = vector(&[1.0, -2.0]);
        let step = |optimizer: &mut AdamW, parameters: &Tensor<1>, gradient: &[f32]| {
            let gradient = vector(gradient);
            let (scale, norm) = clip_by_global_norm(gradient.clone(), 1.0);
            optimizer.step_where(norm.is_finite(), parameters.clone(), gradient, scale, 0.1)
        };
        let overflow = [f32::INFINITY, 1.0];
        let first = step(&mut optimizer, &parameters, &overflow);
        assert_eq!(values(first.clone()), [1.0, -2.0]);
        let second = step(&mut optimizer, &first, &[0.3, 0.4]);
        let moments = optimizer.moments.clone().unwrap();
        let third = step(&mut optimizer, &second, &[f32::NAN, 1.0]);
        assert_eq!(values(third), values(second.clone()));
        let kept = optimizer.moments.clone().unwrap();
        assert_eq!(values(kept.first), values(moments.first));
        assert_eq!(values(kept.second), values(moments.second));

        let mut plain = AdamW::new(OptimizerConfig::default());
        plain.moments = Some(Moments {
            first: vector(&[0.0; 2]),
            second: vector(&[0.0; 2]),
            steps: 1,
        });
        let expected = plain.step(first, vector(&[0.3, 0.4]), vector(&[1.0]), 0.1);
        assert_eq!(values(second), values(expected));
    }

    #[test]
    fn the_whole_gradient_is_clipped_together() {
        let (scale, norm) = clip_by_global_norm(vector(&[3.0, 4.0]), 1.0);
        assert_eq!(values(norm), [5.0]);
        assert!((values(scale)[0] - 0.2).abs() < 1e-6);

        let (scale, _) = clip_by_global_norm(vector(&[0.3, 0.4]), 1.0);
        assert_eq!(values(scale), [1.0]);
    }
}
