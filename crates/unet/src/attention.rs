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
use burn::tensor::activation::softmax;
use burn::tensor::{Device, Tensor};

use crate::resnet::normalise;

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
        let [batch, channels, height, width] = x.dims();
        let (pixels, head_dim) = (height * width, channels / self.heads);

        let normalised = match &self.group_norm {
            Some(norm) => normalise(norm, x.clone()),
            None => x.clone(),
        };
        let sequence = normalised
            .reshape([batch, channels, pixels])
            .swap_dims(1, 2);

        // [batch, pixels, channels] to [batch, heads, pixels, head_dim]
        let split = |projected: Tensor<3>| {
            projected
                .reshape([batch, pixels, self.heads, head_dim])
                .swap_dims(1, 2)
        };
        let q = split(self.to_q.forward(sequence.clone()));
        let k = split(self.to_k.forward(sequence.clone()));
        let v = split(self.to_v.forward(sequence));

        // The queries are scaled rather than the scores, which are the larger tensor.
        let scores = (q * (head_dim as f64).powf(-0.5)).matmul(k.transpose());
        let attended = softmax(scores, 3)
            .matmul(v)
            .swap_dims(1, 2)
            .reshape([batch, pixels, channels]);

        let [to_out] = &self.to_out;
        let out = to_out
            .forward(attended)
            .swap_dims(1, 2)
            .reshape([batch, channels, height, width]);
        x + out
    }
}
