//! What generated images are held against: both splits of the data as a feature network sees them.

use anyhow::{Context, Result};
use evaluation::{
    ClassShares, FeatureStatistics, Features, KernelSubsets, NearestTraining, Neighbour,
    class_agreement, frechet_distance, kernel_distance, nearest, nearest_training,
    precision_recall,
};

use crate::scoring::cache::FeatureCache;
use crate::scoring::features::FeatureNetwork;
use crate::scoring::image_set::ImageSet;
use crate::scoring::scores::{Score, TRAINING, sample, scoring_rng};

/// Generated images, scored.
#[derive(Debug, Clone)]
pub struct Scored {
    /// Every score.
    pub scores: Vec<Score>,
    /// The training image that is nearest to each; those behind the end of the training split are mirrored.
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
    /// The features of the training split mirrored, where the network learned from that too.
    mirrored: Option<Features>,
}

#[derive(Debug)]
struct Split {
    features: Features,
    classes: Vec<Option<usize>>,
    num_classes: usize,
}

impl Reference {
    /// The features of both splits, from `cache` where it has them; and where the network learned from
    /// mirrored images too (`flip`), those of the training split mirrored.
    pub fn new(
        cache: &FeatureCache,
        network: FeatureNetwork,
        training: &ImageSet,
        test: &ImageSet,
        flip: bool,
    ) -> Result<Self> {
        let split = |set: &ImageSet| {
            Ok::<_, anyhow::Error>(Split {
                features: cache.features(&network, set)?,
                classes: set.labels().to_vec(),
                num_classes: set.num_classes(),
            })
        };
        let mirrored = flip
            .then(|| cache.features(&network, &training.mirrored()))
            .transpose()?;
        let training = split(training)?;
        Ok(Self {
            mirrored,
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
    /// `num_classes` says that the model knows none.
    pub fn classes_in_proportion(
        &self,
        count: usize,
        num_classes: Option<usize>,
    ) -> Vec<Option<usize>> {
        let mut classes: Vec<usize> = self.training.classes.iter().flatten().copied().collect();
        if num_classes.is_none() || classes.is_empty() {
            return vec![None; count];
        }
        classes.sort_unstable();
        (0..count)
            .map(|index| Some(classes[index * classes.len() / count]))
            .collect()
    }

    /// How near images of the test split come to training images, as many as `count` of them.
    pub fn nearest_of_test(&self, count: usize) -> Result<Vec<Neighbour>> {
        let test = &self.test.features;
        let held_out = test.select(&sample(count, test.len(), 2));
        Ok(nearest(&held_out, &self.learned())?)
    }

    /// The FID of generated images, and how near they come to training images, beside images of the test
    /// split as [`nearest_of_test`](Self::nearest_of_test) found them.
    pub fn fid_and_nearest(
        &self,
        generated: &ImageSet,
        held_out: &[Neighbour],
    ) -> Result<(f64, NearestTraining)> {
        let generated = self.features(generated)?;
        let neighbours = nearest(&generated, &self.learned())?;
        Ok((
            self.frechet(&generated)?,
            NearestTraining::new(neighbours, held_out)?,
        ))
    }

    fn features(&self, generated: &ImageSet) -> Result<Features> {
        self.network
            .of_all(generated)
            .context("the generated images cannot be scored")
    }

    /// All that the network learned from: the training split, and where it was mirrored, mirrored.
    fn learned(&self) -> Vec<&Features> {
        [&self.training.features]
            .into_iter()
            .chain(&self.mirrored)
            .collect()
    }

    /// The Fréchet distance of features from those of the training split.
    fn frechet(&self, features: &Features) -> Result<f64> {
        let of_features = FeatureStatistics::of(features)?;
        Ok(frechet_distance(&of_features, &self.statistics)?)
    }

    /// Every score that the network makes possible of `generated` images, whose labels are the classes that
    /// they were asked to be, and which were sampled as `sampler` says. Balls of precision and recall reach
    /// to the `k`-th neighbour, fewer than there are images of the training split.
    pub fn scores(&self, generated: &ImageSet, sampler: &str, k: usize) -> Result<Scored> {
        let (training, test) = (&self.training.features, &self.test.features);
        let asked = generated.labels();
        let generated = self.features(generated)?;
        let count = generated.len();
        // The yardstick: real images that the model has not seen, as many as were generated, or all.
        let of_test = sample(count, test.len(), 2);
        let real = test.select(&of_test);
        let real_classes: Vec<Option<usize>> = of_test
            .iter()
            .map(|&index| self.test.classes[index])
            .collect();
        // Left out of scores that need more images than the test split has.
        let yardstick = |needed: usize| Some(&real).filter(|real| real.len() >= needed);
        let (all, whole) = (Some(training.len()), TRAINING.to_owned());
        let mut scores = Vec::new();
        let mut add =
            |name: &'static str,
             value: f64,
             deviation: Option<f64>,
             of_real: Option<f64>,
             (reference, reference_samples): (String, Option<usize>)| {
                scores.push(Score {
                    name,
                    value,
                    deviation,
                    real: of_real,
                    samples: count,
                    real_samples: of_real.map(|_| real.len()),
                    features: Some(self.network.name().to_owned()),
                    reference,
                    reference_samples,
                    sampler: Some(sampler.to_owned()),
                    definition: None,
                });
            };

        let of_real = yardstick(2).map(|real| self.frechet(real)).transpose()?;
        let fid = self.frechet(&generated)?;
        add("FID", fid, None, of_real, (whole.clone(), all));

        let kernel = |features: &Features| {
            let rng = &mut scoring_rng(0);
            kernel_distance(features, training, KernelSubsets::default(), rng)
        };
        let distance = kernel(&generated)?;
        let of_real = yardstick(2).map(kernel).transpose()?;
        add(
            "KID",
            distance.mean,
            Some(distance.deviation),
            of_real.map(|distance| distance.mean),
            (whole.clone(), all),
        );

        let part = training.select(&sample(count, training.len(), 1));
        let compared = (whole.clone(), Some(part.len()));
        let found = precision_recall(&part, &generated, k)?;
        let of_real = yardstick(k.saturating_add(1))
            .map(|real| precision_recall(&part, real, k))
            .transpose()?;
        let (precision, recall) = of_real.map(|real| (real.precision, real.recall)).unzip();
        add(
            "precision",
            found.precision,
            None,
            precision,
            compared.clone(),
        );
        add("recall", found.recall, None, recall, compared);

        let found = nearest_training(&generated, &real, &self.learned())?;
        let learned = match &self.mirrored {
            None => (whole.clone(), all),
            Some(_) => (
                format!("{TRAINING}, as it is and mirrored"),
                Some(2 * training.len()),
            ),
        };
        add(
            "distance to nearest",
            found.generated,
            None,
            Some(found.held_out),
            learned.clone(),
        );
        add("nearer than real", found.nearer, None, Some(0.5), learned);

        let neighbours = found.neighbours;
        let num_classes = self.training.num_classes;
        let [seen, seen_in_real] = [&generated, &real].map(|part| self.network.classes(part));
        let (Some(seen), Some(seen_in_real)) = (seen?, seen_in_real?) else {
            return Ok(Scored { scores, neighbours });
        };
        if let Some(agreement) = class_agreement(&seen, asked) {
            let of_real = class_agreement(&seen_in_real, &real_classes);
            let reference = ("classes asked for".to_owned(), None);
            add("class agreement", agreement, None, of_real, reference);
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
            Some(imbalance(&seen_in_real)?),
            (whole, Some(labelled.len())),
        );
        Ok(Scored { scores, neighbours })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use burn::tensor::Device;

    use super::*;
    use crate::scoring::classifier::Classifier;
    use crate::scoring::image_set::tests::stripes;

    /// Where the network learned from mirrored images too, those are copies like the others.
    #[test]
    fn mirrored_copies_are_seen_where_images_were_flipped() {
        let device = Device::flex();
        let folder = tempfile::tempdir().unwrap();
        let cache = FeatureCache::new(folder.path().to_owned());
        let reference = |flip| {
            let network = Classifier::new(1, 2, &device);
            let network = FeatureNetwork::classifier(network, &device).unwrap();
            let all = stripes(60);
            let (training, test) = (
                all.subset(&Vec::from_iter(0..40)),
                all.subset(&Vec::from_iter(40..60)),
            );
            Reference::new(&cache, network, &training, &test, flip).unwrap()
        };
        // Stripes along columns are not their own mirror image.
        let copies = stripes(40).mirrored();
        let scored = |flip| reference(flip).scores(&copies, "none", 3).unwrap();
        let named = |scored: &Scored, name: &str| {
            let mut scores = scored.scores.iter();
            scores.find(|score| score.name == name).unwrap().clone()
        };
        let (plain, flipped) = (scored(false), scored(true));
        assert!(named(&plain, "distance to nearest").value > 0.0);
        assert!(named(&plain, "nearer than real").value < 1.0);
        let distance = named(&flipped, "distance to nearest");
        assert_eq!(distance.value, 0.0);
        assert!(distance.reference.contains("mirrored"), "{distance:?}");
        assert_eq!(distance.reference_samples, Some(80));
        assert_eq!(named(&flipped, "nearer than real").value, 1.0);
        assert!(flipped.neighbours.iter().any(|near| near.index >= 40));

        let held_out = reference(true).nearest_of_test(20).unwrap();
        let (_, nearest) = reference(true).fid_and_nearest(&copies, &held_out).unwrap();
        assert_eq!(nearest.nearer, 1.0);
        assert!(nearest.z > 5.0, "{nearest:?}");
    }
}
