//! Sounds as examples of two channels that a network for images learns: the compressed complex spectrogram.
//!
//! ```text
//! X[k, m] = Σ_n w[n] x[m·hop + n − N/2] e^(−2πi k n / N)      w: Hann's window over N samples
//! v[k, m] = factor · |X[k, m]|^½ e^(i arg X[k, m])             the channels are its real and imaginary part
//! ```
//!
//! The root lifts what is quiet, as a logarithm would, but keeps the phase and has an exact inverse, c |c|: what
//! noise a sampler leaves is squared away, so that −20 dB become −40 dB. Back in time, frames are added by the
//! least-squares rule x = Σ_m w x_m / Σ_m w² (Griffin and Lim 1984, equation 6), which gives a sound back exactly
//! and of any other spectrogram makes the sound whose own is nearest to it.
//!
//! Source of the compression: Richter et al. 2023, "Speech Enhancement and Dereverberation with Diffusion-based
//! Generative Models", section IV-B, with α = ½.

use std::fmt;
use std::sync::Arc;

use realfft::num_complex::Complex;
use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};

/// The least sum of squared windows at a sample: below it, what is inverted drowns in rounding.
const LEAST_OVERLAP: f32 = 0.05;

/// A shape that no spectrogram can have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpectrogramError {
    /// There are too few frequencies or frames.
    #[error(
        "{frequencies} frequencies and {frames} frames are too few: expected 2 or more of each"
    )]
    TooSmall {
        /// The height of the spectrogram.
        frequencies: usize,
        /// Its width.
        frames: usize,
    },
    /// Frames lie so far apart that samples between them are lost.
    #[error(
        "a hop of {hop} samples leaves gaps between windows of {window} samples, those of {frequencies} \
         frequencies: expected 1 to {most}"
    )]
    Hop {
        /// The samples from frame to frame.
        hop: usize,
        /// The samples of a window.
        window: usize,
        /// The height of the spectrogram.
        frequencies: usize,
        /// The largest hop that leaves none.
        most: usize,
    },
}

/// How sounds of one length become spectrograms `[2, frequencies, frames]`, and back.
#[derive(Clone)]
pub struct Spectrogram {
    frequencies: usize,
    frames: usize,
    hop: usize,
    factor: f32,
    window: Vec<f32>,
    /// Σ_m w² at each sample.
    overlap: Vec<f32>,
    forward: Arc<dyn RealToComplex<f32>>,
    inverse: Arc<dyn ComplexToReal<f32>>,
}

