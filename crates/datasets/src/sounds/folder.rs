//! A folder of sounds as a data set: [`crate::folders`] says which files, classes and splits it has.
//!
//! - Sounds are files named `.wav`, `.flac`, `.mp3`, `.ogg` or `.oga`, in any case ([`super::decode`]).
//! - Each becomes a recording: the mean of its channels, resampled to one rate ([`super::resample()`]), and scaled
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
use super::recording::{SoundOptions, read_recording};
use crate::folders::{FileKind, FolderError, Found, SplitFiles, has_files, in_parallel, list};
use crate::splits::Splits;

/// How file names of sounds end.
pub(super) const SOUNDS: FileKind = FileKind::new("sound", &["wav", "flac", "mp3", "ogg", "oga"]);

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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs;

    use tempfile::TempDir;

    use super::*;
    use crate::sounds::{Audio, PEAK, read_sound};

    const OPTIONS: SoundOptions = SoundOptions {
        sample_rate: 8000,
        skip_bad: false,
        cache_bytes: u64::MAX,
        min_samples: 80,
    };

    /// A WAV file of a tone of `len` samples and this loudness on each channel.
    fn tone(rate: u32, len: usize, loudness: &[f32]) -> Vec<u8> {
        let tone = |index: usize| (index as f32 / rate as f32 * 2000.0).sin();
        let samples = loudness
            .iter()
            .flat_map(|size| (0..len).map(move |i| size * tone(i)));
        let sound = Audio::new(rate, loudness.len(), samples.collect()).unwrap();
        sound.to_wav().unwrap()
    }

    /// A folder of files.
    fn folder(files: &[(&str, Vec<u8>)]) -> TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        dir
    }

    /// 12 tones of two classes, of mixed rates, lengths, channels and loudness.
    fn mixed() -> TempDir {
        let names: Vec<String> = (0..12)
            .map(|i| format!("{}/{i}.wav", ["a", "b"][i % 2]))
            .collect();
        let files: Vec<(&str, Vec<u8>)> = names
            .iter()
            .enumerate()
            .map(|(i, name)| {
                let rate = [8000, 16_000, 44_100][i % 3];
                let loudness = &[0.5 / (i + 1) as f32; 2][..1 + i % 2];
                (name.as_str(), tone(rate, 500 + 100 * i, loudness))
            })
            .collect();
        folder(&files)
    }

    fn load(
        dir: &TempDir,
        options: &SoundOptions,
    ) -> Result<Splits<SoundDataset>, FolderError<SoundFileError>> {
        load_sounds(dir.path(), options)
    }

    fn chain(error: &dyn std::error::Error) -> String {
        match error.source() {
            Some(source) => format!("{error}: {}", chain(source)),
            None => error.to_string(),
        }
    }

    #[test]
    fn recordings_have_one_rate_and_one_loudness() {
        let dir = mixed();
        let splits = load(&dir, &OPTIONS).unwrap();
        assert_eq!(splits.train.len() + splits.test.len(), 12);
        for split in [&splits.train, &splits.test] {
            assert_eq!(
                (split.sample_rate(), split.class_names()),
                (8000, &["a".to_owned(), "b".to_owned()][..])
            );
            assert!(!split.is_streamed());
            for index in 0..split.len() {
                let recording = split.recording(index).unwrap();
                assert_eq!(recording.len(), split.lengths()[index]);
                assert_eq!(split.seconds(index), recording.len() as f64 / 8000.0);
                let peak = recording.iter().fold(0.0, |peak: f32, x| peak.max(x.abs()));
                assert!((peak - PEAK).abs() < 1e-6, "{peak}");
            }
        }
        assert_eq!(
            splits.fingerprint,
            load(&dir, &OPTIONS).unwrap().fingerprint
        );
        assert!(format!("{splits:?}").len() < 1000);
    }

    #[test]
    fn what_does_not_fit_is_streamed_and_is_the_same() {
        let dir = mixed();
        let held = load(&dir, &OPTIONS).unwrap();
        let bytes = [&held.train, &held.test]
            .iter()
            .flat_map(|split| split.lengths())
            .sum::<usize>() as u64
            * 4;
        let with = |cache_bytes| {
            load(
                &dir,
                &SoundOptions {
                    cache_bytes,
                    ..OPTIONS
                },
            )
            .unwrap()
        };
        assert!(!with(bytes).train.is_streamed());
        for cache_bytes in [0, bytes - 1] {
            let streamed = with(cache_bytes);
            assert_eq!(streamed.fingerprint, held.fingerprint);
            for (a, b) in [(&held.train, &streamed.train), (&held.test, &streamed.test)] {
                assert!(b.is_streamed());
                assert_eq!((a.lengths(), a.labels()), (b.lengths(), b.labels()));
                for index in 0..a.len() {
                    assert_eq!(a.recording(index).unwrap(), b.recording(index).unwrap());
                }
            }
        }
    }

    #[test]
    fn bad_files_are_named_or_passed_over() {
        let whole = tone(8000, 800, &[0.5]);
        let bad = [
            ("a/cut.wav", whole[..500].to_vec(), "breaks off"),
            ("a/empty.mp3", Vec::new(), "is empty"),
            (
                "a/short.wav",
                tone(8000, 79, &[0.5]),
                "too short: it has 79 samples at 8000 Hz",
            ),
            ("a/silent.wav", tone(8000, 800, &[0.0]), "is silent"),
            ("a/quiet.wav", tone(8000, 800, &[0.00005]), "is silent"),
            // Both channels cancel each other.
            (
                "a/none.wav",
                tone(8000, 800, &[0.5, -0.5]),
                "is silent: once its channels are mixed",
            ),
            ("a/text.flac", b"no sound at all".to_vec(), "is no sound"),
        ];
        for (name, bytes, expected) in &bad {
            let dir = mixed();
            fs::write(dir.path().join(name), bytes).unwrap();
            let message = chain(&load(&dir, &OPTIONS).unwrap_err());
            assert!(message.contains("1 of the 13 sounds"), "{message}");
            for part in [*name, *expected] {
                assert!(message.contains(part), "no {part:?} in {message}");
            }
            for cache_bytes in [0, u64::MAX] {
                let options = SoundOptions {
                    skip_bad: true,
                    cache_bytes,
                    ..OPTIONS
                };
                let splits = load(&dir, &options).unwrap();
                assert_eq!(splits.train.len() + splits.test.len(), 12, "{name}");
            }
        }
        // By its name this one is held out, and no other is.
        let dir = mixed();
        fs::write(dir.path().join("a/faint.wav"), b"no sound at all").unwrap();
        let options = SoundOptions {
            skip_bad: true,
            ..OPTIONS
        };
        let message = chain(&load(&dir, &options).unwrap_err());
        assert!(
            message.contains("all that are held out are bad"),
            "{message}"
        );

        let all_bad = folder(&bad.map(|(name, bytes, _)| (name, bytes)));
        let options = SoundOptions {
            skip_bad: true,
            ..OPTIONS
        };
        let message = load(&all_bad, &options).unwrap_err().to_string();
        assert!(message.contains("none of the 7 sounds"), "{message}");
    }

    #[test]
    fn folders_without_sounds_are_refused() {
        let message = |dir: &TempDir| load(dir, &OPTIONS).unwrap_err().to_string();
        let none = message(&folder(&[("a.png", Vec::new())]));
        assert!(none.contains("no sounds below"), "{none}");
        assert!(none.contains(".wav, .flac, .mp3, .ogg or .oga"), "{none}");
        let one = message(&folder(&[("a.wav", tone(8000, 800, &[0.5]))]));
        assert!(one.contains("only one sound"), "{one}");
    }

    #[test]
    fn every_format_is_found_and_a_file_may_name_the_classes() {
        let mono = |name: &str| {
            fs::read(format!(
                "{}/tests/sounds/{name}",
                env!("CARGO_MANIFEST_DIR")
            ))
            .unwrap()
        };
        let dir = folder(&[
            ("1.FLAC", mono("mono.flac")),
            ("2.mp3", mono("mono.mp3")),
            ("3.ogg", mono("stereo.ogg")),
            ("4.oga", mono("mono.ogg")),
            ("5.wav", tone(8000, 900, &[0.1])),
            (
                "metadata.csv",
                b"file_name,label\n1.FLAC,tone\n5.wav,other\n".to_vec(),
            ),
        ]);
        let splits = load(&dir, &OPTIONS).unwrap();
        assert_eq!(splits.train.len() + splits.test.len(), 5);
        assert_eq!(splits.train.class_names(), ["other", "tone"]);
        fs::write(
            dir.path().join("metadata.csv"),
            "file_name,label\n6.wav,tone\n",
        )
        .unwrap();
        let message = chain(&load(&dir, &OPTIONS).unwrap_err());
        assert!(
            message.contains("\"6.wav\" is no sound that is read"),
            "{message}"
        );
    }

    #[test]
    fn a_streamed_file_that_went_bad_is_an_error_or_another_of_its_class() {
        let dir = mixed();
        let streamed = |skip_bad| {
            load(
                &dir,
                &SoundOptions {
                    cache_bytes: 0,
                    skip_bad,
                    ..OPTIONS
                },
            )
            .unwrap()
            .train
        };
        let (strict, lenient) = (streamed(false), streamed(true));
        let names = fs::read_dir(dir.path().join("a")).unwrap();
        let bad = names.map(|entry| entry.unwrap().path()).find(|path| {
            fs::write(path, "").unwrap();
            (0..strict.len()).any(|index| strict.recording(index).is_err())
        });
        assert!(bad.is_some());
        let index = (0..strict.len())
            .find(|&index| strict.recording(index).is_err())
            .unwrap();
        assert_eq!(strict.label(index), Some(0));
        let substitute = lenient.recording(index).unwrap();
        let same = |other: usize| {
            lenient.label(other) == Some(0) && lenient.recording(other).unwrap() == substitute
        };
        assert!((0..lenient.len()).any(|other| other != index && same(other)));
    }

    #[test]
    fn a_rate_that_would_make_a_sound_endless_is_refused() {
        let sound = Audio::new(1, 1, vec![0.5; 4000]).unwrap();
        let dir = folder(&[
            ("a.wav", sound.to_wav().unwrap()),
            ("b.wav", tone(8000, 900, &[0.1])),
        ]);
        assert!(read_sound(&dir.path().join("a.wav")).is_ok());
        let options = SoundOptions {
            sample_rate: 1_000_000,
            ..OPTIONS
        };
        let message = load(&dir, &options).unwrap_err().to_string();
        assert!(message.contains("the limit"), "{message}");
    }
}
