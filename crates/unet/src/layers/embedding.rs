//! The time embedding: a sinusoid of t, then two linear layers.
//!
//! With `h` frequencies, `freq_shift` s and `i = 0, …, h - 1`:
//!
//! ```text
//! ω_i = 10000^(-i / (h - s))        embedding(t) = [sin(t ω), cos(t ω)]
//! ```
//!
//! Vaswani et al. 2017, section 3.5, in the layout of Ho et al. 2020 (s = 1, sines first); diffusers
//! gives both choices names, `freq_shift` and `flip_sin_to_cos`.

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Tensor, TensorData};
use kernels::silu;

/// The longest period of the sinusoids, in timesteps over 2π.
const MAX_PERIOD: f64 = 10_000.0;

/// The sinusoidal embedding of timesteps, fractions of a step included.
///
/// It is computed on the host: the angles reach hundreds of radians, and a GPU may take sines of angles
/// beyond ±π as inexactly as it likes (WGSL, section 15.7.4, bounds the error within them only). Angles
/// are rounded to f32 as in every implementation that weights are exchanged with.
///
/// - `timesteps`: one for each example
/// - output: `[batch, width]`; the last column of an odd width is zero
///
/// # Panics
///
/// If `width` has no more than `freq_shift` pairs of sine and cosine.
#[must_use]
pub fn timestep_embedding(
    timesteps: &[f64],
    width: usize,
    flip_sin_to_cos: bool,
    freq_shift: usize,
    device: &Device,
) -> Tensor<2> {
    let half = width / 2;
    assert!(
        half > freq_shift,
        "a time embedding of width {width} has {half} frequencies, freq_shift {freq_shift} needs more"
    );
    let exponent = -MAX_PERIOD.ln() / (half - freq_shift) as f64;
    let frequencies: Vec<f32> = (0..half)
        .map(|i| (exponent * i as f64).exp() as f32)
        .collect();

    let mut values = vec![0.0; timesteps.len() * width];
    for (row, &t) in values.chunks_exact_mut(width).zip(timesteps) {
        let (first, second) = row.split_at_mut(half);
        let (sines, cosines) = if flip_sin_to_cos {
            (second, first)
        } else {
            (first, second)
        };
        for ((sine, cosine), frequency) in sines.iter_mut().zip(cosines).zip(&frequencies) {
            let angle = t as f32 * frequency;
            (*sine, *cosine) = (angle.sin(), angle.cos());
        }
    }
    Tensor::from_data(TensorData::new(values, [timesteps.len(), width]), device)
}

/// The two linear layers behind the sinusoid, with SiLU between them.
#[derive(Module, Debug)]
pub(crate) struct TimestepEmbedding {
    linear_1: Linear,
    pub(crate) linear_2: Linear,
}

impl TimestepEmbedding {
    pub(crate) fn new(in_channels: usize, out_channels: usize, device: &Device) -> Self {
        Self {
            linear_1: LinearConfig::new(in_channels, out_channels).init(device),
            linear_2: LinearConfig::new(out_channels, out_channels).init(device),
        }
    }

    /// `[batch, in_channels]` to `[batch, out_channels]`.
    pub(crate) fn forward(&self, sinusoid: Tensor<2>) -> Tensor<2> {
        self.linear_2.forward(silu(self.linear_1.forward(sinusoid)))
    }
}
