//! GroupNorm, scale and shift, and SiLU in one launch, and their gradients in two.
//!
//! ```text
//! x̂ = (x - μ) r          r = 1 / √(σ² + ε),   μ and σ² over a group's channels and pixels
//! u = (γ x̂ + β)(1 + s) + t          y = u or u · sigmoid(u)
//! ```
//!
//! With g = dy · dy/du, A_c = Σ g x̂ and B_c = Σ g over the pixels of an example's channel, and
//! Γ_c = γ_c (1 + s_c):
//!
//! ```text
//! dx = r (Γ g - mean(Γ B) - x̂ mean(Γ A))          means over all numbers of the group
//! dγ = Σ (1 + s) A     dβ = Σ (1 + s) B     ds = γ A + β B     dt = B
//! ```
//!
//! (Wu and He 2018, equation 1; the gradient as that of Ioffe and Szegedy 2015.) A cube has a group of an
//! example. Its units lie side by side over the channels, which lie side by side in memory, and over the
//! pixels. Sums are f32, whatever the type of x, and their order depends on shapes alone.

use burn::tensor::DType;
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::reduce::over_cube;
use super::tensor::{
    channels_first, channels_last, element, empty, most_units, one_a_number, shared_memory,
};
use crate::images::{NormGradients, NormOptions};

/// Bytes of the memory that a cube shares of which use is made at most: what every GPU of the last ten years
/// gives without being asked. WebGPU promises 16 KiB.
const MOST_SHARED: usize = 48 * 1024;

/// How many of the numbers of a group are kept in the memory that a cube shares, of so many bytes: all or none, of
/// `of_each` numbers for each number and each unit. Groups that are not kept are read again.
fn kept(numbers: usize, plan: Plan, of_each: usize, shared: usize) -> usize {
    let all = of_each * (numbers + plan.lanes * plan.rows) * size_of::<f32>();
    if all <= shared.min(MOST_SHARED) {
        numbers
    } else {
        0
    }
}

/// How a kernel goes over a group: known when it is compiled.
#[derive(Clone, Copy, Debug)]
struct Plan {
    /// Channels of a group.
    group: usize,
    /// Units side by side over channels.
    lanes: usize,
    /// Units over pixels: a power of two.
    rows: usize,
}

impl Plan {
    fn new(group: usize, pixels: usize, most_units: usize) -> Self {
        let lanes = group.min(most_units);
        let rows = (most_units / lanes).min(pixels).max(1);
        // Rounded down to a power of two.
        let rows = 1 << rows.ilog2();
        Self { group, lanes, rows }
    }

    fn cube_dim(self) -> CubeDim {
        CubeDim::new_1d((self.lanes * self.rows) as u32)
    }
}

#[cube]
fn sigmoid(u: f32) -> f32 {
    1.0 / (1.0 + f32::exp(-u))
}

/// γ (1 + s) and β (1 + s) + t: u is the first times x̂ plus the second.
#[cube]
fn affine(
    gamma: f32,
    beta: f32,
    scale_shift: &Tensor<f32>,
    example: usize,
    channel: usize,
    channels: usize,
    #[comptime] has_scale_shift: bool,
) -> (f32, f32) {
    if comptime!(has_scale_shift) {
        let place = example * 2 * channels + channel;
        let scale = 1.0 + scale_shift[place];
        (gamma * scale, beta * scale + scale_shift[place + channels])
    } else {
        (gamma, beta)
    }
}

