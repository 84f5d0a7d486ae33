//! The way back over both chains of a table: a sampler for the numbers, and the categories' ancestral step.
//!
//! Each step asks the network for x_t as a whole, numbers and categories. The sampler of the numbers reads
//! its part of the answer as it would by itself, and the categories are drawn from
//!
//! ```text
//! p(x_s | x_t) = Σ_j q(x_s | x_t, x_0 = j) p(x_0 = j | x_t)
//! ```
//!
//! column by column (Hoogeboom et al. 2021; Austin et al. 2021; both chains at once in Kotelnikov et al.
//! 2023, "TabDDPM"). Given x_t the cells of a step are drawn independently: exact for one cell, and the more
//! exact for many the more steps there are.
//!
//! What is known beforehand is kept. On the absorbing chain known categories are never masked, which is
//! exact, for the network has learned to go by whatever is unmasked. Known numbers, and known categories of
//! the uniform chain, are put on the chain at every step (Lugmayr et al. 2022, "RePaint", algorithm 1), and
//! steps are taken again so that the rest comes to agree with them.

use burn::tensor::{Bool, Tensor};
use noising::{Marginal, MixedChain, Transition};

use crate::error::SamplerError;
use crate::sampler::{Sampler, State};
use crate::steps::{NoiseLevel, Step, noise_levels};
use crate::unmasking::{Unmasking, host};

/// A sampler of rows `[B, N + C, 1, …, 1]` of N numbers and C categories.
///
/// The network is asked for rows of this shape, and answers `[B, N + ΣK, 1, …, 1]`: what it predicts of
/// the numbers, then the logits of x_0's categories, column by column. Sampling starts from
/// [`MixedChain::pure_noise`], and `noise` gives N(0, I) of the shape of x, for the categories too. A sampler
/// that calls the network several times a step shows it the categories of x_t each time, and those are drawn
/// by the first of its answers. The `predicted_x_0` of a state has the most likely categories.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use denoising::{Denoising, MixedSampler, SamplingOptions, X0Clipping};
/// use noising::{MixedChain, NoiseConfig, PredictionType, Transition};
///
/// let schedule = NoiseConfig::default().chain()?.schedule().clone();
/// let options = SamplingOptions { clipping: X0Clipping::None, ..SamplingOptions::default() };
/// let timesteps = options.timesteps(&schedule)?;
/// let numbers = options.sampler::<2>(&schedule, &timesteps, PredictionType::Epsilon)?;
/// // A number, a column of three categories and one of two.
/// let chain = MixedChain::new(schedule.clone(), Transition::Absorbing, vec![3, 2])?;
/// let sampler = MixedSampler::new(numbers, chain.clone(), &timesteps)?;
///
/// // Numbers that are N(0, 1), categories of which one is sure.
/// let network = |x_t: Tensor<2>, t: f64| {
///     let rows = x_t.dims()[0];
///     let epsilon = x_t.narrow(1, 0, 1) * (1.0 - schedule.alpha_cumprod_at(t)).sqrt();
///     let logits = Tensor::<1>::from_floats([0.0, 0.0, 90.0, 90.0, 0.0], &Device::flex());
///     Tensor::cat(vec![epsilon, logits.unsqueeze::<2>().expand([rows, 5])], 1)
/// };
/// let noise = || Tensor::<2>::from_floats([[0.3, -1.1, 0.8], [-0.2, 0.6, 0.1]], &Device::flex());
/// let start = chain.pure_noise(noise());
/// let last = Denoising::new(sampler, start, network, noise).last().ok_or("no step")?;
/// let categories: Vec<f32> = last.x.narrow(1, 1, 2).into_data().try_into_vec()?;
/// assert_eq!(categories, [2.0, 0.0, 2.0, 0.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct MixedSampler<const D: usize, S> {
    numbers: S,
    chain: MixedChain,
    levels: Vec<NoiseLevel>,
    unmasking: Unmasking,
    known: Option<Known<D>>,
}

/// What is kept.
#[derive(Debug, Clone)]
struct Known<const D: usize> {
    x_0: Tensor<D>,
    mask: Tensor<D, Bool>,
    /// How often a step is taken.
    times: usize,
    /// The categorical columns of each row, or of all, that are not known.
    to_draw: Vec<usize>,
}

