//! The step back of one cell, from x_t to x_s for any s < t, in f64 on the host.
//!
//! With a = ᾱ_t / ᾱ_s, the probability that the steps from s to t keep a state, Bayes' rule gives
//!
//! ```text
//! q(x_s | x_t, x_0) = q(x_t | x_s) q(x_s | x_0) / q(x_t | x_0)          Austin et al. 2021, equation 3
//! p(x_s | x_t)      = Σ_j q(x_s | x_t, x_0 = j) p(x_0 = j | x_t)
//! ```
//!
//! The sum is the law of total probability: where the network's p(x_0 | x_t) is the true one, so is
//! p(x_s | x_t). Multinomial diffusion (Hoogeboom et al. 2021, equation 15) and D3PM (equation 4) weigh it
//! by q(x_t | x_0 = j) instead, so that their networks say not p(x_0 | x_t) but that over q(x_t | x_0); on
//! the absorbing chain the two are one. In closed form, for x_t = k:
//!
//! ```text
//! uniform    p(x_s = i) = q(x_t = k | x_s = i) (ᾱ_s w_i + (1 − ᾱ_s) / K Σ_j w_j),  w_j = p_j / q(x_t = k | j)
//! absorbing  a mask becomes j with probability (ᾱ_s − ᾱ_t) / (1 − ᾱ_t) p_j and else stays; a category stays
//! ```

use super::transition::Transition;

/// q(x_s | x_t, x_0) and p(x_s | x_t) of a column, for s < t.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CategoricalPosterior {
    transition: Transition,
    num_categories: usize,
    /// ᾱ_t
    alpha_cumprod: f64,
    /// ᾱ_s
    alpha_cumprod_prev: f64,
}

/// The factors of p(x_s | x_t = k) on the uniform chain: with W = 1 − p_k + r p_k it is e (ᾱ_s p_i + c W)
/// for i ≠ k and h (ᾱ_s r p_k + c W) for i = k.
#[derive(Debug, Clone, Copy)]
pub(super) struct UniformFactors {
    /// e = (1 − a) / (1 − ᾱ_t)
    pub(super) others: f64,
    /// h = (K a + 1 − a) / (1 − ᾱ_t)
    pub(super) stayed: f64,
    /// r = q(x_t = k | x_0 ≠ k) / q(x_t = k | x_0 = k)
    pub(super) ratio: f64,
    /// c = (1 − ᾱ_s) / K
    pub(super) floor: f64,
    /// ᾱ_s
    pub(super) signal: f64,
}

impl CategoricalPosterior {
    /// The step back from ᾱ_t, which is below 1, to ᾱ_s, which lies above it and above 0, of a column of
    /// `num_categories`, at least one. ᾱ_s = 1 stands for x_s = x_0.
    pub fn between(
        transition: Transition,
        num_categories: usize,
        alpha_cumprod: f64,
        alpha_cumprod_prev: f64,
    ) -> Self {
        Self {
            transition,
            num_categories,
            alpha_cumprod,
            alpha_cumprod_prev,
        }
    }

    /// The probability that a mask is lifted: (ᾱ_s − ᾱ_t) / (1 − ᾱ_t). It is also the weight of the
    /// absorbing chain's bound, see [`CategoricalChain::bound`](crate::CategoricalChain::bound).
    pub fn unmasking_probability(&self) -> f64 {
        (self.alpha_cumprod_prev - self.alpha_cumprod) / (1.0 - self.alpha_cumprod)
    }

    pub(super) fn uniform_factors(&self) -> UniformFactors {
        let count = self.num_categories as f64;
        let noise = 1.0 - self.alpha_cumprod;
        let keep = self.alpha_cumprod / self.alpha_cumprod_prev;
        let lose = (self.alpha_cumprod_prev - self.alpha_cumprod) / self.alpha_cumprod_prev;
        UniformFactors {
            others: lose / noise,
            stayed: (count * keep + lose) / noise,
            ratio: noise / (1.0 + (count - 1.0) * self.alpha_cumprod),
            floor: (1.0 - self.alpha_cumprod_prev) / count,
            signal: self.alpha_cumprod_prev,
        }
    }

