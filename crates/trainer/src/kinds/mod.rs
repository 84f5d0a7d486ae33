//! The kinds of data: one room each, which loads them, brings them to tensors and back, draws and writes
//! them, and knows which settings fit them. Nobody else asks which kind of data it is.

mod data;
mod forward;
mod images;
mod outputs;
mod points;
mod sounds;
mod table;

use std::fmt;

use anyhow::Result;
use burn::tensor::Tensor;
use datasets::Splits;
use image::DynamicImage;

pub use self::data::{DataConfig, Dataset, Found, found};
pub use self::forward::Forward;
pub use self::images::{
    class_name, is_array, load as load_images, noise as noise_images, one_of_each_class_first,
};
pub use self::outputs::{Fitted, Outputs, Refused, Sections, Source};
pub use self::points::{is_csv, noise as noise_points};
pub use self::sounds::show as noise_sound;
use crate::error::Usage;
use crate::sampling::{Model, Request};

/// A kind of data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Images, with values in [-1, 1].
    Images,
    /// Points, normalised; to the network each is an image of one pixel and a channel a coordinate.
    Points,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Images => "images",
            Self::Points => "points",
        })
    }
}

impl DataConfig {
    /// Which kind of data is named.
    pub fn kind(&self) -> Kind {
        if self.cloud.is_some() || self.path.as_deref().is_some_and(is_csv) {
            Kind::Points
        } else {
            Kind::Images
        }
    }
}

impl Kind {
    /// Whether the network is a multilayer perceptron, not a U-Net.
    pub fn uses_mlp(self) -> bool {
        self == Self::Points
    }

    /// How many samples are drawn when no number is given and there are no classes.
    pub fn default_count(self) -> usize {
        match self {
            Self::Images => images::COUNT,
            Self::Points => points::COUNT,
        }
    }

    /// How many of `count` samples go through the network at once, where `asked` were asked for.
    pub fn batch_size(self, asked: usize, count: usize) -> usize {
        match self {
            Self::Images => asked,
            // They are small: all go at once.
            Self::Points => count,
        }
    }

    /// Refuses other data than images for a command that is for images alone; `what` says whose they are, as in
    /// "the run draws".
    ///
    /// # Errors
    ///
    /// Other kinds of data.
    pub fn must_be_images(self, what: impl fmt::Display) -> Result<(), Usage> {
        match self {
            Self::Images => Ok(()),
            Self::Points => Err(Usage(format!("{what} {self}, and this is for images"))),
        }
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
        })
    }

    /// Fits the network to the data where its sizes follow from them.
    ///
    /// # Errors
    ///
    /// The key of what does not fit, and what was expected.
    pub fn fit(self, fitted: Fitted<'_>, splits: &Splits<Dataset>) -> Result<(), Refused> {
        match self {
            Self::Images => images::fit(fitted, splits),
            Self::Points => points::fit(fitted, &splits.train),
        }
    }

    /// Samples `[N, C, H, W]` as one picture below `title`; where there are classes, `num_classes` of them, a
    /// row a class.
    pub fn picture(
        self,
        samples: Tensor<4>,
        num_classes: Option<usize>,
        class_names: &[String],
        title: &str,
    ) -> Result<DynamicImage> {
        match self {
            Self::Images => images::picture(samples, num_classes, class_names, title),
            Self::Points => points::picture(samples, title),
        }
    }

    /// Samples as `request` says and writes what was asked for. Returns the samples, `[N, C, H, W]`.
    pub fn sample(
        self,
        model: &Model,
        request: &Request,
        outputs: &Outputs<'_>,
    ) -> Result<Tensor<4>> {
        match self {
            Self::Images => images::sample(model, request, outputs),
            Self::Points => points::sample(model, request, outputs),
        }
    }

    /// Shows `count` examples of the test split on their way to noise.
    pub fn noise(self, source: &Source<'_>, forward: &Forward, count: Option<usize>) -> Result<()> {
        match self {
            Self::Images => images::noise_examples(source, forward, count),
            Self::Points => points::noise(forward, &points::load(source)?.test, count),
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
