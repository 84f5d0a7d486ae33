//! What the network is trained to do: predict ε, x_0 or v from x_t, with the squared error averaged
//! over elements and weighted over timesteps (Ho et al. 2020, eq. 14; Salimans and Ho 2022 for v).

use burn::tensor::{Device, Int, Tensor, TensorData};
use noising::{Chain, LossWeight, PredictionType};

use crate::config::RunConfig;
use crate::network::Network;

/// The training objective of a run.
#[derive(Debug, Clone)]
pub struct Objective {
    chain: Chain,
    prediction_type: PredictionType,
    loss_weight: LossWeight,
}

/// What one pass through the network is made from.
#[derive(Debug, Clone)]
pub struct Example {
    /// Clean examples: `[B, C, H, W]`, images in [-1, 1].
    pub x_0: Tensor<4>,
    /// The class of each, where the network is conditional.
    pub labels: Option<Vec<usize>>,
    /// Standard normal noise of the shape of `x_0`.
    pub noise: Tensor<4>,
    /// A timestep for each.
    pub timesteps: Vec<usize>,
}

impl Objective {
    /// The objective that `config` describes, over `chain`.
    pub fn new(chain: Chain, config: &RunConfig) -> Self {
        Self {
            chain,
            prediction_type: config.objective.prediction_type,
            loss_weight: config.objective.loss_weight,
        }
    }

    /// The chain that corrupts the images.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// The squared error of each example, averaged over its elements, unweighted: `[B]`.
    pub fn errors(&self, network: &Network, example: Example) -> Tensor<1> {
        let Example {
            x_0,
            labels,
            noise,
            timesteps,
        } = example;
        let device = x_0.device();
        let t = timesteps_tensor(&timesteps, &device);
        let labels = labels.map(|labels| labels_tensor(&labels, &device));

        let x_t = self.chain.q_sample(x_0.clone(), noise.clone(), &timesteps);
        let target = self
            .chain
            .target(self.prediction_type, x_0, noise, &timesteps);
        let predicted = network.forward(x_t, t, labels);
        (predicted - target)
            .square()
            .flatten::<2>(1, 3)
            .mean_dim(1)
            .squeeze_dim(1)
    }

    /// The loss of a batch, weighted over timesteps: `[1]`.
    pub fn loss(&self, network: &Network, example: Example) -> Tensor<1> {
        let weights: Vec<f32> = example
            .timesteps
            .iter()
            .map(|&t| {
                let schedule = self.chain.schedule();
                self.loss_weight.weight(schedule, self.prediction_type, t) as f32
            })
            .collect();
        let weights = Tensor::from_data(weights.as_slice(), &example.x_0.device());
        (self.errors(network, example) * weights).mean()
    }
}

/// Timesteps as the network takes them: `[B]`, float.
fn timesteps_tensor(timesteps: &[usize], device: &Device) -> Tensor<1> {
    let timesteps: Vec<f32> = timesteps.iter().map(|&t| t as f32).collect();
    Tensor::from_data(timesteps.as_slice(), device)
}

/// Labels as the network takes them: `[B]`.
pub fn labels_tensor(labels: &[usize], device: &Device) -> Tensor<1, Int> {
    let values: Vec<i32> = labels.iter().map(|&label| label as i32).collect();
    Tensor::from_data(TensorData::new(values, [labels.len()]), device)
}
