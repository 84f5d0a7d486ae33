//! `trainer noise`: the forward process made visible, on images, sound and points.
//!
//! The same data is noised in both ways that the forward Markov chain knows (Ho et al. 2020,
//! equations 2 and 4): in closed form, by one noise however far, and step by step, by a fresh noise
//! in each. The pictures look alike, which is the point: that is why a training step may jump
//! straight to any t.
//!
//! ```text
//! runs/noise/
//!   closed-form.png, step-by-step.png   moments from x_0 to x_{T−1}, an image a row
//!   noising.gif                         the same in motion
//!   schedule.png                        √ᾱ, √(1 − ᾱ) and log-SNR
//!   table.csv                           t, ᾱ, SNR and the distance to pure noise; also printed
//! ```
//!
//! Points have `scatter-` or, in one dimension, `histogram-` before the names of the two strips.
//! Sound is noised in closed form, into `waveforms.png` and a file `x-t-0999.wav` for each moment.

mod points;
mod sound;
mod table;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use burn::tensor::{Device, Tensor};
use datasets::{Channels, read_folder, read_image, read_points, read_wav};
use image::DynamicImage;
use noising::Chain;
use rand_chacha::ChaCha8Rng;
use tracing::info;

use crate::Usage;
use crate::cli::NoiseArgs;
use crate::config::{self, RunConfig};
use crate::data;
use crate::device;
use crate::drawing::captions::{captioned, title_width};
use crate::drawing::plots;
use crate::drawing::{grid, pictures};
use crate::progress;
use training::streams::per_image_noise;
use training::{Purpose, Streams};

/// Images and points that are noised when no number is given.
const IMAGES: usize = 10;
const POINTS: usize = 2000;

/// The longest side that images are brought to when no size is given.
const COMFORTABLE_SIZE: usize = 128;

/// Frames of an animation besides that of x_0, and how long each is shown.
const FRAMES: usize = 40;
const FRAME_TIME: Duration = Duration::from_millis(100);

/// Values that the moments of one picture may have in all; they are held in memory.
const MAX_VALUES: usize = 1 << 27;

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
    let config = config::path_or_default(args.config.as_deref())?;
    let overrides: Vec<String> = NOT_OF_THE_CHAIN
        .iter()
        .map(|&text| text.to_owned())
        .chain(args.set.iter().cloned())
        .collect();
    let config = RunConfig::load(&config, &overrides)?;
    let forward = Forward::new(&config, args, device.device)?;
    match source {
        Source::Dataset if config.data.is_points() => {
            let points = data::load_cloud(&config)?.test;
            points::show(&forward, &points, args.count.unwrap_or(POINTS))
        }
        Source::Dataset => {
            let dataset = data::load_test_images(&config, args.data_dir.as_deref())?;
            let indices = one_of_each_class_first(dataset.labels(), args.count.unwrap_or(IMAGES));
            info!(
                "noising {} test images of {} on {}",
                indices.len(),
                config.data.name(),
                device.name
            );
            forward.show_images(dataset.batch(&indices, &forward.device)?)
        }
        Source::Images(path) => {
            let images = read_images(&path, args, &forward.device)?;
            let [count, _, height, width] = images.dims();
            info!(
                "noising {count} image(s) of {} at {width} × {height} pixels on {}",
                path.display(),
                device.name
            );
            forward.show_images(images)
        }
        Source::Sound(path) => sound::show(&forward, &read_wav(&path)?),
        Source::Points(path) => {
            points::show(&forward, &read_points(&path)?, args.count.unwrap_or(POINTS))
        }
    }
}

