//! Rows of a number and two categorical columns, of a distribution for which p(x_0 | x_t) is known.
//!
//! Each of the 3 · 2 combinations of categories has a probability, and the number is normal around a mean of
//! the combination's own. Given x_t, the combinations are weighed by Bayes' rule; what the network says is
//! exact, and so samples differ from the data by what few steps leave out, and by chance.

use burn::tensor::{DType, Device, Tensor, TensorData};
use denoising::{
    Ddpm, DdpmVariance, Denoising, Inpainting, MixedSampler, Sampler, SamplerError, SamplerKind,
    SamplerOptions, TimestepSpacing, Unmasking, X0Clipping,
};
use noising::{MixedChain, NoiseSchedule, PredictionType, Transition};

use crate::torch_normal::TorchNormal;
use crate::{linear, values};

const COUNTS: [usize; 2] = [3, 2];
const PROBABILITIES: [[f64; 2]; 3] = [[0.3, 0.05], [0.1, 0.25], [0.05, 0.25]];
const MEANS: [[f64; 2]; 3] = [[-1.2, 0.8], [0.3, 1.1], [1.6, -0.7]];
const DEVIATION: f64 = 0.4;
const ROWS: usize = 8000;

type Rows = Tensor<4>;

fn rows_of<const N: usize>(rows: usize, values: Vec<f64>) -> Rows {
    let data = TensorData::new(values, [rows, N, 1, 1]);
    Tensor::from_data(data, (&Device::flex(), DType::F64))
}

/// p(x_t | x_0) of a category, up to a factor that is the same for all x_0.
fn likelihood(
    transition: Transition,
    alpha_cumprod: f64,
    count: usize,
    x_t: usize,
    x_0: usize,
) -> f64 {
    let same = f64::from(u8::from(x_t == x_0));
    match transition {
        Transition::Absorbing if x_t == count => 1.0,
        Transition::Absorbing => same,
        Transition::Uniform => alpha_cumprod * same + (1.0 - alpha_cumprod) / count as f64,
    }
}

/// E[y | x_t], and ln p(c | x_t) of each column.
fn answer(transition: Transition, alpha_cumprod: f64, row: &[f64]) -> [f64; 6] {
    let signal = alpha_cumprod.sqrt();
    let variance = alpha_cumprod * DEVIATION * DEVIATION + 1.0 - alpha_cumprod;
    let [mut total, mut mean] = [0.0; 2];
    let (mut first, mut second) = ([0.0; 3], [0.0; 2]);
    for a in 0..3 {
        for b in 0..2 {
            let away = row[0] - signal * MEANS[a][b];
            let weight = PROBABILITIES[a][b]
                * (-0.5 * away * away / variance).exp()
                * likelihood(transition, alpha_cumprod, 3, row[1] as usize, a)
                * likelihood(transition, alpha_cumprod, 2, row[2] as usize, b);
            total += weight;
            mean += weight * (MEANS[a][b] + signal * DEVIATION * DEVIATION * away / variance);
            first[a] += weight;
            second[b] += weight;
        }
    }
    let log = |weight: f64| (weight / total).ln();
    let [a, b, c] = first.map(log);
    let [d, e] = second.map(log);
    [mean / total, a, b, c, d, e]
}

fn network(schedule: &NoiseSchedule, transition: Transition) -> impl Fn(Rows, f64) -> Rows {
    move |x_t: Rows, t: f64| {
        let rows = x_t.dims()[0];
        let alpha_cumprod = schedule.alpha_cumprod_at(t);
        let x_t = values(x_t);
        let answers = x_t
            .chunks(3)
            .flat_map(|row| answer(transition, alpha_cumprod, row));
        rows_of::<6>(rows, answers.collect())
    }
}

fn noise(generator: &mut TorchNormal) -> Rows {
    let values = generator.randn(3 * ROWS).into_iter().map(f64::from);
    rows_of::<3>(ROWS, values.collect())
}

fn timesteps(schedule: &NoiseSchedule, steps: usize) -> Vec<f64> {
    TimestepSpacing::Trailing
        .timesteps(schedule, steps)
        .unwrap()
}

fn mixed_chain(schedule: &NoiseSchedule, transition: Transition) -> MixedChain {
    MixedChain::new(schedule.clone(), transition, COUNTS.to_vec()).unwrap()
}

fn of_kind(
    kind: SamplerKind,
    schedule: &NoiseSchedule,
    transition: Transition,
    steps: usize,
) -> MixedSampler<4, Box<dyn Sampler<4>>> {
    let timesteps = timesteps(schedule, steps);
    let numbers = plain_sampler(kind, schedule, &timesteps);
    MixedSampler::new(numbers, mixed_chain(schedule, transition), &timesteps).unwrap()
}

