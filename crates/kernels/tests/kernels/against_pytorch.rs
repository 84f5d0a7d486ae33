//! Every operation against PyTorch, in f64 of the same inputs: values and all gradients. The numbers
//! are those of `scripts/reference/kernels_golden.py`.

use burn::tensor::Device;
use kernels::Sampling;
use safetensors::SafeTensors;

use crate::case::{Case, Input, Operation, largest_error};

/// Largest difference, over the largest number of PyTorch's tensor, or over 0.01 where all are smaller.
const TOLERANCE: f32 = 1e-4;
const FLOOR: f32 = 1e-2;

/// Every name that the file uses for an input.
const INPUTS: [&str; 13] = [
    "x",
    "weight",
    "bias",
    "per_example",
    "residual",
    "gamma",
    "beta",
    "scale_shift",
    "first",
    "second",
    "q",
    "k",
    "v",
];

fn operation(options: &[&str]) -> Operation {
    match options {
        ["convolution", kernel, sampling] => Operation::Convolution {
            kernel: kernel.parse().unwrap(),
            sampling: match *sampling {
                "same" => Sampling::Same,
                "down" => Sampling::Down,
                "down_below_right" => Sampling::DownBelowRight,
                "up" => Sampling::Up,
                other => panic!("sampling {other}"),
            },
        },
        ["norm", groups, activation] => Operation::Norm {
            groups: groups.parse().unwrap(),
            silu: *activation == "silu",
        },
        ["concatenation"] => Operation::Concatenation,
        ["attention", heads] => Operation::Attention {
            heads: heads.parse().unwrap(),
        },
        ["linear", activation] => Operation::Linear {
            silu: *activation == "silu",
        },
        ["row_norm", activation] => Operation::RowNorm {
            silu: *activation == "silu",
        },
        ["segments", a, b, c] => Operation::Segments {
            sizes: [a, b, c].map(|size| size.parse().unwrap()),
        },
        other => panic!("operation {other:?}"),
    }
}

struct Golden<'a>(SafeTensors<'a>);

impl Golden<'_> {
    /// Shape and numbers of a tensor, if the file has it.
    fn find(&self, name: &str) -> Option<(Vec<usize>, Vec<f32>)> {
        let tensor = self.0.tensor(name).ok()?;
        let (numbers, []) = tensor.data().as_chunks() else {
            panic!("{name} is not of f32");
        };
        let numbers = numbers.iter().map(|x| f32::from_le_bytes(*x)).collect();
        Some((tensor.shape().to_vec(), numbers))
    }

    fn numbers(&self, name: &str) -> Vec<f32> {
        self.find(name).unwrap().1
    }
}

#[test]
fn values_and_gradients_are_pytorchs() {
    let bytes = include_bytes!("../golden/pytorch.safetensors");
    let golden = Golden(SafeTensors::deserialize(bytes).unwrap());
    let (_, header) = SafeTensors::read_metadata(bytes).unwrap();
    let cases = &header.metadata().as_ref().unwrap()["cases"];
    let mut compared = 0;
    for line in cases.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let (name, options) = words.split_first().unwrap();
        let inputs = INPUTS.iter().filter_map(|input| {
            let (dims, numbers) = golden.find(&format!("{name}/{input}"))?;
            Some(Input {
                name: input,
                dims,
                numbers,
            })
        });
        let case = Case {
            operation: operation(options),
            inputs: inputs.collect(),
            direction: golden.numbers(&format!("{name}/y.grad")),
        };
        let results = case.results(&Device::flex().autodiff(), |x| case.operation.ours(x));
        for (what, found) in results {
            let expected = if what == "y" {
                golden.numbers(&format!("{name}/y"))
            } else {
                golden.numbers(&format!("{name}/{what}.grad"))
            };
            let error = largest_error(&found, &expected, FLOOR);
            println!("{error:.1e} {what} of {line}");
            assert!(error <= TOLERANCE, "{what} of {line} is off by {error}");
            compared += 1;
        }
    }
    // y, its gradient, and two tensors an input.
    assert_eq!(
        2 * compared,
        golden.0.len(),
        "a tensor of the file is unused"
    );
}
