//! `trainer data`: what there is to learn from.

mod classes;
mod fetch;
mod show;
mod sounds;

use anyhow::Result;

use crate::cli::DataCommand;

/// Does what was asked for.
pub fn run(command: &DataCommand) -> Result<()> {
    match command {
        DataCommand::Show(args) => show::run(args),
        DataCommand::Fetch(args) => fetch::run(args),
    }
}
