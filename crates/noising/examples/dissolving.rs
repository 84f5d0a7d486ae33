//! Two points on their way to noise, step by step and in one stride, and the step back that is known where x_0
//! is. Run it with
//!
//! ```text
//! cargo run -p noising --example dissolving
//! ```

use burn::tensor::{Device, Distribution, Tensor};
use noising::{BetaSchedule, Chain, NoiseSchedule};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = Device::flex();
    device.seed(0);
    let chain = Chain::new(NoiseSchedule::new(&BetaSchedule::default(), 1000)?);
    let schedule = chain.schedule();
    let x_0 = Tensor::<2>::from_floats([[0.5, -0.5], [1.0, -1.0]], &device);
    let noise = || Tensor::random([2, 2], Distribution::Normal(0.0, 1.0), &device);

    println!("   t   alpha_cumprod       SNR   q_sample(x_0)");
    let one_noise = noise();
    for t in [0, 250, 500, 750, 999] {
        let x_t = chain.q_sample(x_0.clone(), one_noise.clone(), &[t]);
        println!(
            "{t:4} {:15.6} {:9.2e}   {:.2?}",
            schedule.alphas_cumprod()[t],
            schedule.snr(t),
            x_t.try_into_vec_as::<f32>()?
        );
    }

    let (t, x_t) = chain
        .trajectory(x_0.clone(), |_| noise())
        .last()
        .ok_or("a chain has a step")?;
    println!("a fresh noise in each step, at t = {t}: {:.2?}", {
        x_t.clone().try_into_vec_as::<f32>()?
    });
    let (mean, variance) = chain.q_posterior_mean_variance(x_0, x_t, &[t]);
    println!(
        "q(x_{} | x_{t}, x_0): mean {:.2?}, variance {:.4?}",
        t - 1,
        mean.try_into_vec_as::<f32>()?,
        variance.try_into_vec_as::<f32>()?
    );
    Ok(())
}
