//! Sound files of several formats: WAV, FLAC, MP3 and Ogg Vorbis, told apart by their contents.
//!
//! WAV is read by [`super::wav`], the others by the crate symphonia. What a file ends before, what cannot be
//! decoded on the way, and what does not bear out what the header says (the length, and FLAC's MD5 of all
//! samples) is an error: nothing is passed over. What no format tells stays unseen: in an MP3 the loss of
//! one frame (26 ms at 44.1 kHz), or, where the encoder left the number of frames out, of any.
//!
//! The delay and the padding of the encoder are cut off where the file names them. Samples are clipped to
//! [-1, 1], as a player does.

use std::fmt;
use std::io::{self, BufReader, Cursor, Read, Seek, SeekFrom};
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use symphonia::core::codecs::audio::AudioDecoderOptions;
use symphonia::core::errors::Error as DecodeError;
use symphonia::core::formats::{FormatOptions, FormatReader, TrackType};
use symphonia::core::io::{MediaSource, MediaSourceStream, ReadOnlySource};
use symphonia::default::formats::{FlacReader, MpaReader, OggReader};
use symphonia::default::get_codecs;

use super::wav::{Audio, AudioError, MAX_SAMPLES, WavError, read_wav_from};
use crate::files::open;
use crate::shown::shown;

/// A sound whose largest magnitude is below this, −80 dB of full scale, is silent.
pub(super) const SILENCE: f32 = 1e-4;

/// The formats that symphonia decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SoundFormat {
    /// The Free Lossless Audio Codec in its own container.
    Flac,
    /// MPEG-1, 2 or 2.5, layer III.
    Mp3,
    /// Vorbis in an Ogg container.
    OggVorbis,
}

/// Why a sound file cannot be read, or is no recording to learn from.
#[derive(Debug, thiserror::Error)]
pub enum SoundFileError {
    /// A WAV file cannot be read.
    #[error(transparent)]
    Wav(#[from] WavError),
    /// The file cannot be opened or read.
    #[error("cannot read {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// There are no bytes in the file.
    #[error("{} is empty", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The contents are of no format that is read.
    #[error(
        "{} is no sound that can be read: expected WAV, FLAC, MP3 or Ogg Vorbis, and it starts with {start:?}",
        path.display()
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// Its first bytes.
        start: String,
    },
    /// The header is damaged, or of a kind that is not read.
    #[error("{} is no {format} file that can be read", path.display())]
    Header {
        /// The file.
        path: PathBuf,
        /// What it seems to be.
        format: SoundFormat,
        /// What is wrong.
        source: DecodeError,
    },
    /// There is no sound in the container, or one of another kind.
    #[error("{} holds no sound of the format {format}", path.display())]
    NoTrack {
        /// The file.
        path: PathBuf,
        /// What it seems to be.
        format: SoundFormat,
    },
    /// The samples cannot be decoded, or are not those that were encoded.
    #[error("{} ({format}) is damaged after {frames} samples of each channel", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What it is.
        format: SoundFormat,
        /// How many samples of each channel come before.
        frames: usize,
        /// What is wrong.
        source: DecodeError,
    },
    /// There are fewer or more samples than the file says.
    #[error(
        "{} ({format}) breaks off or is damaged: it has {found} samples of each channel, and {expected} \
         were announced", path.display()
    )]
    Length {
        /// The file.
        path: PathBuf,
        /// What it is.
        format: SoundFormat,
        /// Samples of each channel that the file announces.
        expected: u64,
        /// Samples of each channel that are there.
        found: usize,
    },
    /// The last page of an Ogg stream is missing.
    #[error("{} ({}) breaks off: its last page is not there, or not whole", path.display(), SoundFormat::OggVorbis)]
    NoLastPage {
        /// The file.
        path: PathBuf,
    },
    /// The file has more samples than [`MAX_SAMPLES`].
    #[error("{} has more than {MAX_SAMPLES} samples, the limit: cut it first", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// The sound has another rate or other channels from somewhere on.
    #[error(
        "{} changes after {frames} samples of each channel: {from} before, {to} after; expected one rate and \
         one number of channels", path.display()
    )]
    Changes {
        /// The file.
        path: PathBuf,
        /// How many samples of each channel come before.
        frames: usize,
        /// Rate and channels before.
        from: String,
        /// Rate and channels after.
        to: String,
    },
    /// A sample is not a number.
    #[error("{}: sample {index} is {value}; samples must be finite", path.display())]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// Which sample, from 0, channels interleaved.
        index: usize,
        /// Its value.
        value: f32,
    },
    /// Rate, channels and samples do not make a sound.
    #[error("{} holds no sound that can be used", path.display())]
    Audio {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: AudioError,
    },
    /// The decoder met what its authors had ruled out.
    #[error("{} is damaged in a way that the {format} decoder was not made for", path.display())]
    Panicked {
        /// The file.
        path: PathBuf,
        /// What it seems to be.
        format: SoundFormat,
    },
    /// There is too little to learn from.
    #[error(
        "{} is too short: it has {found} samples at {sample_rate} Hz, at least {least} are needed",
        path.display()
    )]
    TooShort {
        /// The file.
        path: PathBuf,
        /// Samples at the rate of the data set.
        found: u64,
        /// The rate of the data set.
        sample_rate: u32,
        /// The fewest samples.
        least: usize,
    },
    /// There is nothing to hear.
    #[error(
        "{} is silent: once its channels are mixed to one, the largest sample is {peak:.1e} of full scale; at \
         least {:.0e} (-80 dB) is needed",
        path.display(), SILENCE
    )]
    Silent {
        /// The file.
        path: PathBuf,
        /// The largest sample.
        peak: f32,
    },
}

