//! burn's convolution, and products of pixels where windows are those; what is added to them, in one launch; and their
//! gradients.

use burn::backend::ops::{ConvOptions, FloatTensorOps, ModuleOps};
use burn::tensor::DType;
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::tensor::{channels_first, channels_last, element, empty, most_units, one_a_number};
use crate::images::{Added, Window};

/// y plus a number a channel, a number an example and channel and a residual: all channels-last.
#[cube(launch)]
fn add_to_channels<F: Float>(
    x: &Tensor<F>,
    bias: &Tensor<F>,
    per_example: &Tensor<F>,
    residual: &Tensor<F>,
    y: &mut Tensor<F>,
    pixels: u32,
    channels: u32,
    #[comptime] has_bias: bool,
    #[comptime] has_per_example: bool,
    #[comptime] has_residual: bool,
    #[define(F)] _dtype: ElemType,
) {
    let i = ABSOLUTE_POS;
    if i >= y.len() {
        terminate!();
    }
    let channels = channels as usize;
    let mut sum = f32::cast_from(x[i]);
    if comptime!(has_bias) {
        sum += f32::cast_from(bias[i % channels]);
    }
    if comptime!(has_per_example) {
        let example = i / (pixels as usize * channels);
        sum += f32::cast_from(per_example[example * channels + i % channels]);
    }
    if comptime!(has_residual) {
        sum += f32::cast_from(residual[i]);
    }
    y[i] = F::cast_from(sum);
}

/// Each pixel four times.
#[cube(launch)]
fn double<F: Float>(
    x: &Tensor<F>,
    y: &mut Tensor<F>,
    width: u32,
    channels: u32,
    #[define(F)] _dtype: ElemType,
) {
    let i = ABSOLUTE_POS;
    if i >= y.len() {
        terminate!();
    }
    let width = width as usize;
    let channels = channels as usize;
    let channel = i % channels;
    let pixel = i / channels;
    let column = pixel % (2 * width);
    // Rows of all examples: twice as many as there were.
    let row = pixel / (2 * width);
    y[i] = x[(row / 2 * width + column / 2) * channels + channel];
}

/// The gradient of [`double`]: the sum of four pixels.
#[cube(launch)]
fn double_backward<F: Float>(
    dy: &Tensor<F>,
    dx: &mut Tensor<F>,
    width: u32,
    channels: u32,
    #[define(F)] _dtype: ElemType,
) {
    let i = ABSOLUTE_POS;
    if i >= dx.len() {
        terminate!();
    }
    let width = width as usize;
    let channels = channels as usize;
    let channel = i % channels;
    let pixel = i / channels;
    let column = pixel % width;
    let row = pixel / width;
    let place = (row * 2 * 2 * width + column * 2) * channels + channel;
    let below = place + 2 * width * channels;
    let sum = f32::cast_from(dy[place])
        + f32::cast_from(dy[place + channels])
        + f32::cast_from(dy[below])
        + f32::cast_from(dy[below + channels]);
    dx[i] = F::cast_from(sum);
}

/// The sum over the pixels of each example's channels: `[batch, channels]`. A cube has `lanes` channels
/// of an example, and `rows` units, a power of two, for each of them.
#[cube(launch)]
fn sum_over_pixels<F: Float>(
    x: &Tensor<F>,
    y: &mut Tensor<f32>,
    pixels: u32,
    channels: u32,
    #[comptime] lanes: usize,
    #[comptime] rows: usize,
    #[define(F)] _dtype: ElemType,
) {
    let pixels = pixels as usize;
    let channels = channels as usize;
    let unit = UNIT_POS as usize;
    let row = unit / lanes;
    let channel = CUBE_POS_X as usize * lanes + unit % lanes;
    let example = CUBE_POS_Y as usize;
    let mut partial = Shared::<[f32]>::new_slice(comptime!(lanes * rows));
    let mut sum = 0.0f32;
    if channel < channels {
        let mut pixel = row;
        while pixel < pixels {
            sum += f32::cast_from(x[(example * pixels + pixel) * channels + channel]);
            pixel += rows;
        }
    }
    partial[unit] = sum;
    sync_cube();
    let mut active = rows.runtime();
    while active > 1 {
        active /= 2;
        if row < active {
            let other = partial[unit + active * lanes];
            partial[unit] += other;
        }
        sync_cube();
    }
    if row == 0 && channel < channels {
        y[example * channels + channel] = partial[unit];
    }
}

