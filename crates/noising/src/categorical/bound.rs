//! The variational bound on −ln p(x_0), term by term and cell by cell.
//!
//! ```text
//! −ln p(x_0) ≤ KL(q(x_{T−1} | x_0) ‖ π) + Σ_t E_q KL(q(x_{t−1} | x_t, x_0) ‖ p(x_{t−1} | x_t))
//! ```
//!
//! (Austin et al. 2021, equation 1; Sohl-Dickstein et al. 2015), where x_{−1} is x_0 itself, so that the
//! term of t = 0 is −ln p(x_0 | x_t). The columns of a row are independent given x_t, so its bound is the
//! sum over them. On the absorbing chain a term is a weighted cross entropy (Austin et al., appendix A.3;
//! Shi et al. 2024, "Simplified and Generalized Masked Diffusion for Discrete Data", equation 5):
//!
//! ```text
//! (ᾱ_{t−1} − ᾱ_t) / (1 − ᾱ_t) · [x_t is masked] · (−ln p(x_0 | x_t))
//! ```
//!
//! and over infinitely many steps the weight is −ᾱ′ / (1 − ᾱ) (Sahoo et al. 2024, "Simple and Effective
//! Masked Diffusion Language Models", equation 10). On the uniform chain, where x_t = k and x_0 = j, all
//! states but k and j have the same probability under q, so a term takes one pass over a column.

use burn::tensor::{IndexingUpdateOp, Int, Tensor, TensorData};

use super::chain::CategoricalChain;
use super::posterior::UniformFactors;
use super::transition::Transition;

/// In the place of ln 0, where 0 · (−∞) would not be a number.
const LOG_ZERO: f64 = -1e30;

impl CategoricalChain {
    /// KL(q(x_{T−1} | x_0) ‖ π) of each column, in nats: the term of the bound that no network changes.
    ///
    /// On the absorbing chain x_{T−1} may be unmasked with probability ᾱ_{T−1}, which π never is. π is
    /// taken to have this share on the categories, evenly, so that the term is ᾱ_{T−1} ln K and not
    /// infinite; at zero terminal SNR it is 0.
    pub fn prior_terms(&self) -> Vec<f64> {
        let alphas_cumprod = self.schedule().alphas_cumprod();
        let kept = alphas_cumprod[alphas_cumprod.len() - 1];
        let term = |&count: &usize| {
            let count = count as f64;
            match self.transition() {
                Transition::Absorbing => kept * count.ln(),
                Transition::Uniform => {
                    let other = (1.0 - kept) / count;
                    let same = other + kept;
                    let part = |p: f64| if p > 0.0 { p * (p * count).ln() } else { 0.0 };
                    part(same) + (count - 1.0) * part(other)
                }
            }
        };
        self.num_categories().iter().map(term).collect()
    }

    /// (ᾱ_{t−1} − ᾱ_t) / (1 − ᾱ_t): what the cross entropy of a masked cell weighs in the bound of the
    /// absorbing chain.
    pub fn bound_weight(&self, t: usize) -> f64 {
        let schedule = self.schedule();
        let (now, before) = (
            schedule.alphas_cumprod()[t],
            schedule.alphas_cumprod_prev()[t],
        );
        (before - now) / (1.0 - now)
    }

    /// −ᾱ′ / (1 − ᾱ) at any time of the chain, for one step of time: the weight of the absorbing chain's
    /// bound over infinitely many steps. Between two steps ᾱ is that of
    /// [`NoiseSchedule::alpha_cumprod_at`](crate::NoiseSchedule::alpha_cumprod_at); at a step the weight is
    /// that of the interval after it.
    ///
    /// # Panics
    ///
    /// Unless 0 ≤ `timestep` < T − 1.
    pub fn continuous_bound_weight(&self, timestep: f64) -> f64 {
        let schedule = self.schedule();
        let alpha_cumprod = schedule.alpha_cumprod_at(timestep);
        let t = timestep.floor() as usize;
        let next = schedule.alphas_cumprod()[t + 1];
        if next == 0.0 {
            // A straight line in ᾱ.
            return schedule.alphas_cumprod()[t] / (1.0 - alpha_cumprod);
        }
        // ᾱ is the logistic function of ln SNR, a straight line: ᾱ′ = ᾱ (1 − ᾱ) (ln SNR)′.
        alpha_cumprod * (schedule.log_snr(t) - schedule.log_snr(t + 1))
    }

