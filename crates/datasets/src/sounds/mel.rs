//! Sounds as examples of one channel that a network for images learns: the log-mel spectrogram.
//!
//! ```text
//! m[b, t] = Σ_k F[b, k] |X[k, t]|              F: triangles, evenly spaced on the mel scale
//! v[b, t] = (20 log₁₀(m / full scale) + 30) / 40, at least −1
//! ```
//!
//! X being the short-time Fourier transform over windows of two hops. So −1 is −70 decibels of full scale and 1 is
//! 10. The mel scale is that of O'Shaughnessy 1987, 2595 log₁₀(1 + f / 700).
//!
//! There is no phase, so there is no exact way back: magnitudes are those that have these bands (non-negative least
//! squares by the multiplicative updates of Lee and Seung 1999), and phases those that fit them
//! (Griffin and Lim). Many magnitudes have the same bands. The updates begin with magnitudes that vary from frequency
//! to frequency as those of noise do, for what is begun with evenly stays even, as no sound is: of 600 recordings of
//! digits that is the larger part of what is lost on the way (docs/results.md). It has eight times fewer values than the
//! complex spectrogram of the same sound, and all of them say something of what is heard.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::griffin_lim::griffin_lim;
use super::stft::{SpectrogramError, Stft, within_full_scale};

/// The lowest frequency of the first band, in Hz: below it voices have nothing.
const LOWEST: f64 = 60.0;
/// Decibels of full scale that are 0, and those that are 1 more.
const MIDDLE: f32 = -30.0;
const SCALE: f32 = 40.0;
/// What is not above is silence in a sound that is made: 1.2 decibels over the least of levels, where recordings have next
/// to nothing and networks what they leave of noise.
const SILENCE: f32 = -0.97;
/// The longest hop: two of them are a window.
const MAX_HOP: usize = 1 << 15;
/// Updates of the magnitudes: more change nothing that is heard.
const UPDATES: usize = 50;

/// How sounds of one length become log-mel spectrograms `[1, bands, frames]`, and back.
#[derive(Clone, Debug)]
pub struct MelSpectrogram {
    stft: Stft,
    filters: Filters,
}

impl MelSpectrogram {
    /// Spectrograms of so many bands, up to half the sample rate, and frames, `hop` samples apart.
    ///
    /// # Errors
    ///
    /// [`SpectrogramError`]: fewer than two frames or no band, a hop below 2 or beyond 32,768, or bands that lie
    /// closer than the frequencies of a window, so that some would have none.
    ///
    /// ```
    /// use datasets::sounds::MelSpectrogram;
    ///
    /// let mel = MelSpectrogram::new([32, 48], 128, 8000)?;
    /// let tone: Vec<f32> = (0..mel.samples()).map(|n| (0.3 * n as f32).sin()).collect();
    /// let values = mel.encode(&tone);
    /// assert_eq!((tone.len(), values.len()), (6016, 32 * 48));
    /// // The sound that is made of it is loudest in the same band.
    /// let again = mel.encode(&mel.decode(&values));
    /// let loudest = |v: &[f32]| (0..32).max_by(|a, b| v[a * 48 + 24].total_cmp(&v[b * 48 + 24]));
    /// assert_eq!(loudest(&again), loudest(&values));
    /// # Ok::<(), datasets::sounds::SpectrogramError>(())
    /// ```
    pub fn new(
        [bands, frames]: [usize; 2],
        hop: usize,
        sample_rate: u32,
    ) -> Result<Self, SpectrogramError> {
        let frequencies = hop.min(MAX_HOP) + 1;
        let filters = Filters::new(bands, frequencies, sample_rate).filter(|_| hop <= MAX_HOP);
        let filters = filters.ok_or(SpectrogramError::Bands { bands, hop })?;
        let stft = Stft::new([frequencies, frames], hop)?;
        Ok(Self { stft, filters })
    }

    /// The samples of a sound: from the middle of the first frame to that of the last.
    pub fn samples(&self) -> usize {
        self.stft.samples()
    }

    /// Channels, bands and frames: the shape of an example.
    pub fn shape(&self) -> [usize; 3] {
        let [_, frames] = self.stft.size();
        [1, self.filters.bands, frames]
    }

    /// The spectrogram of a sound of [`samples`](Self::samples) samples: each band from low to high, frame.
    ///
    /// # Panics
    ///
    /// On a sound of another length.
    pub fn encode(&self, sound: &[f32]) -> Vec<f32> {
        let [_, frames] = self.stft.size();
        let mut bands = vec![0.0; self.filters.bands * frames];
        self.stft.transform(sound, |frequency, frame, c| {
            for (band, weight) in self.filters.of(frequency) {
                bands[band * frames + frame] += weight * c.norm();
            }
        });
        let full_scale = self.stft.full_scale();
        for value in &mut bands {
            let level = 20.0 * (*value / full_scale).log10();
            *value = ((level - MIDDLE) / SCALE).max(-1.0);
        }
        bands
    }

