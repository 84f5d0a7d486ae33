//! Other sample rates.
//!
//! The sound is filtered to the lower of both Nyquist frequencies by a windowed sinc (Blackman-Harris, squared)
//! and evaluated at the new rate, both in the frequency domain block by block (overlap and add): the
//! synchronous resampler of the crate rubato. Its delay is taken off, so that output sample m stands at the time
//! m / `to`.

use rubato::audioadapter_buffers::direct::SequentialSlice;
use rubato::{Fft, FixedSync, Resampler, WindowFunction};

/// The samples of one channel at the rate `to` in place of the rate `from`, both in samples a second:
/// ⌈len · to / from⌉ of them, aligned in time. Samples before the first and after the last count as 0.
///
/// ```
/// let tone: Vec<f32> = (0..4410).map(|i| (i as f32 * 0.05).sin()).collect();
/// assert_eq!(datasets::resample(&tone, 44_100, 16_000).len(), 1600);
/// assert_eq!(datasets::resample(&tone, 16_000, 16_000), tone);
/// ```
///
/// # Panics
///
/// If a rate is 0, or the result has more samples than memory can be addressed by.
pub fn resample(samples: &[f32], from: u32, to: u32) -> Vec<f32> {
    assert!(from > 0 && to > 0, "a rate of 0 samples a second");
    if from == to || samples.is_empty() {
        return samples.to_vec();
    }
    let len = resampled_len(samples.len(), from, to);
    let len = usize::try_from(len).expect("the result can be addressed");
    let block = block_len(from, to);
    // The whole is cut into blocks of the smallest length that both rates can have, times a number.
    let resampler = Fft::<f32>::new_custom(
        from as usize,
        to as usize,
        block,
        1,
        1,
        WindowFunction::BlackmanHarris2,
        FixedSync::Both,
    );
    let mut resampler = resampler.expect("rates and block are not 0");
    let input =
        SequentialSlice::new(samples, 1, samples.len()).expect("one channel of this length");
    let output = resampler.process_all(&input, samples.len(), None);
    let mut resampled = output
        .expect("the buffers are as long as asked")
        .take_data();
    resampled.resize(len, 0.0);
    resampled
}

/// How many samples [`resample`] gives.
pub(super) fn resampled_len(len: usize, from: u32, to: u32) -> u64 {
    let len = (len as u128 * u128::from(to)).div_ceil(u128::from(from));
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// The samples of a block before it is resampled: as short as the filter lets it be.
fn block_len(from: u32, to: u32) -> usize {
    /// The fewest samples of a block on either side; the filter is as long as a block, and the longer it is the
    /// nearer to the Nyquist frequency it reaches.
    const LEAST: u32 = 512;
    let unit = gcd(from, to);
    // An even number, so that the delay, half a block, is a whole number of samples on both sides.
    let blocks = LEAST.div_ceil(from.min(to) / unit).next_multiple_of(2);
    blocks as usize * (from / unit) as usize
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::f64::consts::TAU;

    use safetensors::SafeTensors;

    use super::*;

    /// Made by `scripts/reference/sounds_golden.py`.
    const GOLDEN: &[u8] = include_bytes!("../../tests/golden/sounds.safetensors");

    /// The largest difference.
    fn distance(found: &[f32], expected: impl Iterator<Item = f64>) -> f64 {
        let pairs = found.iter().zip(expected);
        pairs.fold(0.0, |most, (&a, b)| {
            f64::max(most, (f64::from(a) - b).abs())
        })
    }

    #[test]
    fn resampling_agrees_with_scipy() {
        let golden = SafeTensors::deserialize(GOLDEN).unwrap();
        let values = |name: &str| -> Vec<f32> {
            let bytes = golden.tensor(name).unwrap().data().to_vec();
            let values = bytes.chunks_exact(4);
            values
                .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
                .collect()
        };
        let mut cases = 0;
        for name in golden.names() {
            let Some(case) = name
                .strip_prefix("resample/")
                .and_then(|n| n.strip_suffix("/input"))
            else {
                continue;
            };
            let (from, to) = case.split_once('-').unwrap();
            let found = resample(&values(name), from.parse().unwrap(), to.parse().unwrap());
            let expected = values(&format!("resample/{case}/output"));
            assert_eq!(found.len(), expected.len(), "{case}");
            let error = distance(&found, expected.iter().map(|&x| f64::from(x)));
            println!("{case}: {error:.2e}");
            assert!(error < 1e-4, "{case}: {error}");
            cases += 1;
        }
        assert_eq!(cases, 5);
    }

    #[test]
    fn a_sine_stays_where_it_was_in_time_and_what_is_too_high_goes() {
        for (from, to) in [
            (44_100, 16_000),
            (8000, 44_100),
            (48_000, 22_050),
            (8000, 7999),
            (6, 7),
        ] {
            let sine = |share: f64, rate: u32, index: usize| {
                let frequency = share * f64::from(from.min(to)) / 2.0;
                (TAU * frequency * index as f64 / f64::from(rate)).sin()
            };
            let len = 20 * block_len(from, to);
            let tone = |share: f64| -> Vec<f32> {
                (0..len)
                    .map(|index| sine(share, from, index) as f32)
                    .collect()
            };
            let found = resample(&tone(0.3), from, to);
            assert_eq!(found.len() as u64, resampled_len(len, from, to));
            // The sine begins and ends abruptly.
            let margin = found.len() / 10;
            let inner = &found[margin..found.len() - margin];
            let error = distance(inner, (margin..).map(|index| sine(0.3, to, index)));
            println!("{from} to {to}: {error:.2e}");
            assert!(error < 1e-4, "{from} to {to}: {error}");
            // Higher than the new rate can have, and yet not higher than the old one can.
            if f64::from(from) > 1.06 * f64::from(to) {
                let found = resample(&tone(1.05), from, to);
                let inner = &found[margin..found.len() - margin];
                let left = inner.iter().fold(0.0, |most: f32, x| most.max(x.abs()));
                assert!(left < 1e-3, "{from} to {to}: {left} of what is too high");
            }
        }
    }

    #[test]
    fn lengths_are_rounded_up_and_short_sounds_survive() {
        for (len, from, to, expected) in [
            (1, 44_100, 8000, 1),
            (441, 44_100, 8000, 80),
            (442, 44_100, 8000, 81),
            (3, 1, 1000, 3000),
        ] {
            assert_eq!(resample(&vec![0.5; len], from, to).len(), expected);
        }
        assert!(resample(&[], 8000, 16_000).is_empty());
        assert_eq!(resample(&[0.1, 0.2], 8000, 8000), [0.1, 0.2]);
        // A constant stays one, and rates without a common divisor are no harder.
        let found = resample(&vec![0.5; 40_000], 8009, 8000);
        let inner = &found[10_000..30_000];
        assert!(distance(inner, std::iter::repeat(0.5)) < 1e-4);
        assert_eq!(resampled_len(usize::MAX, 1, u32::MAX), u64::MAX);
    }
}
