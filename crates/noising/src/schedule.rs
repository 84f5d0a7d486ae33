//! Noise schedules: how much noise each step of the chain adds, as f64 tables on the host.
//!
//! β_t is the variance that step t adds, α_t = 1 − β_t the share of the signal's variance that it
//! keeps, ᾱ_t = α_0 … α_t what is left of it after steps 0 to t. SNR_t = ᾱ_t / (1 − ᾱ_t).
//!
//! Sources: linear, Ho et al. 2020, section 4; scaled-linear, Rombach et al. 2022 (Stable
//! Diffusion); cosine, Nichol & Dhariwal 2021, equation 17; sigmoid, Jabri et al. 2022 and Chen
//! 2023, algorithm 1; zero terminal SNR, Lin et al. 2024, algorithm 1.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::Posterior;

/// The most steps that a schedule may have: a guard against a mistyped number filling the memory.
pub const MAX_TRAIN_TIMESTEPS: usize = 1_000_000;

/// The rule that gives β_t for t = 0 … T − 1.
///
/// In a configuration it is a table with the key `kind`; the other keys may be left out:
/// `{ kind = "linear", beta_start = 1e-4, beta_end = 0.02 }`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum BetaSchedule {
    /// β grows linearly from `beta_start` to `beta_end` (DDPM). The two are used as they are for
    /// every T, as diffusers does; some programs multiply them by 1000/T.
    Linear {
        /// β_0; 1e-4 unless given.
        #[serde(default = "linear_beta_start")]
        beta_start: f64,
        /// β_{T−1}; 0.02 unless given.
        #[serde(default = "linear_beta_end")]
        beta_end: f64,
    },
    /// √β grows linearly from √`beta_start` to √`beta_end` (Stable Diffusion).
    ScaledLinear {
        /// β_0; 0.00085 unless given.
        #[serde(default = "scaled_linear_beta_start")]
        beta_start: f64,
        /// β_{T−1}; 0.012 unless given.
        #[serde(default = "scaled_linear_beta_end")]
        beta_end: f64,
    },
    /// ᾱ(u) ∝ cos²((u + offset) / (1 + offset) · π/2), u = t/T, with β cut off at `max_beta`.
    Cosine {
        /// Keeps the first β from vanishing; 0.008 unless given.
        #[serde(default = "cosine_offset")]
        offset: f64,
        /// The largest β, in (0, 1]; 0.999 unless given.
        #[serde(default = "max_beta")]
        max_beta: f64,
    },
    /// ᾱ(u) falls as σ(−((end − start) u + start) / tau), shifted and scaled to go from 1 to 0, with
    /// β cut off at 0.999. This is the sigmoid in ᾱ space, not diffusers' sigmoid on β.
    Sigmoid {
        /// Where on the sigmoid u = 0 lies; −3 unless given.
        #[serde(default = "sigmoid_start")]
        start: f64,
        /// Where on the sigmoid u = 1 lies, above `start`; 3 unless given.
        #[serde(default = "sigmoid_end")]
        end: f64,
        /// Temperature, above 0; 1 unless given.
        #[serde(default = "sigmoid_tau")]
        tau: f64,
    },
    /// β written out by hand, one for each step.
    Given {
        /// β_0 … β_{T−1}.
        betas: Vec<f64>,
    },
}

fn linear_beta_start() -> f64 {
    1e-4
}
fn linear_beta_end() -> f64 {
    0.02
}
fn scaled_linear_beta_start() -> f64 {
    0.00085
}
fn scaled_linear_beta_end() -> f64 {
    0.012
}
fn cosine_offset() -> f64 {
    0.008
}
fn max_beta() -> f64 {
    0.999
}
fn sigmoid_start() -> f64 {
    -3.0
}
fn sigmoid_end() -> f64 {
    3.0
}
fn sigmoid_tau() -> f64 {
    1.0
}

