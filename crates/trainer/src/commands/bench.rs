//! `trainer bench`: how fast this machine trains a network and calls it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use indicatif::HumanBytes;
use serde::Serialize;
use training::{
    Batch, Condition, Learner, Network as _, Passage, Purpose, Replicas, Streams, flatten, spread,
    streams,
};

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
    devices: usize,
    /// Images of each device.
    batch_size: usize,
    repeats: usize,
    /// Median time of a repetition.
    seconds: f64,
    /// Of all devices.
    images_per_second: f64,
    /// How much faster than the first device alone.
    speedup: f64,
}

/// What a step of training on several devices has beside what each of them computes.
#[derive(Debug, Serialize)]
struct Exchange {
    measure: &'static str,
    devices: usize,
    /// Median time of a repetition.
    seconds: f64,
    /// Of one set of weights, or of gradients.
    bytes: usize,
}

/// One kernel of a repetition, with `--launches`.
#[derive(Debug, Serialize)]
struct Launches<'a> {
    measure: BenchMeasure,
    devices: usize,
    /// Images of each device.
    batch_size: usize,
    /// The kernel, or `all`.
    kernel: &'a str,
    launches: usize,
}

/// Measures and prints.
pub fn run(args: &BenchArgs) -> Result<()> {
    let devices = device::select_all(&args.devices.devices)?;
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
    if config.data.is_table() {
        // Its columns and categories are the data's, which are not read here.
        bail!(Usage(format!(
            "--config {}: the size of a network of rows follows from the table; `{}` reads it and measures a step",
            named.path.display(),
            hint(&format!("train {} --dry-run", named.path.display()))
        )));
    }
    device::check_precision(&devices, config.training.precision)?;
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
    check_memory(&config, &devices, &args.batch_sizes, &measures)?;
    if let Some(host) = devices.iter().find(|device| device.backend.is_host())
        && args.launches
    {
        bail!(Usage(format!(
            "--launches counts what a GPU is made to launch, and {} is none: name one with --device (`{}` lists them)",
            host.name,
            hint("devices")
        )));
    }
    let handles = device::handles(&devices);
    let learner = new_learner(&config, &handles[0])?;
    report::figures(format!(
        "{}: {} parameters, device {}, {} threads\n               devices  batch   {}",
        named.path.display(),
        learner.network().num_params(),
        device::names(&devices),
        rayon::current_num_threads(),
        if args.launches {
            "launches"
        } else {
            "images/s   ms (median)"
        }
    ));
    // Several beside the first of them alone: what they gain is what counts.
    let mut numbers = vec![1, devices.len()];
    numbers.dedup();
    for measure in measures {
        for &batch_size in &args.batch_sizes {
            let mut alone = None;
            for &number in &numbers {
                let bench = Bench {
                    config: &config,
                    devices: &handles[..number],
                    batch_size,
                };
                if args.launches {
                    let kernels = bench.measure(measure, &learner, count_launches)?;
                    print_launches(measure, number, batch_size, &kernels)?;
                    continue;
                }
                let budget = Duration::from_secs_f64(args.seconds);
                let mut times = bench.measure(measure, &learner, |work| repeat(budget, work))?;
                times.sort_by(f64::total_cmp);
                let seconds = times[times.len() / 2];
                let images_per_second = (number * batch_size) as f64 / seconds;
                let alone = *alone.get_or_insert(images_per_second);
                let measurement = Measurement {
                    measure,
                    devices: number,
                    batch_size,
                    repeats: times.len(),
                    seconds,
                    images_per_second,
                    speedup: images_per_second / alone,
                };
                print(&measurement)?;
            }
        }
    }
    if handles.len() > 1 && !args.launches {
        exchange(&learner, &handles)?;
    }
    Ok(())
}

/// Measures what data-parallel training adds to each step: gradients to the first device, weights back.
fn exchange(learner: &Learner<Network>, devices: &[Device]) -> Result<()> {
    let network = learner.network().valid();
    let (first, further) = (&devices[0], &devices[1..]);
    let mut replicas = Replicas::new(&network, further)?;
    let parameters = flatten(&network);
    let mut times = repeat(Duration::ZERO, |_| {
        for place in 1..devices.len() {
            let (network, _) = replicas.at((&network, first), place);
            let arrived = Passage::to(first, flatten(network))?.arrive(first);
            wait_for(arrived.narrow(0, 0, 1))?;
        }
        replicas.load(parameters.clone())?;
        for place in 1..devices.len() {
            let (network, _) = replicas.at((&network, first), place);
            wait_for(flatten(network).narrow(0, 0, 1))?;
        }
        Ok(())
    })?;
    times.sort_by(f64::total_cmp);
    let seconds = times[times.len() / 2];
    let bytes = 4 * network.num_params();
    report::figures(format!(
        "of a training step on {} devices, gradients and weights on their way: {:.2} ms ({} each, to and from every \
         device but the first)",
        devices.len(),
        1e3 * seconds,
        HumanBytes(bytes as u64)
    ));
    report::json(&Exchange {
        measure: "exchange",
        devices: devices.len(),
        seconds,
        bytes,
    })
}

