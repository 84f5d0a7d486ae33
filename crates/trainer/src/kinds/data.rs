//! `[data]` and `[found]`, and the examples that a network learns from.

use std::path::{Path, PathBuf};

use datasets::{
    CloudName, DatasetName, ImageDataset, ImageFileError, Normalisation, Points, Splits,
};

use serde::{Deserialize, Serialize};
use training::InvalidValue;

/// `[data]`: a published data set, or the images at a path.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DataConfig {
    /// The published data set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dataset: Option<DatasetName>,
    /// A folder of images, a NumPy array of them in a `.npy` or `.npz` file, or a `.csv` of points.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// Points that the program makes up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cloud: Option<CloudName>,
    /// Whether half of the training images, by chance, are mirrored left to right.
    pub flip: bool,
    /// The colour that transparent images of a folder are laid on: red, green, blue.
    pub background: [u8; 3],
    /// Whether images of a folder that cannot be read are passed over.
    pub skip_bad: bool,
    /// The most MiB of pixels that are held in memory.
    pub cache_mib: u64,
    /// [`Found::fingerprint`] where it stood in files before there was `[found]`.
    #[serde(skip_serializing)]
    #[schemars(skip)]
    pub(crate) fingerprint: Option<String>,
    /// [`Found::normalisation`] where it stood in files before there was `[found]`.
    #[serde(skip_serializing)]
    #[schemars(skip)]
    pub(crate) normalisation: Option<Normalisation>,
}

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            dataset: None,
            path: None,
            cloud: None,
            flip: false,
            background: datasets::WHITE,
            skip_bad: false,
            cache_mib: 4096,
            fingerprint: None,
            normalisation: None,
        }
    }
}

impl DataConfig {
    /// # Errors
    ///
    /// Where not exactly one source of data is named; it is of no single key.
    pub fn check(&self) -> Result<(), InvalidValue> {
        let sources = [
            self.dataset.is_some(),
            self.path.is_some(),
            self.cloud.is_some(),
        ];
        let message = match sources.into_iter().filter(|&given| given).count() {
            0 => {
                "no data: give dataset (a name), path (a folder of images, a .npy or .npz file, or \
                 a .csv of points) or cloud (the name of a cloud of points)"
            }
            1 => return Ok(()),
            _ => "give dataset, path or cloud, not more than one",
        };
        Err(InvalidValue::new("", message))
    }

    /// What the data is called in messages: the name of the data set, or the path.
    pub fn name(&self) -> String {
        match (&self.dataset, &self.path, &self.cloud) {
            (Some(dataset), ..) => dataset.to_string(),
            (None, Some(path), _) => path.display().to_string(),
            (None, None, Some(cloud)) => cloud.to_string(),
            (None, None, None) => "no data".to_owned(),
        }
    }
}

/// `[found]`: what the program found in the data when the run began, which it writes and nobody asks for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Found {
    /// SHA-256 of the data at a path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// The names of the classes, by label; empty where there are none, or where the run was begun before
    /// they were kept.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub class_names: Vec<String>,
    /// `[found.normalisation]`: how points were normalised.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub normalisation: Option<Normalisation>,
}

impl Found {
    /// Refuses data that are not those that a run began with.
    pub(super) fn check_fingerprint(
        &self,
        now: Option<&str>,
        data: &DataConfig,
    ) -> anyhow::Result<()> {
        anyhow::ensure!(
            self.fingerprint.is_none() || self.fingerprint.as_deref() == now,
            "the data of {} are not those that the run began with: some came, went or changed. Bring \
             them back to go on (data.path may say where), or start a new run",
            data.name()
        );
        Ok(())
    }

    /// Whether nothing was found, or nothing yet.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Examples to learn from.
#[derive(Debug, Clone)]
pub enum Dataset {
    /// Images, with values in [-1, 1].
    Images(ImageDataset),
    /// Points, normalised; to the network each is an image of one pixel and a channel a coordinate.
    Points(Points),
}

impl Dataset {
    /// The images, where it is of images.
    pub fn as_images(&self) -> Option<&ImageDataset> {
        match self {
            Self::Images(images) => Some(images),
            Self::Points(_) => None,
        }
    }

    /// The number of classes; 0 where there are none.
    pub fn num_classes(&self) -> usize {
        match self {
            Self::Images(images) => images.num_classes(),
            Self::Points(_) => 0,
        }
    }
}

impl training::Data for Dataset {
    type Error = ImageFileError;

    fn len(&self) -> usize {
        match self {
            Self::Images(images) => images.len(),
            Self::Points(points) => points.len(),
        }
    }

    fn example_shape(&self) -> [usize; 3] {
        match self {
            Self::Images(images) => [images.channels(), images.height(), images.width()],
            Self::Points(points) => [points.dimensions(), 1, 1],
        }
    }

    fn label(&self, index: usize) -> Option<usize> {
        match self {
            Self::Images(images) => images.label(index),
            Self::Points(_) => None,
        }
    }

    fn read(&self, indices: &[usize]) -> Result<Vec<f32>, ImageFileError> {
        match self {
            Self::Images(images) => images.read_normalised(indices),
            Self::Points(points) => Ok(points.read(indices)),
        }
    }

    fn is_streamed(&self) -> bool {
        match self {
            Self::Images(images) => images.is_streamed(),
            Self::Points(_) => false,
        }
    }
}

/// What was found in the data, as the configuration of a run keeps it.
pub fn found(splits: &Splits<Dataset>) -> Found {
    let (class_names, normalisation) = match &splits.train {
        Dataset::Images(images) => (images.class_names().to_vec(), None),
        Dataset::Points(points) => (Vec::new(), Some(points.normalisation().clone())),
    };
    Found {
        fingerprint: splits.fingerprint.clone(),
        class_names,
        normalisation,
    }
}

/// Whether a path ends so, in capitals or not.
pub(super) fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    let extension = path.extension().unwrap_or_default();
    let mut known = extensions.iter();
    known.any(|known| extension.eq_ignore_ascii_case(known))
}
