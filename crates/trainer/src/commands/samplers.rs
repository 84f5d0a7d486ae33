//! `trainer samplers`: all samplers side by side, as pictures and by how far their images are from those
//! of DDPM over every step of the chain.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use burn::tensor::{Device, Tensor};
use denoising::{DdpmVariance, SamplerKind, SamplingOptions, TimestepSpacing};
use evaluation::{Features, sliced_wasserstein};
use image::DynamicImage;
use serde_json::json;
use tracing::info;

use crate::cli::SamplersArgs;
use crate::commands::opened::{Opened, at_least, exists, key_of_sampling, open_for_all_samplers};
use crate::destination::check_file;
use crate::drawing::captions::{Captions, captioned};
use crate::drawing::{grid, pictures};
use crate::error::Usage;
use crate::kinds::Kind;
use crate::report;
use crate::sampling::{Model, Request, every_class};
use training::{Purpose, Streams, streams};

/// Random directions along which sets of images are compared.
const DIRECTIONS: usize = 512;

/// Draws the pictures and prints the table.
pub fn run(args: &SamplersArgs) -> Result<()> {
    at_least(&[("--count", args.count, 1)])?;
    for &calls in &args.calls {
        at_least(&[("--calls", calls, 1)])?;
    }
    refuse_steps_beside_calls(args)?;
    exists(&args.model.run)?;
    if args.calls.is_empty() {
        check_file("--out", &out(args))?;
    }
    let opened = open_for_all_samplers(&args.model, Kind::of_pixels())?;
    opened.check_memory("--count", args.count, args.model.batch_size)?;
    let Opened {
        model, sampling, ..
    } = opened;
    if args.calls.is_empty() {
        draw(&model, args, &sampling)
    } else {
        measure(&model, args, &sampling)
    }
}

/// `--calls` says how many steps each sampler takes.
fn refuse_steps_beside_calls(args: &SamplersArgs) -> Result<()> {
    let sets_steps =
        |text: &&String| key_of_sampling(text).is_some_and(|(key, _)| key == "num_inference_steps");
    match args.model.sampler.set.iter().find(sets_steps) {
        Some(text) if !args.calls.is_empty() => bail!(Usage(format!(
            "--set {text}: the number of steps follows from --calls"
        ))),
        _ => Ok(()),
    }
}

/// Where the picture goes.
fn out(args: &SamplersArgs) -> PathBuf {
    args.out
        .clone()
        .unwrap_or_else(|| args.model.run.join("samplers.png"))
}

/// A row a sampler, all from the same noise.
fn draw(model: &Model, args: &SamplersArgs, sampling: &SamplingOptions) -> Result<()> {
    let mut cells: Vec<DynamicImage> = Vec::new();
    let mut rows = Vec::new();
    for &sampler in SamplerKind::ALL {
        let sampling = SamplingOptions {
            sampler,
            ..sampling.clone()
        };
        let steps = sampling.num_inference_steps;
        let calls = sampler.network_calls(steps);
        info!("{sampler}: {calls} network calls");
        let started = Instant::now();
        cells.extend(pictures::from_tensor(images(
            model,
            args,
            sampling,
            args.model.seed,
        )?)?);
        let seconds = started.elapsed().as_secs_f64();
        let row = cells.len() / args.count;
        rows.push(format!("{sampler}: {calls} calls, {seconds:.1} s"));
        report::figures(format!("row {row}: {sampler}"));
        report::json(&json!({
            "row": row,
            "sampler": sampler.name(),
            "network_calls": calls,
            "seconds": seconds,
        }))?;
    }
    let out = out(args);
    let title = format!(
        "the same noise by every sampler in {} steps",
        sampling.num_inference_steps
    );
    let picture = captioned(
        &grid::grid(&cells, args.count)?,
        &Captions::title(title).rows(rows),
        0,
    )?;
    pictures::save(&picture, &out)?;
    report::wrote(&out);
    Ok(())
}

/// The distances from DDPM over every step, a row a sampler and a column a number of network calls.
fn measure(model: &Model, args: &SamplersArgs, sampling: &SamplingOptions) -> Result<()> {
    let every_step = SamplingOptions {
        sampler: SamplerKind::Ddpm,
        num_inference_steps: model.chain.schedule().num_train_timesteps(),
        timestep_spacing: TimestepSpacing::Trailing,
        ddpm_variance: DdpmVariance::FixedSmall,
        ..sampling.clone()
    };
    // Other noise than that of the reference, as any images will have.
    let other_seed = args.model.seed.wrapping_add(1);
    let reference = pixels(images(model, args, every_step.clone(), args.model.seed)?)?;
    let directions = directions(reference.width(), &model.device)?;
    let distance = |sampling| -> Result<f64> {
        let images = pixels(images(model, args, sampling, other_seed)?)?;
        Ok(sliced_wasserstein(&reference, &images, &directions)?)
    };
    let floor = distance(every_step)?;

    let head: String = args
        .calls
        .iter()
        .map(|calls| format!("{calls:>8}"))
        .collect();
    report::figures(format!("{:<16}{head}", "network calls"));
    for &sampler in SamplerKind::ALL {
        let mut line = format!("{:<16}", sampler.name());
        for &calls in &args.calls {
            let num_inference_steps = sampler.steps_for_calls(calls);
            let sampling = SamplingOptions {
                sampler,
                num_inference_steps,
                ..sampling.clone()
            };
            let distance = distance(sampling)?;
            line += &format!("{distance:>8.4}");
            report::json(&json!({
                "sampler": sampler.name(),
                "network_calls": calls,
                "sliced_wasserstein": distance,
                "two_sets_of_ddpm": floor,
            }))?;
        }
        report::figures(line);
    }
    report::figures(format!(
        "(sliced Wasserstein distance of {} images from as many by ddpm in {} steps; two such sets are \
         {floor:.4} apart)",
        args.count,
        model.chain.schedule().num_train_timesteps()
    ));
    Ok(())
}

fn images(
    model: &Model,
    args: &SamplersArgs,
    sampling: SamplingOptions,
    seed: u64,
) -> Result<Tensor<4>> {
    let started = Instant::now();
    let description = format!("{} in {}", sampling.sampler, sampling.num_inference_steps);
    let request = Request::new(
        every_class(args.count, model.num_classes()),
        sampling,
        seed,
        args.model.batch_size,
    );
    let images = model.sample_with_bar(&request)?;
    info!(
        "{description} steps: {} images in {:.1} s",
        args.count,
        started.elapsed().as_secs_f64()
    );
    Ok(images)
}

/// The pixels of each image, `[N, C, H, W]`, as its features.
fn pixels(images: Tensor<4>) -> Result<Features> {
    let [_, channels, height, width] = images.dims();
    rows(images.reshape([-1, (channels * height * width) as i32]))
}

/// Directions in the space of `width` numbers, always the same.
fn directions(width: usize, device: &Device) -> Result<Features> {
    let mut rng = Streams::new(0).at(Purpose::Directions, 0);
    rows(streams::noise([DIRECTIONS, width], &mut rng, device))
}

fn rows(tensor: Tensor<2>) -> Result<Features> {
    let width = tensor.dims()[1];
    let values = tensor
        .try_into_vec_as()
        .context("cannot read the images back from the device")?;
    Ok(Features::new(values, width)?)
}
