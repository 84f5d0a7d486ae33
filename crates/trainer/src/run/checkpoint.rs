//! Checkpoints: all that a run needs to go on exactly, in a folder that is either whole or not
//! there.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `model.safetensors` | the weights, under the names and in the layout of diffusers |
//! | `ema.safetensors` | their moving average, the same way |
//! | `first_moment.safetensors`, `second_moment.safetensors` | AdamW's moving averages, the same way |
//! | `config.toml` | the run's configuration, every key in it |
//! | `state.json` | format version, counters, held-out loss, size and SHA-256 of the other files |
//!
//! The folder is written under a temporary name, every file synced, and then renamed; older ones
//! are removed only after that. At no moment of a kill is there no whole checkpoint.
//!
//! Random streams are functions of the seed and of the counters (see [`training::streams`]), so that
//! the counters are their state.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;
use tracing::warn;
use weights::WeightsError;

use crate::config::{ConfigError, RunConfig};
use crate::network::Network;
use crate::run::{atomic_file, read};
use training::Ema;
use training::{AdamW, Moments};
use training::{flatten, unflatten};

/// Version of the format that this program writes, and the only one that it reads.
pub const FORMAT_VERSION: u32 = 1;

const MODEL: &str = "model.safetensors";
const EMA: &str = "ema.safetensors";
const FIRST_MOMENT: &str = "first_moment.safetensors";
const SECOND_MOMENT: &str = "second_moment.safetensors";
const CONFIG: &str = "config.toml";
const STATE: &str = "state.json";

/// Where a run stands, apart from the tensors.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Counters {
    /// Steps taken: changes of the weights.
    pub step: u64,
    /// Training examples seen; also the position in the data.
    pub examples_seen: u64,
    /// Batches seen, each of those whose gradients are averaged by itself; also the position in the random
    /// streams. Counted, since their size may change when a run goes on. 0 where version 0.1 did not count
    /// them.
    #[serde(default)]
    pub batches_seen: u64,
    /// Updates that the moving average has seen.
    pub ema_steps: u64,
    /// Steps that the optimiser has taken.
    pub optimizer_steps: u64,
    /// Time spent on the run, in seconds, over all its sessions.
    pub seconds: f64,
    /// Loss of the averaged weights on the test split.
    pub held_out_loss: Option<f64>,
    /// FID of images drawn by the averaged weights, where it was measured at this step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fid: Option<f64>,
}

#[derive(Debug, Serialize, Deserialize)]
struct State {
    format_version: u32,
    program_version: String,
    seed: u64,
    #[serde(flatten)]
    counters: Counters,
    files: BTreeMap<String, FileRecord>,
}

#[derive(Debug, Serialize, Deserialize)]
struct FileRecord {
    bytes: u64,
    sha256: String,
}

/// A checkpoint on disk that was found whole as far as its state goes; the files are checked
/// against their checksums when they are read.
#[derive(Debug)]
pub struct Checkpoint {
    folder: PathBuf,
    state: State,
    config: RunConfig,
}

/// A checkpoint that cannot be written or read.
#[derive(Debug, Error)]
pub enum CheckpointError {
    /// A file or folder could not be read or written.
    #[error("{}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is no checkpoint where one was expected.
    #[error(
        "{} holds no checkpoint: expected the folder of a run (with checkpoints/ in it) or of one \
         checkpoint",
        path.display()
    )]
    Missing {
        /// The folder.
        path: PathBuf,
    },
    /// The state of the checkpoint cannot be understood.
    #[error("{}: not the state of a checkpoint", path.display())]
    BadState {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// The checkpoint was written in another format.
    #[error(
        "{} has format version {found}, and this program reads version {FORMAT_VERSION}: use the \
         version of the program that wrote it",
        path.display()
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u64,
    },
    /// A file is not the one that was written.
    #[error(
        "{} is damaged: {found}, expected {expected}; remove the folder {} to fall back on an \
         older checkpoint",
        path.display(),
        path.parent().unwrap_or(path).display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is there.
        found: String,
        /// What was written.
        expected: String,
    },
    /// The weights do not fit the network of the configuration.
    #[error("{}", path.display())]
    Weights {
        /// The file.
        path: PathBuf,
        /// Why.
        source: WeightsError,
    },
    /// The saved configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The configuration cannot be written.
    #[error("cannot write the configuration as TOML")]
    ConfigToToml(#[from] toml::ser::Error),
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> CheckpointError + '_ {
    move |source| CheckpointError::Io {
        path: path.to_owned(),
        source,
    }
}

