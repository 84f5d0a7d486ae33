//! The forward process and the network at work on one example: x_0, noise, x_t, and what the network makes of it.

use std::path::Path;

use anyhow::{Context, Result, bail};
use burn::tensor::Tensor;
use noising::Marginal;
use serde::Deserialize;
use serde_json::{Value, json};
use training::streams::per_image_noise;
use training::{Purpose, Streams};

use super::desk::{Desk, Open, Which};
use super::draw::encoded;
use super::runs::config_in;
use crate::error::Usage;
use crate::kinds::Kind;

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

/// The examples of a run that can be looked at: a picture and a class each.
pub(super) fn examples(desk: &mut Desk, run: &Path) -> Result<Value> {
    let data_dir = desk.data_dir.clone();
    let open = desk.open(run, Which::Newest)?;
    let kind = open.kind();
    let names = open.checkpoint.config().found.class_names.clone();
    let (examples, classes) = open.examples(data_dir.as_deref())?;
    let pictures: Result<Vec<String>> = kind
        .glimpse(examples.clone())?
        .iter()
        .map(encoded)
        .collect();
    let name = |class: &Option<usize>| class.map(|class| names.get(class).cloned());
    let names: Vec<_> = classes.iter().map(name).collect();
    Ok(json!({ "pictures": pictures?, "classes": classes, "names": names }))
}

/// One example at one timestep.
pub(super) fn explain(desk: &mut Desk, run: &Path, asked: Asked) -> Result<Value> {
    let data_dir = desk.data_dir.clone();
    let open = desk.open(run, Which::Newest)?;
    let kind = open.kind();
    let (examples, classes) = open.examples(data_dir.as_deref())?;
    let Some(x_0) = kind.one_of(examples, asked.example) else {
        bail!(Usage("there is no such example".to_owned()));
    };
    let count = x_0.dims()[0];
    let classes = classes[asked.example.min(classes.len() - count)..][..count].to_vec();
    let Open { model, .. } = open;
    let chain = model.chain.numbers();
    let last = chain.num_train_timesteps() - 1;
    let t = asked.timestep;
    if t > last {
        bail!(Usage(format!("timesteps go from 0 to {last}")));
    }
    let shape = [x_0.dims()[1], x_0.dims()[2], x_0.dims()[3]];
    let streams = Streams::new(asked.seed);
    let mut rngs: Vec<_> = (0..count as u64)
        .map(|index| streams.at(Purpose::Forward, index))
        .collect();
    let mut noise = || per_image_noise(shape, &mut rngs, &model.device);
    let epsilon = noise();
    let x_t = chain.q_sample(x_0.clone(), epsilon.clone(), &[t]);
    // A network without a label for "no class" is always told one.
    let prediction = model.predict_each(0, x_t.clone(), &vec![t; count], &classes);
    let prediction_type = model.objective.prediction_type;
    let schedule = chain.schedule();
    let alpha_cumprod = schedule.alphas_cumprod()[t];
    let marginal = Marginal::new(alpha_cumprod);
    let target = marginal.target(prediction_type, x_0.clone(), epsilon.clone());
    let loss = mean_square(prediction.clone() - target)?;
    let predicted_x_0 = marginal.predicted_x_0(prediction_type, x_t.clone(), prediction.clone());
    let predicted_noise = marginal.predicted_epsilon(prediction_type, x_t.clone(), prediction);
    let one = |x: Tensor<4>| -> Result<String> {
        let pictures = kind.glimpse(x)?;
        encoded(pictures.first().context("there is nothing to show")?)
    };
    let mut told = json!({
        "x_0": one(x_0.clone())?,
        "noise": one(epsilon)?,
        "x_t": one(x_t.clone())?,
        "predicted_x_0": one(predicted_x_0)?,
        "predicted_noise": one(predicted_noise)?,
        "prediction_type": prediction_type,
        "loss": loss,
        "signal": alpha_cumprod.sqrt(),
        "sigma": (1.0 - alpha_cumprod).sqrt(),
        "beta": schedule.betas()[t],
        "snr": finite(schedule.snr(t)),
        "deviation": mean_square(x_t)?.sqrt(),
    });
    if asked.step_by_step {
        let mut x = x_0;
        for step in 0..=t {
            x = chain.q_step(x, noise(), &[step]);
        }
        told["step_by_step"] = json!(one(x.clone())?);
        told["step_by_step_deviation"] = json!(mean_square(x)?.sqrt());
    }
    Ok(told)
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
        "beta": at(&|t| schedule.betas()[t]),
        "log_snr": at(&|t| schedule.log_snr(t)),
    }))
}

impl Open {
    fn kind(&self) -> Kind {
        self.checkpoint.config().data.kind()
    }

    /// Some examples of the test split, read once.
    fn examples(&mut self, data_dir: Option<&Path>) -> Result<&(Tensor<4>, Vec<Option<usize>>)> {
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

fn mean_square(x: Tensor<4>) -> Result<f64> {
    let mean: Vec<f32> = (x.clone() * x)
        .mean()
        .try_into_vec_as()
        .context("cannot read a mean back from the device")?;
    Ok(mean.first().copied().unwrap_or(f32::NAN).into())
}
