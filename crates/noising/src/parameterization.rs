//! The algebra between what a network may predict: ε, x_0, v and the score.
//!
//! x_t = √ᾱ_t x_0 + √(1 − ᾱ_t) ε ties the first two together; with either and x_t come
//!
//! ```text
//! v     = √ᾱ_t ε − √(1 − ᾱ_t) x_0        Salimans & Ho 2022, appendix D
//! score = ∇ ln q(x_t | x_0) = −ε / √(1 − ᾱ_t)   Song et al. 2021
//! ```

use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};

/// What the network predicts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum PredictionType {
    /// The noise ε, as in DDPM. Of no use where ᾱ_t = 0.
    #[default]
    Epsilon,
    /// The clean example x_0.
    Sample,
    /// v = √ᾱ_t ε − √(1 − ᾱ_t) x_0.
    VPrediction,
}

/// q(x_t | x_0) = N(√ᾱ_t x_0, (1 − ᾱ_t) I): where on the chain a batch is, and so how ε, x_0, v, the
/// score and x_t follow from each other.
///
/// It holds one ᾱ for the whole batch, as samplers need, or one for each example of dimension 0, as
/// training needs. All tensors of a call have the shape of x_t.
///
/// # Panics
///
/// Methods panic if there are several ᾱ but not one for each example, or if shapes differ.
///
/// # The ends of the chain
///
/// [`x_0_from_epsilon`](Self::x_0_from_epsilon), [`v_from_epsilon`](Self::v_from_epsilon) and
/// [`x_0_from_score`](Self::x_0_from_score) divide by √ᾱ: at zero terminal SNR they are undefined and
/// give values that are not finite; check [`NoiseSchedule::has_zero_terminal_snr`] first. What divides
/// by √(1 − ᾱ) is defined on every step of a chain, since there ᾱ < 1.
///
/// [`NoiseSchedule::has_zero_terminal_snr`]: crate::NoiseSchedule::has_zero_terminal_snr
#[derive(Debug, Clone, PartialEq)]
pub struct Marginal {
    /// √ᾱ
    signal: Vec<f64>,
    /// √(1 − ᾱ)
    sigma: Vec<f64>,
}

impl Marginal {
    /// One ᾱ in [0, 1] for all examples.
    pub fn new(alpha_cumprod: f64) -> Self {
        Self::per_example([alpha_cumprod])
    }

    /// One ᾱ in [0, 1] for each example of the batch (a single one stands for all).
    pub fn per_example(alphas_cumprod: impl IntoIterator<Item = f64>) -> Self {
        let (signal, sigma) = alphas_cumprod
            .into_iter()
            .map(|alpha_cumprod| (alpha_cumprod.sqrt(), (1.0 - alpha_cumprod).sqrt()))
            .unzip();
        Self { signal, sigma }
    }

    /// x_t = √ᾱ x_0 + √(1 − ᾱ) ε.
    pub fn x_t<const D: usize>(&self, x_0: Tensor<D>, epsilon: Tensor<D>) -> Tensor<D> {
        combine(x_0, &self.signal, epsilon, &self.sigma)
    }

    /// x_0 = (x_t − √(1 − ᾱ) ε) / √ᾱ.
    pub fn x_0_from_epsilon<const D: usize>(
        &self,
        x_t: Tensor<D>,
        epsilon: Tensor<D>,
    ) -> Tensor<D> {
        let x_t_coefficient = self.map(|signal, _| 1.0 / signal);
        let epsilon_coefficient = self.map(|signal, sigma| -sigma / signal);
        combine(x_t, &x_t_coefficient, epsilon, &epsilon_coefficient)
    }

    /// x_0 = √ᾱ x_t − √(1 − ᾱ) v.
    pub fn x_0_from_v<const D: usize>(&self, x_t: Tensor<D>, v: Tensor<D>) -> Tensor<D> {
        let v_coefficient = self.map(|_, sigma| -sigma);
        combine(x_t, &self.signal, v, &v_coefficient)
    }

