//! Drawing new images: the network, a sampler of [`denoising`], guidance and the random streams put
//! together.

use std::sync::Mutex;

use anyhow::{Context, Result, ensure};
use burn::tensor::{Device, Tensor};
use denoising::{Denoising, Guidance, Inpainting, MixedSampler, Sampler, State};
use noising::{MixedChain, NoiseConfig};
use rand_chacha::ChaCha8Rng;

use super::classes::Classes;
use super::request::{Edit, Request};
use crate::error::Usage;
use crate::network::Network;
use crate::progress;
use training::{Condition, Network as _, ObjectiveConfig};
use training::{Passage, Replicas, spread, turn};
use training::{Purpose, Streams, streams};

/// A network that is ready to be sampled from, and how its predictions are read.
#[derive(Debug)]
pub struct Model {
    /// The network, without autodiff.
    pub network: Network,
    /// The chain that it was trained on, of the categories of rows too.
    pub chain: MixedChain,
    /// What it predicts.
    pub objective: ObjectiveConfig,
    /// The classes that the network is told; `None` where it is told none.
    pub classes: Option<Classes>,
    /// Where it runs.
    pub device: Device,
    /// Its copies on further devices, which batches are drawn on too.
    replicas: Replicas<Network>,
}

impl Model {
    /// A model of `network`, which runs on `device` and was trained as these sections of a configuration
    /// say.
    ///
    /// # Errors
    ///
    /// A description of noise that makes no chain, or categories that are on none.
    pub fn new(
        network: Network,
        noise: &NoiseConfig,
        objective: &ObjectiveConfig,
        classes: Option<Classes>,
        device: Device,
    ) -> Result<Self> {
        let chain = noise.chain()?;
        let categories = network.categories();
        let chain = if categories.is_empty() {
            chain.into()
        } else {
            MixedChain::new(chain.schedule().clone(), objective.transition, categories)?
        };
        Ok(Self {
            network,
            chain,
            objective: objective.clone(),
            classes,
            device,
            replicas: Replicas::default(),
        })
    }

    /// As it is, with a copy of the network on each of these further devices. Batches are then shared out; what is
    /// drawn does not depend on the number of devices.
    ///
    /// # Errors
    ///
    /// A device that gives nothing back.
    pub fn spread_over(mut self, further: &[Device]) -> Result<Self> {
        self.replicas = Replicas::new(&self.network, further)
            .context("cannot copy the network to the other devices")?;
        Ok(self)
    }

    /// The number of devices that share the work.
    pub fn num_devices(&self) -> usize {
        1 + self.replicas.len()
    }

