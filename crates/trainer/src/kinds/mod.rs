//! The kinds of data: one room each, which loads them, brings them to tensors and back, draws and writes
//! them, and knows which settings fit them. Nobody else asks which kind of data it is.

mod data;
mod dissolving;
mod fitting;
mod forward;
mod grids;
mod images;
mod labels;
mod order;
mod outputs;
mod points;
mod shown;
mod sounds;
mod table;
mod tables;

use std::ffi::OsStr;
use std::fmt;
use std::path::Path;

use anyhow::{Result, bail};
use burn::tensor::{Device, Tensor};
use datasets::{DatasetName, Splits};
use image::DynamicImage;
use mlp::MlpConfig;
use transformer::TransformerConfig;

pub use self::data::{DataConfig, Dataset, Found, found};
use self::fitting::fit_unet;
pub use self::forward::Forward;
pub use self::grids::class_name;
pub use self::images::{is_array, noise as noise_images};
pub use self::labels::read_labels;
pub use self::order::one_of_each_class_first;
pub use self::outputs::{Fitted, Original, Outputs, Refused, Sections, Source};
pub use self::points::{is_csv, noise as noise_points};
pub use self::shown::{Examples, Glimpse, Shown, scored_pictures, write_heard};
pub use self::sounds::form::{Representation, SoundConfig};
pub use self::sounds::{Kept, noise as noise_sound, show as show_sounds};
pub use self::tables::{
    Anew, CellUnderNoise, RowUnderNoise, Rows, ShownRows, TableExamples, TableForm,
    edit as edit_rows, is_rows_file, show as show_table,
};
use crate::drawing::captions::Captions;
use crate::drawing::grid;
use crate::drawing::pictures::EXTENSIONS;
use crate::error::Usage;
use crate::memory::{F32, values};
use crate::network::NetworkConfig;
use crate::sampling::{Model, Request, every_class};

/// Samples of each class that are drawn when no number is given.
const COUNT_PER_CLASS: usize = 10;

/// A kind of data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Images, with values in [-1, 1].
    Images,
    /// Points, normalised; to the network each is an image of one pixel and a channel a coordinate.
    Points,
    /// Sounds, as spectrograms; to the network each is an image of two channels, frequencies high and frames
    /// wide.
    Sounds,
    /// Rows of a table, or lines of text; to the network each is an image of one pixel and a channel a number and a
    /// category.
    Tables,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Images => "images",
            Self::Points => "points",
            Self::Sounds => "sounds",
            Self::Tables => "rows",
        })
    }
}

impl DataConfig {
    /// Which kind of data is named.
    pub fn kind(&self) -> Kind {
        let is_path = |holds: fn(&Path) -> bool| self.path.as_deref().is_some_and(holds);
        if self.dataset.is_some_and(DatasetName::is_table)
            || is_path(tables::is_lines)
            || is_path(tables::is_tabs)
            || (is_path(is_csv) && self.table == Some(true))
        {
            Kind::Tables
        } else if self.cloud.is_some() || self.path.as_deref().is_some_and(is_csv) {
            Kind::Points
        } else if self.sound.is_some() || self.dataset.is_some_and(DatasetName::is_sound) {
            Kind::Sounds
        } else {
            Kind::Images
        }
    }

    /// Whether they are a table, or lines of text.
    pub fn is_table(&self) -> bool {
        self.kind() == Kind::Tables
    }

    /// The network of such data where the configuration names none; of images and sounds it is the U-Net that is the
    /// default.
    pub fn usual_network(&self) -> Option<NetworkConfig> {
        match self.kind() {
            Kind::Images | Kind::Sounds => None,
            Kind::Points => Some(NetworkConfig::Mlp(MlpConfig::default())),
            Kind::Tables if self.is_of_lines() => {
                Some(NetworkConfig::Transformer(TransformerConfig::default()))
            }
            Kind::Tables => Some(NetworkConfig::Mlp(MlpConfig::default())),
        }
    }

    /// The name of the configuration by which such data are learned where none is named.
    pub fn usual_config(&self) -> &'static str {
        match self.kind() {
            Kind::Images => "mnist",
            Kind::Sounds => "speech",
            Kind::Points => "points",
            Kind::Tables if self.is_of_lines() => "names",
            Kind::Tables => "adult",
        }
    }

    /// Whether they are lines of text.
    pub fn is_of_lines(&self) -> bool {
        self.path.as_deref().is_some_and(tables::is_lines)
            || self.dataset == Some(DatasetName::Names)
    }

    /// Looks whether a CSV is a table, where that was left open.
    pub fn look(&mut self) {
        if self.table.is_none()
            && let Some(path) = &self.path
            && is_csv(path)
        {
            let is_asked = !self.columns.is_empty() || self.class_column.is_some();
            self.table = (is_asked || tables::holds_table(path)).then_some(true);
        }
    }
}

