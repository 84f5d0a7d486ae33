//! Points from a trained network: a strip of their way from noise, and a CSV of where they came to.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result, bail};
use burn::tensor::Tensor;
use datasets::Normalisation;
use image::DynamicImage;
use tracing::warn;

use crate::drawing::captions::{Captions, captioned};
use crate::drawing::frames::{FRAME_TIME, MAX_FRAMES, evenly_spread};
use crate::drawing::scatter::{LARGE, SMALL, axis_limit, panel};
use crate::drawing::{grid, pictures};
use crate::error::Usage;
use crate::kinds::outputs::Outputs;
use crate::progress;
use crate::report;
use crate::run::atomic_file;
use crate::sampling::{Model, Request};

/// Panels of the strip, the noise among them.
const PANELS: usize = 10;

/// Draws the points; writes pictures and CSV. Returns the points, `[N, D, 1, 1]`, normalised.
pub(crate) fn sample(model: &Model, request: &Request, outputs: &Outputs<'_>) -> Result<Tensor<4>> {
    for (option, given) in [
        ("--each", outputs.each.is_some()),
        ("--trajectory", outputs.trajectory.is_some()),
    ] {
        if given {
            bail!(Usage(format!(
                "{option} is for images: the picture of points shows their way, and a CSV has each"
            )));
        }
    }
    // The one lies beside the other, whichever was named.
    let csv = outputs.picture.with_extension("csv");
    let out = if csv == outputs.picture {
        csv.with_extension("png")
    } else {
        outputs.picture.to_owned()
    };

    let count = request.classes.len();
    let timesteps = model.timesteps(request)?;
    let steps = timesteps.len();
    let strip_steps = shown_steps(PANELS - 1, steps);
    let frame_steps = evenly_spread(steps, MAX_FRAMES);
    let noise = match &request.initial_noise {
        Some(noise) => noise.clone().narrow(0, 0, count),
        None => model.initial_noise(request.seed, count),
    };
    let bar = progress::bar(model.num_states(request)?, "denoising");
    let mut strip = vec![("noise".to_owned(), coordinates(noise.clone())?)];
    let mut frames = vec![coordinates(noise)?];
    let points = model.sample(request, |_, state| {
        bar.inc(1);
        let index = state.index;
        if strip_steps.binary_search(&index).is_ok() {
            let label = match timesteps.get(index + 1) {
                Some(t) => format!("t = {t:.0}"),
                None => "samples".to_owned(),
            };
            strip.push((label, coordinates(state.x.clone())?));
        }
        if outputs.gif.is_some() && frame_steps.binary_search(&index).is_ok() {
            frames.push(coordinates(state.x.clone())?);
        }
        Ok(())
    })?;
    bar.finish_and_clear();

    let [dimensions, ..] = model.network.example_shape();
    let drawn = coordinates(points.clone())?;
    let axis_limit = axis_limit(&drawn);
    let cells: Vec<DynamicImage> = strip
        .iter()
        .map(|(_, cloud)| panel(cloud, dimensions, axis_limit, SMALL))
        .collect::<Result<_>>()?;
    let labels: Vec<String> = strip.into_iter().map(|(label, _)| label).collect();
    let title = format!(
        "{count} points by {} in {steps} steps, from noise to samples (orange: one and two standard deviations of pure noise)",
        request.sampling.sampler
    );
    let picture = captioned(
        &grid::grid(&cells, cells.len())?,
        &Captions::title(title).columns(labels),
        0,
    )?;
    pictures::save(&picture, &out)?;
    report::wrote(&out);
    if dimensions > 2 {
        warn!("of {dimensions} coordinates the first two are drawn; the CSV has all");
    }
    if let Some(path) = outputs.gif {
        let frames: Vec<DynamicImage> = frames
            .iter()
            .map(|cloud| panel(cloud, dimensions, axis_limit, LARGE))
            .collect::<Result<_>>()?;
        pictures::save_gif(&frames, FRAME_TIME, path)?;
        report::wrote(path);
    }
    let normalisation = outputs.source.found.normalisation.as_ref();
    let normalisation = normalisation.context(
        "the configuration of the run has no [found.normalisation]: it was changed by hand",
    )?;
    write_csv(&drawn, normalisation, &csv)?;
    report::wrote(&csv);
    Ok(points)
}

/// At most `count` of so many steps, in order, the last one among them. They come closer together towards
/// it, since a cloud takes its shape late.
fn shown_steps(count: usize, steps: usize) -> Vec<usize> {
    let last = steps - 1;
    let left = |share: f64| (last as f64 * share * share).round() as usize;
    let mut shown: Vec<usize> = (1..=count)
        .map(|i| last - left((count - i) as f64 / count as f64))
        .collect();
    shown.dedup();
    shown
}

/// The coordinates of points `[N, D, 1, 1]`, point by point.
fn coordinates(points: Tensor<4>) -> Result<Vec<f32>> {
    points
        .try_into_vec_as()
        .context("cannot read the points back from the device")
}

/// Writes normalised points in the units of the data, a line each.
fn write_csv(points: &[f32], normalisation: &Normalisation, path: &Path) -> Result<()> {
    let quoted = |name: &String| format!("\"{}\"", name.replace('"', "\"\""));
    let names: Vec<String> = normalisation.columns.iter().map(quoted).collect();
    let mut text = names.join(",") + "\n";
    for point in normalisation.undo(points).chunks(names.len()) {
        let fields: Vec<String> = point.iter().map(f64::to_string).collect();
        writeln!(text, "{}", fields.join(",")).context("cannot write a point")?;
    }
    atomic_file::write(path, text.as_bytes())
        .with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_steps_are_in_order_and_end_with_the_last_step() {
        for (count, steps) in [(9, 1000), (9, 50), (9, 9), (9, 2), (9, 1), (1, 50)] {
            let shown = shown_steps(count, steps);
            assert_eq!(shown.last(), Some(&(steps - 1)), "{count} of {steps}");
            assert!(shown.is_sorted() && shown.len() <= count);
        }
    }
}
