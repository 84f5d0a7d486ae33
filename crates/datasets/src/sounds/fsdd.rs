//! The Free Spoken Digit Dataset: 3,000 recordings of the digits 0 to 9 in English by six speakers, 50 of each
//! digit by each, at 8 kHz (Zohar Jackson and others, 2016 and after, release 1.0.10; CC BY-SA 4.0).
//!
//! The files are called `{digit}_{speaker}_{index}.wav`. Held out are the indices 0 to 9 of each digit and
//! speaker, 600 recordings; the authors' own test split, the indices 0 to 4, is half of them. All speakers are on
//! both sides. The other 2,400 are learned from.
//!
//! The files lie in a folder, or in `recordings` in it, or in the archive that the authors published, which is
//! read as it is. All of them are checked.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use tar::Archive;

use super::dataset::{Recordings, SoundDataset};
use super::decode::SoundFileError;
use super::recording::{SoundOptions, recording};
use super::wav::read_wav_from;
use crate::files::catalogue::{DatasetName, FSDD_ARCHIVE};
use crate::files::{open, open_unpacked, read_at_most, sha256};
use crate::folders::in_parallel;
use crate::splits::{Splits, order_by_hash};

/// A line a group: `digit_speaker`, and the SHA-256 of its 50 files one after the other by index.
const CHECKSUMS: &str = include_str!("fsdd.sha256");

/// Recordings of a digit by a speaker.
const INDICES: usize = 50;
/// Recordings of a digit by a speaker that are held out: the first ones.
const HELD_OUT: usize = 10;
/// The folder of the recordings in the authors' archive.
const FOLDER: &str = "recordings";

/// The most bytes that the archive may unpack to.
const MAX_ARCHIVE_LEN: u64 = 256 << 20;
/// The most bytes of a recording; the longest has 36,568.
const MAX_FILE_LEN: usize = 1 << 20;

/// Why the Free Spoken Digit Dataset cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum FsddError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Recordings are missing.
    #[error(
        "{missing} of the 3,000 recordings of {} are not in {}, the first of them {first}; fetch it again \
         (data/README.md says from where)", DatasetName::Fsdd, path.display()
    )]
    Missing {
        /// The folder or the archive.
        path: PathBuf,
        /// How many.
        missing: usize,
        /// The name of the first one.
        first: String,
    },
    /// Recordings are not those that were published.
    #[error(
        "of the files {group}_0.wav to {group}_49.wav in {} at least one is not the published one of {}: their \
         SHA-256, one after the other, should be {expected} and is {found}; fetch them again (data/README.md \
         says from where)", path.display(), DatasetName::Fsdd
    )]
    Checksum {
        /// The folder or the archive.
        path: PathBuf,
        /// Digit and speaker.
        group: &'static str,
        /// The published checksum.
        expected: &'static str,
        /// The checksum of these files.
        found: String,
    },
    /// A recording cannot be decoded, or is too short for what was asked.
    #[error(transparent)]
    Sound(#[from] SoundFileError),
}

