//! Rows a second in training: the network of tables on rows of Adult's shape, made up, with the whole of a
//! step, from rows noised on the host to the moving average. `scripts/bench-tables` runs it beside PyTorch.
//!
//! ```text
//! cargo run -p mlp --example rows -- --rows 2048 --seconds 10
//! ```

use std::time::Instant;

use burn::tensor::{Device, Tensor, TensorData};
use kernels::segment_log_softmax;
use mlp::{Mlp, MlpConfig};
use rand::{Rng, RngExt};
use training::{
    AdamW, Ema, OptimizerConfig, Purpose, Streams, clip_by_global_norm, flatten, flatten_gradients,
    unflatten,
};

/// As the program has it: the system's allocator has large blocks mapped and cleared anew.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const NUMBERS: usize = 6;
/// Adult's categories, and those of two columns with spikes.
const CATEGORIES: [usize; 11] = [7, 16, 7, 14, 6, 5, 2, 41, 2, 3, 3];
const TIMESTEPS: usize = 1000;
const WARM_UP: usize = 3;
const MIN_REPEATS: usize = 5;

/// A batch of rows, noised.
struct Batch {
    x_t: Tensor<2>,
    timesteps: Vec<f64>,
    noise: Tensor<2>,
    /// One-hot categories of what is masked, 0 elsewhere.
    masked: Tensor<2>,
}

fn tensor(values: Vec<f32>, width: usize, device: &Device) -> Tensor<2> {
    let rows = values.len() / width;
    Tensor::from_data(TensorData::new(values, [rows, width]), device)
}

/// Draws rows, timesteps and noise: numbers by x_t = √ᾱ x_0 + √(1 - ᾱ) ε, categories kept with
/// probability ᾱ and masked else.
fn draw(rows: usize, rng: &mut impl Rng, device: &Device) -> Batch {
    let logits: usize = CATEGORIES.iter().sum();
    let mut timesteps = Vec::with_capacity(rows);
    let (mut x_t, mut noise) = (Vec::new(), Vec::new());
    let mut masked = vec![0.0; rows * logits];
    for row in 0..rows {
        let t = rng.random_range(0..TIMESTEPS);
        let kept = 1.0 - (t + 1) as f32 / (TIMESTEPS + 1) as f32;
        timesteps.push(t as f64);
        for _ in 0..NUMBERS {
            let [x_0, epsilon] = [(); 2].map(|()| 3.4 * (rng.random::<f32>() - 0.5));
            x_t.push(kept.sqrt() * x_0 + (1.0 - kept).sqrt() * epsilon);
            noise.push(epsilon);
        }
        let mut start = row * logits;
        for size in CATEGORIES {
            let category = rng.random_range(0..size);
            if rng.random::<f32>() < kept {
                x_t.push(category as f32);
            } else {
                x_t.push(size as f32);
                masked[start + category] = 1.0;
            }
            start += size;
        }
    }
    Batch {
        x_t: tensor(x_t, NUMBERS + CATEGORIES.len(), device),
        timesteps,
        noise: tensor(noise, NUMBERS, device),
        masked: tensor(masked, logits, device),
    }
}

/// The squared error of the numbers, and the cross-entropy of what is masked.
fn loss(mlp: &Mlp, batch: Batch) -> Tensor<1> {
    let [rows, logits] = batch.masked.dims();
    let predicted = mlp.forward(batch.x_t, &batch.timesteps, None);
    let numbers = predicted.clone().slice([0..rows, 0..NUMBERS]);
    let logs = segment_log_softmax(predicted.narrow(1, NUMBERS, logits), &CATEGORIES);
    (numbers - batch.noise).square().mean() - (logs * batch.masked).sum() / rows as f64
}

/// The value of `--NAME`.
fn argument(name: &str, default: f64) -> f64 {
    let mut arguments = std::env::args().skip_while(|argument| argument != name);
    let value = arguments.nth(1).map(|value| value.parse());
    value.and_then(Result::ok).unwrap_or(default)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let rows = argument("--rows", 2048.0) as usize;
    let seconds = argument("--seconds", 6.0);
    let config = MlpConfig {
        dimensions: Some(NUMBERS),
        categories: CATEGORIES.to_vec(),
        width: argument("--width", 512.0) as usize,
        blocks: argument("--blocks", 4.0) as usize,
        ..MlpConfig::default()
    };
    let device = Device::flex().autodiff();
    let streams = Streams::new(0);
    let mut mlp = config.init(&device, &mut streams.at(Purpose::Weights, 0));
    let mut parameters = flatten(&mlp);
    let mut optimizer = AdamW::new(OptimizerConfig::default());
    let mut ema = Ema::new(parameters.clone(), 0, 0.999);

    let mut times = Vec::new();
    let mut start = Instant::now();
    for step in 0.. {
        if step == WARM_UP {
            start = Instant::now();
            times.clear();
        }
        if times.len() >= MIN_REPEATS && start.elapsed().as_secs_f64() > seconds {
            break;
        }
        let begin = Instant::now();
        let mut rng = streams.at(Purpose::Training, step as u64);
        let loss = loss(&mlp, draw(rows, &mut rng, &device));
        let gradient = flatten_gradients(&mlp, &mut loss.backward());
        let (scale, _) = clip_by_global_norm(gradient.clone(), 1.0);
        parameters = optimizer.step(parameters, gradient, scale, 1e-3);
        mlp = unflatten(mlp, parameters.clone());
        ema.update(parameters.clone());
        let loss: f32 = loss.inner().into_scalar();
        assert!(loss.is_finite(), "the loss is {loss}");
        times.push(begin.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    println!(
        "{{\"seconds\": {}, \"repeats\": {}}}",
        times[times.len() / 2],
        times.len()
    );
    Ok(())
}
