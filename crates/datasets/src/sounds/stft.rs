//! The short-time Fourier transform of sounds of one length, and the way back.
//!
//! ```text
//! X[k, m] = Σ_n w[n] x[m·hop + n − N/2] e^(−2πi k n / N)      w: Hann's window over N samples
//! ```
//!
//! Back in time, frames are added by the least-squares rule x = Σ_m w x_m / Σ_m w² (Griffin and Lim 1984,
//! equation 6), which gives a sound back exactly and of any other X makes the sound whose own is nearest to it.

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
    /// Some mel bands have no frequency, or there are none.
    #[error(
        "a hop of {hop} samples cannot tell {bands} mel bands apart: expected one band or more, and fewer of them or a \
         longer hop, of at most 32,768"
    )]
    Bands {
        /// The bands.
        bands: usize,
        /// The samples from frame to frame.
        hop: usize,
    },
}

/// The transform of sounds of one length.
#[derive(Clone)]
pub(super) struct Stft {
    frequencies: usize,
    frames: usize,
    hop: usize,
    window: Vec<f32>,
    /// Σ_m w² at each sample.
    overlap: Vec<f32>,
    forward: Arc<dyn RealToComplex<f32>>,
    inverse: Arc<dyn ComplexToReal<f32>>,
}

impl fmt::Debug for Stft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stft")
            .field("frequencies", &self.frequencies)
            .field("frames", &self.frames)
            .field("hop", &self.hop)
            .finish_non_exhaustive()
    }
}

impl Stft {
    /// The transform at so many frequencies, from 0 to half the sample rate, and frames, `hop` samples apart.
    ///
    /// # Errors
    ///
    /// [`SpectrogramError`].
    pub(super) fn new(
        [frequencies, frames]: [usize; 2],
        hop: usize,
    ) -> Result<Self, SpectrogramError> {
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
        let mut stft = Self {
            frequencies,
            frames,
            hop,
            forward: planner.plan_fft_forward(window.len()),
            inverse: planner.plan_fft_inverse(window.len()),
            overlap: Vec::new(),
            window,
        };
        let mut overlap = vec![0.0; stft.samples()];
        for frame in 0..frames {
            for (n, place) in stft.places(frame) {
                overlap[place] += stft.window[n].powi(2);
            }
        }
        stft.overlap = overlap;
        Ok(stft)
    }

    /// The samples of a sound: from the middle of the first frame to that of the last.
    pub(super) fn samples(&self) -> usize {
        (self.frames - 1) * self.hop
    }

    /// Frequencies and frames.
    pub(super) fn size(&self) -> [usize; 2] {
        [self.frequencies, self.frames]
    }

    /// Samples from frame to frame.
    pub(super) fn hop(&self) -> usize {
        self.hop
    }

    /// |X| of a sine that reaches full scale, at its frequency.
    pub(super) fn full_scale(&self) -> f32 {
        self.window.iter().sum::<f32>() / 2.0
    }

    /// Hands every X[k, m] of a sound of [`samples`](Self::samples) samples to `each`, as frequency, frame and
    /// value.
    ///
    /// # Panics
    ///
    /// On a sound of another length.
    pub(super) fn transform(
        &self,
        sound: &[f32],
        mut each: impl FnMut(usize, usize, Complex<f32>),
    ) {
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

    /// The sound whose transform is nearest to `value`, of a frequency and a frame.
    pub(super) fn inverse(&self, value: impl Fn(usize, usize) -> Complex<f32>) -> Vec<f32> {
        let mut sound = vec![0.0; self.samples()];
        let mut spectrum = self.inverse.make_input_vec();
        let mut samples = self.inverse.make_output_vec();
        let mut scratch = self.inverse.make_scratch_vec();
        for frame in 0..self.frames {
            for (frequency, c) in spectrum.iter_mut().enumerate() {
                *c = value(frequency, frame);
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
            *sample /= length * overlap;
        }
        sound
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

/// A sound as a file has it: within [-1, 1]. What is not a number is silence.
pub(super) fn within_full_scale(mut sound: Vec<f32>) -> Vec<f32> {
    for sample in &mut sound {
        *sample = if sample.is_nan() {
            0.0
        } else {
            sample.clamp(-1.0, 1.0)
        };
    }
    sound
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
