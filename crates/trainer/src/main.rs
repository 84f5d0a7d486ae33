//! The program: reads the command line, does what it asks, tells what went wrong.

use std::process::ExitCode;

use clap::Parser;
use trainer::cli::Cli;

fn main() -> ExitCode {
    match trainer::run(&Cli::parse()) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(trainer::exit_code(&error))
        }
    }
}
