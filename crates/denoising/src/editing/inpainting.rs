//! Inpainting with any sampler (Lugmayr et al. 2022, "RePaint", algorithm 1).
//!
//! After each step the region that is known is replaced by what the forward process makes of it there:
//!
//! ```text
//! x_s = m (√ᾱ_s x_0 + √(1 − ᾱ_s) z)  +  (1 − m) x_s
//! ```
//!
//! so that the sampler fills in the rest around it. Where a step is taken several times
//! ("resampling"), x_s is noised back to x_t = √(ᾱ_t / ᾱ_s) x_s + √(1 − ᾱ_t / ᾱ_s) z in between, and
//! the two regions come to agree.

use burn::tensor::Tensor;
use noising::NoiseSchedule;

use crate::error::SamplerError;
use crate::sampler::{Sampler, State};
use crate::steps::{NoiseLevel, add_noise, noise_levels};

/// A sampler that keeps a known region of x_0.
#[derive(Debug, Clone)]
pub struct Inpainting<const D: usize, S> {
    sampler: S,
    levels: Vec<NoiseLevel>,
    known: Tensor<D>,
    mask: Tensor<D>,
    resamplings: usize,
}

impl<const D: usize, S: Sampler<D>> Inpainting<D, S> {
    /// Lets `sampler`, which visits `timesteps`, fill in where `mask` is 0; where it is 1 the sample
    /// will be `known`. Both have the shape of x_t, or 1 in its place where all are the same. Every
    /// step but the last is taken `resamplings` times.
    ///
    /// # Errors
    ///
    /// If `timesteps` are none of the schedule's, or if `resamplings` is 0.
    ///
    /// # Panics
    ///
    /// If there are not as many timesteps as the sampler takes steps.
    pub fn new(
        sampler: S,
        schedule: &NoiseSchedule,
        timesteps: &[f64],
        known: Tensor<D>,
        mask: Tensor<D>,
        resamplings: usize,
    ) -> Result<Self, SamplerError> {
        assert_eq!(sampler.num_steps(), timesteps.len(), "a timestep a step");
        if resamplings == 0 {
            return Err(SamplerError::Parameter {
                parameter: "the number of resamplings",
                value: 0.0,
                expected: "1 or more",
            });
        }
        Ok(Self {
            sampler,
            levels: noise_levels(schedule, timesteps)?,
            known,
            mask,
            resamplings,
        })
    }

    /// The sampler's step, and what is known in its place at ᾱ = `to`.
    fn step_and_restore(
        &mut self,
        index: usize,
        to: f64,
        x_t: Tensor<D>,
        model: &mut dyn FnMut(Tensor<D>, f64) -> Tensor<D>,
        noise: &mut dyn FnMut() -> Tensor<D>,
    ) -> State<D> {
        let state = self.sampler.step(index, x_t, model, noise);
        let shape = state.x.dims();
        let known = self.known.clone().expand(shape).mul_scalar(to.sqrt());
        let known = add_noise(known, (1.0 - to).sqrt(), noise);
        let mask = self.mask.clone().expand(shape);
        let filled = state.x * mask.clone().neg().add_scalar(1.0);
        State {
            x: known * mask + filled,
            ..state
        }
    }
}

impl<const D: usize, S: Sampler<D>> Sampler<D> for Inpainting<D, S> {
    fn num_steps(&self) -> usize {
        self.sampler.num_steps()
    }

    fn step(
        &mut self,
        index: usize,
        mut x_t: Tensor<D>,
        model: &mut dyn FnMut(Tensor<D>, f64) -> Tensor<D>,
        noise: &mut dyn FnMut() -> Tensor<D>,
    ) -> State<D> {
        let from = self.levels[index];
        let next = self.levels.get(index + 1);
        let to = next.map_or(1.0, |level| level.alpha_cumprod);
        let times = next.map_or(1, |_| self.resamplings);
        for _ in 1..times {
            let x_s = self.step_and_restore(index, to, x_t, model, noise).x;
            let keep = from.alpha_cumprod / to;
            x_t = add_noise(x_s.mul_scalar(keep.sqrt()), (1.0 - keep).sqrt(), noise);
        }
        self.step_and_restore(index, to, x_t, model, noise)
    }
}
