//! Batches of images as numbers, in safetensors files: noise that comes in, images that go out.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use burn::tensor::{Device, Tensor, TensorData};
use datasets::files::read_file;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::run::atomic_file;

/// Bytes of a value on disk.
const F32_BYTES: usize = size_of::<f32>();

/// The most bytes of a file.
const MAX_FILE_LEN: u64 = 16 << 30;

/// Names of tensors that an error lists.
const SHOWN: usize = 10;

/// The tensor `name` of a safetensors file: `[N, C, H, W]` of finite f32.
pub fn read(path: &Path, name: &str, device: &Device) -> Result<Tensor<4>> {
    let bytes =
        read_file(path, MAX_FILE_LEN).with_context(|| format!("cannot read {}", path.display()))?;
    tensor(&bytes, name, device).with_context(|| format!("cannot use {}", path.display()))
}

fn tensor(bytes: &[u8], name: &str, device: &Device) -> Result<Tensor<4>> {
    let file = SafeTensors::deserialize(bytes)
        .context("not a safetensors file, or damaged or cut short")?;
    let Ok(view) = file.tensor(name) else {
        let mut names = file.names();
        let all = names.len();
        names.truncate(SHOWN);
        let names: Vec<String> = names
            .iter()
            .map(|name| name.chars().take(40).collect())
            .collect();
        bail!(
            "it has no tensor `{name}`; the names of its {all} tensors: {}",
            names.join(", ")
        );
    };
    let Ok(shape) = <[usize; 4]>::try_from(view.shape()) else {
        bail!(
            "tensor `{name}` has shape {:?}, expected [number, channels, height, width]",
            view.shape()
        );
    };
    ensure!(
        view.dtype() == Dtype::F32,
        "tensor `{name}` has type {}, expected F32",
        view.dtype()
    );
    let (values, _) = view.data().as_chunks::<F32_BYTES>();
    let values: Vec<f32> = values.iter().map(|&b| f32::from_le_bytes(b)).collect();
    if let Some(index) = values.iter().position(|value| !value.is_finite()) {
        bail!(
            "tensor `{name}` holds {} at position {index}, expected finite numbers",
            values[index]
        );
    }
    Ok(Tensor::from_data(TensorData::new(values, shape), device))
}

/// Writes tensors under their names as a safetensors file.
pub fn write(path: &Path, tensors: &[(&str, Tensor<4>)]) -> Result<()> {
    let mut parts = Vec::new();
    for (name, tensor) in tensors {
        let values: Vec<f32> = tensor
            .clone()
            .try_into_vec_as()
            .context("cannot read the images back from the device")?;
        let bytes: Vec<u8> = values.into_iter().flat_map(f32::to_le_bytes).collect();
        parts.push((*name, tensor.dims().to_vec(), bytes));
    }
    let views = parts
        .iter()
        .map(|(name, shape, bytes)| Ok((*name, TensorView::new(Dtype::F32, shape.clone(), bytes)?)))
        .collect::<Result<Vec<_>>>()?;
    let bytes = safetensors::serialize(views, None)?;
    atomic_file::write(path, &bytes).with_context(|| format!("cannot write {}", path.display()))
}
