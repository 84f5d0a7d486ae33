//! Every random number.
//!
//! Numbers are drawn on the host from ChaCha8, a counter-based generator: the run's seed is the
//! key, a [`Purpose`] picks the stream and an index (the step, the epoch, the image) picks the
//! place in it. So no generator has a state to save: a resumed run draws what an uninterrupted one
//! would have drawn, an image of a grid does not depend on the others, and every backend sees the
//! same numbers.

use burn::tensor::{Device, Tensor, TensorData};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

/// What a random number is for. Each purpose has a stream of its own, so that drawing more of one
/// never shifts another. The values are part of the checkpoint format: they stay as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Purpose {
    /// The initial weights; one index, 0.
    Weights = 0,
    /// The order of the training examples; the index is the epoch.
    Shuffle = 1,
    /// Timesteps and noise of a training batch; the index is the micro-batch.
    Training = 2,
    /// Which labels of a training batch are dropped; the index is the micro-batch.
    LabelDropout = 3,
    /// Timesteps and noise of the held-out loss; the index is the example.
    HeldOut = 4,
    /// Starting noise and step noise of a sample; the index is the image.
    Sampling = 5,
    /// The forward process as `trainer noise` shows it; the index is the picture.
    Forward = 6,
    /// The seed of the device's own generator, which only dropout uses; the index is the
    /// micro-batch.
    Dropout = 7,
    /// What offset noise adds to the noise of a training batch; the index is the micro-batch.
    OffsetNoise = 8,
    /// The directions along which sets of images are compared; one index, 0.
    Directions = 9,
    /// Which images of a training batch are mirrored; the index is the micro-batch.
    Flip = 10,
    /// What scoring draws by chance: subsets, timesteps and noise, an index each.
    Scores = 11,
    /// The points of a cloud that is made up; one index, 0.
    Cloud = 12,
    /// Which images of a split are scored against where not all are; the index is the split.
    Reference = 13,
    /// What a training batch's examples are changed by; the index is the micro-batch.
    Augmentation = 14,
    /// Which part of a recording is scored; the index is the recording.
    Windows = 15,
    /// The orders in which the cells of a row are found whose likelihood is bounded; the index is the row.
    Orders = 16,
}

/// The random streams of one seed.
///
/// ```
/// use training::{Purpose, Streams, streams};
///
/// // What is drawn depends on the seed, the purpose and the index, and on nothing that was drawn before.
/// let draw = |index| streams::timesteps(3, 1000, &mut Streams::new(7).at(Purpose::Training, index));
/// assert_eq!(draw(5), draw(5));
/// assert_ne!(draw(5), draw(6));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Streams {
    seed: u64,
}

/// Words of ChaCha output that one index may use: 2³⁶, so that 2³² indices fit in a stream.
const WORDS_PER_INDEX_LOG2: u32 = 36;

impl Streams {
    /// The streams of `seed`.
    pub fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// The generator for `purpose` at `index`, always the same one.
    pub fn at(&self, purpose: Purpose, index: u64) -> ChaCha8Rng {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream(purpose as u64);
        rng.set_word_pos(u128::from(index) << WORDS_PER_INDEX_LOG2);
        rng
    }
}

/// Standard normal noise of the given shape, drawn from `rng` in row-major order.
pub fn noise<const D: usize>(
    shape: [usize; D],
    rng: &mut ChaCha8Rng,
    device: &Device,
) -> Tensor<D> {
    let values: Vec<f32> = rng
        .sample_iter(StandardNormal)
        .take(shape.iter().product())
        .collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// `count` timesteps drawn uniformly from `0..num_train_timesteps`.
pub fn timesteps(count: usize, num_train_timesteps: usize, rng: &mut ChaCha8Rng) -> Vec<usize> {
    (0..count)
        .map(|_| rng.random_range(0..num_train_timesteps))
        .collect()
}

/// `count` timesteps, each uniform on `0..num_train_timesteps`, and one in each of `count` equal parts of them (Kingma
/// et al. 2021, "Variational diffusion models", appendix I.1): a mean over them varies less.
pub fn stratified_timesteps(
    count: usize,
    num_train_timesteps: usize,
    rng: &mut ChaCha8Rng,
) -> Vec<usize> {
    let offset: f64 = rng.random();
    (0..count)
        .map(|index| {
            let share = (offset + index as f64 / count as f64).fract();
            ((share * num_train_timesteps as f64) as usize).min(num_train_timesteps - 1)
        })
        .collect()
}

/// Noise of which each image has its own stream: `[B, C, H, W]`.
pub fn per_image_noise(shape: [usize; 3], rngs: &mut [ChaCha8Rng], device: &Device) -> Tensor<4> {
    let [channels, height, width] = shape;
    let image_len = channels * height * width;
    let mut values: Vec<f32> = Vec::with_capacity(rngs.len() * image_len);
    for rng in rngs.iter_mut() {
        let drawn = (0..image_len).map(|_| rng.sample::<f32, _>(StandardNormal));
        values.extend(drawn);
    }
    let data = TensorData::new(values, [rngs.len(), channels, height, width]);
    Tensor::from_data(data, device)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first_words(purpose: Purpose, index: u64) -> Vec<u64> {
        let rng = Streams::new(1).at(purpose, index);
        rng.random_iter().take(4).collect()
    }

    #[test]
    fn a_place_in_a_stream_always_gives_the_same_numbers() {
        assert_eq!(
            first_words(Purpose::Training, 7),
            first_words(Purpose::Training, 7)
        );
    }

    #[test]
    fn purposes_indices_and_seeds_give_different_numbers() {
        let reference = first_words(Purpose::Training, 7);
        assert_ne!(reference, first_words(Purpose::Sampling, 7));
        assert_ne!(reference, first_words(Purpose::Training, 8));
        let other_seed = Streams::new(2).at(Purpose::Training, 7);
        assert_ne!(
            reference,
            other_seed.random_iter().take(4).collect::<Vec<u64>>()
        );
    }

    /// One in each part of the chain, and all of them as often.
    #[test]
    fn stratified_timesteps_are_uniform_and_far_apart() {
        let mut seen = [0_usize; 10];
        for index in 0..2000 {
            let mut rng = Streams::new(3).at(Purpose::Training, index);
            let mut drawn = stratified_timesteps(4, 10, &mut rng);
            drawn.iter().for_each(|&t| seen[t] += 1);
            drawn.sort_unstable();
            // Steps of 2.5, rounded.
            let steps = drawn.windows(2).map(|pair| pair[1] - pair[0]);
            assert!(
                steps.into_iter().all(|step| step == 2 || step == 3),
                "{drawn:?}"
            );
        }
        assert!(
            seen.iter().all(|&times| times.abs_diff(800) < 110),
            "{seen:?}"
        );
    }

    #[test]
    fn the_largest_index_still_has_a_place() {
        let last = u64::from(u32::MAX);
        assert_ne!(
            first_words(Purpose::Training, last),
            first_words(Purpose::Training, last - 1)
        );
    }
}
