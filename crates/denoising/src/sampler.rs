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

    /// Step `index`, from `x_t` to the next x. `model` maps (x, timestep) to the network's prediction
    /// for the whole batch; `noise` gives N(0, I) of the shape of x and is called only when the step
    /// needs it. Steps are taken in the order 0, 1, …; a step that is taken again replaces what it
    /// and the later ones have left behind.
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
    /// Starts from `x_t` at the sampler's first timestep: N(0, I) at the end of the chain. `model` and
    /// `noise` are as in [`Sampler::step`].
    pub fn new(sampler: S, x_t: Tensor<D>, model: M, noise: N) -> Self {
        Self {
            sampler,
            x: x_t,
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
        timestep: f64,
        /// T − 1.
        last: usize,
    },
    /// Timesteps that do not fall strictly.
    #[error("timestep {next} follows {timestep}; timesteps must fall from each to the next")]
    NotFalling {
        /// A timestep.
        timestep: f64,
        /// The one after it, which should be smaller.
        next: f64,
    },
    /// Noise predicted where there is nothing else.
    #[error(
        "timestep {timestep} has zero SNR, where predicted noise says nothing of x_0; use \
         v-prediction or sample, or a schedule that is not rescaled to zero terminal SNR"
    )]
    EpsilonAtZeroSnr {
        /// The timestep.
        timestep: f64,
    },
    /// A way back to data that would pass where data has left no trace.
    #[error(
        "timestep {timestep} has zero SNR: x_t is the same for all data there, so data cannot be led \
         to it and back; leave that timestep out"
    )]
    InversionAtZeroSnr {
        /// The timestep.
        timestep: f64,
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

/// A place on the chain.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    /// −1 is data itself, one step before the first.
    pub(crate) timestep: f64,
    pub(crate) alpha_cumprod: f64,
}

impl Place {
    pub(crate) fn at(schedule: &NoiseSchedule, timestep: f64) -> Self {
        Self {
            timestep,
            alpha_cumprod: schedule.alpha_cumprod_at(timestep),
        }
    }

    /// α = √ᾱ, the share of data in x.
    pub(crate) fn alpha(self) -> f64 {
        self.alpha_cumprod.sqrt()
    }

    /// σ = √(1 − ᾱ), the share of noise in x.
    pub(crate) fn sigma(self) -> f64 {
        (1.0 - self.alpha_cumprod).sqrt()
    }

    /// λ = ln(α / σ), half of ln SNR: ∞ at data, −∞ at zero SNR.
    pub(crate) fn lambda(self) -> f64 {
        0.5 * (self.alpha_cumprod.ln() - (-self.alpha_cumprod).ln_1p())
    }

    /// ρ = σ / α, the deviation of the noise in x / α ("sigma" in Karras et al. 2022): ∞ at zero SNR.
    pub(crate) fn rho(self) -> f64 {
        self.sigma() / self.alpha()
    }

    pub(crate) fn marginal(self) -> Marginal {
        Marginal::new(self.alpha_cumprod)
    }
}

