//! Inversion, interpolation and inpainting.

use burn::tensor::Tensor;
use denoising::{
    Ddim, DdimInversion, DdimOptions, Ddpm, DdpmVariance, Denoising, Inpainting, Sampler,
    SamplerError, SamplerKind, SamplerOptions, TimestepSpacing, X0Clipping, slerp,
};
use noising::PredictionType;

use crate::{linear, tensor, values};

const EPSILON: PredictionType = PredictionType::Epsilon;

/// Some network: smooth, not linear.
fn model(x: Tensor<1>, t: f64) -> Tensor<1> {
    x.clone().mul_scalar(0.6)
        + (x.mul_scalar(2.0).add_scalar(t / 300.0))
            .sin()
            .mul_scalar(0.3)
}

fn no_noise() -> Tensor<1> {
    unreachable!("DDIM with eta = 0 draws no noise")
}

/// The largest difference between data and what DDIM makes of its inversion.
fn error_of_return(steps: usize, iterations: usize) -> f64 {
    let schedule = linear();
    let timesteps = TimestepSpacing::Trailing
        .timesteps(&schedule, steps)
        .unwrap();
    let x_0 = vec![0.9, -0.35, 0.02, -1.0];
    let inversion = DdimInversion::new(&schedule, &timesteps, EPSILON, iterations).unwrap();
    let states = Denoising::new(inversion, tensor(x_0.clone()), model, no_noise);
    let noise = states.last().unwrap();
    assert_eq!(noise.timestep, 999.0);
    let options = DdimOptions::default();
    let ddim = Ddim::new(&schedule, &timesteps, EPSILON, X0Clipping::None, options).unwrap();
    let back = Denoising::new(ddim, noise.x, model, no_noise)
        .last()
        .unwrap();
    let differences = values(back.x)
        .into_iter()
        .zip(x_0)
        .map(|(a, b)| (a - b).abs());
    differences.fold(0.0, f64::max)
}

/// The usual inversion errs by what one step changes; solving the step does not.
#[test]
fn ddim_inversion_and_back_is_the_data() {
    let [coarse, fine] = [100, 200].map(|steps| error_of_return(steps, 1));
    assert!(coarse < 0.2 && fine < 0.6 * coarse, "{coarse} {fine}");
    let solved = error_of_return(100, 30);
    assert!(solved < 1e-6, "{solved}");
}

#[test]
fn inversions_that_make_no_sense_are_refused() {
    let invert = |schedule, iterations| {
        DdimInversion::new(
            schedule,
            &[999.0, 0.0],
            PredictionType::VPrediction,
            iterations,
        )
    };
    let schedule = linear();
    assert!(
        invert(&schedule, 0)
            .unwrap_err()
            .to_string()
            .contains("iterations is 0")
    );
    assert_eq!(
        invert(&schedule.rescale_zero_terminal_snr(), 1).unwrap_err(),
        SamplerError::InversionAtZeroSnr { timestep: 999.0 }
    );
}

#[test]
fn slerp_by_hand() {
    let rows = |values: Vec<f64>| tensor(values).reshape([2, 2]);
    let a = rows(vec![1.0, 0.0, 2.0, 0.0]);
    let b = rows(vec![0.0, 1.0, 4.0, 0.0]);
    // A right angle; the same way, where it is the straight line.
    let half = values(slerp(&a, &b, 0.5));
    let root = 0.5_f64.sqrt();
    for (found, expected) in half.iter().zip([root, root, 3.0, 0.0]) {
        assert!((found - expected).abs() < 1e-9, "{half:?}");
    }
    assert_eq!(values(slerp(&a, &b, 0.0)), values(a.clone()));
    let end = values(slerp(&a, &b, 1.0));
    assert!(end.iter().zip(values(b)).all(|(a, b)| (a - b).abs() < 1e-9));
    let zero = rows(vec![0.0; 4]);
    assert_eq!(values(slerp(&zero, &zero, 0.3)), [0.0; 4]);
}

