//! `trainer compare`.

use std::path::PathBuf;

use clap::Args;

/// `trainer compare`
#[derive(Debug, Args)]
pub struct CompareArgs {
    /// The folders of the runs.
    #[arg(value_name = "RUN", num_args = 2.., required = true)]
    pub runs: Vec<PathBuf>,
    /// Take the best checkpoint of each, not the newest.
    #[arg(long)]
    pub best: bool,
}
