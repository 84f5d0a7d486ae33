//! `trainer compare`: runs side by side, by what they were told, what they came to and how they score.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use burn::module::Module;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};
use tracing::warn;

use crate::cli::CompareArgs;
use crate::commands::opened::exists;
use crate::device;
use crate::invocation::hint;
use crate::report;
use crate::run::checkpoint::Checkpoint;
use crate::run::{metrics, read};

/// What is compared.
#[derive(Debug, Serialize)]
struct Comparison {
    runs: Vec<Side>,
    /// The keys of the configuration that differ, each with its value in every run; null where a run does not
    /// have it.
    configuration: BTreeMap<String, Vec<Option<Value>>>,
}

/// A run as it is compared.
#[derive(Debug, Serialize)]
struct Side {
    run: PathBuf,
    /// Steps of the checkpoint.
    step: u64,
    examples_seen: u64,
    /// Seconds of training.
    seconds: f64,
    /// Numbers of the network.
    parameters: usize,
    /// Bytes of the averaged weights on disk.
    weights_bytes: u64,
    /// Smoothed training loss at the checkpoint.
    loss: Option<f64>,
    held_out_loss: Option<f64>,
    /// The FID that was measured during training.
    training_fid: Option<f64>,
    /// What `trainer evaluate` measured last.
    scores: Vec<SavedScore>,
}

/// A score as `scores.json` has it: its value, and all that it must be read with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct SavedScore {
    name: String,
    value: f64,
    samples: usize,
    #[serde(default)]
    features: Option<String>,
    reference: String,
    #[serde(default)]
    reference_samples: Option<usize>,
    #[serde(default)]
    sampler: Option<String>,
    #[serde(default)]
    definition: Option<String>,
}

impl SavedScore {
    /// Whether two values can be held against each other.
    fn is_measured_as(&self, other: &Self) -> bool {
        let other = Self {
            value: self.value,
            ..other.clone()
        };
        *self == other
    }
}

/// Reads, compares, prints.
pub fn run(args: &CompareArgs) -> Result<()> {
    let mut runs = Vec::new();
    let mut configurations = Vec::new();
    for run in &args.runs {
        let (side, configuration) = side(run, args.best)?;
        runs.push(side);
        configurations.push(configuration);
    }
    let comparison = Comparison {
        configuration: differences(&configurations),
        runs,
    };
    report::figures(table(&comparison).trim_end());
    report::json(&comparison)
}

/// A run, and its configuration key by key.
fn side(run: &Path, best: bool) -> Result<(Side, BTreeMap<String, Value>)> {
    exists(run)?;
    let checkpoint = Checkpoint::open(run, best)?;
    let (config, counters) = (checkpoint.config(), checkpoint.counters());
    let weights = checkpoint.folder().join("ema.safetensors");
    let weights = weights
        .metadata()
        .with_context(|| format!("cannot read {}", weights.display()))?;
    let mut keys = BTreeMap::new();
    flatten("", toml::from_str(&config.to_toml()?)?, &mut keys);
    let side = Side {
        run: run.to_owned(),
        step: counters.step,
        examples_seen: counters.examples_seen,
        seconds: counters.seconds,
        parameters: config
            .network
            .init(config.seed, &device::nearest()?)?
            .num_params(),
        weights_bytes: weights.len(),
        loss: metrics::smoothed_loss(run, counters.step)?,
        held_out_loss: counters.held_out_loss,
        training_fid: counters.fid,
        scores: scores(run),
    };
    Ok((side, keys))
}

/// What `scores.json` of a run holds; nothing where there is none, or none that can be read.
fn scores(run: &Path) -> Vec<SavedScore> {
    #[derive(Deserialize)]
    struct Saved {
        scores: Vec<SavedScore>,
    }
    let path = run.join("scores.json");
    if !path.exists() {
        return Vec::new();
    }
    let bytes = read::read(&path, read::SMALL).context("cannot read it");
    match bytes.and_then(|bytes| Ok(serde_json::from_slice::<Saved>(&bytes)?)) {
        Ok(saved) => saved.scores,
        Err(error) => {
            let path = path.display();
            let evaluate = hint(&format!("evaluate {}", run.display()));
            warn!("{path} is passed over, `{evaluate}` writes it anew: {error:#}");
            Vec::new()
        }
    }
}

