//! Trains a denoising diffusion model and samples from it.
//!
//! ```text
//! datasets ──x_0──▶ noising ──(x_t, ε, t)──▶ unet ──ε̂──▶ loss ──▶ optimiser ──▶ checkpoint
//! checkpoint ──▶ unet ◀──x_t── denoising ──x_{t-1}──▶ … ──▶ x_0 ──▶ pictures, scores
//! ```

#![forbid(unsafe_code)]

// First, since its macros hold for what comes after it.
#[macro_use]
pub mod output;

pub mod cli;
pub mod commands;
pub mod config;
pub mod destination;
pub mod device;
pub mod diffusers;
pub mod download;
pub mod drawing;
pub mod error;
pub mod invocation;
pub mod kinds;
pub mod memory;
pub mod network;
pub mod progress;
#[cfg(feature = "remote")]
pub mod remote;
pub mod report;
pub mod run;
pub mod sampling;
pub mod scoring;
pub mod threads;
#[cfg(feature = "remote")]
pub mod token_file;
pub mod training_loop;

#[cfg(feature = "remote")]
use std::time::Duration;

use anyhow::{Context, Error, Result};

use crate::cli::{Cli, Command};
use crate::config::ConfigError;
use crate::device::DeviceError;
use crate::error::{INTERRUPTED, Usage};
use crate::invocation::hint;
#[cfg(feature = "remote")]
use crate::remote::unless_lost;
use crate::report::Style;
use crate::run::atomic_file;
use crate::run::checkpoint::CheckpointError;

/// Does what the command line asks for; returns the exit code.
pub fn run(cli: &Cli) -> Result<u8> {
    let messages = cli.messages;
    report::start(Style {
        quiet: messages.quiet,
        json: messages.json,
    });
    progress::start_log(messages.verbose, messages.quiet);
    if !matches!(cli.command, Command::Train(_)) {
        end_on_signal()?;
    }
    kernels::check_level().map_err(|error| Usage(error.to_string()))?;
    threads::start(match &cli.command {
        Command::Serve(args) => args.threads,
        _ => None,
    })?;
    #[cfg(feature = "remote")]
    {
        let workers = &cli.workers;
        remote::start(
            workers.token_file.as_deref(),
            Duration::from_secs(workers.worker_timeout),
        );
        // Its sessions have threads of their own, and all of the pool is theirs.
        if let Command::Worker(args) = &cli.command {
            return commands::worker::run(args).map(|()| 0);
        }
    }
    // On a thread of the pool that the CPU kernels run in: from outside, every kernel would be handed
    // over and waited for.
    rayon::scope(|_| do_as_asked(&cli.command)).map_err(unless_lost)
}

/// Without workers none is lost.
#[cfg(not(feature = "remote"))]
fn unless_lost(error: Error) -> Error {
    error
}

fn do_as_asked(command: &Command) -> Result<u8> {
    match command {
        Command::Train(args) => commands::train::run(args),
        Command::Sample(args) => commands::sample::run(args).map(|()| 0),
        Command::Data(args) => commands::data::run(args).map(|()| 0),
        Command::Edit(args) => commands::edit::run(args).map(|()| 0),
        Command::Samplers(args) => commands::samplers::run(args).map(|()| 0),
        Command::Evaluate(args) => commands::evaluate::run(args).map(|()| 0),
        Command::Serve(args) => commands::serve::run(args).map(|()| 0),
        Command::List(args) => commands::list::run(args).map(|()| 0),
        Command::Info(args) => commands::info::run(args).map(|()| 0),
        Command::Compare(args) => commands::compare::run(args).map(|()| 0),
        Command::Report(args) => commands::report::run(args).map(|()| 0),
        Command::Noise(args) => commands::noise::run(args).map(|()| 0),
        Command::Export(args) => commands::export::run(args).map(|()| 0),
        Command::Import(args) => commands::import::run(args).map(|()| 0),
        Command::Bench(args) => commands::bench::run(args).map(|()| 0),
        #[cfg(feature = "remote")]
        Command::Devices(args) => match &args.remote {
            Some(worker) => commands::devices::run_remote(worker).map(|()| 0),
            None => commands::devices::run().map(|()| 0),
        },
        #[cfg(not(feature = "remote"))]
        Command::Devices => commands::devices::run().map(|()| 0),
        Command::Init(args) => commands::init::run(args).map(|()| 0),
        Command::Completions(args) => {
            commands::shell::completions(args);
            Ok(0)
        }
        Command::Schema => commands::schema::run().map(|()| 0),
        Command::Man(args) => commands::shell::man(args).map(|()| 0),
        #[cfg(feature = "remote")]
        Command::Worker(args) => commands::worker::run(args).map(|()| 0),
    }
}

/// Ends the program at once on Ctrl-C, but for a file that is being written: it is whole first.
fn end_on_signal() -> Result<()> {
    ctrlc::set_handler(|| {
        let _no_file_is_begun = atomic_file::wait_until_whole();
        std::process::exit(i32::from(INTERRUPTED));
    })
    .context("cannot listen for Ctrl-C")
}

/// What to do about an error, where its text, which a library wrote, cannot know it.
pub fn advice(error: &Error) -> Option<String> {
    let missing = error
        .chain()
        .find_map(|cause| cause.downcast_ref::<datasets::NotFound>())?;
    let fetch = hint(&format!("data fetch {}", missing.name));
    Some(format!(
        "`{fetch}` brings them; --data-dir DIR names a folder that holds them"
    ))
}

/// The exit code of an error: 2 where the command line or the configuration is wrong, else 1.
pub fn exit_code(error: &Error) -> u8 {
    let is_usage = error.chain().any(|cause| {
        // Another folder was named than that of a run.
        let names_no_run = matches!(cause.downcast_ref(), Some(CheckpointError::Missing { .. }));
        cause.is::<Usage>()
            || cause.is::<ConfigError>()
            || cause
                .downcast_ref::<DeviceError>()
                .is_some_and(DeviceError::is_usage)
            || names_no_run
    });
    if is_usage { 2 } else { 1 }
}
