//! Tensors of burn's CPU backends as slices, channels-last.
//!
//! `[batch, channels, height, width]` is the shape, `[batch, height, width, channels]` the order in
//! memory: vectors of the processor run over channels, and a 1×1 convolution is a matrix product.
//! Tensors that come from elsewhere in another order are copied once, at the border.

use burn::backend::Backend;
use burn::backend::TensorMetadata;
use burn::backend::tensor::FloatTensor;
use burn::tensor::{DType, Shape, TensorData};

use crate::cpu::memory::Buffer;

/// A backend whose tensors lie in the program's own memory.
pub(crate) trait Host: Backend {
    /// The tensor with its numbers in the order of its axes, without gaps.
    fn contiguous(tensor: FloatTensor<Self>) -> FloatTensor<Self>;
    /// The numbers of a contiguous tensor of f32.
    fn numbers(tensor: &FloatTensor<Self>) -> &[f32];
    /// A tensor of a shape.
    fn store(values: Buffer, shape: Shape, device: &Self::Device) -> FloatTensor<Self> {
        let data = TensorData::from_bytes(values.into_bytes(), shape, DType::F32);
        Self::float_from_data(data, device)
    }
}

/// A tensor `[batch, channels, height, width]`, or of another rank, whose numbers can be read
/// channels-last, or in the order of its axes.
#[derive(Clone, Debug)]
pub(crate) struct Numbers<B: Backend> {
    tensor: FloatTensor<B>,
}

impl<B: Host> Numbers<B> {
    /// A tensor in the order of its axes.
    pub(crate) fn plain(tensor: FloatTensor<B>) -> Self {
        Self {
            tensor: B::contiguous(tensor),
        }
    }

    /// A tensor `[batch, channels, height, width]`, channels-last.
    pub(crate) fn channels_last(tensor: FloatTensor<B>) -> Self {
        Self::plain(B::float_permute(tensor, &[0, 2, 3, 1]))
    }

    /// The tensor in the order of its axes.
    pub(crate) fn into_tensor(self) -> FloatTensor<B> {
        self.tensor
    }

    /// What was given to [`channels_last`](Self::channels_last), of the same shape.
    pub(crate) fn into_image(self) -> FloatTensor<B> {
        B::float_permute(self.tensor, &[0, 3, 1, 2])
    }

    /// The numbers.
    pub(crate) fn get(&self) -> &[f32] {
        B::numbers(&self.tensor)
    }
}

/// A tensor of a shape.
pub(crate) fn tensor<B: Host>(
    values: Buffer,
    shape: impl Into<Shape>,
    device: &B::Device,
) -> FloatTensor<B> {
    B::store(values, shape.into(), device)
}

/// A small tensor of a shape.
pub(crate) fn small_tensor<B: Backend>(
    values: Vec<f32>,
    shape: impl Into<Shape>,
    device: &B::Device,
) -> FloatTensor<B> {
    B::float_from_data(TensorData::new(values, shape), device)
}

/// A tensor `[batch, channels, height, width]` from numbers that are channels-last.
pub(crate) fn from_channels_last<B: Host>(
    values: Buffer,
    [batch, channels, height, width]: [usize; 4],
    device: &B::Device,
) -> FloatTensor<B> {
    let tensor = tensor::<B>(values, [batch, height, width, channels], device);
    B::float_permute(tensor, &[0, 3, 1, 2])
}

/// The four lengths of a tensor's axes.
pub(crate) fn dims4<B: Backend>(tensor: &FloatTensor<B>) -> [usize; 4] {
    let shape = tensor.shape();
    [shape[0], shape[1], shape[2], shape[3]]
}

/// The two lengths of a tensor's axes.
pub(crate) fn dims2<B: Backend>(tensor: &FloatTensor<B>) -> [usize; 2] {
    let shape = tensor.shape();
    [shape[0], shape[1]]
}

#[cfg(feature = "flex")]
impl Host for burn::backend::Flex {
    fn contiguous(tensor: FloatTensor<Self>) -> FloatTensor<Self> {
        if tensor.is_contiguous() {
            tensor
        } else {
            tensor.to_contiguous()
        }
    }

    fn numbers(tensor: &FloatTensor<Self>) -> &[f32] {
        tensor.as_slice().unwrap_or_default()
    }
}

#[cfg(feature = "ndarray")]
impl Host for burn::backend::NdArray {
    fn contiguous(tensor: FloatTensor<Self>) -> FloatTensor<Self> {
        use burn::backend::ndarray::NdArrayTensor;
        match tensor {
            NdArrayTensor::F32(storage) => {
                let array = storage.into_shared();
                let array = if array.is_standard_layout() {
                    array
                } else {
                    array.as_standard_layout().into_owned().into_shared()
                };
                array.into()
            }
            other => other,
        }
    }

    fn numbers(tensor: &FloatTensor<Self>) -> &[f32] {
        match tensor {
            burn::backend::ndarray::NdArrayTensor::F32(storage) => {
                storage.view().to_slice().unwrap_or_default()
            }
            _ => &[],
        }
    }

    fn store(values: Buffer, shape: Shape, device: &Self::Device) -> FloatTensor<Self> {
        use burn::backend::ops::FloatTensorOps;
        // It copies storage that is no `Vec` whenever it is touched.
        Self::float_from_data(TensorData::new(values.to_vec(), shape), device)
    }
}
