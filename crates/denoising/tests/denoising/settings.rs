//! Timestep spacing, guidance, clipping, what is refused, and when noise is asked for.

use std::cell::Cell;

use burn::tensor::{Device, Tensor};
use denoising::{
    Ddim, DdimOptions, Ddpm, DdpmVariance, Denoising, Guidance, Heun, HeunOptions, Sampler,
    SamplerError, SamplerKind, SamplingOptions, SpacingError, TimestepSpacing, X0Clipping,
};
use noising::{BetaSchedule, NoiseSchedule, PredictionType};
use proptest::prelude::*;
use serde::de::IntoDeserializer;

use crate::{linear, tensor, values};

/// The spacings of whole timesteps.
const WHOLE: [TimestepSpacing; 3] = [
    TimestepSpacing::Leading,
    TimestepSpacing::Trailing,
    TimestepSpacing::Linspace,
];
const BY_NOISE: [TimestepSpacing; 2] = [TimestepSpacing::Karras, TimestepSpacing::LogLinear];

fn linear_of(steps: usize) -> NoiseSchedule {
    NoiseSchedule::new(&BetaSchedule::default(), steps).unwrap()
}

#[test]
fn timesteps_by_hand() {
    let [leading, trailing, linspace] = WHOLE.map(|s| s.timesteps(&linear(), 7).unwrap());
    assert_eq!(leading, [852.0, 710.0, 568.0, 426.0, 284.0, 142.0, 0.0]);
    assert_eq!(trailing, [999.0, 856.0, 713.0, 570.0, 428.0, 285.0, 142.0]);
    assert_eq!(linspace, [999.0, 832.0, 666.0, 500.0, 333.0, 166.0, 0.0]);
}

/// The definitions, in ρ rather than in its logarithm.
#[test]
fn timesteps_spaced_by_noise() {
    let schedule = linear();
    let rho = |t: f64| (1.0 / schedule.alpha_cumprod_at(t) - 1.0).sqrt();
    let (most, least) = (rho(999.0), rho(0.0));
    let [karras, log_linear] = BY_NOISE.map(|s| s.timesteps(&schedule, 8).unwrap());
    for i in 0..8 {
        let u = i as f64 / 7.0;
        let root = (1.0 - u) * most.powf(1.0 / 7.0) + u * least.powf(1.0 / 7.0);
        assert!((rho(karras[i]) / root.powi(7) - 1.0).abs() < 1e-9, "{i}");
        let expected = most * (least / most).powf(u);
        assert!((rho(log_linear[i]) / expected - 1.0).abs() < 1e-9, "{i}");
    }
    for spacing in BY_NOISE {
        assert_eq!(spacing.timesteps(&schedule, 1).unwrap(), [999.0]);
        let rescaled = schedule.rescale_zero_terminal_snr();
        assert_eq!(spacing.timesteps(&rescaled, 8), Err(SpacingError::ZeroSnr));
    }
}

/// Σ over all n ≤ T of Σ_i (i + 1) t_i, made with NumPy 2 from diffusers' own expressions. (For 62 of
/// the 1000 n, `np.arange(T, 0, -T/n)` yields one element too many, a timestep −1, left out here.)
#[test]
fn timesteps_are_those_of_diffusers_for_every_count() {
    let checksum = |spacing: TimestepSpacing, schedule: &NoiseSchedule| -> f64 {
        let weigh = |n| -> f64 {
            let timesteps = spacing.timesteps(schedule, n).unwrap();
            let weighted = timesteps.iter().enumerate();
            weighted.map(|(i, t)| (i + 1) as f64 * t).sum()
        };
        (1..=schedule.num_train_timesteps()).map(weigh).sum()
    };
    for (steps, sums) in [
        (50, [293_366.0, 368_202.0, 360_612.0]),
        (1000, [45_193_435_419.0, 55_722_100_764.0, 55_666_399_370.0]),
        (1100, [66_152_813_897.0, 81_560_564_715.0, 81_486_506_378.0]),
    ] {
        let schedule = linear_of(steps);
        assert_eq!(WHOLE.map(|spacing| checksum(spacing, &schedule)), sums);
    }
}

