//! Between levels: half the resolution by a stride-2 convolution, twice by nearest neighbour and a
//! convolution (Ho et al. 2020, appendix B).
//!
//! The stride-2 convolution pads one pixel on every side, as diffusers does with its default
//! `downsample_padding=1`. Ho et al.'s own code pads below and on the right only, which diffusers calls
//! `downsample_padding=0`.

use burn::module::Module;
use burn::nn::conv::Conv2d;
use burn::tensor::{Device, Tensor};
use kernels::Sampling;

use crate::layers::conv::{conv3x3, convolve};

/// Halves height and width.
#[derive(Module, Debug)]
pub(crate) struct Downsample {
    conv: Conv2d,
    #[module(skip)]
    pads_every_side: bool,
}

impl Downsample {
    /// `padding` is the configuration's `downsample_padding`.
    pub(crate) fn new(channels: usize, padding: usize, device: &Device) -> Self {
        Self {
            conv: conv3x3([channels, channels], 2, device),
            pads_every_side: padding == 1,
        }
    }

    /// `[batch, channels, height, width]` to `[batch, channels, height / 2, width / 2]`.
    pub(crate) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let sampling = if self.pads_every_side {
            Sampling::Down
        } else {
            Sampling::DownBelowRight
        };
        convolve(&self.conv, x, sampling)
    }
}

/// Doubles height and width.
#[derive(Module, Debug)]
pub(crate) struct Upsample {
    conv: Conv2d,
}

impl Upsample {
    pub(crate) fn new(channels: usize, device: &Device) -> Self {
        Self {
            conv: conv3x3([channels, channels], 1, device),
        }
    }

    /// `[batch, channels, height, width]` to `[batch, channels, 2 height, 2 width]`.
    pub(crate) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        convolve(&self.conv, x, Sampling::Up)
    }
}
