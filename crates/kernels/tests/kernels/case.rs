//! An operation at given inputs: its value, and the gradients of all of them.

use burn::tensor::{DType, Device, FloatDType, Tensor, TensorData};
use kernels::{
    PixelLinear, Plus, PlusRows, Sampling, attention, concat_channels, conv2d, conv2d_1x1,
    conv2d_3x3, embedding_sum, group_norm, group_norm_silu, layer_norm, layer_norm_silu, linear,
    linear_silu, segment_log_softmax, self_attention, silu,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

pub(crate) const EPSILON: f64 = 1e-5;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Operation {
    /// Of `x` by `weight`, plus what there is of `bias`, `per_example` and `residual`.
    Convolution { kernel: usize, sampling: Sampling },
    /// The same of stride 1, for a weight of any height and width.
    Window { padding: [usize; 2] },
    /// Of `x`, with `gamma`, `beta` and, where SiLU follows, perhaps `scale_shift`.
    Norm { groups: usize, silu: bool },
    /// Of `first` and `second`.
    Concatenation,
    /// Of `q`, `k` and `v`.
    Attention { heads: usize },
    /// Of `x`, with `weight_q`, `bias_q` and so on.
    SelfAttention { heads: usize },
    /// Of rows `x` by `weight`, plus what there is of `bias` and `residual`.
    Linear { silu: bool },
    /// Of rows `x`, with `gamma` and `beta`.
    RowNorm { silu: bool },
    /// Of `table` and `codes`, which have no gradient.
    Embedding { sizes: [usize; 3] },
    /// Of rows `x`.
    Silu,
    /// Of rows `x`.
    Segments { sizes: [usize; 3] },
}

#[derive(Clone, Debug)]
pub(crate) struct Input {
    pub(crate) name: &'static str,
    pub(crate) dims: Vec<usize>,
    pub(crate) numbers: Vec<f32>,
}

#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) operation: Operation,
    pub(crate) inputs: Vec<Input>,
    /// The gradient of the output, as long as the output.
    pub(crate) direction: Vec<f32>,
}

/// The inputs as tensors of one dimension each, which any rank is made from.
pub(crate) struct Leaves(Vec<(Input, Tensor<1>)>);

impl Leaves {
    pub(crate) fn find<const D: usize>(&self, name: &str) -> Option<Tensor<D>> {
        let (input, leaf) = self.0.iter().find(|(input, _)| input.name == name)?;
        let dims: [usize; D] = input.dims.clone().try_into().unwrap();
        Some(leaf.clone().reshape(dims))
    }

    pub(crate) fn get<const D: usize>(&self, name: &str) -> Tensor<D> {
        self.find(name).unwrap()
    }

    /// The layers of q, k and v.
    pub(crate) fn projections(&self) -> [PixelLinear; 3] {
        let names = [
            ("weight_q", "bias_q"),
            ("weight_k", "bias_k"),
            ("weight_v", "bias_v"),
        ];
        names.map(|(weight, bias)| PixelLinear {
            weight: self.get(weight),
            bias: self.find(bias),
        })
    }

    /// The same in f64, for which there are no kernels.
    pub(crate) fn wide(&self) -> Self {
        let cast =
            |(input, leaf): &(Input, Tensor<1>)| (input.clone(), leaf.clone().cast(DType::F64));
        Self(self.0.iter().map(cast).collect())
    }

    /// The same with images of another type; parameters stay f32.
    pub(crate) fn with_images_of(&self, dtype: FloatDType) -> Self {
        let cast = |(input, leaf): &(Input, Tensor<1>)| {
            let is_image = input.dims.len() == 4 && input.name != "weight";
            let leaf = leaf.clone();
            let leaf = if is_image { leaf.cast(dtype) } else { leaf };
            (input.clone(), leaf)
        };
        Self(self.0.iter().map(cast).collect())
    }
}

pub(crate) fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_to_vec().unwrap()
}

/// Rows as images of one pixel.
pub(crate) fn image(rows: Tensor<2>) -> Tensor<4> {
    let [count, width] = rows.dims();
    rows.reshape([count, width, 1, 1])
}

pub(crate) fn normal(count: usize, seed: u64) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..count).map(|_| rng.sample(StandardNormal)).collect()
}