proptest! {
    #[test]
    fn timesteps_fall_strictly_on_the_chain(steps in 1_usize..1500, u in 0.0..1.0) {
        let schedule = linear_of(steps);
        let count = (1 + (u * steps as f64) as usize).min(steps);
        for spacing in WHOLE.into_iter().chain(BY_NOISE) {
            let timesteps = spacing.timesteps(&schedule, count).unwrap();
            prop_assert_eq!(timesteps.len(), count);
            prop_assert!(timesteps[0] <= (steps - 1) as f64);
            prop_assert!(timesteps[count - 1] >= 0.0);
            prop_assert!(timesteps.is_sorted_by(|a, b| a > b), "{:?}", spacing);
        }
    }
}

#[test]
fn impossible_step_counts_are_refused() {
    for spacing in WHOLE {
        assert!(spacing.timesteps(&linear(), 0).is_err());
        let error = spacing.timesteps(&linear(), 1001).unwrap_err().to_string();
        assert!(error.starts_with("num_inference_steps is 1001; choose 1 to 1000"));
        assert_eq!(
            spacing.timesteps(&linear_of(20), 20).unwrap(),
            (0..20).rev().map(f64::from).collect::<Vec<_>>()
        );
    }
}

fn assert_close(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    let close = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-12;
    assert!(found.iter().zip(expected).all(close), "{found:?}");
}

#[test]
fn guidance_by_hand() {
    let (conditional, unconditional) = (vec![1.0, 0.1], vec![0.5, 0.3]);
    let guided = |scale, rescale| {
        let example = |values: &[f64]| tensor(values.to_vec()).reshape([1, 2]);
        let guidance = Guidance {
            scale,
            rescale,
            ..Guidance::default()
        };
        values(guidance.combine(example(&conditional), example(&unconditional)))
    };
    assert_eq!(guided(1.0, 0.0), conditional);
    assert_eq!(guided(1.0, 1.0), conditional);
    assert_eq!(guided(0.0, 0.0), unconditional);
    assert_close(&guided(3.0, 0.0), &[2.0, -0.3]);
    // Deviations 0.45 and 1.15: wholly rescaled, the guided one has the deviation of the conditional.
    let ratio: f64 = 0.45 / 1.15;
    assert_close(&guided(3.0, 1.0), &[2.0 * ratio, -0.3 * ratio]);
    let half = 0.5 + 0.5 * ratio;
    assert_close(&guided(3.0, 0.5), &[2.0 * half, -0.3 * half]);
}

/// Without contrast there is nothing to divide by.
#[test]
fn rescaled_guidance_of_flat_predictions_is_finite() {
    let guidance = Guidance {
        scale: 2.0,
        rescale: 0.7,
        interval: None,
    };
    let flat = |value| Tensor::<2>::full([1, 4], value, &Device::flex());
    let guided = guidance.combine(flat(0.5), flat(0.25));
    assert!(values(guided).iter().all(|x| x.is_finite()));
}

#[test]
fn guidance_has_its_interval() {
    let guidance = |scale, interval| Guidance {
        scale,
        interval,
        rescale: 0.0,
    };
    let within = guidance(2.0, Some([100.0, 800.0]));
    assert_eq!(
        [99.0, 100.0, 457.5, 800.0, 801.0].map(|t| within.applies_at(t)),
        [false, true, true, true, false]
    );
    assert!(guidance(2.0, None).applies_at(999.0));
    assert!(!guidance(1.0, None).applies_at(500.0));
}

#[test]
fn predicted_x_0_is_clamped() {
    let x_0 = || tensor(vec![-3.0, -0.2, 0.7, 1.5]);
    assert_eq!(
        values(X0Clipping::None.apply(x_0())),
        [-3.0, -0.2, 0.7, 1.5]
    );
    assert_eq!(
        values(X0Clipping::default().apply(x_0())),
        [-1.0, -0.2, 0.7, 1.0]
    );
    let clamp = X0Clipping::Clamp { range: 2.0 };
    assert_eq!(values(clamp.apply(x_0())), [-2.0, -0.2, 0.7, 1.5]);
}

