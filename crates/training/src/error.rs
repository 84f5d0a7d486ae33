//! What can go wrong: in training, and with the values of a configuration.

use burn::tensor::TensorReadError;
use thiserror::Error;

/// A step of training that cannot be taken.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TrainingError {
    /// The data could not be read.
    #[error("cannot read the next examples")]
    Read(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The thread that reads ahead is gone.
    #[error("the thread that reads the examples has died")]
    ReaderDied,
    /// A step was asked for without a batch to take it on.
    #[error("a step needs at least one batch")]
    NoBatch,
    /// The device gave nothing back.
    #[error("cannot read a result back from the device")]
    Device(#[from] TensorReadError),
    /// The system does not start a thread for each device.
    #[error("cannot start a thread for each device")]
    Thread(#[from] std::io::Error),
}

/// A value of a configuration that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{key}: {message}")]
pub struct InvalidValue {
    /// The key, within the section that was checked.
    pub key: &'static str,
    /// What was wrong and what was expected.
    pub message: String,
}

impl InvalidValue {
    /// The value of `key` is wrong, as `message` says.
    pub fn new(key: &'static str, message: impl Into<String>) -> Self {
        Self {
            key,
            message: message.into(),
        }
    }

    fn must_be(key: &'static str, value: impl ToString, expected: &str) -> Self {
        let value = value.to_string();
        Self::new(
            key,
            format!("{value} makes no sense here: it must be {expected}"),
        )
    }

    /// # Errors
    ///
    /// Where `value` is below `least`.
    pub fn at_least(key: &'static str, value: u64, least: u64) -> Result<(), Self> {
        if value >= least {
            return Ok(());
        }
        Err(Self::must_be(key, value, &format!("at least {least}")))
    }

    /// # Errors
    ///
    /// Where `value` is not a finite number above 0.
    pub fn above_zero(key: &'static str, value: f64) -> Result<(), Self> {
        if value.is_finite() && value > 0.0 {
            return Ok(());
        }
        Err(Self::must_be(key, value, "above 0"))
    }

    /// # Errors
    ///
    /// Where `value` is not a finite number of 0 or above.
    pub fn zero_or_above(key: &'static str, value: f64) -> Result<(), Self> {
        if value.is_finite() && value >= 0.0 {
            return Ok(());
        }
        Err(Self::must_be(key, value, "0 or above"))
    }

    /// # Errors
    ///
    /// Where `value` is not in [0, 1].
    pub fn share(key: &'static str, value: f64) -> Result<(), Self> {
        if (0.0..=1.0).contains(&value) {
            return Ok(());
        }
        Err(Self::must_be(key, value, "at least 0 and at most 1"))
    }

    /// # Errors
    ///
    /// Where `value` is not in [0, 1).
    pub fn share_below_one(key: &'static str, value: f64) -> Result<(), Self> {
        if (0.0..1.0).contains(&value) {
            return Ok(());
        }
        Err(Self::must_be(key, value, "at least 0 and below 1"))
    }
}
