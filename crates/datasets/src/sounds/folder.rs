//! A folder of sounds as a data set: [`crate::folders`] says which files, classes and splits it has.
//!
//! - Sounds are files named `.wav`, `.flac`, `.mp3`, `.ogg` or `.oga`, in any case ([`super::decode`]).
//! - Each becomes a recording: the mean of its channels, resampled to one rate ([`super::resample`]), and scaled
//!   so that its largest magnitude is [`PEAK`](super::PEAK). A file that is silent or too short is bad, as is one
//!   that cannot be read.
//!
//! All files are decoded when the data set is loaded, for that is what shows that they are whole, and how long
//! they are. Recordings that fit into memory together are kept; of a larger folder each is decoded again when it
//! is asked for.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use super::dataset::{Recordings, SoundDataset};
use super::decode::SoundFileError;
use super::recording::read_recording;
use crate::folders::{FileKind, FolderError, Found, SplitFiles, has_files, in_parallel, list};
use crate::splits::Splits;

/// How file names of sounds end.
pub(super) const SOUNDS: FileKind = FileKind::new("sound", &["wav", "flac", "mp3", "ogg", "oga"]);

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

/// Whether there are files below a folder that are sounds by their names.
pub fn has_sounds(dir: &Path) -> bool {
    has_files(dir, SOUNDS)
}

/// Loads a folder as both splits of a data set; see the [module](self).
///
/// ```no_run
/// use datasets::{SoundOptions, load_sounds};
///
/// let options = SoundOptions {
///     sample_rate: 16_000,
///     skip_bad: true,
///     cache_bytes: 1 << 30,
///     min_samples: 160,
/// };
/// let splits = load_sounds("my-sounds".as_ref(), &options)?;
/// println!("{} s", splits.train.seconds(0));
/// # Ok::<(), datasets::FolderError<datasets::SoundFileError>>(())
/// ```
///
/// # Errors
///
/// See [`FolderError`]; bad sounds are reported together.
///
/// # Panics
///
/// If the rate is 0.
pub fn load_sounds(
    dir: &Path,
    options: &SoundOptions,
) -> Result<Splits<SoundDataset>, FolderError<SoundFileError>> {
    let mut listing = list(dir, SOUNDS)?;
    let held = AtomicU64::new(0);
    let mut errors = Vec::new();
    let train = read_all(&mut listing.train, options, &held, &mut errors);
    let test = read_all(&mut listing.test, options, &held, &mut errors);
    let listing = listing.read(dir, errors, options.skip_bad)?;
    let is_held = held.into_inner() <= options.cache_bytes;
    let dataset = |files: SplitFiles, read: Vec<Read>| {
        let lengths = read.iter().map(|read| read.len).collect();
        let recordings = if is_held {
            let samples = read.into_iter().filter_map(|read| read.samples);
            Recordings::held(samples.collect())
        } else {
            Recordings::streamed(files.paths, options.clone())
        };
        let (labels, names) = (files.labels, listing.class_names.clone());
        SoundDataset::new(recordings, lengths, options.sample_rate, labels, names)
    };
    Ok(Splits {
        train: dataset(listing.train, train),
        test: dataset(listing.test, test),
        fingerprint: Some(listing.fingerprint),
    })
}

/// What is kept of a file that was decoded.
struct Read {
    /// How many samples the recording has.
    len: usize,
    /// They themselves, unless those of all files are too many to be held.
    samples: Option<Vec<f32>>,
}

/// Decodes all files; those that are bad are taken out of the list, and their errors kept. `held` counts the
/// bytes of all recordings.
fn read_all(
    files: &mut Vec<Found>,
    options: &SoundOptions,
    held: &AtomicU64,
    errors: &mut Vec<SoundFileError>,
) -> Vec<Read> {
    let results = in_parallel(files.len(), |index| {
        let samples = read_recording(&files[index].path, options)?;
        let (len, bytes) = (samples.len(), size_of_val(&samples[..]) as u64);
        let before = held.fetch_add(bytes, Ordering::Relaxed);
        let is_kept = before.saturating_add(bytes) <= options.cache_bytes;
        let samples = is_kept.then_some(samples);
        Ok(Read { len, samples })
    });
    let mut read = Vec::with_capacity(files.len());
    let mut results = results.into_iter();
    files.retain(|_| match results.next() {
        Some(Ok(one)) => {
            read.push(one);
            true
        }
        Some(Err(error)) => {
            errors.push(error);
            false
        }
        None => false,
    });
    read
}
