//! The step back of a whole table: a draw for every cell from p(x_s | x_t), columns of different K at once.
//!
//! It is made on the host, in f64 and cell by cell, so that every backend draws the same category from the
//! same logits and the same u. On the absorbing chain a cell costs something only in the step that lifts
//! its mask.

use burn::tensor::{Tensor, TensorData};

use super::chain::CategoricalChain;
use super::posterior::CategoricalPosterior;

impl CategoricalChain {
    /// Draws x_s `[B, C]` from p(x_s | x_t), the step from ᾱ_t to ᾱ_s (1 for data), by numbers `[B, C]`
    /// uniform in [0, 1]. `logits` `[B, ΣK]` are the network's: of p(x_0 | x_t), up to a constant for each
    /// column.
    ///
    /// # Panics
    ///
    /// If shapes do not fit, if `x_t` holds what is no state, or if the device gives nothing back.
    pub fn step_back(
        &self,
        x_t: Tensor<2>,
        logits: Tensor<2>,
        uniforms: Tensor<2>,
        alpha_cumprod: f64,
        alpha_cumprod_prev: f64,
    ) -> Tensor<2> {
        let shape = x_t.dims();
        assert_eq!(shape[1], self.num_columns(), "the columns of the chain");
        assert_eq!(
            logits.dims(),
            [shape[0], self.num_logits()],
            "a logit a category"
        );
        assert_eq!(uniforms.dims(), shape, "a number for each cell");
        let like = (x_t.device(), x_t.dtype());
        let posteriors = self.num_categories().iter().map(|&count| {
            CategoricalPosterior::between(
                self.transition(),
                count,
                alpha_cumprod,
                alpha_cumprod_prev,
            )
        });
        let posteriors: Vec<CategoricalPosterior> = posteriors.collect();
        let uniforms = host(uniforms);
        let x_t = host(x_t);
        let mut drawn = Vec::with_capacity(x_t.len());
        for (row, logits) in host(logits).chunks(self.num_logits().max(1)).enumerate() {
            let mut rest = logits;
            for (column, posterior) in posteriors.iter().enumerate() {
                let (logits, after) = rest.split_at(self.num_categories()[column]);
                rest = after;
                let cell = row * posteriors.len() + column;
                let x_s = posterior.draw(x_t[cell] as usize, logits, f64::from(uniforms[cell]));
                drawn.push(x_s as f32);
            }
        }
        Tensor::from_data(TensorData::new(drawn, shape), (&like.0, like.1))
    }

    /// The most probable category of each column: `[B, ΣK]` logits to `[B, C]` codes.
    ///
    /// # Panics
    ///
    /// If there are not as many logits as categories, or if the device gives nothing back.
    pub fn most_likely(&self, logits: Tensor<2>) -> Tensor<2> {
        let shape = [logits.dims()[0], self.num_columns()];
        assert_eq!(logits.dims()[1], self.num_logits(), "a logit a category");
        let like = (logits.device(), logits.dtype());
        let mut codes = Vec::with_capacity(shape[0] * shape[1]);
        for logits in host(logits).chunks(self.num_logits().max(1)) {
            let mut rest = logits;
            for &count in self.num_categories() {
                let (logits, after) = rest.split_at(count);
                rest = after;
                let mut best = 0;
                for (code, logit) in logits.iter().enumerate() {
                    if *logit > logits[best] {
                        best = code;
                    }
                }
                codes.push(best as f32);
            }
        }
        Tensor::from_data(TensorData::new(codes, shape), (&like.0, like.1))
    }
}

fn host(tensor: Tensor<2>) -> Vec<f32> {
    let values = tensor.try_into_vec_as();
    values.expect("the device gives its numbers back")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use crate::Transition;
    use crate::categorical::chain::tests::{chain, tensor, uniform, values};

    const ROWS: usize = 40_000;

    #[test]
    fn the_most_likely_category_of_each_column() {
        let chain = chain(vec![0.5], Transition::Absorbing, &[3, 1, 2]);
        let logits = vec![
            0.1, 0.3, -2.0, -5.0, 7.0, 7.5, 4.0, 0.0, 1.0, 0.0, 2.0, -1.0,
        ];
        let codes = chain.most_likely(tensor(logits, [2, 6]));
        assert_eq!(values(codes), [1.0, 0.0, 1.0, 0.0, 0.0, 0.0]);
    }

    /// From x_t of the forward chain, with the true p(x_0 | x_t), the step back has the distribution of x_s:
    /// columns of different K, each by its own numbers.
    #[test]
    fn a_step_back_undoes_steps() {
        let data = [vec![0.7, 0.3], vec![0.1, 0.0, 0.2, 0.7], vec![1.0]];
        let counts = [2, 4, 1];
        for &transition in Transition::ALL {
            let chain = chain(vec![0.2, 0.3, 0.4], transition, &counts);
            let rng = &mut ChaCha8Rng::seed_from_u64(3);
            let schedule = chain.schedule().clone();
            let alphas_cumprod = schedule.alphas_cumprod();
            for (t, before) in [(2, alphas_cumprod[0]), (1, 1.0)] {
                // x_0 by inversion of its distribution.
                let draws = values(uniform(rng, [ROWS, 3]));
                let code = |(cell, u): (usize, f64)| {
                    let mut sum = 0.0;
                    let below = data[cell % 3].iter().take_while(|p| {
                        sum += **p;
                        sum <= u
                    });
                    below.count().min(counts[cell % 3] - 1) as f64
                };
                let x_0: Vec<f64> = draws.into_iter().enumerate().map(code).collect();
                let x_t = chain.q_sample(tensor(x_0, [ROWS, 3]), uniform(rng, [ROWS, 3]), &[t]);
                // ln p(x_0) + ln q(x_t | x_0), which is ln p(x_0 | x_t) up to a constant.
                let mut logits = Vec::new();
                for (cell, x_t) in values(x_t.clone()).into_iter().enumerate() {
                    let column = cell % 3;
                    let matrix = chain.cumulative_matrix(column, t);
                    for (j, p) in data[column].iter().enumerate() {
                        let likelihood = matrix[j][x_t as usize];
                        logits.push((p * likelihood).ln());
                    }
                }
                let logits = tensor(logits, [ROWS, 7]);
                let uniforms = uniform(rng, [ROWS, 3]);
                let now = alphas_cumprod[t];
                let x_s = values(chain.step_back(x_t, logits, uniforms, now, before));
                for column in 0..3 {
                    let matrix = transition.matrix(counts[column], before);
                    for state in 0..transition.num_states(counts[column]) {
                        let rows = data[column].iter().zip(&matrix);
                        let p: f64 = rows.map(|(p_0, row)| p_0 * row[state]).sum();
                        let found = x_s.chunks(3).filter(|row| row[column] as usize == state);
                        let share = found.count() as f64 / ROWS as f64;
                        let error = (p * (1.0 - p) / ROWS as f64).sqrt().max(1e-9);
                        assert!(
                            (share - p).abs() < 5.0 * error,
                            "{transition:?}, column {column}, state {state}: {share}, not {p}"
                        );
                    }
                }
            }
        }
    }
}
