//! Images.

mod sample;

use std::path::Path;

use anyhow::{Context, Result};
use burn::tensor::{Device, Tensor};
use datasets::{
    Channels, FolderOptions, ImageDataset, Split, Splits, decode_image, has_sounds, load_array,
    load_folder, read_image,
};
use image::DynamicImage;

use self::sample::Pixels;
pub(super) use self::sample::{sample, write_each};
use super::data::has_extension;
use super::dissolving;
use super::forward::Forward;
use super::grids::{Cells, titled_grid};
use super::order::one_of_each_class_first;
use super::outputs::{Refused, Sections, Source};
use crate::drawing::captions::{Captions, captioned};
use crate::drawing::{grid, pictures};
use crate::network::NetworkConfig;
use crate::report;

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
    if sections.data.augment.speed > 0.0 {
        return Err((
            "data.augment.speed".to_owned(),
            "the data are images, and it is how fast sounds are played".to_owned(),
        ));
    }
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
pub(super) fn load(source: &Source<'_>) -> Result<Splits<ImageDataset>> {
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
        let advice = || {
            if path.is_dir() && has_sounds(path) {
                "there are sounds in it: a configuration with a table [data.sound] learns them, such as speech"
            } else {
                "it was read as a folder of images"
            }
        };
        load_folder(path, &options).with_context(advice)?
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

/// Images `[N, C, H, W]` as a grid below `title`, a row a class where every class has as many.
pub(super) fn picture(
    samples: Tensor<4>,
    num_classes: Option<usize>,
    class_names: &[String],
    title: &str,
) -> Result<DynamicImage> {
    let pictures = Pixels.draw(samples)?;
    titled_grid(&Pixels, &pictures, num_classes, class_names, title, 0)
}

/// Images `[N, C, H, W]` as they are.
pub(super) fn shown(images: Tensor<4>) -> Result<Vec<DynamicImage>> {
    Pixels.draw(images)
}

/// The picture file at `path`, with so many channels, cropped and resized to `size`, height and width: `[1, C, H,
/// W]`.
pub(super) fn read(
    path: &Path,
    channels: usize,
    size: [usize; 2],
    device: &Device,
) -> Result<Tensor<4>> {
    let image = read_image(path, colours(channels)?, Some(size))?;
    Ok(image.to_tensor(device).unsqueeze())
}

/// The bytes of a picture file, as [`read`] reads them; messages call it `name`.
pub(super) fn decode(
    bytes: Vec<u8>,
    name: &str,
    channels: usize,
    size: [usize; 2],
    device: &Device,
) -> Result<Tensor<4>> {
    let image = decode_image(bytes, Path::new(name), colours(channels)?, Some(size))?;
    Ok(image.to_tensor(device).unsqueeze())
}

/// The colours of image files of so many channels.
fn colours(channels: usize) -> Result<Channels> {
    Channels::of(channels).with_context(|| {
        format!("the network is for images of {channels} channels; image files have 1, 3 or 4")
    })
}

/// Writes images side by side, in rows of `columns`.
pub(super) fn write_edit(
    images: Tensor<4>,
    columns: usize,
    captions: &Captions,
    out: &Path,
) -> Result<()> {
    let picture = grid::grid(&pictures::from_tensor(images)?, columns)?;
    pictures::save(&captioned(&picture, captions, 0)?, out)?;
    report::wrote(out);
    Ok(())
}

/// Shows images `[B, C, H, W]` in [-1, 1] on their way to noise.
pub fn noise(forward: &Forward, x_0: Tensor<4>) -> Result<()> {
    dissolving::show(forward, x_0, &Pixels)
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
