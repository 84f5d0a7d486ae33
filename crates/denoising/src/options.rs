//! Everything that may be chosen about sampling, as one struct: the keys of a configuration.

use noising::{NoiseSchedule, PredictionType};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::clipping::X0Clipping;
use crate::error::SamplerError;
use crate::guidance::Guidance;
use crate::kind::{SamplerKind, SamplerOptions};
use crate::sampler::Sampler;
use crate::samplers::{DdimOptions, DdpmVariance, HeunOptions};
use crate::spacing::{SpacingError, TimestepSpacing};

/// How to sample. Keys that are left out take their defaults; unknown ones are refused.
///
/// ```
/// use denoising::SamplingOptions;
/// use noising::{BetaSchedule, NoiseSchedule, PredictionType};
///
/// let schedule = NoiseSchedule::new(&BetaSchedule::default(), 1000)?;
/// let options = SamplingOptions {
///     sampler: "unipc".parse()?,
///     num_inference_steps: 12,
///     ..SamplingOptions::default()
/// };
/// let timesteps = options.timesteps(&schedule)?;
/// let sampler = options.sampler::<4>(&schedule, &timesteps, PredictionType::VPrediction)?;
/// assert_eq!(sampler.num_steps(), 12);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct SamplingOptions {
    /// How noise is turned into data.
    pub sampler: SamplerKind,
    /// Denoising steps of a sample.
    pub num_inference_steps: usize,
    /// Which timesteps they visit.
    pub timestep_spacing: TimestepSpacing,
    /// What is done to the predicted x_0 at every step.
    pub clipping: X0Clipping,
    /// Share of fresh noise in DDIM's steps: 0 is deterministic, 1 is as much as DDPM.
    pub eta: f64,
    /// The variance of DDPM's steps.
    pub ddpm_variance: DdpmVariance,
    /// The noise that Heun's sampler adds before each step.
    pub heun: HeunOptions,
    /// Strength of classifier-free guidance: 1 is none.
    pub guidance_scale: f64,
    /// The first and the last timestep that are guided; all of them where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guidance_interval: Option<[f64; 2]>,
    /// How much of the contrast that guidance adds is taken back, from 0 to 1.
    pub guidance_rescale: f64,
}

impl Default for SamplingOptions {
    /// DDIM in 50 steps, x_0 clamped to [−1, 1], without guidance.
    fn default() -> Self {
        Self {
            sampler: SamplerKind::Ddim,
            num_inference_steps: 50,
            timestep_spacing: TimestepSpacing::Trailing,
            clipping: X0Clipping::default(),
            eta: 0.0,
            ddpm_variance: DdpmVariance::default(),
            heun: HeunOptions::default(),
            guidance_scale: 1.0,
            guidance_interval: None,
            guidance_rescale: 0.0,
        }
    }
}

/// An option that makes no sense.
#[derive(Debug, Clone, PartialEq, Error)]
#[error("{key}: {message}")]
#[non_exhaustive]
pub struct OptionError {
    /// The field of [`SamplingOptions`].
    pub key: &'static str,
    /// What was found and what was expected.
    pub message: String,
}

impl SamplingOptions {
    /// How predictions are guided.
    pub fn guidance(&self) -> Guidance {
        Guidance {
            scale: self.guidance_scale,
            interval: self.guidance_interval,
            rescale: self.guidance_rescale,
        }
    }

    /// The timesteps to visit.
    ///
    /// # Errors
    ///
    /// As [`TimestepSpacing::timesteps`].
    pub fn timesteps(&self, schedule: &NoiseSchedule) -> Result<Vec<f64>, SpacingError> {
        self.timestep_spacing
            .timesteps(schedule, self.num_inference_steps)
    }

    /// Whether a sample follows from the noise that it begins with alone, and no step adds any.
    pub fn is_deterministic(&self) -> bool {
        match self.sampler {
            SamplerKind::Ddpm | SamplerKind::EulerAncestral | SamplerKind::DpmSolver2MSde => false,
            SamplerKind::Ddim => self.eta == 0.0,
            SamplerKind::Heun => self.heun.s_churn == 0.0,
            SamplerKind::Euler
            | SamplerKind::DpmSolver2M
            | SamplerKind::DpmSolver2S
            | SamplerKind::UniPc
            | SamplerKind::Deis => true,
        }
    }

    /// The sampler that visits `timesteps`.
    ///
    /// # Errors
    ///
    /// As [`SamplerKind::sampler`].
    pub fn sampler<const D: usize>(
        &self,
        schedule: &NoiseSchedule,
        timesteps: &[f64],
        prediction_type: PredictionType,
    ) -> Result<Box<dyn Sampler<D>>, SamplerError> {
        let options = SamplerOptions {
            eta: self.eta,
            ddpm_variance: self.ddpm_variance,
            heun: self.heun,
        };
        self.sampler.sampler(
            schedule,
            timesteps,
            prediction_type,
            self.clipping,
            &options,
        )
    }

    /// Whether every option makes sense, those of samplers that were not chosen too, for this schedule
    /// and a network of this prediction type.
    ///
    /// # Errors
    ///
    /// The first option that does not.
    pub fn check(
        &self,
        schedule: &NoiseSchedule,
        prediction_type: PredictionType,
    ) -> Result<(), OptionError> {
        let at = |key| {
            move |error: SamplerError| OptionError {
                key,
                message: error.to_string(),
            }
        };
        self.clipping.check().map_err(at("clipping"))?;
        let ddim = DdimOptions::with_eta(self.eta);
        ddim.check().map_err(at("eta"))?;
        self.heun.check().map_err(at("heun"))?;
        self.guidance().check().map_err(|error| {
            let key = match error {
                SamplerError::Parameter { parameter, .. } => parameter,
                _ => "guidance_interval",
            };
            at(key)(error)
        })?;
        let timesteps = self.timesteps(schedule).map_err(|error| OptionError {
            key: match error {
                SpacingError::Count { .. } => "num_inference_steps",
                SpacingError::ZeroSnr => "timestep_spacing",
            },
            message: error.to_string(),
        })?;
        self.sampler::<1>(schedule, &timesteps, prediction_type)
            .map_err(at("sampler"))?;
        Ok(())
    }
}
