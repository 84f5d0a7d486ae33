//! Keeping the predicted x_0 where data can be.
//!
//! Early in sampling x_0 = (x_t − √(1 − ᾱ_t) ε) / √ᾱ_t multiplies every error of ε by 1/√ᾱ_t, up to
//! about 2·10⁴ with the cosine schedule; without a bound the samples blow up (Ho et al. 2020's code
//! clips to [−1, 1] too).

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::error::SamplerError;

/// What is done to the predicted x_0 at every step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum X0Clipping {
    /// Nothing: for data without bounds.
    None,
    /// Each element is clamped to [−range, range].
    Clamp {
        /// The largest absolute value of data; 1 for images in [−1, 1]. Above 0.
        #[serde(default = "one")]
        range: f64,
    },
    /// Dynamic thresholding (Saharia et al. 2022, section 2.3): each example is clamped to [−s, s] and
    /// divided by s, where s is the quantile `ratio` of its absolute values, but at least 1 and at most
    /// `max`. Strong guidance then does not saturate the image.
    DynamicThreshold {
        /// The quantile, in (0, 1].
        #[serde(default = "most")]
        ratio: f64,
        /// The largest s, 1 or more. With 1 it is clamping to [−1, 1].
        #[serde(default = "far")]
        max: f64,
    },
}

fn one() -> f64 {
    1.0
}

fn most() -> f64 {
    0.995
}

fn far() -> f64 {
    10.0
}

impl Default for X0Clipping {
    /// Clamped to [−1, 1].
    fn default() -> Self {
        Self::Clamp { range: 1.0 }
    }
}

impl X0Clipping {
    /// Whether the numbers make sense.
    ///
    /// # Errors
    ///
    /// The number that does not.
    pub fn check(self) -> Result<(), SamplerError> {
        let refuse = |parameter, value, expected| {
            Err(SamplerError::Parameter {
                parameter,
                value,
                expected,
            })
        };
        match self {
            Self::Clamp { range } if !(range > 0.0 && range.is_finite()) => {
                refuse("the range that x_0 is clamped to", range, "above 0")
            }
            Self::DynamicThreshold { ratio, .. } if !(ratio > 0.0 && ratio <= 1.0) => {
                refuse("the ratio of dynamic thresholding", ratio, "in (0, 1]")
            }
            Self::DynamicThreshold { max, .. } if !(max >= 1.0 && max.is_finite()) => {
                refuse("the max of dynamic thresholding", max, "1 or more")
            }
            _ => Ok(()),
        }
    }

    /// x_0 kept in bounds; the shape stays, dimension 0 is the batch.
    pub fn apply<const D: usize>(self, x_0: Tensor<D>) -> Tensor<D> {
        match self {
            Self::None => x_0,
            Self::Clamp { range } => x_0.clamp(-range, range),
            Self::DynamicThreshold { ratio, max } => {
                let mut shape = [1; D];
                shape[0] = x_0.dims()[0];
                let s = magnitude_quantile(x_0.clone(), ratio)
                    .clamp(1.0, max)
                    .reshape(shape)
                    .expand(x_0.dims());
                x_0.min_pair(s.clone()).max_pair(s.clone().neg()) / s
            }
        }
    }
}

/// The quantile of the absolute values of each example, between two of them in proportion: `[B]`.
fn magnitude_quantile<const D: usize>(x: Tensor<D>, ratio: f64) -> Tensor<1> {
    let batch = x.dims()[0];
    let count = x.shape().num_elements() / batch;
    let sorted = x.abs().reshape([batch, count]).sort(1);
    let rank = ratio * (count - 1) as f64;
    let below = rank.floor() as usize;
    let above = (below + 1).min(count - 1);
    let at = |index| sorted.clone().narrow(1, index, 1).reshape([batch]);
    at(below) + (at(above) - at(below)).mul_scalar(rank.fract())
}
