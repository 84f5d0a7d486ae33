//! `[training]`: batches, budget and the course of the learning rate.

use serde::{Deserialize, Serialize};

use crate::error::InvalidValue;

/// `[training]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainingConfig {
    /// Examples of one forward and backward pass.
    pub batch_size: usize,
    /// Passes whose gradients are averaged before the weights change.
    pub gradient_accumulation: usize,
    /// Budget in steps (changes of the weights).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
    /// Budget in passes over the training split.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epochs: Option<f64>,
    /// Budget in minutes of training, summed over resumed sessions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minutes: Option<f64>,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Course of the learning rate after the warm-up.
    pub learning_rate_schedule: LearningRateSchedule,
    /// Steps over which the learning rate rises from zero.
    pub warmup_steps: u64,
    /// The gradient is scaled down to this global norm where it is longer.
    pub max_grad_norm: f64,
}

/// Course of the learning rate after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LearningRateSchedule {
    /// It stays at its peak.
    Constant,
    /// It falls to zero along half a cosine as the budget is used up.
    Cosine,
}

impl Default for TrainingConfig {
    fn default() -> Self {
        Self {
            batch_size: 64,
            gradient_accumulation: 1,
            steps: None,
            epochs: None,
            minutes: None,
            learning_rate: 2e-4,
            learning_rate_schedule: LearningRateSchedule::Constant,
            warmup_steps: 100,
            max_grad_norm: 1.0,
        }
    }
}

impl TrainingConfig {
    /// # Errors
    ///
    /// The first value that makes no sense. The key is empty where there is no budget at all.
    pub fn check(&self) -> Result<(), InvalidValue> {
        InvalidValue::at_least("batch_size", self.batch_size as u64, 1)?;
        let accumulation = self.gradient_accumulation as u64;
        InvalidValue::at_least("gradient_accumulation", accumulation, 1)?;
        InvalidValue::at_least("steps", self.steps.unwrap_or(1), 1)?;
        InvalidValue::above_zero("epochs", self.epochs.unwrap_or(1.0))?;
        InvalidValue::above_zero("minutes", self.minutes.unwrap_or(1.0))?;
        InvalidValue::above_zero("learning_rate", self.learning_rate)?;
        InvalidValue::above_zero("max_grad_norm", self.max_grad_norm)?;
        if self.steps.is_none() && self.epochs.is_none() && self.minutes.is_none() {
            let message = "no budget: give one of steps, epochs or minutes";
            return Err(InvalidValue::new("", message));
        }
        Ok(())
    }

    /// The share of the budget that is used up after so many steps, epochs and seconds: the largest,
    /// where there are several budgets.
    pub fn progress(&self, step: u64, epoch: f64, seconds: f64) -> f64 {
        let shares = [
            self.steps.map(|steps| step as f64 / steps as f64),
            self.epochs.map(|epochs| epoch / epochs),
            self.minutes.map(|minutes| seconds / (60.0 * minutes)),
        ];
        shares.into_iter().flatten().fold(0.0, f64::max)
    }

    /// The learning rate of a step: a linear rise over the warm-up, then the configured course.
    ///
    /// `step` counts from 0, `progress` is the share of the budget that is used up, in [0, 1].
    pub fn learning_rate_at(&self, step: u64, progress: f64) -> f64 {
        if step < self.warmup_steps {
            return self.learning_rate * (step + 1) as f64 / (self.warmup_steps + 1) as f64;
        }
        match self.learning_rate_schedule {
            LearningRateSchedule::Constant => self.learning_rate,
            LearningRateSchedule::Cosine => {
                let progress = progress.clamp(0.0, 1.0);
                self.learning_rate * 0.5 * (1.0 + (std::f64::consts::PI * progress).cos())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_learning_rate_rises_then_falls() {
        let config = TrainingConfig {
            learning_rate: 1.0,
            warmup_steps: 3,
            learning_rate_schedule: LearningRateSchedule::Cosine,
            ..TrainingConfig::default()
        };
        assert_eq!(config.learning_rate_at(0, 0.0), 0.25);
        assert_eq!(config.learning_rate_at(2, 0.0), 0.75);
        assert_eq!(config.learning_rate_at(3, 0.0), 1.0);
        assert!((config.learning_rate_at(50, 0.5) - 0.5).abs() < 1e-12);
        assert!(config.learning_rate_at(99, 1.0).abs() < 1e-12);
    }
}
