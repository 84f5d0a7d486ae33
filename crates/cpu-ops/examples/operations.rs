//! Times each operation at the shapes of the two networks of `unet`'s example `speed`, forward and
//! with all gradients, and beside them a matrix product of the crate `gemm`.
//!
//! Prints the least of some runs, and GFLOP/s counted as for the plain algorithm.

use std::time::Instant;

use burn::tensor::{Device, Tensor};
use cpu_ops::{Plus, Sampling, conv2d_1x1, conv2d_3x3, group_norm_silu};

fn least(mut work: impl FnMut()) -> f64 {
    work();
    let runs = (0..9).map(|_| {
        let start = Instant::now();
        work();
        start.elapsed().as_secs_f64()
    });
    runs.fold(f64::INFINITY, f64::min)
}

fn product() -> f64 {
    let n = 2048;
    let (a, b) = (vec![1.0f32; n * n], vec![1.0f32; n * n]);
    let mut c = vec![0.0f32; n * n];
    let (n_, one) = (n as isize, 1);
    let seconds = least(|| {
        // SAFETY: all three are n by n.
        unsafe {
            gemm::gemm(
                n,
                n,
                n,
                c.as_mut_ptr(),
                one,
                n_,
                false,
                a.as_ptr(),
                one,
                n_,
                b.as_ptr(),
                one,
                n_,
                0.0,
                1.0,
                false,
                false,
                false,
                gemm::Parallelism::Rayon(0),
            );
        }
    });
    2.0 * (n as f64).powi(3) / seconds / 1e9
}

fn main() {
    println!("gemm 2048³: {:.0} GFLOP/s", product());
    let device = Device::flex().autodiff();
    for (what, [batch, channels, out, size], kernel, sampling) in [
        ("3×3", [64, 32, 32, 28], 3, Sampling::Same),
        ("3×3", [64, 64, 64, 14], 3, Sampling::Same),
        ("3×3", [64, 128, 64, 14], 3, Sampling::Same),
        ("3×3", [64, 64, 64, 7], 3, Sampling::Same),
        ("3×3", [1, 64, 64, 14], 3, Sampling::Same),
        ("3×3 up", [64, 64, 64, 14], 3, Sampling::Up),
        ("3×3 down", [64, 64, 64, 14], 3, Sampling::Down),
        ("3×3 in", [64, 1, 32, 28], 3, Sampling::Same),
        ("3×3 out", [64, 32, 1, 28], 3, Sampling::Same),
        ("1×1", [64, 96, 32, 28], 1, Sampling::Same),
        ("3×3", [32, 64, 64, 32], 3, Sampling::Same),
        ("3×3", [32, 128, 128, 16], 3, Sampling::Same),
        ("3×3", [32, 256, 128, 8], 3, Sampling::Same),
    ] {
        let x = Tensor::<4>::ones([batch, size, size, channels], &device);
        let x = x.permute([0, 3, 1, 2]).detach().require_grad();
        let weight = Tensor::<4>::ones([out, channels, kernel, kernel], &device).require_grad();
        let run = |x: &Tensor<4>, weight: &Tensor<4>| {
            let (x, weight) = (x.clone(), weight.clone());
            match kernel {
                1 => conv2d_1x1(x, weight, Plus::default()),
                _ => conv2d_3x3(x, weight, Plus::default(), sampling),
            }
        };
        let [_, _, height, width] = run(&x, &weight).dims();
        let flop = 2 * batch * height * width * channels * out * kernel * kernel;
        let gflop = |seconds: f64| flop as f64 / seconds / 1e9;
        let forward = least(|| drop(run(&x, &weight)));
        let time_backward = |x: &Tensor<4>, weight: &Tensor<4>| {
            let mut best = f64::INFINITY;
            for _ in 0..9 {
                let loss = run(x, weight).sum();
                let start = Instant::now();
                drop(loss.backward());
                best = best.min(start.elapsed().as_secs_f64());
            }
            best
        };
        let to_x = time_backward(&x, &weight.clone().detach());
        let to_weight = time_backward(&x.clone().detach(), &weight);
        println!(
            "{what:9} {batch:3}×{channels:3}→{out:3} at {size:2}: {:6.2} ms {:4.0}   ∂x {:6.2} ms {:4.0}   ∂W {:6.2} ms {:4.0} GFLOP/s",
            1e3 * forward,
            gflop(forward),
            1e3 * to_x,
            gflop(to_x),
            1e3 * to_weight,
            gflop(to_weight),
        );
    }
    for [batch, channels, size] in [[64, 32, 28], [64, 96, 14], [32, 128, 16]] {
        let x = Tensor::<4>::ones([batch, size, size, channels], &device);
        let x = x.permute([0, 3, 1, 2]).detach().require_grad();
        let one = Tensor::<1>::ones([channels], &device);
        let run = || group_norm_silu(x.clone(), one.clone(), one.clone(), None, 8, 1e-5);
        let forward = least(|| drop(run()));
        let mut backward = f64::INFINITY;
        for _ in 0..9 {
            let loss = run().sum();
            let start = Instant::now();
            drop(loss.backward());
            backward = backward.min(start.elapsed().as_secs_f64());
        }
        let bytes = 4.0 * (batch * channels * size * size) as f64;
        println!(
            "norm      {batch:3}×{channels:3} at {size:2}: {:6.2} ms ({:.1} GB/s of x)   ∂ {:6.2} ms ({:.1})",
            1e3 * forward,
            bytes / forward / 1e9,
            1e3 * backward,
            bytes / backward / 1e9
        );
    }
}
