//! Data that is a mixture of two Gaussians has an exact network that is not linear, so that samplers with
//! noise are tested by what they draw: by moments, and by the two-sample test of Kolmogorov and Smirnov
//! against draws from the mixture itself.

use burn::tensor::{DType, Device, Tensor, TensorData};
use denoising::{
    Ddim, DdimOptions, Ddpm, DdpmVariance, Denoising, DpmSolver2MSde, Heun, HeunOptions, Sampler,
    TimestepSpacing, X0Clipping, euler_ancestral,
};
use noising::{Marginal, NoiseSchedule, PredictionType};

use crate::torch_normal::TorchNormal;
use crate::{linear, tensor, values};

/// Weight, mean and deviation of each part.
const PARTS: [[f64; 3]; 2] = [[0.3, -0.8, 0.15], [0.7, 0.5, 0.25]];

const DRAWS: usize = 8000;

/// Samples of one distribution are further apart than this, times √(2 / n), once in a thousand (Smirnov 1948).
const ONCE_IN_A_THOUSAND: f64 = 1.949;

/// E[x_0 | x_t]: of each part as for one Gaussian, weighted by how likely x_t is of that part.
fn expected_x_0(alpha_cumprod: f64, x_t: f64) -> f64 {
    let signal = alpha_cumprod.sqrt();
    let parts = PARTS.map(|[weight, mean, std]| {
        let variance = alpha_cumprod * std * std + 1.0 - alpha_cumprod;
        let deviation = x_t - signal * mean;
        let log_likelihood = weight.ln() - 0.5 * (variance.ln() + deviation.powi(2) / variance);
        let x_0 = mean + signal * std * std * deviation / variance;
        (log_likelihood, x_0)
    });
    let most = parts[0].0.max(parts[1].0);
    let weights = parts.map(|(log_likelihood, _)| (log_likelihood - most).exp());
    (weights[0] * parts[0].1 + weights[1] * parts[1].1) / (weights[0] + weights[1])
}

fn exact_model(schedule: &NoiseSchedule) -> impl Fn(Tensor<1>, f64) -> Tensor<1> {
    move |x_t, t| {
        let alpha_cumprod = schedule.alpha_cumprod_at(t);
        let x_0 = values(x_t.clone())
            .into_iter()
            .map(|x_t| expected_x_0(alpha_cumprod, x_t))
            .collect();
        Marginal::new(alpha_cumprod).epsilon_from_x_0(x_t, tensor(x_0))
    }
}

fn standard_normal(generator: &mut TorchNormal) -> Tensor<1> {
    let data = TensorData::new(generator.randn(DRAWS), [DRAWS]);
    Tensor::<1>::from_data(data, &Device::flex()).cast(DType::F64)
}

fn draw(sampler: impl Sampler<1>, schedule: &NoiseSchedule) -> Vec<f64> {
    let mut generator = TorchNormal::new(3);
    let start = standard_normal(&mut generator);
    let noise = || standard_normal(&mut generator);
    let states = Denoising::new(sampler, start, exact_model(schedule), noise);
    values(states.last().unwrap().x)
}

/// Draws from the mixture itself: which part, by a normal number below the quantile of its weight.
fn draw_from_the_data() -> Vec<f64> {
    const QUANTILE_OF_FIRST: f64 = -0.524_400_512_708_041;
    let mut generator = TorchNormal::new(4);
    let choices = values(standard_normal(&mut generator));
    let noises = values(standard_normal(&mut generator));
    choices
        .into_iter()
        .zip(noises)
        .map(|(choice, z)| {
            let [_, mean, std] = PARTS[usize::from(choice > QUANTILE_OF_FIRST)];
            mean + std * z
        })
        .collect()
}

