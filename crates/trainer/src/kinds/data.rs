//! `[data]` and `[found]`, and the examples that a network learns from.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context;
use burn::tensor::Tensor;
use datasets::{
    Channels, CloudName, ColumnType, DatasetName, ImageDataset, Normalisation, Points, Splits,
    read_image,
};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use training::InvalidValue;

use super::sounds::form::SoundConfig;
use super::sounds::windows::SoundWindows;
use super::tables::{TableExamples, TableForm};
use crate::drawing::pictures::to_byte;

/// `[data]`: a published data set, or what lies at a path.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DataConfig {
    /// The published data set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dataset: Option<DatasetName>,
    /// A folder of images or, with `[data.sound]`, of sounds; a NumPy array of images in a `.npy` or `.npz`
    /// file; a `.csv` of points or of a table, a `.tsv` of a table; or a `.txt` of lines of text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// Points that the program makes up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cloud: Option<CloudName>,
    /// Whether half of the training images, by chance, are mirrored left to right.
    pub flip: bool,
    /// The colour that transparent images of a folder are laid on: red, green, blue.
    pub background: [u8; 3],
    /// Whether files of a folder that cannot be read are passed over.
    pub skip_bad: bool,
    /// The most MiB of pixels, samples or cells that are held in memory.
    pub cache_mib: u64,
    /// `[data.sound]`: that the data are sounds, and how they are read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sound: Option<SoundConfig>,
    /// Whether a `.csv` is a table; where that is left open, it is one unless it has numbers alone, which are points.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<bool>,
    /// `[data.columns]`: the types of columns of a table by name, where they are not those that are found.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub columns: BTreeMap<String, ColumnType>,
    /// The column of a table that is the class.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class_column: Option<String>,
    /// `[data.augment]`: how training examples are changed each time that they are seen.
    #[serde(skip_serializing_if = "AugmentConfig::is_none")]
    pub augment: AugmentConfig,
    /// [`Found::fingerprint`] where it stood in files before there was `[found]`.
    #[serde(skip_serializing)]
    #[schemars(skip)]
    pub(crate) fingerprint: Option<String>,
    /// [`Found::normalisation`] where it stood in files before there was `[found]`.
    #[serde(skip_serializing)]
    #[schemars(skip)]
    pub(crate) normalisation: Option<Normalisation>,
}

/// `[data.augment]`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AugmentConfig {
    /// Sounds are played faster or slower by a factor of chance within 1 ± this; so they are higher or lower,
    /// too.
    pub speed: f64,
}

impl AugmentConfig {
    /// The largest change of speed: beyond it, voices are no longer those of people.
    const MOST_SPEED: f64 = 0.5;

    /// Whether nothing is changed.
    fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// # Errors
    ///
    /// The first value that makes no sense.
    fn check(&self) -> Result<(), InvalidValue> {
        if (0.0..=Self::MOST_SPEED).contains(&self.speed) {
            return Ok(());
        }
        let message = format!(
            "{} makes no sense here: expected 0 to {}",
            self.speed,
            Self::MOST_SPEED
        );
        Err(InvalidValue::new("augment.speed", message))
    }
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
            sound: None,
            table: None,
            columns: BTreeMap::new(),
            class_column: None,
            augment: AugmentConfig::default(),
            fingerprint: None,
            normalisation: None,
        }
    }
}

