//! Classifier-free guidance (Ho & Salimans 2022): towards a class and away from none.
//!
//! ε = ε_u + s (ε_c − ε_u), with s the guidance scale: s = 0 is unconditional, s = 1 conditional
//! without guidance, s > 1 guided. (The paper's w is s − 1.) The same holds for predictions of x_0
//! and v, which are affine in ε.

use burn::tensor::Tensor;

/// The guided prediction from those with and without the condition, of the same shape.
///
/// With `guidance_scale` 1 it is `conditional` to the last bit.
pub fn classifier_free<const D: usize>(
    conditional: Tensor<D>,
    unconditional: Tensor<D>,
    guidance_scale: f64,
) -> Tensor<D> {
    if guidance_scale == 1.0 {
        return conditional;
    }
    unconditional.clone() + (conditional - unconditional).mul_scalar(guidance_scale)
}
