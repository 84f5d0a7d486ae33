//! The score of a run in training: now and then images are drawn and their FID is measured, so that the
//! best checkpoint can be told by what it draws.

use anyhow::Result;
use burn::tensor::Device;
use datasets::Splits;
use denoising::SamplingOptions;
use serde::{Deserialize, Serialize};
use training::InvalidValue;

use crate::kinds::Dataset;
use crate::sampling::{Model, Request};
use crate::scoring::cache::FeatureCache;
use crate::scoring::classifier::default_steps;
use crate::scoring::image_set::ImageSet;
use crate::scoring::reference::Reference;

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

/// Measures the FID of a network that learns, on the features of the program's own classifier.
#[derive(Debug)]
pub struct Evaluator {
    reference: Reference,
    config: EvaluationConfig,
}

impl Evaluator {
    /// What measures the scores that `config` asks for, if it does. The classifier is trained now, unless
    /// `cache` has it.
    ///
    /// # Errors
    ///
    /// Images of fewer than two classes, which no classifier can be trained on, or that cannot be read.
    pub fn new(
        config: &EvaluationConfig,
        splits: &Splits<Dataset>,
        cache: &FeatureCache,
        device: &Device,
    ) -> Result<Option<Self>> {
        let (Some(_), Dataset::Images(training), Dataset::Images(test)) =
            (config.every, &splits.train, &splits.test)
        else {
            return Ok(None);
        };
        let training = ImageSet::all(training)?;
        let test = ImageSet::all(test)?;
        let network = cache.classifier(&training, default_steps(training.len()), device)?;
        Ok(Some(Self {
            reference: Reference::new(cache, network, &training, &test)?,
            config: config.clone(),
        }))
    }

    /// Whether a score is measured at this step.
    pub fn is_due(&self, step: u64) -> bool {
        self.config
            .every
            .is_some_and(|every| step.is_multiple_of(every))
    }

    /// The FID of images of `model`, sampled as `sampling` says, `batch_size` at once, always from the
    /// noise of `seed`.
    pub fn fid(
        &self,
        model: &Model,
        sampling: &SamplingOptions,
        seed: u64,
        batch_size: usize,
    ) -> Result<f64> {
        let request = Request {
            classes: self
                .reference
                .classes_in_proportion(self.config.count, model.null_label),
            sampling: sampling.clone(),
            seed,
            batch_size,
            initial_noise: None,
            edit: None,
        };
        let images = model.sample(&request, |_, _| Ok(()))?;
        self.reference.fid(&images)
    }
}
