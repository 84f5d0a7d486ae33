//! What is asked of a network, and what it is told.

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData};

/// A network that predicts from x_t, t and a condition.
pub trait Network: Module {
    /// The prediction for `x_t` `[B, C, H, W]` at timesteps `[B]`: of the shape of `x_t`.
    fn forward(&self, x_t: Tensor<4>, timesteps: Tensor<1>, condition: &Condition) -> Tensor<4>;
}

/// What a network is told besides x_t and t.
#[derive(Debug, Clone, Default)]
pub struct Condition {
    labels: Option<Tensor<1, Int>>,
    num_classes: usize,
}

impl Condition {
    /// Nothing.
    pub fn none() -> Self {
        Self::default()
    }

    /// The class of each example. `num_classes` is their number; the label `num_classes` itself means
    /// "no class" (Ho and Salimans 2022).
    pub fn classes(labels: &[usize], num_classes: usize, device: &Device) -> Self {
        Self {
            labels: Some(labels_tensor(labels, device)),
            num_classes,
        }
    }

    /// The class of each example, `[B]`, if the network is told any.
    pub fn labels(&self) -> Option<&Tensor<1, Int>> {
        self.labels.as_ref()
    }

    /// The number of classes; 0 where there are none.
    pub fn num_classes(&self) -> usize {
        self.num_classes
    }
}

/// Labels as a tensor: `[B]`.
pub fn labels_tensor(labels: &[usize], device: &Device) -> Tensor<1, Int> {
    let values: Vec<i32> = labels.iter().map(|&label| label as i32).collect();
    Tensor::from_data(TensorData::new(values, [labels.len()]), device)
}