/// Refuses what does not fit into the memory of this machine.
fn check_memory(
    config: &RunConfig,
    devices: &[NamedDevice],
    batch_sizes: &[usize],
    measures: &[BenchMeasure],
) -> Result<(), Usage> {
    let needs =
        Needs::of(&config.network, devices).recomputing(config.training.checkpoint_activations);
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
    let speedup = match measurement.devices {
        1 => String::new(),
        _ => format!("  {:.2} times one", measurement.speedup),
    };
    report::figures(format!(
        "{:13} {:>8} {:>6} {:>10.1} {:>10.2}{speedup}",
        name(measurement.measure),
        measurement.devices,
        measurement.batch_size,
        measurement.images_per_second,
        1e3 * measurement.seconds
    ));
    report::json(measurement)
}

/// The kernels that one repetition launches and how often, after others that compile and tune them.
fn count_launches(work: &mut Work<'_>) -> Result<Vec<(String, usize)>> {
    for index in 0..WARM_UP {
        work(index as u64)?;
    }
    #[cfg(feature = "gpu")]
    {
        let (done, kernels) = kernels::count_launches(|| work(WARM_UP as u64));
        done.map(|()| kernels)
    }
    #[cfg(not(feature = "gpu"))]
    unreachable!("a build without GPUs has no device but processors, which are refused")
}

fn print_launches(
    measure: BenchMeasure,
    devices: usize,
    batch_size: usize,
    kernels: &[(String, usize)],
) -> Result<()> {
    let all: usize = kernels.iter().map(|(_, count)| count).sum();
    let each = kernels.iter().map(|(name, count)| (name.as_str(), *count));
    for (kernel, launches) in std::iter::once(("all", all)).chain(each) {
        report::figures(match kernel {
            "all" => format!(
                "{:13} {devices:>8} {batch_size:>6} {launches:>10}",
                name(measure)
            ),
            _ => format!("{launches:>40}  {kernel}"),
        });
        report::json(&Launches {
            measure,
            devices,
            batch_size,
            kernel,
            launches,
        })?;
    }
    Ok(())
}

/// A network that is measured.
struct Bench<'a> {
    config: &'a RunConfig,
    /// Each has a batch.
    devices: &'a [Device],
    batch_size: usize,
}

/// A repetition of what is measured, by its number.
type Work<'a> = dyn FnMut(u64) -> Result<()> + 'a;

impl Bench<'_> {
    /// What `gauge` finds of repetitions of a measure.
    fn measure<T>(
        &self,
        measure: BenchMeasure,
        learner: &Learner<Network>,
        gauge: impl FnOnce(&mut Work<'_>) -> Result<T>,
    ) -> Result<T> {
        match measure {
            BenchMeasure::Train => self.train(learner.clone(), gauge),
            BenchMeasure::Call => self.call(learner, gauge),
        }
    }

    /// Whole steps of training, from drawing the noise to the moving average: a batch a device.
    fn train<T>(
        &self,
        learner: Learner<Network>,
        gauge: impl FnOnce(&mut Work<'_>) -> Result<T>,
    ) -> Result<T> {
        let mut learner = learner.spread_over(&self.devices[1..])?;
        let batch_size = self.batch_size;
        let streams = Streams::new(self.config.seed);
        let shape = learner.network().example_shape();
        let condition = condition(self.config, batch_size);
        let num_train_timesteps = learner.objective.chain().num_train_timesteps();
        let examples: Vec<Tensor<4>> = self
            .devices
            .iter()
            .map(|device| examples(self.config, shape, batch_size, device).autodiff())
            .collect();
        gauge(&mut |index| {
            let batches = self.devices.iter().zip(&examples).zip(0..);
            let batches = batches.map(|((device, x_0), place)| {
                let place: u64 = place;
                let index = index * self.devices.len() as u64 + place;
                let mut rng = streams.at(Purpose::Training, index);
                let timesteps = streams::timesteps(batch_size, num_train_timesteps, &mut rng);
                Batch {
                    noise: streams::noise(x_0.dims(), &mut rng, device).autodiff(),
                    x_0: x_0.clone(),
                    condition: condition.clone(),
                    timesteps,
                    dropout_seed: None,
                }
            });
            let step = learner.step(batches.collect(), self.config.training.learning_rate)?;
            wait_for(step.loss)
        })
    }

    /// Calls of the network, without gradients: of each device its own, at the same time.
    fn call<T>(
        &self,
        learner: &Learner<Network>,
        gauge: impl FnOnce(&mut Work<'_>) -> Result<T>,
    ) -> Result<T> {
        let network = learner.network().valid();
        let (first, further) = (&self.devices[0], &self.devices[1..]);
        let replicas = Replicas::new(&network, further)?;
        let shape = network.example_shape();
        let inputs: Vec<Tensor<4>> = self
            .devices
            .iter()
            .map(|device| examples(self.config, shape, self.batch_size, device))
            .collect();
        let timesteps = vec![500.0; self.batch_size];
        let condition = condition(self.config, self.batch_size);
        gauge(&mut |_| {
            let call = |place: usize, x_t: Tensor<4>| {
                let (network, _) = replicas.at((&network, first), place);
                let predicted = network.forward(x_t, &timesteps, &condition);
                wait_for(predicted.slice([0..1, 0..1, 0..1, 0..1]).reshape([1]))
            };
            spread(self.devices.len(), inputs.clone(), call, |()| Ok(()))
        })
    }
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
