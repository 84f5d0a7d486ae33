//! Trains a network of its own on data of its own, points on a circle, and samples from it.
use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Tensor, activation::silu};
use denoising::{Denoising, TimestepSpacing, X0Clipping, euler};
use noising::NoiseConfig;
use std::{convert::Infallible, error::Error, f32::consts::TAU};
use training::*;

struct Circle;
impl Data for Circle {
    type Error = Infallible;
    fn len(&self) -> usize {
        1000
    }
    fn example_shape(&self) -> [usize; 3] {
        [2, 1, 1]
    }
    fn read(&self, indices: &[usize]) -> Result<Vec<f32>, Infallible> {
        let angles = indices.iter().map(|&index| TAU * index as f32 / 1000.0);
        Ok(angles.flat_map(|a| [a.cos(), a.sin()]).collect())
    }
}

#[derive(Module, Debug)]
struct Perceptron {
    layers: [Linear; 3],
}
impl Network for Perceptron {
    fn forward(&self, x_t: Tensor<4>, timesteps: &[f64], _: &Condition) -> Tensor<4> {
        let t: Vec<f32> = timesteps.iter().map(|&t| t as f32 / 100.0).collect();
        let t = Tensor::<1>::from_floats(&t[..], &x_t.device()).reshape([-1, 1, 1, 1]);
        let hidden = Tensor::cat(vec![x_t.clone(), t.sqrt()], 1).reshape([-1, 3]);
        let hidden = silu(self.layers[1].forward(silu(self.layers[0].forward(hidden))));
        self.layers[2].forward(hidden).reshape(x_t.dims())
    }
}

pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    let (device, streams, start) = (Device::flex(), Streams::new(0), Position::default());
    device.seed(0);
    let linear = |[a, b]: [usize; 2]| LinearConfig::new(a, b).init(&Device::flex().autodiff());
    let layers = [[3, 96], [96, 96], [96, 2]].map(linear);
    let loss = Objective::new(NoiseConfig::default().chain()?, &Default::default());
    let mut batches = Batches::new(Circle, Default::default(), &loss, streams, start, &device);
    let mut learner = Learner::with_defaults(Perceptron { layers }, loss);
    for _ in 0..4000 {
        learner.step(vec![batches.next()?], 2e-3)?;
    }
    let (network, schedule) = (learner.averaged(), learner.objective.chain().schedule());
    let timesteps = TimestepSpacing::Trailing.timesteps(schedule, 50)?;
    let sampler = euler(schedule, &timesteps, Default::default(), X0Clipping::None)?;
    let rng = &mut streams.at(Purpose::Sampling, 0);
    let noise = streams::noise([500, 2, 1, 1], rng, &device);
    let predict = |x_t: Tensor<4>, t: f64| network.forward(x_t, &[t; 500], &Condition::none());
    let last = Denoising::new(sampler, noise, predict, || unreachable!()).last();
    let radius = last.ok_or("no step")?.x.square().sum_dim(1).sqrt();
    assert!((radius - 1.0).abs().mean().into_scalar::<f32>() < 0.1);
    Ok(())
}