impl SoundDataset {
    /// Loads the Free Spoken Digit Dataset from `dir`, the folder that holds its files ([`find`] knows it), always
    /// into memory. Recordings are brought to the rate and the loudness that a [folder](crate::load_sounds) would
    /// have; `skip_bad` and `cache_bytes` do not count.
    ///
    /// # Errors
    ///
    /// See [`FsddError`].
    ///
    /// # Panics
    ///
    /// If the rate is 0.
    ///
    /// [`find`]: crate::find
    pub fn load_fsdd(dir: &Path, options: &SoundOptions) -> Result<Splits<Self>, FsddError> {
        let (place, files) = read_dir(dir)?;
        let loaded = in_parallel(files.len(), |index| {
            let (name, bytes) = &files[index];
            let path = place.join(name);
            let sound = read_wav_from(&path, &bytes[..], bytes.len() as u64)?;
            recording(&path, &sound, options)
        });
        let loaded = loaded
            .into_iter()
            .collect::<Result<Vec<_>, SoundFileError>>()?;
        let names: Vec<String> = files.into_iter().map(|(name, _)| name).collect();
        let (mut train, mut test) = (Vec::new(), Vec::new());
        for (place, recording) in loaded.into_iter().enumerate() {
            let is_held_out = place % INDICES < HELD_OUT;
            let split = if is_held_out { &mut test } else { &mut train };
            split.push((&names[place], recording));
        }
        // As of a folder: the first few are as good a sample as any.
        let keys: Vec<&str> = test.iter().map(|(name, _)| name.as_str()).collect();
        let order = order_by_hash(&keys);
        let test = order
            .iter()
            .map(|&place| (test[place].0, std::mem::take(&mut test[place].1)));
        let test: Vec<(&String, Vec<f32>)> = test.collect();
        let dataset = |split: Vec<(&String, Vec<f32>)>| {
            let (names, recordings): (Vec<&String>, Vec<Vec<f32>>) = split.into_iter().unzip();
            let digit = |name: &&String| name.bytes().next().map(|digit| u16::from(digit - b'0'));
            let labels = names.iter().map(digit).collect();
            let lengths = recordings.iter().map(Vec::len).collect();
            let class_names = DatasetName::Fsdd.class_names().iter();
            let class_names = class_names.map(|&name| name.to_owned()).collect();
            let recordings = Recordings::held(recordings);
            Self::new(
                recordings,
                lengths,
                options.sample_rate,
                labels,
                class_names,
            )
        };
        Ok(Splits {
            train: dataset(train),
            test: dataset(test),
            fingerprint: None,
        })
    }
}

/// Checks the authors' archive against the published recordings in it.
pub(crate) fn verify_archive(archive: &Path) -> Result<(), FsddError> {
    checked(archive, read_archive(archive)?).map(drop)
}

/// Name and bytes of each file, group by group.
type Files = Vec<(String, Vec<u8>)>;

/// The files in a folder or in the archive in it, checked, and what holds them.
fn read_dir(dir: &Path) -> Result<(PathBuf, Files), FsddError> {
    let archive = dir.join(FSDD_ARCHIVE);
    let inner = dir.join(FOLDER);
    let has_files = |dir: &Path| names().any(|name| dir.join(name).is_file());
    let (place, files) = if has_files(dir) {
        (dir.to_owned(), read_loose(dir)?)
    } else if has_files(&inner) {
        let files = read_loose(&inner)?;
        (inner, files)
    } else {
        let files = read_archive(&archive)?;
        (archive, files)
    };
    let files = checked(&place, files)?;
    Ok((place, files))
}

/// Digit and speaker of each group, and its checksum.
fn groups() -> impl Iterator<Item = (&'static str, &'static str)> {
    CHECKSUMS.lines().filter_map(|line| line.split_once(' '))
}

/// The names of all files, group by group.
fn names() -> impl Iterator<Item = String> {
    groups().flat_map(|(group, _)| (0..INDICES).map(move |index| format!("{group}_{index}.wav")))
}

/// By their names, the files that lie in a folder by themselves.
fn read_loose(dir: &Path) -> Result<HashMap<String, Vec<u8>>, FsddError> {
    let mut found = HashMap::new();
    for name in names() {
        let path = dir.join(&name);
        if fs::symlink_metadata(&path).is_err() {
            continue;
        }
        let bytes = open(&path).and_then(|file| {
            let len = file.metadata()?.len();
            read_at_most(file, limit(len)).map_err(|interrupted| interrupted.source)
        });
        let bytes = bytes.map_err(|source| FsddError::Open { path, source })?;
        found.insert(name, bytes);
    }
    Ok(found)
}

