//! A sound as a recording to learn from: one channel, one rate, one loudness.

use std::path::Path;

use super::decode::{SILENCE, SoundFileError, Turn, decode_in_turn, read_in_turn};
use super::resample::{resample, resampled_len};
use super::wav::{Audio, MAX_SAMPLES};

/// The largest magnitude of a recording once it is normalised.
pub const PEAK: f32 = 0.95;

/// How sounds are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SoundOptions {
    /// The samples a second that every recording is brought to; at least 1.
    pub sample_rate: u32,
    /// Whether files that cannot be read, are silent or too short are passed over, with a warning each, and do
    /// not stop all.
    pub skip_bad: bool,
    /// The most bytes of samples (four each) that are held in memory; a larger folder is streamed.
    pub cache_bytes: u64,
    /// The fewest samples of a recording, at `sample_rate`.
    pub min_samples: usize,
}

impl SoundOptions {
    /// Recordings of so many samples a second and at least 10 ms, all of them held in memory; files that cannot be
    /// read are errors.
    pub fn of_rate(sample_rate: u32) -> Self {
        Self {
            sample_rate,
            skip_bad: false,
            cache_bytes: u64::MAX,
            min_samples: (sample_rate / 100).max(1) as usize,
        }
    }
}

/// Reads a file as a recording: the mean of its channels, at the rate of `options`, its largest magnitude [`PEAK`].
///
/// # Errors
///
/// A file that is no sound, silent or too short.
///
/// # Panics
///
/// If the rate is 0.
pub fn read_recording(path: &Path, options: &SoundOptions) -> Result<Vec<f32>, SoundFileError> {
    // Held until the sound is resampled and gone.
    let mut turn = Turn::default();
    let sound = read_in_turn(path, &mut turn)?;
    recording(path, &sound, options)
}

/// The bytes of a sound file, as [`read_recording`] reads them; messages call it `name`.
///
/// # Errors
///
/// Bytes that are no sound, a silent or a short one.
///
/// # Panics
///
/// If the rate is 0.
pub fn decode_recording(
    bytes: Vec<u8>,
    name: &Path,
    options: &SoundOptions,
) -> Result<Vec<f32>, SoundFileError> {
    let mut turn = Turn::default();
    let sound = decode_in_turn(bytes, name, &mut turn)?;
    recording(name, &sound, options)
}

/// Reads a file as one channel of `sample_rate` samples a second, as loud as it is.
///
/// # Errors
///
/// A file that is no sound, or too long at that rate.
///
/// # Panics
///
/// If the rate is 0.
pub fn read_mono(path: &Path, sample_rate: u32) -> Result<Vec<f32>, SoundFileError> {
    // Held until the sound is resampled and gone.
    let mut turn = Turn::default();
    let sound = read_in_turn(path, &mut turn)?;
    mono(path, &sound, sample_rate)
}

/// The bytes of a sound file, as [`read_mono`] reads them; messages call it `name`.
///
/// # Errors
///
/// Bytes that are no sound, or one that is too long at that rate.
///
/// # Panics
///
/// If the rate is 0.
pub fn decode_mono(
    bytes: Vec<u8>,
    name: &Path,
    sample_rate: u32,
) -> Result<Vec<f32>, SoundFileError> {
    let mut turn = Turn::default();
    let sound = decode_in_turn(bytes, name, &mut turn)?;
    mono(name, &sound, sample_rate)
}

/// The mean of all channels, resampled.
fn mono(path: &Path, sound: &Audio, sample_rate: u32) -> Result<Vec<f32>, SoundFileError> {
    let from = sound.sample_rate();
    if resampled_len(sound.frames(), from, sample_rate) > MAX_SAMPLES as u64 {
        let path = path.to_owned();
        return Err(SoundFileError::TooLong { path });
    }
    Ok(resample(&mixed(sound), from, sample_rate))
}

/// The mean of all channels, resampled, and scaled so that the largest magnitude is [`PEAK`].
pub(super) fn recording(
    path: &Path,
    sound: &Audio,
    options: &SoundOptions,
) -> Result<Vec<f32>, SoundFileError> {
    let (from, to) = (sound.sample_rate(), options.sample_rate);
    let len = resampled_len(sound.frames(), from, to);
    if len < options.min_samples as u64 {
        return Err(SoundFileError::TooShort {
            path: path.to_owned(),
            found: len,
            sample_rate: to,
            least: options.min_samples,
        });
    }
    let mut samples = mono(path, sound, to)?;
    let peak = samples
        .iter()
        .fold(0.0, |peak: f32, sample| peak.max(sample.abs()));
    if peak < SILENCE {
        let path = path.to_owned();
        return Err(SoundFileError::Silent { path, peak });
    }
    for sample in &mut samples {
        *sample *= PEAK / peak;
    }
    Ok(samples)
}

/// The mean of all channels.
fn mixed(sound: &Audio) -> Vec<f32> {
    let mut mean = sound.channel(0).to_vec();
    for channel in 1..sound.channels() {
        for (sum, sample) in mean.iter_mut().zip(sound.channel(channel)) {
            *sum += sample;
        }
    }
    let scale = 1.0 / sound.channels() as f32;
    for sample in &mut mean {
        *sample *= scale;
    }
    mean
}