    /// The network that computes in this place among the devices, and its device.
    ///
    /// # Panics
    ///
    /// Unless `place` is below [`num_devices`](Self::num_devices).
    pub fn at(&self, place: usize) -> (&Network, &Device) {
        self.replicas.at((&self.network, &self.device), place)
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

    /// The number of states that [`sample`](Self::sample) shows of a request: one a timestep of each batch.
    pub fn num_states(&self, request: &Request) -> Result<usize> {
        let batches = request.classes.len().div_ceil(request.batch_size.max(1));
        Ok(self.timesteps(request)?.len().saturating_mul(batches))
    }

    /// Draws the images that `request` asks for, batch by batch: `[count, C, H, W]` in [-1, 1], on the first
    /// device. `observe` sees every state of every batch as it comes, together with the place of the batch's first
    /// image: each batch in the order of its steps, and where there are several devices their batches by turns, each
    /// on its own device.
    pub fn sample(
        &self,
        request: &Request,
        observe: impl FnMut(usize, &State<4>) -> Result<()> + Send,
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
        let timesteps = self.timesteps(request)?;
        let observe = Mutex::new(observe);
        let observe = |first, state: &State<4>| {
            let mut observe = turn(&observe);
            observe(first, state)
        };
        let batches = request.classes.chunks(request.batch_size).enumerate();
        let batches = batches.map(|(batch, classes)| (batch * request.batch_size, classes));
        let mut images = Vec::new();
        spread(
            self.num_devices(),
            batches.collect(),
            |place, (first, classes)| {
                let x = self.sample_batch(request, &timesteps, place, first, classes, observe)?;
                Ok(Passage::to(&self.device, x)?)
            },
            |drawn: Passage<4>| {
                images.push(drawn.arrive(&self.device));
                Ok::<_, anyhow::Error>(())
            },
        )?;
        ensure!(!images.is_empty(), "no image was asked for");
        Ok(Tensor::cat(images, 0))
    }

    /// Draws what [`sample`](Self::sample) does, behind a bar of its states.
    pub fn sample_with_bar(&self, request: &Request) -> Result<Tensor<4>> {
        let bar = progress::bar(self.num_states(request)?, "denoising");
        let images = self.sample(request, |_, _| {
            bar.inc(1);
            Ok(())
        })?;
        bar.finish_and_clear();
        Ok(images)
    }

    /// Draws the images of these classes, the first of which is at `first`, on the device in this place.
    fn sample_batch(
        &self,
        request: &Request,
        timesteps: &[f64],
        place: usize,
        first: usize,
        classes: &[Option<usize>],
        observe: impl Fn(usize, &State<4>) -> Result<()>,
    ) -> Result<Tensor<4>> {
        let (network, device) = self.at(place);
        let shape = network.example_shape();
        let streams = Streams::new(request.seed);
        let guidance = request.sampling.guidance();
        let mut rngs: Vec<ChaCha8Rng> = (first..first + classes.len())
            .map(|index| streams.at(Purpose::Sampling, (request.first + index) as u64))
            .collect();
        let mut noise = || streams::per_image_noise(shape, &mut rngs, device);
        // Drawn in any case, so that the steps draw the same.
        let mut x = noise();
        if let Some(given) = &request.initial_noise {
            let given = given.clone().narrow(0, first, classes.len());
            x = Passage::to(device, given)?.arrive(device);
        }
        let edit = request.edit.as_ref();
        let edit = edit
            .map(|edit| edit.part(first, classes.len(), device))
            .transpose()?;
        x = match &edit {
            Some(edit) => {
                let alpha_cumprod = self.chain.schedule().alpha_cumprod_at(timesteps[0]);
                edit.begin(&self.chain, alpha_cumprod, x)
            }
            None => self.chain.pure_noise(x),
        };
        let predict = |x_t, t| self.predict_by(network, x_t, t, classes, guidance);
        let sampler = self.sampler(request, timesteps, edit)?;
        for state in Denoising::new(sampler, x.clone(), predict, noise) {
            observe(first, &state)?;
            x = state.x;
        }
        Ok(x)
    }

    /// The noise that [`Model::sample`] draws for `count` images to begin with.
    pub fn initial_noise(&self, seed: u64, count: usize) -> Tensor<4> {
        let streams = Streams::new(seed);
        let mut rngs: Vec<ChaCha8Rng> = (0..count)
            .map(|index| streams.at(Purpose::Sampling, index as u64))
            .collect();
        streams::per_image_noise(self.network.example_shape(), &mut rngs, &self.device)
    }

    /// The sampler of a batch, over which `edit` draws.
    fn sampler(
        &self,
        request: &Request,
        timesteps: &[f64],
        edit: Option<Edit>,
    ) -> Result<Box<dyn Sampler<4>>> {
        let schedule = self.chain.schedule();
        let prediction_type = self.objective.prediction_type;
        let sampler = request
            .sampling
            .sampler(schedule, timesteps, prediction_type)?;
        let kept = edit.and_then(|edit| Some((edit.image, edit.mask?)));
        if self.network.categories().is_empty() {
            return Ok(match kept {
                Some((image, (mask, resamplings))) => Box::new(Inpainting::new(
                    sampler,
                    schedule,
                    timesteps,
                    image,
                    mask,
                    resamplings,
                )?),
                None => sampler,
            });
        }
        let sampler = MixedSampler::new(sampler, self.chain.clone(), timesteps)?;
        Ok(Box::new(match kept {
            Some((rows, (mask, resamplings))) => sampler.keeping(rows, mask, resamplings)?,
            None => sampler,
        }))
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
        self.predict_by(&self.network, x_t, t, classes, guidance)
    }

    fn predict_by(
        &self,
        network: &Network,
        x_t: Tensor<4>,
        t: f64,
        classes: &[Option<usize>],
        guidance: Guidance,
    ) -> Tensor<4> {
        let call = |x_t: Tensor<4>, condition: &Condition| {
            let timesteps = vec![t; x_t.dims()[0]];
            network.forward(x_t, &timesteps, condition)
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
    /// guidance, by the device in this place, on which the batch is.
    pub fn predict_each(
        &self,
        place: usize,
        x_t: Tensor<4>,
        timesteps: &[usize],
        classes: &[Option<usize>],
    ) -> Tensor<4> {
        let condition = match self.num_classes() {
            None => Condition::none(),
            Some(num_classes) => Condition::classes(classes.to_vec(), num_classes),
        };
        let timesteps: Vec<f64> = timesteps.iter().map(|&t| t as f64).collect();
        self.at(place).0.forward(x_t, &timesteps, &condition)
    }
}

fn halves(tensor: Tensor<4>) -> [Tensor<4>; 2] {
    let half = tensor.dims()[0] / 2;
    [
        tensor.clone().narrow(0, 0, half),
        tensor.narrow(0, half, half),
    ]
}
