//! The reverse process of a diffusion model: samplers, one file each.
//!
//! A sampler turns noise into data step by step. It knows the noise schedule and what the network's
//! prediction means ([`PredictionType`]), but not the network: that is a closure from (x_t, t) to a
//! prediction. [`Denoising`] is the iterator over the sampler's states; the caller owns the loop and
//! decides what to draw, to record and when to stop.
//!
//! Timesteps count from 0, as in [`noising`]. Random numbers are handed in by a closure that is only
//! called when noise is needed, so the same stream gives the same pictures.
//!
//! [`PredictionType`]: noising::PredictionType
//!
//! # Example
//!
//! Data that is N(0, I) has a known best network: ε = √(1 − ᾱ_t) x_t.
//!
//! ```
//! use burn::tensor::{Device, Tensor};
//! use denoising::{Ddim, DdimOptions, Denoising, TimestepSpacing, X0Clipping};
//! use noising::{BetaSchedule, NoiseSchedule, PredictionType};
//!
//! let schedule = NoiseSchedule::new(&BetaSchedule::default(), 1000)?;
//! let timesteps = TimestepSpacing::Trailing.timesteps(&schedule, 10)?;
//! let sampler = Ddim::new(
//!     &schedule,
//!     &timesteps,
//!     PredictionType::Epsilon,
//!     X0Clipping::None,
//!     DdimOptions::default(),
//! )?;
//!
//! let noise = Tensor::<2>::from_floats([[0.3, -1.1]], &Device::flex());
//! let model = |x_t: Tensor<2>, t: f64| {
//!     x_t.mul_scalar((1.0 - schedule.alpha_cumprod_at(t)).sqrt())
//! };
//! let no_noise = || unreachable!("DDIM with eta = 0 is deterministic");
//! let states: Vec<_> = Denoising::new(sampler, noise, model, no_noise).collect();
//! assert_eq!(states.len(), 10);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

mod clipping;
mod editing;
mod error;
mod guidance;
mod kind;
mod mixed;
mod options;
mod sampler;
mod samplers;
mod spacing;
mod steps;
mod unmasking;

pub use clipping::X0Clipping;
pub use editing::{DdimInversion, Inpainting, slerp};
pub use error::{SamplerError, UnknownName};
pub use guidance::Guidance;
pub use kind::{SamplerKind, SamplerOptions};
pub use mixed::MixedSampler;
pub use options::{OptionError, SamplingOptions};
pub use sampler::{Denoising, Sampler, State};
pub use samplers::*;
pub use spacing::{SpacingError, TimestepSpacing};
pub use steps::{History, NoiseLevel, Prediction, Step, Steps, add_noise, noise_levels};
pub use unmasking::Unmasking;

/// The code of README.md, as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadMe;
