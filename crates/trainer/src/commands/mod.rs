//! What the program does: one file a subcommand.

pub mod bench;
pub mod devices;
pub mod export;
pub mod import;
pub mod noise;
pub mod sample;
pub mod train;
