//! `[training]`: batches, budget and the course of the learning rate.

use serde::{Deserialize, Serialize};

use crate::error::InvalidValue;
use crate::precision::Precision;

/// `[training]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
    /// For `constant-then-linear`: the share of the course, at its end, over which the rate falls.
    pub learning_rate_decay: f64,
    /// For `cosine-with-restarts`: how often the rate falls.
    pub learning_rate_cycles: u64,
    /// Steps over which the learning rate rises from zero.
    pub warmup_steps: u64,
    /// The gradient is scaled down to this global norm where it is longer.
    pub max_grad_norm: f64,
    /// What the network computes in: "f32", or "bf16" or "f16" on a device that has it. Weights, optimiser and
    /// loss are f32 in any case. For images and sounds; left out of files where it is the default.
    #[serde(skip_serializing_if = "is_default")]
    pub precision: Precision,
    /// Whether what the layers of the network computed is not kept until the gradients are wanted, but computed again:
    /// less memory, for a third more time. For images and sounds; left out of files where it is not so.
    #[serde(skip_serializing_if = "is_default")]
    pub checkpoint_activations: bool,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Course of the learning rate after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum LearningRateSchedule {
    /// It stays at its peak.
    Constant,
    /// It falls to zero along half a cosine as the budget is used up (Loshchilov and Hutter 2017).
    Cosine,
    /// It falls to zero along a line as the budget is used up.
    Linear,
    /// It stays at its peak, and falls to zero along a line in the last part of the budget (Hägele et al.
    /// 2024).
    ConstantThenLinear,
    /// It falls along half a cosine several times, and starts from its peak each time (Loshchilov and
    /// Hutter 2017).
    CosineWithRestarts,
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
            learning_rate_decay: 0.2,
            learning_rate_cycles: 4,
            warmup_steps: 100,
            max_grad_norm: 1.0,
            precision: Precision::default(),
            checkpoint_activations: false,
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
        InvalidValue::above_zero("learning_rate_decay", self.learning_rate_decay)?;
        if self.learning_rate_decay > 1.0 {
            let message = format!(
                "{} makes no sense here: it must be at most 1",
                self.learning_rate_decay
            );
            return Err(InvalidValue::new("learning_rate_decay", message));
        }
        InvalidValue::at_least("learning_rate_cycles", self.learning_rate_cycles, 1)?;
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

    /// The learning rate of a step: a linear rise over the warm-up, then the configured course over what
    /// remains of the budget.
    ///
    /// `step` counts from 0, `progress` is the share of the budget that is used up, in [0, 1].
    pub fn learning_rate_at(&self, step: u64, progress: f64) -> f64 {
        let peak = self.learning_rate;
        if step < self.warmup_steps {
            return peak * (step + 1) as f64 / (self.warmup_steps + 1) as f64;
        }
        let position = self.position_after_warmup(step, progress);
        let half_cosine = |position: f64| 0.5 * (1.0 + (std::f64::consts::PI * position).cos());
        peak * match self.learning_rate_schedule {
            LearningRateSchedule::Constant => 1.0,
            LearningRateSchedule::Cosine => half_cosine(position),
            LearningRateSchedule::Linear => 1.0 - position,
            LearningRateSchedule::ConstantThenLinear => {
                ((1.0 - position) / self.learning_rate_decay).min(1.0)
            }
            LearningRateSchedule::CosineWithRestarts => {
                let cycles = self.learning_rate_cycles as f64 * position;
                // The end of the last cycle is not the start of another.
                half_cosine(if position < 1.0 { cycles.fract() } else { 1.0 })
            }
        }
    }

    /// The place between the end of the warm-up and the end of the budget, in [0, 1].
    ///
    /// The share of the budget that the warm-up took is what each step took, times its steps: exact for
    /// budgets in steps and in epochs, an estimate for one in minutes, and nothing that must be remembered
    /// from one session to the next.
    fn position_after_warmup(&self, step: u64, progress: f64) -> f64 {
        let warmup = progress * self.warmup_steps as f64 / step.max(1) as f64;
        if warmup >= 1.0 {
            return 1.0;
        }
        ((progress - warmup) / (1.0 - warmup)).clamp(0.0, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(schedule: LearningRateSchedule, warmup_steps: u64, steps: u64, step: u64) -> f64 {
        let config = TrainingConfig {
            learning_rate: 1.0,
            warmup_steps,
            learning_rate_schedule: schedule,
            ..TrainingConfig::default()
        };
        config.learning_rate_at(step, step as f64 / steps as f64)
    }

    #[test]
    fn every_course_begins_at_the_peak_where_the_warm_up_ends() {
        use LearningRateSchedule::*;
        for schedule in [
            Constant,
            Cosine,
            Linear,
            ConstantThenLinear,
            CosineWithRestarts,
        ] {
            for warmup in [0, 1, 100, 199] {
                for step in 0..warmup {
                    let expected = (step + 1) as f64 / (warmup + 1) as f64;
                    assert_eq!(rate(schedule, warmup, 200, step), expected);
                }
                assert_eq!(rate(schedule, warmup, 200, warmup), 1.0, "{schedule:?}");
            }
            let end = rate(schedule, 100, 200, 200);
            let expected = f64::from(u8::from(schedule == Constant));
            assert!((end - expected).abs() < 1e-12, "{schedule:?}: {end}");
        }
    }

    #[test]
    fn the_courses_run_over_what_remains_after_the_warm_up() {
        use LearningRateSchedule::*;
        let two_fifths = 0.5 * (1.0 + (0.4 * std::f64::consts::PI).cos());
        for (schedule, at, expected) in [
            (Cosine, 125, 0.5 + 0.125f64.sqrt()),
            (Cosine, 150, 0.5),
            (Linear, 150, 0.5),
            (Linear, 175, 0.25),
            (ConstantThenLinear, 180, 1.0),
            (ConstantThenLinear, 190, 0.5),
            // Four cycles of 25 steps.
            (CosineWithRestarts, 110, two_fifths),
            (CosineWithRestarts, 185, two_fifths),
        ] {
            let found = rate(schedule, 100, 200, at);
            assert!((found - expected).abs() < 1e-9, "{schedule:?}: {found}");
        }
    }
}
