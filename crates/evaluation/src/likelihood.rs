//! Bits per dimension: how long the code of an image is under the model, by the variational bound (Ho et
//! al. 2020, equation 5; Sohl-Dickstein et al. 2015).
//!
//! ```text
//! −ln p(x_0) ≤ L_T + Σ_{t>1} L_{t−1} + L_0
//! L_T     = KL(q(x_T | x_0) ‖ N(0, I))                    the prior: the same for any network
//! L_{t−1} = KL(q(x_{t−1} | x_t, x_0) ‖ p(x_{t−1} | x_t))  the transitions
//! L_0     = −ln p(x_0 | x_1)                              the decoder
//! ```
//!
//! with p(x_{t−1} | x_t) = N(μ̃_t(x_t, x̂_0), σ_t² I), where x̂_0 is what the network makes of x_t and σ_t²
//! is fixed. Both means of a transition have the same part of x_t, so that
//!
//! ```text
//! L_{t−1} = ½ (ln(σ_t²/β̃_t) + β̃_t/σ_t² − 1 + c² |x_0 − x̂_0|²/σ_t²)    a dimension
//! ```
//!
//! where c is the coefficient of x_0 in μ̃_t. The decoder is the Gaussian integrated over the width of a
//! level of the 256 that bytes have, the outermost levels reaching to infinity (Ho et al., equation 13).
//! Everything is divided by ln 2 and the number of dimensions, as in Nichol and Dhariwal 2021.
//!
//! Timesteps count from 0 here: t = 0 is the paper's 1, whose term is L_0.

use std::ops::Range;

use burn::tensor::Tensor;
use noising::{Chain, PredictionType};
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use crate::error::ScoreError;

/// The fixed variance σ_t² of the reverse process (Ho et al. 2020, section 3.2). At t = 0 both are β̃_1,
/// as in their code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReverseVariance {
    /// β̃_t, that of the posterior.
    Small,
    /// β_t, that of the forward step.
    Large,
}

/// The bound of a network of any prediction type over a chain.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use evaluation::{ReverseVariance, VariationalBound};
/// use noising::{BetaSchedule, Chain, NoiseSchedule, PredictionType};
/// use rand::SeedableRng;
/// use rand_chacha::ChaCha8Rng;
///
/// let chain = Chain::new(NoiseSchedule::new(&BetaSchedule::default(), 100)?);
/// let bound = VariationalBound {
///     chain: &chain,
///     prediction_type: PredictionType::Epsilon,
///     variance: ReverseVariance::Small,
///     clamp_x_0: true,
/// };
/// let device = Device::flex();
/// let x_0 = Tensor::<2>::zeros([2, 8], &device);
/// // A generator an example, and a network that always predicts that there is no noise.
/// let mut rngs = [1, 2].map(ChaCha8Rng::seed_from_u64);
/// let noise = || Tensor::ones([2, 8], &device);
/// let bits = bound.bits_per_dimension(x_0, 10, &mut rngs, noise, |x_t, _| x_t.zeros_like())?;
/// assert_eq!(bits.len(), 2);
/// assert!(bits[0].total() > bits[0].decoder);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct VariationalBound<'a> {
    /// The chain.
    pub chain: &'a Chain,
    /// What the network predicts.
    pub prediction_type: PredictionType,
    /// The variance of its steps.
    pub variance: ReverseVariance,
    /// Whether the predicted x_0 is clamped to [−1, 1], where images are.
    pub clamp_x_0: bool,
}

/// The bound of one image, in bits a dimension.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct BitsPerDimension {
    /// L_T.
    pub prior: f64,
    /// Σ L_{t−1}.
    pub transitions: f64,
    /// L_0.
    pub decoder: f64,
}

impl BitsPerDimension {
    /// The whole bound.
    pub fn total(&self) -> f64 {
        self.prior + self.transitions + self.decoder
    }
}

