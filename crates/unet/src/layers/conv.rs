//! 3×3 convolutions with bias.

use burn::nn::PaddingConfig2d;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::tensor::{Device, Tensor};
use kernels::{Plus, Sampling};

/// A 3×3 convolution, padded by one pixel on every side.
pub(crate) fn conv3x3(channels: [usize; 2], stride: usize, device: &Device) -> Conv2d {
    Conv2dConfig::new(channels, [3, 3])
        .with_stride([stride, stride])
        .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
        .init(device)
}

/// A 3×3 convolution made by [`conv3x3`]. Its stride and padding are those of `sampling`.
pub(crate) fn convolve(conv: &Conv2d, x: Tensor<4>, sampling: Sampling) -> Tensor<4> {
    kernels::conv2d_3x3(x, conv.weight.val(), bias(conv), sampling)
}

/// The bias of a convolution, to be added to its output.
pub(crate) fn bias(conv: &Conv2d) -> Plus {
    Plus {
        bias: conv.bias.as_ref().map(|bias| bias.val()),
        ..Plus::default()
    }
}