impl fmt::Display for SoundFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Flac => "FLAC",
            Self::Mp3 => "MP3",
            Self::OggVorbis => "Ogg Vorbis",
        })
    }
}

/// Reads a sound file: WAV, FLAC, MP3 or Ogg Vorbis, of any rate and number of channels.
///
/// ```no_run
/// let sound = datasets::read_sound("birds.flac".as_ref())?;
/// println!("{} s", sound.frames() as f64 / f64::from(sound.sample_rate()));
/// # Ok::<(), datasets::SoundFileError>(())
/// ```
///
/// # Errors
///
/// See [`SoundFileError`].
pub fn read_sound(path: &Path) -> Result<Audio, SoundFileError> {
    read_in_turn(path, &mut Turn::default())
}

/// As [`read_sound`], by a thread that others may be reading beside.
pub(super) fn read_in_turn(path: &Path, turn: &mut Turn) -> Result<Audio, SoundFileError> {
    let open_error = |source| SoundFileError::Open {
        path: path.to_owned(),
        source,
    };
    let file = open(path).map_err(open_error)?;
    let len = file.metadata().map_err(open_error)?.len();
    read_from(path, file, len, turn)
}

/// As [`read_in_turn`], of the bytes of a file that messages call `name`.
pub(super) fn decode_in_turn(
    bytes: Vec<u8>,
    name: &Path,
    turn: &mut Turn,
) -> Result<Audio, SoundFileError> {
    let len = bytes.len() as u64;
    read_from(name, Cursor::new(bytes), len, turn)
}

