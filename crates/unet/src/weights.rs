//! Weights as safetensors files, with diffusers' names and layouts.
//!
//! A file opens in diffusers' `UNet2DModel` with `load_state_dict` as it is, and the other way
//! round. Three things differ between burn and torch, and all are settled here: burn's GroupNorm
//! calls its parameters `gamma` and `beta` rather than `weight` and `bias`, its linear layers hold
//! `[in, out]` rather than `[out, in]`, and its containers give their own names, which the fields of
//! [`UNet`](crate::UNet) are chosen to match. Attention has other names in files of diffusers' early versions, which
//! are read too.
//!
//! The format (<https://github.com/huggingface/safetensors>) is a little-endian u64, the length of
//! the header; the header, JSON that says name, type, shape and place of every tensor; and the
//! tensors. Reading goes through the `safetensors` crate, which checks all of that, and each tensor
//! is then held against the network. burn-store is not used: these checks would have to come before
//! it all the same, and what is left for it to do is little. Writing lays out the header here, with
//! everything sorted by name: the crate keeps metadata in a hash map, whose order changes from run
//! to run, and here the same weights always give the same bytes.

use std::collections::{BTreeMap, BTreeSet};

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Tensor, TensorData};
use half::{bf16, f16};
use safetensors::tensor::{Dtype, SafeTensorError, SafeTensors, TensorInfo};
use serde::Serialize;

/// Bytes of a value on disk.
const F32_BYTES: usize = size_of::<f32>();

/// Why weights could not be saved or loaded.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// The bytes are no whole safetensors file.
    #[error("not a safetensors file, or damaged or cut short")]
    Format(#[from] SafeTensorError),
    /// The header could not be laid out.
    #[error("cannot write the header of the weights")]
    Header(#[from] serde_json::Error),
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

/// The weights of `module`, a [`UNet`](crate::UNet) or another network of such layers, as a safetensors
/// file, with `metadata` in the header. The same weights and metadata give the same bytes.
///
/// # Errors
///
/// [`WeightsError::NotFinite`] or [`WeightsError::Dtype`] for a tensor that cannot be saved.
pub fn to_safetensors<M: Module>(
    module: &M,
    metadata: &BTreeMap<String, String>,
) -> Result<Vec<u8>, WeightsError> {
    let mut collector = Collector {
        path: ParameterPath::default(),
        tensors: BTreeMap::new(),
        error: None,
    };
    module.visit(&mut collector);
    if let Some(error) = collector.error {
        return Err(error);
    }

    let mut end = 0;
    let mut infos = BTreeMap::new();
    for (name, (shape, values)) in &collector.tensors {
        let start = end;
        end += values.len() * F32_BYTES;
        let info = TensorInfo {
            dtype: Dtype::F32,
            shape: shape.clone(),
            data_offsets: (start, end),
        };
        infos.insert(name.as_str(), info);
    }
    let mut header = serde_json::to_vec(&Header {
        metadata,
        tensors: infos,
    })?;
    // Spaces align the tensors to 8 bytes, as the format recommends.
    header.resize(header.len().next_multiple_of(size_of::<u64>()), b' ');

    let mut bytes = Vec::with_capacity(size_of::<u64>() + header.len() + end);
    bytes.extend((header.len() as u64).to_le_bytes());
    bytes.extend(header);
    for (_, values) in collector.tensors.into_values() {
        bytes.extend(values.into_iter().flat_map(f32::to_le_bytes));
    }
    Ok(bytes)
}

/// Loads the weights of a safetensors file into `module`, whose weights they replace. Device,
/// gradient tracking and parameter identities stay as they are in `module`.
///
/// # Errors
///
/// [`WeightsError::Format`] if the bytes are no whole file; else the first tensor that does not fit.
pub fn from_safetensors<M: Module>(module: M, bytes: &[u8]) -> Result<M, WeightsError> {
    let file = SafeTensors::deserialize(bytes)?;
    let mut loader = Loader {
        path: ParameterPath::default(),
        unused: file.names().into_iter().collect(),
        file: &file,
        error: None,
    };
    let module = module.map(&mut loader);
    if let Some(error) = loader.error {
        return Err(error);
    }
    match loader.unused.first() {
        Some(tensor) => Err(WeightsError::Unknown {
            tensor: (*tensor).to_owned(),
        }),
        None => Ok(module),
    }
}

/// The header of a safetensors file, sorted by name.
#[derive(Serialize)]
struct Header<'a> {
    #[serde(rename = "__metadata__")]
    metadata: &'a BTreeMap<String, String>,
    #[serde(flatten)]
    tensors: BTreeMap<&'a str, TensorInfo>,
}

/// Where a visit of the network is, in diffusers' names.
#[derive(Default)]
pub(crate) struct ParameterPath {
    parts: Vec<String>,
    containers: Vec<String>,
}

impl ParameterPath {
    pub(crate) fn enter(&mut self, name: &str, container_type: &str) {
        let name = match (container_type, name) {
            ("Struct:GroupNorm", "gamma") => "weight",
            ("Struct:GroupNorm", "beta") => "bias",
            _ => name,
        };
        self.parts.push(name.to_owned());
        self.containers.push(container_type.to_owned());
    }

    pub(crate) fn exit(&mut self) {
        self.parts.pop();
        self.containers.pop();
    }

    /// The name of the parameter here.
    pub(crate) fn name(&self) -> String {
        self.parts.join(".")
    }

    /// Whether burn holds the parameter here transposed.
    fn is_transposed(&self) -> bool {
        let linear = self.containers.last().is_some_and(|c| c == "Struct:Linear");
        linear && self.parts.last().is_some_and(|part| part == "weight")
    }
}

/// Collects the parameters in diffusers' layout.
struct Collector {
    path: ParameterPath,
    tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
    error: Option<WeightsError>,
}

impl ModuleVisitor for Collector {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if self.error.is_some() {
            return;
        }
        let tensor = self.path.name();
        let data = param.val().into_data();
        let mut shape = data.shape().to_vec();
        let dtype = data.dtype();
        let Ok(mut values) = data.try_into_vec::<f32>() else {
            let found = format!("{dtype:?}");
            self.error = Some(WeightsError::Dtype { tensor, found });
            return;
        };
        if self.path.is_transposed() {
            values = transpose(&values, shape[1]);
            shape.reverse();
        }
        self.error = not_finite(&tensor, &values);
        self.tensors.insert(tensor, (shape, values));
    }
}

