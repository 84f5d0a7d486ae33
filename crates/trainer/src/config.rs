//! The configuration of a run: a TOML file, overridden key by key on the command line, checked
//! whole before anything else happens, and saved with the run.
//!
//! The keys are documented where a person reads them, in the files of `configs/`.

use std::fmt;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use datasets::{Channels, CloudName, DatasetName, Normalisation};
use denoising::{DdpmVariance, Guidance, HeunOptions, TimestepSpacing, X0Clipping};
use noising::{BetaSchedule, Chain, LossWeight, NoiseSchedule, PredictionType};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use toml::{Table, Value};
use unet::UNetConfig;

use crate::data;
use crate::mlp::MlpConfig;
use crate::sampling;

/// Everything that decides what a run computes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
    /// The network that predicts, of images.
    #[serde(default)]
    pub network: UNetConfig,
    /// The network that predicts, of points.
    #[serde(default)]
    pub mlp: MlpConfig,
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

/// `[data]`: a published data set, or the images at a path.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DataConfig {
    /// The published data set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dataset: Option<DatasetName>,
    /// A folder of images, a NumPy array of them in a `.npy` or `.npz` file, or a `.csv` of points.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// Points that the program makes up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cloud: Option<CloudName>,
    /// Whether half of the training images, by chance, are mirrored left to right.
    pub flip: bool,
    /// The colour that transparent images of a folder are laid on: red, green, blue.
    pub background: [u8; 3],
    /// Whether images of a folder that cannot be read are passed over.
    pub skip_bad: bool,
    /// The most MiB of pixels that are held in memory.
    pub cache_mib: u64,
    /// [`Found::fingerprint`] where it stood in files before there was `[found]`.
    #[serde(skip_serializing)]
    pub(crate) fingerprint: Option<String>,
    /// [`Found::normalisation`] where it stood in files before there was `[found]`.
    #[serde(skip_serializing)]
    pub(crate) normalisation: Option<Normalisation>,
}

/// `[found]`: what the program found in the data when the run began, which it writes and nobody asks for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Found {
    /// SHA-256 of the data at a path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// The names of the classes, by label; empty where there are none, or where the run was begun before
    /// they were kept.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub class_names: Vec<String>,
    /// `[found.normalisation]`: how points were normalised.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub normalisation: Option<Normalisation>,
}

impl Found {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// `[noise]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NoiseConfig {
    /// Number of steps T of the chain.
    pub num_train_timesteps: usize,
    /// The variance added in each step.
    pub schedule: BetaSchedule,
    /// Whether the schedule is rescaled so that its last step leaves no signal.
    pub rescale_zero_terminal_snr: bool,
}

/// `[conditioning]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConditioningConfig {
    /// Whether the network is told the class of each example.
    pub class_labels: bool,
    /// Share of labels replaced by "no class", so that the network also learns to do without.
    pub label_dropout: f64,
}

/// `[objective]`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ObjectiveConfig {
    /// What the network predicts.
    pub prediction_type: PredictionType,
    /// How the squared error is weighted over timesteps.
    pub loss_weight: LossWeight,
    /// How much noise is added that is the same for all pixels of a channel, relative to the other.
    pub offset_noise: f64,
}

/// `[training]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainingConfig {
    /// Examples of one forward and backward pass.
    pub batch_size: usize,
    /// Passes whose gradients are averaged before the weights change.
    pub gradient_accumulation: usize,
    /// Budget in steps (changes of the weights).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
    /// Budget in passes over the training split.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epochs: Option<f64>,
    /// Budget in minutes of training, summed over resumed sessions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minutes: Option<f64>,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Course of the learning rate after the warm-up.
    pub learning_rate_schedule: LearningRateSchedule,
    /// Steps over which the learning rate rises from zero.
    pub warmup_steps: u64,
    /// The gradient is scaled down to this global norm where it is longer.
    pub max_grad_norm: f64,
}

/// Course of the learning rate after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LearningRateSchedule {
    /// It stays at its peak.
    Constant,
    /// It falls to zero along half a cosine as the budget is used up.
    Cosine,
}

