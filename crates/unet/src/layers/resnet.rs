//! The residual block: two 3×3 convolutions, each behind GroupNorm and SiLU, with the time embedding
//! in between.
//!
//! ```text
//! h = conv1(silu(norm1(x)))
//! h = norm2(h + W silu(e))                              time added
//! h = norm2(h) · (1 + scale) + shift,  [scale, shift] = W silu(e)    scale and shift
//! y = shortcut(x) + conv2(dropout(silu(h)))
//! ```
//!
//! Ho et al. 2020, appendix B; scale and shift: Dhariwal and Nichol 2021, section 3.1. The shortcut
//! is a 1×1 convolution where the number of channels changes, else x itself.

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{Dropout, DropoutConfig, GroupNorm, Linear, LinearConfig};
use burn::tensor::{Device, Tensor};
use kernels::{Plus, Sampling};

use crate::config::{TimeScaleShift, UNetConfig};
use crate::layers::conv::{bias, conv3x3};
use crate::layers::norm::{group_norm, group_norm_silu};

/// A residual block.
#[derive(Module, Debug)]
pub(crate) struct ResnetBlock {
    norm1: GroupNorm,
    conv1: Conv2d,
    time_emb_proj: Linear,
    norm2: GroupNorm,
    dropout: Dropout,
    conv2: Conv2d,
    conv_shortcut: Option<Conv2d>,
    #[module(skip)]
    time_scale_shift: TimeScaleShift,
}

impl ResnetBlock {
    pub(crate) fn new(
        [in_channels, out_channels]: [usize; 2],
        config: &UNetConfig,
        device: &Device,
    ) -> Self {
        let projected = match config.resnet_time_scale_shift {
            TimeScaleShift::Default => out_channels,
            TimeScaleShift::ScaleShift => 2 * out_channels,
        };
        Self {
            norm1: group_norm(in_channels, config.norm_num_groups, config, device),
            conv1: conv3x3([in_channels, out_channels], 1, device),
            time_emb_proj: LinearConfig::new(config.time_embedding_channels(), projected)
                .init(device),
            norm2: group_norm(out_channels, config.norm_num_groups, config, device),
            dropout: DropoutConfig::new(config.dropout).init(),
            conv2: conv3x3([out_channels, out_channels], 1, device),
            conv_shortcut: (in_channels != out_channels)
                .then(|| Conv2dConfig::new([in_channels, out_channels], [1, 1]).init(device)),
            time_scale_shift: config.resnet_time_scale_shift,
        }
    }

    /// - `x`: `[batch, in_channels, height, width]`
    /// - `activated_embedding`: `[batch, time_embedding_channels]`, behind its SiLU, which is the
    ///   same in every block
    /// - output: `[batch, out_channels, height, width]`
    pub(crate) fn forward(&self, x: Tensor<4>, activated_embedding: Tensor<2>) -> Tensor<4> {
        let (plus, scale_shift) = match self.time_scale_shift {
            TimeScaleShift::Default => (self.plus_time(activated_embedding), None),
            TimeScaleShift::ScaleShift => {
                let scale_shift = self.time_emb_proj.forward(activated_embedding);
                (bias(&self.conv1), Some(scale_shift))
            }
        };

        let h = group_norm_silu(&self.norm1, x.clone(), None);
        let h = kernels::conv2d_3x3(h, self.conv1.weight.val(), plus, Sampling::Same);
        let h = group_norm_silu(&self.norm2, h, scale_shift);
        let h = self.dropout.forward(h);

        let shortcut = match &self.conv_shortcut {
            Some(conv) => kernels::conv2d_1x1(x, conv.weight.val(), bias(conv)),
            None => x,
        };
        let plus = Plus {
            residual: Some(shortcut),
            ..bias(&self.conv2)
        };
        kernels::conv2d_3x3(h, self.conv2.weight.val(), plus, Sampling::Same)
    }

    /// The projected time and the bias of the first convolution, which is added to the same channels as the bias of the
    /// projection: the sum of both has one gradient, where they would have one each.
    fn plus_time(&self, activated_embedding: Tensor<2>) -> Plus {
        let Linear { weight, bias } = &self.time_emb_proj;
        let biases = [&self.conv1.bias, bias].into_iter().flatten();
        Plus {
            bias: biases.map(|bias| bias.val()).reduce(|a, b| a + b),
            per_example: Some(activated_embedding.matmul(weight.val())),
            residual: None,
        }
    }
}