/// A case of normal inputs, of names and dimensions, with an output of so many numbers.
pub(crate) fn case(
    operation: Operation,
    inputs: &[(&'static str, &[usize])],
    output: usize,
) -> Case {
    let inputs = inputs
        .iter()
        .enumerate()
        .map(|(seed, &(name, dims))| Input {
            name,
            dims: dims.to_vec(),
            numbers: normal(dims.iter().product(), seed as u64),
        });
    Case {
        operation,
        inputs: inputs.collect(),
        direction: normal(output, 100),
    }
}

/// What a self-attention of an image of these dimensions takes.
pub(crate) fn self_attention_inputs(
    [batch, channels, height, width]: [usize; 4],
) -> Vec<(&'static str, Vec<usize>)> {
    let mut inputs = vec![("x", vec![batch, channels, height, width])];
    for weight in ["weight_q", "weight_k", "weight_v"] {
        inputs.push((weight, vec![channels, channels]));
    }
    for bias in ["bias_q", "bias_k", "bias_v"] {
        inputs.push((bias, vec![channels]));
    }
    inputs
}

impl Operation {
    /// As this crate computes it from images of another type.
    pub(crate) fn ours_in(self, inputs: &Leaves, dtype: FloatDType) -> Tensor<4> {
        let y = self.ours(&inputs.with_images_of(dtype));
        assert_eq!(y.dtype(), dtype.into(), "{self:?}");
        y.cast(FloatDType::F32)
    }

    /// As this crate computes it.
    pub(crate) fn ours(self, inputs: &Leaves) -> Tensor<4> {
        match self {
            Self::Convolution { .. } | Self::Window { .. } => {
                let plus = Plus {
                    bias: inputs.find("bias"),
                    per_example: inputs.find("per_example"),
                    residual: inputs.find("residual"),
                };
                let (x, weight) = (inputs.get("x"), inputs.get("weight"));
                match self {
                    Self::Window { padding } => conv2d(x, weight, plus, padding),
                    Self::Convolution { kernel: 1, .. } => conv2d_1x1(x, weight, plus),
                    Self::Convolution { sampling, .. } => conv2d_3x3(x, weight, plus, sampling),
                    _ => unreachable!("no convolution"),
                }
            }
            Self::Norm { groups, silu } => {
                let [gamma, beta] = ["gamma", "beta"].map(|name| inputs.get(name));
                let (x, scale_shift) = (inputs.get("x"), inputs.find("scale_shift"));
                if silu {
                    group_norm_silu(x, gamma, beta, scale_shift, groups, EPSILON)
                } else {
                    group_norm(x, gamma, beta, groups, EPSILON)
                }
            }
            Self::Concatenation => concat_channels(inputs.get("first"), inputs.get("second")),
            Self::Attention { heads } => {
                attention(inputs.get("q"), inputs.get("k"), inputs.get("v"), heads)
            }
            Self::SelfAttention { heads } => {
                self_attention(inputs.get("x"), inputs.projections(), heads)
            }
            Self::Linear { silu } => {
                let plus = PlusRows {
                    bias: inputs.find("bias"),
                    residual: inputs.find("residual"),
                };
                let (x, weight) = (inputs.get("x"), inputs.get("weight"));
                image(if silu {
                    linear_silu(x, weight, plus)
                } else {
                    linear(x, weight, plus)
                })
            }
            Self::RowNorm { silu } => {
                let (x, gamma, beta) = (inputs.get("x"), inputs.get("gamma"), inputs.get("beta"));
                image(if silu {
                    layer_norm_silu(x, gamma, beta, EPSILON)
                } else {
                    layer_norm(x, gamma, beta, EPSILON)
                })
            }
            Self::Embedding { sizes } => image(embedding_sum(
                inputs.get("codes"),
                inputs.get("table"),
                &sizes,
            )),
            Self::Silu => image(silu(inputs.get("x"))),
            Self::Segments { sizes } => image(segment_log_softmax(inputs.get("x"), &sizes)),
        }
    }
}

impl Case {
    /// The same with smaller weights, by which sums of products of normal numbers stay of the order of 1.
    pub(crate) fn with_small_weights(mut self) -> Self {
        for input in &mut self.inputs {
            if input.name.starts_with("weight") {
                let factor = (input.dims[0] as f32).powf(-0.5);
                input.numbers.iter_mut().for_each(|x| *x *= factor);
            }
        }
        self
    }

    /// The inputs on a device; with their gradients to come, if it is one of autodiff.
    pub(crate) fn leaves(&self, device: &Device) -> Leaves {
        let leaf = |input: &Input| {
            let data = TensorData::new(input.numbers.clone(), [input.numbers.len()]);
            let leaf = Tensor::from_data(data, device);
            let leaf = if device.is_autodiff() {
                leaf.require_grad()
            } else {
                leaf
            };
            (input.clone(), leaf)
        };
        Leaves(self.inputs.iter().map(leaf).collect())
    }

    /// The value `y` and the gradient of every input, by name, of an operation on autodiff's device.
    pub(crate) fn results(
        &self,
        device: &Device,
        operation: impl FnOnce(&Leaves) -> Tensor<4>,
    ) -> Vec<(&'static str, Vec<f32>)> {
        let leaves = self.leaves(device);
        let y = operation(&leaves);
        let direction = TensorData::new(self.direction.clone(), y.dims());
        let mut results = vec![("y", numbers(y.clone()))];
        let grads = (y * Tensor::from_data(direction, device)).sum().backward();
        for (input, leaf) in leaves.0.iter().filter(|(input, _)| input.name != "codes") {
            results.push((input.name, numbers(leaf.grad(&grads).unwrap())));
        }
        results
    }
}

/// The largest difference, over the largest number of the reference, which is taken to be at least
/// `floor`: numbers that cancel are as inexact as what they are the difference of.
pub(crate) fn largest_error(found: &[f32], expected: &[f32], floor: f32) -> f32 {
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(floor, |max, x| max.max(x.abs()));
    let differences = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
    // Not `f32::max`, which drops what is not a number.
    let difference = differences.fold(0.0, |max: f32, x| if x <= max { max } else { x });
    difference / largest
}
