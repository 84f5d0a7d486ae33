//! What is asked of a network, and what it is told.

use burn::module::Module;
use burn::tensor::{Device, Gradients, Int, Tensor, TensorData};

/// A network that predicts ε, x_0 or v from x_t, the timestep and a condition.
///
/// ```
/// use burn::module::Module;
/// use burn::nn::conv::{Conv2d, Conv2dConfig};
/// use burn::tensor::{Device, Tensor};
/// use training::{Condition, Network};
///
/// /// A network that sees neither t nor classes.
/// #[derive(Module, Debug)]
/// struct Pixelwise {
///     conv: Conv2d,
/// }
///
/// impl Network for Pixelwise {
///     fn forward(&self, x_t: Tensor<4>, _timesteps: &[f64], _condition: &Condition) -> Tensor<4> {
///         self.conv.forward(x_t)
///     }
/// }
///
/// let device = Device::flex();
/// let network = Pixelwise { conv: Conv2dConfig::new([3, 3], [1, 1]).init(&device) };
/// let x_t = Tensor::<4>::ones([2, 3, 8, 8], &device);
/// let predicted = network.forward(x_t, &[500.0, 7.5], &Condition::none());
/// assert_eq!(predicted.dims(), [2, 3, 8, 8]);
/// ```
pub trait Network: Module + Sync {
    /// The prediction `[batch, channels, height, width]` for a batch.
    ///
    /// - `x_t`: `[batch, channels, height, width]`
    /// - `timesteps`: one for each example, fractions of a step included; they stay on the host, where
    ///   what is computed from them is computed exactly
    /// - `condition`: what is asked for, of as many examples
    ///
    /// # Panics
    ///
    /// If a shape or the condition does not fit the network.
    fn forward(&self, x_t: Tensor<4>, timesteps: &[f64], condition: &Condition) -> Tensor<4>;

    /// The `loss` of its prediction, `[1]`, and the gradients of its parameters, each of which is in one of the parts.
    /// The network has autodiff.
    ///
    /// In little memory: what it can compute again for the gradients, it does not keep. One that can nothing of the
    /// kind keeps all, as here. One that draws from the generator of its device seeds it by `dropout_seed`.
    ///
    /// # Panics
    ///
    /// As [`forward`](Self::forward).
    fn backward_recomputing(
        &self,
        x_t: Tensor<4>,
        timesteps: &[f64],
        condition: &Condition,
        dropout_seed: Option<u64>,
        loss: impl FnOnce(Tensor<4>) -> Tensor<1>,
    ) -> (Tensor<1>, Vec<Gradients>) {
        backward_keeping(self, x_t, timesteps, condition, dropout_seed, loss)
    }
}

/// [`Network::backward_recomputing`] of a network that computes nothing again, and keeps all.
pub fn backward_keeping(
    network: &impl Network,
    x_t: Tensor<4>,
    timesteps: &[f64],
    condition: &Condition,
    dropout_seed: Option<u64>,
    loss: impl FnOnce(Tensor<4>) -> Tensor<1>,
) -> (Tensor<1>, Vec<Gradients>) {
    if let Some(seed) = dropout_seed {
        x_t.device().seed(seed);
    }
    let loss = loss(network.forward(x_t, timesteps, condition));
    let gradients = loss.backward();
    (loss, vec![gradients])
}

/// What the examples of a batch are conditioned on: nothing, or a class each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Condition {
    classes: Option<Classes>,
}

/// The class of each example, and how many classes there are.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Classes {
    labels: Vec<Option<usize>>,
    num_classes: usize,
}

impl Condition {
    /// No condition: for networks that know no classes.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Class labels, one for each example, of `num_classes` classes. `None` is "no class": the example
    /// is predicted without a condition (Ho and Salimans 2022), by a network that can.
    ///
    /// # Panics
    ///
    /// If a label is not below `num_classes`.
    #[must_use]
    pub fn classes(labels: Vec<Option<usize>>, num_classes: usize) -> Self {
        for label in labels.iter().flatten() {
            assert!(
                *label < num_classes,
                "class label {label}, there are {num_classes} classes"
            );
        }
        Self {
            classes: Some(Classes {
                labels,
                num_classes,
            }),
        }
    }

    /// The class label of each example, where there are classes.
    #[must_use]
    pub fn labels(&self) -> Option<&[Option<usize>]> {
        self.classes.as_ref().map(|classes| &classes.labels[..])
    }

    /// The number of classes, where there are classes.
    #[must_use]
    pub fn num_classes(&self) -> Option<usize> {
        self.classes.as_ref().map(|classes| classes.num_classes)
    }

    /// The same batch without its classes: what guidance leads away from.
    #[must_use]
    pub fn without_classes(&self) -> Self {
        Self {
            classes: self.classes.as_ref().map(|classes| Classes {
                labels: vec![None; classes.labels.len()],
                num_classes: classes.num_classes,
            }),
        }
    }

    /// The examples of both, one after the other, as of a batch that is the two batches joined.
    ///
    /// # Panics
    ///
    /// If the numbers of classes differ.
    #[must_use]
    pub fn and(&self, after: &Self) -> Self {
        assert_eq!(
            self.num_classes(),
            after.num_classes(),
            "the classes of one network"
        );
        let labels = [self, after].map(|condition| condition.labels().unwrap_or_default());
        Self {
            classes: self.num_classes().map(|num_classes| Classes {
                labels: labels.concat(),
                num_classes,
            }),
        }
    }
}

/// Labels as a tensor: `[B]`.
pub fn labels_tensor(labels: &[usize], device: &Device) -> Tensor<1, Int> {
    let values: Vec<i32> = labels.iter().map(|&label| label as i32).collect();
    Tensor::from_data(TensorData::new(values, [labels.len()]), device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_halves_of_guidance_are_one_condition() {
        let asked = Condition::classes(vec![Some(2), None], 3);
        let both = asked.and(&asked.without_classes());
        assert_eq!(both, Condition::classes(vec![Some(2), None, None, None], 3));
        let none = Condition::none();
        assert_eq!(none.and(&none.without_classes()), none);
    }

    #[test]
    #[should_panic(expected = "class label 3, there are 3 classes")]
    fn a_class_that_there_is_not_is_refused() {
        let _ = Condition::classes(vec![Some(3)], 3);
    }
}
