//! The training loop.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use datasets::Splits;
use tracing::{info, warn};
use training::{
    AdamW, BatchOptions, Batches, ClassOptions, Data, Ema, Learner, Objective, Position, Streams,
    flatten, held_out_loss,
};

use crate::config::RunConfig;
use crate::device::is_host;
use crate::drawing::pictures;
use crate::error::Usage;
use crate::kinds::Dataset;
use crate::memory;
use crate::network::Network;
use crate::progress::TrainingProgress;
use crate::run::atomic_file;
use crate::run::checkpoint::{self, Checkpoint, Counters, Snapshot};
use crate::run::curves;
use crate::run::folder::RunFolder;
use crate::run::metrics::{Metrics, Record, read_until};
use crate::run::summary::{Summary, utc};
use crate::sampling::{Model, Request, every_class};
use crate::scoring::cache::FeatureCache;
use crate::scoring::evaluator::Evaluator;

/// A run in training: what changes from step to step, and what it works on.
pub struct Training<'a> {
    config: &'a RunConfig,
    folder: &'a RunFolder,
    batches: Batches<Dataset>,
    test_split: Dataset,
    /// Where it computes; on the first what is not shared.
    devices: Vec<Device>,

    learner: Learner<Network>,
    counters: Counters,
    /// Measures the scores that are asked for.
    evaluator: Option<Evaluator>,

    metrics: Metrics,
    started: Instant,
    seconds_before: f64,
}

/// How a training session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The budget is used up.
    Finished,
    /// It was asked to stop, and saved first.
    Interrupted,
}

/// Sums since the last line of metrics. They stay on the device, and are read once a tick.
struct Tick {
    loss: Tensor<1>,
    grad_norm: Tensor<1>,
    steps: u64,
    examples: u64,
    since: Instant,
}

impl Tick {
    fn new(device: &Device) -> Self {
        Self {
            loss: Tensor::zeros([1], device),
            grad_norm: Tensor::zeros([1], device),
            steps: 0,
            examples: 0,
            since: Instant::now(),
        }
    }

    /// Mean loss and mean gradient norm, which waits for the device.
    fn read(&self) -> Result<[f64; 2]> {
        let sums = Tensor::cat(vec![self.loss.clone(), self.grad_norm.clone()], 0);
        let sums: Vec<f32> = sums
            .try_into_vec_as()
            .context("cannot read the loss back from the device")?;
        Ok([0, 1].map(|i| f64::from(sums[i]) / self.steps.max(1) as f64))
    }
}

/// Steps by which a device may be behind where minutes count: a GPU is handed steps faster than it takes them, and a
/// budget in minutes ends when they are done.
const STEPS_AHEAD: u64 = 8;

/// Bytes of unused memory that are kept where activations are computed again.
const UNUSED_MEMORY: usize = 64 << 20;

/// A network that has learnt nothing yet, in training on `device` as `config` says.
pub fn new_learner(config: &RunConfig, device: &Device) -> Result<Learner<Network>> {
    let network = config
        .network
        .init(config.seed, &device.clone().autodiff())?
        .in_precision(config.training.precision);
    memory::check_parameters(network.num_params(), device)
        .map_err(|error| Usage(format!("network: {error}")))?;
    let ema = Ema::new(flatten(&network), 0, config.ema.decay);
    let optimizer = AdamW::new(config.optimizer.clone());
    learner_of(config, network, optimizer, ema)
}

fn learner_of(
    config: &RunConfig,
    network: Network,
    optimizer: AdamW,
    ema: Ema,
) -> Result<Learner<Network>> {
    let chain = config.noise.chain()?;
    let categories = network.categories();
    let objective = if categories.is_empty() {
        Objective::new(chain, &config.objective)
    } else {
        Objective::with_categories(chain, &config.objective, categories)?
    };
    let max_grad_norm = config.training.max_grad_norm;
    let learner = Learner::new(network, objective, optimizer, ema, max_grad_norm);
    let learner = learner.in_precision(config.training.precision);
    let recomputes = config.training.checkpoint_activations;
    if recomputes {
        // Who has little memory wants it for what is in use.
        kernels::keep_at_most(UNUSED_MEMORY);
    }
    Ok(learner.recomputing(recomputes))
}