/// Each example by itself; the quantile lies between 1.5 and 3 by the ratio.
#[test]
fn dynamic_thresholding_by_hand() {
    let x_0 = tensor(vec![-3.0, -0.2, 0.7, 1.5, 0.5, -0.6, 0.7, 0.1]).reshape([2, 4]);
    let apply = |ratio, max| {
        let clipping = X0Clipping::DynamicThreshold { ratio, max };
        values(clipping.apply(x_0.clone()))
    };
    let s = 1.5 + 0.4 * 1.5;
    let second = [0.5, -0.6, 0.7, 0.1];
    let first = [-1.0, -0.2 / s, 0.7 / s, 1.5 / s];
    assert_close(&apply(0.8, 10.0), &[first, second].concat());
    let first = [-1.0, -0.1, 0.35, 0.75];
    assert_close(&apply(0.8, 2.0), &[first, second].concat());
    let first = [-1.0, -0.2 / 3.0, 0.7 / 3.0, 0.5];
    assert_close(&apply(1.0, 10.0), &[first, second].concat());
    let clamped = values(X0Clipping::default().apply(x_0.clone()));
    assert_close(&apply(0.8, 1.0), &clamped);
}

fn ddpm(
    timesteps: &[f64],
    kind: PredictionType,
    clipping: X0Clipping,
) -> Result<Ddpm, SamplerError> {
    Ddpm::new(
        &linear(),
        timesteps,
        kind,
        clipping,
        DdpmVariance::FixedLarge,
    )
}

#[test]
fn bad_settings_are_refused() {
    let epsilon = PredictionType::Epsilon;
    let error = |timesteps: &[f64]| ddpm(timesteps, epsilon, X0Clipping::None).unwrap_err();
    assert_eq!(error(&[]), SamplerError::NoTimesteps);
    let off = SamplerError::OffTheChain {
        timestep: 999.5,
        last: 999,
    };
    assert_eq!(error(&[999.5, 3.0]), off);
    for timestep in [-0.5, f64::NAN, f64::INFINITY] {
        let error = error(&[9.0, timestep]);
        assert!(matches!(error, SamplerError::OffTheChain { .. }), "{error}");
    }
    let not_falling = SamplerError::NotFalling {
        timestep: 5.0,
        next: 5.0,
    };
    assert_eq!(error(&[9.0, 5.0, 5.0]), not_falling);
    for range in [0.0, -1.0, f64::NAN] {
        assert!(ddpm(&[9.0], epsilon, X0Clipping::Clamp { range }).is_err());
    }
    for (ratio, max) in [
        (0.0, 2.0),
        (1.1, 2.0),
        (f64::NAN, 2.0),
        (0.9, 0.5),
        (0.9, f64::NAN),
    ] {
        let clipping = X0Clipping::DynamicThreshold { ratio, max };
        assert!(ddpm(&[9.0], epsilon, clipping).is_err());
    }

    let options = |eta| DdimOptions {
        eta,
        ..DdimOptions::default()
    };
    let schedule = linear();
    let ddim = |eta| Ddim::new(&schedule, &[9.0], epsilon, X0Clipping::None, options(eta));
    assert!(ddim(1.0).is_ok());
    for eta in [-0.1, 1.1, f64::NAN] {
        assert!(ddim(eta).unwrap_err().to_string().starts_with("eta is"));
    }

    for (parameter, options) in [
        (
            "s_churn",
            HeunOptions {
                s_churn: -1.0,
                ..HeunOptions::default()
            },
        ),
        (
            "s_tmin",
            HeunOptions {
                s_tmin: f64::NAN,
                ..HeunOptions::default()
            },
        ),
        (
            "s_noise",
            HeunOptions {
                s_noise: 0.0,
                ..HeunOptions::default()
            },
        ),
    ] {
        let heun = Heun::new(&schedule, &[9.0], epsilon, X0Clipping::None, options);
        let error = heun.unwrap_err().to_string();
        assert!(error.starts_with(parameter), "{error}");
    }

    let rescaled = schedule.rescale_zero_terminal_snr();
    let at = |timesteps: &[f64], kind| {
        Ddim::new(&rescaled, timesteps, kind, X0Clipping::None, options(0.0))
    };
    let zero_snr = SamplerError::EpsilonAtZeroSnr { timestep: 999.0 };
    assert_eq!(at(&[999.0, 500.0], epsilon).unwrap_err(), zero_snr);
    assert!(at(&[998.0, 500.0], epsilon).is_ok());
    assert!(at(&[999.0, 500.0], PredictionType::VPrediction).is_ok());
}

