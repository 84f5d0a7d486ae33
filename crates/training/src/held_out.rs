//! The loss on the test split: the same examples, timesteps and noise each time, so that the figure
//! changes only with the weights.

use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::batch::Batch;
use crate::batch::{BatchOptions, ClassOptions};
use crate::data::{Data, to_tensor};
use crate::error::{InvalidValue, TrainingError};
use crate::network::{Condition, Network};
use crate::objective::Objective;
use crate::streams::{self, Purpose, Streams};

/// `[held_out]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct HeldOutConfig {
    /// Test examples the loss is measured on.
    pub examples: usize,
    /// Ranges of timesteps for which it is given separately.
    pub buckets: usize,
}

impl Default for HeldOutConfig {
    fn default() -> Self {
        Self {
            examples: 500,
            buckets: 10,
        }
    }
}

impl HeldOutConfig {
    /// # Errors
    ///
    /// The first value that makes no sense.
    pub fn check(&self) -> Result<(), InvalidValue> {
        InvalidValue::at_least("examples", self.examples as u64, 1)?;
        InvalidValue::at_least("buckets", self.buckets as u64, 1)?;
        if self.buckets > self.examples {
            return Err(InvalidValue::new(
                "buckets",
                format!(
                    "{} ranges cannot be filled by {} examples",
                    self.buckets, self.examples
                ),
            ));
        }
        Ok(())
    }
}

/// The mean squared error of a network on the test split; of rows of a table, with the loss of their categories
/// ([`Objective::errors`]).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct HeldOutLoss {
    /// Over all examples.
    pub mean: f64,
    /// Over those of each range of timesteps, all ranges equally wide, the least noise first.
    pub by_timestep: Vec<f64>,
}

/// Measures `network` (without autodiff, on `device`) on the first examples of `data`, at timesteps spread
/// evenly over the chain. Where there are fewer of them than are asked for, they come again, each time
/// with another timestep and noise. No label is dropped, and nothing is mirrored.
///
/// # Errors
///
/// Data that cannot be read, or a device that gives nothing back.
pub fn held_out_loss<D: Data>(
    network: &impl Network,
    objective: &Objective,
    data: &D,
    config: &HeldOutConfig,
    options: &BatchOptions,
    streams: Streams,
    device: &Device,
) -> Result<HeldOutLoss, TrainingError> {
    let count = config.examples;
    let num_train_timesteps = objective.chain().num_train_timesteps();
    let [channels, height, width] = data.example_shape();
    let indices: Vec<usize> = (0..count).collect();

    let mut errors: Vec<f32> = Vec::with_capacity(count);
    let timestep = |index: usize| index * num_train_timesteps / count;
    for batch in indices.chunks(options.batch_size) {
        let examples: Vec<usize> = batch.iter().map(|index| index % data.len()).collect();
        let read = data.read(&examples);
        let values = read.map_err(|error| TrainingError::Read(error.into()))?;
        let noise = batch
            .iter()
            .map(|&index| {
                let mut rng = streams.at(Purpose::HeldOut, index as u64);
                streams::noise([1, channels, height, width], &mut rng, device)
            })
            .collect();
        let condition = match options.classes {
            Some(ClassOptions { num_classes, .. }) => {
                let labels = examples.iter().map(|&index| data.label(index));
                Condition::classes(labels.collect(), num_classes)
            }
            None => Condition::none(),
        };
        let batch = Batch {
            x_0: to_tensor(values, data.example_shape(), device),
            condition,
            noise: Tensor::cat(noise, 0),
            timesteps: batch.iter().map(|&index| timestep(index)).collect(),
            dropout_seed: None,
        };
        let read = objective.errors(network, batch).try_into_vec_as::<f32>();
        errors.extend(read.map_err(TrainingError::Device)?);
    }
    Ok(summarize(&errors, config.buckets))
}

/// Examples stand in the order of their timesteps, evenly spread, so that ranges of timesteps are
/// ranges of examples.
fn summarize(errors: &[f32], buckets: usize) -> HeldOutLoss {
    let mean = |errors: &[f32]| {
        errors.iter().map(|&error| f64::from(error)).sum::<f64>() / errors.len() as f64
    };
    let edge = |bucket: usize| bucket * errors.len() / buckets;
    HeldOutLoss {
        mean: mean(errors),
        by_timestep: (0..buckets)
            .map(|bucket| mean(&errors[edge(bucket)..edge(bucket + 1)]))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_timesteps_are_ranges_of_examples() {
        let loss = summarize(&[4.0, 2.0, 2.0, 0.0], 2);
        assert_eq!(loss.mean, 2.0);
        assert_eq!(loss.by_timestep, [3.0, 1.0]);
    }
}
