//! `trainer train --from RUN`: the weights of a run as the beginning of another.
//!
//! A network has no classes but those of its embeddings, one row of `class_embedding.weight` each, which is
//! added to the embedding of the timestep. So classes are carried over row by row: by their names, or where
//! names are not known by their numbers if there are as many. A class that the run does not have begins as "no
//! class", or where that is not known either as the mean of all classes, and of a network without classes as
//! zeros: the new network then predicts at first what the old one did.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result, bail};
use burn::module::Module;
use burn::tensor::{Device, TensorData};
use toml::{Table, Value};
use weights::{read_tensors, write_tensors};

use crate::config::RunConfig;
use crate::error::Usage;
use crate::kinds::Found;
use crate::network::{Network, NetworkConfig};
use crate::run::checkpoint::Checkpoint;

/// The embeddings of the classes in a network's file of weights.
const CLASSES: &str = "class_embedding.weight";

/// The configuration of a run that begins as another: what that was told, and nothing of what it found.
pub(super) fn config_of(checkpoint: &Checkpoint) -> RunConfig {
    let mut config = checkpoint.config().clone();
    config.found = Found::default();
    if let NetworkConfig::UNet(unet) = &mut config.network {
        // It follows from the data.
        unet.num_class_embeds = None;
    }
    config
}

/// Refuses a configuration whose network cannot begin with the weights of `checkpoint`, or would take them for
/// something else.
pub(super) fn check(checkpoint: &Checkpoint, config: &RunConfig) -> Result<()> {
    let old = checkpoint.config();
    let (mut ours, mut theirs) = (comparable(config)?, comparable(old)?);
    for key in ["sample_size", "dropout", "num_class_embeds"] {
        // The weights are the same with any.
        for table in [&mut ours, &mut theirs] {
            if let Some(Value::Table(network)) = table.get_mut("network") {
                network.remove(key);
            }
        }
    }
    if let Some((key, ours, theirs)) = difference("", &ours, &theirs) {
        let said = |value: Option<Value>| value.map_or("not given".to_owned(), |v| v.to_string());
        bail!(Usage(format!(
            "{key} is {}, and in the run that --from names {}: the weights mean something only where they \
             are the same; set it, or leave CONFIG out",
            said(ours),
            said(theirs)
        )));
    }
    let drops_classes = old.num_classes().is_some() && !config.conditioning.class_labels;
    if drops_classes && !old.conditioning.null_label {
        bail!(Usage(
            "conditioning.class_labels is false, and the network of the run that --from names always wants a \
             class (conditioning.null_label = false)"
                .to_owned()
        ));
    }
    Ok(())
}

/// What the weights depend on.
fn comparable(config: &RunConfig) -> Result<Table> {
    let all: Table = toml::from_str(&config.to_toml()?)?;
    let mut objective = Table::new();
    let predicted = all
        .get("objective")
        .and_then(|table| table.get("prediction_type"));
    objective.extend(predicted.map(|value| ("prediction_type".to_owned(), value.clone())));
    let mut kept = Table::from_iter([("objective".to_owned(), Value::Table(objective))]);
    for key in ["network", "noise"] {
        kept.extend(all.get(key).map(|value| (key.to_owned(), value.clone())));
    }
    Ok(kept)
}

/// The first key that has another value in `theirs`, and both values.
fn difference(
    prefix: &str,
    ours: &Table,
    theirs: &Table,
) -> Option<(String, Option<Value>, Option<Value>)> {
    let keys: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
    keys.into_iter().find_map(|key| {
        let name = format!("{prefix}{key}");
        match (ours.get(key), theirs.get(key)) {
            (Some(Value::Table(ours)), Some(Value::Table(theirs))) => {
                difference(&format!("{name}."), ours, theirs)
            }
            (ours, theirs) if ours != theirs => Some((name, ours.cloned(), theirs.cloned())),
            _ => None,
        }
    })
}

