//! `trainer evaluate`: images, sounds or rows of a trained network, and numbers that say how good they are.

mod rows;

use anyhow::{Context, Result, bail};
use burn::tensor::{Device, Tensor};
use datasets::Split;
use denoising::SamplingOptions;
use evaluation::Neighbour;
use image::DynamicImage;
use inception::Resize;
use serde::Serialize;
use tracing::{info, warn};
use training::Data as _;

use crate::cli::{EvaluateArgs, FeatureKind, InceptionResize};
use crate::commands::opened::{Opened, at_least, of_kinds, open, refuse_idle_guidance};
use crate::config::RunConfig;
use crate::device;
use crate::drawing::captions::{Captions, captioned};
use crate::drawing::{grid, pictures};
use crate::error::Usage;
use crate::kinds::{Dataset, Kind, read_labels, scored_pictures, write_heard};
use crate::progress;
use crate::report;
use crate::run::atomic_file;
use crate::sampling::{Classes, Model, Request, describe, parse_classes};
use crate::scoring::cache::FeatureCache;
use crate::scoring::classifier::default_steps;
use crate::scoring::features::{FeatureNetwork, find_inception};
use crate::scoring::image_set::ImageSet;
use crate::scoring::likelihood::{LikelihoodOptions, likelihood};
use crate::scoring::reference::{Reference, Scored};
use crate::scoring::scores::{Score, table};

/// Images that are drawn and scored when no number is given.
const COUNT: usize = 1000;

/// Pairs of a generated image and the training image nearest to it that are drawn.
const PAIRS: usize = 12;

/// What `scores.json` holds.
#[derive(Debug, Serialize)]
struct Report<'a> {
    program_version: &'static str,
    /// The checkpoint, and the steps that it had been trained for.
    checkpoint: String,
    step: u64,
    /// How the images were sampled, in a line and key by key.
    sampler: &'a str,
    sampling: &'a SamplingOptions,
    seed: u64,
    /// The share of test images whose class the feature network sees.
    feature_network_accuracy: Option<f64>,
    scores: &'a [Score],
    /// What came nearest to training examples, the nearest first.
    nearest: &'a [Near],
}

/// A sample and the training example that is nearest to it.
#[derive(Debug, Clone, Copy, Serialize)]
struct Near {
    /// Its place among the samples.
    sample: usize,
    /// The place of the example in the training split.
    example: usize,
    /// The distance of their features.
    distance: f64,
}

