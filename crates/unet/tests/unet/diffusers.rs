//! The network against `UNet2DModel` of Hugging Face diffusers, by the golden files of
//! `scripts/reference/unet_golden.py`.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use ::weights::{from_safetensors, to_safetensors};
use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde::Deserialize;
use unet::{UNet, UNetConfig};

/// The difference allowed in any output element.
const TOLERANCE: f32 = 1e-4;

/// Tensors of a golden file that are no weights.
const EXAMPLE: [&str; 4] = ["input", "timesteps", "class_labels", "output"];

/// A configuration and the number of parameters that diffusers counts.
#[derive(Deserialize)]
struct Reference {
    config: UNetConfig,
    parameters: usize,
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn new_unet(config: &UNetConfig) -> UNet {
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    config.init(&Device::flex(), &mut rng).unwrap()
}

/// The weights of a golden file, as a file of their own.
fn weights_of(file: &SafeTensors<'_>) -> Vec<u8> {
    let weights: Vec<(&str, TensorView<'_>)> = file
        .iter()
        .filter(|(name, _)| !EXAMPLE.contains(name))
        .collect();
    safetensors::serialize(weights, None).unwrap()
}

fn floats<const D: usize>(file: &SafeTensors<'_>, name: &str) -> Tensor<D> {
    let view = file.tensor(name).unwrap();
    let values: Vec<f32> = view
        .data()
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
        .collect();
    Tensor::from_data(
        TensorData::new(values, view.shape().to_vec()),
        &Device::flex(),
    )
}

fn labels(file: &SafeTensors<'_>) -> Option<Vec<usize>> {
    let view = file.tensor("class_labels").ok()?;
    let values = view
        .data()
        .chunks_exact(8)
        .map(|b| i64::from_le_bytes(b.try_into().unwrap()) as usize);
    Some(values.collect())
}

/// Name to type and shape.
fn layout(bytes: &[u8]) -> BTreeMap<String, (Dtype, Vec<usize>)> {
    SafeTensors::deserialize(bytes)
        .unwrap()
        .iter()
        .map(|(name, view)| (name.to_owned(), (view.dtype(), view.shape().to_vec())))
        .collect()
}

/// Runs one golden file through everything that is asked of it.
fn check(name: &str) {
    let json = fs::read_to_string(golden().join(format!("{name}.json"))).unwrap();
    let reference: Reference = serde_json::from_str(&json).unwrap();
    let bytes = fs::read(golden().join(format!("{name}.safetensors"))).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let weights = weights_of(&file);

    let unet = new_unet(&reference.config);
    assert_eq!(unet.num_params(), reference.parameters, "parameters");

    let unet = from_safetensors(unet, &weights).unwrap();
    let timesteps: Vec<f64> = floats::<1>(&file, "timesteps").try_into_vec_as().unwrap();
    let output = unet.forward(floats(&file, "input"), &timesteps, labels(&file).as_deref());
    let expected = floats::<4>(&file, "output");
    assert_eq!(output.dims(), expected.dims());
    let output = output.into_data().try_into_vec::<f32>().unwrap();
    let expected = expected.into_data().try_into_vec::<f32>().unwrap();
    let difference = output
        .iter()
        .zip(&expected)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max);
    println!("{name}: largest difference {difference:.1e}");
    assert!(
        output.iter().all(|value| value.is_finite()) && difference <= TOLERANCE,
        "largest difference {difference}"
    );

    // What we save has diffusers' names, types and shapes, and every byte of the weights.
    let metadata: BTreeMap<String, String> = (0..20)
        .map(|i| (format!("key {i}"), format!("value \"{i}\"\n")))
        .collect();
    let saved = to_safetensors(&unet, &metadata).unwrap();
    assert_eq!(layout(&saved), layout(&weights));
    let (_, header) = SafeTensors::read_metadata(&saved).unwrap();
    let read: BTreeMap<_, _> = header.metadata().clone().unwrap().into_iter().collect();
    assert_eq!(read, metadata);
    let saved_file = SafeTensors::deserialize(&saved).unwrap();
    for (tensor, view) in saved_file.iter() {
        assert!(
            view.data() == file.tensor(tensor).unwrap().data(),
            "{tensor}"
        );
    }

    // Saved, loaded and saved: the same bytes.
    let again = from_safetensors(new_unet(&reference.config), &saved).unwrap();
    assert!(to_safetensors(&again, &metadata).unwrap() == saved);
}

#[test]
fn grey_28() {
    check("grey_28");
}

#[test]
fn rgb_32_attention_at_16() {
    check("rgb_32_attention_at_16");
}

#[test]
fn class_conditional() {
    check("class_conditional");
}

#[test]
fn scale_and_shift() {
    check("scale_and_shift");
}

#[test]
fn attention_heads() {
    check("attention_heads");
}

#[test]
fn odd_groups() {
    check("odd_groups");
}

#[test]
fn one_odd_level() {
    check("one_odd_level");
}

#[test]
fn downsample_padding_0() {
    check("downsample_padding_0");
}

#[test]
fn every_golden_file_is_tested() {
    let tested = include_str!("diffusers.rs");
    for entry in fs::read_dir(golden()).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "safetensors")
        {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            assert!(tested.contains(&format!("check(\"{name}\")")), "{name}");
        }
    }
}

#[test]
fn the_default_is_the_paper_s_network_with_as_many_parameters() {
    let json = fs::read_to_string(golden().join("parameter_counts.json")).unwrap();
    let references: Vec<Reference> = serde_json::from_str(&json).unwrap();
    let counts: HashMap<usize, &UNetConfig> = references
        .iter()
        .map(|reference| (reference.parameters, &reference.config))
        .collect();
    let config = UNetConfig::default();
    assert_eq!(counts[&35_746_307], &config);
    assert_eq!(new_unet(&config).num_params(), 35_746_307);
}
