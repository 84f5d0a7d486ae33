//! Data that is N(μ, Σ) has an exact network, which is affine in x_t: in the eigenbasis of Σ, with s² the
//! eigenvalue,
//!
//! E[x_0 | x_t] = μ + √ᾱ_t s² (x_t − √ᾱ_t μ) / (ᾱ_t s² + 1 − ᾱ_t),
//! E[ε | x_t] = √(1 − ᾱ_t) (x_t − √ᾱ_t μ) / (ᾱ_t s² + 1 − ᾱ_t).
//!
//! So every sampler maps its start and its noises to the sample by an affine map, whose coefficients are
//! read off exactly: there is no sampling error in these tests.

use std::cell::Cell;

use burn::tensor::Tensor;
use denoising::{
    Ddim, DdimOptions, Ddpm, DdpmVariance, Deis, Denoising, DpmSolver2M, DpmSolver2MSde,
    DpmSolver2S, Heun, HeunOptions, MultistepOptions, Sampler, SamplerKind, SamplerOptions,
    TimestepSpacing, UniPc, X0Clipping, euler, euler_ancestral,
};
use noising::{Marginal, NoiseSchedule, PredictionType};

use crate::{linear, tensor, values};

/// Data in the plane: a long, narrow cloud that lies aslant.
const DIM: usize = 2;
const MEAN: [f64; DIM] = [0.4, -0.7];
/// Deviations along the axes, which are turned by this angle.
const STDS: [f64; DIM] = [0.3, 1.2];
const ANGLE: f64 = 0.6;

const PREDICTION_TYPES: [PredictionType; 3] = [
    PredictionType::Epsilon,
    PredictionType::Sample,
    PredictionType::VPrediction,
];

/// A distribution: its mean, and its covariance row by row.
type Distribution = [f64; DIM + DIM * DIM];

fn vectors(values: Vec<f64>) -> Tensor<2> {
    let rows = values.len() / DIM;
    tensor(values).reshape([rows, DIM])
}

/// From the axes of the data to the plane; its transpose leads back.
fn rotation() -> Tensor<2> {
    let (sin, cos) = ANGLE.sin_cos();
    vectors(vec![cos, sin, -sin, cos])
}

/// A variance along each axis as a covariance in the plane.
fn covariance(variances: [f64; DIM]) -> [f64; DIM * DIM] {
    let (sin, cos) = ANGLE.sin_cos();
    let [a, b] = variances;
    let across = (a - b) * sin * cos;
    [
        a * cos * cos + b * sin * sin,
        across,
        across,
        a * sin * sin + b * cos * cos,
    ]
}

/// The distribution of x_t.
fn distribution_at(alpha_cumprod: f64) -> Distribution {
    let mean = MEAN.map(|mean| alpha_cumprod.sqrt() * mean);
    let [a, b, c, d] = covariance(STDS.map(|s| alpha_cumprod * s * s + 1.0 - alpha_cumprod));
    [mean[0], mean[1], a, b, c, d]
}

fn exact_model(
    schedule: &NoiseSchedule,
    prediction_type: PredictionType,
) -> impl Fn(Tensor<2>, f64) -> Tensor<2> {
    move |x_t, t| {
        let alpha_cumprod = schedule.alpha_cumprod_at(t);
        let (signal, variance) = (alpha_cumprod.sqrt(), 1.0 - alpha_cumprod);
        let mean = vectors(MEAN.to_vec());
        let centred = (x_t - mean.clone().mul_scalar(signal)).matmul(rotation().transpose());
        let along = |coefficient: &dyn Fn(f64) -> f64| {
            let coefficients = vectors(STDS.map(|s| coefficient(s * s)).to_vec());
            (centred.clone() * coefficients).matmul(rotation())
        };
        let x_0 = mean + along(&|s2| signal * s2 / (alpha_cumprod * s2 + variance));
        let epsilon = along(&|s2| variance.sqrt() / (alpha_cumprod * s2 + variance));
        Marginal::new(alpha_cumprod).target(prediction_type, x_0, epsilon)
    }
}