    /// A sound of a spectrogram; whatever the values, those of the sound are within [-1, 1], as a file has them.
    /// What is not a number is silence, as is what lies within 1.2 decibels of −1.
    ///
    /// # Panics
    ///
    /// On values of another shape.
    pub fn decode(&self, values: &[f32]) -> Vec<f32> {
        let [frequencies, frames] = self.stft.size();
        assert_eq!(
            values.len(),
            self.filters.bands * frames,
            "values of another spectrogram"
        );
        let full_scale = self.stft.full_scale();
        // Beyond 1 is louder than any sound in a file.
        let magnitude = |&value: &f32| {
            let level = SCALE * value.min(1.0) + MIDDLE;
            let is_heard = value > SILENCE;
            if is_heard {
                full_scale * 10f32.powf(level / 20.0)
            } else {
                0.0
            }
        };
        let bands: Vec<f32> = values.iter().map(magnitude).collect();
        let magnitudes = self.filters.undo(&bands, frames);
        debug_assert_eq!(magnitudes.len(), frequencies * frames);
        within_full_scale(griffin_lim(&self.stft, &magnitudes))
    }
}

/// Triangles over frequencies, evenly spaced on the mel scale. Each begins in the middle of the one before and ends
/// in the middle of the one behind, so that a frequency is in two at most.
#[derive(Clone, Debug)]
struct Filters {
    bands: usize,
    /// For each frequency, the bands that it is in, and how far: the weights of those that are none are 0.
    weights: Vec<[(usize, f32); 2]>,
}

impl Filters {
    /// `None` where a band has no frequency.
    fn new(bands: usize, frequencies: usize, sample_rate: u32) -> Option<Self> {
        if bands == 0 || bands >= frequencies {
            return None;
        }
        let mel = |hz: f64| 2595.0 * (hz / 700.0).ln_1p() / std::f64::consts::LN_10;
        let hz = |mel: f64| 700.0 * (mel * std::f64::consts::LN_10 / 2595.0).exp_m1();
        let nyquist = f64::from(sample_rate) / 2.0;
        let lowest = LOWEST.min(nyquist / 2.0);
        let step = (mel(nyquist) - mel(lowest)) / (bands + 1) as f64;
        let edge = |index: usize| hz(mel(lowest) + index as f64 * step);
        let mut heard = vec![false; bands];
        let mut weights = vec![[(0, 0.0); 2]; frequencies];
        for (frequency, weights) in weights.iter_mut().enumerate() {
            let at = nyquist * frequency as f64 / (frequencies - 1) as f64;
            if at <= lowest || at >= nyquist {
                continue;
            }
            // Between the middles of two bands, or between an end and a middle.
            let place = ((mel(at) - mel(lowest)) / step) as usize;
            let share = (at - edge(place)) / (edge(place + 1) - edge(place));
            let pair = [
                (place.checked_sub(1), 1.0 - share),
                ((place < bands).then_some(place), share),
            ];
            for (weight, (band, share)) in weights.iter_mut().zip(pair) {
                if let Some(band) = band {
                    *weight = (band, share as f32);
                    heard[band] |= share > 0.0;
                }
            }
        }
        heard
            .iter()
            .all(|&heard| heard)
            .then_some(Self { bands, weights })
    }

    /// The bands of a frequency and their weights.
    fn of(&self, frequency: usize) -> [(usize, f32); 2] {
        self.weights[frequency]
    }

