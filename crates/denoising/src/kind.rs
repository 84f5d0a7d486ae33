//! The samplers by name.

use std::fmt;
use std::str::FromStr;

use noising::{NoiseSchedule, PredictionType};
use serde::{Deserialize, Serialize};

use crate::clipping::X0Clipping;
use crate::error::{SamplerError, UnknownName};
use crate::sampler::Sampler;
use crate::samplers::*;

/// The options that belong to one sampler or another. Each sampler reads its own
/// ([`SamplerKind::options`]) and no other.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct SamplerOptions {
    /// η of DDIM, in [0, 1].
    pub eta: f64,
    /// The variance of DDPM's steps.
    pub ddpm_variance: DdpmVariance,
    /// The churn of Heun's sampler.
    pub heun: HeunOptions,
}

/// Defines [`SamplerKind`] by a line for each sampler: what it is, variant, name, other names, network
/// calls a step, options that it reads, and how it is made of what every sampler takes (`$common`) and of
/// the options (`$own`).
macro_rules! kinds {
    ($(
        #[doc = $summary:literal]
        $variant:ident, $name:literal, [$($alias:literal),*], $calls:literal, [$($option:literal),*],
        |$common:ident, $own:ident| $sampler:expr;
    )*) => {
        /// The samplers of this crate.
        ///
        /// ```
        /// use denoising::SamplerKind;
        ///
        /// let kind: SamplerKind = "dpm++2m".parse()?;
        /// assert_eq!(kind, SamplerKind::DpmSolver2M);
        /// assert_eq!(kind.name(), "dpmpp-2m");
        /// assert_eq!(SamplerKind::Heun.network_calls(10), 19);
        /// assert!("dpm3".parse::<SamplerKind>().is_err());
        /// # Ok::<(), denoising::UnknownName>(())
        /// ```
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        #[non_exhaustive]
        pub enum SamplerKind {
            $(
                #[doc = $summary]
                #[serde(rename = $name $(, alias = $alias)*)]
                $variant,
            )*
        }

        impl SamplerKind {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// Its name in configurations and on command lines.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Other names that are read, as other programs have them.
            pub fn aliases(self) -> &'static [&'static str] {
                match self { $(Self::$variant => &[$($alias),*],)* }
            }

            /// What it is, in a sentence.
            pub fn summary(self) -> &'static str {
                match self { $(Self::$variant => $summary.trim_ascii(),)* }
            }

            /// How often a step calls the network. The last step, which goes to data, calls it once.
            pub fn calls_per_step(self) -> usize {
                match self { $(Self::$variant => $calls,)* }
            }

            /// The fields of [`SamplerOptions`] that it reads.
            pub fn options(self) -> &'static [&'static str] {
                match self { $(Self::$variant => &[$($option),*],)* }
            }

            /// The sampler that visits `timesteps`, which fall, for a network of this prediction type.
            ///
            /// # Errors
            ///
            /// If `timesteps` is empty, does not fall strictly or leaves the schedule, if ε is predicted
            /// at zero SNR, or if `clipping` or an option that the sampler reads makes no sense.
            pub fn sampler<const D: usize>(
                self,
                schedule: &NoiseSchedule,
                timesteps: &[f64],
                prediction_type: PredictionType,
                clipping: X0Clipping,
                options: &SamplerOptions,
            ) -> Result<Box<dyn Sampler<D>>, SamplerError> {
                let common = Common { schedule, timesteps, prediction_type, clipping };
                Ok(match self {
                    $(Self::$variant => {
                        let ($common, $own) = (&common, options);
                        let _ = $own;
                        Box::new($sampler?)
                    })*
                })
            }
        }
    };
}

/// What every sampler is made of.
struct Common<'a> {
    schedule: &'a NoiseSchedule,
    timesteps: &'a [f64],
    prediction_type: PredictionType,
    clipping: X0Clipping,
}

