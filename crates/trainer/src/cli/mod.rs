//! The command line: a file for each group of arguments.

mod bench;
mod data;
mod edit;
mod evaluate;
mod exchange;
mod model;
mod noise;
mod report;
mod runs;
mod sample;
mod samplers;
mod serve;
mod setup;
mod train;
mod values;
#[cfg(feature = "remote")]
mod worker;

use std::borrow::Cow;

use clap::{ArgAction, Args, CommandFactory, FromArgMatches, Parser, Subcommand};

pub use self::bench::{BenchArgs, BenchMeasure};
pub use self::data::{DataCommand, DataFetchArgs, DataShowArgs};
pub use self::edit::EditArgs;
pub use self::evaluate::{EvaluateArgs, FeatureKind, InceptionResize};
pub use self::exchange::{ExportArgs, ImportArgs};
pub use self::model::{ModelArgs, SamplerArgs};
pub use self::noise::NoiseArgs;
pub use self::report::ReportArgs;
pub use self::runs::{CompareArgs, InfoArgs, ListArgs};
pub use self::sample::SampleArgs;
pub use self::samplers::SamplersArgs;
pub use self::serve::ServeArgs;
pub use self::setup::{CompletionsArgs, InitArgs, ManArgs};
pub use self::train::{BudgetArgs, TrainArgs};
#[cfg(feature = "remote")]
pub use self::worker::{DevicesCommandArgs, RemoteArgs, WorkerArgs};
use crate::output::shortened;

/// Trains a denoising diffusion model and samples from it.
#[derive(Debug, Parser)]
#[command(name = "trainer", version, propagate_version = true)]
pub struct Cli {
    /// How much is said.
    #[command(flatten)]
    pub messages: MessageArgs,
    /// Workers: this program on other machines.
    #[cfg(feature = "remote")]
    #[command(flatten)]
    pub workers: RemoteArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// The command line as the program takes it.
    pub fn definition() -> clap::Command {
        fn with_negative_numbers(command: clap::Command) -> clap::Command {
            // So that the value is refused by what it means, and not as an unknown option.
            command
                .mut_args(|arg| {
                    let takes_value = arg.get_action().takes_values();
                    arg.allow_negative_numbers(takes_value)
                })
                .mut_subcommands(with_negative_numbers)
        }
        with_negative_numbers(Self::command())
    }

    /// What was typed; where that is no command, says so and ends the program.
    pub fn read() -> Self {
        let matches = Self::definition().try_get_matches();
        matches
            .and_then(|matches| Self::from_arg_matches(&matches))
            .unwrap_or_else(|error| end(&error))
    }
}

/// Says what is wrong with what was typed, or what it asks for, and ends the program.
fn end(error: &clap::Error) -> ! {
    let text = error.to_string();
    let Cow::Owned(text) = shortened(&text) else {
        // In colours, where they are wanted.
        error.exit();
    };
    eprintln!("{}", text.trim_end());
    std::process::exit(error.exit_code());
}

/// How much is said, and to whom.
#[derive(Debug, Clone, Copy, Args)]
#[command(next_help_heading = "Messages")]
pub struct MessageArgs {
    /// Say more; twice for everything. `RUST_LOG` overrides it.
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
    /// Say nothing but warnings, errors and the figures that were asked for.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Print what there is to print as lines of JSON.
    #[arg(long, global = true)]
    pub json: bool,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Train a network.
    Train(TrainArgs),
    /// Write a configuration of the program as a file to edit.
    Init(InitArgs),
    /// Sample images or points from a trained network.
    Sample(SampleArgs),
    /// Edit images: image-to-image, inpainting with a mask, or interpolation between two.
    Edit(EditArgs),
    /// Compare all samplers, as pictures or by their distance from DDPM.
    Samplers(SamplersArgs),
    /// Score the images of a trained network: FID, KID, precision and recall, copies, classes, bits per
    /// dimension. scores.json in the folder of the run has them.
    Evaluate(EvaluateArgs),
    /// Open a page in the browser: watch runs, start and stop them, draw from them, see how they work.
    Serve(ServeArgs),
    /// List runs: how far they are, their losses, their data.
    List(ListArgs),
    /// Say what a run is: step, loss, data, classes, size, sampler, and how to go on with it.
    Info(InfoArgs),
    /// Lay runs side by side: where their configurations differ, losses, scores, sizes.
    Compare(CompareArgs),
    /// Write a run as one page of HTML that opens anywhere: curves, grids, scores, configuration.
    Report(ReportArgs),
    /// Show the forward process: data that dissolves into noise.
    Noise(NoiseArgs),
    /// Look at images or points, or fetch a published data set.
    #[command(subcommand)]
    Data(DataCommand),
    /// Write a trained network as a folder that Hugging Face diffusers opens.
    Export(ExportArgs),
    /// Make a run of a folder of Hugging Face diffusers.
    Import(ImportArgs),
    /// Measure how fast a network trains and is called.
    Bench(BenchArgs),
    /// List the devices that this build can use.
    #[cfg(not(feature = "remote"))]
    Devices,
    /// List the devices that this build can use, or those that a worker serves.
    #[cfg(feature = "remote")]
    Devices(DevicesCommandArgs),
    /// Serve devices of this machine to trainings on others.
    #[cfg(feature = "remote")]
    Worker(WorkerArgs),
    /// Print what completes this program's commands in a shell.
    Completions(CompletionsArgs),
    /// Write manual pages, one for each command.
    Man(ManArgs),
    /// Print the JSON schema of configurations, by which editors complete and check them.
    Schema,
}

/// Where to compute.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Device")]
pub struct DeviceArgs {
    /// Device to compute on, as in `flex`, `wgpu:1` or `remote:ws://HOST:PORT#0` [default: the environment variable
    /// BURN_DEVICE, else the best device of this build].
    #[arg(long, value_name = "NAME")]
    pub device: Option<String>,
}

/// Where to compute, for what can be done on several devices at once.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Device")]
pub struct DevicesArgs {
    /// Device to compute on, as in `flex`, `wgpu:1` or `remote:ws://HOST:PORT#0`, or several with commas between them,
    /// which share the work batch by batch: they change the speed, not the result [default: the environment variable
    /// BURN_DEVICE, else the best device of this build].
    #[arg(long = "device", value_name = "NAMES", value_delimiter = ',')]
    pub devices: Vec<String>,
}
