//! From images of bytes to what the network takes.
//!
//! Two conventions are in use, and figures by one are not figures by the other (Parmar, Zhang and Zhu
//! 2022, "On Aliased Resizing and Surprising Subtleties in GAN Evaluation").
//!
//! In both, each row of the output is a weighted sum of rows of the input, and each column of columns:
//! [`Taps`] holds the weights along an axis, and the rest is the same.

use burn::tensor::{Device, Tensor, TensorData};
use rayon::prelude::*;

use crate::network::RESOLUTION;

/// How an image becomes one of 299 × 299 pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resize {
    /// `resize_bilinear` of TensorFlow 1, which the graph itself does, and so Heusel et al. 2017, most
    /// papers' figures and torch-fidelity: pixel i of the output lies at i · in / out of the input, without
    /// half a pixel's offset; linear between two neighbours, however much smaller the image becomes.
    Tensorflow,
    /// That of clean-fid (Parmar et al. 2022): Pillow's bicubic filter (a = −½) on each channel as real
    /// numbers, widened where the image becomes smaller, then clamped to 0 to 255.
    Clean,
}

/// Where a pixel of the output comes from along an axis.
#[derive(Clone, Debug, PartialEq)]
struct Taps {
    /// The first pixel of the input.
    first: usize,
    /// Weights of it and of those behind it.
    weights: Vec<f64>,
}

impl Resize {
    /// Images as the network takes them: `[N, 3, 299, 299]`, each byte x as (x − 128) / 128.
    ///
    /// - `pixels`: image by image, each channel, row, column
    /// - `shape`: channels, height and width of an image; a grey one is repeated
    ///
    /// # Panics
    ///
    /// If there are neither 1 nor 3 channels, an image has no pixels, or the pixels are no whole number
    /// of images.
    pub fn images(self, pixels: &[u8], shape: [usize; 3], device: &Device) -> Tensor<4> {
        let [channels, height, width] = shape;
        assert!(
            (channels == 1 || channels == 3) && height * width > 0,
            "images of {shape:?}"
        );
        assert!(pixels.len().is_multiple_of(channels * height * width));
        let count = pixels.len() / (channels * height * width);
        let (rows, columns) = (self.taps(height), self.taps(width));
        let repeats = 3 / channels;
        let plane_len = RESOLUTION * RESOLUTION;
        let mut values = vec![0.0; count * 3 * plane_len];
        values
            .par_chunks_mut(repeats * plane_len)
            .zip(pixels.par_chunks(height * width))
            .for_each(|(to, plane)| {
                let (first, others) = to.split_at_mut(plane_len);
                resample(plane, width, [&rows, &columns], first);
                for value in first.iter_mut() {
                    *value = (value.clamp(0.0, 255.0) - 128.0) / 128.0;
                }
                for other in others.chunks_exact_mut(plane_len) {
                    other.copy_from_slice(first);
                }
            });
        let data = TensorData::new(values, [count, 3, RESOLUTION, RESOLUTION]);
        Tensor::from_data(data, device)
    }

    /// For each pixel of the output along an axis of so many of the input.
    fn taps(self, len: usize) -> Vec<Taps> {
        let scale = len as f64 / RESOLUTION as f64;
        (0..RESOLUTION)
            .map(|index| match self {
                Self::Tensorflow => linear(index as f32 * (len as f32 / RESOLUTION as f32), len),
                Self::Clean => bicubic((index as f64 + 0.5) * scale, scale.max(1.0), len),
            })
            .collect()
    }
}

/// The two pixels around `place`, which TensorFlow has in f32; beyond the last one comes itself.
fn linear(place: f32, len: usize) -> Taps {
    let first = (place as usize).min(len - 1);
    let share = f64::from(place - first as f32);
    let weights = if first + 1 < len {
        vec![1.0 - share, share]
    } else {
        vec![1.0]
    };
    Taps { first, weights }
}

