//! `trainer list`, `trainer info` and `trainer compare`: what there is to know of runs.

use std::path::PathBuf;

use clap::Args;

/// `trainer list`
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Folders whose runs are listed.
    #[arg(value_name = "DIR", default_value = "runs")]
    pub folders: Vec<PathBuf>,
}

/// `trainer info`
#[derive(Debug, Args)]
pub struct InfoArgs {
    /// Folder of a run, or of one of its checkpoints.
    pub run: PathBuf,
    /// Take not the newest checkpoint but the best: of the lowest FID, where [evaluation] measured it, else
    /// of the lowest held-out loss.
    #[arg(long)]
    pub best: bool,
}

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
