//! Trains a denoising diffusion model and samples from it.
//!
//! ```text
//! datasets ──x_0──▶ noising ──(x_t, ε, t)──▶ unet ──ε̂──▶ loss ──▶ optimiser ──▶ checkpoint
//! checkpoint ──▶ unet ◀──x_t── denoising ──x_{t-1}──▶ … ──▶ x_0 ──▶ pictures, scores
//! ```

pub mod cli;
pub mod commands;
pub mod config;
pub mod device;
pub mod diffusers;
pub mod download;
pub mod drawing;
pub mod error;
pub mod kinds;
pub mod network;
pub mod progress;
pub mod run;
pub mod sampling;
pub mod scoring;
pub mod training_loop;

use anyhow::{Error, Result};

use crate::cli::{Cli, Command};
use crate::config::ConfigError;
use crate::device::DeviceError;
use crate::error::Usage;

/// Does what the command line asks for; returns the exit code.
pub fn run(cli: &Cli) -> Result<u8> {
    progress::start_log(cli.verbose);
    kernels::check_level().map_err(|error| Usage(error.to_string()))?;
    // On a thread of the pool that the CPU kernels run in: from outside, every kernel would be handed
    // over and waited for.
    rayon::scope(|_| match &cli.command {
        Command::Train(args) => commands::train::run(args),
        Command::Sample(args) => commands::sample::run(args).map(|()| 0),
        Command::Data(args) => commands::data::run(args).map(|()| 0),
        Command::Edit(args) => commands::edit::run(args).map(|()| 0),
        Command::Samplers(args) => commands::samplers::run(args).map(|()| 0),
        Command::Evaluate(args) => commands::evaluate::run(args).map(|()| 0),
        Command::Noise(args) => commands::noise::run(args).map(|()| 0),
        Command::Export(args) => commands::export::run(args).map(|()| 0),
        Command::Import(args) => commands::import::run(args).map(|()| 0),
        Command::Bench(args) => commands::bench::run(args).map(|()| 0),
        Command::Devices => commands::devices::run().map(|()| 0),
    })
}

/// The exit code of an error: 2 where the command line or the configuration is wrong, else 1.
pub fn exit_code(error: &Error) -> u8 {
    let is_usage = error
        .chain()
        .any(|cause| cause.is::<Usage>() || cause.is::<ConfigError>() || cause.is::<DeviceError>());
    if is_usage { 2 } else { 1 }
}
