//! Sound from and to WAV files.
//!
//! Integer samples s of b bits (8, 16, 24 or 32) become s / 2^(b−1), in [-1, 1). Samples stored as
//! 32-bit floats are taken as they are and clipped to [-1, 1], as a player does. What is written
//! has 16 bits: x becomes 2^15 x, rounded and clipped, so that a 16-bit file survives reading and
//! writing bit by bit.

use std::io::{self, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use hound::{SampleFormat, WavReader, WavSpec, WavWriter};

use crate::files::open;

/// The most samples, all channels together (1 GiB of 32-bit floats).
pub const MAX_SAMPLES: usize = 1 << 28;
/// The most channels.
pub const MAX_CHANNELS: usize = 64;
/// The highest rate in samples a second.
pub const MAX_SAMPLE_RATE: u32 = 1_000_000;

/// 2^15: a full-scale 16-bit sample.
const FULL_SCALE_16_BIT: f32 = 32_768.0;

/// Sound of one or several channels.
#[derive(Clone, Debug, PartialEq)]
pub struct Audio {
    sample_rate: u32,
    channels: usize,
    /// Channel by channel; each has the same number of samples.
    samples: Vec<f32>,
}

/// Why a WAV file cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum WavError {
    /// The file cannot be opened.
    #[error("cannot open {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The header is damaged, or of a kind that is not read.
    #[error(
        "{} is no WAV file that can be read (expected RIFF/WAVE with uncompressed samples of 8, \
         16, 24 or 32 bits or 32-bit floats)", path.display()
    )]
    Header {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: hound::Error,
    },
    /// Samples of a width that is not read.
    #[error(
        "{} has {format:?} samples of {bits} bits; expected integers of 8, 16, 24 or 32 bits, or \
         floats of 32", path.display()
    )]
    SampleFormat {
        /// The file.
        path: PathBuf,
        /// Integers or floats.
        format: SampleFormat,
        /// Bits of a sample.
        bits: u16,
    },
    /// The file has more samples than [`MAX_SAMPLES`].
    #[error("{} has {found} samples; the limit is {MAX_SAMPLES}: cut it first", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The samples announced, all channels together.
        found: usize,
    },
    /// The file ends, or cannot be read on, before its last sample.
    #[error("{} breaks off after {found} of {expected} samples", path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
        /// The samples announced, all channels together.
        expected: usize,
        /// The samples read.
        found: usize,
        /// What is wrong.
        source: hound::Error,
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
}

/// Why a rate, a number of channels and samples do not make a sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AudioError {
    /// The sample rate is 0 or too high.
    #[error("the sample rate is {0}; expected 1 to {MAX_SAMPLE_RATE} a second")]
    SampleRate(u32),
    /// There is no channel, or too many.
    #[error("there are {0} channels; expected 1 to {MAX_CHANNELS}")]
    Channels(usize),
    /// There are no samples, too many, or the channels differ in length.
    #[error(
        "there are {samples} samples for {channels} channels; expected the same number for each, \
         at least one, and {MAX_SAMPLES} in all at most"
    )]
    Samples {
        /// The number of samples, all channels together.
        samples: usize,
        /// The number of channels.
        channels: usize,
    },
}

impl Audio {
    /// A sound of `samples`, channel by channel (all samples of the first, then of the second, …),
    /// which is the order of a tensor `[channels, frames]`.
    ///
    /// ```
    /// let sound = datasets::Audio::new(8000, 2, vec![0.0, 0.1, 0.2, 0.3])?;
    /// assert_eq!((sound.frames(), sound.channel(1)), (2, &[0.2, 0.3][..]));
    /// # Ok::<(), datasets::AudioError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`AudioError`].
    pub fn new(sample_rate: u32, channels: usize, samples: Vec<f32>) -> Result<Self, AudioError> {
        if !(1..=MAX_SAMPLE_RATE).contains(&sample_rate) {
            return Err(AudioError::SampleRate(sample_rate));
        }
        if !(1..=MAX_CHANNELS).contains(&channels) {
            return Err(AudioError::Channels(channels));
        }
        let len = samples.len();
        if len == 0 || len > MAX_SAMPLES || !len.is_multiple_of(channels) {
            return Err(AudioError::Samples {
                samples: len,
                channels,
            });
        }
        Ok(Self {
            sample_rate,
            channels,
            samples,
        })
    }

