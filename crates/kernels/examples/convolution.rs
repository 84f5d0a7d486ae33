//! A 3×3 convolution, forward and backward, by the kernels of this crate and by burn's own operations: how far
//! their results lie apart, and how long each takes. Run it with
//!
//! ```text
//! cargo run -p kernels --example convolution
//! ```

use std::time::Instant;

use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Distribution, Tensor};
use kernels::{Plus, Sampling, conv2d_3x3};

/// The output and the gradient of the weights, for a loss that is the mean of the squared output.
fn both_ways(
    weight: &Tensor<4>,
    convolve: impl Fn(Tensor<4>) -> Tensor<4>,
) -> Result<[Vec<f32>; 2], Box<dyn std::error::Error>> {
    let weight = weight.clone().autodiff().require_grad();
    let y = convolve(weight.clone());
    let gradients = y.clone().square().mean().backward();
    let gradient = weight.grad(&gradients).ok_or("a weight has a gradient")?;
    Ok([y.inner().try_into_vec_as()?, gradient.try_into_vec_as()?])
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = Device::flex();
    device.seed(0);
    let normal = |shape| Tensor::<4>::random(shape, Distribution::Normal(0.0, 1.0), &device);
    let (x, weight) = (normal([8, 64, 28, 28]), normal([64, 64, 3, 3]));
    let x = x.autodiff();

    let timed = |convolve: &dyn Fn(Tensor<4>) -> Tensor<4>| {
        both_ways(&weight, convolve)?;
        let started = Instant::now();
        let found = both_ways(&weight, convolve)?;
        Ok::<_, Box<dyn std::error::Error>>((found, started.elapsed()))
    };
    let (found, seconds) =
        timed(&|weight| conv2d_3x3(x.clone(), weight, Plus::default(), Sampling::Same))?;
    let padded = || ConvOptions::new([1, 1], [1, 1], [1, 1], 1);
    let (expected, seconds_of_burn) = timed(&|weight| conv2d(x.clone(), weight, None, padded()))?;

    for (name, (a, b)) in ["output", "gradient"]
        .iter()
        .zip(found.iter().zip(&expected))
    {
        let apart = a.iter().zip(b).map(|(a, b)| (a - b).abs());
        println!("{name}: at most {:.1e} apart", apart.fold(0.0, f32::max));
    }
    println!("kernels {seconds:.1?}, burn {seconds_of_burn:.1?}");
    Ok(())
}
