//! Training in half precision: gradients that would vanish do not, and a step that overflows changes nothing.

use burn::module::{Module, Param};
use burn::tensor::{Device, FloatDType, Tensor};
use noising::NoiseConfig;
use training::*;

/// A number by which x_t is multiplied, in half precision.
#[derive(Module, Debug)]
struct Factor {
    factor: Param<Tensor<1>>,
    #[module(skip)]
    dtype: FloatDType,
}

impl Network for Factor {
    fn forward(&self, x_t: Tensor<4>, _timesteps: &[f64], _: &Condition) -> Tensor<4> {
        let dtype = x_t.dtype();
        let factor = self.factor.val().cast(self.dtype).reshape([1, 1, 1, 1]);
        let x_t = x_t.cast(self.dtype);
        let factor = factor.expand(x_t.dims());
        (x_t * factor).cast(dtype)
    }
}

fn learner(precision: Precision) -> Learner<Factor> {
    let device = Device::flex().autodiff();
    let network = Factor {
        factor: Param::from_tensor(Tensor::from_floats([0.5], &device).require_grad()),
        dtype: precision.dtype(),
    };
    let chain = NoiseConfig::default().chain().unwrap();
    let objective = Objective::new(chain, &ObjectiveConfig::default());
    Learner::with_defaults(network, objective).in_precision(precision)
}

/// Sixteen images of 64 × 64, of `x_0` everywhere, without noise.
fn batch(x_0: f32) -> Batch {
    let shape = [16, 1, 64, 64];
    let device = Device::flex().autodiff();
    Batch {
        x_0: Tensor::full(shape, x_0, &device),
        noise: Tensor::zeros(shape, &device),
        timesteps: vec![0; 16],
        condition: Condition::none(),
        dropout_seed: None,
    }
}

fn factor(learner: &Learner<Factor>) -> f32 {
    learner.network().factor.val().inner().into_scalar::<f32>()
}

#[test]
fn every_precision_takes_the_step_of_f32() {
    let step = |precision| {
        let mut learner = learner(precision);
        // Each of 65,536 numbers has a gradient of 4e-8, which f16 would make 6e-8.
        let seen = learner.step(vec![batch(0.05)], 1e-3).unwrap();
        (factor(&learner), seen.grad_norm.into_scalar::<f32>())
    };
    let (expected, norm) = step(Precision::F32);
    assert!(norm > 0.0);
    for precision in [Precision::Bf16, Precision::F16] {
        let (found, found_norm) = step(precision);
        assert!(
            (found_norm / norm - 1.0).abs() < 0.02,
            "{precision}: {found_norm}, {norm}"
        );
        assert!(
            (found - expected).abs() < 1e-5,
            "{precision}: {found}, {expected}"
        );
    }
}

#[test]
fn a_step_that_overflows_is_skipped() {
    let mut learner = learner(Precision::F16);
    // The square of the error is infinite in no precision, and its gradient is in f16.
    let seen = learner.step(vec![batch(6e4)], 1e-3).unwrap();
    assert!(seen.loss.into_scalar::<f32>().is_finite());
    assert_eq!(seen.grad_norm.into_scalar::<f32>(), 0.0);
    assert_eq!(factor(&learner), 0.5);
    learner.step(vec![batch(1.0)], 1e-3).unwrap();
    assert!(factor(&learner) < 0.5);
}
