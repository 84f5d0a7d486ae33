//! The passes of the optimiser against the formulas in f64, on both sides of the lengths at which the
//! work is cut.

use burn::tensor::{Device, Tensor};
use kernels::{AdamWState, AdamWStep, adamw, moving_average, sum_of_squares};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

#[cfg(any(feature = "remote", feature = "wgpu"))]
use crate::case::{normal, numbers};

const LENGTHS: [usize; 8] = [1, 15, 33, 1000, 16_383, 16_384, 16_385, 100_003];

fn drawn(length: usize, seed: u64) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..length)
        .map(|_| rng.random_range(-2.0..2.0f32))
        .collect()
}

fn vector(values: &[f32]) -> Tensor<1> {
    Tensor::from_floats(values, &Device::flex())
}

fn values(tensor: Tensor<1>) -> Vec<f32> {
    tensor.try_into_vec_as().expect("numbers")
}

fn assert_close(name: &str, found: &[f32], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(*found) - expected).abs();
        assert!(
            error <= 1e-5 * expected.abs() + 1e-6,
            "{name}[{i}] is {found}, not {expected}"
        );
    }
}

#[test]
fn adamw_follows_the_formula() {
    for (index, length) in LENGTHS.into_iter().enumerate() {
        let index = index as u64;
        let [p, g, m] = [0, 1, 2].map(|seed| drawn(length, 10 * index + seed));
        let v: Vec<f32> = drawn(length, 10 * index + 3)
            .iter()
            .map(|x| x.abs())
            .collect();
        let step = AdamWStep {
            beta_1: 0.9,
            beta_2: 0.99,
            epsilon: 1e-8,
            weight_decay: 0.1,
            learning_rate: 0.01,
            step: 1 + index,
        };
        let scale = 0.25;
        let state = AdamWState {
            parameters: vector(&p),
            first: vector(&m),
            second: vector(&v),
        };
        let state = adamw(state, vector(&g), vector(&[scale]), step);

        let t = step.step as i32;
        let (mut new_p, mut new_m, mut new_v) = (Vec::new(), Vec::new(), Vec::new());
        for i in 0..length {
            let [p, g, m, v] = [p[i], g[i], m[i], v[i]].map(f64::from);
            let g = g * f64::from(scale);
            let m = 0.9 * m + 0.1 * g;
            let v = 0.99 * v + 0.01 * g * g;
            let m_hat = m / (1.0 - 0.9f64.powi(t));
            let v_hat = v / (1.0 - 0.99f64.powi(t));
            new_p.push(p - 0.01 * (m_hat / (v_hat.sqrt() + 1e-8) + 0.1 * p));
            new_m.push(m);
            new_v.push(v);
        }
        assert_close("parameters", &values(state.parameters), &new_p);
        assert_close("first moment", &values(state.first), &new_m);
        assert_close("second moment", &values(state.second), &new_v);
    }
}

#[test]
fn a_moving_average_lies_between_its_ends() {
    for length in LENGTHS {
        let (a, b) = (drawn(length, 1), drawn(length, 2));
        let expected: Vec<f64> = a
            .iter()
            .zip(&b)
            .map(|(a, b)| 0.9 * f64::from(*a) + 0.1 * f64::from(*b))
            .collect();
        let found = values(moving_average(vector(&a), vector(&b), 0.9));
        assert_close("average", &found, &expected);
    }
}

#[test]
fn a_moving_average_of_a_constant_is_that_constant_at_any_decay() {
    let ends = drawn(1000, 4);
    // The path of the kernels, and the one of every other backend.
    for kernels in [true, false] {
        for decay in [0.9, 0.999, 0.9999, 0.99999] {
            let constant = vector(&ends);
            let mut average = constant.clone();
            for _ in 0..2000 {
                let to = constant.clone();
                average = if kernels {
                    moving_average(average, to, decay)
                } else {
                    moving_average(average.autodiff(), to.autodiff(), decay).inner()
                };
            }
            assert_eq!(values(average), ends, "decay {decay}");
        }
    }
}

#[test]
fn a_sum_of_squares_is_exact_and_the_same_on_any_number_of_threads() {
    for length in LENGTHS {
        let x = drawn(length, 3);
        let expected: f64 = x.iter().map(|x| f64::from(*x).powi(2)).sum();
        let sums = [1, 2, 3].map(|threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            let pool = pool.expect("a pool");
            pool.install(|| values(sum_of_squares(vector(&x)))[0])
        });
        assert_close("sum", &sums, &[expected; 3]);
        assert!(sums.iter().all(|sum| sum.to_bits() == sums[0].to_bits()));
    }
}

/// What a step of AdamW leaves of vectors of a length, a moving average, and the sum of the squares of the first moment.
#[cfg(any(feature = "remote", feature = "wgpu"))]
pub(crate) fn after_a_step(length: usize, device: &Device) -> [Vec<f32>; 5] {
    let vector = |seed| Tensor::<1>::from_data(&normal(length, seed)[..], device);
    let state = AdamWState {
        parameters: vector(0),
        first: vector(1),
        second: vector(2).abs(),
    };
    let step = AdamWStep {
        beta_1: 0.9,
        beta_2: 0.999,
        epsilon: 1e-8,
        weight_decay: 0.01,
        learning_rate: 1e-3,
        step: 3,
    };
    let scale = Tensor::from_floats([0.5], device);
    let state = adamw(state, vector(3), scale, step);
    let average = moving_average(vector(4), state.parameters.clone(), 0.99);
    let squares = sum_of_squares(state.first.clone());
    [
        state.parameters,
        state.first,
        state.second,
        average,
        squares,
    ]
    .map(numbers)
}
