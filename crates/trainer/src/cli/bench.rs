//! `trainer bench`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::DevicesArgs;

/// `trainer bench`
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// Configuration whose network is measured [default: mnist].
    #[arg(short, long, value_name = "CONFIG")]
    pub config: Option<PathBuf>,
    /// Sizes of the batches, with commas between them.
    #[arg(
        long,
        value_name = "SIZES",
        value_delimiter = ',',
        default_value = "1,16,64,128"
    )]
    pub batch_sizes: Vec<usize>,
    /// Measure only this.
    #[arg(long, value_enum)]
    pub only: Option<BenchMeasure>,
    /// Count the kernels that a GPU is made to launch instead, once everything is compiled and tuned: what a step
    /// costs before anything is computed.
    #[arg(long)]
    pub launches: bool,
    /// Seconds that each line of the table is measured for, at least five repetitions.
    #[arg(long, value_name = "S", default_value_t = 5.0)]
    pub seconds: f64,
    /// Override a key of the configuration, as in network.layers_per_block=2. May be given again.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Where to compute.
    #[command(flatten)]
    pub devices: DevicesArgs,
}

/// What `trainer bench` measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BenchMeasure {
    /// Steps of training: noise, both passes, optimiser, moving average.
    Train,
    /// Calls of the network, as in sampling.
    Call,
}