    /// x_0 = (x_t + (1 − ᾱ) score) / √ᾱ (Tweedie's formula).
    pub fn x_0_from_score<const D: usize>(&self, x_t: Tensor<D>, score: Tensor<D>) -> Tensor<D> {
        self.x_0_from_epsilon(x_t, self.epsilon_from_score(score))
    }

    /// ε = (x_t − √ᾱ x_0) / √(1 − ᾱ).
    pub fn epsilon_from_x_0<const D: usize>(&self, x_t: Tensor<D>, x_0: Tensor<D>) -> Tensor<D> {
        let x_t_coefficient = self.map(|_, sigma| 1.0 / sigma);
        let x_0_coefficient = self.map(|signal, sigma| -signal / sigma);
        combine(x_t, &x_t_coefficient, x_0, &x_0_coefficient)
    }

    /// ε = √(1 − ᾱ) x_t + √ᾱ v.
    pub fn epsilon_from_v<const D: usize>(&self, x_t: Tensor<D>, v: Tensor<D>) -> Tensor<D> {
        combine(x_t, &self.sigma, v, &self.signal)
    }

    /// ε = −√(1 − ᾱ) score.
    pub fn epsilon_from_score<const D: usize>(&self, score: Tensor<D>) -> Tensor<D> {
        scale(score, &self.map(|_, sigma| -sigma))
    }

    /// v = √ᾱ ε − √(1 − ᾱ) x_0.
    pub fn v<const D: usize>(&self, x_0: Tensor<D>, epsilon: Tensor<D>) -> Tensor<D> {
        let x_0_coefficient = self.map(|_, sigma| -sigma);
        combine(epsilon, &self.signal, x_0, &x_0_coefficient)
    }

    /// v = (√ᾱ x_t − x_0) / √(1 − ᾱ).
    pub fn v_from_x_0<const D: usize>(&self, x_t: Tensor<D>, x_0: Tensor<D>) -> Tensor<D> {
        let x_t_coefficient = self.map(|signal, sigma| signal / sigma);
        let x_0_coefficient = self.map(|_, sigma| -1.0 / sigma);
        combine(x_t, &x_t_coefficient, x_0, &x_0_coefficient)
    }

    /// v = (ε − √(1 − ᾱ) x_t) / √ᾱ.
    pub fn v_from_epsilon<const D: usize>(&self, x_t: Tensor<D>, epsilon: Tensor<D>) -> Tensor<D> {
        let epsilon_coefficient = self.map(|signal, _| 1.0 / signal);
        let x_t_coefficient = self.map(|signal, sigma| -sigma / signal);
        combine(epsilon, &epsilon_coefficient, x_t, &x_t_coefficient)
    }

    /// score = −ε / √(1 − ᾱ).
    pub fn score_from_epsilon<const D: usize>(&self, epsilon: Tensor<D>) -> Tensor<D> {
        scale(epsilon, &self.map(|_, sigma| -1.0 / sigma))
    }

    /// score = (√ᾱ x_0 − x_t) / (1 − ᾱ).
    pub fn score_from_x_0<const D: usize>(&self, x_t: Tensor<D>, x_0: Tensor<D>) -> Tensor<D> {
        self.score_from_epsilon(self.epsilon_from_x_0(x_t, x_0))
    }

    /// score = −x_t − √(ᾱ / (1 − ᾱ)) v.
    pub fn score_from_v<const D: usize>(&self, x_t: Tensor<D>, v: Tensor<D>) -> Tensor<D> {
        self.score_from_epsilon(self.epsilon_from_v(x_t, v))
    }

    /// What a network of this prediction type should say, given the truth: the target of the loss.
    pub fn target<const D: usize>(
        &self,
        prediction_type: PredictionType,
        x_0: Tensor<D>,
        noise: Tensor<D>,
    ) -> Tensor<D> {
        match prediction_type {
            PredictionType::Epsilon => noise,
            PredictionType::Sample => x_0,
            PredictionType::VPrediction => self.v(x_0, noise),
        }
    }