/// How batches are made for `device`, as `config` says.
pub fn batch_options(config: &RunConfig, device: &Device) -> BatchOptions {
    BatchOptions {
        batch_size: config.training.batch_size,
        flip: config.data.flip,
        classes: config.num_classes().map(|num_classes| ClassOptions {
            num_classes,
            dropout: config.conditioning.label_dropout,
        }),
        has_dropout: config.network.has_dropout(),
        is_ahead: !is_host(device),
    }
}

impl<'a> Training<'a> {
    /// A run that starts, or goes on where `checkpoint` stands. All that it needs is read and made before the
    /// first file is written or an older run removed, so that what fails leaves everything as it was.
    pub fn new(
        config: &'a RunConfig,
        folder: &'a RunFolder,
        splits: Splits<Dataset>,
        devices: &[Device],
        checkpoint: Option<&Checkpoint>,
    ) -> Result<Self> {
        let devices: Vec<Device> = devices
            .iter()
            .map(|device| device.clone().without_autodiff())
            .collect();
        let (device, further) = devices.split_first().context("a run needs a device")?;
        let cache = FeatureCache::beside(folder.path());
        let evaluator = Evaluator::new(
            &config.evaluation,
            &splits,
            &cache,
            config.data.flip,
            device,
        )
        .context("cannot measure the scores that evaluation.every asks for")?;
        let mut learner = new_learner(config, device)?;
        let mut counters = Counters::default();
        if let Some(checkpoint) = checkpoint {
            let network = checkpoint.load_model(learner.network().clone())?;
            let (ema, optimizer) = checkpoint.load_training(&network, config)?;
            learner = learner_of(config, network, optimizer, ema)?;
            counters = checkpoint.counters().clone();
        }
        let learner = learner.spread_over(further)?;
        // Of a run that starts over there is nothing to keep.
        let records = match checkpoint {
            Some(_) => read_until(folder.path(), counters.step)
                .context("cannot read the metrics of the run")?,
            None => Vec::new(),
        };
        let toml = config.to_toml()?;
        if checkpoint.is_none() {
            folder.clear()?;
        }
        atomic_file::write(&folder.config(), toml.as_bytes())
            .with_context(|| format!("cannot write {}", folder.config().display()))?;
        let options = batch_options(config, device);
        let position = Position {
            examples: counters.examples_seen,
            batches: counters.batches_seen,
        };
        Ok(Self {
            batches: Batches::new(
                splits.train,
                options,
                &learner.objective,
                Streams::new(config.seed),
                position,
                device,
            ),
            metrics: Metrics::start(folder.path(), records).context("cannot write the metrics")?,
            seconds_before: counters.seconds,
            started: Instant::now(),
            test_split: splits.test,
            config,
            folder,
            devices,
            learner,
            counters,
            evaluator,
        })
    }

    /// Steps that were taken, over all sessions.
    pub fn step(&self) -> u64 {
        self.counters.step
    }

    /// Number of parameters of the network.
    pub fn num_params(&self) -> usize {
        self.learner.network().num_params()
    }

