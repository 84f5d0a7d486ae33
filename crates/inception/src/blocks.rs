//! The blocks that the network is made of. Names are those of the TensorFlow graph, letters those of
//! torchvision, figures those of Szegedy et al. 2016.

use burn::module::{Module, Param};
use burn::tensor::activation::relu;
use burn::tensor::module::{avg_pool2d, max_pool2d};
use burn::tensor::ops::{AvgPoolOptions, MaxPoolOptions};
use burn::tensor::{Device, Tensor};
use kernels::{Plus, Sampling};

/// A convolution with bias, then ReLU.
#[derive(Module, Debug)]
pub(crate) struct Conv {
    weight: Param<Tensor<4>>,
    bias: Param<Tensor<1>>,
    #[module(skip)]
    padding: Padding,
}

/// Where the windows of a convolution lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Padding {
    /// One at each pixel, with zeros around the image.
    Same,
    /// One at each pixel where it lies inside the image.
    Valid,
    /// The same at every second pixel of images of odd lengths.
    ValidStride2,
}

impl Conv {
    /// From and to so many channels, with a kernel of a height and a width; of zeros, until weights are
    /// loaded.
    pub(crate) fn new(
        [channels, out]: [usize; 2],
        [height, width]: [usize; 2],
        padding: Padding,
        device: &Device,
    ) -> Self {
        let weight = Tensor::zeros([out, channels, height, width], device);
        let bias = Tensor::zeros([out], device);
        Self {
            weight: Param::from_tensor(weight),
            bias: Param::from_tensor(bias),
            padding,
        }
    }

    pub(crate) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        // In the order of the memory that kernels leave: that needs no copy.
        let y = self.convolve(x).permute([0, 2, 3, 1]);
        relu(y).permute([0, 3, 1, 2])
    }

    fn convolve(&self, x: Tensor<4>) -> Tensor<4> {
        let weight = self.weight.val();
        let [.., kernel_height, kernel_width] = weight.dims();
        let plus = Plus {
            bias: Some(self.bias.val()),
            ..Plus::default()
        };
        match (self.padding, [kernel_height, kernel_width]) {
            (_, [1, 1]) => kernels::conv2d_1x1(x, weight, plus),
            (Padding::Same, [3, 3]) => kernels::conv2d_3x3(x, weight, plus, Sampling::Same),
            (Padding::Same, _) => {
                kernels::conv2d(x, weight, plus, [kernel_height / 2, kernel_width / 2])
            }
            (Padding::Valid, _) => kernels::conv2d(x, weight, plus, [0, 0]),
            // Of odd lengths no window reaches into the padding.
            (Padding::ValidStride2, _) => {
                kernels::conv2d_3x3(x, weight, plus, Sampling::DownBelowRight)
            }
        }
    }
}

/// One convolution after the other.
fn through(convs: &[Conv], x: Tensor<4>) -> Tensor<4> {
    convs.iter().fold(x, |x, conv| conv.forward(x))
}

/// The channels of all beside each other.
fn concat<const N: usize>(parts: [Tensor<4>; N]) -> Tensor<4> {
    // As kernels leave them, the channels of a pixel lie side by side.
    let parts = parts.map(|part| part.permute([0, 2, 3, 1]));
    Tensor::cat(parts.to_vec(), 3).permute([0, 3, 1, 2])
}

/// The greatest of 3×3 pixels at every second pixel, inside the image.
pub(crate) fn max_3x3_stride_2(x: Tensor<4>) -> Tensor<4> {
    max_pool2d(x, MaxPoolOptions::new([3, 3]).with_stride([2, 2]))
}

/// The pool of a block, of 3×3 pixels at each pixel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pool {
    /// The mean of those inside the image.
    Mean,
    /// The greatest.
    Max,
}

/// A pool, then a 1×1 convolution.
#[derive(Module, Debug)]
struct PoolConv {
    conv: Conv,
    #[module(skip)]
    pool: Pool,
}

impl PoolConv {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        match self.pool {
            Pool::Max => {
                let options = MaxPoolOptions::new([3, 3]).with_stride([1, 1]);
                let x = max_pool2d(x, options.with_padding([1, 1]));
                self.conv.forward(x)
            }
            // Means of pixels and a linear map of channels change places: there are fewer channels after.
            Pool::Mean => {
                let options = AvgPoolOptions::new([3, 3])
                    .with_stride([1, 1])
                    .with_padding([1, 1])
                    .with_count_include_pad(false);
                relu(avg_pool2d(self.conv.convolve(x), options))
            }
        }
    }
}

/// `mixed` to `mixed_2` and `mixed_4` to `mixed_7`: a 1×1, two towers and a pool beside each other.
#[derive(Module, Debug)]
pub(crate) struct Towers {
    conv: Conv,
    tower: Vec<Conv>,
    tower_1: Vec<Conv>,
    tower_2: PoolConv,
}

impl Towers {
    /// Inception-A: a 5×5 and two 3×3 (figure 5, whose 5×5 it keeps), from so many channels to 224 and those
    /// of the pool.
    pub(crate) fn inception_a(channels: usize, pooled: usize, device: &Device) -> Self {
        let same = |channels, kernel| Conv::new(channels, kernel, Padding::Same, device);
        Self {
            conv: same([channels, 64], [1, 1]),
            tower: vec![same([channels, 48], [1, 1]), same([48, 64], [5, 5])],
            tower_1: vec![
                same([channels, 64], [1, 1]),
                same([64, 96], [3, 3]),
                same([96, 96], [3, 3]),
            ],
            tower_2: PoolConv {
                conv: same([channels, pooled], [1, 1]),
                pool: Pool::Mean,
            },
        }
    }

