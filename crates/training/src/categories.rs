//! What the network learns of categories: p(x_0 | x_t) of every cell, from the bound or a cross entropy.
//!
//! The network answers with logits, column by column; the log-softmax of each column is ln p(x_0 | x_t).
//! Of a chain of T steps and timesteps that are drawn uniformly,
//!
//! ```text
//! bound          T · KL(q(x_{t−1} | x_t, x_0) ‖ p(x_{t−1} | x_t))     Austin et al. 2021, equation 1
//! cross-entropy  −ln p(x_0 | x_t)                                     ibid., equation 5, second term
//! ```
//!
//! both in nats a cell, and 0 where x_t is unmasked, since x_0 is known there.

use burn::tensor::Tensor;
use kernels::segment_log_softmax;
use noising::CategoricalChain;
use serde::{Deserialize, Serialize};

/// What is minimised over the categorical columns of a table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum CategoryLoss {
    /// The variational bound on −ln p(x_0), in nats a cell. Every share of masked cells counts the same,
    /// however long the schedule stays there.
    #[default]
    Bound,
    /// −ln p(x_0 | x_t) with the same weight at every timestep: fewer large gradients near t = 0, and more
    /// of the training spent where the schedule spends its time.
    CrossEntropy,
}

/// The loss of each row, averaged over its columns: `[B]`. `logits` is `[B, ΣK]`, codes are `[B, C]`.
pub(crate) fn category_loss(
    loss: CategoryLoss,
    chain: &CategoricalChain,
    x_0: Tensor<2>,
    x_t: Tensor<2>,
    logits: Tensor<2>,
    timesteps: &[usize],
) -> Tensor<1> {
    let log_p = segment_log_softmax(logits, chain.num_categories());
    let cells = match loss {
        CategoryLoss::CrossEntropy => chain.cross_entropy(x_0, x_t, log_p),
        CategoryLoss::Bound => {
            let steps = chain.schedule().num_train_timesteps() as f64;
            chain.bound(x_0, x_t, log_p, timesteps).mul_scalar(steps)
        }
    };
    cells.mean_dim(1).squeeze_dim(1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use burn::tensor::{Device, TensorData};
    use noising::{NoiseConfig, Transition};

    use super::*;

    fn tensor(values: Vec<f32>, shape: [usize; 2]) -> Tensor<2> {
        Tensor::from_data(TensorData::new(values, shape), &Device::flex())
    }

    /// Both losses by hand, averaged over the columns; an unmasked cell costs nothing.
    #[test]
    fn losses_by_hand() {
        let schedule = NoiseConfig::default().chain().unwrap().schedule().clone();
        let chain = CategoricalChain::new(schedule, Transition::Absorbing, vec![2, 4]).unwrap();
        let logits = tensor(vec![0.0; 12], [2, 6]);
        let x_0 = tensor(vec![1.0, 3.0, 0.0, 2.0], [2, 2]);
        let x_t = tensor(vec![2.0, 3.0, 2.0, 4.0], [2, 2]);
        let nats = [2.0_f64.ln() / 2.0, (2.0_f64.ln() + 4.0_f64.ln()) / 2.0];
        for (loss, factors) in [
            (CategoryLoss::CrossEntropy, [1.0, 1.0]),
            (
                CategoryLoss::Bound,
                [30, 700].map(|t| 1000.0 * chain.bound_weight(t)),
            ),
        ] {
            let (x_0, x_t, logits) = (x_0.clone(), x_t.clone(), logits.clone());
            let found = category_loss(loss, &chain, x_0, x_t, logits, &[30, 700]);
            let found: Vec<f64> = found.try_into_vec_as().unwrap();
            for row in 0..2 {
                let expected = nats[row] * factors[row];
                assert!(
                    (found[row] - expected).abs() < 1e-5 * expected,
                    "{loss:?}: {found:?}"
                );
            }
        }
    }
}
