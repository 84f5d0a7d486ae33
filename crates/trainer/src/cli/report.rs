//! `trainer report`: a run as one file.

use std::path::PathBuf;

use clap::Args;

/// `trainer report`
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Folder of a run.
    pub run: PathBuf,
    /// The file [default: report.html in the folder of the run].
    #[arg(short, long, value_name = "HTML")]
    pub out: Option<PathBuf>,
}
