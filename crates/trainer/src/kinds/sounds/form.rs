//! The form in which a network sees sounds: spectrograms, whose patches are put into channels.
//!
//! ```text
//! log-mel spectrogram [1, p·H, p·W]  ──▶  example [p·p, H, W]
//! complex spectrogram [2, p·H, p·W]  ──▶  example [2·p·p, H, W]
//! ```
//!
//! The values of a patch of p frequencies and p frames become channels of one pixel, as of images in Dosovitskiy et
//! al. 2021, section 3.1, so that a network has p·p times fewer pixels to work on, and a run sees as many more
//! examples in the same time.

use std::path::Path;

use anyhow::{Context, Result};
use burn::tensor::Tensor;
use datasets::sounds::{
    MAX_SAMPLE_RATE, MelSpectrogram, Spectrogram, SpectrogramError, read_mono, to_16_bits,
};
use rayon::iter::{IntoParallelIterator, ParallelIterator};
use serde::{Deserialize, Serialize};
use training::InvalidValue;

/// What of a sound is learned.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Representation {
    /// The compressed complex spectrogram, which has an exact inverse.
    #[default]
    ComplexSpectrogram,
    /// The log-mel spectrogram, which has no phase: a network learns it from far fewer examples.
    MelSpectrogram,
}

/// `[data.sound]`: how recordings become examples. `network.sample_size` says of how many frequencies and frames,
/// counted in patches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SoundConfig {
    /// What of a sound is learned.
    pub representation: Representation,
    /// Samples a second that recordings are brought to.
    pub sample_rate: u32,
    /// Samples from frame to frame.
    pub hop: usize,
    /// Frequencies, and frames, of a patch of the spectrogram, whose values are the channels of a pixel.
    pub patch_size: usize,
}

impl Default for SoundConfig {
    fn default() -> Self {
        Self {
            representation: Representation::default(),
            sample_rate: 8000,
            hop: 64,
            patch_size: 1,
        }
    }
}

impl SoundConfig {
    /// # Errors
    ///
    /// The first value that makes no sense.
    pub(super) fn check(&self) -> Result<(), InvalidValue> {
        InvalidValue::at_least("sample_rate", self.sample_rate.into(), 1)?;
        if self.sample_rate > MAX_SAMPLE_RATE {
            let message = format!(
                "{} makes no sense here: it must be at most {MAX_SAMPLE_RATE}",
                self.sample_rate
            );
            return Err(InvalidValue::new("sample_rate", message));
        }
        InvalidValue::at_least("hop", self.hop as u64, 1)?;
        if self.representation == Representation::MelSpectrogram && self.hop % 2 == 1 {
            let message = format!(
                "{} makes no sense here: of mel spectrograms it must be even",
                self.hop
            );
            return Err(InvalidValue::new("hop", message));
        }
        InvalidValue::at_least("patch_size", self.patch_size as u64, 1)?;
        if self.patch_size > MOST_PATCH_SIZE {
            let message = format!(
                "{} makes no sense here: it must be at most {MOST_PATCH_SIZE}",
                self.patch_size
            );
            return Err(InvalidValue::new("patch_size", message));
        }
        Ok(())
    }

    /// The values of a frequency and a frame.
    fn parts(&self) -> usize {
        match self.representation {
            Representation::ComplexSpectrogram => 2,
            Representation::MelSpectrogram => 1,
        }
    }

    /// The channels of an example.
    pub(super) fn channels(&self) -> usize {
        self.parts() * self.patch_size * self.patch_size
    }
}

/// The largest patch: the channels of a larger one are more than a small network can tell apart.
const MOST_PATCH_SIZE: usize = 8;

/// The quietest level that a picture shows, in decibels below full scale.
pub(super) const FLOOR: f32 = -60.0;

/// The deviation that the values of spectrograms have over the training split: that of images, for which the
/// schedules of noise are made.
pub(super) const DEVIATION: f64 = 0.5;

/// Frames a second where sounds are shown that no network learns.
const SHOWN_FRAMES_A_SECOND: usize = 125;

/// The most frequencies of the pictures that sounds are scored by: more tell no word from another, and take
/// the classifier longer.
const MOST_SCORED_FREQUENCIES: usize = 32;