    /// A sound of samples whose channels take turns, clipped to [-1, 1].
    pub(super) fn from_interleaved(
        sample_rate: u32,
        channels: usize,
        interleaved: &[f32],
    ) -> Result<Self, AudioError> {
        if channels == 0 {
            return Err(AudioError::Channels(channels));
        }
        let samples = (0..channels)
            .flat_map(|channel| interleaved.iter().skip(channel).step_by(channels))
            .map(|sample| sample.clamp(-1.0, 1.0))
            .collect();
        Self::new(sample_rate, channels, samples)
    }

    /// Samples a second of each channel.
    pub fn sample_rate(&self) -> u32 {
        self.sample_rate
    }

    /// The number of channels.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// The number of samples of each channel.
    pub fn frames(&self) -> usize {
        self.samples.len() / self.channels
    }

    /// All samples, channel by channel.
    pub fn samples(&self) -> &[f32] {
        &self.samples
    }

    /// The samples of one channel.
    ///
    /// # Panics
    ///
    /// If there is no such channel.
    pub fn channel(&self, channel: usize) -> &[f32] {
        let frames = self.frames();
        &self.samples[channel * frames..][..frames]
    }

    /// The sound as `[channels, frames]`.
    pub fn to_tensor(&self, device: &Device) -> Tensor<2> {
        let shape = [self.channels, self.frames()];
        Tensor::from_data(TensorData::new(self.samples.clone(), shape), device)
    }

    /// The sound as the bytes of a 16-bit WAV file; samples outside [-1, 1] are clipped, what is not
    /// a number becomes 0.
    ///
    /// # Errors
    ///
    /// What hound says, as of a sound of more than the 4 GiB that the format can hold.
    pub fn to_wav(&self) -> Result<Vec<u8>, hound::Error> {
        let spec = WavSpec {
            channels: self.channels as u16,
            sample_rate: self.sample_rate,
            bits_per_sample: 16,
            sample_format: SampleFormat::Int,
        };
        let mut bytes = Cursor::new(Vec::new());
        let mut writer = WavWriter::new(&mut bytes, spec)?;
        for frame in 0..self.frames() {
            for channel in 0..self.channels {
                let sample = self.samples[channel * self.frames() + frame];
                // A cast to an integer saturates.
                writer.write_sample((sample * FULL_SCALE_16_BIT).round() as i16)?;
            }
        }
        writer.finalize()?;
        Ok(bytes.into_inner())
    }
}

/// A sample as a 16-bit file has it, rounded and clipped; what is not a number becomes 0.
pub fn to_16_bits(sample: f32) -> f32 {
    // A cast to an integer saturates.
    f32::from((sample * FULL_SCALE_16_BIT).round() as i16) / FULL_SCALE_16_BIT
}

/// Reads a WAV file of any number of channels.
///
/// # Errors
///
/// See [`WavError`].
pub fn read_wav(path: &Path) -> Result<Audio, WavError> {
    let open_error = |source| WavError::Open {
        path: path.to_owned(),
        source,
    };
    let file = open(path).map_err(open_error)?;
    let file_len = file.metadata().map_err(open_error)?.len();
    read_wav_from(path, BufReader::new(file), file_len)
}

