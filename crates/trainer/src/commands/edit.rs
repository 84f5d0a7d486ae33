//! `trainer edit`: a trained network draws over an image or a sound, fills a part of it in, or goes from one to
//! another; of rows it fills the empty cells.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use burn::tensor::Tensor;
use denoising::{
    Ddim, DdimInversion, DdimOptions, Denoising, Guidance, SamplingOptions, X0Clipping,
};
use tracing::info;

use crate::cli::EditArgs;
use crate::commands::opened::{
    Opened, at_least, exists, key_of_sampling, of_kinds, open, refuse_idle_guidance,
};
use crate::destination::check_file;
use crate::drawing::captions::Captions;
use crate::drawing::grid;
use crate::error::Usage;
use crate::kinds::{Anew, Kind, Original, Source, edit_rows};
use crate::progress;
use crate::sampling::{
    Edit, FRAMES, Model, Request, check_strength, frames_between, parse_classes,
};

/// Images, sounds or lines that are made of one when no number is given.
const COUNT: usize = 8;

/// Network calls by which each step of the inversion is solved.
const INVERSION_ITERATIONS: usize = 4;

/// Does the edit and writes the picture.
pub fn run(args: &EditArgs) -> Result<()> {
    let out = args
        .out
        .clone()
        .unwrap_or_else(|| args.model.run.join("edited.png"));
    exists(&args.model.run)?;
    check_file("--out", &out)?;
    let opened = open(&args.model)?;
    if opened.checkpoint.config().data.is_table() {
        return rows(args, opened, &out);
    }
    if args.mean.is_some() {
        bail!(Usage(
            "--mean is for rows of a table, and the run draws none".to_owned()
        ));
    }
    let opened = of_kinds(opened, &args.model, Kind::of_files())?;
    opened
        .checkpoint
        .config()
        .data
        .kind()
        .check_out("--out", &out)?;
    let count = args.count.unwrap_or(COUNT);
    if args.between.is_empty() {
        opened.check_memory("--count", count, args.model.batch_size)?;
    } else {
        // The frames go through the network all at once.
        let frames = args.frames.unwrap_or(FRAMES);
        opened.check_memory("--frames", frames, frames)?;
    }
    let Opened {
        checkpoint,
        model,
        sampling,
        ..
    } = opened;
    let names = &checkpoint.config().found.class_names;
    let class = class(args, &model, names)?;
    let config = checkpoint.config();
    if class.is_none()
        && model.classes.is_some()
        && let Some(why) = config.why_no_guidance()
    {
        bail!(Usage(format!("{why}, so name one with --class")));
    }
    refuse_idle_guidance(&args.model.sampler, &[class])?;
    let edited = Edited {
        model: &model,
        kind: config.data.kind(),
        source: &config.source(None),
    };
    let original = args.from.as_deref().map(|path| Original {
        path,
        mask: args.mask.as_deref(),
    });
    let (cells, columns, captions) = match (&args.from, &args.between[..]) {
        (Some(from), _) => {
            let cells = draw_over(edited, args, sampling, from, class)?;
            let kept = if args.mask.is_some() {
                ", what is kept of it"
            } else {
                ""
            };
            let title = format!("{}{kept}, and {count} of it anew", file_name(from));
            (
                cells.clone(),
                grid::columns(cells.dims()[0], None),
                Captions::title(title),
            )
        }
        (None, [first, last]) => {
            let cells = go_between(edited, args, &sampling, [first, last], class)?;
            let frames = cells.dims()[0];
            let shares = (0..frames).map(|frame| 100.0 * frame as f64 / (frames - 1) as f64);
            let title = format!(
                "from {} to {} through the noise of DDIM",
                file_name(first),
                file_name(last)
            );
            let captions =
                Captions::title(title).columns(shares.map(|s| format!("{s:.0} %")).collect());
            (cells, frames, captions)
        }
        _ => bail!(Usage(
            "expected --from FILE or --between FILE FILE".to_owned()
        )),
    };
    edited
        .kind
        .write_edit(edited.source, cells, columns, &captions, &out, original)
}

