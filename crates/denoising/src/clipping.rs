//! Keeping the predicted x_0 where data can be.
//!
//! Early in sampling x_0 = (x_t − √(1 − ᾱ_t) ε) / √ᾱ_t multiplies every error of ε by 1/√ᾱ_t, up to
//! about 2·10⁴ with the cosine schedule; without a bound the samples blow up (Ho et al. 2020's code
//! clips to [−1, 1] too).

use burn::tensor::Tensor;

/// What is done to the predicted x_0 at every step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum X0Clipping {
    /// Nothing: for data without bounds.
    None,
    /// Each element is clamped to [−range, range].
    Clamp {
        /// The largest absolute value of data; 1 for images in [−1, 1]. Above 0.
        range: f64,
    },
}

impl Default for X0Clipping {
    /// Clamped to [−1, 1].
    fn default() -> Self {
        Self::Clamp { range: 1.0 }
    }
}

impl X0Clipping {
    /// x_0 kept in bounds; the shape stays.
    pub fn apply<const D: usize>(self, x_0: Tensor<D>) -> Tensor<D> {
        match self {
            Self::None => x_0,
            Self::Clamp { range } => x_0.clamp(-range, range),
        }
    }
}
