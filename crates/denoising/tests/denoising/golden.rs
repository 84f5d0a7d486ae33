//! The loops of diffusers' scheduler tests: shape (4, 3, 8, 8), a ramp as sample, its mirror as noise,
//! and x t / (t + 1) as network. Sums of |x| within 1e-2 and means of |x| within 1e-3, as there.

use burn::tensor::{Device, Tensor, TensorData};
use denoising::{
    Ddim, DdimOptions, Ddpm, DdpmVariance, Denoising, Sampler, TimestepSpacing, X0Clipping,
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

#[track_caller]
fn assert_loop(sampler: impl Sampler<4>, start: Tensor<4>, sum: f64, mean: f64) {
    let mut generator = TorchNormal::new(0);
    let model = |x: Tensor<4>, t: f64| x.mul_scalar(t / (t + 1.0));
    let last = Denoising::new(sampler, start, model, || tensor(generator.randn(COUNT)))
        .last()
        .unwrap();
    let result: f64 = last.x.abs().sum().into_scalar();
    assert!((result - sum).abs() < 1e-2, "sum {result} is not {sum}");
    assert!(
        (result / COUNT as f64 - mean).abs() < 1e-3,
        "mean is not {mean}"
    );
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
