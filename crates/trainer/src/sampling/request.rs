//! What is to be sampled.

use burn::tensor::{Device, Tensor, TensorReadError};
use denoising::SamplingOptions;
use noising::MixedChain;
use training::Passage;

/// Which images to draw, and how.
#[derive(Debug, Clone)]
pub struct Request {
    /// The class of each image; `None` for no class.
    pub classes: Vec<Option<usize>>,
    /// The sampler and its settings.
    pub sampling: SamplingOptions,
    /// Seed of the noise. An image depends on it and on its own place, on nothing
    /// else: not on the batch size, nor on the images beside it.
    pub seed: u64,
    /// The place of the first image among all of its seed: an image that was drawn with others is drawn again by its
    /// own place.
    pub first: usize,
    /// How many images go through the network at once.
    pub batch_size: usize,
    /// The noise x_T to begin with, `[count, C, H, W]`; `None` draws it.
    pub initial_noise: Option<Tensor<4>>,
    /// What is drawn over; `None` begins with noise alone.
    pub edit: Option<Edit>,
}

impl Request {
    /// Samples of these classes from the first place on, from noise alone.
    pub fn new(
        classes: Vec<Option<usize>>,
        sampling: SamplingOptions,
        seed: u64,
        batch_size: usize,
    ) -> Self {
        Self {
            classes,
            sampling,
            seed,
            first: 0,
            batch_size,
            initial_noise: None,
            edit: None,
        }
    }
}

/// An image that is drawn over, or rows of which cells are known.
#[derive(Debug, Clone)]
pub struct Edit {
    /// The image, `[1, C, H, W]` in [-1, 1]; or, of each row that is drawn, what is known of it, `[count, C, 1, 1]`.
    pub image: Tensor<4>,
    /// How far along the chain it is noised before it is drawn anew, in (0, 1] (Meng et al. 2022,
    /// "SDEdit").
    pub strength: f64,
    /// What of it is kept: 1 where it stays, 0 where it is drawn anew, `[1, 1, H, W]` or of the shape of rows; and
    /// how often each step is taken. `None` keeps nothing as it is.
    pub mask: Option<(Tensor<4>, usize)>,
}

impl Edit {
    /// That of `count` samples from the one at `first`, on `device`.
    ///
    /// # Errors
    ///
    /// A device that gives nothing back.
    pub(super) fn part(
        &self,
        first: usize,
        count: usize,
        device: &Device,
    ) -> Result<Self, TensorReadError> {
        let part = |tensor: &Tensor<4>| -> Result<Tensor<4>, TensorReadError> {
            let part = match tensor.dims()[0] {
                1 => tensor.clone(),
                _ => tensor.clone().narrow(0, first, count),
            };
            Ok(Passage::to(device, part)?.arrive(device))
        };
        let mask = self.mask.as_ref();
        Ok(Self {
            image: part(&self.image)?,
            strength: self.strength,
            mask: mask
                .map(|(mask, times)| part(mask).map(|mask| (mask, *times)))
                .transpose()?,
        })
    }

    /// x_t at the first timestep, whose ᾱ is given, from noise: the image as the forward process has it
    /// there. What a mask gives up wholly, at strength 1, starts from noise alone: the chain need not end
    /// in pure noise, and what is left of the image would show in what is drawn.
    pub(super) fn begin(
        &self,
        chain: &MixedChain,
        alpha_cumprod: f64,
        noise: Tensor<4>,
    ) -> Tensor<4> {
        let image = self.image.clone().expand(noise.dims());
        let noised = chain.q_keep(image, noise.clone(), alpha_cumprod);
        match &self.mask {
            Some((keep, _)) if self.strength == 1.0 => {
                let keep = keep.clone().expand(noise.dims());
                noised * keep.clone() + chain.pure_noise(noise) * keep.neg().add_scalar(1.0)
            }
            _ => noised,
        }
    }
}

/// The classes of a grid of `count` images when none are asked for: all of them in turn, an equal
/// number of each, in order; no class where the network knows none.
pub fn every_class(count: usize, num_classes: Option<usize>) -> Vec<Option<usize>> {
    let class = |index: usize| num_classes.map(|classes| index * classes / count);
    (0..count).map(class).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use noising::NoiseConfig;

    use super::*;

    #[test]
    fn what_is_given_up_at_full_strength_begins_with_noise_alone() {
        let tensor = |values: [f32; 2]| {
            Tensor::<1>::from_floats(values, &Device::flex()).reshape([1, 1, 1, 2])
        };
        let begin = |strength, keep: Option<[f32; 2]>| -> Vec<f32> {
            let edit = Edit {
                image: tensor([1.0, 1.0]),
                strength,
                mask: keep.map(|keep| (tensor(keep), 1)),
            };
            let chain = NoiseConfig::default().chain().unwrap().into();
            let x = edit.begin(&chain, 0.36, tensor([0.5, -0.5]));
            x.try_into_vec_as().unwrap()
        };
        // √ᾱ = 0.6 of the image and √(1 − ᾱ) = 0.8 of the noise.
        let noised = [1.0, 0.2];
        for (strength, keep, expected) in [
            (1.0, Some([1.0, 0.0]), [1.0, -0.5]),
            (1.0, Some([0.0, 0.0]), [0.5, -0.5]),
            (0.9, Some([0.0, 0.0]), noised),
            (1.0, None, noised),
        ] {
            let found = begin(strength, keep);
            let close = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-6;
            assert!(found.iter().zip(&expected).all(close), "{found:?}");
        }
    }

    #[test]
    fn a_grid_shows_every_class_in_order() {
        let classes = every_class(6, Some(3));
        assert_eq!(classes, [0, 0, 1, 1, 2, 2].map(Some));
        assert_eq!(every_class(2, None), [None, None]);
        assert_eq!(every_class(2, Some(3)), [0, 1].map(Some));
    }
}