impl Default for BetaSchedule {
    /// DDPM's: linear from 1e-4 to 0.02.
    fn default() -> Self {
        Self::Linear {
            beta_start: linear_beta_start(),
            beta_end: linear_beta_end(),
        }
    }
}

impl BetaSchedule {
    /// β_t for t = 0 … T − 1, of which only the parameters are checked as yet.
    fn betas(&self, num_train_timesteps: usize) -> Result<Vec<f64>, ScheduleError> {
        match *self {
            Self::Linear {
                beta_start,
                beta_end,
            } => Ok(linspace(beta_start, beta_end, num_train_timesteps).collect()),
            Self::ScaledLinear {
                beta_start,
                beta_end,
            } => Ok(
                linspace(beta_start.sqrt(), beta_end.sqrt(), num_train_timesteps)
                    .map(|root| root * root)
                    .collect(),
            ),
            Self::Cosine { offset, max_beta } => {
                check("cosine", "offset", offset, offset >= 0.0, "0 or more")?;
                let in_range = max_beta > 0.0 && max_beta <= 1.0;
                check("cosine", "max_beta", max_beta, in_range, "in (0, 1]")?;
                let alpha_cumprod = |u: f64| {
                    let angle = (u + offset) / (1.0 + offset) * std::f64::consts::FRAC_PI_2;
                    angle.cos().powi(2)
                };
                Ok(betas_of(alpha_cumprod, num_train_timesteps, max_beta))
            }
            Self::Sigmoid { start, end, tau } => {
                check("sigmoid", "tau", tau, tau > 0.0, "above 0")?;
                check("sigmoid", "end", end, end > start, "above `start`")?;
                let sigmoid = |x: f64| 1.0 / (1.0 + (-x / tau).exp());
                let (first, last) = (sigmoid(start), sigmoid(end));
                let alpha_cumprod =
                    |u: f64| (last - sigmoid(u * (end - start) + start)) / (last - first);
                Ok(betas_of(alpha_cumprod, num_train_timesteps, max_beta()))
            }
            Self::Given { ref betas } if betas.len() != num_train_timesteps => {
                Err(ScheduleError::Length {
                    given: betas.len(),
                    num_train_timesteps,
                })
            }
            Self::Given { ref betas } => Ok(betas.clone()),
        }
    }
}

fn check(
    schedule: &'static str,
    parameter: &'static str,
    value: f64,
    holds: bool,
    expected: &'static str,
) -> Result<(), ScheduleError> {
    if holds && value.is_finite() {
        return Ok(());
    }
    Err(ScheduleError::Parameter {
        schedule,
        parameter,
        value,
        expected,
    })
}

/// `count` numbers from `start` to `end`, evenly spaced.
fn linspace(start: f64, end: f64, count: usize) -> impl Iterator<Item = f64> {
    let intervals = count.saturating_sub(1).max(1) as f64;
    (0..count).map(move |i| start + (end - start) * (i as f64 / intervals))
}

/// β_t = 1 − ᾱ((t + 1)/T) / ᾱ(t/T), at most `max_beta`.
fn betas_of(alpha_cumprod: impl Fn(f64) -> f64, steps: usize, max_beta: f64) -> Vec<f64> {
    let at = |t: usize| alpha_cumprod(t as f64 / steps as f64);
    (0..steps)
        .map(|t| (1.0 - at(t + 1) / at(t)).min(max_beta))
        .collect()
}

