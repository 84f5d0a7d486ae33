//! Sounds as examples of two channels that a network for images learns: the compressed complex spectrogram.
//!
//! ```text
//! v[k, m] = factor · |X[k, m]|^½ e^(i arg X[k, m])             the channels are its real and imaginary part
//! ```
//!
//! X being the short-time Fourier transform. The root lifts what is quiet, as a logarithm would, but keeps the phase
//! and has an exact inverse, c |c|: what noise a sampler leaves is squared away, so that −20 dB become −40 dB.
//!
//! Source of the compression: Richter et al. 2023, "Speech Enhancement and Dereverberation with Diffusion-based
//! Generative Models", section IV-B, with α = ½.

use realfft::num_complex::Complex;

use super::stft::{SpectrogramError, Stft, within_full_scale};

/// How sounds of one length become spectrograms `[2, frequencies, frames]`, and back.
#[derive(Clone, Debug)]
pub struct Spectrogram {
    stft: Stft,
    factor: f32,
}

impl Spectrogram {
    /// Spectrograms of so many frequencies, from 0 to half the sample rate, and frames, `hop` samples apart.
    /// The factor is 1.
    ///
    /// # Errors
    ///
    /// [`SpectrogramError`].
    ///
    /// ```
    /// use datasets::sounds::Spectrogram;
    ///
    /// let spectrogram = Spectrogram::new([64, 96], 64)?;
    /// let tone: Vec<f32> = (0..spectrogram.samples()).map(|n| (0.3 * n as f32).sin()).collect();
    /// let values = spectrogram.encode(&tone);
    /// assert_eq!((tone.len(), values.len()), (6080, 2 * 64 * 96));
    /// let back = spectrogram.decode(&values);
    /// assert!(back.iter().zip(&tone).all(|(a, b)| (a - b).abs() < 1e-5));
    /// # Ok::<(), datasets::sounds::SpectrogramError>(())
    /// ```
    pub fn new(size: [usize; 2], hop: usize) -> Result<Self, SpectrogramError> {
        let stft = Stft::new(size, hop)?;
        Ok(Self { stft, factor: 1.0 })
    }

    /// The same with all values multiplied by `factor`, so that their deviation is what a network expects.
    #[must_use]
    pub fn with_factor(self, factor: f32) -> Self {
        Self { factor, ..self }
    }

    /// The samples of a sound: from the middle of the first frame to that of the last.
    pub fn samples(&self) -> usize {
        self.stft.samples()
    }

    /// Channels, frequencies and frames: the shape of an example.
    pub fn shape(&self) -> [usize; 3] {
        let [frequencies, frames] = self.stft.size();
        [2, frequencies, frames]
    }

    /// Samples from frame to frame.
    pub fn hop(&self) -> usize {
        self.stft.hop()
    }

    /// The spectrogram of a sound of [`samples`](Self::samples) samples: each channel, frequency from low to
    /// high, frame.
    ///
    /// # Panics
    ///
    /// On a sound of another length.
    pub fn encode(&self, sound: &[f32]) -> Vec<f32> {
        let [frequencies, frames] = self.stft.size();
        let plane = frequencies * frames;
        let mut values = vec![0.0; 2 * plane];
        self.stft.transform(sound, |frequency, frame, c| {
            let magnitude = c.norm();
            if magnitude > 0.0 {
                let scale = self.factor / magnitude.sqrt();
                values[frequency * frames + frame] = c.re * scale;
                values[plane + frequency * frames + frame] = c.im * scale;
            }
        });
        values
    }

    /// The sound of a spectrogram; whatever its values, those of the sound are within [-1, 1], as a file
    /// has them. What is not a number is silence.
    ///
    /// # Panics
    ///
    /// On values of another shape.
    pub fn decode(&self, values: &[f32]) -> Vec<f32> {
        let [frequencies, frames] = self.stft.size();
        let plane = frequencies * frames;
        assert_eq!(values.len(), 2 * plane, "values of another spectrogram");
        within_full_scale(self.stft.inverse(|frequency, frame| {
            let place = frequency * frames + frame;
            let v = Complex::new(values[place], values[plane + place]).unscale(self.factor);
            v * v.norm()
        }))
    }

    /// How loud a sound is at each frequency, from low to high, and frame: in decibels, those of a sine that
    /// reaches full scale being 0; silence is `floor`.
    ///
    /// # Panics
    ///
    /// On a sound of another length.
    pub fn levels(&self, sound: &[f32], floor: f32) -> Vec<f32> {
        let full_scale = self.stft.full_scale();
        let [frequencies, frames] = self.stft.size();
        let mut levels = vec![floor; frequencies * frames];
        self.stft.transform(sound, |frequency, frame, c| {
            let level = 20.0 * (c.norm() / full_scale).log10();
            levels[frequency * frames + frame] = level.max(floor);
        });
        levels
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn noise(count: usize, seed: u64) -> Vec<f32> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        (0..count).map(|_| rng.random_range(-1.0..1.0)).collect()
    }

