//! Samples and examples as a browser shows them, and few enough of them; pictures, recordings and masks as it sends
//! them.

use std::ffi::OsString;
use std::path::Path;

use anyhow::{Context, Result, bail};
use burn::tensor::{Device, Tensor, TensorData};
use image::DynamicImage;
use training::{Data as _, to_tensor};

use super::order::one_of_each_class_first;
use super::outputs::Source;
use super::sounds::Kept;
use super::tables::{CellUnderNoise, RowUnderNoise, ShownRows};
use super::{Dataset, Kind, images, points, sounds, tables};
use crate::device;
use crate::drawing::pictures;
use crate::drawing::spectrogram::spectrogram;
use crate::error::Usage;
use crate::sampling::{Model, Request};

/// Samples as a browser shows them.
#[derive(Debug)]
pub enum Shown {
    /// A picture each.
    Pictures(Vec<DynamicImage>),
    /// A picture of all.
    Cloud(DynamicImage),
    /// A picture and a WAV file each.
    Sounds(Vec<(DynamicImage, Vec<u8>)>),
    /// Rows.
    Rows(ShownRows),
}

/// Examples, or samples on their way from noise, as they can be shown at once.
#[derive(Debug)]
pub enum Glimpse {
    /// A picture each, or one of all.
    Pictures(Vec<DynamicImage>),
    /// The cells of each row.
    Rows(Vec<Vec<String>>),
}

/// Some examples of a data set.
#[derive(Debug, Clone)]
pub struct Examples {
    /// As the network sees them: `[N, C, H, W]`.
    pub x: Tensor<4>,
    /// The class of each, if it has one.
    pub classes: Vec<Option<usize>>,
    /// Of recordings a WAV file each, of what the network sees of them.
    pub sounds: Vec<Vec<u8>>,
}

/// The rows that are shown of a table on its way.
const ROWS_ON_THE_WAY: usize = 12;

/// The examples of which there is one picture each, and of which there is one of all.
const EXAMPLES: usize = 20;
const EXAMPLES_OF_A_CLOUD: usize = 1000;

/// How often a row is noised where shares are counted: that of its categories which are kept has a standard error of
/// 0.03 at the most.
const ROWS_UNDER_NOISE: usize = 256;

/// Writes the training examples of these `indices` that can be heard, one after the other, into the sound file `path`;
/// of other kinds nothing.
///
/// # Errors
///
/// A recording that cannot be read, and a file that cannot be written.
pub fn write_heard(training: &Dataset, indices: &[usize], path: &Path) -> Result<()> {
    match training {
        Dataset::Sounds(recordings) => sounds::write_nearest(recordings, indices, path),
        Dataset::Images(_) | Dataset::Points(_) | Dataset::Table(_) => Ok(()),
    }
}

/// The images by which samples of such data are scored, `[N, C, H, W]`, as pictures.
///
/// # Errors
///
/// Images that cannot be read back from the device.
pub fn scored_pictures(of: &Dataset, images: Tensor<4>) -> Result<Vec<DynamicImage>> {
    /// Pixels of a level.
    const ENLARGED: usize = 3;
    let Dataset::Sounds(_) = of else {
        return pictures::from_tensor(images);
    };
    let [_, _, frequencies, frames] = images.dims();
    let size = (
        u32::try_from(ENLARGED * frames)?,
        u32::try_from(ENLARGED * frequencies)?,
    );
    let values: Vec<f32> = images
        .try_into_vec_as()
        .context("cannot read the levels back from the device")?;
    let levels: Vec<f32> = values.into_iter().map(|x| (x + 1.0) / 2.0).collect();
    levels
        .chunks_exact(frequencies * frames)
        .map(|levels| spectrogram(levels, [frequencies, frames], size))
        .collect()
}

impl Kind {
    /// How many samples are shown when no number is given, and the most that are.
    pub fn shown_count(self) -> (usize, usize) {
        match self {
            Self::Images => (16, 100),
            Self::Sounds => (4, 32),
            Self::Points => (points::COUNT, 5000),
            Self::Tables => (50, tables::AT_ONCE),
        }
    }

