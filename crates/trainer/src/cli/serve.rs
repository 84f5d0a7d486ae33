//! `trainer serve`: the page.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, value_parser};

use super::DeviceArgs;
use crate::threads::MOST;

/// `trainer serve`
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Folder whose runs are shown.
    #[arg(value_name = "DIR", default_value = "runs")]
    pub folder: PathBuf,
    /// Port of the page; 0 takes one that is free [default: 8321, or one that is free].
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,
    /// Address to listen at. Whoever reaches another than 127.0.0.1 and has the link may draw, train and stop.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub listen: IpAddr,
    /// Threads that drawings compute in, and each training and scoring that is started from the page [default: one a
    /// processor, or RAYON_NUM_THREADS].
    #[arg(long, value_name = "N", value_parser = value_parser!(u16).range(1..=i64::from(MOST)))]
    pub threads: Option<u16>,
    /// Folder that holds the data sets, or folders of their names [default: data/ of the working folder or of
    /// one above it].
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Where to compute.
    #[command(flatten)]
    pub device: DeviceArgs,
}
