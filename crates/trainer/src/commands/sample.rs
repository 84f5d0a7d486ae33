//! `trainer sample`: images or points from a trained network, by iterative denoising.

mod points;

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use burn::tensor::Tensor;
use image::DynamicImage;
use tracing::info;

use crate::Usage;
use crate::class_names::parse_classes;
use crate::cli::SampleArgs;
use crate::commands::noise::evenly_spread;
use crate::commands::opened::{at_least, open};
use crate::drawing::{grid, pictures};
use crate::progress;
use crate::run::atomic_file;
use crate::sampling::{Model, Request, every_class};
use crate::tensor_file;

/// Images of each class in a grid when no number is given, and images where there are no classes.
const COUNT_PER_CLASS: usize = 10;
const COUNT: usize = 64;
/// Points when no number is given.
const COUNT_OF_POINTS: usize = 2000;

/// Names in files of tensors.
const NOISE: &str = "noise";
const IMAGES: &str = "images";

/// Frames of an animation, and how long each is shown.
const MAX_FRAMES: usize = 40;
const FRAME_TIME: Duration = Duration::from_millis(80);

/// Images and moments of a trajectory strip.
const TRAJECTORY_IMAGES: usize = 4;
const TRAJECTORY_MOMENTS: usize = 10;

/// Draws the images and writes what was asked for.
pub fn run(args: &SampleArgs) -> Result<()> {
    let opened = open(&args.model)?;
    let (model, checkpoint) = (&opened.model, &opened.checkpoint);
    let is_points = checkpoint.config().data.is_points();
    let noise = args
        .noise
        .as_deref()
        .map(|path| tensor_file::read(path, NOISE, &model.device))
        .transpose()?;
    let names = &checkpoint.config().found.class_names;
    let classes = classes(args, noise.as_ref(), model.null_label, names, is_points)?;
    if let Some(noise) = &noise {
        check_noise(noise, classes.len(), model.network.example_shape())?;
    }
    let request = Request {
        // Points are small: all go at once.
        batch_size: if is_points {
            classes.len()
        } else {
            args.model.batch_size
        },
        classes,
        sampling: opened.sampling.clone(),
        seed: args.model.seed,
        initial_noise: noise,
        edit: None,
    };
    let count = request.classes.len();
    info!(
        "{} at step {}: {count} {} by {} in {} steps on {}",
        checkpoint.folder().display(),
        checkpoint.counters().step,
        if is_points { "points" } else { "images" },
        request.sampling.sampler,
        request.sampling.num_inference_steps,
        opened.device_name
    );
    let out = match &args.out {
        Some(out) => out.clone(),
        None => args.model.run.join("samples.png"),
    };
    let drawn = if is_points {
        points::draw(&opened, args, &request, &out)?
    } else {
        draw_images(model, args, &request, names, &out)?
    };
    if let Some(path) = &args.tensors {
        let noise = match request.initial_noise {
            Some(noise) => noise.narrow(0, 0, count),
            None => model.initial_noise(request.seed, count),
        };
        tensor_file::write(path, &[(NOISE, noise), (IMAGES, drawn)])?;
        println!("wrote {}", path.display());
    }
    Ok(())
}

/// Draws images and writes pictures of them. Returns the images, `[N, C, H, W]`.
fn draw_images(
    model: &Model,
    args: &SampleArgs,
    request: &Request,
    names: &[String],
    out: &Path,
) -> Result<Tensor<4>> {
    let count = request.classes.len();
    let steps = request.sampling.num_inference_steps;
    let bar = progress::bar(count.div_ceil(request.batch_size) * steps, "denoising");
    let mut motion = Recording::new(args.gif.is_some(), steps, MAX_FRAMES, count);
    let strip_moments = Recording::new(
        args.trajectory.is_some(),
        steps,
        TRAJECTORY_MOMENTS,
        TRAJECTORY_IMAGES.min(count),
    );
    let (mut strip_x, mut strip_x_0) = (strip_moments.clone(), strip_moments);
    let drawn = model.sample(request, |first, state| {
        bar.inc(1);
        motion.record(first, state.index, &state.x)?;
        strip_x.record(first, state.index, &state.x)?;
        strip_x_0.record(first, state.index, &state.predicted_x_0)
    })?;
    bar.finish_and_clear();

    let images = pictures::from_tensor(drawn.clone())?;
    let columns = grid::columns(count, model.null_label.filter(|_| args.class.is_none()));
    pictures::save_png(&grid::grid(&images, columns)?, out)?;
    println!("wrote {}", out.display());
    if let Some(folder) = &args.each {
        write_each(&images, &request.classes, names, folder)?;
        println!(
            "wrote {count} images and labels.csv into {}",
            folder.display()
        );
    }
    if let Some(path) = &args.gif {
        let frames: Vec<DynamicImage> = motion
            .frames
            .iter()
            .map(|frame| grid::grid(frame, columns))
            .collect::<Result<_>>()?;
        pictures::save_gif(&frames, FRAME_TIME, path)?;
        println!("wrote {}", path.display());
    }
    if let Some(path) = &args.trajectory {
        pictures::save_png(&trajectory(&strip_x.frames, &strip_x_0.frames)?, path)?;
        println!("wrote {}", path.display());
    }
    Ok(drawn)
}

