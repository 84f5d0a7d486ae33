//! `trainer init`: a configuration of the program as a file to edit.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::cli::InitArgs;
use crate::config::NamedConfig;
use crate::destination::check_file;
use crate::error::Usage;
use crate::invocation::hint;
use crate::report;
use crate::run::atomic_file;

/// Writes the file; one that is there is left as it is.
pub fn run(args: &InitArgs) -> Result<()> {
    let config = match NamedConfig::embedded(&args.name) {
        Some(config) => config,
        // For its message.
        None => bail!(NamedConfig::unknown(&args.name)),
    };
    let out = match &args.out {
        Some(out) => out.clone(),
        None => PathBuf::from(format!("{}.toml", config.name)),
    };
    if out.exists() {
        bail!(Usage(format!(
            "{} is there already: choose another name with --out",
            out.display()
        )));
    }
    check_file("--out", &out)?;
    atomic_file::write(&out, config.text().as_bytes())
        .with_context(|| format!("cannot write {}", out.display()))?;
    report::wrote(&out);
    report::tell(format!(
        "edit it, then train with: {}",
        hint(&format!("train {}", typed(&out).display()))
    ));
    Ok(())
}

/// A name without an extension would be taken for that of a configuration of the program.
fn typed(path: &Path) -> PathBuf {
    if path.extension().is_none() && path.components().count() == 1 {
        Path::new(".").join(path)
    } else {
        path.to_owned()
    }
}
