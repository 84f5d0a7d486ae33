//! The samplers against diffusers' numbers and against closed forms.
#![allow(clippy::unwrap_used)]

mod diffusers;
mod editing;
mod gaussian;
mod golden;
mod mixed;
mod mixture;
mod own_network;
mod resampling;
mod settings;
mod torch_normal;

use burn::tensor::{DType, Device, Tensor, TensorData};
use noising::{BetaSchedule, NoiseSchedule};

/// DDPM's schedule: linear, 1000 steps.
fn linear() -> NoiseSchedule {
    NoiseSchedule::new(&BetaSchedule::default(), 1000).unwrap()
}

/// A tensor in f64, so that only the method errs.
fn tensor(values: Vec<f64>) -> Tensor<1> {
    let shape = [values.len()];
    Tensor::from_data(
        TensorData::new(values, shape),
        (&Device::flex(), DType::F64),
    )
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.try_into_vec_as::<f64>().unwrap()
}
