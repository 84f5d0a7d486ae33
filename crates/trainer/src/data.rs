//! The images that a configuration names.

use std::path::Path;

use anyhow::{Context, Result, bail};
use datasets::{Channels, FolderOptions, ImageDataset, Split, Splits, load_array, load_folder};

use crate::config::RunConfig;

/// Both splits of the data of `config`. Published data sets are looked for in `data_dir`
/// ([`datasets::find`]); a path is taken as it stands.
///
/// # Errors
///
/// What is wrong with the files, and images at a path that are not those of the configuration's
/// fingerprint.
pub fn load(config: &RunConfig, data_dir: Option<&Path>) -> Result<Splits> {
    let data = &config.data;
    if let Some(name) = data.dataset {
        let dir = datasets::find(name, data_dir)?;
        return Ok(Splits {
            train: ImageDataset::load(name, Split::Train, &dir)?,
            test: ImageDataset::load(name, Split::Test, &dir)?,
            fingerprint: None,
        });
    }
    let path = data
        .path
        .as_deref()
        .context("the configuration names no data")?;
    let cache_bytes = data.cache_mib.saturating_mul(1 << 20);
    let splits = if is_array(path) {
        load_array(path, cache_bytes)?
    } else {
        let options = FolderOptions {
            channels: match config.network.in_channels {
                1 => Channels::Grey,
                _ => Channels::Rgb,
            },
            size: config.network.sample_size,
            background: data.background,
            skip_bad: data.skip_bad,
            cache_bytes,
        };
        load_folder(path, &options)?
    };
    if data.fingerprint.is_some() && data.fingerprint != splits.fingerprint {
        bail!(
            "the images of {} are not those that the run began with: some came, went or changed. Bring \
             them back to go on (data.path may say where), or start a new run",
            path.display()
        );
    }
    Ok(splits)
}

/// The held-out split of the data of `config`; see [`load`].
pub fn load_test(config: &RunConfig, data_dir: Option<&Path>) -> Result<ImageDataset> {
    match config.data.dataset {
        Some(name) => {
            let dir = datasets::find(name, data_dir)?;
            Ok(ImageDataset::load(name, Split::Test, &dir)?)
        }
        None => load(config, data_dir).map(|splits| splits.test),
    }
}

/// Whether a path is named as a NumPy array is.
pub fn is_array(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default();
    extension.eq_ignore_ascii_case("npy") || extension.eq_ignore_ascii_case("npz")
}
