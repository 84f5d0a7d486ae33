//! What the program does: one file a subcommand.

mod assets;
pub mod bench;
pub mod compare;
pub mod data;
pub mod devices;
mod dry_run;
pub mod edit;
pub mod evaluate;
pub mod export;
pub mod import;
pub mod info;
pub mod init;
pub mod list;
pub mod noise;
mod opened;
mod pretrained;
pub mod report;
pub mod sample;
pub mod samplers;
pub mod schema;
pub mod serve;
pub mod shell;
pub mod train;
#[cfg(feature = "remote")]
pub mod worker;