/// What is wrong with a noise schedule.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum ScheduleError {
    /// The chain has no step, or too many to be meant.
    #[error(
        "num_train_timesteps is {0}; choose 1 to {max} (1000 is usual)",
        max = MAX_TRAIN_TIMESTEPS
    )]
    StepCount(usize),
    /// A parameter of the rule lies outside its range.
    #[error("{schedule} schedule: {parameter} is {value}; it must be {expected}")]
    Parameter {
        /// The rule.
        schedule: &'static str,
        /// Its parameter.
        parameter: &'static str,
        /// The value found.
        value: f64,
        /// The values allowed.
        expected: &'static str,
    },
    /// The number of betas given by hand is not the number of steps.
    #[error(
        "{given} betas are given for num_train_timesteps = {num_train_timesteps}; give one beta for \
         each step"
    )]
    Length {
        /// How many betas there are.
        given: usize,
        /// How many there should be.
        num_train_timesteps: usize,
    },
    /// A β outside (0, 1), or too small for 1 − β to differ from 1.
    #[error(
        "beta at t = {t} is {beta}; every beta must lie in (0, 1), 1e-15 or more, and only the last \
         may be 1"
    )]
    Beta {
        /// The timestep, counted from 0.
        t: usize,
        /// The value found.
        beta: f64,
    },
    /// ᾱ fell below what f64 can hold.
    #[error(
        "no signal is left at t = {t} (alphas_cumprod is too small for f64); use fewer steps or \
         smaller betas"
    )]
    SignalLost {
        /// The timestep, counted from 0.
        t: usize,
    },
}

/// A checked noise schedule: β, α and ᾱ for t = 0 … T − 1 in f64, and what follows from them.
///
/// ᾱ falls strictly, and so does the SNR. Only the last ᾱ may be 0 ("zero terminal SNR").
///
/// # Panics
///
/// Methods that take a timestep `t` panic unless t < T.
#[derive(Debug, Clone, PartialEq)]
pub struct NoiseSchedule {
    betas: Vec<f64>,
    alphas: Vec<f64>,
    /// 1, ᾱ_0, …, ᾱ_{T−1}: one more than there are steps, so that ᾱ_{t−1} is there for t = 0 too.
    alphas_cumprod: Vec<f64>,
}

impl NoiseSchedule {
    /// The schedule with T = `num_train_timesteps` steps whose β follow `beta_schedule`.
    ///
    /// # Errors
    ///
    /// If T is 0 or above [`MAX_TRAIN_TIMESTEPS`], if a parameter is out of range, or if the β that
    /// follow do not make a chain (see [`NoiseSchedule::from_betas`]).
    pub fn new(
        beta_schedule: &BetaSchedule,
        num_train_timesteps: usize,
    ) -> Result<Self, ScheduleError> {
        if num_train_timesteps > MAX_TRAIN_TIMESTEPS {
            return Err(ScheduleError::StepCount(num_train_timesteps));
        }
        Self::from_betas(beta_schedule.betas(num_train_timesteps)?)
    }

    /// The schedule with these β, one for each step.
    ///
    /// # Errors
    ///
    /// If there are none or more than [`MAX_TRAIN_TIMESTEPS`], if one lies outside (0, 1) (the last
    /// may be 1), or if ᾱ does not fall strictly above 0 in f64 up to the last step.
    pub fn from_betas(betas: Vec<f64>) -> Result<Self, ScheduleError> {
        if betas.is_empty() || betas.len() > MAX_TRAIN_TIMESTEPS {
            return Err(ScheduleError::StepCount(betas.len()));
        }
        let last = betas.len() - 1;
        let schedule = Self::tabulate(betas);
        for (t, &beta) in schedule.betas.iter().enumerate() {
            if t == last && beta == 1.0 {
                continue;
            }
            let (alpha_cumprod, prev) = (
                schedule.alphas_cumprod()[t],
                schedule.alphas_cumprod_prev()[t],
            );
            if !(beta > 0.0 && beta < 1.0) {
                return Err(ScheduleError::Beta { t, beta });
            }
            if alpha_cumprod < f64::MIN_POSITIVE {
                return Err(ScheduleError::SignalLost { t });
            }
            if alpha_cumprod >= prev {
                return Err(ScheduleError::Beta { t, beta });
            }
        }
        Ok(schedule)
    }

    fn tabulate(betas: Vec<f64>) -> Self {
        let alphas: Vec<f64> = betas.iter().map(|beta| 1.0 - beta).collect();
        let products = alphas.iter().scan(1.0, |product, alpha| {
            *product *= alpha;
            Some(*product)
        });
        let alphas_cumprod = std::iter::once(1.0).chain(products).collect();
        Self {
            betas,
            alphas,
            alphas_cumprod,
        }
    }

