//! How far apart two sets of images are, as laws: the sliced Wasserstein distance (Rabin et al. 2012).
//!
//! On a line the Wasserstein-2 distance of two samples of equal size is the root of the mean squared
//! difference between their sorted values. Here it is taken along many random directions:
//!
//! ```text
//! SW₂² = mean over directions d and ranks i of (⟨a, d⟩₍ᵢ₎ − ⟨b, d⟩₍ᵢ₎)²
//! ```
//!
//! Two samples of one law are not at 0; their distance is the floor that others are to be read against.

use anyhow::{Context, Result, ensure};
use burn::tensor::Tensor;

use crate::streams::{self, Purpose, Streams};

/// Directions along which images are compared.
const DIRECTIONS: usize = 512;

/// The distance between as many images as images, `[N, C, H, W]` each; always along the same directions.
pub fn sliced_wasserstein(a: Tensor<4>, b: Tensor<4>) -> Result<f64> {
    ensure!(a.dims() == b.dims(), "both sets must have one shape");
    let device = a.device();
    let [count, channels, height, width] = a.dims();
    let dimensions = channels * height * width;
    let mut rng = Streams::new(0).at(Purpose::Directions, 0);
    let directions: Tensor<2> = streams::noise([dimensions, DIRECTIONS], &mut rng, &device);
    let lengths = directions.clone().square().sum_dim(0).sqrt();
    let directions = directions / lengths;
    let sorted = |images: Tensor<4>| {
        let projections = images
            .reshape([count, dimensions])
            .matmul(directions.clone());
        projections.sort(0)
    };
    let squared: f32 = (sorted(a) - sorted(b))
        .square()
        .mean()
        .try_into_scalar()
        .context("cannot read the distance back from the device")?;
    Ok(f64::from(squared).sqrt())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use burn::tensor::Device;

    use super::*;

    fn normal(index: u64, count: usize) -> Tensor<4> {
        let mut rng = Streams::new(1).at(Purpose::Forward, index);
        streams::noise([count, 1, 4, 4], &mut rng, &Device::flex())
    }

    /// Along each direction N(0, 1) scaled by 3 is 2 away from itself, and moved by m in every pixel
    /// it is ⟨m, d⟩ away, of mean square |m|² / dimensions.
    #[test]
    fn of_known_laws() {
        let (a, b) = (normal(0, 4000), normal(1, 4000));
        let floor = sliced_wasserstein(a.clone(), b.clone()).unwrap();
        assert!(floor > 0.0 && floor < 0.06, "{floor}");
        assert_eq!(sliced_wasserstein(a.clone(), a.clone()).unwrap(), 0.0);
        let scaled = sliced_wasserstein(a.clone(), b.clone().mul_scalar(3.0)).unwrap();
        assert!((scaled - 2.0).abs() < 0.05, "{scaled}");
        let moved = sliced_wasserstein(a, b.add_scalar(0.5)).unwrap();
        assert!((moved - 0.5).abs() < 0.05, "{moved}");
    }

    #[test]
    fn only_sets_of_one_shape() {
        assert!(sliced_wasserstein(normal(0, 3), normal(0, 4)).is_err());
    }
}
