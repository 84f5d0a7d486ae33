//! What the files of a folder of sounds are like before anything is done to them.

use std::path::Path;

use super::decode::{SoundFileError, read_sound};
use super::folder::SOUNDS;
use crate::folders::{FolderError, in_parallel, list};

/// What a file of sound is like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SoundFacts {
    /// Its length in seconds.
    pub seconds: f64,
    /// Samples a second.
    pub sample_rate: u32,
    /// The number of channels.
    pub channels: usize,
    /// The largest magnitude of its samples, full scale being 1.
    pub peak: f32,
    /// The root of the mean square of its samples.
    pub rms: f32,
}

/// What all files below a folder that can be read are like, in the order of their paths.
///
/// # Errors
///
/// A folder that cannot be read or holds no sounds.
pub fn survey(dir: &Path) -> Result<Vec<SoundFacts>, FolderError<SoundFileError>> {
    let listing = list(dir, SOUNDS)?;
    let mut paths: Vec<&Path> = listing
        .train
        .iter()
        .chain(&listing.test)
        .map(|found| found.path.as_path())
        .collect();
    paths.sort_unstable();
    let facts = in_parallel(paths.len(), |index| {
        let sound = read_sound(paths[index]).ok()?;
        let samples = sound.samples();
        let squares = samples.iter().map(|&s| f64::from(s).powi(2));
        Some(SoundFacts {
            seconds: sound.frames() as f64 / f64::from(sound.sample_rate()),
            sample_rate: sound.sample_rate(),
            channels: sound.channels(),
            peak: samples.iter().fold(0.0, |peak, s| s.abs().max(peak)),
            rms: (squares.sum::<f64>() / samples.len().max(1) as f64).sqrt() as f32,
        })
    });
    Ok(facts.into_iter().flatten().collect())
}