/// How sounds become examples, and examples sounds.
#[derive(Debug, Clone)]
pub struct SoundForm {
    /// What sounds are shown and scored by and, unless there is `mel`, learned as.
    spectrogram: Spectrogram,
    mel: Option<Box<MelSpectrogram>>,
    sample_rate: u32,
    patch_size: usize,
    hop: usize,
    factor: f32,
}

impl SoundForm {
    /// Examples of this height and width, of spectrograms as `config` says, multiplied by `factor`.
    ///
    /// # Errors
    ///
    /// A shape that no spectrogram can have.
    pub(super) fn new(
        config: &SoundConfig,
        size: [usize; 2],
        factor: f32,
    ) -> Result<Self, SpectrogramError> {
        let size = size.map(|side| side.saturating_mul(config.patch_size));
        let (spectrogram, mel) = match config.representation {
            Representation::ComplexSpectrogram => (Spectrogram::new(size, config.hop)?, None),
            Representation::MelSpectrogram => {
                let mel = MelSpectrogram::new(size, config.hop, config.sample_rate)?;
                // Shown twice as fine in time, of as many samples.
                let hop = config.hop / 2;
                let frames = 2 * (size[1] - 1) + 1;
                (
                    Spectrogram::new([hop.max(2), frames], hop)?,
                    Some(Box::new(mel)),
                )
            }
        };
        Ok(Self {
            spectrogram: spectrogram.with_factor(factor),
            mel,
            sample_rate: config.sample_rate,
            patch_size: config.patch_size,
            hop: config.hop,
            factor,
        })
    }

    /// Spectrograms that show sounds of up to `samples` samples to people: a frame every 8 ms.
    pub(super) fn to_show(sample_rate: u32, samples: usize) -> Result<Self, SpectrogramError> {
        let hop = (sample_rate as usize / SHOWN_FRAMES_A_SECOND).max(2);
        let frames = samples.div_ceil(hop) + 1;
        let config = SoundConfig {
            sample_rate,
            hop,
            ..SoundConfig::default()
        };
        Self::new(&config, [hop, frames.max(2)], 1.0)
    }

    /// The same with spectrograms multiplied by `factor`.
    pub(super) fn with_factor(self, factor: f32) -> Self {
        Self {
            spectrogram: self.spectrogram.with_factor(factor),
            factor,
            ..self
        }
    }

    /// The same with the factor by which the spectrogram of `sound` has [`DEVIATION`].
    pub(super) fn with_deviation(self, sound: &[f32]) -> Self {
        let form = self.with_factor(1.0);
        let values = form.spectrogram.encode(sound);
        let square = values.iter().map(|v| f64::from(v * v)).sum::<f64>() / values.len() as f64;
        // Silence has none.
        let factor = if square > 0.0 {
            DEVIATION / square.sqrt()
        } else {
            1.0
        };
        form.with_factor(factor as f32)
    }

    /// Channels, frequencies and frames of what is put into patches.
    fn learned_shape(&self) -> [usize; 3] {
        match &self.mel {
            Some(mel) => mel.shape(),
            None => self.spectrogram.shape(),
        }
    }

    /// Whether values are to be brought to [`DEVIATION`]: those of the log-mel spectrogram have a range of their own.
    pub(super) fn has_factor(&self) -> bool {
        self.mel.is_none()
    }

    /// Channels, height and width of an example.
    pub fn shape(&self) -> [usize; 3] {
        let [channels, frequencies, frames] = self.learned_shape();
        let patch = self.patch_size;
        [
            channels * patch * patch,
            frequencies / patch,
            frames / patch,
        ]
    }

    /// A sound as an example: each channel, row, column.
    pub(super) fn encode(&self, sound: &[f32]) -> Vec<f32> {
        let spectrogram = match &self.mel {
            Some(mel) => mel.encode(sound),
            None => self.spectrogram.encode(sound),
        };
        let mut example = vec![0.0; spectrogram.len()];
        for (place, value) in self.places().zip(spectrogram) {
            example[place] = value;
        }
        example
    }

    /// The sound of an example.
    fn decode(&self, example: &[f32]) -> Vec<f32> {
        let values: Vec<f32> = self.places().map(|place| example[place]).collect();
        match &self.mel {
            Some(mel) => mel.decode(&values),
            None => self.spectrogram.decode(&values),
        }
    }

