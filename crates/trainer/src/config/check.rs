//! The checks of a configuration: those of its sections, and those across sections.

use denoising::Guidance;
use training::InvalidValue;

use super::RunConfig;

/// A value that makes no sense: the key, with dots, and what was expected.
pub(super) struct BadValue {
    pub(super) key: String,
    pub(super) message: String,
}

impl BadValue {
    fn new(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            message: message.into(),
        }
    }
}

/// What a section says of its own key, with the name of the section.
fn within(section: &str) -> impl FnOnce(InvalidValue) -> BadValue {
    move |InvalidValue { key, message }| match key {
        "" => BadValue::new(section, message),
        key => BadValue::new(format!("{section}.{key}"), message),
    }
}

/// Checks every value.
pub(super) fn check(config: &RunConfig) -> Result<(), BadValue> {
    config.training.check().map_err(within("training"))?;
    config.optimizer.check().map_err(within("optimizer"))?;
    config.ema.check().map_err(within("ema"))?;
    let conditioning = config.conditioning.check();
    conditioning.map_err(within("conditioning"))?;
    config.log.check().map_err(within("log"))?;
    config.checkpoint.check().map_err(within("checkpoint"))?;
    config.held_out.check().map_err(within("held_out"))?;
    config.evaluation.check().map_err(within("evaluation"))?;
    config.data.check().map_err(within("data"))?;
    let sections = config.sections();
    let kind = config.data.kind();
    kind.check(&sections)
        .map_err(|(key, message)| BadValue::new(key, message))?;
    config.network.check().map_err(within("network"))?;
    if let Some(why) = config.network.why_not_in(config.training.precision) {
        return Err(BadValue::new("training.precision", why));
    }
    if let Some(why) = config.network.why_not_recomputing()
        && config.training.checkpoint_activations
    {
        return Err(BadValue::new("training.checkpoint_activations", why));
    }
    let timesteps = config.noise.num_train_timesteps as u64;
    InvalidValue::at_least("num_train_timesteps", timesteps, 1).map_err(within("noise"))?;
    let chain = config.noise.chain();
    let chain = chain.map_err(|error| BadValue::new("noise.schedule", error.to_string()))?;
    let objective = &config.objective;
    objective.check(&chain).map_err(within("objective"))?;
    config
        .sampling
        .check(chain.schedule(), objective.prediction_type)
        .map_err(within("sampling"))
}

/// Checks that guidance, where it is wanted, is something that the network can learn. Apart from
/// [`check`], since runs were written before that have guidance for a network without classes, and they
/// still open.
pub(super) fn check_guidance(config: &RunConfig) -> Result<(), BadValue> {
    let Guidance {
        scale,
        interval,
        rescale,
    } = config.sampling.options.guidance();
    let key = if scale != 1.0 {
        "sampling.guidance_scale"
    } else if interval.is_some() {
        "sampling.guidance_interval"
    } else if rescale != 0.0 {
        "sampling.guidance_rescale"
    } else {
        return Ok(());
    };
    match config.why_no_guidance() {
        Some(why) => Err(BadValue::new(
            key,
            format!("there is nothing to guide: {why}"),
        )),
        None => Ok(()),
    }
}