/// y `[batch, pixels, channels]`, and μ and r of each group.
#[cube(launch)]
fn group_norm_forward<F: Float>(
    x: &Tensor<F>,
    gamma: &Tensor<f32>,
    beta: &Tensor<f32>,
    scale_shift: &Tensor<f32>,
    y: &mut Tensor<F>,
    moments: &mut Tensor<f32>,
    pixels: u32,
    channels: u32,
    epsilon: f32,
    #[comptime] group: usize,
    #[comptime] lanes: usize,
    #[comptime] rows: usize,
    #[comptime] kept: usize,
    #[comptime] silu: bool,
    #[comptime] has_scale_shift: bool,
    #[define(F)] _dtype: ElemType,
) {
    let pixels = pixels as usize;
    let channels = channels as usize;
    let lane = UNIT_POS as usize % lanes;
    let row = UNIT_POS as usize / lanes;
    let example = CUBE_POS_Y as usize;
    let first = CUBE_POS_X as usize * group;
    let base = example * pixels * channels + first;
    let count = f32::cast_from((pixels * group) as u32);
    let mut partial = Shared::<[f32]>::new_slice(comptime!(lanes * rows));
    let mut numbers = Shared::<[f32]>::new_slice(comptime!(if kept > 0 { kept } else { 1 }));

    let mut sum = 0.0f32;
    let mut pixel = row;
    while pixel < pixels {
        let mut channel = lane;
        while channel < group {
            let value = f32::cast_from(x[base + pixel * channels + channel]);
            if comptime!(kept > 0) {
                numbers[pixel * group + channel] = value;
            }
            sum += value;
            channel += lanes;
        }
        pixel += rows;
    }
    let mean = over_cube(sum, &mut partial, false) / count;

    let mut sum = 0.0f32;
    let mut pixel = row;
    while pixel < pixels {
        let mut channel = lane;
        while channel < group {
            let value = if comptime!(kept > 0) {
                numbers[pixel * group + channel]
            } else {
                f32::cast_from(x[base + pixel * channels + channel])
            };
            sum += (value - mean) * (value - mean);
            channel += lanes;
        }
        pixel += rows;
    }
    let variance = over_cube(sum, &mut partial, false) / count;
    let inverse = 1.0 / f32::sqrt(variance + epsilon);
    if UNIT_POS == 0 {
        let place = 2 * (example * (channels / group) + CUBE_POS_X as usize);
        moments[place] = mean;
        moments[place + 1] = inverse;
    }

    let mut channel = lane;
    while channel < group {
        let (factor, offset) = affine(
            gamma[first + channel],
            beta[first + channel],
            scale_shift,
            example,
            first + channel,
            channels,
            has_scale_shift,
        );
        let mut pixel = row;
        while pixel < pixels {
            let place = base + pixel * channels + channel;
            let value = if comptime!(kept > 0) {
                numbers[pixel * group + channel]
            } else {
                f32::cast_from(x[place])
            };
            let u = (value - mean) * inverse * factor + offset;
            let result = if comptime!(silu) { u * sigmoid(u) } else { u };
            y[place] = F::cast_from(result);
            pixel += rows;
        }
        channel += lanes;
    }
}

/// x̂ and g of one number.
#[cube]
fn pull_back(
    x: f32,
    dy: f32,
    mean: f32,
    inverse: f32,
    factor: f32,
    offset: f32,
    #[comptime] silu: bool,
) -> (f32, f32) {
    let normal = (x - mean) * inverse;
    if comptime!(silu) {
        let u = normal * factor + offset;
        let s = sigmoid(u);
        (normal, dy * s * (1.0 + u * (1.0 - s)))
    } else {
        (normal, dy)
    }
}

