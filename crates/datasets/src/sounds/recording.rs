//! A sound as a recording to learn from: one channel, one rate, one loudness.

use std::path::Path;

use super::decode::{SoundFileError, Turn, read_in_turn};
use super::folder::SoundOptions;
use super::resample::{resample, resampled_len};
use super::wav::{Audio, MAX_SAMPLES};

/// The largest magnitude of a recording once it is normalised.
pub const PEAK: f32 = 0.95;

/// A sound whose largest magnitude is below this, −80 dB of full scale, is silent.
pub(super) const SILENCE: f32 = 1e-4;

/// Reads a file as a recording: the mean of its channels, at the rate of `options`, its largest magnitude [`PEAK`].
///
/// # Errors
///
/// A file that is no sound, silent or too short.
///
/// # Panics
///
/// If the rate is 0.
pub fn read_recording(
    path: &Path,
    options: &SoundOptions,
) -> Result<Vec<f32>, SoundFileError> {
    // Held until the sound is resampled and gone.
    let mut turn = Turn::default();
    let sound = read_in_turn(path, &mut turn)?;
    recording(path, &sound, options)
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
    if len > MAX_SAMPLES as u64 {
        let path = path.to_owned();
        return Err(SoundFileError::TooLong { path });
    }
    let mut samples = resample(&mixed(sound), from, to);
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
