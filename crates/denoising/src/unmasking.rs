//! In which order the masks of the absorbing chain are lifted.
//!
//! x_0 given what is unmasked does not depend on which step has unmasked it, so the cells may be drawn in any
//! order, a few at a time (Austin et al. 2021, section 3.1 and appendix A.2.2; Hoogeboom et al. 2022,
//! "Autoregressive Diffusion Models", section 3). Those of one step are drawn independently. By chance is
//! the chain's own way back; an order leaves round((1 − ᾱ_s) n) of the n cells that were to be drawn masked
//! at ᾱ_s, so that categories keep up with the numbers beside them.

use burn::tensor::{Tensor, TensorData};
use noising::{CategoricalChain, CategoricalPosterior, Transition};
use serde::{Deserialize, Serialize};

use crate::error::SamplerError;
use crate::steps::Step;

/// Which masks a step lifts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Unmasking {
    /// Each cell by itself with the probability that the chain has: as many as it happens to be.
    #[default]
    ByChance,
    /// So many cells a step, in an order that is drawn anew in each step.
    Random,
    /// So many cells a step, those first whose drawn category the network gives the highest probability
    /// (Chang et al. 2022, "MaskGIT", section 3.2, with no noise on the confidence). Likely categories
    /// come out more often than in the data.
    Confidence,
    /// So many cells a step, in this order of the categorical columns, counted from 0.
    Order(Vec<usize>),
}

impl Unmasking {
    /// Whether it can be had on this chain.
    ///
    /// # Errors
    ///
    /// An order on a chain without masks, or one that does not name every column once.
    pub fn check(&self, chain: &CategoricalChain) -> Result<(), SamplerError> {
        if *self != Self::ByChance && chain.transition() != Transition::Absorbing {
            return Err(SamplerError::NoMasks);
        }
        let Self::Order(order) = self else {
            return Ok(());
        };
        let mut sorted = order.clone();
        sorted.sort_unstable();
        if sorted.into_iter().eq(0..chain.num_columns()) {
            return Ok(());
        }
        Err(SamplerError::Order {
            columns: chain.num_columns(),
        })
    }

    /// x_s `[B, C]` from x_t and the network's logits `[B, ΣK]`. `to_draw` is n, the number of cells that
    /// were not known from the beginning, for each row or for all. `uniforms` gives numbers `[B, C]`
    /// uniform in [0, 1].
    pub(crate) fn step_back(
        &self,
        chain: &CategoricalChain,
        step: Step,
        x_t: Tensor<2>,
        logits: Tensor<2>,
        to_draw: &[usize],
        uniforms: &mut dyn FnMut() -> Tensor<2>,
    ) -> Tensor<2> {
        let (from, to) = (step.from.alpha_cumprod, step.to.alpha_cumprod);
        if *self == Self::ByChance {
            return chain.step_back(x_t, logits, uniforms(), from, to);
        }
        let shape = x_t.dims();
        let like = (x_t.device(), x_t.dtype());
        let draws = host(uniforms());
        let ranks = match self {
            Self::Random => host(uniforms()),
            _ => Vec::new(),
        };
        let (mut x, logits) = (host(x_t), host(logits));
        let counts = chain.num_categories();
        let columns = counts.len();
        let posteriors: Vec<CategoricalPosterior> = counts
            .iter()
            .map(|&count| CategoricalPosterior::between(chain.transition(), count, from, 1.0))
            .collect();
        for row in 0..shape[0] {
            let cells = row * columns..(row + 1) * columns;
            let mut rest = &logits[row * chain.num_logits()..];
            // The columns that are masked, by what they become; the first in their order first.
            let mut masked: Vec<(f32, usize, usize)> = Vec::new();
            for (column, cell) in cells.clone().enumerate() {
                let (logits, after) = rest.split_at(counts[column]);
                rest = after;
                if x[cell] as usize != counts[column] {
                    continue;
                }
                let drawn = posteriors[column].draw(counts[column], logits, f64::from(draws[cell]));
                let rank = match self {
                    Self::Order(order) => order.iter().position(|&c| c == column).map(|c| c as f32),
                    Self::Confidence => Some(-log_probability(logits, drawn)),
                    _ => Some(ranks[cell]),
                };
                masked.push((rank.unwrap_or_default(), column, drawn));
            }
            masked.sort_by(|a, b| a.0.total_cmp(&b.0));
            let n = to_draw[row % to_draw.len()];
            let stay = ((1.0 - to) * n as f64).round() as usize;
            for &(_, column, drawn) in masked.iter().take(masked.len().saturating_sub(stay)) {
                x[cells.start + column] = drawn as f32;
            }
        }
        Tensor::from_data(TensorData::new(x, shape), (&like.0, like.1))
    }
}

fn log_probability(logits: &[f32], code: usize) -> f32 {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let total: f32 = logits.iter().map(|logit| (logit - largest).exp()).sum();
    logits[code] - largest - total.ln()
}

pub(crate) fn host<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    let values = tensor.try_into_vec_as();
    values.expect("the device gives its numbers back")
}
