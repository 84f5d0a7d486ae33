//! The phases that magnitudes lack: the fast Griffin-Lim algorithm (Perraudin, Balazs and Søndergaard 2013, algorithm
//! 2).
//!
//! ```text
//! t_n = P_1 P_2 c_{n−1}       P_2: the given magnitudes, P_1: the transform of a sound
//! c_n = t_n + α (t_n − t_{n−1})
//! ```

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use realfft::num_complex::Complex;

use super::stft::Stft;

/// Rounds: more change nothing that is heard.
const ROUNDS: usize = 60;
/// α. The paper finds 0.99 to be best.
const MOMENTUM: f32 = 0.99;

/// A sound whose transform has these magnitudes `[frequencies, frames]`, as nearly as is found. The phases that it
/// begins with are of chance, and always the same.
pub(super) fn griffin_lim(stft: &Stft, magnitudes: &[f32]) -> Vec<f32> {
    let [_, frames] = stft.size();
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut c: Vec<Complex<f32>> = magnitudes
        .iter()
        .map(|_| Complex::from_polar(1.0, rng.random_range(0.0..std::f32::consts::TAU)))
        .collect();
    let mut before = vec![Complex::new(0.0, 0.0); magnitudes.len()];
    let projected = |c: &[Complex<f32>]| {
        stft.inverse(|frequency, frame| {
            let place = frequency * frames + frame;
            let norm = c[place].norm();
            if norm > 0.0 {
                c[place] * (magnitudes[place] / norm)
            } else {
                Complex::new(magnitudes[place], 0.0)
            }
        })
    };
    for round in 0..ROUNDS {
        let sound = projected(&c);
        // There is no step before the first.
        let momentum = if round == 0 { 0.0 } else { MOMENTUM };
        stft.transform(&sound, |frequency, frame, t| {
            let place = frequency * frames + frame;
            c[place] = t + (t - before[place]) * momentum;
            before[place] = t;
        });
    }
    projected(&c)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_magnitudes_of_a_sound_lead_back_to_them() {
        let stft = Stft::new([129, 40], 64).unwrap();
        let sound: Vec<f32> = (0..stft.samples())
            .map(|n| (0.0004 * (n * n) as f32).sin() * 0.5)
            .collect();
        let magnitudes = |sound: &[f32]| {
            let mut values = vec![0.0; 129 * 40];
            stft.transform(sound, |frequency, frame, c| {
                values[frequency * 40 + frame] = c.norm();
            });
            values
        };
        let wanted = magnitudes(&sound);
        let found = magnitudes(&griffin_lim(&stft, &wanted));
        let square = |a: &[f32]| a.iter().map(|a| f64::from(a * a)).sum::<f64>();
        let error: Vec<f32> = wanted.iter().zip(&found).map(|(a, b)| a - b).collect();
        // The spectral convergence of the paper, in decibels.
        let convergence = 10.0 * (square(&error) / square(&wanted)).log10();
        assert!(convergence < -20.0, "{convergence}");
        assert_eq!(griffin_lim(&stft, &wanted), griffin_lim(&stft, &wanted));
    }
}
