//! `trainer evaluate`: images of a trained network, and numbers that say how good they are.

use anyhow::{Context, Result, bail};
use burn::tensor::{Device, Tensor};
use datasets::Split;
use denoising::SamplingOptions;
use evaluation::Neighbour;
use image::DynamicImage;
use inception::Resize;
use serde::Serialize;
use tracing::info;

use crate::cli::{EvaluateArgs, FeatureKind, InceptionResize};
use crate::commands::opened::{Opened, at_least, open_images};
use crate::config::RunConfig;
use crate::drawing::{grid, pictures};
use crate::error::Usage;
use crate::kinds;
use crate::progress;
use crate::run::atomic_file;
use crate::sampling::Request;
use crate::sampling::parse_classes;
use crate::scoring::cache::FeatureCache;
use crate::scoring::classifier::default_steps;
use crate::scoring::features::{FeatureNetwork, find_inception};
use crate::scoring::image_set::ImageSet;
use crate::scoring::likelihood::{LikelihoodOptions, likelihood};
use crate::scoring::reference::{Reference, Scored};
use crate::scoring::scores::{Score, table};

/// Pairs of a generated image and the training image nearest to it that are drawn.
const PAIRS: usize = 12;

/// What `scores.json` holds.
#[derive(Debug, Serialize)]
struct Report<'a> {
    program_version: &'static str,
    /// The checkpoint, and the steps that it had been trained for.
    checkpoint: String,
    step: u64,
    /// How the images were drawn.
    sampling: &'a SamplingOptions,
    seed: u64,
    /// The share of test images whose class the feature network sees.
    feature_network_accuracy: Option<f64>,
    scores: &'a [Score],
}

