//! The network itself: shapes, gradients, fresh weights, dropout.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use ::weights::to_safetensors;
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Device, Gradients, Tensor, TensorData};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use safetensors::SafeTensors;
use unet::{TimeScaleShift, UNet, UNetConfig, timestep_embedding};

/// Held by tests that draw from the generator of the device, which all threads share.
static GENERATOR: Mutex<()> = Mutex::new(());

fn config() -> UNetConfig {
    UNetConfig {
        sample_size: 8.into(),
        in_channels: 2,
        out_channels: 3,
        block_out_channels: vec![4, 8, 8],
        layers_per_block: 2,
        down_block_attention: vec![false, true, false],
        norm_num_groups: 2,
        num_class_embeds: Some(2),
        ..UNetConfig::default()
    }
}

fn init(config: &UNetConfig, device: &Device) -> UNet {
    config
        .init(device, &mut ChaCha8Rng::seed_from_u64(0))
        .unwrap()
}

/// Numbers in (-0.5, 0.5), none zero.
fn values(len: usize, rng: &mut ChaCha8Rng) -> Vec<f32> {
    (0..len)
        .map(|_| (f64::from(rng.next_u32()) + 0.5) / f64::from(u32::MAX) - 0.5)
        .map(|value| value as f32)
        .collect()
}

fn images(shape: [usize; 4], device: &Device) -> Tensor<4> {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let data = TensorData::new(values(shape.iter().product(), &mut rng), shape);
    Tensor::from_data(data, device)
}

/// Puts a random number into every parameter.
struct Randomise(ChaCha8Rng);

impl ModuleMapper for Randomise {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let shape = param.lazy_shape();
        let data = TensorData::new(values(shape.iter().product(), &mut self.0), shape);
        Param::from_data(data, &param.lazy_device())
    }
}

/// Counts the parameters that a gradient reaches.
struct CheckGradients<'a> {
    gradients: &'a Gradients,
    path: Vec<String>,
    reached: usize,
}

impl ModuleVisitor for CheckGradients<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let name = self.path.join(".");
        let gradient = param.val().grad(self.gradients);
        let gradient = gradient.unwrap_or_else(|| panic!("{name} has no gradient"));
        assert_eq!(gradient.dims(), param.val().dims(), "{name}");
        let gradient = gradient.into_data().try_into_vec::<f32>().unwrap();
        assert!(
            gradient.iter().all(|g| g.is_finite()),
            "{name} {gradient:?}"
        );
        // A key's bias shifts all scores of a query alike, which softmax does not see.
        if !name.ends_with("to_k.bias") {
            assert!(
                gradient.iter().any(|g| g.abs() > 1e-9),
                "{name}: every gradient is zero"
            );
        }
        self.reached += 1;
    }
}

#[test]
fn gradients_reach_every_parameter() {
    let device = Device::flex().autodiff();
    for time_scale_shift in [TimeScaleShift::Default, TimeScaleShift::ScaleShift] {
        let config = UNetConfig {
            resnet_time_scale_shift: time_scale_shift,
            attention_head_dim: Some(4),
            attn_norm_num_groups: Some(4),
            ..config()
        };
        let unet = init(&config, &device).map(&mut Randomise(ChaCha8Rng::seed_from_u64(2)));
        let prediction = unet.forward(images([2, 2, 8, 8], &device), &[3.0, 700.0], Some(&[0, 1]));
        let gradients = prediction.square().mean().backward();
        let mut check = CheckGradients {
            gradients: &gradients,
            path: Vec::new(),
            reached: 0,
        };
        unet.visit(&mut check);
        let file = to_safetensors(&unet, &BTreeMap::new()).unwrap();
        let tensors = SafeTensors::deserialize(&file).unwrap().len();
        assert_eq!(check.reached, tensors);
    }
}

/// Adds to one parameter.
struct Move<'a> {
    name: &'a str,
    by: Vec<f32>,
    path: Vec<String>,
}

impl ModuleMapper for Move<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if self.path.join(".") != self.name {
            return param;
        }
        param.map(|value| {
            let data = TensorData::new(self.by.clone(), value.dims());
            let by = Tensor::from_data(data, &value.device());
            (value + by).detach().require_grad()
        })
    }
}

/// The numbers of every parameter's gradient, which is in one of the parts.
struct Collected<'a> {
    parts: &'a mut [Gradients],
    path: Vec<String>,
    gradients: Vec<(String, Vec<f32>)>,
}

