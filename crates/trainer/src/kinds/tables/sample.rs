//! Rows from a trained network: a file as the table's, and a picture of all columns.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use burn::tensor::Tensor;

use super::form::{Drawn, TableForm};
use super::known::drawn_where;
use super::{draw, form, is_rows_file};
use crate::drawing::pictures;
use crate::error::Usage;
use crate::kinds::forward::values as values_of;
use crate::kinds::outputs::Outputs;
use crate::progress;
use crate::report;
use crate::run::atomic_file;
use crate::sampling::{Model, Request};

/// Draws rows; writes them and the picture. Returns the examples, `[N, C, 1, 1]`; none where conditions are asked for.
pub(crate) fn sample(
    model: &Model,
    request: &Request,
    outputs: &Outputs<'_>,
) -> Result<Option<Tensor<4>>> {
    for (option, given) in [
        ("--each", outputs.each.is_some()),
        ("--gif", outputs.gif.is_some()),
        ("--trajectory", outputs.trajectory.is_some()),
    ] {
        if given {
            bail!(Usage(format!(
                "{option} is for images and sounds: of a table all rows are written into one file"
            )));
        }
    }
    let form = form(outputs.source)?;
    if outputs.source.data.class_column.is_some() && request.classes.contains(&None) {
        bail!(Usage(
            "--class none: every row of the table has a class, so name one or leave --class out"
                .to_owned()
        ));
    }
    let bar = progress::bar(model.num_states(request)?, "denoising");
    let mut observe = || {
        bar.inc(1);
        Ok(())
    };
    let (samples, drawn) = if outputs.conditions.is_empty() {
        let samples = model.sample(request, |_, _| observe())?;
        let values = values_of(samples.clone())?;
        (Some(samples), form.decode(&values, &request.classes)?)
    } else {
        let drawn = drawn_where(form, model, request, outputs.conditions, &mut observe)?;
        (None, drawn)
    };
    bar.finish_and_clear();
    let title = format!(
        "{} {} by {} in {} steps",
        request.classes.len(),
        form.noun(),
        request.sampling.sampler,
        model.timesteps(request)?.len()
    );
    write(form, &drawn, &title, outputs.picture)?;
    Ok(samples)
}

/// Writes rows into the file `out` and a picture of them beside it, or the other way round.
pub(super) fn write(form: &TableForm, drawn: &Drawn, title: &str, out: &Path) -> Result<()> {
    let (file, picture): (PathBuf, PathBuf) = if is_rows_file(out) {
        (out.to_owned(), out.with_extension("png"))
    } else {
        (out.with_extension(form.extension()), out.to_owned())
    };
    atomic_file::write(&file, &form.write(drawn))
        .with_context(|| format!("cannot write {}", file.display()))?;
    report::wrote(&file);
    pictures::save(&draw(form, drawn, title)?, &picture)?;
    report::wrote(&picture);
    Ok(())
}
