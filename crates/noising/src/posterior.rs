//! The forward process posterior: the step back from x_t when x_0 is known.
//!
//! q(x_{t−1} | x_t, x_0) = N(μ̃_t(x_t, x_0), β̃_t I) with
//!
//! ```text
//! μ̃_t = √ᾱ_{t−1} β_t / (1 − ᾱ_t) x_0  +  √α_t (1 − ᾱ_{t−1}) / (1 − ᾱ_t) x_t
//! β̃_t = (1 − ᾱ_{t−1}) / (1 − ᾱ_t) β_t
//! ```
//!
//! (Ho et al. 2020, equations 6 and 7). The same holds for a jump over several steps, from t to any
//! s < t, with α = ᾱ_t / ᾱ_s and β = 1 − α; samplers that skip steps use that.

/// q(x_s | x_t, x_0) for s < t, as coefficients.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Posterior {
    /// The coefficient of x_0 in the mean.
    pub x_0_coefficient: f64,
    /// The coefficient of x_t in the mean.
    pub x_t_coefficient: f64,
    /// The variance, the same for every element.
    pub variance: f64,
    /// β = 1 − ᾱ_t / ᾱ_s, the variance that the steps from s to t add.
    pub beta: f64,
}

impl Posterior {
    /// The posterior of x_s given x_t and x_0, from ᾱ_t < 1 and ᾱ_s, which lies in [ᾱ_t, 1] and
    /// above 0. ᾱ_s = 1 stands for x_s = x_0.
    pub fn between(alpha_cumprod: f64, alpha_cumprod_prev: f64) -> Self {
        let alpha = alpha_cumprod / alpha_cumprod_prev;
        let beta = 1.0 - alpha;
        let noise = 1.0 - alpha_cumprod;
        let noise_prev = 1.0 - alpha_cumprod_prev;
        Self {
            x_0_coefficient: alpha_cumprod_prev.sqrt() * beta / noise,
            x_t_coefficient: alpha.sqrt() * noise_prev / noise,
            variance: noise_prev / noise * beta,
            beta,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Posterior;
    use crate::schedule::tests::any_schedule;

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() <= 1e-7 * a.abs().max(b.abs())
    }

    proptest! {
        /// The product of the two Gaussians q(x_{t−1} | x_0) and q(x_t | x_{t−1}), the latter read as a
        /// function of x_{t−1}: precisions add, and means are weighted by them.
        #[test]
        fn posterior_is_bayes_by_hand(
            schedule in any_schedule(),
            u in 0.0..1.0,
            x_0 in -2.0..2.0,
            x_t in -2.0..2.0,
        ) {
            let t = (u * schedule.num_train_timesteps() as f64) as usize;
            let (alpha, beta) = (schedule.alphas()[t], schedule.betas()[t]);
            let prev: f64 = schedule.alphas_cumprod_prev()[t];
            let posterior = schedule.posterior(t);
            let mean = posterior.x_0_coefficient * x_0 + posterior.x_t_coefficient * x_t;
            if t == 0 {
                prop_assert_eq!(posterior.variance, 0.0);
                prop_assert_eq!(mean, x_0);
            } else {
                let prior_precision = 1.0 / (1.0 - prev);
                let variance = 1.0 / (prior_precision + alpha / beta);
                let from_prior = variance * prior_precision * prev.sqrt() * x_0;
                let from_x_t = variance * alpha.sqrt() / beta * x_t;
                prop_assert!(close(posterior.variance, variance));
                prop_assert!(close(posterior.beta, beta));
                prop_assert!(close(posterior.x_0_coefficient * x_0, from_prior));
                prop_assert!(close(posterior.x_t_coefficient * x_t, from_x_t));
            }
        }

        /// A jump over two steps is the two posteriors one after the other.
        #[test]
        fn posteriors_compose(a in 0.01..0.4, b in 0.5..0.7, c in 0.8..1.0) {
            let (far, near) = (Posterior::between(a, b), Posterior::between(b, c));
            let jump = Posterior::between(a, c);
            let x_0 = near.x_0_coefficient + near.x_t_coefficient * far.x_0_coefficient;
            prop_assert!(close(jump.x_0_coefficient, x_0));
            prop_assert!(close(jump.x_t_coefficient, near.x_t_coefficient * far.x_t_coefficient));
            let variance = near.variance + near.x_t_coefficient.powi(2) * far.variance;
            prop_assert!(close(jump.variance, variance));
        }
    }
}
