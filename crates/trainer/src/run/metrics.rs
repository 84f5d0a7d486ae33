//! The metrics of a run: `metrics.jsonl`, the same as `metrics.csv`, a line at a time.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::run::{atomic_file, read};

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

/// Significant digits of the numbers of a line: more than they are good for, and few enough that every reader of
/// JSON gets the number that was written. So a run that is resumed writes its lines anew as they were.
const DIGITS: usize = 12;

fn rounded(value: f64) -> f64 {
    format!("{value:.*e}", DIGITS - 1).parse().unwrap_or(value)
}

impl Record {
    /// The same with numbers of [`DIGITS`] digits.
    fn rounded(self) -> Self {
        let Self {
            step,
            epoch,
            seconds,
            loss,
            learning_rate,
            grad_norm,
            images_per_second,
            held_out_loss,
            held_out_loss_by_timestep,
            fid,
            nearer_than_real,
        } = self;
        Self {
            step,
            epoch: rounded(epoch),
            seconds: rounded(seconds),
            loss: loss.map(rounded),
            learning_rate: learning_rate.map(rounded),
            grad_norm: grad_norm.map(rounded),
            images_per_second: images_per_second.map(rounded),
            held_out_loss: held_out_loss.map(rounded),
            held_out_loss_by_timestep: held_out_loss_by_timestep
                .map(|losses| losses.into_iter().map(rounded).collect()),
            fid: fid.map(rounded),
            nearer_than_real: nearer_than_real.map(rounded),
        }
    }

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
    /// Metrics that go on after `records`, which are all that the files in the folder `run` then hold.
    pub fn start(run: &Path, records: Vec<Record>) -> io::Result<Self> {
        let (jsonl, csv) = (jsonl(run), run.join("metrics.csv"));
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
        let record = record.rounded();
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

/// The metrics in the folder `run` up to and with `step`; what a killed session wrote after its last
/// checkpoint is left out, since a resumed run writes it again. So is the last line where a kill cut it short,
/// and, with a warning, every other line that cannot be read.
///
/// # Errors
///
/// What is no regular file, or is too long for one of metrics.
pub fn read_until(run: &Path, step: u64) -> io::Result<Vec<Record>> {
    let path = jsonl(run);
    let bytes = match read::read(&path, read::METRICS) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let (mut records, damaged) = parse(&bytes);
    if let Some(first) = damaged.first() {
        warn!(
            "{}: {} cannot be read, the first of them line {first}: the others are kept",
            path.display(),
            match damaged.len() {
                1 => "1 line".to_owned(),
                count => format!("{count} lines"),
            }
        );
    }
    records.retain(|record| record.step <= step);
    Ok(records)
}

/// The last lines of the metrics in the folder `run`: enough to say how far it is, however long they are. Lines
/// that cannot be read are passed over.
///
/// # Errors
///
/// Why the file cannot be read.
pub fn last_lines(run: &Path) -> io::Result<Vec<Record>> {
    /// Some hundred lines.
    const BYTES: u64 = 64 << 10;
    let Some(mut file) = open(run)? else {
        return Ok(Vec::new());
    };
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(BYTES)))?;
    let mut bytes = Vec::new();
    file.take(BYTES).read_to_end(&mut bytes)?;
    let is_cut = length > BYTES;
    let start = bytes.iter().position(|&byte| byte == b'\n' && is_cut);
    Ok(parse(&bytes[start.map_or(0, |end| end + 1)..]).0)
}

/// The metrics of a run that may be in training: read once more, only what is new of them is read.
#[derive(Debug, Default)]
pub struct Followed {
    records: Vec<Record>,
    /// Bytes that were read, up to the end of a line.
    read: u64,
    /// The last line of them: a session that goes on from a checkpoint writes the file anew, and then another stands
    /// there.
    last: Vec<u8>,
}