    /// ln q(x_s | x_t, x_0) of every state x_s; −∞ where it is impossible. On the absorbing chain a
    /// category that is not masked stays, whatever `x_0` is.
    ///
    /// # Panics
    ///
    /// If `x_0` is no category, or `x_t` no state.
    pub fn log_q(&self, x_t: usize, x_0: usize) -> Vec<f64> {
        let mut log_x_0 = vec![f64::NEG_INFINITY; self.num_categories];
        log_x_0[x_0] = 0.0;
        self.log_p(x_t, &log_x_0)
    }

    /// ln p(x_s | x_t) of every state x_s, from ln p(x_0 | x_t) of every category or from logits, which
    /// differ from it by a constant.
    ///
    /// # Panics
    ///
    /// If `x_t` is no state, or if there are not as many `logits` as categories.
    pub fn log_p(&self, x_t: usize, logits: &[f64]) -> Vec<f64> {
        self.check(x_t, logits.len());
        let total = log_sum_exp(logits.iter().copied());
        let log_x_0 = |j: usize| logits[j] - total;
        match self.transition {
            Transition::Absorbing if x_t < self.num_categories => {
                let mut log_p = vec![f64::NEG_INFINITY; self.num_categories + 1];
                log_p[x_t] = 0.0;
                log_p
            }
            Transition::Absorbing => {
                let lifted = self.unmasking_probability().ln();
                let stays = (1.0 - self.alpha_cumprod_prev) / (1.0 - self.alpha_cumprod);
                let categories = (0..self.num_categories).map(|j| lifted + log_x_0(j));
                categories.chain([stays.ln()]).collect()
            }
            Transition::Uniform => {
                let factors = self.uniform_factors();
                let weight = |j: usize| {
                    let ratio = if j == x_t { factors.ratio.ln() } else { 0.0 };
                    log_x_0(j) + ratio
                };
                let floor = factors.floor.ln() + log_sum_exp((0..self.num_categories).map(weight));
                let log_p = |i: usize| {
                    let factor = if i == x_t {
                        factors.stayed
                    } else {
                        factors.others
                    };
                    factor.ln() + log_sum_exp([factors.signal.ln() + weight(i), floor].into_iter())
                };
                (0..self.num_categories).map(log_p).collect()
            }
        }
    }

    /// KL(q(x_s | x_t, x_0) ‖ p(x_s | x_t)) in nats: a term of the variational bound. With ᾱ_s = 1 it is
    /// −ln p(x_0 | x_t).
    ///
    /// # Panics
    ///
    /// As [`log_q`](Self::log_q) and [`log_p`](Self::log_p).
    pub fn kl(&self, x_t: usize, x_0: usize, logits: &[f64]) -> f64 {
        let terms = self
            .log_q(x_t, x_0)
            .into_iter()
            .zip(self.log_p(x_t, logits));
        terms
            .filter(|(log_q, _)| *log_q > f64::NEG_INFINITY)
            .map(|(log_q, log_p)| log_q.exp() * (log_q - log_p))
            .sum()
    }

    /// Draws x_s from p(x_s | x_t), by a number `u` of [0, 1] that is uniform.
    ///
    /// A category of probability 0 is never drawn. Logits that are not numbers draw some category.
    ///
    /// # Panics
    ///
    /// As [`log_p`](Self::log_p).
    pub fn draw(&self, x_t: usize, logits: &[f32], u: f64) -> usize {
        self.check(x_t, logits.len());
        match self.transition {
            Transition::Absorbing if x_t < self.num_categories => x_t,
            Transition::Absorbing => {
                let lifted = self.unmasking_probability();
                if u > lifted {
                    return self.num_categories;
                }
                let largest = largest(logits);
                let weight = |j: usize| (f64::from(logits[j]) - largest).exp();
                draw(self.num_categories, u / lifted, weight)
            }
            Transition::Uniform => {
                let factors = self.uniform_factors();
                let largest = largest(logits);
                let weight = |j: usize| (f64::from(logits[j]) - largest).exp();
                let total: f64 = (0..self.num_categories).map(weight).sum();
                let known = weight(x_t);
                let floor = factors.floor * (total - known + factors.ratio * known);
                draw(self.num_categories, u, |i| {
                    if i == x_t {
                        factors.stayed * (factors.signal * factors.ratio * known + floor)
                    } else {
                        factors.others * (factors.signal * weight(i) + floor)
                    }
                })
            }
        }
    }

