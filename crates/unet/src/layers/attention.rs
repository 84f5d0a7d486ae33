//! Self-attention over the pixels of a feature map.
//!
//! ```text
//! y = x + W_o · softmax(q kᵀ / √d) v,    q, k, v = W_{q,k,v} norm(x),    d channels a head
//! ```
//!
//! Vaswani et al. 2017, equation 1, as the residual block of Ho et al. 2020, appendix B, which has
//! one head over all channels.

use burn::module::Module;
use burn::nn::{GroupNorm, Linear, LinearConfig};
use burn::tensor::{Device, Tensor};
use kernels::PixelLinear;

use crate::layers::norm::normalise;

/// Self-attention with its normalisation and residual connection.
#[derive(Module, Debug)]
pub(crate) struct Attention {
    group_norm: Option<GroupNorm>,
    to_q: Linear,
    to_k: Linear,
    to_v: Linear,
    /// An array of one, for diffusers calls its weight `to_out.0.weight`.
    to_out: [Linear; 1],
    heads: usize,
}

impl Attention {
    /// Attention over `channels` with heads of `head_dim` channels, or one head without it.
    pub(crate) fn new(
        channels: usize,
        head_dim: Option<usize>,
        group_norm: Option<GroupNorm>,
        device: &Device,
    ) -> Self {
        let linear = || LinearConfig::new(channels, channels).init(device);
        Self {
            group_norm,
            to_q: linear(),
            to_k: linear(),
            to_v: linear(),
            to_out: [linear()],
            heads: channels / head_dim.unwrap_or(channels),
        }
    }

    /// `[batch, channels, height, width]` to the same shape.
    pub(crate) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let normalised = match &self.group_norm {
            Some(norm) => normalise(norm, x.clone()),
            None => x.clone(),
        };
        let projections = [&self.to_q, &self.to_k, &self.to_v].map(pixelwise);
        let attended = kernels::self_attention(normalised, projections, self.heads);
        let [to_out] = &self.to_out;
        kernels::pixel_linear(attended, pixelwise(to_out), Some(x))
    }
}

fn pixelwise(linear: &Linear) -> PixelLinear {
    PixelLinear {
        weight: linear.weight.val(),
        bias: linear.bias.as_ref().map(|bias| bias.val()),
    }
}
