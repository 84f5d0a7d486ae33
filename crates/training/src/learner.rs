//! What learns: the network, its optimiser and its moving average, and one step of all three.

use burn::tensor::Tensor;

use crate::batch::Batch;
use crate::ema::{Ema, EmaConfig};
use crate::error::TrainingError;
use crate::network::Network;
use crate::objective::Objective;
use crate::optimizer::{AdamW, OptimizerConfig, clip_by_global_norm};
use crate::parameters::{flatten, flatten_gradients, unflatten};

/// A network in training.
#[derive(Debug, Clone)]
pub struct Learner<N> {
    /// What it is trained to do.
    pub objective: Objective,
    /// Its optimiser.
    pub optimizer: AdamW,
    /// The moving average of its weights.
    pub ema: Ema,
    network: N,
    /// The network's parameters in one vector, which must agree with it: `[N]`.
    parameters: Tensor<1>,
    max_grad_norm: f64,
}

/// What a step saw. Both stay on the device until they are read: `[1]`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Step {
    /// The loss, before the step.
    pub loss: Tensor<1>,
    /// The norm of the whole gradient, before it was clipped.
    pub grad_norm: Tensor<1>,
}

impl<N: Network> Learner<N> {
    /// `network`, which has autodiff, with an optimiser and a moving average of as many parameters. Where
    /// the gradient is longer than `max_grad_norm`, it is scaled down to it.
    pub fn new(
        network: N,
        objective: Objective,
        optimizer: AdamW,
        ema: Ema,
        max_grad_norm: f64,
    ) -> Self {
        Self {
            parameters: flatten(&network),
            objective,
            network,
            optimizer,
            ema,
            max_grad_norm,
        }
    }

    /// As [`Learner::new`], with AdamW and a moving average of the default settings, and gradients of a
    /// norm of at most 1.
    pub fn with_defaults(network: N, objective: Objective) -> Self {
        let optimizer = AdamW::new(OptimizerConfig::default());
        let ema = Ema::new(flatten(&network), 0, EmaConfig::default().decay);
        Self::new(network, objective, optimizer, ema, 1.0)
    }

    /// The network, with autodiff.
    pub fn network(&self) -> &N {
        &self.network
    }

    /// Changes the weights once, against the gradient averaged over the batches.
    ///
    /// # Errors
    ///
    /// Where there is no batch.
    pub fn step(&mut self, batches: Vec<Batch>, learning_rate: f64) -> Result<Step, TrainingError> {
        // Accumulate gradients.
        let count = batches.len() as f64;
        let mut sum: Option<(Tensor<1>, Tensor<1>)> = None;
        for batch in batches {
            let loss = self.objective.loss(&self.network, batch) / count;
            let gradient = flatten_gradients(&self.network, &mut loss.backward());
            let loss = loss.inner();
            sum = Some(match sum {
                Some((losses, gradients)) => (losses + loss, gradients + gradient),
                None => (loss, gradient),
            });
        }
        let (loss, gradient) = sum.ok_or(TrainingError::NoBatch)?;

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
    pub fn averaged(&self) -> N {
        unflatten(self.network.valid(), self.ema.parameters.clone())
    }
}
