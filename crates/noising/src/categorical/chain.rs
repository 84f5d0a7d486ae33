//! The chain at work on the codes of a table: one step, and many steps at once.
//!
//! ```text
//! q(x_t | x_{t−1}) = α_t δ(x_{t−1}) + (1 − α_t) π          one step
//! q(x_t | x_0)     = ᾱ_t δ(x_0) + (1 − ᾱ_t) π              steps 0 to t at once
//! ```
//!
//! with π as [`Transition`] has it (Hoogeboom et al. 2021, equations 11 and 12; Austin et al. 2021, section
//! 3.1). One uniform number u a cell is enough for both: the cell is kept where u > 1 − ᾱ_t, and else u /
//! (1 − ᾱ_t) says by which category it is replaced.

use burn::tensor::{Tensor, TensorData};
use thiserror::Error;

use super::posterior::CategoricalPosterior;
use super::transition::Transition;
use crate::NoiseSchedule;

/// The most categories of a column: codes are whole numbers in f32, which are exact up to there.
const MAX_CATEGORIES: usize = 1 << 24;

/// The forward Markov chain of the categorical columns of a table, each with categories of its own.
///
/// x is `[B, C]`, a row for each example and a column for each categorical column, and holds codes as whole
/// numbers: 0 … K_j − 1 in column j, and K_j for the mask. Probabilities and logits of a row lie side by
/// side, column by column: `[B, ΣK]`. `timesteps` has one t for each row, or a single one for all of them.
///
/// # Panics
///
/// Methods panic if a timestep is not below T, if there are several timesteps but not one for each row, or
/// if shapes do not fit.
#[derive(Debug, Clone, PartialEq)]
pub struct CategoricalChain {
    schedule: NoiseSchedule,
    transition: Transition,
    num_categories: Vec<usize>,
}

/// A column with no category, or with more than codes can tell apart.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "categorical column {column}, counted from 0, has {num_categories} categories; there must be 1 to {max}",
    max = MAX_CATEGORIES
)]
pub struct CategoryCountError {
    /// The column, counted from 0.
    pub column: usize,
    /// How many categories it has.
    pub num_categories: usize,
}

impl CategoricalChain {
    /// The chain of columns of so many categories each.
    ///
    /// # Errors
    ///
    /// A column without a category, or with more than 2²⁴.
    pub fn new(
        schedule: NoiseSchedule,
        transition: Transition,
        num_categories: Vec<usize>,
    ) -> Result<Self, CategoryCountError> {
        let fits = |count: &usize| (1..=MAX_CATEGORIES).contains(count);
        if let Some(column) = num_categories.iter().position(|count| !fits(count)) {
            return Err(CategoryCountError {
                column,
                num_categories: num_categories[column],
            });
        }
        Ok(Self {
            schedule,
            transition,
            num_categories,
        })
    }

    /// The chain of no column.
    pub(crate) fn without_columns(schedule: NoiseSchedule) -> Self {
        Self {
            schedule,
            transition: Transition::default(),
            num_categories: Vec::new(),
        }
    }

    /// The noise schedule: ᾱ_t is the probability that a category was kept.
    pub fn schedule(&self) -> &NoiseSchedule {
        &self.schedule
    }

    /// What a category becomes that is not kept.
    pub fn transition(&self) -> Transition {
        self.transition
    }

    /// K_j, the number of categories of each column.
    pub fn num_categories(&self) -> &[usize] {
        &self.num_categories
    }

    /// C, the number of columns.
    pub fn num_columns(&self) -> usize {
        self.num_categories.len()
    }

    /// ΣK, the number of categories of all columns.
    pub fn num_logits(&self) -> usize {
        self.num_categories.iter().sum()
    }

    /// Q_t of a column: see [`Transition::matrix`].
    pub fn step_matrix(&self, column: usize, t: usize) -> Vec<Vec<f64>> {
        let keep = self.schedule.alphas()[t];
        self.transition.matrix(self.num_categories[column], keep)
    }

    /// Q̄_t of a column, the matrix of steps 0 to t: see [`Transition::matrix`].
    pub fn cumulative_matrix(&self, column: usize, t: usize) -> Vec<Vec<f64>> {
        let keep = self.schedule.alphas_cumprod()[t];
        self.transition.matrix(self.num_categories[column], keep)
    }

    /// The step back of a column from t to t − 1, where −1 is data.
    pub fn posterior(&self, column: usize, t: usize) -> CategoricalPosterior {
        CategoricalPosterior::between(
            self.transition,
            self.num_categories[column],
            self.schedule.alphas_cumprod()[t],
            self.schedule.alphas_cumprod_prev()[t],
        )
    }

    /// One Markov step, by numbers `[B, C]` uniform in [0, 1]. At t = 0, `x_prev` is x_0.
    pub fn q_step(&self, x_prev: Tensor<2>, uniforms: Tensor<2>, timesteps: &[usize]) -> Tensor<2> {
        let lose = self.at(timesteps, |t| self.schedule.betas()[t]);
        self.replace(x_prev, uniforms, &lose)
    }

