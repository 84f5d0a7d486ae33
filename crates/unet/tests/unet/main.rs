//! The U-Net against diffusers, by itself, and its weights on disk.

#![allow(clippy::unwrap_used)]

mod diffusers;
mod network;
mod weights;
