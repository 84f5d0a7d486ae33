//! `trainer bench`: how fast this machine trains a network and calls it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::Serialize;
use training::{Batch, Condition, Learner, Network as _, Purpose, Streams, streams};

use crate::cli::{BenchArgs, BenchMeasure};
use crate::config::{NamedConfig, RunConfig};
use crate::device::{self, NamedDevice};
use crate::error::Usage;
use crate::invocation::hint;
use crate::memory::{self, Needs, TooMuch};
use crate::network::{Network, NetworkConfig};
use crate::report;
use crate::training_loop::new_learner;

/// Repetitions that are not counted: memory and caches are filled by them.
const WARM_UP: usize = 2;
/// The least number of repetitions that are.
const MIN_REPEATS: usize = 5;

/// One line of the table.
#[derive(Debug, Serialize)]
struct Measurement {
    measure: BenchMeasure,
    batch_size: usize,
    repeats: usize,
    /// Median time of a repetition.
    seconds: f64,
    images_per_second: f64,
}

/// One kernel of a repetition, with `--launches`.
#[derive(Debug, Serialize)]
struct Launches<'a> {
    measure: BenchMeasure,
    batch_size: usize,
    /// The kernel, or `all`.
    kernel: &'a str,
    launches: usize,
}

/// Measures and prints.
pub fn run(args: &BenchArgs) -> Result<()> {
    let device = device::select(args.device.device.as_deref())?;
    let named = NamedConfig::find(args.config.as_deref())?;
    let mut config = named.load(&args.set)?;
    if config.conditioning.class_labels {
        // As `train` finds it in the data, which is not needed here; how many classes a folder has
        // changes no time that could be measured.
        const CLASSES_OF_A_FOLDER: usize = 10;
        let classes = config
            .data
            .dataset
            .map_or(CLASSES_OF_A_FOLDER, |dataset| dataset.class_names().len());
        if let NetworkConfig::UNet(unet) = &mut config.network {
            unet.num_class_embeds = Some(classes + usize::from(config.conditioning.null_label));
        }
    }
    if args.batch_sizes.contains(&0) {
        bail!(Usage(
            "--batch-sizes: a batch holds at least 1 image".to_owned()
        ));
    }
    if !(0.0..=3600.0).contains(&args.seconds) {
        bail!(Usage(format!(
            "--seconds {}: expected a number from 0 to 3600",
            args.seconds
        )));
    }
    let measures = match args.only {
        Some(measure) => vec![measure],
        None => vec![BenchMeasure::Train, BenchMeasure::Call],
    };
    check_memory(&config, &device, &args.batch_sizes, &measures)?;
    if args.launches && device.backend.is_host() {
        bail!(Usage(format!(
            "--launches counts what a GPU is made to launch, and {} is none: name one with --device (`{}` lists them)",
            device.name,
            hint("devices")
        )));
    }
    let learner = new_learner(&config, &device.device)?;
    report::figures(format!(
        "{}: {} parameters, device {}, {} threads\n               {}",
        named.path.display(),
        learner.network().num_params(),
        device.name,
        rayon::current_num_threads(),
        if args.launches {
            "batch   launches"
        } else {
            "batch   images/s   ms (median)"
        }
    ));
    for measure in measures {
        for &batch_size in &args.batch_sizes {
            let device = &device.device;
            let mut work = match measure {
                BenchMeasure::Train => training_step(&config, learner.clone(), batch_size, device),
                BenchMeasure::Call => network_call(&config, &learner, batch_size, device),
            };
            if args.launches {
                count(measure, batch_size, work)?;
                continue;
            }
            let mut times = repeat(Duration::from_secs_f64(args.seconds), &mut work)?;
            times.sort_by(f64::total_cmp);
            let seconds = times[times.len() / 2];
            let measurement = Measurement {
                measure,
                batch_size,
                repeats: times.len(),
                seconds,
                images_per_second: batch_size as f64 / seconds,
            };
            print(&measurement)?;
        }
    }
    Ok(())
}

/// Refuses what does not fit into the memory of this machine.
fn check_memory(
    config: &RunConfig,
    device: &NamedDevice,
    batch_sizes: &[usize],
    measures: &[BenchMeasure],
) -> Result<(), Usage> {
    let needs = Needs::of(&config.network, device);
    let refuse = |what: &str, too_much: TooMuch| Usage(format!("{what}: {too_much}"));
    memory::check(1, needs.training).map_err(|error| refuse("network", error))?;
    for measure in measures {
        let bytes = match measure {
            BenchMeasure::Train => needs.trained_example,
            BenchMeasure::Call => needs.called_example,
        };
        for &batch_size in batch_sizes {
            let checked = memory::check(batch_size, bytes);
            checked.map_err(|error| refuse("--batch-sizes", error))?;
        }
    }
    Ok(())
}

