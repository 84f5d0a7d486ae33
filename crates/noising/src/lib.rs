//! The forward Markov chain of a diffusion model (Ho et al. 2020, "Denoising Diffusion
//! Probabilistic Models", section 2).
//!
//! ```text
//! q(x_t | x_{t-1}) = N(√α_t x_{t-1}, β_t I)              one step         Chain::q_step
//! q(x_t | x_0)     = N(√ᾱ_t x_0, (1 − ᾱ_t) I)            t steps at once  Chain::q_sample
//! q(x_{t-1} | x_t, x_0) = N(μ̃_t(x_t, x_0), β̃_t I)        one step back    Chain::q_posterior_mean_variance
//! ```
//!
//! with α_t = 1 − β_t and ᾱ_t = α_0 … α_t. Nothing here knows of networks, files or training, nor
//! of what x is: a tensor of any rank and shape will do, its dimension 0 being the batch.
//!
//! # Timesteps
//!
//! Timesteps count from 0, as in the code of DDPM and of diffusers: t = 0 is the first noising
//! step, t = T − 1 the last, T being `num_train_timesteps`. The papers count the same steps from 1;
//! their ᾱ_t is `alphas_cumprod()[t - 1]`.
//!
//! Timesteps stay on the host as `&[usize]`. Coefficients are looked up there in f64 and cast to the
//! type of the tensor they meet; tables in f32 would lose 1 − ᾱ near t = 0.
//!
//! # Example
//!
//! ```
//! use burn::tensor::{Device, Tensor};
//! use noising::{BetaSchedule, Chain, NoiseSchedule, PredictionType};
//!
//! let schedule = NoiseSchedule::new(&BetaSchedule::default(), 1000)?;
//! let chain = Chain::new(schedule);
//!
//! let device = Device::flex();
//! let x_0 = Tensor::<2>::from_floats([[0.5, -0.5], [1.0, -1.0]], &device);
//! let noise = Tensor::<2>::from_floats([[0.1, 0.9], [-1.2, 0.3]], &device);
//! let timesteps = [10, 700]; // one for each example
//!
//! let x_t = chain.q_sample(x_0.clone(), noise.clone(), &timesteps);
//! let target = chain.target(PredictionType::VPrediction, x_0, noise, &timesteps);
//! assert_eq!(x_t.dims(), target.dims());
//! # Ok::<(), noising::ScheduleError>(())
//! ```

#![forbid(unsafe_code)]

mod chain;
mod config;
mod loss_weight;
mod parameterization;
mod posterior;
mod schedule;

pub use chain::Chain;
pub use config::NoiseConfig;
pub use loss_weight::{LossWeight, LossWeightError};
pub use parameterization::{Marginal, PredictionType};
pub use posterior::Posterior;
pub use schedule::{BetaSchedule, MAX_TRAIN_TIMESTEPS, NoiseSchedule, ScheduleError};

/// The code of README.md, as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadMe;
