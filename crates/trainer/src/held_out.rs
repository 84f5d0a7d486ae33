//! The loss on the test split: the same examples, timesteps and noise each time, so that the figure
//! changes only with the weights.

use anyhow::{Context, Result};
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};
use training::InvalidValue;

use crate::config::RunConfig;
use crate::data::Dataset;
use crate::network::Network;
use crate::objective::{Example, Objective};

/// `[held_out]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
use training::{Purpose, Streams, streams};

/// The mean squared error of a network on the test split.
#[derive(Debug, Clone)]
pub struct HeldOutLoss {
    /// Over all examples.
    pub mean: f64,
    /// Over those of each range of timesteps, all ranges equally wide, the least noise first.
    pub by_timestep: Vec<f64>,
}

/// Measures `network` (without autodiff, on `device`) on the first test examples, at timesteps spread
/// evenly over the chain. Where there are fewer of them than are asked for, they come again, each time
/// with another timestep and noise.
pub fn held_out_loss(
    network: &Network,
    objective: &Objective,
    dataset: &Dataset,
    config: &RunConfig,
    device: &Device,
) -> Result<HeldOutLoss> {
    let count = config.held_out.examples;
    let num_train_timesteps = objective.chain().num_train_timesteps();
    let streams = Streams::new(config.seed);
    let indices: Vec<usize> = (0..count).collect();

    let mut errors: Vec<f32> = Vec::with_capacity(count);
    let timestep = |index: usize| index * num_train_timesteps / count;
    for batch in indices.chunks(config.training.batch_size) {
        let examples: Vec<usize> = batch.iter().map(|index| index % dataset.len()).collect();
        let x_0 = dataset.to_tensor(dataset.read(&examples)?, device);
        let shape = {
            let [_, channels, height, width] = x_0.dims();
            [1, channels, height, width]
        };
        let noise = batch
            .iter()
            .map(|&index| {
                let mut rng = streams.at(Purpose::HeldOut, index as u64);
                streams::noise(shape, &mut rng, device)
            })
            .collect();
        let example = Example {
            x_0,
            labels: config.null_label().map(|null_label| {
                let label = |&index: &usize| dataset.label(index).unwrap_or(null_label);
                examples.iter().map(label).collect()
            }),
            noise: Tensor::cat(noise, 0),
            timesteps: batch.iter().map(|&index| timestep(index)).collect(),
        };
        let values: Vec<f32> = objective
            .errors(network, example)
            .try_into_vec_as()
            .context("cannot read the held-out loss back from the device")?;
        errors.extend(values);
    }
    Ok(summarize(&errors, config.held_out.buckets))
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
