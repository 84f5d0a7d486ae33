//! The networks whose features images are scored by: a classifier that the program trains itself, or the
//! Inception-v3 that FID is defined on.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use burn::tensor::{Device, Tensor};
use evaluation::Features;
use inception::{Inception, Resize};
use sha2::{Digest, Sha256};

use crate::progress::{self, Bar};
use crate::run::read;
use crate::scoring::classifier::{self, Classifier};
use crate::scoring::image_set::ImageSet;

/// The file of Inception-v3's weights, in `data/inception`, as `scripts/fetch-data inception` makes it.
const INCEPTION_FILE: &str = "inception-v3-2015-12-05.safetensors";

/// The most bytes of that file.
const INCEPTION_BYTES: u64 = 1 << 28;

/// A network that is ready to make features.
#[derive(Debug)]
pub struct FeatureNetwork {
    network: Network,
    /// What it is, and the beginning of its digest.
    name: String,
    digest: [u8; 32],
    device: Device,
}

#[derive(Debug)]
enum Network {
    Classifier(Classifier),
    Inception(Box<Inception>, Resize),
}

impl FeatureNetwork {
    /// A trained classifier, without autodiff.
    pub fn classifier(classifier: Classifier, device: &Device) -> Result<Self> {
        let weights = weights::to_safetensors(&classifier, &BTreeMap::new())?;
        let network = Network::Classifier(classifier);
        Ok(Self::new(network, classifier::VERSION, &weights, device))
    }

    /// Inception-v3 with the weights of a file, on images resized so.
    pub fn inception(file: &Path, resize: Resize, device: &Device) -> Result<Self> {
        let weights = read::read(file, INCEPTION_BYTES)
            .with_context(|| format!("cannot read {}", file.display()))?;
        let inception =
            weights::from_safetensors(Inception::new(device), &weights).with_context(|| {
                format!(
                    "{} does not hold the weights of Inception-v3; `scripts/fetch-data inception` brings \
                     them",
                    file.display()
                )
            })?;
        let what = match resize {
            Resize::Tensorflow => "inception-v3 2015-12-05, resize tensorflow",
            Resize::Clean => "inception-v3 2015-12-05, resize clean",
        };
        let network = Network::Inception(Box::new(inception), resize);
        Ok(Self::new(network, what, &weights, device))
    }

    fn new(network: Network, what: &str, weights: &[u8], device: &Device) -> Self {
        let digest: [u8; 32] = Sha256::digest(weights).into();
        let begin: String = digest[..4]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Self {
            network,
            name: format!("{what} ({begin})"),
            digest,
            device: device.clone(),
        }
    }

    /// Its name: what it is and the beginning of a digest of its weights.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What identifies it, by its content.
    pub fn identify(&self, digest: &mut Sha256) {
        digest.update(&self.name);
        digest.update(self.digest);
    }

    /// Features of an image.
    pub fn width(&self) -> usize {
        match self.network {
            Network::Classifier(_) => classifier::FEATURES,
            Network::Inception(..) => inception::FEATURES,
        }
    }

    /// The features of some images of `set`, of which `bar` counts each.
    ///
    /// # Errors
    ///
    /// Images of two or four channels where the network is Inception-v3, and values that cannot be read
    /// back from the device.
    pub fn of_set(&self, set: &ImageSet, images: Range<usize>, bar: &Bar) -> Result<Features> {
        let at_once = match self.network {
            Network::Classifier(_) => 250,
            Network::Inception(..) => 16,
        };
        let mut values: Vec<f32> = Vec::with_capacity(images.len() * self.width());
        for first in images.clone().step_by(at_once) {
            let part = first..images.end.min(first + at_once);
            let features = self.forward(set, part.clone())?;
            let features = features
                .try_into_vec_as()
                .context("cannot read features back from the device")?;
            values.extend::<Vec<f32>>(features);
            bar.inc(part.len() as u64);
        }
        Ok(Features::new(values, self.width())?)
    }

