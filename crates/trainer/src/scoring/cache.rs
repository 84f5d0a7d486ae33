//! The trained classifier, and the features of data sets, kept in a folder from one evaluation to the
//! next. A file is named by the content of all that it was made of, so a stale one is never taken, and
//! holds the SHA-256 of its own tensors; one that is damaged is made anew.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use burn::tensor::Device;
use evaluation::Features;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use sha2::{Digest, Sha256};
use tracing::{info, warn};

use crate::progress;
use crate::run::{atomic_file, read};
use crate::scoring::classifier::{self, Classifier};
use crate::scoring::features::FeatureNetwork;
use crate::scoring::image_set::ImageSet;

/// A folder of classifiers and features.
#[derive(Debug, Clone)]
pub struct FeatureCache {
    folder: PathBuf,
}

/// Images whose features are kept in a file together.
const PIECE: usize = 5000;

/// The tensor of a file of features.
const TENSOR: &str = "features";

/// What a file's metadata calls the digest of its tensors.
const DIGEST: &str = "sha256";

/// The most bytes of a file that is read: two of its pieces of the widest features, and classifiers are
/// smaller.
const MOST_BYTES: u64 = 1 << 27;

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
        set.digest_pixels(0..set.len(), &mut digest);
        set.digest_labels(&mut digest);
        let path = self.path("classifier", digest);

        let [channels, ..] = set.shape();
        let untrained = || Classifier::new(channels, set.num_classes(), device);
        let kept = read_kept(&path, |bytes| {
            Ok(weights::from_safetensors(untrained(), bytes)?)
        });
        let is_kept = kept.is_some();
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
        if !is_kept {
            write(
                &path,
                &weights::to_safetensors(&classifier, &BTreeMap::new())?,
            )?;
        }
        FeatureNetwork::classifier(classifier, device)
    }

    /// The features that `network` makes of `set`: those that are not kept are made now, a piece after the
    /// other, so that what is interrupted goes on where it was.
    pub fn features(&self, network: &FeatureNetwork, set: &ImageSet) -> Result<Features> {
        let bar = progress::bar(set.len(), "features");
        let mut values = Vec::with_capacity(set.len() * network.width());
        let mut is_told = false;
        for first in (0..set.len()).step_by(PIECE) {
            let images = first..set.len().min(first + PIECE);
            let mut digest = Sha256::new();
            network.identify(&mut digest);
            set.digest_pixels(images.clone(), &mut digest);
            let path = self.path("features", digest);

            let shape = [images.len(), network.width()];
            if let Some(kept) = read_kept(&path, |bytes| parse_features(bytes, shape)) {
                values.extend_from_slice(kept.values());
                bar.inc(images.len() as u64);
                continue;
            }
            if !is_told {
                let (count, folder) = (set.len() - first, self.folder.display());
                info!("features of {count} images, kept in {folder}");
                is_told = true;
            }
            let made = network.of_set(set, images, &bar)?;
            write_features(&path, &made)?;
            values.extend_from_slice(made.values());
        }
        bar.finish_and_clear();
        Ok(Features::new(values, network.width())?)
    }

    fn path(&self, kind: &str, digest: Sha256) -> PathBuf {
        let name = hex(&digest.finalize()[..16]);
        self.folder.join(format!("{kind}-{name}.safetensors"))
    }
}

