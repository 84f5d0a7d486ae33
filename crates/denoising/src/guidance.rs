//! Classifier-free guidance (Ho & Salimans 2022): towards a class and away from none.
//!
//! ε = ε_u + s (ε_c − ε_u), with s the guidance scale: s = 0 is unconditional, s = 1 conditional
//! without guidance, s > 1 guided. (The paper's w is s − 1.) The same holds for predictions of x_0
//! and v, which are affine in ε.

use burn::tensor::Tensor;

use crate::error::SamplerError;

/// How a conditional prediction is guided.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Guidance {
    /// s, the guidance scale.
    pub scale: f64,
    /// The first and the last timestep at which to guide (Kynkäänniemi et al. 2024): much noise is
    /// where guidance costs variety, little noise is where it costs time for nothing. `None` is
    /// everywhere.
    pub interval: Option<[f64; 2]>,
    /// φ in [0, 1]: how much of the contrast that guidance adds is taken back (Lin et al. 2024,
    /// equations 15 and 16).
    pub rescale: f64,
}

impl Default for Guidance {
    /// No guidance.
    fn default() -> Self {
        Self {
            scale: 1.0,
            interval: None,
            rescale: 0.0,
        }
    }
}

impl Guidance {
    /// Whether the numbers make sense.
    ///
    /// # Errors
    ///
    /// If one is not finite, if the interval ends before it starts, or if φ is not in [0, 1].
    pub fn check(&self) -> Result<(), SamplerError> {
        if !self.scale.is_finite() {
            return Err(SamplerError::Parameter {
                parameter: "guidance_scale",
                value: self.scale,
                expected: "a finite number",
            });
        }
        if !(0.0..=1.0).contains(&self.rescale) {
            return Err(SamplerError::Parameter {
                parameter: "guidance_rescale",
                value: self.rescale,
                expected: "in [0, 1]",
            });
        }
        match self.interval {
            Some([first, last]) if !(first.is_finite() && last.is_finite() && first <= last) => {
                Err(SamplerError::Interval { first, last })
            }
            _ => Ok(()),
        }
    }

    /// Whether the prediction without the condition is needed at this timestep.
    pub fn applies_at(&self, timestep: f64) -> bool {
        let within = |[first, last]: [f64; 2]| (first..=last).contains(&timestep);
        self.scale != 1.0 && self.interval.is_none_or(within)
    }

    /// The guided prediction from those with and without the condition, of the same shape; dimension 0
    /// is the batch.
    ///
    /// With scale 1 it is `conditional` to the last bit.
    pub fn combine<const D: usize>(
        &self,
        conditional: Tensor<D>,
        unconditional: Tensor<D>,
    ) -> Tensor<D> {
        if self.scale == 1.0 {
            return conditional;
        }
        let change = conditional.clone() - unconditional.clone();
        let guided = unconditional + change.mul_scalar(self.scale);
        if self.rescale == 0.0 {
            return guided;
        }
        // Both deviations of an example, 0 where all its elements are equal: then nothing is rescaled.
        let ratio = deviation(conditional) / deviation(guided.clone()).clamp_min(f32::MIN_POSITIVE);
        let factor = ratio
            .mul_scalar(self.rescale)
            .add_scalar(1.0 - self.rescale);
        let shape = guided.dims();
        guided * factor.expand(shape)
    }
}

/// The standard deviation of the elements of each example: `[B, 1, …, 1]`.
fn deviation<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let batch = x.dims()[0];
    let mut shape = [1; D];
    shape[0] = batch;
    let elements = x.shape().num_elements() / batch;
    x.reshape([batch, elements])
        .var_bias(1)
        .sqrt()
        .reshape(shape)
}
