//! The network of points stays what it was: runs and checkpoints of earlier versions go on with it.

#![allow(clippy::unwrap_used)]

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor};
use mlp::MlpConfig;
use training::{Purpose, Streams, flatten, flatten_gradients, streams, unflatten};
use weights::ParameterPath;

/// The hash of all initial weights.
const WEIGHTS: u64 = 0xc504_c733_283c_3ffe;

const PREDICTED: [f32; 15] = [
    0.458_695_9,
    -0.295_163_63,
    0.523_703_5,
    -0.049_691_23,
    0.275_529_24,
    0.590_605_1,
    0.355_801_58,
    -0.071_265_74,
    -0.095_131_35,
    -0.087_180_73,
    -0.283_762_22,
    0.586_599_4,
    0.057_960_42,
    0.012_891_054,
    0.172_872_68,
];

/// Of every 97th weight.
const GRADIENTS: [f32; 27] = [
    -9.195_119_5e-5,
    -0.000_337_668_78,
    0.001_136_117_7,
    0.000_275_895_5,
    0.000_334_976_7,
    -0.000_221_888_3,
    -0.023_593_625,
    0.001_709_957,
    -0.022_771_236,
    -0.005_847_816,
    0.002_874_598,
    -0.003_005_584_7,
    0.013_879_114,
    0.001_399_760_3,
    0.000_450_170_77,
    0.004_563_356_7,
    -0.000_565_831_14,
    -0.001_723_230_7,
    -0.002_563_563,
    0.000_609_993_7,
    -0.000_168_652_27,
    -0.000_363_561_62,
    0.002_031_341_2,
    -0.000_619_990_3,
    0.001_314_832_2,
    -0.002_002_463_4,
    0.026_901_798,
];

fn config() -> MlpConfig {
    toml::from_str("dimensions = 3\nwidth = 16\nblocks = 2").unwrap()
}

/// Names and shapes of all parameters, in the order that the optimiser's state has them.
fn parameters(module: &impl Module) -> Vec<String> {
    #[derive(Default)]
    struct Names {
        path: ParameterPath,
        found: Vec<String>,
    }
    impl ModuleVisitor for Names {
        fn enter_module(&mut self, name: &str, container_type: &str) {
            self.path.enter(name, container_type);
        }
        fn exit_module(&mut self, _name: &str, _container_type: &str) {
            self.path.exit();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let dims = param.val().dims();
            self.found.push(format!("{} {dims:?}", self.path.name()));
        }
    }
    let mut names = Names::default();
    module.visit(&mut names);
    names.found
}

fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_to_vec().unwrap()
}

/// FNV-1a of the bits.
fn hash(numbers: &[f32]) -> u64 {
    let bytes = numbers.iter().flat_map(|x| x.to_bits().to_le_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[test]
fn parameters_keep_their_names_order_and_first_values() {
    let mut rng = Streams::new(5).at(Purpose::Weights, 0);
    let mlp = config().init(&Device::flex(), &mut rng);
    let mut expected = Vec::new();
    for (name, [inputs, outputs]) in [
        ("time1", [16, 16]),
        ("time2", [16, 16]),
        ("input", [21, 16]),
        ("blocks.0.linear1", [16, 16]),
        ("blocks.0.time_projection", [16, 16]),
        ("blocks.0.linear2", [16, 16]),
        ("blocks.1.linear1", [16, 16]),
        ("blocks.1.time_projection", [16, 16]),
        ("blocks.1.linear2", [16, 16]),
        ("output", [16, 3]),
    ] {
        expected.push(format!("{name}.weight [{inputs}, {outputs}]"));
        expected.push(format!("{name}.bias [{outputs}]"));
    }
    assert_eq!(parameters(&mlp), expected);
    // Drawn on the host, they are the same everywhere.
    assert_eq!(hash(&numbers(flatten(&mlp))), WEIGHTS);
}

/// Of version 0.1. The bits are those of one machine: others may multiply in another order.
#[test]
fn values_and_gradients_are_what_they_were() {
    let device = Device::flex().autodiff();
    let mut rng = Streams::new(5).at(Purpose::Weights, 0);
    let mlp = config().init(&device, &mut rng);
    let count = flatten(&mlp).dims()[0];
    let noise = streams::noise([count], &mut rng, &Device::flex());
    let mlp = unflatten(mlp, noise * 0.2);
    let x_t: Tensor<2> = streams::noise([5, 3], &mut rng, &device);
    let predicted = mlp.forward(x_t, &[0.0, 1.0, 30.5, 500.0, 999.0], None);
    let gradients = flatten_gradients(&mlp, &mut predicted.clone().square().mean().backward());
    let gradients = numbers(gradients);
    let bits = [hash(&numbers(predicted.clone())), hash(&gradients)];
    println!("bits {bits:#x?}");
    let gradients: Vec<f32> = gradients.into_iter().step_by(97).collect();
    for (found, expected) in [
        (numbers(predicted), &PREDICTED[..]),
        (gradients, &GRADIENTS[..]),
    ] {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 2e-6, "{found}, not {expected}");
        }
    }
}