/// The class that is asked for.
fn class(args: &EditArgs, model: &Model, names: &[String]) -> Result<Option<usize>> {
    match parse_classes(&args.class, model.classes, names)?[..] {
        [class] => Ok(class),
        _ => bail!(Usage(format!(
            "--class {:?}: an edit has one class",
            args.class
        ))),
    }
}

/// Fills the empty cells of rows, or varies rows.
fn rows(args: &EditArgs, opened: Opened, out: &Path) -> Result<()> {
    for (option, given) in [
        ("--mask", args.mask.is_some()),
        ("--resamplings", args.resamplings.is_some()),
        ("--between", !args.between.is_empty()),
    ] {
        if given {
            bail!(Usage(format!(
                "{option} is for images and sounds, and the run draws rows of a table: what is empty in --from is filled"
            )));
        }
    }
    if let Some(strength) = args.strength {
        check_strength(strength)?;
    }
    let Some(from) = &args.from else {
        bail!(Usage("expected --from FILE".to_owned()));
    };
    let config = opened.checkpoint.config();
    let is_of_lines = config.data.is_of_lines();
    if is_of_lines && args.mean.is_some() {
        bail!(Usage(
            "--mean is for rows of a table, and the run draws lines: letters have no mean"
                .to_owned()
        ));
    }
    let count = args.count.unwrap_or(if is_of_lines { COUNT } else { 1 });
    let (option, draws) = match args.mean {
        Some(draws) => ("--mean", draws),
        None => ("--count", count),
    };
    at_least(&[(option, draws, 1)])?;
    opened.check_memory(option, draws, args.model.batch_size)?;
    let class = class(args, &opened.model, &config.found.class_names)?;
    // Of as many rows as the file may have.
    let kind = config.data.kind();
    let batch_size = kind.batch_size(args.model.batch_size, usize::MAX);
    let sampling = opened.sampling.clone();
    let request = Request::new(vec![class], sampling, args.model.seed, batch_size);
    let source = config.source(None);
    let anew = match (args.strength, args.mean) {
        (Some(strength), _) => Anew::Varied { strength, count },
        (None, Some(draws)) => Anew::Mean { draws },
        (None, None) => Anew::Filled { count },
    };
    edit_rows(
        &source,
        &opened.model,
        &request,
        from.as_os_str(),
        anew,
        out,
    )
}

/// The network that edits, and how files become its examples.
#[derive(Debug, Clone, Copy)]
struct Edited<'a> {
    model: &'a Model,
    kind: Kind,
    source: &'a Source<'a>,
}

impl Edited<'_> {
    /// A file as an example of the network: `[1, C, H, W]`.
    fn read(&self, path: &Path) -> Result<Tensor<4>> {
        self.kind.read_file(self.source, path, &self.model.device)
    }
}

/// The name of a file without its folder.
fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// The image, what is kept of it if there is a mask, and what was made of it: `[N, C, H, W]`.
fn draw_over(
    edited: Edited<'_>,
    args: &EditArgs,
    sampling: SamplingOptions,
    from: &Path,
    class: Option<usize>,
) -> Result<Tensor<4>> {
    let count = args.count.unwrap_or(COUNT);
    // Before anything is read.
    at_least(&[
        ("--count", count, 1),
        ("--resamplings", args.resamplings.unwrap_or(1), 1),
    ])?;
    args.strength.map_or(Ok(()), check_strength)?;
    let Edited {
        model,
        kind,
        source,
    } = edited;
    let image = edited.read(from)?;
    let mask = args
        .mask
        .as_deref()
        .map(|mask| kind.read_mask(source, mask, &model.device))
        .transpose()?;
    let mut cells = vec![image.clone()];
    if let Some(keep) = &mask {
        cells.push(image.clone() * keep.clone().expand(image.dims()));
    }
    let edit = Edit::of_image(image, mask, args.strength, args.resamplings)?;
    let request = Request {
        edit: Some(edit),
        ..Request::new(
            vec![class; count],
            sampling,
            args.model.seed,
            args.model.batch_size,
        )
    };
    let timesteps = model.timesteps(&request)?;
    info!(
        "{count} {kind} over {} by {} in {} steps from t = {}",
        from.display(),
        request.sampling.sampler,
        timesteps.len(),
        timesteps[0]
    );
    cells.push(model.sample_with_bar(&request)?);
    Ok(Tensor::cat(cells, 0))
}

