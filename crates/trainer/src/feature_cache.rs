//! The trained classifier, and the features of data sets, kept in a folder from one evaluation to the
//! next. A file is named by the content of all that it was made of, so a stale one is never taken; one
//! that is damaged is made anew.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use burn::tensor::Device;
use evaluation::Features;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use sha2::{Digest, Sha256};
use tracing::{info, warn};

use crate::atomic_file;
use crate::classifier::{self, Classifier, ImageSet};
use crate::feature_network::FeatureNetwork;

/// A folder of classifiers and features.
#[derive(Debug, Clone)]
pub struct FeatureCache {
    folder: PathBuf,
}

/// The tensor of a file of features.
const TENSOR: &str = "features";

impl FeatureCache {
    /// The cache in `folder`, which is made when something is written.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The cache beside the folder of a run: `.cache/`.
    pub fn beside(run: &Path) -> Self {
        let run = run.canonicalize().unwrap_or_else(|_| run.to_owned());
        Self::new(run.parent().unwrap_or(Path::new(".")).join(".cache"))
    }

    /// The classifier that is trained on `set` in `steps` steps; trained now, where it is not kept.
    pub fn classifier(
        &self,
        set: &ImageSet,
        steps: usize,
        device: &Device,
    ) -> Result<FeatureNetwork> {
        let mut digest = Sha256::new();
        digest.update(classifier::VERSION);
        digest.update((steps as u64).to_le_bytes());
        set.digest(&mut digest, true);
        let path = self.path("classifier", digest);

        let [channels, ..] = set.shape();
        let untrained = || Classifier::new(channels, set.num_classes(), device);
        let kept = read_kept(&path, |bytes| {
            Ok(unet::from_safetensors(untrained(), bytes)?)
        });
        let classifier = match kept {
            Some(classifier) => classifier,
            None => {
                info!(
                    "training the classifier whose features images are scored by: {steps} steps, kept \
                     in {}",
                    path.display()
                );
                Classifier::train(set, steps, device)?
            }
        };
        if !path.exists() {
            write(&path, &unet::to_safetensors(&classifier, &BTreeMap::new())?)?;
        }
        FeatureNetwork::classifier(classifier, device)
    }

    /// The features that `network` makes of `set`; made now, where they are not kept.
    pub fn features(&self, network: &FeatureNetwork, set: &ImageSet) -> Result<Features> {
        let mut digest = Sha256::new();
        network.identify(&mut digest);
        set.digest(&mut digest, false);
        let path = self.path("features", digest);

        let shape = [set.len(), network.width()];
        if let Some(features) = read_kept(&path, |bytes| parse_features(bytes, shape)) {
            return Ok(features);
        }
        info!(
            "features of {} images, kept in {}",
            set.len(),
            path.display()
        );
        let features = network.of_set(set)?;
        let values = features.values().iter();
        let bytes: Vec<u8> = values.flat_map(|value| value.to_le_bytes()).collect();
        let view = TensorView::new(Dtype::F32, shape.to_vec(), &bytes)?;
        write(&path, &safetensors::serialize([(TENSOR, view)], None)?)?;
        Ok(features)
    }

    fn path(&self, kind: &str, digest: Sha256) -> PathBuf {
        let name = hex(&digest.finalize()[..16]);
        self.folder.join(format!("{kind}-{name}.safetensors"))
    }
}

/// What a file holds; `None` where there is no such file. One that cannot be used is removed, so that
/// another takes its place.
fn read_kept<T>(path: &Path, parse: impl FnOnce(&[u8]) -> Result<T>) -> Option<T> {
    if !path.exists() {
        return None;
    }
    let read = fs::read(path).context("cannot read it");
    match read.and_then(|bytes| parse(&bytes)) {
        Ok(kept) => Some(kept),
        Err(error) => {
            warn!(
                "{} cannot be used and is made anew: {error:#}",
                path.display()
            );
            // Where it cannot be removed, writing will say so.
            let _ = fs::remove_file(path);
            None
        }
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    atomic_file::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

fn parse_features(bytes: &[u8], shape: [usize; 2]) -> Result<Features> {
    let file = SafeTensors::deserialize(bytes)?;
    let view = file.tensor(TENSOR)?;
    ensure!(
        view.dtype() == Dtype::F32 && view.shape() == shape,
        "tensor `{TENSOR}` has type {} and shape {:?}, expected F32 and {shape:?}",
        view.dtype(),
        view.shape()
    );
    let (values, _) = view.data().as_chunks::<4>();
    let values = values.iter().map(|&b| f32::from_le_bytes(b)).collect();
    Ok(Features::new(values, shape[1])?)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