    /// Magnitudes `[frequencies, frames]` whose bands `[bands, frames]` are these as nearly as can be, within a band as
    /// uneven as those of noise: Rayleigh distributed. They are of chance, and always the same.
    fn undo(&self, bands: &[f32], frames: usize) -> Vec<f32> {
        // Fᵀ y for the values y of one frame.
        let back = |y: &[f32], frequency: usize| -> f32 {
            let pairs = self.of(frequency);
            pairs.iter().map(|&(band, weight)| weight * y[band]).sum()
        };
        let mut magnitudes = vec![0.0; self.weights.len() * frames];
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        for frame in 0..frames {
            let wanted: Vec<f32> = (0..self.bands)
                .map(|band| bands[band * frames + frame])
                .collect();
            if wanted.iter().all(|&wanted| wanted == 0.0) {
                continue;
            }
            let mut x: Vec<f32> = (0..self.weights.len())
                .map(|frequency| {
                    let rayleigh = (-2.0 * (1.0 - rng.random::<f32>()).ln()).sqrt();
                    back(&wanted, frequency) * rayleigh
                })
                .collect();
            for _ in 0..UPDATES {
                let mut found = vec![0.0; self.bands];
                for (frequency, x) in x.iter().enumerate() {
                    for (band, weight) in self.of(frequency) {
                        found[band] += weight * x;
                    }
                }
                for (frequency, x) in x.iter_mut().enumerate() {
                    let (wanted, found) = (back(&wanted, frequency), back(&found, frequency));
                    if found > 0.0 {
                        *x *= wanted / found;
                    }
                }
            }
            for (frequency, x) in x.into_iter().enumerate() {
                magnitudes[frequency * frames + frame] = x;
            }
        }
        magnitudes
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// A vowel of a falling voice, a pause and a hiss.
    fn sound(samples: usize) -> Vec<f32> {
        let mut phase = 0.0_f64;
        let mut seed = 1_u32;
        (0..samples)
            .map(|n| {
                let share = n as f64 / samples as f64;
                phase += 2.0 * std::f64::consts::PI * (160.0 - 60.0 * share) / 8000.0;
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let hiss = f64::from(seed >> 8) / f64::from(1 << 24) - 0.5;
                let voice: f64 = (1..20)
                    .map(|k| (f64::from(k) * phase).sin() / (1.0 + (f64::from(k) - 5.0).powi(2)))
                    .sum();
                (match share {
                    s if s < 0.5 => 0.4 * voice,
                    s if s < 0.7 => 0.0,
                    _ => 0.3 * hiss,
                }) as f32
            })
            .collect()
    }

    #[test]
    fn a_sound_comes_back_with_the_same_levels() {
        for (bands, hop) in [(32, 128), (40, 128), (48, 192)] {
            let mel = MelSpectrogram::new([bands, 48], hop, 8000).unwrap();
            let values = mel.encode(&sound(mel.samples()));
            let again = mel.encode(&mel.decode(&values));
            // In decibels, where something is heard.
            let errors: Vec<f32> = values
                .iter()
                .zip(&again)
                .filter(|(before, _)| **before > -0.5)
                .map(|(a, b)| SCALE * (a - b).abs())
                .collect();
            let mean = errors.iter().sum::<f32>() / errors.len() as f32;
            assert!(errors.len() > 400 && mean < 2.0, "{bands} bands: {mean}");
        }
    }

    /// The levels of a hiss go up and down from frequency to frequency by 5.6 dB, those of Rayleigh's distribution; without
    /// chance in the magnitudes they would by half of that.
    #[test]
    fn a_hiss_is_as_rough_as_before() {
        let mel = MelSpectrogram::new([32, 48], 128, 8000).unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let hiss: Vec<f32> = (0..mel.samples())
            .map(|_| rng.random_range(-0.3..0.3))
            .collect();
        // The mean and the deviation in decibels, where bands are wide.
        let levels = |sound: &[f32]| {
            let mut levels = Vec::new();
            mel.stft.transform(sound, |frequency, frame, c| {
                if (60..120).contains(&frequency) && (1..47).contains(&frame) {
                    levels.push(20.0 * f64::from(c.norm().max(1e-9)).log10());
                }
            });
            let mean = levels.iter().sum::<f64>() / levels.len() as f64;
            let square = levels
                .iter()
                .map(|level| (level - mean).powi(2))
                .sum::<f64>();
            (mean, (square / levels.len() as f64).sqrt())
        };
        let before = levels(&hiss);
        let after = levels(&mel.decode(&mel.encode(&hiss)));
        assert!((before.1 - 5.6).abs() < 0.3, "{before:?}");
        assert!((before.0 - after.0).abs() < 0.7, "{before:?} {after:?}");
        assert!((before.1 - after.1).abs() < 0.7, "{before:?} {after:?}");
    }

    #[test]
    fn silence_and_what_is_no_number_stay_silent() {
        let mel = MelSpectrogram::new([32, 8], 128, 8000).unwrap();
        let silence = vec![0.0; mel.samples()];
        assert_eq!(mel.encode(&silence), [-1.0; 32 * 8]);
        assert_eq!(mel.decode(&[-1.0; 32 * 8]), silence);
        assert_eq!(mel.decode(&[-0.98; 32 * 8]), silence);
        assert_ne!(mel.decode(&[-0.96; 32 * 8]), silence);
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30] {
            let mut values = vec![-0.5; 32 * 8];
            values[77] = value;
            let sound = mel.decode(&values);
            assert!(sound.iter().all(|s| (-1.0..=1.0).contains(s)), "{value}");
        }
    }

    #[test]
    fn a_louder_sound_is_higher_by_its_decibels() {
        let mel = MelSpectrogram::new([32, 48], 128, 8000).unwrap();
        let loud = sound(mel.samples());
        let soft: Vec<f32> = loud.iter().map(|s| 0.5 * s).collect();
        let (loud, soft) = (mel.encode(&loud), mel.encode(&soft));
        for (a, b) in loud.iter().zip(&soft).filter(|(_, soft)| **soft > -1.0) {
            assert!((SCALE * (a - b) - 6.0206).abs() < 0.01);
        }
    }

    #[test]
    fn bands_share_every_frequency() {
        let filters = Filters::new(32, 129, 8000).unwrap();
        // Between the middles of the first and the last band the weights of a frequency are 1 in all.
        for frequency in 4..120 {
            let sum: f32 = filters.of(frequency).iter().map(|(_, weight)| weight).sum();
            assert!((sum - 1.0).abs() < 1e-6, "{frequency}: {sum}");
        }
        for refused in [
            [0, 128],
            [128, 128],
            [32, 0],
            [32, 1],
            [32, usize::MAX],
            [usize::MAX, 128],
        ] {
            let [bands, hop] = refused;
            assert!(MelSpectrogram::new([bands, 48], hop, 8000).is_err());
        }
        assert!(MelSpectrogram::new([32, 1], 128, 8000).is_err());
    }
}