/// The network of `config`, which was [`check`]ed, with the averaged weights of `checkpoint`: on `device`, with
/// autodiff.
pub(super) fn network(
    checkpoint: &Checkpoint,
    config: &RunConfig,
    device: &Device,
) -> Result<Network> {
    let old = checkpoint.config();
    let mut network = checkpoint.load_ema(old.network.init(old.seed, device)?)?;
    let classes = (old.classes(), config.classes());
    if let (Some(old), None) = classes
        && let Network::UNet(unet) = network
    {
        network = Network::UNet(unet.for_class(old.count));
    }
    let metadata = BTreeMap::new();
    let mut tensors = read_tensors(&network.to_safetensors(&metadata)?)?;
    let begun = config
        .network
        .init(config.seed, &device.clone().autodiff())?;
    if let (old_classes, Some(new)) = classes {
        let fresh = read_tensors(&begun.valid().to_safetensors(&metadata)?)?;
        let width = fresh
            .get(CLASSES)
            .and_then(|tensor| tensor.shape().to_vec().last().copied())
            .context("a network with classes has embeddings of them")?;
        let known = match tensors.get(CLASSES) {
            Some(rows) => rows
                .as_slice::<f32>()
                .ok()
                .context("weights are of f32")?
                .to_vec(),
            None => Vec::new(),
        };
        let rows: Vec<&[f32]> = known.chunks(width).collect();
        let count = old_classes.map_or(0, |classes| classes.count);
        let none = match old_classes {
            Some(classes) if classes.has_null_label => rows[count].to_vec(),
            _ => mean(&rows, width),
        };
        let names = [&old.found.class_names[..], &config.found.class_names[..]];
        let mut values = Vec::new();
        for class in 0..new.count + usize::from(new.has_null_label) {
            let of = source(class, new.count, count, names);
            values.extend_from_slice(of.map_or(&none[..], |of| rows[of]));
        }
        let shape = vec![values.len() / width, width];
        tensors.insert(CLASSES.to_owned(), TensorData::new(values, shape));
    }
    let bytes = write_tensors(&tensors, &metadata)?;
    begun.from_safetensors(&bytes).with_context(|| {
        format!(
            "the weights of {} do not fit",
            checkpoint.folder().display()
        )
    })
}

/// The old class that a new one of `new` classes begins as, if there is one; `[old, new]` names.
fn source(class: usize, new: usize, old: usize, names: [&[String]; 2]) -> Option<usize> {
    let [old_names, new_names] = names;
    if class >= new {
        return None;
    }
    if old_names.len() == old && new_names.len() == new {
        return old_names.iter().position(|name| *name == new_names[class]);
    }
    (old == new).then_some(class)
}

/// The mean of rows of `width` numbers; zeros where there is none.
fn mean(rows: &[&[f32]], width: usize) -> Vec<f32> {
    let count = rows.len().max(1) as f32;
    (0..width)
        .map(|column| rows.iter().map(|row| row[column]).sum::<f32>() / count)
        .collect()
}

/// What a new run is called that begins as `run`: its name with `-tuned`.
pub(super) fn name_of(run: &Path) -> String {
    // A checkpoint lies in RUN/checkpoints/step-….
    let is_checkpoint = run.join("state.json").is_file();
    let run = if is_checkpoint {
        run.ancestors().nth(2).unwrap_or(run)
    } else {
        run
    };
    let name = run.file_name().unwrap_or_default().to_string_lossy();
    format!("{name}-tuned")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_go_by_name_and_else_by_number() {
        let names = |names: &[&str]| -> Vec<String> {
            names.iter().map(|name| (*name).to_owned()).collect()
        };
        let (old, new) = (names(&["cat", "dog"]), names(&["bird", "cat", "dog"]));
        let of = |class| source(class, 3, 2, [&old, &new]);
        assert_eq!([0, 1, 2, 3].map(of), [None, Some(0), Some(1), None]);
        // As many, of which no names are known.
        assert_eq!(source(1, 2, 2, [&[], &old]), Some(1));
        assert_eq!(source(1, 3, 2, [&[], &new]), None);
        assert_eq!(mean(&[&[1.0, 2.0], &[3.0, 4.0]], 2), [2.0, 3.0]);
        assert_eq!(mean(&[], 2), [0.0, 0.0]);
    }
}