impl ModuleVisitor for Collected<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let name = self.path.join(".");
        let value = param.val();
        let parts = self.parts.iter_mut();
        let found: Vec<_> = parts.filter_map(|part| value.grad_remove(part)).collect();
        let [gradient] = <[_; 1]>::try_from(found)
            .unwrap_or_else(|found| panic!("{name} has {} gradients", found.len()));
        let gradient = gradient.into_data().try_into_vec().unwrap();
        self.gradients.push((name, gradient));
    }
}

fn collected(unet: &UNet, parts: &mut [Gradients]) -> Vec<(String, Vec<f32>)> {
    let mut collected = Collected {
        parts,
        path: Vec::new(),
        gradients: Vec::new(),
    };
    unet.visit(&mut collected);
    collected.gradients
}

/// But for rounding: what a stage takes comes from several gradients, which are summed in another order.
#[test]
fn gradients_are_the_same_when_stages_are_computed_again() {
    let device = Device::flex().autodiff();
    let with = |change: fn(&mut UNetConfig)| {
        let mut config = config();
        change(&mut config);
        config
    };
    for config in [
        config(),
        with(|config| config.resnet_time_scale_shift = TimeScaleShift::ScaleShift),
        with(|config| config.num_class_embeds = None),
        with(|config| config.mid_block_attention = false),
        with(|config| {
            config.block_out_channels = vec![4];
            config.down_block_attention = vec![true];
            config.layers_per_block = 1;
        }),
    ] {
        let unet = init(&config, &device).map(&mut Randomise(ChaCha8Rng::seed_from_u64(2)));
        let x_t = images([2, 2, 8, 8], &device);
        let labels: Option<&[usize]> = config.num_class_embeds.map(|_| &[0, 1][..]);
        let loss = |predicted: Tensor<4>| predicted.square().mean();
        let kept = loss(unet.forward(x_t.clone(), &[3.0, 700.0], labels));
        let expected = collected(&unet, &mut [kept.backward()]);
        let (again, mut parts) = unet.backward_recomputing(x_t, &[3.0, 700.0], labels, None, loss);
        assert!(parts.len() > 3);
        let found = collected(&unet, &mut parts);
        let number = |loss: Tensor<1>| loss.into_scalar::<f32>();
        assert_eq!(number(again).to_bits(), number(kept).to_bits());
        assert_eq!(found.len(), expected.len());
        let all = expected.iter().flat_map(|(_, gradient)| gradient);
        let largest = all.fold(0.0, |most: f32, g| most.max(g.abs()));
        for ((name, found), (_, expected)) in found.iter().zip(&expected) {
            for (found, expected) in found.iter().zip(expected) {
                let error = (found - expected).abs();
                assert!(error < 1e-7 * largest, "{name}: {error} of {largest}");
            }
        }
    }
}

/// With a loss that is a sum of predictions, so that gradients hang on what is left out alone: one that leaves out
/// something else has other gradients.
#[test]
fn dropout_leaves_out_the_same_when_stages_are_computed_again() {
    let _turn = GENERATOR.lock().unwrap_or_else(PoisonError::into_inner);
    let device = Device::flex().autodiff();
    let config = UNetConfig {
        dropout: 0.3,
        ..config()
    };
    let unet = init(&config, &device).map(&mut Randomise(ChaCha8Rng::seed_from_u64(2)));
    let x_t = images([2, 2, 8, 8], &device);
    let of_seed = |seed: u64| {
        let loss = |predicted: Tensor<4>| predicted.sum();
        let labels = Some(&[0, 1][..]);
        let (loss, mut parts) =
            unet.backward_recomputing(x_t.clone(), &[3.0, 700.0], labels, Some(seed), loss);
        (loss.into_scalar::<f32>(), collected(&unet, &mut parts))
    };
    let (loss, gradients) = of_seed(5);
    assert_eq!(of_seed(5), (loss, gradients.clone()));
    assert_ne!(of_seed(6).0, loss);
    // Against the slope of the loss, which leaves out by the same seed, along the gradient of a weight behind dropout.
    let name = "down_blocks.1.resnets.0.conv2.weight";
    let (_, gradient) = gradients.iter().find(|(found, _)| found == name).unwrap();
    let squares: f32 = gradient.iter().map(|g| g * g).sum();
    let step = 1e-2 / squares.sqrt();
    let loss_at = |step: f32| {
        let moved = unet.clone().map(&mut Move {
            name,
            by: gradient.iter().map(|g| g * step).collect(),
            path: Vec::new(),
        });
        let labels = Some(&[0, 1][..]);
        let sum = |predicted: Tensor<4>| predicted.sum();
        let (loss, _) =
            moved.backward_recomputing(x_t.clone(), &[3.0, 700.0], labels, Some(5), sum);
        loss.into_scalar::<f32>()
    };
    let slope = (loss_at(step) - loss_at(-step)) / (2.0 * step);
    assert!((slope / squares - 1.0).abs() < 0.01, "{slope} {squares}");
}

