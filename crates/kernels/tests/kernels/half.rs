//! Images of f16 and bf16 against f32: every operation of images, and all gradients.

use burn::tensor::{Device, FloatDType};
use kernels::Sampling;

use crate::case::{Case, Operation, case, largest_error};

fn cases() -> Vec<Case> {
    let x = [2, 8, 6, 4];
    let same = x.iter().product();
    let (bias, scale_shift) = ([8], [2, 16]);
    let mut cases = Vec::new();
    for (kernel, sampling, numbers) in [
        (1, Sampling::Same, same),
        (3, Sampling::Same, same),
        (3, Sampling::Down, same / 4),
        (3, Sampling::DownBelowRight, same / 4),
        (3, Sampling::Up, 4 * same),
    ] {
        let weight = [8, 8, kernel, kernel];
        let (per_example, residual) = ([2, 8], [2, 8, 6, 4]);
        let mut inputs: Vec<(&str, &[usize])> =
            vec![("x", &x), ("weight", &weight), ("bias", &bias)];
        if sampling == Sampling::Same {
            inputs.push(("per_example", &per_example));
            inputs.push(("residual", &residual));
        }
        let operation = Operation::Convolution { kernel, sampling };
        cases.push(case(operation, &inputs, numbers));
    }
    for (silu, scaled) in [(false, false), (true, false), (true, true)] {
        let mut inputs: Vec<(&str, &[usize])> = vec![("x", &x), ("gamma", &bias), ("beta", &bias)];
        if scaled {
            inputs.push(("scale_shift", &scale_shift));
        }
        cases.push(case(Operation::Norm { groups: 2, silu }, &inputs, same));
    }
    let both: [(&str, &[usize]); 2] = [("first", &x), ("second", &x)];
    cases.push(case(Operation::Concatenation, &both, 2 * same));
    let three: [(&str, &[usize]); 3] = [("q", &x), ("k", &x), ("v", &x)];
    cases.push(case(Operation::Attention { heads: 2 }, &three, same));
    cases
}

/// All operations on a device, in `dtype`, within a few roundings of f32 on the CPU; the sums of burn's convolutions
/// may be of `dtype` too.
pub(crate) fn compare(device: &Device, dtype: FloatDType) {
    let tolerance = match dtype {
        FloatDType::F16 => 8.0 * 2.0f32.powi(-11),
        FloatDType::BF16 => 8.0 * 2.0f32.powi(-8),
        _ => panic!("{dtype:?} is not half of anything"),
    };
    for case in cases() {
        let operation = case.operation;
        let expected = case.results(&Device::flex().autodiff(), |leaves| operation.ours(leaves));
        let device = device.clone().autodiff();
        let found = case.results(&device, |leaves| operation.ours_in(leaves, dtype));
        for ((name, found), (_, expected)) in found.iter().zip(&expected) {
            let error = largest_error(found, expected, 1.0);
            assert!(
                error < tolerance,
                "{name} is off by {error} of {operation:?} in {dtype:?}"
            );
        }
    }
}

#[test]
fn operations_of_flex() {
    for dtype in [FloatDType::F16, FloatDType::BF16] {
        compare(&Device::flex(), dtype);
    }
}