/// The sum over all examples: `[channels]`.
#[cube(launch)]
fn sum_over_examples(x: &Tensor<f32>, y: &mut Tensor<f32>, batch: u32) {
    let channel = ABSOLUTE_POS;
    let channels = y.len();
    if channel >= channels {
        terminate!();
    }
    let mut sum = 0.0f32;
    let mut example = 0usize;
    while example < batch as usize {
        sum += x[example * channels + channel];
        example += 1;
    }
    y[channel] = sum;
}

/// A weight `[out, height, width, in]`, turned by half a circle and with inputs for outputs:
/// `[in, height, width, out]`.
#[cube(launch)]
fn turn<F: Float>(
    weight: &Tensor<F>,
    turned: &mut Tensor<F>,
    inputs: u32,
    outputs: u32,
    taps: u32,
    #[define(F)] _dtype: ElemType,
) {
    let i = ABSOLUTE_POS;
    if i >= turned.len() {
        terminate!();
    }
    let inputs = inputs as usize;
    let outputs = outputs as usize;
    let taps = taps as usize;
    let output = i % outputs;
    let tap = i / outputs % taps;
    let input = i / (outputs * taps);
    turned[i] = weight[(output * taps + taps - 1 - tap) * inputs + input];
}

/// What the window sees of x at each pixel of the output, zero outside of x, then a one and zeros to the end of the
/// row: `[batch, height, width, row]`, of which the first numbers are `[taps, in]`.
#[cube(launch)]
fn unfold<F: Float>(
    x: &Tensor<F>,
    columns: &mut Tensor<F>,
    height: u32,
    width: u32,
    channels: u32,
    row_length: u32,
    output_height: u32,
    output_width: u32,
    stride: u32,
    above: u32,
    before: u32,
    #[comptime] kernel_height: usize,
    #[comptime] kernel_width: usize,
    #[define(F)] _dtype: ElemType,
) {
    let i = ABSOLUTE_POS;
    if i >= columns.len() {
        terminate!();
    }
    let channels = channels as usize;
    let place = i % row_length as usize;
    let pixel = i / row_length as usize;
    let tap = place / channels;
    let channel = place % channels;
    let column = pixel % output_width as usize;
    let row = pixel / output_width as usize % output_height as usize;
    let example = pixel / output_width as usize / output_height as usize;
    // Counted from the first row and column of the padding.
    let row = row * stride as usize + tap / kernel_width;
    let column = column * stride as usize + tap % kernel_width;
    let (height, width) = (height as usize, width as usize);
    let (above, before) = (above as usize, before as usize);
    let taps = comptime!(kernel_height * kernel_width);
    let mut value = F::new(0.0);
    if tap >= taps {
        if place == taps * channels {
            value = F::new(1.0);
        }
    } else if row >= above && row < above + height && column >= before && column < before + width {
        let row = example * height + row - above;
        value = x[(row * width + column - before) * channels + channel];
    }
    columns[i] = value;
}

/// Of products of gradients and unfolded inputs, `[pieces, out, row]`, the sum over the pieces: what stands before the
/// column of ones, and that.
#[cube(launch)]
fn sum_pieces<F: Float>(
    products: &Tensor<F>,
    weight: &mut Tensor<F>,
    bias: &mut Tensor<f32>,
    pieces: u32,
    values: u32,
    row_length: u32,
    #[define(F)] _dtype: ElemType,
) {
    let i = ABSOLUTE_POS;
    let outputs = bias.len();
    let values = values as usize;
    if i >= outputs * (values + 1) {
        terminate!();
    }
    let is_bias = i >= outputs * values;
    let mut output = i / values;
    let mut place = i % values;
    if is_bias {
        output = i - outputs * values;
        place = values;
    }
    let mut sum = 0.0f32;
    let mut piece = 0usize;
    while piece < pieces as usize {
        let row = piece * outputs + output;
        sum += f32::cast_from(products[row * row_length as usize + place]);
        piece += 1;
    }
    if is_bias {
        bias[output] = sum;
    } else {
        weight[i] = F::cast_from(sum);
    }
}

/// What the gradient of a convolution needs. x lies channels-last, and was doubled where the window says so.
type Convolved = crate::images::Convolved<CubeBackend>;

type ParameterGradients = crate::images::ParameterGradients<CubeBackend>;

fn options(window: Window) -> ConvOptions<2> {
    let padding = window.padding.map(|[before, after]| (before, after));
    ConvOptions::new_with_padding([window.stride; 2], padding, [1, 1], 1)
}