/// Draws, scores, prints and writes.
pub fn run(args: &EvaluateArgs) -> Result<()> {
    let count = args.count.unwrap_or(COUNT);
    check(args, count)?;
    let files = args.samples.as_deref().map(read_labels).transpose()?;
    let opened = open(&args.model)?;
    if opened.checkpoint.config().data.is_table() {
        return rows::run(args, opened);
    }
    if args.target.is_some() {
        bail!(Usage("--target is for tables".to_owned()));
    }
    let opened = of_kinds(opened, &args.model, Kind::of_files())?;
    opened.check_memory("--count", count, args.model.batch_size)?;
    let Opened {
        checkpoint,
        model,
        sampling,
        device_names,
        ..
    } = opened;
    if args.unconditional {
        refuse_idle_guidance(&args.model.sampler, &[None])?;
    }
    let likelihood_images = match args.samples {
        // It is of the network.
        Some(_) => 0,
        None => likelihood_images(args, checkpoint.config().data.kind())?,
    };
    let (dataset, training, test) = splits(checkpoint.config(), args)?;
    let flip = checkpoint.config().data.flip;
    let names = &checkpoint.config().found.class_names;
    let asked = match &args.class {
        Some(text) => Some(parse_classes(text, model.classes, names)?),
        None => None,
    };

    let cache = match &args.cache {
        Some(folder) => FeatureCache::new(folder.clone()),
        None => FeatureCache::beside(&args.model.run),
    };
    let network = network(args, &cache, &training, &model.device)?;
    // What classifies knows all classes; what is compared with are the images of those that are asked for.
    let training = training.of_classes(asked.as_deref());
    let test = test.of_classes(asked.as_deref());
    let asked_count = count;
    let count = files.as_ref().map_or(asked_count, Vec::len);
    if let Some(folder) = args
        .samples
        .as_ref()
        .filter(|_| count <= args.neighbours.max(1))
    {
        bail!(Usage(format!(
            "--samples {}: it holds {count} samples, and --neighbours {} needs {} or more",
            folder.display(),
            args.neighbours,
            args.neighbours.saturating_add(1).max(2)
        )));
    }
    check_splits(args, count, training.len(), test.len())?;
    check_classes(args, model.classes, &training, &test)?;
    let reference = Reference::new(&cache, network, &training, &test, flip)?;
    let accuracy = reference.accuracy()?;

    let known = model.classes.is_some();
    let (generated, sampler) = match (&files, &args.samples) {
        (Some(files), Some(folder)) => (
            ImageSet::of_files(&dataset, files)?,
            format!("the files of {}", folder.display()),
        ),
        _ => {
            let classes = if args.unconditional {
                vec![None; asked_count]
            } else {
                reference.classes_in_proportion(asked_count, model.num_classes())
            };
            info!(
                "{} at step {}: {} {} by {} in {} steps on {device_names}",
                checkpoint.folder().display(),
                checkpoint.counters().step,
                asked_count,
                checkpoint.config().data.kind(),
                sampling.sampler,
                sampling.num_inference_steps,
            );
            let samples = sample(&model, args, &sampling, &classes)?;
            let settings = describe(&sampling, known && !args.unconditional)?;
            (
                ImageSet::generated(&dataset, samples, &classes)?,
                format!("{settings}, {}", classes_asked(args, known)),
            )
        }
    };
    let Scored {
        mut scores,
        neighbours,
    } = reference.scores(&generated, &sampler, args.neighbours)?;
    if likelihood_images > 0 {
        let options = LikelihoodOptions {
            images: likelihood_images,
            timesteps: args.likelihood_timesteps,
            batch_size: args.model.batch_size,
            variance: sampling.ddpm_variance,
            unconditional: args.unconditional,
        };
        let bar = progress::bar(options.calls(&model, test.len()), "bits per dimension");
        scores.extend(likelihood(&model, &test, options, || bar.inc(1))?);
        bar.finish_and_clear();
    }

    let order = nearest_first(&neighbours);
    let nearest: Vec<Near> = order
        .iter()
        .map(|&sample| Near {
            sample: generated.place(sample),
            example: training.place(neighbours[sample].index % training.len()),
            distance: neighbours[sample].distance,
        })
        .collect();
    let scored = Report {
        program_version: env!("CARGO_PKG_VERSION"),
        checkpoint: checkpoint.folder().display().to_string(),
        step: checkpoint.counters().step,
        sampler: &sampler,
        sampling: &sampling,
        seed: args.model.seed,
        feature_network_accuracy: accuracy,
        scores: &scores,
        nearest: &nearest,
    };
    report::figures(match args.samples {
        Some(_) => sampler.clone(),
        None => format!(
            "{} at step {}, sampled by {sampler}",
            checkpoint.folder().display(),
            checkpoint.counters().step
        ),
    });
    let right = accuracy.map_or(String::new(), |accuracy| {
        format!(
            ", which sees {:.2} % of the test images right",
            100.0 * accuracy
        )
    });
    report::figures(format!("features of {}{right}", reference.network_name()));
    report::figures(table(&scores).trim_end());
    report::json(&scored)?;

    // What is said of files lies beside them.
    let folder = args.samples.as_ref().unwrap_or(&args.model.run);
    let path = folder.join("scores.json");
    atomic_file::write(&path, &serde_json::to_vec_pretty(&scored)?)
        .with_context(|| format!("cannot write {}", path.display()))?;
    let pairs = folder.join("nearest.png");
    let picture = nearest_pairs(&dataset, &generated, &training, &neighbours, &order)?;
    pictures::save_png(&picture, &pairs)?;
    for path in [path, pairs] {
        report::wrote(&path);
    }
    let examples: Vec<usize> = nearest.iter().map(|near| near.example).collect();
    write_heard(&dataset, &examples, &folder.join("nearest.wav"))
}

