//! The scores of a set of generated images, with all that a figure must be read with: how many images,
//! which feature network, which reference, which sampler.

use std::fmt::Write as _;

use anyhow::{Context, Result};
use burn::tensor::Tensor;
use denoising::{DdpmVariance, Guidance};
use evaluation::{
    ClassShares, FeatureStatistics, Features, KernelSubsets, Neighbour, ReverseVariance,
    VariationalBound, class_agreement, frechet_distance, kernel_distance, nearest_training,
    precision_recall,
};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use crate::classifier::ImageSet;
use crate::feature_cache::FeatureCache;
use crate::feature_network::FeatureNetwork;
use crate::sampling::Model;
use training::{Purpose, Streams, streams};

/// The split that the model learnt from, as scores name it.
const TRAINING: &str = "training split";
/// The split that it did not.
const TEST: &str = "test split";

/// A score and what it belongs to.
#[derive(Debug, Clone, Serialize)]
pub struct Score {
    /// What is measured.
    pub name: &'static str,
    /// Of the generated images, or of the model.
    pub value: f64,
    /// Where the score is a mean over subsets or images: their standard deviation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deviation: Option<f64>,
    /// The same score of as many images of the test split in place of the generated ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub real: Option<f64>,
    /// How many images were scored.
    pub samples: usize,
    /// The network whose features were compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub features: Option<String>,
    /// What they were compared with.
    pub reference: &'static str,
    /// How many images of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference_samples: Option<usize>,
    /// How the images were drawn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sampler: Option<String>,
}

/// Generated images, scored.
#[derive(Debug, Clone)]
pub struct Scored {
    /// Every score.
    pub scores: Vec<Score>,
    /// The training image that is nearest to each.
    pub neighbours: Vec<Neighbour>,
}

/// What generated images are held against: both splits as a feature network sees them.
#[derive(Debug)]
pub struct Reference {
    network: FeatureNetwork,
    training: Split,
    /// Of the features of the training split.
    statistics: FeatureStatistics,
    test: Split,
}

#[derive(Debug)]
struct Split {
    features: Features,
    classes: Vec<Option<usize>>,
    num_classes: usize,
}

impl Reference {
    /// The features of both splits, from `cache` where it has them.
    pub fn new(
        cache: &FeatureCache,
        network: FeatureNetwork,
        training: &ImageSet,
        test: &ImageSet,
    ) -> Result<Self> {
        let split = |set: &ImageSet| {
            Ok::<_, anyhow::Error>(Split {
                features: cache.features(&network, set)?,
                classes: set.labels().to_vec(),
                num_classes: set.num_classes(),
            })
        };
        let training = split(training)?;
        Ok(Self {
            statistics: FeatureStatistics::of(&training.features)?,
            training,
            test: split(test)?,
            network,
        })
    }

    /// The share of test images whose class the network sees, if it knows classes.
    pub fn accuracy(&self) -> Result<Option<f64>> {
        let seen = self.network.classes(&self.test.features)?;
        Ok(seen.and_then(|seen| class_agreement(&seen, &self.test.classes)))
    }

    /// The name of the network.
    pub fn network_name(&self) -> &str {
        self.network.name()
    }

    /// The classes of `count` images in the shares of the training split, in order; no class where
    /// `null_label` says that the model knows none.
    pub fn classes_in_proportion(
        &self,
        count: usize,
        null_label: Option<usize>,
    ) -> Vec<Option<usize>> {
        let mut classes: Vec<usize> = self.training.classes.iter().flatten().copied().collect();
        if null_label.is_none() || classes.is_empty() {
            return vec![None; count];
        }
        classes.sort_unstable();
        (0..count)
            .map(|index| Some(classes[index * classes.len() / count]))
            .collect()
    }

    /// The FID of `images`, `[N, C, H, W]` in [-1, 1].
    pub fn fid(&self, images: &Tensor<4>) -> Result<f64> {
        self.frechet(&self.features(images)?)
    }

    fn features(&self, images: &Tensor<4>) -> Result<Features> {
        self.network
            .of_images(images)
            .context("the generated images cannot be scored")
    }

    /// The Fréchet distance of features from those of the training split.
    fn frechet(&self, features: &Features) -> Result<f64> {
        let of_features = FeatureStatistics::of(features)?;
        Ok(frechet_distance(&of_features, &self.statistics)?)
    }