/// The convolution plus what is added, and what its gradient needs.
pub(super) fn forward(
    x: CubeTensor,
    weight: CubeTensor,
    added: Added<CubeBackend>,
    window: Window,
) -> (CubeTensor, Convolved) {
    let has_per_example = added.per_example.is_some();
    let x = channels_last(x);
    let x = if window.upsampled { doubled(x) } else { x };
    let x = channels_first(x);
    let (mut y, bias) = if is_pointwise(window) {
        let weight = CubeBackend::float_swap_dims(matrix(weight.clone()), 0, 1);
        (product_of_pixels(x.clone(), weight), added.bias)
    } else {
        let y = CubeBackend::conv2d(x.clone(), weight.clone(), added.bias, options(window));
        (y, None)
    };
    if bias.is_some() || has_per_example || added.residual.is_some() {
        y = plus(y, bias, added.per_example, added.residual);
    }
    let state = Convolved {
        x,
        weight,
        window,
        has_per_example,
    };
    (y, state)
}

/// Whether the windows are the pixels themselves.
fn is_pointwise(window: Window) -> bool {
    window.kernel == [1, 1]
        && window.stride == 1
        && window.padding == [[0, 0]; 2]
        && !window.upsampled
}

/// The weight of a pointwise convolution as `[out, in]`.
fn matrix(weight: CubeTensor) -> CubeTensor {
    let [outputs, inputs, _, _] = weight.meta.shape().dims();
    CubeBackend::float_reshape(weight, [outputs, inputs].into())
}

/// Each pixel's channels times a weight `[in, out]`.
fn product_of_pixels(x: CubeTensor, weight: CubeTensor) -> CubeTensor {
    let x = channels_last(x);
    let [batch, height, width, inputs] = x.meta.shape().dims();
    let outputs = weight.meta.shape()[1];
    let rows = CubeBackend::float_reshape(x, [batch * height * width, inputs].into());
    let y = into_contiguous(CubeBackend::float_matmul(rows, weight));
    let shape = [batch, height, width, outputs];
    channels_first(CubeBackend::float_reshape(y, shape.into()))
}

/// An image plus what there is of a number a channel, a number an example and channel, and another image.
pub(super) fn plus(
    x: CubeTensor,
    bias: Option<CubeTensor>,
    per_example: Option<CubeTensor>,
    residual: Option<CubeTensor>,
) -> CubeTensor {
    let x = channels_last(x);
    let [batch, height, width, channels] = x.meta.shape().dims();
    let y = empty(&x, [batch, height, width, channels], x.dtype);
    let nothing = || empty(&x, [1], x.dtype);
    let has_bias = bias.is_some();
    let (has_per_example, has_residual) = (per_example.is_some(), residual.is_some());
    let bias = bias.map_or_else(nothing, into_contiguous);
    let per_example = per_example.map_or_else(nothing, into_contiguous);
    let residual = residual.map_or_else(nothing, channels_last);
    let (cubes, units) = one_a_number(&y, y.meta.num_elements());
    add_to_channels::launch(
        &y.client,
        cubes,
        units,
        x.clone().into_tensor_arg(),
        bias.into_tensor_arg(),
        per_example.into_tensor_arg(),
        residual.into_tensor_arg(),
        y.clone().into_tensor_arg(),
        (height * width) as u32,
        channels as u32,
        has_bias,
        has_per_example,
        has_residual,
        element(&y),
    );
    channels_first(y)
}

/// `[batch, height, width, channels]` to twice the height and width.
fn doubled(x: CubeTensor) -> CubeTensor {
    let [batch, height, width, channels] = x.meta.shape().dims();
    let y = empty(&x, [batch, 2 * height, 2 * width, channels], x.dtype);
    let (cubes, units) = one_a_number(&y, y.meta.num_elements());
    double::launch(
        &y.client,
        cubes,
        units,
        x.into_tensor_arg(),
        y.clone().into_tensor_arg(),
        width as u32,
        channels as u32,
        element(&y),
    );
    y
}

/// The gradient of x, before it was doubled.
pub(super) fn input_gradient(state: &Convolved, dy: CubeTensor) -> CubeTensor {
    let dx = convolved_gradient(state, dy);
    if state.window.upsampled {
        doubled_gradient(dx)
    } else {
        dx
    }
}

