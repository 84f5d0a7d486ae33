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
//! # Categories
//!
//! [`CategoricalChain`] is the chain over categories, with the same schedules: a step keeps a category with
//! probability α_t and else replaces it, by any other or by a mask ([`Transition`]). [`MixedChain`] is both
//! chains over the rows of a table, numbers first.
//!
//! ```
//! use burn::tensor::{Device, Tensor};
//! use noising::{CategoricalChain, NoiseConfig, Transition};
//!
//! let schedule = NoiseConfig::default().chain()?.schedule().clone();
//! // Two columns, of 3 and of 2 categories.
//! let chain = CategoricalChain::new(schedule, Transition::Absorbing, vec![3, 2])?;
//!
//! let device = Device::flex();
//! let x_0 = Tensor::<2>::from_floats([[2.0, 0.0], [1.0, 1.0]], &device);
//! let uniforms = Tensor::from_floats([[0.3, 0.9], [0.5, 0.2]], &device);
//! let x_t = chain.q_sample(x_0.clone(), uniforms, &[250, 999]);
//! // What is not kept is masked, and the code of the mask is the number of categories.
//! x_t.to_data().assert_eq(&Tensor::<2>::from_floats([[3.0, 0.0], [3.0, 2.0]], &device).to_data(), false);
//!
//! // A network that says nothing costs ln 3 nats in the first masked cell, weighed as the bound has it.
//! let log_p = Tensor::<1>::from_floats([1.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0, 0.5, 0.5], &device).log();
//! let log_p = log_p.unsqueeze::<2>().expand([2, 5]);
//! let bound = chain.bound(x_0, x_t, log_p, &[250, 999]).into_data();
//! let cost: Vec<f32> = bound.try_into_vec()?;
//! assert!((f64::from(cost[0]) - chain.bound_weight(250) * 3.0_f64.ln()).abs() < 1e-6);
//! assert_eq!(cost[1], 0.0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
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

mod categorical;
mod chain;
mod config;
mod loss_weight;
mod mixed;
mod parameterization;
mod posterior;
mod schedule;

pub use categorical::{CategoricalChain, CategoricalPosterior, CategoryCountError, Transition};
pub use chain::Chain;
pub use config::NoiseConfig;
pub use loss_weight::{LossWeight, LossWeightError};
pub use mixed::MixedChain;
pub use parameterization::{Marginal, PredictionType};
pub use posterior::Posterior;
pub use schedule::{BetaSchedule, MAX_TRAIN_TIMESTEPS, NoiseSchedule, ScheduleError};

/// The code of README.md, as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadMe;