/// The largest difference between the shares of two samples of equal size below any value.
fn kolmogorov_smirnov(a: &[f64], b: &[f64]) -> f64 {
    let sorted = |values: &[f64]| {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        sorted
    };
    let (a, b) = (sorted(a), sorted(b));
    let below = |values: &[f64], x: f64| values.partition_point(|&v| v <= x) as f64;
    let differences = a
        .iter()
        .chain(&b)
        .map(|&x| (below(&a, x) - below(&b, x)).abs());
    differences.fold(0.0, f64::max) / DRAWS as f64
}

fn moment(values: &[f64], power: i32) -> f64 {
    values.iter().map(|x| x.powi(power)).sum::<f64>() / values.len() as f64
}

/// E[x^power] of the mixture, from the moments of each part.
fn exact_moment(power: usize) -> f64 {
    PARTS
        .iter()
        .map(|&[weight, m, s]| {
            let moments = [
                1.0,
                m,
                m * m + s * s,
                m.powi(3) + 3.0 * m * s * s,
                m.powi(4) + 6.0 * m * m * s * s + 3.0 * s.powi(4),
            ];
            weight * moments[power]
        })
        .sum()
}

fn samplers(schedule: &NoiseSchedule, steps: usize) -> Vec<(&'static str, Box<dyn Sampler<1>>)> {
    let kind = PredictionType::Epsilon;
    let clipping = X0Clipping::None;
    let timesteps = TimestepSpacing::Trailing
        .timesteps(schedule, steps)
        .unwrap();
    let t = &timesteps[..];
    let half = DdimOptions {
        eta: 0.5,
        ..DdimOptions::default()
    };
    let churn = HeunOptions {
        s_churn: 30.0,
        ..HeunOptions::default()
    };
    let small = Ddpm::new(schedule, t, kind, clipping, DdpmVariance::FixedSmall);
    let large = Ddpm::new(schedule, t, kind, clipping, DdpmVariance::FixedLarge);
    let ancestral = euler_ancestral(schedule, t, kind, clipping);
    let ddim = Ddim::new(schedule, t, kind, clipping, half);
    let sde = DpmSolver2MSde::new(schedule, t, kind, clipping);
    let heun = Heun::new(schedule, t, kind, clipping, churn);
    vec![
        ("ddpm small", Box::new(small.unwrap())),
        ("ddpm large", Box::new(large.unwrap())),
        ("euler-ancestral", Box::new(ancestral.unwrap())),
        ("ddim eta 0.5", Box::new(ddim.unwrap())),
        ("dpmpp-2m-sde", Box::new(sde.unwrap())),
        ("heun with churn", Box::new(heun.unwrap())),
    ]
}

#[test]
fn samplers_with_noise_draw_from_the_mixture() {
    let schedule = linear();
    let data = draw_from_the_data();
    let bound = ONCE_IN_A_THOUSAND * (2.0 / DRAWS as f64).sqrt();
    for (name, sampler) in samplers(&schedule, 250) {
        let samples = draw(sampler, &schedule);
        let distance = kolmogorov_smirnov(&samples, &data);
        assert!(distance < bound, "{name}: {distance}, not below {bound}");
        for power in 1..=4 {
            let (found, expected) = (moment(&samples, power), exact_moment(power as usize));
            // Four standard errors, x^power being of order 1, and what 250 steps leave.
            assert!(
                (found - expected).abs() < 4.0 * 0.6 / (DRAWS as f64).sqrt() + 0.01,
                "{name}: moment {power} is {found}, not {expected}"
            );
        }
    }
}

/// What a sampler leaves out in few steps, the test sees.
#[test]
fn few_steps_do_not_pass_for_the_mixture() {
    let schedule = linear();
    let data = draw_from_the_data();
    let bound = ONCE_IN_A_THOUSAND * (2.0 / DRAWS as f64).sqrt();
    for (name, sampler) in samplers(&schedule, 4) {
        let distance = kolmogorov_smirnov(&draw(sampler, &schedule), &data);
        assert!(distance > bound, "{name}: {distance}");
    }
}