    /// The same schedule with √ᾱ shifted and scaled so that the last is 0 and the first is kept (Lin
    /// et al. 2024, algorithm 1): x_T then holds nothing of x_0.
    ///
    /// At ᾱ = 0, x_t = ε and x_0 cannot be had from ε: predict v or x_0 with such a schedule. A chain
    /// of one step becomes β_0 = 1, since its first ᾱ is its last.
    #[must_use]
    pub fn rescale_zero_terminal_snr(&self) -> Self {
        let roots: Vec<f64> = self.alphas_cumprod().iter().map(|a| a.sqrt()).collect();
        if roots.len() == 1 {
            return Self::tabulate(vec![1.0]);
        }
        let (first, last) = (roots[0], roots[roots.len() - 1]);
        let scale = first / (first - last);
        let alphas_cumprod = roots.iter().map(|root| ((root - last) * scale).powi(2));
        let betas = alphas_cumprod
            .scan(1.0, |previous, alpha_cumprod| {
                let beta = 1.0 - alpha_cumprod / *previous;
                *previous = alpha_cumprod;
                Some(beta)
            })
            .collect();
        Self::tabulate(betas)
    }

    /// T, the number of steps.
    pub fn num_train_timesteps(&self) -> usize {
        self.betas.len()
    }

    /// β_t: the variance that step t adds.
    pub fn betas(&self) -> &[f64] {
        &self.betas
    }

    /// α_t = 1 − β_t.
    pub fn alphas(&self) -> &[f64] {
        &self.alphas
    }

    /// ᾱ_t = α_0 … α_t.
    pub fn alphas_cumprod(&self) -> &[f64] {
        &self.alphas_cumprod[1..]
    }

    /// ᾱ_{t−1}, which is 1 at t = 0.
    pub fn alphas_cumprod_prev(&self) -> &[f64] {
        &self.alphas_cumprod[..self.num_train_timesteps()]
    }

    /// Whether the last ᾱ is 0, so that ε says nothing of x_0 there.
    pub fn has_zero_terminal_snr(&self) -> bool {
        self.alphas_cumprod.last() == Some(&0.0)
    }

    /// SNR_t = ᾱ_t / (1 − ᾱ_t).
    pub fn snr(&self, t: usize) -> f64 {
        let alpha_cumprod = self.alphas_cumprod()[t];
        alpha_cumprod / (1.0 - alpha_cumprod)
    }

    /// ln SNR_t in nats; −∞ where ᾱ_t is 0.
    pub fn log_snr(&self, t: usize) -> f64 {
        log_snr(self.alphas_cumprod()[t])
    }

    /// ᾱ at any time between the steps: the table's own value at a step, and ln SNR interpolated
    /// linearly between two (ᾱ itself next to a step of zero SNR, where ln SNR is −∞).
    ///
    /// # Panics
    ///
    /// Unless 0 ≤ `timestep` ≤ T − 1.
    pub fn alpha_cumprod_at(&self, timestep: f64) -> f64 {
        let last = self.num_train_timesteps() - 1;
        assert!(
            (0.0..=last as f64).contains(&timestep),
            "timestep {timestep} is not on the chain, whose last is {last}"
        );
        let (t, fraction) = (timestep.floor() as usize, timestep.fract());
        if fraction == 0.0 {
            return self.alphas_cumprod()[t];
        }
        let between = |here: f64, next: f64| here + fraction * (next - here);
        let next = self.alphas_cumprod()[t + 1];
        if next == 0.0 {
            return between(self.alphas_cumprod()[t], next);
        }
        let log_snr = between(self.log_snr(t), self.log_snr(t + 1));
        1.0 / (1.0 + (-log_snr).exp())
    }

