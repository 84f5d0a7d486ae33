//! The network of a run: a U-Net for images, a multilayer perceptron for points and rows of tables, a transformer for
//! lines of text. The rest of the program sees one network of examples `[B, C, H, W]`; a point of D coordinates is D
//! channels of one pixel, and so is a row of as many columns.

use std::collections::BTreeMap;

use burn::module::Module;
use burn::tensor::{Device, Gradients, Tensor};
use mlp::{Mlp, MlpConfig};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use training::{Condition, InvalidValue, Precision, Purpose, Streams, backward_keeping};
use transformer::{Transformer, TransformerConfig};
use unet::{SampleSize, UNet, UNetConfig, UNetConfigError};
use weights::WeightsError;

/// `[network]`: the kind of network, and the keys of that kind.
#[derive(Debug, Clone, PartialEq, Serialize, schemars::JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase")]
#[schemars(transform = unet_needs_no_kind)]
pub enum NetworkConfig {
    /// `kind = "unet"`, for images.
    UNet(UNetConfig),
    /// `kind = "mlp"`, for points and tables.
    Mlp(MlpConfig),
    /// `kind = "transformer"`, for lines of text.
    Transformer(TransformerConfig),
}

/// As it is read: a table without `kind` is a U-Net.
fn unet_needs_no_kind(schema: &mut schemars::Schema) {
    let unet = schema
        .get_mut("oneOf")
        .and_then(|kinds| kinds.get_mut(0))
        .and_then(serde_json::Value::as_object_mut);
    if let Some(unet) = unet {
        unet.remove("required");
    }
}

impl Default for NetworkConfig {
    fn default() -> Self {
        Self::UNet(UNetConfig::default())
    }
}

impl<'de> Deserialize<'de> for NetworkConfig {
    /// Without `kind`, as in files from before there was a choice, it is a U-Net.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut keys = toml::Table::deserialize(deserializer)?;
        let kind = keys.remove("kind");
        let network = match kind.as_ref().map(toml::Value::as_str) {
            None | Some(Some("unet")) => UNetConfig::deserialize(keys).map(Self::UNet),
            Some(Some("mlp")) => MlpConfig::deserialize(keys).map(Self::Mlp),
            Some(Some("transformer")) => {
                TransformerConfig::deserialize(keys).map(Self::Transformer)
            }
            Some(_) => {
                return Err(D::Error::custom(format!(
                    "unknown kind of network, {}, expected `unet`, `mlp` or `transformer`",
                    kind.unwrap_or_else(|| "none".into())
                )));
            }
        };
        network.map_err(|error| D::Error::custom(error.to_string().trim_end()))
    }
}

impl NetworkConfig {
    /// # Errors
    ///
    /// The first value that describes no network.
    pub fn check(&self) -> Result<(), InvalidValue> {
        match self {
            Self::UNet(unet) => unet.validate().map_err(|error| {
                let message = format!("it is {}, expected {}", error.found, error.expected);
                InvalidValue::new(error.key, message)
            }),
            Self::Mlp(mlp) => mlp
                .validate()
                .map_err(|(key, message)| InvalidValue::new(key, message)),
            Self::Transformer(transformer) => transformer
                .validate()
                .map_err(|(key, message)| InvalidValue::new(key, message)),
        }
    }

    /// The U-Net, if it is one.
    pub fn as_unet(&self) -> Option<&UNetConfig> {
        match self {
            Self::UNet(unet) => Some(unet),
            Self::Mlp(_) | Self::Transformer(_) => None,
        }
    }

    /// Why the network does not compute in this precision, if it does not.
    pub fn why_not_in(&self, precision: Precision) -> Option<&'static str> {
        let is_refused = precision != Precision::F32 && self.as_unet().is_none();
        is_refused
            .then_some("only networks of images and sounds compute in another precision than f32")
    }

    /// Why the network computes nothing again for its gradients, if it does not.
    pub fn why_not_recomputing(&self) -> Option<&'static str> {
        let is_refused = self.as_unet().is_none();
        is_refused.then_some("only networks of images and sounds compute activations again")
    }

    /// The shape of an example: channels, height, width.
    pub fn example_shape(&self) -> [usize; 3] {
        match self {
            Self::UNet(unet) => {
                let SampleSize { height, width } = unet.sample_size;
                [unet.in_channels, height, width]
            }
            Self::Mlp(mlp) => [mlp.inputs(), 1, 1],
            Self::Transformer(transformer) => [transformer.columns(), 1, 1],
        }
    }

    /// How many categories each of the last channels of an example has, where they are categories.
    pub fn categories(&self) -> Vec<usize> {
        match self {
            Self::UNet(_) => Vec::new(),
            Self::Mlp(mlp) => mlp.categories.clone(),
            Self::Transformer(transformer) => {
                vec![transformer.categories(); transformer.columns()]
            }
        }
    }

    /// The number of embeddings of classes, and of "no class" where there is one; `None` where the network
    /// knows no classes.
    pub fn num_class_embeds(&self) -> Option<usize> {
        match self {
            Self::UNet(unet) => unet.num_class_embeds,
            Self::Mlp(mlp) => mlp.num_class_embeds,
            Self::Transformer(transformer) => transformer.num_class_embeds,
        }
    }

    /// Whether the network draws from the device's own generator in training.
    pub fn has_dropout(&self) -> bool {
        match self {
            Self::UNet(unet) => unet.dropout > 0.0,
            Self::Mlp(mlp) => mlp.dropout > 0.0,
            Self::Transformer(transformer) => transformer.dropout > 0.0,
        }
    }

    /// A network that has learnt nothing yet, on `device`, as the runs of `seed` begin.
    ///
    /// # Errors
    ///
    /// A description that makes no sense.
    pub fn init(&self, seed: u64, device: &Device) -> Result<Network, UNetConfigError> {
        let mut rng = Streams::new(seed).at(Purpose::Weights, 0);
        Ok(match self {
            Self::UNet(unet) => Network::UNet(unet.init(device, &mut rng)?),
            Self::Mlp(mlp) => Network::Mlp(mlp.init(device, &mut rng)),
            Self::Transformer(transformer) => {
                Network::Transformer(transformer.init(device, &mut rng))
            }
        })
    }
}

