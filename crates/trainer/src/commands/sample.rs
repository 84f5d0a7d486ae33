//! `trainer sample`: images, sounds, points or rows from a trained network, by iterative denoising.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use burn::tensor::Tensor;
use denoising::Guidance;
use tracing::info;

use crate::cli::SampleArgs;
use crate::commands::opened::{at_least, exists, open, open_model, refuse_idle_guidance};
use crate::destination::{check_file, check_folder};
use crate::device;
use crate::drawing::pictures;
use crate::error::Usage;
use crate::kinds::{Kind, Outputs, Shown};
use crate::report;
use crate::run::atomic_file;
use crate::run::checkpoint::{self, Checkpoint};
use crate::run::read::{SMALL, read};
use crate::sampling::parse_classes;
use crate::sampling::tensor_file;
use crate::sampling::{Classes, Recipe, Request};

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
    if let Some(picture) = &args.like {
        return draw_again(args, picture, &out);
    }
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
    let batch_size = kind.batch_size(args.model.batch_size, classes.len());
    let request = Request {
        initial_noise: noise,
        ..Request::new(
            classes,
            opened.sampling.clone(),
            args.model.seed,
            batch_size,
        )
    };
    info!(
        "{} at step {}: {count} {} by {} in {} steps on {}",
        checkpoint.folder().display(),
        checkpoint.counters().step,
        kind,
        request.sampling.sampler,
        request.sampling.num_inference_steps,
        opened.device_names
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

/// Draws what a picture shows again, by the settings that it carries, and writes it as it was.
fn draw_again(args: &SampleArgs, picture: &Path, out: &Path) -> Result<()> {
    let text = recipe_in(picture)?;
    let refused = |why: String| Usage(format!("--like {}: {why}", picture.display()));
    let recipe: Recipe = serde_json::from_str(&text)
        .map_err(|error| refused(format!("its settings cannot be read: {error}")))?;
    // It is one picture.
    let device = &device::select_all(&args.model.devices.devices)?[0];
    let folder = checkpoint_of(&args.model.run, &recipe)?;
    let (checkpoint, model) = open_model(&folder, false, &device.device)?;
    // The settings are checked as those of a configuration are.
    let mut config = checkpoint.config().clone();
    config.sampling.options = recipe.sampling.clone();
    let config = config
        .overridden(&[])
        .map_err(|error| refused(format!("its settings: {error}")))?;
    let is_guided = config.sampling.options.guidance() != Guidance::default();
    if let Some(why) = config.why_no_guidance().filter(|_| is_guided) {
        bail!(refused(format!("it is guided, and {why}")));
    }
    let known = model.num_classes().unwrap_or(0);
    if let Some(class) = recipe.class.filter(|&class| class >= known) {
        bail!(refused(format!("the run has no class {class}")));
    }
    let kind = config.data.kind();
    let request = Request {
        first: recipe.place,
        ..Request::new(
            vec![recipe.class],
            config.sampling.options.clone(),
            recipe.seed,
            1,
        )
    };
    let drawn = model.sample(&request, |_, _| Ok(()))?;
    let Shown::Pictures(pictures) =
        kind.shown(&config.source(None), drawn, &request.classes, None)?
    else {
        bail!(refused("only images are drawn again".to_owned()));
    };
    let drawn = pictures.first().context("nothing was drawn")?;
    let png = pictures::png(drawn, &[(Recipe::KEYWORD, &text)])?;
    atomic_file::write(out, &png).with_context(|| format!("cannot write {}", out.display()))?;
    report::wrote(out);
    Ok(())
}

/// The settings that a picture carries.
fn recipe_in(picture: &Path) -> Result<String> {
    let bytes =
        read(picture, SMALL).with_context(|| format!("cannot read {}", picture.display()))?;
    let text = pictures::text_in_png(&bytes, Recipe::KEYWORD)
        .with_context(|| format!("cannot read {} as a PNG", picture.display()))?;
    let Some(text) = text else {
        bail!(Usage(format!(
            "--like {}: it carries no settings; pictures that are saved from the page of `trainer serve` do",
            picture.display()
        )));
    };
    Ok(text)
}

/// The checkpoint of a run whose network drew a picture.
fn checkpoint_of(run: &Path, recipe: &Recipe) -> Result<PathBuf> {
    let mut folders = checkpoint::list(&run.join("checkpoints"))?;
    if folders.is_empty() {
        folders.push(run.to_owned());
    }
    for folder in folders {
        if Checkpoint::open(&folder, false)?.weights_digest() == recipe.weights {
            return Ok(folder);
        }
    }
    bail!(Usage(format!(
        "--like: it was drawn by the network of {} at step {}, and {} has no checkpoint with these weights (any more)",
        recipe.run,
        recipe.step,
        run.display()
    )))
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