    /// For each value of a spectrogram, in order, its place in the example.
    fn places(&self) -> impl Iterator<Item = usize> + use<> {
        let [channels, frequencies, frames] = self.learned_shape();
        let patch = self.patch_size;
        let (height, width) = (frequencies / patch, frames / patch);
        (0..channels).flat_map(move |channel| {
            (0..frequencies).flat_map(move |frequency| {
                (0..frames).map(move |frame| {
                    let within = (frequency % patch) * patch + frame % patch;
                    let channel = channel * patch * patch + within;
                    (channel * height + frequency / patch) * width + frame / patch
                })
            })
        })
    }

    /// The seconds from a column of an example to the next.
    pub fn seconds_a_column(&self) -> f64 {
        (self.hop * self.patch_size) as f64 / f64::from(self.sample_rate)
    }

    /// What spectrograms are multiplied by.
    pub fn factor(&self) -> f32 {
        self.factor
    }

    /// How sounds of a window become spectrograms.
    pub fn spectrogram(&self) -> &Spectrogram {
        &self.spectrogram
    }

    /// Samples a second.
    pub fn sample_rate(&self) -> u32 {
        self.sample_rate
    }

    /// The length of a sound in seconds.
    pub fn seconds(&self) -> f64 {
        self.spectrogram.samples() as f64 / f64::from(self.sample_rate)
    }

    /// The sounds of examples `[N, C, H, W]`, as a file of 16 bits has them.
    ///
    /// # Errors
    ///
    /// Examples that cannot be read back from the device.
    pub(super) fn sounds(&self, examples: Tensor<4>) -> Result<Vec<Vec<f32>>> {
        let values: Vec<f32> = examples
            .try_into_vec_as()
            .context("cannot read the sounds back from the device")?;
        let example_len = self.shape().iter().product();
        let sounds: Vec<&[f32]> = values.chunks_exact(example_len).collect();
        Ok(sounds
            .into_par_iter()
            .map(|values| {
                let mut sound = self.decode(values);
                for sample in &mut sound {
                    *sample = to_16_bits(*sample);
                }
                sound
            })
            .collect())
    }

    /// Channels, height and width of the pictures that sounds are scored by.
    pub fn scored_shape(&self) -> [usize; 3] {
        let [_, frequencies, frames] = self.spectrogram.shape();
        let side = self.scored_side();
        [1, frequencies.div_ceil(side), frames.div_ceil(side)]
    }

    /// The pictures that generated examples `[N, C, H, W]` are scored by, as bytes.
    ///
    /// # Errors
    ///
    /// Examples that cannot be read back from the device.
    pub fn scored_of(&self, generated: Tensor<4>) -> Result<Vec<u8>> {
        let sounds = self.sounds(generated)?;
        Ok(sounds.iter().flat_map(|sound| self.scored(sound)).collect())
    }

    /// The picture that the middle of a file of sound is scored by, as loud as it is.
    ///
    /// # Errors
    ///
    /// A file that cannot be read.
    pub fn scored_file(&self, path: &Path) -> Result<Vec<u8>> {
        let sound = read_mono(path, self.sample_rate)?;
        Ok(self.scored(&window(&sound, self.spectrogram.samples(), 0.5)))
    }

    /// The picture that a sound is scored by: its levels in decibels, the mean of each square of so many
    /// frequencies and frames that there are few of them; black is [`FLOOR`], white full scale.
    pub(super) fn scored(&self, sound: &[f32]) -> Vec<u8> {
        let [_, frequencies, frames] = self.spectrogram.shape();
        let [_, height, width] = self.scored_shape();
        let side = self.scored_side();
        let levels = self.spectrogram.levels(sound, FLOOR);
        let mut sums = vec![(0.0, 0.0); height * width];
        for frequency in 0..frequencies {
            for frame in 0..frames {
                let (sum, count) = &mut sums[frequency / side * width + frame / side];
                *sum += levels[frequency * frames + frame];
                *count += 1.0;
            }
        }
        sums.into_iter()
            .map(|(sum, count)| {
                (255.0 * (1.0 - sum / count / FLOOR))
                    .round()
                    .clamp(0.0, 255.0) as u8
            })
            .collect()
    }