/// Reads the `len` bytes of `file`; `path` says in messages where they lie.
fn read_from(
    path: &Path,
    mut file: impl MediaSource + 'static,
    len: u64,
    turn: &mut Turn,
) -> Result<Audio, SoundFileError> {
    let open_error = |source| SoundFileError::Open {
        path: path.to_owned(),
        source,
    };
    if len == 0 {
        let path = path.to_owned();
        return Err(SoundFileError::Empty { path });
    }
    let sound = sound_start(&mut file).map_err(open_error)?;
    let start = start_of(&mut file, sound).map_err(open_error)?;
    let is_named = |extension: &str| {
        let found = path.extension().unwrap_or_default();
        found.eq_ignore_ascii_case(extension)
    };
    let is_mp3_frame = matches!(start[..], [0xff, second, ..] if second & 0xe6 == 0xe2);
    let format = if start.starts_with(b"RIFF") {
        None
    } else if start.starts_with(b"fLaC") {
        Some(SoundFormat::Flac)
    } else if start.starts_with(b"OggS") {
        Some(SoundFormat::OggVorbis)
    } else if is_mp3_frame || sound > 0 || is_named("mp3") {
        Some(SoundFormat::Mp3)
    } else if is_named("wav") {
        None
    } else {
        return Err(SoundFileError::Format {
            path: path.to_owned(),
            start: shown(&start),
        });
    };
    let Some(format) = format else {
        // Of WAV the samples are at least as long as half of what they become.
        turn.wait_for(usize::try_from(len / 2).unwrap_or(usize::MAX));
        file.rewind().map_err(open_error)?;
        return Ok(read_wav_from(path, BufReader::new(file), len)?);
    };
    if format == SoundFormat::OggVorbis && !has_last_page(&mut file, len).map_err(open_error)? {
        let path = path.to_owned();
        return Err(SoundFileError::NoLastPage { path });
    }
    file.seek(SeekFrom::Start(sound)).map_err(open_error)?;
    // Symphonia's decoders index and add by numbers of the file, and its authors promise no more than that no
    // memory is harmed: what panics in them must not end the program that reads a thousand files. All that
    // they had hold of is dropped.
    let decode = AssertUnwindSafe(|| decode(path, file, format, turn));
    panic::catch_unwind(decode).unwrap_or_else(|_| {
        let path = path.to_owned();
        Err(SoundFileError::Panicked { path, format })
    })
}

/// Where the sound starts, after tags of ID3v2, which may lie before any format.
fn sound_start(file: &mut (impl Read + Seek)) -> io::Result<u64> {
    const HEADER_LEN: u64 = 10;
    const HAS_FOOTER: u8 = 0x10;
    let mut start = 0;
    loop {
        let header = start_of(file, start)?;
        let [b'I', b'D', b'3', _, _, flags, a, b, c, d, ..] = header[..] else {
            return Ok(start);
        };
        // Four bytes of seven bits.
        let len = [a, b, c, d]
            .iter()
            .fold(0, |len, &byte| len << 7 | u64::from(byte & 0x7f));
        start += HEADER_LEN
            + len
            + if flags & HAS_FOOTER > 0 {
                HEADER_LEN
            } else {
                0
            };
    }
}

/// The first bytes from `at` on.
fn start_of(file: &mut (impl Read + Seek), at: u64) -> io::Result<Vec<u8>> {
    const LEN: u64 = 16;
    let mut start = Vec::new();
    file.seek(SeekFrom::Start(at))?;
    file.take(LEN).read_to_end(&mut start)?;
    Ok(start)
}

/// Whether the last page of an Ogg stream is whole, and is marked as the last.
fn has_last_page(file: &mut (impl Read + Seek), len: u64) -> io::Result<bool> {
    const LONGEST: u64 = 27 + 255 + 255 * 255;
    const IS_LAST: u8 = 4;
    let mut end = Vec::new();
    file.seek(SeekFrom::Start(len.saturating_sub(LONGEST)))?;
    file.take(LONGEST).read_to_end(&mut end)?;
    let is_whole = |page: &[u8]| {
        let segments = usize::from(*page.get(26)?);
        let sizes = page.get(27..27 + segments)?;
        let body: usize = sizes.iter().map(|&size| usize::from(size)).sum();
        Some(page[5] & IS_LAST > 0 && page.len() >= 27 + segments + body)
    };
    let last = end.windows(4).rposition(|bytes| bytes == b"OggS");
    Ok(last.and_then(|at| is_whole(&end[at..])).unwrap_or(false))
}