    /// Whether samples of a kind are a picture of all, and none each.
    fn is_a_cloud(self) -> bool {
        self == Self::Points
    }

    /// Samples `x_t`, `[N, C, H, W]`, and what they are predicted to become, on their way from noise.
    ///
    /// # Errors
    ///
    /// Samples that cannot be read back from the device.
    pub fn on_the_way(
        self,
        source: &Source<'_>,
        x_t: Tensor<4>,
        predicted_x_0: &Tensor<4>,
        classes: &[Option<usize>],
    ) -> Result<Glimpse> {
        if self != Self::Tables {
            return self.glimpse(x_t).map(Glimpse::Pictures);
        }
        let count = classes.len().min(ROWS_ON_THE_WAY);
        let first = predicted_x_0.clone().narrow(0, 0, count);
        self.at_a_glance(source, first, &classes[..count])
    }

    /// Examples `[N, C, H, W]` of these classes as they can be shown at once.
    ///
    /// # Errors
    ///
    /// Values that cannot be read back, and a run that was changed by hand.
    pub fn at_a_glance(
        self,
        source: &Source<'_>,
        x: Tensor<4>,
        classes: &[Option<usize>],
    ) -> Result<Glimpse> {
        if self != Self::Tables {
            return self.glimpse(x).map(Glimpse::Pictures);
        }
        let rows = tables::shown(source, x, classes)?;
        Ok(Glimpse::Rows(rows.rows))
    }

    /// How often an example is noised where the distribution of what comes of it is looked at: rows often, since one
    /// has few cells.
    pub fn times_under_noise(self) -> usize {
        match self {
            Self::Images | Self::Points | Self::Sounds => 1,
            Self::Tables => ROWS_UNDER_NOISE,
        }
    }

    /// A row under noise, cell by cell.
    ///
    /// # Errors
    ///
    /// A row of another table, and kinds whose examples are none.
    pub fn cells(self, source: &Source<'_>, row: &RowUnderNoise) -> Result<Vec<CellUnderNoise>> {
        self.must_be_one_of(Self::of_rows(), "the run draws")?;
        tables::cells(tables::form(source)?, row)
    }

    /// Any values `[N, C, H, W]` as pictures that are made at once: of sounds the spectrogram as the network sees it.
    ///
    /// # Errors
    ///
    /// Rows, of which there is no picture.
    pub fn glimpse(self, x: Tensor<4>) -> Result<Vec<DynamicImage>> {
        match self {
            Self::Images => images::shown(x),
            Self::Points => Ok(vec![points::shown(x)?]),
            Self::Sounds => sounds::glimpse(x),
            Self::Tables => bail!(Usage(format!("{self} are not shown as pictures"))),
        }
    }

    /// Samples `[N, C, H, W]` of these classes; `kept` is what stays of a recording that they were made of.
    ///
    /// # Errors
    ///
    /// Samples that cannot be read back, and a run that was changed by hand.
    pub fn shown(
        self,
        source: &Source<'_>,
        samples: Tensor<4>,
        classes: &[Option<usize>],
        kept: Option<&Kept>,
    ) -> Result<Shown> {
        Ok(match self {
            Self::Images => Shown::Pictures(images::shown(samples)?),
            Self::Points => Shown::Cloud(points::shown(samples)?),
            Self::Sounds => Shown::Sounds(sounds::shown(source, samples, kept)?),
            Self::Tables => Shown::Rows(tables::shown(source, samples, classes)?),
        })
    }

    /// As many samples of `model` as `request` has classes, in all of which these conditions hold, as `sample --where`
    /// draws them; `observe` is called at each step.
    ///
    /// # Errors
    ///
    /// Conditions that make no sense, kinds whose examples are no rows, and what `observe` says.
    pub fn shown_where(
        self,
        source: &Source<'_>,
        model: &Model,
        request: &Request,
        conditions: &[String],
        observe: &mut (dyn FnMut() -> Result<()> + Send),
    ) -> Result<Shown> {
        self.must_be_one_of(Self::of_rows(), "the run draws")?;
        tables::shown_where(source, model, request, conditions, observe).map(Shown::Rows)
    }