type New<S> = fn(&NoiseSchedule, &[f64], PredictionType, X0Clipping) -> Result<S, SamplerError>;
type NewWith<S, O> =
    fn(&NoiseSchedule, &[f64], PredictionType, X0Clipping, O) -> Result<S, SamplerError>;

impl Common<'_> {
    fn make<S>(&self, new: New<S>) -> Result<S, SamplerError> {
        new(
            self.schedule,
            self.timesteps,
            self.prediction_type,
            self.clipping,
        )
    }

    fn make_with<S, O>(&self, new: NewWith<S, O>, options: O) -> Result<S, SamplerError> {
        new(
            self.schedule,
            self.timesteps,
            self.prediction_type,
            self.clipping,
            options,
        )
    }
}

kinds! {
    /// Ancestral sampling (Ho et al. 2020).
    Ddpm, "ddpm", [], 1, ["ddpm_variance"], |c, own| c.make_with(Ddpm::new, own.ddpm_variance);
    /// Denoising diffusion implicit models (Song et al. 2021).
    Ddim, "ddim", [], 1, ["eta"], |c, own| c.make_with(Ddim::new, DdimOptions::with_eta(own.eta));
    /// Euler's method: DDIM with eta = 0.
    Euler, "euler", [], 1, [], |c, own| c.make(euler);
    /// Euler's method with fresh noise: DDIM with eta = 1.
    EulerAncestral, "euler-ancestral", ["euler-a", "euler_a", "euler_ancestral"], 1, [], |c, own| c.make(euler_ancestral);
    /// Heun's method, with churn if wanted (Karras et al. 2022): two network calls a step.
    Heun, "heun", [], 2, ["heun"], |c, own| c.make_with(Heun::new, own.heun);
    /// DPM-Solver++(2M) (Lu et al. 2022).
    DpmSolver2M, "dpmpp-2m", ["dpmpp_2m", "dpmpp2m", "dpmpp", "dpm++", "dpm++2m", "dpm++-2m", "dpm++_2m", "dpmsolver++", "dpm-solver++"], 1, [], |c, own| c.make_with(DpmSolver2M::new, MultistepOptions::default());
    /// DPM-Solver++(2S) (Lu et al. 2022): two network calls a step.
    DpmSolver2S, "dpmpp-2s", ["dpmpp_2s", "dpmpp2s", "dpm++2s", "dpm++-2s", "dpm++_2s"], 2, [], |c, own| c.make(DpmSolver2S::new);
    /// SDE-DPM-Solver++(2M) (Lu et al. 2022).
    DpmSolver2MSde, "dpmpp-2m-sde", ["dpmpp_2m_sde", "dpmpp2m-sde", "dpm++2m-sde", "dpm++2m_sde", "dpm++-2m-sde", "dpm++_2m_sde"], 1, [], |c, own| c.make(DpmSolver2MSde::new);
    /// UniPC of order two (Zhao et al. 2023).
    UniPc, "unipc", ["uni-pc", "uni_pc"], 1, [], |c, own| c.make_with(UniPc::new, MultistepOptions::default());
    /// DEIS of order two (Zhang and Chen 2023).
    Deis, "deis", [], 1, [], |c, own| c.make(Deis::new);
}

impl SamplerKind {
    /// How often the network is called in so many steps, 1 or more.
    pub fn network_calls(self, steps: usize) -> usize {
        let calls = self.calls_per_step();
        calls * steps - (calls - 1)
    }

    /// The steps that come nearest to so many network calls, and the fewer of two that are as near.
    pub fn steps_for_calls(self, calls: usize) -> usize {
        calls.div_ceil(self.calls_per_step())
    }
}

impl fmt::Display for SamplerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for SamplerKind {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        let mut all = Self::ALL.iter().copied();
        all.find(|kind| kind.name() == text || kind.aliases().contains(&text))
            .ok_or_else(|| UnknownName::new("sampler", text, Self::ALL.iter().map(|k| k.name())))
    }
}
