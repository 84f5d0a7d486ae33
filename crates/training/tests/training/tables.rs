//! Rows of a number and two categories, learned by a small network of the test's own and drawn again.

use std::convert::Infallible;

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::activation::silu;
use burn::tensor::{Device, Int, Tensor};
use denoising::{Denoising, MixedSampler, Sampler, SamplingOptions, TimestepSpacing, X0Clipping};
use noising::{NoiseConfig, PredictionType, Transition};
use training::*;

const COUNTS: [usize; 2] = [3, 2];
/// Eighths: how often each combination of categories is.
const EIGHTHS: [[usize; 2]; 3] = [[3, 0], [1, 1], [0, 3]];
const MEANS: [[f32; 2]; 3] = [[-1.2, 0.0], [0.2, -0.2], [0.0, 1.3]];
const DEVIATION: f32 = 0.3;
const ROWS: usize = 4096;

/// The number is normal around the mean of its combination.
struct Table {
    rows: Vec<[f32; 3]>,
}

impl Table {
    fn new() -> Self {
        let rng = &mut Streams::new(11).at(Purpose::Cloud, 0);
        let normals = streams::noise([ROWS], rng, &Device::flex());
        let normals: Vec<f32> = normals.try_into_vec_as().unwrap();
        let combinations: Vec<[usize; 2]> = (0..3)
            .flat_map(|a| (0..2).map(move |b| [a, b]))
            .flat_map(|[a, b]| vec![[a, b]; EIGHTHS[a][b]])
            .collect();
        let row = |(index, z): (usize, f32)| {
            let [a, b] = combinations[index % 8];
            [MEANS[a][b] + DEVIATION * z, a as f32, b as f32]
        };
        Self {
            rows: normals.into_iter().enumerate().map(row).collect(),
        }
    }
}

impl Data for Table {
    type Error = Infallible;

    fn len(&self) -> usize {
        ROWS
    }

    fn example_shape(&self) -> [usize; 3] {
        [3, 1, 1]
    }

    fn read(&self, indices: &[usize]) -> Result<Vec<f32>, Infallible> {
        Ok(indices.iter().flat_map(|&index| self.rows[index]).collect())
    }
}

#[derive(Module, Debug)]
struct Perceptron {
    layers: [Linear; 3],
}

impl Network for Perceptron {
    fn forward(&self, x_t: Tensor<4>, timesteps: &[f64], _: &Condition) -> Tensor<4> {
        let [batch, ..] = x_t.dims();
        let device = x_t.device();
        let t: Vec<f32> = timesteps
            .iter()
            .map(|&t| (t as f32 / 1000.0).sqrt())
            .collect();
        let mut inputs = vec![
            Tensor::<1>::from_floats(&t[..], &device).reshape([batch, 1]),
            x_t.clone().narrow(1, 0, 1).reshape([batch, 1]),
        ];
        for (column, count) in COUNTS.into_iter().enumerate() {
            let codes = x_t.clone().narrow(1, 1 + column, 1).reshape([batch, 1]);
            // With the mask as a category more.
            let states = Tensor::<1, Int>::arange(0..count as i64 + 1, &device).float();
            let states = states.unsqueeze::<2>().expand([batch, count + 1]);
            inputs.push(states.equal(codes.expand([batch, count + 1])).float());
        }
        let hidden = silu(self.layers[0].forward(Tensor::cat(inputs, 1)));
        let hidden = silu(self.layers[1].forward(hidden));
        self.layers[2].forward(hidden).reshape([batch, 6, 1, 1])
    }
}

