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

use crate::ScoreError;

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
        let schedule = self.chain.schedule();
        let last = schedule.num_train_timesteps() - 1;
        let bits = |mean_square| bits(schedule.kl_to_pure_noise(last, mean_square));
        Ok(mean_squares(x_0)?.into_iter().map(bits).collect())
    }

    /// The term of timestep `t` for each example, in bits a dimension: L_0 at t = 0, else that of the
    /// transition from x_t.
    ///
    /// - `x_0`: `[B, …]`, at the levels b / 127.5 − 1 of bytes b
    /// - `noise`: of the same shape, from N(0, I)
    /// - `predict`: the network at x_t
    ///
    /// # Errors
    ///
    /// [`ScoreError::Device`] if a value cannot be read back.
    ///
    /// # Panics
    ///
    /// If `t` is not on the chain, or shapes differ.
    pub fn term<const D: usize>(
        &self,
        x_0: Tensor<D>,
        noise: Tensor<D>,
        t: usize,
        predict: impl FnOnce(Tensor<D>) -> Tensor<D>,
    ) -> Result<Vec<f64>, ScoreError> {
        let x_t = self.chain.q_sample(x_0.clone(), noise, &[t]);
        let prediction = predict(x_t.clone());
        let marginal = self.chain.marginal(&[t]);
        let mut predicted_x_0 = marginal.predicted_x_0(self.prediction_type, x_t, prediction);
        if self.clamp_x_0 {
            predicted_x_0 = predicted_x_0.clamp(-1.0, 1.0);
        }

        let schedule = self.chain.schedule();
        if t == 0 {
            let sigma = (0.5 * schedule.posterior_log_variance_clipped(0)).exp();
            return decoder_bits(x_0, predicted_x_0, sigma);
        }
        let posterior = schedule.posterior(t);
        let variance = match self.variance {
            ReverseVariance::Small => posterior.variance,
            ReverseVariance::Large => posterior.beta,
        };
        let ratio = posterior.variance / variance;
        let weight = posterior.x_0_coefficient.powi(2) / variance;
        let divergence = |error| bits(0.5 * (ratio - 1.0 - ratio.ln() + weight * error));
        let errors = mean_squares(x_0 - predicted_x_0)?;
        Ok(errors.into_iter().map(divergence).collect())
    }

    /// The bound of each example of x_0, from `timesteps` (at least two) of the chain's terms: L_0, which
    /// alone is a good part of it, and one at random of each of as many stretches of the others, for all of
    /// it. So its expectation is the bound itself; with all of the chain's timesteps it is exact but for
    /// the noise. Stretches grow with t, as terms become smaller.
    ///
    /// `noise` gives ε for a timestep, `predict` calls the network at (x_t, t).
    ///
    /// # Errors
    ///
    /// [`ScoreError::Zero`] without a timestep, [`ScoreError::Device`].
    pub fn bits_per_dimension<const D: usize>(
        &self,
        x_0: Tensor<D>,
        timesteps: usize,
        rng: &mut impl Rng,
        mut noise: impl FnMut(usize) -> Tensor<D>,
        mut predict: impl FnMut(Tensor<D>, usize) -> Tensor<D>,
    ) -> Result<Vec<BitsPerDimension>, ScoreError> {
        if timesteps == 0 {
            return Err(ScoreError::Zero {
                name: "the number of timesteps",
            });
        }
        let prior = self.prior(x_0.clone())?;
        let mut term = |t: usize| self.term(x_0.clone(), noise(t), t, |x_t| predict(x_t, t));
        let decoder = term(0)?;
        let mut transitions = vec![0.0; prior.len()];
        let others = self.chain.num_train_timesteps() - 1;
        for stretch in stretches(others, timesteps - 1) {
            let length = stretch.len() as f64;
            let terms = term(rng.random_range(stretch))?;
            for (sum, term) in transitions.iter_mut().zip(terms) {
                *sum += length * term;
            }
        }
        let parts = prior.into_iter().zip(transitions).zip(decoder);
        Ok(parts
            .map(|((prior, transitions), decoder)| BitsPerDimension {
                prior,
                transitions,
                decoder,
            })
            .collect())
    }
}

/// The timesteps from 1 to `last`, divided into `count` stretches, at least one and no more than there are
/// timesteps. Terms fall about as 1/t: where there is room, each stretch is longer than the one before by the
/// same factor; the first ones are single timesteps.
fn stretches(last: usize, count: usize) -> impl Iterator<Item = Range<usize>> {
    let count = count.max(1).min(last);
    let edge = move |stretch: usize| {
        let share = stretch as f64 / count as f64;
        let geometric = ((last + 1) as f64).powf(share).round() as usize;
        geometric.max(stretch + 1)
    };
    (0..count).map(move |stretch| edge(stretch)..edge(stretch + 1))
}

