//! What the network is trained to do: predict ε, x_0 or v from x_t, with the squared error averaged
//! over elements and weighted over timesteps (Ho et al. 2020, eq. 14; Salimans and Ho 2022 for v).
//!
//! Where examples are rows of a table, their categories are on a chain of their own, and the loss is the sum
//! of the numbers' and `category_weight` times the categories' (Kotelnikov et al. 2023, "TabDDPM", section
//! 3.2), each averaged over its columns.

use burn::tensor::{Gradients, Tensor};
use noising::{CategoryCountError, Chain, LossWeight, MixedChain, PredictionType, Transition};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::batch::Batch;
use crate::categories::{CategoryLoss, category_loss};
use crate::error::InvalidValue;
use crate::network::{Condition, Network};
use crate::streams;

/// `[objective]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct ObjectiveConfig {
    /// What the network predicts.
    pub prediction_type: PredictionType,
    /// How the squared error is weighted over timesteps.
    pub loss_weight: LossWeight,
    /// How much noise is added that is the same for all pixels of a channel, relative to the other.
    pub offset_noise: f64,
    /// How the timesteps of a batch are drawn; left out of files where it is the default, as are the keys below.
    #[serde(skip_serializing_if = "is_default")]
    pub timestep_sampling: TimestepSampling,
    /// What a category of a table becomes that a step of noise does not keep. Read for tables alone, as are
    /// the keys below.
    #[serde(skip_serializing_if = "is_default")]
    pub transition: Transition,
    /// What is minimised over the categorical columns.
    #[serde(skip_serializing_if = "is_default")]
    pub category_loss: CategoryLoss,
    /// How much the loss of the categories counts beside that of the numbers, which counts 1.
    #[serde(skip_serializing_if = "is_one")]
    pub category_weight: f64,
}

/// How the timesteps of a batch are drawn.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum TimestepSampling {
    /// Each by itself, uniformly.
    #[default]
    Uniform,
    /// One in each of as many equal parts of the chain (Kingma et al. 2021, appendix I.1): the loss of a batch is the
    /// same on average, and varies less.
    Stratified,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn is_one(value: &f64) -> bool {
    *value == 1.0
}

impl Default for ObjectiveConfig {
    /// DDPM's: ε, unweighted. Categories on the absorbing chain, by the bound.
    fn default() -> Self {
        Self {
            prediction_type: PredictionType::default(),
            loss_weight: LossWeight::default(),
            offset_noise: 0.0,
            timestep_sampling: TimestepSampling::default(),
            transition: Transition::default(),
            category_loss: CategoryLoss::default(),
            category_weight: 1.0,
        }
    }
}

impl ObjectiveConfig {
    /// # Errors
    ///
    /// The first value that makes no sense, over this chain.
    pub fn check(&self, chain: &Chain) -> Result<(), InvalidValue> {
        InvalidValue::zero_or_above("offset_noise", self.offset_noise)?;
        InvalidValue::above_zero("category_weight", self.category_weight)?;
        self.loss_weight
            .validate()
            .map_err(|error| InvalidValue::new("loss_weight", error.to_string()))?;
        if chain.schedule().has_zero_terminal_snr()
            && self.prediction_type == PredictionType::Epsilon
        {
            return Err(InvalidValue::new(
                "prediction_type",
                "where the chain ends without any signal, the noise says nothing of x_0: use \
                 \"v-prediction\" or \"sample\", or noise.rescale_zero_terminal_snr = false",
            ));
        }
        Ok(())
    }
}