impl Followed {
    /// All lines of the metrics in the folder `run`, which must be the same each time. Lines that cannot be read are
    /// passed over.
    ///
    /// # Errors
    ///
    /// Why the file cannot be read, or that it is too long for one of metrics.
    pub fn read(&mut self, run: &Path) -> io::Result<&[Record]> {
        let Some(mut file) = open(run)? else {
            *self = Self::default();
            return Ok(&self.records);
        };
        if file.metadata()?.len() > read::METRICS {
            let error = format!("it is longer than {} bytes", read::METRICS);
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, error));
        }
        let mut last = vec![0; self.last.len()];
        file.seek(SeekFrom::Start(self.read - self.last.len() as u64))?;
        let is_same = file.read_exact(&mut last).is_ok() && last == self.last;
        if !is_same {
            *self = Self::default();
            file.seek(SeekFrom::Start(0))?;
        }
        let mut bytes = Vec::new();
        file.take(read::METRICS).read_to_end(&mut bytes)?;
        // What has no end yet is still being written.
        let end = bytes.iter().rposition(|&byte| byte == b'\n');
        let Some(end) = end else {
            return Ok(&self.records);
        };
        let lines = &bytes[..=end];
        let start = lines[..end].iter().rposition(|&byte| byte == b'\n');
        self.last = lines[start.map_or(0, |end| end + 1)..].to_vec();
        self.read += lines.len() as u64;
        self.records.extend(parse(lines).0);
        Ok(&self.records)
    }
}