    /// The term of t of every cell's bound, in nats: KL(q(x_{t−1} | x_t, x_0) ‖ p(x_{t−1} | x_t)), `[B, C]`.
    /// `log_p` is ln p(x_0 | x_t), normalised over each column, `[B, ΣK]`; the result is differentiable in
    /// it.
    ///
    /// Over t that is uniform, T times its mean is the bound but for [`prior_terms`](Self::prior_terms).
    ///
    /// # Panics
    ///
    /// If shapes do not fit, or if `x_0` or `x_t` hold what is no state.
    pub fn bound(
        &self,
        x_0: Tensor<2>,
        x_t: Tensor<2>,
        log_p: Tensor<2>,
        timesteps: &[usize],
    ) -> Tensor<2> {
        match self.transition() {
            Transition::Absorbing => {
                let [batch, columns] = x_0.dims();
                let weights = timesteps.iter().map(|&t| self.bound_weight(t)).collect();
                let weights = matrix(weights, [timesteps.len(), 1], &x_0);
                self.cross_entropy(x_0, x_t, log_p) * weights.expand([batch, columns])
            }
            Transition::Uniform => self.uniform_bound(x_0, x_t, log_p, timesteps),
        }
    }

    /// −ln p(x_0 | x_t) of every cell, in nats, and 0 where x_t is unmasked and so known: `[B, C]`.
    /// `log_p` is as in [`bound`](Self::bound).
    ///
    /// # Panics
    ///
    /// As [`bound`](Self::bound).
    pub fn cross_entropy(&self, x_0: Tensor<2>, x_t: Tensor<2>, log_p: Tensor<2>) -> Tensor<2> {
        let cross_entropy = self.at_codes(log_p, x_0).neg();
        match self.transition() {
            Transition::Uniform => cross_entropy,
            Transition::Absorbing => {
                let [batch, columns] = x_t.dims();
                let counts = self.num_categories().iter().map(|&count| count as f64);
                let masks = matrix(counts.collect(), [1, columns], &x_t).expand([batch, columns]);
                let is_known = x_t.lower(masks);
                cross_entropy.mask_fill(is_known, 0.0)
            }
        }
    }

    /// Of each column the value at its code: `[B, ΣK]` and `[B, C]` to `[B, C]`.
    fn at_codes(&self, values: Tensor<2>, codes: Tensor<2>) -> Tensor<2> {
        let [batch, columns] = codes.dims();
        assert_eq!(columns, self.num_columns(), "the columns of the chain");
        assert_eq!(
            values.dims(),
            [batch, self.num_logits()],
            "a value a category"
        );
        let mut offset = 0;
        let offsets = self.num_categories().iter().map(|count| {
            offset += count;
            (offset - count) as i32
        });
        let data = TensorData::new(offsets.collect::<Vec<i32>>(), [1, columns]);
        let offsets = Tensor::<2, Int>::from_data(data, &codes.device()).expand([batch, columns]);
        values.gather(1, codes.int() + offsets)
    }

