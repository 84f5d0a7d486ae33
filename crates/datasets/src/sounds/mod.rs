//! Sounds: single files of several formats, and data sets of recordings of one rate.

mod dataset;
pub mod decode;
pub mod folder;
mod fsdd;
mod recording;
pub mod resample;
pub mod wav;

pub use dataset::{SoundDataset, SoundPartsError};
pub use decode::{SoundFileError, SoundFormat, read_sound};
pub use folder::load_sounds;
pub use fsdd::FsddError;
pub(crate) use fsdd::verify_archive;
pub use recording::{PEAK, SoundOptions};
pub use resample::resample;
pub use wav::{Audio, AudioError, WavError, read_wav};