fn plain_sampler<const D: usize>(
    kind: SamplerKind,
    schedule: &NoiseSchedule,
    timesteps: &[f64],
) -> Box<dyn Sampler<D>> {
    let (options, clipping) = (SamplerOptions::default(), X0Clipping::None);
    kind.sampler(
        schedule,
        timesteps,
        PredictionType::Sample,
        clipping,
        &options,
    )
    .unwrap()
}

fn draw(
    sampler: impl Sampler<4>,
    schedule: &NoiseSchedule,
    transition: Transition,
    seed: u32,
) -> Vec<f64> {
    let mut generator = TorchNormal::new(seed);
    let start = mixed_chain(schedule, transition).pure_noise(noise(&mut generator));
    let states = Denoising::new(sampler, start, network(schedule, transition), || {
        noise(&mut generator)
    });
    values(states.last().unwrap().x)
}

/// How far rows are from a distribution over the combinations: the largest difference of a share, and of a
/// mean or a deviation of the number within a combination that is not rare.
fn distance(rows: &[f64], expected: &[[f64; 2]; 3]) -> [f64; 3] {
    let [mut share, mut mean, mut deviation] = [0.0_f64; 3];
    let total = (rows.len() / 3) as f64;
    for a in 0..3 {
        for b in 0..2 {
            let here = |row: &&[f64]| row[1] == a as f64 && row[2] == b as f64;
            let numbers: Vec<f64> = rows.chunks(3).filter(here).map(|row| row[0]).collect();
            let count = numbers.len() as f64;
            share = share.max((count / total - expected[a][b]).abs());
            if expected[a][b] < 0.1 {
                continue;
            }
            let centre = numbers.iter().sum::<f64>() / count;
            let variance = numbers.iter().map(|y| (y - centre).powi(2)).sum::<f64>() / count;
            mean = mean.max((centre - MEANS[a][b]).abs());
            deviation = deviation.max((variance.sqrt() - DEVIATION).abs());
        }
    }
    [share, mean, deviation]
}

fn assert_close(rows: &[f64], expected: &[[f64; 2]; 3], bounds: [f64; 3], what: &str) {
    let found = distance(rows, expected);
    let within = found
        .iter()
        .zip(bounds)
        .all(|(found, bound)| *found < bound);
    assert!(within, "{what}: {found:.4?}, not within {bounds:?}");
}

/// Four standard errors of a share, a mean and a deviation, of 8000 rows.
const CHANCE: [f64; 3] = [0.021, 0.058, 0.041];

fn allowing(steps: [f64; 3]) -> [f64; 3] {
    [0, 1, 2].map(|i| CHANCE[i] + steps[i])
}

#[test]
fn rows_come_out_as_often_as_they_are_probable() {
    let schedule = linear();
    for &transition in Transition::ALL {
        for (steps, left_out) in [
            (10, [0.05, 0.16, 0.12]),
            (50, [0.012, 0.04, 0.03]),
            (1000, [0.0; 3]),
        ] {
            let sampler = of_kind(SamplerKind::Ddpm, &schedule, transition, steps);
            let rows = draw(sampler, &schedule, transition, 1);
            let what = format!("{transition:?}, {steps} steps");
            assert_close(&rows, &PROBABILITIES, allowing(left_out), &what);
        }
    }
}

/// Two steps do not pass: the columns are then all but independent.
#[test]
fn few_steps_do_not_pass() {
    let schedule = linear();
    for &transition in Transition::ALL {
        let sampler = of_kind(SamplerKind::Ddpm, &schedule, transition, 2);
        let rows = draw(sampler, &schedule, transition, 1);
        assert!(distance(&rows, &PROBABILITIES)[0] > 0.05, "{transition:?}");
    }
}

#[test]
fn every_sampler_of_numbers_will_do() {
    let schedule = linear();
    for &transition in Transition::ALL {
        for &kind in SamplerKind::ALL {
            let sampler = of_kind(kind, &schedule, transition, 50);
            let rows = draw(sampler, &schedule, transition, 2);
            let what = format!("{transition:?}, {kind}");
            assert_close(&rows, &PROBABILITIES, allowing([0.02, 0.08, 0.06]), &what);
        }
    }
}