/// Puts the tensors of a file into the network.
struct Loader<'a> {
    path: ParameterPath,
    file: &'a SafeTensors<'a>,
    unused: BTreeSet<&'a str>,
    error: Option<WeightsError>,
}

impl ModuleMapper for Loader<'_> {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if self.error.is_some() {
            return param;
        }
        match self.read(&param.lazy_shape()) {
            Ok(data) => param.map(|replaced| {
                Tensor::from_data(data, &replaced.device())
                    .set_require_grad(replaced.is_require_grad())
            }),
            Err(error) => {
                self.error = Some(error);
                param
            }
        }
    }
}

impl Loader<'_> {
    /// The tensor of the file for the parameter here, in burn's layout of the given shape.
    fn read(&mut self, shape: &[usize]) -> Result<TensorData, WeightsError> {
        let tensor = self.path.name();
        let is_transposed = self.path.is_transposed();
        let mut expected = shape.to_vec();
        if is_transposed {
            expected.reverse();
        }

        let has = |name: &str| self.unused.contains(name);
        let early = early_name(&tensor).filter(|early| !has(&tensor) && has(early));
        let tensor = early.unwrap_or(tensor);
        let Ok(view) = self.file.tensor(&tensor) else {
            return Err(WeightsError::Missing { tensor, expected });
        };
        self.unused.remove(tensor.as_str());
        if view.shape() != expected {
            let found = view.shape().to_vec();
            return Err(WeightsError::Shape {
                tensor,
                found,
                expected,
            });
        }

        let data = view.data();
        let mut values: Vec<f32> = match view.dtype() {
            Dtype::F32 => numbers(data, f32::from_le_bytes),
            // f32 holds every number of theirs.
            Dtype::F16 => numbers(data, |b| f16::from_le_bytes(b).to_f32()),
            Dtype::BF16 => numbers(data, |b| bf16::from_le_bytes(b).to_f32()),
            other => {
                let found = other.to_string();
                return Err(WeightsError::Dtype { tensor, found });
            }
        };
        if let Some(error) = not_finite(&tensor, &values) {
            return Err(error);
        }
        if is_transposed {
            values = transpose(&values, expected[1]);
        }
        Ok(TensorData::new(values, shape.to_vec()))
    }
}

/// The numbers that are stored in `N` bytes each.
fn numbers<const N: usize>(bytes: &[u8], read: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    let (values, _) = bytes.as_chunks::<N>();
    values.iter().map(|&bytes| read(bytes)).collect()
}

/// What diffusers called a parameter of attention before its version 0.17: the names in many files of
/// the Hugging Face hub, which diffusers still reads.
fn early_name(tensor: &str) -> Option<String> {
    const NAMES: [(&str, &str); 4] = [
        ("to_q", "query"),
        ("to_k", "key"),
        ("to_v", "value"),
        ("to_out.0", "proj_attn"),
    ];
    let (layer, parameter) = tensor.rsplit_once('.')?;
    NAMES.iter().find_map(|(name, early)| {
        let block = layer.strip_suffix(name)?;
        Some(format!("{block}{early}.{parameter}"))
    })
}

/// The error for the first value that is not finite.
fn not_finite(tensor: &str, values: &[f32]) -> Option<WeightsError> {
    let index = values.iter().position(|value| !value.is_finite())?;
    Some(WeightsError::NotFinite {
        tensor: tensor.to_owned(),
        index,
        found: values[index],
    })
}

/// The transpose of a row-major matrix with the given number of columns.
fn transpose(values: &[f32], columns: usize) -> Vec<f32> {
    (0..columns)
        .flat_map(|column| values.iter().skip(column).step_by(columns))
        .copied()
        .collect()
}