/// Trains on the table and draws `count` rows; also the held-out losses before and after.
fn learn_and_draw(config: &ObjectiveConfig, count: usize) -> (Vec<f32>, [f64; 2]) {
    let (device, streams, start) = (Device::flex(), Streams::new(3), Position::default());
    device.seed(0);
    let linear = |[a, b]: [usize; 2]| LinearConfig::new(a, b).init(&device.clone().autodiff());
    let layers = [[2 + 4 + 3, 96], [96, 96], [96, 6]].map(linear);
    let chain = NoiseConfig::default().chain().unwrap();
    let objective = Objective::with_categories(chain, config, COUNTS.to_vec()).unwrap();
    let options = BatchOptions {
        batch_size: 256,
        ..BatchOptions::default()
    };
    let held_out = |learner: &Learner<Perceptron>| {
        let config = HeldOutConfig::default();
        let (network, objective) = (learner.averaged(), &learner.objective);
        let table = &Table::new();
        held_out_loss(
            &network, objective, table, &config, &options, streams, &device,
        )
        .unwrap()
        .mean
    };
    let mut batches = Batches::new(
        Table::new(),
        options.clone(),
        &objective,
        streams,
        start,
        &device,
    );
    let mut learner = Learner::with_defaults(Perceptron { layers }, objective);
    let before = held_out(&learner);
    for _ in 0..2500 {
        learner.step(vec![batches.next().unwrap()], 3e-3).unwrap();
    }
    let after = held_out(&learner);

    let network = learner.averaged();
    let chain = learner.objective.mixed_chain().clone();
    let sampling = SamplingOptions {
        num_inference_steps: 100,
        timestep_spacing: TimestepSpacing::Trailing,
        clipping: X0Clipping::None,
        eta: 1.0,
        ..SamplingOptions::default()
    };
    let timesteps = sampling.timesteps(chain.schedule()).unwrap();
    let numbers = sampling
        .sampler::<4>(chain.schedule(), &timesteps, config.prediction_type)
        .unwrap();
    let sampler = MixedSampler::<4, _>::new(numbers, chain.clone(), &timesteps).unwrap();
    assert_eq!(sampler.num_steps(), 100);
    let rng = &mut streams.at(Purpose::Sampling, 0);
    let mut noise = || streams::noise([count, 3, 1, 1], rng, &device);
    let start = chain.pure_noise(noise());
    let predict =
        |x_t: Tensor<4>, t: f64| network.forward(x_t, &vec![t; count], &Condition::none());
    let last = Denoising::new(sampler, start, predict, noise)
        .last()
        .unwrap();
    (last.x.try_into_vec_as().unwrap(), [before, after])
}

#[test]
fn a_small_network_learns_numbers_and_categories_together() {
    const DRAWN: usize = 4000;
    for (transition, category_loss) in [
        (Transition::Absorbing, CategoryLoss::Bound),
        (Transition::Absorbing, CategoryLoss::CrossEntropy),
        (Transition::Uniform, CategoryLoss::Bound),
    ] {
        let config = ObjectiveConfig {
            prediction_type: PredictionType::VPrediction,
            transition,
            category_loss,
            ..ObjectiveConfig::default()
        };
        let what = format!("{transition:?}, {category_loss:?}");
        let (rows, [before, after]) = learn_and_draw(&config, DRAWN);
        assert!(
            after < 0.85 * before,
            "{what}: held-out loss {before} and {after}"
        );
        for a in 0..3 {
            for b in 0..2 {
                let here = |row: &&[f32]| row[1] == a as f32 && row[2] == b as f32;
                let numbers: Vec<f32> = rows.chunks(3).filter(here).map(|row| row[0]).collect();
                let share = numbers.len() as f64 / DRAWN as f64;
                let expected = EIGHTHS[a][b] as f64 / 8.0;
                assert!((share - expected).abs() < 0.05, "{what}, {a} {b}: {share}");
                if EIGHTHS[a][b] == 0 {
                    continue;
                }
                let count = numbers.len() as f32;
                let mean = numbers.iter().sum::<f32>() / count;
                let variance = numbers.iter().map(|y| (y - mean).powi(2)).sum::<f32>() / count;
                assert!(
                    (mean - MEANS[a][b]).abs() < 0.15,
                    "{what}, {a} {b}: mean {mean}"
                );
                let deviation = variance.sqrt();
                assert!(
                    (deviation - DEVIATION).abs() < 0.15,
                    "{what}, {a} {b}: {deviation}"
                );
            }
        }
    }
}
