//! Drawing new images: the network, a sampler of [`denoising`], guidance and the random streams put
//! together.

use anyhow::{Result, ensure};
use burn::tensor::{Device, Tensor};
use denoising::{Denoising, Guidance, Inpainting, Sampler, State};
use noising::{Chain, NoiseConfig};
use rand_chacha::ChaCha8Rng;

use super::classes::Classes;
use super::request::{Edit, Request};
use crate::error::Usage;
use crate::network::Network;
use training::{Condition, Network as _, ObjectiveConfig};
use training::{Purpose, Streams, streams};

/// A network that is ready to be sampled from, and how its predictions are read.
#[derive(Debug)]
pub struct Model {
    /// The network, without autodiff.
    pub network: Network,
    /// The chain that it was trained on.
    pub chain: Chain,
    /// What it predicts.
    pub objective: ObjectiveConfig,
    /// The classes that the network is told; `None` where it is told none.
    pub classes: Option<Classes>,
    /// Where it runs.
    pub device: Device,
}

impl Model {
    /// A model of `network`, which runs on `device` and was trained as these sections of a configuration
    /// say.
    ///
    /// # Errors
    ///
    /// A description of noise that makes no chain.
    pub fn new(
        network: Network,
        noise: &NoiseConfig,
        objective: &ObjectiveConfig,
        classes: Option<Classes>,
        device: Device,
    ) -> Result<Self> {
        Ok(Self {
            network,
            chain: noise.chain()?,
            objective: objective.clone(),
            classes,
            device,
        })
    }

    /// The number of classes; `None` where the network is told none.
    pub fn num_classes(&self) -> Option<usize> {
        self.classes.map(|classes| classes.count)
    }

    /// The timesteps that a request visits: of an edited image those within its strength, at least
    /// the last.
    pub fn timesteps(&self, request: &Request) -> Result<Vec<f64>> {
        let schedule = self.chain.schedule();
        let mut timesteps = request.sampling.timesteps(schedule)?;
        if let Some(edit) = &request.edit {
            let end = edit.strength * schedule.num_train_timesteps() as f64;
            let beyond = timesteps.partition_point(|&t| t >= end);
            timesteps.drain(..beyond.min(timesteps.len() - 1));
        }
        Ok(timesteps)
    }

    /// Draws the images that `request` asks for, batch by batch: `[count, C, H, W]` in [-1, 1].
    /// `observe` sees every state of every batch as it comes, together with the place of the
    /// batch's first image.
    pub fn sample(
        &self,
        request: &Request,
        mut observe: impl FnMut(usize, &State<4>) -> Result<()>,
    ) -> Result<Tensor<4>> {
        if self.classes.is_some_and(|known| !known.has_null_label)
            && request.classes.iter().any(Option::is_none)
        {
            return Err(Usage(
                "a class must be given for every image: the network of this run has no label for \
                 \"no class\" (conditioning.null_label = false)"
                    .to_owned(),
            )
            .into());
        }
        let shape = self.network.example_shape();
        let streams = Streams::new(request.seed);
        let timesteps = self.timesteps(request)?;
        let guidance = request.sampling.guidance();
        let mut images = Vec::new();
        for (batch, classes) in request.classes.chunks(request.batch_size).enumerate() {
            let first = batch * request.batch_size;
            let mut rngs: Vec<ChaCha8Rng> = (first..first + classes.len())
                .map(|index| streams.at(Purpose::Sampling, index as u64))
                .collect();
            let mut noise = || streams::per_image_noise(shape, &mut rngs, &self.device);
            // Drawn in any case, so that the steps draw the same.
            let mut x = noise();
            if let Some(given) = &request.initial_noise {
                x = given.clone().narrow(0, first, classes.len());
            }
            if let Some(edit) = &request.edit {
                let alpha_cumprod = self.chain.schedule().alpha_cumprod_at(timesteps[0]);
                x = edit.begin(alpha_cumprod, x);
            }
            let predict = |x_t, t| self.predict(x_t, t, classes, guidance);
            let sampler = self.sampler(request, &timesteps)?;
            for state in Denoising::new(sampler, x.clone(), predict, noise) {
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
        streams::per_image_noise(self.network.example_shape(), &mut rngs, &self.device)
    }

    fn sampler(&self, request: &Request, timesteps: &[f64]) -> Result<Box<dyn Sampler<4>>> {
        let schedule = self.chain.schedule();
        let prediction_type = self.objective.prediction_type;
        let sampler = request
            .sampling
            .sampler(schedule, timesteps, prediction_type)?;
        Ok(match &request.edit {
            Some(Edit {
                image,
                mask: Some((mask, resamplings)),
                ..
            }) => {
                let (image, mask) = (image.clone(), mask.clone());
                Box::new(Inpainting::new(
                    sampler,
                    schedule,
                    timesteps,
                    image,
                    mask,
                    *resamplings,
                )?)
            }
            _ => sampler,
        })
    }

    /// The network's prediction for a batch at timestep `t`, guided (Ho and Salimans 2022) where
    /// that is wanted: then the halves with and without classes go through it together.
    pub fn predict(
        &self,
        x_t: Tensor<4>,
        t: f64,
        classes: &[Option<usize>],
        guidance: Guidance,
    ) -> Tensor<4> {
        let call = |x_t: Tensor<4>, condition: &Condition| {
            let timesteps = vec![t; x_t.dims()[0]];
            self.network.forward(x_t, &timesteps, condition)
        };
        let Some(Classes { count, .. }) = self.classes else {
            return call(x_t, &Condition::none());
        };
        let condition = Condition::classes(classes.to_vec(), count);
        let guided = guidance.applies_at(t) && classes.iter().any(Option::is_some);
        if !guided {
            return call(x_t, &condition);
        }
        let predictions = call(
            Tensor::cat(vec![x_t.clone(), x_t], 0),
            &condition.and(&condition.without_classes()),
        );
        let [conditional, unconditional] = halves(predictions);
        guidance.combine(conditional, unconditional)
    }

    /// The network's prediction for a batch in which each example has a timestep of its own, without
    /// guidance.
    pub fn predict_each(
        &self,
        x_t: Tensor<4>,
        timesteps: &[usize],
        classes: &[Option<usize>],
    ) -> Tensor<4> {
        let condition = match self.num_classes() {
            None => Condition::none(),
            Some(num_classes) => Condition::classes(classes.to_vec(), num_classes),
        };
        let timesteps: Vec<f64> = timesteps.iter().map(|&t| t as f64).collect();
        self.network.forward(x_t, &timesteps, &condition)
    }
}

fn halves(tensor: Tensor<4>) -> [Tensor<4>; 2] {
    let half = tensor.dims()[0] / 2;
    [
        tensor.clone().narrow(0, 0, half),
        tensor.narrow(0, half, half),
    ]
}