/// dx `[batch, pixels, channels]` plus what it is so far, and A and B of each channel of each example, `[batch, channels, 2]`.
#[cube(launch)]
fn group_norm_backward<F: Float>(
    x: &Tensor<F>,
    dy: &Tensor<F>,
    moments: &Tensor<f32>,
    gamma: &Tensor<f32>,
    beta: &Tensor<f32>,
    scale_shift: &Tensor<f32>,
    so_far: &Tensor<F>,
    dx: &mut Tensor<F>,
    sums: &mut Tensor<f32>,
    pixels: u32,
    channels: u32,
    #[comptime] group: usize,
    #[comptime] lanes: usize,
    #[comptime] rows: usize,
    #[comptime] kept: usize,
    #[comptime] silu: bool,
    #[comptime] has_scale_shift: bool,
    #[comptime] has_so_far: bool,
    #[define(F)] _dtype: ElemType,
) {
    let pixels = pixels as usize;
    let channels = channels as usize;
    let unit = UNIT_POS as usize;
    let lane = unit % lanes;
    let row = unit / lanes;
    let example = CUBE_POS_Y as usize;
    let first = CUBE_POS_X as usize * group;
    let base = example * pixels * channels + first;
    let count = f32::cast_from((pixels * group) as u32);
    let place = 2 * (example * (channels / group) + CUBE_POS_X as usize);
    let mean = moments[place];
    let inverse = moments[place + 1];
    let mut a_of_units = Shared::<[f32]>::new_slice(comptime!(lanes * rows));
    let mut b_of_units = Shared::<[f32]>::new_slice(comptime!(lanes * rows));
    let mut normals = Shared::<[f32]>::new_slice(comptime!(if kept > 0 { kept } else { 1 }));
    let mut gradients = Shared::<[f32]>::new_slice(comptime!(if kept > 0 { kept } else { 1 }));

    let mut a_of_group = 0.0f32;
    let mut b_of_group = 0.0f32;
    // All units go through this loop as often, for they wait for each other in it.
    let mut block = 0usize;
    while block < group {
        let channel = block + lane;
        let mut a = 0.0f32;
        let mut b = 0.0f32;
        let mut gamma_of_channel = 0.0f32;
        if channel < group {
            let (factor, offset) = affine(
                gamma[first + channel],
                beta[first + channel],
                scale_shift,
                example,
                first + channel,
                channels,
                has_scale_shift,
            );
            gamma_of_channel = factor;
            let mut pixel = row;
            while pixel < pixels {
                let place = base + pixel * channels + channel;
                let (normal, g) = pull_back(
                    f32::cast_from(x[place]),
                    f32::cast_from(dy[place]),
                    mean,
                    inverse,
                    factor,
                    offset,
                    silu,
                );
                if comptime!(kept > 0) {
                    normals[pixel * group + channel] = normal;
                    gradients[pixel * group + channel] = g;
                }
                a += g * normal;
                b += g;
                pixel += rows;
            }
        }
        sync_cube();
        a_of_units[unit] = a;
        b_of_units[unit] = b;
        sync_cube();
        let mut active = rows.runtime();
        while active > 1 {
            active /= 2;
            if row < active {
                let other_a = a_of_units[unit + active * lanes];
                let other_b = b_of_units[unit + active * lanes];
                a_of_units[unit] += other_a;
                b_of_units[unit] += other_b;
            }
            sync_cube();
        }
        if row == 0 && channel < group {
            let place = 2 * (example * channels + first + channel);
            sums[place] = a_of_units[unit];
            sums[place + 1] = b_of_units[unit];
            a_of_group += gamma_of_channel * a_of_units[unit];
            b_of_group += gamma_of_channel * b_of_units[unit];
        }
        block += lanes;
    }
    let a_mean = over_cube(a_of_group, &mut a_of_units, false) / count;
    let b_mean = over_cube(b_of_group, &mut b_of_units, false) / count;

    let mut channel = lane;
    while channel < group {
        let (factor, offset) = affine(
            gamma[first + channel],
            beta[first + channel],
            scale_shift,
            example,
            first + channel,
            channels,
            has_scale_shift,
        );
        let mut pixel = row;
        while pixel < pixels {
            let place = base + pixel * channels + channel;
            let (normal, g) = if comptime!(kept > 0) {
                (
                    normals[pixel * group + channel],
                    gradients[pixel * group + channel],
                )
            } else {
                pull_back(
                    f32::cast_from(x[place]),
                    f32::cast_from(dy[place]),
                    mean,
                    inverse,
                    factor,
                    offset,
                    silu,
                )
            };
            let mut gradient = inverse * (factor * g - b_mean - normal * a_mean);
            if comptime!(has_so_far) {
                gradient += f32::cast_from(so_far[place]);
            }
            dx[place] = F::cast_from(gradient);
            pixel += rows;
        }
        channel += lanes;
    }
}

/// dγ and dβ `[channels]`, ds and dt `[batch, 2 channels]`.
#[cube(launch)]
fn group_norm_parameters(
    sums: &Tensor<f32>,
    gamma: &Tensor<f32>,
    beta: &Tensor<f32>,
    scale_shift: &Tensor<f32>,
    d_gamma: &mut Tensor<f32>,
    d_beta: &mut Tensor<f32>,
    d_scale_shift: &mut Tensor<f32>,
    batch: u32,
    channels: u32,
    #[comptime] has_scale_shift: bool,
) {
    let channels = channels as usize;
    let channel = ABSOLUTE_POS;
    if channel >= channels {
        terminate!();
    }
    let mut to_gamma = 0.0f32;
    let mut to_beta = 0.0f32;
    let mut example = 0usize;
    while example < batch as usize {
        let place = 2 * (example * channels + channel);
        let a = sums[place];
        let b = sums[place + 1];
        if comptime!(has_scale_shift) {
            let place = example * 2 * channels + channel;
            let scale = 1.0 + scale_shift[place];
            to_gamma += scale * a;
            to_beta += scale * b;
            d_scale_shift[place] = gamma[channel] * a + beta[channel] * b;
            d_scale_shift[place + channels] = b;
        } else {
            to_gamma += a;
            to_beta += b;
        }
        example += 1;
    }
    d_gamma[channel] = to_gamma;
    d_beta[channel] = to_beta;
}

