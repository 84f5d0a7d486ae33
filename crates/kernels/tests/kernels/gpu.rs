//! The kernels of GPUs against those of the CPU: values and all gradients. Runs on whatever wgpu finds, as on
//! Mesa's software Vulkan.

use std::sync::{Mutex, PoisonError};

use burn::tensor::{Device, DeviceKind, FloatDType};
use kernels::count_launches;

use crate::case::{Case, Operation, case, largest_error};
use crate::optimizer::after_a_step;
use crate::{half, images};

/// Largest difference, over the largest number of the reference: both round f32, in other orders.
const TOLERANCE: f32 = 2e-5;

/// Held while the GPU works: launches are observed for the whole process, and would be counted for
/// whichever test counts.
static GPU: Mutex<()> = Mutex::new(());

/// What `work` finds on the GPU, no other test using it meanwhile.
pub(crate) fn on_gpu<T>(work: impl FnOnce(Device) -> T) -> T {
    let _turn = GPU.lock().unwrap_or_else(PoisonError::into_inner);
    work(Device::wgpu(DeviceKind::DefaultDevice))
}

/// On both devices.
fn compare(case: &Case) {
    count_compared(case);
}

/// On both devices, and how many kernels were launched on the GPU.
fn count_compared(case: &Case) -> usize {
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
    images::normalisations().iter().for_each(compare);
}

#[test]
fn convolution() {
    images::convolutions().iter().for_each(compare);
}

#[test]
fn convolution_of_many_pixels() {
    images::convolutions_of_many_pixels()
        .iter()
        .for_each(compare);
}

#[test]
fn windows() {
    images::windows().iter().for_each(compare);
}

#[test]
fn concatenation() {
    images::concatenations().iter().for_each(compare);
}

#[test]
fn attention() {
    images::attentions().iter().for_each(compare);
}

#[test]
fn self_attention() {
    images::self_attentions().iter().for_each(compare);
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
    count_compared(&case);
    let launches = count_compared(&case);
    // Three of the normalisation; a product, a sum in at most two parts and their gradients of the loss;
    // x is copied channels-last, and its gradient back.
    assert!(launches <= 15, "{launches}");
}

#[test]
fn silu() {
    let x = [17, 33];
    let mut case = case(Operation::Silu, &[("x", &x)], x.iter().product());
    // As far as its exponential goes, and beyond.
    for (i, x) in case.inputs[0].numbers.iter_mut().enumerate() {
        *x *= 1.5f32.powi(i as i32 % 16);
    }
    compare(&case);
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
        let cpu = after_a_step(length, &Device::flex());
        let gpu = on_gpu(|gpu| after_a_step(length, &gpu));
        for (place, (gpu, cpu)) in gpu.iter().zip(&cpu).enumerate() {
            let error = largest_error(gpu, cpu, 1.0);
            assert!(error < 1e-5, "{error} in result {place} of {length}");
        }
    }
}