/// Samples of these classes from the network: `[N, C, H, W]`.
fn sample(
    model: &Model,
    args: &EvaluateArgs,
    sampling: &SamplingOptions,
    classes: &[Option<usize>],
) -> Result<Tensor<4>> {
    let request = Request::new(
        classes.to_vec(),
        sampling.clone(),
        args.model.seed,
        args.model.batch_size,
    );
    model.sample_with_bar(&request)
}

/// Whether there is enough to compare with, before anything is sampled. Where only the test split is too
/// small, a warning says which figures of real images are left out or are of fewer images.
fn check_splits(args: &EvaluateArgs, count: usize, training: usize, test: usize) -> Result<()> {
    let neighbours = args.neighbours;
    let of_classes = match &args.class {
        Some(classes) => format!(" of class {classes}"),
        None => String::new(),
    };
    if training <= neighbours || training < 2 {
        bail!(Usage(format!(
            "there are {training} training images{of_classes} to compare with, and --neighbours {neighbours} \
             needs {} or more",
            neighbours.saturating_add(1).max(2)
        )));
    }
    if test == 0 {
        bail!(Usage(format!(
            "there is no held-out image{of_classes} to compare with"
        )));
    }
    if test < count {
        warn!(
            "the column `real` is of {test} images, all that are held out{of_classes}, where {count} are \
             sampled: fewer images have a higher FID, so hold --count {test} against it"
        );
    }
    if test <= neighbours || test < 2 {
        warn!(
            "the column `real` is left out for scores that need more than {test} held-out images: \
             --neighbours {neighbours} needs {}",
            neighbours.saturating_add(1).max(2)
        );
    }
    Ok(())
}

/// Whether the network can be told the classes of the images, before anything is sampled: one that was imported
/// may know others than the data have.
fn check_classes(
    args: &EvaluateArgs,
    known: Option<Classes>,
    training: &ImageSet,
    test: &ImageSet,
) -> Result<()> {
    let Some(known) = known.filter(|_| !args.unconditional) else {
        return Ok(());
    };
    let labels = || training.labels().iter().chain(test.labels());
    if let Some(label) = labels().flatten().find(|&&label| label >= known.count) {
        bail!(Usage(format!(
            "the data have images of class {label}, and the network knows {} classes, numbered from 0: \
             evaluate it with --unconditional, or import it with data of its own classes",
            known.count
        )));
    }
    let tells_labels =
        args.likelihood_images.unwrap_or(LIKELIHOOD_IMAGES) > 0 && !known.has_null_label;
    if tells_labels && test.labels().contains(&None) {
        bail!(Usage(
            "a held-out image has no class, and the network has no label for \"no class\" \
             (conditioning.null_label = false): leave the likelihood out with --likelihood-images 0"
                .to_owned()
        ));
    }
    Ok(())
}

/// The generated images that come nearest to training images, the nearest first.
fn nearest_first(neighbours: &[Neighbour]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..neighbours.len()).collect();
    order.sort_by(|&a, &b| neighbours[a].distance.total_cmp(&neighbours[b].distance));
    order.truncate(PAIRS);
    order
}

/// The samples of this `order`, and below each the training example that it comes nearest to: whoever memorises is seen
/// here first.
fn nearest_pairs(
    dataset: &Dataset,
    generated: &ImageSet,
    training: &ImageSet,
    neighbours: &[Neighbour],
    order: &[usize],
) -> Result<DynamicImage> {
    let device = device::nearest()?;
    let nearest = order.iter().map(|&index| {
        let place = neighbours[index].index;
        let image = training.subset(&[place % training.len()]);
        if place < training.len() {
            image.batch(&[0], &device)
        } else {
            image.mirrored().batch(&[0], &device)
        }
    });
    let both = [generated.batch(order, &device)];
    let both = Tensor::cat(both.into_iter().chain(nearest).collect(), 0);
    captioned(
        &grid::grid(&scored_pictures(dataset, both)?, order.len())?,
        &Captions::title("samples that come nearest to training examples, the nearest first")
            .rows(["sampled", "nearest example"].map(str::to_owned).to_vec()),
        0,
    )
}

