//! `trainer train`.

use std::path::{Path, PathBuf};

use clap::Args;

use super::DevicesArgs;

/// `trainer train`
#[derive(Debug, Args)]
pub struct TrainArgs {
    /// What to train: the name of a configuration of the program, as in mnist, or a file that `trainer init`
    /// wrote [default: mnist].
    #[arg(value_name = "CONFIG", conflicts_with_all = ["config", "resume"])]
    pub named: Option<PathBuf>,
    /// The same, as an option.
    #[arg(short, long, value_name = "CONFIG", conflicts_with = "resume")]
    pub config: Option<PathBuf>,
    /// Folder of the run [default: runs/ and the name of the configuration].
    #[arg(short, long, value_name = "DIR", conflicts_with = "resume")]
    pub out: Option<PathBuf>,
    /// Folder that holds the data set, or a folder of that name [default: data/ of the working folder or of
    /// one above it].
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Go on with the run in this folder, from its newest checkpoint.
    #[arg(long, value_name = "RUN")]
    pub resume: Option<PathBuf>,
    /// Begin with the weights of this run (or of one of its checkpoints) and train on other data. Without
    /// CONFIG the rest is as in that run, too; classes are matched by name, and may differ [default of --out:
    /// runs/ and the run's name with -tuned].
    #[arg(long, value_name = "RUN", conflicts_with = "resume")]
    pub from: Option<PathBuf>,
    /// Write nothing: take a few steps, and say what the run would need, in memory, on disk and in time.
    #[arg(long, conflicts_with = "resume")]
    pub dry_run: bool,
    /// Start over where a run is already: it is removed.
    #[arg(long, conflicts_with = "resume")]
    pub overwrite: bool,
    /// Open a page in the browser beside the training, as `trainer serve` does; it ends with the training.
    #[arg(long, conflicts_with = "dry_run")]
    pub serve: bool,
    /// Where a worker is lost, go on from the last checkpoint so many times, and wait for workers that do not answer,
    /// ten minutes at the most.
    #[cfg(feature = "remote")]
    #[arg(long, value_name = "N", default_value_t = 0, conflicts_with_all = ["serve", "dry_run"])]
    pub retry: u32,
    /// Override a key of the configuration, as in training.batch_size=64. May be given again.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Budget of the run.
    #[command(flatten)]
    pub budget: BudgetArgs,
    /// Where to compute.
    #[command(flatten)]
    pub devices: DevicesArgs,
}

impl TrainArgs {
    /// The configuration that was named, in either way.
    pub fn config(&self) -> Option<&Path> {
        self.named.as_deref().or(self.config.as_deref())
    }
}

/// The budget of a run; it replaces the one of the configuration.
#[derive(Debug, Args)]
#[group(multiple = false)]
#[command(next_help_heading = "Budget")]
pub struct BudgetArgs {
    /// Train for this many steps in all.
    #[arg(long, value_name = "N")]
    pub steps: Option<u64>,
    /// Train for this many passes over the training split in all.
    #[arg(long, value_name = "N")]
    pub epochs: Option<f64>,
    /// Train for this many minutes in all.
    #[arg(long, value_name = "M")]
    pub minutes: Option<f64>,
}
