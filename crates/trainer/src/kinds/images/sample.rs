//! Images from a trained network: a grid, each by itself, the way from noise as a strip or an animation.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result};
use burn::tensor::Tensor;
use image::DynamicImage;

use super::{class_name, titled_grid};
use crate::drawing::captions::{Captions, captioned, title_width};
use crate::drawing::frames::{FRAME_TIME, MAX_FRAMES, evenly_spread};
use crate::drawing::{grid, pictures};
use crate::kinds::outputs::Outputs;
use crate::progress;
use crate::report;
use crate::run::atomic_file;
use crate::sampling::{Model, Request};

/// Images and frames of a trajectory strip.
const TRAJECTORY_IMAGES: usize = 4;
const TRAJECTORY_FRAMES: usize = 10;

/// Draws images and writes pictures of them. Returns the images, `[N, C, H, W]`.
pub(crate) fn sample(model: &Model, request: &Request, outputs: &Outputs<'_>) -> Result<Tensor<4>> {
    let count = request.classes.len();
    let steps = request.sampling.num_inference_steps;
    let bar = progress::bar(count.div_ceil(request.batch_size) * steps, "denoising");
    let mut motion = Recording::new(outputs.gif.is_some(), steps, MAX_FRAMES, count);
    let strip = Recording::new(
        outputs.trajectory.is_some(),
        steps,
        TRAJECTORY_FRAMES,
        TRAJECTORY_IMAGES.min(count),
    );
    let (mut strip_x, mut strip_x_0) = (strip.clone(), strip);
    let drawn = model.sample(request, |first, state| {
        bar.inc(1);
        motion.record(first, state.index, &state.x)?;
        strip_x.record(first, state.index, &state.x)?;
        strip_x_0.record(first, state.index, &state.predicted_x_0)
    })?;
    bar.finish_and_clear();

    let images = pictures::from_tensor(drawn.clone())?;
    let names = &outputs.found.class_names;
    let num_classes = model.num_classes().filter(|_| outputs.class_a_row);
    let title = title(request, model.num_classes().is_some(), names);
    pictures::save(
        &titled_grid(&images, num_classes, names, &title, 0)?,
        outputs.picture,
    )?;
    report::wrote(outputs.picture);
    if let Some(folder) = outputs.each {
        write_each(
            &images,
            &request.classes,
            &outputs.found.class_names,
            folder,
        )?;
        report::wrote(folder);
    }
    if let Some(path) = outputs.gif {
        // All frames are as wide as the one with the longest title.
        let width = title_width(&format!("step {steps} of {steps}"))?;
        let frames: Vec<DynamicImage> = motion
            .frames
            .iter()
            .zip(&motion.steps)
            .map(|(frame, step)| {
                let title = format!("step {} of {steps}", step + 1);
                titled_grid(frame, num_classes, names, &title, width)
            })
            .collect::<Result<_>>()?;
        pictures::save_gif(&frames, FRAME_TIME, path)?;
        report::wrote(path);
    }
    if let Some(path) = outputs.trajectory {
        let timesteps = model.timesteps(request)?;
        let names = strip_x.steps.iter().map(|step| {
            let next = timesteps.get(step + 1);
            next.map_or_else(|| "x₀".to_owned(), |t| format!("t = {t:.0}"))
        });
        let title = format!(
            "from noise to data by {} in {steps} steps",
            request.sampling.sampler
        );
        let captions = Captions::title(title).columns(names.collect());
        pictures::save(
            &trajectory(&strip_x.frames, &strip_x_0.frames, captions)?,
            path,
        )?;
        report::wrote(path);
    }
    Ok(drawn)
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
        let name = name
            .map(|name| quoted_where_needed(name))
            .unwrap_or_default();
        let class = class.map(|class| class.to_string()).unwrap_or_default();
        writeln!(labels, "{file},{class},{name}").context("cannot write a label")?;
    }
    let path = folder.join("labels.csv");
    atomic_file::write(&path, labels.as_bytes())
        .with_context(|| format!("cannot write {}", path.display()))
}

/// A name as a field of a CSV file.
fn quoted_where_needed(name: &str) -> String {
    if name.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", name.replace('"', "\"\""))
    } else {
        name.to_owned()
    }
}

/// The first images of a request at some steps of their denoising, gathered from all batches.
#[derive(Debug, Clone)]
struct Recording {
    /// The steps that are recorded, in order; the last step is always among them.
    steps: Vec<usize>,
    /// How many images are recorded.
    count: usize,
    /// The images at each step that is recorded.
    frames: Vec<Vec<DynamicImage>>,
}

impl Recording {
    fn new(wanted: bool, steps: usize, max_frames: usize, count: usize) -> Self {
        let recorded = if wanted {
            evenly_spread(steps, max_frames)
        } else {
            Vec::new()
        };
        Self {
            frames: vec![Vec::new(); recorded.len()],
            steps: recorded,
            count,
        }
    }

    fn record(&mut self, first: usize, step: usize, images: &Tensor<4>) -> Result<()> {
        let Ok(frame) = self.steps.binary_search(&step) else {
            return Ok(());
        };
        let wanted = self.count.saturating_sub(first).min(images.dims()[0]);
        if wanted > 0 {
            let images = images.clone().narrow(0, 0, wanted);
            self.frames[frame].extend(pictures::from_tensor(images)?);
        }
        Ok(())
    }
}

/// What the picture shows: how many samples, of which class where it is one, and how they were made.
fn title(request: &Request, is_conditional: bool, names: &[String]) -> String {
    let count = request.classes.len();
    let mut title = format!("{count} sample{}", if count == 1 { "" } else { "s" });
    let first = request.classes.first().copied().flatten();
    if is_conditional && request.classes.iter().all(|&class| class == first) {
        title += &match first {
            Some(class) => format!(" of class {}", class_name(class, names)),
            None => " of no class".to_owned(),
        };
    }
    let sampling = &request.sampling;
    title += &format!(
        " by {} in {} steps",
        sampling.sampler, sampling.num_inference_steps
    );
    if sampling.guidance_scale != 1.0 {
        title += &format!(", guidance {}", sampling.guidance_scale);
    }
    title
}

/// For each image a row of x_t and below it a row of the predicted x_0, from noise to data.
fn trajectory(
    x: &[Vec<DynamicImage>],
    predicted_x_0: &[Vec<DynamicImage>],
    captions: Captions,
) -> Result<DynamicImage> {
    let count = x.first().map_or(0, Vec::len);
    let mut cells = Vec::new();
    for image in 0..count {
        for frames in [x, predicted_x_0] {
            cells.extend(frames.iter().map(|frame| frame[image].clone()));
        }
    }
    let rows = (0..count).flat_map(|_| ["xₜ", "predicted x₀"].map(str::to_owned));
    captioned(
        &grid::grid(&cells, x.len())?,
        &captions.rows(rows.collect()),
        0,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recording_ends_with_the_last_step() {
        for (steps, frames) in [(50, 10), (10, 10), (7, 10), (1, 10), (1000, 40)] {
            let recording = Recording::new(true, steps, frames, 1);
            assert_eq!(recording.steps.last(), Some(&(steps - 1)));
            assert_eq!(recording.steps.len(), frames.min(steps));
        }
    }
}