    /// The bytes of a picture file, which messages call `name`, as an example of a network that learned from `source`:
    /// `[1, C, H, W]`.
    ///
    /// # Errors
    ///
    /// What is no picture, and kinds whose examples are none.
    pub fn decode(
        self,
        source: &Source<'_>,
        bytes: Vec<u8>,
        name: &str,
        device: &Device,
    ) -> Result<Tensor<4>> {
        self.must_be_one_of(Self::of_pixels(), "the run draws")?;
        let [channels, height, width] = source.network.example_shape();
        images::decode(bytes, name, channels, [height, width], device)
    }

    /// The bytes of a picture or of a recording, which messages call so, as the network sees it and as it is shown.
    ///
    /// # Errors
    ///
    /// What is neither, and kinds whose examples have no files.
    pub fn seen(self, source: &Source<'_>, bytes: Vec<u8>, device: &Device) -> Result<Shown> {
        self.must_be_one_of(Self::of_files(), "the run draws")?;
        if self == Self::Sounds {
            return Ok(Shown::Sounds(vec![sounds::seen(source, bytes)?]));
        }
        let x = self.decode(source, bytes, "the picture", device)?;
        Ok(Shown::Pictures(images::shown(x)?))
    }

    /// The length of a sample in seconds, and the steps in which a part of it can be drawn anew; of sounds alone.
    ///
    /// # Errors
    ///
    /// A run that was changed by hand.
    pub fn seconds(self, source: &Source<'_>) -> Result<Option<[f64; 2]>> {
        if self != Self::Sounds {
            return Ok(None);
        }
        let form = sounds::form(source)?;
        Ok(Some([form.seconds(), form.seconds_a_column()]))
    }

    /// The bytes of a sound file as an example of a network that learned from `source`, `[1, C, H, W]`. Where the
    /// `seconds` from one to another are drawn anew, also what a mask keeps, `[1, 1, H, W]`, and what stays as it is.
    ///
    /// # Errors
    ///
    /// What is no sound, a part that it does not have, and kinds that are none.
    pub fn decode_sound(
        self,
        source: &Source<'_>,
        bytes: Vec<u8>,
        seconds: Option<[f64; 2]>,
        device: &Device,
    ) -> Result<(Tensor<4>, Option<(Tensor<4>, Kept)>)> {
        self.must_be_one_of(&[Self::Sounds], "the run draws")?;
        let samples = sounds::decode(source, bytes)?;
        let x = sounds::example(source, &samples, device)?;
        let Some([from, to]) = seconds else {
            return Ok((x, None));
        };
        let mask = OsString::from(format!("{from}:{to}"));
        let keep = sounds::mask(source, &mask, device)?;
        Ok((x, Some((keep, Kept { samples, mask }))))
    }

    /// What a mask keeps of an example, 1 where it stays and 0 where it is drawn anew, `[1, 1, H, W]`: `painted` has a
    /// byte a pixel, row by row, 255 where it is drawn anew.
    ///
    /// # Errors
    ///
    /// Another number of pixels than an example has, none that is painted, and kinds whose examples are no pictures.
    pub fn decode_mask(
        self,
        source: &Source<'_>,
        painted: &[u8],
        device: &Device,
    ) -> Result<Tensor<4>> {
        self.must_be_one_of(Self::of_pixels(), "the run draws")?;
        let [_, height, width] = source.network.example_shape();
        if painted.len() != height * width {
            bail!(Usage(format!(
                "the mask has {} pixels, and a picture of the run {height} × {width}",
                painted.len()
            )));
        }
        if painted.iter().all(|&byte| byte == 0) {
            bail!(Usage(
                "nothing is painted: the mask says what is drawn anew".to_owned()
            ));
        }
        let keep: Vec<f32> = painted
            .iter()
            .map(|&byte| 1.0 - f32::from(byte) / 255.0)
            .collect();
        let data = TensorData::new(keep, [1, 1, height, width]);
        Ok(Tensor::from_data(data, device))
    }

