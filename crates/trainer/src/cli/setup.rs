//! `trainer init`, `trainer completions` and `trainer man`: what is done once.

use std::path::PathBuf;

use clap::Args;
use clap_complete::Shell;

/// `trainer init`
#[derive(Debug, Args)]
pub struct InitArgs {
    /// The configuration to begin with, as in mnist.
    pub name: String,
    /// The file to write [default: the name with .toml, in the working folder].
    #[arg(short, long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// `trainer completions`
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell.
    pub shell: Shell,
}

/// `trainer man`
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Folder to write them into.
    pub folder: PathBuf,
}