    /// Steps 0 to t at once, by numbers `[B, C]` uniform in [0, 1].
    pub fn q_sample(&self, x_0: Tensor<2>, uniforms: Tensor<2>, timesteps: &[usize]) -> Tensor<2> {
        let lose = self.at(timesteps, |t| 1.0 - self.schedule.alphas_cumprod()[t]);
        self.replace(x_0, uniforms, &lose)
    }

    /// Steps that together keep a cell with probability `keep`, the same for all rows: from x_0 to anywhere
    /// on the chain with ᾱ_t, from x_s to x_t with ᾱ_t / ᾱ_s.
    pub fn q_keep(&self, x: Tensor<2>, uniforms: Tensor<2>, keep: f64) -> Tensor<2> {
        self.replace(x, uniforms, &[1.0 - keep])
    }

    /// x where u > `lose`, and else what π says by u / `lose`; one `lose` for each row or one for all.
    fn replace(&self, x: Tensor<2>, uniforms: Tensor<2>, lose: &[f64]) -> Tensor<2> {
        let [batch, columns] = x.dims();
        assert_eq!(columns, self.num_columns(), "the columns of the chain");
        assert_eq!(uniforms.dims(), [batch, columns], "a number for each cell");
        assert!(
            lose.len() == 1 || lose.len() == batch,
            "there must be one timestep for each of the {batch} rows, or one for all"
        );
        let like = &x;
        let row = |values: Vec<f64>| {
            let shape = [1, values.len()];
            Tensor::<2>::from_data(
                TensorData::new(values, shape),
                (&like.device(), like.dtype()),
            )
        };
        let per_row = |values: Vec<f64>| row(values).swap_dims(0, 1).expand([batch, columns]);
        let counts = row(self
            .num_categories
            .iter()
            .map(|&count| count as f64)
            .collect());
        // Where nothing is lost not even u = 0 is, and where all is lost u = 1 is too.
        let bounds = lose
            .iter()
            .map(|&lose| if lose > 0.0 { lose } else { -1.0 });
        let lost = uniforms.clone().lower_equal(per_row(bounds.collect()));
        let replacement = match self.transition {
            Transition::Absorbing => counts.expand([batch, columns]),
            Transition::Uniform => {
                // A row that loses nothing divides by 0, and what that gives is not taken.
                let share = uniforms * per_row(lose.iter().map(|lose| 1.0 / lose).collect());
                let last = counts.clone().sub_scalar(1.0).expand([batch, columns]);
                (share * counts.expand([batch, columns]))
                    .floor()
                    .min_pair(last)
            }
        };
        x.mask_where(lost, replacement)
    }