/// Where the chain ends without signal, too.
#[test]
fn from_zero_snr() {
    let schedule = linear().rescale_zero_terminal_snr();
    for &transition in Transition::ALL {
        let sampler = of_kind(SamplerKind::Ddim, &schedule, transition, 60);
        let rows = draw(sampler, &schedule, transition, 3);
        let what = format!("{transition:?}");
        assert_close(&rows, &PROBABILITIES, allowing([0.02, 0.08, 0.06]), &what);
    }
}

fn one_row<const N: usize>(values: [f64; N]) -> Rows {
    rows_of::<N>(1, values.to_vec())
}

/// A known category: it is kept in every row, and the rest has its distribution given it.
#[test]
fn known_categories_are_kept_and_the_rest_goes_by_them() {
    let schedule = linear();
    let given = PROBABILITIES[1];
    let total: f64 = given.iter().sum();
    let expected = [[0.0; 2], given.map(|p| p / total), [0.0; 2]];
    for (transition, steps, resamplings, left_out) in [
        (Transition::Absorbing, 200, 1, [0.01, 0.02, 0.02]),
        (Transition::Uniform, 50, 10, [0.05, 0.1, 0.1]),
    ] {
        let sampler = of_kind(SamplerKind::Ddpm, &schedule, transition, steps)
            .keeping(
                one_row([9.0, 1.0, 9.0]),
                one_row([0.0, 1.0, 0.0]),
                resamplings,
            )
            .unwrap();
        let rows = draw(sampler, &schedule, transition, 4);
        assert!(rows.chunks(3).all(|row| row[1] == 1.0), "{transition:?}");
        let what = format!("{transition:?}");
        assert_close(&rows, &expected, allowing(left_out), &what);
    }
}

/// A known number: it is kept to the bit, and the categories are as probable as Bayes' rule says.
#[test]
fn known_numbers_are_kept_and_the_rest_goes_by_them() {
    let schedule = linear();
    const KNOWN: f64 = 0.75;
    let weight = |a: usize, b: usize| {
        let away = (KNOWN - MEANS[a][b]) / DEVIATION;
        PROBABILITIES[a][b] * (-0.5 * away * away).exp()
    };
    let total: f64 = (0..3).map(|a| weight(a, 0) + weight(a, 1)).sum();
    let expected = [0, 1, 2].map(|a| [weight(a, 0) / total, weight(a, 1) / total]);
    for &transition in Transition::ALL {
        // What is unmasked under a noisy number must be masked again to come to fit it.
        let [steps, resamplings] = match transition {
            Transition::Absorbing => [50, 40],
            _ => [50, 10],
        };
        let sampler = of_kind(SamplerKind::Ddpm, &schedule, transition, steps)
            .keeping(
                one_row([KNOWN, 0.0, 0.0]),
                one_row([1.0, 0.0, 0.0]),
                resamplings,
            )
            .unwrap();
        let rows = draw(sampler, &schedule, transition, 5);
        assert!(rows.chunks(3).all(|row| row[0] == KNOWN), "{transition:?}");
        let share = distance(&rows, &expected)[0];
        assert!(share < 0.021 + 0.05, "{transition:?}: {share}");
    }
}

/// Cells that are known in some rows and not in others, and rows of which everything is known.
#[test]
fn each_row_keeps_its_own_cells() {
    let schedule = linear();
    for &transition in Transition::ALL {
        let x_0 = [0.7, 2.0, 1.0, -0.2, 1.0, 0.0].repeat(ROWS / 2);
        let mask = [1.0, 1.0, 1.0, 0.0, 0.0, 1.0].repeat(ROWS / 2);
        let sampler = of_kind(SamplerKind::Heun, &schedule, transition, 5)
            .keeping(rows_of::<3>(ROWS, x_0), rows_of::<3>(ROWS, mask), 2)
            .unwrap();
        let rows = draw(sampler, &schedule, transition, 6);
        for pair in rows.chunks(6) {
            assert_eq!((&pair[..3], pair[5]), (&[0.7, 2.0, 1.0][..], 0.0));
            assert!(pair[3] != -0.2 && pair[4] < 3.0);
        }
    }
}

/// In an order, and a certain number a step: the same distribution, for the cells are drawn one by one.
#[test]
fn masks_may_be_lifted_in_any_order() {
    let schedule = linear();
    let transition = Transition::Absorbing;
    for unmasking in [
        Unmasking::Random,
        Unmasking::Order(vec![0, 1]),
        Unmasking::Order(vec![1, 0]),
    ] {
        let sampler = of_kind(SamplerKind::Ddpm, &schedule, transition, 100)
            .unmasking(unmasking.clone())
            .unwrap();
        let rows = draw(sampler, &schedule, transition, 7);
        let what = format!("{unmasking:?}");
        assert_close(&rows, &PROBABILITIES, allowing([0.01, 0.03, 0.03]), &what);
    }
}

