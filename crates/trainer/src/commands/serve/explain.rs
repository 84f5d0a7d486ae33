//! The forward process and the network at work on one example: x_0, noise, x_t, and what the network makes of it. Of a
//! row the numbers and the categories are on a chain each.

use std::path::Path;

use anyhow::{Context, Result, bail};
use burn::tensor::Tensor;
use noising::{Marginal, MixedChain};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use training::streams::per_image_noise;
use training::{LossParts, Objective, Purpose, Streams};

use super::desk::{Desk, Open, Which};
use super::draw::{encoded, in_base64};
use super::runs::config_in;
use crate::error::Usage;
use crate::kinds::{Examples, Glimpse, Kind, RowUnderNoise};
use crate::sampling::Model;

/// What a page asks for.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    /// Which of the examples.
    example: usize,
    timestep: usize,
    #[serde(default)]
    seed: u64,
    /// Whether x_t is also made step by step.
    #[serde(default)]
    step_by_step: bool,
}

/// The examples of a run that can be looked at: a picture or a row each, of sounds also a file, and a class.
pub(super) fn examples(desk: &mut Desk, run: &Path) -> Result<Value> {
    let data_dir = desk.data_dir.clone();
    let open = desk.open(run, Which::Newest)?;
    let kind = open.kind();
    let Examples { x, classes, sounds } = open.examples(data_dir.as_deref())?.clone();
    let config = open.checkpoint.config();
    let class_names = &config.found.class_names;
    let name = |class: &Option<usize>| class.map(|class| class_names.get(class).cloned());
    let names: Vec<_> = classes.iter().map(name).collect();
    let mut told = json!({ "classes": classes, "names": names });
    match kind.at_a_glance(&config.source(None), x, &classes)? {
        Glimpse::Pictures(pictures) => {
            let pictures: Result<Vec<String>> = pictures.iter().map(encoded).collect();
            told["pictures"] = json!(pictures?);
        }
        Glimpse::Rows(rows) => {
            let chain = open.model.chain.categories();
            told["rows"] = json!(rows);
            told["is_of_lines"] = json!(config.data.is_of_lines());
            told["has_numbers"] =
                json!(open.model.network.example_shape()[0] > chain.num_columns());
            told["transition"] = json!((chain.num_columns() > 0).then(|| chain.transition()));
            // Whether the network is told the class of a row.
            told["is_told_classes"] = json!(open.model.classes.is_some());
        }
    }
    if !sounds.is_empty() {
        let files: Vec<String> = sounds.iter().map(in_base64).collect();
        told["sounds"] = json!(files);
    }
    Ok(told)
}

