//! The loops of diffusers' scheduler tests: shape (4, 3, 8, 8), a ramp as sample, its mirror as noise,
//! and x t / (t + 1) as network. Sums of |x| within 1e-2 and means of |x| within 1e-3, as there (some of
//! the tests there know the mean only).

use burn::tensor::{Device, Tensor, TensorData};
use denoising::{
    Ddim, DdimOptions, Ddpm, DdpmVariance, Denoising, DpmSolver2M, Heun, HeunOptions,
    MultistepOptions, Sampler, TimestepSpacing, UniPc, X0Clipping, euler,
};
use noising::{BetaSchedule, Chain, NoiseSchedule, PredictionType};

use crate::linear;
use crate::torch_normal::TorchNormal;

const SHAPE: [usize; 4] = [4, 3, 8, 8];
const COUNT: usize = 768;

fn tensor(values: Vec<f32>) -> Tensor<4> {
    Tensor::from_data(TensorData::new(values, SHAPE), &Device::flex())
}

/// The ramp runs along the batch first: `sample[b,c,h,w] = (((c·8 + h)·8 + w)·4 + b) / 768`.
fn ramp(value: impl Fn(usize) -> f32) -> Tensor<4> {
    let [batch, ..] = SHAPE;
    let pixels = COUNT / batch;
    let index = |i: usize| (i % pixels) * batch + i / pixels;
    tensor((0..COUNT).map(|i| value(index(i)) / COUNT as f32).collect())
}

fn sample() -> Tensor<4> {
    ramp(|index| index as f32)
}

fn noise() -> Tensor<4> {
    ramp(|index| (COUNT - 1 - index) as f32)
}

fn network(x: Tensor<4>, t: f64) -> Tensor<4> {
    x.mul_scalar(t / (t + 1.0))
}

/// What the loop ends with.
fn run(sampler: impl Sampler<4>, start: Tensor<4>) -> Tensor<4> {
    let mut generator = TorchNormal::new(0);
    let noise = || tensor(generator.randn(COUNT));
    let states = Denoising::new(sampler, start, network, noise);
    states.last().unwrap().x
}

#[track_caller]
fn assert_mean(x: Tensor<4>, mean: f64) {
    let result: f64 = x.abs().mean().into_scalar();
    assert!((result - mean).abs() < 1e-3, "mean {result} is not {mean}");
}

#[track_caller]
fn assert_sum_and_mean(x: Tensor<4>, sum: f64, mean: f64) {
    let result: f64 = x.clone().abs().sum().into_scalar();
    assert!((result - sum).abs() < 1e-2, "sum {result} is not {sum}");
    assert_mean(x, mean);
}

#[track_caller]
fn assert_loop(sampler: impl Sampler<4>, start: Tensor<4>, sum: f64, mean: f64) {
    assert_sum_and_mean(run(sampler, start), sum, mean);
}

fn ddpm(prediction_type: PredictionType) -> Ddpm {
    let timesteps: Vec<f64> = (0..1000).rev().map(f64::from).collect();
    let clipping = X0Clipping::default();
    let variance = DdpmVariance::FixedSmall;
    Ddpm::new(&linear(), &timesteps, prediction_type, clipping, variance).unwrap()
}

fn ddim(
    schedule: &NoiseSchedule,
    timesteps: &[f64],
    prediction_type: PredictionType,
    set_alpha_to_one: bool,
) -> Ddim {
    let options = DdimOptions {
        eta: 0.0,
        rederive_epsilon: false,
        set_alpha_to_one,
    };
    let clipping = X0Clipping::default();
    Ddim::new(schedule, timesteps, prediction_type, clipping, options).unwrap()
}

fn ten_steps() -> Vec<f64> {
    TimestepSpacing::Leading.timesteps(&linear(), 10).unwrap()
}

#[test]
fn ddpm_epsilon() {
    assert_loop(ddpm(PredictionType::Epsilon), sample(), 258.9606, 0.3372);
}

