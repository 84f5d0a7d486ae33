//! Times forward and backward passes and a network call, for two networks: `cargo run --release -p unet --example
//! speed -- [network] [batch] [repeats]`, network being `mnist` (28×28, widths 32-64-64, attention at
//! 7×7) or `rgb` (32×32, widths 64-128-128, attention at 16×16).
//!
//! Prints the median and the least of the repeats, as images a second.

use std::time::Instant;

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use unet::UNetConfig;

fn main() {
    // On a thread of the pool: from outside, every operation would be handed over and waited for.
    rayon::scope(|_| measure());
}

fn measure() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let argument = |at: usize, default: &str| -> String {
        arguments.get(at).cloned().unwrap_or_else(|| default.into())
    };
    let network = argument(0, "mnist");
    let batch: usize = argument(1, "64").parse().expect("a batch size");
    let repeats: usize = argument(2, "7").parse().expect("a number of repeats");

    let config: UNetConfig = serde_json::from_str(match network.as_str() {
        "mnist" => {
            r#"{"sample_size": 28, "in_channels": 1, "out_channels": 1,
                "block_out_channels": [32, 64, 64], "layers_per_block": 1,
                "down_block_attention": [false, false, true], "mid_block_attention": true,
                "norm_num_groups": 8}"#
        }
        _ => {
            r#"{"sample_size": 32, "in_channels": 3, "out_channels": 3,
                "block_out_channels": [64, 128, 128], "layers_per_block": 2,
                "down_block_attention": [false, true, false], "mid_block_attention": true,
                "norm_num_groups": 32}"#
        }
    })
    .expect("a configuration");

    let device = Device::flex().autodiff();
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let model = config.init(&device, &mut rng).expect("a valid network");
    let mut images = |device: &Device| {
        let dims = [
            batch,
            config.in_channels,
            config.sample_size.height,
            config.sample_size.width,
        ];
        let values: Vec<f32> = (0..dims.iter().product())
            .map(|_| rng.random::<f32>())
            .collect();
        Tensor::<4>::from_data(TensorData::new(values, dims), device)
    };
    let (x, target) = (images(&device), images(&device));
    let timesteps = vec![500.0; batch];

    let mut parts = [Vec::new(), Vec::new()];
    let mut steps = Vec::new();
    for _ in 0..repeats {
        let start = Instant::now();
        let predicted = model.forward(x.clone(), &timesteps, None);
        let loss = (predicted - target.clone()).square().mean();
        let forward = start.elapsed();
        let gradients = loss.backward();
        let backward = start.elapsed();
        drop(gradients);
        parts[0].push(forward.as_secs_f64());
        parts[1].push((backward - forward).as_secs_f64());
        steps.push(backward.as_secs_f64());
    }
    let mut calls = Vec::new();
    let plain = Device::flex();
    let model = model.valid();
    let x = images(&plain);
    for _ in 0..repeats {
        let start = Instant::now();
        let y = model.forward(x.clone(), &timesteps, None);
        drop(y);
        calls.push(start.elapsed().as_secs_f64());
    }

    let report = |name: &str, times: &mut Vec<f64>| {
        times.sort_by(f64::total_cmp);
        let (median, least) = (times[times.len() / 2], times[0]);
        println!(
            "{name:14} {:8.1} img/s median, {:8.1} best ({:.1} ms, {:.1} ms)",
            batch as f64 / median,
            batch as f64 / least,
            1e3 * median,
            1e3 * least
        );
    };
    println!("{network}, batch {batch}");
    report("both passes", &mut steps);
    for (name, times) in ["  forward", "  backward"].iter().zip(&mut parts) {
        report(name, times);
    }
    report("network call", &mut calls);
}