/// The distributions of the states of a sampler whose start has the distribution of x_T.
///
/// Row 0 begins at the mean and sees no noise; each pair of further rows turns on one of the independent
/// sources of randomness, the start or the noise of one step, along each axis of the plane.
fn distributions(
    sampler: impl Sampler<2>,
    schedule: &NoiseSchedule,
    prediction_type: PredictionType,
) -> Vec<Distribution> {
    let sources = sampler.num_steps() + 1;
    let rows = 1 + DIM * sources;
    let alpha_cumprod = schedule.alphas_cumprod()[schedule.num_train_timesteps() - 1];
    let mean = MEAN.map(|mean| alpha_cumprod.sqrt() * mean);
    let stds = STDS.map(|s| (alpha_cumprod * s * s + 1.0 - alpha_cumprod).sqrt());
    let along_axes = values(vectors(vec![stds[0], 0.0, 0.0, stds[1]]).matmul(rotation()));
    let mut start = mean.repeat(rows);
    for (place, along) in start[DIM..].iter_mut().zip(along_axes) {
        *place += along;
    }

    let calls = Cell::new(0);
    let noise = || {
        calls.set(calls.get() + 1);
        let mut unit = vec![0.0; rows * DIM];
        let first = (1 + DIM * calls.get()) * DIM;
        unit[first] = 1.0;
        unit[first + 3] = 1.0;
        vectors(unit)
    };
    let model = exact_model(schedule, prediction_type);
    Denoising::new(sampler, vectors(start), model, noise)
        .map(|state| {
            let x = values(state.x);
            let mut distribution = [0.0; DIM + DIM * DIM];
            distribution[..DIM].copy_from_slice(&x[..DIM]);
            for row in x[DIM..].chunks_exact(DIM) {
                let [u, v] = [row[0] - x[0], row[1] - x[1]];
                for (sum, product) in
                    distribution[DIM..]
                        .iter_mut()
                        .zip([u * u, u * v, v * u, v * v])
                {
                    *sum += product;
                }
            }
            distribution
        })
        .collect()
}

fn distance(distribution: &Distribution, other: &Distribution) -> f64 {
    let differences = distribution.iter().zip(other).map(|(a, b)| (a - b).abs());
    differences.fold(0.0, f64::max)
}

/// How far the samples are from the data.
fn error(sampler: impl Sampler<2>, schedule: &NoiseSchedule, kind: PredictionType) -> f64 {
    let distributions = distributions(sampler, schedule, kind);
    distance(distributions.last().unwrap(), &distribution_at(1.0))
}

fn trailing(schedule: &NoiseSchedule, steps: usize) -> Vec<f64> {
    TimestepSpacing::Trailing
        .timesteps(schedule, steps)
        .unwrap()
}

fn ddim(schedule: &NoiseSchedule, steps: usize, kind: PredictionType, eta: f64) -> Ddim {
    let timesteps = trailing(schedule, steps);
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
    let timesteps = trailing(schedule, steps);
    Ddpm::new(schedule, &timesteps, kind, X0Clipping::None, variance).unwrap()
}

