//! What all samplers share: the trait, the states they yield, the iterator, the list of steps.

use burn::tensor::Tensor;
use noising::{Marginal, NoiseSchedule, PredictionType};
use thiserror::Error;

use crate::X0Clipping;

/// What a sampler yields after each step.
#[derive(Debug, Clone)]
pub struct State<const D: usize> {
    /// The step, from 0 up.
    pub index: usize,
    /// The timestep that the network was called with (the first call, if there were several).
    pub timestep: f64,
    /// The less noisy x that the step led to. After the last step it is the sample.
    pub x: Tensor<D>,
    /// The x_0 that the network foresaw in this step, clipped if the sampler clips.
    pub predicted_x_0: Tensor<D>,
}

/// A way from noise to data in a fixed number of steps.
///
/// A step may call the network several times (Heun and other methods of second order do) and may keep
/// what it learnt for the steps that follow (multistep methods do), hence `&mut self`. Step 0 begins
/// a new sample and forgets any history.
pub trait Sampler<const D: usize> {
    /// The number of steps.
    fn num_steps(&self) -> usize;

    /// The standard deviation of the noise to start from.
    fn init_noise_sigma(&self) -> f64 {
        1.0
    }

    /// Step `index`, from `x_t` to the next x. `model` maps (x, timestep) to the network's prediction
    /// for the whole batch; `noise` gives N(0, I) of the shape of x and is called only when the step
    /// needs it. Steps are taken in the order 0, 1, … .
    ///
    /// # Panics
    ///
    /// Unless `index` is below [`num_steps`](Self::num_steps), or if a tensor is not of the shape of
    /// `x_t`.
    fn step(
        &mut self,
        index: usize,
        x_t: Tensor<D>,
        model: &mut dyn FnMut(Tensor<D>, f64) -> Tensor<D>,
        noise: &mut dyn FnMut() -> Tensor<D>,
    ) -> State<D>;
}

impl<const D: usize, S: Sampler<D> + ?Sized> Sampler<D> for Box<S> {
    fn num_steps(&self) -> usize {
        (**self).num_steps()
    }

    fn init_noise_sigma(&self) -> f64 {
        (**self).init_noise_sigma()
    }

    fn step(
        &mut self,
        index: usize,
        x_t: Tensor<D>,
        model: &mut dyn FnMut(Tensor<D>, f64) -> Tensor<D>,
        noise: &mut dyn FnMut() -> Tensor<D>,
    ) -> State<D> {
        (**self).step(index, x_t, model, noise)
    }
}

/// The denoising of one batch: an iterator over the states of a sampler.
pub struct Denoising<const D: usize, S, M, N> {
    sampler: S,
    x: Tensor<D>,
    next_index: usize,
    model: M,
    noise: N,
}

impl<const D: usize, S, M, N> Denoising<D, S, M, N>
where
    S: Sampler<D>,
    M: FnMut(Tensor<D>, f64) -> Tensor<D>,
    N: FnMut() -> Tensor<D>,
{
    /// Starts from `initial_noise`, drawn from N(0, I), which is scaled to what the sampler starts
    /// from. `model` and `noise` are as in [`Sampler::step`].
    pub fn new(sampler: S, initial_noise: Tensor<D>, model: M, noise: N) -> Self {
        let x = initial_noise.mul_scalar(sampler.init_noise_sigma());
        Self {
            sampler,
            x,
            next_index: 0,
            model,
            noise,
        }
    }
}

impl<const D: usize, S, M, N> Iterator for Denoising<D, S, M, N>
where
    S: Sampler<D>,
    M: FnMut(Tensor<D>, f64) -> Tensor<D>,
    N: FnMut() -> Tensor<D>,
{
    type Item = State<D>;

    fn next(&mut self) -> Option<State<D>> {
        if self.next_index == self.sampler.num_steps() {
            return None;
        }
        let state = self.sampler.step(
            self.next_index,
            self.x.clone(),
            &mut self.model,
            &mut self.noise,
        );
        self.next_index += 1;
        self.x = state.x.clone();
        Some(state)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.sampler.num_steps() - self.next_index;
        (left, Some(left))
    }
}

impl<const D: usize, S, M, N> ExactSizeIterator for Denoising<D, S, M, N>
where
    S: Sampler<D>,
    M: FnMut(Tensor<D>, f64) -> Tensor<D>,
    N: FnMut() -> Tensor<D>,
{
}

