//! The network for points and tables: a residual multilayer perceptron.
//!
//! ```text
//! x_t, sines and cosines of ω x_t → linear → W
//! blocks:  h + linear(SiLU(linear(SiLU(h)) + linear(SiLU(embedding(t)))))
//! SiLU → linear → prediction
//! ```
//!
//! The residual block of the U-Net (Ho et al. 2020, appendix B) with linear layers in the place of
//! convolutions, and without normalisation, which would take from a point how far out it lies. Without the
//! sines, a perceptron is slow to learn what changes over short distances (Tancik et al. 2020).

#![forbid(unsafe_code)]

use std::f64::consts::{FRAC_PI_2, PI};

use burn::module::{Module, Param};
use burn::nn::{Linear, LinearConfig};
use burn::tensor::activation::silu;
use burn::tensor::{Device, Tensor, TensorData};
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};
use unet::timestep_embedding;

/// The most of any size; beyond it products of sizes make no sense.
const MAX_SIZE: usize = 65_536;

/// The ω of the sines and cosines of each coordinate, in radians a deviation of the data.
const FREQUENCIES: [f64; 3] = [FRAC_PI_2, PI, 2.0 * PI];

/// Numbers that a coordinate becomes: itself, and a sine and a cosine of each frequency.
const NUMBERS_A_COORDINATE: usize = 1 + 2 * FREQUENCIES.len();

/// The description of an [`Mlp`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct MlpConfig {
    /// Coordinates of a point; they follow from the data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dimensions: Option<usize>,
    /// Features of a point within the network, and of the time embedding.
    pub width: usize,
    /// Residual blocks.
    pub blocks: usize,
}

impl Default for MlpConfig {
    fn default() -> Self {
        Self {
            dimensions: None,
            width: 96,
            blocks: 4,
        }
    }
}

impl MlpConfig {
    /// Coordinates of a point where the data have not said: those of the plane.
    const PLANE: usize = 2;

    /// Coordinates of a point.
    #[must_use]
    pub fn dimensions(&self) -> usize {
        self.dimensions.unwrap_or(Self::PLANE)
    }

    /// The first key that holds what makes no sense, and what was expected.
    pub fn validate(&self) -> Result<(), (&'static str, String)> {
        let sizes = [
            // Two frequencies at least, of a sine and a cosine each.
            ("width", self.width, 4),
            ("blocks", self.blocks, 1),
            ("dimensions", self.dimensions(), 1),
        ];
        for (key, found, least) in sizes {
            if !(least..=MAX_SIZE).contains(&found) {
                return Err((
                    key,
                    format!("it is {found}, expected {least} to {MAX_SIZE}"),
                ));
            }
        }
        Ok(())
    }

    /// A network that has learnt nothing yet, its weights drawn from `rng` on the host.
    pub fn init(&self, device: &Device, rng: &mut impl Rng) -> Mlp {
        let width = self.width;
        let mut linear = |[inputs, outputs]: [usize; 2], scale: f64| {
            let limit = (6.0 * scale / (inputs + outputs) as f64).sqrt();
            let values: Vec<f32> = (0..inputs * outputs)
                .map(|_| (limit * (2.0 * rng.random::<f64>() - 1.0)) as f32)
                .collect();
            let mut linear = LinearConfig::new(inputs, outputs).init(device);
            linear.weight = Param::from_data(TensorData::new(values, [inputs, outputs]), device);
            linear.bias = Some(Param::from_tensor(Tensor::zeros([outputs], device)));
            linear
        };
        Mlp {
            input: linear([NUMBERS_A_COORDINATE * self.dimensions(), width], 1.0),
            blocks: (0..self.blocks)
                .map(|_| Block {
                    linear1: linear([width, width], 1.0),
                    time_projection: linear([width, width], 1.0),
                    linear2: linear([width, width], ZERO_SCALE),
                })
                .collect(),
            output: linear([width, self.dimensions()], ZERO_SCALE),
            time1: linear([width, width], 1.0),
            time2: linear([width, width], 1.0),
            config: self.clone(),
        }
    }
}

/// What Ho et al. take for a scale of zero, so that each block starts as the identity.
const ZERO_SCALE: f64 = 1e-10;

/// The network.
#[derive(Module, Debug)]
pub struct Mlp {
    time1: Linear,
    time2: Linear,
    input: Linear,
    blocks: Vec<Block>,
    output: Linear,
    #[module(skip)]
    config: MlpConfig,
}

/// A residual block.
#[derive(Module, Debug)]
struct Block {
    linear1: Linear,
    time_projection: Linear,
    linear2: Linear,
}

impl Mlp {
    /// The description that the network was made from.
    pub fn config(&self) -> &MlpConfig {
        &self.config
    }

    /// The prediction `[B, D]` for points x_t `[B, D]` at a timestep for each.
    #[must_use]
    pub fn forward(&self, x_t: Tensor<2>, timesteps: &[f64]) -> Tensor<2> {
        let embedding = timestep_embedding(timesteps, self.config.width, false, 1, &x_t.device());
        let embedding = self.time2.forward(silu(self.time1.forward(embedding)));
        let embedding = silu(embedding);
        let mut input = vec![x_t.clone()];
        for frequency in FREQUENCIES {
            let angles = x_t.clone().mul_scalar(frequency);
            input.extend([angles.clone().sin(), angles.cos()]);
        }
        let input = self.input.forward(Tensor::cat(input, 1));
        let h = self.blocks.iter().fold(input, |h, block| {
            let inner = block.linear1.forward(silu(h.clone()));
            let inner = inner + block.time_projection.forward(embedding.clone());
            h + block.linear2.forward(silu(inner))
        });
        self.output.forward(silu(h))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use training::{Purpose, Streams, streams};
    use training::{flatten, flatten_gradients, unflatten};

    #[test]
    fn a_gradient_reaches_every_weight_and_time_matters() {
        let device = Device::flex().autodiff();
        let config = MlpConfig {
            dimensions: Some(3),
            width: 8,
            blocks: 2,
        };
        let mut rng = Streams::new(5).at(Purpose::Weights, 0);
        let mlp = config.init(&device, &mut rng);
        // Weights of any size, in place of those that are all but zero.
        let count = flatten(&mlp).dims()[0];
        let weights = streams::noise([count], &mut rng, &Device::flex());
        let mlp = unflatten(mlp, weights);
        let x_t = streams::noise([16, 3], &mut rng, &device);
        let timesteps: Vec<f64> = (0..16).map(|t| 60.0 * f64::from(t)).collect();
        let predicted = mlp.forward(x_t.clone(), &timesteps);
        assert_eq!(predicted.dims(), [16, 3]);
        let loss = predicted.clone().square().mean();
        let gradients = flatten_gradients(&mlp, &mut loss.backward());
        let gradients: Vec<f32> = gradients.try_into_vec_as().unwrap();
        assert!(gradients.iter().all(|&gradient| gradient != 0.0));

        let later: Vec<f64> = timesteps.iter().map(|t| t + 100.0).collect();
        let later = mlp.forward(x_t, &later);
        let moved: f32 = (later - predicted).abs().mean().try_into_scalar().unwrap();
        assert!(moved > 0.1, "{moved}");
    }
}
