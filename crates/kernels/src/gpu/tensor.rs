//! Tensors of burn's CubeCL backends, as kernels take them.

use burn::backend::DispatchDevice;
use burn::backend::TensorMetadata;
use burn::tensor::{DType, Device, Shape};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::ops::{permute_nchw_to_nhwc, permute_nhwc_to_nchw};
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use crate::place::innermost;

/// At what multiples of a number of f32 a part of a vector can be used where it lies, on a GPU.
pub(crate) fn vector_alignment(device: &Device) -> Option<usize> {
    let DispatchDevice::Cube(device) = innermost(device.as_dispatch()) else {
        return None;
    };
    let bytes = device.client().properties().memory.alignment as usize;
    Some((bytes / size_of::<f32>()).max(1))
}

/// Bytes of the largest piece of memory that a GPU gives.
pub(crate) fn largest_buffer(device: &Device) -> Option<u64> {
    let DispatchDevice::Cube(device) = innermost(device.as_dispatch()) else {
        return None;
    };
    Some(device.client().properties().memory.max_page_size)
}

/// `[batch, channels, height, width]` as `[batch, height, width, channels]` without gaps: copied only
/// where it does not lie so already.
pub(super) fn channels_last(x: CubeTensor) -> CubeTensor {
    into_contiguous(permute_nchw_to_nhwc(x))
}

/// `[batch, height, width, channels]` as `[batch, channels, height, width]`, where it lies.
pub(super) fn channels_first(x: CubeTensor) -> CubeTensor {
    permute_nhwc_to_nchw(x)
}

/// Memory for a tensor beside another, without gaps.
pub(super) fn empty(beside: &CubeTensor, shape: impl Into<Shape>, dtype: DType) -> CubeTensor {
    empty_device_contiguous_dtype(
        beside.client.clone(),
        beside.device.clone(),
        shape.into(),
        dtype,
    )
}

/// The type of a tensor's numbers, as a kernel is told it.
pub(super) fn element(x: &CubeTensor) -> cubecl::ir::ElemType {
    burn::backend::cubecl::dtype_to_elem_type(x.dtype())
}

/// Units that a cube may have at most.
pub(super) fn most_units(x: &CubeTensor) -> usize {
    x.client
        .properties()
        .hardware
        .max_units_per_cube
        .clamp(1, 256) as usize
}

/// Bytes of memory that the units of a cube may share.
pub(super) fn shared_memory(x: &CubeTensor) -> usize {
    x.client.properties().hardware.max_shared_memory_size
}

/// Cubes and units for a kernel that runs once a number.
pub(super) fn one_a_number(x: &CubeTensor, numbers: usize) -> (CubeCount, CubeDim) {
    let dim = CubeDim::new(&x.client, numbers);
    (
        cubecl::calculate_cube_count_elemwise(&x.client, numbers, dim),
        dim,
    )
}