    /// The time at which ln SNR is `sought`, in nats: the inverse of
    /// [`alpha_cumprod_at`](Self::alpha_cumprod_at). Beyond the ends of the chain it is the end.
    pub fn timestep_at_log_snr(&self, sought: f64) -> f64 {
        let alphas_cumprod = self.alphas_cumprod();
        let after = alphas_cumprod.partition_point(|&here| log_snr(here) > sought);
        if after == 0 {
            return 0.0;
        }
        let Some(&next) = alphas_cumprod.get(after) else {
            return (alphas_cumprod.len() - 1) as f64;
        };
        let here = alphas_cumprod[after - 1];
        let fraction = if next == 0.0 {
            1.0 - 1.0 / (1.0 + (-sought).exp()) / here
        } else {
            (log_snr(here) - sought) / (log_snr(here) - log_snr(next))
        };
        (after - 1) as f64 + fraction
    }

    /// q(x_{t−1} | x_t, x_0), as coefficients.
    pub fn posterior(&self, t: usize) -> Posterior {
        Posterior::between(self.alphas_cumprod()[t], self.alphas_cumprod_prev()[t])
    }

    /// β̃_t, the variance of q(x_{t−1} | x_t, x_0); 0 at t = 0.
    pub fn posterior_variance(&self, t: usize) -> f64 {
        self.posterior(t).variance
    }

    /// ln β̃_t, with the value at t = 1 in place of −∞ at t = 0, as DDPM's code has it. A chain of one
    /// step has ln β_0 there.
    pub fn posterior_log_variance_clipped(&self, t: usize) -> f64 {
        match (t, self.num_train_timesteps()) {
            (0, 1) => self.betas[0].ln(),
            (0, _) => self.posterior_variance(1).ln(),
            (t, _) => self.posterior_variance(t).ln(),
        }
    }

    /// The coefficient of x_0 in the mean of q(x_{t−1} | x_t, x_0).
    pub fn posterior_mean_coef1(&self, t: usize) -> f64 {
        self.posterior(t).x_0_coefficient
    }

    /// The coefficient of x_t in the mean of q(x_{t−1} | x_t, x_0).
    pub fn posterior_mean_coef2(&self, t: usize) -> f64 {
        self.posterior(t).x_t_coefficient
    }

    /// How far step t is from pure noise: KL(q(x_t | x_0) ‖ N(0, I)) in nats a dimension,
    ///
    /// ½ (ᾱ_t (m − 1) − ln(1 − ᾱ_t)),
    ///
    /// where m = `x_0_mean_square` is the mean of the squared elements of x_0. At t = T − 1 it is the
    /// L_T of Ho et al. 2020, equation 5.
    pub fn kl_to_pure_noise(&self, t: usize, x_0_mean_square: f64) -> f64 {
        let alpha_cumprod = self.alphas_cumprod()[t];
        0.5 * (alpha_cumprod * (x_0_mean_square - 1.0) - (-alpha_cumprod).ln_1p())
    }
}

