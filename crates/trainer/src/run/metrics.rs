//! The metrics of a run: `metrics.jsonl`, the same as `metrics.csv`, a line at a time.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::run::atomic_file;

/// One line of metrics: of training where `loss` is given, of the test split where
/// `held_out_loss` is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Steps taken.
    pub step: u64,
    /// Passes over the training split.
    pub epoch: f64,
    /// Time spent on the run, in seconds.
    pub seconds: f64,
    /// Mean training loss since the line before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss: Option<f64>,
    /// Learning rate of the last step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub learning_rate: Option<f64>,
    /// Mean global norm of the gradient since the line before, before clipping.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grad_norm: Option<f64>,
    /// Training examples a second since the line before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub images_per_second: Option<f64>,
    /// Mean squared error of the averaged weights on the test split.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_out_loss: Option<f64>,
    /// The same by range of timesteps, from the least noise to the most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_out_loss_by_timestep: Option<Vec<f64>>,
    /// FID of images drawn by the averaged weights.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fid: Option<f64>,
    /// The chance that such an image is nearer to a training image than a held-out one is: above ½ they are
    /// copies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nearer_than_real: Option<f64>,
}

const CSV_HEADER: &str = "step,epoch,seconds,loss,learning_rate,grad_norm,images_per_second,\
                          held_out_loss,held_out_loss_by_timestep,fid,nearer_than_real\n";

impl Record {
    fn to_jsonl(&self) -> io::Result<String> {
        Ok(serde_json::to_string(self)? + "\n")
    }

    /// The columns of [`CSV_HEADER`]; ranges of timesteps are separated by blanks.
    fn to_csv(&self) -> String {
        let number = |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
        let by_timestep = self
            .held_out_loss_by_timestep
            .as_deref()
            .unwrap_or_default();
        let by_timestep: Vec<String> = by_timestep.iter().map(f64::to_string).collect();
        format!(
            "{},{},{},{},{},{},{},{},{},{},{}\n",
            self.step,
            self.epoch,
            self.seconds,
            number(self.loss),
            number(self.learning_rate),
            number(self.grad_norm),
            number(self.images_per_second),
            number(self.held_out_loss),
            by_timestep.join(" "),
            number(self.fid),
            number(self.nearer_than_real)
        )
    }
}

/// The metrics of a run, on disk and in memory.
#[derive(Debug)]
pub struct Metrics {
    records: Vec<Record>,
    jsonl: File,
    csv: File,
}

impl Metrics {
    /// The metrics in the folder `run` up to and with `step`; what a killed session wrote after its
    /// last checkpoint is dropped, since a resumed run writes it again.
    pub fn open(run: &Path, step: u64) -> io::Result<Self> {
        let (jsonl, csv) = (jsonl(run), run.join("metrics.csv"));
        let mut records = read(run)?;
        records.retain(|record| record.step <= step);

        let mut lines = String::new();
        let mut rows = CSV_HEADER.to_owned();
        for record in &records {
            lines += &record.to_jsonl()?;
            rows += &record.to_csv();
        }
        atomic_file::write(&jsonl, lines.as_bytes())?;
        atomic_file::write(&csv, rows.as_bytes())?;
        let append = |path: &Path| File::options().append(true).open(path);
        Ok(Self {
            records,
            jsonl: append(&jsonl)?,
            csv: append(&csv)?,
        })
    }

    /// Writes one more line.
    pub fn append(&mut self, record: Record) -> io::Result<()> {
        self.jsonl.write_all(record.to_jsonl()?.as_bytes())?;
        self.csv.write_all(record.to_csv().as_bytes())?;
        self.records.push(record);
        Ok(())
    }

    /// All lines so far.
    pub fn records(&self) -> &[Record] {
        &self.records
    }
}

/// The lines in the folder `run`; a last line that a kill cut short is left out.
fn read(run: &Path) -> io::Result<Vec<Record>> {
    match fs::read_to_string(jsonl(run)) {
        Ok(text) => Ok(text
            .lines()
            .map_while(|line| serde_json::from_str(line).ok())
            .collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// The smoothed training loss of the run in a folder, up to and with a step; `None` where there is none. Lines
/// that cannot be read are passed over.
///
/// # Errors
///
/// Why the file cannot be read.
pub fn smoothed_loss(run: &Path, step: u64) -> Result<Option<f64>> {
    let path = jsonl(run);
    if !path.exists() {
        return Ok(None);
    }
    let bytes = super::read::read(&path, super::read::METRICS)
        .with_context(|| format!("cannot read {}", path.display()))?;
    let text = String::from_utf8_lossy(&bytes);
    let records = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Record>(line).ok());
    let mut smoothed = Smoothed::default();
    let losses = records
        .filter(|record| record.step <= step)
        .filter_map(|record| record.loss);
    Ok(losses.map(|loss| smoothed.push(loss)).last())
}

fn jsonl(run: &Path) -> PathBuf {
    run.join("metrics.jsonl")
}

/// An exponentially weighted mean of a series of losses, for the eye: it forgets with `decay`, and
/// starts unbiased.
#[derive(Debug, Clone, Copy, Default)]
pub struct Smoothed {
    sum: f64,
    weight: f64,
}

impl Smoothed {
    /// How much of the past each value leaves standing.
    pub const DECAY: f64 = 0.9;

    /// The mean with one more value in it.
    pub fn push(&mut self, value: f64) -> f64 {
        self.sum = Self::DECAY * self.sum + (1.0 - Self::DECAY) * value;
        self.weight = Self::DECAY * self.weight + (1.0 - Self::DECAY);
        self.sum / self.weight
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn record(step: u64) -> Record {
        Record {
            step,
            loss: Some(0.5),
            ..Record::default()
        }
    }

    #[test]
    fn a_resumed_run_drops_what_came_after_its_checkpoint() {
        let folder = tempfile::tempdir().unwrap();
        let mut metrics = Metrics::open(folder.path(), 0).unwrap();
        for step in [10, 20, 30] {
            metrics.append(record(step)).unwrap();
        }
        // A kill in the middle of a line.
        metrics.jsonl.write_all(b"{\"step\": 4").unwrap();
        drop(metrics);

        let mut metrics = Metrics::open(folder.path(), 20).unwrap();
        metrics.append(record(25)).unwrap();
        let steps = |records: &[Record]| records.iter().map(|r| r.step).collect::<Vec<_>>();
        assert_eq!(steps(metrics.records()), [10, 20, 25]);
        assert_eq!(steps(&read(folder.path()).unwrap()), [10, 20, 25]);
        let csv = fs::read_to_string(folder.path().join("metrics.csv")).unwrap();
        assert_eq!(csv.lines().count(), 4);
        let columns = CSV_HEADER.matches(',').count();
        assert!(csv.lines().all(|line| line.matches(',').count() == columns));
    }

    #[test]
    fn a_constant_is_smoothed_to_itself() {
        let mut smoothed = Smoothed::default();
        for _ in 0..5 {
            assert!((smoothed.push(3.0) - 3.0).abs() < 1e-12);
        }
    }
}