type Named = (&'static str, Box<dyn Sampler<2>>);

/// Every sampler of the probability flow over these timesteps, and its order.
fn of_the_flow(
    schedule: &NoiseSchedule,
    timesteps: &[f64],
    kind: PredictionType,
) -> Vec<(Named, f64)> {
    let clipping = X0Clipping::None;
    let multistep = MultistepOptions::default();
    let heun = Heun::new(schedule, timesteps, kind, clipping, HeunOptions::default());
    let dpm_2m = DpmSolver2M::new(schedule, timesteps, kind, clipping, multistep);
    let dpm_2s = DpmSolver2S::new(schedule, timesteps, kind, clipping);
    let uni_pc = UniPc::new(schedule, timesteps, kind, clipping, multistep);
    let deis = Deis::new(schedule, timesteps, kind, clipping);
    let euler = euler(schedule, timesteps, kind, clipping);
    vec![
        (("euler", Box::new(euler.unwrap())), 1.0),
        (("heun", Box::new(heun.unwrap())), 2.0),
        (("dpmpp-2m", Box::new(dpm_2m.unwrap())), 2.0),
        (("dpmpp-2s", Box::new(dpm_2s.unwrap())), 2.0),
        (("deis", Box::new(deis.unwrap())), 2.0),
        // The corrector adds one to the order of the predictor (Zhao et al. 2023, theorem 3.1).
        (("unipc", Box::new(uni_pc.unwrap())), 3.0),
    ]
}

/// Every sampler that draws noise over these timesteps.
fn with_noise(schedule: &NoiseSchedule, timesteps: &[f64], kind: PredictionType) -> Vec<Named> {
    let clipping = X0Clipping::None;
    let churn = HeunOptions {
        s_churn: 20.0,
        ..HeunOptions::default()
    };
    let ddpm = |variance| Ddpm::new(schedule, timesteps, kind, clipping, variance).unwrap();
    let ancestral = euler_ancestral(schedule, timesteps, kind, clipping);
    let sde = DpmSolver2MSde::new(schedule, timesteps, kind, clipping);
    let heun = Heun::new(schedule, timesteps, kind, clipping, churn);
    vec![
        ("ddpm small", Box::new(ddpm(DdpmVariance::FixedSmall))),
        ("ddpm large", Box::new(ddpm(DdpmVariance::FixedLarge))),
        ("euler-ancestral", Box::new(ancestral.unwrap())),
        ("dpmpp-2m-sde", Box::new(sde.unwrap())),
        ("heun with churn", Box::new(heun.unwrap())),
    ]
}

/// On arrival at t = 0, before the last step, which is of first order in every sampler. Twice as many
/// steps divide the error by 2 to the power of the order.
#[test]
fn samplers_of_the_flow_converge_at_their_order() {
    let schedule = linear();
    let kind = PredictionType::Epsilon;
    let expected = distribution_at(schedule.alphas_cumprod()[0]);
    let errors = [33, 65, 129].map(|steps| {
        let timesteps = TimestepSpacing::Karras.timesteps(&schedule, steps).unwrap();
        of_the_flow(&schedule, &timesteps, kind)
            .into_iter()
            .map(|((name, sampler), order)| {
                let distributions = distributions(sampler, &schedule, kind);
                (name, order, distance(&distributions[steps - 2], &expected))
            })
            .collect::<Vec<_>>()
    });
    for (i, &(name, order, finest)) in errors[2].iter().enumerate() {
        for (coarse, fine) in [(errors[0][i].2, errors[1][i].2), (errors[1][i].2, finest)] {
            let slope = (coarse / fine).log2();
            assert!(
                (slope - order).abs() < 0.3,
                "{name}: order {slope}, from {coarse:e} to {fine:e}"
            );
        }
    }
}

#[test]
fn samplers_with_noise_converge() {
    let schedule = linear();
    let kind = PredictionType::Epsilon;
    let errors = [20, 40, 80, 160].map(|steps| {
        let timesteps = TimestepSpacing::Karras.timesteps(&schedule, steps).unwrap();
        with_noise(&schedule, &timesteps, kind)
            .into_iter()
            .map(|(name, sampler)| (name, error(sampler, &schedule, kind)))
            .collect::<Vec<_>>()
    });
    for i in 0..errors[0].len() {
        let name = errors[0][i].0;
        let errors = [0, 1, 2, 3].map(|n| errors[n][i].1);
        for pair in errors.windows(2) {
            let slope = (pair[0] / pair[1]).log2();
            assert!(slope > 0.7, "{name}: order {slope}, errors {errors:?}");
        }
    }
}

#[test]
fn ddim_converges_to_the_data_over_all_steps() {
    let schedule = linear();
    let kind = PredictionType::Epsilon;
    let all = error(ddim(&schedule, 1000, kind, 0.0), &schedule, kind);
    assert!(all < 5e-3, "error {all} over all steps");
}

#[test]
fn ddpm_converges_to_the_data() {
    let schedule = linear();
    let kind = PredictionType::Epsilon;
    for variance in [DdpmVariance::FixedSmall, DdpmVariance::FixedLarge] {
        let errors = [50, 100, 200, 400, 1000]
            .map(|steps| error(ddpm(&schedule, steps, kind, variance), &schedule, kind));
        assert!(
            errors.is_sorted_by(|a, b| a > b),
            "{variance:?}: {errors:?}"
        );
        assert!(errors[4] < 2e-2, "{variance:?}: {errors:?}");
    }
}

#[test]
fn what_the_network_predicts_makes_no_difference() {
    let schedule = linear();
    let samplers = |kind| {
        let timesteps = TimestepSpacing::LogLinear.timesteps(&schedule, 12).unwrap();
        let flow = of_the_flow(&schedule, &timesteps, kind);
        let flow = flow.into_iter().map(|(named, _)| named);
        flow.chain(with_noise(&schedule, &timesteps, kind))
    };
    let distribution = |sampler, kind| *distributions(sampler, &schedule, kind).last().unwrap();
    let epsilon = PredictionType::Epsilon;
    let expected: Vec<Distribution> = samplers(epsilon)
        .map(|(_, sampler)| distribution(sampler, epsilon))
        .collect();
    for kind in PREDICTION_TYPES {
        for ((name, sampler), expected) in samplers(kind).zip(&expected) {
            let difference = distance(&distribution(sampler, kind), expected);
            assert!(difference < 1e-9, "{name}, {kind:?}: {difference}");
        }
    }
}

/// v-prediction from pure noise: zero terminal SNR must leave no trace of NaN.
#[test]
fn zero_terminal_snr() {
    let schedule = linear().rescale_zero_terminal_snr();
    for kind in [PredictionType::Sample, PredictionType::VPrediction] {
        let few = error(ddim(&schedule, 50, kind, 0.0), &schedule, kind);
        let many = error(ddim(&schedule, 1000, kind, 0.0), &schedule, kind);
        assert!(many < 5e-3 && many < few, "{kind:?}: {few} then {many}");
        let timesteps = trailing(&schedule, 200);
        let flow = of_the_flow(&schedule, &timesteps, kind);
        let flow = flow.into_iter().map(|(named, _)| named);
        for (name, sampler) in flow.chain(with_noise(&schedule, &timesteps, kind)) {
            let error = error(sampler, &schedule, kind);
            assert!(error < 0.1, "{name}, {kind:?}: {error}");
        }
    }
}

/// Every sampler that has a name, so that a new one is held to it too: over more steps it comes nearer to the
/// data, from zero SNR as well.
#[test]
fn every_sampler_comes_to_the_data() {
    let schedule = linear();
    for (schedule, kind) in [
        (schedule.clone(), PredictionType::Epsilon),
        (
            schedule.rescale_zero_terminal_snr(),
            PredictionType::VPrediction,
        ),
    ] {
        for &name in SamplerKind::ALL {
            let [few, many] = [50, 200].map(|steps| {
                let (timesteps, clipping) = (trailing(&schedule, steps), X0Clipping::None);
                let options = SamplerOptions::default();
                let sampler = name.sampler(&schedule, &timesteps, kind, clipping, &options);
                error(sampler.unwrap(), &schedule, kind)
            });
            assert!(many < 0.6 * few && many < 0.1, "{name}: {few} then {many}");
        }
    }
}

/// Step by step on the same x_t and the same noise, clipped x_0 included: equal coefficients, so equal
/// distributions.
#[test]
fn ddim_with_eta_1_is_ddpm() {
    let schedule = linear();
    let model = |x_t: Tensor<1>, t: f64| x_t.mul_scalar(0.7).add_scalar(0.2 * (t / 300.0).sin());
    for (steps, clipping) in [
        (1000, X0Clipping::None),
        (1000, X0Clipping::default()),
        (7, X0Clipping::default()),
    ] {
        let timesteps = trailing(&schedule, steps);
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
