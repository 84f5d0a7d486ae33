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
