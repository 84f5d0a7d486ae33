//! `trainer sample`: images, sounds, points or rows from a trained network, by iterative denoising.

use std::path::Path;

use anyhow::{Result, bail};
use burn::tensor::Tensor;
use tracing::info;

use crate::cli::SampleArgs;
use crate::commands::opened::{at_least, exists, open, refuse_idle_guidance};
use crate::destination::{check_file, check_folder};
use crate::error::Usage;
use crate::kinds::{Kind, Outputs};
use crate::report;
use crate::sampling::parse_classes;
use crate::sampling::tensor_file;
use crate::sampling::{Classes, Request};

/// Names in files of tensors.
const NOISE: &str = "noise";
const IMAGES: &str = "images";

/// Draws the images and writes what was asked for.
pub fn run(args: &SampleArgs) -> Result<()> {
    let out = match &args.out {
        Some(out) => out.clone(),
        None => args.model.run.join("samples.png"),
    };
    exists(&args.model.run)?;
    check_places(args, &out)?;
    let opened = open(&args.model)?;
    let (model, checkpoint) = (&opened.model, &opened.checkpoint);
    let kind = checkpoint.config().data.kind();
    kind.check_out("--out", &out)?;
    if !args.conditions.is_empty() {
        kind.must_be_one_of(Kind::of_rows(), "--where: the run draws")?;
    }
    let noise = args
        .noise
        .as_deref()
        .map(|path| tensor_file::read(path, NOISE, &model.device))
        .transpose()?;
    let names = &checkpoint.config().found.class_names;
    let asked = asked_classes(args, model.classes, names)?;
    let count = count(args, asked.as_deref(), noise.as_ref(), model.classes, kind)?;
    opened.check_memory("--count", count, args.model.batch_size)?;
    let source = checkpoint.config().source(None);
    let classes = match asked {
        Some(asked) => asked.iter().copied().cycle().take(count).collect(),
        None => kind.usual_classes(&source, count, model.num_classes())?,
    };
    refuse_idle_guidance(&args.model.sampler, &classes)?;
    if let Some(noise) = &noise {
        check_noise(noise, classes.len(), model.network.example_shape())?;
    }
    let request = Request {
        batch_size: kind.batch_size(args.model.batch_size, classes.len()),
        classes,
        sampling: opened.sampling.clone(),
        seed: args.model.seed,
        initial_noise: noise,
        edit: None,
    };
    info!(
        "{} at step {}: {count} {} by {} in {} steps on {}",
        checkpoint.folder().display(),
        checkpoint.counters().step,
        kind,
        request.sampling.sampler,
        request.sampling.num_inference_steps,
        opened.device_name
    );
    let outputs = Outputs {
        picture: &out,
        each: args.each.as_deref(),
        gif: args.gif.as_deref(),
        trajectory: args.trajectory.as_deref(),
        conditions: &args.conditions,
        class_a_row: args.class.is_none(),
        source: &source,
    };
    let drawn = kind.sample(model, &request, &outputs)?;
    if let (Some(path), Some(drawn)) = (&args.tensors, drawn) {
        let noise = match request.initial_noise {
            Some(noise) => noise.narrow(0, 0, count),
            None => model.initial_noise(request.seed, count),
        };
        tensor_file::write(path, &[(NOISE, noise), (IMAGES, drawn)])?;
        report::wrote(path);
    }
    Ok(())
}

/// Checks every place that is written to, so that nothing is drawn in vain.
fn check_places(args: &SampleArgs, out: &Path) -> Result<()> {
    check_file("--out", out)?;
    for (option, path) in [
        ("--tensors", &args.tensors),
        ("--gif", &args.gif),
        ("--trajectory", &args.trajectory),
    ] {
        if let Some(path) = path {
            check_file(option, path)?;
        }
    }
    args.each
        .as_deref()
        .map_or(Ok(()), |folder| check_folder("--each", folder))
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

/// The classes that are asked for, if any are.
fn asked_classes(
    args: &SampleArgs,
    known: Option<Classes>,
    names: &[String],
) -> Result<Option<Vec<Option<usize>>>> {
    let text = args.class.as_deref();
    text.map(|text| parse_classes(text, known, names))
        .transpose()
}

/// How many samples are wanted.
fn count(
    args: &SampleArgs,
    asked: Option<&[Option<usize>]>,
    noise: Option<&Tensor<4>>,
    known: Option<Classes>,
    kind: Kind,
) -> Result<usize> {
    let count = args.count.or(noise.map(|noise| noise.dims()[0]));
    let count = count.unwrap_or(match (asked, known) {
        (Some(asked), Some(_)) => kind.default_count(Some(asked.len())),
        (_, known) => kind.default_count(known.map(|known| known.count)),
    });
    at_least(&[("--count", count, 1)])?;
    Ok(count)
}
