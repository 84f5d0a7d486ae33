//! Between two noises (Song et al. 2021, section 5.3; Shoemake 1985).

use burn::tensor::Tensor;

/// Spherical interpolation: sin((1 − u) θ) / sin θ a + sin(u θ) / sin θ b, where θ is the angle between
/// each example of `a` and that of `b`. Unlike a mean, it keeps the length of the noise, which is what
/// samplers expect. Dimension 0 of both shapes, which must be equal, is the batch; u = 0 gives `a` and
/// u = 1 gives `b`.
///
/// Where the two point the same way, or one is 0, it is the straight line between them.
pub fn slerp<const D: usize>(a: &Tensor<D>, b: &Tensor<D>, u: f64) -> Tensor<D> {
    assert_eq!(a.dims(), b.dims(), "both ends must have one shape");
    let shape = a.dims();
    let elements = a.shape().num_elements() / shape[0];
    let flat = |x: &Tensor<D>| x.clone().reshape([shape[0], elements]);
    let (a, b) = (flat(a), flat(b));
    let length = |x: &Tensor<2>| x.clone().square().sum_dim(1).sqrt();
    let cosine =
        (a.clone() * b.clone()).sum_dim(1) / (length(&a) * length(&b)).clamp_min(f32::MIN_POSITIVE);
    let theta = cosine.clamp(-1.0, 1.0).acos();
    let sine = theta.clone().sin();
    let straight = sine.clone().lower_elem(1e-4);
    let weight = |share: f64| {
        let spherical = theta.clone().mul_scalar(share).sin() / sine.clone();
        spherical.mask_fill(straight.clone(), share)
    };
    (a * weight(1.0 - u) + b * weight(u)).reshape(shape)
}