/// What the gradient of a normalisation needs. x lies channels-last, and the others without gaps.
type Normalised = crate::images::Normalised<CubeBackend>;

/// GroupNorm and what follows it: y and what its gradient needs. γ, β and `scale_shift` are f32.
pub(super) fn forward(
    x: CubeTensor,
    gamma: CubeTensor,
    beta: CubeTensor,
    scale_shift: Option<CubeTensor>,
    options: NormOptions,
) -> (CubeTensor, Normalised) {
    let x = channels_last(x);
    let [batch, height, width, channels] = x.meta.shape().dims();
    let plan = Plan::new(channels / options.groups, height * width, most_units(&x));
    let y = empty(&x, [batch, height, width, channels], x.dtype);
    let state = Normalised {
        moments: empty(&x, [batch, options.groups, 2], DType::F32),
        gamma: into_contiguous(gamma),
        beta: into_contiguous(beta),
        scale_shift: scale_shift.map(into_contiguous),
        x: channels_first(x.clone()),
        options,
    };
    let numbers = plan.group * height * width;
    group_norm_forward::launch(
        &x.client.clone(),
        CubeCount::Static(options.groups as u32, batch as u32, 1),
        plan.cube_dim(),
        x.clone().into_tensor_arg(),
        state.gamma.clone().into_tensor_arg(),
        state.beta.clone().into_tensor_arg(),
        scale_shift_or_nothing(&state).into_tensor_arg(),
        y.clone().into_tensor_arg(),
        state.moments.clone().into_tensor_arg(),
        (height * width) as u32,
        channels as u32,
        options.epsilon as f32,
        plan.group,
        plan.lanes,
        plan.rows,
        kept(numbers, plan, 1, shared_memory(&x)),
        options.silu,
        state.scale_shift.is_some(),
        element(&x),
    );
    (channels_first(y), state)
}

/// The gradients, from that of y; that of x plus what it is so far.
pub(super) fn backward(
    state: &Normalised,
    dy: CubeTensor,
    so_far: Option<CubeTensor>,
) -> NormGradients<CubeBackend> {
    let Normalised {
        moments,
        gamma,
        beta,
        options,
        ..
    } = state;
    let (x, dy) = (channels_last(state.x.clone()), channels_last(dy));
    let [batch, height, width, channels] = x.meta.shape().dims();
    let plan = Plan::new(channels / options.groups, height * width, most_units(&x));
    let has_scale_shift = state.scale_shift.is_some();
    let has_so_far = so_far.is_some();
    let so_far = so_far.map_or_else(|| empty(&x, [1], x.dtype), channels_last);
    let dx = empty(&x, [batch, height, width, channels], x.dtype);
    let sums = empty(&x, [batch, channels, 2], DType::F32);
    group_norm_backward::launch(
        &x.client.clone(),
        CubeCount::Static(options.groups as u32, batch as u32, 1),
        plan.cube_dim(),
        x.clone().into_tensor_arg(),
        dy.into_tensor_arg(),
        moments.clone().into_tensor_arg(),
        gamma.clone().into_tensor_arg(),
        beta.clone().into_tensor_arg(),
        scale_shift_or_nothing(state).into_tensor_arg(),
        so_far.into_tensor_arg(),
        dx.clone().into_tensor_arg(),
        sums.clone().into_tensor_arg(),
        (height * width) as u32,
        channels as u32,
        plan.group,
        plan.lanes,
        plan.rows,
        kept(plan.group * height * width, plan, 2, shared_memory(&x)),
        options.silu,
        has_scale_shift,
        has_so_far,
        element(&x),
    );
    let d_gamma = empty(&x, [channels], DType::F32);
    let d_beta = empty(&x, [channels], DType::F32);
    let d_scale_shift = if has_scale_shift {
        empty(&x, [batch, 2 * channels], DType::F32)
    } else {
        empty(&x, [1], DType::F32)
    };
    let (cubes, units) = one_a_number(&x, channels);
    group_norm_parameters::launch(
        &x.client,
        cubes,
        units,
        sums.into_tensor_arg(),
        gamma.clone().into_tensor_arg(),
        beta.clone().into_tensor_arg(),
        scale_shift_or_nothing(state).into_tensor_arg(),
        d_gamma.clone().into_tensor_arg(),
        d_beta.clone().into_tensor_arg(),
        d_scale_shift.clone().into_tensor_arg(),
        batch as u32,
        channels as u32,
        has_scale_shift,
    );
    NormGradients {
        x: channels_first(dx),
        gamma: d_gamma,
        beta: d_beta,
        scale_shift: has_scale_shift.then_some(d_scale_shift),
    }
}