impl VariationalBound<'_> {
    /// L_T of each example of x_0, `[B, …]`, in bits a dimension.
    ///
    /// # Errors
    ///
    /// [`ScoreError::Device`] if a value cannot be read back.
    pub fn prior<const D: usize>(&self, x_0: Tensor<D>) -> Result<Vec<f64>, ScoreError> {
        let squares = read(mean_squares(x_0))?;
        Ok(squares.into_iter().map(|m| self.prior_bits(m)).collect())
    }

    /// L_{t−1} of each example at a timestep of its own, in bits a dimension.
    ///
    /// - `x_0`: `[B, …]`, at the levels b / 127.5 − 1 of bytes b
    /// - `noise`: of the same shape, from N(0, I)
    /// - `timesteps`: B of them, from 1 to T − 1
    /// - `predict`: the network at x_t
    ///
    /// # Errors
    ///
    /// [`ScoreError::Device`] if a value cannot be read back.
    ///
    /// # Panics
    ///
    /// If there are not B timesteps, one is 0 or not on the chain, or shapes differ.
    pub fn transitions<const D: usize>(
        &self,
        x_0: Tensor<D>,
        noise: Tensor<D>,
        timesteps: &[usize],
        predict: impl FnOnce(Tensor<D>) -> Tensor<D>,
    ) -> Result<Vec<f64>, ScoreError> {
        let predicted = self.predicted_x_0(x_0.clone(), noise, timesteps, predict);
        let errors = read(mean_squares(x_0 - predicted))?;
        let bits = timesteps.iter().zip(errors);
        Ok(bits
            .map(|(&t, error)| self.transition_bits(t, error))
            .collect())
    }

    /// L_0 of each example, in bits a dimension; arguments as those of [`transitions`](Self::transitions),
    /// at t = 0.
    ///
    /// # Errors
    ///
    /// [`ScoreError::Device`] if a value cannot be read back.
    pub fn decoder<const D: usize>(
        &self,
        x_0: Tensor<D>,
        noise: Tensor<D>,
        predict: impl FnOnce(Tensor<D>) -> Tensor<D>,
    ) -> Result<Vec<f64>, ScoreError> {
        let timesteps = vec![0; x_0.dims()[0]];
        let predicted = self.predicted_x_0(x_0.clone(), noise, &timesteps, predict);
        let examples = timesteps.len();
        let both = read(Tensor::cat(vec![flat(x_0), flat(predicted)], 0))?;
        let (x_0, predicted) = both.split_at(both.len() / 2);
        Ok(self.decoder_bits(x_0, predicted, examples))
    }

    /// The bound of each example of x_0, `[B, …]`, from `timesteps` (at least two) of the chain's terms:
    /// L_0, which alone is a good part of it, and of each of as many strata of the others one at random,
    /// for all of its stratum. So its expectation is the bound itself; with all of the chain's timesteps it
    /// is exact but for the noise. Strata grow with t, as terms become smaller.
    ///
    /// Each example has timesteps of its own, drawn from its own one of `rngs`: so its bound does not
    /// depend on the examples beside it, and the deviation between examples has that of the timesteps in it.
    ///
    /// `noise` gives ε of the shape of x_0, `predict` calls the network at x_t and a timestep an example.
    /// Values are read back from the device once, at the end.
    ///
    /// # Errors
    ///
    /// [`ScoreError::Zero`] without a timestep, [`ScoreError::Device`].
    ///
    /// # Panics
    ///
    /// If there are not B generators, or shapes differ.
    pub fn bits_per_dimension<const D: usize>(
        &self,
        x_0: Tensor<D>,
        timesteps: usize,
        rngs: &mut [impl Rng],
        mut noise: impl FnMut() -> Tensor<D>,
        mut predict: impl FnMut(Tensor<D>, &[usize]) -> Tensor<D>,
    ) -> Result<Vec<BitsPerDimension>, ScoreError> {
        if timesteps == 0 {
            return Err(ScoreError::Zero {
                name: "the number of timesteps",
            });
        }
        let examples = x_0.dims()[0];
        assert_eq!(rngs.len(), examples, "a generator an example");
        let mut at = |timesteps: &[usize]| {
            let predict = |x_t| predict(x_t, timesteps);
            self.predicted_x_0(x_0.clone(), noise(), timesteps, predict)
        };
        let decoded = at(&vec![0; examples]);
        let others = self.chain.num_train_timesteps() - 1;
        // For each stratum its length and the timestep of each example.
        let mut drawn: Vec<(usize, Vec<usize>)> = Vec::new();
        let mut parts = vec![mean_squares(x_0.clone())];
        for stratum in strata(others, timesteps - 1) {
            let of_each = rngs.iter_mut().map(|rng| rng.random_range(stratum.clone()));
            let of_each: Vec<usize> = of_each.collect();
            parts.push(mean_squares(x_0.clone() - at(&of_each)));
            drawn.push((stratum.len(), of_each));
        }
        parts.extend([flat(x_0.clone()), flat(decoded)]);
        let values = read(Tensor::cat(parts, 0))?;

        let (squares, values) = values.split_at(examples);
        let (errors, values) = values.split_at(examples * drawn.len());
        let (x_0, decoded) = values.split_at(values.len() / 2);
        let mut transitions = vec![0.0; examples];
        for ((length, timesteps), errors) in drawn.iter().zip(errors.chunks(examples)) {
            for ((sum, &t), &error) in transitions.iter_mut().zip(timesteps).zip(errors) {
                *sum += *length as f64 * self.transition_bits(t, error);
            }
        }
        let decoder = self.decoder_bits(x_0, decoded, examples);
        let terms = squares.iter().zip(transitions).zip(decoder);
        Ok(terms
            .map(|((&mean_square, transitions), decoder)| BitsPerDimension {
                prior: self.prior_bits(mean_square),
                transitions,
                decoder,
            })
            .collect())
    }

    /// x̂_0 of each example at its timestep.
    fn predicted_x_0<const D: usize>(
        &self,
        x_0: Tensor<D>,
        noise: Tensor<D>,
        timesteps: &[usize],
        predict: impl FnOnce(Tensor<D>) -> Tensor<D>,
    ) -> Tensor<D> {
        assert_eq!(timesteps.len(), x_0.dims()[0], "a timestep an example");
        let x_t = self.chain.q_sample(x_0, noise, timesteps);
        let prediction = predict(x_t.clone());
        let marginal = self.chain.marginal(timesteps);
        let predicted = marginal.predicted_x_0(self.prediction_type, x_t, prediction);
        if self.clamp_x_0 {
            predicted.clamp(-1.0, 1.0)
        } else {
            predicted
        }
    }

    /// L_T of an x_0 whose squares have this mean.
    fn prior_bits(&self, mean_square: f64) -> f64 {
        let schedule = self.chain.schedule();
        let last = schedule.num_train_timesteps() - 1;
        bits(schedule.kl_to_pure_noise(last, mean_square))
    }

    /// L_{t−1} where |x_0 − x̂_0|² is `error` a dimension.
    fn transition_bits(&self, t: usize, error: f64) -> f64 {
        assert!(t > 0, "the term of t = 0 is that of the decoder");
        let posterior = self.chain.schedule().posterior(t);
        let variance = match self.variance {
            ReverseVariance::Small => posterior.variance,
            ReverseVariance::Large => posterior.beta,
        };
        let ratio = posterior.variance / variance;
        let weight = posterior.x_0_coefficient.powi(2) / variance;
        bits(0.5 * (ratio - 1.0 - ratio.ln() + weight * error))
    }

    /// L_0 of each of so many examples: the Gaussian N(predicted, σ²) integrated over the level of each
    /// element of x_0.
    fn decoder_bits(&self, x_0: &[f64], predicted: &[f64], examples: usize) -> Vec<f64> {
        let schedule = self.chain.schedule();
        let sigma = (0.5 * schedule.posterior_log_variance_clipped(0)).exp();
        let dimensions = x_0.len() / examples;
        let examples = x_0.chunks(dimensions).zip(predicted.chunks(dimensions));
        let of_example = |(x_0, predicted): (&[f64], &[f64])| {
            let elements = x_0.iter().zip(predicted);
            let logarithms = elements.map(|(&x, &mean)| log_probability_of_level(x, mean, sigma));
            bits(-logarithms.sum::<f64>() / dimensions as f64)
        };
        examples.map(of_example).collect()
    }
}

