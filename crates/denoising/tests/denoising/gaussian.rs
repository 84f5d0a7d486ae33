//! Data that is N(μ, s²) has an exact network,
//!
//! E[x_0 | x_t] = μ + √ᾱ_t s² (x_t − √ᾱ_t μ) / (ᾱ_t s² + 1 − ᾱ_t),
//! E[ε | x_t] = √(1 − ᾱ_t) (x_t − √ᾱ_t μ) / (ᾱ_t s² + 1 − ᾱ_t),
//!
//! which is affine in x_t. So every sampler maps its start and its noises to the sample by an affine
//! map, whose coefficients are read off exactly: there is no sampling error in these tests.

use std::cell::Cell;

use burn::tensor::Tensor;
use denoising::{
    Ddim, DdimOptions, Ddpm, DdpmVariance, Denoising, Sampler, TimestepSpacing, X0Clipping,
};
use noising::{Marginal, NoiseSchedule, PredictionType};

use crate::{linear, tensor, values};

const MEAN: f64 = 0.4;
const STD: f64 = 0.3;

const PREDICTION_TYPES: [PredictionType; 3] = [
    PredictionType::Epsilon,
    PredictionType::Sample,
    PredictionType::VPrediction,
];

fn exact_model(
    schedule: &NoiseSchedule,
    prediction_type: PredictionType,
) -> impl Fn(Tensor<1>, f64) -> Tensor<1> {
    move |x_t, t| {
        let alpha_cumprod = schedule.alphas_cumprod()[t as usize];
        let (signal, variance) = (alpha_cumprod.sqrt(), 1.0 - alpha_cumprod);
        let deviation = x_t
            .sub_scalar(signal * MEAN)
            .div_scalar(alpha_cumprod * STD * STD + variance);
        let x_0 = deviation
            .clone()
            .mul_scalar(signal * STD * STD)
            .add_scalar(MEAN);
        let epsilon = deviation.mul_scalar(variance.sqrt());
        Marginal::new(alpha_cumprod).target(prediction_type, x_0, epsilon)
    }
}

/// Mean and standard deviation of the samples, from a start that has the law of x_T.
///
/// Row 0 is the sample of a start at its mean without any noise; each further row turns on one of the
/// independent sources of randomness, the start or the noise of one step.
fn law(
    sampler: impl Sampler<1>,
    schedule: &NoiseSchedule,
    prediction_type: PredictionType,
) -> [f64; 2] {
    let rows = sampler.num_steps() + 1;
    let alpha_cumprod = schedule.alphas_cumprod()[schedule.num_train_timesteps() - 1];
    let start_std = (alpha_cumprod * STD * STD + 1.0 - alpha_cumprod).sqrt();
    let mut start = vec![alpha_cumprod.sqrt() * MEAN; rows];
    start[1] += start_std;

    let calls = Cell::new(0);
    let noise = || {
        calls.set(calls.get() + 1);
        let mut unit = vec![0.0; rows];
        unit[1 + calls.get()] = 1.0;
        tensor(unit)
    };
    let model = exact_model(schedule, prediction_type);
    let last = Denoising::new(sampler, tensor(start), model, noise).last();
    let x = values(last.unwrap().x);
    let variance: f64 = x[1..].iter().map(|x_i| (x_i - x[0]).powi(2)).sum();
    [x[0], variance.sqrt()]
}

fn error([mean, std]: [f64; 2]) -> f64 {
    (mean - MEAN).abs().max((std - STD).abs())
}

fn ddim(schedule: &NoiseSchedule, steps: usize, kind: PredictionType, eta: f64) -> Ddim {
    let timesteps = TimestepSpacing::Trailing.timesteps(1000, steps).unwrap();
    let options = DdimOptions {
        eta,
        ..DdimOptions::default()
    };
    Ddim::new(schedule, &timesteps, kind, X0Clipping::None, options).unwrap()
}

fn ddpm(
    schedule: &NoiseSchedule,
    steps: usize,
    kind: PredictionType,
    variance: DdpmVariance,
) -> Ddpm {
    let timesteps = TimestepSpacing::Trailing.timesteps(1000, steps).unwrap();
    Ddpm::new(schedule, &timesteps, kind, X0Clipping::None, variance).unwrap()
}

