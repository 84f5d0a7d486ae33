//! The program: reads the command line, does what it asks, tells what went wrong.

use std::process::ExitCode;

use clap::Parser;
use mimalloc::MiMalloc;
use trainer::cli::Cli;

/// Keeps what a training step gives back for the next one. The system's allocator returns large
/// blocks to the kernel, and having them mapped and cleared anew is a tenth of a step.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    match trainer::run(&Cli::parse()) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(trainer::exit_code(&error))
        }
    }
}