    /// The frequencies, and the frames, of a square that becomes a pixel.
    fn scored_side(&self) -> usize {
        let [_, frequencies, _] = self.spectrogram.shape();
        frequencies.div_ceil(MOST_SCORED_FREQUENCIES)
    }
}

/// `samples` samples of a recording. Its place among those that it can have, from the first to the last, is a
/// share of 1.
pub(super) fn window(recording: &[f32], samples: usize, place: f64) -> Vec<f32> {
    let room = recording.len().abs_diff(samples);
    let offset = (place * room as f64).round() as usize;
    if recording.len() >= samples {
        return recording[offset..][..samples].to_vec();
    }
    let mut window = vec![0.0; samples];
    window[offset..][..recording.len()].copy_from_slice(recording);
    window
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use burn::tensor::{Device, TensorData};

    use super::*;

    #[test]
    fn patches_become_channels_and_back() {
        let config = SoundConfig {
            hop: 8,
            patch_size: 2,
            ..SoundConfig::default()
        };
        let form = SoundForm::new(&config, [8, 6], 2.0).unwrap();
        assert_eq!(form.shape(), [8, 8, 6]);
        assert_eq!(form.shape()[0], config.channels());
        let sound: Vec<f32> = (0..88).map(|n| (0.3 * n as f32).sin() * 0.5).collect();
        assert_eq!(form.spectrogram().samples(), sound.len());
        let example = form.encode(&sound);
        let spectrogram = form.spectrogram().encode(&sound);
        // Channel 6 of pixel (3, 2): the imaginary part at frequency 2·3 + 1 and frame 2·2 + 0.
        assert_eq!(example[(6 * 8 + 3) * 6 + 2], spectrogram[(16 + 7) * 12 + 4]);
        let data = TensorData::new(example, [1, 8, 8, 6]);
        let back = form
            .sounds(Tensor::from_data(data, &Device::flex()))
            .unwrap();
        for (a, b) in back[0].iter().zip(&sound) {
            // As a file of 16 bits has it.
            assert!((a - b).abs() < 3e-5, "{a} {b}");
        }
    }

    #[test]
    fn mel_spectrograms_are_of_the_same_sounds() {
        let config = SoundConfig {
            representation: Representation::MelSpectrogram,
            hop: 128,
            patch_size: 2,
            ..SoundConfig::default()
        };
        let form = SoundForm::new(&config, [16, 24], 1.0).unwrap();
        assert_eq!(form.shape(), [config.channels(), 16, 24]);
        assert_eq!(form.spectrogram().samples(), 47 * 128);
        assert_eq!(form.scored_shape(), [1, 32, 48]);
        assert_eq!(form.seconds_a_column(), 0.032);
        let sound: Vec<f32> = (0..47 * 128)
            .map(|n| (0.2 * n as f32).sin() * 0.5)
            .collect();
        let example = form.encode(&sound);
        let data = TensorData::new(example.clone(), [1, 4, 16, 24]);
        let sounds = form
            .sounds(Tensor::from_data(data, &Device::flex()))
            .unwrap();
        let again = form.encode(&sounds[0]);
        let mean = example
            .iter()
            .zip(&again)
            .map(|(a, b)| (a - b).abs())
            .sum::<f32>()
            / example.len() as f32;
        assert!(mean < 0.1, "{mean}");
    }

    #[test]
    fn sounds_are_scored_by_few_pixels_of_their_levels() {
        let form = SoundForm::new(&SoundConfig::default(), [64, 96], 1.0).unwrap();
        assert_eq!(form.scored_shape(), [1, 32, 48]);
        let silence = vec![0.0; form.spectrogram().samples()];
        assert!(form.scored(&silence).iter().all(|&byte| byte == 0));
        let step = 2.0 * std::f32::consts::PI * 16.5 / 126.0;
        let sine: Vec<f32> = (0..silence.len())
            .map(|n| (step * n as f32).sin())
            .collect();
        let pixels = form.scored(&sine);
        // Frequencies 16 and 17 are pixel 8, and each is 1.4 dB down.
        assert!(
            (245..255).contains(&pixels[8 * 48 + 20]),
            "{}",
            pixels[8 * 48 + 20]
        );
        assert_eq!(pixels[20 * 48 + 20], 0);
    }
}
