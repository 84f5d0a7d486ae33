//! Weights on disk: what is refused, and how; what is kept.

use std::collections::BTreeMap;

use ::weights::{WeightsError, from_safetensors, to_safetensors};
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use unet::{UNet, UNetConfig};

fn config() -> UNetConfig {
    UNetConfig {
        sample_size: 4.into(),
        in_channels: 1,
        out_channels: 1,
        block_out_channels: vec![4, 6],
        layers_per_block: 1,
        down_block_attention: vec![false, true],
        norm_num_groups: 2,
        num_class_embeds: Some(3),
        ..UNetConfig::default()
    }
}

fn new_unet(seed: u64, device: &Device) -> UNet {
    config()
        .init(device, &mut ChaCha8Rng::seed_from_u64(seed))
        .unwrap()
}

fn bytes(unet: &UNet) -> Vec<u8> {
    to_safetensors(unet, &BTreeMap::new()).unwrap()
}

/// The error of loading `bytes`.
fn refused(bytes: &[u8]) -> WeightsError {
    from_safetensors(new_unet(1, &Device::flex()), bytes).unwrap_err()
}

/// A whole file with its tensors changed.
fn edited(edit: impl FnOnce(&mut BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>)) -> Vec<u8> {
    let whole = bytes(&new_unet(0, &Device::flex()));
    let mut tensors: BTreeMap<_, _> = SafeTensors::deserialize(&whole)
        .unwrap()
        .iter()
        .map(|(name, view)| {
            let tensor = (view.dtype(), view.shape().to_vec(), view.data().to_vec());
            (name.to_owned(), tensor)
        })
        .collect();
    edit(&mut tensors);
    let views = tensors.iter().map(|(name, (dtype, shape, data))| {
        let view = TensorView::new(*dtype, shape.clone(), data).unwrap();
        (name, view)
    });
    safetensors::serialize(views, None).unwrap()
}

/// A file of the given header and no tensors.
fn with_header(header: &str) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_seed_others() {
    let device = Device::flex();
    let metadata: BTreeMap<String, String> = (0..50)
        .map(|i| (format!("key {i}"), i.to_string()))
        .collect();
    let save = |unet: &UNet| to_safetensors(unet, &metadata).unwrap();
    let first = save(&new_unet(0, &device));
    assert!(first == save(&new_unet(0, &device)));
    assert!(first != save(&new_unet(1, &device)));
    // Autodiff draws the same numbers.
    assert!(first == save(&new_unet(0, &Device::flex().autodiff())));
}

#[test]
fn what_is_saved_is_loaded() {
    let unet = new_unet(0, &Device::flex());
    let loaded = from_safetensors(new_unet(1, &Device::flex()), &bytes(&unet)).unwrap();
    assert!(bytes(&loaded) == bytes(&unet));
}

/// The name that diffusers gave a tensor before its version 0.17.
fn early_name(name: &str) -> String {
    name.replace(".to_q.", ".query.")
        .replace(".to_k.", ".key.")
        .replace(".to_v.", ".value.")
        .replace(".to_out.0.", ".proj_attn.")
}

#[test]
fn the_names_of_early_files_are_read() {
    let early = edited(|tensors| {
        let renamed: BTreeMap<_, _> = std::mem::take(tensors)
            .into_iter()
            .map(|(name, tensor)| (early_name(&name), tensor))
            .collect();
        // Two levels' blocks attend on the way down and up, and the middle block.
        let count = |part: &str| renamed.keys().filter(|name| name.contains(part)).count();
        assert_eq!((count(".query."), count(".to_")), (2 * 4, 0));
        *tensors = renamed;
    });
    let loaded = from_safetensors(new_unet(1, &Device::flex()), &early).unwrap();
    assert!(bytes(&loaded) == bytes(&new_unet(0, &Device::flex())));
}

#[test]
fn halved_precision_is_read() {
    let name = "conv_in.bias";
    // 1, -0.5, 0 and 2: exact in every type.
    let types = [
        (
            Dtype::F32,
            vec![0x3f80_0000_u32, 0xbf00_0000, 0, 0x4000_0000],
            4,
        ),
        (Dtype::F16, vec![0x3c00, 0xb800, 0, 0x4000], 2),
        (Dtype::BF16, vec![0x3f80, 0xbf00, 0, 0x4000], 2),
    ];
    let [whole, half, brain] = types.map(|(dtype, values, width)| {
        let file = edited(|tensors| {
            let data = values
                .iter()
                .flat_map(|v| v.to_le_bytes().into_iter().take(width));
            tensors.insert(name.to_owned(), (dtype, vec![4], data.collect()));
        });
        bytes(&from_safetensors(new_unet(1, &Device::flex()), &file).unwrap())
    });
    assert!(half == whole && brain == whole);
}

#[test]
fn a_tensor_under_both_its_names_is_refused() {
    let error = refused(&edited(|tensors| {
        let query = tensors["mid_block.attentions.0.to_q.weight"].clone();
        tensors.insert("mid_block.attentions.0.query.weight".to_owned(), query);
    }));
    assert_eq!(
        error.to_string(),
        "unknown tensor `mid_block.attentions.0.query.weight`; the weights belong to another network"
    );
}

#[test]
fn a_missing_tensor_is_named() {
    let error = refused(&edited(|tensors| {
        tensors
            .remove("down_blocks.0.resnets.0.norm1.weight")
            .unwrap();
    }));
    assert_eq!(
        error.to_string(),
        "tensor `down_blocks.0.resnets.0.norm1.weight` is missing, expected shape [4]; the weights \
         belong to another network"
    );
}

