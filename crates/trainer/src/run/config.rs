//! `[log]` and `[checkpoint]`: how often a run writes what.

use serde::{Deserialize, Serialize};
use training::InvalidValue;

/// `[log]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// Steps between two lines of metrics.
    pub every: u64,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { every: 10 }
    }
}

impl LogConfig {
    /// # Errors
    ///
    /// A number of steps that makes no sense.
    pub fn check(&self) -> Result<(), InvalidValue> {
        InvalidValue::at_least("every", self.every, 1)
    }
}

/// `[checkpoint]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CheckpointConfig {
    /// Steps between two checkpoints.
    pub every: u64,
    /// How many of the newest are kept, besides the best.
    pub keep: usize,
}

impl Default for CheckpointConfig {
    fn default() -> Self {
        Self {
            every: 500,
            keep: 2,
        }
    }
}

impl CheckpointConfig {
    /// # Errors
    ///
    /// The first value that makes no sense.
    pub fn check(&self) -> Result<(), InvalidValue> {
        InvalidValue::at_least("every", self.every, 1)?;
        InvalidValue::at_least("keep", self.keep as u64, 1)
    }
}