#[test]
#[should_panic(expected = "needs a seed")]
fn dropout_without_a_seed_is_not_computed_again() {
    let device = Device::flex().autodiff();
    let config = UNetConfig {
        dropout: 0.1,
        ..config()
    };
    let unet = init(&config, &device);
    let x_t = images([2, 2, 8, 8], &device);
    let labels = Some(&[0, 1][..]);
    let _ = unet.backward_recomputing(x_t, &[3.0, 700.0], labels, None, |predicted| {
        predicted.mean()
    });
}

#[test]
fn the_network_of_a_class_predicts_what_it_is_told_to_without_being_told() {
    let device = Device::flex();
    let unet = init(&config(), &device).map(&mut Randomise(ChaCha8Rng::seed_from_u64(2)));
    let (x_t, t) = (images([2, 2, 8, 8], &device), [3.0, 700.0]);
    let numbers = |x: Tensor<4>| x.into_data().try_into_vec::<f32>().unwrap();
    let mut predictions = Vec::new();
    for class in [0, 1] {
        let told = numbers(unet.forward(x_t.clone(), &t, Some(&[class, class])));
        let alone = unet.clone().for_class(class);
        assert_eq!(alone.config().num_class_embeds, None);
        assert!(to_safetensors(&alone, &BTreeMap::new()).is_ok());
        let alone = numbers(alone.forward(x_t.clone(), &t, None));
        for (told, alone) in told.iter().zip(&alone) {
            assert!((told - alone).abs() < 1e-5, "{told} and {alone}");
        }
        predictions.push(alone);
    }
    assert_ne!(predictions[0], predictions[1]);
}

#[test]
#[should_panic(expected = "class 2 of 2 class embeddings")]
fn there_is_no_network_of_a_class_that_is_not_known() {
    let _ = init(&config(), &Device::flex()).for_class(2);
}

#[test]
fn a_fresh_network_predicts_all_but_zero() {
    let device = Device::flex();
    let unet = init(&config(), &device);
    let prediction = unet.forward(images([2, 2, 8, 8], &device), &[3.0, 700.0], Some(&[0, 1]));
    let largest = prediction.abs().max().into_scalar::<f32>();
    assert!(largest > 0.0 && largest < 1e-3, "{largest}");
}

/// Shape, mean and standard deviation of each parameter, by burn's path.
#[derive(Default)]
struct Deviations {
    path: Vec<String>,
    found: Vec<(String, Vec<usize>, f64, f64)>,
}

impl ModuleVisitor for Deviations {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let shape = param.val().dims().to_vec();
        let values = param.val().into_data().try_into_vec::<f32>().unwrap();
        let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / values.len() as f64;
        let square = values.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>();
        let deviation = (square / values.len() as f64 - mean * mean).max(0.0).sqrt();
        self.found
            .push((self.path.join("."), shape, mean, deviation));
    }
}

#[test]
fn fresh_weights_have_ho_et_al_s_variances() {
    let config = UNetConfig {
        block_out_channels: vec![32, 64],
        down_block_attention: vec![false, true],
        norm_num_groups: 8,
        num_class_embeds: Some(100),
        ..config()
    };
    let mut deviations = Deviations::default();
    init(&config, &Device::flex()).visit(&mut deviations);

    for (name, shape, mean, deviation) in deviations.found {
        let (expected_mean, expected) = if name.ends_with("gamma") {
            (1.0, 0.0)
        } else if shape.len() == 1 {
            (0.0, 0.0)
        } else if name == "class_embedding.weight" {
            (0.0, 1.0)
        } else {
            let zero = name.ends_with("conv2.weight")
                || name.ends_with("to_out.0.weight")
                || name == "conv_out.weight";
            let scale: f64 = if zero { 1e-10 } else { 1.0 };
            let kernel: usize = shape[2..].iter().product();
            let fan_avg = ((shape[0] + shape[1]) * kernel) as f64 / 2.0;
            (0.0, (scale / fan_avg).sqrt())
        };
        // The smallest weight has 576 values: 5 deviations of the estimates.
        let slack = 0.2 * expected + 1e-12;
        assert!((mean - expected_mean).abs() <= slack, "{name} mean {mean}");
        assert!(
            (deviation - expected).abs() <= slack,
            "{name} deviation {deviation}, expected {expected}"
        );
    }
}