fn bits(nats: f64) -> f64 {
    nats / std::f64::consts::LN_2
}

/// The mean of the squared elements of each example.
fn mean_squares<const D: usize>(x: Tensor<D>) -> Result<Vec<f64>, ScoreError> {
    let batch = x.dims()[0];
    let squares = x.square().reshape([batch as i64, -1]);
    read(squares.mean_dim(1))
}

fn read<const D: usize>(x: Tensor<D>) -> Result<Vec<f64>, ScoreError> {
    x.try_into_vec_as::<f64>()
        .map_err(|error| ScoreError::Device(error.to_string()))
}

/// L_0 of each example, in bits a dimension: the Gaussian N(mean, σ²) integrated over the level of each
/// element of x_0.
fn decoder_bits<const D: usize>(
    x_0: Tensor<D>,
    mean: Tensor<D>,
    sigma: f64,
) -> Result<Vec<f64>, ScoreError> {
    let batch = x_0.dims()[0];
    let (x_0, mean) = (read(x_0)?, read(mean)?);
    let dimensions = x_0.len() / batch;
    let examples = x_0.chunks(dimensions).zip(mean.chunks(dimensions));
    Ok(examples
        .map(|(x_0, mean)| {
            let logarithms = x_0
                .iter()
                .zip(mean)
                .map(|(&x, &mean)| log_probability_of_level(x, mean, sigma));
            bits(-logarithms.sum::<f64>() / dimensions as f64)
        })
        .collect())
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
                    .term(column(vec![x_0]), column(vec![noise]), t, |_| {
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
                let terms = bound.term(
                    column(data.levels.clone()),
                    column(vec![sign; 256]),
                    t,
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
            let predict = |x_t: Tensor<2>, t: usize| {
                let x_0 = x_t
                    .clone()
                    .mul_scalar(GaussianData::gain(alphas_cumprod[t]));
                let marginal = chain.marginal(&[t]);
                match prediction_type {
                    PredictionType::Sample => x_0,
                    PredictionType::Epsilon => marginal.epsilon_from_x_0(x_t, x_0),
                    PredictionType::VPrediction => marginal.v_from_x_0(x_t, x_0),
                }
            };
            let count = DRAWS * data.levels.len();
            let noise_rng = &mut ChaCha8Rng::seed_from_u64(4);
            let noise = |_| {
                let normal = StandardNormal.sample_iter(&mut *noise_rng);
                column(normal.take(count).collect())
            };
            let rng = &mut ChaCha8Rng::seed_from_u64(3);
            let x_0 = column(data.levels.repeat(DRAWS));
            let parts = bound
                .bits_per_dimension(x_0, 1000, rng, noise, predict)
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
        fn stretches_hold_every_timestep_once(last in 0_usize..5000, count in 0_usize..6000) {
            let stretches: Vec<Range<usize>> = stretches(last, count).collect();
            prop_assert_eq!(stretches.len(), count.max(1).min(last));
            prop_assert!(stretches.iter().all(|stretch| !stretch.is_empty()));
            let all: Vec<usize> = stretches.into_iter().flatten().collect();
            prop_assert_eq!(all, Vec::from_iter(1..=last));
        }
    }

    /// Few timesteps estimate what all of them give: over many draws the mean is the same.
    #[test]
    fn a_part_of_the_timesteps_estimates_the_whole() {
        let chain = chain(40);
        let bound = bound(&chain, ReverseVariance::Large);
        let estimate = |timesteps: usize, seed: u64| {
            let rng = &mut ChaCha8Rng::seed_from_u64(seed);
            bound
                .bits_per_dimension(
                    column(vec![0.2]),
                    timesteps,
                    rng,
                    |_| column(vec![0.5]),
                    |x_t, t| x_t.mul_scalar(0.5 + t as f64 / 80.0),
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
                .term(column(vec![1.0]), noise, 5, |_| column(vec![predicted]))
                .unwrap()[0]
        };
        assert_eq!(term(&clamped, 3.0), term(&clamped, 1.0));
        assert!(term(&bound(&chain, ReverseVariance::Small), 3.0) > term(&clamped, 3.0));
        let none = clamped.bits_per_dimension(
            column(vec![1.0]),
            0,
            &mut ChaCha8Rng::seed_from_u64(0),
            |_| column(vec![0.0]),
            |x, _| x,
        );
        assert!(matches!(none, Err(ScoreError::Zero { .. })));
    }
}
