//! Bits per dimension of a trained network on images of the test split.

use anyhow::Result;
use denoising::{DdpmVariance, Guidance};
use evaluation::{ReverseVariance, VariationalBound};

use crate::sampling::Model;
use crate::scoring::image_set::ImageSet;
use crate::scoring::scores::{Score, TEST, sample, scoring_rng};
use training::streams;

/// Which part of the bound on the likelihood is measured.
#[derive(Debug, Clone, Copy)]
pub struct LikelihoodOptions {
    /// Test images.
    pub images: usize,
    /// Timesteps of the chain: L_0 and a random one of each of as many stretches of the others.
    pub timesteps: usize,
    /// Images that go through the network at once.
    pub batch_size: usize,
    /// The variance of the reverse process.
    pub variance: DdpmVariance,
}

/// Bits per dimension of images of the test split, whole and by its parts.
pub fn likelihood(
    model: &Model,
    test: &ImageSet,
    options: LikelihoodOptions,
    mut progress: impl FnMut(),
) -> Result<Vec<Score>> {
    let bound = VariationalBound {
        chain: &model.chain,
        prediction_type: model.objective.prediction_type,
        variance: match options.variance {
            DdpmVariance::FixedSmall => ReverseVariance::Small,
            DdpmVariance::FixedLarge => ReverseVariance::Large,
        },
        clamp_x_0: true,
    };
    let indices = sample(options.images, test.len(), 3);
    let mut parts = Vec::with_capacity(indices.len());
    for (batch, indices) in indices.chunks(options.batch_size).enumerate() {
        let x_0 = test.batch(indices, &model.device);
        let classes: Vec<Option<usize>> =
            indices.iter().map(|&index| test.labels()[index]).collect();
        // A stream for the timesteps of the batch, and one for its noise.
        let [mut timesteps, mut noise] =
            [0, 1].map(|part| scoring_rng(4 + 2 * batch as u64 + part));
        let shape = x_0.dims();
        parts.extend(bound.bits_per_dimension(
            x_0,
            options.timesteps,
            &mut timesteps,
            |_| streams::noise(shape, &mut noise, &model.device),
            |x_t, t| {
                progress();
                model.predict(x_t, t as f64, &classes, Guidance::default())
            },
        )?);
    }
    let score = |name, of: &dyn Fn(&evaluation::BitsPerDimension) -> f64| {
        let values: Vec<f64> = parts.iter().map(of).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        Score {
            name,
            value: mean,
            deviation: Some((squares / values.len() as f64).sqrt()),
            real: None,
            samples: values.len(),
            features: None,
            reference: TEST,
            reference_samples: Some(values.len()),
            sampler: None,
        }
    };
    Ok(vec![
        score("bits per dimension", &|bits| bits.total()),
        score("bits of the prior", &|bits| bits.prior),
        score("bits of the transitions", &|bits| bits.transitions),
        score("bits of the decoder", &|bits| bits.decoder),
    ])
}