fn log_snr(alpha_cumprod: f64) -> f64 {
    alpha_cumprod.ln() - (-alpha_cumprod).ln_1p()
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    /// Any kind of schedule, of any length up to 1200.
    pub(crate) fn any_schedule() -> impl Strategy<Value = NoiseSchedule> {
        let kinds =
            prop_oneof![
                (1e-6..1e-3, 1e-3..0.03).prop_map(|(beta_start, beta_end)| BetaSchedule::Linear {
                    beta_start,
                    beta_end
                }),
                (1e-6..1e-3, 1e-3..0.03).prop_map(|(beta_start, beta_end)| {
                    BetaSchedule::ScaledLinear {
                        beta_start,
                        beta_end,
                    }
                }),
                (1e-3..0.1, 0.5..1.0)
                    .prop_map(|(offset, max_beta)| BetaSchedule::Cosine { offset, max_beta }),
                (-4.0..-0.5, 0.5..4.0, 0.3..2.0)
                    .prop_map(|(start, end, tau)| BetaSchedule::Sigmoid { start, end, tau }),
            ];
        (kinds, 1_usize..1200, any::<bool>()).prop_map(|(kind, steps, rescale)| {
            let schedule = NoiseSchedule::new(&kind, steps).unwrap();
            if rescale {
                schedule.rescale_zero_terminal_snr()
            } else {
                schedule
            }
        })
    }

    fn schedule(toml: &str) -> NoiseSchedule {
        NoiseSchedule::new(&toml::from_str(toml).unwrap(), 1000).unwrap()
    }

    #[track_caller]
    fn assert_close(value: f64, expected: f64) {
        assert!(
            (value - expected).abs() <= 1e-9 * expected.abs(),
            "{value:e} is not {expected:e}"
        );
    }

    #[test]
    fn values_from_the_definitions() {
        let linear = NoiseSchedule::new(&BetaSchedule::default(), 1000).unwrap();
        assert_eq!(linear, schedule("kind = 'linear'"));
        assert_close(linear.alphas_cumprod()[0], 0.9999);
        assert_close(linear.alphas_cumprod()[100], 0.8951415909);
        assert_close(linear.alphas_cumprod()[499], 0.07858724288);
        assert_close(linear.alphas_cumprod()[999], 4.035829765e-5);

        let cosine = schedule("kind = 'cosine'");
        assert_close(cosine.betas()[0], 4.128422482e-5);
        assert_close(cosine.betas()[998], 0.7499993929);
        assert_close(cosine.betas()[999], 0.999);
        assert_close(cosine.alphas_cumprod()[499], 0.4938435904);
        assert_close(cosine.alphas_cumprod()[999], 2.428766907e-9);

        let sigmoid = schedule("kind = 'sigmoid'");
        assert_close(sigmoid.alphas_cumprod()[0], 0.9996997208);
        assert_close(sigmoid.alphas_cumprod()[499], 0.5);
        assert_close(sigmoid.alphas_cumprod()[999], 3.002791997e-7);

        let scaled_linear = schedule("kind = 'scaled-linear'");
        assert_close(scaled_linear.betas()[0], 0.00085);
        assert_close(scaled_linear.betas()[999], 0.012);
        let half_way =
            (0.00085_f64.sqrt() + (0.012_f64.sqrt() - 0.00085_f64.sqrt()) / 999.0 * 499.0).powi(2);
        assert_close(scaled_linear.betas()[499], half_way);

        let rescaled = linear.rescale_zero_terminal_snr();
        assert_close(rescaled.alphas_cumprod()[499].sqrt(), 0.2757331147);
        assert_close(rescaled.alphas_cumprod()[998].sqrt(), 6.490964847e-5);
        assert_eq!(rescaled.alphas_cumprod()[999], 0.0);
        assert!(rescaled.has_zero_terminal_snr() && !linear.has_zero_terminal_snr());
        assert_eq!(rescaled.snr(999), 0.0);
        assert_eq!(rescaled.log_snr(999), f64::NEG_INFINITY);
        assert_close(rescaled.alphas_cumprod()[0], 0.9999);
    }

    proptest! {
        #[test]
        fn signal_falls_strictly_on_every_schedule(schedule in any_schedule()) {
            for t in 0..schedule.num_train_timesteps() {
                let (beta, alpha_cumprod) = (schedule.betas()[t], schedule.alphas_cumprod()[t]);
                prop_assert!(beta > 0.0 && beta <= 1.0);
                prop_assert_eq!(schedule.alphas()[t], 1.0 - beta);
                prop_assert!(alpha_cumprod < schedule.alphas_cumprod_prev()[t]);
                if t > 0 {
                    prop_assert_eq!(schedule.alphas_cumprod_prev()[t], schedule.alphas_cumprod()[t - 1]);
                    prop_assert!(schedule.snr(t) < schedule.snr(t - 1));
                    prop_assert!(schedule.log_snr(t) < schedule.log_snr(t - 1));
                }
                prop_assert!((schedule.log_snr(t).exp() - schedule.snr(t)).abs() <= 1e-9 * schedule.snr(t));
                let log_variance = schedule.posterior_log_variance_clipped(t);
                prop_assert!(log_variance.is_finite());
                if t > 0 {
                    prop_assert_eq!(log_variance, schedule.posterior_variance(t).ln());
                }
            }
        }

        #[test]
        fn rescaling_twice_is_rescaling_once(schedule in any_schedule()) {
            let once = schedule.rescale_zero_terminal_snr();
            let twice = once.rescale_zero_terminal_snr();
            prop_assert!(once.has_zero_terminal_snr());
            for (a, b) in once.alphas_cumprod().iter().zip(twice.alphas_cumprod()) {
                prop_assert!((a - b).abs() <= 1e-9 * a);
            }
            prop_assert!(NoiseSchedule::from_betas(once.betas().to_vec()).is_ok());
        }
    }

    #[test]
    fn distance_to_pure_noise_is_the_kl_integral() {
        let schedule = schedule("kind = 'linear'");
        for (t, x_0) in [(0, 0.7_f64), (499, 0.7), (499, -2.0), (999, 1.0)] {
            let mean = schedule.alphas_cumprod()[t].sqrt() * x_0;
            let variance = 1.0 - schedule.alphas_cumprod()[t];
            let sigma = variance.sqrt();
            // The integral of q ln(q/p) by the midpoint rule over ±12 σ.
            let (intervals, reach) = (20_000, 12.0);
            let width = 2.0 * reach * sigma / f64::from(intervals);
            let integral: f64 = (0..intervals)
                .map(|i| mean - reach * sigma + (f64::from(i) + 0.5) * width)
                .map(|x| {
                    let z = (x - mean) / sigma;
                    let log_q = -0.5 * (z * z + variance.ln());
                    let density = log_q.exp() / std::f64::consts::TAU.sqrt();
                    density * (log_q + 0.5 * x * x) * width
                })
                .sum();
            let kl = schedule.kl_to_pure_noise(t, x_0 * x_0);
            assert!((kl - integral).abs() < 1e-9, "t = {t}: {kl} and {integral}");
        }
        // ½ ᾱ to first order, for x_0 of unit mean square.
        assert!((schedule.kl_to_pure_noise(999, 1.0) - 0.5 * 4.035829765e-5).abs() < 1e-9);
    }

    #[test]
    fn a_chain_of_one_step() {
        let schedule = NoiseSchedule::from_betas(vec![0.3]).unwrap();
        assert_eq!(schedule.posterior_log_variance_clipped(0), 0.3_f64.ln());
        assert_eq!(schedule.rescale_zero_terminal_snr().betas(), [1.0]);
        assert!(NoiseSchedule::new(&BetaSchedule::default(), 1).is_ok());
    }

    #[test]
    fn configuration_refuses_what_it_does_not_know() {
        for wrong in [
            "kind = 'quadratic'",
            "kind = 'linear'\nbeta_begin = 1e-4",
            "kind = 'cosine'\nbeta_end = 0.02",
            "kind = 'given'",
            "beta_start = 1e-4",
        ] {
            assert!(toml::from_str::<BetaSchedule>(wrong).is_err(), "{wrong}");
        }
        let given = BetaSchedule::Given {
            betas: vec![0.1, 0.2],
        };
        let text = toml::to_string(&given).unwrap();
        assert_eq!(toml::from_str::<BetaSchedule>(&text).unwrap(), given);
    }

    proptest! {
        /// Between two steps the SNR lies between theirs, and time and SNR lead to each other.
        #[test]
        fn between_the_steps(schedule in any_schedule(), u in 0.0..1.0) {
            let last = schedule.num_train_timesteps() - 1;
            let timestep = u * last as f64;
            let alpha_cumprod = schedule.alpha_cumprod_at(timestep);
            let alphas_cumprod = schedule.alphas_cumprod();
            prop_assert!(alpha_cumprod <= alphas_cumprod[timestep.floor() as usize] + 1e-15);
            prop_assert!(alpha_cumprod >= alphas_cumprod[timestep.ceil() as usize] - 1e-15);
            let back = schedule.timestep_at_log_snr(log_snr(alpha_cumprod));
            // Where ln SNR hardly falls in a step, its rounding moves the time. In a chain of one step, which
            // may end at −∞, there is nowhere to be moved to.
            let t = (timestep.floor() as usize).min(last.saturating_sub(1));
            let rounding = if last == 0 {
                0.0
            } else {
                1e-12 / (schedule.log_snr(t) - schedule.log_snr(t + 1))
            };
            prop_assert!((back - timestep).abs() < 1e-6 + rounding, "{} {}", back, timestep);
        }

        #[test]
        fn on_the_steps(schedule in any_schedule(), u in 0.0..1.0) {
            let t = (u * schedule.num_train_timesteps() as f64) as usize;
            prop_assert_eq!(schedule.alpha_cumprod_at(t as f64), schedule.alphas_cumprod()[t]);
            prop_assert_eq!(schedule.timestep_at_log_snr(schedule.log_snr(t)), t as f64);
        }
    }

    #[test]
    fn beyond_the_chain_is_its_end() {
        let schedule = NoiseSchedule::new(&BetaSchedule::default(), 1000).unwrap();
        assert_eq!(schedule.timestep_at_log_snr(100.0), 0.0);
        assert_eq!(schedule.timestep_at_log_snr(-100.0), 999.0);
        let rescaled = schedule.rescale_zero_terminal_snr();
        assert_eq!(rescaled.timestep_at_log_snr(f64::NEG_INFINITY), 999.0);
        let middle = rescaled.alpha_cumprod_at(998.5);
        assert!((middle / rescaled.alphas_cumprod()[998] - 0.5).abs() < 1e-12);
        assert!((rescaled.timestep_at_log_snr(log_snr(middle)) - 998.5).abs() < 1e-9);
    }

    #[test]
    fn bad_schedules_are_refused_with_the_reason() {
        let error =
            |kind: BetaSchedule, steps| NoiseSchedule::new(&kind, steps).unwrap_err().to_string();
        let linear = |beta_start, beta_end| BetaSchedule::Linear {
            beta_start,
            beta_end,
        };
        assert!(error(BetaSchedule::default(), 0).contains("num_train_timesteps is 0"));
        assert!(error(BetaSchedule::default(), usize::MAX).contains("choose 1 to 1000000"));
        assert!(error(linear(-0.1, 0.02), 10).contains("beta at t = 0 is -0.1"));
        assert!(error(linear(0.0, 0.02), 10).contains("beta at t = 0 is 0"));
        assert!(error(linear(1e-17, 0.02), 10).contains("beta at t = 0"));
        assert!(error(linear(0.1, f64::NAN), 10).contains("NaN"));
        assert!(error(linear(0.1, 1.1), 10).contains("beta at t = 9"));
        assert!(error(linear(0.9, 0.9), 1000).contains("no signal is left at t = 307"));
        let cosine = |offset, max_beta| BetaSchedule::Cosine { offset, max_beta };
        assert!(error(cosine(-1.0, 0.999), 10).contains("offset is -1; it must be 0 or more"));
        assert!(error(cosine(0.008, 0.0), 10).contains("max_beta is 0; it must be in (0, 1]"));
        let sigmoid = |start, end, tau| BetaSchedule::Sigmoid { start, end, tau };
        assert!(error(sigmoid(-3.0, 3.0, 0.0), 10).contains("tau is 0; it must be above 0"));
        assert!(error(sigmoid(3.0, -3.0, 1.0), 10).contains("end is -3"));
        let given = |betas: &[f64]| BetaSchedule::Given {
            betas: betas.to_vec(),
        };
        assert!(error(given(&[0.1, 0.2]), 3).contains("2 betas are given for"));
        assert!(error(given(&[0.1, 1.0, 0.2]), 3).contains("beta at t = 1 is 1"));
        assert!(NoiseSchedule::new(&given(&[0.1, 1.0]), 2).is_ok());
    }
}