    fn at(&self, timesteps: &[usize], coefficient: impl Fn(usize) -> f64) -> Vec<f64> {
        timesteps
            .iter()
            .map(|&t| {
                let last = self.schedule.num_train_timesteps() - 1;
                assert!(
                    t <= last,
                    "timestep {t} is not on the chain, whose last is {last}"
                );
                coefficient(t)
            })
            .collect()
    }
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used)]

    use burn::tensor::{DType, Device};
    use proptest::prelude::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::BetaSchedule;

    pub(crate) fn chain(
        betas: Vec<f64>,
        transition: Transition,
        num_categories: &[usize],
    ) -> CategoricalChain {
        let schedule = NoiseSchedule::from_betas(betas).unwrap();
        CategoricalChain::new(schedule, transition, num_categories.to_vec()).unwrap()
    }

    pub(crate) fn tensor(values: Vec<f64>, shape: [usize; 2]) -> Tensor<2> {
        let data = TensorData::new(values, shape);
        Tensor::from_data(data, (&Device::flex(), DType::F64))
    }

    pub(crate) fn uniform(rng: &mut ChaCha8Rng, shape: [usize; 2]) -> Tensor<2> {
        let values = (0..shape[0] * shape[1]).map(|_| rng.random());
        tensor(values.collect(), shape)
    }

    pub(crate) fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
        tensor.try_into_vec_as().unwrap()
    }

    /// Rows of the statistical test.
    const ROWS: usize = 60_000;
    const COUNTS: [usize; 3] = [2, 5, 3];
    const START: [f64; 3] = [1.0, 3.0, 0.0];

    /// How far the shares of a sample are from the closed form: the largest difference over all states of
    /// all columns, in standard errors.
    fn deviation(chain: &CategoricalChain, x: Tensor<2>, t: usize) -> f64 {
        let x = values(x);
        let mut worst: f64 = 0.0;
        for (column, start) in START.into_iter().enumerate() {
            let expected = &chain.cumulative_matrix(column, t)[start as usize];
            let mut found = vec![0.0; expected.len()];
            for row in x.chunks(3) {
                found[row[column] as usize] += 1.0 / ROWS as f64;
            }
            for (found, p) in found.iter().zip(expected) {
                let error = (p * (1.0 - p) / ROWS as f64).sqrt().max(1e-9);
                worst = worst.max((found - p).abs() / error);
            }
        }
        worst
    }

    fn start() -> Tensor<2> {
        tensor(START.repeat(ROWS), [ROWS, 3])
    }

    /// The chain walked step by step, `error` being added to every β.
    fn walked(betas: &[f64], transition: Transition, error: f64, seed: u64) -> f64 {
        let truth = chain(betas.to_vec(), transition, &COUNTS);
        let betas: Vec<f64> = betas.iter().map(|beta| beta * (1.0 + error)).collect();
        let last = betas.len() - 1;
        let walked = chain(betas, transition, &COUNTS);
        let rng = &mut ChaCha8Rng::seed_from_u64(seed);
        let step = |x, t| walked.q_step(x, uniform(rng, [ROWS, 3]), &[t]);
        deviation(&truth, (0..=last).fold(start(), step), last)
    }

    /// Right code oversteps it twice in 10⁹ cells.
    const BOUND: f64 = 6.0;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(6))]

        #[test]
        fn steps_and_q_sample_have_the_distribution_of_the_closed_form(
            betas in prop::collection::vec(0.01..0.4, 1..7),
            seed in any::<u64>(),
        ) {
            for &transition in Transition::ALL {
                let by_steps = walked(&betas, transition, 0.0, seed);
                prop_assert!(by_steps < BOUND, "{transition:?}: {by_steps} standard errors");
                let chain = chain(betas.clone(), transition, &COUNTS);
                let last = betas.len() - 1;
                let rng = &mut ChaCha8Rng::seed_from_u64(seed);
                let at_once = chain.q_sample(start(), uniform(rng, [ROWS, 3]), &[last]);
                let at_once = deviation(&chain, at_once, last);
                prop_assert!(at_once < BOUND, "{transition:?}: {at_once} standard errors");
            }
        }
    }

    /// The statistical test is sharp: it sees β off by 6 %.
    #[test]
    fn a_wrong_coefficient_oversteps_the_bound() {
        let betas = [0.05, 0.07, 0.09, 0.1, 0.12, 0.15];
        for &transition in Transition::ALL {
            assert!(walked(&betas, transition, 0.0, 7) < BOUND);
            for error in [0.06, -0.06] {
                let deviation = walked(&betas, transition, error, 7);
                assert!(
                    deviation > BOUND,
                    "{transition:?} {error}: only {deviation}"
                );
            }
        }
    }

    #[test]
    fn each_row_has_its_timestep_and_each_column_its_categories() {
        let alphas_cumprod = [0.75, 0.75 * 0.5, 0.75 * 0.5 * 0.2];
        let betas = vec![0.25, 0.5, 0.8];
        let x_0 = || tensor(vec![1.0, 9.0, 1.0, 9.0, 1.0, 9.0], [3, 2]);
        // Just lost, with what is left of u in the middle of category 0 of 2 and 8 of 10, and just kept.
        let u = |share: [f64; 2]| {
            let row = |a: &f64| share.map(|share| share * (1.0 - a));
            tensor(alphas_cumprod.iter().flat_map(row).collect(), [3, 2])
        };
        let absorbing = chain(betas.clone(), Transition::Absorbing, &[2, 10]);
        let uniform = chain(betas, Transition::Uniform, &[2, 10]);
        let timesteps = [0, 1, 2];
        let lost = u([0.25, 0.85]);
        let x_t = absorbing.q_sample(x_0(), lost.clone(), &timesteps);
        assert_eq!(values(x_t), [2.0, 10.0].repeat(3));
        let x_t = uniform.q_sample(x_0(), lost, &timesteps);
        assert_eq!(values(x_t), [0.0, 8.0].repeat(3));
        for chain in [&absorbing, &uniform] {
            let kept = chain.q_sample(x_0(), u([1.001, 1.05]), &timesteps);
            assert_eq!(values(kept), values(x_0()));
            let kept = chain.q_keep(x_0(), u([0.0, 1.0]), 1.0);
            assert_eq!(values(kept), values(x_0()));
        }
        let all = uniform.q_keep(x_0(), tensor(vec![1.0; 6], [3, 2]), 0.0);
        assert_eq!(values(all), [1.0, 9.0].repeat(3));
    }

    /// At zero terminal SNR nothing is kept, whatever u is, in f32 too.
    #[test]
    fn nothing_is_left_at_zero_snr() {
        let schedule = NoiseSchedule::new(&BetaSchedule::default(), 10).unwrap();
        let schedule = schedule.rescale_zero_terminal_snr();
        let chain = CategoricalChain::new(schedule, Transition::Absorbing, vec![3]).unwrap();
        let x_0 = Tensor::<2>::zeros([3, 1], &Device::flex());
        let u = Tensor::<2>::from_floats([[0.0], [0.5], [1.0]], &Device::flex());
        assert_eq!(values(chain.q_sample(x_0, u, &[9])), [3.0; 3]);
    }

    #[test]
    fn columns_without_categories_are_refused() {
        let new = |counts: Vec<usize>| {
            let schedule = NoiseSchedule::from_betas(vec![0.5]).unwrap();
            CategoricalChain::new(schedule, Transition::Uniform, counts)
        };
        let error = new(vec![2, 0]).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("column 1, counted from 0, has 0")
        );
        assert!(new(vec![(1 << 24) + 1]).is_err());
        assert!(new(Vec::new()).is_ok());
    }
}