/// `[optimizer]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OptimizerConfig {
    /// Decay of the first moment.
    pub beta_1: f64,
    /// Decay of the second moment.
    pub beta_2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
}

/// `[ema]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EmaConfig {
    /// Decay of the moving average once it has warmed up.
    pub decay: f64,
}

/// `[log]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// Steps between two lines of metrics.
    pub every: u64,
}

/// `[checkpoint]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CheckpointConfig {
    /// Steps between two checkpoints.
    pub every: u64,
    /// How many of the newest are kept, besides the best.
    pub keep: usize,
}

/// `[held_out]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HeldOutConfig {
    /// Test examples the loss is measured on.
    pub examples: usize,
    /// Ranges of timesteps for which it is given separately.
    pub buckets: usize,
}

/// `[evaluation]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EvaluationConfig {
    /// Steps of training between two scores; none are measured where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every: Option<u64>,
    /// Images that are drawn and scored.
    pub count: usize,
}

/// `[sampling]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SamplingConfig {
    /// Steps of training between two grids.
    pub every: u64,
    /// Images of a grid drawn during training.
    pub count: usize,
    /// How noise is turned into an image.
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

impl SamplingConfig {
    /// How predictions are guided.
    pub fn guidance(&self) -> Guidance {
        Guidance {
            scale: self.guidance_scale,
            interval: self.guidance_interval,
            rescale: self.guidance_rescale,
        }
    }
}

/// The samplers that the program offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum SamplerKind {
    /// Ancestral sampling (Ho et al. 2020).
    Ddpm,
    /// Denoising diffusion implicit models (Song et al. 2021).
    Ddim,
    /// Euler's method.
    Euler,
    /// Euler's method with fresh noise.
    EulerAncestral,
    /// Heun's method, with churn if wanted (Karras et al. 2022): two network calls a step.
    Heun,
    /// DPM-Solver++(2M) (Lu et al. 2022).
    #[serde(rename = "dpmpp-2m")]
    #[value(name = "dpmpp-2m")]
    DpmSolver2M,
    /// DPM-Solver++(2S) (Lu et al. 2022): two network calls a step.
    #[serde(rename = "dpmpp-2s")]
    #[value(name = "dpmpp-2s")]
    DpmSolver2S,
    /// SDE-DPM-Solver++(2M) (Lu et al. 2022).
    #[serde(rename = "dpmpp-2m-sde")]
    #[value(name = "dpmpp-2m-sde")]
    DpmSolver2MSde,
    /// UniPC of order two (Zhao et al. 2023).
    #[serde(rename = "unipc")]
    #[value(name = "unipc")]
    UniPc,
    /// DEIS of order two (Zhang and Chen 2023).
    Deis,
}

impl fmt::Display for SamplerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value();
        f.write_str(value.as_ref().map_or("", |value| value.get_name()))
    }
}

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            dataset: None,
            path: None,
            cloud: None,
            flip: false,
            background: datasets::WHITE,
            skip_bad: false,
            cache_mib: 4096,
            fingerprint: None,
            normalisation: None,
        }
    }
}

impl DataConfig {
    /// What the data is called in messages: the name of the data set, or the path.
    pub fn name(&self) -> String {
        match (&self.dataset, &self.path, &self.cloud) {
            (Some(dataset), ..) => dataset.to_string(),
            (None, Some(path), _) => path.display().to_string(),
            (None, None, Some(cloud)) => cloud.to_string(),
            (None, None, None) => "no data".to_owned(),
        }
    }

    /// Whether the data are points, not images.
    pub fn is_points(&self) -> bool {
        self.cloud.is_some() || self.path.as_deref().is_some_and(data::is_csv)
    }
}

impl Default for NoiseConfig {
    fn default() -> Self {
        Self {
            num_train_timesteps: 1000,
            schedule: BetaSchedule::default(),
            rescale_zero_terminal_snr: false,
        }
    }
}

impl Default for ConditioningConfig {
    fn default() -> Self {
        Self {
            class_labels: false,
            label_dropout: 0.1,
        }
    }
}

