//! The parameters of a module: their names, their layouts, and a place for each.

use std::collections::{BTreeMap, BTreeSet};

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Tensor, TensorData};
use safetensors::tensor::SafeTensors;

use crate::error::WeightsError;
use crate::tensors::{numbers, write_tensors};

/// The weights of `module` as a safetensors file, with `metadata` in the header. The same weights and metadata give the same bytes.
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

    write_tensors(&collector.tensors, metadata)
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

/// Where a [`ModuleVisitor`] or [`ModuleMapper`] is, in torch's names: for what depends on the name of a
/// parameter as it stands in files, such as its first values.
#[derive(Debug, Clone, Default)]
pub struct ParameterPath {
    parts: Vec<String>,
    containers: Vec<String>,
}

impl ParameterPath {
    /// To be called by `enter_module`.
    pub fn enter(&mut self, name: &str, container_type: &str) {
        let name = match (container_type, name) {
            ("Struct:GroupNorm", "gamma") => "weight",
            ("Struct:GroupNorm", "beta") => "bias",
            _ => name,
        };
        self.parts.push(name.to_owned());
        self.containers.push(container_type.to_owned());
    }

    /// To be called by `exit_module`.
    pub fn exit(&mut self) {
        self.parts.pop();
        self.containers.pop();
    }

    /// The name of the parameter here.
    #[must_use]
    pub fn name(&self) -> String {
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
    tensors: BTreeMap<String, TensorData>,
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
        let data = match param.val().try_into_data() {
            Ok(data) => data,
            Err(error) => {
                self.error = Some(WeightsError::Device(error.into()));
                return;
            }
        };
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
        self.tensors.insert(tensor, TensorData::new(values, shape));
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

        let mut values = numbers(&tensor, &view)?;
        if is_transposed {
            values = transpose(&values, expected[1]);
        }
        Ok(TensorData::new(values, shape.to_vec()))
    }
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

/// The transpose of a row-major matrix with the given number of columns.
fn transpose(values: &[f32], columns: usize) -> Vec<f32> {
    (0..columns)
        .flat_map(|column| values.iter().skip(column).step_by(columns))
        .copied()
        .collect()
}