/// Checks that there is noise for `count` examples of this shape.
fn check_noise(noise: &Tensor<4>, count: usize, expected: [usize; 3]) -> Result<()> {
    let [given, shape @ ..] = noise.dims();
    if given < count || shape != expected {
        let [channels, height, width] = expected;
        bail!(Usage(format!(
            "--noise: tensor `{NOISE}` has shape {:?}, expected [{count} or more, {channels}, {height}, \
             {width}]",
            noise.dims()
        )));
    }
    Ok(())
}

/// The class of each image; none of a point.
fn classes(
    args: &SampleArgs,
    noise: Option<&Tensor<4>>,
    null_label: Option<usize>,
    names: &[String],
    is_points: bool,
) -> Result<Vec<Option<usize>>> {
    let asked = args
        .class
        .as_deref()
        .map(|text| parse_classes(text, null_label, names))
        .transpose()?;
    let count = args.count.or(noise.map(|noise| noise.dims()[0]));
    let count = count.unwrap_or(match (&asked, null_label) {
        (Some(asked), Some(_)) => COUNT_PER_CLASS * asked.len(),
        (None, Some(classes)) => COUNT_PER_CLASS * classes,
        (_, None) if is_points => COUNT_OF_POINTS,
        (_, None) => COUNT,
    });
    at_least(&[("--count", count, 1)])?;
    Ok(match asked {
        Some(asked) => asked.iter().copied().cycle().take(count).collect(),
        None => every_class(count, null_label),
    })
}

/// Each image by itself, and `labels.csv` with its class by number and by name.
fn write_each(
    images: &[DynamicImage],
    classes: &[Option<usize>],
    names: &[String],
    folder: &Path,
) -> Result<()> {
    let mut labels = "file,class,name\n".to_owned();
    for (index, (image, class)) in images.iter().zip(classes).enumerate() {
        let file = format!("{index:06}.png");
        pictures::save_png(image, &folder.join(&file))?;
        let name = class.and_then(|class| names.get(class));
        let name = name.map(quoted_where_needed).unwrap_or_default();
        let class = class.map(|class| class.to_string()).unwrap_or_default();
        writeln!(labels, "{file},{class},{name}").context("cannot write a label")?;
    }
    let path = folder.join("labels.csv");
    atomic_file::write(&path, labels.as_bytes())
        .with_context(|| format!("cannot write {}", path.display()))
}

/// A name as a field of a CSV file.
fn quoted_where_needed(name: &String) -> String {
    if name.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", name.replace('"', "\"\""))
    } else {
        name.clone()
    }
}

/// The first images of a request at some moments of their denoising, gathered from all batches.
#[derive(Debug, Clone)]
struct Recording {
    /// The steps that are recorded, in order; the last step is always among them.
    moments: Vec<usize>,
    /// How many images are recorded.
    count: usize,
    /// The images at each moment.
    frames: Vec<Vec<DynamicImage>>,
}

impl Recording {
    fn new(wanted: bool, steps: usize, max_moments: usize, count: usize) -> Self {
        let moments = if wanted {
            evenly_spread(steps, max_moments)
        } else {
            Vec::new()
        };
        Self {
            frames: vec![Vec::new(); moments.len()],
            moments,
            count,
        }
    }

    fn record(&mut self, first: usize, step: usize, images: &Tensor<4>) -> Result<()> {
        let Ok(moment) = self.moments.binary_search(&step) else {
            return Ok(());
        };
        let wanted = self.count.saturating_sub(first).min(images.dims()[0]);
        if wanted > 0 {
            let images = images.clone().narrow(0, 0, wanted);
            self.frames[moment].extend(pictures::from_tensor(images)?);
        }
        Ok(())
    }
}

/// For each image a row of x_t and below it a row of the predicted x_0, from noise to data.
fn trajectory(
    x: &[Vec<DynamicImage>],
    predicted_x_0: &[Vec<DynamicImage>],
) -> Result<DynamicImage> {
    let count = x.first().map_or(0, Vec::len);
    let mut cells = Vec::new();
    for image in 0..count {
        for frames in [x, predicted_x_0] {
            cells.extend(frames.iter().map(|frame| frame[image].clone()));
        }
    }
    grid::grid(&cells, x.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recording_ends_with_the_last_step() {
        for (steps, moments) in [(50, 10), (10, 10), (7, 10), (1, 10), (1000, 40)] {
            let recording = Recording::new(true, steps, moments, 1);
            assert_eq!(recording.moments.last(), Some(&(steps - 1)));
            assert_eq!(recording.moments.len(), moments.min(steps));
        }
    }
}
