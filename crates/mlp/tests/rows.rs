//! The network of rows of tables: against PyTorch's, and what it must hold.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor, TensorData};
use mlp::{Mlp, MlpConfig};
use training::{Purpose, Streams, flatten, flatten_gradients, streams, unflatten};

fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_to_vec().unwrap()
}

fn rows(values: &[f32], width: usize, device: &Device) -> Tensor<2> {
    let data = TensorData::new(values.to_vec(), [values.len() / width, width]);
    Tensor::from_data(data, device)
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let differences = a.iter().zip(b).map(|(a, b)| (a - b).abs());
    // Not `f32::max`, which drops what is not a number.
    differences.fold(0.0, |max: f32, x| if x <= max { max } else { x })
}

/// With weights of any size, in place of those that are all but zero.
fn drawn(config: &MlpConfig, device: &Device) -> Mlp {
    let mut rng = Streams::new(5).at(Purpose::Weights, 0);
    let mlp = config.init(device, &mut rng);
    let [count] = flatten(&mlp).dims();
    unflatten(
        mlp,
        streams::noise([count], &mut rng, &Device::flex()) * 0.3,
    )
}

fn config() -> MlpConfig {
    MlpConfig {
        dimensions: Some(3),
        categories: vec![4, 2, 7],
        width: 16,
        blocks: 2,
        num_class_embeds: Some(3),
        ..MlpConfig::default()
    }
}

/// Numbers, and codes of which every fifth is the mask.
fn some_rows(count: usize) -> Vec<f32> {
    let row = |row: usize| {
        let codes = [4, 2, 7].map(|size| {
            if row.is_multiple_of(5) {
                size
            } else {
                row % size
            }
        });
        let numbers = [0.1, -0.7, 0.3].map(|x| x * row as f32);
        numbers.into_iter().chain(codes.map(|code| code as f32))
    };
    (0..count).flat_map(row).collect()
}

/// `scripts/reference/mlp_golden.py`.
#[test]
fn values_and_gradients_are_pytorchs() {
    let device = Device::flex().autodiff();
    let golden = weights::read_tensors(include_bytes!("golden/rows.safetensors")).unwrap();
    let find = |name: &str| golden[name].clone().try_to_vec::<f32>().unwrap();
    let mut rng = Streams::new(0).at(Purpose::Weights, 0);
    let mlp = weights::from_safetensors(
        config().init(&device, &mut rng),
        include_bytes!("golden/weights.safetensors"),
    )
    .unwrap();
    let x_t = rows(&find("x_t"), 6, &device);
    let timesteps: Vec<f64> = find("t").into_iter().map(f64::from).collect();
    let labels: Vec<usize> = find("labels").into_iter().map(|x| x as usize).collect();
    let y = mlp.forward(x_t, &timesteps, Some(&labels));
    assert_eq!(y.dims(), [6, 16]);
    let error = largest_difference(&numbers(y.clone()), &find("y"));
    assert!(error < 1e-4, "y is off by {error}");

    // Gradients in the place of the parameters, so that they are written by name as those are.
    let direction = rows(&find("y.grad"), 16, &device);
    let mut gradients = (y * direction).sum().backward();
    let gradients = flatten_gradients(&mlp, &mut gradients);
    let gradients = weights::to_safetensors(&unflatten(mlp, gradients), &BTreeMap::new()).unwrap();
    let gradients = weights::read_tensors(&gradients).unwrap();
    assert_eq!(gradients.len() + 5, golden.len());
    for (name, found) in gradients {
        let (found, expected) = (found.try_to_vec().unwrap(), find(&format!("{name}.grad")));
        let size = expected.iter().fold(1e-2, |max: f32, x| max.max(x.abs()));
        let error = largest_difference(&found, &expected) / size;
        assert!(error < 1e-4, "the gradient of {name} is off by {error}");
    }
}

#[test]
fn a_gradient_reaches_every_weight() {
    let device = Device::flex().autodiff();
    let mlp = drawn(&config(), &device);
    let batch = 64;
    let x_t = rows(&some_rows(batch), 6, &device);
    let timesteps: Vec<f64> = (0..batch).map(|row| 15.0 * row as f64).collect();
    let labels: Vec<usize> = (0..batch).map(|row| row % 3).collect();
    let y = mlp.forward(x_t, &timesteps, Some(&labels));
    let gradients = flatten_gradients(&mlp, &mut y.square().mean().backward());
    assert!(numbers(gradients).iter().all(|&gradient| gradient != 0.0));
}

#[test]
fn all_that_is_told_matters() {
    let device = Device::flex();
    let mlp = drawn(&config(), &device);
    let x_t = some_rows(2)[6..].to_vec();
    let predict = |x_t: &[f32], t: f64, label: usize| {
        numbers(mlp.forward(rows(x_t, 6, &device), &[t], Some(&[label])))
    };
    let one = predict(&x_t, 10.0, 1);
    for column in 0..6 {
        let mut other = x_t.clone();
        other[column] = if column < 3 {
            0.5
        } else {
            [4.0, 2.0, 7.0][column - 3]
        };
        let moved = largest_difference(&one, &predict(&other, 10.0, 1));
        assert!(moved > 0.05, "column {column} moves by {moved}");
    }
    assert!(largest_difference(&one, &predict(&x_t, 20.0, 1)) > 0.05);
    assert!(largest_difference(&one, &predict(&x_t, 10.0, 2)) > 0.05);
}