/// One example at one timestep.
pub(super) fn explain(desk: &mut Desk, run: &Path, asked: Asked) -> Result<Value> {
    let data_dir = desk.data_dir.clone();
    let open = desk.open(run, Which::Newest)?;
    let kind = open.kind();
    let Examples { x, classes, .. } = open.examples(data_dir.as_deref())?;
    let Some(x_0) = kind.one_of(x, asked.example) else {
        bail!(Usage("there is no such example".to_owned()));
    };
    let count = x_0.dims()[0];
    let classes = classes[asked.example.min(classes.len() - count)..][..count].to_vec();
    let Open {
        model, checkpoint, ..
    } = open;
    let chain = &model.chain;
    let last = chain.schedule().num_train_timesteps() - 1;
    let t = asked.timestep;
    if t > last {
        bail!(Usage(format!("timesteps go from 0 to {last}")));
    }
    let alpha_cumprod = chain.schedule().alphas_cumprod()[t];

    // The first is shown; how the others are distributed is said.
    let times = if asked.step_by_step {
        kind.times_under_noise()
    } else {
        1
    };
    let shape = [x_0.dims()[1], x_0.dims()[2], x_0.dims()[3]];
    let streams = Streams::new(asked.seed);
    let mut rngs: Vec<_> = (0..(count * times) as u64)
        .map(|index| streams.at(Purpose::Forward, index))
        .collect();
    let mut noise = || per_image_noise(shape, &mut rngs, &model.device);
    let all_x_0 = x_0.clone().repeat_dim(0, times);
    let all_noise = noise();
    let all_x_t = chain.q_sample(all_x_0.clone(), all_noise.clone(), &[t]);
    let [epsilon, x_t] = [all_noise, all_x_t.clone()].map(|all| all.narrow(0, 0, count));
    let all_by_steps = asked
        .step_by_step
        .then(|| (0..=t).fold(all_x_0.clone(), |x, step| chain.q_step(x, noise(), &[step])));

    let Answer {
        losses: [of_numbers, of_categories],
        numbers,
        logits,
    } = answer(model, &x_0, &x_t, &epsilon, t, &classes)?;
    let mut told = json!({
        "prediction_type": model.objective.prediction_type,
        "loss": of_numbers.unwrap_or(0.0) + of_categories.unwrap_or(0.0),
        "loss_of_numbers": of_numbers,
        "loss_of_categories": of_categories,
        "signal": alpha_cumprod.sqrt(),
        "sigma": (1.0 - alpha_cumprod).sqrt(),
        "kept": alpha_cumprod,
        "beta": chain.schedule().betas()[t],
        "snr": finite(chain.schedule().snr(t)),
        "deviation": deviation(chain, &all_x_t)?,
    });
    if let Some(all) = &all_by_steps {
        told["step_by_step_deviation"] = json!(deviation(chain, all)?);
    }
    let by_steps = all_by_steps.clone().map(|all| all.narrow(0, 0, count));
    if Kind::of_rows().contains(&kind) {
        let row = RowUnderNoise {
            x_0: values(x_0)?,
            x_t: values(x_t)?,
            step_by_step: by_steps.map(values).transpose()?,
            predicted_numbers: match numbers {
                Some([predicted_x_0, _]) => values(predicted_x_0)?,
                None => Vec::new(),
            },
            logits,
            transition: chain.categories().transition(),
        };
        told["cells"] = json!(kind.cells(&checkpoint.config().source(None), &row)?);
        if let Some(all) = all_by_steps {
            let shares = Unchanged::of(chain, t, all_x_0, all_x_t, all)?;
            told["unchanged"] = json!(shares);
            told["times"] = json!(times);
        }
        return Ok(told);
    }
    let one = |x: Tensor<4>| -> Result<String> {
        let pictures = kind.glimpse(x)?;
        encoded(pictures.first().context("there is nothing to show")?)
    };
    let [predicted_x_0, predicted_noise] =
        numbers.context("the network predicts no numbers, which pictures are made of")?;
    for (name, x) in [
        ("x_0", x_0),
        ("noise", epsilon),
        ("x_t", x_t),
        ("predicted_x_0", predicted_x_0),
        ("predicted_noise", predicted_noise),
    ] {
        told[name] = json!(one(x)?);
    }
    if let Some(x) = by_steps {
        told["step_by_step"] = json!(one(x)?);
    }
    Ok(told)
}

/// What a network makes of x_t.
struct Answer {
    /// The loss of the numbers and, weighted, of the categories, where there are any.
    losses: [Option<f64>; 2],
    /// The numbers as x_0 and as noise.
    numbers: Option<[Tensor<4>; 2]>,
    /// What it says of the categories, column by column.
    logits: Vec<f32>,
}

fn answer(
    model: &Model,
    x_0: &Tensor<4>,
    x_t: &Tensor<4>,
    epsilon: &Tensor<4>,
    t: usize,
    classes: &[Option<usize>],
) -> Result<Answer> {
    let chain = &model.chain;
    let timesteps = vec![t; classes.len()];
    // A network without a label for "no class" is always told one.
    let answer = model.predict_each(0, x_t.clone(), &timesteps, classes);
    let of_numbers = chain.numbers().clone();
    let counts = model.network.categories();
    let objective = if counts.is_empty() {
        Objective::new(of_numbers, &model.objective)
    } else {
        Objective::with_categories(of_numbers, &model.objective, counts)?
    };
    let [answered, x_0, epsilon] = [&answer, x_0, epsilon].map(Tensor::clone);
    let LossParts {
        numbers,
        categories,
    } = objective.parts(answered, x_0, x_t.clone(), epsilon, &timesteps);
    let of_categories = categories.map(mean).transpose()?;
    let losses = [
        numbers.map(mean).transpose()?,
        of_categories.map(|loss| loss * model.objective.category_weight),
    ];
    let numbers_t = numbers_of(chain, x_t.clone());
    let num_numbers = numbers_t.as_ref().map_or(0, |numbers| numbers.dims()[1]);
    let marginal = Marginal::new(chain.schedule().alphas_cumprod()[t]);
    let numbers = numbers_t.map(|x_t| {
        let kind = model.objective.prediction_type;
        let prediction = answer.clone().narrow(1, 0, num_numbers);
        [
            marginal.predicted_x_0(kind, x_t.clone(), prediction.clone()),
            marginal.predicted_epsilon(kind, x_t, prediction),
        ]
    });
    let num_logits = chain.categories().num_logits();
    let logits = match num_logits {
        0 => Vec::new(),
        _ => values(answer.narrow(1, num_numbers, num_logits))?,
    };
    Ok(Answer {
        losses,
        numbers,
        logits,
    })
}