impl<const D: usize, S: Sampler<D>> MixedSampler<D, S> {
    /// A sampler that takes `numbers`, which visits `timesteps`, for the numbers of the rows of `chain`.
    /// Where rows have no numbers it is not asked; where they have no categories it is all there is.
    ///
    /// # Errors
    ///
    /// If `timesteps` are none of the schedule's.
    ///
    /// # Panics
    ///
    /// If there are not as many timesteps as `numbers` takes steps.
    pub fn new(numbers: S, chain: MixedChain, timesteps: &[f64]) -> Result<Self, SamplerError> {
        assert_eq!(numbers.num_steps(), timesteps.len(), "a timestep a step");
        Ok(Self {
            numbers,
            levels: noise_levels(chain.schedule(), timesteps)?,
            chain,
            unmasking: Unmasking::default(),
            known: None,
        })
    }

    /// The same sampler, lifting masks in this order.
    ///
    /// # Errors
    ///
    /// As [`Unmasking::check`].
    pub fn unmasking(mut self, unmasking: Unmasking) -> Result<Self, SamplerError> {
        unmasking.check(self.chain.categories())?;
        self.unmasking = unmasking;
        Ok(self)
    }

    /// The same sampler, whose sample will be `x_0` where `mask` is 1; it fills in where it is 0. Both have
    /// the shape of x, or 1 in place of the batch where all rows are the same. Where numbers are known, or
    /// categories of the uniform chain, every step but the last is taken `resamplings` times.
    ///
    /// # Errors
    ///
    /// If `resamplings` is 0.
    ///
    /// # Panics
    ///
    /// If `mask` has fewer channels than there are categorical columns, or if the device gives it not back.
    pub fn keeping(
        mut self,
        x_0: Tensor<D>,
        mask: Tensor<D>,
        resamplings: usize,
    ) -> Result<Self, SamplerError> {
        if resamplings == 0 {
            return Err(SamplerError::Parameter {
                parameter: "the number of resamplings",
                value: 0.0,
                expected: "1 or more",
            });
        }
        let is_known = |mask: &f32| *mask > 0.5;
        let columns = self.chain.categories().num_columns();
        let cells = mask.dims()[1];
        assert!(cells >= columns, "a mask of all cells of a row");
        let (mut by_resampling, mut to_draw) = (false, Vec::new());
        for row in host(mask.clone()).chunks(cells) {
            let (numbers, categories) = row.split_at(cells - columns);
            by_resampling |= numbers.iter().any(is_known)
                || self.chain.categories().transition() == Transition::Uniform
                    && categories.iter().any(is_known);
            to_draw.push(categories.iter().filter(|mask| !is_known(mask)).count());
        }
        self.known = Some(Known {
            x_0,
            mask: mask.greater_elem(0.5),
            times: if by_resampling { resamplings } else { 1 },
            to_draw,
        });
        Ok(self)
    }

    fn has_categories(&self) -> bool {
        self.chain.categories().num_columns() > 0
    }

    /// One step, with what is known in its place before and after it.
    fn step_and_restore(
        &mut self,
        step: Step,
        index: usize,
        x_t: Tensor<D>,
        model: &mut dyn FnMut(Tensor<D>, f64) -> Tensor<D>,
        noise: &mut dyn FnMut() -> Tensor<D>,
    ) -> State<D> {
        if !self.has_categories() {
            let state = self.numbers.step(index, x_t, model, noise);
            return State {
                x: self.restore(state.x, step.to.alpha_cumprod, noise),
                ..state
            };
        }
        let x_t = self.unmask_known(x_t);
        let (numbers, codes) = self.chain.split(x_t.clone());
        let num_numbers = numbers.as_ref().map_or(0, |numbers| numbers.dims()[1]);
        let mut logits = None;
        let state = numbers.map(|numbers| {
            let mut model = |x: Tensor<D>, t: f64| {
                let x = self.chain.join(Some(x), codes.clone());
                let (prediction, of_categories) = ask(&self.chain, x, t, num_numbers, model);
                logits.get_or_insert(of_categories);
                prediction
            };
            let mut noise = || noise().narrow(1, 0, num_numbers);
            self.numbers.step(index, numbers, &mut model, &mut noise)
        });
        let logits = logits.unwrap_or_else(|| {
            let timestep = state
                .as_ref()
                .map_or(step.from.timestep, |state| state.timestep);
            ask(&self.chain, x_t, timestep, num_numbers, model).1
        });

        let categories = self.chain.categories();
        let to_draw = match &self.known {
            Some(known) => &known.to_draw[..],
            None => &[categories.num_columns()],
        };
        let likely = categories.most_likely(logits.clone());
        let mut uniforms = || MixedChain::uniforms(self.chain.split(noise()).1);
        let drawn =
            self.unmasking
                .step_back(categories, step, codes, logits, to_draw, &mut uniforms);

        let (x, predicted_x_0) = state.map(|state| (state.x, state.predicted_x_0)).unzip();
        let x = self.chain.join(x, drawn);
        State {
            index,
            timestep: step.from.timestep,
            x: self.restore(x, step.to.alpha_cumprod, noise),
            predicted_x_0: self.chain.join(predicted_x_0, likely),
        }
    }