    /// Inception-C: 7×7 as 1×7 and 7×1 (figure 6), from 768 channels to as many, with so many between the
    /// long kernels.
    pub(crate) fn inception_c(between: usize, device: &Device) -> Self {
        let same = |channels, kernel| Conv::new(channels, kernel, Padding::Same, device);
        Self {
            conv: same([768, 192], [1, 1]),
            tower: vec![
                same([768, between], [1, 1]),
                same([between, between], [1, 7]),
                same([between, 192], [7, 1]),
            ],
            tower_1: vec![
                same([768, between], [1, 1]),
                same([between, between], [7, 1]),
                same([between, between], [1, 7]),
                same([between, between], [7, 1]),
                same([between, 192], [1, 7]),
            ],
            tower_2: PoolConv {
                conv: same([768, 192], [1, 1]),
                pool: Pool::Mean,
            },
        }
    }

    pub(crate) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        concat([
            self.conv.forward(x.clone()),
            through(&self.tower, x.clone()),
            through(&self.tower_1, x.clone()),
            self.tower_2.forward(x),
        ])
    }
}

/// `mixed_3`: from 35×35 to 17×17 pixels (figure 10).
#[derive(Module, Debug)]
pub(crate) struct InceptionB {
    conv: Conv,
    tower: Vec<Conv>,
}

impl InceptionB {
    /// From so many channels to 480 more.
    pub(crate) fn new(channels: usize, device: &Device) -> Self {
        let conv = |channels, kernel, padding| Conv::new(channels, kernel, padding, device);
        Self {
            conv: conv([channels, 384], [3, 3], Padding::ValidStride2),
            tower: vec![
                conv([channels, 64], [1, 1], Padding::Same),
                conv([64, 96], [3, 3], Padding::Same),
                conv([96, 96], [3, 3], Padding::ValidStride2),
            ],
        }
    }

    pub(crate) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        concat([
            self.conv.forward(x.clone()),
            through(&self.tower, x.clone()),
            max_3x3_stride_2(x),
        ])
    }
}

/// `mixed_8`: from 17×17 to 8×8 pixels, of 768 channels.
#[derive(Module, Debug)]
pub(crate) struct InceptionD {
    tower: Vec<Conv>,
    tower_1: Vec<Conv>,
}

impl InceptionD {
    pub(crate) fn new(device: &Device) -> Self {
        let conv = |channels, kernel, padding| Conv::new(channels, kernel, padding, device);
        Self {
            tower: vec![
                conv([768, 192], [1, 1], Padding::Same),
                conv([192, 320], [3, 3], Padding::ValidStride2),
            ],
            tower_1: vec![
                conv([768, 192], [1, 1], Padding::Same),
                conv([192, 192], [1, 7], Padding::Same),
                conv([192, 192], [7, 1], Padding::Same),
                conv([192, 192], [3, 3], Padding::ValidStride2),
            ],
        }
    }

    pub(crate) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        concat([
            through(&self.tower, x.clone()),
            through(&self.tower_1, x.clone()),
            max_3x3_stride_2(x),
        ])
    }
}

/// `mixed_9`, `mixed_10`: 3×3 as 1×3 and 3×1 beside each other (figure 7).
#[derive(Module, Debug)]
pub(crate) struct InceptionE {
    conv: Conv,
    tower_conv: Conv,
    tower_mixed_conv: Conv,
    tower_mixed_conv_1: Conv,
    tower_1_conv: Conv,
    tower_1_conv_1: Conv,
    tower_1_mixed_conv: Conv,
    tower_1_mixed_conv_1: Conv,
    tower_2: PoolConv,
}

impl InceptionE {
    /// From so many channels to 2048.
    pub(crate) fn new(channels: usize, pool: Pool, device: &Device) -> Self {
        let same = |channels, kernel| Conv::new(channels, kernel, Padding::Same, device);
        Self {
            conv: same([channels, 320], [1, 1]),
            tower_conv: same([channels, 384], [1, 1]),
            tower_mixed_conv: same([384, 384], [1, 3]),
            tower_mixed_conv_1: same([384, 384], [3, 1]),
            tower_1_conv: same([channels, 448], [1, 1]),
            tower_1_conv_1: same([448, 384], [3, 3]),
            tower_1_mixed_conv: same([384, 384], [1, 3]),
            tower_1_mixed_conv_1: same([384, 384], [3, 1]),
            tower_2: PoolConv {
                conv: same([channels, 192], [1, 1]),
                pool,
            },
        }
    }

    pub(crate) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let a = self.tower_conv.forward(x.clone());
        let b = self
            .tower_1_conv_1
            .forward(self.tower_1_conv.forward(x.clone()));
        concat([
            self.conv.forward(x.clone()),
            self.tower_mixed_conv.forward(a.clone()),
            self.tower_mixed_conv_1.forward(a),
            self.tower_1_mixed_conv.forward(b.clone()),
            self.tower_1_mixed_conv_1.forward(b),
            self.tower_2.forward(x),
        ])
    }
}