#[test]
fn any_size_that_the_levels_divide_works() {
    let device = Device::flex();
    let unet = init(&config(), &device);
    for (height, width) in [(4, 4), (28, 28), (12, 20)] {
        let prediction = unet.forward(
            images([3, 2, height, width], &device),
            &[0.0, 1.0, 2.0],
            Some(&[0, 1, 0]),
        );
        assert_eq!(prediction.dims(), [3, 3, height, width]);
    }
}

/// Runs a network on a batch of two of the given shape.
fn forward(config: &UNetConfig, shape: [usize; 4], steps: usize, labels: Option<usize>) {
    let device = Device::flex();
    let labels = labels.map(|labels| vec![0; labels]);
    let _ =
        init(config, &device).forward(images(shape, &device), &vec![0.0; steps], labels.as_deref());
}

#[test]
#[should_panic(expected = "x_t has 1 channels, the network takes 2")]
fn other_channels_are_refused() {
    forward(&config(), [2, 1, 8, 8], 2, Some(2));
}

#[test]
#[should_panic(expected = "x_t is 8×10 pixels, the levels need multiples of 4")]
fn a_size_that_the_levels_do_not_divide_is_refused() {
    forward(&config(), [2, 2, 8, 10], 2, Some(2));
}

#[test]
#[should_panic(expected = "1 timesteps for a batch of 2, expected one for each example")]
fn too_few_timesteps_are_refused() {
    forward(&config(), [2, 2, 8, 8], 1, Some(2));
}

#[test]
#[should_panic(expected = "3 class labels for a batch of 2, expected one of 2 classes")]
fn too_many_labels_are_refused() {
    forward(&config(), [2, 2, 8, 8], 2, Some(3));
}

#[test]
#[should_panic(expected = "class label 2 of 2 class embeddings")]
fn a_label_without_an_embedding_is_refused() {
    let device = Device::flex();
    let unet = init(&config(), &device);
    let _ = unet.forward(images([1, 2, 8, 8], &device), &[0.0], Some(&[2]));
}

#[test]
#[should_panic(expected = "no class labels, the network is class-conditional")]
fn missing_labels_are_refused() {
    forward(&config(), [2, 2, 8, 8], 2, None);
}

#[test]
#[should_panic(expected = "class labels for a network without class embeddings")]
fn unexpected_labels_are_refused() {
    let config = UNetConfig {
        num_class_embeds: None,
        ..config()
    };
    forward(&config, [2, 2, 8, 8], 2, Some(2));
}

#[test]
fn a_configuration_that_makes_no_network_is_refused() {
    let config = UNetConfig {
        norm_num_groups: 3,
        ..config()
    };
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let error = config.init(&Device::flex(), &mut rng).unwrap_err();
    assert_eq!(error.key, "norm_num_groups");
}

#[test]
fn dropout_acts_in_training_only() {
    let _turn = GENERATOR.lock().unwrap_or_else(PoisonError::into_inner);
    let device = Device::flex().autodiff();
    let config = UNetConfig {
        dropout: 0.5,
        ..config()
    };
    let unet = init(&config, &device).map(&mut Randomise(ChaCha8Rng::seed_from_u64(2)));
    let predict = |unet: &UNet, device: &Device| {
        unet.forward(images([1, 2, 8, 8], device), &[5.0], Some(&[1]))
            .into_data()
    };
    assert_ne!(predict(&unet, &device), predict(&unet, &device));
    let valid = unet.valid();
    let plain = Device::flex();
    assert_eq!(predict(&valid, &plain), predict(&valid, &plain));
}

#[test]
fn the_time_embedding_is_the_formula_s() {
    let device = Device::flex();
    let cases = [0.0, 12.5, 998.0, 999.0]
        .into_iter()
        .flat_map(|t: f64| [(t, false, 0), (t, true, 1)]);
    for (t, flip, shift) in cases {
        // The example beside it is another's business; an odd width ends in a zero.
        let embedding = timestep_embedding(&[7.0, t], 7, flip, shift, &device);
        assert_eq!(embedding.dims(), [2, 7]);
        let embedding = embedding.into_data().try_into_vec::<f32>().unwrap();
        let embedding = &embedding[7..];
        assert_eq!(embedding[6], 0.0);
        let angle = |i: usize| t * 10_000_f64.powf(-(i as f64) / (3 - shift) as f64);
        let (sines, cosines) = if flip { (3, 0) } else { (0, 3) };
        for i in 0..3 {
            // What f32 leaves of an angle of 999.
            assert!((f64::from(embedding[sines + i]) - angle(i).sin()).abs() < 4e-5);
            assert!((f64::from(embedding[cosines + i]) - angle(i).cos()).abs() < 4e-5);
        }
    }
}