impl Default for TrainingConfig {
    fn default() -> Self {
        Self {
            batch_size: 64,
            gradient_accumulation: 1,
            steps: None,
            epochs: None,
            minutes: None,
            learning_rate: 2e-4,
            learning_rate_schedule: LearningRateSchedule::Constant,
            warmup_steps: 100,
            max_grad_norm: 1.0,
        }
    }
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self {
            beta_1: 0.9,
            beta_2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.0,
        }
    }
}

impl Default for EmaConfig {
    fn default() -> Self {
        Self { decay: 0.999 }
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { every: 10 }
    }
}

impl Default for CheckpointConfig {
    fn default() -> Self {
        Self {
            every: 500,
            keep: 2,
        }
    }
}

impl Default for HeldOutConfig {
    fn default() -> Self {
        Self {
            examples: 500,
            buckets: 10,
        }
    }
}

impl Default for EvaluationConfig {
    fn default() -> Self {
        Self {
            every: None,
            count: 500,
        }
    }
}

impl Default for SamplingConfig {
    fn default() -> Self {
        Self {
            every: 500,
            count: 50,
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

/// The configuration that is used when none is named, below the repository.
const DEFAULT_CONFIG: &str = "configs/mnist.toml";

/// The configuration file that was named, or else `configs/mnist.toml` in the working folder or one
/// above it.
pub fn path_or_default(named: Option<&Path>) -> Result<PathBuf, ConfigError> {
    if let Some(path) = named {
        return Ok(path.to_owned());
    }
    // A working folder that was deleted has no path; "." then says as much as can be said.
    let start = std::env::current_dir().unwrap_or_else(|_| ".".into());
    start
        .ancestors()
        .map(|folder| folder.join(DEFAULT_CONFIG))
        .find(|path| path.is_file())
        .ok_or_else(|| ConfigError::NoDefault {
            start: start.clone(),
        })
}

/// A configuration that cannot be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// No configuration was named, and the default one is nowhere.
    #[error(
        "no {DEFAULT_CONFIG} in {} or above it: name a configuration with --config",
        start.display()
    )]
    NoDefault {
        /// The working folder.
        start: PathBuf,
    },
    /// The file cannot be read.
    #[error("cannot read the configuration {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not TOML, or a key is unknown or holds a value of the wrong kind.
    #[error("{}:{line}:{column}: {message}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What was wrong and what was expected.
        message: String,
    },
    /// An override of the command line that does not fit.
    #[error("--set {text}: {message}")]
    Override {
        /// The override as typed.
        text: String,
        /// What was wrong and what was expected.
        message: String,
    },
    /// A value that makes no sense.
    #[error("{}{key}: {message}", location(.path.as_deref(), *.line))]
    Value {
        /// The file, where the value stands in one.
        path: Option<PathBuf>,
        /// Line in it, from 1.
        line: Option<usize>,
        /// The key, with dots.
        key: String,
        /// What was wrong and what was expected.
        message: String,
    },
}

fn location(path: Option<&Path>, line: Option<usize>) -> String {
    match (path, line) {
        (Some(path), Some(line)) => format!("{}:{line}: ", path.display()),
        (Some(path), None) => format!("{}: ", path.display()),
        _ => String::new(),
    }
}

/// A value that makes no sense: the key and what was expected.
struct BadValue {
    key: String,
    message: String,
}