/// The way there and back is DDIM's, without clipping or guidance: only its timesteps can be chosen.
fn refuse_what_inversion_ignores(set: &[String]) -> Result<()> {
    for text in set {
        let key = key_of_sampling(text).map(|(key, _)| key);
        if !matches!(key, Some("timestep_spacing" | "num_inference_steps")) {
            bail!(Usage(format!(
                "--set {text}: it does nothing with --between, whose way is DDIM's without clipping or \
                 guidance; sampling.timestep_spacing and sampling.num_inference_steps can be set"
            )));
        }
    }
    Ok(())
}

/// From one image to the other through the noise that DDIM makes them of (Song et al. 2021, section
/// 5.3): `[frames, C, H, W]`.
fn go_between(
    edited: Edited<'_>,
    args: &EditArgs,
    sampling: &SamplingOptions,
    ends: [&PathBuf; 2],
    class: Option<usize>,
) -> Result<Tensor<4>> {
    let frame_count = args.frames.unwrap_or(FRAMES);
    at_least(&[("--frames", frame_count, 2)])?;
    refuse_what_inversion_ignores(&args.model.sampler.set)?;
    let model = edited.model;
    let images = ends
        .iter()
        .map(|path| edited.read(path))
        .collect::<Result<_>>()?;
    let images = Tensor::cat(images, 0);

    let schedule = model.chain.schedule();
    let mut timesteps = sampling.timesteps(schedule)?;
    // Where no data is left in x_t, none can be led there.
    timesteps.retain(|&t| schedule.alpha_cumprod_at(t) > 0.0);
    let kind = model.objective.prediction_type;
    let predict = |x_t: Tensor<4>, t| {
        let classes = vec![class; x_t.dims()[0]];
        model.predict(x_t, t, &classes, Guidance::default())
    };
    let no_noise = || unreachable!("DDIM with eta = 0 draws no noise");
    let bar = progress::bar(2 * timesteps.len(), "inverting, denoising");
    let inversion = DdimInversion::new(schedule, &timesteps, kind, INVERSION_ITERATIONS)?;
    let noise = Denoising::new(inversion, images.clone(), predict, no_noise)
        .inspect(|_| bar.inc(1))
        .last()
        .context("there is no timestep to invert")?
        .x;
    let [first, last] = [0, 1].map(|end| noise.clone().narrow(0, end, 1));
    let noises = frames_between(&first, &last, frame_count);
    let options = DdimOptions::default();
    let ddim = Ddim::new(schedule, &timesteps, kind, X0Clipping::None, options)?;
    let frames = Denoising::new(ddim, noises, predict, no_noise)
        .inspect(|_| bar.inc(1))
        .last()
        .context("there is no timestep to denoise")?
        .x;
    bar.finish_and_clear();

    let returned = Tensor::cat(
        vec![
            frames.clone().narrow(0, 0, 1),
            frames.clone().narrow(0, frame_count - 1, 1),
        ],
        0,
    );
    let error: f32 = (returned - images).abs().mean().try_into_scalar()?;
    ensure!(
        error.is_finite(),
        "the way between the two leads to values that are not finite"
    );
    info!(
        "the ends are the {} within {error:.3} a value, on average",
        edited.kind
    );
    Ok(frames)
}