    /// Trains until the budget is used up or `stop` is set; then the step at hand is finished and
    /// saved.
    pub fn run(&mut self, device_names: &str, stop: &AtomicBool) -> Result<Ending> {
        let mut progress =
            TrainingProgress::new(self.progress(), self.counters.step, self.devices.len());
        let mut tick = Tick::new(self.device());
        // A resumed run starts where one was saved.
        let mut saved = (self.counters.step > 0).then_some(self.counters.step);
        let mut drawn = None;
        while self.progress() < 1.0 && !stop.load(Ordering::Relaxed) {
            let accumulation = self.config.training.gradient_accumulation;
            let taken = self.batches.next_over(&self.devices, accumulation)?;
            let Position { examples, batches } = self.batches.position();
            self.counters.examples_seen = examples;
            self.counters.batches_seen = batches;
            let learning_rate = self
                .config
                .training
                .learning_rate_at(self.counters.step, self.progress());
            let seen = self.learner.step(taken, learning_rate)?;

            // Once per tick: log, draw, save.
            self.counters.step += 1;
            self.counters.ema_steps = self.learner.ema.steps;
            self.counters.optimizer_steps += 1;
            tick.loss = tick.loss + seen.loss;
            tick.grad_norm = tick.grad_norm + seen.grad_norm;
            tick.steps += 1;
            tick.examples += (accumulation * self.config.training.batch_size) as u64;
            let step = self.counters.step;
            let due = |every: u64| step.is_multiple_of(every);
            if self.config.training.minutes.is_some() && due(STEPS_AHEAD) {
                let device = self.device();
                device.sync().context("the device failed")?;
            }
            progress.step(self.progress(), step);
            if due(self.config.log.every) {
                let record = self.log(&tick, learning_rate)?;
                progress.log(&record);
                tick = Tick::new(self.device());
            }
            let is_scored = self.evaluator.as_ref().is_some_and(|e| e.is_due(step));
            if due(self.config.checkpoint.every) || is_scored {
                self.check_finite(&tick)?;
                self.save(is_scored)?;
                saved = Some(step);
            }
            if due(self.config.sampling.every) {
                self.draw()?;
                drawn = Some(step);
            }
        }
        self.check_finite(&tick)?;
        progress.finish();

        if saved != Some(self.counters.step) {
            // An interruption is not kept waiting for a score.
            self.save(!stop.load(Ordering::Relaxed))?;
        }
        if stop.load(Ordering::Relaxed) {
            return Ok(Ending::Interrupted);
        }
        if drawn != Some(self.counters.step) {
            self.draw()?;
        }
        self.write_summary(device_names)?;
        Ok(Ending::Finished)
    }

    /// Where what is not shared is computed.
    fn device(&self) -> &Device {
        &self.devices[0]
    }

    /// Time spent on the run, over all its sessions.
    fn seconds(&self) -> f64 {
        self.seconds_before + self.started.elapsed().as_secs_f64()
    }

    fn epoch(&self) -> f64 {
        self.counters.examples_seen as f64 / self.batches.data().len() as f64
    }

    /// The share of the budget that is used up: the largest, where there are several budgets.
    fn progress(&self) -> f64 {
        let (step, epoch) = (self.counters.step, self.epoch());
        self.config.training.progress(step, epoch, self.seconds())
    }

    fn log(&mut self, tick: &Tick, learning_rate: f64) -> Result<Record> {
        let [loss, grad_norm] = self.check_finite(tick)?;
        let record = Record {
            step: self.counters.step,
            epoch: self.epoch(),
            seconds: self.seconds(),
            loss: Some(loss),
            learning_rate: Some(learning_rate),
            grad_norm: Some(grad_norm),
            images_per_second: Some(tick.examples as f64 / tick.since.elapsed().as_secs_f64()),
            ..Record::default()
        };
        self.metrics
            .append(record.clone())
            .context("cannot write the metrics")?;
        Ok(record)
    }

    /// The mean loss and gradient norm of a tick; an error where one is not finite, before anything
    /// of it is saved.
    fn check_finite(&self, tick: &Tick) -> Result<[f64; 2]> {
        let means = tick.read()?;
        if means.iter().all(|mean| mean.is_finite()) {
            return Ok(means);
        }
        let [loss, grad_norm] = means;
        let (step, first) = (self.counters.step, self.counters.step - tick.steps + 1);
        let last_good = match checkpoint::list(&self.folder.checkpoints())?.first() {
            Some(folder) => format!("the last good checkpoint is {}", folder.display()),
            None => "there was no checkpoint yet".to_owned(),
        };
        bail!(
            "the loss is not finite (steps {first} to {step}: mean loss {loss}, mean gradient norm \
             {grad_norm}): stopped, and nothing of it was saved; {last_good}. Try a lower \
             training.learning_rate or a longer training.warmup_steps"
        )
    }

