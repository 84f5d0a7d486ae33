//! The whole program, run as a user runs it: one binary, since each links all of burn.

#![allow(clippy::unwrap_used)]

mod architecture;
mod backends;
mod bad_input;
mod bench;
mod command_line;
mod compare;
mod configs;
mod data;
mod devices;
mod edit;
mod evaluate;
mod exchange;
mod noise;
mod old_runs;
mod page;
mod page_sounds;
mod points;
mod precision;
#[cfg(feature = "remote")]
mod remote;
mod runs;
mod sample;
mod sounds;
mod support;
mod survival;
mod tables;
mod train;
