//! Channels side by side, and apart again: a launch each, channels-last.

use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::tensor::{channels_first, channels_last, element, empty, one_a_number};

#[cube(launch)]
fn join_channels<F: Float>(
    first: &Tensor<F>,
    second: &Tensor<F>,
    y: &mut Tensor<F>,
    a: u32,
    b: u32,
    #[define(F)] _dtype: ElemType,
) {
    let i = ABSOLUTE_POS;
    if i >= y.len() {
        terminate!();
    }
    let a = a as usize;
    let b = b as usize;
    let pixel = i / (a + b);
    let channel = i % (a + b);
    if channel < a {
        y[i] = first[pixel * a + channel];
    } else {
        y[i] = second[pixel * b + channel - a];
    }
}

#[cube(launch)]
fn part_channels<F: Float>(
    joined: &Tensor<F>,
    first: &mut Tensor<F>,
    second: &mut Tensor<F>,
    a: u32,
    b: u32,
    #[define(F)] _dtype: ElemType,
) {
    let i = ABSOLUTE_POS;
    if i >= joined.len() {
        terminate!();
    }
    let a = a as usize;
    let b = b as usize;
    let pixel = i / (a + b);
    let channel = i % (a + b);
    if channel < a {
        first[pixel * a + channel] = joined[i];
    } else {
        second[pixel * b + channel - a] = joined[i];
    }
}

/// `[batch, a, height, width]` and `[batch, b, height, width]` to `[batch, a + b, height, width]`.
pub(super) fn join(first: CubeTensor, second: CubeTensor) -> CubeTensor {
    let (first, second) = (channels_last(first), channels_last(second));
    let [batch, height, width, a] = first.meta.shape().dims();
    let [.., b] = second.meta.shape().dims::<4>();
    let y = empty(&first, [batch, height, width, a + b], first.dtype);
    let (cubes, units) = one_a_number(&y, y.meta.num_elements());
    join_channels::launch(
        &y.client,
        cubes,
        units,
        first.into_tensor_arg(),
        second.into_tensor_arg(),
        y.clone().into_tensor_arg(),
        a as u32,
        b as u32,
        element(&y),
    );
    channels_first(y)
}

/// The inverse of [`join`], where the first has `a` channels.
pub(super) fn part(joined: CubeTensor, a: usize) -> [CubeTensor; 2] {
    let joined = channels_last(joined);
    let [batch, height, width, channels] = joined.meta.shape().dims();
    let b = channels - a;
    let [first, second] =
        [a, b].map(|channels| empty(&joined, [batch, height, width, channels], joined.dtype));
    let (cubes, units) = one_a_number(&joined, joined.meta.num_elements());
    part_channels::launch(
        &first.client,
        cubes,
        units,
        joined.clone().into_tensor_arg(),
        first.clone().into_tensor_arg(),
        second.clone().into_tensor_arg(),
        a as u32,
        b as u32,
        element(&joined),
    );
    [first, second].map(channels_first)
}