#[test]
fn ddim_converges_to_the_data_at_order_one() {
    let schedule = linear();
    let kind = PredictionType::Epsilon;
    let errors = [25, 50, 100, 200]
        .map(|steps| error(law(ddim(&schedule, steps, kind, 0.0), &schedule, kind)));
    for pair in errors.windows(2) {
        let order = (pair[0] / pair[1]).log2();
        assert!(
            (order - 1.0).abs() < 0.3,
            "order {order}, errors {errors:?}"
        );
    }
    let all = error(law(ddim(&schedule, 1000, kind, 0.0), &schedule, kind));
    assert!(all < 2e-3, "error {all} over all steps");
}

#[test]
fn ddpm_converges_to_the_data() {
    let schedule = linear();
    let kind = PredictionType::Epsilon;
    for variance in [DdpmVariance::FixedSmall, DdpmVariance::FixedLarge] {
        let errors = [50, 100, 200, 400, 1000]
            .map(|steps| error(law(ddpm(&schedule, steps, kind, variance), &schedule, kind)));
        assert!(
            errors.is_sorted_by(|a, b| a > b),
            "{variance:?}: {errors:?}"
        );
        assert!(errors[4] < 1e-2, "{variance:?}: {errors:?}");
    }
}

#[test]
fn what_the_network_predicts_makes_no_difference() {
    let schedule = linear();
    let laws = |kind| {
        let small = DdpmVariance::FixedSmall;
        [
            law(ddim(&schedule, 20, kind, 0.0), &schedule, kind),
            law(ddim(&schedule, 20, kind, 0.6), &schedule, kind),
            law(ddpm(&schedule, 20, kind, small), &schedule, kind),
        ]
    };
    let expected = laws(PredictionType::Epsilon);
    for kind in PREDICTION_TYPES {
        for (law, expected) in laws(kind).iter().zip(&expected) {
            assert!((law[0] - expected[0]).abs() < 1e-9, "{kind:?}");
            assert!((law[1] - expected[1]).abs() < 1e-9, "{kind:?}");
        }
    }
}

/// v-prediction from pure noise: zero terminal SNR must leave no trace of NaN.
#[test]
fn zero_terminal_snr() {
    let schedule = linear().rescale_zero_terminal_snr();
    for kind in [PredictionType::Sample, PredictionType::VPrediction] {
        let few = error(law(ddim(&schedule, 50, kind, 0.0), &schedule, kind));
        let many = error(law(ddim(&schedule, 1000, kind, 0.0), &schedule, kind));
        assert!(many < 2e-3 && many < few, "{kind:?}: {few} then {many}");
        let small = DdpmVariance::FixedSmall;
        let ddpm = error(law(ddpm(&schedule, 1000, kind, small), &schedule, kind));
        assert!(ddpm < 1e-2, "{kind:?}: {ddpm}");
    }
}

/// Step by step on the same x_t and the same noise, clipped x_0 included: equal coefficients, so equal
/// laws.
#[test]
fn ddim_with_eta_1_is_ddpm() {
    let schedule = linear();
    let model = |x_t: Tensor<1>, t: f64| x_t.mul_scalar(0.7).add_scalar(0.2 * (t / 300.0).sin());
    for (steps, clipping) in [
        (1000, X0Clipping::None),
        (1000, X0Clipping::default()),
        (7, X0Clipping::default()),
    ] {
        let timesteps = TimestepSpacing::Trailing.timesteps(1000, steps).unwrap();
        let kind = PredictionType::Epsilon;
        let mut ddpm = Ddpm::new(
            &schedule,
            &timesteps,
            kind,
            clipping,
            DdpmVariance::FixedSmall,
        )
        .unwrap();
        let ddim = |rederive_epsilon| {
            let options = DdimOptions {
                eta: 1.0,
                rederive_epsilon,
                ..DdimOptions::default()
            };
            Ddim::new(&schedule, &timesteps, kind, clipping, options).unwrap()
        };
        let (mut rederived, mut kept) = (ddim(true), ddim(false));
        let mut kept_differs = false;
        for index in 0..steps {
            let x_t = || tensor(vec![1.3, -0.4, 0.05]);
            let noise = &mut || tensor(vec![-0.8, 1.1, 0.3]);
            let expected = ddpm.step(index, x_t(), &mut { model }, noise).x;
            let close = |x: Tensor<1>| x.all_close(expected.clone(), Some(1e-9), Some(1e-9));
            assert!(close(rederived.step(index, x_t(), &mut { model }, noise).x));
            kept_differs |= !close(kept.step(index, x_t(), &mut { model }, noise).x);
        }
        assert_eq!(kept_differs, clipping != X0Clipping::None);
    }
}