/// The timesteps from 1 to `last`, divided into `count` strata, at least one and no more than there are
/// timesteps. Terms fall about as 1/t: where there is room, each stratum is longer than the one before by the
/// same factor; the first ones are single timesteps.
fn strata(last: usize, count: usize) -> impl Iterator<Item = Range<usize>> {
    let count = count.max(1).min(last);
    let edge = move |stratum: usize| {
        let share = stratum as f64 / count as f64;
        let geometric = ((last + 1) as f64).powf(share).round() as usize;
        geometric.max(stratum + 1)
    };
    (0..count).map(move |stratum| edge(stratum)..edge(stratum + 1))
}

fn bits(nats: f64) -> f64 {
    nats / std::f64::consts::LN_2
}

/// The mean of the squared elements of each example, `[B]`.
fn mean_squares<const D: usize>(x: Tensor<D>) -> Tensor<1> {
    let batch = x.dims()[0];
    let squares = x.square().reshape([batch as i64, -1]);
    squares.mean_dim(1).squeeze_dim(1)
}

fn flat<const D: usize>(x: Tensor<D>) -> Tensor<1> {
    x.flatten(0, D - 1)
}

fn read(x: Tensor<1>) -> Result<Vec<f64>, ScoreError> {
    x.try_into_vec_as::<f64>()
        .map_err(|error| ScoreError::Device(error.to_string()))
}

