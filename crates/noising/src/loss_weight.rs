//! How much the loss of each timestep counts.
//!
//! The loss is weight(t) times the mean squared error of what the network predicts. An error of one
//! size in ε is another in x_0 and in v:
//!
//! ```text
//! ‖Δε‖² = SNR ‖Δx_0‖² = ᾱ ‖Δv‖²,    ᾱ = SNR / (SNR + 1)
//! ```
//!
//! so min-SNR-γ and P2, which weigh the ε loss of DDPM anew, have another formula for each
//! prediction type, and the weighted loss is the same function of the network's x_0 in all three.
//!
//! At zero terminal SNR those formulas give 0 for x_0 and v. But that step is where sampling starts, and
//! with weight 0 the network would never learn it, so it has weight 1 there (as SimpleTuner and other
//! trainers of zero-terminal-SNR models do it).

use serde::de::Deserializer;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{NoiseSchedule, PredictionType};

/// The weight of the loss as a function of the timestep.
///
/// In a configuration it is a table with the key `kind`: `{ kind = "min-snr", gamma = 5.0 }`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum LossWeight {
    /// 1 at every step, whatever the network predicts (L_simple of Ho et al. 2020, equation 14).
    #[default]
    #[serde(deserialize_with = "no_further_keys")]
    Simple,
    /// min(SNR, γ) / SNR for ε, min(SNR, γ) for x_0, min(SNR, γ) / (SNR + 1) for v (Hang et al.
    /// 2023): the easy steps near t = 0 count less.
    MinSnr {
        /// γ, above 0; 5 unless given.
        #[serde(default = "min_snr_gamma")]
        gamma: f64,
    },
    /// 1 / (k + SNR)^γ for ε, times SNR for x_0, times ᾱ for v (Choi et al. 2022, equation 8): the
    /// steps that only clean up count less.
    P2 {
        /// k, above 0; 1 unless given.
        #[serde(default = "p2_k")]
        k: f64,
        /// γ, 0 or more; 1 unless given.
        #[serde(default = "p2_gamma")]
        gamma: f64,
    },
}

fn min_snr_gamma() -> f64 {
    5.0
}
fn p2_k() -> f64 {
    1.0
}
fn p2_gamma() -> f64 {
    1.0
}

/// Refuses keys beside `kind`: serde by itself ignores them for a variant without fields.
fn no_further_keys<'de, D: Deserializer<'de>>(deserializer: D) -> Result<(), D::Error> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct NoKeys {}

    NoKeys::deserialize(deserializer).map(|NoKeys {}| ())
}

/// A parameter of a loss weight that lies outside its range.
#[derive(Debug, Clone, PartialEq, Error)]
#[error("{kind} loss weight: {parameter} is {value}; it must be {expected}")]
pub struct LossWeightError {
    kind: &'static str,
    parameter: &'static str,
    value: f64,
    expected: &'static str,
}

impl LossWeight {
    /// Checks the parameters, so that every weight is finite and 0 or more.
    ///
    /// # Errors
    ///
    /// If a parameter lies outside its range; the error names it.
    pub fn validate(&self) -> Result<(), LossWeightError> {
        let (kind, parameter, value, expected) = match *self {
            Self::MinSnr { gamma } if !(gamma > 0.0 && gamma.is_finite()) => {
                ("min-snr", "gamma", gamma, "above 0")
            }
            Self::P2 { k, .. } if !(k > 0.0 && k.is_finite()) => ("p2", "k", k, "above 0"),
            Self::P2 { gamma, .. } if !(gamma >= 0.0 && gamma.is_finite()) => {
                ("p2", "gamma", gamma, "0 or more")
            }
            Self::Simple | Self::MinSnr { .. } | Self::P2 { .. } => return Ok(()),
        };
        Err(LossWeightError {
            kind,
            parameter,
            value,
            expected,
        })
    }