/// To the bit.
#[test]
fn a_prediction_does_not_depend_on_the_rest_of_the_batch() {
    let device = Device::flex();
    // Wide enough for tiles.
    let config = MlpConfig {
        width: 80,
        ..config()
    };
    let mlp = drawn(&config, &device);
    let (batch, x_t) = (40, some_rows(40));
    let timesteps: Vec<f64> = (0..batch).map(|row| [700.0, 2.5, 30.0][row % 3]).collect();
    let labels: Vec<usize> = (0..batch).map(|row| row % 3).collect();
    let all = numbers(mlp.forward(rows(&x_t, 6, &device), &timesteps, Some(&labels)));
    for row in 0..batch {
        let x_t = rows(&x_t[6 * row..][..6], 6, &device);
        let one = mlp.forward(x_t, &[timesteps[row]], Some(&[labels[row]]));
        assert_eq!(numbers(one), all[16 * row..][..16], "row {row}");
    }
}

/// A network that has learnt nothing predicts nothing: 0, and all categories alike.
#[test]
fn it_begins_with_predictions_of_zero() {
    for config in [
        config(),
        MlpConfig {
            frequencies: 6,
            ..config()
        },
        // Numbers alone, and categories alone.
        MlpConfig {
            categories: Vec::new(),
            num_class_embeds: None,
            normalize: true,
            ..config()
        },
        MlpConfig {
            dimensions: Some(0),
            categories: vec![28; 32],
            num_class_embeds: None,
            ..config()
        },
    ] {
        let mut rng = Streams::new(5).at(Purpose::Weights, 0);
        let mlp = config.init(&Device::flex(), &mut rng);
        let x_t = Tensor::ones([2, config.inputs()], &Device::flex());
        let labels = config.num_class_embeds.map(|_| [0, 1]);
        let y = mlp.forward(x_t, &[3.0, 4.0], labels.as_ref().map(|labels| &labels[..]));
        assert_eq!(y.dims(), [2, config.outputs()]);
        assert!(numbers(y).iter().all(|y| y.abs() < 1e-3));
    }
}

/// 200 columns of categories, one of them with 10,000.
#[test]
fn many_columns_and_many_categories_work() {
    let device = Device::flex().autodiff();
    let mut categories = vec![3; 199];
    categories.push(10_000);
    let config = MlpConfig {
        dimensions: Some(1),
        categories: categories.clone(),
        width: 8,
        blocks: 1,
        ..MlpConfig::default()
    };
    let mlp = drawn(&config, &device);
    let row = std::iter::once(0.5).chain(categories.iter().map(|&size| (size - 1) as f32));
    let x_t: Vec<f32> = row.collect();
    let y = mlp.forward(rows(&x_t, 201, &device), &[7.0], None);
    assert_eq!(y.dims(), [1, 1 + 3 * 199 + 10_000]);
    assert!(numbers(y.clone()).iter().all(|y| y.is_finite()));
    let gradients = flatten_gradients(&mlp, &mut y.square().mean().backward());
    assert!(numbers(gradients).iter().all(|x| x.is_finite()));
}

/// A category that a number says: the number's sign, from a row whose category is masked.
#[test]
fn it_learns_a_category_from_a_number() {
    let device = Device::flex().autodiff();
    let config = MlpConfig {
        dimensions: Some(1),
        categories: vec![2],
        width: 32,
        blocks: 2,
        ..MlpConfig::default()
    };
    let streams = Streams::new(3);
    let mut mlp = config.init(&device, &mut streams.at(Purpose::Weights, 0));
    let mut optimizer = training::AdamW::new(training::OptimizerConfig::default());
    let one = Tensor::<1>::ones([1], &Device::flex());
    let batch = 128;
    let mut losses = Vec::new();
    for step in 0..150 {
        let mut rng = streams.at(Purpose::Training, step);
        let x: Vec<f32> = numbers(streams::noise::<1>([batch], &mut rng, &Device::flex()));
        let x_t: Vec<f32> = x.iter().flat_map(|&x| [x, 2.0]).collect();
        let chosen: Vec<f32> = x
            .iter()
            .flat_map(|&x| if x < 0.0 { [1.0, 0.0] } else { [0.0, 1.0] })
            .collect();
        let y = mlp.forward(rows(&x_t, 2, &device), &vec![10.0; batch], None);
        let logs = kernels::segment_log_softmax(y.narrow(1, 1, 2), &[2]);
        let loss = (logs * rows(&chosen, 2, &device)).sum() / -(batch as f64);
        losses.push(numbers(loss.clone().reshape([1]))[0]);
        let gradient = flatten_gradients(&mlp, &mut loss.backward());
        let weights = optimizer.step(flatten(&mlp), gradient, one.clone(), 3e-3);
        mlp = unflatten(mlp, weights);
    }
    assert!((losses[0] - 2.0f32.ln()).abs() < 1e-3, "{}", losses[0]);
    let last = losses[140..].iter().sum::<f32>() / 10.0;
    assert!(last < 0.1, "{last}");
}

#[test]
fn what_does_not_fit_panics() {
    let device = Device::flex();
    let mlp = drawn(&config(), &device);
    let x_t = |columns| Tensor::<2>::ones([1, columns], &device);
    let panics = |work: &dyn Fn() -> Tensor<2>| {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).is_err()
    };
    assert!(!panics(&|| mlp.forward(x_t(6), &[0.0], Some(&[0]))));
    assert!(panics(&|| mlp.forward(x_t(5), &[0.0], Some(&[0]))));
    assert!(panics(&|| mlp.forward(x_t(6), &[0.0, 1.0], Some(&[0, 0]))));
    assert!(panics(&|| mlp.forward(x_t(6), &[0.0], None)));
}