/// By their names, the files in the authors' archive. What else is in it is passed over.
fn read_archive(archive: &Path) -> Result<HashMap<String, Vec<u8>>, FsddError> {
    let open_error = |source| FsddError::Open {
        path: archive.to_owned(),
        source,
    };
    let wanted: HashSet<String> = names().collect();
    let mut found = HashMap::new();
    let reader = open_unpacked(archive).map_err(open_error)?;
    let mut entries = Archive::new(reader.take(MAX_ARCHIVE_LEN));
    for entry in entries.entries().map_err(open_error)? {
        let entry = entry.map_err(open_error)?;
        let path = entry.path().map_err(open_error)?.into_owned();
        let is_recording = path.parent().is_some_and(|parent| parent.ends_with(FOLDER));
        let name = path.file_name().and_then(|name| name.to_str());
        let Some(name) = name.filter(|name| is_recording && wanted.contains(*name)) else {
            continue;
        };
        let len = entry.size();
        let bytes = read_at_most(entry, limit(len));
        let bytes = bytes.map_err(|interrupted| open_error(interrupted.source))?;
        found.insert(name.to_owned(), bytes);
        if found.len() == wanted.len() {
            break;
        }
    }
    Ok(found)
}

/// How much is read of a file that says it has `len` bytes: no more, for so much is reserved, three thousand times.
fn limit(len: u64) -> usize {
    usize::try_from(len)
        .unwrap_or(MAX_FILE_LEN)
        .min(MAX_FILE_LEN)
}