/// Draws, scores, prints and writes.
pub fn run(args: &EvaluateArgs) -> Result<()> {
    check(args)?;
    let Opened {
        checkpoint,
        model,
        sampling,
        device_name,
    } = open_images(&args.model)?;
    let (training, test) = splits(checkpoint.config(), args)?;
    let names = &checkpoint.config().found.class_names;
    let asked = match &args.class {
        Some(text) => Some(parse_classes(text, model.null_label, names)?),
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
    for (split, set) in [("training", &training), ("held-out", &test)] {
        if asked.is_some() && set.len() <= args.neighbours {
            bail!(Usage(format!(
                "--class: there are {} {split} images of these classes to compare with, and --neighbours \
                 {} needs more",
                set.len(),
                args.neighbours
            )));
        }
    }
    let reference = Reference::new(&cache, network, &training, &test)?;
    let accuracy = reference.accuracy()?;

    let classes = if args.unconditional {
        vec![None; args.count]
    } else {
        reference.classes_in_proportion(args.count, model.null_label)
    };
    let steps = sampling.num_inference_steps;
    info!(
        "{} at step {}: {} images by {} in {steps} steps on {}",
        checkpoint.folder().display(),
        checkpoint.counters().step,
        args.count,
        sampling.sampler,
        device_name
    );
    let request = Request {
        classes: classes.clone(),
        sampling: sampling.clone(),
        seed: args.model.seed,
        batch_size: args.model.batch_size,
        initial_noise: None,
        edit: None,
    };
    let bar = progress::bar(
        args.count.div_ceil(args.model.batch_size) * steps,
        "denoising",
    );
    let images = model.sample(&request, |_, _| {
        bar.inc(1);
        Ok(())
    })?;
    bar.finish_and_clear();

    let sampler = describe(&sampling, args)?;
    let Scored {
        mut scores,
        neighbours,
    } = reference.scores(&images, &classes, &sampler, args.neighbours)?;
    if args.likelihood_images > 0 {
        let options = LikelihoodOptions {
            images: args.likelihood_images,
            timesteps: args.likelihood_timesteps,
            batch_size: args.model.batch_size,
            variance: sampling.ddpm_variance,
        };
        let batches = args.likelihood_images.div_ceil(args.model.batch_size);
        let bar = progress::bar(batches * args.likelihood_timesteps, "bits per dimension");
        scores.extend(likelihood(&model, &test, options, || bar.inc(1))?);
        bar.finish_and_clear();
    }

    println!(
        "{} at step {}, drawn by {sampler}",
        checkpoint.folder().display(),
        checkpoint.counters().step
    );
    let right = accuracy.map_or(String::new(), |accuracy| {
        format!(
            ", which sees {:.2} % of the test images right",
            100.0 * accuracy
        )
    });
    println!("features of {}{right}", reference.network_name());
    print!("{}", table(&scores));
    println!("(real: test images scored in place of generated ones)");

    let report = Report {
        program_version: env!("CARGO_PKG_VERSION"),
        checkpoint: checkpoint.folder().display().to_string(),
        step: checkpoint.counters().step,
        sampling: &sampling,
        seed: args.model.seed,
        feature_network_accuracy: accuracy,
        scores: &scores,
    };
    let path = args.model.run.join("scores.json");
    atomic_file::write(&path, &serde_json::to_vec_pretty(&report)?)
        .with_context(|| format!("cannot write {}", path.display()))?;
    println!("wrote {}", path.display());
    let path = args.model.run.join("nearest.png");
    pictures::save_png(&nearest_pairs(images, &training, &neighbours)?, &path)?;
    println!("wrote {}", path.display());
    Ok(())
}

/// The generated images that come nearest to training images, the nearest first, and below each the
/// training image: whoever memorises is seen here first.
fn nearest_pairs(
    images: Tensor<4>,
    training: &ImageSet,
    neighbours: &[Neighbour],
) -> Result<DynamicImage> {
    let mut order: Vec<usize> = (0..neighbours.len()).collect();
    order.sort_by(|&a, &b| neighbours[a].distance.total_cmp(&neighbours[b].distance));
    order.truncate(PAIRS);
    let device = images.device();
    let rows: Vec<i64> = order.iter().map(|&index| index as i64).collect();
    let generated = images.select(0, Tensor::from_data(rows.as_slice(), &device));
    let nearest: Vec<usize> = order.iter().map(|&index| neighbours[index].index).collect();
    let both = Tensor::cat(vec![generated, training.batch(&nearest, &device)], 0);
    grid::grid(&pictures::from_tensor(both)?, order.len())
}

/// Numbers of the command line that mean nothing.
fn check(args: &EvaluateArgs) -> Result<()> {
    at_least(&[
        (
            "--count",
            args.count,
            args.neighbours.saturating_add(1).max(2),
        ),
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

/// The images that the run learnt from and those that it did not, as far as they are asked for.
fn splits(config: &RunConfig, args: &EvaluateArgs) -> Result<(ImageSet, ImageSet)> {
    let splits = kinds::load_images(&config.source(args.data_dir.as_deref()))?;
    let count = args.reference_images.unwrap_or(usize::MAX);
    let network = &config.network;
    let expected = [
        network.in_channels,
        network.sample_size,
        network.sample_size,
    ];
    let set = |dataset, split| -> Result<ImageSet> {
        let set = ImageSet::random_subset(dataset, count, split)?;
        if set.shape() != expected {
            bail!(
                "the images of the data have the shape {:?} (channels, height, width), and the network \
                 draws {expected:?}: there is nothing to compare",
                set.shape()
            );
        }
        Ok(set)
    };
    Ok((
        set(&splits.train, Split::Train)?,
        set(&splits.test, Split::Test)?,
    ))
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

/// The settings of a sampler in one line, those that its figures depend on.
fn describe(sampling: &SamplingOptions, args: &EvaluateArgs) -> Result<String> {
    let spacing = serde_json::to_value(sampling.timestep_spacing)?;
    let spacing = spacing.as_str().unwrap_or_default();
    let guidance = sampling.guidance_scale;
    let classes = match &args.class {
        _ if args.unconditional => "unconditional".to_owned(),
        Some(classes) => format!("guidance {guidance}, of class {classes}"),
        None => format!("guidance {guidance}"),
    };
    Ok(format!(
        "{}, {} steps, {spacing}, eta {}, {classes}",
        sampling.sampler, sampling.num_inference_steps, sampling.eta
    ))
}
