//! How the program ends: the error of a command line that cannot be done as it stands, and the exit code of
//! what was interrupted.

use thiserror::Error;

/// What was typed cannot be done as it stands: the command line or the configuration is wrong.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// The exit code of what Ctrl-C or a request to terminate ended, as shells give it.
pub const INTERRUPTED: u8 = 130;