    /// Writes the bytes of `files`, samples of these classes, into `folder` as `sample --each` does: a file each, and
    /// `labels.csv`.
    ///
    /// # Errors
    ///
    /// Bytes that are no such file, kinds whose samples have none, and a folder that cannot be written.
    pub fn write_each(
        self,
        source: &Source<'_>,
        files: Vec<Vec<u8>>,
        classes: &[Option<usize>],
        folder: &Path,
    ) -> Result<()> {
        self.must_be_one_of(Self::of_files(), "the run draws")?;
        if self == Self::Sounds {
            return sounds::write_files(source, files, classes, folder);
        }
        let device = device::nearest()?;
        let decode = |bytes| self.decode(source, bytes, "the picture", &device);
        let samples: Vec<Tensor<4>> = files.into_iter().map(decode).collect::<Result<_>>()?;
        let names = &source.found.class_names;
        images::write_each(Tensor::cat(samples, 0), classes, names, folder)
    }

    /// The sounds of a file that [`write_heard`] wrote, each as a picture and a WAV file; of other kinds none.
    ///
    /// # Errors
    ///
    /// A file that was not written by this program.
    pub fn heard(
        self,
        source: &Source<'_>,
        read: impl FnOnce() -> Result<Vec<u8>>,
    ) -> Result<Vec<(DynamicImage, Vec<u8>)>> {
        if self != Self::Sounds {
            return Ok(Vec::new());
        }
        sounds::heard(source, read()?)
    }

    /// The classes of `count` samples of a `model` where `asked` ones come in turn; where none are asked for, all.
    ///
    /// # Errors
    ///
    /// As of [`usual_classes`](Self::usual_classes).
    pub fn classes_in_turn(
        self,
        source: &Source<'_>,
        model: &Model,
        asked: &[Option<usize>],
        count: usize,
    ) -> Result<Vec<Option<usize>>> {
        if asked.is_empty() {
            return self.usual_classes(source, count, model.num_classes());
        }
        Ok(asked.iter().copied().cycle().take(count).collect())
    }

    /// Some examples of the test split, of all classes in turn.
    ///
    /// # Errors
    ///
    /// Data that cannot be read.
    pub fn examples(self, source: &Source<'_>, device: &Device) -> Result<Examples> {
        /// Among how many the classes are looked for.
        const SEARCHED: usize = 2000;
        let data = self.load(source)?.test;
        let most = if self.is_a_cloud() {
            EXAMPLES_OF_A_CLOUD
        } else {
            EXAMPLES
        };
        let labels: Vec<Option<u16>> = (0..data.len().min(SEARCHED))
            .map(|index| data.label(index).and_then(|label| label.try_into().ok()))
            .collect();
        let chosen = one_of_each_class_first(&labels, most);
        if chosen.is_empty() {
            bail!(Usage("no example is held out".to_owned()));
        }
        let read = data.read(&chosen).map_err(anyhow::Error::from_boxed);
        let values = read.context("cannot read the examples")?;
        let sounds = match &data {
            Dataset::Sounds(recordings) => sounds::files(recordings, &chosen)?,
            Dataset::Images(_) | Dataset::Points(_) | Dataset::Table(_) => Vec::new(),
        };
        Ok(Examples {
            x: to_tensor(values, data.example_shape(), device),
            classes: chosen.iter().map(|&index| data.label(index)).collect(),
            sounds,
        })
    }

    /// How many of `examples` belong to the one of this index: of a cloud all of them.
    pub fn one_of(self, examples: &Tensor<4>, index: usize) -> Option<Tensor<4>> {
        if self.is_a_cloud() {
            return (index == 0).then(|| examples.clone());
        }
        (index < examples.dims()[0]).then(|| examples.clone().narrow(0, index, 1))
    }
}
