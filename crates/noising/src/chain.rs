//! The chain at work on tensors: one step, many steps at once, the whole trajectory, a step back.
//!
//! q(x_t | x_{t−1}) = N(√α_t x_{t−1}, β_t I) and q(x_t | x_0) = N(√ᾱ_t x_0, (1 − ᾱ_t) I) (Ho et al.
//! 2020, equations 2 and 4). The noise is always handed in, drawn from N(0, I) by the caller: this
//! crate has no random numbers.

use burn::tensor::Tensor;

use crate::parameterization::{combine, per_example};
use crate::{Marginal, NoiseSchedule, PredictionType};

/// The forward Markov chain of one noise schedule.
///
/// x is a tensor of any rank D and any shape, dimension 0 being the batch; noise has the shape of x.
/// `timesteps` has one t for each example, or a single one for all of them.
///
/// # Panics
///
/// Methods panic if a timestep is not below T, if there are several timesteps but not one for each
/// example, or if shapes differ.
#[derive(Debug, Clone, PartialEq)]
pub struct Chain {
    schedule: NoiseSchedule,
}

impl Chain {
    /// The chain of `schedule`.
    pub fn new(schedule: NoiseSchedule) -> Self {
        Self { schedule }
    }

    /// The noise schedule.
    pub fn schedule(&self) -> &NoiseSchedule {
        &self.schedule
    }

    /// T, the number of steps.
    pub fn num_train_timesteps(&self) -> usize {
        self.schedule.num_train_timesteps()
    }

    /// One Markov step: x_t = √α_t x_{t−1} + √β_t ε. At t = 0, `x_prev` is x_0.
    pub fn q_step<const D: usize>(
        &self,
        x_prev: Tensor<D>,
        noise: Tensor<D>,
        timesteps: &[usize],
    ) -> Tensor<D> {
        let signal = self.at(timesteps, |t| self.schedule.alphas()[t].sqrt());
        let sigma = self.at(timesteps, |t| self.schedule.betas()[t].sqrt());
        combine(x_prev, &signal, noise, &sigma)
    }

    /// Steps 0 to t at once: x_t = √ᾱ_t x_0 + √(1 − ᾱ_t) ε.
    pub fn q_sample<const D: usize>(
        &self,
        x_0: Tensor<D>,
        noise: Tensor<D>,
        timesteps: &[usize],
    ) -> Tensor<D> {
        self.marginal(timesteps).x_t(x_0, noise)
    }

    /// Mean and variance of q(x_{t−1} | x_t, x_0). The mean has the shape of x_t; the variance, the
    /// same for every element of an example, has the shape [number of timesteps, 1, …, 1], which
    /// broadcasts to it.
    pub fn q_posterior_mean_variance<const D: usize>(
        &self,
        x_0: Tensor<D>,
        x_t: Tensor<D>,
        timesteps: &[usize],
    ) -> (Tensor<D>, Tensor<D>) {
        let x_0_coefficient = self.at(timesteps, |t| self.schedule.posterior_mean_coef1(t));
        let x_t_coefficient = self.at(timesteps, |t| self.schedule.posterior_mean_coef2(t));
        let variance = self.at(timesteps, |t| self.schedule.posterior_variance(t));
        let variance = per_example(&variance, &x_t);
        let mean = combine(x_0, &x_0_coefficient, x_t, &x_t_coefficient);
        (mean, variance)
    }

    /// The walk from x_0 to pure noise, step by step: yields (t, x_t) for t = 0 … T − 1, where x_t is
    /// the state after step t. `noise` is asked for the ε of each step as it is taken.
    pub fn trajectory<const D: usize>(
        &self,
        x_0: Tensor<D>,
        mut noise: impl FnMut(usize) -> Tensor<D>,
    ) -> impl Iterator<Item = (usize, Tensor<D>)> {
        (0..self.num_train_timesteps()).scan(x_0, move |x, t| {
            *x = self.q_step(x.clone(), noise(t), &[t]);
            Some((t, x.clone()))
        })
    }

    /// What a network of this prediction type should say for x_t = `q_sample(x_0, noise, timesteps)`.
    pub fn target<const D: usize>(
        &self,
        prediction_type: PredictionType,
        x_0: Tensor<D>,
        noise: Tensor<D>,
        timesteps: &[usize],
    ) -> Tensor<D> {
        self.marginal(timesteps).target(prediction_type, x_0, noise)
    }

    /// q(x_t | x_0) at these timesteps, for the conversions among ε, x_0, v and the score.
    pub fn marginal(&self, timesteps: &[usize]) -> Marginal {
        Marginal::per_example(self.at(timesteps, |t| self.schedule.alphas_cumprod()[t]))
    }

