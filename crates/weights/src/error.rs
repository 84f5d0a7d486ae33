//! What can be wrong with weights.

use burn::tensor::TensorReadError;
use safetensors::tensor::SafeTensorError;

/// Why weights could not be saved or loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WeightsError {
    /// The bytes are no whole safetensors file.
    #[error("not a safetensors file, or damaged or cut short")]
    Format(#[from] SafeTensorError),
    /// The header could not be laid out.
    #[error("cannot write the header of the weights")]
    Header(#[from] serde_json::Error),
    /// The device gave nothing back.
    #[error("cannot read the weights back from the device")]
    Device(#[from] TensorReadError),
    /// A tensor of the network is not in the file.
    #[error(
        "tensor `{tensor}` is missing, expected shape {expected:?}; the weights belong to another network"
    )]
    Missing {
        /// Its name.
        tensor: String,
        /// The shape that the network needs.
        expected: Vec<usize>,
    },
    /// A tensor of the file is not in the network.
    #[error("unknown tensor `{tensor}`; the weights belong to another network")]
    Unknown {
        /// Its name.
        tensor: String,
    },
    /// A tensor has another shape than in the network.
    #[error(
        "tensor `{tensor}` has shape {found:?}, expected {expected:?}; the weights belong to another network"
    )]
    Shape {
        /// Its name.
        tensor: String,
        /// The shape in the file.
        found: Vec<usize>,
        /// The shape in the network.
        expected: Vec<usize>,
    },
    /// A tensor does not hold floats of 32 or 16 bits.
    #[error(
        "tensor `{tensor}` has type {found}, expected F32, F16 or BF16; convert the weights first"
    )]
    Dtype {
        /// Its name.
        tensor: String,
        /// The type found.
        found: String,
    },
    /// A tensor holds an infinity or not a number.
    #[error("tensor `{tensor}` holds {found} at position {index}, expected finite numbers")]
    NotFinite {
        /// Its name.
        tensor: String,
        /// The position, in the order of the file.
        index: usize,
        /// The value.
        found: f32,
    },
}