/// The noise that is asked for fixes what a seed means: none by DDIM at η = 0, none in a last step.
#[test]
fn noise_is_asked_for_only_when_needed() {
    let timesteps = [999.0, 500.0, 200.0, 100.0];
    let calls = |sampler: Box<dyn Sampler<1>>| {
        let calls = Cell::new(0);
        let noise = || {
            calls.set(calls.get() + 1);
            tensor(vec![0.0])
        };
        let mut denoising = Denoising::new(sampler, tensor(vec![0.5]), |x: Tensor<1>, _| x, noise);
        assert_eq!(denoising.len(), 4);
        let visited: Vec<_> = denoising.by_ref().map(|s| (s.index, s.timestep)).collect();
        assert_eq!(visited, [(0, 999.0), (1, 500.0), (2, 200.0), (3, 100.0)]);
        assert!(denoising.next().is_none());
        calls.get()
    };
    let kind = PredictionType::Epsilon;
    assert_eq!(
        calls(Box::new(ddpm(&timesteps, kind, X0Clipping::None).unwrap())),
        3
    );
    for (eta, set_alpha_to_one, expected) in [(0.0, true, 0), (0.5, true, 3), (0.5, false, 3)] {
        let options = DdimOptions {
            eta,
            set_alpha_to_one,
            ..DdimOptions::default()
        };
        let ddim = Ddim::new(&linear(), &timesteps, kind, X0Clipping::None, options);
        assert_eq!(calls(Box::new(ddim.unwrap())), expected);
    }
}

#[test]
fn the_last_step_is_the_predicted_x_0() {
    let sampler = ddpm(
        &[999.0, 400.0, 50.0],
        PredictionType::Epsilon,
        X0Clipping::default(),
    )
    .unwrap();
    let noise = || tensor(vec![0.3, -0.3]);
    let start = tensor(vec![0.9, -2.0]);
    let last = Denoising::new(sampler, start, |x: Tensor<1>, _| x.mul_scalar(0.9), noise).last();
    let last = last.unwrap();
    assert_eq!(values(last.x), values(last.predicted_x_0));
}

/// Every name and every other name leads to the sampler, in text and in configurations.
#[test]
fn samplers_and_spacings_have_names() {
    for &kind in SamplerKind::ALL {
        for name in [kind.name()].iter().chain(kind.aliases()) {
            assert_eq!(name.parse(), Ok(kind));
            let read: SamplerKind = named(name);
            assert_eq!(read, kind);
        }
        assert_eq!(kind.to_string(), kind.name());
        assert!(!kind.summary().is_empty());
    }
    for &spacing in TimestepSpacing::ALL {
        assert_eq!(spacing.name().parse(), Ok(spacing));
        let read: TimestepSpacing = named(spacing.name());
        assert_eq!(read, spacing);
    }
    let error = "dpm4".parse::<SamplerKind>().unwrap_err().to_string();
    assert!(
        error.starts_with("there is no sampler \"dpm4\"; choose one of ddpm, ddim,"),
        "{error}"
    );
    assert!("karas".parse::<TimestepSpacing>().is_err());
}

fn named<T: serde::de::DeserializeOwned>(name: &str) -> T {
    let deserializer: serde::de::value::StrDeserializer<'_, serde::de::value::Error> =
        name.into_deserializer();
    T::deserialize(deserializer).unwrap()
}

