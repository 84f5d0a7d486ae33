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
use kernels::Plus;

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
        let [q, k, v] = [&self.to_q, &self.to_k, &self.to_v]
            .map(|linear| pixelwise(linear, normalised.clone(), None));
        let attended = kernels::attention(q, k, v, self.heads);
        let [to_out] = &self.to_out;
        pixelwise(to_out, attended, Some(x))
    }
}

/// A linear layer over the channels of each pixel, which is a 1×1 convolution, plus a residual.
fn pixelwise(linear: &Linear, x: Tensor<4>, residual: Option<Tensor<4>>) -> Tensor<4> {
    let [inputs, outputs] = linear.weight.dims();
    let weight = linear.weight.val().transpose();
    let plus = Plus {
        bias: linear.bias.as_ref().map(|bias| bias.val()),
        residual,
        ..Plus::default()
    };
    kernels::conv2d_1x1(x, weight.reshape([outputs, inputs, 1, 1]), plus)
}