/// All files in order, if they are those that were published; `place` says in messages where they lie.
fn checked(place: &Path, mut found: HashMap<String, Vec<u8>>) -> Result<Files, FsddError> {
    let missing: Vec<String> = names().filter(|name| !found.contains_key(name)).collect();
    if let Some(first) = missing.first() {
        return Err(FsddError::Missing {
            path: place.to_owned(),
            missing: missing.len(),
            first: first.clone(),
        });
    }
    let mut files = Vec::with_capacity(found.len());
    for name in names() {
        let bytes = found.remove(&name).unwrap_or_default();
        files.push((name, bytes));
    }
    for ((group, expected), files) in groups().zip(files.chunks(INDICES)) {
        let parts: Vec<&[u8]> = files.iter().map(|(_, bytes)| &bytes[..]).collect();
        let found = sha256(&parts);
        if found != expected {
            return Err(FsddError::Checksum {
                path: place.to_owned(),
                group,
                expected,
                found,
            });
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use flate2::{Compression, write::GzEncoder};
    use tar::{Builder, Header};
    use tempfile::TempDir;

    use super::*;
    use crate::sounds::Audio;

    /// A gzipped archive of these files.
    fn archive(files: &[(String, Vec<u8>)]) -> (TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FSDD_ARCHIVE);
        let packed = GzEncoder::new(fs::File::create(&path).unwrap(), Compression::fast());
        let mut builder = Builder::new(packed);
        for (name, bytes) in files {
            let mut header = Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            header.set_cksum();
            builder.append_data(&mut header, name, &bytes[..]).unwrap();
        }
        builder.into_inner().unwrap().finish().unwrap();
        (dir, path)
    }

    fn sound() -> Vec<u8> {
        let samples = (0..200).map(|i| (i as f32).sin()).collect();
        Audio::new(8000, 1, samples).unwrap().to_wav().unwrap()
    }

    /// All names with bytes that are not the published ones, in the folder of the authors' archive.
    fn all_in_archive() -> Vec<(String, Vec<u8>)> {
        let root = "free-spoken-digit-dataset-1.0.10";
        let files = names().map(|name| (format!("{root}/recordings/{name}"), sound()));
        let other = (format!("{root}/README.md"), b"text".to_vec());
        // The same name elsewhere does not count.
        let elsewhere = (format!("{root}/other/0_george_0.wav"), b"x".to_vec());
        [other, elsewhere].into_iter().chain(files).collect()
    }

    const OPTIONS: SoundOptions = SoundOptions {
        sample_rate: 8000,
        skip_bad: false,
        cache_bytes: 0,
        min_samples: 80,
    };

    #[test]
    fn there_are_sixty_groups_of_fifty() {
        let names: Vec<String> = names().collect();
        assert_eq!((groups().count(), names.len()), (60, 3000));
        assert!(groups().all(|(_, checksum)| checksum.len() == 64));
        assert_eq!(
            (&*names[0], &*names[2999]),
            ("0_george_0.wav", "9_yweweler_49.wav")
        );
        let held_out = (0..3000).filter(|place| place % INDICES < HELD_OUT).count();
        assert_eq!(held_out, 600);
    }

    #[test]
    fn an_archive_is_read_and_checked() {
        let files = all_in_archive();
        let (_dir, path) = archive(&files);
        // All are found, and the first group is not the published one.
        match verify_archive(&path) {
            Err(
                error @ FsddError::Checksum {
                    group: "0_george", ..
                },
            ) => {
                let message = error.to_string();
                for part in [
                    "0_george_0.wav to 0_george_49.wav",
                    "SHA-256",
                    "fetch them again",
                ] {
                    assert!(message.contains(part), "{message}");
                }
            }
            other => panic!("{other:?}"),
        }
        let (_dir, path) = archive(&files[..1000]);
        match verify_archive(&path) {
            Err(FsddError::Missing { missing, first, .. }) => {
                assert_eq!(missing, 3000 - 998);
                assert!(names().any(|name| name == first));
            }
            other => panic!("{other:?}"),
        }
    }

    /// All of them are held at once, until the checksums are right.
    #[test]
    fn files_take_no_more_memory_than_they_have_bytes() {
        let files = all_in_archive();
        let (_dir, path) = archive(&files);
        let loose = tempfile::tempdir().unwrap();
        fs::write(loose.path().join("0_george_0.wav"), sound()).unwrap();
        let found = [
            read_archive(&path).unwrap(),
            read_loose(loose.path()).unwrap(),
        ];
        assert_eq!(found.each_ref().map(HashMap::len), [3000, 1]);
        for bytes in found.iter().flat_map(HashMap::values) {
            assert!(bytes.capacity() < 2 * bytes.len(), "{}", bytes.capacity());
        }
    }

    #[test]
    fn damaged_archives_are_refused() {
        let (dir, path) = archive(&all_in_archive());
        let bytes = fs::read(&path).unwrap();
        for damaged in [&bytes[..bytes.len() / 2], b"no archive", b""] {
            fs::write(&path, damaged).unwrap();
            assert!(verify_archive(&path).is_err());
            assert!(SoundDataset::load_fsdd(dir.path(), &OPTIONS).is_err());
        }
    }

    #[test]
    fn missing_files_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let message = |dir: &Path| {
            SoundDataset::load_fsdd(dir, &OPTIONS)
                .unwrap_err()
                .to_string()
        };
        assert!(message(dir.path()).contains(FSDD_ARCHIVE));
        for name in names().skip(1) {
            fs::write(dir.path().join(name), sound()).unwrap();
        }
        let missing = message(dir.path());
        assert!(missing.contains("1 of the 3,000 recordings"), "{missing}");
        assert!(
            missing.contains("the first of them 0_george_0.wav"),
            "{missing}"
        );
        // In the folder that the archive unpacks to.
        let outer = tempfile::tempdir().unwrap();
        fs::rename(dir.path(), outer.path().join(FOLDER)).unwrap();
        assert!(message(outer.path()).contains("1 of the 3,000"));
    }

    /// The published files themselves, where `FSDD_DIR` says they lie: they are not part of the repository.
    #[test]
    fn the_published_recordings_are_whole() {
        let Some(dir) = std::env::var_os("FSDD_DIR") else {
            return;
        };
        let splits = SoundDataset::load_fsdd(Path::new(&dir), &OPTIONS).unwrap();
        assert_eq!((splits.train.len(), splits.test.len()), (2400, 600));
        for (split, each) in [(&splits.train, 240), (&splits.test, 60)] {
            for digit in 0..10 {
                let count = split
                    .labels()
                    .iter()
                    .filter(|label| **label == Some(digit))
                    .count();
                assert_eq!(count, each);
            }
        }
        // The same from an archive.
        let files: Vec<(String, Vec<u8>)> = names()
            .map(|name| {
                (
                    format!("x/recordings/{name}"),
                    fs::read(Path::new(&dir).join(name)).unwrap(),
                )
            })
            .collect();
        let (archive_dir, path) = archive(&files);
        verify_archive(&path).unwrap();
        let from_archive = SoundDataset::load_fsdd(archive_dir.path(), &OPTIONS).unwrap();
        assert!(from_archive.train == splits.train && from_archive.test == splits.test);
    }
}
