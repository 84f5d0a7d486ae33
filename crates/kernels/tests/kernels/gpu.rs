//! The kernels of GPUs against those of the CPU: values and all gradients. Runs on whatever wgpu finds, as on
//! Mesa's software Vulkan.

use std::sync::{Mutex, PoisonError};

use burn::tensor::{Device, DeviceKind, FloatDType, Tensor, TensorData};
use kernels::{
    AdamWState, AdamWStep, Sampling, adamw, count_launches, moving_average, sum_of_squares,
};

use crate::case::{Case, Operation, case, largest_error, normal, numbers};
use crate::half;

/// Largest difference, over the largest number of the reference: both round f32, in other orders.
const TOLERANCE: f32 = 2e-5;

/// Held while the GPU works: launches are observed for the whole process, and would be counted for
/// whichever test counts.
static GPU: Mutex<()> = Mutex::new(());

/// What `work` finds on the GPU, no other test using it meanwhile.
fn on_gpu<T>(work: impl FnOnce(Device) -> T) -> T {
    let _turn = GPU.lock().unwrap_or_else(PoisonError::into_inner);
    work(Device::wgpu(DeviceKind::DefaultDevice))
}

/// On both devices, and how many kernels were launched on the GPU.
fn compare(case: &Case) -> usize {
    let ours = |leaves: &_| case.operation.ours(leaves);
    let expected = case.results(&Device::flex().autodiff(), ours);
    let (found, launches) = on_gpu(|gpu| count_launches(|| case.results(&gpu.autodiff(), ours)));
    assert_eq!(found.len(), expected.len());
    for ((name, found), (_, expected)) in found.iter().zip(&expected) {
        let error = largest_error(found, expected, 1.0);
        assert!(
            error < TOLERANCE,
            "{name} is off by {error} of {:?}",
            case.operation
        );
    }
    launches.iter().map(|(_, count)| count).sum()
}

#[test]
fn normalisation() {
    // More and fewer channels a group than a cube has units, odd numbers of everything, one pixel, and
    // groups that are too large for the memory of a cube.
    for ([batch, channels, height, width], groups) in [
        ([2, 4, 3, 5], 2),
        ([1, 6, 1, 1], 2),
        ([3, 12, 7, 7], 4),
        ([2, 32, 28, 28], 8),
        ([1, 300, 3, 3], 1),
        ([2, 64, 24, 24], 2),
        ([1, 5, 4, 4], 5),
    ] {
        let dims = [batch, channels, height, width];
        let (channel, scale_shift) = ([channels], [batch, 2 * channels]);
        for (silu, scaled) in [(false, false), (true, false), (true, true)] {
            let mut inputs: Vec<(&str, &[usize])> =
                vec![("x", &dims), ("gamma", &channel), ("beta", &channel)];
            if scaled {
                inputs.push(("scale_shift", &scale_shift));
            }
            let operation = Operation::Norm { groups, silu };
            compare(&case(operation, &inputs, dims.iter().product()));
        }
    }
}

#[test]
fn convolution() {
    let samplings = [
        Sampling::Same,
        Sampling::Down,
        Sampling::DownBelowRight,
        Sampling::Up,
    ];
    for sampling in samplings {
        for kernel in [1, 3] {
            if kernel == 1 && sampling != Sampling::Same {
                continue;
            }
            let output = |len: usize| match sampling {
                Sampling::Same => len,
                Sampling::Down => len.div_ceil(2),
                Sampling::DownBelowRight => len / 2,
                Sampling::Up => 2 * len,
            };
            let x = [2, 4, 6, 5];
            let y = [2, 8, output(6), output(5)];
            let weight = [8, 4, kernel, kernel];
            let (bias, per_example) = ([8], [2, 8]);
            let plus: [(&str, &[usize]); 3] = [
                ("bias", &bias),
                ("per_example", &per_example),
                ("residual", &y),
            ];
            for added in [0, 2, 3] {
                let mut inputs: Vec<(&str, &[usize])> = vec![("x", &x), ("weight", &weight)];
                inputs.extend(&plus[..added]);
                let operation = Operation::Convolution { kernel, sampling };
                compare(&case(operation, &inputs, y.iter().product()));
            }
        }
    }
}

