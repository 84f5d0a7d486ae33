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

/// How batches are made.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchOptions {
    /// Examples of one pass.
    pub batch_size: usize,
    /// Whether half of the examples, by chance, are mirrored left to right.
    pub flip: bool,
    /// The classes that the network is told; `None` tells it none.
    pub classes: Option<ClassOptions>,
    /// Whether the network draws from the device's own generator, as dropout does. It is then seeded anew
    /// for each batch, so that a resumed run drops what it would have dropped.
    pub has_dropout: bool,
    /// Whether batches are put together ahead, by a thread: for devices that compute while the processor does not. It
    /// changes no batch. Data that are read from a disk are read ahead in any case.
    pub is_ahead: bool,
}

/// How the network is told classes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClassOptions {
    /// The number of classes.
    pub num_classes: usize,
    /// Share of labels that are replaced by "no class" (Ho and Salimans 2022, algorithm 1).
    pub dropout: f64,
}

impl Default for BatchOptions {
    fn default() -> Self {
        Self {
            batch_size: 64,
            flip: false,
            classes: None,
            has_dropout: false,
            is_ahead: false,
        }
    }
}
