//! Rows from a trained network: a file as the table's, and a picture of all columns.

use anyhow::{Context, Result, bail};
use burn::tensor::Tensor;

use super::{draw, form};
use crate::drawing::pictures;
use crate::error::Usage;
use crate::kinds::outputs::Outputs;
use crate::progress;
use crate::report;
use crate::run::atomic_file;
use crate::sampling::{Model, Request};

/// Draws rows; writes them and the picture. Returns the examples, `[N, C, 1, 1]`.
pub(crate) fn sample(model: &Model, request: &Request, outputs: &Outputs<'_>) -> Result<Tensor<4>> {
    for (option, given) in [
        ("--each", outputs.each.is_some()),
        ("--gif", outputs.gif.is_some()),
        ("--trajectory", outputs.trajectory.is_some()),
    ] {
        if given {
            bail!(Usage(format!("{option} is for images: of a table all rows are written into one file")));
        }
    }
    let form = form(outputs.source)?;
    let file = outputs.picture.with_extension(form.extension());
    let steps = model.timesteps(request)?.len();
    let batches = request.classes.len().div_ceil(request.batch_size.max(1));
    let bar = progress::bar(steps * batches, "denoising");
    let samples = model.sample(request, |_, _| {
        bar.inc(1);
        Ok(())
    })?;
    bar.finish_and_clear();
    let values: Vec<f32> =
        samples.clone().try_into_vec_as().context("cannot read the rows back from the device")?;
    let drawn = form.decode(&values, &request.classes)?;
    atomic_file::write(&file, &form.write(&drawn)).with_context(|| format!("cannot write {}", file.display()))?;
    report::wrote(&file);
    let title = format!(
        "{} {} by {} in {steps} steps",
        request.classes.len(),
        form.noun(),
        request.sampling.sampler
    );
    pictures::save(&draw(form, &drawn, &title)?, outputs.picture)?;
    report::wrote(outputs.picture);
    Ok(samples)
}
