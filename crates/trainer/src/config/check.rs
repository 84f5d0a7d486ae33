//! The checks of a configuration: those of its sections, and those across sections.

use datasets::Channels;
use denoising::X0Clipping;
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
    check_network(config)?;
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

/// What the data make of the network.
fn check_network(config: &RunConfig) -> Result<(), BadValue> {
    let data = &config.data;
    match data.is_points() {
        true => check_points(config)?,
        false if data.path.is_some() && Channels::of(config.network.in_channels).is_none() => {
            return Err(BadValue::new(
                "network.in_channels",
                format!(
                    "it is {}, but images have 1 channel (grey), 3 (RGB) or 4 (RGBA)",
                    config.network.in_channels
                ),
            ));
        }
        _ => {}
    }
    config.network.validate().map_err(|error| {
        BadValue::new(
            format!("network.{}", error.key),
            format!("it is {}, expected {}", error.found, error.expected),
        )
    })
}

/// What makes no sense for points.
fn check_points(config: &RunConfig) -> Result<(), BadValue> {
    let for_images_alone = [
        ("data.flip", config.data.flip, "there is nothing to mirror"),
        (
            "conditioning.class_labels",
            config.conditioning.class_labels,
            "they have no classes",
        ),
        (
            "evaluation.every",
            config.evaluation.every.is_some(),
            "scores are of images",
        ),
        (
            "objective.offset_noise",
            config.objective.offset_noise > 0.0,
            "a coordinate has one value, and all noise is its own",
        ),
        (
            "sampling.clipping",
            config.sampling.options.clipping != X0Clipping::None,
            "they are not confined to [-1, 1] as images are, so clipping.kind must be \"none\"",
        ),
    ];
    for (key, given, why) in for_images_alone {
        if given {
            return Err(BadValue::new(key, format!("the data are points: {why}")));
        }
    }
    let normalisation = config.found.normalisation.as_ref();
    let dimensions = config.mlp.dimensions();
    if normalisation.is_some_and(|n| [n.offset.len(), n.columns.len()] != [dimensions; 2]) {
        return Err(BadValue {
            key: "found.normalisation".to_owned(),
            message: format!("expected columns and offset for {dimensions} coordinates"),
        });
    }
    config.mlp.validate().map_err(|(key, message)| BadValue {
        key: format!("mlp.{key}"),
        message,
    })
}
