//! What the program does: one file a subcommand.

pub mod bench;
pub mod compare;
pub mod data;
pub mod devices;
pub mod edit;
pub mod evaluate;
pub mod export;
pub mod import;
pub mod init;
pub mod noise;
mod opened;
pub mod sample;
pub mod samplers;
pub mod schema;
pub mod shell;
pub mod train;