/// A kernel takes a tensor where none is read, too; each buffer of a launch is another one.
fn scale_shift_or_nothing(state: &Normalised) -> CubeTensor {
    let nothing = || empty(&state.x, [1], DType::F32);
    state.scale_shift.clone().unwrap_or_else(nothing)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn every_plan_covers_its_group_within_the_units() {
        for most in [1, 4, 16, 64, 100, 256] {
            for group in [1, 2, 3, 4, 8, 12, 64, 255, 256, 300, 1024] {
                for pixels in [1, 4, 49, 784, 4096] {
                    let plan = Plan::new(group, pixels, most);
                    assert!(plan.rows.is_power_of_two());
                    assert!(plan.lanes * plan.rows <= most, "{plan:?} of {most}");
                    assert!(plan.lanes <= group);
                }
            }
        }
    }

    #[test]
    fn what_is_kept_fits() {
        let plan = Plan::new(4, 1024, 256);
        assert_eq!(kept(4096, plan, 1, 16 * 1024), 0);
        assert_eq!(kept(3840, plan, 1, 16 * 1024), 3840);
        assert_eq!(kept(4096, plan, 2, 48 * 1024), 4096);
        assert_eq!(kept(6144, plan, 2, 48 * 1024), 0);
        assert_eq!(kept(20_000, plan, 1, 227 * 1024), 0);
    }

    /// Channels and pixels of the normalisations of the CIFAR-10 network (Ho et al. 2020, appendix B).
    fn cifar_10() -> Vec<[usize; 2]> {
        let channels = [128, 256, 256, 256];
        let pixels = |level: usize| 1024 >> (2 * level);
        let mut norms = Vec::new();
        let mut block = |level: usize, input: usize, attends: bool| {
            norms.push([input, pixels(level)]);
            norms.push([channels[level], pixels(level)]);
            if attends {
                norms.push([channels[level], pixels(level)]);
            }
        };
        let mut skips = vec![128];
        let mut x = 128;
        for level in 0..4 {
            for _ in 0..2 {
                block(level, x, level == 1);
                x = channels[level];
                skips.push(x);
            }
            if level < 3 {
                skips.push(x);
            }
        }
        block(3, x, true);
        block(3, x, false);
        for level in (0..4).rev() {
            for _ in 0..3 {
                block(level, x + skips.pop().unwrap(), level == 1);
                x = channels[level];
            }
        }
        assert!(skips.is_empty());
        norms.push([128, 1024]);
        norms
    }

    /// What a training step of that network moves to and from memory for its normalisations.
    #[test]
    fn normalisations_of_the_cifar_10_network_move_few_bytes() {
        const BATCH: usize = 128;
        const GROUPS: usize = 32;
        let (mut once, mut all) = (0, 0);
        for [channels, pixels] in cifar_10() {
            let plan = Plan::new(channels / GROUPS, pixels, 256);
            let bytes = BATCH * channels * pixels * size_of::<f32>();
            let is_kept = |of_each| kept(plan.group * pixels, plan, of_each, MOST_SHARED) > 0;
            // Forward x, as often as it is read, and y; backward x and dy, as often, and dx.
            let forward = if is_kept(1) { 2 } else { 4 };
            let backward = if is_kept(2) { 3 } else { 5 };
            once += bytes;
            all += (forward + backward) * bytes;
        }
        assert_eq!(once, 1_723_858_944);
        assert!(all <= 12_000_000_000, "{all}");
    }
}
