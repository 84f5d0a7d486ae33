//! The network of lines of text: against PyTorch's, and what it must hold.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor, TensorData};
use training::{Purpose, Streams, flatten, flatten_gradients, streams, unflatten};
use transformer::{Transformer, TransformerConfig};

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

fn config() -> TransformerConfig {
    TransformerConfig {
        columns: Some(5),
        categories: Some(7),
        width: 16,
        layers: 2,
        heads: 2,
        num_class_embeds: Some(3),
        ..TransformerConfig::default()
    }
}

/// With weights of any size, in place of those that are all but zero.
fn drawn(config: &TransformerConfig, device: &Device) -> Transformer {
    let mut rng = Streams::new(5).at(Purpose::Weights, 0);
    let network = config.init(device, &mut rng);
    let [count] = flatten(&network).dims();
    unflatten(
        network,
        streams::noise([count], &mut rng, &Device::flex()) * 0.3,
    )
}

/// Codes of which some are the mask.
fn some_rows(count: usize) -> Vec<f32> {
    (0..5 * count)
        .map(|place| ((place * 37) % 61 % 8) as f32)
        .collect()
}

/// `scripts/reference/transformer_golden.py`.
#[test]
fn values_and_gradients_are_pytorchs() {
    let device = Device::flex().autodiff();
    let golden = weights::read_tensors(include_bytes!("golden/rows.safetensors")).unwrap();
    let find = |name: &str| golden[name].clone().try_to_vec::<f32>().unwrap();
    let mut rng = Streams::new(0).at(Purpose::Weights, 0);
    let network = weights::from_safetensors(
        config().init(&device, &mut rng),
        include_bytes!("golden/weights.safetensors"),
    )
    .unwrap();
    let x_t = rows(&find("x_t"), 5, &device);
    let timesteps: Vec<f64> = find("t").into_iter().map(f64::from).collect();
    let labels: Vec<usize> = find("labels").into_iter().map(|x| x as usize).collect();
    let y = network.forward(x_t, &timesteps, Some(&labels));
    assert_eq!(y.dims(), [6, 35]);
    let error = largest_difference(&numbers(y.clone()), &find("y"));
    assert!(error < 1e-4, "y is off by {error}");

    // Gradients in the place of the parameters, so that they are written by name as those are.
    let direction = rows(&find("y.grad"), 35, &device);
    let mut gradients = (y * direction).sum().backward();
    let gradients = flatten_gradients(&network, &mut gradients);
    let gradients = weights::to_safetensors(&unflatten(network, gradients), &BTreeMap::new());
    let gradients = weights::read_tensors(&gradients.unwrap()).unwrap();
    assert_eq!(gradients.len() + 5, golden.len());
    for (name, found) in gradients {
        let (found, expected) = (found.try_to_vec().unwrap(), find(&format!("{name}.grad")));
        let size = expected.iter().fold(1e-1, |max: f32, x| max.max(x.abs()));
        let error = largest_difference(&found, &expected) / size;
        assert!(error < 2e-4, "the gradient of {name} is off by {error}");
    }
}

#[test]
fn all_that_is_told_matters() {
    let device = Device::flex();
    let network = drawn(&config(), &device);
    let x_t = some_rows(1);
    let predict = |x_t: &[f32], t: f64, label: usize| {
        numbers(network.forward(rows(x_t, 5, &device), &[t], Some(&[label])))
    };
    let one = predict(&x_t, 10.0, 1);
    for column in 0..5 {
        let mut other = x_t.clone();
        other[column] = (other[column] + 1.0) % 8.0;
        let moved = predict(&other, 10.0, 1);
        // It is seen from every column.
        for seen in 0..5 {
            let moved = largest_difference(&one[7 * seen..][..7], &moved[7 * seen..][..7]);
            assert!(moved > 1e-3, "{column} moves {seen} by {moved}");
        }
    }
    assert!(largest_difference(&one, &predict(&x_t, 20.0, 1)) > 0.01);
    assert!(largest_difference(&one, &predict(&x_t, 10.0, 2)) > 0.01);
    // Letters alike in two columns are told apart.
    let alike = predict(&[3.0; 5], 10.0, 1);
    assert!(largest_difference(&alike[..7], &alike[7..14]) > 0.01);
}

/// To the bit.
#[test]
fn a_prediction_does_not_depend_on_the_rest_of_the_batch() {
    let device = Device::flex();
    // Wide enough for tiles.
    let config = TransformerConfig {
        width: 80,
        ..config()
    };
    let network = drawn(&config, &device);
    let (batch, x_t) = (40, some_rows(40));
    let timesteps: Vec<f64> = (0..batch).map(|row| [700.0, 2.5, 30.0][row % 3]).collect();
    let labels: Vec<usize> = (0..batch).map(|row| row % 3).collect();
    let all = numbers(network.forward(rows(&x_t, 5, &device), &timesteps, Some(&labels)));
    for row in 0..batch {
        let x_t = rows(&x_t[5 * row..][..5], 5, &device);
        let one = network.forward(x_t, &[timesteps[row]], Some(&[labels[row]]));
        assert_eq!(numbers(one), all[35 * row..][..35], "row {row}");
    }
}

/// A network that has learnt nothing predicts all categories alike.
#[test]
fn it_begins_with_predictions_of_zero() {
    let mut rng = Streams::new(5).at(Purpose::Weights, 0);
    let network = config().init(&Device::flex(), &mut rng);
    let y = network.forward(
        rows(&some_rows(2), 5, &Device::flex()),
        &[3.0, 4.0],
        Some(&[0, 1]),
    );
    assert!(numbers(y).iter().all(|y| y.abs() < 1e-3));
}

/// Each letter is the one before it plus one; of a row all but one letter is masked.
#[test]
fn it_learns_letters_from_another_column() {
    let device = Device::flex().autodiff();
    let config = TransformerConfig {
        width: 32,
        dropout: 0.0,
        num_class_embeds: None,
        ..config()
    };
    let streams = Streams::new(3);
    let mut network = config.init(&device, &mut streams.at(Purpose::Weights, 0));
    let mut optimizer = training::AdamW::new(training::OptimizerConfig::default());
    let one = Tensor::<1>::ones([1], &Device::flex());
    let batch = 35;
    let mut losses = Vec::new();
    for _ in 0..150 {
        let (mut x_t, mut chosen) = (Vec::new(), vec![0.0; batch * 35]);
        for row in 0..batch {
            let (first, shown) = (row % 7, row / 7);
            for column in 0..5 {
                let letter = (first + column) % 7;
                x_t.push(if column == shown { letter as f32 } else { 7.0 });
                chosen[row * 35 + column * 7 + letter] = 1.0;
            }
        }
        let y = network.forward(rows(&x_t, 5, &device), &vec![10.0; batch], None);
        let logs = kernels::segment_log_softmax(y, &[7; 5]);
        let loss = (logs * rows(&chosen, 35, &device)).sum() / -(5.0 * batch as f64);
        losses.push(numbers(loss.clone().reshape([1]))[0]);
        let gradient = flatten_gradients(&network, &mut loss.backward());
        let weights = optimizer.step(flatten(&network), gradient, one.clone(), 3e-3);
        network = unflatten(network, weights);
    }
    assert!((losses[0] - 7.0f32.ln()).abs() < 1e-3, "{}", losses[0]);
    assert!(losses[149] < 0.1, "{}", losses[149]);
}
