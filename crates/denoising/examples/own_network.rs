//! Samples from a network that is not ours, by a sampler that is not ours, with guidance.
//!
//! The network is any function of (x_t, t). Here it is the best one for two classes of points in the plane,
//! each a normal distribution of deviation 0.2, for which the noise in x_t is known exactly; yours is a call of
//! your model. The sampler is the method of Adams and Bashforth of second order, written with what
//! [`denoising`] offers for writing samplers. Run it with
//!
//! ```text
//! cargo run -p denoising --example own_network
//! ```

use burn::tensor::{Device, Distribution, Tensor};
use denoising::{
    Denoising, Guidance, History, Sampler, SamplerError, State, Steps, TimestepSpacing, X0Clipping,
};
use noising::{BetaSchedule, NoiseSchedule, PredictionType};

/// The centres of the two classes.
pub(crate) const CENTRES: [[f32; 2]; 2] = [[-1.0, 0.5], [1.0, 0.5]];
/// The deviation of each class.
pub(crate) const DEVIATION: f64 = 0.2;

/// A network of your own: the noise in `x_t`, `[N, 2]`, for points of one class.
fn network(x_t: Tensor<2>, alpha_cumprod: f64, class: usize) -> Tensor<2> {
    let centre = Tensor::<2>::from_floats([CENTRES[class]], &x_t.device());
    let variance = alpha_cumprod * DEVIATION.powi(2) + 1.0 - alpha_cumprod;
    (x_t - centre.mul_scalar(alpha_cumprod.sqrt()))
        .mul_scalar((1.0 - alpha_cumprod).sqrt() / variance)
}

/// The same for points of either class: the mean of both, weighted by how likely each class is, which is what
/// a network learns when the class is left out.
fn network_without_class(x_t: Tensor<2>, alpha_cumprod: f64) -> Tensor<2> {
    let [left, right] = [0, 1].map(|class| network(x_t.clone(), alpha_cumprod, class));
    // The log of the ratio of the two densities at x_t, up to its factor.
    let variance = alpha_cumprod * DEVIATION.powi(2) + 1.0 - alpha_cumprod;
    let along = (CENTRES[1][0] - CENTRES[0][0]) as f64 * alpha_cumprod.sqrt() / variance;
    let share_of_right = burn::tensor::activation::sigmoid(x_t.narrow(1, 0, 1).mul_scalar(along));
    let share_of_right = share_of_right.expand(right.dims());
    left.clone() + (right - left) * share_of_right
}

/// A sampler of your own: Adams and Bashforth's method of second order on dx̂/dρ = ε, where x̂ = x / √ᾱ and
/// ρ = √(1 − ᾱ) / √ᾱ. It remembers the slope of the step before and its length.
struct AdamsBashforth<const D: usize> {
    steps: Steps,
    history: History<(Tensor<D>, f64)>,
}

impl<const D: usize> AdamsBashforth<D> {
    fn new(
        schedule: &NoiseSchedule,
        timesteps: &[f64],
        prediction_type: PredictionType,
    ) -> Result<Self, SamplerError> {
        Ok(Self {
            steps: Steps::new(schedule, timesteps, prediction_type, X0Clipping::None)?,
            history: History::new(),
        })
    }
}

impl<const D: usize> Sampler<D> for AdamsBashforth<D> {
    fn num_steps(&self) -> usize {
        self.steps.len()
    }

    fn step(
        &mut self,
        index: usize,
        x_t: Tensor<D>,
        model: &mut dyn FnMut(Tensor<D>, f64) -> Tensor<D>,
        _noise: &mut dyn FnMut() -> Tensor<D>,
    ) -> State<D> {
        let step = self.steps.get(index);
        let [predicted_x_0, epsilon] =
            self.steps
                .predict_x_0_and_epsilon(step.from, x_t.clone(), model);
        let length = step.to.rho() - step.from.rho();
        let slope = match self.history.before(index) {
            Some((slope_before, length_before)) if !step.is_last => {
                let change =
                    (epsilon.clone() - slope_before).mul_scalar(0.5 * length / length_before);
                epsilon.clone() + change
            }
            _ => epsilon.clone(),
        };
        self.history.record(index, (epsilon, length));
        let scaled = x_t.div_scalar(step.from.alpha()) + slope.mul_scalar(length);
        State {
            index,
            timestep: step.from.timestep,
            x: scaled.mul_scalar(step.to.alpha()),
            predicted_x_0,
        }
    }
}

/// `count` points of a class, guided towards it: `[count, 2]`.
pub(crate) fn sample(
    class: usize,
    guidance_scale: f64,
    count: usize,
    device: &Device,
) -> Result<Tensor<2>, Box<dyn std::error::Error>> {
    let schedule = NoiseSchedule::new(&BetaSchedule::default(), 1000)?;
    let timesteps = TimestepSpacing::Karras.timesteps(&schedule, 40)?;
    let sampler = AdamsBashforth::new(&schedule, &timesteps, PredictionType::Epsilon)?;

    let guidance = Guidance {
        scale: guidance_scale,
        ..Guidance::default()
    };
    let model = |x_t: Tensor<2>, t: f64| {
        let alpha_cumprod = schedule.alpha_cumprod_at(t);
        let conditional = network(x_t.clone(), alpha_cumprod, class);
        if !guidance.applies_at(t) {
            return conditional;
        }
        guidance.combine(conditional, network_without_class(x_t, alpha_cumprod))
    };
    let noise = Tensor::random([count, 2], Distribution::Normal(0.0, 1.0), device);
    let no_noise = || unreachable!("this sampler is deterministic");
    let last = Denoising::new(sampler, noise, model, no_noise).last();
    Ok(last.ok_or("no step was taken")?.x)
}

/// Mean and deviation of each coordinate.
pub(crate) fn summary(points: &Tensor<2>) -> Result<[[f32; 2]; 2], Box<dyn std::error::Error>> {
    let mean: Vec<f32> = points.clone().mean_dim(0).try_into_vec_as()?;
    let deviation: Vec<f32> = points.clone().var(0).sqrt().try_into_vec_as()?;
    Ok([[mean[0], mean[1]], [deviation[0], deviation[1]]])
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = Device::flex();
    device.seed(0);
    for class in 0..2 {
        for guidance_scale in [1.0, 3.0] {
            let points = sample(class, guidance_scale, 2000, &device)?;
            let [mean, deviation] = summary(&points)?;
            println!(
                "class {class}, guidance {guidance_scale}: mean {mean:.2?}, deviation {deviation:.2?}"
            );
        }
    }
    Ok(())
}