    /// Known categories of the absorbing chain, which are never masked.
    fn unmask_known(&self, x_t: Tensor<D>) -> Tensor<D> {
        match &self.known {
            Some(known) if self.chain.categories().transition() == Transition::Absorbing => {
                let shape = x_t.dims();
                let (numbers, _) = self.chain.split(x_t.clone());
                let (_, categories) = self.chain.split(known.x_0.clone().expand(shape));
                let held = self.chain.join(numbers, categories);
                x_t.mask_where(known.mask.clone().expand(shape), held)
            }
            _ => x_t,
        }
    }

    /// What is known at ᾱ = `to` in its place.
    fn restore(&self, x: Tensor<D>, to: f64, noise: &mut dyn FnMut() -> Tensor<D>) -> Tensor<D> {
        let Some(known) = &self.known else {
            return x;
        };
        let shape = x.dims();
        let x_0 = known.x_0.clone().expand(shape);
        let here = match self.chain.categories().transition() {
            _ if to == 1.0 => x_0,
            Transition::Absorbing if self.has_categories() => {
                let (numbers, categories) = self.chain.split(x_0);
                let numbers = numbers.map(|numbers| {
                    let z = noise().narrow(1, 0, numbers.dims()[1]);
                    Marginal::new(to).x_t(numbers, z)
                });
                self.chain.join(numbers, categories)
            }
            _ => self.chain.q_keep(x_0, noise(), to),
        };
        x.mask_where(known.mask.clone().expand(shape), here)
    }
}

impl<const D: usize, S: Sampler<D>> Sampler<D> for MixedSampler<D, S> {
    fn num_steps(&self) -> usize {
        self.levels.len()
    }

    /// As [`Sampler::step`], but for the network's answer, which is `[B, N + ΣK, 1, …, 1]`.
    fn step(
        &mut self,
        index: usize,
        mut x_t: Tensor<D>,
        model: &mut dyn FnMut(Tensor<D>, f64) -> Tensor<D>,
        noise: &mut dyn FnMut() -> Tensor<D>,
    ) -> State<D> {
        let next = self.levels.get(index + 1).copied();
        let step = Step {
            from: self.levels[index],
            to: next.unwrap_or(NoiseLevel::DATA),
            is_last: next.is_none(),
        };
        let times = match &self.known {
            Some(known) if !step.is_last => known.times,
            _ => 1,
        };
        for _ in 1..times {
            let x_s = self.step_and_restore(step, index, x_t, model, noise).x;
            let keep = step.from.alpha_cumprod / step.to.alpha_cumprod;
            x_t = self.chain.q_keep(x_s, noise(), keep);
        }
        self.step_and_restore(step, index, x_t, model, noise)
    }
}

/// What the network predicts of the numbers, and its logits `[B, ΣK]`.
fn ask<const D: usize>(
    chain: &MixedChain,
    x: Tensor<D>,
    t: f64,
    num_numbers: usize,
    model: &mut dyn FnMut(Tensor<D>, f64) -> Tensor<D>,
) -> (Tensor<D>, Tensor<2>) {
    let [batch, num_logits] = [x.dims()[0], chain.categories().num_logits()];
    let prediction = model(x, t);
    let mut expected = [1; D];
    [expected[0], expected[1]] = [batch, num_numbers + num_logits];
    assert_eq!(
        prediction.dims(),
        expected,
        "the network must answer with the numbers and a logit a category"
    );
    let logits = prediction.clone().narrow(1, num_numbers, num_logits);
    let numbers = match num_numbers {
        0 => prediction,
        _ => prediction.narrow(1, 0, num_numbers),
    };
    (numbers, logits.reshape([batch, num_logits]))
}