impl Kind {
    /// How many samples of so many classes, or of none, are drawn when no number is given.
    pub fn default_count(self, classes: Option<usize>) -> usize {
        match (self, classes) {
            (Self::Tables, _) => tables::COUNT,
            (_, Some(classes)) => COUNT_PER_CLASS * classes,
            (Self::Images, None) => images::COUNT,
            (Self::Points, None) => points::COUNT,
            (Self::Sounds, None) => sounds::COUNT,
        }
    }

    /// How many of `count` samples go through the network at once, where `asked` were asked for.
    pub fn batch_size(self, asked: usize, count: usize) -> usize {
        match self {
            Self::Images | Self::Sounds => asked,
            // They are small: all go at once.
            Self::Points => count,
            Self::Tables => count.min(tables::AT_ONCE),
        }
    }

    /// The kinds whose examples are files of their own, which can be edited and scored.
    pub fn of_files() -> &'static [Self] {
        &[Self::Images, Self::Sounds]
    }

    /// The kinds whose examples are rows, in which conditions can hold.
    pub fn of_rows() -> &'static [Self] {
        &[Self::Tables]
    }

    /// The kinds that a grid of pixels shows wholly, and whose networks diffusers' pipelines draw from.
    pub fn of_pixels() -> &'static [Self] {
        &[Self::Images]
    }

    /// Whether the values of an example are those of bytes, so that it has a number of bits per dimension.
    pub fn is_of_bytes(self) -> bool {
        self == Self::Images
    }

    /// Bytes of memory that a sample of this shape, and its place in the picture of all, take at the least.
    pub fn sample_bytes(self, shape: [usize; 3]) -> u64 {
        // As they are sampled batch by batch, and all together.
        let values = 2 * F32 * values(shape);
        match self {
            Self::Images => values.saturating_add(grid::cell_bytes(shape)),
            Self::Points | Self::Tables => values,
            Self::Sounds => values.saturating_add(sounds::MOST_CELL_BYTES),
        }
    }

    /// Refuses data that a command is not for. `whose` says whose they are, as in "the run draws", and `these`
    /// which it is for.
    ///
    /// # Errors
    ///
    /// Other kinds of data.
    pub fn must_be_one_of(self, these: &[Self], whose: impl fmt::Display) -> Result<(), Usage> {
        if these.contains(&self) {
            return Ok(());
        }
        let these: Vec<String> = these.iter().map(Self::to_string).collect();
        Err(Usage(format!(
            "{whose} {self}, and this is for {}",
            these.join(" and ")
        )))
    }

    /// Checks the settings that mean something else, or nothing, for this kind of data.
    ///
    /// # Errors
    ///
    /// The key and what was expected.
    pub fn check(self, sections: &Sections<'_>) -> Result<(), Refused> {
        match self {
            Self::Images => images::check(sections),
            Self::Points => points::check(sections),
            Self::Sounds => sounds::check(sections),
            Self::Tables => tables::check(sections),
        }
    }

    /// Both splits of the data.
    ///
    /// # Errors
    ///
    /// What is wrong with the files, and data at a path that are not those that were found before.
    pub fn load(self, source: &Source<'_>) -> Result<Splits<Dataset>> {
        Ok(match self {
            Self::Images => wrap(images::load(source)?, Dataset::Images),
            Self::Points => wrap(points::load(source)?, Dataset::Points),
            Self::Sounds => wrap(sounds::load(source)?, Dataset::Sounds),
            Self::Tables => wrap(tables::load(source)?, Dataset::Table),
        })
    }

    /// Fits the network to the data where its sizes follow from them.
    ///
    /// # Errors
    ///
    /// The key of what does not fit, and what was expected.
    pub fn fit(self, fitted: Fitted<'_>, splits: &Splits<Dataset>) -> Result<(), Refused> {
        match self {
            Self::Images | Self::Sounds => fit_unet(fitted, splits, self),
            Self::Points => points::fit(fitted, &splits.train),
            Self::Tables => tables::fit(fitted, &splits.train),
        }
    }

    /// Samples `[N, C, H, W]` of a network that learned from `source` as one picture below `title`; where there
    /// are classes, `num_classes` of them, a row a class.
    pub fn picture(
        self,
        source: &Source<'_>,
        samples: Tensor<4>,
        num_classes: Option<usize>,
        title: &str,
    ) -> Result<DynamicImage> {
        let class_names = &source.found.class_names;
        match self {
            Self::Images => images::picture(samples, num_classes, class_names, title),
            Self::Points => points::picture(samples, title),
            Self::Sounds => sounds::picture(source, samples, num_classes, title),
            Self::Tables => tables::picture(source, samples, num_classes, title),
        }
    }

    /// The file at `path` as an example of a network that learned from `source`: `[1, C, H, W]`.
    ///
    /// # Errors
    ///
    /// A file that is none of this kind, and points, which have no file each.
    pub fn read_file(self, source: &Source<'_>, path: &Path, device: &Device) -> Result<Tensor<4>> {
        let [channels, height, width] = source.network.example_shape();
        match self {
            Self::Images => images::read(path, channels, [height, width], device),
            Self::Sounds => sounds::read(source, path, device),
            Self::Points | Self::Tables => bail!(Usage(format!("{self} have no files each"))),
        }
    }

    /// What a mask keeps of an example, 1 where it stays and 0 where it is drawn anew, `[1, 1, H, W]`: of an
    /// image a picture that is white where it is drawn anew, of a sound the seconds that are, as in 0.2:0.4.
    ///
    /// # Errors
    ///
    /// What is no mask for this kind of data.
    pub fn read_mask(
        self,
        source: &Source<'_>,
        mask: &OsStr,
        device: &Device,
    ) -> Result<Tensor<4>> {
        let [_, height, width] = source.network.example_shape();
        match self {
            Self::Images => {
                let mask = images::read(mask.as_ref(), 1, [height, width], device)?;
                // White is 1 in [-1, 1].
                Ok(mask.neg().add_scalar(1.0).div_scalar(2.0))
            }
            Self::Sounds => sounds::mask(source, mask, device),
            Self::Points | Self::Tables => {
                bail!(Usage("--mask is for images and sounds".to_owned()))
            }
        }
    }

    /// Writes the examples `[N, C, H, W]` of an edit side by side, in rows of `columns`, with `captions`, into the
    /// picture `out`; of sounds also a WAV file of all. Where they were made of one `original`, the first is that.
    pub fn write_edit(
        self,
        source: &Source<'_>,
        examples: Tensor<4>,
        columns: usize,
        captions: &Captions,
        out: &Path,
        original: Option<Original<'_>>,
    ) -> Result<()> {
        match self {
            Self::Images => images::write_edit(examples, columns, captions, out),
            Self::Sounds => sounds::write_edit(source, examples, columns, captions, out, original),
            Self::Points | Self::Tables => {
                bail!(Usage(format!("{self} are not edited as files are")))
            }
        }
    }

    /// Samples as `request` says and writes what was asked for. Returns the samples, `[N, C, H, W]`, but of rows under
    /// conditions none.
    pub fn sample(
        self,
        model: &Model,
        request: &Request,
        outputs: &Outputs<'_>,
    ) -> Result<Option<Tensor<4>>> {
        match self {
            Self::Images => images::sample(model, request, outputs).map(Some),
            Self::Points => points::sample(model, request, outputs).map(Some),
            Self::Sounds => sounds::sample(model, request, outputs).map(Some),
            Self::Tables => tables::sample(model, request, outputs),
        }
    }

    /// The classes of `count` samples when none are asked for: an equal number of each, in order; of the rows of a
    /// table, as often as it has each.
    ///
    /// # Errors
    ///
    /// A run of a table that was changed by hand.
    pub fn usual_classes(
        self,
        source: &Source<'_>,
        count: usize,
        num_classes: Option<usize>,
    ) -> Result<Vec<Option<usize>>> {
        Ok(match self {
            Self::Tables => tables::form(source)?.classes_in_proportion(count),
            Self::Images | Self::Points | Self::Sounds => every_class(count, num_classes),
        })
    }

    /// Both splits of a table, and what was found in it.
    ///
    /// # Errors
    ///
    /// As of [`load`](Self::load), and other kinds of data.
    pub fn rows(self, source: &Source<'_>) -> Result<Rows> {
        self.must_be_one_of(Self::of_rows(), "the data are")?;
        tables::both(source)
    }

    /// Whether a file named so is what samples are written into.
    ///
    /// # Errors
    ///
    /// The name of a file of rows, where samples are no rows.
    pub fn check_out(self, option: &str, out: &Path) -> Result<(), Usage> {
        let has_rows = self == Self::Tables || (self == Self::Points && is_csv(out));
        if has_rows || !is_rows_file(out) {
            return Ok(());
        }
        Err(Usage(format!(
            "{option} {}: {self} are drawn into a picture; expected one of {EXTENSIONS}",
            out.display()
        )))
    }

    /// Shows `count` examples of the test split on their way to noise.
    pub fn noise(self, source: &Source<'_>, forward: &Forward, count: Option<usize>) -> Result<()> {
        match self {
            Self::Images => images::noise_examples(source, forward, count),
            Self::Points => points::noise(forward, &points::load(source)?.test, count),
            Self::Sounds => sounds::noise_examples(source, forward, count),
            Self::Tables => tables::noise(forward, &tables::load(source)?, count),
        }
    }
}

fn wrap<D>(splits: Splits<D>, kind: fn(D) -> Dataset) -> Splits<Dataset> {
    Splits {
        train: kind(splits.train),
        test: kind(splits.test),
        fingerprint: splits.fingerprint,
    }
}
