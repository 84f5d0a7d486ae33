//! Group normalisation (Wu and He 2018).

use burn::nn::{GroupNorm, GroupNormConfig};
use burn::tensor::{Device, Tensor};

use crate::config::UNetConfig;

/// GroupNorm over `channels` in `groups`.
pub(crate) fn group_norm(
    channels: usize,
    groups: usize,
    config: &UNetConfig,
    device: &Device,
) -> GroupNorm {
    GroupNormConfig::new(groups, channels)
        .with_epsilon(config.norm_eps)
        .init(device)
}

/// GroupNorm alone.
pub(crate) fn normalise(norm: &GroupNorm, x: Tensor<4>) -> Tensor<4> {
    let (gamma, beta) = affine(norm);
    kernels::group_norm(x, gamma, beta, norm.num_groups, norm.epsilon)
}

/// GroupNorm, scale and shift, then SiLU: together in one place, for they run over the same memory.
pub(crate) fn group_norm_silu(
    norm: &GroupNorm,
    x: Tensor<4>,
    scale_shift: Option<Tensor<2>>,
) -> Tensor<4> {
    let (gamma, beta) = affine(norm);
    kernels::group_norm_silu(x, gamma, beta, scale_shift, norm.num_groups, norm.epsilon)
}

/// γ and β, which every norm made by [`group_norm`] has.
fn affine(norm: &GroupNorm) -> (Tensor<1>, Tensor<1>) {
    match (&norm.gamma, &norm.beta) {
        (Some(gamma), Some(beta)) => (gamma.val(), beta.val()),
        _ => unreachable!("every group normalisation of the network is affine"),
    }
}