/// What a sampler is said to cost is what it costs.
#[test]
fn network_calls_are_counted_for_every_sampler() {
    let schedule = linear();
    for &kind in SamplerKind::ALL {
        for steps in 1..8 {
            let options = SamplingOptions {
                sampler: kind,
                num_inference_steps: steps,
                ..SamplingOptions::default()
            };
            let timesteps = options.timesteps(&schedule).unwrap();
            let sampler = options.sampler(&schedule, &timesteps, PredictionType::Epsilon);
            let mut calls = 0;
            let model = |x: Tensor<1>, _| {
                calls += 1;
                x
            };
            let noise = || tensor(vec![0.1]);
            Denoising::new(sampler.unwrap(), tensor(vec![0.5]), model, noise).for_each(drop);
            assert_eq!(calls, kind.network_calls(steps), "{kind} in {steps}");
            assert_eq!(kind.steps_for_calls(calls), steps, "{kind} in {steps}");
        }
    }
}

/// Whatever the sampler, the options of the others are numbers too.
#[test]
fn options_that_are_no_numbers_are_refused_with_any_sampler() {
    let schedule = linear();
    for &sampler in SamplerKind::ALL {
        let good = SamplingOptions {
            sampler,
            ..SamplingOptions::default()
        };
        assert_eq!(good.check(&schedule, PredictionType::Epsilon), Ok(()));
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            type Change = fn(&mut SamplingOptions, f64);
            let changes: [(&str, Change); 10] = [
                ("eta", |o, x| o.eta = x),
                ("guidance_scale", |o, x| o.guidance_scale = x),
                ("guidance_rescale", |o, x| o.guidance_rescale = x),
                ("guidance_interval", |o, x| {
                    o.guidance_interval = Some([x, 5.0])
                }),
                ("guidance_interval", |o, x| {
                    o.guidance_interval = Some([5.0, x])
                }),
                ("clipping", |o, range| {
                    o.clipping = X0Clipping::Clamp { range }
                }),
                ("heun", |o, x| o.heun.s_churn = x),
                ("heun", |o, x| o.heun.s_tmin = x),
                ("heun", |o, x| o.heun.s_tmax = -x.abs()),
                ("heun", |o, x| o.heun.s_noise = x),
            ];
            for (key, change) in changes {
                let mut options = good.clone();
                change(&mut options, bad);
                let error = options
                    .check(&schedule, PredictionType::Epsilon)
                    .unwrap_err();
                assert_eq!(error.key, key, "{sampler} {bad}: {error}");
            }
        }
    }
    let too_many = SamplingOptions {
        num_inference_steps: 1001,
        ..SamplingOptions::default()
    };
    let error = too_many
        .check(&schedule, PredictionType::Epsilon)
        .unwrap_err();
    assert_eq!(error.key, "num_inference_steps");
}

/// What is said of fresh noise is what the samplers do, of every sampler and with the options that bring it.
#[test]
fn a_deterministic_sampler_draws_no_noise() {
    let schedule = linear();
    for &sampler in SamplerKind::ALL {
        for (eta, s_churn) in [(0.0, 0.0), (0.5, 0.0), (0.0, 10.0)] {
            let options = SamplingOptions {
                sampler,
                eta,
                num_inference_steps: 5,
                heun: HeunOptions {
                    s_churn,
                    ..HeunOptions::default()
                },
                ..SamplingOptions::default()
            };
            let timesteps = options.timesteps(&schedule).unwrap();
            let chosen = options
                .sampler::<1>(&schedule, &timesteps, PredictionType::Epsilon)
                .unwrap();
            let mut drawn = 0;
            let noise = || {
                drawn += 1;
                tensor(vec![0.1; 2])
            };
            let predict = |x: Tensor<1>, _| x.mul_scalar(0.5);
            let steps = Denoising::new(chosen, tensor(vec![0.3, -0.2]), predict, noise).count();
            assert_eq!(steps, 5);
            assert_eq!(
                options.is_deterministic(),
                drawn == 0,
                "{sampler} {eta} {s_churn}"
            );
        }
    }
}
