//! The network, from pixels to `pool_3`.

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use crate::blocks::{
    Conv, InceptionB, InceptionD, InceptionE, Padding, Pool, Towers, max_3x3_stride_2,
};

/// Height and width of the images that the network takes.
pub const RESOLUTION: usize = 299;

/// Features of an image.
pub const FEATURES: usize = 2048;

/// Inception-v3 as of 2015-12-05. Fields, and so tensors on disk, have the names of its TensorFlow graph.
#[derive(Module, Debug)]
pub struct Inception {
    conv: Conv,
    conv_1: Conv,
    conv_2: Conv,
    conv_3: Conv,
    conv_4: Conv,
    mixed: Towers,
    mixed_1: Towers,
    mixed_2: Towers,
    mixed_3: InceptionB,
    mixed_4: Towers,
    mixed_5: Towers,
    mixed_6: Towers,
    mixed_7: Towers,
    mixed_8: InceptionD,
    mixed_9: InceptionE,
    mixed_10: InceptionE,
}

impl Inception {
    /// The network with weights of zero: its use is to have weights loaded.
    pub fn new(device: &Device) -> Self {
        let conv = |channels, kernel, padding| Conv::new(channels, kernel, padding, device);
        Self {
            conv: conv([3, 32], [3, 3], Padding::ValidStride2),
            conv_1: conv([32, 32], [3, 3], Padding::Valid),
            conv_2: conv([32, 64], [3, 3], Padding::Same),
            conv_3: conv([64, 80], [1, 1], Padding::Same),
            conv_4: conv([80, 192], [3, 3], Padding::Valid),
            mixed: Towers::inception_a(192, 32, device),
            mixed_1: Towers::inception_a(256, 64, device),
            mixed_2: Towers::inception_a(288, 64, device),
            mixed_3: InceptionB::new(288, device),
            mixed_4: Towers::inception_c(128, device),
            mixed_5: Towers::inception_c(160, device),
            mixed_6: Towers::inception_c(160, device),
            mixed_7: Towers::inception_c(192, device),
            mixed_8: InceptionD::new(device),
            mixed_9: InceptionE::new(1280, Pool::Mean, device),
            mixed_10: InceptionE::new(2048, Pool::Max, device),
        }
    }

    /// The features of images: `pool_3`, `[B, 2048]`.
    ///
    /// - `images`: `[B, 3, 299, 299]`, RGB, each byte x as (x − 128) / 128, as
    ///   [`Resize::images`](crate::Resize::images) makes them
    ///
    /// # Panics
    ///
    /// If the images have another shape.
    pub fn features(&self, images: Tensor<4>) -> Tensor<2> {
        let [_, channels, height, width] = images.dims();
        assert!(
            [channels, height, width] == [3, RESOLUTION, RESOLUTION],
            "images of {:?}",
            images.dims()
        );
        let x = self.conv.forward(images);
        let x = self.conv_1.forward(x);
        let x = self.conv_2.forward(x);
        let x = max_3x3_stride_2(x);
        let x = self.conv_3.forward(x);
        let x = self.conv_4.forward(x);
        let x = max_3x3_stride_2(x);
        let x = self.mixed.forward(x);
        let x = self.mixed_1.forward(x);
        let x = self.mixed_2.forward(x);
        let x = self.mixed_3.forward(x);
        let x = self.mixed_4.forward(x);
        let x = self.mixed_5.forward(x);
        let x = self.mixed_6.forward(x);
        let x = self.mixed_7.forward(x);
        let x = self.mixed_8.forward(x);
        let x = self.mixed_9.forward(x);
        let x = self.mixed_10.forward(x);
        x.flatten::<3>(2, 3).mean_dim(2).squeeze_dim(2)
    }
}
