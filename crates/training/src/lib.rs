//! Training of denoising diffusion models (Ho et al. 2020, algorithm 1), in a loop that the caller owns,
//! over any network and any data.
//!
//! - [`Network`] and [`Data`] are what a network and a set of examples must be able to do.
//! - [`Batches`] is an endless supply of [`Batch`]es: examples in an order that the seed fixes, each with a
//!   timestep and noise.
//! - [`Objective`] is what the network learns to predict, and how its error is weighted.
//! - [`Learner`] takes steps: gradients, [`AdamW`], the moving average [`Ema`].
//! - [`held_out_loss`] measures what was learned on examples that were not seen.
//!
//! Every random number comes from [`Streams`], functions of the seed and of a [`Position`]: whoever saves
//! the weights, the optimiser, the average and the position goes on exactly where a run was left.

#![forbid(unsafe_code)]

mod batch;
mod batches;
mod config;
mod data;
mod ema;
mod error;
mod held_out;
mod learner;
mod loader;
mod network;
mod objective;
mod optimizer;
mod order;
mod parameters;
pub mod streams;

pub use batch::Batch;
pub use batches::{BatchOptions, Batches, ClassOptions, ConditioningConfig};
pub use config::{LearningRateSchedule, TrainingConfig};
pub use data::{Data, to_tensor};
pub use ema::{Ema, EmaConfig};
pub use error::{InvalidValue, TrainingError};
pub use held_out::{HeldOutConfig, HeldOutLoss, held_out_loss};
pub use learner::{Learner, Step};
pub use network::{Condition, Network, labels_tensor};
pub use objective::{Objective, ObjectiveConfig};
pub use optimizer::{AdamW, Moments, OptimizerConfig, clip_by_global_norm};
pub use order::{DataOrder, Position};
pub use parameters::{flatten, flatten_gradients, unflatten};
pub use streams::{Purpose, Streams};