impl fmt::Debug for Spectrogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spectrogram")
            .field("frequencies", &self.frequencies)
            .field("frames", &self.frames)
            .field("hop", &self.hop)
            .field("factor", &self.factor)
            .finish_non_exhaustive()
    }
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
    pub fn new([frequencies, frames]: [usize; 2], hop: usize) -> Result<Self, SpectrogramError> {
        if frequencies < 2 || frames < 2 {
            return Err(SpectrogramError::TooSmall {
                frequencies,
                frames,
            });
        }
        let window = hann(2 * (frequencies - 1));
        if !is_covered(&window, hop) {
            let most = (1..window.len())
                .rev()
                .find(|&hop| is_covered(&window, hop));
            return Err(SpectrogramError::Hop {
                hop,
                window: window.len(),
                frequencies,
                most: most.unwrap_or(1),
            });
        }
        let mut planner = RealFftPlanner::new();
        let mut spectrogram = Self {
            frequencies,
            frames,
            hop,
            factor: 1.0,
            forward: planner.plan_fft_forward(window.len()),
            inverse: planner.plan_fft_inverse(window.len()),
            overlap: Vec::new(),
            window,
        };
        let mut overlap = vec![0.0; spectrogram.samples()];
        for frame in 0..frames {
            for (n, place) in spectrogram.places(frame) {
                overlap[place] += spectrogram.window[n].powi(2);
            }
        }
        spectrogram.overlap = overlap;
        Ok(spectrogram)
    }

    /// The same with all values multiplied by `factor`, so that their deviation is what a network expects.
    #[must_use]
    pub fn with_factor(self, factor: f32) -> Self {
        Self { factor, ..self }
    }

    /// The samples of a sound: from the middle of the first frame to that of the last.
    pub fn samples(&self) -> usize {
        (self.frames - 1) * self.hop
    }

    /// Channels, frequencies and frames: the shape of an example.
    pub fn shape(&self) -> [usize; 3] {
        [2, self.frequencies, self.frames]
    }

    /// Samples from frame to frame.
    pub fn hop(&self) -> usize {
        self.hop
    }

    /// The spectrogram of a sound of [`samples`](Self::samples) samples: each channel, frequency from low to
    /// high, frame.
    ///
    /// # Panics
    ///
    /// On a sound of another length.
    pub fn encode(&self, sound: &[f32]) -> Vec<f32> {
        let plane = self.frequencies * self.frames;
        let mut values = vec![0.0; 2 * plane];
        self.transform(sound, |frequency, frame, c| {
            let magnitude = c.norm();
            if magnitude > 0.0 {
                let scale = self.factor / magnitude.sqrt();
                values[frequency * self.frames + frame] = c.re * scale;
                values[plane + frequency * self.frames + frame] = c.im * scale;
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
        let plane = self.frequencies * self.frames;
        assert_eq!(values.len(), 2 * plane, "values of another spectrogram");
        let mut sound = vec![0.0; self.samples()];
        let mut spectrum = self.inverse.make_input_vec();
        let mut samples = self.inverse.make_output_vec();
        let mut scratch = self.inverse.make_scratch_vec();
        for frame in 0..self.frames {
            for (frequency, c) in spectrum.iter_mut().enumerate() {
                let place = frequency * self.frames + frame;
                let v = Complex::new(values[place], values[plane + place]).unscale(self.factor);
                *c = v * v.norm();
                // Of a real sound, the first and the last frequency have no phase.
                if frequency == 0 || frequency + 1 == self.frequencies {
                    c.im = 0.0;
                }
            }
            let done = self
                .inverse
                .process_with_scratch(&mut spectrum, &mut samples, &mut scratch);
            debug_assert!(done.is_ok(), "the buffers are the transform's own");
            for (n, place) in self.places(frame) {
                sound[place] += self.window[n] * samples[n];
            }
        }
        let length = self.window.len() as f32;
        for (sample, overlap) in sound.iter_mut().zip(&self.overlap) {
            let level = *sample / (length * overlap);
            *sample = if level.is_nan() {
                0.0
            } else {
                level.clamp(-1.0, 1.0)
            };
        }
        sound
    }

    /// How loud a sound is at each frequency, from low to high, and frame: in decibels, those of a sine that
    /// reaches full scale being 0; silence is `floor`.
    ///
    /// # Panics
    ///
    /// On a sound of another length.
    pub fn levels(&self, sound: &[f32], floor: f32) -> Vec<f32> {
        let full_scale = self.window.iter().sum::<f32>() / 2.0;
        let mut levels = vec![floor; self.frequencies * self.frames];
        self.transform(sound, |frequency, frame, c| {
            let level = 20.0 * (c.norm() / full_scale).log10();
            levels[frequency * self.frames + frame] = level.max(floor);
        });
        levels
    }

    /// Hands every X[k, m] of a sound to `each`, as frequency, frame and value.
    fn transform(&self, sound: &[f32], mut each: impl FnMut(usize, usize, Complex<f32>)) {
        assert_eq!(sound.len(), self.samples(), "a sound of another length");
        let mut samples = self.forward.make_input_vec();
        let mut spectrum = self.forward.make_output_vec();
        let mut scratch = self.forward.make_scratch_vec();
        for frame in 0..self.frames {
            samples.fill(0.0);
            for (n, place) in self.places(frame) {
                samples[n] = self.window[n] * sound[place];
            }
            let done = self
                .forward
                .process_with_scratch(&mut samples, &mut spectrum, &mut scratch);
            debug_assert!(done.is_ok(), "the buffers are the transform's own");
            for (frequency, &c) in spectrum.iter().enumerate() {
                each(frequency, frame, c);
            }
        }
    }

    /// The places in the window of a frame, and in the sound, that lie within the sound.
    fn places(&self, frame: usize) -> impl Iterator<Item = (usize, usize)> + use<> {
        let (half, samples) = (self.window.len() / 2, self.samples());
        let middle = frame * self.hop;
        let first = half.saturating_sub(middle);
        (first..self.window.len())
            .map(move |n| (n, middle + n - half))
            .take_while(move |&(_, place)| place < samples)
    }
}

/// Hann's window over `length` samples, as of a period.
fn hann(length: usize) -> Vec<f32> {
    let angle = |n: usize| std::f64::consts::PI * n as f64 / length as f64;
    (0..length).map(|n| angle(n).sin().powi(2) as f32).collect()
}

/// Whether at every sample windows `hop` apart have a sum of squares that can be divided by.
fn is_covered(window: &[f32], hop: usize) -> bool {
    hop > 0
        && (0..hop).all(|start| {
            let squares = window.iter().skip(start).step_by(hop).map(|w| w * w);
            squares.sum::<f32>() >= LEAST_OVERLAP
        })
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