/// The share of categories that are still those of x_0, of many rows that were noised: by the closed form itself,
/// where it was drawn from, and where each step was.
#[derive(Debug, Serialize)]
struct Unchanged {
    expected: f64,
    at_once: f64,
    step_by_step: f64,
}

impl Unchanged {
    /// Nothing where there are no categories.
    fn of(
        chain: &MixedChain,
        t: usize,
        x_0: Tensor<4>,
        at_once: Tensor<4>,
        step_by_step: Tensor<4>,
    ) -> Result<Option<Self>> {
        let categories = chain.categories();
        let columns = categories.num_columns();
        if columns == 0 {
            return Ok(None);
        }
        // Behind the numbers of each row.
        let codes = |x: Tensor<4>| -> Result<Vec<f32>> {
            let len = x.dims()[1];
            let values = values(x)?;
            let of_rows = values.chunks(len).map(|row| &row[len - columns..]);
            Ok(of_rows.flatten().copied().collect())
        };
        let x_0 = codes(x_0)?;
        let share = |x: Tensor<4>| -> Result<f64> {
            let same = codes(x)?.iter().zip(&x_0).filter(|(a, b)| a == b).count();
            Ok(same as f64 / x_0.len() as f64)
        };
        let keep = categories.schedule().alphas_cumprod()[t];
        let expected = x_0.iter().zip(categories.num_categories().iter().cycle());
        let expected = expected.map(|(&code, &count)| {
            let prior = categories.transition().prior(count);
            let by_chance = prior.get(code as usize).copied().unwrap_or(0.0);
            keep + (1.0 - keep) * by_chance
        });
        Ok(Some(Self {
            // Every row is the same.
            expected: expected.take(columns).sum::<f64>() / columns as f64,
            at_once: share(at_once)?,
            step_by_step: share(step_by_step)?,
        }))
    }
}

/// The noise schedule of a run at most so many timesteps, and what its network has to do at each.
pub(super) fn schedule(run: &Path) -> Result<Value> {
    const MOST: usize = 500;
    let config = config_in(run)?;
    let chain = config.noise.chain()?;
    let schedule = chain.schedule();
    let count = schedule.num_train_timesteps();
    let every = count.div_ceil(MOST).max(1);
    let timesteps: Vec<usize> = (0..count)
        .filter(|t| t % every == 0 || t + 1 == count)
        .collect();
    let at = |value: &dyn Fn(usize) -> f64| -> Vec<Option<f64>> {
        timesteps.iter().map(|&t| finite(value(t))).collect()
    };
    Ok(json!({
        "num_train_timesteps": count,
        "timestep": timesteps,
        "signal": at(&|t| schedule.alphas_cumprod()[t].sqrt()),
        "sigma": at(&|t| (1.0 - schedule.alphas_cumprod()[t]).sqrt()),
        "kept": at(&|t| schedule.alphas_cumprod()[t]),
        "beta": at(&|t| schedule.betas()[t]),
        "log_snr": at(&|t| schedule.log_snr(t)),
    }))
}

impl Open {
    fn kind(&self) -> Kind {
        self.checkpoint.config().data.kind()
    }

    /// Some examples of the test split, read once.
    fn examples(&mut self, data_dir: Option<&Path>) -> Result<&Examples> {
        let examples = match self.examples.take() {
            Some(examples) => examples,
            None => {
                let source = self.checkpoint.config().source(data_dir);
                self.kind().examples(&source, &self.model.device)?
            }
        };
        Ok(self.examples.insert(examples))
    }
}

/// What JSON has: an infinite ratio is none.
fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

/// The numbers of examples, all of them where there are no categories.
fn numbers_of(chain: &MixedChain, x: Tensor<4>) -> Option<Tensor<4>> {
    if chain.categories().num_columns() == 0 {
        return Some(x);
    }
    chain.split(x).0
}

/// The root mean square of the numbers, where there are any.
fn deviation(chain: &MixedChain, x: &Tensor<4>) -> Result<Option<f64>> {
    let square = numbers_of(chain, x.clone()).map(|x| mean((x.clone() * x).mean()));
    Ok(square.transpose()?.map(f64::sqrt))
}

/// The mean of some numbers, on the host.
fn mean(x: Tensor<1>) -> Result<f64> {
    let mean: Vec<f32> = x
        .mean()
        .try_into_vec_as()
        .context("cannot read a mean back from the device")?;
    Ok(mean.first().copied().unwrap_or(f32::NAN).into())
}

fn values(x: Tensor<4>) -> Result<Vec<f32>> {
    x.try_into_vec_as()
        .context("cannot read values back from the device")
}