impl RunConfig {
    /// Reads the file at `path`, applies the overrides (`key.key=value` each) in order and checks
    /// every value.
    pub fn load(path: &Path, overrides: &[String]) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&text, path, overrides)
    }

    /// As [`RunConfig::load`], from text; `path` only serves the messages.
    pub fn parse(text: &str, path: &Path, overrides: &[String]) -> Result<Self, ConfigError> {
        let config: Self = toml::from_str(text).map_err(|error| {
            let (line, column) = position(text, error.span().map_or(0, |span| span.start));
            ConfigError::Parse {
                path: path.to_owned(),
                line,
                column,
                message: explain(error.message()),
            }
        })?;
        let config = config.with_overrides(overrides)?;
        config.check().map_err(|BadValue { key, message }| {
            let overridden = overrides.iter().any(|text| text.starts_with(&key));
            let (path, line) = if overridden {
                (None, None)
            } else {
                (Some(path.to_owned()), line_of_key(text, &key))
            };
            ConfigError::Value {
                path,
                line,
                key,
                message,
            }
        })?;
        Ok(config)
    }

    /// This configuration with overrides (`key.key=value` each) applied in order, and checked.
    pub fn overridden(&self, overrides: &[String]) -> Result<Self, ConfigError> {
        let config = self.clone().with_overrides(overrides)?;
        config
            .check()
            .map_err(|BadValue { key, message }| ConfigError::Value {
                path: None,
                line: None,
                key,
                message,
            })?;
        Ok(config)
    }

    /// The configuration as TOML, every key in it that means something for its data.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        let text = toml::to_string(self)?;
        // Left out of the text and not of a `Table`, which would forget the order of the keys.
        let unused = if self.data.is_points() {
            "[network]"
        } else {
            "[mlp]"
        };
        let mut is_used = true;
        let lines = text.split_inclusive('\n').filter(|line| {
            if line.starts_with('[') {
                is_used = line.trim_end() != unused;
            }
            is_used
        });
        Ok(lines.collect())
    }

    /// The chain that the configuration describes.
    pub fn chain(&self) -> Result<Chain, noising::ScheduleError> {
        let schedule = NoiseSchedule::new(&self.noise.schedule, self.noise.num_train_timesteps)?;
        Ok(Chain::new(if self.noise.rescale_zero_terminal_snr {
            schedule.rescale_zero_terminal_snr()
        } else {
            schedule
        }))
    }

    /// The label that means "no class", where the network is conditional: the last embedding.
    pub fn null_label(&self) -> Option<usize> {
        let embeds = self.network.num_class_embeds;
        embeds
            .filter(|_| !self.data.is_points())
            .map(|embeds| embeds - 1)
    }

    /// What files from before `[found]` hold of it in `[data]`, put in its place.
    fn with_found_moved(mut self) -> Self {
        let (data, found) = (&mut self.data, &mut self.found);
        let (fingerprint, normalisation) = (data.fingerprint.take(), data.normalisation.take());
        found.fingerprint = found.fingerprint.take().or(fingerprint);
        found.normalisation = found.normalisation.take().or(normalisation);
        self
    }

    fn with_overrides(self, overrides: &[String]) -> Result<Self, ConfigError> {
        let mut config = self.with_found_moved();
        for text in overrides {
            let error = |message: String| ConfigError::Override {
                text: text.clone(),
                message,
            };
            let (key, value) = text
                .split_once('=')
                .ok_or_else(|| error("expected key=value, as in training.batch_size=64".into()))?;
            // What is not a TOML value is taken as a string, so that quotes can be left out.
            let table: Table = toml::from_str(&format!("{key} = {value}"))
                .or_else(|_| {
                    let quoted = Value::String(value.trim().to_owned());
                    toml::from_str(&format!("{key} = {quoted}"))
                })
                .map_err(|e| error(e.message().to_owned()))?;
            let mut merged = Table::try_from(&config).map_err(|e| error(e.to_string()))?;
            choose_data(&mut merged, &table);
            merge(&mut merged, table);
            config = merged
                .try_into()
                .map_err(|e: toml::de::Error| error(explain(e.message())))?;
        }
        Ok(config.with_found_moved())
    }

    /// What makes no sense for points.
    fn check_points(&self) -> Result<(), BadValue> {
        let for_images_alone = [
            ("data.flip", self.data.flip, "there is nothing to mirror"),
            (
                "conditioning.class_labels",
                self.conditioning.class_labels,
                "they have no classes",
            ),
            (
                "evaluation.every",
                self.evaluation.every.is_some(),
                "scores are of images",
            ),
            (
                "objective.offset_noise",
                self.objective.offset_noise > 0.0,
                "a coordinate has one value, and all noise is its own",
            ),
            (
                "sampling.clipping",
                self.sampling.clipping != X0Clipping::None,
                "they are not confined to [-1, 1] as images are, so clipping.kind must be \"none\"",
            ),
        ];
        for (key, given, why) in for_images_alone {
            if given {
                return Err(BadValue {
                    key: key.to_owned(),
                    message: format!("the data are points: {why}"),
                });
            }
        }
        let normalisation = self.found.normalisation.as_ref();
        let dimensions = self.mlp.dimensions();
        if normalisation.is_some_and(|n| [n.offset.len(), n.columns.len()] != [dimensions; 2]) {
            return Err(BadValue {
                key: "found.normalisation".to_owned(),
                message: format!("expected columns and offset for {dimensions} coordinates"),
            });
        }
        self.mlp.validate().map_err(|(key, message)| BadValue {
            key: format!("mlp.{key}"),
            message,
        })
    }

    fn check(&self) -> Result<(), BadValue> {
        let bad = |key: &str, message: String| {
            Err(BadValue {
                key: key.to_owned(),
                message,
            })
        };
        let at_least_one = [
            (
                "noise.num_train_timesteps",
                self.noise.num_train_timesteps as u64,
            ),
            ("training.batch_size", self.training.batch_size as u64),
            (
                "training.gradient_accumulation",
                self.training.gradient_accumulation as u64,
            ),
            ("training.steps", self.training.steps.unwrap_or(1)),
            ("log.every", self.log.every),
            ("checkpoint.every", self.checkpoint.every),
            ("checkpoint.keep", self.checkpoint.keep as u64),
            ("held_out.examples", self.held_out.examples as u64),
            ("held_out.buckets", self.held_out.buckets as u64),
            ("evaluation.every", self.evaluation.every.unwrap_or(1)),
            ("sampling.every", self.sampling.every),
            ("sampling.count", self.sampling.count as u64),
            (
                "sampling.num_inference_steps",
                self.sampling.num_inference_steps as u64,
            ),
        ];
        for (key, value) in at_least_one {
            if value == 0 {
                return bad(key, "0 makes no sense here: it must be at least 1".into());
            }
        }
        let positive = [
            ("training.epochs", self.training.epochs.unwrap_or(1.0)),
            ("training.minutes", self.training.minutes.unwrap_or(1.0)),
            ("training.learning_rate", self.training.learning_rate),
            ("training.max_grad_norm", self.training.max_grad_norm),
            ("optimizer.epsilon", self.optimizer.epsilon),
        ];
        for (key, value) in positive {
            if !(value.is_finite() && value > 0.0) {
                return bad(
                    key,
                    format!("{value} makes no sense here: it must be above 0"),
                );
            }
        }
        let share = |key, value: f64, below_one: bool| {
            let fits = value >= 0.0 && (value < 1.0 || (!below_one && value == 1.0));
            if fits {
                return Ok(());
            }
            let end = if below_one { "below" } else { "at most" };
            bad(
                key,
                format!("{value} makes no sense here: it must be at least 0 and {end} 1"),
            )
        };
        share(
            "conditioning.label_dropout",
            self.conditioning.label_dropout,
            false,
        )?;
        share("optimizer.beta_1", self.optimizer.beta_1, true)?;
        share("optimizer.beta_2", self.optimizer.beta_2, true)?;
        share("ema.decay", self.ema.decay, true)?;
        share("sampling.eta", self.sampling.eta, false)?;
        share(
            "sampling.guidance_rescale",
            self.sampling.guidance_rescale,
            false,
        )?;
        for (key, value) in [
            ("optimizer.weight_decay", self.optimizer.weight_decay),
            ("objective.offset_noise", self.objective.offset_noise),
        ] {
            if !(value.is_finite() && value >= 0.0) {
                return bad(key, "it must be 0 or above".into());
            }
        }
        if self.evaluation.count < 2 {
            return bad(
                "evaluation.count",
                format!(
                    "{} makes no sense here: it must be at least 2",
                    self.evaluation.count
                ),
            );
        }
        if !self.sampling.guidance_scale.is_finite() {
            return bad(
                "sampling.guidance_scale",
                "it must be a finite number".into(),
            );
        }
        let data = &self.data;
        let sources = [
            data.dataset.is_some(),
            data.path.is_some(),
            data.cloud.is_some(),
        ];
        match sources.into_iter().filter(|&given| given).count() {
            0 => {
                return bad(
                    "data",
                    "no data: give dataset (a name), path (a folder of images, a .npy or .npz file, or \
                     a .csv of points) or cloud (the name of a cloud of points)"
                        .into(),
                );
            }
            2.. => {
                return bad(
                    "data",
                    "give dataset, path or cloud, not more than one".into(),
                );
            }
            _ => {}
        }
        match data.is_points() {
            true => self.check_points()?,
            false if data.path.is_some() && Channels::of(self.network.in_channels).is_none() => {
                return bad(
                    "network.in_channels",
                    format!(
                        "it is {}, but images have 1 channel (grey), 3 (RGB) or 4 (RGBA)",
                        self.network.in_channels
                    ),
                );
            }
            _ => {}
        }
        if let Some([first, last]) = self.sampling.guidance_interval
            && (first.is_nan() || last.is_nan() || first > last)
        {
            return bad(
                "sampling.guidance_interval",
                format!("[{first}, {last}] makes no sense here: expected [first, last] timesteps"),
            );
        }
        if self.training.steps.is_none()
            && self.training.epochs.is_none()
            && self.training.minutes.is_none()
        {
            return bad(
                "training",
                "no budget: give one of steps, epochs or minutes".into(),
            );
        }
        if self.sampling.num_inference_steps > self.noise.num_train_timesteps {
            return bad(
                "sampling.num_inference_steps",
                format!(
                    "{} steps of denoising cannot be taken from a chain of {}",
                    self.sampling.num_inference_steps, self.noise.num_train_timesteps
                ),
            );
        }
        if self.held_out.buckets > self.held_out.examples {
            return bad(
                "held_out.buckets",
                format!(
                    "{} ranges cannot be filled by {} examples",
                    self.held_out.buckets, self.held_out.examples
                ),
            );
        }
        if let Err(error) = self.network.validate() {
            let message = format!("it is {}, expected {}", error.found, error.expected);
            return bad(&format!("network.{}", error.key), message);
        }
        if let Err(error) = self.objective.loss_weight.validate() {
            return bad("objective.loss_weight", error.to_string());
        }
        let chain = match self.chain() {
            Ok(chain) => chain,
            Err(error) => return bad("noise.schedule", error.to_string()),
        };
        if chain.schedule().has_zero_terminal_snr()
            && self.objective.prediction_type == PredictionType::Epsilon
        {
            return bad(
                "objective.prediction_type",
                "where the chain ends without any signal, the noise says nothing of x_0: use \
                 \"v-prediction\" or \"sample\", or noise.rescale_zero_terminal_snr = false"
                    .into(),
            );
        }
        // Whatever a sampler may refuse.
        if let Err(error) = sampling::timesteps(&self.sampling, chain.schedule()).and_then(|t| {
            let prediction_type = self.objective.prediction_type;
            sampling::sampler::<4>(&self.sampling, chain.schedule(), &t, prediction_type)
        }) {
            return bad("sampling", format!("{error:#}"));
        }
        Ok(())
    }
}

