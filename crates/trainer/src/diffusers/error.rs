//! What can be wrong with a folder of diffusers.

use std::io;
use std::path::{Path, PathBuf};

use noising::ScheduleError;
use thiserror::Error;
use weights::WeightsError;

/// The file of a network's configuration.
pub(super) const UNET_CONFIG: &str = "config.json";

/// A folder that cannot be read or written.
#[derive(Debug, Error)]
pub enum DiffusersError {
    /// A file or folder could not be read or written.
    #[error("{}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The folder has no network.
    #[error(
        "{folder} holds no network of diffusers: expected unet/{UNET_CONFIG} or {UNET_CONFIG} in it",
        folder = folder.display()
    )]
    NoNetwork {
        /// The folder.
        folder: PathBuf,
    },
    /// The weights are only there as a pickle, which can run any code when it is opened.
    #[error(
        "{path} is a pickle, which can run any code when it is opened and is not read here; convert it \
         where you trust it, with two lines of Python:\n  \
         from diffusers import UNet2DModel\n  \
         UNet2DModel.from_pretrained({folder:?}).save_pretrained({folder:?})",
        path = path.display(),
        folder = path.parent().unwrap_or(path)
    )]
    Pickle {
        /// The file.
        path: PathBuf,
    },
    /// A configuration is not a JSON object.
    #[error("{}: not a configuration of diffusers", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// A key holds what this program cannot express.
    #[error("{}: `{key}` is {found}, expected {expected}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// What it holds, as JSON.
        found: String,
        /// What can be expressed.
        expected: String,
    },
    /// The schedule makes no chain.
    #[error("{}", path.display())]
    Schedule {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ScheduleError,
    },
    /// The weights do not fit the network, or cannot be written.
    #[error("{}", path.display())]
    Weights {
        /// The file.
        path: PathBuf,
        /// Why.
        source: WeightsError,
    },
    /// The weights are far fewer than the network has.
    #[error(
        "{}: it has {bytes} bytes, expected {least} or more; the weights belong to another network",
        path.display()
    )]
    TooFewWeights {
        /// The file.
        path: PathBuf,
        /// Its length.
        bytes: u64,
        /// The least that the network of the configuration takes.
        least: u128,
    },
}

pub(super) fn io_error(path: &Path) -> impl FnOnce(io::Error) -> DiffusersError + '_ {
    move |source| DiffusersError::Io {
        path: path.to_owned(),
        source,
    }
}