/// Numbers of the command line that mean nothing.
fn check(args: &EvaluateArgs, count: usize) -> Result<()> {
    at_least(&[
        ("--count", count, args.neighbours.saturating_add(1).max(2)),
        ("--neighbours", args.neighbours, 1),
        ("--likelihood-timesteps", args.likelihood_timesteps, 1),
        (
            "--reference-images",
            args.reference_images.unwrap_or(usize::MAX),
            args.neighbours.saturating_add(1).max(2),
        ),
        (
            "--classifier-steps",
            args.classifier_steps.unwrap_or(usize::MAX),
            1,
        ),
    ])?;
    if args.features == FeatureKind::Classifier && args.inception_weights.is_some() {
        bail!(Usage(
            "--inception-weights needs --features inception".to_owned()
        ));
    }
    Ok(())
}

/// Test images whose bits per dimension are measured when no number is given.
const LIKELIHOOD_IMAGES: usize = 50;

/// The number of test images whose bits per dimension are measured. Refuses what is for images alone.
fn likelihood_images(args: &EvaluateArgs, kind: Kind) -> Result<usize> {
    if kind.is_of_bytes() {
        return Ok(args.likelihood_images.unwrap_or(LIKELIHOOD_IMAGES));
    }
    for (option, given, why) in [
        (
            "--likelihood-images",
            args.likelihood_images.is_some_and(|count| count > 0),
            "bits per dimension are those of bytes",
        ),
        (
            "--features inception",
            args.features == FeatureKind::Inception,
            "Inception-v3 sees photographs",
        ),
    ] {
        if given {
            bail!(Usage(format!("{option}: the run draws {kind}, and {why}")));
        }
    }
    Ok(0)
}

/// What the run learnt from, and how that and what it did not learn from look to scores, as far as they are asked
/// for.
fn splits(config: &RunConfig, args: &EvaluateArgs) -> Result<(Dataset, ImageSet, ImageSet)> {
    let source = config.source(args.data_dir.as_deref());
    let splits = config.data.kind().load(&source)?;
    let count = args.reference_images.unwrap_or(usize::MAX);
    let expected = config.network.example_shape();
    let set = |dataset: &Dataset, split| -> Result<ImageSet> {
        if dataset.example_shape() != expected {
            bail!(
                "the {} of the data have the shape {:?} (channels, height, width), and the network \
                 draws {expected:?}: there is nothing to compare",
                config.data.kind(),
                dataset.example_shape()
            );
        }
        ImageSet::random_subset(dataset, count, split)
    };
    let (training, test) = (
        set(&splits.train, Split::Train)?,
        set(&splits.test, Split::Test)?,
    );
    Ok((splits.train, training, test))
}

/// The network that is asked for; a classifier is trained where it is not kept.
fn network(
    args: &EvaluateArgs,
    cache: &FeatureCache,
    training: &ImageSet,
    device: &Device,
) -> Result<FeatureNetwork> {
    match args.features {
        FeatureKind::Classifier => {
            let default = || default_steps(training.len());
            let steps = args.classifier_steps.unwrap_or_else(default);
            cache.classifier(training, steps, device)
        }
        FeatureKind::Inception => {
            let file = match &args.inception_weights {
                Some(file) => file.clone(),
                None => find_inception(args.data_dir.as_deref())?,
            };
            let resize = match args.inception_resize {
                InceptionResize::Tensorflow => Resize::Tensorflow,
                InceptionResize::Clean => Resize::Clean,
            };
            FeatureNetwork::inception(&file, resize, device)
        }
    }
}

/// Which classes were asked for.
fn classes_asked(args: &EvaluateArgs, classes_known: bool) -> String {
    match &args.class {
        Some(classes) => format!("of class {classes}"),
        None if args.unconditional || !classes_known => "unconditional".to_owned(),
        None => "of all classes".to_owned(),
    }
}