    /// Every score that the network makes possible of `images`, `[N, C, H, W]` in [-1, 1], which were
    /// asked to be of `classes` and were drawn by `sampler`. Balls of precision and recall reach to the
    /// `k`-th neighbour.
    pub fn scores(
        &self,
        images: &Tensor<4>,
        classes: &[Option<usize>],
        sampler: &str,
        k: usize,
    ) -> Result<Scored> {
        let (training, test) = (&self.training.features, &self.test.features);
        let generated = self.features(images)?;
        let count = generated.len();
        // The yardstick: real images that the model has not seen, as many as were generated.
        let of_test = sample(count, test.len(), 2);
        let real = test.select(&of_test);
        let real_classes: Vec<Option<usize>> = of_test
            .iter()
            .map(|&index| self.test.classes[index])
            .collect();
        let all = Some(training.len());
        let mut scores = Vec::new();
        let mut add = |name: &'static str,
                       value: f64,
                       deviation: Option<f64>,
                       real: f64,
                       reference_samples: Option<usize>| {
            scores.push(Score {
                name,
                value,
                deviation,
                real: Some(real),
                samples: count,
                features: Some(self.network.name().to_owned()),
                reference: if reference_samples.is_some() {
                    TRAINING
                } else {
                    "classes asked for"
                },
                reference_samples,
                sampler: Some(sampler.to_owned()),
            });
        };

        let (fid, real_fid) = (self.frechet(&generated)?, self.frechet(&real)?);
        add("FID", fid, None, real_fid, all);

        let kernel = |features: &Features, rng: &mut ChaCha8Rng| {
            kernel_distance(features, training, KernelSubsets::default(), rng)
        };
        let distance = kernel(&generated, &mut scoring_rng(0))?;
        let real_distance = kernel(&real, &mut scoring_rng(0))?;
        add(
            "KID",
            distance.mean,
            Some(distance.deviation),
            real_distance.mean,
            all,
        );

        let part = training.select(&sample(count, training.len(), 1));
        let size = part.len();
        let found = precision_recall(&part, &generated, k)?;
        let of_real = precision_recall(&part, &real, k)?;
        add(
            "precision",
            found.precision,
            None,
            of_real.precision,
            Some(size),
        );
        add("recall", found.recall, None, of_real.recall, Some(size));

        let nearest = nearest_training(&generated, &real, training)?;
        add(
            "distance to nearest",
            nearest.generated,
            None,
            nearest.held_out,
            all,
        );
        add("nearer than real", nearest.nearer, None, 0.5, all);

        let neighbours = nearest.neighbours;

        let num_classes = self.training.num_classes;
        let [seen, seen_in_real] = [&generated, &real].map(|part| self.network.classes(part));
        let (Some(seen), Some(seen_in_real)) = (seen?, seen_in_real?) else {
            return Ok(Scored { scores, neighbours });
        };
        if let Some(agreement) = class_agreement(&seen, classes) {
            let of_real = class_agreement(&seen_in_real, &real_classes).unwrap_or(f64::NAN);
            add("class agreement", agreement, None, of_real, None);
        }
        let labelled: Vec<usize> = self.training.classes.iter().flatten().copied().collect();
        let wanted = ClassShares::of(&labelled, num_classes)?;
        let imbalance = |seen: &[usize]| -> Result<f64> {
            Ok(ClassShares::of(seen, num_classes)?.imbalance(&wanted)?)
        };
        add(
            "class imbalance",
            imbalance(&seen)?,
            None,
            imbalance(&seen_in_real)?,
            Some(labelled.len()),
        );
        Ok(Scored { scores, neighbours })
    }
}

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

/// The scores as a table, a line each.
pub fn table(scores: &[Score]) -> String {
    let mut table = format!(
        "{:<24}{:>20}{:>12}{:>9}  reference\n",
        "score", "value", "real", "images"
    );
    for score in scores {
        let value = match score.deviation {
            Some(deviation) => format!("{:.4} ± {deviation:.4}", score.value),
            None => format!("{:.4}", score.value),
        };
        let real = score
            .real
            .map_or("-".to_owned(), |real| format!("{real:.4}"));
        let reference = match score.reference_samples {
            Some(count) => format!("{} ({count})", score.reference),
            None => score.reference.to_owned(),
        };
        // Writing into a string cannot fail.
        let _ = writeln!(
            table,
            "{:<24}{value:>20}{real:>12}{:>9}  {reference}",
            score.name, score.samples
        );
    }
    table
}

/// `count` of so many images, or all of them in order where there are no more: by chance, since the first
/// ones of a split need not be like the others (those of MNIST's test split are easier). For each purpose
/// others.
fn sample(count: usize, images: usize, purpose: u64) -> Vec<usize> {
    if count >= images {
        return (0..images).collect();
    }
    rand::seq::index::sample(&mut scoring_rng(purpose), images, count).into_vec()
}

/// The random numbers of scoring: always the same ones, so that figures differ by the images alone.
fn scoring_rng(index: u64) -> ChaCha8Rng {
    Streams::new(0).at(Purpose::Scores, index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_images_are_taken_by_chance_and_always_the_same() {
        assert_eq!(sample(9, 5, 0), [0, 1, 2, 3, 4]);
        let some = sample(50, 100, 0);
        let mut distinct = some.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), 50);
        // Were they the first ones, none would be of the second half.
        let late = some.iter().filter(|&&index| index >= 50).count();
        assert!((10..40).contains(&late), "{late}");
        assert_eq!(sample(50, 100, 0), some);
        assert_ne!(sample(50, 100, 1), some);
    }
}
