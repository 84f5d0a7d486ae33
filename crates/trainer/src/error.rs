//! The error of a command line that cannot be done as it stands.

use thiserror::Error;

/// What was typed cannot be done as it stands: the command line or the configuration is wrong.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct Usage(pub String);