/// The gradient of what was convolved. For stride 1 it is a convolution itself, by the weight turned round,
/// for which burn has faster kernels than for transposed ones.
fn convolved_gradient(state: &Convolved, dy: CubeTensor) -> CubeTensor {
    let Convolved {
        x, weight, window, ..
    } = state.clone();
    if is_pointwise(window) {
        return product_of_pixels(dy, matrix(weight));
    }
    let around = |axis: usize| {
        let most = window.kernel[axis] - 1;
        let [before, after] = window.padding[axis];
        Some((most.checked_sub(before)?, most.checked_sub(after)?))
    };
    let (1, Some(rows), Some(columns)) = (window.stride, around(0), around(1)) else {
        return CubeBackend::conv2d_x_backward(x, weight, dy, options(window));
    };
    let options = ConvOptions::new_with_padding([1, 1], [rows, columns], [1, 1], 1);
    let [outputs, inputs, height, width] = weight.meta.shape().dims();
    let weight = channels_last(weight);
    let turned = empty(&weight, [inputs, height, width, outputs], weight.dtype);
    let (cubes, units) = one_a_number(&turned, turned.meta.num_elements());
    turn::launch(
        &turned.client,
        cubes,
        units,
        weight.clone().into_tensor_arg(),
        turned.clone().into_tensor_arg(),
        inputs as u32,
        outputs as u32,
        (height * width) as u32,
        element(&weight),
    );
    CubeBackend::conv2d(dy, channels_first(turned), None, options)
}

/// The gradient of an image from that of the image doubled.
fn doubled_gradient(dx: CubeTensor) -> CubeTensor {
    let doubled = channels_last(dx);
    let [batch, height, width, channels] = doubled.meta.shape().dims();
    let (height, width) = (height / 2, width / 2);
    let dx = empty(&doubled, [batch, height, width, channels], doubled.dtype);
    let (cubes, units) = one_a_number(&dx, dx.meta.num_elements());
    double_backward::launch(
        &dx.client,
        cubes,
        units,
        doubled.into_tensor_arg(),
        dx.clone().into_tensor_arg(),
        width as u32,
        channels as u32,
        element(&dx),
    );
    channels_first(dx)
}

/// Bytes of an unfolded input, beyond which burn's weight gradient is asked. To write and read so much takes a GPU
/// that moves a terabyte a second as long as the launches of 5 µs that unfolding spares: for a window of nine taps
/// burn copies each tap by itself.
const MOST_UNFOLDED: usize = 64 << 20;

/// Pixels that a piece of a sum over pixels has at least, and the most pieces: a weight has far fewer numbers than a GPU
/// has units, so the sum of each is parted.
const LEAST_OF_A_PIECE: usize = 256;
const MOST_PIECES: usize = 64;

/// The largest power of two that parts so many pixels evenly, with enough of them in each piece.
pub(super) fn pieces(pixels: usize) -> usize {
    let most = (pixels / LEAST_OF_A_PIECE).clamp(1, MOST_PIECES);
    1 << pixels.trailing_zeros().min(most.ilog2())
}

/// Rows of an unfolded input are of as many numbers as burn's products load at once, or a multiple.
const LOADED: usize = 8;

/// Rows whose sum one launch finds as soon as two would.
pub(super) const FEW_ROWS: usize = 256;

/// The gradients of the weight, of the bias and, if there is one, of what is added to each example.
pub(super) fn parameter_gradients(state: &Convolved, dy: CubeTensor) -> ParameterGradients {
    let [_, inputs, _, _] = state.x.meta.shape().dims();
    let [batch, outputs, height, width] = dy.meta.shape().dims();
    let pixels = batch * height * width;
    let values = state.window.kernel[0] * state.window.kernel[1] * inputs;
    let row_length = (values + 1).next_multiple_of(LOADED);
    let per_example = state
        .has_per_example
        .then(|| sum_of_each_example(dy.clone()));
    // A product by what is unfolded already, if it has to be parted no more than that.
    let is_plain = state.window.kernel == [1, 1] && pieces(pixels) == 1;
    let unfolded = pixels * row_length * dy.dtype.size();
    if !is_plain && unfolded <= MOST_UNFOLDED {
        let [weight, bias] = gradients_by_unfolding(state, dy, row_length);
        return ParameterGradients {
            weight,
            bias,
            per_example,
        };
    }
    let bias = match &per_example {
        Some(sums) => sum_of_examples(sums.clone()),
        None if pixels <= FEW_ROWS => {
            let rows = [1, 1, pixels, outputs].into();
            let one_example = CubeBackend::float_reshape(channels_last(dy.clone()), rows);
            let sums = sum_of_each_example(channels_first(one_example));
            CubeBackend::float_reshape(sums, [outputs].into())
        }
        None => sum_of_examples(sum_of_each_example(dy.clone())),
    };
    let Convolved {
        x, weight, window, ..
    } = state.clone();
    ParameterGradients {
        weight: CubeBackend::conv2d_weight_backward(x, weight, dy, options(window)),
        bias,
        per_example,
    }
}

