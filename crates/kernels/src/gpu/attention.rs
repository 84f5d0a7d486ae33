//! Attention between pixels: burn's matrix products, with the softmax between them in one launch.
//!
//! ```text
//! P = softmax(q kᵀ / √d)          o = P v
//! dv = Pᵀ do     dP = do vᵀ     dS = P (dP - Σ P dP) / √d     dq = dS k     dk = dSᵀ q
//! ```
//!
//! (Vaswani et al. 2017, equation 1; sums over a row.)

use burn::backend::ops::FloatTensorOps;
use burn::tensor::Shape;
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::reshape;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::reduce::over_cube;
use super::tensor::{channels_first, channels_last, element, empty, most_units};

/// The softmax of each row of `length` numbers times `scale`. A cube has a row.
#[cube(launch)]
fn softmax_rows<F: Float>(
    x: &Tensor<F>,
    y: &mut Tensor<F>,
    length: u32,
    scale: f32,
    #[comptime] units: usize,
    #[define(F)] _dtype: ElemType,
) {
    let mut partial = Shared::<[f32]>::new_slice(units);
    let start = CUBE_POS * length as usize;
    let end = start + length as usize;
    let mut largest = f32::cast_from(x[start]) * scale;
    let mut i = start + UNIT_POS as usize;
    while i < end {
        largest = f32::max(largest, f32::cast_from(x[i]) * scale);
        i += units;
    }
    let largest = over_cube(largest, &mut partial, true);
    let mut sum = 0.0f32;
    let mut i = start + UNIT_POS as usize;
    while i < end {
        sum += f32::exp(f32::cast_from(x[i]) * scale - largest);
        i += units;
    }
    let sum = over_cube(sum, &mut partial, false);
    let mut i = start + UNIT_POS as usize;
    while i < end {
        let value = f32::exp(f32::cast_from(x[i]) * scale - largest);
        y[i] = F::cast_from(value / sum);
        i += units;
    }
}

/// The gradient of [`softmax_rows`], from its result p and the gradient of that.
#[cube(launch)]
fn softmax_rows_backward<F: Float>(
    p: &Tensor<F>,
    dp: &Tensor<F>,
    dx: &mut Tensor<F>,
    length: u32,
    scale: f32,
    #[comptime] units: usize,
    #[define(F)] _dtype: ElemType,
) {
    let mut partial = Shared::<[f32]>::new_slice(units);
    let start = CUBE_POS * length as usize;
    let end = start + length as usize;
    let mut sum = 0.0f32;
    let mut i = start + UNIT_POS as usize;
    while i < end {
        sum += f32::cast_from(p[i]) * f32::cast_from(dp[i]);
        i += units;
    }
    let sum = over_cube(sum, &mut partial, false);
    let mut i = start + UNIT_POS as usize;
    while i < end {
        let value = f32::cast_from(p[i]) * (f32::cast_from(dp[i]) - sum) * scale;
        dx[i] = F::cast_from(value);
        i += units;
    }
}

/// Cubes for as many rows, within what a device takes on one axis.
fn cubes(rows: usize) -> CubeCount {
    const MOST: usize = 1 << 15;
    // No row is left over: the number of rows is a product of lengths of axes.
    let mut x = rows.min(MOST);
    while !rows.is_multiple_of(x) {
        x -= 1;
    }
    CubeCount::Static(x as u32, (rows / x) as u32, 1)
}

/// What the gradient of an attention needs. q, k and v lie channels-last; what is kept is
/// P, `[batch, heads, pixels, pixels]`.
type Attended = crate::images::Attended<CubeBackend>;

/// What the scores are multiplied with.
fn scale(channels: usize, heads: usize) -> f32 {
    ((channels / heads) as f64).powf(-0.5) as f32
}

