//! Samples of images and of sounds as pictures: a grid of all, a strip of the way from noise, an animation.

use std::collections::BTreeMap;

use anyhow::Result;
use burn::tensor::Tensor;
use image::DynamicImage;

use super::outputs::Outputs;
use crate::drawing::captions::{Captions, captioned, title_width};
use crate::drawing::frames::{FRAME_TIME, MAX_FRAMES, evenly_spread};
use crate::drawing::{grid, pictures};
use crate::progress;
use crate::report;
use crate::sampling::{Model, Request};

/// Samples and frames of a trajectory strip.
const TRAJECTORY_SAMPLES: usize = 4;
const TRAJECTORY_FRAMES: usize = 10;

/// How the examples of a kind of data are drawn.
pub(super) trait Cells {
    /// Each of the examples `[N, C, H, W]` as a picture, all of one size.
    fn draw(&self, examples: Tensor<4>) -> Result<Vec<DynamicImage>>;

    /// Such pictures in rows of `columns`.
    fn grid(&self, cells: &[DynamicImage], columns: usize) -> Result<DynamicImage> {
        grid::grid(cells, columns)
    }

    /// The pixels at the bottom of a grid that are of no row.
    fn below_rows(&self) -> u32 {
        0
    }
}

/// Samples as `request` says and writes the pictures that `outputs` asks for. Returns the samples, `[N, C, H, W]`.
pub(super) fn sample(
    model: &Model,
    request: &Request,
    outputs: &Outputs<'_>,
    cells: &(impl Cells + Sync),
) -> Result<Tensor<4>> {
    let count = request.classes.len();
    let steps = request.sampling.num_inference_steps;
    let bar = progress::bar(model.num_states(request)?, "denoising");
    let mut motion = Recording::new(outputs.gif.is_some(), steps, MAX_FRAMES, count);
    let strip = Recording::new(
        outputs.trajectory.is_some(),
        steps,
        TRAJECTORY_FRAMES,
        TRAJECTORY_SAMPLES.min(count),
    );
    let (mut strip_x, mut strip_x_0) = (strip.clone(), strip);
    let sampled = model.sample(request, |first, state| {
        bar.inc(1);
        motion.record(first, state.index, &state.x, cells)?;
        strip_x.record(first, state.index, &state.x, cells)?;
        strip_x_0.record(first, state.index, &state.predicted_x_0, cells)
    })?;
    bar.finish_and_clear();

    let names = &outputs.source.found.class_names;
    let num_classes = model.num_classes().filter(|_| outputs.class_a_row);
    let title = title(request, model.num_classes().is_some(), names);
    let pictures = cells.draw(sampled.clone())?;
    pictures::save(
        &titled_grid(cells, &pictures, num_classes, names, &title, 0)?,
        outputs.picture,
    )?;
    report::wrote(outputs.picture);
    if let Some(path) = outputs.gif {
        // All frames are as wide as the one with the longest title.
        let width = title_width(&format!("step {steps} of {steps}"))?;
        let steps_shown = motion.steps.clone();
        let frames: Vec<DynamicImage> = motion
            .frames()
            .iter()
            .zip(&steps_shown)
            .map(|(frame, step)| {
                let title = format!("step {} of {steps}", step + 1);
                titled_grid(cells, frame, num_classes, names, &title, width)
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
            &trajectory(cells, &strip_x.frames(), &strip_x_0.frames(), captions)?,
            path,
        )?;
        report::wrote(path);
    }
    Ok(sampled)
}

/// Pictures of examples below `title`, at least `min_width` pixels wide: a row a class, with its name, where
/// every class has as many.
pub(super) fn titled_grid(
    cells: &impl Cells,
    pictures: &[DynamicImage],
    num_classes: Option<usize>,
    class_names: &[String],
    title: &str,
    min_width: u32,
) -> Result<DynamicImage> {
    let columns = grid::columns(pictures.len(), num_classes);
    let rows = num_classes
        .filter(|classes| pictures.len() == classes * columns)
        .map_or_else(Vec::new, |classes| {
            (0..classes)
                .map(|class| class_name(class, class_names))
                .collect()
        });
    captioned(
        &cells.grid(pictures, columns)?,
        &Captions::title(title)
            .rows(rows)
            .below_rows(cells.below_rows()),
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

/// The first samples of a request at some steps of their denoising, gathered from all batches.
#[derive(Debug, Clone)]
struct Recording {
    /// The steps that are recorded, in order; the last step is always among them.
    steps: Vec<usize>,
    /// How many samples are recorded.
    count: usize,
    /// Their pictures at each step that is recorded, by the place of the first of their batch: of several devices
    /// batches come by turns.
    batches: Vec<BTreeMap<usize, Vec<DynamicImage>>>,
}

impl Recording {
    fn new(wanted: bool, steps: usize, max_frames: usize, count: usize) -> Self {
        let recorded = if wanted {
            evenly_spread(steps, max_frames)
        } else {
            Vec::new()
        };
        Self {
            batches: vec![BTreeMap::new(); recorded.len()],
            steps: recorded,
            count,
        }
    }

    /// The pictures of all samples, at each step that is recorded.
    fn frames(self) -> Vec<Vec<DynamicImage>> {
        let all = |batches: BTreeMap<_, Vec<_>>| batches.into_values().flatten().collect();
        self.batches.into_iter().map(all).collect()
    }

    fn record(
        &mut self,
        first: usize,
        step: usize,
        samples: &Tensor<4>,
        cells: &impl Cells,
    ) -> Result<()> {
        let Ok(frame) = self.steps.binary_search(&step) else {
            return Ok(());
        };
        let wanted = self.count.saturating_sub(first).min(samples.dims()[0]);
        if wanted > 0 {
            let samples = samples.clone().narrow(0, 0, wanted);
            self.batches[frame].insert(first, cells.draw(samples)?);
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

/// For each sample a row of x_t and below it a row of the predicted x_0, from noise to data.
fn trajectory(
    drawn_as: &impl Cells,
    x: &[Vec<DynamicImage>],
    predicted_x_0: &[Vec<DynamicImage>],
    captions: Captions,
) -> Result<DynamicImage> {
    let count = x.first().map_or(0, Vec::len);
    let mut cells = Vec::new();
    for sample in 0..count {
        for frames in [x, predicted_x_0] {
            cells.extend(frames.iter().map(|frame| frame[sample].clone()));
        }
    }
    let rows = (0..count).flat_map(|_| ["xₜ", "predicted x₀"].map(str::to_owned));
    captioned(
        &drawn_as.grid(&cells, x.len())?,
        &captions
            .rows(rows.collect())
            .below_rows(drawn_as.below_rows()),
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