    /// A coefficient looked up for each timestep.
    fn at(&self, timesteps: &[usize], coefficient: impl Fn(usize) -> f64) -> Vec<f64> {
        let num_train_timesteps = self.num_train_timesteps();
        let look_up = |&t: &usize| {
            assert!(
                t < num_train_timesteps,
                "timestep {t} is not on the chain, whose last is {}",
                num_train_timesteps - 1
            );
            coefficient(t)
        };
        timesteps.iter().map(look_up).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use burn::tensor::{DType, Device, TensorData};
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use rand_distr::{Distribution, StandardNormal};

    use super::*;
    use crate::BetaSchedule;

    fn tensor<const D: usize>(values: Vec<f64>, shape: [usize; D]) -> Tensor<D> {
        let data = TensorData::new(values, shape);
        Tensor::from_data(data, (&Device::flex(), DType::F64))
    }

    fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
        tensor.try_into_vec_as::<f64>().unwrap()
    }

    fn normal<const D: usize>(rng: &mut ChaCha8Rng, shape: [usize; D]) -> Tensor<D> {
        let count = shape.iter().product();
        tensor(StandardNormal.sample_iter(rng).take(count).collect(), shape)
    }

    fn ddpm_chain() -> Chain {
        Chain::new(NoiseSchedule::new(&BetaSchedule::default(), 1000).unwrap())
    }

    /// Samples of the statistical test. The mean of a standardised sample then strays by
    /// 1/√N = 0.0032 and its variance by √(2/N) = 0.0045, one standard error each.
    const SAMPLES: usize = 100_000;
    /// The bound in standard errors: right code oversteps it twice in 10⁹ tests.
    const BOUND: f64 = 6.0;

    /// Walks all steps of `chain` from x_0 = 1.5 with `step` and compares the sample with the distribution
    /// that `q_sample` draws from: how far mean and variance are off, in standard errors.
    fn deviation(
        chain: &Chain,
        step: impl Fn(Tensor<1>, Tensor<1>, usize) -> Tensor<1>,
        seed: u64,
    ) -> [f64; 2] {
        let x_0 = 1.5;
        let last = chain.num_train_timesteps() - 1;
        let rng = &mut ChaCha8Rng::seed_from_u64(seed);
        let mut x = tensor(vec![x_0; SAMPLES], [SAMPLES]);
        for t in 0..=last {
            x = step(x, normal(rng, [SAMPLES]), t);
        }

        let q_sample = |x_0: f64, noise: f64| {
            values(chain.q_sample(tensor(vec![x_0], [1]), tensor(vec![noise], [1]), &[last]))[0]
        };
        let (mean, sigma) = (q_sample(x_0, 0.0), q_sample(0.0, 1.0));
        let n = SAMPLES as f64;
        let standardised: Vec<f64> = values(x).iter().map(|x| (x - mean) / sigma).collect();
        let sample_mean = standardised.iter().sum::<f64>() / n;
        let sample_variance = standardised.iter().map(|z| z * z).sum::<f64>() / n;
        [
            sample_mean.abs() * n.sqrt(),
            (sample_variance - 1.0).abs() * (n / 2.0).sqrt(),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]

        #[test]
        fn steps_have_the_mean_and_variance_of_q_sample(
            betas in prop::collection::vec(0.01..0.4, 1..8),
            seed in any::<u64>(),
        ) {
            let chain = Chain::new(NoiseSchedule::from_betas(betas).unwrap());
            let step = |x, noise, t| chain.q_step(x, noise, &[t]);
            let [mean, variance] = deviation(&chain, step, seed);
            prop_assert!(mean < BOUND, "mean off by {mean} standard errors");
            prop_assert!(variance < BOUND, "variance off by {variance} standard errors");
        }
    }

    /// The statistical test is sharp: it sees √α off by 0.5 % and √β off by 3 %.
    #[test]
    fn a_wrong_coefficient_oversteps_the_bound() {
        let betas = vec![0.05, 0.07, 0.09, 0.1, 0.12, 0.15];
        let chain = Chain::new(NoiseSchedule::from_betas(betas).unwrap());
        let worst = |signal_error: f64, noise_error: f64| {
            let step = |x: Tensor<1>, noise: Tensor<1>, t| {
                chain.q_step(
                    x.mul_scalar(1.0 + signal_error),
                    noise.mul_scalar(1.0 + noise_error),
                    &[t],
                )
            };
            let [mean, variance] = deviation(&chain, step, 7);
            mean.max(variance)
        };
        assert!(worst(0.0, 0.0) < BOUND);
        for (signal_error, noise_error) in [(0.005, 0.0), (-0.005, 0.0), (0.0, 0.03), (0.0, -0.03)]
        {
            let worst = worst(signal_error, noise_error);
            assert!(worst > BOUND, "{signal_error} {noise_error}: only {worst}");
        }
    }

