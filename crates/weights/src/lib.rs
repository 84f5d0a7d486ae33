//! Weights as safetensors files: the parameters of any module of burn, with the names and layouts of torch
//! and so of Hugging Face diffusers, and plain tensors.
//!
//! A file opens in torch with `load_state_dict` as it is, and the other way
//! round. Three things differ between burn and torch, and all are settled here: burn's GroupNorm
//! calls its parameters `gamma` and `beta` rather than `weight` and `bias`, its linear layers hold
//! `[in, out]` rather than `[out, in]`, and its containers give their own names, which the fields of a
//! network can be chosen to match. Attention has other names in files of diffusers' early versions, which
//! are read too.
//!
//! The format (<https://github.com/huggingface/safetensors>) is a little-endian u64, the length of
//! the header; the header, JSON that says name, type, shape and place of every tensor; and the
//! tensors. Reading goes through the `safetensors` crate, which checks all of that, and each tensor
//! is then held against the network. burn-store is not used: these checks would have to come before
//! it all the same, and what is left for it to do is little. Writing lays out the header here, with
//! everything sorted by name: the crate keeps metadata in a hash map, whose order changes from run
//! to run, and here the same weights always give the same bytes.
//!
//! ```
//! use std::collections::BTreeMap;
//!
//! use burn::nn::LinearConfig;
//! use burn::tensor::Device;
//! use weights::{from_safetensors, to_safetensors};
//!
//! let device = Device::flex();
//! let linear = LinearConfig::new(2, 3).init(&device);
//! let bytes = to_safetensors(&linear, &BTreeMap::new())?;
//! let loaded = from_safetensors(LinearConfig::new(2, 3).init(&device), &bytes)?;
//! assert_eq!(to_safetensors(&loaded, &BTreeMap::new())?, bytes);
//! # Ok::<(), weights::WeightsError>(())
//! ```

#![forbid(unsafe_code)]

mod error;
mod module;
mod tensors;

pub use error::WeightsError;
pub use module::{ParameterPath, from_safetensors, to_safetensors};
pub use tensors::{read_tensors, write_tensors};