/// Decodes what follows in the file.
fn decode(
    path: &Path,
    file: impl MediaSource + 'static,
    format: SoundFormat,
    turn: &mut Turn,
) -> Result<Audio, SoundFileError> {
    let owned = || path.to_owned();
    let header_error = |source| SoundFileError::Header {
        path: owned(),
        format,
        source,
    };
    let options = FormatOptions::default();
    let reader: Result<Box<dyn FormatReader>, DecodeError> = match format {
        SoundFormat::Flac => {
            let stream = MediaSourceStream::new(Box::new(file), Default::default());
            FlacReader::try_new(stream, options).map(|reader| Box::new(reader) as _)
        }
        SoundFormat::OggVorbis => {
            let stream = MediaSourceStream::new(Box::new(file), Default::default());
            OggReader::try_new(stream, options).map(|reader| Box::new(reader) as _)
        }
        SoundFormat::Mp3 => {
            // Where the file does not say how long it is, a reader that can seek estimates it, and cuts the
            // sound there.
            let source = Box::new(ReadOnlySource::new(file));
            let stream = MediaSourceStream::new(source, Default::default());
            MpaReader::try_new(stream, options).map(|reader| Box::new(reader) as _)
        }
    };
    let mut reader = reader.map_err(header_error)?;
    let no_track = || SoundFileError::NoTrack {
        path: owned(),
        format,
    };
    let track = reader
        .default_track(TrackType::Audio)
        .ok_or_else(no_track)?;
    let (track_id, announced) = (track.id, track.num_frames);
    let params = track
        .codec_params
        .as_ref()
        .and_then(|params| params.audio());
    // FLAC has an MD5 of all samples.
    let options = AudioDecoderOptions::default().verify(true);
    let mut decoder = get_codecs()
        .make_audio_decoder(params.ok_or_else(no_track)?, &options)
        .map_err(header_error)?;

    let mut samples: Vec<f32> = Vec::new();
    let mut spec = None;
    let mut packet_frames = 0;
    let mut part = Vec::new();
    let damaged = |samples: &[f32], spec: Option<(u32, usize)>, source| SoundFileError::Damaged {
        path: owned(),
        format,
        frames: samples.len() / spec.map_or(1, |(_, channels)| channels),
        source,
    };
    loop {
        let packet = match reader.next_packet() {
            Ok(Some(packet)) if packet.track_id == track_id => packet,
            Ok(Some(_)) => continue,
            Ok(None) => break,
            Err(source) => return Err(damaged(&samples, spec, source)),
        };
        let decoded = decoder
            .decode(&packet)
            .map_err(|source| damaged(&samples, spec, source))?;
        if decoded.frames() == 0 {
            continue;
        }
        let found = (decoded.spec().rate(), decoded.num_planes());
        let first = *spec.get_or_insert(found);
        if found != first {
            let text = |(rate, channels)| format!("{rate} Hz, {channels} channels");
            return Err(SoundFileError::Changes {
                path: owned(),
                frames: samples.len() / first.1.max(1),
                from: text(first),
                to: text(found),
            });
        }
        packet_frames = packet_frames.max(decoded.frames());
        decoded.copy_to_vec_interleaved(&mut part);
        if samples.len() + part.len() > MAX_SAMPLES {
            return Err(SoundFileError::TooLong { path: owned() });
        }
        turn.wait_for(samples.len() + part.len());
        samples.extend_from_slice(&part);
    }
    // Without a sample there is no rate to speak of, and no sound.
    let (sample_rate, channels) = spec.unwrap_or((1, 1));
    let found = samples.len() / channels.max(1);
    if let Some(expected) = announced {
        // Some encoders of MP3 count the frame that says how many there are.
        let tolerance = match format {
            SoundFormat::Mp3 => packet_frames as u64,
            SoundFormat::Flac | SoundFormat::OggVorbis => 0,
        };
        if expected.abs_diff(found as u64) > tolerance {
            return Err(SoundFileError::Length {
                path: owned(),
                format,
                expected,
                found,
            });
        }
    }
    if decoder.finalize().verify_ok == Some(false) {
        let source =
            DecodeError::DecodeError("the checksum of all samples is not that of the header");
        return Err(damaged(&samples, spec, source));
    }
    if let Some(index) = samples.iter().position(|sample| !sample.is_finite()) {
        return Err(SoundFileError::NotFinite {
            path: owned(),
            index,
            value: samples[index],
        });
    }
    Audio::from_interleaved(sample_rate, channels, &samples).map_err(|source| {
        SoundFileError::Audio {
            path: owned(),
            source,
        }
    })
}

