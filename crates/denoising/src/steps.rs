//! What samplers are made of: the noise levels on the chain, the steps between them, how the network's
//! prediction is read, and what a multistep method remembers.
//!
//! All of it is public, so that a sampler can be written outside this crate; `examples/own_network.rs`
//! has one.

use burn::tensor::Tensor;
use noising::{Marginal, NoiseSchedule, PredictionType};

use crate::clipping::X0Clipping;
use crate::error::SamplerError;

/// A timestep of the chain, which need not be whole, and how much noise there is.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct NoiseLevel {
    /// What the network is called with. −1 is data itself, one step before the first.
    pub timestep: f64,
    /// ᾱ: 1 for data, 0 at zero SNR.
    pub alpha_cumprod: f64,
}

impl NoiseLevel {
    /// Data itself: ᾱ = 1.
    pub const DATA: Self = Self {
        timestep: -1.0,
        alpha_cumprod: 1.0,
    };

    /// The noise level of `schedule` at `timestep`.
    ///
    /// # Panics
    ///
    /// Unless 0 ≤ `timestep` ≤ T − 1.
    pub fn at(schedule: &NoiseSchedule, timestep: f64) -> Self {
        Self {
            timestep,
            alpha_cumprod: schedule.alpha_cumprod_at(timestep),
        }
    }

    /// α = √ᾱ, the share of data in x.
    pub fn alpha(self) -> f64 {
        self.alpha_cumprod.sqrt()
    }

    /// σ = √(1 − ᾱ), the share of noise in x.
    pub fn sigma(self) -> f64 {
        (1.0 - self.alpha_cumprod).sqrt()
    }

    /// λ = ln(α / σ), half of ln SNR: ∞ at data, −∞ at zero SNR.
    pub fn lambda(self) -> f64 {
        0.5 * (self.alpha_cumprod.ln() - (-self.alpha_cumprod).ln_1p())
    }

    /// ρ = σ / α, the deviation of the noise in x / α ("sigma" in Karras et al. 2022): ∞ at zero SNR.
    pub fn rho(self) -> f64 {
        self.sigma() / self.alpha()
    }

    /// q(x_t | x_0) here, for the conversions among ε, x_0, v and the score.
    pub fn marginal(self) -> Marginal {
        Marginal::new(self.alpha_cumprod)
    }

    /// The step of first order from here to `to`, given the x_0 of the way between (Lu et al. 2022,
    /// "DPM-Solver++", equation 9): x_s = σ_s / σ_t x_t + α_s (1 − e^{−h}) x_0 with h = λ_s − λ_t. With the
    /// x_0 that is predicted here it is DDIM's with η = 0.
    pub fn first_order_step<const D: usize>(
        self,
        to: Self,
        x_t: Tensor<D>,
        x_0: Tensor<D>,
    ) -> Tensor<D> {
        let h = to.lambda() - self.lambda();
        x_t.mul_scalar(to.sigma() / self.sigma()) + x_0.mul_scalar(to.alpha() * -(-h).exp_m1())
    }
}

/// One step of a sampler, from a timestep of the list to the next of the list: never to t − T/n, which
/// need not be on it.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Step {
    /// Where x is.
    pub from: NoiseLevel,
    /// The less noisy level that the step leads to.
    pub to: NoiseLevel,
    /// Whether it is the last step.
    pub is_last: bool,
}

/// The steps over a list of timesteps, and how the network's prediction is read at each.
#[derive(Debug, Clone)]
pub struct Steps {
    steps: Vec<Step>,
    prediction_type: PredictionType,
    clipping: X0Clipping,
}

/// What the network said, and the x_0 that it stands for.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Prediction<const D: usize> {
    /// What the network said, of the shape of x_t.
    pub prediction: Tensor<D>,
    /// The x_0 that this is, clipped.
    pub predicted_x_0: Tensor<D>,
}

