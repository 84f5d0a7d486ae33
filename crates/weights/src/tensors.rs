//! Plain tensors, by name: bytes that are whole, sorted and finite.

use std::collections::BTreeMap;

use burn::tensor::TensorData;
use half::{bf16, f16};
use safetensors::tensor::{Dtype, SafeTensors, TensorInfo, TensorView};
use serde::Serialize;

use crate::error::WeightsError;

/// Bytes of a value on disk.
const F32_BYTES: usize = size_of::<f32>();

/// Tensors of f32 as a safetensors file, with `metadata` in the header. The same tensors and metadata
/// give the same bytes.
///
/// # Errors
///
/// [`WeightsError::NotFinite`] or [`WeightsError::Dtype`] for a tensor that cannot be saved.
pub fn write_tensors(
    tensors: &BTreeMap<String, TensorData>,
    metadata: &BTreeMap<String, String>,
) -> Result<Vec<u8>, WeightsError> {
    let mut end = 0;
    let mut infos = BTreeMap::new();
    let mut parts = Vec::with_capacity(tensors.len());
    for (name, data) in tensors {
        let Ok(values) = data.as_slice::<f32>() else {
            return Err(WeightsError::Dtype {
                tensor: name.clone(),
                found: format!("{:?}", data.dtype()),
            });
        };
        check_finite(name, values)?;
        let start = end;
        end += values.len() * F32_BYTES;
        let info = TensorInfo {
            dtype: Dtype::F32,
            shape: data.shape().to_vec(),
            data_offsets: (start, end),
        };
        infos.insert(name.as_str(), info);
        parts.push(values);
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
    for values in parts {
        bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    }
    Ok(bytes)
}

/// The tensors of a safetensors file as f32, by name.
///
/// # Errors
///
/// [`WeightsError::Format`] if the bytes are no whole file, [`WeightsError::Dtype`] or
/// [`WeightsError::NotFinite`] for a tensor of other numbers.
pub fn read_tensors(bytes: &[u8]) -> Result<BTreeMap<String, TensorData>, WeightsError> {
    SafeTensors::deserialize(bytes)?
        .iter()
        .map(|(name, view)| {
            let values = numbers(name, &view)?;
            let data = TensorData::new(values, view.shape().to_vec());
            Ok((name.to_owned(), data))
        })
        .collect()
}

/// The header of a safetensors file, sorted by name.
#[derive(Serialize)]
struct Header<'a> {
    #[serde(rename = "__metadata__")]
    metadata: &'a BTreeMap<String, String>,
    #[serde(flatten)]
    tensors: BTreeMap<&'a str, TensorInfo>,
}

/// The numbers of a tensor, all of them finite.
pub(crate) fn numbers(name: &str, view: &TensorView<'_>) -> Result<Vec<f32>, WeightsError> {
    let data = view.data();
    let values = match view.dtype() {
        Dtype::F32 => each(data, f32::from_le_bytes),
        // f32 holds every number of theirs.
        Dtype::F16 => each(data, |b| f16::from_le_bytes(b).to_f32()),
        Dtype::BF16 => each(data, |b| bf16::from_le_bytes(b).to_f32()),
        other => {
            return Err(WeightsError::Dtype {
                tensor: name.to_owned(),
                found: other.to_string(),
            });
        }
    };
    check_finite(name, &values)?;
    Ok(values)
}

/// The numbers that are stored in `N` bytes each.
fn each<const N: usize>(bytes: &[u8], read: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    let (values, _) = bytes.as_chunks::<N>();
    values.iter().map(|&bytes| read(bytes)).collect()
}

/// Refuses the first value that is not finite.
fn check_finite(tensor: &str, values: &[f32]) -> Result<(), WeightsError> {
    match values.iter().position(|value| !value.is_finite()) {
        Some(index) => Err(WeightsError::NotFinite {
            tensor: tensor.to_owned(),
            index,
            found: values[index],
        }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn plain_tensors_come_back_and_others_are_refused() {
        let tensors = BTreeMap::from([
            ("b".to_owned(), TensorData::new(vec![1.0f32, -2.5], [2])),
            ("a".to_owned(), TensorData::new(vec![0.5f32; 6], [1, 2, 3])),
        ]);
        let bytes = write_tensors(&tensors, &BTreeMap::new()).unwrap();
        assert_eq!(read_tensors(&bytes).unwrap(), tensors);
        for end in 0..bytes.len() {
            let error = read_tensors(&bytes[..end]).unwrap_err();
            assert!(matches!(error, WeightsError::Format(_)), "{end}: {error}");
        }

        let of = |data| BTreeMap::from([("a".to_owned(), data)]);
        let whole = of(TensorData::new(vec![1i32], [1]));
        let error = write_tensors(&whole, &BTreeMap::new()).unwrap_err();
        assert!(matches!(error, WeightsError::Dtype { .. }), "{error}");
        let infinite = of(TensorData::new(vec![f32::INFINITY], [1]));
        let error = write_tensors(&infinite, &BTreeMap::new()).unwrap_err();
        assert!(matches!(error, WeightsError::NotFinite { .. }), "{error}");
    }
}