/// Softmax of the rows of a tensor, each number times `scale` first.
fn softmax(x: CubeTensor, scale: f32) -> CubeTensor {
    let x = into_contiguous(x);
    let length = x.meta.shape()[3];
    let y = empty(&x, x.meta.shape().clone(), x.dtype);
    let units = length.min(most_units(&x));
    softmax_rows::launch(
        &y.client,
        cubes(x.meta.num_elements() / length),
        CubeDim::new_1d(units as u32),
        x.clone().into_tensor_arg(),
        y.clone().into_tensor_arg(),
        length as u32,
        scale,
        units,
        element(&x),
    );
    y
}

fn softmax_backward(p: &CubeTensor, dp: CubeTensor, scale: f32) -> CubeTensor {
    let dp = into_contiguous(dp);
    let length = p.meta.shape()[3];
    let dx = empty(p, p.meta.shape().clone(), p.dtype);
    let units = length.min(most_units(p));
    softmax_rows_backward::launch(
        &dx.client,
        cubes(p.meta.num_elements() / length),
        CubeDim::new_1d(units as u32),
        p.clone().into_tensor_arg(),
        dp.into_tensor_arg(),
        dx.clone().into_tensor_arg(),
        length as u32,
        scale,
        units,
        element(p),
    );
    dx
}

/// Channels-last `[batch, height, width, channels]` to `[batch, heads, pixels, d]`, where it lies.
fn split(x: CubeTensor, heads: usize) -> CubeTensor {
    let [batch, height, width, channels] = x.meta.shape().dims();
    let by_heads = [batch, height * width, heads, channels / heads];
    CubeBackend::float_swap_dims(reshape(x, Shape::from(by_heads)), 1, 2)
}

/// The inverse of [`split`], channels-first.
fn merge(x: CubeTensor, shape: [usize; 4]) -> CubeTensor {
    let x = into_contiguous(CubeBackend::float_swap_dims(x, 1, 2));
    channels_first(reshape(x, Shape::from(shape)))
}

fn transpose(x: CubeTensor) -> CubeTensor {
    CubeBackend::float_swap_dims(x, 2, 3)
}

/// The attention of q, k and v, each `[batch, channels, height, width]`, and what its gradient needs.
pub(super) fn forward(inputs: [CubeTensor; 3], heads: usize) -> (CubeTensor, Attended) {
    let inputs = inputs.map(channels_last);
    let shape: [usize; 4] = inputs[0].meta.shape().dims();
    let [q, k, v] = inputs.clone().map(|x| split(x, heads));
    let scores = CubeBackend::float_matmul(q, transpose(k));
    let probabilities = softmax(scores, scale(shape[3], heads));
    let o = CubeBackend::float_matmul(probabilities.clone(), v);
    let o = merge(o, shape);
    let state = Attended {
        inputs: inputs.map(channels_first),
        o: o.clone(),
        kept: probabilities,
        heads,
    };
    (o, state)
}

/// The gradients of q, k and v from that of the result.
pub(super) fn backward(state: &Attended, d_o: CubeTensor) -> [CubeTensor; 3] {
    let by_heads = |x| split(channels_last(x), state.heads);
    let d_o = channels_last(d_o);
    let shape: [usize; 4] = d_o.meta.shape().dims();
    let d_o = split(d_o, state.heads);
    let [q, k, v] = state.inputs.clone().map(by_heads);
    let p = &state.kept;
    let dv = CubeBackend::float_matmul(transpose(p.clone()), d_o.clone());
    let dp = CubeBackend::float_matmul(d_o, transpose(v));
    let ds = softmax_backward(p, dp, scale(shape[3], state.heads));
    let dq = CubeBackend::float_matmul(ds.clone(), k);
    let dk = CubeBackend::float_matmul(transpose(ds), q);
    [dq, dk, dv].map(|gradient| merge(gradient, shape))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_a_cube() {
        for rows in [
            1,
            2,
            49,
            32768,
            32769,
            65536,
            131_072,
            128 * 4 * 1024,
            99_991,
        ] {
            let CubeCount::Static(x, y, z) = cubes(rows) else {
                panic!("counted on the device");
            };
            assert_eq!(x as usize * y as usize * z as usize, rows);
        }
    }
}