    fn check(&self, x_t: usize, count: usize) {
        let states = self.transition.num_states(self.num_categories);
        assert!(x_t < states, "state {x_t} of a column of {states} states");
        assert_eq!(
            count, self.num_categories,
            "a probability for each category"
        );
    }
}

/// One of 0 … count − 1 with a probability in proportion to its weight.
fn draw(count: usize, u: f64, weight: impl Fn(usize) -> f64) -> usize {
    let total: f64 = (0..count).map(&weight).sum();
    let mut sum = 0.0;
    let mut last = count - 1;
    for i in 0..count {
        let weight = weight(i);
        sum += weight;
        if sum > u * total {
            return i;
        }
        // What u = 1 and rounding lead to.
        if weight > 0.0 {
            last = i;
        }
    }
    last
}

fn largest(logits: &[f32]) -> f64 {
    f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max))
}

/// ln Σ e^x, which is −∞ where every x is.
fn log_sum_exp(logs: impl Iterator<Item = f64> + Clone) -> f64 {
    let largest = logs.clone().fold(f64::NEG_INFINITY, f64::max);
    if largest == f64::NEG_INFINITY {
        return largest;
    }
    largest + logs.map(|x| (x - largest).exp()).sum::<f64>().ln()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() <= 1e-11 + 1e-9 * a.abs().max(b.abs())
    }

    fn log_probabilities(weights: &[f64]) -> Vec<f64> {
        let total: f64 = weights.iter().sum();
        weights.iter().map(|w| (w / total).ln()).collect()
    }

    proptest! {
        /// Bayes' rule over the matrices, state by state, and the sum over x_0.
        #[test]
        fn the_posterior_is_bayes_by_enumeration(
            weights in prop::collection::vec(0.001..1.0_f64, 2..6),
            keep in 0.001..0.999_f64,
            alpha_cumprod_prev in 0.001..1.0_f64,
            reaches_data in any::<bool>(),
        ) {
            let count = weights.len();
            let before = if reaches_data { 1.0 } else { alpha_cumprod_prev };
            let after = before * keep;
            let log_x_0 = log_probabilities(&weights);
            for &transition in Transition::ALL {
                let to_s = transition.matrix(count, before);
                let from_s = transition.matrix(count, keep);
                let to_t = transition.matrix(count, after);
                let posterior = CategoricalPosterior::between(transition, count, after, before);
                for x_t in 0..transition.num_states(count) {
                    let mut mixture = vec![0.0; to_s.len()];
                    let mut reachable = 0.0;
                    for x_0 in 0..count {
                        if to_t[x_0][x_t] == 0.0 {
                            continue;
                        }
                        let log_q = posterior.log_q(x_t, x_0);
                        reachable += log_x_0[x_0].exp();
                        for x_s in 0..to_s.len() {
                            let q = from_s[x_s][x_t] * to_s[x_0][x_s] / to_t[x_0][x_t];
                            prop_assert!(close(log_q[x_s].exp(), q), "{transition:?}");
                            mixture[x_s] += q * log_x_0[x_0].exp();
                        }
                    }
                    // A category that is not masked is known; elsewhere every x_0 may be.
                    let log_p = posterior.log_p(x_t, &log_x_0);
                    for (log_p, p) in log_p.iter().zip(&mixture) {
                        let p = if reachable > 0.0 { p / reachable } else { *p };
                        if reachable > 0.0 {
                            prop_assert!(close(log_p.exp(), p), "{transition:?} {} {p}", log_p.exp());
                        }
                    }
                    prop_assert!(close(log_p.iter().map(|x| x.exp()).sum(), 1.0));
                }
            }
        }

        /// A jump over two steps is the two steps one after the other, x_0 being known.
        #[test]
        fn posteriors_compose(a in 0.01..0.4_f64, b in 0.5..0.7_f64, c in 0.8..1.0_f64) {
            for &transition in Transition::ALL {
                let between = |t, s| CategoricalPosterior::between(transition, 3, t, s);
                let (far, near, jump) = (between(a, b), between(b, c), between(a, c));
                let states = transition.num_states(3);
                let possible: Vec<usize> = match transition {
                    Transition::Uniform => (0..states).collect(),
                    Transition::Absorbing => vec![1, 3],
                };
                for &x_t in &possible {
                    let mut both = vec![0.0; states];
                    for &x_m in &possible {
                        let middle = far.log_q(x_t, 1)[x_m].exp();
                        for (sum, log_q) in both.iter_mut().zip(near.log_q(x_m, 1)) {
                            *sum += middle * log_q.exp();
                        }
                    }
                    for (found, log_q) in both.into_iter().zip(jump.log_q(x_t, 1)) {
                        prop_assert!(close(found, log_q.exp()));
                    }
                }
            }
        }

        /// Over evenly spread u, states are drawn as often as they are probable.
        #[test]
        fn draws_have_their_probabilities(
            weights in prop::collection::vec(0.001..1.0_f64, 2..5),
            keep in 0.05..0.95_f64,
            before in 0.1..1.0_f64,
        ) {
            const DRAWS: usize = 4000;
            let log_x_0 = log_probabilities(&weights);
            let logits: Vec<f32> = log_x_0.iter().map(|&x| x as f32).collect();
            for &transition in Transition::ALL {
                let count = weights.len();
                let posterior =
                    CategoricalPosterior::between(transition, count, before * keep, before);
                for x_t in 0..transition.num_states(count) {
                    let mut shares = vec![0.0; transition.num_states(count)];
                    for i in 0..DRAWS {
                        let u = (i as f64 + 0.5) / DRAWS as f64;
                        shares[posterior.draw(x_t, &logits, u)] += 1.0 / DRAWS as f64;
                    }
                    for (share, log_p) in shares.iter().zip(posterior.log_p(x_t, &log_x_0)) {
                        prop_assert!((share - log_p.exp()).abs() < 2.0 / DRAWS as f64);
                    }
                }
            }
        }
    }

    /// 10,000 categories, probabilities of 0, zero SNR, the step to data.
    #[test]
    fn the_ends_are_no_trouble() {
        for count in [1, 2, 10_000] {
            for &transition in Transition::ALL {
                for (after, before) in [(0.0, 1e-9), (0.0, 1.0), (0.3, 1.0), (1.0 - 1e-12, 1.0)] {
                    let posterior = CategoricalPosterior::between(transition, count, after, before);
                    let mut logits = vec![f64::NEG_INFINITY; count];
                    logits[count - 1] = -800.0;
                    let last = transition.num_states(count) - 1;
                    for x_t in [0, last] {
                        let log_p = posterior.log_p(x_t, &logits);
                        assert!(log_p.iter().all(|x| !x.is_nan() && *x < 1e-12));
                        let sum: f64 = log_p.iter().map(|x| x.exp()).sum();
                        assert!((sum - 1.0).abs() < 1e-9, "{sum}");
                        let kl = posterior.kl(x_t, count - 1, &logits);
                        assert!(
                            kl.abs() < 1e-9,
                            "{transition:?} {count} {after} {before}: {kl}"
                        );
                        if before == 1.0 && (transition == Transition::Uniform || x_t == count) {
                            let logits: Vec<f32> = logits.iter().map(|&x| x as f32).collect();
                            for u in [0.0, 0.5, 1.0] {
                                assert_eq!(posterior.draw(x_t, &logits, u), count - 1);
                            }
                        }
                    }
                    for broken in [f32::NAN, f32::NEG_INFINITY, f32::INFINITY] {
                        let drawn = posterior.draw(last, &vec![broken; count], 0.5);
                        assert!(drawn <= last);
                    }
                }
            }
        }
    }

    /// The last step of all: what it costs is minus the log-likelihood of x_0.
    #[test]
    fn the_step_to_data_costs_the_log_likelihood() {
        let log_x_0 = log_probabilities(&[0.2, 0.5, 0.3]);
        for (transition, x_t) in [
            (Transition::Uniform, 0),
            (Transition::Uniform, 2),
            (Transition::Absorbing, 3),
        ] {
            let posterior = CategoricalPosterior::between(transition, 3, 0.4, 1.0);
            for (x_0, log_x_0_of) in log_x_0.iter().enumerate() {
                assert!(close(posterior.kl(x_t, x_0, &log_x_0), -log_x_0_of));
            }
        }
    }
}