/// A data set, a path and a cloud are a choice: where `new` says one of them, the others go from `old`.
fn choose_data(old: &mut Table, new: &Table) {
    let Some(Value::Table(new)) = new.get("data") else {
        return;
    };
    if let Some(Value::Table(old)) = old.get_mut("data") {
        let sources = ["dataset", "path", "cloud"];
        if sources.iter().any(|source| new.contains_key(*source)) {
            for source in sources {
                old.remove(source);
            }
        }
    }
}

/// Puts `new` into `old`, table by table. A table with a `kind` is a choice of its own and
/// replaces what was there.
fn merge(old: &mut Table, new: Table) {
    for (key, value) in new {
        match (old.get_mut(&key), value) {
            (Some(Value::Table(old)), Value::Table(new)) if !new.contains_key("kind") => {
                merge(old, new);
            }
            (_, value) => {
                old.insert(key, value);
            }
        }
    }
}

/// The first line of a message of serde or toml, with the nearest known name where one is
/// unknown: ``unknown field `batchsize`, expected one of `batch_size`, `steps` ``.
fn explain(message: &str) -> String {
    let mut names = message.split('`').skip(1).step_by(2);
    let unknown = message.starts_with("unknown ");
    let nearest = match names.next() {
        Some(wrong) if unknown => names
            .map(|name| (strsim::normalized_damerau_levenshtein(wrong, name), name))
            .filter(|(similarity, _)| *similarity > 0.5)
            .max_by(|a, b| a.0.total_cmp(&b.0)),
        _ => None,
    };
    let message = message.replacen("unknown field", "unknown key", 1);
    match nearest {
        Some((_, name)) => format!("{message}; did you mean `{name}`?"),
        None => message,
    }
}