    /// The x_0 that a prediction stands for.
    pub fn predicted_x_0<const D: usize>(
        &self,
        prediction_type: PredictionType,
        x_t: Tensor<D>,
        prediction: Tensor<D>,
    ) -> Tensor<D> {
        match prediction_type {
            PredictionType::Epsilon => self.x_0_from_epsilon(x_t, prediction),
            PredictionType::Sample => prediction,
            PredictionType::VPrediction => self.x_0_from_v(x_t, prediction),
        }
    }

    /// The ε that a prediction stands for.
    pub fn predicted_epsilon<const D: usize>(
        &self,
        prediction_type: PredictionType,
        x_t: Tensor<D>,
        prediction: Tensor<D>,
    ) -> Tensor<D> {
        match prediction_type {
            PredictionType::Epsilon => prediction,
            PredictionType::Sample => self.epsilon_from_x_0(x_t, prediction),
            PredictionType::VPrediction => self.epsilon_from_v(x_t, prediction),
        }
    }

    fn map(&self, coefficient: impl Fn(f64, f64) -> f64) -> Vec<f64> {
        self.signal
            .iter()
            .zip(&self.sigma)
            .map(|(&signal, &sigma)| coefficient(signal, sigma))
            .collect()
    }
}

/// a x + b y, with one coefficient for all examples or one for each.
pub(crate) fn combine<const D: usize>(
    x: Tensor<D>,
    a: &[f64],
    y: Tensor<D>,
    b: &[f64],
) -> Tensor<D> {
    assert_eq!(
        x.dims(),
        y.dims(),
        "tensors of one chain must have one shape"
    );
    scale(x, a) + scale(y, b)
}

/// Multiplies by one coefficient for all examples or one for each.
fn scale<const D: usize>(x: Tensor<D>, coefficients: &[f64]) -> Tensor<D> {
    match coefficients {
        [coefficient] => x.mul_scalar(*coefficient),
        _ => {
            let batch = x.dims()[0];
            assert_eq!(
                coefficients.len(),
                batch,
                "there must be one timestep for each of the {batch} examples of dimension 0, or one \
                 for all"
            );
            let coefficients = per_example(coefficients, &x);
            x.mul(coefficients)
        }
    }
}

