//! What learns: the network, its optimiser and its moving average, and one step of all three.

use anyhow::{Context, Result};
use burn::module::Module;
use burn::tensor::{Device, Tensor};

use crate::config::RunConfig;
use crate::network::Network;
use crate::objective::{Example, Objective};
use training::Ema;
use training::TrainingConfig;
use training::{AdamW, clip_by_global_norm};
use training::{Purpose, Streams};
use training::{flatten, flatten_gradients, unflatten};

/// A network in training.
#[derive(Debug, Clone)]
pub struct Learner {
    /// What it is trained to do.
    pub objective: Objective,
    /// Its optimiser.
    pub optimizer: AdamW,
    /// The moving average of its weights.
    pub ema: Ema,
    network: Network,
    /// The network's parameters in one vector, which must agree with it: `[N]`.
    parameters: Tensor<1>,
    max_grad_norm: f64,
}

/// What a step saw. Both stay on the device until they are read: `[1]`.
#[derive(Debug, Clone)]
pub struct Step {
    /// The loss, before the step.
    pub loss: Tensor<1>,
    /// The norm of the whole gradient, before it was clipped.
    pub grad_norm: Tensor<1>,
}

/// A network that has learnt nothing yet, on `device`.
pub fn initial_network(config: &RunConfig, device: &Device) -> Result<Network> {
    let mut rng = Streams::new(config.seed).at(Purpose::Weights, 0);
    Ok(Network::new(config, device, &mut rng)?)
}

impl Learner {
    /// A network that has learnt nothing yet, on `device`.
    pub fn new(config: &RunConfig, device: &Device) -> Result<Self> {
        let network = initial_network(config, &device.clone().autodiff())?;
        let ema = Ema::new(flatten(&network), 0, config.ema.decay);
        let optimizer = AdamW::new(config.optimizer.clone());
        Self::from_parts(config, network, optimizer, ema)
    }

    /// A network that goes on learning.
    pub fn from_parts(
        config: &RunConfig,
        network: Network,
        optimizer: AdamW,
        ema: Ema,
    ) -> Result<Self> {
        let TrainingConfig { max_grad_norm, .. } = config.training;
        Ok(Self {
            objective: Objective::new(config.noise.chain()?, &config.objective),
            parameters: flatten(&network),
            network,
            optimizer,
            ema,
            max_grad_norm,
        })
    }

    /// The network, with autodiff.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Changes the weights once, against the gradient averaged over the batches.
    pub fn step(&mut self, batches: Vec<Example>, learning_rate: f64) -> Result<Step> {
        // Accumulate gradients.
        let count = batches.len() as f64;
        let mut sum: Option<(Tensor<1>, Tensor<1>)> = None;
        for example in batches {
            let loss = self.objective.loss(&self.network, example) / count;
            let gradient = flatten_gradients(&self.network, &mut loss.backward());
            let loss = loss.inner();
            sum = Some(match sum {
                Some((losses, gradients)) => (losses + loss, gradients + gradient),
                None => (loss, gradient),
            });
        }
        let (loss, gradient) = sum.context("training.gradient_accumulation is 0")?;

        // Update weights.
        let (scale, grad_norm) = clip_by_global_norm(gradient.clone(), self.max_grad_norm);
        let parameters = self.parameters.clone();
        let parameters = self
            .optimizer
            .step(parameters, gradient, scale, learning_rate);
        self.parameters = parameters.clone();
        self.network = unflatten(self.network.clone(), parameters.clone());

        // Update EMA.
        self.ema.update(parameters);
        Ok(Step { loss, grad_norm })
    }

    /// The network with the averaged weights, without autodiff.
    pub fn averaged(&self) -> Network {
        unflatten(self.network.valid(), self.ema.parameters.clone())
    }
}
