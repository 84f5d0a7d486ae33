//! Training of denoising diffusion models (Ho et al. 2020, algorithm 1), in a loop that the caller owns,
//! over any network and any data.
//!
//! - [`Network`] and [`Data`] are what a network and a set of examples must be able to do.
//! - [`Batches`] is an endless supply of [`Batch`]es: examples in an order that the seed fixes, each with a
//!   timestep and noise.
//! - [`Objective`] is what the network learns to predict, and how its error is weighted; rows of a table have
//!   categories beside their numbers ([`Objective::with_categories`]).
//! - [`Learner`] takes steps: gradients, [`AdamW`], the moving average [`Ema`]; on one device or on several
//!   ([`Learner::spread_over`]).
//! - [`held_out_loss`] measures what was learned on examples that were not seen.
//!
//! Every random number comes from [`Streams`], functions of the seed and of a [`Position`]: whoever saves
//! the weights, the optimiser, the average and the position goes on exactly where a run was left.
//!
//! ```
//! use burn::module::Module;
//! use burn::nn::conv::{Conv2d, Conv2dConfig};
//! use burn::tensor::{Device, Tensor};
//! use noising::NoiseConfig;
//! use training::*;
//!
//! #[derive(Module, Debug)]
//! struct Pixelwise {
//!     conv: Conv2d,
//! }
//!
//! impl Network for Pixelwise {
//!     fn forward(&self, x_t: Tensor<4>, _timesteps: &[f64], _condition: &Condition) -> Tensor<4> {
//!         self.conv.forward(x_t)
//!     }
//! }
//!
//! /// Ten grey images of 2 × 2.
//! struct Greys;
//!
//! impl Data for Greys {
//!     type Error = std::convert::Infallible;
//!
//!     fn len(&self) -> usize {
//!         10
//!     }
//!
//!     fn example_shape(&self) -> [usize; 3] {
//!         [1, 2, 2]
//!     }
//!
//!     fn read(&self, indices: &[usize]) -> Result<Vec<f32>, Self::Error> {
//!         Ok(indices.iter().flat_map(|&index| [index as f32 / 10.0; 4]).collect())
//!     }
//! }
//!
//! let device = Device::flex();
//! let conv = Conv2dConfig::new([1, 1], [1, 1]).init(&device.clone().autodiff());
//! let objective = Objective::new(NoiseConfig::default().chain()?, &ObjectiveConfig::default());
//! let options = BatchOptions::default();
//! let (streams, start) = (Streams::new(0), Position::default());
//! let mut batches = Batches::new(Greys, options, &objective, streams, start, &device);
//! let mut learner = Learner::with_defaults(Pixelwise { conv }, objective);
//! for _ in 0..3 {
//!     let step = learner.step(vec![batches.next()?], 1e-3)?;
//!     assert!(step.loss.into_scalar::<f32>().is_finite());
//! }
//! // Where a later session goes on.
//! assert_eq!(batches.position(), Position { examples: 3 * 64, batches: 3 });
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

mod batch;
mod batches;
mod categories;
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
mod precision;
mod replicas;
pub mod streams;

pub use batch::{Batch, BatchOptions, ClassOptions};
pub use batches::{Batches, ConditioningConfig};
pub use categories::CategoryLoss;
pub use config::{LearningRateSchedule, TrainingConfig};
pub use data::{Data, to_tensor};
pub use ema::{Ema, EmaConfig};
pub use error::{InvalidValue, TrainingError};
pub use held_out::{HeldOutConfig, HeldOutLoss, held_out_loss};
pub use learner::{Learner, Step};
pub use network::{Condition, Network, backward_keeping, labels_tensor};
pub use objective::{LossParts, Objective, ObjectiveConfig, ObjectiveError, TimestepSampling};
pub use optimizer::{AdamW, Moments, OptimizerConfig, clip_by_global_norm};
pub use order::{DataOrder, Position};
pub use parameters::{flatten, flatten_gradients, unflatten};
pub use precision::Precision;
pub use replicas::{Passage, Replicas, spread, turn};
pub use streams::{Purpose, Streams};

/// The code of README.md, as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadMe;
