//! The form in which a network sees sounds: spectrograms `[2, frequencies, frames]`, whose size is that of the
//! network.

use anyhow::{Context, Result};
use burn::tensor::Tensor;
use datasets::sounds::{MAX_SAMPLE_RATE, Spectrogram, SpectrogramError, to_16_bits};
use serde::{Deserialize, Serialize};
use training::InvalidValue;

/// `[data.sound]`: how recordings become spectrograms. How many frequencies and frames these have says
/// `network.sample_size`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SoundConfig {
    /// Samples a second that recordings are brought to.
    pub sample_rate: u32,
    /// Samples from frame to frame.
    pub hop: usize,
}

impl Default for SoundConfig {
    fn default() -> Self {
        Self {
            sample_rate: 8000,
            hop: 64,
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
        InvalidValue::at_least("hop", self.hop as u64, 1)
    }
}

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
    spectrogram: Spectrogram,
    sample_rate: u32,
    factor: f32,
}

impl SoundForm {
    /// Spectrograms of so many frequencies and frames of sounds as `config` says, multiplied by `factor`.
    ///
    /// # Errors
    ///
    /// A shape that no spectrogram can have.
    pub(super) fn new(
        config: &SoundConfig,
        size: [usize; 2],
        factor: f32,
    ) -> Result<Self, SpectrogramError> {
        let spectrogram = Spectrogram::new(size, config.hop)?;
        Ok(Self {
            spectrogram: spectrogram.with_factor(factor),
            sample_rate: config.sample_rate,
            factor,
        })
    }

    /// Spectrograms that show sounds of up to `samples` samples to people: a frame every 8 ms.
    pub(super) fn to_show(sample_rate: u32, samples: usize) -> Result<Self, SpectrogramError> {
        let hop = (sample_rate as usize / SHOWN_FRAMES_A_SECOND).max(2);
        let frames = samples.div_ceil(hop) + 1;
        let config = SoundConfig { sample_rate, hop };
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
        let factor = if square > 0.0 { DEVIATION / square.sqrt() } else { 1.0 };
        form.with_factor(factor as f32)
    }

    /// Channels, frequencies and frames of an example.
    pub fn shape(&self) -> [usize; 3] {
        self.spectrogram.shape()
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

    /// The sounds of examples `[N, 2, H, W]`, as a file of 16 bits has them.
    ///
    /// # Errors
    ///
    /// Examples that cannot be read back from the device.
    pub(super) fn sounds(&self, examples: Tensor<4>) -> Result<Vec<Vec<f32>>> {
        let values: Vec<f32> = examples
            .try_into_vec_as()
            .context("cannot read the sounds back from the device")?;
        let example_len = self.shape().iter().product();
        let sounds = values.chunks_exact(example_len);
        Ok(sounds
            .map(|values| {
                let mut sound = self.spectrogram.decode(values);
                for sample in &mut sound {
                    *sample = to_16_bits(*sample);
                }
                sound
            })
            .collect())
    }

    /// Channels, height and width of the pictures that sounds are scored by.
    pub fn scored_shape(&self) -> [usize; 3] {
        let [_, frequencies, frames] = self.shape();
        let side = self.scored_side();
        [1, frequencies.div_ceil(side), frames.div_ceil(side)]
    }

    /// The pictures that generated examples `[N, 2, H, W]` are scored by, as bytes.
    ///
    /// # Errors
    ///
    /// Examples that cannot be read back from the device.
    pub fn scored_of(&self, generated: Tensor<4>) -> Result<Vec<u8>> {
        let sounds = self.sounds(generated)?;
        Ok(sounds.iter().flat_map(|sound| self.scored(sound)).collect())
    }

    /// The picture that a sound is scored by: its levels in decibels, the mean of each square of so many
    /// frequencies and frames that there are few of them; black is [`FLOOR`], white full scale.
    pub(super) fn scored(&self, sound: &[f32]) -> Vec<u8> {
        let [_, frequencies, frames] = self.shape();
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
            .map(|(sum, count)| (255.0 * (1.0 - sum / count / FLOOR)).round().clamp(0.0, 255.0) as u8)
            .collect()
    }

    /// The frequencies, and the frames, of a square that becomes a pixel.
    fn scored_side(&self) -> usize {
        let [_, frequencies, _] = self.shape();
        frequencies.div_ceil(MOST_SCORED_FREQUENCIES)
    }
}