/// Coefficients as a tensor of shape [B, 1, …, 1] with the type and the device of `like`.
pub(crate) fn per_example<const D: usize>(coefficients: &[f64], like: &Tensor<D>) -> Tensor<D> {
    let mut shape = [1; D];
    shape[0] = coefficients.len();
    let data = TensorData::new(coefficients.to_vec(), shape);
    Tensor::from_data(data, (&like.device(), like.dtype()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use burn::tensor::{DType, Device};
    use proptest::prelude::*;

    use super::*;

    fn tensor(values: &[f64]) -> Tensor<1> {
        let data = TensorData::new(values.to_vec(), [values.len()]);
        Tensor::from_data(data, (&Device::flex(), DType::F64))
    }

    fn close(a: Tensor<1>, b: Tensor<1>) -> bool {
        a.all_close(b, Some(1e-9), Some(1e-9))
    }

    proptest! {
        #[test]
        fn conversions_invert_each_other(
            examples in prop::collection::vec((0.001..0.999, -3.0..3.0, -3.0..3.0), 1..6),
        ) {
            let column = |f: fn(&(f64, f64, f64)) -> f64| examples.iter().map(f).collect::<Vec<_>>();
            let marginal = Marginal::per_example(column(|e| e.0));
            let (x_0, epsilon) = (tensor(&column(|e| e.1)), tensor(&column(|e| e.2)));

            let x_t = marginal.x_t(x_0.clone(), epsilon.clone());
            let v = marginal.v(x_0.clone(), epsilon.clone());
            let score = marginal.score_from_epsilon(epsilon.clone());
            let m = &marginal;
            let x = || x_t.clone();
            prop_assert!(close(m.x_0_from_epsilon(x(), epsilon.clone()), x_0.clone()));
            prop_assert!(close(m.x_0_from_v(x(), v.clone()), x_0.clone()));
            prop_assert!(close(m.x_0_from_score(x(), score.clone()), x_0.clone()));
            prop_assert!(close(m.epsilon_from_x_0(x(), x_0.clone()), epsilon.clone()));
            prop_assert!(close(m.epsilon_from_v(x(), v.clone()), epsilon.clone()));
            prop_assert!(close(m.epsilon_from_score(score.clone()), epsilon.clone()));
            prop_assert!(close(m.v_from_x_0(x(), x_0.clone()), v.clone()));
            prop_assert!(close(m.v_from_epsilon(x(), epsilon.clone()), v.clone()));
            prop_assert!(close(m.score_from_x_0(x(), x_0.clone()), score.clone()));
            prop_assert!(close(m.score_from_v(x(), v), score));

            for kind in [
                PredictionType::Epsilon,
                PredictionType::Sample,
                PredictionType::VPrediction,
            ] {
                let target = m.target(kind, x_0.clone(), epsilon.clone());
                prop_assert!(close(m.predicted_x_0(kind, x(), target.clone()), x_0.clone()));
                prop_assert!(close(m.predicted_epsilon(kind, x(), target), epsilon.clone()));
            }
        }
    }

    #[test]
    fn values_by_hand() {
        // √ᾱ = 0.8, √(1 − ᾱ) = 0.6
        let marginal = Marginal::new(0.64);
        let (x_0, epsilon) = (tensor(&[1.0, -2.0]), tensor(&[0.5, 3.0]));
        let x_t = marginal.x_t(x_0.clone(), epsilon.clone());
        assert!(close(x_t, tensor(&[1.1, 0.2])));
        assert!(close(
            marginal.v(x_0, epsilon.clone()),
            tensor(&[-0.2, 3.6])
        ));
        let score = marginal.score_from_epsilon(epsilon);
        assert!(close(score, tensor(&[-0.5 / 0.6, -5.0])));
    }

    #[test]
    fn at_zero_snr_v_still_gives_x_0() {
        let marginal = Marginal::new(0.0);
        let (x_0, epsilon) = (tensor(&[0.7]), tensor(&[-1.3]));
        let x_t = marginal.x_t(x_0.clone(), epsilon.clone());
        assert!(close(x_t.clone(), epsilon.clone()));
        let v = marginal.v(x_0.clone(), epsilon.clone());
        assert!(close(marginal.x_0_from_v(x_t.clone(), v.clone()), x_0));
        assert!(close(marginal.epsilon_from_v(x_t, v), epsilon));
    }

    #[test]
    fn configuration_names() {
        #[derive(Deserialize)]
        struct Table {
            prediction_type: PredictionType,
        }
        for (name, kind) in [
            ("epsilon", PredictionType::Epsilon),
            ("sample", PredictionType::Sample),
            ("v-prediction", PredictionType::VPrediction),
        ] {
            let table: Table = toml::from_str(&format!("prediction_type = '{name}'")).unwrap();
            assert_eq!(table.prediction_type, kind);
        }
    }

    #[test]
    #[should_panic(expected = "one timestep for each of the 3 examples")]
    fn as_many_timesteps_as_examples() {
        let x = tensor(&[0.0, 0.0, 0.0]);
        Marginal::per_example([0.5, 0.4]).x_t(x.clone(), x);
    }

    #[test]
    #[should_panic(expected = "one shape")]
    fn noise_of_another_shape() {
        Marginal::new(0.5).x_t(tensor(&[0.0, 0.0, 0.0]), tensor(&[0.0]));
    }
}