/// An objective that rows of a table cannot be trained towards.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ObjectiveError {
    /// A key that makes no sense for categories.
    #[error(transparent)]
    Value(#[from] InvalidValue),
    /// Columns that are on no chain.
    #[error(transparent)]
    Categories(#[from] CategoryCountError),
}

/// A training objective over a chain.
#[derive(Debug, Clone)]
pub struct Objective {
    chain: MixedChain,
    prediction_type: PredictionType,
    loss_weight: LossWeight,
    offset_noise: f64,
    timestep_sampling: TimestepSampling,
    category_loss: CategoryLoss,
    category_weight: f64,
}

impl Objective {
    /// The objective that `config` describes, over `chain`.
    pub fn new(chain: Chain, config: &ObjectiveConfig) -> Self {
        Self::over(chain.into(), config)
    }

    /// As [`Objective::new`], for examples `[N + C, 1, 1]` whose last C channels are categories, of so many
    /// kinds each. The network answers `[B, N + ΣK, 1, 1]`: with a prediction of the numbers, then with
    /// the logits of x_0's categories, column by column.
    ///
    /// # Errors
    ///
    /// A column without a category, or with more than codes can tell apart; offset noise, which would add
    /// to the noise that categories are drawn by.
    pub fn with_categories(
        chain: Chain,
        config: &ObjectiveConfig,
        num_categories: Vec<usize>,
    ) -> Result<Self, ObjectiveError> {
        if config.offset_noise > 0.0 {
            let message = "categories have no offset: set it to 0 for tables";
            return Err(InvalidValue::new("offset_noise", message).into());
        }
        let schedule = chain.schedule().clone();
        let chain = MixedChain::new(schedule, config.transition, num_categories)?;
        Ok(Self::over(chain, config))
    }

    fn over(chain: MixedChain, config: &ObjectiveConfig) -> Self {
        Self {
            chain,
            prediction_type: config.prediction_type,
            loss_weight: config.loss_weight,
            offset_noise: config.offset_noise,
            timestep_sampling: config.timestep_sampling,
            category_loss: config.category_loss,
            category_weight: config.category_weight,
        }
    }

    /// The chain that corrupts the data; of a table, its numbers.
    pub fn chain(&self) -> &Chain {
        self.chain.numbers()
    }

    /// The chain of numbers and categories; without categories that of [`chain`](Self::chain).
    pub fn mixed_chain(&self) -> &MixedChain {
        &self.chain
    }

    /// What the network predicts.
    pub fn prediction_type(&self) -> PredictionType {
        self.prediction_type
    }

    /// How much noise is added that is the same for all pixels of a channel, relative to the other.
    pub fn offset_noise(&self) -> f64 {
        self.offset_noise
    }

    /// `count` timesteps of a batch, from `rng`.
    pub fn timesteps(&self, count: usize, rng: &mut ChaCha8Rng) -> Vec<usize> {
        let of_chain = self.chain().num_train_timesteps();
        match self.timestep_sampling {
            TimestepSampling::Uniform => streams::timesteps(count, of_chain, rng),
            TimestepSampling::Stratified => streams::stratified_timesteps(count, of_chain, rng),
        }
    }

    /// The squared error of each example, averaged over its elements, unweighted: `[B]`. Of a row of a
    /// table, that of its numbers plus `category_weight` times the loss of its categories.
    ///
    /// # Panics
    ///
    /// If the network's answer does not fit the examples.
    pub fn errors(&self, network: &impl Network, batch: Batch) -> Tensor<1> {
        let (question, known) = self.question(batch);
        self.losses(known, question.ask(network), |errors| errors)
    }

    /// The loss of a batch, weighted over timesteps: `[1]`.
    ///
    /// # Panics
    ///
    /// If the network's answer does not fit the examples.
    pub fn loss(&self, network: &impl Network, batch: Batch) -> Tensor<1> {
        let (question, known) = self.question(batch);
        self.weighted_loss(known, question.ask(network))
    }

    /// The [`loss`](Self::loss) of a batch, `scaled`: `[1]`; and its gradients, by
    /// [`Network::backward_recomputing`].
    ///
    /// # Panics
    ///
    /// If the network's answer does not fit the examples.
    pub fn backward_recomputing(
        &self,
        network: &impl Network,
        batch: Batch,
        scaled: impl FnOnce(Tensor<1>) -> Tensor<1>,
    ) -> (Tensor<1>, Vec<Gradients>) {
        let dropout_seed = batch.dropout_seed;
        let (question, known) = self.question(batch);
        let Question {
            x_t,
            timesteps,
            condition,
        } = question;
        network.backward_recomputing(x_t, &timesteps, &condition, dropout_seed, |predicted| {
            scaled(self.weighted_loss(known, predicted))
        })
    }

    fn question(&self, batch: Batch) -> (Question, Known) {
        let Batch {
            x_0,
            condition,
            noise,
            timesteps,
            dropout_seed: _,
        } = batch;
        let has_categories = self.chain.categories().num_columns() > 0;
        let x_t = self.chain.q_sample(x_0.clone(), noise.clone(), &timesteps);
        let codes_t = has_categories.then(|| self.chain.split(x_t.clone()).1);
        let question = Question {
            x_t,
            timesteps: timesteps.iter().map(|&t| t as f64).collect(),
            condition,
        };
        let known = Known {
            x_0,
            noise,
            timesteps,
            codes_t,
        };
        (question, known)
    }

    fn weighted_loss(&self, known: Known, predicted: Tensor<4>) -> Tensor<1> {
        let schedule = self.chain.schedule();
        let weight = |&t: &usize| self.loss_weight.weight(schedule, self.prediction_type, t) as f32;
        let weights: Vec<f32> = known.timesteps.iter().map(weight).collect();
        let device = known.x_0.device();
        let weigh = |errors| {
            if weights.iter().all(|&weight| weight == 1.0) {
                errors
            } else {
                errors * Tensor::from_data(weights.as_slice(), &device)
            }
        };
        self.losses(known, predicted, weigh).mean()
    }

    /// The loss of each example, of which `weigh` weighs the squared errors: `[B]`.
    fn losses(
        &self,
        known: Known,
        predicted: Tensor<4>,
        weigh: impl FnOnce(Tensor<1>) -> Tensor<1>,
    ) -> Tensor<1> {
        let parts = self.parts_of(known, predicted);
        let categories = parts
            .categories
            .map(|loss| loss.mul_scalar(self.category_weight));
        match (parts.numbers.map(weigh), categories) {
            (Some(numbers), Some(categories)) => numbers + categories,
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => unreachable!("an example has numbers or categories"),
        }
    }

    /// What the network's answer to `x_t` costs: what [`errors`](Self::errors) is the sum of.
    ///
    /// # Panics
    ///
    /// If the answer does not fit the examples.
    pub fn parts(
        &self,
        answer: Tensor<4>,
        x_0: Tensor<4>,
        x_t: Tensor<4>,
        noise: Tensor<4>,
        timesteps: &[usize],
    ) -> LossParts {
        let has_categories = self.chain.categories().num_columns() > 0;
        let codes_t = has_categories.then(|| self.chain.split(x_t).1);
        let known = Known {
            x_0,
            noise,
            timesteps: timesteps.to_vec(),
            codes_t,
        };
        self.parts_of(known, answer)
    }

    fn parts_of(&self, known: Known, answer: Tensor<4>) -> LossParts {
        let Known {
            x_0,
            noise,
            timesteps,
            codes_t,
        } = known;
        let of_numbers = |predicted: Tensor<4>, x_0: Tensor<4>, noise: Tensor<4>| -> Tensor<1> {
            let target = self
                .chain()
                .target(self.prediction_type, x_0, noise, &timesteps);
            (predicted - target)
                .square()
                .flatten::<2>(1, 3)
                .mean_dim(1)
                .squeeze_dim(1)
        };
        let Some(codes_t) = codes_t else {
            return LossParts {
                numbers: Some(of_numbers(answer, x_0, noise)),
                categories: None,
            };
        };

        let categories = self.chain.categories();
        let (x_0, codes) = self.chain.split(x_0);
        let (noise, _) = self.chain.split(noise);
        let batch = codes.dims()[0];
        let num_numbers = x_0.as_ref().map_or(0, |numbers| numbers.dims()[1]);
        let num_logits = categories.num_logits();
        assert_eq!(
            answer.dims(),
            [batch, num_numbers + num_logits, 1, 1],
            "the network must answer with the numbers and a logit a category"
        );
        let logits = answer.clone().narrow(1, num_numbers, num_logits);
        let logits = logits.reshape([batch, num_logits]);
        let loss = self.category_loss;
        LossParts {
            categories: Some(category_loss(
                loss, categories, codes, codes_t, logits, &timesteps,
            )),
            numbers: x_0
                .zip(noise)
                .map(|(x_0, noise)| of_numbers(answer.narrow(1, 0, num_numbers), x_0, noise)),
        }
    }
}

/// The loss of each example, part by part: `[B]` each.
#[derive(Debug, Clone)]
pub struct LossParts {
    /// The squared error, averaged over an example's elements or, of a row of a table, over its numbers, unweighted;
    /// `None` where rows have no numbers.
    pub numbers: Option<Tensor<1>>,
    /// The loss of the categories, averaged over them, without `category_weight`; `None` where there are none.
    pub categories: Option<Tensor<1>>,
}

/// What the network is asked.
struct Question {
    x_t: Tensor<4>,
    timesteps: Vec<f64>,
    condition: Condition,
}

impl Question {
    fn ask(self, network: &impl Network) -> Tensor<4> {
        network.forward(self.x_t, &self.timesteps, &self.condition)
    }
}

/// What its answer is compared with.
struct Known {
    x_0: Tensor<4>,
    noise: Tensor<4>,
    timesteps: Vec<usize>,
    /// The categories of x_t, where there are some.
    codes_t: Option<Tensor<2>>,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use burn::module::{Module, Param};
    use burn::tensor::{Device, TensorData};
    use noising::NoiseConfig;

    use super::*;

    /// A network that says of every example the same, whatever x_t is.
    #[derive(Module, Debug)]
    struct Says {
        answer: Param<Tensor<4>>,
    }

    impl Network for Says {
        fn forward(&self, x_t: Tensor<4>, timesteps: &[f64], _: &Condition) -> Tensor<4> {
            let [batch, ..] = x_t.dims();
            assert_eq!(timesteps.len(), batch);
            let [_, channels, height, width] = self.answer.dims();
            self.answer.val().expand([batch, channels, height, width])
        }
    }

    fn says(values: Vec<f32>, shape: [usize; 4]) -> Says {
        Says {
            answer: Param::from_tensor(tensor(values, shape)),
        }
    }

    fn tensor(values: Vec<f32>, shape: [usize; 4]) -> Tensor<4> {
        Tensor::from_data(TensorData::new(values, shape), &Device::flex())
    }

    fn values(tensor: Tensor<1>) -> Vec<f64> {
        tensor.try_into_vec_as().unwrap()
    }

    fn batch(x_0: Tensor<4>, noise: Tensor<4>, timesteps: Vec<usize>) -> Batch {
        Batch {
            x_0,
            condition: Condition::none(),
            noise,
            timesteps,
            dropout_seed: None,
        }
    }

    #[test]
    fn images_have_the_weighted_squared_error_of_the_noise() {
        let config = ObjectiveConfig {
            loss_weight: LossWeight::MinSnr { gamma: 5.0 },
            ..ObjectiveConfig::default()
        };
        let chain = NoiseConfig::default().chain().unwrap();
        let objective = Objective::new(chain.clone(), &config);
        let network = says(vec![0.5, -0.5], [1, 1, 1, 2]);
        let example = || {
            let noise = tensor(vec![0.5, 0.5, -1.5, 1.5], [2, 1, 1, 2]);
            batch(noise.zeros_like(), noise, vec![10, 900])
        };
        assert_eq!(values(objective.errors(&network, example())), [0.5, 4.0]);
        let weight = |t| {
            config
                .loss_weight
                .weight(chain.schedule(), config.prediction_type, t)
        };
        let expected = (0.5 * weight(10) + 4.0 * weight(900)) / 2.0;
        let loss = values(objective.loss(&network, example()))[0];
        assert!((loss - expected).abs() < 1e-6);
    }

    /// A number and two columns, every cell of them noised: squared error of the noise, and the cross
    /// entropy of even probabilities.
    #[test]
    fn rows_have_the_losses_of_numbers_and_categories() {
        let config = ObjectiveConfig {
            category_loss: CategoryLoss::CrossEntropy,
            category_weight: 0.5,
            loss_weight: LossWeight::P2 { k: 1.0, gamma: 1.0 },
            ..ObjectiveConfig::default()
        };
        let chain = NoiseConfig::default().chain().unwrap();
        let objective =
            |counts| Objective::with_categories(chain.clone(), &config, counts).unwrap();
        // The normal numbers of the categories are so low that nothing is kept.
        let rows = |noise: Vec<f32>, channels| {
            let noise = tensor(noise, [2, channels, 1, 1]);
            batch(noise.ones_like(), noise, vec![999, 800])
        };
        let nats = 0.5 * (2.0_f64.ln() + 3.0_f64.ln()) / 2.0;
        let network = says(vec![0.25; 6], [1, 6, 1, 1]);
        let noise = vec![1.25, -5.0, -5.0, -1.75, -5.0, -5.0];
        let errors = values(objective(vec![2, 3]).errors(&network, rows(noise.clone(), 3)));
        for (found, squared) in errors.iter().zip([1.0, 4.0]) {
            assert!((found - squared - nats).abs() < 1e-6, "{errors:?}");
        }
        let by_parts = objective(vec![2, 3]);
        let Batch {
            x_0,
            noise: z,
            timesteps,
            ..
        } = rows(noise.clone(), 3);
        let chain_of_both = by_parts.mixed_chain();
        let x_t = chain_of_both.q_sample(x_0.clone(), z.clone(), &timesteps);
        let answer = network.answer.val().expand([2, 6, 1, 1]);
        let parts = by_parts.parts(answer, x_0, x_t, z, &timesteps);
        assert_eq!(values(parts.numbers.unwrap()), [1.0, 4.0]);
        for found in values(parts.categories.unwrap()) {
            assert!((0.5 * found - nats).abs() < 1e-6, "{found}");
        }
        let loss = values(objective(vec![2, 3]).loss(&network, rows(noise, 3)))[0];
        let weight = |t| {
            config
                .loss_weight
                .weight(chain.schedule(), config.prediction_type, t)
        };
        let expected = (weight(999) + 4.0 * weight(800)) / 2.0 + nats;
        assert!((loss - expected).abs() < 1e-5, "{loss} {expected}");

        // Rows of categories alone.
        let network = says(vec![0.25; 5], [1, 5, 1, 1]);
        let errors = values(objective(vec![2, 3]).errors(&network, rows(vec![-5.0; 4], 2)));
        assert!(errors.iter().all(|found| (found - nats).abs() < 1e-6));
    }

    #[test]
    fn what_makes_no_sense_for_categories_is_refused() {
        let chain = NoiseConfig::default().chain().unwrap();
        let config = ObjectiveConfig::default();
        let error = Objective::with_categories(chain.clone(), &config, vec![3, 0]).unwrap_err();
        assert!(error.to_string().contains("column 1"), "{error}");
        let config = ObjectiveConfig {
            offset_noise: 0.1,
            ..config
        };
        let error = Objective::with_categories(chain.clone(), &config, vec![3]).unwrap_err();
        assert!(error.to_string().starts_with("offset_noise: "), "{error}");
        let config = ObjectiveConfig {
            category_weight: 0.0,
            ..ObjectiveConfig::default()
        };
        assert_eq!(config.check(&chain).unwrap_err().key, "category_weight");
    }

    #[test]
    fn files_without_categories_stay_as_they_are() {
        let config = ObjectiveConfig::default();
        let text = toml::to_string(&config).unwrap();
        assert!(
            !text.contains("categor") && !text.contains("transition"),
            "{text}"
        );
        assert_eq!(toml::from_str::<ObjectiveConfig>(&text).unwrap(), config);
        let text = "transition = 'uniform'\ncategory_loss = 'cross-entropy'\ncategory_weight = 0.3";
        let config: ObjectiveConfig = toml::from_str(text).unwrap();
        assert_eq!(config.transition, Transition::Uniform);
        assert_eq!(config.category_loss, CategoryLoss::CrossEntropy);
        let text = toml::to_string(&config).unwrap();
        assert_eq!(toml::from_str::<ObjectiveConfig>(&text).unwrap(), config);
    }
}