/// Ten columns and no number: how many cells are masked at each step, and which.
#[test]
fn an_order_lifts_so_many_masks_a_step() {
    const COLUMNS: usize = 10;
    let schedule = linear();
    let timesteps = timesteps(&schedule, 20);
    // The further left, the fewer categories there are, and so the surer is a network that knows nothing.
    let counts: Vec<usize> = (1..=COLUMNS).collect();
    let num_logits = counts.iter().sum::<usize>();
    let chain = MixedChain::new(schedule.clone(), Transition::Absorbing, counts.clone()).unwrap();
    let flat = |rows: usize, values: Vec<f64>| {
        let data = TensorData::new(values, [rows, COLUMNS]);
        Tensor::<2>::from_data(data, (&Device::flex(), DType::F64))
    };
    let network = |x_t: Tensor<2>, _| {
        assert_eq!(x_t.dims()[1], COLUMNS);
        x_t.narrow(1, 0, 1).zeros_like().repeat_dim(1, num_logits)
    };
    // The fifth column is known.
    let mask = flat(
        1,
        (0..COLUMNS).map(|c| f64::from(u8::from(c == 4))).collect(),
    );
    let orders = [
        Unmasking::ByChance,
        Unmasking::Random,
        Unmasking::Confidence,
        Unmasking::Order(vec![3, 1, 4, 0, 2, 5, 9, 8, 7, 6]),
    ];
    for unmasking in orders {
        let numbers: Box<dyn Sampler<2>> = plain_sampler(SamplerKind::Euler, &schedule, &timesteps);
        let sampler = MixedSampler::new(numbers, chain.clone(), &timesteps)
            .unwrap()
            .unmasking(unmasking.clone())
            .unwrap()
            .keeping(flat(1, vec![3.0; COLUMNS]), mask.clone(), 7)
            .unwrap();
        let mut generator = TorchNormal::new(9);
        let mut noise = || {
            let values = generator.randn(16 * COLUMNS).into_iter().map(f64::from);
            flat(16, values.collect())
        };
        let start = chain.pure_noise(noise());
        let mut before = values(start.clone());
        // The order in which columns are lifted, where it is fixed.
        let order = match &unmasking {
            Unmasking::Order(order) => Some(order.clone()),
            Unmasking::Confidence => Some((0..COLUMNS).collect()),
            _ => None,
        };
        let order: Option<Vec<usize>> =
            order.map(|order| order.into_iter().filter(|&c| c != 4).collect());
        let levels = timesteps[1..].iter().map(|&t| schedule.alpha_cumprod_at(t));
        let levels: Vec<f64> = levels.chain([1.0]).collect();
        for (state, to) in Denoising::new(sampler, start, network, noise).zip(levels) {
            let x = values(state.x);
            let left = ((1.0 - to) * 9.0).round() as usize;
            for (row, before) in x.chunks(COLUMNS).zip(before.chunks(COLUMNS)) {
                assert_eq!(row[4], 3.0);
                let is_masked = |row: &[f64], c: usize| row[c] == counts[c] as f64;
                let stays = |c: usize| c == 4 || is_masked(before, c) || before[c] == row[c];
                assert!((0..COLUMNS).all(stays), "what is unmasked stays");
                let masked: Vec<usize> = (0..COLUMNS).filter(|&c| is_masked(row, c)).collect();
                if unmasking != Unmasking::ByChance {
                    assert_eq!(masked.len(), left, "{unmasking:?}");
                }
                if let Some(order) = &order {
                    let mut last = order[9 - left..].to_vec();
                    last.sort_unstable();
                    assert_eq!(masked, last, "{unmasking:?}");
                }
            }
            before = x;
        }
        for row in before.chunks(COLUMNS) {
            assert!(
                row.iter()
                    .zip(&counts)
                    .all(|(code, count)| *code < *count as f64)
            );
        }
    }
}

