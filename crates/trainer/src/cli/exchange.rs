//! `trainer export` and `trainer import`.

use std::path::PathBuf;

use clap::Args;

/// `trainer export`
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Folder of a run, or of one of its checkpoints.
    pub run: PathBuf,
    /// Folder to write: model_index.json, unet/ and scheduler/.
    pub out: PathBuf,
    /// Take not the newest checkpoint but the best: of the lowest FID, where [evaluation] measured it, else
    /// of the lowest held-out loss.
    #[arg(long)]
    pub best: bool,
    /// Write the network of this class (a name or a number) alone, which is told no class: an ordinary DDPM.
    #[arg(long, value_name = "CLASS", conflicts_with = "unconditional")]
    pub class: Option<String>,
    /// Write the network of no class alone, which is told no class: an ordinary DDPM.
    #[arg(long)]
    pub unconditional: bool,
    /// Replace a folder that was exported before.
    #[arg(long)]
    pub overwrite: bool,
}

/// `trainer import`
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// Folder of a DDPM or DDIM pipeline of diffusers, with weights as safetensors.
    pub folder: PathBuf,
    /// Folder of the run to make.
    pub run: PathBuf,
    /// Configuration for what the folder says nothing of: data, training, sampling [default: mnist for
    /// grey images, else cifar10, for ten minutes].
    #[arg(short, long, value_name = "CONFIG")]
    pub config: Option<PathBuf>,
    /// Override a key of the configuration, as in data.dataset=cifar10. May be given again.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Start over where a run is already: it is removed.
    #[arg(long)]
    pub overwrite: bool,
}