/// The pixels under Keys' cubic kernel (1981, with a = −½), `widened` and laid with its middle at
/// `centre`, where pixel i has its middle at i + ½. What lies outside the image is left out, and the weights
/// of the rest are made to add up to 1, as Pillow does (`src/libImaging/Resample.c`).
fn bicubic(centre: f64, widened: f64, len: usize) -> Taps {
    let reach = 2.0 * widened;
    let first = (centre - reach + 0.5).max(0.0) as usize;
    let end = ((centre + reach + 0.5) as usize).min(len);
    let weight = |pixel: usize| keys((pixel as f64 + 0.5 - centre) / widened);
    let mut weights: Vec<f64> = (first..end).map(weight).collect();
    let sum: f64 = weights.iter().sum();
    for weight in &mut weights {
        *weight /= sum;
    }
    Taps { first, weights }
}

/// Keys' cubic kernel with a = −½.
fn keys(x: f64) -> f64 {
    let x = x.abs();
    if x < 1.0 {
        (1.5 * x - 2.5) * x * x + 1.0
    } else if x < 2.0 {
        ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    } else {
        0.0
    }
}

/// A channel of rows of `width` pixels as 299 × 299 numbers.
fn resample(plane: &[u8], width: usize, [rows, columns]: [&[Taps]; 2], to: &mut [f32]) {
    // Along the rows first.
    let mut across = vec![0.0; plane.len() / width * RESOLUTION];
    for (to, row) in across
        .chunks_exact_mut(RESOLUTION)
        .zip(plane.chunks_exact(width))
    {
        for (to, taps) in to.iter_mut().zip(columns) {
            let pixels = row[taps.first..].iter().zip(&taps.weights);
            *to = pixels
                .map(|(&pixel, weight)| f64::from(pixel) * weight)
                .sum::<f64>() as f32;
        }
    }
    for (to, taps) in to.chunks_exact_mut(RESOLUTION).zip(rows) {
        for (column, to) in to.iter_mut().enumerate() {
            let sum = taps.weights.iter().enumerate().map(|(tap, weight)| {
                f64::from(across[(taps.first + tap) * RESOLUTION + column]) * weight
            });
            *to = sum.sum::<f64>() as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn values(resize: Resize, pixels: &[u8], shape: [usize; 3]) -> Vec<f32> {
        let images = resize.images(pixels, shape, &Device::flex());
        images.into_data().try_to_vec().unwrap()
    }

    #[test]
    fn weights_add_up_to_1_and_lie_inside_the_image() {
        for resize in [Resize::Tensorflow, Resize::Clean] {
            for len in [1, 2, 3, 28, 298, 299, 300, 1024] {
                for taps in resize.taps(len) {
                    assert!(
                        taps.first + taps.weights.len() <= len,
                        "{resize:?} of {len}"
                    );
                    let sum: f64 = taps.weights.iter().sum();
                    assert!((sum - 1.0).abs() < 1e-12, "{resize:?} of {len}: {sum}");
                }
            }
        }
    }

    #[test]
    fn images_of_the_right_size_stay_as_they_are() {
        let pixels: Vec<u8> = (0..3 * RESOLUTION * RESOLUTION)
            .map(|index| (index % 251) as u8)
            .collect();
        let expected: Vec<f32> = pixels
            .iter()
            .map(|&pixel| (f32::from(pixel) - 128.0) / 128.0)
            .collect();
        for resize in [Resize::Tensorflow, Resize::Clean] {
            let found = values(resize, &pixels, [3, RESOLUTION, RESOLUTION]);
            for (found, expected) in found.iter().zip(&expected) {
                assert!((found - expected).abs() < 1e-6, "{resize:?}");
            }
        }
    }

    #[test]
    fn grey_images_are_repeated() {
        let (grey, rgb) = ([7, 200, 30, 90], [7, 200, 30, 90].repeat(3));
        let found = values(Resize::Clean, &grey, [1, 2, 2]);
        assert_eq!(found, values(Resize::Clean, &rgb, [3, 2, 2]));
    }
}
