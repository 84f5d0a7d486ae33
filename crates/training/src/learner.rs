//! What learns: the network, its optimiser and its moving average, and one step of all three.

use std::sync::Mutex;

use burn::tensor::{Device, Gradients, Tensor};

use crate::batch::Batch;
use crate::ema::{Ema, EmaConfig};
use crate::error::TrainingError;
use crate::network::Network;
use crate::objective::Objective;
use crate::optimizer::{AdamW, OptimizerConfig, clip_by_global_norm};
use crate::parameters::{flatten, flatten_gradients_for, unflatten};
use crate::precision::Precision;
use crate::replicas::{Passage, Replicas, spread, turn};

/// Whoever seeds the generator of a device, which all threads share, and draws from it.
static GENERATOR: Mutex<()> = Mutex::new(());

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
    /// Its copies on further devices, which must agree with it.
    replicas: Replicas<N>,
    /// The network's parameters in one vector, which must agree with it: `[N]`.
    parameters: Tensor<1>,
    max_grad_norm: f64,
    precision: Precision,
    recomputes: bool,
}

/// What a step saw. Both stay on the device until they are read: `[1]`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Step {
    /// The loss, before the step.
    pub loss: Tensor<1>,
    /// The norm of the whole gradient, before it was clipped; 0 of a step that was skipped.
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
            replicas: Replicas::default(),
            optimizer,
            ema,
            max_grad_norm,
            precision: Precision::F32,
            recomputes: false,
        }
    }

    /// As it is, for a network that computes in this precision: where gradients would be too small for it, the loss is
    /// scaled, and a step whose gradients are too large is skipped.
    #[must_use]
    pub fn in_precision(mut self, precision: Precision) -> Self {
        self.precision = precision;
        self
    }

    /// As it is, in less memory and more time, if so: what the network can compute again for its gradients, it does not
    /// keep.
    #[must_use]
    pub fn recomputing(mut self, recomputes: bool) -> Self {
        self.recomputes = recomputes;
        self
    }

    /// As it is, with a copy of the network on each of these further devices, on which the batches of a step are
    /// computed too. What is learned depends on the batches alone, not on the number of devices: on devices that
    /// compute alike, such as the same one several times, to the last bit.
    ///
    /// # Errors
    ///
    /// A device that gives nothing back.
    pub fn spread_over(mut self, further: &[Device]) -> Result<Self, TrainingError> {
        self.replicas = Replicas::new(&self.network, further)?;
        Ok(self)
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

    /// Changes the weights once, against the gradient averaged over the batches. With n devices, batch i is on
    /// device i mod n, as [`Batches::next_over`](crate::Batches::next_over) makes them, each device computes on a
    /// thread of its own, and the gradients are summed on the first, in the order of the batches.
    ///
    /// # Errors
    ///
    /// Where there is no batch; of several devices one that gives nothing back, and then nothing of the learner counts.
    ///
    /// # Panics
    ///
    /// If a batch is on another device.
    pub fn step(&mut self, batches: Vec<Batch>, learning_rate: f64) -> Result<Step, TrainingError> {
        // Accumulate gradients.
        let batches_of_step = batches.len();
        let home = self.parameters.device();
        let gradient_of = |place: usize, batch: Batch| {
            let (network, device) = self.replicas.at((&self.network, &home), place);
            let numbers = batch.x_0.dims().iter().product::<usize>() * batches_of_step;
            let scale = self.precision.loss_scale(numbers);
            let scaled = |loss: Tensor<1>| {
                let share = loss / batches_of_step as f64;
                match scale {
                    Some(scale) => share * scale,
                    None => share,
                }
            };
            let (loss, mut gradients) = self.backward(network, device, batch, scaled)?;
            let gradient = flatten_gradients_for(network, &mut gradients, &home);
            let (loss, gradient) = match scale {
                Some(scale) => (loss / scale, gradient / scale),
                None => (loss, gradient),
            };
            Ok::<_, TrainingError>((
                Passage::to(&home, loss.inner())?,
                Passage::to(&home, gradient)?,
            ))
        };
        let mut sum: Option<(Tensor<1>, Tensor<1>)> = None;
        spread(1 + self.replicas.len(), batches, gradient_of, |of_batch| {
            let (loss, gradient) = of_batch;
            let (loss, gradient) = (loss.arrive(&home), gradient.arrive(&home));
            sum = Some(match sum.take() {
                Some((losses, gradients)) => (losses + loss, gradients + gradient),
                None => (loss, gradient),
            });
            Ok(())
        })?;
        let (loss, gradient) = sum.ok_or(TrainingError::NoBatch)?;

        // Update weights.
        let (scale, mut grad_norm) = clip_by_global_norm(gradient.clone(), self.max_grad_norm);
        let before = self.parameters.clone();
        let parameters = match self.precision {
            Precision::F32 | Precision::Bf16 => {
                self.optimizer.step(before, gradient, scale, learning_rate)
            }
            Precision::F16 => {
                let is_finite = grad_norm.clone().is_finite();
                grad_norm = grad_norm
                    .zeros_like()
                    .mask_where(is_finite.clone(), grad_norm);
                self.optimizer
                    .step_where(is_finite, before, gradient, scale, learning_rate)
            }
        };
        self.parameters = parameters.clone();
        self.network = unflatten(self.network.clone(), parameters.clone());
        self.replicas.load(parameters.clone())?;

        // Update EMA.
        self.ema.update(parameters);
        Ok(Step { loss, grad_norm })
    }

    /// The loss of a batch by `network` on `device`, scaled: `[1]`, with autodiff; and its gradients.
    fn backward(
        &self,
        network: &N,
        device: &Device,
        batch: Batch,
        scaled: impl FnOnce(Tensor<1>) -> Tensor<1>,
    ) -> Result<(Tensor<1>, Vec<Gradients>), TrainingError> {
        if self.recomputes {
            let _turn = batch.dropout_seed.map(|_| turn(&GENERATOR));
            let objective = &self.objective;
            return Ok(objective.backward_recomputing(network, batch, scaled));
        }
        let loss = self.loss(network, device, batch).map(scaled)?;
        let gradients = loss.backward();
        Ok((loss, vec![gradients]))
    }

    /// The loss of a batch by `network` on `device`: `[1]`, with autodiff.
    fn loss(&self, network: &N, device: &Device, batch: Batch) -> Result<Tensor<1>, TrainingError> {
        let Some(seed) = batch.dropout_seed else {
            return Ok(self.objective.loss(network, batch));
        };
        let _turn = turn(&GENERATOR);
        device.seed(seed);
        let loss = self.objective.loss(network, batch);
        if !self.replicas.is_empty() {
            // Read back: the numbers are drawn then, before another thread seeds anew.
            loss.clone().inner().try_into_data_as::<f32>()?;
        }
        Ok(loss)
    }

    /// The network with the averaged weights, without autodiff.
    pub fn averaged(&self) -> N {
        unflatten(self.network.valid(), self.ema.parameters.clone())
    }
}
