//! Every operation against burn's own on the flex backend: values and all gradients, over drawn
//! shapes; against slopes; and the same bits whatever the number of threads.

use burn::tensor::activation::{log_softmax, silu, softmax};
use burn::tensor::module::{self, conv2d, interpolate};
use burn::tensor::ops::{ConvOptions, InterpolateMode, InterpolateOptions, PadMode};
use burn::tensor::{DType, Device, Tensor, TensorData};
use kernels::{Plus, Sampling, conv2d_3x3, group_norm};
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

use crate::case::{
    Case, EPSILON, Input, Leaves, Operation, image, largest_error, numbers, self_attention_inputs,
};

/// Largest difference, over the largest number of the reference.
const TOLERANCE: f32 = 1e-4;

struct Draw(ChaCha8Rng);

impl Draw {
    fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    fn numbers(&mut self, count: usize) -> Vec<f32> {
        let normal = |_| self.0.sample::<f32, _>(StandardNormal);
        (0..count).map(normal).collect()
    }

    fn leaf<const D: usize>(&mut self, dims: [usize; D]) -> Tensor<D> {
        let data = TensorData::new(self.numbers(dims.iter().product()), dims);
        Tensor::from_data(data, &Device::flex().autodiff()).require_grad()
    }

    /// Inputs of the given shapes, and a direction of the shape of the output.
    fn case(
        &mut self,
        operation: Operation,
        inputs: &[(&'static str, &[usize])],
        output: [usize; 4],
    ) -> Case {
        let inputs = inputs.iter().map(|&(name, dims)| Input {
            name,
            dims: dims.to_vec(),
            numbers: self.numbers(dims.iter().product()),
        });
        Case {
            operation,
            inputs: inputs.collect(),
            direction: self.numbers(output.iter().product()),
        }
    }

    /// A convolution plus a drawn choice of what can be added to it.
    fn convolution(
        &mut self,
        [batch, channels, out, height, width]: [usize; 5],
        kernel: usize,
        sampling: Sampling,
    ) -> Case {
        let output = |len: usize| match sampling {
            Sampling::Same => len,
            Sampling::Down => len.div_ceil(2),
            Sampling::DownBelowRight => len / 2,
            Sampling::Up => 2 * len,
        };
        let y = [batch, out, output(height), output(width)];
        let (x, weight) = (
            [batch, channels, height, width],
            [out, channels, kernel, kernel],
        );
        self.plus(Operation::Convolution { kernel, sampling }, x, weight, y)
    }

    /// A convolution of any window plus a drawn choice of what can be added to it.
    fn window(
        &mut self,
        x: [usize; 4],
        out: usize,
        kernel: [usize; 2],
        padding: [usize; 2],
    ) -> Case {
        let [batch, channels, height, width] = x;
        let output = |len: usize, axis: usize| len + 2 * padding[axis] + 1 - kernel[axis];
        let y = [batch, out, output(height, 0), output(width, 1)];
        let weight = [out, channels, kernel[0], kernel[1]];
        self.plus(Operation::Window { padding }, x, weight, y)
    }

    fn plus(
        &mut self,
        operation: Operation,
        x: [usize; 4],
        weight: [usize; 4],
        y @ [batch, out, ..]: [usize; 4],
    ) -> Case {
        let mut inputs: Vec<(&str, &[usize])> = vec![("x", &x), ("weight", &weight)];
        let (bias, per_example) = ([out], [batch, out]);
        let plus: [(&str, &[usize]); 3] = [
            ("bias", &bias),
            ("per_example", &per_example),
            ("residual", &y),
        ];
        inputs.extend(plus.into_iter().filter(|_| self.0.random::<bool>()));
        self.case(operation, &inputs, y)
    }

    fn norm(&mut self, dims: [usize; 4], groups: usize, silu: bool, scaled: bool) -> Case {
        let (channel, scale_shift) = ([dims[1]], [dims[0], 2 * dims[1]]);
        let mut inputs: Vec<(&str, &[usize])> =
            vec![("x", &dims), ("gamma", &channel), ("beta", &channel)];
        if scaled {
            inputs.push(("scale_shift", &scale_shift));
        }
        self.case(Operation::Norm { groups, silu }, &inputs, dims)
    }

    fn concatenation(&mut self, [batch, a, b, height, width]: [usize; 5]) -> Case {
        let (first, second) = ([batch, a, height, width], [batch, b, height, width]);
        let inputs: [(&str, &[usize]); 2] = [("first", &first), ("second", &second)];
        let output = [batch, a + b, height, width];
        self.case(Operation::Concatenation, &inputs, output)
    }

    fn attention(&mut self, dims: [usize; 4], heads: usize) -> Case {
        let inputs: [(&str, &[usize]); 3] = [("q", &dims), ("k", &dims), ("v", &dims)];
        self.case(Operation::Attention { heads }, &inputs, dims)
    }

    fn self_attention(&mut self, dims: [usize; 4], heads: usize) -> Case {
        let inputs = self_attention_inputs(dims);
        let inputs: Vec<_> = inputs
            .iter()
            .map(|(name, dims)| (*name, &dims[..]))
            .collect();
        self.case(Operation::SelfAttention { heads }, &inputs, dims)
            .with_small_weights()
    }

    fn silu(&mut self, rows: [usize; 2]) -> Case {
        self.case(Operation::Silu, &[("x", &rows)], [rows[0], rows[1], 1, 1])
    }

    /// A linear layer plus a drawn choice of what can be added to it.
    fn linear(&mut self, [rows, inputs, outputs]: [usize; 3], silu: bool) -> Case {
        let (x, weight, bias, y) = (
            [rows, inputs],
            [inputs, outputs],
            [outputs],
            [rows, outputs],
        );
        let mut found: Vec<(&str, &[usize])> = vec![("x", &x), ("weight", &weight)];
        let plus: [(&str, &[usize]); 2] = [("bias", &bias), ("residual", &y)];
        found.extend(plus.into_iter().filter(|_| self.0.random::<bool>()));
        self.case(Operation::Linear { silu }, &found, [rows, outputs, 1, 1])
    }

    fn row_norm(&mut self, [rows, width]: [usize; 2], silu: bool) -> Case {
        let (x, channel) = ([rows, width], [width]);
        let inputs: [(&str, &[usize]); 3] = [("x", &x), ("gamma", &channel), ("beta", &channel)];
        self.case(Operation::RowNorm { silu }, &inputs, [rows, width, 1, 1])
    }

    /// Codes of which some lie outside.
    fn embedding(&mut self, [rows, width]: [usize; 2], sizes: [usize; 3]) -> Case {
        let (table, codes) = ([sizes.iter().sum(), width], [rows, sizes.len()]);
        let inputs: [(&str, &[usize]); 2] = [("table", &table), ("codes", &codes)];
        let mut case = self.case(Operation::Embedding { sizes }, &inputs, [rows, width, 1, 1]);
        for (place, code) in case.inputs[1].numbers.iter_mut().enumerate() {
            let size = sizes[place % sizes.len()] as i32;
            *code = self.0.random_range(-1..=size) as f32;
        }
        case
    }

    fn segments(&mut self, rows: usize, sizes: [usize; 3]) -> Case {
        let x = [rows, sizes.iter().sum()];
        let inputs: [(&str, &[usize]); 1] = [("x", &x)];
        self.case(Operation::Segments { sizes }, &inputs, [rows, x[1], 1, 1])
    }
}

/// The operation as burn computes it.
fn burns(operation: Operation, inputs: &Leaves) -> Tensor<4> {
    match operation {
        Operation::Convolution { kernel, sampling } => {
            let (mut x, weight): (Tensor<4>, Tensor<4>) = (inputs.get("x"), inputs.get("weight"));
            let [.., height, width] = x.dims();
            if sampling == Sampling::Up {
                let nearest = InterpolateOptions::new(InterpolateMode::Nearest)
                    .with_output_size([2 * height, 2 * width]);
                x = interpolate(x, nearest);
            }
            let (stride, padding) = match sampling {
                Sampling::Same | Sampling::Up => (1, kernel / 2),
                Sampling::Down => (2, 1),
                Sampling::DownBelowRight => {
                    x = x.pad((0, 1, 0, 1), PadMode::Constant(0.0));
                    (2, 0)
                }
            };
            let options = ConvOptions::new([stride; 2], [padding; 2], [1, 1], 1);
            burns_convolution(x, weight, options, inputs)
        }
        Operation::Window { padding } => {
            let options = ConvOptions::new([1, 1], padding, [1, 1], 1);
            burns_convolution(inputs.get("x"), inputs.get("weight"), options, inputs)
        }
        Operation::Norm {
            groups,
            silu: is_activated,
        } => {
            let x: Tensor<4> = inputs.get("x");
            let [batch, channels, height, width] = x.dims();
            let [gamma, beta] =
                ["gamma", "beta"].map(|name| inputs.get::<1>(name).reshape([1, channels, 1, 1]));
            let grouped = x.reshape([batch, groups, channels / groups * height * width]);
            let centred = grouped.clone() - grouped.mean_dim(2);
            let variance = centred.clone().square().mean_dim(2);
            let normal =
                (centred / (variance + EPSILON).sqrt()).reshape([batch, channels, height, width]);
            let mut y = normal * gamma + beta;
            if let Some(scale_shift) = inputs.find::<2>("scale_shift") {
                let [scale, shift] = [0, channels].map(|start| {
                    let part = scale_shift.clone().narrow(1, start, channels);
                    part.reshape([batch, channels, 1, 1])
                });
                y = y * (scale + 1.0) + shift;
            }
            if is_activated { silu(y) } else { y }
        }
        Operation::Concatenation => Tensor::cat(vec![inputs.get("first"), inputs.get("second")], 1),
        Operation::Attention { heads } => {
            burns_attention(["q", "k", "v"].map(|name| inputs.get(name)), heads)
        }
        Operation::SelfAttention { heads } => {
            let x = inputs.get::<4>("x");
            let [batch, channels, height, width] = x.dims();
            let pixels = x.reshape([batch, channels, height * width]).swap_dims(1, 2);
            let projected = inputs.projections().map(|layer| {
                let rows = pixels.clone().matmul(layer.weight.unsqueeze())
                    + layer.bias.unwrap().unsqueeze();
                rows.swap_dims(1, 2)
                    .reshape([batch, channels, height, width])
            });
            burns_attention(projected, heads)
        }
        Operation::Linear { silu: is_activated } => {
            let mut z = inputs.get::<2>("x").matmul(inputs.get("weight"));
            if let Some(bias) = inputs.find::<1>("bias") {
                z = z + bias.unsqueeze();
            }
            if let Some(residual) = inputs.find("residual") {
                z = z + residual;
            }
            image(if is_activated { silu(z) } else { z })
        }
        Operation::RowNorm { silu: is_activated } => {
            let (gamma, beta) = (inputs.get("gamma"), inputs.get("beta"));
            let z = module::layer_norm(inputs.get::<2>("x"), gamma, Some(beta), EPSILON);
            image(if is_activated { silu(z) } else { z })
        }
        Operation::Embedding { sizes } => {
            let (codes, table) = (inputs.get::<2>("codes"), inputs.get::<2>("table"));
            let parts = parts(sizes).enumerate().map(|(column, (start, size))| {
                let code = codes.clone().detach().narrow(1, column, 1);
                let code = code.clamp(0, size as i64 - 1);
                let all = Tensor::arange(0..size as i64, &table.device()).float();
                let ones = code.expand([codes.dims()[0], size]);
                let ones = ones.equal(all.unsqueeze::<2>().expand([codes.dims()[0], size]));
                ones.float().matmul(table.clone().narrow(0, start, size))
            });
            image(parts.reduce(|sum, part| sum + part).unwrap())
        }
        Operation::Silu => image(silu(inputs.get("x"))),
        Operation::Segments { sizes } => {
            let x = inputs.get::<2>("x");
            let parts =
                parts(sizes).map(|(start, size)| log_softmax(x.clone().narrow(1, start, size), 1));
            image(Tensor::cat(parts.collect(), 1))
        }
    }
}

/// Where each begins, and how long it is.
fn parts(sizes: [usize; 3]) -> impl Iterator<Item = (usize, usize)> {
    let starts = [0, sizes[0], sizes[0] + sizes[1]];
    starts.into_iter().zip(sizes)
}

fn burns_attention(inputs: [Tensor<4>; 3], heads: usize) -> Tensor<4> {
    let dims @ [batch, channels, height, width] = inputs[0].dims();
    let (head, pixels) = (channels / heads, height * width);
    let [q, k, v] = inputs.map(|input| {
        let split = input.reshape([batch, heads, head, pixels]);
        split.swap_dims(2, 3)
    });
    let scores = q.matmul(k.transpose()) / (head as f64).sqrt();
    softmax(scores, 3).matmul(v).swap_dims(2, 3).reshape(dims)
}

/// With what there is to add.
fn burns_convolution(
    x: Tensor<4>,
    weight: Tensor<4>,
    options: ConvOptions<2>,
    inputs: &Leaves,
) -> Tensor<4> {
    let mut y = conv2d(x, weight, inputs.find("bias"), options);
    let [batch, out, ..] = y.dims();
    if let Some(per_example) = inputs.find::<2>("per_example") {
        y = y + per_example.reshape([batch, out, 1, 1]);
    }
    if let Some(residual) = inputs.find("residual") {
        y = y + residual;
    }
    y
}

fn assert_close(what: &str, found: &[f32], expected: &[f32], floor: f32) {
    let error = largest_error(found, expected, floor);
    assert!(error <= TOLERANCE, "{what} is off by {error}");
}

/// Asserts that values and gradients are burn's, and that the value without gradients is, for which
/// weights are kept as transformed.
fn check(case: &Case) {
    let floor: f32 = match case.operation {
        // One pixel attends to itself alone: its gradient is 0, as a difference of numbers near 1.
        Operation::Attention { .. } | Operation::SelfAttention { .. } => 0.1,
        // A segment of one has no gradient, but as a difference.
        Operation::Segments { .. } => 0.1,
        _ => 1e-3,
    };
    let operation = case.operation;
    let device = Device::flex().autodiff();
    let ours = case.results(&device, |inputs| operation.ours(inputs));
    let burns = case.results(&device, |inputs| burns(operation, inputs));
    for ((what, ours), (_, burns)) in ours.iter().zip(&burns) {
        // Gradients are sums of terms of order 1. Where there are few of them, all may be near 0; their roundings are not.
        let terms = case.direction.len() as f32 / burns.len() as f32;
        assert_close(what, ours, burns, floor.max(0.1 * terms.sqrt()));
    }
    let leaves = case.leaves(&Device::flex());
    for _ in 0..2 {
        let y = numbers(operation.ours(&leaves));
        assert_close("y without gradients", &y, &burns[0].1, floor);
    }
}

/// Channels, often a multiple of 16, for which there is another algorithm.
fn channels() -> impl Strategy<Value = usize> {
    prop_oneof![1..=96usize, 1..=6usize, (1..=6usize).prop_map(|n| 16 * n)]
}

/// Channels, and a number that divides them.
fn divided_channels() -> impl Strategy<Value = (usize, usize)> {
    channels().prop_flat_map(|channels| {
        let divisors = (1..=channels).filter(move |n| channels.is_multiple_of(*n));
        (
            Just(channels),
            prop::sample::select(divisors.collect::<Vec<_>>()),
        )
    })
}

/// Heights and widths of at most 200 pixels, for burn keeps the square of their number; a single pixel
/// is the least of attention's cases.
fn few_pixels() -> impl Strategy<Value = (usize, usize)> {
    let other = |side: usize| (Just(side), 1..=(200 / side).min(33));
    let sides = (1..=33usize).prop_flat_map(other);
    let turned = (sides, any::<bool>())
        .prop_map(|((a, b), is_turned)| if is_turned { (b, a) } else { (a, b) });
    prop_oneof![1 => Just((1, 1)), 15 => turned]
}

fn sampling() -> impl Strategy<Value = Sampling> {
    prop_oneof![
        2 => Just(Sampling::Same),
        1 => Just(Sampling::Down),
        1 => Just(Sampling::DownBelowRight),
        1 => Just(Sampling::Up)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn conv2d_3x3_is_burns(
        (batch, channels, out) in (1..=5usize, channels(), channels()),
        (height, width) in (1..=33usize, 1..=33usize),
        sampling in sampling(),
        seed in any::<u64>(),
    ) {
        let least = if sampling == Sampling::DownBelowRight { 2 } else { 1 };
        let dims = [batch, channels, out, height.max(least), width.max(least)];
        check(&Draw::new(seed).convolution(dims, 3, sampling));
    }

    #[test]
    fn conv2d_1x1_is_burns(
        (batch, channels, out) in (1..=5usize, channels(), channels()),
        (height, width) in (1..=33usize, 1..=33usize),
        seed in any::<u64>(),
    ) {
        let dims = [batch, channels, out, height, width];
        check(&Draw::new(seed).convolution(dims, 1, Sampling::Same));
    }

    #[test]
    fn conv2d_of_any_window_is_burns(
        (batch, channels, out) in (1..=3usize, channels(), channels()),
        (height, width) in (1..=17usize, 1..=17usize),
        kernel in [1..=7usize, 1..=7usize],
        padding in [0..=3usize, 0..=3usize],
        seed in any::<u64>(),
    ) {
        let [height, width] = [height.max(kernel[0]), width.max(kernel[1])];
        // burn leaves no more room beside an image than its windows take.
        let padding = [0, 1].map(|axis| padding[axis].min(kernel[axis] - 1));
        check(&Draw::new(seed).window([batch, channels, height, width], out, kernel, padding));
    }

    #[test]
    fn group_norm_is_burns(
        batch in 1..=5usize,
        (channels, groups) in divided_channels(),
        (height, width) in (1..=33usize, 1..=33usize),
        (scaled, activated) in any::<(bool, bool)>(),
        seed in any::<u64>(),
    ) {
        // One number is normalised to 0 and two to -1 and 1, wherever they move: gradients of 0, of
        // which rounding is all that is left. Three can come close to that.
        prop_assume!(channels / groups * height * width > 3);
        let dims = [batch, channels, height, width];
        check(&Draw::new(seed).norm(dims, groups, activated, scaled && activated));
    }

    #[test]
    fn channels_side_by_side_are_burns(
        (batch, first, second) in (1..=5usize, channels(), channels()),
        (height, width) in (1..=33usize, 1..=33usize),
        seed in any::<u64>(),
    ) {
        check(&Draw::new(seed).concatenation([batch, first, second, height, width]));
    }

    #[test]
    fn attention_is_burns(
        batch in 1..=5usize,
        (channels, heads) in divided_channels(),
        (height, width) in few_pixels(),
        seed in any::<u64>(),
    ) {
        check(&Draw::new(seed).attention([batch, channels, height, width], heads));
    }

    #[test]
    fn self_attention_is_burns(
        batch in 1..=5usize,
        (channels, heads) in divided_channels(),
        (height, width) in few_pixels(),
        seed in any::<u64>(),
    ) {
        check(&Draw::new(seed).self_attention([batch, channels, height, width], heads));
    }

    // From some thousand weights on, tiles are used.
    #[test]
    fn linear_is_burns(
        rows in prop_oneof![1..=300usize, 1..=4usize],
        (inputs, outputs) in (1..=200usize, 1..=200usize),
        activated in any::<bool>(),
        seed in any::<u64>(),
    ) {
        check(&Draw::new(seed).linear([rows, inputs, outputs], activated));
    }

    #[test]
    fn layer_norm_is_burns(
        rows in prop_oneof![1..=300usize, Just(1)],
        width in 4..=150usize,
        activated in any::<bool>(),
        seed in any::<u64>(),
    ) {
        check(&Draw::new(seed).row_norm([rows, width], activated));
    }

    #[test]
    fn embedding_sum_is_burns(
        (rows, width) in (1..=200usize, 1..=70usize),
        sizes in [1..=40usize, 1..=5usize, 1..=300usize],
        seed in any::<u64>(),
    ) {
        check(&Draw::new(seed).embedding([rows, width], sizes));
    }

    #[test]
    fn segment_log_softmax_is_burns(
        rows in 1..=200usize,
        sizes in [1..=40usize, 1..=5usize, 1..=300usize],
        seed in any::<u64>(),
    ) {
        check(&Draw::new(seed).segments(rows, sizes));
    }
}

/// Sums in parts, and the edges of strips of 32.
#[test]
fn long_sums_of_linear_layers_are_burns() {
    let mut draw = Draw::new(13);
    for size in [
        [2500, 33, 31],
        [40, 2100, 65],
        [64, 64, 1500],
        [17, 1024, 512],
        [1, 1500, 900],
    ] {
        check(&draw.linear(size, false));
        check(&draw.linear(size, true));
    }
}

/// What is lost of a product is less than 2^-16 of it, and most of that cancels.
#[test]
fn a_product_of_tiles_is_nearly_as_exact_as_of_f32() {
    let mut draw = Draw::new(17);
    let (rows, inputs, outputs) = (128, 512, 96);
    let [x, weight] = [rows * inputs, inputs * outputs].map(|count| draw.numbers(count));
    let tensor = |numbers: &[f32], dims: [usize; 2]| {
        Tensor::<2>::from_data(TensorData::new(numbers.to_vec(), dims), &Device::flex())
    };
    let (x_, weight_) = (
        tensor(&x, [rows, inputs]),
        tensor(&weight, [inputs, outputs]),
    );
    let found = numbers(kernels::linear(x_, weight_, kernels::PlusRows::default()));
    for row in 0..rows {
        for column in 0..outputs {
            let product =
                |i: usize| f64::from(x[row * inputs + i]) * f64::from(weight[i * outputs + column]);
            let exact: f64 = (0..inputs).map(product).sum();
            let size: f64 = (0..inputs).map(|i| product(i).powi(2)).sum::<f64>().sqrt();
            let error = (f64::from(found[row * outputs + column]) - exact).abs();
            assert!(error < 2e-5 * size, "off by {error} of {size}");
        }
    }
}

/// What is not finite is not hidden.
#[test]
fn what_is_not_finite_stays_so() {
    let device = Device::flex();
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut x = vec![1.0f32; 64 * 256];
        x[70 * 64 + 5] = bad;
        let x = Tensor::<2>::from_data(TensorData::new(x, [256, 64]), &device);
        let weight = Tensor::<2>::ones([64, 128], &device);
        let y = numbers(kernels::linear(x, weight, kernels::PlusRows::default()));
        for (place, y) in y.iter().enumerate() {
            assert_eq!(y.is_finite(), place / 128 != 70, "{y}");
        }
    }
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let mut draw = Draw::new(7);
    let cases = [
        draw.convolution([5, 32, 48, 28, 28], 3, Sampling::Same),
        draw.convolution([1, 64, 64, 7, 7], 3, Sampling::Same),
        draw.convolution([5, 3, 20, 9, 11], 3, Sampling::Same),
        draw.convolution([5, 20, 3, 9, 11], 3, Sampling::Same),
        draw.convolution([3, 32, 32, 15, 15], 3, Sampling::Down),
        draw.convolution([3, 32, 32, 15, 14], 3, Sampling::DownBelowRight),
        draw.convolution([3, 32, 32, 7, 7], 3, Sampling::Up),
        draw.convolution([5, 96, 40, 14, 14], 1, Sampling::Same),
        draw.window([5, 48, 17, 17], 32, [1, 7], [0, 3]),
        draw.norm([5, 33, 14, 13], 11, false, false),
        draw.norm([1, 64, 28, 28], 8, false, false),
        draw.norm([5, 32, 28, 28], 8, true, false),
        draw.norm([3, 48, 9, 7], 4, true, true),
        draw.concatenation([5, 33, 16, 9, 11]),
        draw.concatenation([1, 64, 32, 28, 28]),
        draw.attention([5, 64, 7, 7], 1),
        draw.attention([1, 64, 14, 14], 2),
        draw.attention([3, 33, 5, 9], 3),
        draw.self_attention([3, 33, 5, 9], 3),
        draw.linear([300, 70, 90], false),
        draw.linear([300, 70, 90], true),
        draw.linear([3, 7, 9], true),
        draw.row_norm([130, 33], true),
        draw.embedding([150, 20], [5, 1, 30]),
        draw.segments(150, [5, 1, 30]),
    ];
    for case in cases {
        let results = [1, 2, 3].map(|threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            let results = || {
                case.results(&Device::flex().autodiff(), |inputs| {
                    case.operation.ours(inputs)
                })
            };
            pool.build().unwrap().install(results)
        });
        for other in &results[1..] {
            for ((what, one), (_, other)) in results[0].iter().zip(other) {
                let are_same = one
                    .iter()
                    .map(|x| x.to_bits())
                    .eq(other.iter().map(|x| x.to_bits()));
                assert!(
                    are_same,
                    "{what} of {:?} differs between numbers of threads",
                    case.operation
                );
            }
        }
    }
}

/// In f64 there are no kernels: what every other backend runs.
#[test]
fn padding_below_and_on_the_right_is_the_same_without_kernels() {
    let mut draw = Draw::new(3);
    for (height, width) in [(6, 8), (5, 2)] {
        let case = draw.convolution([2, 3, 4, height, width], 3, Sampling::DownBelowRight);
        let device = Device::flex().autodiff();
        let with = case.results(&device, |inputs| case.operation.ours(inputs));
        let without = case.results(&device, |inputs| {
            let wide = |x: Tensor<4>| x.cast(DType::F64);
            let plus = Plus {
                bias: inputs.find::<1>("bias").map(|x| x.cast(DType::F64)),
                per_example: inputs.find::<2>("per_example").map(|x| x.cast(DType::F64)),
                residual: inputs.find("residual").map(wide),
            };
            let (x, weight) = (wide(inputs.get("x")), wide(inputs.get("weight")));
            conv2d_3x3(x, weight, plus, Sampling::DownBelowRight).cast(DType::F32)
        });
        for ((what, with), (_, without)) in with.iter().zip(&without) {
            assert_close(what, with, without, 1e-3);
        }
    }
}

/// The same of the operations on rows.
#[test]
fn operations_on_rows_are_the_same_without_kernels() {
    let mut draw = Draw::new(19);
    for case in [
        draw.linear([5, 9, 7], false),
        draw.linear([5, 9, 7], true),
        draw.row_norm([4, 19], false),
        draw.row_norm([4, 19], true),
        draw.embedding([20, 5], [5, 1, 7]),
        draw.segments(4, [5, 1, 7]),
    ] {
        let device = Device::flex().autodiff();
        let with = case.results(&device, |inputs| case.operation.ours(inputs));
        let without = case.results(&device, |inputs| {
            case.operation.ours(&inputs.wide()).cast(DType::F32)
        });
        for ((what, with), (_, without)) in with.iter().zip(&without) {
            assert_close(what, with, without, 1e-2);
        }
    }
}

/// The slope along a drawn step of an input, by central differences, is the gradient times the step.
#[test]
fn gradients_are_slopes() {
    let mut draw = Draw::new(1);
    let cases = [
        draw.convolution([2, 16, 16, 6, 5], 3, Sampling::Same),
        draw.convolution([2, 3, 5, 6, 5], 3, Sampling::Same),
        draw.convolution([2, 16, 16, 6, 5], 3, Sampling::Down),
        draw.convolution([2, 16, 16, 6, 5], 3, Sampling::DownBelowRight),
        draw.convolution([2, 16, 16, 3, 5], 3, Sampling::Up),
        draw.convolution([2, 8, 16, 6, 5], 1, Sampling::Same),
        draw.window([2, 8, 6, 5], 16, [5, 1], [2, 0]),
        draw.window([2, 4, 6, 5], 8, [3, 3], [0, 0]),
        draw.norm([2, 12, 5, 3], 4, false, false),
        draw.norm([2, 12, 5, 3], 4, true, false),
        draw.norm([2, 12, 5, 3], 3, true, true),
        draw.concatenation([2, 3, 7, 5, 4]),
        draw.attention([2, 8, 3, 5], 1),
        draw.attention([2, 8, 3, 5], 2),
        draw.self_attention([2, 8, 3, 5], 2),
        draw.silu([3, 7]),
        draw.linear([5, 9, 7], false),
        draw.linear([5, 9, 7], true),
        draw.linear([120, 100, 90], false),
        draw.row_norm([4, 19], false),
        draw.row_norm([4, 19], true),
        draw.embedding([20, 5], [5, 1, 7]),
        draw.segments(4, [5, 1, 7]),
    ];
    for case in cases {
        let results = case.results(&Device::flex().autodiff(), |inputs| {
            case.operation.ours(inputs)
        });
        let length = match case.operation {
            // In each input by itself they are linear: the longer, the less does rounding count.
            Operation::Convolution { .. }
            | Operation::Window { .. }
            | Operation::Concatenation
            | Operation::Linear { silu: false }
            | Operation::Embedding { .. } => 1.0,
            _ => 1e-2,
        };
        for (i, (what, gradient)) in results[1..].iter().enumerate() {
            let step = draw.numbers(gradient.len());
            let loss = |length: f32| -> f64 {
                let mut moved = case.clone();
                for (x, step) in moved.inputs[i].numbers.iter_mut().zip(&step) {
                    *x += length * step;
                }
                let y = case.operation.ours(&moved.leaves(&Device::flex()));
                product(&numbers(y), &case.direction)
            };
            // Two differences, of which the part that grows as the cube of the step is taken away.
            let difference = |length: f32| loss(length) - loss(-length);
            let slope =
                (8.0 * difference(length) - difference(2.0 * length)) / (12.0 * f64::from(length));
            let expected = product(gradient, &step);
            assert!(
                (slope - expected).abs() < 1e-3 * expected.abs().max(10.0),
                "{what} of {:?}: slope {slope}, gradient {expected}",
                case.operation
            );
        }
    }
}

fn product(a: &[f32], b: &[f32]) -> f64 {
    let products = a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b));
    products.sum()
}

