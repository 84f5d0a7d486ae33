//! A forward chain as a configuration describes it.

use serde::{Deserialize, Serialize};

use crate::chain::Chain;
use crate::schedule::{BetaSchedule, NoiseSchedule, ScheduleError};

/// The description of a [`Chain`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct NoiseConfig {
    /// Number of steps T of the chain.
    pub num_train_timesteps: usize,
    /// The variance added in each step.
    pub schedule: BetaSchedule,
    /// Whether the schedule is rescaled so that its last step leaves no signal.
    pub rescale_zero_terminal_snr: bool,
}

impl Default for NoiseConfig {
    fn default() -> Self {
        Self {
            num_train_timesteps: 1000,
            schedule: BetaSchedule::default(),
            rescale_zero_terminal_snr: false,
        }
    }
}

impl NoiseConfig {
    /// The chain that is described.
    ///
    /// # Errors
    ///
    /// A description that makes no chain.
    pub fn chain(&self) -> Result<Chain, ScheduleError> {
        let schedule = NoiseSchedule::new(&self.schedule, self.num_train_timesteps)?;
        Ok(Chain::new(if self.rescale_zero_terminal_snr {
            schedule.rescale_zero_terminal_snr()
        } else {
            schedule
        }))
    }
}