    #[test]
    fn the_trajectory_of_the_whole_chain_is_its_steps() {
        let chain = ddpm_chain();
        let x_0 = tensor(vec![0.5, -1.0, 1.0, 0.0], [2, 2]);
        let mut asked = Vec::new();
        let noise = |t: usize| tensor((0..4).map(|i| ((t * 4 + i) as f64).sin()).collect(), [2, 2]);
        let states: Vec<_> = chain
            .trajectory(x_0.clone(), |t| {
                asked.push(t);
                noise(t)
            })
            .collect();
        assert_eq!(asked, (0..1000).collect::<Vec<_>>());
        let mut x = x_0;
        for (t, (state_t, state)) in states.into_iter().enumerate() {
            // Two timesteps, one for each example, must do what a single one does.
            x = chain.q_step(x, noise(t), &[t, t]);
            assert_eq!(state_t, t);
            assert_eq!(values(state), values(x.clone()));
        }
    }

    #[test]
    fn any_rank_and_a_timestep_for_each_example() {
        let chain = ddpm_chain();
        let timesteps = [0, 400, 999];
        let rng = &mut ChaCha8Rng::seed_from_u64(1);
        let (x_0, noise) = (normal(rng, [3, 8]), normal(rng, [3, 8]));
        let expected = values(chain.q_sample(x_0.clone(), noise.clone(), &timesteps));
        for (row, t) in timesteps.into_iter().enumerate() {
            let alpha_cumprod = chain.schedule().alphas_cumprod()[t];
            let (x_0, noise) = (values(x_0.clone()), values(noise.clone()));
            for i in row * 8..(row + 1) * 8 {
                let by_hand =
                    alpha_cumprod.sqrt() * x_0[i] + (1.0 - alpha_cumprod).sqrt() * noise[i];
                assert!((expected[i] - by_hand).abs() < 1e-12);
            }
        }

        fn check<const D: usize>(
            chain: &Chain,
            x: [Tensor<2>; 2],
            timesteps: &[usize],
            shape: [usize; D],
        ) -> Vec<f64> {
            let [x_0, noise] = x.map(|x| x.reshape(shape));
            let x_t = chain.q_sample(x_0.clone(), noise, timesteps);
            let (mean, variance) = chain.q_posterior_mean_variance(x_0, x_t.clone(), timesteps);
            let mut broadcastable = [1; D];
            broadcastable[0] = timesteps.len();
            assert_eq!(variance.dims(), broadcastable);
            assert_eq!(mean.dims(), shape);
            values(x_t)
        }
        let x = || [x_0.clone(), noise.clone()];
        assert_eq!(check(&chain, x(), &timesteps, [3, 2, 4]), expected);
        assert_eq!(check(&chain, x(), &timesteps, [3, 1, 4, 2]), expected);
        assert_eq!(check(&chain, x(), &timesteps, [3, 2, 1, 2, 2]), expected);
        // One value each: 24 examples of rank 1.
        let repeated: Vec<usize> = timesteps.iter().flat_map(|&t| [t; 8]).collect();
        assert_eq!(check(&chain, x(), &repeated, [24]), expected);
    }

    #[test]
    fn the_posterior_on_tensors_is_that_of_the_tables() {
        let chain = ddpm_chain();
        let timesteps = [0, 1, 999];
        let (x_0, x_t) = (vec![0.5, -0.7, 0.2], vec![0.1, 1.0, -2.0]);
        let (mean, variance) = chain.q_posterior_mean_variance(
            tensor(x_0.clone(), [3]),
            tensor(x_t.clone(), [3]),
            &timesteps,
        );
        let (mean, variance) = (values(mean), values(variance));
        for (i, t) in timesteps.into_iter().enumerate() {
            let posterior = chain.schedule().posterior(t);
            let expected = posterior.x_0_coefficient * x_0[i] + posterior.x_t_coefficient * x_t[i];
            assert!((mean[i] - expected).abs() < 1e-12);
            assert!((variance[i] - posterior.variance).abs() < 1e-12);
        }
    }

    #[test]
    fn the_type_of_the_tensor_is_kept_and_x_0_comes_back_in_f32() {
        let chain = ddpm_chain();
        let device = Device::flex();
        let x_0 = Tensor::<2>::from_floats([[0.5, -0.5], [1.0, -1.0]], &device);
        let noise = Tensor::<2>::from_floats([[0.1, 0.9], [-1.2, 0.3]], &device);
        let timesteps = [3, 600];
        let x_t = chain.q_sample(x_0.clone(), noise.clone(), &timesteps);
        assert_eq!(x_t.dtype(), DType::F32);
        let back = chain
            .marginal(&timesteps)
            .x_0_from_epsilon(x_t, noise.clone());
        assert!(back.all_close(x_0.clone(), None, Some(1e-5)));
        let target = chain.target(PredictionType::Epsilon, x_0, noise.clone(), &timesteps);
        assert!(target.all_close(noise, Some(0.0), Some(0.0)));
    }

    #[test]
    #[should_panic(expected = "timestep 1000 is not on the chain, whose last is 999")]
    fn a_timestep_past_the_end() {
        let x = tensor(vec![0.0], [1]);
        ddpm_chain().q_sample(x.clone(), x, &[1000]);
    }
}