/// A leaf and an inner node, each used three times, by this crate and by burn.
#[test]
fn gradients_of_a_tensor_that_is_used_again_are_added() {
    let mut draw = Draw::new(11);
    let dims = [2, 16, 5, 6];
    let x = draw.leaf(dims);
    let weight = draw.leaf([16, 16, 3, 3]);
    let (one, zero) = (draw.leaf([16]), draw.leaf([16]));
    let direction = draw.leaf([2, 32, 5, 6]).detach();
    let loss = |ours: bool| {
        let conv = |x: Tensor<4>| {
            if ours {
                conv2d_3x3(x, weight.clone(), Plus::default(), Sampling::Same)
            } else {
                let options = ConvOptions::new([1, 1], [1, 1], [1, 1], 1);
                conv2d(x, weight.clone(), None, options)
            }
        };
        let inner = conv(x.clone()) * 0.1;
        let inner = conv(inner) + x.clone();
        let inner = conv(inner) * 0.1 + conv(x.clone());
        let again = conv(inner.clone()) * 0.1 + inner.clone().tanh();
        let normal = if ours {
            group_norm(inner.clone(), one.clone(), zero.clone(), 4, 1e-5)
        } else {
            let grouped = inner.clone().reshape([2, 4, 4 * 30]);
            let centred = grouped.clone() - grouped.mean_dim(2);
            let variance = centred.clone().square().mean_dim(2);
            (centred / (variance + 1e-5).sqrt()).reshape(dims) * one.clone().reshape([1, 16, 1, 1])
                + zero.clone().reshape([1, 16, 1, 1])
        };
        let joined = if ours {
            kernels::concat_channels(again, inner)
        } else {
            Tensor::cat(vec![again, inner], 1)
        };
        (joined * direction.clone()).sum() + normal.powi_scalar(3).sum()
    };
    let (ours, burns) = (loss(true).backward(), loss(false).backward());
    let gradient = |of: &burn::tensor::Gradients| numbers(x.grad(of).unwrap());
    assert_close("x", &gradient(&ours), &gradient(&burns), 1e-3);
    let gradient = |of: &burn::tensor::Gradients| numbers(weight.grad(of).unwrap());
    assert_close("weight", &gradient(&ours), &gradient(&burns), 1e-3);
}