impl Steps {
    /// Steps whose last leads to data itself.
    ///
    /// # Errors
    ///
    /// If `timesteps` is empty, does not fall strictly or leaves the schedule, if ε is predicted at
    /// zero SNR, or if `clipping` makes no sense.
    pub fn new(
        schedule: &NoiseSchedule,
        timesteps: &[f64],
        prediction_type: PredictionType,
        clipping: X0Clipping,
    ) -> Result<Self, SamplerError> {
        clipping.check()?;
        let levels = noise_levels(schedule, timesteps)?;
        if let Some(level) = levels.iter().find(|level| level.alpha_cumprod == 0.0)
            && prediction_type == PredictionType::Epsilon
        {
            return Err(SamplerError::EpsilonAtZeroSnr {
                timestep: level.timestep,
            });
        }
        let nexts = levels[1..].iter().copied().map(Some).chain([None]);
        let steps = levels.iter().zip(nexts).map(|(&from, next)| Step {
            from,
            to: next.unwrap_or(NoiseLevel::DATA),
            is_last: next.is_none(),
        });
        Ok(Self {
            steps: steps.collect(),
            prediction_type,
            clipping,
        })
    }

    /// The same steps, but that the last leads to ᾱ_0, the least noisy step of the chain.
    #[must_use]
    pub fn ending_on_the_chain(mut self, schedule: &NoiseSchedule) -> Self {
        if let Some(last) = self.steps.last_mut() {
            last.to = NoiseLevel::at(schedule, 0.0);
        }
        self
    }

    /// The number of steps, 1 or more.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Step `index`, from 0 up.
    ///
    /// # Panics
    ///
    /// Unless `index` is below the number of steps.
    pub fn get(&self, index: usize) -> Step {
        let len = self.len();
        assert!(index < len, "step {index} of a sampler of {len} steps");
        self.steps[index]
    }

    /// What the network predicts.
    pub fn prediction_type(&self) -> PredictionType {
        self.prediction_type
    }

    /// Asks the network at this noise level, which need not be one of the steps'.
    ///
    /// # Panics
    ///
    /// If the network's prediction is not of the shape of `x_t`.
    pub fn predict<const D: usize>(
        &self,
        level: NoiseLevel,
        x_t: Tensor<D>,
        model: &mut dyn FnMut(Tensor<D>, f64) -> Tensor<D>,
    ) -> Prediction<D> {
        let prediction = model(x_t.clone(), level.timestep);
        assert_eq!(
            prediction.dims(),
            x_t.dims(),
            "the network's prediction must have the shape of x_t"
        );
        let x_0 = level
            .marginal()
            .predicted_x_0(self.prediction_type, x_t, prediction.clone());
        Prediction {
            prediction,
            predicted_x_0: self.clipping.apply(x_0),
        }
    }

    /// As [`predict`](Self::predict), as the clipped x_0 and the ε that makes up `x_t` with it.
    pub fn predict_x_0_and_epsilon<const D: usize>(
        &self,
        level: NoiseLevel,
        x_t: Tensor<D>,
        model: &mut dyn FnMut(Tensor<D>, f64) -> Tensor<D>,
    ) -> [Tensor<D>; 2] {
        let x_0 = self.predict(level, x_t.clone(), model).predicted_x_0;
        let epsilon = level.marginal().epsilon_from_x_0(x_t, x_0.clone());
        [x_0, epsilon]
    }
}

/// The noise levels at these timesteps, which must fall strictly and be on the chain.
///
/// # Errors
///
/// If there are none, or if one of them is off the chain or not below the one before it.
pub fn noise_levels(
    schedule: &NoiseSchedule,
    timesteps: &[f64],
) -> Result<Vec<NoiseLevel>, SamplerError> {
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
    let levels = timesteps.iter().map(|&t| NoiseLevel::at(schedule, t));
    Ok(levels.collect())
}

/// What a multistep method remembers of the step before.
///
/// A step that is taken again begins with an x_t that was noised anew. What the step before has learnt
/// belongs to the x that it led to and not to this one, so such a step is given no history.
#[derive(Debug, Clone, Default)]
pub struct History<T> {
    latest: Option<(usize, T)>,
}

impl<T: Clone> History<T> {
    /// Nothing as yet.
    pub fn new() -> Self {
        Self { latest: None }
    }

    /// What the step before step `index` has left. `None` for step 0, which begins a new sample, and for
    /// a step that is taken again.
    pub fn before(&self, index: usize) -> Option<T> {
        let (latest, value) = self.latest.as_ref()?;
        (latest + 1 == index).then(|| value.clone())
    }

    /// Keeps what step `index` leaves, in place of anything that was kept.
    pub fn record(&mut self, index: usize, value: T) {
        self.latest = Some((index, value));
    }
}

/// x + σ z, where z is drawn only if σ is not 0, so that a seed means the same whatever adds no noise.
///
/// # Panics
///
/// If the noise is not of the shape of `x`.
pub fn add_noise<const D: usize>(
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
