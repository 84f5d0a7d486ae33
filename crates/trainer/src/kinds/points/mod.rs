//! Points: numbers that belong together, a row of a table each.

mod noise;
mod sample;

use std::path::Path;

use anyhow::{Context, Result};
use burn::tensor::Tensor;
use datasets::{Points, Splits, load_points};
use denoising::X0Clipping;
use image::DynamicImage;
use training::{Data as _, Purpose, Streams};

pub use self::noise::show as noise;
pub(super) use self::sample::sample;
use super::data::{Dataset, has_extension};
use super::forward::values as values_of;
use super::outputs::{Fitted, Refused, Sections, Source};
use crate::drawing::captions::{Captions, captioned};
use crate::drawing::scatter::{LARGE, axis_limit, panel};
use crate::network::NetworkConfig;

/// Points that are sampled when no number is given.
pub(super) const COUNT: usize = 2000;

/// Whether a path is named as a CSV of points is.
pub fn is_csv(path: &Path) -> bool {
    has_extension(path, &["csv"])
}

/// What makes no sense for points.
pub(super) fn check(sections: &Sections<'_>) -> Result<(), Refused> {
    let for_images_alone = [
        (
            "data.flip",
            sections.data.flip,
            "there is nothing to mirror",
        ),
        (
            "data.augment.speed",
            sections.data.augment.speed > 0.0,
            "it is how fast sounds are played",
        ),
        (
            "conditioning.class_labels",
            sections.conditioning.class_labels,
            "they have no classes",
        ),
        (
            "evaluation.every",
            sections.is_scored,
            "scores are of images",
        ),
        (
            "objective.offset_noise",
            sections.objective.offset_noise > 0.0,
            "a coordinate has one value, and all noise is its own",
        ),
        (
            "sampling.clipping",
            sections.clipping != X0Clipping::None,
            "they are not confined to [-1, 1] as images are, so clipping.kind must be \"none\"",
        ),
    ];
    for (key, given, why) in for_images_alone {
        if given {
            return Err((key.to_owned(), format!("the data are points: {why}")));
        }
    }
    let normalisation = sections.found.normalisation.as_ref();
    let NetworkConfig::Mlp(network) = sections.network else {
        return Err((
            "network.kind".to_owned(),
            "it is \"unet\", which is for images, and the data are points: expected \"mlp\""
                .to_owned(),
        ));
    };
    let dimensions = network.dimensions();
    if normalisation.is_some_and(|n| [n.offset.len(), n.columns.len()] != [dimensions; 2]) {
        return Err((
            "found.normalisation".to_owned(),
            format!("expected columns and offset for {dimensions} coordinates"),
        ));
    }
    Ok(())
}

/// Both splits of points.
pub(super) fn load(source: &Source<'_>) -> Result<Splits<Points>> {
    let data = source.data;
    if let Some(cloud) = data.cloud {
        return Ok(cloud.draw(&mut Streams::new(source.seed).at(Purpose::Cloud, 0)));
    }
    let path = data
        .path
        .as_deref()
        .context("the configuration names no data")?;
    let splits = load_points(path)?;
    let fingerprint = splits.fingerprint.as_deref();
    source.found.check_fingerprint(fingerprint, data)?;
    Ok(splits)
}

/// A network for points gets as many inputs as they have coordinates.
pub(super) fn fit(fitted: Fitted<'_>, dataset: &Dataset) -> Result<(), Refused> {
    let Fitted { network, name, .. } = fitted;
    let NetworkConfig::Mlp(mlp) = network else {
        return Err(("network.kind".to_owned(), "the data are points".to_owned()));
    };
    let [dimensions, ..] = dataset.example_shape();
    if mlp.dimensions.is_some_and(|given| given != dimensions) {
        return Err((
            "network.dimensions".to_owned(),
            format!("the points of {name} have {dimensions} coordinates: leave it out"),
        ));
    }
    mlp.dimensions = Some(dimensions);
    Ok(())
}

/// Points `[N, D, 1, 1]` as a scatter or a histogram, on axes that hold noise as well.
pub(super) fn shown(points: Tensor<4>) -> Result<DynamicImage> {
    let [_, dimensions, ..] = points.dims();
    let points = values_of(points)?;
    panel(&points, dimensions, axis_limit(&[]), LARGE)
}

/// Points `[N, D, 1, 1]` as a scatter or a histogram below `title`.
pub(super) fn picture(samples: Tensor<4>, title: &str) -> Result<DynamicImage> {
    let [_, dimensions, ..] = samples.dims();
    let samples = values_of(samples)?;
    let picture = panel(&samples, dimensions, axis_limit(&samples), LARGE)?;
    captioned(&picture, &Captions::title(title), 0)
}