/// What is put into a checkpoint.
#[derive(Debug)]
pub struct Snapshot<'a> {
    /// The run's configuration.
    pub config: &'a RunConfig,
    /// The network with its current weights.
    pub network: &'a Network,
    /// The moving average.
    pub ema: &'a Ema,
    /// The optimiser.
    pub optimizer: &'a AdamW,
    /// Where the run stands.
    pub counters: &'a Counters,
}

impl Checkpoint {
    /// Writes `snapshot` as a checkpoint of its step into the folder `checkpoints`. One that is
    /// there already for that step is left as it is: the same step of the same run holds the same.
    pub fn write(checkpoints: &Path, snapshot: &Snapshot<'_>) -> Result<PathBuf, CheckpointError> {
        let folder = checkpoints.join(format!("step-{:08}", snapshot.counters.step));
        if folder.join(STATE).is_file() {
            return Ok(folder);
        }
        fs::create_dir_all(checkpoints).map_err(io_error(checkpoints))?;
        let unfinished = atomic_file::temporary_sibling(&folder);
        // What a process of the same number left when it was killed.
        match atomic_file::remove(&unfinished) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            removed => removed.map_err(io_error(&unfinished))?,
        }
        let result = write_files(&unfinished, snapshot)
            .and_then(|()| fs::rename(&unfinished, &folder).map_err(io_error(&folder)));
        if result.is_err() {
            // The first error is the one to tell.
            let _ = fs::remove_dir_all(&unfinished);
        }
        result?;
        atomic_file::sync_folder(checkpoints).map_err(io_error(checkpoints))?;
        Ok(folder)
    }

    /// Opens the checkpoint in `folder`, which may also be a run: then its newest one, or with
    /// `best` the one of the lowest FID or, where none was measured, of the lowest held-out loss.
    pub fn open(folder: &Path, best: bool) -> Result<Self, CheckpointError> {
        if folder.join(STATE).is_file() {
            return Self::open_folder(folder);
        }
        let mut before = None;
        loop {
            let newest_first = list(&folder.join("checkpoints"))?;
            let best = if best { best_of(&newest_first) } else { None };
            let chosen =
                best.as_ref()
                    .or(newest_first.first())
                    .ok_or_else(|| CheckpointError::Missing {
                        path: folder.to_owned(),
                    })?;
            match Self::open_folder(chosen) {
                // The training that it belongs to has removed it meanwhile, and has written a newer one. A
                // link to nowhere is still listed.
                Err(_) if !chosen.exists() && before.as_ref() != Some(chosen) => {}
                opened => return opened,
            }
            before = Some(chosen.clone());
        }
    }

    fn open_folder(folder: &Path) -> Result<Self, CheckpointError> {
        let mut state = read_state(folder)?;
        let bytes = read_checked(folder, CONFIG, &state)?;
        let path = folder.join(CONFIG);
        let config = RunConfig::parse(&String::from_utf8_lossy(&bytes), &path, &[])?;
        let counters = &mut state.counters;
        if counters.batches_seen == 0 {
            counters.batches_seen = batches_of_0_1(counters, config.training.batch_size);
        }
        Ok(Self {
            folder: folder.to_owned(),
            state,
            config,
        })
    }

    /// The folder of the checkpoint.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// SHA-256 of the averaged weights, from which samples are drawn; empty where the state does not say.
    pub fn weights_digest(&self) -> &str {
        self.state.files.get(EMA).map_or("", |file| &file.sha256)
    }

    /// Where the run stood.
    pub fn counters(&self) -> &Counters {
        &self.state.counters
    }

    /// The configuration of the run.
    pub fn config(&self) -> &RunConfig {
        &self.config
    }

    /// `network` with the averaged weights of the checkpoint.
    pub fn load_ema(&self, network: Network) -> Result<Network, CheckpointError> {
        self.load_into(network, EMA)
    }

    /// `network` with the current weights of the checkpoint.
    pub fn load_model(&self, network: Network) -> Result<Network, CheckpointError> {
        self.load_into(network, MODEL)
    }

    /// Everything else that training needs: the moving average and the optimiser, for a network of
    /// the shape and on the device of `network`.
    pub fn load_training(
        &self,
        network: &Network,
        config: &RunConfig,
    ) -> Result<(Ema, AdamW), CheckpointError> {
        let load = |name| {
            self.load_into(network.valid(), name)
                .map(|network| flatten(&network))
        };
        let counters = self.counters();
        let ema = Ema::new(load(EMA)?, counters.ema_steps, config.ema.decay);
        let mut optimizer = AdamW::new(config.optimizer.clone());
        if counters.optimizer_steps > 0 {
            optimizer.moments = Some(Moments {
                first: load(FIRST_MOMENT)?,
                second: load(SECOND_MOMENT)?,
                steps: counters.optimizer_steps,
            });
        }
        Ok((ema, optimizer))
    }

    fn load_into(&self, network: Network, name: &str) -> Result<Network, CheckpointError> {
        let bytes = read_checked(&self.folder, name, &self.state)?;
        network
            .from_safetensors(&bytes)
            .map_err(|source| CheckpointError::Weights {
                path: self.folder.join(name),
                source,
            })
    }
}