impl DataConfig {
    /// # Errors
    ///
    /// The first value that makes no sense; where not exactly one source of data is named, it is of no single
    /// key.
    pub fn check(&self) -> Result<(), InvalidValue> {
        self.augment.check()?;
        let sources = [
            self.dataset.is_some(),
            self.path.is_some(),
            self.cloud.is_some(),
        ];
        let message = match sources.into_iter().filter(|&given| given).count() {
            0 => {
                "no data: give dataset (a name), path (a folder of images or sounds, a .npy or .npz \
                 file, a .csv of points or of a table, or a .txt of lines) or cloud (the name of a cloud of points)"
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
    /// What spectrograms of sounds were multiplied by, so that their deviation is the same for all data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spectrogram_factor: Option<f32>,
    /// `[found.table]`: the columns of a table, or the characters of lines of text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<Box<TableForm>>,
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
    /// Sounds, as spectrograms.
    Sounds(SoundWindows),
    /// Rows of a table, or lines of text.
    Table(TableExamples),
}

impl Dataset {
    /// The number of classes; 0 where there are none.
    pub fn num_classes(&self) -> usize {
        self.class_names().len()
    }

    /// The names of the classes, by label; empty where there are none.
    pub fn class_names(&self) -> &[String] {
        match self {
            Self::Images(images) => images.class_names(),
            Self::Points(_) => &[],
            Self::Sounds(sounds) => sounds.recordings().class_names(),
            Self::Table(table) => table.class_names(),
        }
    }

    /// Channels, height and width of the pictures by which examples are scored; `None` where there are no
    /// scores of such data.
    pub fn scored_shape(&self) -> Option<[usize; 3]> {
        match self {
            Self::Images(images) => Some([images.channels(), images.height(), images.width()]),
            Self::Points(_) | Self::Table(_) => None,
            Self::Sounds(sounds) => Some(sounds.form().scored_shape()),
        }
    }

    /// The pictures by which the examples of these `indices` are scored, as bytes: each channel, row, column;
    /// none where there are no scores of such data.
    ///
    /// # Errors
    ///
    /// An example that cannot be read.
    pub fn scored(&self, indices: &[usize]) -> anyhow::Result<Vec<u8>> {
        match self {
            Self::Images(images) => Ok(images.read(indices)?),
            Self::Points(_) | Self::Table(_) => Ok(Vec::new()),
            Self::Sounds(sounds) => sounds.scored(indices),
        }
    }

    /// The picture by which the file of a sample is scored, as it is; nothing where there are no scores of such
    /// data.
    ///
    /// # Errors
    ///
    /// A file that cannot be read.
    pub fn scored_file(&self, path: &Path) -> anyhow::Result<Vec<u8>> {
        match self {
            Self::Images(images) => {
                let channels = Channels::of(images.channels());
                let channels = channels.context("image files have 1, 3 or 4 channels")?;
                let size = [images.height(), images.width()];
                Ok(read_image(path, channels, Some(size))?.pixels().to_vec())
            }
            Self::Points(_) | Self::Table(_) => Ok(Vec::new()),
            Self::Sounds(sounds) => sounds.form().scored_file(path),
        }
    }

    /// The same of examples `[N, C, H, W]` that were generated, as they are where they are written to a file.
    ///
    /// # Errors
    ///
    /// Examples that cannot be read back from the device.
    pub fn scored_of(&self, generated: Tensor<4>) -> anyhow::Result<Vec<u8>> {
        match self {
            Self::Images(_) => {
                let values: Vec<f32> = generated
                    .try_into_vec_as()
                    .context("cannot read images back from the device")?;
                Ok(values.into_iter().map(to_byte).collect())
            }
            Self::Points(_) | Self::Table(_) => Ok(Vec::new()),
            Self::Sounds(sounds) => sounds.form().scored_of(generated),
        }
    }
}

impl training::Data for Dataset {
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn len(&self) -> usize {
        match self {
            Self::Images(images) => images.len(),
            Self::Points(points) => points.len(),
            Self::Sounds(sounds) => sounds.recordings().len(),
            Self::Table(table) => table.count(),
        }
    }

    fn example_shape(&self) -> [usize; 3] {
        match self {
            Self::Images(images) => [images.channels(), images.height(), images.width()],
            Self::Points(points) => [points.dimensions(), 1, 1],
            Self::Sounds(sounds) => sounds.form().shape(),
            Self::Table(table) => [table.example_len(), 1, 1],
        }
    }

    fn label(&self, index: usize) -> Option<usize> {
        match self {
            Self::Images(images) => images.label(index),
            Self::Points(_) => None,
            Self::Sounds(sounds) => sounds.recordings().label(index),
            Self::Table(table) => table.label(index),
        }
    }

    fn read(&self, indices: &[usize]) -> Result<Vec<f32>, Self::Error> {
        Ok(match self {
            Self::Images(images) => images.read_normalised(indices)?,
            Self::Points(points) => points.read(indices),
            Self::Sounds(sounds) => sounds.read(indices)?,
            Self::Table(table) => table.read(indices)?,
        })
    }

    fn read_augmented(
        &self,
        indices: &[usize],
        rng: &mut ChaCha8Rng,
    ) -> Result<Vec<f32>, Self::Error> {
        match self {
            Self::Images(_) | Self::Points(_) => self.read(indices),
            Self::Sounds(sounds) => Ok(sounds.read_augmented(indices, rng)?),
            Self::Table(table) => Ok(table.read_random(indices, rng)?),
        }
    }

    fn is_streamed(&self) -> bool {
        match self {
            Self::Images(images) => images.is_streamed(),
            Self::Points(_) => false,
            Self::Sounds(sounds) => sounds.recordings().is_streamed(),
            Self::Table(table) => table.is_streamed(),
        }
    }
}

/// What was found in the data, as the configuration of a run keeps it.
pub fn found(splits: &Splits<Dataset>) -> Found {
    let (mut spectrogram_factor, mut normalisation, mut table) = (None, None, None);
    match &splits.train {
        Dataset::Images(_) => {}
        Dataset::Points(points) => normalisation = Some(points.normalisation().clone()),
        Dataset::Sounds(sounds) => spectrogram_factor = Some(sounds.form().factor()),
        Dataset::Table(examples) => table = Some(Box::new(examples.form())),
    }
    Found {
        fingerprint: splits.fingerprint.clone(),
        class_names: splits.train.class_names().to_vec(),
        spectrogram_factor,
        normalisation,
        table,
    }
}

/// Whether a path ends so, in capitals or not.
pub(super) fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    let extension = path.extension().unwrap_or_default();
    let mut known = extensions.iter();
    known.any(|known| extension.eq_ignore_ascii_case(known))
}
