//! What replaces a category that a step does not keep, as transition matrices.
//!
//! ```text
//! Q = α I + (1 − α) 1 πᵀ        [Q]_{ij} = q(x_t = j | x_{t−1} = i)
//! ```
//!
//! where π is the uniform distribution over K categories (Hoogeboom et al. 2021, "Argmax Flows and
//! Multinomial Diffusion", equation 11) or all of it on the mask, a state of its own that is never left
//! (Austin et al. 2021, "Structured Denoising Diffusion Models in Discrete State-Spaces", D3PM, section
//! 3.1 and appendix A.2.2). As 1 πᵀ is idempotent, a product of such matrices is such a matrix, and its α
//! is the product of theirs: Q̄_t = Q_0 … Q_t has ᾱ_t (Hoogeboom et al., equation 12).

use serde::{Deserialize, Serialize};

/// What a category becomes when a step does not keep it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Transition {
    /// Any of the K categories with the same probability, itself included (Hoogeboom et al. 2021).
    Uniform,
    /// The mask, a state that is never left; its code is K (Austin et al. 2021).
    #[default]
    Absorbing,
}

impl Transition {
    /// All of them.
    pub const ALL: &[Self] = &[Self::Uniform, Self::Absorbing];

    /// The number of states of a column of K categories: K, and one more where there is a mask.
    pub fn num_states(self, num_categories: usize) -> usize {
        match self {
            Self::Uniform => num_categories,
            Self::Absorbing => num_categories + 1,
        }
    }

    /// π: the distribution of a state that was not kept, which is also that of x_T in the limit.
    pub fn prior(self, num_categories: usize) -> Vec<f64> {
        match self {
            Self::Uniform => vec![1.0 / num_categories as f64; num_categories],
            Self::Absorbing => {
                let mut prior = vec![0.0; num_categories];
                prior.push(1.0);
                prior
            }
        }
    }

    /// The matrix of steps that together keep a state with probability `keep`: row i is the
    /// distribution of what state i becomes. α_t gives Q_t, ᾱ_t gives Q̄_t.
    ///
    /// ```
    /// use noising::Transition;
    ///
    /// assert_eq!(Transition::Uniform.matrix(2, 0.5), [[0.75, 0.25], [0.25, 0.75]]);
    /// let absorbing = [[0.5, 0.0, 0.5], [0.0, 0.5, 0.5], [0.0, 0.0, 1.0]];
    /// assert_eq!(Transition::Absorbing.matrix(2, 0.5), absorbing);
    /// ```
    pub fn matrix(self, num_categories: usize, keep: f64) -> Vec<Vec<f64>> {
        let prior = self.prior(num_categories);
        (0..prior.len())
            .map(|from| {
                let mut row: Vec<f64> = prior.iter().map(|p| (1.0 - keep) * p).collect();
                row[from] += keep;
                row
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn product(a: &[Vec<f64>], b: &[Vec<f64>]) -> Vec<Vec<f64>> {
        let entry = |row: &Vec<f64>, j: usize| row.iter().zip(b).map(|(x, b)| x * b[j]).sum();
        a.iter()
            .map(|row| (0..b.len()).map(|j| entry(row, j)).collect())
            .collect()
    }

    proptest! {
        /// Q_0 … Q_t, multiplied out, is the closed form; rows are distributions.
        #[test]
        fn the_product_of_steps_is_the_closed_form(
            keeps in prop::collection::vec(0.0..1.0_f64, 1..7),
            num_categories in 1_usize..6,
        ) {
            for &transition in Transition::ALL {
                let mut matrix = transition.matrix(num_categories, 1.0);
                for &keep in &keeps {
                    matrix = product(&matrix, &transition.matrix(num_categories, keep));
                }
                let closed = transition.matrix(num_categories, keeps.iter().product());
                prop_assert_eq!(closed.len(), transition.num_states(num_categories));
                for (row, expected) in matrix.iter().zip(&closed) {
                    prop_assert!((row.iter().sum::<f64>() - 1.0).abs() < 1e-12);
                    for (found, expected) in row.iter().zip(expected) {
                        prop_assert!((found - expected).abs() < 1e-12);
                    }
                }
            }
        }
    }

    #[test]
    fn configuration_names() {
        #[derive(Deserialize)]
        struct Table {
            transition: Transition,
        }
        for (name, transition) in [
            ("uniform", Transition::Uniform),
            ("absorbing", Transition::Absorbing),
        ] {
            let table: Table = toml::from_str(&format!("transition = '{name}'")).unwrap();
            assert_eq!(table.transition, transition);
        }
        assert_eq!(Transition::default(), Transition::Absorbing);
    }
}
