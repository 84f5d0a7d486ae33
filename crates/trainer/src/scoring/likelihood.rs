//! Bits per dimension of a trained network on images of the test split.

use std::sync::{Mutex, PoisonError};

use anyhow::Result;
use denoising::DdpmVariance;
use evaluation::{BitsPerDimension, ReverseVariance, VariationalBound};
use rand_chacha::ChaCha8Rng;
use training::{spread, streams};

use crate::sampling::Model;
use crate::scoring::image_set::ImageSet;
use crate::scoring::scores::{Score, TEST, sample, scoring_rng};

/// Which part of the bound on the likelihood is measured, and of which likelihood.
#[derive(Debug, Clone, Copy)]
pub struct LikelihoodOptions {
    /// Test images.
    pub images: usize,
    /// Timesteps of the chain: L_0 and a random one of each of as many strata of the others, for each image
    /// by itself.
    pub timesteps: usize,
    /// Images that go through the network at once; the figures do not depend on it.
    pub batch_size: usize,
    /// The variance of the reverse process.
    pub variance: DdpmVariance,
    /// Whether no classes are given to a network that knows them: p(x), where it is p(x | class) otherwise.
    pub unconditional: bool,
}

impl LikelihoodOptions {
    /// The network calls that `model` needs on a test split of so many images.
    pub fn calls(&self, model: &Model, test: usize) -> usize {
        let batches = self.images.min(test).div_ceil(self.batch_size);
        batches
            * self
                .timesteps
                .min(model.chain.schedule().num_train_timesteps())
    }
}

/// Bits per dimension of images of the test split, whole and by its parts. `progress` is told of each
/// network call.
pub fn likelihood(
    model: &Model,
    test: &ImageSet,
    options: LikelihoodOptions,
    progress: impl FnMut() + Send,
) -> Result<Vec<Score>> {
    let bound = VariationalBound {
        chain: model.chain.numbers(),
        prediction_type: model.objective.prediction_type,
        variance: match options.variance {
            DdpmVariance::FixedSmall => ReverseVariance::Small,
            DdpmVariance::FixedLarge => ReverseVariance::Large,
        },
        clamp_x_0: true,
    };
    let indices = sample(options.images, test.len(), 3);
    let progress = Mutex::new(progress);
    let batches: Vec<&[usize]> = indices.chunks(options.batch_size).collect();
    let of_batch = |place: usize, indices: &[usize]| {
        let (_, device) = model.at(place);
        let x_0 = test.batch(indices, device);
        let classes: Vec<Option<usize>> = indices
            .iter()
            .map(|&index| test.labels()[index].filter(|_| !options.unconditional))
            .collect();
        // For each image a stream for its timesteps, and one for its noise: it has the same ones in any batch.
        let [mut timesteps, mut noise] = [0, 1].map(|part| -> Vec<ChaCha8Rng> {
            let stream = |&index: &usize| scoring_rng(4 + 2 * index as u64 + part);
            indices.iter().map(stream).collect()
        });
        let parts = bound.bits_per_dimension(
            x_0,
            options.timesteps,
            &mut timesteps,
            || streams::per_image_noise(test.shape(), &mut noise, device),
            |x_t, t| {
                (progress.lock().unwrap_or_else(PoisonError::into_inner))();
                model.predict_each(place, x_t, t, &classes)
            },
        )?;
        Ok::<_, anyhow::Error>(parts)
    };
    let mut parts = Vec::with_capacity(indices.len());
    spread(model.num_devices(), batches, of_batch, |of_batch| {
        parts.extend(of_batch);
        Ok(())
    })?;
    let definition = if model.classes.is_some() && !options.unconditional {
        "−log₂ p(x | class) / dimensions, at most"
    } else {
        "−log₂ p(x) / dimensions, at most"
    };
    let score = |name, of: &dyn Fn(&BitsPerDimension) -> f64| {
        let values: Vec<f64> = parts.iter().map(of).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        Score {
            name,
            value: mean,
            deviation: Some((squares / values.len() as f64).sqrt()),
            real: None,
            samples: values.len(),
            real_samples: None,
            features: None,
            reference: TEST.to_owned(),
            reference_samples: Some(values.len()),
            sampler: None,
            definition: Some(definition),
        }
    };
    Ok(vec![
        score("bits per dimension", &BitsPerDimension::total),
        score("bits of the prior", &|bits| bits.prior),
        score("bits of the transitions", &|bits| bits.transitions),
        score("bits of the decoder", &|bits| bits.decoder),
    ])
}