/// Reads the WAV file of `file_len` bytes that `reader` gives; `path` says in messages where it lies.
pub(super) fn read_wav_from(
    path: &Path,
    reader: impl Read,
    file_len: u64,
) -> Result<Audio, WavError> {
    let owned = || path.to_owned();
    let mut reader = WavReader::new(reader).map_err(|source| WavError::Header {
        path: owned(),
        source,
    })?;
    let spec = reader.spec();
    let expected = reader.len() as usize;
    if expected > MAX_SAMPLES {
        return Err(WavError::TooLong {
            path: owned(),
            found: expected,
        });
    }

    // A sample takes at least a byte: the header alone cannot make us reserve more than the file.
    let room = expected.min(usize::try_from(file_len).unwrap_or(usize::MAX));
    let interleaved = match (spec.sample_format, spec.bits_per_sample) {
        (SampleFormat::Int, bits @ (8 | 16 | 24 | 32)) => {
            let full_scale = f64::from(1u32 << (bits - 1));
            let to_f32 = |sample: i32| (f64::from(sample) / full_scale) as f32;
            collect(path, reader.samples::<i32>(), room, expected, to_f32)?
        }
        (SampleFormat::Float, 32) => {
            collect(path, reader.samples::<f32>(), room, expected, |sample| {
                sample
            })?
        }
        (format, bits) => {
            return Err(WavError::SampleFormat {
                path: owned(),
                format,
                bits,
            });
        }
    };
    if let Some(index) = interleaved.iter().position(|sample| !sample.is_finite()) {
        return Err(WavError::NotFinite {
            path: owned(),
            index,
            value: interleaved[index],
        });
    }

    let channels = usize::from(spec.channels);
    Audio::from_interleaved(spec.sample_rate, channels, &interleaved).map_err(|source| {
        WavError::Audio {
            path: owned(),
            source,
        }
    })
}