#[test]
fn ddpm_v() {
    assert_loop(
        ddpm(PredictionType::VPrediction),
        sample(),
        202.0296,
        0.2631,
    );
}

#[test]
fn ddpm_variance() {
    let ddpm = ddpm(PredictionType::Epsilon);
    for (t, expected) in [(0, 0.0), (487, 0.00979), (999, 0.02)] {
        let variance = ddpm.variance(999 - t);
        assert!(
            (variance - expected).abs() < 1e-5,
            "{variance} is not {expected}"
        );
    }
}

#[test]
fn ddim_epsilon() {
    let ddim = ddim(&linear(), &ten_steps(), PredictionType::Epsilon, true);
    assert_loop(ddim, sample(), 172.0067, 0.223967);
}

#[test]
fn ddim_v() {
    let ddim = ddim(&linear(), &ten_steps(), PredictionType::VPrediction, true);
    assert_loop(ddim, sample(), 52.5302, 0.0684);
}

#[test]
fn ddim_with_either_final_alpha() {
    let beta_schedule = BetaSchedule::Linear {
        beta_start: 0.01,
        beta_end: 0.02,
    };
    let schedule = NoiseSchedule::new(&beta_schedule, 1000).unwrap();
    let ddim = |to_one| ddim(&schedule, &ten_steps(), PredictionType::Epsilon, to_one);
    assert_loop(ddim(true), sample(), 149.8295, 0.1951);
    assert_loop(ddim(false), sample(), 149.0784, 0.1941);
}

#[test]
fn ddim_from_a_noised_sample() {
    let schedule = linear();
    let start = Chain::new(schedule.clone()).q_sample(sample(), noise(), &[100]);
    let ddim = ddim(&schedule, &[100.0, 0.0], PredictionType::Epsilon, true);
    assert_loop(ddim, start, 354.5418, 0.4616);
}

/// The ten steps that diffusers' multistep solvers take with linspace: all but the last of eleven.
fn ten_of_eleven() -> Vec<f64> {
    let mut timesteps = TimestepSpacing::Linspace.timesteps(&linear(), 11).unwrap();
    timesteps.pop();
    timesteps
}

fn ending_on_the_chain(lower_order_final: bool) -> MultistepOptions {
    MultistepOptions {
        set_alpha_to_one: false,
        lower_order_final,
    }
}

#[test]
fn dpm_solver_2m() {
    for (kind, mean) in [
        (PredictionType::Epsilon, 0.3301),
        (PredictionType::VPrediction, 0.2251),
    ] {
        let options = ending_on_the_chain(false);
        let sampler =
            DpmSolver2M::new(&linear(), &ten_of_eleven(), kind, X0Clipping::None, options);
        assert_mean(run(sampler.unwrap(), sample()), mean);
    }
}

#[test]
fn uni_pc() {
    let kind = PredictionType::Epsilon;
    let options = ending_on_the_chain(true);
    let sampler = UniPc::new(&linear(), &ten_of_eleven(), kind, X0Clipping::None, options);
    assert_mean(run(sampler.unwrap(), sample()), 0.2464);
}

/// The chain of 1100 steps of diffusers' tests of Euler and Heun, and the ten of its timesteps at which ρ
/// is what diffusers has at ten times evenly spaced: it interpolates ρ itself.
fn chain_of_1100() -> (NoiseSchedule, Vec<f64>) {
    let schedule = NoiseSchedule::new(&BetaSchedule::default(), 1100).unwrap();
    let rho = |t: f64| (1.0 / schedule.alphas_cumprod()[t as usize] - 1.0).sqrt();
    let timesteps = (0..10).rev().map(|i| {
        let t = 1099.0 * f64::from(i) / 9.0;
        let rho = rho(t) + t.fract() * (rho(t.ceil()) - rho(t));
        schedule.timestep_at_log_snr(-2.0 * rho.ln())
    });
    let timesteps = timesteps.collect();
    (schedule, timesteps)
}