/// Line and column, both from 1, of a byte of `text`.
fn position(text: &str, byte: usize) -> (usize, usize) {
    let before = text.get(..byte).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (
        before.matches('\n').count() + 1,
        before[line_start..].chars().count() + 1,
    )
}

/// The line, from 1, on which the value of a dotted key stands; the line of the nearest table
/// above it where the key itself is not in the file.
fn line_of_key(text: &str, key: &str) -> Option<usize> {
    let document = toml::de::DeTable::parse(text).ok()?;
    let mut table = document.get_ref();
    let mut line = None;
    for part in key.split('.') {
        let Some((name, value)) = table.iter().find(|(name, _)| name.get_ref() == part) else {
            break;
        };
        line = Some(position(text, name.span().start).0);
        match value.get_ref() {
            toml::de::DeValue::Table(inner) => table = inner,
            _ => break,
        }
    }
    line
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const TEXT: &str =
        "seed = 3\n[data]\ndataset = \"mnist\"\n[training]\nsteps = 10\nbatch_size = 8\n";

    fn parse(text: &str, overrides: &[&str]) -> Result<RunConfig, String> {
        let overrides: Vec<String> = overrides.iter().map(|text| (*text).to_owned()).collect();
        RunConfig::parse(text, Path::new("run.toml"), &overrides).map_err(|e| e.to_string())
    }

    #[test]
    fn keys_left_out_take_their_defaults() {
        let config = parse(TEXT, &[]).unwrap();
        assert_eq!(config.seed, 3);
        assert_eq!(config.training.batch_size, 8);
        assert_eq!(config.optimizer, OptimizerConfig::default());
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line_and_the_nearest_known_one() {
        let error = parse(&TEXT.replace("batch_size", "batchsize"), &[]).unwrap_err();
        assert!(
            error.starts_with("run.toml:6:1: unknown key `batchsize`"),
            "{error}"
        );
        assert!(error.ends_with("did you mean `batch_size`?"), "{error}");
    }

    #[test]
    fn an_unknown_choice_is_named_with_the_known_ones() {
        let error = parse(&TEXT.replace("mnist", "mnits"), &[]).unwrap_err();
        assert!(error.starts_with("run.toml:3:"), "{error}");
        assert!(error.contains("mnist"), "{error}");
    }

    #[test]
    fn a_value_of_the_wrong_kind_is_named_with_its_line() {
        let error = parse(
            &TEXT.replace("batch_size = 8", "batch_size = \"many\""),
            &[],
        );
        let error = error.unwrap_err();
        assert!(error.starts_with("run.toml:6:"), "{error}");
    }

    #[test]
    fn values_that_make_no_sense_are_named_with_their_line() {
        for (from, to, start) in [
            ("steps = 10", "steps = 0", "run.toml:5: training.steps"),
            (
                "steps = 10",
                "minutes = -1.0",
                "run.toml:5: training.minutes",
            ),
            (
                "steps = 10",
                "learning_rate = nan",
                "run.toml:5: training.learning_rate",
            ),
            ("steps = 10", "", "run.toml:4: training: no budget"),
        ] {
            let error = parse(&TEXT.replace(from, to), &[]).unwrap_err();
            assert!(error.starts_with(start), "{error}");
        }
    }

    #[test]
    fn networks_that_cannot_be_built_are_refused() {
        for set in [
            "network.norm_num_groups=7",
            "network.block_out_channels=[]",
            "network.sample_size=27",
        ] {
            let error = parse(TEXT, &[set]).unwrap_err();
            assert!(error.starts_with("network."), "{error}");
        }
    }

    #[test]
    fn overrides_reach_any_key() {
        let config = parse(
            TEXT,
            &[
                "training.batch_size=64",
                "data.dataset=cifar10",
                "noise.schedule={kind=\"cosine\"}",
                "ema.decay = 0.5",
            ],
        )
        .unwrap();
        assert_eq!(config.training.batch_size, 64);
        assert_eq!(config.data.dataset, Some(DatasetName::Cifar10));
        assert!(matches!(config.noise.schedule, BetaSchedule::Cosine { .. }));
        assert_eq!(config.ema.decay, 0.5);
        assert_eq!(config.training.steps, Some(10));
    }

    #[test]
    fn data_is_a_name_or_a_path() {
        let config = parse(TEXT, &["data.path=pictures/cats"]).unwrap();
        assert_eq!(config.data.path, Some("pictures/cats".into()));
        assert_eq!(config.data.dataset, None);
        assert_eq!(config.data.name(), "pictures/cats");
        let back = parse(TEXT, &["data.path=cats", "data.dataset=cifar10"]).unwrap();
        assert_eq!(back.data.name(), "cifar10");

        let both = TEXT.replace("[data]", "[data]\npath = \"cats\"");
        let error = parse(&both, &[]).unwrap_err();
        assert!(
            error.starts_with("run.toml:2: data: give dataset, path or cloud"),
            "{error}"
        );
        let none = TEXT.replace("dataset = \"mnist\"", "");
        let error = parse(&none, &[]).unwrap_err();
        assert!(error.starts_with("run.toml:2: data: no data"), "{error}");
        let sets = ["data.path=cats", "network.in_channels=2"];
        let error = parse(TEXT, &sets).unwrap_err();
        assert!(error.starts_with("network.in_channels"), "{error}");
    }

    #[test]
    fn an_override_that_does_not_fit_is_named() {
        let error = parse(TEXT, &["training.batchsize=64"]).unwrap_err();
        assert!(
            error.starts_with("--set training.batchsize=64: unknown key"),
            "{error}"
        );
        assert!(error.ends_with("did you mean `batch_size`?"), "{error}");
        let error = parse(TEXT, &["training.batch_size"]).unwrap_err();
        assert!(error.contains("expected key=value"), "{error}");
        let error = parse(TEXT, &["training.batch_size=0"]).unwrap_err();
        assert!(
            error.starts_with("training.batch_size: 0 makes no sense"),
            "{error}"
        );
    }

    #[test]
    fn what_is_saved_reads_back_the_same() {
        let config = parse(TEXT, &["noise.schedule={kind=\"cosine\"}"]).unwrap();
        assert_eq!(parse(&config.to_toml().unwrap(), &[]).unwrap(), config);
    }

    #[test]
    fn what_was_found_is_read_where_older_files_hold_it() {
        let normalisation = "columns = [\"x\", \"y\"]\noffset = [1.0, 2.0]\nscale = 3.0\n";
        let text = |found: &str, of_found: &str| {
            format!(
                "[data]\npath = \"a.csv\"\n{found}fingerprint = \"abc\"\n[{of_found}.normalisation]\n\
                 {normalisation}[mlp]\ndimensions = 2\n[training]\nsteps = 10\n\
                 [sampling.clipping]\nkind = \"none\"\n"
            )
        };
        let old = parse(&text("", "data"), &[]).unwrap();
        let new = parse(&text("[found]\n", "found"), &[]).unwrap();
        assert_eq!(old, new);
        assert_eq!(new.found.fingerprint.as_deref(), Some("abc"));
        assert_eq!(new.found.normalisation.as_ref().unwrap().scale, 3.0);
        let saved = old.to_toml().unwrap();
        let (asked, found) = saved.split_once("[found]").unwrap();
        assert!(
            !asked.contains("fingerprint") && found.contains("fingerprint"),
            "{saved}"
        );
        assert_eq!(parse(&saved, &[]).unwrap(), old);
        assert_eq!(
            old.overridden(&["data.path=b.csv".to_owned()])
                .unwrap()
                .found,
            old.found
        );
    }

    #[test]
    fn no_text_makes_it_panic() {
        for text in [
            "",
            "=",
            "[",
            "[data]\ndataset = 3",
            "\u{1F600} = 1",
            "a.b.c = {",
        ] {
            assert!(parse(text, &[]).is_err());
        }
    }
}