/// A sampler that calls the network twice a step shows it the same categories, and they are drawn by the
/// first answer.
#[test]
fn every_call_of_a_step_sees_the_categories_of_x_t() {
    let schedule = linear();
    let timesteps = timesteps(&schedule, 4);
    let chain = MixedChain::new(schedule.clone(), Transition::Absorbing, vec![2]).unwrap();
    for kind in [SamplerKind::Heun, SamplerKind::DpmSolver2S] {
        let numbers: Box<dyn Sampler<2>> = plain_sampler(kind, &schedule, &timesteps);
        let mut sampler = MixedSampler::new(numbers, chain.clone(), &timesteps).unwrap();
        let row = |values: Vec<f64>| {
            let len = values.len();
            let data = TensorData::new(values, [1, len]);
            Tensor::<2>::from_data(data, (&Device::flex(), DType::F64))
        };
        for (index, code) in [(0, 2.0), (1, 2.0), (1, 0.0), (3, 1.0)] {
            let mut calls = Vec::new();
            let mut model = |x: Tensor<2>, t: f64| {
                calls.push((values(x)[1], t));
                // The first answer is sure of 1, the others of 0.
                let sure = if calls.len() == 1 { 90.0 } else { -90.0 };
                row(vec![0.1, 0.0, sure])
            };
            let x_t = row(vec![0.4, code]);
            let state = sampler.step(index, x_t, &mut model, &mut || row(vec![0.3, -4.0]));
            assert_eq!(calls.len(), if index == 3 { 1 } else { 2 }, "{kind}");
            assert!(calls.iter().all(|call| call.0 == code), "{kind}: {calls:?}");
            assert_eq!(
                (calls[0].1, state.timestep),
                (timesteps[index], timesteps[index])
            );
            let drawn = if code == 2.0 { 1.0 } else { code };
            assert_eq!(values(state.x)[1], drawn);
            assert_eq!(values(state.predicted_x_0)[1], 1.0);
        }
    }
}

/// Without categories it is the sampler of the numbers, and with known ones it is inpainting.
#[test]
fn rows_of_numbers_alone_are_sampled_as_ever() {
    let schedule = linear();
    let timesteps = timesteps(&schedule, 6);
    let network = |x: Tensor<2>, t: f64| x.mul_scalar(0.6).add_scalar(t / 3000.0);
    let row = |values: [f64; 2]| {
        let data = TensorData::new(values.to_vec(), [1, 2]);
        Tensor::<2>::from_data(data, (&Device::flex(), DType::F64))
    };
    let numbers = || plain_sampler::<2>(SamplerKind::Ddpm, &schedule, &timesteps);
    let chain = MixedChain::new(schedule.clone(), Transition::Absorbing, Vec::new()).unwrap();
    let mixed = || MixedSampler::<2, _>::new(numbers(), chain.clone(), &timesteps).unwrap();
    let end = |sampler: Box<dyn Sampler<2>>| {
        let mut draws = 0.0;
        let noise = || {
            draws += 1.0;
            row([draws / 7.0, -0.3])
        };
        let states = Denoising::new(sampler, row([0.7, -1.1]), network, noise);
        values(states.last().unwrap().x)
    };
    assert_eq!(end(Box::new(mixed())), end(numbers()));
    let (known, mask) = (row([0.4, 9.0]), row([1.0, 0.0]));
    let kept = mixed().keeping(known.clone(), mask.clone(), 3).unwrap();
    let inpainting = Inpainting::new(numbers(), &schedule, &timesteps, known, mask, 3).unwrap();
    let [kept, expected] = [end(Box::new(kept)), end(Box::new(inpainting))];
    assert!(
        kept.iter()
            .zip(expected)
            .all(|(a, b)| (a - b).abs() < 1e-12)
    );
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let schedule = linear();
    let sampler = |transition| of_kind(SamplerKind::Ddim, &schedule, transition, 3);
    let error = |unmasking, transition| sampler(transition).unmasking(unmasking).err().unwrap();
    assert_eq!(
        error(Unmasking::Random, Transition::Uniform),
        SamplerError::NoMasks
    );
    for order in [vec![0], vec![0, 0], vec![1, 2], vec![0, 1, 1]] {
        let error = error(Unmasking::Order(order), Transition::Absorbing);
        assert_eq!(error, SamplerError::Order { columns: 2 });
    }
    let mask = one_row([0.0, 1.0, 0.0]);
    let kept = sampler(Transition::Absorbing).keeping(mask.clone(), mask, 0);
    assert!(kept.err().unwrap().to_string().contains("resamplings is 0"));
    let timesteps = [5.0, 7.0];
    let numbers = Ddpm::new(
        &schedule,
        &[7.0, 5.0],
        PredictionType::Sample,
        X0Clipping::None,
        DdpmVariance::FixedSmall,
    );
    let chain = mixed_chain(&schedule, Transition::Uniform);
    let unsorted = MixedSampler::<4, _>::new(numbers.unwrap(), chain, &timesteps);
    assert!(matches!(
        unsorted.unwrap_err(),
        SamplerError::NotFalling { .. }
    ));
}