/// Rows that a normalisation and a residual connection share.
#[test]
fn gradients_of_rows_that_are_used_again_are_added() {
    let mut draw = Draw::new(23);
    let x = draw.leaf([30, 12]);
    let weight = draw.leaf([12, 12]);
    let (one, zero) = (draw.leaf([12]), draw.leaf([12]));
    let direction = draw.leaf([30, 12]).detach();
    let loss = |ours: bool| {
        let block = |h: Tensor<2>| {
            let (one, zero) = (one.clone(), zero.clone());
            if ours {
                let normal = kernels::layer_norm_silu(h.clone(), one, zero, EPSILON);
                let plus = kernels::PlusRows {
                    bias: None,
                    residual: Some(h),
                };
                kernels::linear(normal, weight.clone(), plus)
            } else {
                let normal = silu(module::layer_norm(h.clone(), one, Some(zero), EPSILON));
                h + normal.matmul(weight.clone())
            }
        };
        (block(block(block(x.clone()))) * direction.clone()).sum()
    };
    let (ours, burns) = (loss(true).backward(), loss(false).backward());
    for leaf in [&x, &weight] {
        let gradient = |of: &burn::tensor::Gradients| numbers(leaf.grad(of).unwrap());
        assert_close("a gradient", &gradient(&ours), &gradient(&burns), 1e-3);
    }
}