    #[test]
    fn a_sound_comes_back() {
        for (size, hop, factor) in [
            ([64, 96], 64, 1.0),
            ([64, 96], 64, 3.7),
            ([64, 96], 32, 0.15),
            ([128, 1256], 128, 1.0),
            ([33, 7], 16, 2.0),
            ([129, 3], 40, 1.0),
            ([16, 2], 5, 1.0),
        ] {
            let spectrogram = Spectrogram::new(size, hop).unwrap().with_factor(factor);
            assert_eq!(spectrogram.shape(), [2, size[0], size[1]]);
            let count = spectrogram.samples();
            assert_eq!(count, (size[1] - 1) * hop);
            let mut gap = noise(count, 1);
            gap[count / 3..2 * count / 3].fill(0.0);
            for sound in [noise(count, 0), gap, vec![0.0; count]] {
                let back = spectrogram.decode(&spectrogram.encode(&sound));
                let worst = back
                    .iter()
                    .zip(&sound)
                    .map(|(a, b)| (a - b).abs())
                    .fold(0.0, f32::max);
                assert!(worst < 1e-5, "{size:?}, hop {hop}: {worst}");
            }
        }
    }

    /// The transform of NumPy and SciPy, as `scripts/reference/sounds_golden.py` has it.
    #[test]
    fn the_transform_is_that_of_scipy() {
        let bytes = std::fs::read(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/golden/sounds.safetensors"
        ));
        let bytes = bytes.unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let read = |name: &str| -> Vec<f32> {
            let data = file.tensor(name).unwrap().data().chunks_exact(4);
            data.map(|four| f32::from_le_bytes(four.try_into().unwrap()))
                .collect()
        };
        let [signal, real, imag] = ["stft/signal", "stft/real", "stft/imag"].map(read);
        let frames = real.len() / 64;
        let spectrogram = Spectrogram::new([64, frames], 64).unwrap();
        let values = spectrogram.encode(&signal[..spectrogram.samples()]);
        for frequency in 0..64 {
            // What the signal has behind the last frame's middle is not of the sound.
            for frame in 0..frames - 1 {
                let place = frequency * frames + frame;
                let (re, im) = (values[place], values[64 * frames + place]);
                let magnitude = re.hypot(im);
                for (found, expected) in [(re, real[place]), (im, imag[place])] {
                    let found = found * magnitude;
                    assert!((found - expected).abs() < 1e-4, "{found} {expected}");
                }
            }
        }
    }

    #[test]
    fn a_sine_at_full_scale_is_at_0_decibels() {
        let spectrogram = Spectrogram::new([64, 96], 64).unwrap();
        // The sixteenth frequency: 16 periods in a window of 126 samples.
        let step = 2.0 * std::f32::consts::PI * 16.0 / 126.0;
        let sine: Vec<f32> = (0..spectrogram.samples())
            .map(|n| (step * n as f32).sin())
            .collect();
        let levels = spectrogram.levels(&sine, -60.0);
        let level = |frequency: usize, frame: usize| levels[frequency * 96 + frame];
        assert!(level(16, 50).abs() < 0.01, "{}", level(16, 50));
        // Beside it Hann's window is 6 dB down, and further away silent.
        assert!((level(15, 50) + 6.02).abs() < 0.05, "{}", level(15, 50));
        assert_eq!(level(30, 50), -60.0);
        let half: Vec<f32> = sine.iter().map(|s| 0.5 * s).collect();
        let louder = level(16, 50) - spectrogram.levels(&half, -60.0)[16 * 96 + 50];
        assert!((louder - 6.02).abs() < 0.01, "{louder}");
        // The network sees the root of it.
        let magnitude = |sound: &[f32]| {
            let values = spectrogram.encode(sound);
            values[16 * 96 + 50].hypot(values[64 * 96 + 16 * 96 + 50])
        };
        assert!((magnitude(&sine).powi(2) - 31.5).abs() < 0.01);
        assert!((magnitude(&sine) / magnitude(&half) - 2f32.sqrt()).abs() < 1e-3);
    }

    #[test]
    fn whatever_the_values_a_sound_can_be_written() {
        let spectrogram = Spectrogram::new([16, 8], 16).unwrap();
        for value in [f32::NAN, f32::INFINITY, f32::MAX, 1e4, -3.0] {
            let mut values = noise(2 * 16 * 8, 3);
            values[5] = value;
            values[200] = value;
            let sound = spectrogram.decode(&values);
            assert!(sound.iter().all(|s| (-1.0..=1.0).contains(s)), "{value}");
        }
    }

    #[test]
    fn shapes_that_lose_samples_are_refused() {
        let refused = |size, hop| Spectrogram::new(size, hop).unwrap_err().to_string();
        assert_eq!(
            refused([1, 96], 64),
            "1 frequencies and 96 frames are too few: expected 2 or more of each"
        );
        refused([64, 1], 64);
        let text = refused([64, 96], 120);
        assert!(
            text.contains("a hop of 120 samples leaves gaps between windows of 126"),
            "{text}"
        );
        refused([64, 96], 0);
        // What is named as the largest hop is one, and a larger one is not.
        let most: usize = text.rsplit(' ').next().unwrap().parse().unwrap();
        assert!(most > 64);
        Spectrogram::new([64, 96], most).unwrap();
        refused([64, 96], most + 1);
    }
}
