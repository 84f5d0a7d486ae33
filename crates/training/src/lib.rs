//! Training of denoising diffusion models, in a loop that the caller owns.

mod config;
mod ema;
mod error;
mod optimizer;
mod order;
mod parameters;
pub mod streams;

pub use config::{LearningRateSchedule, TrainingConfig};
pub use ema::{Ema, EmaConfig};
pub use error::InvalidValue;
pub use optimizer::{AdamW, Moments, OptimizerConfig, clip_by_global_norm};
pub use order::DataOrder;
pub use parameters::{flatten, flatten_gradients, unflatten};
pub use streams::{Purpose, Streams};
