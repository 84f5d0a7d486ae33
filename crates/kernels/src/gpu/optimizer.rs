//! AdamW and the moving average, a launch each; see [`crate::adamw`].

use burn::tensor::DType;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::tensor::{empty, one_a_number};
use crate::cpu::optimizer::Coefficients;

#[cube(launch)]
fn adamw_step(
    old_parameters: &Tensor<f32>,
    old_first: &Tensor<f32>,
    old_second: &Tensor<f32>,
    gradient: &Tensor<f32>,
    gradient_scale: &Tensor<f32>,
    parameters: &mut Tensor<f32>,
    first: &mut Tensor<f32>,
    second: &mut Tensor<f32>,
    beta_1: f32,
    one_minus_beta_1: f32,
    beta_2: f32,
    one_minus_beta_2: f32,
    root_factor: f32,
    epsilon: f32,
    step_size: f32,
    kept: f32,
) {
    let i = ABSOLUTE_POS;
    if i >= parameters.len() {
        terminate!();
    }
    let g = gradient[i] * gradient_scale[0];
    let m = old_first[i] * beta_1 + g * one_minus_beta_1;
    let v = old_second[i] * beta_2 + g * g * one_minus_beta_2;
    first[i] = m;
    second[i] = v;
    let root = f32::sqrt(v) * root_factor + epsilon;
    parameters[i] = old_parameters[i] * kept - m / root * step_size;
}

#[cube(launch)]
fn moving_average_step(from: &Tensor<f32>, to: &Tensor<f32>, y: &mut Tensor<f32>, taken: f32) {
    let i = ABSOLUTE_POS;
    if i >= y.len() {
        terminate!();
    }
    y[i] = from[i] + (to[i] - from[i]) * taken;
}

/// `[parameters, first, second, gradient]`, all `[N]`, to the first three after a step.
pub(crate) fn adamw(
    old: [CubeTensor; 4],
    gradient_scale: CubeTensor,
    c: Coefficients,
) -> (CubeTensor, CubeTensor, CubeTensor) {
    let [parameters, first, second, gradient] = old.map(into_contiguous);
    let numbers = parameters.meta.num_elements();
    let new = || empty(&parameters, [numbers], DType::F32);
    let (new_parameters, new_first, new_second) = (new(), new(), new());
    let (cubes, units) = one_a_number(&parameters, numbers);
    adamw_step::launch(
        &parameters.client.clone(),
        cubes,
        units,
        parameters.into_tensor_arg(),
        first.into_tensor_arg(),
        second.into_tensor_arg(),
        gradient.into_tensor_arg(),
        gradient_scale.into_tensor_arg(),
        new_parameters.clone().into_tensor_arg(),
        new_first.clone().into_tensor_arg(),
        new_second.clone().into_tensor_arg(),
        c.beta_1,
        c.one_minus_beta_1,
        c.beta_2,
        c.one_minus_beta_2,
        c.root_factor,
        c.epsilon,
        c.step_size,
        c.kept,
    );
    (new_parameters, new_first, new_second)
}

/// `from` + (`to` − `from`) `taken`, all `[N]`.
pub(crate) fn moving_average(from: CubeTensor, to: CubeTensor, taken: f32) -> CubeTensor {
    let (from, to) = (into_contiguous(from), into_contiguous(to));
    let numbers = from.meta.num_elements();
    let y = empty(&from, [numbers], DType::F32);
    let (cubes, units) = one_a_number(&from, numbers);
    moving_average_step::launch(
        &from.client.clone(),
        cubes,
        units,
        from.into_tensor_arg(),
        to.into_tensor_arg(),
        y.clone().into_tensor_arg(),
        taken,
    );
    y
}
