//! `trainer worker`, and what is said of workers.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, value_parser};

use super::DevicesArgs;
use crate::remote::{TOKEN_FILE, WORKER_TIMEOUT};

/// Workers: this program on other machines.
#[derive(Debug, Args)]
#[command(next_help_heading = "Devices of other machines")]
pub struct RemoteArgs {
    /// File that holds the token of workers, one line that only you may read: what `trainer worker` was started with.
    #[arg(long, global = true, value_name = "FILE", env = TOKEN_FILE)]
    pub token_file: Option<PathBuf>,
    /// Seconds that a worker may be silent before the program ends with an error.
    #[arg(
        long, global = true, value_name = "SECONDS", env = WORKER_TIMEOUT, default_value_t = 30,
        value_parser = value_parser!(u64).range(1..=86_400)
    )]
    pub worker_timeout: u64,
}

/// `trainer worker`
#[derive(Debug, Args)]
pub struct WorkerArgs {
    /// Address and port to listen at; port 0 takes one that is free.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:7651")]
    pub listen: SocketAddr,
    /// Listen at an address that other machines reach. Nothing is encrypted: whoever can read the network between
    /// both sees the token, the data and the weights, and with the token computes here. Over networks that are not
    /// yours use an SSH tunnel instead.
    #[arg(long)]
    pub insecure_network: bool,
    /// What is served.
    #[command(flatten)]
    pub devices: DevicesArgs,
}

/// `trainer devices`
#[derive(Debug, Args)]
pub struct DevicesCommandArgs {
    /// List those that this worker serves, instead of this machine's.
    #[arg(long, value_name = "ws://HOST:PORT")]
    pub remote: Option<String>,
}
