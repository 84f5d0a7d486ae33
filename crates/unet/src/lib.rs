//! The DDPM U-Net and its building blocks.
//!
//! The network of Ho et al. 2020, "Denoising Diffusion Probabilistic Models", appendix B, with the
//! structure and the parameter names of `UNet2DModel` in Hugging Face diffusers: weights are
//! exchanged with it tensor by tensor. It knows nothing of schedules, samplers or data: it maps
//! `x_t`, timesteps and, if asked, class labels to a prediction.
//!
//! - [`UNetConfig`] describes a network, checks the description and initialises it.
//! - [`UNet::forward`] is the prediction, and [`UNet::backward_recomputing`] takes gradients in little memory.
//!
//! The crate `weights` turns its weights into the bytes of a file and back.

#![forbid(unsafe_code)]

mod config;
mod initialization;
mod layers;
mod stages;
mod unet;

pub use config::{SampleSize, TimeScaleShift, UNetConfig, UNetConfigError};
pub use layers::embedding::timestep_embedding;
pub use unet::UNet;

/// The code of README.md, as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