    /// Measures the held-out loss and, if `is_scored` and scores are asked for, those; then writes a
    /// checkpoint.
    fn save(&mut self, is_scored: bool) -> Result<()> {
        let loss = held_out_loss(
            &self.learner.averaged(),
            &self.learner.objective,
            &self.test_split,
            &self.config.held_out,
            &batch_options(self.config, self.device()),
            Streams::new(self.config.seed),
            self.device(),
        )?;
        let is_scored = is_scored && self.evaluator.is_some();
        let model = is_scored.then(|| self.model()).transpose()?;
        let scores = match (&mut self.evaluator, model) {
            (Some(evaluator), Some(model)) => Some(evaluator.scores(
                &model,
                &self.config.sampling.options,
                self.config.seed,
                self.config.training.batch_size,
            )?),
            _ => None,
        };
        self.counters.fid = scores.map(|scores| scores.fid);
        self.counters.seconds = self.seconds();
        self.counters.held_out_loss = Some(loss.mean);
        self.metrics
            .append(Record {
                step: self.counters.step,
                epoch: self.epoch(),
                seconds: self.counters.seconds,
                held_out_loss: Some(loss.mean),
                held_out_loss_by_timestep: Some(loss.by_timestep),
                fid: self.counters.fid,
                nearer_than_real: scores.map(|scores| scores.nearer_than_real),
                ..Record::default()
            })
            .context("cannot write the metrics")?;
        let folder = Checkpoint::write(
            &self.folder.checkpoints(),
            &Snapshot {
                config: self.config,
                network: self.learner.network(),
                ema: &self.learner.ema,
                optimizer: &self.learner.optimizer,
                counters: &self.counters,
            },
        )
        .context("cannot write a checkpoint; the ones before are whole")?;
        checkpoint::prune(&self.folder.checkpoints(), self.config.checkpoint.keep)?;
        info!(
            "step {}: held-out loss {:.4}{}, saved {}",
            self.counters.step,
            loss.mean,
            scores.map_or(String::new(), |scores| {
                let nearer = scores.nearer_than_real;
                format!(", FID {:.4}, nearer than real {nearer:.3}", scores.fid)
            }),
            folder.display()
        );
        if let Err(error) = curves::loss_curve(self.metrics.records(), &self.folder.loss_curve()) {
            warn!("no loss curve: {error:#}");
        }
        if self.counters.fid.is_some()
            && let Err(error) = curves::fid_curve(self.metrics.records(), &self.folder.fid_curve())
        {
            warn!("no curve of the FID: {error:#}");
        }
        Ok(())
    }

    /// Draws a grid of images or sounds, or a cloud of points, from the averaged weights.
    fn draw(&self) -> Result<PathBuf> {
        let model = self.model()?;
        let count = self.config.sampling.count;
        let request = Request::new(
            every_class(count, model.num_classes()),
            self.config.sampling.options.clone(),
            self.config.seed,
            self.config.training.batch_size,
        );
        let drawn = model.sample(&request, |_, _| Ok(()))?;
        let kind = self.config.data.kind();
        let title = format!(
            "step {}: {count} samples by {} in {} steps",
            self.counters.step, request.sampling.sampler, request.sampling.num_inference_steps
        );
        let source = self.config.source(None);
        let picture = kind.picture(&source, drawn, self.config.num_classes(), &title)?;
        let path = self.folder.grid(self.counters.step);
        pictures::save_png(&picture, &path)?;
        info!("step {}: drew {}", self.counters.step, path.display());
        Ok(path)
    }

    /// The averaged network, ready to be drawn from.
    fn model(&self) -> Result<Model> {
        Model::new(
            self.learner.averaged(),
            &self.config.noise,
            &self.config.objective,
            self.config.classes(),
            self.device().clone(),
        )?
        .spread_over(&self.devices[1..])
    }

    fn write_summary(&self, device_names: &str) -> Result<()> {
        let summary = Summary {
            date: utc(SystemTime::now()),
            program_version: env!("CARGO_PKG_VERSION"),
            seed: self.config.seed,
            data: self.config.data.name(),
            steps: self.counters.step,
            epochs: self.epoch(),
            examples_seen: self.counters.examples_seen,
            parameters: self.num_params(),
            seconds: self.seconds(),
            device: device_names.to_owned(),
            held_out_loss: self.counters.held_out_loss,
            fid: self.counters.fid,
            configuration: self.config,
        };
        summary.write(&self.folder.summary())?;
        info!(
            "{} steps ({:.2} epochs) in {}, held-out loss {:.4}",
            summary.steps,
            summary.epochs,
            indicatif::HumanDuration(Duration::from_secs_f64(summary.seconds)),
            summary.held_out_loss.unwrap_or(f64::NAN)
        );
        Ok(())
    }
}
