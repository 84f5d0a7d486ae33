//! Images.

mod noise;
mod sample;

use std::path::Path;

use anyhow::{Context, Result};
use burn::tensor::Tensor;
use datasets::{Channels, FolderOptions, ImageDataset, Split, Splits, load_array, load_folder};
use image::DynamicImage;
use training::Data as _;
use unet::SampleSize;

pub use self::noise::{one_of_each_class_first, show as noise};
pub(super) use self::sample::sample;
use super::data::{Dataset, has_extension};
use super::forward::Forward;
use super::outputs::{Fitted, Refused, Sections, Source};
use crate::drawing::captions::{Captions, captioned};
use crate::drawing::{grid, pictures};
use crate::network::NetworkConfig;

/// Images that are sampled when no number is given and there are no classes.
pub(super) const COUNT: usize = 64;

/// Images of a data set that are noised when no number is given.
const NOISED: usize = 10;

/// Whether a path is named as a NumPy array is.
pub fn is_array(path: &Path) -> bool {
    has_extension(path, &["npy", "npz"])
}

/// What makes no sense for images.
pub(super) fn check(sections: &Sections<'_>) -> Result<(), Refused> {
    let NetworkConfig::UNet(network) = sections.network else {
        return Err((
            "network.kind".to_owned(),
            "it is \"mlp\", which is for points, and the data are images: expected \"unet\""
                .to_owned(),
        ));
    };
    let channels = network.in_channels;
    if sections.data.path.is_some() && Channels::of(channels).is_none() {
        return Err((
            "network.in_channels".to_owned(),
            format!("it is {channels}, but images have 1 channel (grey), 3 (RGB) or 4 (RGBA)"),
        ));
    }
    Ok(())
}

/// Both splits of images. Published data sets are looked for as [`datasets::find`] says; a path is taken as
/// it stands.
///
/// # Errors
///
/// What is wrong with the files, and data at a path that are not those that were found before.
pub fn load(source: &Source<'_>) -> Result<Splits<ImageDataset>> {
    let Source {
        data,
        found,
        network,
        data_dir,
        ..
    } = *source;
    if let Some(name) = data.dataset {
        let dir = datasets::find(name, data_dir)?;
        return Ok(Splits {
            train: ImageDataset::load(name, Split::Train, &dir)?,
            test: ImageDataset::load(name, Split::Test, &dir)?,
            fingerprint: None,
        });
    }
    let path = data
        .path
        .as_deref()
        .context("the configuration names no data")?;
    let cache_bytes = data.cache_mib.saturating_mul(1 << 20);
    let splits = if is_array(path) {
        load_array(path, cache_bytes)?
    } else {
        let [channels, height, width] = network.example_shape();
        let options = FolderOptions {
            // The configuration was checked for it.
            channels: Channels::of(channels).unwrap_or(Channels::Rgb),
            size: [height, width],
            background: data.background,
            skip_bad: data.skip_bad,
            cache_bytes,
        };
        load_folder(path, &options)?
    };
    found.check_fingerprint(splits.fingerprint.as_deref(), data)?;
    Ok(splits)
}

/// The held-out images alone.
fn load_test(source: &Source<'_>) -> Result<ImageDataset> {
    match source.data.dataset {
        Some(name) => {
            let dir = datasets::find(name, source.data_dir)?;
            Ok(ImageDataset::load(name, Split::Test, &dir)?)
        }
        None => load(source).map(|splits| splits.test),
    }
}

/// A network for images gets an embedding for each class and, where it has a null label, one more.
pub(super) fn fit(fitted: Fitted<'_>, splits: &Splits<Dataset>) -> Result<(), Refused> {
    let dataset = &splits.train;
    let Fitted {
        network,
        conditioning,
        name,
    } = fitted;
    let refused = |key: &str, message: String| Err((key.to_owned(), message));
    let NetworkConfig::UNet(network) = network else {
        return refused("network.kind", "the data are images".to_owned());
    };
    let [channels, height, width] = dataset.example_shape();
    let num_classes = dataset.num_classes();
    if conditioning.class_labels && num_classes == 0 {
        return refused(
            "conditioning.class_labels",
            format!(
                "the images of {name} have no classes: set it to false, or sort the images into a \
                 folder for each class, or put labels into the .npz file"
            ),
        );
    }
    let has_null_label = conditioning.null_label;
    if conditioning.class_labels && !has_null_label {
        for (split, images) in [("training", dataset), ("held-out", &splits.test)] {
            let unlabelled = (0..images.len()).find(|&index| images.label(index).is_none());
            if let Some(index) = unlabelled {
                return refused(
                    "conditioning.null_label",
                    format!(
                        "it is false, but {split} image {index} of {name} has no class: give it one, or set \
                         it to true"
                    ),
                );
            }
        }
    }
    let embeds = num_classes + usize::from(has_null_label);
    let embeds = conditioning.class_labels.then_some(embeds);
    if network.num_class_embeds.is_some() && network.num_class_embeds != embeds {
        return refused(
            "network.num_class_embeds",
            "it follows from conditioning.class_labels and the data set: leave it out".to_owned(),
        );
    }
    network.num_class_embeds = embeds;
    for (key, found, expected) in [
        ("network.in_channels", network.in_channels, channels),
        ("network.out_channels", network.out_channels, channels),
    ] {
        if found != expected {
            return refused(
                key,
                format!("it is {found}, but the images of {name} need {expected}"),
            );
        }
    }
    let needed = SampleSize { height, width };
    if network.sample_size != needed {
        return refused(
            "network.sample_size",
            format!(
                "it is {}, but the images of {name} need {needed}",
                network.sample_size
            ),
        );
    }
    Ok(())
}

/// Images `[N, C, H, W]` as a grid below `title`, a row a class where every class has as many.
pub(super) fn picture(
    samples: Tensor<4>,
    num_classes: Option<usize>,
    class_names: &[String],
    title: &str,
) -> Result<DynamicImage> {
    titled_grid(
        &pictures::from_tensor(samples)?,
        num_classes,
        class_names,
        title,
        0,
    )
}

/// A grid of images below `title`, at least `min_width` pixels wide: a row a class, with its name, where every
/// class has as many.
fn titled_grid(
    images: &[DynamicImage],
    num_classes: Option<usize>,
    class_names: &[String],
    title: &str,
    min_width: u32,
) -> Result<DynamicImage> {
    let columns = grid::columns(images.len(), num_classes);
    let rows = num_classes
        .filter(|classes| images.len() == classes * columns)
        .map_or_else(Vec::new, |classes| {
            (0..classes)
                .map(|class| class_name(class, class_names))
                .collect()
        });
    captioned(
        &grid::grid(images, columns)?,
        &Captions::title(title).rows(rows),
        min_width,
    )
}

/// What a class is called in pictures: its name or, where it has none, its number.
pub fn class_name(class: usize, names: &[String]) -> String {
    names
        .get(class)
        .cloned()
        .unwrap_or_else(|| class.to_string())
}

/// Shows test images on their way to noise.
pub(super) fn noise_examples(
    source: &Source<'_>,
    forward: &Forward,
    count: Option<usize>,
) -> Result<()> {
    let dataset = load_test(source)?;
    let indices = one_of_each_class_first(dataset.labels(), count.unwrap_or(NOISED));
    noise(forward, dataset.batch(&indices, &forward.device)?)
}
