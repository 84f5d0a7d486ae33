//! Timestep spacing, guidance, clipping, what is refused, and when noise is asked for.

use std::cell::Cell;

use burn::tensor::Tensor;
use denoising::{
    Ddim, DdimOptions, Ddpm, DdpmVariance, Denoising, Sampler, SamplerError, TimestepSpacing,
    X0Clipping, guidance,
};
use noising::PredictionType;
use proptest::prelude::*;

use crate::{linear, tensor, values};

const SPACINGS: [TimestepSpacing; 3] = [
    TimestepSpacing::Leading,
    TimestepSpacing::Trailing,
    TimestepSpacing::Linspace,
];

#[test]
fn timesteps_by_hand() {
    let [leading, trailing, linspace] = SPACINGS.map(|s| s.timesteps(1000, 7).unwrap());
    assert_eq!(leading, [852, 710, 568, 426, 284, 142, 0]);
    assert_eq!(trailing, [999, 856, 713, 570, 428, 285, 142]);
    assert_eq!(linspace, [999, 832, 666, 500, 333, 166, 0]);
}

/// Σ over all n ≤ T of Σ_i (i + 1) t_i, made with NumPy 2 from diffusers' own expressions. (For 62 of
/// the 1000 n, `np.arange(T, 0, -T/n)` yields one element too many, a timestep −1, left out here.)
#[test]
fn timesteps_are_those_of_diffusers_for_every_count() {
    let checksum = |spacing: TimestepSpacing, steps| -> usize {
        let weigh = |n| -> usize {
            let timesteps = spacing.timesteps(steps, n).unwrap();
            timesteps.iter().enumerate().map(|(i, t)| (i + 1) * t).sum()
        };
        (1..=steps).map(weigh).sum()
    };
    for (steps, sums) in [
        (50, [293_366, 368_202, 360_612]),
        (1000, [45_193_435_419, 55_722_100_764, 55_666_399_370]),
        (1100, [66_152_813_897, 81_560_564_715, 81_486_506_378]),
    ] {
        assert_eq!(SPACINGS.map(|spacing| checksum(spacing, steps)), sums);
    }
}

proptest! {
    #[test]
    fn timesteps_fall_strictly_on_the_chain(steps in 1_usize..3000, u in 0.0..1.0) {
        let count = 1 + (u * steps as f64) as usize;
        for spacing in SPACINGS {
            let timesteps = spacing.timesteps(steps, count.min(steps)).unwrap();
            prop_assert_eq!(timesteps.len(), count.min(steps));
            prop_assert!(timesteps[0] < steps);
            prop_assert!(timesteps.is_sorted_by(|a, b| a > b));
        }
    }
}

#[test]
fn impossible_step_counts_are_refused() {
    for spacing in SPACINGS {
        assert!(spacing.timesteps(1000, 0).is_err());
        let error = spacing.timesteps(1000, 1001).unwrap_err().to_string();
        assert!(error.starts_with("num_inference_steps is 1001; choose 1 to 1000"));
        assert_eq!(
            spacing.timesteps(20, 20).unwrap(),
            (0..20).rev().collect::<Vec<_>>()
        );
    }
}

#[test]
fn guidance_by_hand() {
    let (conditional, unconditional) = (vec![1.0, 0.1], vec![0.5, 0.3]);
    let guided = |scale| {
        let (conditional, unconditional) =
            (tensor(conditional.clone()), tensor(unconditional.clone()));
        values(guidance::classifier_free(conditional, unconditional, scale))
    };
    assert_eq!(guided(1.0), conditional);
    assert_eq!(guided(0.0), unconditional);
    let expected = [2.0, -0.3];
    assert!(
        guided(3.0)
            .iter()
            .zip(expected)
            .all(|(a, b)| (a - b).abs() < 1e-12)
    );
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

fn ddpm(
    timesteps: &[usize],
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
    let error = |timesteps: &[usize]| ddpm(timesteps, epsilon, X0Clipping::None).unwrap_err();
    assert_eq!(error(&[]), SamplerError::NoTimesteps);
    let off = SamplerError::OffTheChain {
        timestep: 1000,
        last: 999,
    };
    assert_eq!(error(&[1000, 3]), off);
    let not_falling = SamplerError::NotFalling {
        timestep: 5,
        next: 5,
    };
    assert_eq!(error(&[9, 5, 5]), not_falling);
    for range in [0.0, -1.0, f64::NAN] {
        assert!(ddpm(&[9], epsilon, X0Clipping::Clamp { range }).is_err());
    }

    let options = |eta| DdimOptions {
        eta,
        ..DdimOptions::default()
    };
    let schedule = linear();
    let ddim = |eta| Ddim::new(&schedule, &[9], epsilon, X0Clipping::None, options(eta));
    assert!(ddim(1.0).is_ok());
    for eta in [-0.1, 1.1, f64::NAN] {
        assert!(ddim(eta).unwrap_err().to_string().starts_with("eta is"));
    }

    let rescaled = schedule.rescale_zero_terminal_snr();
    let at = |timesteps: &[usize], kind| {
        Ddim::new(&rescaled, timesteps, kind, X0Clipping::None, options(0.0))
    };
    let zero_snr = SamplerError::EpsilonAtZeroSnr { timestep: 999 };
    assert_eq!(at(&[999, 500], epsilon).unwrap_err(), zero_snr);
    assert!(at(&[998, 500], epsilon).is_ok());
    assert!(at(&[999, 500], PredictionType::VPrediction).is_ok());
}

/// The noise that is asked for fixes what a seed means: none by DDIM at η = 0, none in a last step.
#[test]
fn noise_is_asked_for_only_when_needed() {
    let timesteps = [999, 500, 200, 100];
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
        &[999, 400, 50],
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
