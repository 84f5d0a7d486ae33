//! Sounds, from and to WAV files.

pub mod wav;

pub use wav::{Audio, AudioError, WavError, read_wav};
