//! The scores of a run in training: now and then images are sampled. Their FID tells the best checkpoint, and
//! how near they come to training images tells when the network begins to repeat them.

use anyhow::Result;
use burn::tensor::Device;
use datasets::Splits;
use denoising::SamplingOptions;
use evaluation::{NearestTraining, Neighbour};
use serde::{Deserialize, Serialize};
use tracing::warn;
use training::InvalidValue;

use crate::invocation::hint;
use crate::kinds::Dataset;
use crate::sampling::{Model, Request};
use crate::scoring::cache::FeatureCache;
use crate::scoring::classifier::default_steps;
use crate::scoring::image_set::ImageSet;
use crate::scoring::reference::Reference;

/// `[evaluation]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EvaluationConfig {
    /// Steps of training between two scores; none are measured where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every: Option<u64>,
    /// Images that are drawn and scored.
    pub count: usize,
}

impl Default for EvaluationConfig {
    fn default() -> Self {
        Self {
            every: None,
            count: 500,
        }
    }
}

impl EvaluationConfig {
    /// # Errors
    ///
    /// The first value that makes no sense.
    pub fn check(&self) -> Result<(), InvalidValue> {
        InvalidValue::at_least("every", self.every.unwrap_or(1), 1)?;
        InvalidValue::at_least("count", self.count as u64, 2)
    }
}

/// Above this [`NearestTraining::z`] images are nearer to training images than held-out ones are, and it is no
/// chance (Meehan, Chaudhuri and Dasgupta 2020, section 3.1).
///
/// [`NearestTraining::z`]: evaluation::NearestTraining::z
const MOST_Z: f64 = 5.0;

/// What is measured of images sampled during training.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrainingScores {
    /// The FID on the features of the program's own classifier.
    pub fid: f64,
    /// The chance that a generated image is nearer to a training image than a held-out one is.
    pub nearer_than_real: f64,
}

/// Measures a network that learns, on the features of the program's own classifier.
#[derive(Debug)]
pub struct Evaluator {
    reference: Reference,
    /// How near held-out images come to training images.
    held_out: Vec<Neighbour>,
    /// What the network learns from, which says how examples are scored.
    dataset: Dataset,
    /// Whether the images that were measured last were copies.
    copies: bool,
    config: EvaluationConfig,
}

impl Evaluator {
    /// What measures the scores that `config` asks for, if it does, of a network that learns from `splits`,
    /// mirrored too where `flip` says so. The classifier is trained now, unless `cache` has it.
    ///
    /// # Errors
    ///
    /// Images of fewer than two classes, which no classifier can be trained on, or that cannot be read.
    pub fn new(
        config: &EvaluationConfig,
        splits: &Splits<Dataset>,
        cache: &FeatureCache,
        flip: bool,
        device: &Device,
    ) -> Result<Option<Self>> {
        if config.every.is_none() {
            return Ok(None);
        }
        let training = ImageSet::all(&splits.train)?;
        let test = ImageSet::all(&splits.test)?;
        let network = cache.classifier(&training, default_steps(training.len()), device)?;
        let reference = Reference::new(cache, network, &training, &test, flip)?;
        Ok(Some(Self {
            held_out: reference.nearest_of_test(config.count)?,
            dataset: splits.train.clone(),
            copies: false,
            reference,
            config: config.clone(),
        }))
    }

    /// Whether a score is measured at this step.
    pub fn is_due(&self, step: u64) -> bool {
        self.config
            .every
            .is_some_and(|every| step.is_multiple_of(every))
    }

    /// Scores images of `model`, sampled as `sampling` says, `batch_size` at once, always from the noise of
    /// `seed`. Where they begin to be copies of training images, a warning says so.
    pub fn scores(
        &mut self,
        model: &Model,
        sampling: &SamplingOptions,
        seed: u64,
        batch_size: usize,
    ) -> Result<TrainingScores> {
        let classes = self
            .reference
            .classes_in_proportion(self.config.count, model.num_classes());
        let request = Request::new(classes.clone(), sampling.clone(), seed, batch_size);
        let images = model.sample(&request, |_, _| Ok(()))?;
        let generated = ImageSet::generated(&self.dataset, images, &classes)?;
        let (fid, nearest) = self.reference.fid_and_nearest(&generated, &self.held_out)?;
        if let Some(text) = self.copies_begin(&nearest) {
            warn!("{text}");
        }
        Ok(TrainingScores {
            fid,
            nearer_than_real: nearest.nearer,
        })
    }

    /// What is to be said where images are copies and those before were not.
    fn copies_begin(&mut self, nearest: &NearestTraining) -> Option<String> {
        let before = std::mem::replace(&mut self.copies, nearest.z > MOST_Z);
        (self.copies && !before).then(|| {
            let evaluate = hint("evaluate RUN");
            format!(
                "the network begins to repeat training images: in {:.0} % of all pairs a generated image is \
                 nearer to the training split than a held-out one is (50 % by chance; {:.1} standard \
                 deviations above it). `{evaluate}` draws the nearest pairs; more images, data.flip, \
                 network.dropout or a shorter training help",
                100.0 * nearest.nearer,
                nearest.z
            )
        })
    }
}
