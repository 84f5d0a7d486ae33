//! `trainer data fetch`: a published data set from the internet, file by file, each checked.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use datasets::{DatasetName, verify_download};
use serde_json::json;

use crate::cli::DataFetchArgs;
use crate::download::download;
use crate::error::Usage;
use crate::invocation::hint;
use crate::progress;
use crate::report;

pub(super) fn run(args: &DataFetchArgs) -> Result<()> {
    let name = args.name;
    for mirror in &args.mirror {
        if !mirror.starts_with("http://") && !mirror.starts_with("https://") {
            bail!(Usage(format!(
                "--mirror {mirror:?}: expected an address that starts with http:// or https://"
            )));
        }
    }
    let mirrors: Vec<&str> = if args.mirror.is_empty() {
        name.mirrors().to_vec()
    } else {
        args.mirror
            .iter()
            .map(|mirror| mirror.trim_end_matches('/'))
            .collect()
    };
    fetch(name, &mirrors, &folder(name, args.data_dir.as_deref()))
}

fn fetch(name: DatasetName, mirrors: &[&str], folder: &Path) -> Result<()> {
    let _lock = lock(folder).with_context(|| format!("cannot write into {}", folder.display()))?;
    for file in name.downloads() {
        let target = folder.join(&file);
        let verify = |path: &Path| verify_download(name, &file, path).map_err(anyhow::Error::from);
        if target.exists() {
            match verify(&target) {
                Ok(()) => {
                    report::tell(format!("{} is there already, and whole", target.display()));
                    report::json(&json!({ "already_there": target }))?;
                    continue;
                }
                Err(error) => tracing::warn!("{error:#}: fetching it again"),
            }
        }
        let urls: Vec<String> = mirrors
            .iter()
            .map(|mirror| format!("{mirror}/{file}"))
            .collect();
        let bar = progress::download_bar(&file);
        let result = download(&urls, &target, verify, &bar);
        bar.finish_and_clear();
        result.with_context(|| format!("cannot fetch {file} of {name}"))?;
        report::wrote(&target);
    }
    report::tell(format!(
        "{name} is whole: look at it with: {}",
        hint(&format!("data show {name}"))
    ));
    Ok(())
}

/// Makes the folder, and waits for its turn: two that fetch at once would write into one file.
fn lock(folder: &Path) -> io::Result<File> {
    fs::create_dir_all(folder)?;
    let lock = if cfg!(unix) {
        File::open(folder)?
    } else {
        // A folder cannot be opened there.
        File::create(folder.join(".fetching"))?
    };
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            tracing::warn!(
                "another process fetches into {}: waiting for it",
                folder.display()
            );
            lock.lock()?;
        }
        Err(TryLockError::Error(error)) => {
            // Some network file systems know no locks: then we have to trust that we are alone.
            tracing::warn!("cannot lock {}: {error}", folder.display());
        }
    }
    Ok(lock)
}

/// Where the files go: to `data_dir/NAME`, or to where the data set is looked for, `data/NAME` in the
/// first folder with a `data` folder from the working folder upward.
fn folder(name: DatasetName, data_dir: Option<&Path>) -> PathBuf {
    if let Some(data_dir) = data_dir {
        return data_dir.join(name.as_str());
    }
    // A working folder that was deleted has no path; "." then says as much as can be said.
    let start = std::env::current_dir().unwrap_or_else(|_| ".".into());
    start
        .ancestors()
        .map(|folder| folder.join("data"))
        .find(|data| data.is_dir())
        .unwrap_or_else(|| start.join("data"))
        .join(name.as_str())
}
