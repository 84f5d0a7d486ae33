//! The batches of training: examples in the order that a seed fixes, each with a timestep and noise, some
//! without their label.

use std::sync::Arc;

use burn::tensor::Device;
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use crate::batch::{Batch, BatchOptions, ClassOptions};
use crate::data::{Data, to_tensor};
use crate::error::{InvalidValue, TrainingError};
use crate::loader::{Examples, Loader};
use crate::network::Condition;
use crate::objective::Objective;
use crate::order::Position;
use crate::streams::{self, Purpose, Streams};

/// `[conditioning]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct ConditioningConfig {
    /// Whether the network is told the class of each example.
    pub class_labels: bool,
    /// Share of labels replaced by "no class", so that the network also learns to do without.
    pub label_dropout: f64,
    /// Whether the network has an embedding for "no class" behind those of the classes. Networks of others
    /// often have none: they know every class, and nothing else.
    pub null_label: bool,
}

impl Default for ConditioningConfig {
    fn default() -> Self {
        Self {
            class_labels: false,
            label_dropout: 0.1,
            null_label: true,
        }
    }
}

impl ConditioningConfig {
    /// # Errors
    ///
    /// A share outside [0, 1], or labels to be replaced by one that the network does not have.
    pub fn check(&self) -> Result<(), InvalidValue> {
        InvalidValue::share("label_dropout", self.label_dropout)?;
        if self.class_labels && !self.null_label && self.label_dropout > 0.0 {
            return Err(InvalidValue::new(
                "label_dropout",
                "labels cannot be dropped, for the network has no label for \"no class\" \
                 (conditioning.null_label = false): set it to 0",
            ));
        }
        Ok(())
    }
}

/// An endless supply of batches.
#[derive(Debug)]
pub struct Batches<D> {
    loader: Loader<D>,
    options: BatchOptions,
    objective: Objective,
    streams: Streams,
    device: Device,
    position: Position,
}

impl<D: Data> Batches<D> {
    /// The batches of `data` from `position` on, for training towards `objective` on `device`.
    pub fn new(
        data: D,
        options: BatchOptions,
        objective: &Objective,
        streams: Streams,
        position: Position,
        device: &Device,
    ) -> Self {
        Self {
            loader: Loader::new(data, &options, objective, streams, position),
            options,
            objective: objective.clone(),
            streams,
            device: device.clone().without_autodiff(),
            position,
        }
    }

    /// What the batches are taken from.
    pub fn data(&self) -> &Arc<D> {
        self.loader.data()
    }

    /// Where the next batch stands.
    pub fn position(&self) -> Position {
        self.position
    }

    /// The next batch, with autodiff.
    ///
    /// # Errors
    ///
    /// Data that cannot be read.
    #[expect(clippy::should_implement_trait, reason = "it is endless, and can fail")]
    pub fn next(&mut self) -> Result<Batch, TrainingError> {
        self.next_on(&self.device.clone())
    }

    /// The batches of one step over several devices: batch i of `count` on device i mod n, as
    /// [`Learner::step`](crate::Learner::step) takes them.
    ///
    /// # Errors
    ///
    /// Data that cannot be read.
    ///
    /// # Panics
    ///
    /// Without a device.
    pub fn next_over(
        &mut self,
        devices: &[Device],
        count: usize,
    ) -> Result<Vec<Batch>, TrainingError> {
        let batch = |index: usize| self.next_on(&devices[index % devices.len()]);
        (0..count).map(batch).collect()
    }

    fn next_on(&mut self, device: &Device) -> Result<Batch, TrainingError> {
        let device = &device.clone().without_autodiff();
        let Examples {
            indices,
            values,
            timesteps,
            noise,
        } = self.loader.next()?;
        let index = self.position.batches;
        self.position.examples += indices.len() as u64;
        self.position.batches += 1;

        let shape = self.data().example_shape();
        let x_0 = to_tensor(values, shape, device);
        let mut noise = to_tensor(noise, shape, device);
        let offset_noise = self.objective.offset_noise();
        if offset_noise > 0.0 {
            // The same for all pixels of a channel (Guttenberg 2023): without it a network never has
            // to learn how bright an image is as a whole.
            let [batch, channels, ..] = x_0.dims();
            let rng = &mut self.streams.at(Purpose::OffsetNoise, index);
            let levels = streams::noise([batch, channels, 1, 1], rng, device);
            noise = noise + levels.mul_scalar(offset_noise);
        }
        let dropout_seed = self
            .options
            .has_dropout
            .then(|| self.streams.at(Purpose::Dropout, index).next_u64());
        let x_0 = x_0.autodiff();
        Ok(Batch {
            condition: self.condition(&indices, index),
            x_0,
            noise: noise.autodiff(),
            timesteps,
            dropout_seed,
        })
    }

    /// The classes of a batch, some of them dropped.
    fn condition(&self, indices: &[usize], batch: u64) -> Condition {
        let Some(classes) = self.options.classes else {
            return Condition::none();
        };
        let ClassOptions {
            num_classes,
            dropout,
        } = classes;
        let mut rng = self.streams.at(Purpose::LabelDropout, batch);
        let label = |&index: &usize| {
            if rng.random_bool(dropout) {
                None
            } else {
                self.data().label(index)
            }
        };
        Condition::classes(indices.iter().map(label).collect(), num_classes)
    }
}
