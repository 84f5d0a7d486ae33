//! The network of points stays what it was: runs and checkpoints of earlier versions go on with it.

#![allow(clippy::unwrap_used)]

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor};
use mlp::MlpConfig;
use training::{Purpose, Streams, flatten, flatten_gradients, streams, unflatten};
use weights::ParameterPath;

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
    println!("{:#?}", parameters(&mlp));
    println!("{:#x}", hash(&numbers(flatten(&mlp))));
}

#[test]
fn values_and_gradients_are_what_they_were() {
    let device = Device::flex().autodiff();
    let mut rng = Streams::new(5).at(Purpose::Weights, 0);
    let mlp = config().init(&device, &mut rng);
    let count = flatten(&mlp).dims()[0];
    let mlp = unflatten(
        mlp,
        streams::noise([count], &mut rng, &Device::flex()) * 0.2,
    );
    let x_t: Tensor<2> = streams::noise([5, 3], &mut rng, &device);
    let predicted = mlp.forward(x_t, &[0.0, 1.0, 30.5, 500.0, 999.0], None);
    let found = numbers(predicted.clone());
    let gradients = flatten_gradients(&mlp, &mut predicted.square().mean().backward());
    let gradients = numbers(gradients);
    println!("{found:?} {:#x} {:#x}", hash(&found), hash(&gradients));
    println!("{:?}", gradients.iter().step_by(97).collect::<Vec<_>>());
}