/// Takes all samples of a file, or says how many there were before it broke off.
fn collect<S>(
    path: &Path,
    source: impl Iterator<Item = hound::Result<S>>,
    room: usize,
    expected: usize,
    to_f32: impl Fn(S) -> f32,
) -> Result<Vec<f32>, WavError> {
    let mut samples = Vec::with_capacity(room);
    for sample in source {
        match sample {
            Ok(sample) => samples.push(to_f32(sample)),
            Err(source) => {
                return Err(WavError::Truncated {
                    path: path.to_owned(),
                    expected,
                    found: samples.len(),
                    source,
                });
            }
        }
    }
    Ok(samples)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs;

    use burn::tensor::Device;
    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;

    fn spec(channels: u16, bits: u16, format: SampleFormat) -> WavSpec {
        WavSpec {
            channels,
            sample_rate: 8_000,
            bits_per_sample: bits,
            sample_format: format,
        }
    }

    /// A WAV file that hound makes of these interleaved samples.
    fn wav<S: hound::Sample + Copy>(spec: WavSpec, samples: &[S]) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        let mut writer = WavWriter::new(&mut bytes, spec).unwrap();
        for &sample in samples {
            writer.write_sample(sample).unwrap();
        }
        writer.finalize().unwrap();
        bytes.into_inner()
    }

    fn file(bytes: &[u8]) -> (TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sound.wav");
        fs::write(&path, bytes).unwrap();
        (dir, path)
    }

    fn read_bytes(bytes: &[u8]) -> Result<Audio, WavError> {
        let (_dir, path) = file(bytes);
        read_wav(&path)
    }

    #[test]
    fn integers_of_every_width_are_scaled_to_one() {
        for bits in [8u16, 16, 24, 32] {
            let full = 1i64 << (bits - 1);
            let samples = [-full, -full / 2, 0, full / 4, full / 2].map(|sample| sample as i32);
            let audio = read_bytes(&wav(spec(1, bits, SampleFormat::Int), &samples)).unwrap();
            assert_eq!(audio.samples(), [-1.0, -0.5, 0.0, 0.25, 0.5], "{bits} bits");
            assert_eq!((audio.sample_rate(), audio.channels()), (8_000, 1));
        }
    }

    #[test]
    fn floats_are_clipped_and_must_be_finite() {
        let float = spec(1, 32, SampleFormat::Float);
        let audio = read_bytes(&wav(float, &[0.25f32, -1.5, 3.0])).unwrap();
        assert_eq!(audio.samples(), [0.25, -1.0, 1.0]);
        assert!(matches!(
            read_bytes(&wav(float, &[0.0f32, f32::NAN])),
            Err(WavError::NotFinite { index: 1, .. })
        ));
    }

    #[test]
    fn channels_are_taken_apart() {
        let samples: Vec<i16> = vec![8192, -16384, 8192, 0, 8192, 16384];
        let audio = read_bytes(&wav(spec(2, 16, SampleFormat::Int), &samples)).unwrap();
        assert_eq!((audio.channels(), audio.frames()), (2, 3));
        assert_eq!(audio.channel(0), [0.25; 3]);
        assert_eq!(audio.channel(1), [-0.5, 0.0, 0.5]);
        let tensor = audio.to_tensor(&Device::flex());
        assert_eq!(tensor.dims(), [2, 3]);
        assert_eq!(
            tensor.into_data().try_to_vec::<f32>().unwrap(),
            audio.samples()
        );
    }

    #[test]
    fn every_16_bit_value_survives_reading_and_writing() {
        let samples: Vec<i16> = (i16::MIN..=i16::MAX).collect();
        let bytes = wav(spec(2, 16, SampleFormat::Int), &samples);
        let (_dir, path) = file(&bytes);
        assert_eq!(read_wav(&path).unwrap().to_wav().unwrap(), bytes);
    }

    #[test]
    fn writing_clips() {
        let samples = vec![2.0, -2.0, 1.0, f32::NAN, f32::INFINITY];
        let audio = Audio::new(100, 1, samples).unwrap();
        let (_dir, path) = file(&audio.to_wav().unwrap());
        let top = 32_767.0 / 32_768.0;
        assert_eq!(
            read_wav(&path).unwrap().samples(),
            [top, -1.0, top, 0.0, top]
        );
    }

    #[test]
    fn cut_files_are_refused_with_both_lengths() {
        let whole = wav(spec(1, 16, SampleFormat::Int), &[7i16; 100]);
        let header = whole.len() - 200;
        for len in 0..header {
            assert!(
                matches!(read_bytes(&whole[..len]), Err(WavError::Header { .. })),
                "cut to {len}"
            );
        }
        match read_bytes(&whole[..header + 61]) {
            Err(WavError::Truncated {
                expected: 100,
                found: 30,
                ..
            }) => {}
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn wrong_files_are_refused() {
        assert!(matches!(
            read_bytes(b"text, not sound"),
            Err(WavError::Header { .. })
        ));
        let mut adpcm = wav(spec(1, 16, SampleFormat::Int), &[0i16; 4]);
        adpcm[20] = 2;
        assert!(matches!(read_bytes(&adpcm), Err(WavError::Header { .. })));
        // No samples at all.
        assert!(matches!(
            read_bytes(&wav::<i16>(spec(1, 16, SampleFormat::Int), &[])),
            Err(WavError::Audio {
                source: AudioError::Samples { samples: 0, .. },
                ..
            })
        ));
        // A header that announces nearly 4 GiB.
        let mut huge = wav(spec(1, 8, SampleFormat::Int), &[0i8; 4]);
        let size_at = huge.len() - 8;
        huge[size_at..size_at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(matches!(read_bytes(&huge), Err(WavError::TooLong { .. })));

        let dir = tempfile::tempdir().unwrap();
        for path in [dir.path().to_owned(), dir.path().join("none.wav")] {
            assert!(matches!(read_wav(&path), Err(WavError::Open { .. })));
        }
    }

    #[test]
    fn a_sound_has_a_rate_channels_and_samples() {
        let new = |rate, channels, len| Audio::new(rate, channels, vec![0.0; len]).unwrap_err();
        assert_eq!(new(0, 1, 1), AudioError::SampleRate(0));
        assert_eq!(new(1, 0, 1), AudioError::Channels(0));
        assert_eq!(new(1, 65, 65), AudioError::Channels(65));
        assert_eq!(
            new(1, 2, 3),
            AudioError::Samples {
                samples: 3,
                channels: 2
            }
        );
    }

    proptest! {
        #[test]
        fn damaged_files_do_not_panic(
            float: bool,
            changes in prop::collection::vec((0..60usize, any::<u8>()), 0..6),
            keep in 0..64usize,
        ) {
            let mut bytes = if float {
                wav(spec(2, 32, SampleFormat::Float), &[0.5f32; 4])
            } else {
                wav(spec(1, 16, SampleFormat::Int), &[5i16; 10])
            };
            for (position, value) in changes {
                bytes[position] = value;
            }
            bytes.truncate(keep);
            let _ = read_bytes(&bytes);
        }
    }
}
