//! The program: reads the command line, does what it asks, tells what went wrong.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use mimalloc::MiMalloc;
use trainer::cli::Cli;

/// Keeps what a training step gives back for the next one. The system's allocator returns large
/// blocks to the kernel, and having them mapped and cleared anew is a tenth of a step.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    match trainer::run(&Cli::read()) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            let advice = trainer::advice(&error).map_or(String::new(), |text| format!("; {text}"));
            trainer::output::write(
                &mut std::io::stderr(),
                format_args!("error: {error:#}{advice}\n"),
            );
            ExitCode::from(trainer::exit_code(&error))
        }
    }
}
