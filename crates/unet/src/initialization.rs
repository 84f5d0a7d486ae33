//! The weights before training, as in Ho et al.'s code.
//!
//! - Convolutions and linear layers: uniform with variance `scale / fan_avg`, where `fan_avg` is the
//!   mean of inputs and outputs (variance scaling; Glorot and Bengio 2010, equation 16). `scale`
//!   is 1, and 1e-10, all but zero, for the last convolution of a residual block, the output of an
//!   attention layer and the last convolution of the network: each block starts as the identity
//!   and the first prediction is zero.
//! - Biases: 0. GroupNorm: weight 1, bias 0.
//! - Class embeddings, which Ho et al. do not have: N(0, 1), as in torch and diffusers.
//!
//! The numbers are drawn on the host in the order in which the network is visited: the same
//! generator gives the same weights on every backend.

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Device, Tensor, TensorData};
use rand::{Rng, RngExt};
use rand_distr::StandardNormal;
use weights::ParameterPath;

use crate::config::{UNetConfig, UNetConfigError};
use crate::unet::UNet;

/// Ho et al.'s stand-in for a scale of zero, which keeps gradients alive from the first step.
const ZERO_SCALE: f64 = 1e-10;

impl UNetConfig {
    /// Builds the network on `device` with fresh weights, drawn from `rng` on the host: every
    /// backend starts from the same numbers.
    ///
    /// # Errors
    ///
    /// The first value of the configuration that makes no network.
    pub fn init(&self, device: &Device, rng: &mut impl Rng) -> Result<UNet, UNetConfigError> {
        self.validate()?;
        Ok(initialise(UNet::new(self, device), rng))
    }
}

/// Draws every weight of `unet` from `rng`.
fn initialise(unet: UNet, rng: &mut impl Rng) -> UNet {
    unet.map(&mut Initialiser {
        path: ParameterPath::default(),
        rng,
    })
}

struct Initialiser<'a, R> {
    path: ParameterPath,
    rng: &'a mut R,
}

impl<R: Rng> ModuleMapper for Initialiser<'_, R> {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        // Shape and device are known without drawing burn's own values for the parameter.
        let shape = param.lazy_shape();
        let values = self.draw(&shape);
        Param::from_data(TensorData::new(values, shape), &param.lazy_device())
    }
}

impl<R: Rng> Initialiser<'_, R> {
    /// The values of the parameter at the current path.
    fn draw(&mut self, shape: &[usize]) -> Vec<f32> {
        let name = self.path.name();
        let len = shape.iter().product();
        let rng = &mut *self.rng;

        match *shape {
            // The only weights of rank 1 are those of GroupNorm.
            [_] => vec![if name.ends_with("weight") { 1.0 } else { 0.0 }; len],
            _ if name == "class_embedding.weight" => (0..len)
                .map(|_| rng.sample::<f32, _>(StandardNormal))
                .collect(),
            _ => {
                let ends_a_block = name == "conv_out.weight"
                    || name.ends_with(".conv2.weight")
                    || name.ends_with(".to_out.0.weight");
                let scale = if ends_a_block { ZERO_SCALE } else { 1.0 };
                // Inputs and outputs are the first two axes, the kernel the others.
                let kernel: usize = shape[2..].iter().product();
                let fan_avg = ((shape[0] + shape[1]) * kernel) as f64 / 2.0;
                let limit = (3.0 * scale / fan_avg).sqrt();
                (0..len)
                    .map(|_| (limit * (2.0 * rng.random::<f64>() - 1.0)) as f32)
                    .collect()
            }
        }
    }
}
