//! Many vectors as one, a few of them a launch.

use burn::backend::TensorMetadata;
use burn::tensor::DType;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::tensor::{empty, one_a_number};

/// Vectors of a launch: with the result and what a launch says of them, as many buffers as every device of
/// WebGPU binds.
const PARTS: usize = 6;

/// The number of place `i` if the part covers it, else `otherwise`.
#[cube]
fn covered(part: &Tensor<f32>, start: u32, i: usize, otherwise: f32) -> f32 {
    let mut value = otherwise;
    let start = start as usize;
    if i >= start && i - start < part.len() {
        value = part[i - start];
    }
    value
}

/// Writes places `begin` to `end` of y: parts at their starts, and zeros between them.
#[cube(launch)]
fn join_parts(
    a: &Tensor<f32>,
    b: &Tensor<f32>,
    c: &Tensor<f32>,
    d: &Tensor<f32>,
    e: &Tensor<f32>,
    f: &Tensor<f32>,
    y: &mut Tensor<f32>,
    start_a: u32,
    start_b: u32,
    start_c: u32,
    start_d: u32,
    start_e: u32,
    start_f: u32,
    begin: u32,
    end: u32,
) {
    let i = ABSOLUTE_POS + begin as usize;
    if i >= end as usize {
        terminate!();
    }
    let value = covered(a, start_a, i, 0.0f32);
    let value = covered(b, start_b, i, value);
    let value = covered(c, start_c, i, value);
    let value = covered(d, start_d, i, value);
    let value = covered(e, start_e, i, value);
    y[i] = covered(f, start_f, i, value);
}

/// The parts in one vector of `length`, each at its start, with zeros between them. Starts ascend.
pub(crate) fn join(parts: Vec<CubeTensor>, starts: &[usize], length: usize) -> CubeTensor {
    let (client, device) = (parts[0].client.clone(), parts[0].device());
    let y = empty_device_contiguous_dtype(client, device, [length].into(), DType::F32);
    let mut parts = parts.into_iter().zip(starts.iter().copied()).peekable();
    let mut begin = 0;
    while parts.peek().is_some() {
        // A part that is left out starts where nothing is written.
        let mut next = || match parts.next() {
            Some((part, start)) => (into_contiguous(part), start as u32),
            None => (empty(&y, [1], DType::F32), u32::MAX),
        };
        let [a, b, c, d, e, f]: [_; PARTS] = std::array::from_fn(|_| next());
        let end = parts.peek().map_or(length, |(_, start)| *start);
        let (cubes, units) = one_a_number(&y, end - begin);
        join_parts::launch(
            &y.client,
            cubes,
            units,
            a.0.into_tensor_arg(),
            b.0.into_tensor_arg(),
            c.0.into_tensor_arg(),
            d.0.into_tensor_arg(),
            e.0.into_tensor_arg(),
            f.0.into_tensor_arg(),
            y.clone().into_tensor_arg(),
            a.1,
            b.1,
            c.1,
            d.1,
            e.1,
            f.1,
            begin as u32,
            end as u32,
        );
        begin = end;
    }
    y
}
