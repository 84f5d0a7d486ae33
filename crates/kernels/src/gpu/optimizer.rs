//! AdamW and the moving average, a launch each, and the sum of squares in two; see [`crate::adamw`].

use burn::tensor::DType;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::reduce::over_cube;
use super::tensor::{empty, most_units, one_a_number};
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

/// The sum over all numbers, or of their squares, a part of it for each cube. A unit takes every `stride`-th.
#[cube(launch)]
fn sum_parts(
    x: &Tensor<f32>,
    parts: &mut Tensor<f32>,
    stride: u32,
    #[comptime] units: usize,
    #[comptime] squares: bool,
) {
    let mut partial = Shared::<[f32]>::new_slice(units);
    let mut sum = 0.0f32;
    let mut i = ABSOLUTE_POS;
    while i < x.len() {
        let number = x[i];
        if comptime!(squares) {
            sum += number * number;
        } else {
            sum += number;
        }
        i += stride as usize;
    }
    let sum = over_cube(sum, &mut partial, false);
    if UNIT_POS == 0 {
        parts[CUBE_POS] = sum;
    }
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

/// The sum of the squares of `[N]`: `[1]`, in an order that depends on N alone.
///
/// Not burn's sum, which adds up by atomic operations, in any order, where its tuning likes that best; and what is
/// tuned so was wrong by 7 % for 70,001 numbers on Mesa's software Vulkan, whenever it was chosen.
pub(crate) fn sum_of_squares(x: CubeTensor) -> CubeTensor {
    /// Numbers that a unit has at least, and cubes at most: as many numbers as a cube has units.
    const LEAST: usize = 4;
    const MOST_CUBES: usize = 256;
    let x = into_contiguous(x);
    let units = 1 << most_units(&x).ilog2();
    let cubes = x.meta.num_elements().div_ceil(LEAST * units);
    let parts = sums(x, units, cubes.clamp(1, MOST_CUBES), true);
    sums(parts, units, 1, false)
}

fn sums(x: CubeTensor, units: usize, cubes: usize, squares: bool) -> CubeTensor {
    let parts = empty(&x, [cubes], DType::F32);
    sum_parts::launch(
        &parts.client,
        CubeCount::Static(cubes as u32, 1, 1),
        CubeDim::new_1d(units as u32),
        x.into_tensor_arg(),
        parts.clone().into_tensor_arg(),
        (cubes * units) as u32,
        units,
        squares,
    );
    parts
}
