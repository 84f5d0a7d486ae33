//! Samples and examples as a browser shows them, and few enough of them; pictures and masks as it sends them.

use std::path::Path;

use anyhow::{Context, Result, bail};
use burn::tensor::{Device, Tensor, TensorData};
use image::DynamicImage;
use training::{Data as _, to_tensor};

use super::order::one_of_each_class_first;
use super::outputs::Source;
use super::tables::ShownRows;
use super::{Kind, images, points, sounds, tables};
use crate::error::Usage;
use crate::sampling::Model;

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

/// Samples on their way from noise, as they can be shown at once.
#[derive(Debug)]
pub enum OnTheWay {
    /// A picture each, or one of all.
    Pictures(Vec<DynamicImage>),
    /// The first rows, as they are predicted to become.
    Rows(Vec<Vec<String>>),
}

/// The rows that are shown of a table on its way.
const ROWS_ON_THE_WAY: usize = 12;

/// The examples of which there is one picture each, and of which there is one of all.
const EXAMPLES: usize = 20;
const EXAMPLES_OF_A_CLOUD: usize = 1000;

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
    ) -> Result<OnTheWay> {
        if self != Self::Tables {
            return self.glimpse(x_t).map(OnTheWay::Pictures);
        }
        let count = classes.len().min(ROWS_ON_THE_WAY);
        let first = predicted_x_0.clone().narrow(0, 0, count);
        let rows = tables::shown(source, first, &classes[..count])?;
        Ok(OnTheWay::Rows(rows.rows))
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

    /// Samples `[N, C, H, W]` of these classes.
    ///
    /// # Errors
    ///
    /// Samples that cannot be read back, and a run that was changed by hand.
    pub fn shown(
        self,
        source: &Source<'_>,
        samples: Tensor<4>,
        classes: &[Option<usize>],
    ) -> Result<Shown> {
        Ok(match self {
            Self::Images => Shown::Pictures(images::shown(samples)?),
            Self::Points => Shown::Cloud(points::shown(samples)?),
            Self::Sounds => Shown::Sounds(sounds::shown(source, samples)?),
            Self::Tables => Shown::Rows(tables::shown(source, samples, classes)?),
        })
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

    /// Writes samples `[N, C, H, W]` of these classes into `folder`, as `sample --each` does: a picture each, and
    /// `labels.csv`.
    ///
    /// # Errors
    ///
    /// Kinds whose samples are no pictures, and a folder that cannot be written.
    pub fn write_each(
        self,
        source: &Source<'_>,
        samples: Tensor<4>,
        classes: &[Option<usize>],
        folder: &Path,
    ) -> Result<()> {
        self.must_be_one_of(Self::of_pixels(), "the run draws")?;
        images::write_each(samples, classes, &source.found.class_names, folder)
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

    /// Some examples of the test split, `[N, C, H, W]`, of all classes in turn, and their classes.
    ///
    /// # Errors
    ///
    /// Rows, which are not shown as pictures, and data that cannot be read.
    pub fn examples(
        self,
        source: &Source<'_>,
        device: &Device,
    ) -> Result<(Tensor<4>, Vec<Option<usize>>)> {
        /// Among how many the classes are looked for.
        const SEARCHED: usize = 2000;
        if self == Self::Tables {
            bail!(Usage(format!("{self} are not shown as pictures")));
        }
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
        let read = data.read(&chosen).map_err(anyhow::Error::from_boxed);
        let values = read.context("cannot read the examples")?;
        let classes = chosen.iter().map(|&index| data.label(index)).collect();
        let examples = to_tensor(values, data.example_shape(), device);
        Ok((examples, classes))
    }

    /// How many of `examples` belong to the one of this index: of a cloud all of them.
    pub fn one_of(self, examples: &Tensor<4>, index: usize) -> Option<Tensor<4>> {
        if self.is_a_cloud() {
            return (index == 0).then(|| examples.clone());
        }
        (index < examples.dims()[0]).then(|| examples.clone().narrow(0, index, 1))
    }
}
