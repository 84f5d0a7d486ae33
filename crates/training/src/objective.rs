//! What the network is trained to do: predict ε, x_0 or v from x_t, with the squared error averaged
//! over elements and weighted over timesteps (Ho et al. 2020, eq. 14; Salimans and Ho 2022 for v).

use burn::tensor::Tensor;
use noising::{Chain, LossWeight, PredictionType};
use serde::{Deserialize, Serialize};

use crate::batch::Batch;
use crate::error::InvalidValue;
use crate::network::Network;

/// `[objective]`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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

/// A training objective over a chain.
#[derive(Debug, Clone)]
pub struct Objective {
    chain: Chain,
    prediction_type: PredictionType,
    loss_weight: LossWeight,
    offset_noise: f64,
}

impl Objective {
    /// The objective that `config` describes, over `chain`.
    pub fn new(chain: Chain, config: &ObjectiveConfig) -> Self {
        Self {
            chain,
            prediction_type: config.prediction_type,
            loss_weight: config.loss_weight,
            offset_noise: config.offset_noise,
        }
    }

    /// The chain that corrupts the data.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// What the network predicts.
    pub fn prediction_type(&self) -> PredictionType {
        self.prediction_type
    }

    /// How much noise is added that is the same for all pixels of a channel, relative to the other.
    pub fn offset_noise(&self) -> f64 {
        self.offset_noise
    }

    /// The squared error of each example, averaged over its elements, unweighted: `[B]`.
    pub fn errors(&self, network: &impl Network, batch: Batch) -> Tensor<1> {
        let Batch {
            x_0,
            condition,
            noise,
            timesteps,
        } = batch;
        let x_t = self.chain.q_sample(x_0.clone(), noise.clone(), &timesteps);
        let target = self
            .chain
            .target(self.prediction_type, x_0, noise, &timesteps);
        let timesteps: Vec<f64> = timesteps.iter().map(|&t| t as f64).collect();
        let predicted = network.forward(x_t, &timesteps, &condition);
        (predicted - target)
            .square()
            .flatten::<2>(1, 3)
            .mean_dim(1)
            .squeeze_dim(1)
    }

    /// The loss of a batch, weighted over timesteps: `[1]`.
    pub fn loss(&self, network: &impl Network, batch: Batch) -> Tensor<1> {
        let weights: Vec<f32> = batch
            .timesteps
            .iter()
            .map(|&t| {
                let schedule = self.chain.schedule();
                self.loss_weight.weight(schedule, self.prediction_type, t) as f32
            })
            .collect();
        let weights = Tensor::from_data(weights.as_slice(), &batch.x_0.device());
        (self.errors(network, batch) * weights).mean()
    }
}
