//! What generated images are held against: both splits of the data as a feature network sees them.

use anyhow::{Context, Result};
use burn::tensor::Tensor;
use evaluation::{
    ClassShares, FeatureStatistics, Features, KernelSubsets, Neighbour, class_agreement,
    frechet_distance, kernel_distance, nearest_training, precision_recall,
};
use rand_chacha::ChaCha8Rng;

use crate::scoring::cache::FeatureCache;
use crate::scoring::features::FeatureNetwork;
use crate::scoring::image_set::ImageSet;
use crate::scoring::scores::{Score, TRAINING, sample, scoring_rng};

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
