//! Pictures: of numbers, curves and points, side by side, with titles. Nothing here knows of a run.

pub(crate) mod canvas;
pub mod captions;
pub mod frames;
pub mod grid;
pub mod histograms;
pub mod matrix;
pub mod page;
pub mod pictures;
pub mod plots;
pub mod scatter;
pub mod spectrogram;
mod text;
pub mod waveform;