/// The gradients of the weight and of the bias by one product of the gradient of y and the unfolded x.
fn gradients_by_unfolding(state: &Convolved, dy: CubeTensor, row_length: usize) -> [CubeTensor; 2] {
    let [batch, outputs, height, width] = dy.meta.shape().dims();
    let [_, inputs, _, _] = state.x.meta.shape().dims();
    let [kernel_height, kernel_width] = state.window.kernel;
    let values = kernel_height * kernel_width * inputs;
    let pixels = batch * height * width;
    let pieces = pieces(pixels);
    let parted = |matrix, columns| {
        CubeBackend::float_reshape(matrix, [pieces, pixels / pieces, columns].into())
    };
    let columns = unfolded(state.x.clone(), state.window, row_length, [height, width]);
    let dy = CubeBackend::float_swap_dims(parted(channels_last(dy), outputs), 1, 2);
    let products = CubeBackend::float_matmul(dy, parted(columns, row_length));
    let products = into_contiguous(products);
    let shape = [outputs, kernel_height, kernel_width, inputs];
    let weight = empty(&products, shape, products.dtype);
    let bias = empty(&products, [outputs], DType::F32);
    let (cubes, units) = one_a_number(&products, outputs * (values + 1));
    sum_pieces::launch(
        &products.client,
        cubes,
        units,
        products.clone().into_tensor_arg(),
        weight.clone().into_tensor_arg(),
        bias.clone().into_tensor_arg(),
        pieces as u32,
        values as u32,
        row_length as u32,
        element(&products),
    );
    [channels_first(weight), bias]
}

/// What the window sees of x at each pixel of an output: see [`unfold`].
fn unfolded(
    x: CubeTensor,
    window: Window,
    row_length: usize,
    [output_height, output_width]: [usize; 2],
) -> CubeTensor {
    let x = channels_last(x);
    let [batch, height, width, channels] = x.meta.shape().dims();
    let [kernel_height, kernel_width] = window.kernel;
    let shape = [batch, output_height, output_width, row_length];
    let columns = empty(&x, shape, x.dtype);
    let (cubes, units) = one_a_number(&columns, columns.meta.num_elements());
    let [[above, _], [before, _]] = window.padding;
    unfold::launch(
        &columns.client,
        cubes,
        units,
        x.clone().into_tensor_arg(),
        columns.clone().into_tensor_arg(),
        height as u32,
        width as u32,
        channels as u32,
        row_length as u32,
        output_height as u32,
        output_width as u32,
        window.stride as u32,
        above as u32,
        before as u32,
        kernel_height,
        kernel_width,
        element(&x),
    );
    columns
}

/// The sums over the pixels of each example, `[batch, channels]`, in f32.
pub(super) fn sum_of_each_example(dy: CubeTensor) -> CubeTensor {
    let dy = channels_last(dy);
    let [batch, height, width, channels] = dy.meta.shape().dims();
    let pixels = height * width;
    let most_units = most_units(&dy);
    let lanes = channels.min(32).min(most_units);
    let rows = (most_units / lanes).min(pixels).max(1);
    // Rounded down to a power of two.
    let rows = 1 << rows.ilog2();
    let sums = empty(&dy, [batch, channels], DType::F32);
    sum_over_pixels::launch(
        &dy.client.clone(),
        CubeCount::Static(channels.div_ceil(lanes) as u32, batch as u32, 1),
        CubeDim::new_1d((lanes * rows) as u32),
        dy.clone().into_tensor_arg(),
        sums.clone().into_tensor_arg(),
        pixels as u32,
        channels as u32,
        lanes,
        rows,
        element(&dy),
    );
    sums
}

/// The sum over all examples, `[channels]`, from [`sum_of_each_example`].
fn sum_of_examples(per_example: CubeTensor) -> CubeTensor {
    let [batch, channels] = per_example.meta.shape().dims();
    let sums = empty(&per_example, [channels], DType::F32);
    let (cubes, units) = one_a_number(&sums, channels);
    sum_over_examples::launch(
        &sums.client,
        cubes,
        units,
        per_example.into_tensor_arg(),
        sums.clone().into_tensor_arg(),
        batch as u32,
    );
    sums
}