/// Half the distance between two of the 256 levels of [−1, 1].
const HALF_LEVEL: f64 = 1.0 / 255.0;

/// The logarithm of the probability that N(mean, σ²) gives to the level of which `x` is the middle.
fn log_probability_of_level(x: f64, mean: f64, sigma: f64) -> f64 {
    let edge = |offset: f64| (x - mean + offset) / sigma;
    let lower = if x < HALF_LEVEL - 1.0 {
        f64::NEG_INFINITY
    } else {
        edge(-HALF_LEVEL)
    };
    let upper = if x > 1.0 - HALF_LEVEL {
        f64::INFINITY
    } else {
        edge(HALF_LEVEL)
    };
    log_probability_between(lower, upper)
}

/// ln P(lower < Z < upper) of Z ~ N(0, 1).
fn log_probability_between(lower: f64, upper: f64) -> f64 {
    // Towards the right tail, where probabilities keep their precision as they grow small.
    let (lower, upper) = if lower + upper < 0.0 {
        (-upper, -lower)
    } else {
        (lower, upper)
    };
    let beyond = |z: f64| 0.5 * libm::erfc(z / std::f64::consts::SQRT_2);
    let probability = beyond(lower) - beyond(upper);
    if probability > 1e-290 {
        probability.ln()
    } else {
        // So far out, all of it lies at the near edge: P(Z > z) = e^(−z²/2) / (z √2π) (1 + O(z⁻²)).
        -0.5 * lower * lower - (lower * (2.0 * std::f64::consts::PI).sqrt()).ln()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use burn::tensor::{DType, Device, TensorData};
    use noising::{BetaSchedule, NoiseSchedule};
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use rand_distr::{Distribution, StandardNormal};

    use super::*;

    fn column(values: Vec<f64>) -> Tensor<2> {
        let data = TensorData::new(values.clone(), [values.len(), 1]);
        Tensor::from_data(data, (&Device::flex(), DType::F64))
    }

    fn bound(chain: &Chain, variance: ReverseVariance) -> VariationalBound<'_> {
        VariationalBound {
            chain,
            prediction_type: PredictionType::Sample,
            variance,
            clamp_x_0: false,
        }
    }

    fn chain(num_train_timesteps: usize) -> Chain {
        let schedule = BetaSchedule::default();
        Chain::new(NoiseSchedule::new(&schedule, num_train_timesteps).unwrap())
    }

    fn generators(seed: u64, examples: usize) -> Vec<ChaCha8Rng> {
        let generator = |stream| {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream(stream);
            rng
        };
        (0..examples as u64).map(generator).collect()
    }

    fn density(x: f64, mean: f64, variance: f64) -> f64 {
        let z = (x - mean).powi(2) / variance;
        (-0.5 * z).exp() / (2.0 * std::f64::consts::PI * variance).sqrt()
    }

    /// ∫ q ln(q / p), where q is q(x_{t−1} | x_t, x_0) ∝ q(x_{t−1} | x_0) q(x_t | x_{t−1}), put together
    /// here from the forward chain alone, and p is the same for x̂_0, whose variance is exchanged.
    fn divergence_by_integration(
        chain: &Chain,
        t: usize,
        [x_0, predicted, noise]: [f64; 3],
        variance: ReverseVariance,
    ) -> f64 {
        let schedule = chain.schedule();
        let (prev, alpha) = (schedule.alphas_cumprod()[t - 1], schedule.alphas()[t]);
        let now = schedule.alphas_cumprod()[t];
        let x_t = now.sqrt() * x_0 + (1.0 - now).sqrt() * noise;
        let step = 1e-3;
        let grid: Vec<f64> = (-8000..8000).map(|i| f64::from(i) * step).collect();
        let posterior = |x_0: f64| -> Vec<f64> {
            let joint = grid.iter().map(|&x| {
                density(x, prev.sqrt() * x_0, 1.0 - prev)
                    * density(x_t, alpha.sqrt() * x, 1.0 - alpha)
            });
            let joint: Vec<f64> = joint.collect();
            let total = joint.iter().sum::<f64>() * step;
            joint.into_iter().map(|q| q / total).collect()
        };
        let q = posterior(x_0);
        let p = match variance {
            ReverseVariance::Small => posterior(predicted),
            ReverseVariance::Large => {
                let mean = posterior(predicted)
                    .iter()
                    .zip(&grid)
                    .map(|(p, x)| p * x * step)
                    .sum();
                grid.iter()
                    .map(|&x| density(x, mean, 1.0 - alpha))
                    .collect()
            }
        };
        let terms = q.iter().zip(&p).filter(|(q, _)| **q > 1e-200);
        terms.map(|(q, p)| q * (q / p).ln() * step).sum()
    }

    #[test]
    fn a_transition_is_the_divergence_of_its_two_gaussians() {
        let chain = Chain::new(NoiseSchedule::from_betas(vec![0.1, 0.15, 0.2, 0.4]).unwrap());
        for variance in [ReverseVariance::Small, ReverseVariance::Large] {
            for t in 1..4 {
                let values @ [x_0, predicted, noise] = [0.4, -0.3, 0.7];
                let expected = bits(divergence_by_integration(&chain, t, values, variance));
                let found = bound(&chain, variance)
                    .transitions(column(vec![x_0]), column(vec![noise]), &[t], |_| {
                        column(vec![predicted])
                    })
                    .unwrap();
                assert!(
                    (found[0] - expected).abs() < 1e-6,
                    "{variance:?}, t = {t}: {found:?} and {expected}"
                );
            }
        }
    }

    #[test]
    fn the_prior_is_the_divergence_from_the_standard_normal() {
        let chain = Chain::new(NoiseSchedule::from_betas(vec![0.3, 0.4]).unwrap());
        let (x_0, alpha_cumprod) = (0.8, 0.7 * 0.6);
        let step = 1e-3;
        let expected: f64 = (-8000..8000)
            .map(|i| f64::from(i) * step)
            .map(|x| {
                let q = density(x, f64::sqrt(alpha_cumprod) * x_0, 1.0 - alpha_cumprod);
                q * (q / density(x, 0.0, 1.0)).ln() * step
            })
            .sum();
        let found = bound(&chain, ReverseVariance::Small).prior(column(vec![x_0]));
        assert!((found.unwrap()[0] - bits(expected)).abs() < 1e-9);
    }

    proptest! {
        #[test]
        fn the_levels_share_the_whole_probability(mean in -3.0..3.0, log_sigma in -7.0..1.0) {
            let sigma = f64::exp(log_sigma);
            let level = |byte: i32| f64::from(byte) / 127.5 - 1.0;
            let total: f64 = (0..256)
                .map(|byte| log_probability_of_level(level(byte), mean, sigma).exp())
                .sum();
            prop_assert!((total - 1.0).abs() < 1e-12, "{total}");
        }

        #[test]
        fn far_levels_have_small_but_finite_logarithms(
            byte in 0..256,
            mean in -1e3..1e3,
            log_sigma in -7.0..1.0,
        ) {
            let x = f64::from(byte) / 127.5 - 1.0;
            let log = log_probability_of_level(x, mean, f64::exp(log_sigma));
            prop_assert!(log.is_finite() && log <= 1e-12, "{log}");
        }
    }

    /// Where the asymptote takes over, both ways say the same.
    #[test]
    fn the_tail_has_no_seam() {
        let mut last = log_probability_between(30.0, 31.0);
        for i in 1..1200 {
            let lower = 30.0 + f64::from(i) * 0.01;
            let log = log_probability_between(lower, lower + 1.0);
            assert!(log < last && last - log < 0.5, "{lower}: {last}, {log}");
            last = log;
        }
        assert_eq!(
            log_probability_between(-40.5, -40.0),
            log_probability_between(40.0, 40.5)
        );
    }

    /// x_0 ~ N(0, s²) at the levels of bytes, and the best network for it, E(x_0 | x_t).
    struct GaussianData {
        levels: Vec<f64>,
        probabilities: Vec<f64>,
    }

    const S: f64 = 0.3;

    impl GaussianData {
        fn new() -> Self {
            let levels: Vec<f64> = (0..256).map(|b| f64::from(b) / 127.5 - 1.0).collect();
            let probability = |&x: &f64| log_probability_of_level(x, 0.0, S).exp();
            Self {
                probabilities: levels.iter().map(probability).collect(),
                levels,
            }
        }

        fn mean(&self, values: &[f64]) -> f64 {
            let terms = values.iter().zip(&self.probabilities);
            terms.map(|(value, p)| value * p).sum()
        }

        /// E(x_0 | x_t) = gain · x_t.
        fn gain(alpha_cumprod: f64) -> f64 {
            alpha_cumprod.sqrt() * S * S / (alpha_cumprod * S * S + 1.0 - alpha_cumprod)
        }
    }

    /// The error of the best network has the variance that x_0 has given x_t, and so L_{t−1} is
    /// ½ c² Var(x_0 | x_t) / β̃_t. Noise of ±1 has the mean square of N(0, 1), so two draws are exact.
    #[test]
    fn transitions_of_gaussian_data() {
        let (data, chain) = (GaussianData::new(), chain(100));
        let bound = bound(&chain, ReverseVariance::Small);
        for t in [1, 2, 20, 60, 99] {
            let alpha_cumprod = chain.schedule().alphas_cumprod()[t];
            let posterior = chain.schedule().posterior(t);
            let left =
                S * S * (1.0 - alpha_cumprod) / (alpha_cumprod * S * S + 1.0 - alpha_cumprod);
            let expected =
                bits(0.5 * posterior.x_0_coefficient.powi(2) * left / posterior.variance);
            let found = [1.0, -1.0].map(|sign| {
                let terms = bound.transitions(
                    column(data.levels.clone()),
                    column(vec![sign; 256]),
                    &[t; 256],
                    |x_t| x_t.mul_scalar(GaussianData::gain(alpha_cumprod)),
                );
                data.mean(&terms.unwrap())
            });
            let found = (found[0] + found[1]) / 2.0;
            // Levels lie a little wider than the Gaussian.
            assert!((found / expected - 1.0).abs() < 2e-3, "{found} {expected}");
        }
    }

    /// No code is shorter than the entropy. That of the best network is longer by what its fixed variance
    /// leaves out: 0.758 bits, from the closed form of the transitions and an integral of the decoder.
    /// And it is the same whatever the network predicts.
    #[test]
    fn the_bound_of_gaussian_data_lies_above_its_entropy() {
        /// Draws of the noise, for each level.
        const DRAWS: usize = 16;
        let (data, chain) = (GaussianData::new(), chain(1000));
        let alphas_cumprod = chain.schedule().alphas_cumprod();
        let logarithms: Vec<f64> = data.probabilities.iter().map(|p| -p.log2()).collect();
        let entropy = data.mean(&logarithms);
        let mut totals = Vec::new();
        for prediction_type in [
            PredictionType::Sample,
            PredictionType::Epsilon,
            PredictionType::VPrediction,
        ] {
            let bound = VariationalBound {
                prediction_type,
                ..bound(&chain, ReverseVariance::Small)
            };
            let predict = |x_t: Tensor<2>, timesteps: &[usize]| {
                let gains = timesteps
                    .iter()
                    .map(|&t| GaussianData::gain(alphas_cumprod[t]));
                let x_0 = x_t.clone() * column(gains.collect());
                let marginal = chain.marginal(timesteps);
                match prediction_type {
                    PredictionType::Sample => x_0,
                    PredictionType::Epsilon => marginal.epsilon_from_x_0(x_t, x_0),
                    PredictionType::VPrediction => marginal.v_from_x_0(x_t, x_0),
                }
            };
            let count = DRAWS * data.levels.len();
            let noise_rng = &mut ChaCha8Rng::seed_from_u64(4);
            let noise = || {
                let normal = StandardNormal.sample_iter(&mut *noise_rng);
                column(normal.take(count).collect())
            };
            let rngs = &mut generators(3, count);
            let x_0 = column(data.levels.repeat(DRAWS));
            let parts = bound
                .bits_per_dimension(x_0, 1000, rngs, noise, predict)
                .unwrap();
            let whole: Vec<f64> = parts.iter().map(BitsPerDimension::total).collect();
            let draws = whole.chunks(data.levels.len());
            totals.push(draws.map(|whole| data.mean(whole)).sum::<f64>() / DRAWS as f64);
        }
        let excess = totals[0] - entropy;
        assert!((excess - 0.758).abs() < 0.1, "{excess} above {entropy}");
        for total in &totals[1..] {
            assert!((total - totals[0]).abs() < 1e-6, "{totals:?}");
        }
    }

    proptest! {
        #[test]
        fn strata_hold_every_timestep_once(last in 0_usize..5000, count in 0_usize..6000) {
            let strata: Vec<Range<usize>> = strata(last, count).collect();
            prop_assert_eq!(strata.len(), count.max(1).min(last));
            prop_assert!(strata.iter().all(|stratum| !stratum.is_empty()));
            let all: Vec<usize> = strata.into_iter().flatten().collect();
            prop_assert_eq!(all, Vec::from_iter(1..=last));
        }
    }

    /// Few timesteps estimate what all of them give: over many draws the mean is the same.
    #[test]
    fn a_part_of_the_timesteps_estimates_the_whole() {
        let chain = chain(40);
        let bound = bound(&chain, ReverseVariance::Large);
        let estimate = |timesteps: usize, seed: u64| {
            bound
                .bits_per_dimension(
                    column(vec![0.2]),
                    timesteps,
                    &mut generators(seed, 1),
                    || column(vec![0.5]),
                    |x_t, t| x_t.mul_scalar(0.5 + t[0] as f64 / 80.0),
                )
                .unwrap()[0]
                .total()
        };
        let whole = estimate(40, 0);
        assert_eq!(whole, estimate(999, 1));
        let draws: Vec<f64> = (0..400).map(|seed| estimate(6, seed)).collect();
        let mean = draws.iter().sum::<f64>() / 400.0;
        let variance = draws.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / 400.0;
        let error = (variance / 400.0).sqrt();
        assert!(error > 0.0 && error < 0.1 * whole, "{error} of {whole}");
        assert!(
            (mean - whole).abs() < 4.0 * error,
            "{mean} {whole} ± {error}"
        );
    }

    #[test]
    fn clamping_brings_x_0_back_and_no_timestep_is_refused() {
        let chain = chain(10);
        let clamped = VariationalBound {
            clamp_x_0: true,
            ..bound(&chain, ReverseVariance::Small)
        };
        let term = |bound: &VariationalBound<'_>, predicted: f64| {
            let noise = column(vec![0.1]);
            bound
                .transitions(column(vec![1.0]), noise, &[5], |_| column(vec![predicted]))
                .unwrap()[0]
        };
        assert_eq!(term(&clamped, 3.0), term(&clamped, 1.0));
        assert!(term(&bound(&chain, ReverseVariance::Small), 3.0) > term(&clamped, 3.0));
        let none = clamped.bits_per_dimension(
            column(vec![1.0]),
            0,
            &mut generators(0, 1),
            || column(vec![0.0]),
            |x, _| x,
        );
        assert!(matches!(none, Err(ScoreError::Zero { .. })));
    }

    /// Six examples at once or one by one, some of them equal: the same bound for each, and equal examples
    /// differ by their timesteps.
    #[test]
    fn an_example_has_timesteps_of_its_own() {
        let chain = chain(40);
        let bound = bound(&chain, ReverseVariance::Small);
        let values = [0.2, 0.2, 0.2, -0.7, 0.2, 0.9];
        let of = |values: &[f64], rngs: &mut [ChaCha8Rng]| {
            let shift = |x_t: Tensor<2>, timesteps: &[usize]| {
                let gains = timesteps.iter().map(|&t| 0.5 + t as f64 / 80.0);
                x_t * column(gains.collect())
            };
            let noise = || column(vec![0.5; values.len()]);
            bound
                .bits_per_dimension(column(values.to_vec()), 5, rngs, noise, shift)
                .unwrap()
        };
        let together = of(&values, &mut generators(7, 6));
        let alone: Vec<BitsPerDimension> = generators(7, 6)
            .chunks_mut(1)
            .zip(values)
            .flat_map(|(rng, value)| of(&[value], rng))
            .collect();
        assert_eq!(together, alone);
        assert_eq!(together[0].decoder, together[1].decoder);
        assert_ne!(together[0].transitions, together[1].transitions);
        assert_ne!(together[1].transitions, together[2].transitions);
    }
}