fn name(measure: BenchMeasure) -> &'static str {
    match measure {
        BenchMeasure::Train => "training step",
        BenchMeasure::Call => "network call",
    }
}

fn print(measurement: &Measurement) -> Result<()> {
    report::figures(format!(
        "{:13} {:>6} {:>10.1} {:>10.2}",
        name(measurement.measure),
        measurement.batch_size,
        measurement.images_per_second,
        1e3 * measurement.seconds
    ));
    report::json(measurement)
}

/// Prints how often each kernel is launched by one repetition, after as many that compile and tune them.
#[cfg(feature = "gpu")]
fn count(
    measure: BenchMeasure,
    batch_size: usize,
    mut work: impl FnMut(u64) -> Result<()>,
) -> Result<()> {
    for index in 0..WARM_UP {
        work(index as u64)?;
    }
    let (done, kernels) = kernels::count_launches(|| work(WARM_UP as u64));
    done?;
    let all: usize = kernels.iter().map(|(_, count)| count).sum();
    let each = kernels.iter().map(|(name, count)| (name.as_str(), *count));
    for (kernel, launches) in std::iter::once(("all", all)).chain(each) {
        report::figures(match kernel {
            "all" => format!("{:13} {batch_size:>6} {launches:>10}", name(measure)),
            _ => format!("{launches:>31}  {kernel}"),
        });
        report::json(&Launches {
            measure,
            batch_size,
            kernel,
            launches,
        })?;
    }
    Ok(())
}

#[cfg(not(feature = "gpu"))]
fn count(
    _measure: BenchMeasure,
    _batch_size: usize,
    _work: impl FnMut(u64) -> Result<()>,
) -> Result<()> {
    unreachable!("a build without GPUs has no device but those of the CPU, which are refused")
}

/// A repetition of something, by its number.
type Work<'a> = Box<dyn FnMut(u64) -> Result<()> + 'a>;

/// Whole steps of training, from drawing the noise to the moving average.
fn training_step<'a>(
    config: &'a RunConfig,
    mut learner: Learner<Network>,
    batch_size: usize,
    device: &'a Device,
) -> Work<'a> {
    let streams = Streams::new(config.seed);
    let shape = learner.network().example_shape();
    let x_0 = examples(config, shape, batch_size, device).autodiff();
    let condition = condition(config, batch_size);
    let num_train_timesteps = learner.objective.chain().num_train_timesteps();
    Box::new(move |index| {
        let mut rng = streams.at(Purpose::Training, index);
        let timesteps = streams::timesteps(batch_size, num_train_timesteps, &mut rng);
        let batch = Batch {
            noise: streams::noise(x_0.dims(), &mut rng, device).autodiff(),
            x_0: x_0.clone(),
            condition: condition.clone(),
            timesteps,
        };
        let step = learner.step(vec![batch], config.training.learning_rate)?;
        wait_for(step.loss)
    })
}

/// Calls of the network, without gradients.
fn network_call<'a>(
    config: &RunConfig,
    learner: &Learner<Network>,
    batch_size: usize,
    device: &'a Device,
) -> Work<'a> {
    let network = learner.network().valid();
    let x_t = examples(config, network.example_shape(), batch_size, device);
    let timesteps = vec![500.0; batch_size];
    let condition = condition(config, batch_size);
    Box::new(move |_| {
        let predicted = network.forward(x_t.clone(), &timesteps, &condition);
        wait_for(predicted.slice([0..1, 0..1, 0..1, 0..1]).reshape([1]))
    })
}

/// Seconds of each repetition.
fn repeat(budget: Duration, mut work: impl FnMut(u64) -> Result<()>) -> Result<Vec<f64>> {
    for index in 0..WARM_UP {
        work(index as u64)?;
    }
    let start = Instant::now();
    let mut times = Vec::new();
    while times.len() < MIN_REPEATS || start.elapsed() < budget {
        let begin = Instant::now();
        work((WARM_UP + times.len()) as u64)?;
        times.push(begin.elapsed().as_secs_f64());
    }
    Ok(times)
}

/// Reads a number back: what it was made of must be done then.
fn wait_for(number: Tensor<1>) -> Result<()> {
    let data = number.try_into_data();
    data.context("cannot read a result back from the device")?;
    Ok(())
}

fn examples(
    config: &RunConfig,
    shape: [usize; 3],
    batch_size: usize,
    device: &Device,
) -> Tensor<4> {
    let [channels, height, width] = shape;
    let shape = [batch_size, channels, height, width];
    let mut rng = Streams::new(config.seed).at(Purpose::Forward, 0);
    streams::noise(shape, &mut rng, device)
}

fn condition(config: &RunConfig, batch_size: usize) -> Condition {
    let Some(num_classes) = config.num_classes() else {
        return Condition::none();
    };
    // A network of the null label alone has no class to be told.
    let label = |index: usize| index.checked_rem(num_classes);
    Condition::classes((0..batch_size).map(label).collect(), num_classes)
}
