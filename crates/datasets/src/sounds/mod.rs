//! Sounds: single files of several formats, and data sets of recordings of one rate.

mod dataset;
pub mod decode;
pub mod folder;
mod fsdd;
mod griffin_lim;
pub mod mel;
mod recording;
pub mod resample;
pub mod spectrogram;
mod stft;
mod survey;
pub mod wav;

pub use dataset::{SoundDataset, SoundPartsError};
pub use decode::{SoundFileError, SoundFormat, read_sound};
pub use folder::{has_sounds, load_sounds};
pub use fsdd::FsddError;
pub(crate) use fsdd::verify_archive;
pub use mel::MelSpectrogram;
pub use recording::{PEAK, SoundOptions, decode_mono, decode_recording, read_mono, read_recording};
pub use resample::resample;
pub use spectrogram::Spectrogram;
pub use stft::SpectrogramError;
pub use survey::{SoundFacts, survey};
pub use wav::{Audio, AudioError, MAX_SAMPLE_RATE, WavError, read_wav, to_16_bits};