/// What is noised.
#[derive(Debug, PartialEq, Eq)]
enum Source {
    /// Images or points of the configuration's data set.
    Dataset,
    /// An image file or a folder of images.
    Images(PathBuf),
    /// A WAV file.
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
    if args.out.exists() && !args.out.is_dir() {
        bail!(Usage(format!(
            "{} is a file: choose a folder with --out",
            args.out.display()
        )));
    }
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
            "images and points",
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
            "there is no {}: expected an image file, a folder of images, a .wav file or a .csv of \
             points",
            path.display()
        )));
    }
    let extension = path.extension().unwrap_or_default().to_string_lossy();
    match extension.to_lowercase().as_str() {
        "wav" => Ok(Source::Sound(owned)),
        "csv" => Ok(Source::Points(owned)),
        "png" | "jpg" | "jpeg" | "webp" | "bmp" | "gif" => Ok(Source::Images(owned)),
        _ => bail!(Usage(format!(
            "cannot tell from its name what {} is: expected an image (.png, .jpg, .jpeg, .webp, \
             .bmp or .gif), a folder of images, a .wav file or a .csv of points",
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

/// The first image of each class in order, then the second of each, and so on: `count` indices, or
/// as many as there are.
pub(super) fn one_of_each_class_first(labels: &[Option<u16>], count: usize) -> Vec<usize> {
    let mut seen = HashMap::<Option<u16>, usize>::new();
    let mut order: Vec<(usize, Option<u16>, usize)> = labels
        .iter()
        .enumerate()
        .map(|(index, &label)| {
            let rank = seen.entry(label).or_default();
            *rank += 1;
            (*rank, label, index)
        })
        .collect();
    order.sort_unstable();
    order
        .into_iter()
        .map(|(_, _, index)| index)
        .take(count)
        .collect()
}

/// The forward process, what is to be seen of it, and where that goes.
#[derive(Debug)]
struct Forward {
    chain: Chain,
    streams: Streams,
    device: Device,
    /// The timesteps side by side in a strip, after x_0.
    columns: Vec<usize>,
    /// The timesteps of an animation, after x_0.
    frames: Vec<usize>,
    out: PathBuf,
}

/// The names of the two strips, and what their titles say besides the formula.
#[derive(Debug, Clone, Copy)]
struct Strips {
    closed_form: &'static str,
    step_by_step: &'static str,
    note: &'static str,
}

impl Forward {
    fn new(config: &RunConfig, args: &NoiseArgs, device: Device) -> Result<Self> {
        let chain = config.noise.chain()?;
        let num_train_timesteps = chain.num_train_timesteps();
        Ok(Self {
            streams: Streams::new(args.seed),
            device,
            columns: evenly_spread(num_train_timesteps, args.columns - 1),
            frames: evenly_spread(num_train_timesteps, FRAMES),
            out: args.out.clone(),
            chain,
        })
    }

    /// The random numbers of one example.
    fn rng(&self, index: usize) -> ChaCha8Rng {
        self.streams.at(Purpose::Forward, index as u64)
    }

    /// Shows images `[B, C, H, W]` in [-1, 1] on their way, a row each.
    fn show_images(&self, x_0: Tensor<4>) -> Result<()> {
        let [count, channels, height, width] = x_0.dims();
        let moments = 1 + self.columns.len().max(self.frames.len());
        if x_0.shape().num_elements().saturating_mul(moments) > MAX_VALUES {
            bail!(Usage(format!(
                "{count} images of {width} × {height} pixels at {moments} moments are too much to \
                 draw: choose a smaller --count or --size"
            )));
        }
        let shape = [channels, height, width];
        let mut rngs: Vec<ChaCha8Rng> = (0..count).map(|index| self.rng(index)).collect();
        let strips = Strips {
            closed_form: "closed-form.png",
            step_by_step: "step-by-step.png",
            note: "",
        };
        self.show(
            x_0,
            || per_image_noise(shape, &mut rngs, &self.device),
            pictures::from_tensor,
            |images| grid::grid(&pictures::from_tensor(images)?, frame_columns(count)),
            strips,
        )
    }

    /// Shows `x_0` on its way in both forms. `column` draws a state of it as the cells of a column
    /// from top to bottom, `frame` as a frame of an animation.
    fn show<const D: usize>(
        &self,
        x_0: Tensor<D>,
        mut noise: impl FnMut() -> Tensor<D>,
        column: impl Fn(Tensor<D>) -> Result<Vec<DynamicImage>>,
        frame: impl Fn(Tensor<D>) -> Result<DynamicImage>,
        strips: Strips,
    ) -> Result<()> {
        self.make_folder()?;
        let mean_square = mean_square(&values(x_0.clone())?);

        let one_noise = noise();
        let mut columns = vec![column(x_0.clone())?];
        for &t in &self.columns {
            columns.push(column(self.chain.q_sample(
                x_0.clone(),
                one_noise.clone(),
                &[t],
            ))?);
        }
        let note = strips.note;
        let title = format!("Closed form, one ε for all t: xₜ = √ᾱₜ x₀ + √(1 − ᾱₜ) ε{note}");
        self.save(&self.strip(&columns, &title)?, strips.closed_form)?;

        columns.truncate(1);
        let mut frames = vec![frame(x_0.clone())?];
        let bar = progress::bar(self.chain.num_train_timesteps(), "noising");
        for (t, x_t) in self.chain.trajectory(x_0, |_| noise()) {
            if self.columns.binary_search(&t).is_ok() {
                columns.push(column(x_t.clone())?);
            }
            if self.frames.binary_search(&t).is_ok() {
                frames.push(frame(x_t)?);
            }
            bar.inc(1);
        }
        bar.finish_and_clear();
        let title = format!("Step by step, a fresh ε each: xₜ = √(1 − βₜ) xₜ₋₁ + √βₜ ε{note}");
        self.save(&self.strip(&columns, &title)?, strips.step_by_step)?;
        self.save_animation(&frames)?;
        self.finish(mean_square)
    }

    /// Columns beside each other, x_0 first, each with its timestep above it.
    fn strip(&self, columns: &[Vec<DynamicImage>], title: &str) -> Result<DynamicImage> {
        let rows = columns.first().map_or(0, Vec::len);
        let cells: Vec<DynamicImage> = (0..rows)
            .flat_map(|row| columns.iter().map(move |column| column[row].clone()))
            .collect();
        let labels: Vec<String> = std::iter::once("x₀".to_owned())
            .chain(self.columns.iter().map(|t| format!("t = {t}")))
            .collect();
        captioned(&grid::grid(&cells, columns.len())?, title, &labels, 0)
    }

    /// Writes frames, x_0 first, each with its timestep above it.
    fn save_animation(&self, frames: &[DynamicImage]) -> Result<()> {
        let title = |t: usize| {
            let alpha_cumprod = self.chain.schedule().alphas_cumprod()[t];
            let (signal, noise) = (alpha_cumprod.sqrt(), (1.0 - alpha_cumprod).sqrt());
            format!("t = {t}: {signal:.2} x₀ + {noise:.2} ε")
        };
        let titles: Vec<String> = std::iter::once("x₀: the data".to_owned())
            .chain(self.frames.iter().copied().map(title))
            .collect();
        let width = titles
            .iter()
            .map(|title| title_width(title))
            .try_fold(0, |widest, width| width.map(|width| width.max(widest)))?;
        let frames: Vec<DynamicImage> = frames
            .iter()
            .zip(&titles)
            .map(|(frame, title)| captioned(frame, title, &[], width))
            .collect::<Result<_>>()?;
        let path = self.out.join("noising.gif");
        pictures::save_gif(&frames, FRAME_TIME, &path)?;
        println!("wrote {}", path.display());
        Ok(())
    }

    fn save(&self, picture: &DynamicImage, name: &str) -> Result<()> {
        let path = self.out.join(name);
        pictures::save_png(picture, &path)?;
        println!("wrote {}", path.display());
        Ok(())
    }

    /// Makes the folder before the work starts, so that a place that cannot be written shows at
    /// once.
    fn make_folder(&self) -> Result<()> {
        fs::create_dir_all(&self.out)
            .with_context(|| format!("cannot make the folder {}", self.out.display()))
    }

    /// What is the same for all data: the curves and the table of the schedule.
    fn finish(&self, x_0_mean_square: f64) -> Result<()> {
        let schedule = self.chain.schedule();
        let path = self.out.join("schedule.png");
        plots::schedule(schedule, &path)?;
        println!("wrote {}", path.display());
        let path = self.out.join("table.csv");
        let rows = table::rows(schedule, x_0_mean_square);
        table::save(&rows, &path)?;
        println!("wrote {}\n", path.display());
        print!("{}", table::aligned(&rows));
        Ok(())
    }
}

/// `count` of so many steps, evenly spread, in order, the last step among them; all of them where there
/// are no more.
pub(super) fn evenly_spread(steps: usize, count: usize) -> Vec<usize> {
    let count = count.min(steps);
    (1..=count).map(|i| i * steps / count - 1).collect()
}

/// Columns of a frame of `count` images: no more than a square would have twice over, and without
/// a gap at the end if that can be.
fn frame_columns(count: usize) -> usize {
    let side = count.isqrt() + usize::from(count.isqrt().pow(2) < count);
    (side..=2 * side)
        .find(|columns| count.is_multiple_of(*columns))
        .unwrap_or(side)
}

/// The values of a tensor, on the host.
fn values<const D: usize>(x: Tensor<D>) -> Result<Vec<f32>> {
    x.try_into_vec_as()
        .context("cannot read values back from the device")
}

fn mean_square(values: &[f32]) -> f64 {
    let sum: f64 = values.iter().map(|&value| f64::from(value).powi(2)).sum();
    sum / values.len() as f64
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn moments_are_evenly_spread_and_end_with_the_chain() {
        assert_eq!(evenly_spread(1000, 4), [249, 499, 749, 999]);
        assert_eq!(evenly_spread(3, 9), [0, 1, 2]);
        assert_eq!(evenly_spread(1, 9), [0]);
        for (num_train_timesteps, count) in [(1000, 9), (1000, 40), (41, 40), (1_000_000, 99)] {
            let moments = evenly_spread(num_train_timesteps, count);
            assert_eq!(moments.len(), count);
            assert_eq!(moments.last(), Some(&(num_train_timesteps - 1)));
            assert!(moments.is_sorted_by(|a, b| a < b));
        }
    }

    #[test]
    fn classes_come_in_turn() {
        let labels = [1, 1, 0, 2, 0, 1].map(Some);
        assert_eq!(one_of_each_class_first(&labels, 4), [2, 0, 3, 4]);
        assert_eq!(one_of_each_class_first(&labels, 9), [2, 0, 3, 4, 1, 5]);
        assert_eq!(one_of_each_class_first(&[None; 3], 2), [0, 1]);
    }

    #[test]
    fn frames_are_wide_rather_than_tall() {
        let columns = [1, 2, 4, 7, 10, 16, 20].map(frame_columns);
        assert_eq!(columns, [1, 2, 2, 3, 5, 4, 5]);
    }

    #[test]
    fn both_ways_end_in_standard_normal_noise() {
        const COUNT: usize = 40_000;
        let device = Device::flex();
        let chain = Chain::new(
            noising::NoiseSchedule::new(&noising::BetaSchedule::default(), 1000).unwrap(),
        );
        // Far from N(0, I): all values are 1.
        let x_0 = Tensor::<2>::ones([1, COUNT], &device);
        let mut rng = Streams::new(0).at(Purpose::Forward, 0);
        let mut noise = || training::streams::noise([1, COUNT], &mut rng, &device);
        let closed_form = chain.q_sample(x_0.clone(), noise(), &[999]);
        let (_, step_by_step) = chain.trajectory(x_0, |_| noise()).last().unwrap();
        for x in [closed_form, step_by_step] {
            let values = values(x).unwrap();
            let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / COUNT as f64;
            let deviation = (mean_square(&values) - mean * mean).sqrt();
            // √ᾱ leaves 0.006 of the mean; six standard errors are 0.03 and 0.02.
            assert!((mean - 0.00635).abs() < 0.03, "mean {mean}");
            assert!((deviation - 1.0).abs() < 0.022, "deviation {deviation}");
        }
    }
}