/// The file of the metrics in the folder `run`; `None` where there is none.
fn open(run: &Path) -> io::Result<Option<File>> {
    let path = jsonl(run);
    match read::check_regular(&path).and_then(|()| File::open(&path)) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The records of a file, and the numbers, from 1, of the lines that are none. A last line that does not end
/// is what a kill leaves, and is not counted.
fn parse(bytes: &[u8]) -> (Vec<Record>, Vec<usize>) {
    let mut records = Vec::new();
    let mut damaged = Vec::new();
    for (number, line) in (1..).zip(bytes.split_inclusive(|&byte| byte == b'\n')) {
        match serde_json::from_slice(line) {
            Ok(record) => records.push(record),
            Err(_) if !line.ends_with(b"\n") => {}
            Err(_) => damaged.push(number),
        }
    }
    (records, damaged)
}

/// The smoothed training loss of the run in a folder, up to and with a step; `None` where there is none. Lines
/// that cannot be read are passed over.
///
/// # Errors
///
/// Why the file cannot be read.
pub fn smoothed_loss(run: &Path, step: u64) -> Result<Option<f64>> {
    let records = read_until(run, step)
        .with_context(|| format!("cannot read the metrics of {}", run.display()))?;
    let mut smoothed = Smoothed::default();
    let losses = records.iter().filter_map(|record| record.loss);
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

    use std::fs;

    use super::*;

    fn record(step: u64) -> Record {
        Record {
            step,
            loss: Some(0.5),
            ..Record::default()
        }
    }

    #[test]
    fn a_line_that_is_read_is_the_line_that_was_written() {
        for index in 1..5000 {
            let value = f64::from(index).sqrt() * 10_f64.powi(index % 13 - 9);
            let record = Record {
                step: 3,
                epoch: value / 3.0,
                loss: Some(value),
                held_out_loss_by_timestep: Some(vec![value / 7.0, value * 1.1]),
                ..Record::default()
            };
            let record = record.rounded();
            assert!((record.loss.unwrap() / value - 1.0).abs() < 1e-11);
            let line = record.to_jsonl().unwrap();
            let (read, damaged) = parse(line.as_bytes());
            assert!(damaged.is_empty());
            assert_eq!(read, [record]);
            assert_eq!(read[0].to_jsonl().unwrap(), line);
        }
    }

    #[test]
    fn a_resumed_run_drops_what_came_after_its_checkpoint() {
        let folder = tempfile::tempdir().unwrap();
        let mut metrics = Metrics::start(folder.path(), Vec::new()).unwrap();
        for step in [10, 20, 30] {
            metrics.append(record(step)).unwrap();
        }
        // A kill in the middle of a line.
        metrics.jsonl.write_all(b"{\"step\": 4").unwrap();
        drop(metrics);

        let kept = read_until(folder.path(), 20).unwrap();
        let mut metrics = Metrics::start(folder.path(), kept).unwrap();
        metrics.append(record(25)).unwrap();
        let steps = |records: &[Record]| records.iter().map(|r| r.step).collect::<Vec<_>>();
        assert_eq!(steps(metrics.records()), [10, 20, 25]);
        assert_eq!(steps(&read_until(folder.path(), 99).unwrap()), [10, 20, 25]);
        let csv = fs::read_to_string(folder.path().join("metrics.csv")).unwrap();
        assert_eq!(csv.lines().count(), 4);
        let columns = CSV_HEADER.matches(',').count();
        assert!(csv.lines().all(|line| line.matches(',').count() == columns));
    }

    #[test]
    fn a_flipped_bit_costs_one_line() {
        let lines: Vec<String> = (1..5).map(|n| record(n).to_jsonl().unwrap()).collect();
        let whole = lines.concat();
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut bytes = whole.clone().into_bytes();
                bytes[at] ^= 1 << bit;
                // The end of a line may become something else: then two lines are one, and none.
                let least = if whole.as_bytes()[at] == b'\n' { 2 } else { 3 };
                let (records, damaged) = parse(&bytes);
                assert!(records.len() >= least, "{at}, {bit}");
                let is_told = !damaged.is_empty() || at + 1 == whole.len();
                assert!(records.len() == 4 || is_told, "{at}, {bit}");
            }
        }
        let cut = &whole.as_bytes()[..whole.len() - 3];
        let (records, damaged) = parse(cut);
        assert_eq!((records.len(), damaged.len()), (3, 0));
    }

    #[test]
    fn what_is_followed_is_what_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path();
        let mut followed = Followed::default();
        assert_eq!(followed.read(run).unwrap(), []);
        let write = |text: &str| fs::write(jsonl(run), text).unwrap();
        let line = |step: u64| record(step).to_jsonl().unwrap();
        let lines: String = (1..=3).map(line).collect();
        write(&lines);
        assert_eq!(followed.read(run).unwrap().len(), 3);
        // A line is read when it has an end.
        let half = format!("{lines}{}", &line(4)[..10]);
        write(&half);
        assert_eq!(followed.read(run).unwrap().len(), 3);
        write(&format!("{lines}{}", line(4)));
        let steps = |records: &[Record]| records.iter().map(|r| r.step).collect::<Vec<_>>();
        assert_eq!(steps(followed.read(run).unwrap()), [1, 2, 3, 4]);
        // A session that went on from step 2, and has come further since.
        let anew: String = [1, 2, 30, 40, 50].map(line).concat();
        write(&anew);
        assert_eq!(steps(followed.read(run).unwrap()), [1, 2, 30, 40, 50]);
        write("");
        assert_eq!(followed.read(run).unwrap(), []);

        let many: String = (1..=5000).map(line).collect();
        write(&many);
        let last = last_lines(run).unwrap();
        assert_eq!(last.last(), Some(&record(5000)));
        assert!(last.len() > 100 && last.len() < 5000, "{}", last.len());
    }

    #[cfg(unix)]
    #[test]
    fn a_pipe_in_the_place_of_metrics_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let made = std::process::Command::new("mkfifo")
            .arg(jsonl(folder.path()))
            .status();
        assert!(made.unwrap().success());
        let error = read_until(folder.path(), 1).unwrap_err().to_string();
        assert!(error.contains("a pipe"), "{error}");
    }

    #[test]
    fn a_constant_is_smoothed_to_itself() {
        let mut smoothed = Smoothed::default();
        for _ in 0..5 {
            assert!((smoothed.push(3.0) - 3.0).abs() < 1e-12);
        }
    }
}