/// A network that predicts from x_t and t.
#[derive(Module, Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one of it")]
pub enum Network {
    /// For images.
    UNet(UNet),
    /// For points and tables.
    Mlp(Mlp),
    /// For lines of text.
    Transformer(Transformer),
}

impl Network {
    /// Its kind, as `[network]` has it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::UNet(_) => "unet",
            Self::Mlp(_) => "mlp",
            Self::Transformer(_) => "transformer",
        }
    }

    /// The shape of an example: channels, height, width.
    pub fn example_shape(&self) -> [usize; 3] {
        match self {
            Self::UNet(unet) => {
                let SampleSize { height, width } = unet.config().sample_size;
                [unet.config().in_channels, height, width]
            }
            Self::Mlp(mlp) => [mlp.config().inputs(), 1, 1],
            Self::Transformer(transformer) => [transformer.config().columns(), 1, 1],
        }
    }

    /// How many categories each of the last channels of an example has, where they are categories.
    pub fn categories(&self) -> Vec<usize> {
        match self {
            Self::UNet(_) => Vec::new(),
            Self::Mlp(mlp) => mlp.config().categories.clone(),
            Self::Transformer(transformer) => {
                let config = transformer.config();
                vec![config.categories(); config.columns()]
            }
        }
    }

    /// The same network, which computes in this precision; one of points, tables or lines, for which there is no other,
    /// in f32.
    #[must_use]
    pub fn in_precision(self, precision: Precision) -> Self {
        match self {
            Self::UNet(unet) => Self::UNet(unet.computing_in(precision.dtype())),
            Self::Mlp(_) | Self::Transformer(_) => self,
        }
    }

    /// The weights as a safetensors file; see [`weights::to_safetensors`].
    pub fn to_safetensors(
        &self,
        metadata: &BTreeMap<String, String>,
    ) -> Result<Vec<u8>, WeightsError> {
        match self {
            Self::UNet(unet) => weights::to_safetensors(unet, metadata),
            Self::Mlp(mlp) => weights::to_safetensors(mlp, metadata),
            Self::Transformer(transformer) => weights::to_safetensors(transformer, metadata),
        }
    }

    /// This network with the weights of a safetensors file; see [`weights::from_safetensors`].
    pub fn from_safetensors(self, bytes: &[u8]) -> Result<Self, WeightsError> {
        Ok(match self {
            Self::UNet(unet) => Self::UNet(weights::from_safetensors(unet, bytes)?),
            Self::Mlp(mlp) => Self::Mlp(weights::from_safetensors(mlp, bytes)?),
            Self::Transformer(transformer) => {
                Self::Transformer(weights::from_safetensors(transformer, bytes)?)
            }
        })
    }
}

impl training::Network for Network {
    fn forward(&self, x_t: Tensor<4>, timesteps: &[f64], condition: &Condition) -> Tensor<4> {
        let labels = labels(condition);
        let labels = labels.as_deref();
        let predicted = match self {
            Self::UNet(unet) => return unet.forward(x_t, timesteps, labels),
            Self::Mlp(mlp) => mlp.forward(x_t.flatten::<2>(1, 3), timesteps, labels),
            Self::Transformer(transformer) => {
                transformer.forward(x_t.flatten::<2>(1, 3), timesteps, labels)
            }
        };
        let [batch, outputs] = predicted.dims();
        predicted.reshape([batch, outputs, 1, 1])
    }

    fn backward_recomputing(
        &self,
        x_t: Tensor<4>,
        timesteps: &[f64],
        condition: &Condition,
        dropout_seed: Option<u64>,
        loss: impl FnOnce(Tensor<4>) -> Tensor<1>,
    ) -> (Tensor<1>, Vec<Gradients>) {
        match self {
            Self::UNet(unet) => {
                let labels = labels(condition);
                unet.backward_recomputing(x_t, timesteps, labels.as_deref(), dropout_seed, loss)
            }
            Self::Mlp(_) | Self::Transformer(_) => {
                backward_keeping(self, x_t, timesteps, condition, dropout_seed, loss)
            }
        }
    }
}

/// The embedding of each example's class, where there are classes; the one behind them, where the network has it, is
/// that of "no class".
fn labels(condition: &Condition) -> Option<Vec<usize>> {
    let num_classes = condition.num_classes()?;
    let labels = condition.labels().unwrap_or_default().iter();
    let labels = labels.map(|label| label.unwrap_or(num_classes));
    Some(labels.collect())
}
