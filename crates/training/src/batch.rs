//! What one pass of training is made from.

use burn::tensor::Tensor;

use crate::network::Condition;

/// What one pass through the network is made from.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Clean examples: `[B, C, H, W]`, images in [-1, 1]; rows of a table `[B, N + C, 1, 1]`, numbers and then
    /// category codes.
    pub x_0: Tensor<4>,
    /// What the network is told of them.
    pub condition: Condition,
    /// Standard normal noise of the shape of `x_0`, by which categories are drawn too.
    pub noise: Tensor<4>,
    /// A timestep for each.
    pub timesteps: Vec<usize>,
    /// The seed of the device's own generator for this pass, where the network draws from it, as dropout does.
    pub dropout_seed: Option<u64>,
}