/// What a file holds; `None` where there is no such file. One that cannot be used is removed, so that
/// another takes its place.
fn read_kept<T>(path: &Path, parse: impl FnOnce(&[u8]) -> Result<T>) -> Option<T> {
    let read = match read::read(path, MOST_BYTES) {
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        read => read.context("cannot read it"),
    };
    let parsed = read.and_then(|bytes| {
        check_digest(&bytes)?;
        parse(&bytes)
    });
    match parsed {
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

/// Writes a safetensors file with the digest of its tensors in it.
fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let file = SafeTensors::deserialize(bytes)?;
    let digest = digest_of_tensors(&file);
    let metadata = HashMap::from([(DIGEST.to_owned(), digest)]);
    let bytes = safetensors::serialize(file.iter(), Some(metadata))?;
    atomic_file::write(path, &bytes).with_context(|| format!("cannot write {}", path.display()))
}

fn check_digest(bytes: &[u8]) -> Result<()> {
    let file = SafeTensors::deserialize(bytes).context("it is damaged or cut short")?;
    let (_, header) = SafeTensors::read_metadata(bytes)?;
    let metadata = header.metadata().as_ref();
    let expected = metadata.and_then(|metadata| metadata.get(DIGEST));
    let expected = expected.context("it holds no checksum")?;
    ensure!(
        *expected == digest_of_tensors(&file),
        "its checksum is not that of what it holds: it is damaged"
    );
    Ok(())
}

/// SHA-256 of names, types, shapes and values of all tensors.
fn digest_of_tensors(file: &SafeTensors<'_>) -> String {
    let mut tensors: Vec<_> = file.iter().collect();
    tensors.sort_by_key(|(name, _)| *name);
    let mut digest = Sha256::new();
    for (name, tensor) in tensors {
        digest.update(format!(
            "{name:?} {:?} {:?} ",
            tensor.dtype(),
            tensor.shape()
        ));
        digest.update(tensor.data());
    }
    hex(&digest.finalize())
}

fn write_features(path: &Path, features: &Features) -> Result<()> {
    let values = features.values().iter();
    let bytes: Vec<u8> = values.flat_map(|value| value.to_le_bytes()).collect();
    let shape = vec![features.len(), features.width()];
    let view = TensorView::new(Dtype::F32, shape, &bytes)?;
    write(path, &safetensors::serialize([(TENSOR, view)], None)?)
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::scoring::image_set::tests::stripes;

    #[test]
    fn what_was_interrupted_goes_on_where_it_was() {
        let device = Device::flex();
        let network = FeatureNetwork::classifier(Classifier::new(1, 2, &device), &device).unwrap();
        let set = stripes(PIECE + 3);
        let all = network.of_set(&set, 0..set.len(), &progress::bar(set.len(), "features"));
        let all = all.unwrap();

        let folder = tempfile::tempdir().unwrap();
        let cache = FeatureCache::new(folder.path().to_owned());
        assert_eq!(cache.features(&network, &set).unwrap(), all);
        let mut files: Vec<PathBuf> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        files.sort_by_key(|file| fs::metadata(file).unwrap().len());
        let [small, large] = &files[..] else {
            panic!("{files:?}");
        };
        let written = |file: &PathBuf| fs::metadata(file).unwrap().modified().unwrap();
        let before = written(large);
        fs::remove_file(small).unwrap();
        assert_eq!(cache.features(&network, &set).unwrap(), all);
        assert!(small.exists() && written(large) == before);
        // The first images of a set are those of a shorter one.
        assert_eq!(
            cache.features(&network, &stripes(PIECE)).unwrap().len(),
            PIECE
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    /// A flipped bit anywhere in a file, a file of before there were checksums, a folder: what is kept is
    /// never taken for something else.
    #[test]
    fn what_is_damaged_is_made_anew() {
        let device = Device::flex();
        let network = FeatureNetwork::classifier(Classifier::new(1, 2, &device), &device).unwrap();
        let set = stripes(3);
        let folder = tempfile::tempdir().unwrap();
        let cache = FeatureCache::new(folder.path().to_owned());
        let features = cache.features(&network, &set).unwrap();
        let path = fs::read_dir(folder.path()).unwrap().next().unwrap();
        let path = path.unwrap().path();
        let whole = fs::read(&path).unwrap();
        for byte in (0..whole.len()).step_by(7).chain([whole.len() - 1]) {
            let mut damaged = whole.clone();
            damaged[byte] ^= 1;
            fs::write(&path, damaged).unwrap();
            assert_eq!(cache.features(&network, &set).unwrap(), features, "{byte}");
        }
        fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        assert_eq!(cache.features(&network, &set).unwrap(), features);

        let file = SafeTensors::deserialize(&whole).unwrap();
        fs::write(&path, safetensors::serialize(file.iter(), None).unwrap()).unwrap();
        assert!(read_kept(&path, |_| Ok(())).is_none());
        assert!(!path.exists());
        assert_eq!(cache.features(&network, &set).unwrap(), features);
        assert_eq!(fs::read(&path).unwrap(), whole);
    }

    #[cfg(unix)]
    #[test]
    fn a_pipe_in_place_of_a_file_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        assert!(read_kept(&pipe, |_| Ok(())).is_none());
        assert!(!pipe.exists());
    }
}