/// Long sounds are decoded one at a time, or each thread would need as much memory as the longest takes.
#[derive(Debug, Default)]
pub(super) struct Turn(Option<MutexGuard<'static, ()>>);

static LONG: Mutex<()> = Mutex::new(());

impl Turn {
    /// Waits until no other long sound is being decoded if this one is long: it has this many samples so far.
    fn wait_for(&mut self, samples: usize) {
        /// 64 MiB.
        const LONG_SAMPLES: usize = 16 << 20;
        if samples > LONG_SAMPLES && self.0.is_none() {
            self.0 = Some(LONG.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::f64::consts::TAU;
    use std::fs;

    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;

    /// Name, bytes, rate, channels, samples of each channel, and how far from the tones they may be.
    type Whole = (&'static str, &'static [u8], u32, usize, usize, f64);

    /// `tests/sounds/README.md` says how they were made.
    const FILES: [Whole; 6] = [
        (
            "mono.flac",
            include_bytes!("../../tests/sounds/mono.flac"),
            8000,
            1,
            2000,
            2e-5,
        ),
        (
            "stereo.flac",
            include_bytes!("../../tests/sounds/stereo.flac"),
            44_100,
            2,
            4410,
            2e-5,
        ),
        (
            "mono.mp3",
            include_bytes!("../../tests/sounds/mono.mp3"),
            22_050,
            1,
            8820,
            0.02,
        ),
        (
            "stereo.mp3",
            include_bytes!("../../tests/sounds/stereo.mp3"),
            44_100,
            2,
            11_025,
            0.02,
        ),
        (
            "mono.ogg",
            include_bytes!("../../tests/sounds/mono.ogg"),
            16_000,
            1,
            6400,
            0.02,
        ),
        (
            "stereo.ogg",
            include_bytes!("../../tests/sounds/stereo.ogg"),
            44_100,
            2,
            8820,
            0.02,
        ),
    ];

    fn write(name: &str, bytes: &[u8]) -> (TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        (dir, path)
    }

    /// What the file is, which must be the same as of its bytes from memory.
    fn read(name: &str, bytes: &[u8]) -> Result<Audio, SoundFileError> {
        let (_dir, path) = write(name, bytes);
        let read = read_sound(&path);
        let decoded = decode_in_turn(bytes.to_vec(), &path, &mut Turn::default());
        match (&read, &decoded) {
            (Ok(read), Ok(decoded)) => assert_eq!(read, decoded),
            (Err(read), Err(decoded)) => assert_eq!(read.to_string(), decoded.to_string()),
            other => panic!("{other:?}"),
        }
        read
    }

    /// The error and its sources in one line, as the program prints it.
    fn message(name: &str, bytes: &[u8]) -> String {
        let error = read(name, bytes).unwrap_err();
        let source = std::error::Error::source(&error).map(ToString::to_string);
        format!("{error}: {}", source.unwrap_or_default())
    }

    /// The root of the mean square of what differs from the tones, away from both ends.
    fn error_of(sound: &Audio) -> f64 {
        let tones = [(0.5, 440.0), (0.25, 1000.0)];
        let margin = sound.frames() / 10;
        let errors = tones
            .iter()
            .zip(0..sound.channels())
            .map(|((size, frequency), channel)| {
                let samples = sound.channel(channel).iter().enumerate();
                let inner = samples.skip(margin).take(sound.frames() - 2 * margin);
                let squares = inner.map(|(index, &sample)| {
                    let time = index as f64 / f64::from(sound.sample_rate());
                    (f64::from(sample) - size * (TAU * frequency * time).sin()).powi(2)
                });
                (squares.sum::<f64>() / (sound.frames() - 2 * margin) as f64).sqrt()
            });
        errors.fold(0.0, f64::max)
    }

    #[test]
    fn every_format_gives_the_tones_that_went_in() {
        for (name, bytes, rate, channels, frames, tolerance) in FILES {
            let sound = read(name, bytes).unwrap();
            assert_eq!(
                (sound.sample_rate(), sound.channels()),
                (rate, channels),
                "{name}"
            );
            assert_eq!(sound.frames(), frames, "{name}");
            let error = error_of(&sound);
            println!("{name}: {error:.2e}");
            assert!(error < tolerance, "{name}: {error}");
        }
    }

    #[test]
    fn contents_tell_the_format_not_the_name() {
        for (name, bytes, ..) in FILES {
            for other in ["sound.wav", "sound.ogg", "sound"] {
                assert_eq!(
                    read(other, bytes).unwrap(),
                    read(name, bytes).unwrap(),
                    "{name}"
                );
            }
        }
        let wav = read(FILES[0].0, FILES[0].1).unwrap().to_wav().unwrap();
        assert_eq!(read("sound.mp3", &wav).unwrap().frames(), 2000);
        // A tag before it: 300 bytes of zeros.
        let tag = [&b"ID3\x04\0\0\0\0\x02\x2c"[..], &[0; 300]].concat();
        for (name, bytes, ..) in [FILES[0], FILES[2]] {
            let tagged = [&tag, bytes].concat();
            assert_eq!(
                read(name, &tagged).unwrap(),
                read(name, bytes).unwrap(),
                "{name}"
            );
        }
    }

    #[test]
    fn what_is_no_sound_is_refused() {
        let empty = message("a.mp3", b"");
        assert!(empty.contains("is empty"), "{empty}");
        let text = message("a.flac", b"a text about birds that sing");
        for part in ["expected WAV, FLAC, MP3 or Ogg Vorbis", "a text about bir"] {
            assert!(text.contains(part), "{text}");
        }
        let text = message("a.mp3", b"a text about birds that sing");
        assert!(text.contains("no MP3 file"), "{text}");
        let text = message("a.wav", b"a text about birds that sing");
        assert!(text.contains("no WAV file"), "{text}");
        let dir = tempfile::tempdir().unwrap();
        let error = read_sound(dir.path()).unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains("folder"), "{source}");
        assert!(matches!(
            read_sound(&dir.path().join("none.ogg")),
            Err(SoundFileError::Open { .. })
        ));
    }

    #[test]
    fn files_that_break_off_are_refused() {
        for (name, bytes, ..) in FILES {
            for share in [0.1, 0.5, 0.8] {
                let cut = &bytes[..(bytes.len() as f64 * share) as usize];
                let result = read(name, cut);
                assert!(result.is_err(), "{share} of {name}: {result:?}");
            }
            assert!(read(name, &bytes[..8]).is_err(), "{name}");
        }
        let cut = message("a.ogg", &FILES[4].1[..3000]);
        assert!(cut.contains("breaks off"), "{cut}");
    }

    #[test]
    fn damaged_samples_are_refused() {
        for (name, bytes, ..) in FILES {
            // FLAC has checksums of frames and of all samples, Ogg of pages; in MP3 a frame is lost and no more.
            if name.ends_with("mp3") {
                continue;
            }
            for share in [0.6, 0.8, 0.95] {
                let mut bytes = bytes.to_vec();
                let at = (bytes.len() as f64 * share) as usize;
                bytes[at] ^= 0x10;
                let result = read(name, &bytes);
                assert!(result.is_err(), "byte {at} of {name}: {result:?}");
            }
        }
        // Three frames in the middle of an MP3 are gone.
        for (name, bytes, ..) in [FILES[2], FILES[3]] {
            let mut bytes = bytes.to_vec();
            let (len, hole) = (bytes.len(), bytes.len() / 2);
            bytes[len / 4..len / 4 + hole].fill(0);
            assert!(read(name, &bytes).is_err(), "{name}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        /// Whatever is cut off, flipped or overwritten: a sound or an error, and a short one.
        #[test]
        fn damage_never_panics(
            file in 0..FILES.len(),
            flips in prop::collection::vec((0.0..1.0, any::<u8>()), 0..6),
            cut in 0.0..1.3,
        ) {
            let (name, bytes, ..) = FILES[file];
            let mut bytes = bytes.to_vec();
            for (share, value) in flips {
                let at = (bytes.len() as f64 * share) as usize;
                bytes[at] = value;
            }
            bytes.truncate((bytes.len() as f64 * cut) as usize);
            match read(name, &bytes) {
                Ok(sound) => prop_assert!(sound.samples().iter().all(|x| x.abs() <= 1.0)),
                Err(error) => prop_assert!(error.to_string().len() < 1000),
            }
        }
    }
}