/// One step of a sampler, from a timestep of the list to the next of the list: never to t − T/n, which
/// need not be on it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    pub(crate) from: Place,
    pub(crate) to: Place,
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
    /// Steps whose last leads to data itself.
    pub(crate) fn new(
        schedule: &NoiseSchedule,
        timesteps: &[f64],
        prediction_type: PredictionType,
        clipping: X0Clipping,
    ) -> Result<Self, SamplerError> {
        clipping.check()?;
        let places = places(schedule, timesteps)?;
        if let Some(place) = places.iter().find(|place| place.alpha_cumprod == 0.0)
            && prediction_type == PredictionType::Epsilon
        {
            return Err(SamplerError::EpsilonAtZeroSnr {
                timestep: place.timestep,
            });
        }
        let data = Place {
            timestep: -1.0,
            alpha_cumprod: 1.0,
        };
        let nexts = places[1..].iter().copied().map(Some).chain([None]);
        let steps = places.iter().zip(nexts).map(|(&from, next)| Step {
            from,
            to: next.unwrap_or(data),
            is_last: next.is_none(),
        });
        Ok(Self {
            steps: steps.collect(),
            prediction_type,
            clipping,
        })
    }

    /// The same steps, but that the last leads to ᾱ_0, the least noisy step of the chain.
    pub(crate) fn ending_on_the_chain(mut self, schedule: &NoiseSchedule) -> Self {
        if let Some(last) = self.steps.last_mut() {
            last.to = Place::at(schedule, 0.0);
        }
        self
    }

    pub(crate) fn len(&self) -> usize {
        self.steps.len()
    }

    pub(crate) fn get(&self, index: usize) -> Step {
        let len = self.len();
        assert!(index < len, "step {index} of a sampler of {len} steps");
        self.steps[index]
    }

    /// Asks the network.
    pub(crate) fn predict<const D: usize>(
        &self,
        place: Place,
        x_t: Tensor<D>,
        model: &mut dyn FnMut(Tensor<D>, f64) -> Tensor<D>,
    ) -> Prediction<D> {
        let prediction = model(x_t.clone(), place.timestep);
        assert_eq!(
            prediction.dims(),
            x_t.dims(),
            "the network's prediction must have the shape of x_t"
        );
        let x_0 = place
            .marginal()
            .predicted_x_0(self.prediction_type, x_t, prediction.clone());
        Prediction {
            prediction,
            predicted_x_0: self.clipping.apply(x_0),
        }
    }

    /// Asks the network for x_0, kept in bounds, and the ε that makes up x_t with it.
    pub(crate) fn predict_x_0_and_epsilon<const D: usize>(
        &self,
        place: Place,
        x_t: Tensor<D>,
        model: &mut dyn FnMut(Tensor<D>, f64) -> Tensor<D>,
    ) -> [Tensor<D>; 2] {
        let x_0 = self.predict(place, x_t.clone(), model).predicted_x_0;
        let epsilon = place.marginal().epsilon_from_x_0(x_t, x_0.clone());
        [x_0, epsilon]
    }
}

/// Where the timesteps are, which must fall strictly and be on the chain.
pub(crate) fn places(
    schedule: &NoiseSchedule,
    timesteps: &[f64],
) -> Result<Vec<Place>, SamplerError> {
    let last = schedule.num_train_timesteps() - 1;
    if timesteps.is_empty() {
        return Err(SamplerError::NoTimesteps);
    }
    if let Some(&timestep) = timesteps.iter().find(|t| !(0.0..=last as f64).contains(*t)) {
        return Err(SamplerError::OffTheChain { timestep, last });
    }
    if let Some(pair) = timesteps.windows(2).find(|pair| pair[1] >= pair[0]) {
        let (timestep, next) = (pair[0], pair[1]);
        return Err(SamplerError::NotFalling { timestep, next });
    }
    Ok(timesteps
        .iter()
        .map(|&timestep| Place::at(schedule, timestep))
        .collect())
}

/// What a multistep sampler keeps of its latest steps, by their index.
#[derive(Debug, Clone)]
pub(crate) struct History<T> {
    latest: Vec<(usize, T)>,
}

impl<T: Clone> History<T> {
    /// Multistep samplers here look back two steps at most.
    const LEN: usize = 2;

    pub(crate) fn new() -> Self {
        Self { latest: Vec::new() }
    }

    /// What step `index` has left, if it was the one taken then.
    pub(crate) fn get(&self, index: Option<usize>) -> Option<T> {
        let entry = self.latest.iter().find(|entry| Some(entry.0) == index);
        entry.map(|entry| entry.1.clone())
    }

    /// Keeps what step `index` leaves; what it or later ones have left before is forgotten.
    pub(crate) fn record(&mut self, index: usize, value: T) {
        self.latest.retain(|entry| entry.0 < index);
        self.latest.push((index, value));
        let excess = self.latest.len().saturating_sub(Self::LEN);
        self.latest.drain(..excess);
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
