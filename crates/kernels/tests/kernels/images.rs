//! Cases of the operations on images, by which a backend is held against another.

use kernels::Sampling;

use crate::case::{Case, Operation, case, self_attention_inputs};

/// Normalisations.
pub(crate) fn normalisations() -> Vec<Case> {
    let mut cases = Vec::new();
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
            cases.push(case(operation, &inputs, dims.iter().product()));
        }
    }
    cases
}

/// Convolutions of every resolution, with what may be added.
pub(crate) fn convolutions() -> Vec<Case> {
    let mut cases = Vec::new();
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
                cases.push(case(operation, &inputs, y.iter().product()));
            }
        }
    }
    cases
}

/// Images with so many pixels that the sum over them is parted, evenly and not.
pub(crate) fn convolutions_of_many_pixels() -> Vec<Case> {
    let mut cases = Vec::new();
    for [height, width] in [[24, 32], [33, 31]] {
        for kernel in [1, 3] {
            let (x, weight) = ([2, 3, height, width], [4, 3, kernel, kernel]);
            let (bias, per_example) = ([4], [2, 4]);
            let inputs: [(&str, &[usize]); 4] = [
                ("x", &x),
                ("weight", &weight),
                ("bias", &bias),
                ("per_example", &per_example),
            ];
            let operation = Operation::Convolution {
                kernel,
                sampling: Sampling::Same,
            };
            for given in [3, 4] {
                cases.push(case(operation, &inputs[..given], 2 * 4 * height * width));
            }
        }
    }
    cases
}

/// Windows of other lengths than 3, more padding than a kernel is wide, and none.
pub(crate) fn windows() -> Vec<Case> {
    let mut cases = Vec::new();
    for ([kernel_height, kernel_width], padding) in
        [([1, 5], [0, 2]), ([2, 3], [0, 0]), ([1, 1], [2, 1])]
    {
        let (x, weight) = ([1, 4, 5, 6], [4, 4, kernel_height, kernel_width]);
        let output =
            (5 + 2 * padding[0] + 1 - kernel_height) * (6 + 2 * padding[1] + 1 - kernel_width);
        let inputs: [(&str, &[usize]); 2] = [("x", &x), ("weight", &weight)];
        cases.push(case(Operation::Window { padding }, &inputs, 4 * output));
    }
    cases
}

/// Concatenations.
pub(crate) fn concatenations() -> Vec<Case> {
    let mut cases = Vec::new();
    for ([batch, height, width], [a, b]) in [([2, 3, 4], [3, 5]), ([1, 1, 1], [1, 7])] {
        let (first, second) = ([batch, a, height, width], [batch, b, height, width]);
        let inputs: [(&str, &[usize]); 2] = [("first", &first), ("second", &second)];
        let output = batch * (a + b) * height * width;
        cases.push(case(Operation::Concatenation, &inputs, output));
    }
    cases
}

/// Attention of one head and of several.
pub(crate) fn attentions() -> Vec<Case> {
    let mut cases = Vec::new();
    for (dims, heads) in [([2, 8, 4, 4], 1), ([1, 8, 3, 5], 2), ([1, 4, 17, 17], 4)] {
        let inputs: [(&str, &[usize]); 3] = [("q", &dims), ("k", &dims), ("v", &dims)];
        let operation = Operation::Attention { heads };
        cases.push(case(operation, &inputs, dims.iter().product()));
    }
    cases
}

/// Attention whose q, k and v are layers of one image: of few pixels and of so many that sums over them are parted, of
/// channels that lie at multiples of what a device asks for, and that do not.
pub(crate) fn self_attentions() -> Vec<Case> {
    let mut cases = Vec::new();
    for (dims, heads) in [([2, 8, 4, 4], 1), ([1, 6, 3, 5], 2), ([2, 64, 16, 16], 4)] {
        let inputs = self_attention_inputs(dims);
        let inputs: Vec<_> = inputs
            .iter()
            .map(|(name, dims)| (*name, &dims[..]))
            .collect();
        let operation = Operation::SelfAttention { heads };
        let case = case(operation, &inputs, dims.iter().product());
        cases.push(case.with_small_weights());
    }
    cases
}
