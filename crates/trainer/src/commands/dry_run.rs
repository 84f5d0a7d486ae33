//! `trainer train --dry-run`: what a run would take, measured on a few steps of it. Nothing is written.

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use burn::module::Module;
use serde::Serialize;
use training::{Batches, Data as _, Position, Streams};

use crate::config::RunConfig;
use crate::device::{self, NamedDevice};
use crate::kinds::Dataset;
use crate::report;
use crate::training_loop::{batch_options, new_learner};

/// Steps that are not counted: memory and caches are filled by them.
const WARM_UP: usize = 2;
/// Steps that are.
const MEASURED: usize = 5;
/// Tensors of a checkpoint that have the network's size: weights, their average, AdamW's two moments.
const IN_A_CHECKPOINT: usize = 4;
const MIB: f64 = (1 << 20) as f64;

/// A run that is tried.
pub(super) struct Trial<'a> {
    /// What it would do, fitted to the data.
    pub(super) config: &'a RunConfig,
    /// Where it would be written.
    pub(super) out: &'a Path,
    /// Where it would compute.
    pub(super) devices: &'a [NamedDevice],
}

/// What is printed.
#[derive(Debug, Serialize)]
struct Forecast<'a> {
    /// Where the run would be written.
    run: &'a Path,
    device: String,
    training_examples: usize,
    parameters: usize,
    /// The most memory that the program has had, without that of a GPU; none where the system does not say.
    memory_bytes: Option<u64>,
    /// Bytes of a checkpoint.
    checkpoint_bytes: usize,
    /// Median time of a step.
    seconds_a_step: f64,
    /// Steps that the budget comes to.
    steps: u64,
    /// The time they take.
    seconds: f64,
}

impl Trial<'_> {
    /// Takes the steps and prints what they say of all.
    pub(super) fn run(&self, train: Dataset) -> Result<()> {
        let config = self.config;
        let training = &config.training;
        let devices = device::handles(self.devices);
        let mut learner = new_learner(config, &devices[0])?.spread_over(&devices[1..])?;
        let parameters = learner.network().num_params();
        let examples = train.len();
        let options = batch_options(config, &devices[0]);
        let streams = Streams::new(config.seed);
        let start = Position::default();
        let mut batches = Batches::new(
            train,
            options,
            &learner.objective,
            streams,
            start,
            &devices[0],
        );
        let mut times = Vec::new();
        for step in 0..WARM_UP + MEASURED {
            let begin = Instant::now();
            let batches = batches.next_over(&devices, training.gradient_accumulation)?;
            let seen = learner.step(batches, training.learning_rate_at(step as u64, 0.0))?;
            // Read back: the step is done then.
            let loss = seen.loss.try_into_data();
            loss.context("cannot read the loss back from the device")?;
            times.push(begin.elapsed().as_secs_f64());
        }
        let mut times = times.split_off(WARM_UP);
        times.sort_by(f64::total_cmp);
        let seconds_a_step = times[times.len() / 2];

        let examples_a_step = (training.batch_size * training.gradient_accumulation) as f64;
        let budgets = [
            training.steps.map(|steps| steps as f64),
            training
                .epochs
                .map(|epochs| (epochs * examples as f64 / examples_a_step).ceil()),
            training
                .minutes
                .map(|minutes| (60.0 * minutes / seconds_a_step).ceil()),
        ];
        // What is used up first ends the run.
        let steps = budgets.into_iter().flatten().fold(f64::INFINITY, f64::min);
        let forecast = Forecast {
            run: self.out,
            device: device::names(self.devices),
            training_examples: examples,
            parameters,
            memory_bytes: peak_memory(),
            checkpoint_bytes: IN_A_CHECKPOINT * size_of::<f32>() * parameters,
            seconds_a_step,
            steps: steps as u64,
            seconds: steps * seconds_a_step,
        };
        report::figures(self.text(&forecast));
        report::json(&forecast)
    }

    fn text(&self, forecast: &Forecast<'_>) -> String {
        let memory = match forecast.memory_bytes {
            Some(bytes) => format!("{:.0} MiB, without that of a GPU", bytes as f64 / MIB),
            None => "not known on this system".to_owned(),
        };
        let checkpoint = forecast.checkpoint_bytes as f64 / MIB;
        // The newest, the best, and the one that is being written.
        let kept = self.config.checkpoint.keep + 2;
        let rows = [
            ("run", format!("{} (not written)", forecast.run.display())),
            (
                "data",
                format!(
                    "{}: {} training {}",
                    self.config.data.name(),
                    forecast.training_examples,
                    self.config.data.kind()
                ),
            ),
            ("device", forecast.device.clone()),
            ("parameters", forecast.parameters.to_string()),
            ("memory", memory),
            (
                "disk",
                format!(
                    "{checkpoint:.1} MiB a checkpoint, at most {:.1} MiB of them",
                    checkpoint * kept as f64
                ),
            ),
            ("a step", format!("{:.4} s", forecast.seconds_a_step)),
            (
                "in all",
                format!(
                    "{} steps in about {}, without grids, held-out losses and scores",
                    forecast.steps,
                    duration(forecast.seconds)
                ),
            ),
        ];
        let rows: Vec<Vec<String>> = rows
            .into_iter()
            .map(|(name, value)| vec![name.to_owned(), value])
            .collect();
        report::table(&rows)
    }
}

/// A time as a person says it.
fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 90.0 => format!("{s:.1} seconds"),
        s if s < 90.0 * 60.0 => format!("{:.1} minutes", s / 60.0),
        s if s < 48.0 * 3600.0 => format!("{:.1} hours", s / 3600.0),
        s => format!("{:.1} days", s / 86_400.0),
    }
}

/// The most memory that this process has had, where the system says (Linux).
fn peak_memory() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_said_in_their_own_unit() {
        assert_eq!(duration(12.34), "12.3 seconds");
        assert_eq!(duration(600.0), "10.0 minutes");
        assert_eq!(duration(7200.0), "2.0 hours");
        assert_eq!(duration(864_000.0), "10.0 days");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_has_had_some_memory() {
        assert!(peak_memory() > Some(1 << 20));
    }
}