/// The kernels are the same: so are the numbers.
#[cfg(feature = "ndarray")]
#[test]
fn ndarray_is_flex() {
    let mut draw = Draw::new(5);
    for case in [
        draw.convolution([2, 32, 16, 9, 8], 3, Sampling::Same),
        draw.convolution([2, 5, 16, 9, 8], 3, Sampling::Down),
        draw.convolution([2, 5, 16, 9, 8], 3, Sampling::DownBelowRight),
        draw.convolution([2, 16, 16, 9, 8], 3, Sampling::Up),
        draw.convolution([2, 5, 16, 9, 8], 1, Sampling::Same),
        draw.norm([2, 16, 5, 4], 4, true, true),
        draw.concatenation([2, 3, 7, 5, 4]),
        draw.attention([2, 16, 5, 4], 2),
        draw.self_attention([2, 16, 5, 4], 2),
        draw.silu([3, 7]),
        draw.linear([5, 9, 7], true),
        draw.row_norm([4, 19], true),
        draw.embedding([20, 5], [5, 1, 7]),
        draw.segments(4, [5, 1, 7]),
    ] {
        let [flex, ndarray] = [Device::flex(), Device::ndarray()]
            .map(|device| case.results(&device.autodiff(), |inputs| case.operation.ours(inputs)));
        for ((what, flex), (_, ndarray)) in flex.iter().zip(&ndarray) {
            assert_close(what, ndarray, flex, 1e-3);
        }
    }
}
