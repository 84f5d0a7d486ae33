//! `trainer noise`: the forward process made visible, on images, sound and points.
//!
//! The same data is noised in both ways that the forward Markov chain knows (Ho et al. 2020,
//! equations 2 and 4): in closed form, by one noise however far, and step by step, by a fresh noise
//! in each. The pictures look alike, which is the point: that is why a training step may jump
//! straight to any t.
//!
//! ```text
//! runs/noise/
//!   closed-form.png, step-by-step.png   timesteps from x_0 to x_{T−1}, an image a row
//!   noising.gif                         the same in motion
//!   schedule.png                        √ᾱ, √(1 − ᾱ) and log-SNR
//!   table.csv                           t, ᾱ, SNR and the distance to pure noise; also printed
//! ```
//!
//! Points have `scatter-` or, in one dimension, `histogram-` before the names of the two strips.
//! A file of sound is noised in closed form, into `waveforms.png` and a file `x-t-0999.wav` for each timestep, and
//! as networks learn it, into `spectrograms.png`.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use burn::tensor::{Device, Tensor};
use datasets::{Channels, read_folder, read_image, read_points, read_sound};
use tracing::info;

use crate::cli::NoiseArgs;
use crate::config::NamedConfig;
use crate::destination;
use crate::device;
use crate::error::Usage;
use crate::kinds::{self, Forward};

/// Images that are noised when no number is given.
const IMAGES: usize = 10;

/// The longest side that images are brought to when no size is given.
const COMFORTABLE_SIZE: usize = 128;

/// The largest number that the command line may ask for.
const MAX_COLUMNS: usize = 100;
const MAX_SIZE: usize = 2048;
const MAX_COUNT: usize = 100_000;

/// Keys that say nothing about the chain, set so that they fit every chain.
const NOT_OF_THE_CHAIN: [&str; 2] = [
    "sampling.num_inference_steps=1",
    "objective.prediction_type=v-prediction",
];

/// Noises what was asked for and writes what there is to see.
pub fn run(args: &NoiseArgs) -> Result<()> {
    let device = device::select(args.device.device.as_deref())?;
    let source = source(args)?;
    let named = match &args.config {
        Some(config) => NamedConfig::find(Some(config))?,
        None => NamedConfig::for_data(&args.set),
    };
    let overrides: Vec<String> = NOT_OF_THE_CHAIN
        .iter()
        .map(|&text| text.to_owned())
        .chain(args.set.iter().cloned())
        .collect();
    let config = named.load(&overrides)?;
    let chain = config.noise.chain()?;
    let forward = Forward::new(
        chain,
        args.columns,
        args.seed,
        &args.out,
        device.device.clone(),
    );
    match source {
        Source::Dataset => {
            let source = config.source(args.data_dir.as_deref());
            info!("noising {} on {}", config.data.name(), device.name);
            config.data.kind().noise(&source, &forward, args.count)
        }
        Source::Images(path) => {
            let images = read_images(&path, args, &device.device)?;
            let [count, _, height, width] = images.dims();
            info!(
                "noising {count} image(s) of {} at {width} × {height} pixels on {}",
                path.display(),
                device.name
            );
            kinds::noise_images(&forward, images)
        }
        Source::Sound(path) => kinds::noise_sound(&forward, &read_sound(&path)?),
        Source::Points(path) => kinds::noise_points(&forward, &read_points(&path)?, args.count),
    }
}

/// What is noised.
#[derive(Debug, PartialEq, Eq)]
enum Source {
    /// Examples of the configuration's data set.
    Dataset,
    /// An image file or a folder of images.
    Images(PathBuf),
    /// A file of sound.
    Sound(PathBuf),
    /// A CSV file of points.
    Points(PathBuf),
}

/// What the command line asks to be noised; refuses options that it cannot have.
fn source(args: &NoiseArgs) -> Result<Source> {
    for (option, value, least, most) in [
        ("--columns", Some(args.columns), 2, MAX_COLUMNS),
        ("--count", args.count, 1, MAX_COUNT),
        ("--size", args.size, 1, MAX_SIZE),
    ] {
        if let Some(value) = value.filter(|value| !(least..=most).contains(value)) {
            bail!(Usage(format!(
                "{option} must be {least} to {most}, not {value}"
            )));
        }
    }
    destination::check_folder("--out", &args.out)?;
    let source = match &args.input {
        None => Source::Dataset,
        Some(path) => source_of_path(path)?,
    };
    let is_image_file = matches!(source, Source::Images(_));
    let is_sound = matches!(source, Source::Sound(_));
    for (option, given, fits, of) in [
        ("--size", args.size.is_some(), is_image_file, "image files"),
        ("--grey", args.grey, is_image_file, "image files"),
        (
            "--count",
            args.count.is_some(),
            !is_sound,
            "images, points and data sets of sounds",
        ),
    ] {
        if given && !fits {
            bail!(Usage(format!("{option} is for {of}: leave it out here")));
        }
    }
    Ok(source)
}

fn source_of_path(path: &Path) -> Result<Source> {
    let owned = path.to_owned();
    if path.is_dir() {
        return Ok(Source::Images(owned));
    }
    if !path.exists() {
        bail!(Usage(format!(
            "there is no {}: expected an image file, a folder of images, a file of sound or a .csv of \
             points",
            path.display()
        )));
    }
    let extension = path.extension().unwrap_or_default().to_string_lossy();
    match extension.to_lowercase().as_str() {
        "wav" | "flac" | "mp3" | "ogg" | "oga" => Ok(Source::Sound(owned)),
        "csv" => Ok(Source::Points(owned)),
        "png" | "jpg" | "jpeg" | "webp" | "bmp" | "gif" => Ok(Source::Images(owned)),
        _ => bail!(Usage(format!(
            "cannot tell from its name what {} is: expected an image (.png, .jpg, .jpeg, .webp, \
             .bmp or .gif), a folder of images, a sound (.wav, .flac, .mp3, .ogg) or a .csv of points",
            path.display()
        ))),
    }
}

/// Reads an image file, or the first of a folder, cut and resized to one size: `[B, C, H, W]`.
fn read_images(path: &Path, args: &NoiseArgs, device: &Device) -> Result<Tensor<4>> {
    let channels = if args.grey {
        Channels::Grey
    } else {
        Channels::Rgb
    };
    let read = |size: Option<usize>, count: usize| {
        let size = size.map(|size| [size; 2]);
        if path.is_dir() {
            read_folder(path, channels, size, Some(count))
        } else {
            read_image(path, channels, size).map(|image| vec![image])
        }
    };
    let size = match args.size {
        Some(size) => size,
        None => {
            let first = read(None, 1)?;
            first
                .iter()
                .map(|image| image.height().min(image.width()))
                .fold(COMFORTABLE_SIZE, usize::min)
        }
    };
    let images = read(Some(size), args.count.unwrap_or(IMAGES))?;
    let images = images
        .iter()
        .map(|image| image.to_tensor(device).unsqueeze())
        .collect();
    Ok(Tensor::cat(images, 0))
}
