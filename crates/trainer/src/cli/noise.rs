//! `trainer noise`.

use std::path::PathBuf;

use clap::Args;

use super::DeviceArgs;

/// `trainer noise`
#[derive(Debug, Args)]
pub struct NoiseArgs {
    /// What is noised: an image file, a folder of images, a sound (.wav, .flac, .mp3, .ogg) or a .csv of points,
    /// a line a point [default: test examples of the configuration's data set, one of each class first].
    pub input: Option<PathBuf>,
    /// Folder that the pictures and tables are written into.
    #[arg(short, long, value_name = "DIR", default_value = "runs/noise")]
    pub out: PathBuf,
    /// Configuration whose `[noise]` table is the chain [default: mnist].
    #[arg(short, long, value_name = "CONFIG")]
    pub config: Option<PathBuf>,
    /// Folder that holds the data set, or a folder of that name [default: data/ of the working folder or of
    /// one above it].
    #[arg(long, value_name = "DIR", conflicts_with = "input")]
    pub data_dir: Option<PathBuf>,
    /// Number of images, sounds or points [default: 10 images, 6 sounds, 2000 points].
    #[arg(short = 'n', long, value_name = "N")]
    pub count: Option<usize>,
    /// Timesteps that are drawn side by side, x_0 being the first.
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub columns: usize,
    /// Side of the central square that image files are cut and resized to [default: the shorter side
    /// of the first, at most 128].
    #[arg(long, value_name = "PX")]
    pub size: Option<usize>,
    /// Read image files in grey.
    #[arg(long)]
    pub grey: bool,
    /// Seed of the noise.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Override a key of the configuration, as in noise.schedule.kind=cosine. May be given again.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Where to compute.
    #[command(flatten)]
    pub device: DeviceArgs,
}