/// The batches that a checkpoint of version 0.1 has seen, which took their place in the random streams from
/// the examples and the size of its last session. Where an earlier session had smaller batches there were
/// more: no fewer than the steps, so that what those drew is not drawn again.
fn batches_of_0_1(counters: &Counters, batch_size: usize) -> u64 {
    let batches = counters.examples_seen.checked_div(batch_size as u64);
    batches.unwrap_or_default().max(counters.step)
}

/// The checkpoints in the folder `checkpoints`, the newest first; none where it does not exist.
pub fn list(checkpoints: &Path) -> Result<Vec<PathBuf>, CheckpointError> {
    Ok(by_step(checkpoints)?
        .into_iter()
        .map(|(_, path)| path)
        .collect())
}

/// The same with the step of each.
pub fn by_step(checkpoints: &Path) -> Result<Vec<(u64, PathBuf)>, CheckpointError> {
    let entries = match fs::read_dir(checkpoints) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(io_error(checkpoints)(source)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(io_error(checkpoints))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let step = name
            .strip_prefix("step-")
            .and_then(|n| n.parse::<u64>().ok());
        if let Some(step) = step {
            found.push((step, path));
        }
    }
    found.sort_unstable_by_key(|(step, _)| std::cmp::Reverse(*step));
    Ok(found)
}

/// Removes all checkpoints but the `keep` newest and the best, and what a killed session left
/// unfinished. One whose state cannot be read may be the best, and stays.
pub fn prune(checkpoints: &Path, keep: usize) -> Result<(), CheckpointError> {
    let newest_first = states(&list(checkpoints)?);
    let best = best_state(&newest_first);
    for (folder, _) in newest_first.iter().skip(keep) {
        if Some(folder) != best {
            // Renamed first, so that a kill in the middle leaves nothing that looks like a
            // checkpoint.
            let unfinished = atomic_file::temporary_sibling(folder);
            fs::rename(folder, &unfinished).map_err(io_error(folder))?;
            fs::remove_dir_all(&unfinished).map_err(io_error(folder))?;
        }
    }
    let entries = fs::read_dir(checkpoints).map_err(io_error(checkpoints))?;
    for entry in entries.flatten() {
        let name = entry.file_name();
        // Nobody else writes here: the run is locked.
        if name
            .to_string_lossy()
            .starts_with(atomic_file::TEMPORARY_PREFIX)
            && let Err(error) = atomic_file::remove(&entry.path())
        {
            warn!("cannot remove {}: {error}", entry.path().display());
        }
    }
    Ok(())
}

/// The one of the lowest FID, where any has one; else the one of the lowest held-out loss.
fn best_of(checkpoints: &[PathBuf]) -> Option<PathBuf> {
    best_state(&states(checkpoints)).cloned()
}

/// The checkpoints whose state can be read; of the others a warning tells.
fn states(checkpoints: &[PathBuf]) -> Vec<(PathBuf, Counters)> {
    let read = |folder: &PathBuf| match read_state(folder) {
        Ok(state) => Some((folder.clone(), state.counters)),
        // Pruned since it was listed.
        Err(_) if !folder.exists() => None,
        Err(error) => {
            warn!(
                "{} cannot be read, and may have been the best checkpoint; it is kept until you remove it: \
                 {:#}",
                folder.display(),
                anyhow::Error::from(error)
            );
            None
        }
    };
    checkpoints.iter().filter_map(read).collect()
}

