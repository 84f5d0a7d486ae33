//! The configuration of a run: a TOML file, overridden key by key on the command line, checked
//! whole before anything else happens, and saved with the run.
//!
//! It composes: what a section holds, and what its values must be, is said where they are used. The keys
//! are documented where a person reads them, in the files of `configs/`.

mod check;
mod diagnostics;
mod embedded;
mod load;
mod named;

use std::path::Path;

use denoising::Guidance;
use mlp::MlpConfig;
use noising::NoiseConfig;
use serde::{Deserialize, Serialize};
use training::{
    ConditioningConfig, EmaConfig, HeldOutConfig, ObjectiveConfig, OptimizerConfig, TrainingConfig,
};

pub use self::diagnostics::ConfigError;
pub use self::embedded::EMBEDDED;
pub use self::named::NamedConfig;
use crate::kinds::{DataConfig, Found, Sections, Source};
use crate::network::NetworkConfig;
use crate::run::config::{CheckpointConfig, LogConfig};
use crate::sampling::Classes;
use crate::sampling::SamplingConfig;
use crate::scoring::evaluator::EvaluationConfig;

/// Everything that decides what a run computes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// Seed of every random number of the run.
    #[serde(default)]
    pub seed: u64,
    /// What is learned.
    pub data: DataConfig,
    /// The forward Markov chain.
    #[serde(default)]
    pub noise: NoiseConfig,
    /// The network that predicts.
    #[serde(default)]
    pub network: NetworkConfig,
    /// `[network]` of points, where it stood in files before it had a kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(skip)]
    pub(crate) mlp: Option<MlpConfig>,
    /// Whether the network is told the class.
    #[serde(default)]
    pub conditioning: ConditioningConfig,
    /// What the network predicts, and how its error is weighted.
    #[serde(default)]
    pub objective: ObjectiveConfig,
    /// Batches, budget and learning rate.
    #[serde(default)]
    pub training: TrainingConfig,
    /// AdamW.
    #[serde(default)]
    pub optimizer: OptimizerConfig,
    /// The moving average of the weights, from which samples are drawn.
    #[serde(default)]
    pub ema: EmaConfig,
    /// How often the loss is written.
    #[serde(default)]
    pub log: LogConfig,
    /// How often checkpoints are written, and how many are kept.
    #[serde(default)]
    pub checkpoint: CheckpointConfig,
    /// The loss on the test split, measured with each checkpoint.
    #[serde(default)]
    pub held_out: HeldOutConfig,
    /// The FID of images drawn during training.
    #[serde(default)]
    pub evaluation: EvaluationConfig,
    /// The grids drawn during training; also the defaults of `trainer sample`.
    #[serde(default)]
    pub sampling: SamplingConfig,
    /// What the program found in the data.
    #[serde(default, skip_serializing_if = "Found::is_empty")]
    pub found: Found,
}

impl RunConfig {
    /// Where the data come from; published data sets are looked for in `data_dir` first.
    pub fn source<'a>(&'a self, data_dir: Option<&'a Path>) -> Source<'a> {
        Source {
            data: &self.data,
            found: &self.found,
            network: &self.network,
            seed: self.seed,
            data_dir,
        }
    }

    /// What must fit the kind of data.
    fn sections(&self) -> Sections<'_> {
        Sections {
            data: &self.data,
            found: &self.found,
            network: &self.network,
            conditioning: &self.conditioning,
            objective: &self.objective,
            clipping: self.sampling.options.clipping,
            is_scored: self.evaluation.every.is_some(),
        }
    }

    /// Their number; `None` where the network is told none.
    pub fn num_classes(&self) -> Option<usize> {
        self.classes().map(|classes| classes.count)
    }

    /// The classes that the network is told; `None` where it is told none.
    pub fn classes(&self) -> Option<Classes> {
        let embeds = self.network.num_class_embeds()?;
        let has_null_label = self.conditioning.null_label;
        Some(Classes {
            count: embeds - usize::from(has_null_label),
            has_null_label,
        })
    }

    /// Why the predictions of this network cannot be guided towards a class and away from none, if they
    /// cannot.
    pub fn why_no_guidance(&self) -> Option<&'static str> {
        if !self.conditioning.class_labels {
            Some("the network knows no classes (conditioning.class_labels = false)")
        } else if !self.conditioning.null_label {
            Some("the network has no label for \"no class\" (conditioning.null_label = false)")
        } else if self.conditioning.label_dropout == 0.0 {
            Some(
                "the network has not learned to do without a class (conditioning.label_dropout = 0; \
                 0.1 is usual)",
            )
        } else {
            None
        }
    }

    /// Leaves guidance out where the network cannot be guided, as in runs that were saved before that was
    /// refused. Returns why, if there was any.
    pub fn leave_idle_guidance_out(&mut self) -> Option<&'static str> {
        if self.sampling.options.guidance() == Guidance::default() {
            return None;
        }
        let why = self.why_no_guidance()?;
        let options = &mut self.sampling.options;
        options.guidance_scale = Guidance::default().scale;
        options.guidance_interval = None;
        options.guidance_rescale = 0.0;
        Some(why)
    }
}
