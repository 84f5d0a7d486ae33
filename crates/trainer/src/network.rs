//! The network of a run: a U-Net for images, a multilayer perceptron for points. The rest of the program
//! sees one network of examples `[B, C, H, W]`; a point of D coordinates is D channels of one pixel.

use std::collections::BTreeMap;

use anyhow::Result;
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use rand::Rng;
use training::{Condition, Purpose, Streams};
use unet::{UNet, UNetConfigError};
use weights::WeightsError;

use crate::config::RunConfig;
use mlp::Mlp;

/// A network that predicts from x_t and t.
#[derive(Module, Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one of it")]
pub enum Network {
    /// For images.
    UNet(UNet),
    /// For points.
    Mlp(Mlp),
}

impl Network {
    /// The network that `config` describes, its weights drawn from `rng`.
    ///
    /// # Errors
    ///
    /// A description that makes no sense.
    pub fn new(
        config: &RunConfig,
        device: &Device,
        rng: &mut impl Rng,
    ) -> Result<Self, UNetConfigError> {
        Ok(if config.data.kind().uses_mlp() {
            Self::Mlp(config.mlp.init(device, rng))
        } else {
            Self::UNet(config.network.init(device, rng)?)
        })
    }

    /// The shape of an example: channels, height, width.
    pub fn example_shape(&self) -> [usize; 3] {
        match self {
            Self::UNet(unet) => {
                let config = unet.config();
                [config.in_channels, config.sample_size, config.sample_size]
            }
            Self::Mlp(mlp) => [mlp.config().dimensions(), 1, 1],
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
        }
    }

    /// This network with the weights of a safetensors file; see [`weights::from_safetensors`].
    pub fn from_safetensors(self, bytes: &[u8]) -> Result<Self, WeightsError> {
        Ok(match self {
            Self::UNet(unet) => Self::UNet(weights::from_safetensors(unet, bytes)?),
            Self::Mlp(mlp) => Self::Mlp(weights::from_safetensors(mlp, bytes)?),
        })
    }
}

impl training::Network for Network {
    fn forward(&self, x_t: Tensor<4>, timesteps: &[f64], condition: &Condition) -> Tensor<4> {
        match self {
            Self::UNet(unet) => {
                // The embedding behind those of the classes is that of "no class".
                let labels = condition.num_classes().map(|num_classes| {
                    let labels = condition.labels().unwrap_or_default().iter();
                    labels
                        .map(|label| label.unwrap_or(num_classes))
                        .collect::<Vec<usize>>()
                });
                unet.forward(x_t, timesteps, labels.as_deref())
            }
            Self::Mlp(mlp) => {
                assert!(condition.labels().is_none(), "points have no classes");
                let shape = x_t.dims();
                mlp.forward(x_t.flatten::<2>(1, 3), timesteps)
                    .reshape(shape)
            }
        }
    }
}

/// A network that has learnt nothing yet, on `device`.
pub fn initial_network(config: &RunConfig, device: &Device) -> Result<Network> {
    let mut rng = Streams::new(config.seed).at(Purpose::Weights, 0);
    Ok(Network::new(config, device, &mut rng)?)
}