fn best_state(states: &[(PathBuf, Counters)]) -> Option<&PathBuf> {
    let lowest = |figure: fn(&Counters) -> Option<f64>| {
        states
            .iter()
            .filter_map(|(folder, counters)| Some((folder, figure(counters)?)))
            .min_by(|(_, a), (_, b)| a.total_cmp(b))
    };
    let best =
        lowest(|counters| counters.fid).or_else(|| lowest(|counters| counters.held_out_loss));
    best.map(|(folder, _)| folder)
}

fn write_files(folder: &Path, snapshot: &Snapshot<'_>) -> Result<(), CheckpointError> {
    fs::create_dir_all(folder).map_err(io_error(folder))?;
    let metadata = BTreeMap::from([
        ("format".to_owned(), "pt".to_owned()),
        ("step".to_owned(), snapshot.counters.step.to_string()),
    ]);
    let weights = |name: &str, network: &Network| {
        network
            .to_safetensors(&metadata)
            .map_err(|source| CheckpointError::Weights {
                path: folder.join(name),
                source,
            })
    };
    let network = snapshot.network.valid();
    let with = |parameters: &Tensor<1>| unflatten(network.clone(), parameters.clone());

    let mut files = vec![
        (MODEL, weights(MODEL, &network)?),
        (EMA, weights(EMA, &with(&snapshot.ema.parameters))?),
        (CONFIG, snapshot.config.to_toml()?.into_bytes()),
    ];
    if let Some(moments) = &snapshot.optimizer.moments {
        files.push((FIRST_MOMENT, weights(FIRST_MOMENT, &with(&moments.first))?));
        files.push((
            SECOND_MOMENT,
            weights(SECOND_MOMENT, &with(&moments.second))?,
        ));
    }

    let mut records = BTreeMap::new();
    for (name, bytes) in &files {
        let path = folder.join(name);
        atomic_file::write_synced(&path, bytes).map_err(io_error(&path))?;
        records.insert(
            (*name).to_owned(),
            FileRecord {
                bytes: bytes.len() as u64,
                sha256: sha256(bytes),
            },
        );
    }
    let path = folder.join(STATE);
    let state = State {
        format_version: FORMAT_VERSION,
        program_version: env!("CARGO_PKG_VERSION").to_owned(),
        seed: snapshot.config.seed,
        counters: snapshot.counters.clone(),
        files: records,
    };
    let state = serde_json::to_vec_pretty(&state).map_err(|source| CheckpointError::BadState {
        path: path.clone(),
        source,
    })?;
    atomic_file::write_synced(&path, &state).map_err(io_error(&path))?;
    atomic_file::sync_folder(folder).map_err(io_error(folder))
}

fn read_state(folder: &Path) -> Result<State, CheckpointError> {
    #[derive(Deserialize)]
    struct Version {
        format_version: u64,
    }
    let path = folder.join(STATE);
    let bytes = read::read(&path, read::SMALL).map_err(io_error(&path))?;
    let bad = |source| CheckpointError::BadState {
        path: path.clone(),
        source,
    };
    // The version first: another version may have other keys.
    let Version { format_version } = serde_json::from_slice(&bytes).map_err(bad)?;
    if format_version != u64::from(FORMAT_VERSION) {
        return Err(CheckpointError::Version {
            path,
            found: format_version,
        });
    }
    serde_json::from_slice(&bytes).map_err(bad)
}

/// The bytes of a file of the checkpoint, if they are the ones that were written.
fn read_checked(folder: &Path, name: &str, state: &State) -> Result<Vec<u8>, CheckpointError> {
    let path = folder.join(name);
    let damaged = |found: String, expected: String| CheckpointError::Damaged {
        path: path.clone(),
        found,
        expected,
    };
    let record = state.files.get(name).ok_or_else(|| {
        damaged(
            format!("{STATE} does not list it"),
            "a file of every checkpoint".to_owned(),
        )
    })?;
    let metadata = read::check_regular(&path).and_then(|()| fs::metadata(&path));
    let length = match metadata {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(damaged(
                "it is missing".into(),
                format!("{} bytes", record.bytes),
            ));
        }
        Err(source) => return Err(io_error(&path)(source)),
    };
    if length != record.bytes {
        return Err(damaged(
            format!("it has {length} bytes"),
            format!("{} bytes", record.bytes),
        ));
    }
    let bytes = read::read(&path, record.bytes).map_err(io_error(&path))?;
    let found = sha256(&bytes);
    if found != record.sha256 {
        return Err(damaged(
            format!("its SHA-256 is {found}"),
            record.sha256.clone(),
        ));
    }
    Ok(bytes)
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