    /// The features of all images of `set`, under a bar.
    ///
    /// # Errors
    ///
    /// As [`of_set`](Self::of_set).
    pub fn of_all(&self, set: &ImageSet) -> Result<Features> {
        let bar = progress::bar(set.len(), "features");
        let features = self.of_set(set, 0..set.len(), &bar);
        bar.finish_and_clear();
        features
    }

    /// Some images to features `[B, width]`.
    fn forward(&self, set: &ImageSet, images: Range<usize>) -> Result<Tensor<2>> {
        match &self.network {
            Network::Classifier(classifier) => {
                let indices: Vec<usize> = images.collect();
                Ok(classifier.features(set.batch(&indices, &self.device)))
            }
            Network::Inception(inception, resize) => {
                let [channels, ..] = set.shape();
                ensure!(
                    channels == 1 || channels == 3,
                    "images of {channels} channels cannot be scored by Inception-v3: 1 (grey) or 3 (RGB) \
                     can"
                );
                let images = resize.images(set.pixels(images), set.shape(), &self.device);
                Ok(inception.features(images))
            }
        }
    }

    /// The class that the network sees in each image, by its features; `None` where it knows no classes.
    pub fn classes(&self, features: &Features) -> Result<Option<Vec<usize>>> {
        match &self.network {
            Network::Classifier(classifier) => {
                Ok(Some(classifier.classes(features, &self.device)?))
            }
            Network::Inception(..) => Ok(None),
        }
    }
}

/// The file of Inception-v3's weights: in `data_dir`, or in its folder `inception`; without, in the first
/// `data/inception` from the working folder upwards that has it.
pub fn find_inception(data_dir: Option<&Path>) -> Result<PathBuf> {
    let folders: Vec<PathBuf> = match data_dir {
        Some(dir) => vec![dir.join("inception"), dir.to_owned()],
        None => {
            let here = std::env::current_dir().unwrap_or_else(|_| ".".into());
            let above = here.ancestors().map(|dir| dir.join("data/inception"));
            above.collect()
        }
    };
    let files = || folders.iter().map(|folder| folder.join(INCEPTION_FILE));
    if let Some(file) = files().find(|file| file.is_file()) {
        return Ok(file);
    }
    let looked_at: Vec<String> = files().map(|file| file.display().to_string()).collect();
    bail!(
        "the weights of Inception-v3 are missing: `scripts/fetch-data inception` brings them, and \
         --inception-weights names a file that is elsewhere (looked for {})",
        looked_at.join(", ")
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::scoring::image_set::tests::{dataset, stripes};

    #[test]
    fn a_classifier_learns_the_same_each_time() {
        let device = Device::flex();
        let (set, unseen) = (stripes(100), stripes(131));
        let train = || {
            let classifier = Classifier::train(&set, 20, &device).unwrap();
            FeatureNetwork::classifier(classifier, &device).unwrap()
        };
        let all = || train().of_set(&unseen, 0..131, &progress::bar(131, "features"));
        let features = all().unwrap();
        assert_eq!(
            (features.len(), features.width()),
            (131, classifier::FEATURES)
        );
        let seen = train().classes(&features).unwrap().unwrap();
        let right = (0..131).filter(|&index| seen[index] == index % 2).count();
        assert_eq!(right, 131);
        let again = all().unwrap();
        assert_eq!(features, again);
        assert_eq!(train().of_all(&unseen).unwrap(), again);
        // Generated images are seen as what is written of them.
        let near = |index: usize| unseen.batch(&[index], &device).mul_scalar(1.001);
        let near = Tensor::cat((0..131).map(near).collect(), 0);
        let near = ImageSet::generated(&dataset(&unseen), near, unseen.labels()).unwrap();
        assert_eq!(train().of_all(&near).unwrap(), again);
    }
}
