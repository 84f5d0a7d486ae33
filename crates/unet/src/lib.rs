//! The DDPM U-Net, its building blocks and its weights on disk.
//!
//! The network of Ho et al. 2020, "Denoising Diffusion Probabilistic Models", appendix B, with the
//! structure and the parameter names of `UNet2DModel` in Hugging Face diffusers: weights are
//! exchanged with it tensor by tensor. It knows nothing of schedules, samplers or data: it maps
//! `x_t`, timesteps and, if asked, class labels to a prediction.
//!
//! - [`UNetConfig`] describes a network, checks the description and initialises it.
//! - [`UNet::forward`] is the prediction.
//! - [`to_safetensors`] and [`from_safetensors`] turn weights into the bytes of a file and back.

mod attention;
mod config;
mod embedding;
mod initialization;
mod resample;
mod resnet;
mod unet;
mod weights;

pub use config::{TimeScaleShift, UNetConfig, UNetConfigError};
pub use embedding::timestep_embedding;
pub use unet::UNet;
pub use weights::{WeightsError, from_safetensors, to_safetensors};