    /// The weight at timestep t of the squared error of what the network predicts. At zero SNR it is 1
    /// for x_0 and v; for ε, which says nothing there, it is the limit.
    ///
    /// # Panics
    ///
    /// Unless t < T.
    pub fn weight(
        &self,
        schedule: &NoiseSchedule,
        prediction_type: PredictionType,
        t: usize,
    ) -> f64 {
        let snr = schedule.snr(t);
        let epsilon_weight = match *self {
            Self::Simple => return 1.0,
            // min(SNR, γ) / SNR, written so that SNR = 0 does no harm.
            Self::MinSnr { gamma } => (gamma / snr).min(1.0),
            Self::P2 { k, gamma } => (k + snr).powf(-gamma),
        };
        match prediction_type {
            PredictionType::Epsilon => epsilon_weight,
            PredictionType::Sample | PredictionType::VPrediction if snr == 0.0 => 1.0,
            PredictionType::Sample => epsilon_weight * snr,
            PredictionType::VPrediction => epsilon_weight * schedule.alphas_cumprod()[t],
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use burn::tensor::{DType, Device, Tensor, TensorData};
    use proptest::prelude::*;

    use super::*;
    use crate::schedule::tests::any_schedule;
    use crate::{BetaSchedule, Marginal};

    const ALL: [PredictionType; 3] = [
        PredictionType::Epsilon,
        PredictionType::Sample,
        PredictionType::VPrediction,
    ];

    proptest! {
        /// Of one wrong x_0, each prediction type must make the same weighted loss.
        #[test]
        fn weighted_loss_is_one_function_of_x_0(
            t in 0_usize..1000,
            gamma in 0.1..10.0,
            k in 0.1..2.0,
        ) {
            let schedule = NoiseSchedule::new(&BetaSchedule::default(), 1000).unwrap();
            let marginal = Marginal::new(schedule.alphas_cumprod()[t]);
            let scalar = |value: f64| -> Tensor<1> {
                let data = TensorData::new(vec![value], [1]);
                Tensor::from_data(data, (&Device::flex(), DType::F64))
            };
            let (x_0, wrong_x_0, epsilon) = (scalar(0.4), scalar(0.9), scalar(-1.1));
            let x_t = marginal.x_t(x_0.clone(), epsilon.clone());
            let wrong_epsilon = marginal.epsilon_from_x_0(x_t, wrong_x_0.clone());
            for weight in [LossWeight::MinSnr { gamma }, LossWeight::P2 { k, gamma }] {
                let losses = ALL.map(|kind| {
                    let target = marginal.target(kind, x_0.clone(), epsilon.clone());
                    let output = marginal.target(kind, wrong_x_0.clone(), wrong_epsilon.clone());
                    let error: f64 = (output - target).powi_scalar(2).into_scalar();
                    weight.weight(&schedule, kind, t) * error
                });
                prop_assert!((losses[0] / losses[1] - 1.0).abs() < 1e-6);
                prop_assert!((losses[0] / losses[2] - 1.0).abs() < 1e-6);
            }
        }

        #[test]
        fn weights_are_finite(schedule in any_schedule(), gamma in 0.1..10.0) {
            for t in 0..schedule.num_train_timesteps() {
                for kind in ALL {
                    let min_snr = LossWeight::MinSnr { gamma }.weight(&schedule, kind, t);
                    prop_assert!(min_snr.is_finite() && min_snr >= 0.0);
                    let p2 = LossWeight::P2 { k: 1.0, gamma }.weight(&schedule, kind, t);
                    prop_assert!(p2.is_finite() && p2 >= 0.0);
                    prop_assert_eq!(LossWeight::Simple.weight(&schedule, kind, t), 1.0);
                }
            }
        }
    }

    #[test]
    fn values_by_hand() {
        // ᾱ = 0.9, 0.5: SNR = 9, 1.
        let schedule = NoiseSchedule::from_betas(vec![0.1, 4.0 / 9.0]).unwrap();
        let min_snr = LossWeight::MinSnr { gamma: 5.0 };
        let p2 = LossWeight::P2 { k: 1.0, gamma: 0.5 };
        let cases = [
            (min_snr, 0, [5.0 / 9.0, 5.0, 0.5]),
            (min_snr, 1, [1.0, 1.0, 0.5]),
            (
                p2,
                0,
                [
                    10_f64.powf(-0.5),
                    9.0 * 10_f64.powf(-0.5),
                    0.9 * 10_f64.powf(-0.5),
                ],
            ),
            (
                p2,
                1,
                [0.5_f64.sqrt(), 0.5_f64.sqrt(), 0.5 * 0.5_f64.sqrt()],
            ),
        ];
        for (weight, t, expected) in cases {
            for (kind, expected) in ALL.into_iter().zip(expected) {
                let value = weight.weight(&schedule, kind, t);
                assert!(
                    (value - expected).abs() < 1e-12,
                    "{weight:?} {kind:?} {t}: {value}"
                );
            }
        }
    }

    /// Sampling starts where the SNR is 0, so that step has to be learned.
    #[test]
    fn the_step_of_zero_snr_counts() {
        let schedule = NoiseSchedule::new(&BetaSchedule::default(), 1000).unwrap();
        let schedule = schedule.rescale_zero_terminal_snr();
        for weight in [
            LossWeight::Simple,
            LossWeight::MinSnr { gamma: 5.0 },
            LossWeight::P2 { k: 1.0, gamma: 0.5 },
        ] {
            for kind in [PredictionType::Sample, PredictionType::VPrediction] {
                assert_eq!(
                    weight.weight(&schedule, kind, 999),
                    1.0,
                    "{weight:?} {kind:?}"
                );
            }
        }
    }

    #[test]
    fn configuration() {
        let read = |text: &str| toml::from_str::<LossWeight>(text);
        assert_eq!(read("kind = 'simple'").unwrap(), LossWeight::Simple);
        assert_eq!(
            read("kind = 'min-snr'").unwrap(),
            LossWeight::MinSnr { gamma: 5.0 }
        );
        let p2 = LossWeight::P2 { k: 1.0, gamma: 0.5 };
        assert_eq!(read("kind = 'p2'\ngamma = 0.5").unwrap(), p2);
        assert_eq!(read(&toml::to_string(&p2).unwrap()).unwrap(), p2);
        let simple = toml::to_string(&LossWeight::Simple).unwrap();
        assert_eq!(read(&simple).unwrap(), LossWeight::Simple);
        assert!(read("kind = 'simple'\ngamma = 5").is_err());
        assert!(read("kind = 'min-snr'\nk = 5").is_err());
        assert!(read("kind = 'max-snr'").is_err());

        assert!(p2.validate().is_ok() && LossWeight::Simple.validate().is_ok());
        let error = LossWeight::MinSnr { gamma: 0.0 }.validate().unwrap_err();
        assert_eq!(
            error.to_string(),
            "min-snr loss weight: gamma is 0; it must be above 0"
        );
        assert!(LossWeight::P2 { k: 0.0, gamma: 1.0 }.validate().is_err());
        assert!(
            LossWeight::P2 {
                k: 1.0,
                gamma: f64::NAN
            }
            .validate()
            .is_err()
        );
    }
}