    fn uniform_bound(
        &self,
        x_0: Tensor<2>,
        x_t: Tensor<2>,
        log_p: Tensor<2>,
        timesteps: &[usize],
    ) -> Tensor<2> {
        let [batch, columns] = x_0.dims();
        let counts = self.num_categories();
        // The factors of every cell, with one row for all where there is one timestep.
        let cells: Vec<(UniformFactors, Terms)> = timesteps
            .iter()
            .flat_map(|&t| (0..columns).map(move |column| self.posterior(column, t)))
            .map(|posterior| posterior.uniform_factors())
            .map(|factors| (factors, Terms::of(factors)))
            .collect();
        let rows = timesteps.len();
        assert!(
            rows == 1 || rows == batch,
            "a timestep for each row, or one for all"
        );
        let shape = [batch, columns];
        let cell = |value: &dyn Fn(&(UniformFactors, Terms)) -> f64| {
            matrix(cells.iter().map(value).collect(), [rows, columns], &x_0).expand(shape)
        };
        let log = |x: f64| if x > 0.0 { x.ln() } else { LOG_ZERO };

        let log_p = log_p.clamp_min(LOG_ZERO);
        let is_kept = x_t.clone().equal(x_0.clone());
        let log_p_k = self.at_codes(log_p.clone(), x_t);
        let log_p_j = self.at_codes(log_p.clone(), x_0.clone());
        // ln c W, W being what p_k leaves to the others and r p_k.
        let p_k = log_p_k.clone().exp();
        let others = p_k.clone().neg().add_scalar(1.0).clamp_min(0.0);
        let log_w = (others + p_k * cell(&|(factors, _)| factors.ratio)).log();
        let floor = log_w + cell(&|(factors, _)| log(factors.floor));
        let signal = cell(&|(factors, _)| factors.signal.ln());
        let of_others = cell(&|(factors, _)| factors.others.ln());

        // ln p(x_s) at k; at j, as if it were not k; and at k, as if it were not k.
        let at_k = log_p_k.clone() + signal.clone() + cell(&|(factors, _)| factors.ratio.ln());
        let at_k = log_add(at_k, floor.clone()) + cell(&|(factors, _)| factors.stayed.ln());
        let as_another =
            |log_p: Tensor<2>| log_add(log_p + signal.clone(), floor.clone()) + of_others.clone();
        let (k_as_another, at_j) = (as_another(log_p_k), as_another(log_p_j));

        // q (ln q − ln p) at k, at j, and over the rest: all states but these. There the differences are
        // added up, which are small where the logarithms are not.
        let by_case = |kept: &dyn Fn(&Terms) -> f64, changed: &dyn Fn(&Terms) -> f64| {
            let kept = cell(&|(_, terms)| kept(terms));
            cell(&|(_, terms)| changed(terms)).mask_where(is_kept.clone(), kept)
        };
        let q_k = by_case(&|q| q.kept_k, &|q| q.changed_k);
        let log_q_k = by_case(&|q| log_or_0(q.kept_k), &|q| log_or_0(q.changed_k));
        let q_j = by_case(&|_| 0.0, &|q| q.changed_j);
        let log_q_j = cell(&|(_, q)| log_or_0(q.changed_j));
        let q_rest = by_case(&|q| q.kept_rest, &|q| q.changed_rest);
        let log_q_rest = by_case(&|q| log_or_0(q.kept_rest), &|q| log_or_0(q.changed_rest));

        let column_of = counts.iter().enumerate();
        let column_of: Vec<i32> = column_of
            .flat_map(|(column, &count)| std::iter::repeat_n(column as i32, count))
            .collect();
        let len = [column_of.len()];
        let column_of = Tensor::<1, Int>::from_data(TensorData::new(column_of, len), &x_0.device());
        let each = |of_column: Tensor<2>| of_column.select(1, column_of.clone());
        let log_p = log_add(log_p + each(signal.clone()), each(floor.clone()));
        let differences = each(log_q_rest.clone() - of_others.clone()) - log_p;
        let zeros = x_0.zeros_like();
        let all = zeros.select_assign(1, column_of.clone(), differences, IndexingUpdateOp::Add);
        let of_j = (log_q_rest.clone() - at_j.clone()).mask_fill(is_kept.clone(), 0.0);
        let rest = all - (log_q_rest - k_as_another) - of_j;
        q_k * (log_q_k - at_k) + q_j * (log_q_j - at_j) + q_rest * rest
    }
}

/// q(x_s | x_t = k, x_0 = j) on the uniform chain where j = k ("kept") and where not ("changed"): at k, at j,
/// and at each of the rest.
struct Terms {
    kept_k: f64,
    kept_rest: f64,
    changed_k: f64,
    changed_j: f64,
    changed_rest: f64,
}

