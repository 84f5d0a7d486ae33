//! The network against the original one in PyTorch, and both ways of resizing against torch-fidelity and
//! Pillow: numbers made by scripts/reference/inception_golden.py.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use burn::tensor::Device;
use inception::{FEATURES, Inception, RESOLUTION, Resize};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};

/// 32-bit numbers that look random: of position and key, by the last steps of MurmurHash3.
fn numbers(count: usize, key: u32) -> impl Iterator<Item = u32> {
    (0..count as u32).map(move |position| {
        let x = position.wrapping_mul(2_654_435_761).wrapping_add(key);
        let x = (x ^ (x >> 16)).wrapping_mul(0x85EB_CA6B);
        let x = (x ^ (x >> 13)).wrapping_mul(0xC2B2_AE35);
        x ^ (x >> 16)
    })
}

fn pixels(count: usize) -> Vec<u8> {
    numbers(count, 1)
        .map(|number| (number >> 24) as u8)
        .collect()
}

/// The network with the weights that the script gives to PyTorch's.
fn network(device: &Device) -> Inception {
    let zeros = Inception::new(device);
    let file = weights::to_safetensors(&zeros, &BTreeMap::new()).unwrap();
    let file = SafeTensors::deserialize(&file).unwrap();
    let mut names: Vec<&str> = file.names();
    names.sort_unstable();
    let filled: Vec<(&str, Vec<usize>, Vec<u8>)> = names
        .into_iter()
        .enumerate()
        .map(|(key, name)| {
            let shape = file.tensor(name).unwrap().shape().to_vec();
            let count: usize = shape.iter().product();
            let deviation = if shape.len() == 4 {
                (2.0 / (count / shape[0]) as f64).sqrt()
            } else {
                0.1
            };
            let value = |number| {
                let unit = f64::from(number) / 2f64.powi(32) - 0.5;
                (unit * 12f64.sqrt() * deviation) as f32
            };
            let values = numbers(count, key as u32).map(value);
            (name, shape, values.flat_map(f32::to_le_bytes).collect())
        })
        .collect();
    let views = filled.iter().map(|(name, shape, bytes)| {
        (
            *name,
            TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap(),
        )
    });
    let bytes = safetensors::serialize(views, None).unwrap();
    weights::from_safetensors(zeros, &bytes).unwrap()
}

fn golden(name: &str) -> Vec<f32> {
    let file = SafeTensors::deserialize(include_bytes!("../golden/inception.safetensors")).unwrap();
    let (values, _) = file.tensor(name).unwrap().data().as_chunks::<4>();
    values
        .iter()
        .map(|&bytes| f32::from_le_bytes(bytes))
        .collect()
}

fn largest_difference(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let differences = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
    differences.fold(0.0, f32::max)
}

#[test]
fn features_are_pytorchs() {
    let device = Device::flex();
    let images = Resize::Clean.images(&pixels(2 * 3 * 8 * 8), [3, 8, 8], &device);
    let found = network(&device).features(images);
    assert_eq!(found.dims(), [2, FEATURES]);
    let found: Vec<f32> = found.into_data().try_to_vec().unwrap();
    let difference = largest_difference(&found, &golden("features"));
    assert!(difference < 1e-4, "{difference}");
}

#[test]
fn resized_images_are_torch_fidelitys_and_pillows() {
    for (name, shape) in [
        ("pixel", [1, 1, 1]),
        ("tiny", [3, 2, 3]),
        ("digit", [1, 28, 28]),
        ("photograph", [3, 32, 32]),
        ("wide", [1, 20, 310]),
        ("large", [1, 640, 301]),
    ] {
        let pixels = pixels(shape.iter().product());
        for (resize, folder) in [(Resize::Tensorflow, "tensorflow"), (Resize::Clean, "clean")] {
            let images = resize.images(&pixels, shape, &Device::flex());
            assert_eq!(images.dims(), [1, 3, RESOLUTION, RESOLUTION]);
            let images: Vec<f32> = images.into_data().try_to_vec().unwrap();
            let planes = images.chunks_exact(RESOLUTION * RESOLUTION).take(shape[0]);
            let rows = planes.flat_map(|plane| plane.chunks_exact(RESOLUTION).step_by(13));
            let found: Vec<f32> = rows
                .flat_map(|row| row.iter().step_by(11))
                .map(|value| value * 128.0 + 128.0)
                .collect();
            let difference = largest_difference(&found, &golden(&format!("{folder}/{name}")));
            assert!(difference < 1e-3, "{folder}/{name}: {difference}");
        }
    }
}
