//! Drawing new images: the network, a sampler of [`denoising`], guidance and the random streams put
//! together.

use anyhow::{Result, ensure};
use burn::tensor::{Device, Tensor};
use denoising::guidance::classifier_free;
use denoising::{Ddim, DdimOptions, Ddpm, DdpmVariance, Denoising, Sampler, State, X0Clipping};
use noising::Chain;
use rand_chacha::ChaCha8Rng;
use unet::UNet;

use crate::config::{ObjectiveConfig, RunConfig, SamplerKind, SamplingConfig};
use crate::objective::labels_tensor;
use crate::streams::{self, Purpose, Streams};

/// A network that is ready to be sampled from, and how its predictions are read.
#[derive(Debug)]
pub struct Model {
    /// The network, without autodiff.
    pub unet: UNet,
    /// The chain that it was trained on.
    pub chain: Chain,
    /// What it predicts.
    pub objective: ObjectiveConfig,
    /// The label that means "no class", where the network is conditional.
    pub null_label: Option<usize>,
    /// Where it runs.
    pub device: Device,
}

/// Which images to draw, and how.
#[derive(Debug, Clone)]
pub struct Request {
    /// The class of each image; `None` for no class.
    pub classes: Vec<Option<usize>>,
    /// The sampler and its settings.
    pub sampling: SamplingConfig,
    /// Seed of the noise. An image depends on it and on its own place in `classes`, on nothing
    /// else: not on the batch size, nor on the images beside it.
    pub seed: u64,
    /// How many images go through the network at once.
    pub batch_size: usize,
    /// The noise x_T to begin with, `[count, C, H, W]`; `None` draws it.
    pub initial_noise: Option<Tensor<4>>,
}

impl Model {
    /// A model of `unet` as `config` describes it.
    pub fn new(unet: UNet, config: &RunConfig, device: Device) -> Result<Self> {
        Ok(Self {
            unet,
            chain: config.chain()?,
            objective: config.objective.clone(),
            null_label: config.null_label(),
            device,
        })
    }

    /// Draws the images that `request` asks for, batch by batch: `[count, C, H, W]` in [-1, 1].
    /// `observe` sees every state of every batch as it comes, together with the place of the
    /// batch's first image.
    pub fn sample(
        &self,
        request: &Request,
        mut observe: impl FnMut(usize, &State<4>) -> Result<()>,
    ) -> Result<Tensor<4>> {
        let shape = self.image_shape();
        let streams = Streams::new(request.seed);
        let mut images = Vec::new();
        for (batch, classes) in request.classes.chunks(request.batch_size).enumerate() {
            let first = batch * request.batch_size;
            let mut rngs: Vec<ChaCha8Rng> = (first..first + classes.len())
                .map(|index| streams.at(Purpose::Sampling, index as u64))
                .collect();
            let mut noise = || streams::per_image_noise(shape, &mut rngs, &self.device);
            // Drawn in any case, so that what is drawn in the steps is the same.
            let mut initial_noise = noise();
            if let Some(given) = &request.initial_noise {
                initial_noise = given.clone().narrow(0, first, classes.len());
            }
            let predict = |x_t, t| self.predict(x_t, t, classes, request.sampling.guidance_scale);
            let sampler = self.sampler(&request.sampling)?;
            let mut x = initial_noise.clone();
            for state in Denoising::new(sampler, initial_noise, predict, noise) {
                observe(first, &state)?;
                x = state.x;
            }
            images.push(x);
        }
        ensure!(!images.is_empty(), "no image was asked for");
        Ok(Tensor::cat(images, 0))
    }

    /// The noise that [`Model::sample`] draws for `count` images to begin with.
    pub fn initial_noise(&self, seed: u64, count: usize) -> Tensor<4> {
        let streams = Streams::new(seed);
        let mut rngs: Vec<ChaCha8Rng> = (0..count)
            .map(|index| streams.at(Purpose::Sampling, index as u64))
            .collect();
        streams::per_image_noise(self.image_shape(), &mut rngs, &self.device)
    }

    /// Channels, height and width of an image.
    fn image_shape(&self) -> [usize; 3] {
        let config = self.unet.config();
        [config.in_channels, config.sample_size, config.sample_size]
    }

    fn sampler(&self, sampling: &SamplingConfig) -> Result<Box<dyn Sampler<4>>> {
        let schedule = self.chain.schedule();
        let timesteps = sampling.timestep_spacing.timesteps(
            self.chain.num_train_timesteps(),
            sampling.num_inference_steps,
        )?;
        let prediction_type = self.objective.prediction_type;
        let clipping = X0Clipping::default();
        Ok(match sampling.sampler {
            SamplerKind::Ddpm => Box::new(Ddpm::new(
                schedule,
                &timesteps,
                prediction_type,
                clipping,
                DdpmVariance::FixedSmall,
            )?),
            SamplerKind::Ddim => Box::new(Ddim::new(
                schedule,
                &timesteps,
                prediction_type,
                clipping,
                DdimOptions {
                    eta: sampling.eta,
                    ..DdimOptions::default()
                },
            )?),
        })
    }

    /// The network's prediction for a batch at timestep `t`, guided (Ho and Salimans 2022) where
    /// the scale asks for it: then the halves with and without classes go through it together.
    fn predict(
        &self,
        x_t: Tensor<4>,
        t: f64,
        classes: &[Option<usize>],
        guidance_scale: f64,
    ) -> Tensor<4> {
        let timesteps = |count: usize| Tensor::full([count], t, &self.device);
        let Some(null_label) = self.null_label else {
            return self.unet.forward(x_t, timesteps(classes.len()), None);
        };
        let labels: Vec<usize> = classes
            .iter()
            .map(|class| class.unwrap_or(null_label))
            .collect();
        let guided = guidance_scale != 1.0 && classes.iter().any(Option::is_some);
        if !guided {
            let labels = labels_tensor(&labels, &self.device);
            return self
                .unet
                .forward(x_t, timesteps(classes.len()), Some(labels));
        }
        let both = [labels, vec![null_label; classes.len()]].concat();
        let predictions = self.unet.forward(
            Tensor::cat(vec![x_t.clone(), x_t], 0),
            timesteps(both.len()),
            Some(labels_tensor(&both, &self.device)),
        );
        let [conditional, unconditional] = halves(predictions);
        classifier_free(conditional, unconditional, guidance_scale)
    }
}

/// The classes of a grid of `count` images when none are asked for: all of them in turn, an equal
/// number of each, in order; no class where the network knows none.
pub fn every_class(count: usize, null_label: Option<usize>) -> Vec<Option<usize>> {
    // The classes are the labels below the one that means "no class".
    let class = |index: usize| null_label.map(|classes| index * classes / count);
    (0..count).map(class).collect()
}

fn halves(tensor: Tensor<4>) -> [Tensor<4>; 2] {
    let half = tensor.dims()[0] / 2;
    [
        tensor.clone().narrow(0, 0, half),
        tensor.narrow(0, half, half),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grid_shows_every_class_in_order() {
        let classes = every_class(6, Some(3));
        assert_eq!(classes, [0, 0, 1, 1, 2, 2].map(Some));
        assert_eq!(every_class(2, None), [None, None]);
        assert_eq!(every_class(2, Some(3)), [0, 1].map(Some));
    }
}