impl Terms {
    fn of(factors: UniformFactors) -> Self {
        let UniformFactors {
            others,
            stayed,
            ratio,
            floor,
            signal,
        } = factors;
        Self {
            kept_k: stayed * ratio * (signal + floor),
            kept_rest: others * ratio * floor,
            changed_k: stayed * floor,
            changed_j: others * (signal + floor),
            changed_rest: others * floor,
        }
    }
}

/// ln q, or 0 where q is 0 and what is multiplied by it does not count.
fn log_or_0(q: f64) -> f64 {
    if q > 0.0 { q.ln() } else { 0.0 }
}

/// ln(e^a + e^b).
fn log_add(a: Tensor<2>, b: Tensor<2>) -> Tensor<2> {
    let smaller = (a.clone() - b.clone()).abs().neg();
    a.max_pair(b) + smaller.exp().log1p()
}

fn matrix(values: Vec<f64>, shape: [usize; 2], like: &Tensor<2>) -> Tensor<2> {
    let data = TensorData::new(values, shape);
    Tensor::from_data(data, (&like.device(), like.dtype()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use burn::tensor::activation::log_softmax;
    use burn::tensor::{DType, Device};
    use proptest::prelude::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::categorical::chain::tests::{chain, tensor, values};
    use crate::{BetaSchedule, NoiseSchedule};

    fn normalised(logits: &[f64]) -> Vec<f64> {
        let total: f64 = logits.iter().map(|x| x.exp()).sum();
        logits.iter().map(|x| x - total.ln()).collect()
    }

    /// A network: ln p(x_0 | x_t) of each t and x_t.
    type Table = Vec<Vec<Vec<f64>>>;

    fn any_network(chain: &CategoricalChain, rng: &mut ChaCha8Rng) -> Table {
        let [count] = chain.num_categories() else {
            unreachable!("one column")
        };
        let states = chain.transition().num_states(*count);
        let mut row = || {
            normalised(
                &(0..*count)
                    .map(|_| rng.random_range(-2.0..2.0))
                    .collect::<Vec<_>>(),
            )
        };
        let table = (0..chain.schedule().num_train_timesteps())
            .map(|_| (0..states).map(|_| row()).collect());
        table.collect()
    }

    /// The true p(x_0 | x_t) of data of one column.
    fn true_network(chain: &CategoricalChain, data: &[f64]) -> Table {
        let row = |t: usize, x_t: usize| {
            let matrix = chain.cumulative_matrix(0, t);
            let joint: Vec<f64> = (0..data.len()).map(|j| data[j] * matrix[j][x_t]).collect();
            let total: f64 = joint.iter().sum();
            joint.iter().map(|p| (p / total).ln()).collect()
        };
        let states = chain.transition().num_states(data.len());
        let table = (0..chain.schedule().num_train_timesteps())
            .map(|t| (0..states).map(|x_t| row(t, x_t)).collect());
        table.collect()
    }

    /// π, as the doc comment of `prior_terms` has it.
    fn prior(chain: &CategoricalChain) -> Vec<f64> {
        let count = chain.num_categories()[0];
        let last = chain.schedule().num_train_timesteps() - 1;
        let kept = chain.schedule().alphas_cumprod()[last];
        match chain.transition() {
            Transition::Uniform => vec![1.0 / count as f64; count],
            Transition::Absorbing => {
                let mut prior = vec![kept / count as f64; count];
                prior.push(1.0 - kept);
                prior
            }
        }
    }

    /// E_q [ln q(x_0 … x_{T−1} | x_0) − ln p(x_{−1}, …, x_{T−1})] over every path there is.
    fn bound_by_paths(chain: &CategoricalChain, network: &Table, x_0: usize) -> f64 {
        fn walk(
            chain: &CategoricalChain,
            network: &Table,
            [x_0, x_t, t]: [usize; 3],
            log_q: f64,
            log_p: f64,
        ) -> f64 {
            let posterior = chain.posterior(0, t);
            let log_qs = posterior.log_q(x_t, x_0);
            let log_ps = posterior.log_p(x_t, &network[t][x_t]);
            let mut sum = 0.0;
            for x_s in 0..log_qs.len() {
                if log_qs[x_s] == f64::NEG_INFINITY {
                    continue;
                }
                let (log_q, log_p) = (log_q + log_qs[x_s], log_p + log_ps[x_s]);
                sum += if t == 0 {
                    log_q.exp() * (log_q - log_p)
                } else {
                    walk(chain, network, [x_0, x_s, t - 1], log_q, log_p)
                };
            }
            sum
        }
        let last = chain.schedule().num_train_timesteps() - 1;
        let start = &chain.cumulative_matrix(0, last)[x_0];
        let states = start.iter().zip(prior(chain)).enumerate();
        states
            .filter(|(_, (q, _))| **q > 0.0)
            .map(|(x_t, (q, p))| walk(chain, network, [x_0, x_t, last], q.ln(), p.ln()))
            .sum()
    }

    /// −ln p(x_0), the sum over all paths being a product of matrices.
    fn negative_log_likelihood(chain: &CategoricalChain, network: &Table, x_0: usize) -> f64 {
        let mut p = prior(chain);
        for t in (0..network.len()).rev() {
            let mut before = vec![0.0; p.len()];
            for (x_t, p) in p.iter().enumerate() {
                let log_p = chain.posterior(0, t).log_p(x_t, &network[t][x_t]);
                for (sum, log_p) in before.iter_mut().zip(log_p) {
                    *sum += p * log_p.exp();
                }
            }
            p = before;
        }
        -p[x_0].ln()
    }

    /// The bound by `bound` and `prior_terms`, the expectation over x_t being a sum.
    fn bound_by_terms(chain: &CategoricalChain, network: &Table, x_0: usize) -> f64 {
        let mut sum = chain.prior_terms()[0];
        for (t, network) in network.iter().enumerate() {
            let q = &chain.cumulative_matrix(0, t)[x_0];
            let states = (0..q.len()).filter(|&x_t| q[x_t] > 0.0);
            let states: Vec<usize> = states.collect();
            let rows = states.len();
            let log_p: Vec<f64> = states
                .iter()
                .flat_map(|&x_t| network[x_t].clone())
                .collect();
            let x_t = tensor(states.iter().map(|&x| x as f64).collect(), [rows, 1]);
            let log_p = tensor(log_p, [rows, chain.num_logits()]);
            let terms = chain.bound(tensor(vec![x_0 as f64; rows], [rows, 1]), x_t, log_p, &[t]);
            let terms = values(terms).into_iter().zip(states);
            sum += terms.map(|(term, x_t)| term * q[x_t]).sum::<f64>();
        }
        sum
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn the_bound_is_that_of_every_path(
            count in 1_usize..5,
            betas in prop::collection::vec(0.05..0.9_f64, 2..6),
            ends_at_zero_snr in any::<bool>(),
            seed in any::<u64>(),
        ) {
            for &transition in Transition::ALL {
                let mut betas = betas.clone();
                if ends_at_zero_snr {
                    betas.push(1.0);
                }
                let chain = chain(betas, transition, &[count]);
                let rng = &mut ChaCha8Rng::seed_from_u64(seed);
                let network = any_network(&chain, rng);
                for x_0 in 0..count {
                    let by_paths = bound_by_paths(&chain, &network, x_0);
                    let by_terms = bound_by_terms(&chain, &network, x_0);
                    prop_assert!(
                        (by_paths - by_terms).abs() < 1e-9 * (1.0 + by_paths),
                        "{transition:?}: {by_terms}, not {by_paths}"
                    );
                    let exact = negative_log_likelihood(&chain, &network, x_0);
                    prop_assert!(by_terms > exact - 1e-9, "{by_terms} is below {exact}");
                }
            }
        }

        /// With the true p(x_0 | x_t), and nothing left at the end, the bound is the entropy's own term.
        #[test]
        fn the_true_network_makes_the_bound_tight(
            weights in prop::collection::vec(0.05..1.0_f64, 2..5),
            betas in prop::collection::vec(0.05..0.9_f64, 1..5),
        ) {
            let total: f64 = weights.iter().sum();
            let data: Vec<f64> = weights.iter().map(|w| w / total).collect();
            for &transition in Transition::ALL {
                let betas = betas.iter().copied().chain([1.0]).collect();
                let chain = chain(betas, transition, &[data.len()]);
                let network = true_network(&chain, &data);
                for (x_0, p) in data.iter().enumerate() {
                    let bound = bound_by_terms(&chain, &network, x_0);
                    prop_assert!((bound + p.ln()).abs() < 1e-9, "{transition:?}: {bound} {p}");
                }
            }
        }
    }

    /// Several columns and rows at once are each by itself, by the host's KL.
    #[test]
    fn a_table_is_its_cells() {
        let counts = [3, 1, 7, 2];
        let timesteps = [0, 3, 9];
        let rng = &mut ChaCha8Rng::seed_from_u64(5);
        for &transition in Transition::ALL {
            let betas = (1..11).map(|i| 0.05 * f64::from(i)).collect();
            let chain = chain(betas, transition, &counts);
            let mut log_p = Vec::new();
            let (mut x_0, mut x_t, mut expected) = (Vec::new(), Vec::new(), Vec::new());
            for &t in &timesteps {
                for (column, &count) in counts.iter().enumerate() {
                    let logits: Vec<f64> =
                        (0..count).map(|_| rng.random_range(-4.0..4.0)).collect();
                    let original = rng.random_range(0..count);
                    let states = transition.num_states(count);
                    let drawn = rng.random_range(0..states);
                    // A category that is not masked is x_0.
                    let now = match transition {
                        Transition::Absorbing if drawn < count => original,
                        _ => drawn,
                    };
                    expected.push(chain.posterior(column, t).kl(now, original, &logits));
                    log_p.extend(normalised(&logits));
                    x_0.push(original as f64);
                    x_t.push(now as f64);
                }
            }
            let found = chain.bound(
                tensor(x_0, [3, 4]),
                tensor(x_t, [3, 4]),
                tensor(log_p, [3, 13]),
                &timesteps,
            );
            for (found, expected) in values(found).into_iter().zip(expected) {
                assert!(
                    (found - expected).abs() < 1e-9,
                    "{transition:?}: {found}, not {expected}"
                );
            }
        }
    }

    /// In f32, with 10,000 categories and probabilities that f32 does not have, neither the bound nor its
    /// gradient is anything but a number.
    #[test]
    fn the_bound_and_its_gradient_are_numbers() {
        let device = Device::flex().autodiff();
        let count = 10_000;
        for zero_snr in [false, true] {
            let mut schedule = NoiseSchedule::new(&BetaSchedule::default(), 1000).unwrap();
            if zero_snr {
                schedule = schedule.rescale_zero_terminal_snr();
            }
            for &transition in Transition::ALL {
                let last = (transition.num_states(count) - 1) as f32;
                let chain =
                    CategoricalChain::new(schedule.clone(), transition, vec![2, count]).unwrap();
                for likely in [0, 7, count - 1] {
                    let x_0 = Tensor::<2>::from_floats([[1.0, 7.0], [0.0, 7.0]], &device);
                    let x_t = match transition {
                        Transition::Uniform => [[0.0, 7.0], [1.0, last]],
                        Transition::Absorbing => [[2.0, 7.0], [0.0, last]],
                    };
                    let x_t = Tensor::<2>::from_floats(x_t, &device);
                    for timesteps in [[0, 0], [1, 500], [999, 999]] {
                        let mut logits = vec![-200.0_f32; 2 * (2 + count)];
                        (logits[0], logits[2 + likely]) = (300.0, 300.0);
                        let data = TensorData::new(logits, [2, 2 + count]);
                        let logits = Tensor::<2>::from_data(data, &device).require_grad();
                        let [narrow, wide] = [(0, 2), (2, count)]
                            .map(|(at, len)| log_softmax(logits.clone().narrow(1, at, len), 1));
                        let log_p = Tensor::cat(vec![narrow, wide], 1);
                        let bound = chain.bound(x_0.clone(), x_t.clone(), log_p, &timesteps);
                        assert!(
                            values(bound.clone())
                                .iter()
                                .all(|x| x.is_finite() && *x > -1e-3)
                        );
                        let gradients = bound.sum().backward();
                        let gradient = values(logits.grad(&gradients).unwrap());
                        assert!(gradient.iter().all(|x| x.is_finite()), "{transition:?}");
                    }
                }
            }
        }
    }

    /// The gradient is that of the function, by finite differences in f64.
    #[test]
    fn the_gradient_is_that_of_the_bound() {
        let device = Device::flex().autodiff();
        let counts = [3, 2];
        let rng = &mut ChaCha8Rng::seed_from_u64(2);
        for &transition in Transition::ALL {
            let chain = chain(vec![0.1, 0.2, 0.3], transition, &counts);
            let logits: Vec<f64> = (0..10).map(|_| rng.random_range(-2.0..2.0)).collect();
            let x_t = match transition {
                Transition::Uniform => vec![2.0, 1.0, 1.0, 0.0],
                Transition::Absorbing => vec![3.0, 1.0, 1.0, 2.0],
            };
            let bound = |logits: Tensor<2>| {
                let on = |values: Vec<f64>| {
                    let data = TensorData::new(values, [2, 2]);
                    Tensor::<2>::from_data(data, (&logits.device(), DType::F64))
                };
                let parts = [(0, 3), (3, 2)]
                    .map(|(at, len)| log_softmax(logits.clone().narrow(1, at, len), 1));
                let log_p = Tensor::cat(parts.to_vec(), 1);
                chain
                    .bound(
                        on(vec![0.0, 1.0, 1.0, 1.0]),
                        on(x_t.clone()),
                        log_p,
                        &[1, 2],
                    )
                    .sum()
            };
            let data = TensorData::new(logits.clone(), [2, 5]);
            let leaf = Tensor::<2>::from_data(data, (&device, DType::F64)).require_grad();
            let gradients = bound(leaf.clone()).backward();
            let gradient = values(leaf.grad(&gradients).unwrap());
            for (i, gradient) in gradient.into_iter().enumerate() {
                let at = |step: f64| {
                    let mut logits = logits.clone();
                    logits[i] += step;
                    values(bound(tensor(logits, [2, 5])))[0]
                };
                let difference = (at(1e-5) - at(-1e-5)) / 2e-5;
                assert!((gradient - difference).abs() < 1e-7, "{transition:?} {i}");
            }
        }
    }

    /// Integrated over time, the continuous weight times the probability of a mask is what ᾱ loses; and it
    /// is the limit of the discrete one.
    #[test]
    fn the_continuous_weight_is_the_limit_of_the_discrete_one() {
        let new = |steps: usize| {
            // The same rate of noise, by steps that are ever shorter.
            let total = 1000.0 / steps as f64;
            let betas = (0..steps).map(|t| {
                let u = (t as f64 + 0.5) / steps as f64;
                1.0 - (-(1e-4 + 0.02 * u) * total).exp()
            });
            chain(betas.collect(), Transition::Absorbing, &[3])
        };
        let (coarse, fine) = (new(1000), new(16_000));
        for t in [50, 400, 900] {
            let discrete = fine.bound_weight(16 * (t + 1) - 1) * 16.0;
            let continuous = coarse.continuous_bound_weight(t as f64);
            assert!(
                (discrete / continuous - 1.0).abs() < 0.02,
                "{t}: {discrete} {continuous}"
            );
        }
        for schedule in [
            fine.schedule().clone(),
            NoiseSchedule::new(&BetaSchedule::default(), 50)
                .unwrap()
                .rescale_zero_terminal_snr(),
        ] {
            let last = schedule.num_train_timesteps() - 1;
            let chain =
                CategoricalChain::new(schedule.clone(), Transition::Absorbing, vec![3]).unwrap();
            const PARTS: usize = 20;
            let part = |i: usize| {
                let t = (i as f64 + 0.5) / PARTS as f64;
                chain.continuous_bound_weight(t) * (1.0 - schedule.alpha_cumprod_at(t))
            };
            let integral = (0..last * PARTS).map(part).sum::<f64>() / PARTS as f64;
            let lost = schedule.alphas_cumprod()[0] - schedule.alphas_cumprod()[last];
            assert!((integral - lost).abs() < 1e-3, "{integral} {lost}");
        }
    }
}
