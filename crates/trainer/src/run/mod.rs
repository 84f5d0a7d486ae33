//! What a run leaves on disk: its folder, its checkpoints, its metrics, and how files are written so that
//! they are whole or not there.

pub mod atomic_file;
pub mod checkpoint;
pub mod config;
pub mod curves;
pub mod folder;
pub mod holder;
pub mod metrics;
pub mod overview;
pub mod read;
pub mod series;
pub mod summary;