#[test]
fn an_unknown_tensor_is_named() {
    let error = refused(&edited(|tensors| {
        let conv = tensors["conv_in.bias"].clone();
        tensors.insert("conv_inn.bias".to_owned(), conv);
    }));
    assert_eq!(
        error.to_string(),
        "unknown tensor `conv_inn.bias`; the weights belong to another network"
    );
}

#[test]
fn another_shape_is_named_in_the_layout_of_the_file() {
    let name = "time_embedding.linear_1.weight";
    let error = refused(&edited(|tensors| {
        // Not transposed: [in, out] as burn holds it.
        tensors.get_mut(name).unwrap().1 = vec![4, 16];
    }));
    assert_eq!(
        error.to_string(),
        "tensor `time_embedding.linear_1.weight` has shape [4, 16], expected [16, 4]; the weights \
         belong to another network"
    );
}

#[test]
fn another_type_is_named() {
    let error = refused(&edited(|tensors| {
        let bias = tensors.get_mut("conv_in.bias").unwrap();
        bias.0 = Dtype::I32;
    }));
    assert_eq!(
        error.to_string(),
        "tensor `conv_in.bias` has type I32, expected F32, F16 or BF16; convert the weights first"
    );
}

#[test]
fn a_value_that_is_not_finite_is_named() {
    for (value, shown) in [(f32::NAN, "NaN"), (f32::NEG_INFINITY, "-inf")] {
        let error = refused(&edited(|tensors| {
            let bias = tensors.get_mut("conv_in.bias").unwrap();
            bias.2[8..12].copy_from_slice(&value.to_le_bytes());
        }));
        assert_eq!(
            error.to_string(),
            format!("tensor `conv_in.bias` holds {shown} at position 2, expected finite numbers")
        );
    }
}

#[test]
fn weights_that_are_not_finite_are_not_saved() {
    struct Spoil;
    impl ModuleMapper for Spoil {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            param.map(|tensor| tensor * f32::INFINITY)
        }
    }
    let unet = new_unet(0, &Device::flex()).map(&mut Spoil);
    let error = to_safetensors(&unet, &BTreeMap::new()).unwrap_err();
    assert!(matches!(error, WeightsError::NotFinite { .. }), "{error}");
}

#[test]
fn a_file_cut_short_anywhere_is_refused() {
    let whole = bytes(&new_unet(0, &Device::flex()));
    let ends = (0..64)
        .chain((64..whole.len()).step_by(97))
        .chain([whole.len() - 1]);
    for end in ends {
        let error = refused(&whole[..end]);
        assert!(matches!(error, WeightsError::Format(_)), "{end}: {error}");
        assert!(error.to_string().starts_with("not a safetensors file"));
    }
    let longer = [whole.as_slice(), &[0]].concat();
    assert!(matches!(refused(&longer), WeightsError::Format(_)));
}

#[test]
fn a_bad_header_is_refused() {
    let huge = [u64::MAX, u64::MAX - 7, 1 << 62, 1 << 40, 200_000_000];
    for length in huge {
        let mut file = bytes(&new_unet(0, &Device::flex()));
        file[..8].copy_from_slice(&length.to_le_bytes());
        assert!(
            matches!(refused(&file), WeightsError::Format(_)),
            "{length}"
        );
    }
    let shape = format!("[{},{}]", usize::MAX, usize::MAX);
    for header in [
        "",
        "not JSON",
        "[]",
        "\u{0}",
        r#"{"__metadata__":{"key":1}}"#,
        r#"{"a":{"dtype":"F99","shape":[1],"data_offsets":[0,4]}}"#,
        r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}"#,
        r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#,
        r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[-4,0]}}"#,
        r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#,
        &format!(r#"{{"a":{{"dtype":"F32","shape":{shape},"data_offsets":[0,4]}}}}"#),
        &"[".repeat(100_000),
    ] {
        let error = refused(&with_header(header));
        assert!(
            matches!(error, WeightsError::Format(_)),
            "{header}: {error}"
        );
    }
    // A whole file, but of nothing.
    assert!(matches!(
        refused(&with_header("{}")),
        WeightsError::Missing { .. }
    ));
}

/// Parameter identities, and whether each is tracked.
#[derive(Default, PartialEq, Debug)]
struct Tracking(Vec<(String, bool, bool)>);

impl ModuleVisitor for Tracking {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let tensor = param.val();
        let identity = param.id.to_string();
        self.0
            .push((identity, tensor.is_require_grad(), tensor.is_autodiff()));
    }
}

fn tracking(unet: &UNet) -> Tracking {
    let mut tracking = Tracking::default();
    unet.visit(&mut tracking);
    tracking
}

#[test]
fn loading_keeps_device_identities_and_gradient_tracking() {
    let file = bytes(&new_unet(0, &Device::flex()));
    let trained = new_unet(1, &Device::flex().autodiff());
    let frozen = trained.clone().no_grad();
    let valid = trained.valid();
    let plain = new_unet(1, &Device::flex());

    assert!(
        tracking(&trained)
            .0
            .iter()
            .all(|(_, grad, autodiff)| *grad && *autodiff)
    );
    for unet in [trained, frozen, valid, plain] {
        let before = tracking(&unet);
        let restored = tracking(&unet.clone().train());
        let loaded = from_safetensors(unet, &file).unwrap();
        assert_eq!(tracking(&loaded), before);
        assert!(bytes(&loaded) == file);
        assert_eq!(tracking(&loaded.train()), restored);
    }
}