#[test]
fn inpainting_keeps_what_is_known() {
    let schedule = linear();
    let timesteps = TimestepSpacing::Trailing.timesteps(&schedule, 10).unwrap();
    let ddpm = || {
        let (clipping, variance) = (X0Clipping::default(), DdpmVariance::FixedSmall);
        Ddpm::new(&schedule, &timesteps, EPSILON, clipping, variance).unwrap()
    };
    let inpainting = |resamplings| {
        let (known, mask) = (tensor(vec![0.3, -0.8]), tensor(vec![1.0, 0.0]));
        Inpainting::new(ddpm(), &schedule, &timesteps, known, mask, resamplings)
    };
    let mut calls = 0;
    let counted = |x, t| {
        calls += 1;
        model(x, t)
    };
    let noise = || tensor(vec![0.4, -0.9]);
    let states: Vec<_> = Denoising::new(
        inpainting(3).unwrap(),
        tensor(vec![0.5, 0.5]),
        counted,
        noise,
    )
    .collect();
    assert_eq!((states.len(), calls), (10, 9 * 3 + 1));
    // What is known is on its own chain all the way, and exact at its end.
    for (state, next) in states.iter().zip(&timesteps[1..]) {
        let alpha_cumprod = schedule.alpha_cumprod_at(*next);
        let expected = alpha_cumprod.sqrt() * 0.3 + (1.0 - alpha_cumprod).sqrt() * 0.4;
        assert!((values(state.x.clone())[0] - expected).abs() < 1e-12);
    }
    let last = values(states[9].x.clone());
    assert_eq!(last[0], 0.3);
    assert!(last[1] != -0.8 && last[1].abs() <= 1.0);
    assert!(inpainting(0).is_err());
}

/// With nothing known, one resampling is the sampler by itself.
#[test]
fn inpainting_of_everything_is_sampling() {
    let schedule = linear();
    let timesteps = TimestepSpacing::Trailing.timesteps(&schedule, 6).unwrap();
    let options = DdimOptions::default();
    let ddim = Ddim::new(
        &schedule,
        &timesteps,
        EPSILON,
        X0Clipping::default(),
        options,
    )
    .unwrap();
    let (known, mask) = (tensor(vec![0.3]), tensor(vec![0.0]));
    let inpainting = Inpainting::new(ddim.clone(), &schedule, &timesteps, known, mask, 1).unwrap();
    let start = || tensor(vec![0.7, -1.2]);
    let noise = || tensor(vec![0.1, 0.2]);
    let alone = Denoising::new(ddim, start(), model, noise).last().unwrap();
    let within = Denoising::new(inpainting, start(), model, noise)
        .last()
        .unwrap();
    assert_eq!(values(alone.x), values(within.x));
}

/// A step that is taken again is what it would be in a new sample that began there, and step 0 begins anew.
#[test]
fn a_step_that_is_taken_again_remembers_nothing() {
    let schedule = linear();
    let timesteps = TimestepSpacing::Trailing.timesteps(&schedule, 6).unwrap();
    let options = SamplerOptions::default();
    let clipping = X0Clipping::default();
    let start = || tensor(vec![0.7, -1.2]);
    let mut noise = || tensor(vec![0.1, -0.4]);
    for &kind in SamplerKind::ALL {
        let new = || -> Box<dyn Sampler<1>> {
            let sampler = kind.sampler(&schedule, &timesteps, EPSILON, clipping, &options);
            sampler.unwrap()
        };
        let mut sampler = new();
        for index in 0..6 {
            sampler.step(index, start(), &mut model, &mut noise);
            let elsewhere = start().add_scalar(0.3);
            let again = sampler
                .step(index, elsewhere.clone(), &mut model, &mut noise)
                .x;
            let afresh = new().step(index, elsewhere, &mut model, &mut noise).x;
            assert_eq!(values(again), values(afresh), "{kind}, step {index}");
        }
        let mut whole = |sampler: &mut Box<dyn Sampler<1>>| {
            let step = |x, index| sampler.step(index, x, &mut model, &mut noise).x;
            values((0..6).fold(start(), step))
        };
        assert_eq!(whole(&mut sampler), whole(&mut new()), "{kind}");
    }
}
