//! Inception-v3 as of 2015-12-05: the network whose features FID is defined on.
//!
//! FID is not defined on any Inception-v3 but on the TensorFlow graph that was published as
//! `inception-2015-12-05.tgz` (Szegedy et al. 2016; Heusel et al. 2017): on the 2048 numbers of its last
//! pooling, `pool_3`. It differs from the Inception-v3 of torchvision in its weights and in its pools:
//!
//! - a mean takes the padding for no pixels (torchvision counts zeros in),
//! - the last block has a maximum where every other has a mean,
//! - pixels come as (byte − 128) / 128, so from −1 to 0.992.
//!
//! What stands before the network counts as much: images are bytes, and [`Resize`] says how they become
//! 299 × 299 pixels.
//!
//! Forward only. Batch normalisation is folded into the weights when they are converted
//! (`scripts/inception/convert.py`), so that convolutions with bias, ReLU and pools are all that is left.

#![forbid(unsafe_code)]

mod blocks;
mod network;
mod resize;

pub use crate::network::{FEATURES, Inception, RESOLUTION};
pub use crate::resize::Resize;