/// The values of a configuration by their dotted keys.
fn flatten(prefix: &str, table: Table, keys: &mut BTreeMap<String, Value>) {
    for (key, value) in table {
        let key = format!("{prefix}{key}");
        match value {
            Value::Table(inner) => flatten(&format!("{key}."), inner, keys),
            value => {
                keys.insert(key, value);
            }
        }
    }
}

/// The keys that do not have the same value in all configurations.
fn differences(configurations: &[BTreeMap<String, Value>]) -> BTreeMap<String, Vec<Option<Value>>> {
    let keys: BTreeSet<&String> = configurations.iter().flat_map(BTreeMap::keys).collect();
    let of_each = |key: &String| -> Vec<Option<Value>> {
        configurations
            .iter()
            .map(|configuration| configuration.get(key).cloned())
            .collect()
    };
    keys.into_iter()
        .map(|key| (key.clone(), of_each(key)))
        .filter(|(_, values)| values.iter().any(|value| *value != values[0]))
        .collect()
}

/// The comparison as a person reads it: a column a run.
fn table(comparison: &Comparison) -> String {
    let runs = &comparison.runs;
    let number = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.4}"));
    let row = |name: &str, of: &dyn Fn(&Side) -> String| -> Vec<String> {
        [name.to_owned()]
            .into_iter()
            .chain(runs.iter().map(of))
            .collect()
    };
    let minutes = |side: &Side| format!("{:.1}", side.seconds / 60.0);
    let mib = |side: &Side| format!("{:.2}", side.weights_bytes as f64 / f64::from(1 << 20));
    let mut rows = vec![
        row("", &|side| side.run.display().to_string()),
        row("step", &|side| side.step.to_string()),
        row("examples seen", &|side| side.examples_seen.to_string()),
        row("minutes", &minutes),
        row("parameters", &|side| side.parameters.to_string()),
        row("MiB of weights", &mib),
        row("training loss", &|side| number(side.loss)),
        row("held-out loss", &|side| number(side.held_out_loss)),
        row("FID in training", &|side| number(side.training_fid)),
    ];
    let mut names: Vec<&str> = Vec::new();
    for score in runs.iter().flat_map(|side| &side.scores) {
        if !names.contains(&score.name.as_str()) {
            names.push(&score.name);
        }
    }
    let mut is_marked = false;
    for name in names {
        let of = |side: &Side| side.scores.iter().find(|score| score.name == name).cloned();
        let found: Vec<SavedScore> = runs.iter().filter_map(of).collect();
        let is_alike = found.iter().all(|score| score.is_measured_as(&found[0]));
        is_marked |= !is_alike;
        let mark = if is_alike { "" } else { " *" };
        rows.push(row(name, &|side| {
            of(side).map_or("-".to_owned(), |score| format!("{:.4}{mark}", score.value))
        }));
    }
    let results = rows.len();
    for (key, values) in &comparison.configuration {
        let shown = values.iter().map(|value| match value {
            Some(value) => value.to_string(),
            None => "-".to_owned(),
        });
        rows.push([key.clone()].into_iter().chain(shown).collect());
    }

    // One table, so that the columns of both parts stand below each other.
    let lines = report::table(&rows);
    let lines: Vec<&str> = lines.lines().collect();
    let (results, configuration) = lines.split_at(results);
    let mut text = results.join("\n") + "\n";
    if !configuration.is_empty() {
        text += &format!(
            "\nconfiguration, where it differs\n{}\n",
            configuration.join("\n")
        );
    }
    if comparison.configuration.is_empty() {
        text += "\nthe configurations are the same\n";
    }
    if is_marked {
        text += "(* measured in different ways, which cannot be compared: other numbers of images, sampler, \
                 feature network or reference)\n";
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn differences_are_found_by_key() {
        let flat = |text: &str| {
            let mut keys = BTreeMap::new();
            flatten("", toml::from_str(text).unwrap(), &mut keys);
            keys
        };
        let first = flat("seed = 1\n[a]\nb = 2\n[a.c]\nd = [1, 2]\n");
        let second = flat("seed = 1\n[a]\nb = 3\nonly = true\n[a.c]\nd = [1, 2]\n");
        let found = differences(&[first.clone(), second]);
        assert_eq!(found.keys().collect::<Vec<_>>(), ["a.b", "a.only"]);
        assert_eq!(
            found["a.b"],
            [Some(Value::Integer(2)), Some(Value::Integer(3))]
        );
        assert_eq!(found["a.only"], [None, Some(Value::Boolean(true))]);
        assert!(differences(&[first.clone(), first]).is_empty());
    }
}