/// Images with so many pixels that the sum over them is parted, evenly and not.
#[test]
fn convolution_of_many_pixels() {
    for [height, width] in [[24, 32], [33, 31]] {
        let (x, weight) = ([2, 3, height, width], [4, 3, 3, 3]);
        let inputs: [(&str, &[usize]); 2] = [("x", &x), ("weight", &weight)];
        let operation = Operation::Convolution {
            kernel: 3,
            sampling: Sampling::Same,
        };
        compare(&case(operation, &inputs, 2 * 4 * height * width));
    }
}

/// Windows of other lengths than 3, more padding than a kernel is wide, and none.
#[test]
fn windows() {
    for ([kernel_height, kernel_width], padding) in
        [([1, 5], [0, 2]), ([2, 3], [0, 0]), ([1, 1], [2, 1])]
    {
        let (x, weight) = ([1, 4, 5, 6], [4, 4, kernel_height, kernel_width]);
        let output =
            (5 + 2 * padding[0] + 1 - kernel_height) * (6 + 2 * padding[1] + 1 - kernel_width);
        let inputs: [(&str, &[usize]); 2] = [("x", &x), ("weight", &weight)];
        compare(&case(Operation::Window { padding }, &inputs, 4 * output));
    }
}

#[test]
fn concatenation() {
    for ([batch, height, width], [a, b]) in [([2, 3, 4], [3, 5]), ([1, 1, 1], [1, 7])] {
        let (first, second) = ([batch, a, height, width], [batch, b, height, width]);
        let inputs: [(&str, &[usize]); 2] = [("first", &first), ("second", &second)];
        let output = batch * (a + b) * height * width;
        compare(&case(Operation::Concatenation, &inputs, output));
    }
}

#[test]
fn attention() {
    for (dims, heads) in [([2, 8, 4, 4], 1), ([1, 8, 3, 5], 2), ([1, 4, 17, 17], 4)] {
        let inputs: [(&str, &[usize]); 3] = [("q", &dims), ("k", &dims), ("v", &dims)];
        let operation = Operation::Attention { heads };
        compare(&case(operation, &inputs, dims.iter().product()));
    }
}

#[test]
fn a_normalisation_is_three_launches() {
    let (x, channel) = ([2, 8, 4, 4], [8]);
    let inputs: [(&str, &[usize]); 3] = [("x", &x), ("gamma", &channel), ("beta", &channel)];
    let operation = Operation::Norm {
        groups: 2,
        silu: true,
    };
    let case = case(operation, &inputs, 256);
    // The first time burn tunes its sum, by many launches.
    compare(&case);
    let launches = compare(&case);
    // Three of the normalisation; a product, a sum in at most two parts and their gradients of the loss;
    // x is copied channels-last, and its gradient back.
    assert!(launches <= 15, "{launches}");
}

/// Where the device has f16, as Mesa's processors do that convert it.
#[test]
fn half_precision() {
    on_gpu(|gpu| {
        for dtype in [FloatDType::F16, FloatDType::BF16] {
            if gpu.supports_dtype(dtype) {
                half::compare(&gpu, dtype);
            } else {
                eprintln!("no {dtype:?} on this device: not compared");
            }
        }
    });
}

#[test]
fn optimiser() {
    for length in [1, 1000, 70_001, 1 << 20] {
        let vector = |seed, device: &Device| {
            let data = TensorData::new(normal(length, seed), [length]);
            Tensor::<1>::from_data(data, device)
        };
        let updated = |device: Device| {
            let state = AdamWState {
                parameters: vector(0, &device),
                first: vector(1, &device),
                second: vector(2, &device).abs(),
            };
            let step = AdamWStep {
                beta_1: 0.9,
                beta_2: 0.999,
                epsilon: 1e-8,
                weight_decay: 0.01,
                learning_rate: 1e-3,
                step: 3,
            };
            let scale = Tensor::from_floats([0.5], &device);
            let state = adamw(state, vector(3, &device), scale, step);
            let average = moving_average(vector(4, &device), state.parameters.clone(), 0.99);
            let squares = sum_of_squares(state.first.clone());
            [
                state.parameters,
                state.first,
                state.second,
                average,
                squares,
            ]
            .map(numbers)
        };
        let (cpu, gpu) = (updated(Device::flex()), on_gpu(updated));
        for (place, (gpu, cpu)) in gpu.iter().zip(&cpu).enumerate() {
            let error = largest_error(gpu, cpu, 1.0);
            assert!(error < 1e-5, "{error} in result {place} of {length}");
        }
    }
}
