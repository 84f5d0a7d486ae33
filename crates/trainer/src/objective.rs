//! What the network is trained to do: predict ε, x_0 or v from x_t, with the squared error averaged
//! over elements and weighted over timesteps (Ho et al. 2020, eq. 14; Salimans and Ho 2022 for v).

use burn::tensor::{Device, Int, Tensor, TensorData};
use noising::{Chain, LossWeight, PredictionType};
use serde::{Deserialize, Serialize};
use training::InvalidValue;

use crate::network::Network;

/// `[conditioning]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConditioningConfig {
    /// Whether the network is told the class of each example.
    pub class_labels: bool,
    /// Share of labels replaced by "no class", so that the network also learns to do without.
    pub label_dropout: f64,
}

impl Default for ConditioningConfig {
    fn default() -> Self {
        Self {
            class_labels: false,
            label_dropout: 0.1,
        }
    }
}

impl ConditioningConfig {
    /// # Errors
    ///
    /// A share outside [0, 1].
    pub fn check(&self) -> Result<(), InvalidValue> {
        InvalidValue::share("label_dropout", self.label_dropout)
    }
}

/// `[objective]`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ObjectiveConfig {
    /// What the network predicts.
    pub prediction_type: PredictionType,
    /// How the squared error is weighted over timesteps.
    pub loss_weight: LossWeight,
    /// How much noise is added that is the same for all pixels of a channel, relative to the other.
    pub offset_noise: f64,
}

impl ObjectiveConfig {
    /// # Errors
    ///
    /// The first value that makes no sense, over this chain.
    pub fn check(&self, chain: &Chain) -> Result<(), InvalidValue> {
        InvalidValue::zero_or_above("offset_noise", self.offset_noise)?;
        self.loss_weight
            .validate()
            .map_err(|error| InvalidValue::new("loss_weight", error.to_string()))?;
        if chain.schedule().has_zero_terminal_snr()
            && self.prediction_type == PredictionType::Epsilon
        {
            return Err(InvalidValue::new(
                "prediction_type",
                "where the chain ends without any signal, the noise says nothing of x_0: use \
                 \"v-prediction\" or \"sample\", or noise.rescale_zero_terminal_snr = false",
            ));
        }
        Ok(())
    }
}

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
    pub fn new(chain: Chain, config: &ObjectiveConfig) -> Self {
        Self {
            chain,
            prediction_type: config.prediction_type,
            loss_weight: config.loss_weight,
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