/// Settings from which no sampler can be made.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum SamplerError {
    /// There is no timestep to visit.
    #[error("the list of timesteps is empty; a sampler needs one step at least")]
    NoTimesteps,
    /// A timestep that the noise schedule does not have.
    #[error("timestep {timestep} is not on the chain, whose last is {last}")]
    OffTheChain {
        /// The timestep found.
        timestep: usize,
        /// T − 1.
        last: usize,
    },
    /// Timesteps that do not fall strictly.
    #[error("timestep {next} follows {timestep}; timesteps must fall from each to the next")]
    NotFalling {
        /// A timestep.
        timestep: usize,
        /// The one after it, which should be smaller.
        next: usize,
    },
    /// Noise predicted where there is nothing else.
    #[error(
        "timestep {timestep} has zero SNR, where predicted noise says nothing of x_0; use \
         v-prediction or sample, or a schedule that is not rescaled to zero terminal SNR"
    )]
    EpsilonAtZeroSnr {
        /// The timestep.
        timestep: usize,
    },
    /// A number out of its range.
    #[error("{parameter} is {value}; it must be {expected}")]
    Parameter {
        /// Its name.
        parameter: &'static str,
        /// The value found.
        value: f64,
        /// The values allowed.
        expected: &'static str,
    },
}

/// One step of a sampler over discrete timesteps: from t to the next timestep of the list.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    pub(crate) timestep: usize,
    pub(crate) alpha_cumprod: f64,
    /// ᾱ of the next timestep of the list: never of t − T/n, which need not be on it.
    pub(crate) alpha_cumprod_prev: f64,
    pub(crate) is_last: bool,
}

/// The steps over a list of timesteps, and how the network's prediction is read at each.
#[derive(Debug, Clone)]
pub(crate) struct Steps {
    steps: Vec<Step>,
    pub(crate) prediction_type: PredictionType,
    clipping: X0Clipping,
}

/// What the network said, and the x_0 in bounds that it stands for.
pub(crate) struct Prediction<const D: usize> {
    pub(crate) prediction: Tensor<D>,
    pub(crate) predicted_x_0: Tensor<D>,
}

impl Steps {
    /// The last step leads to `final_alpha_cumprod`.
    pub(crate) fn new(
        schedule: &NoiseSchedule,
        timesteps: &[usize],
        prediction_type: PredictionType,
        clipping: X0Clipping,
        final_alpha_cumprod: f64,
    ) -> Result<Self, SamplerError> {
        let alphas_cumprod = schedule.alphas_cumprod();
        if let X0Clipping::Clamp { range } = clipping
            && !(range > 0.0 && range.is_finite())
        {
            return Err(SamplerError::Parameter {
                parameter: "the range that x_0 is clamped to",
                value: range,
                expected: "above 0",
            });
        }
        if timesteps.is_empty() {
            return Err(SamplerError::NoTimesteps);
        }
        let mut steps = Vec::with_capacity(timesteps.len());
        for (i, &timestep) in timesteps.iter().enumerate() {
            let Some(&alpha_cumprod) = alphas_cumprod.get(timestep) else {
                return Err(SamplerError::OffTheChain {
                    timestep,
                    last: alphas_cumprod.len() - 1,
                });
            };
            if alpha_cumprod == 0.0 && prediction_type == PredictionType::Epsilon {
                return Err(SamplerError::EpsilonAtZeroSnr { timestep });
            }
            let next = timesteps.get(i + 1).copied();
            if let Some(next) = next
                && next >= timestep
            {
                return Err(SamplerError::NotFalling { timestep, next });
            }
            steps.push(Step {
                timestep,
                alpha_cumprod,
                alpha_cumprod_prev: next.map_or(final_alpha_cumprod, |next| alphas_cumprod[next]),
                is_last: next.is_none(),
            });
        }
        Ok(Self {
            steps,
            prediction_type,
            clipping,
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.steps.len()
    }

    pub(crate) fn get(&self, index: usize) -> Step {
        let len = self.len();
        assert!(index < len, "step {index} of a sampler of {len} steps");
        self.steps[index]
    }

    /// Asks the network at this step.
    pub(crate) fn predict<const D: usize>(
        &self,
        step: Step,
        x_t: Tensor<D>,
        model: &mut dyn FnMut(Tensor<D>, f64) -> Tensor<D>,
    ) -> Prediction<D> {
        let prediction = model(x_t.clone(), step.timestep as f64);
        assert_eq!(
            prediction.dims(),
            x_t.dims(),
            "the network's prediction must have the shape of x_t"
        );
        let x_0 = Marginal::new(step.alpha_cumprod).predicted_x_0(
            self.prediction_type,
            x_t,
            prediction.clone(),
        );
        Prediction {
            prediction,
            predicted_x_0: self.clipping.apply(x_0),
        }
    }
}

/// x + σ z, where z is drawn only if σ is not 0.
pub(crate) fn add_noise<const D: usize>(
    x: Tensor<D>,
    sigma: f64,
    noise: &mut dyn FnMut() -> Tensor<D>,
) -> Tensor<D> {
    if sigma == 0.0 {
        return x;
    }
    let z = noise();
    assert_eq!(z.dims(), x.dims(), "noise must have the shape of x_t");
    x + z.mul_scalar(sigma)
}
