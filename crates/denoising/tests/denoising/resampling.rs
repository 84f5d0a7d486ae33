//! Inpainting of Gaussian data, for which both the best network and the distribution of what is filled in
//! are known.
//!
//! x is N(0, Σ) in the plane, with unit variances and correlation ρ; x_1 is known. What is filled in should
//! be N(ρ x_1, 1 − ρ²). Every sampler is an affine map of the noises that it draws, so mean and variance
//! are read off exactly: one row of the batch gets no noise, each other row one noise alone.

use burn::tensor::Tensor;
use denoising::{Denoising, Inpainting, SamplerKind, SamplerOptions, TimestepSpacing, X0Clipping};
use noising::PredictionType;

use crate::{linear, tensor, values};

const CORRELATION: f64 = 0.9;
const KNOWN: f64 = 1.5;

/// Mean and variance of x_2.
fn filled_in(kind: SamplerKind, steps: usize, resamplings: usize) -> [f64; 2] {
    let schedule = linear();
    let timesteps = TimestepSpacing::Trailing
        .timesteps(&schedule, steps)
        .unwrap();
    // ε = √(1 − ᾱ) Σ_t⁻¹ x_t, where Σ_t has 1 on its diagonal and ᾱ ρ beside it.
    let model = |x: Tensor<2>, t: f64| {
        let alpha_cumprod = schedule.alpha_cumprod_at(t);
        let across = alpha_cumprod * CORRELATION;
        let scale = (1.0 - alpha_cumprod).sqrt() / (1.0 - across * across);
        let inverse = tensor([1.0, -across, -across, 1.0].map(|a| a * scale).to_vec());
        x.matmul(inverse.reshape([2, 2]))
    };
    let run = |rows: usize, noise: &mut dyn FnMut(usize) -> Tensor<2>| {
        let mut known = vec![0.0; 2 * rows];
        known[0] = KNOWN;
        let known = tensor(known).reshape([rows, 2]);
        let mask = tensor(vec![1.0, 0.0]).reshape([1, 2]);
        let (kind_of_prediction, clipping) = (PredictionType::Epsilon, X0Clipping::None);
        let options = SamplerOptions::default();
        let sampler = kind
            .sampler(
                &schedule,
                &timesteps,
                kind_of_prediction,
                clipping,
                &options,
            )
            .unwrap();
        let inpainting =
            Inpainting::new(sampler, &schedule, &timesteps, known, mask, resamplings).unwrap();
        let mut draws = 0;
        let start = noise(0);
        let next = || {
            draws += 1;
            noise(draws)
        };
        let last = Denoising::new(inpainting, start, model, next).last();
        (values(last.unwrap().x), draws + 1)
    };
    let (_, draws) = run(1, &mut |_| tensor(vec![0.0; 2]).reshape([1, 2]));
    let rows = 1 + 2 * draws;
    let (x, _) = run(rows, &mut |draw| {
        let mut noise = vec![0.0; 2 * rows];
        for component in 0..2 {
            noise[2 * (1 + 2 * draw + component) + component] = 1.0;
        }
        tensor(noise).reshape([rows, 2])
    });
    let x_2 = x.chunks(2).map(|row| row[1]);
    let mean = x[1];
    [mean, x_2.skip(1).map(|x| x * x).sum()]
}

/// The most that mean and variance may be off with 1, 4 and 10 resamplings. Replacing what is known is no
/// exact conditioning (Lugmayr et al. 2022): it takes resamplings to come near, and these are what samplers
/// that remember nothing leave. Those that do must do no worse.
const BOUNDS: [(usize, f64, f64); 3] = [(1, 0.7, 0.26), (4, 0.3, 0.09), (10, 0.17, 0.06)];

#[test]
fn what_is_filled_in_has_its_distribution() {
    let (mean, variance) = (CORRELATION * KNOWN, 1.0 - CORRELATION * CORRELATION);
    for &kind in SamplerKind::ALL {
        for steps in [20, 50] {
            for (resamplings, mean_bound, variance_bound) in BOUNDS {
                let found = filled_in(kind, steps, resamplings);
                assert!(
                    (found[0] - mean).abs() < mean_bound
                        && (found[1] - variance).abs() < variance_bound,
                    "{kind}, {steps} steps, {resamplings} resamplings: mean and variance {found:.3?}, \
                     not [{mean:.3}, {variance:.3}]"
                );
            }
        }
    }
}