/// The loop of those tests in x̂ = x / √ᾱ: they start at ρ times the sample, and before each call of the
/// network put the input scaled for it, x̂ √ᾱ, in place of x̂.
fn run_on_scaled_inputs(
    mut sampler: impl Sampler<4>,
    schedule: &NoiseSchedule,
    timesteps: &[f64],
) -> Tensor<4> {
    let alpha = |t: f64| schedule.alpha_cumprod_at(t).sqrt();
    let sigma = (1.0 - schedule.alpha_cumprod_at(timesteps[0])).sqrt();
    let mut x = sample().mul_scalar(sigma);
    for (index, &t) in timesteps.iter().enumerate() {
        let mut model = |input: Tensor<4>, at: f64| {
            // The sampler scales what is scaled already. Heun's second input is scaled once: what
            // replaces x̂ there has no part in the step.
            let input = if at == t {
                input.div_scalar(alpha(t))
            } else {
                input
            };
            network(input, at)
        };
        let scaled = x.mul_scalar(alpha(t));
        let noise = &mut || unreachable!("neither draws noise");
        x = sampler.step(index, scaled, &mut model, noise).x;
    }
    x
}

#[test]
fn euler_epsilon() {
    let (schedule, timesteps) = chain_of_1100();
    let kind = PredictionType::Epsilon;
    let sampler = euler(&schedule, &timesteps, kind, X0Clipping::None).unwrap();
    let last = run_on_scaled_inputs(sampler, &schedule, &timesteps);
    assert_sum_and_mean(last, 10.0807, 0.0131);
}

#[test]
fn heun_epsilon() {
    let (schedule, timesteps) = chain_of_1100();
    let kind = PredictionType::Epsilon;
    let options = HeunOptions::default();
    let sampler = Heun::new(&schedule, &timesteps, kind, X0Clipping::None, options).unwrap();
    let last = run_on_scaled_inputs(sampler, &schedule, &timesteps);
    assert_sum_and_mean(last, 0.1233, 0.0002);
}

/// Euler's method with the preconditioning of Karras et al. 2022, table 1, on a chain that has no steps
/// but the ten of theirs.
#[test]
fn edm_euler() {
    const SIGMA_DATA: f64 = 0.5;
    let [least, most] = [0.002_f64, 80.0].map(|sigma| sigma.powf(1.0 / 7.0));
    let sigmas: Vec<f64> = (0..10)
        .map(|i| (least + f64::from(i) / 9.0 * (most - least)).powi(7))
        .collect();
    let mut before = 1.0;
    let betas = sigmas.iter().map(|sigma| {
        let alpha_cumprod = 1.0 / (1.0 + sigma * sigma);
        let beta = 1.0 - alpha_cumprod / before;
        before = alpha_cumprod;
        beta
    });
    let schedule = NoiseSchedule::from_betas(betas.collect()).unwrap();

    let denoiser = |x: Tensor<4>, t: f64| {
        let sigma = sigmas[t as usize];
        let x_hat = x.mul_scalar((1.0 + sigma * sigma).sqrt());
        let variance = sigma * sigma + SIGMA_DATA * SIGMA_DATA;
        let input = x_hat.clone().div_scalar(variance.sqrt());
        let output = network(input, sigma.ln() / 4.0);
        x_hat.mul_scalar(SIGMA_DATA * SIGMA_DATA / variance)
            + output.mul_scalar(sigma * SIGMA_DATA / variance.sqrt())
    };
    let timesteps: Vec<f64> = (0..10).rev().map(f64::from).collect();
    let kind = PredictionType::Sample;
    let sampler = euler(&schedule, &timesteps, kind, X0Clipping::None).unwrap();
    // x̂ starts at √(80² + 1) times the sample, which is the sample in x.
    let no_noise = || unreachable!("Euler draws none");
    let states = Denoising::new(sampler, sample(), denoiser, no_noise);
    assert_sum_and_mean(states.last().unwrap().x, 34.1855, 0.044);
}
