//! 3×3 convolution with stride 1 by Winograd's F(4×4, 3×3): a quarter of the multiplications.
//!
//! An output tile of 4×4 pixels comes from the 6×6 pixels d around it and the kernel g:
//!
//! ```text
//! Y = Aᵀ [ (G g Gᵀ) ⊙ (Bᵀ d B) ] A
//! ```
//!
//! so that, for each of the 36 points of the transformed tile, all tiles and channels are one matrix
//! product (Lavin and Gray 2016, "Fast Algorithms for Convolutional Neural Networks", sections 4.1
//! and 4.3). The weight gradient is the derivative of the same formula,
//!
//! ```text
//! ∂L/∂g = Gᵀ [ Σ_tiles (A ∂L/∂Y Aᵀ) ⊙ (Bᵀ d B) ] G
//! ```
//!
//! and the input gradient is a convolution of ∂L/∂y with the kernel flipped and its channels swapped.
//!
//! Images are channels-last, and vectors run over channels, whose number must be a multiple of
//! [`CHANNELS`]. Work is cut into runs of rows of tiles.

use rayon::prelude::*;

use crate::cpu::gemm::{Product, product};
use crate::cpu::memory::{Buffer, filled, pieces, with_scratch};
use crate::cpu::simd::{Kernel, Simd, run};

/// What channels must be multiples of: the longest vector.
pub(crate) const CHANNELS: usize = 16;

/// Pixels of an output tile along an axis.
const TILE: usize = 4;
/// Points of a transformed tile.
const POINTS: usize = 36;
/// Multiplications that are worth a piece of work of their own: some 20 µs.
const WORTH: usize = 1 << 20;
/// Bytes that the transformed tiles of a piece of work may take, to stay in second-level cache.
const CACHE: usize = 1 << 20;

/// Images that are convolved, channels-last.
#[derive(Clone, Copy)]
pub(crate) struct Images<'a> {
    /// `[batch, height, width, channels]`; height and width are halved where `upsampled`.
    pub(crate) values: &'a [f32],
    /// Number of images.
    pub(crate) batch: usize,
    /// Height as convolved.
    pub(crate) height: usize,
    /// Width as convolved.
    pub(crate) width: usize,
    /// Channels.
    pub(crate) channels: usize,
    /// Whether each pixel stands for 2×2 of the convolved image.
    pub(crate) upsampled: bool,
}

impl Images<'_> {
    fn tile_columns(&self) -> usize {
        self.width.div_ceil(TILE)
    }

    /// Tiles of all images.
    pub(crate) fn tiles(&self) -> usize {
        self.batch * self.tile_rows() * self.tile_columns()
    }

    /// Rows of tiles of one image.
    fn tile_rows(&self) -> usize {
        self.height.div_ceil(TILE)
    }

    /// First pixel row, counted through all images, of a row of tiles so counted.
    fn pixel_row(&self, tile_row: usize) -> usize {
        let (image, row) = (tile_row / self.tile_rows(), tile_row % self.tile_rows());
        image * self.height + (row * TILE).min(self.height)
    }
}

/// What is added to each output.
#[derive(Clone, Copy)]
pub(crate) struct Addends<'a> {
    /// A number a channel, or a number an example and channel, or nothing.
    pub(crate) channels: &'a [f32],
    /// As many numbers as outputs, or none.
    pub(crate) residual: &'a [f32],
}

/// Which of its two convolutions a kernel is transformed for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From inputs to outputs.
    Forward,
    /// From output gradients to input gradients.
    Backward,
}

/// G g Gᵀ for all channels: `[36, channels that come in, channels that go out]`, from weights
/// `[out, in, 3, 3]`.
pub(crate) fn transform_weights(
    weight: &[f32],
    [out, in_]: [usize; 2],
    direction: Direction,
) -> Buffer {
    let (rows, columns) = match direction {
        Direction::Forward => (in_, out),
        Direction::Backward => (out, in_),
    };
    let mut transformed = Buffer::new(POINTS * rows * columns);
    // A task takes some of the channels that come in, whose places lie apart at each point.
    let tasks = rows.div_ceil(CHANNELS);
    let mut places: Vec<Vec<&mut [f32]>> = (0..tasks).map(|_| Vec::new()).collect();
    for point in transformed.chunks_exact_mut(rows * columns) {
        for (task, place) in point.chunks_mut(CHANNELS * columns).enumerate() {
            places[task].push(place);
        }
    }
    let worth = (1 << 13) / (CHANNELS * columns);
    let places = places.into_par_iter().with_min_len(worth.max(1));
    places.enumerate().for_each(|(task, places)| {
        with_scratch(9 * columns, |taps| {
            run(TransformWeights {
                weight,
                in_,
                direction,
                first: task * CHANNELS,
                columns,
                taps,
                places,
            });
        });
    });
    transformed
}

struct TransformWeights<'a> {
    weight: &'a [f32],
    in_: usize,
    direction: Direction,
    /// The first channel that comes in.
    first: usize,
    /// Channels that go out.
    columns: usize,
    /// The nine taps of one channel that comes in.
    taps: &'a mut [f32],
    /// Of each point, some rows.
    places: Vec<&'a mut [f32]>,
}

impl Kernel for TransformWeights<'_> {
    type Output = ();

    #[inline(always)]
    fn with<S: Simd>(mut self, simd: S) {
        let columns = self.columns;
        let zero = simd.splat(0.0);
        assert!(self.places.len() == POINTS && self.taps.len() >= 9 * columns);
        let rows = self.places[0].len() / columns;
        assert!(
            self.places
                .iter()
                .all(|place| place.len() >= rows * columns)
        );
        for row in 0..rows {
            for column in 0..columns {
                let (pair, flip) = match self.direction {
                    Direction::Forward => (column * self.in_ + self.first + row, false),
                    Direction::Backward => ((self.first + row) * self.in_ + column, true),
                };
                let kernel = &self.weight[pair * 9..][..9];
                for tap in 0..9 {
                    self.taps[tap * columns + column] = kernel[if flip { 8 - tap } else { tap }];
                }
            }
            let mut column = 0;
            while column < columns {
                let mut half = [[zero; 3]; 6];
                for s in 0..3 {
                    let mut g = [zero; 3];
                    for r in 0..3 {
                        let from = (3 * r + s) * columns + column;
                        // SAFETY: asserted; columns are a multiple of the vector's length.
                        g[r] = unsafe { simd.load(self.taps.as_ptr().add(from)) };
                    }
                    let u = kernel_transform(simd, g);
                    for i in 0..6 {
                        half[i][s] = u[i];
                    }
                }
                for i in 0..6 {
                    let u = kernel_transform(simd, half[i]);
                    for j in 0..6 {
                        let place = self.places[6 * i + j].as_mut_ptr();
                        // SAFETY: as above.
                        unsafe { simd.store(place.add(row * columns + column), u[j]) };
                    }
                }
                column += S::LANES;
            }
        }
    }
}

/// How many rows of tiles a piece of work has, at most.
fn rows_in_cache(images: &Images<'_>, out_channels: usize) -> usize {
    let row = images.tile_columns() * POINTS * (images.channels + out_channels) * 4;
    (CACHE / row).max(1)
}

/// The convolution: `[batch, height, width, out_channels]`, or a quarter of it if `pool`, where each
/// output is the sum of 2×2: the input gradient of a convolution of upsampled images.
///
/// `weights` are those of [`transform_weights`].
pub(crate) fn convolve(
    images: Images<'_>,
    weights: &Buffer,
    out_channels: usize,
    addends: Addends<'_>,
    pool: bool,
) -> Buffer {
    let total = images.batch * images.tile_rows();
    // Enough pieces for every thread. The result does not depend on it.
    let fair = total.div_ceil(2 * rayon::current_num_threads()).max(1);
    // But not so small that handing them out takes longer than to do them.
    let work = images.tile_columns() * POINTS * images.channels * out_channels;
    let worth = WORTH.div_ceil(work);
    let rows = rows_in_cache(&images, out_channels).min(fair.max(worth));
    let starts: Vec<usize> = (0..total).step_by(rows).collect();

    let shrink = if pool { 4 } else { 1 };
    let row_len = images.width * out_channels;
    let offset = |tile_row: usize| images.pixel_row(tile_row) * row_len / shrink;
    let len = images.batch * images.height * row_len / shrink;
    let fill = |y: &mut [f32]| {
        let lengths = starts
            .iter()
            .map(|&start| offset((start + rows).min(total)) - offset(start));
        pieces(y, lengths)
            .into_par_iter()
            .zip(&starts)
            .for_each(|(y, &start)| {
                let tile_rows = (total - start).min(rows);
                let tiles = tile_rows * images.tile_columns();
                let v = POINTS * point_stride(tiles, images.channels);
                let m = POINTS * point_stride(tiles, out_channels);
                with_scratch(v + m, |scratch| {
                    let (v, m) = scratch.split_at_mut(v);
                    run(Convolve {
                        images,
                        weights,
                        out_channels,
                        addends,
                        pool,
                        start,
                        tile_rows,
                        v,
                        m,
                        y,
                    });
                });
            });
    };
    // The pieces cover y, and each writes all its tiles.
    filled(len, fill)
}

/// From one point of the transformed tiles to the next. One cache line more than the tiles take, so
/// that the 36 points of a tile do not fall into the same set of the cache.
fn point_stride(tiles: usize, channels: usize) -> usize {
    tiles * channels + 16
}

struct Convolve<'a> {
    images: Images<'a>,
    weights: &'a [f32],
    out_channels: usize,
    addends: Addends<'a>,
    pool: bool,
    start: usize,
    tile_rows: usize,
    v: &'a mut [f32],
    m: &'a mut [f32],
    y: &'a mut [f32],
}

impl Kernel for Convolve<'_> {
    type Output = ();

    #[inline(always)]
    fn with<S: Simd>(self, simd: S) {
        let Self { images, .. } = self;
        let (channels, out) = (images.channels, self.out_channels);
        let columns = images.tile_columns();
        let tiles = self.tile_rows * columns;
        let (v_stride, m_stride) = (point_stride(tiles, channels), point_stride(tiles, out));
        assert!(self.v.len() >= POINTS * v_stride && self.m.len() >= POINTS * m_stride);
        assert!(self.weights.len() >= POINTS * channels * out);

        transform_inputs(simd, images, self.start, self.tile_rows, self.v);

        for point in 0..POINTS {
            // SAFETY: asserted above; M is no part of V.
            unsafe {
                product(
                    simd,
                    Product {
                        a: self.v.as_ptr().add(point * v_stride),
                        a_row: channels,
                        a_step: 1,
                        b: self.weights.as_ptr().add(point * channels * out),
                        b_row: out,
                        c: self.m.as_mut_ptr().add(point * m_stride),
                        c_row: out,
                        m: tiles,
                        n: out,
                        k: channels,
                        accumulate: false,
                    },
                );
            }
        }

        let shrink = if self.pool { 2 } else { 1 };
        let (height, width) = (images.height / shrink, images.width / shrink);
        let (tile, row_len) = (TILE / shrink, width * out);
        let first_row = images.pixel_row(self.start) / shrink;
        for t in 0..tiles {
            let tile_row = self.start + t / columns;
            let image = tile_row / images.tile_rows();
            let top = tile_row % images.tile_rows() * tile;
            let left = t % columns * tile;
            let (rows, cols) = ((height - top).min(tile), (width - left).min(tile));
            // In numbers, from the start of all outputs and of this piece's.
            let whole = ((image * height + top) * width + left) * out;
            let at = whole - first_row * row_len;
            assert!(at + (rows - 1) * row_len + cols * out <= self.y.len());

            let mut channel = 0;
            while channel < out {
                let mut base = simd.splat(0.0);
                if !self.addends.channels.is_empty() {
                    let one_for_all = self.addends.channels.len() == out;
                    let from = if one_for_all { 0 } else { image * out } + channel;
                    debug_assert!(from + S::LANES <= self.addends.channels.len());
                    // SAFETY: there are `out` numbers, or `out` an image.
                    base = unsafe { simd.load(self.addends.channels.as_ptr().add(from)) };
                }
                let m = &self.m[t * out + channel..];
                // SAFETY: all 36 points of tile t lie in M.
                let y = unsafe { output_tile(simd, m.as_ptr(), m_stride) };
                for i in 0..rows {
                    for j in 0..cols {
                        let mut sum = if self.pool {
                            simd.add(
                                simd.add(y[2 * i][2 * j], y[2 * i][2 * j + 1]),
                                simd.add(y[2 * i + 1][2 * j], y[2 * i + 1][2 * j + 1]),
                            )
                        } else {
                            y[i][j]
                        };
                        sum = simd.add(sum, base);
                        let here = i * row_len + j * out + channel;
                        // SAFETY: inside the outputs, as asserted; the residual has their shape.
                        unsafe {
                            if !self.addends.residual.is_empty() {
                                let residual = self.addends.residual.as_ptr().add(whole + here);
                                sum = simd.add(sum, simd.load(residual));
                            }
                            simd.store(self.y.as_mut_ptr().add(at + here), sum);
                        }
                    }
                }
                channel += S::LANES;
            }
        }
    }
}

/// Bᵀ d B of the tiles of some rows: `v[point][tile][channel]`.
#[inline(always)]
fn transform_inputs<S: Simd>(
    simd: S,
    images: Images<'_>,
    start: usize,
    tile_rows: usize,
    v: &mut [f32],
) {
    let channels = images.channels;
    let columns = images.tile_columns();
    let stride = point_stride(tile_rows * columns, channels);
    let shift = usize::from(images.upsampled);
    let (height, width) = (images.height >> shift, images.width >> shift);
    assert!(v.len() >= POINTS * stride);
    assert!(images.values.len() >= images.batch * height * width * channels);
    assert!(start + tile_rows <= images.batch * images.tile_rows());

    let zero = [0.0f32; CHANNELS];
    for t in 0..tile_rows * columns {
        let tile_row = start + t / columns;
        let image = tile_row / images.tile_rows();
        let top = tile_row % images.tile_rows() * TILE;
        let left = t % columns * TILE;
        // Where each pixel lies, and whether it is one, not padding.
        let mut at = [[0usize; 6]; 6];
        let mut inside = [[false; 6]; 6];
        for i in 0..6 {
            for j in 0..6 {
                // One more than the pixel's place, which padding begins before.
                let (row, col) = (top + i, left + j);
                if row > 0 && row <= images.height && col > 0 && col <= images.width {
                    let (row, col) = ((row - 1) >> shift, (col - 1) >> shift);
                    inside[i][j] = true;
                    at[i][j] = ((image * height + row) * width + col) * channels;
                }
            }
        }
        let mut channel = 0;
        while channel < channels {
            let mut half = [[simd.splat(0.0); 6]; 6];
            for j in 0..6 {
                let mut d = [simd.splat(0.0); 6];
                for i in 0..6 {
                    let pixel = if inside[i][j] {
                        // SAFETY: a pixel of the images, whose length is asserted.
                        unsafe { images.values.as_ptr().add(at[i][j] + channel) }
                    } else {
                        zero.as_ptr()
                    };
                    // SAFETY: a vector's worth of channels follows.
                    d[i] = unsafe { simd.load(pixel) };
                }
                let d = input_transform(simd, d);
                for i in 0..6 {
                    half[i][j] = d[i];
                }
            }
            for i in 0..6 {
                let row = input_transform(simd, half[i]);
                for j in 0..6 {
                    let to = (6 * i + j) * stride + t * channels + channel;
                    // SAFETY: inside v, whose length is asserted.
                    unsafe { simd.store(v.as_mut_ptr().add(to), row[j]) };
                }
            }
            channel += S::LANES;
        }
    }
}

/// The gradients of the weights, `[out, in, 3, 3]`, and of what was added to each example's channels,
/// `[batch, out]`.
///
/// `images` were convolved, `dy` is the gradient of what came out, `[batch, height, width, out]`.
pub(crate) fn weight_gradient(
    images: Images<'_>,
    dy: &[f32],
    out_channels: usize,
) -> (Buffer, Buffer) {
    let pairs = out_channels * images.channels;
    let total = images.batch * images.tile_rows();
    // Parts are summed at the end, in their order. Their number depends on the shape alone.
    let tiles = total * images.tile_columns();
    let parts = (tiles / 256).clamp(2, 8).min(total);
    let rows = total.div_ceil(parts);
    let parts = total.div_ceil(rows);
    let block = rows_in_cache(&images, out_channels).min(rows);

    let mut sums = Buffer::new(parts * POINTS * pairs);
    let mut row_sums = Buffer::zeros(total * out_channels);
    let lengths = || (0..parts).map(|part| (total - part * rows).min(rows) * out_channels);
    pieces(&mut row_sums, lengths())
        .into_par_iter()
        .zip(sums.par_chunks_mut(POINTS * pairs))
        .enumerate()
        .for_each(|(part, (row_sums, sums))| {
            let tiles = block * images.tile_columns();
            let v = POINTS * point_stride(tiles, images.channels);
            let z = POINTS * point_stride(tiles, out_channels);
            with_scratch(v + z, |scratch| {
                let (v, z) = scratch.split_at_mut(v);
                run(WeightGradient {
                    images,
                    dy,
                    out_channels,
                    start: part * rows,
                    tile_rows: (total - part * rows).min(rows),
                    block,
                    v,
                    z,
                    sums,
                    row_sums,
                });
            });
        });

    // A chunk of pairs is a contiguous chunk of the weights.
    let mut dw = Buffer::new(9 * pairs);
    let chunk = 32 * CHANNELS;
    let sums = &sums[..];
    dw.par_chunks_mut(9 * chunk)
        .enumerate()
        .for_each(|(index, dw)| {
            run(GatherWeights {
                sums,
                parts,
                pairs,
                first: index * chunk,
                dw,
            });
        });

    let mut per_example = Buffer::zeros(images.batch * out_channels);
    let tile_rows = images.tile_rows();
    for (sum, rows) in per_example
        .chunks_exact_mut(out_channels)
        .zip(row_sums.chunks_exact(tile_rows * out_channels))
    {
        for row in rows.chunks_exact(out_channels) {
            for (sum, x) in sum.iter_mut().zip(row) {
                *sum += x;
            }
        }
    }
    (dw, per_example)
}

struct WeightGradient<'a> {
    images: Images<'a>,
    dy: &'a [f32],
    out_channels: usize,
    start: usize,
    tile_rows: usize,
    block: usize,
    v: &'a mut [f32],
    z: &'a mut [f32],
    /// `[point][out][in]`, of any value.
    sums: &'a mut [f32],
    /// `[row of tiles][out]`, zero.
    row_sums: &'a mut [f32],
}

impl Kernel for WeightGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn with<S: Simd>(self, simd: S) {
        let Self { images, .. } = self;
        let (channels, out) = (images.channels, self.out_channels);
        let columns = images.tile_columns();
        let most = self.block * columns;
        assert!(self.v.len() >= POINTS * point_stride(most, channels));
        assert!(self.z.len() >= POINTS * point_stride(most, out));
        assert!(self.sums.len() >= POINTS * channels * out);

        let mut done = 0;
        while done < self.tile_rows {
            let rows = (self.tile_rows - done).min(self.block);
            let tiles = rows * columns;
            let (v_stride, z_stride) = (point_stride(tiles, channels), point_stride(tiles, out));
            transform_inputs(simd, images, self.start + done, rows, self.v);
            let row_sums = &mut self.row_sums[done * out..(done + rows) * out];
            transform_gradients(
                simd,
                images,
                self.dy,
                out,
                [self.start + done, rows],
                self.z,
                row_sums,
            );
            for point in 0..POINTS {
                // SAFETY: asserted above; the sums are no part of V or Z.
                unsafe {
                    product(
                        simd,
                        Product {
                            a: self.z.as_ptr().add(point * z_stride),
                            a_row: 1,
                            a_step: out,
                            b: self.v.as_ptr().add(point * v_stride),
                            b_row: channels,
                            c: self.sums.as_mut_ptr().add(point * channels * out),
                            c_row: channels,
                            m: out,
                            n: channels,
                            k: tiles,
                            accumulate: done > 0,
                        },
                    );
                }
            }
            done += rows;
        }
    }
}

/// A ∂L/∂Y Aᵀ of the tiles of some rows, `z[point][tile][channel]`, and the sums of ∂L/∂Y over each
/// row of tiles.
#[inline(always)]
fn transform_gradients<S: Simd>(
    simd: S,
    images: Images<'_>,
    dy: &[f32],
    out: usize,
    [start, tile_rows]: [usize; 2],
    z: &mut [f32],
    row_sums: &mut [f32],
) {
    let columns = images.tile_columns();
    let stride = point_stride(tile_rows * columns, out);
    let (height, width) = (images.height, images.width);
    assert!(z.len() >= POINTS * stride && row_sums.len() >= tile_rows * out);
    assert!(dy.len() >= images.batch * height * width * out);

    for t in 0..tile_rows * columns {
        let tile_row = start + t / columns;
        let image = tile_row / images.tile_rows();
        let top = tile_row % images.tile_rows() * TILE;
        let left = t % columns * TILE;
        let (rows, cols) = ((height - top).min(TILE), (width - left).min(TILE));
        let at = ((image * height + top) * width + left) * out;
        let sums = &mut row_sums[t / columns * out..][..out];
        let mut channel = 0;
        while channel < out {
            let mut half = [[simd.splat(0.0); 4]; 6];
            for j in 0..4 {
                let mut y = [simd.splat(0.0); 4];
                for i in 0..4 {
                    if i < rows && j < cols {
                        let from = at + (i * width + j) * out + channel;
                        // SAFETY: inside dy, whose length is asserted.
                        y[i] = unsafe { simd.load(dy.as_ptr().add(from)) };
                    }
                }
                let y = gradient_transform(simd, y);
                for i in 0..6 {
                    half[i][j] = y[i];
                }
            }
            for i in 0..6 {
                let row = gradient_transform(simd, half[i]);
                for j in 0..6 {
                    let to = (6 * i + j) * stride + t * out + channel;
                    // SAFETY: inside z, whose length is asserted.
                    unsafe { simd.store(z.as_mut_ptr().add(to), row[j]) };
                }
                if i == 1 {
                    // Point (1, 1) is the sum of the tile.
                    let sum = sums[channel..].as_mut_ptr();
                    // SAFETY: `out` is a multiple of the vector's length.
                    unsafe { simd.store(sum, simd.add(simd.load(sum), row[1])) };
                }
            }
            channel += S::LANES;
        }
    }
}

struct GatherWeights<'a> {
    /// `[part][point][pair]`
    sums: &'a [f32],
    parts: usize,
    pairs: usize,
    first: usize,
    /// `[pair][9]`
    dw: &'a mut [f32],
}

impl Kernel for GatherWeights<'_> {
    type Output = ();

    #[inline(always)]
    fn with<S: Simd>(self, simd: S) {
        let count = self.dw.len() / 9;
        assert!(self.first + count <= self.pairs && count.is_multiple_of(S::LANES));
        assert!(self.sums.len() >= self.parts * POINTS * self.pairs);
        let zero = simd.splat(0.0);
        let mut pair = 0;
        while pair < count {
            let mut rows = [[zero; 6]; 3];
            for j in 0..6 {
                let mut u = [zero; 6];
                for part in 0..self.parts {
                    for (i, u) in u.iter_mut().enumerate() {
                        let point = part * POINTS + 6 * i + j;
                        let from = point * self.pairs + self.first + pair;
                        // SAFETY: asserted above.
                        *u = simd.add(*u, unsafe { simd.load(self.sums.as_ptr().add(from)) });
                    }
                }
                let w = kernel_gather(simd, u);
                for i in 0..3 {
                    rows[i][j] = w[i];
                }
            }
            let mut lanes = [0.0f32; CHANNELS];
            for (r, row) in rows.iter().enumerate() {
                let w = kernel_gather(simd, *row);
                for (s, w) in w.iter().enumerate() {
                    // SAFETY: `lanes` is as long as the longest vector.
                    unsafe { simd.store(lanes.as_mut_ptr(), *w) };
                    for lane in 0..S::LANES {
                        self.dw[(pair + lane) * 9 + 3 * r + s] = lanes[lane];
                    }
                }
            }
            pair += S::LANES;
        }
    }
}

/// Bᵀ d
#[inline(always)]
fn input_transform<S: Simd>(simd: S, d: [S::V; 6]) -> [S::V; 6] {
    let (two, four, five) = (simd.splat(2.0), simd.splat(4.0), simd.splat(-5.0));
    let minus_four = simd.splat(-4.0);
    let even = simd.mul_add(minus_four, d[2], d[4]);
    let odd = simd.mul_add(minus_four, d[1], d[3]);
    let even_2 = simd.sub(d[4], d[2]);
    let odd_2 = simd.mul(two, simd.sub(d[3], d[1]));
    [
        simd.mul_add(four, d[0], simd.mul_add(five, d[2], d[4])),
        simd.add(even, odd),
        simd.sub(even, odd),
        simd.add(even_2, odd_2),
        simd.sub(even_2, odd_2),
        simd.mul_add(four, d[1], simd.mul_add(five, d[3], d[5])),
    ]
}

/// G g
#[inline(always)]
fn kernel_transform<S: Simd>(simd: S, g: [S::V; 3]) -> [S::V; 6] {
    let sum = simd.add(g[0], g[2]);
    let sixth = simd.splat(-1.0 / 6.0);
    let even = simd.mul_add(
        simd.splat(1.0 / 24.0),
        g[0],
        simd.mul(simd.splat(1.0 / 6.0), g[2]),
    );
    let odd = simd.mul(simd.splat(1.0 / 12.0), g[1]);
    [
        simd.mul(simd.splat(0.25), g[0]),
        simd.mul(sixth, simd.add(sum, g[1])),
        simd.mul(sixth, simd.sub(sum, g[1])),
        simd.add(even, odd),
        simd.sub(even, odd),
        g[2],
    ]
}

/// Gᵀ u
#[inline(always)]
fn kernel_gather<S: Simd>(simd: S, u: [S::V; 6]) -> [S::V; 3] {
    let sixth = simd.splat(1.0 / 6.0);
    let (near, far) = (simd.add(u[1], u[2]), simd.add(u[3], u[4]));
    let near_sixth = simd.mul(sixth, near);
    [
        simd.sub(
            simd.mul_add(
                simd.splat(0.25),
                u[0],
                simd.mul(simd.splat(1.0 / 24.0), far),
            ),
            near_sixth,
        ),
        simd.mul_add(
            sixth,
            simd.sub(u[2], u[1]),
            simd.mul(simd.splat(1.0 / 12.0), simd.sub(u[3], u[4])),
        ),
        simd.add(simd.sub(simd.mul(sixth, far), near_sixth), u[5]),
    ]
}

/// A y
#[inline(always)]
fn gradient_transform<S: Simd>(simd: S, y: [S::V; 4]) -> [S::V; 6] {
    let (two, four) = (simd.splat(2.0), simd.splat(4.0));
    let (even, odd) = (simd.add(y[0], y[2]), simd.add(y[1], y[3]));
    let even_2 = simd.mul_add(four, y[2], y[0]);
    let odd_2 = simd.mul(two, simd.mul_add(four, y[3], y[1]));
    [
        y[0],
        simd.add(even, odd),
        simd.sub(even, odd),
        simd.add(even_2, odd_2),
        simd.sub(even_2, odd_2),
        y[3],
    ]
}

/// Aᵀ m
#[inline(always)]
fn output_transform<S: Simd>(simd: S, m: [S::V; 6]) -> [S::V; 4] {
    let (even, odd) = (simd.add(m[1], m[2]), simd.sub(m[1], m[2]));
    let (even_2, odd_2) = (simd.add(m[3], m[4]), simd.sub(m[3], m[4]));
    [
        simd.add(simd.add(m[0], even), even_2),
        simd.mul_add(simd.splat(2.0), odd_2, odd),
        simd.mul_add(simd.splat(4.0), even_2, even),
        simd.add(simd.mul_add(simd.splat(8.0), odd_2, odd), m[5]),
    ]
}

/// Aᵀ M A of the tile whose points lie `stride` apart.
///
/// # Safety
///
/// A vector must be readable at each of the 36 points.
#[inline(always)]
unsafe fn output_tile<S: Simd>(simd: S, m: *const f32, stride: usize) -> [[S::V; 4]; 4] {
    let mut half = [[simd.splat(0.0); 6]; 4];
    for j in 0..6 {
        let mut column = [simd.splat(0.0); 6];
        for i in 0..6 {
            // SAFETY: the caller's promise.
            column[i] = unsafe { simd.load(m.add((6 * i + j) * stride)) };
        }
        let column = output_transform(simd, column);
        for i in 0..4 {
            half[i][j] = column[i];
        }
    }
    let mut y = [[simd.splat(0.0); 4]; 4];
    for i in 0..4 {
        y[i] = output_transform(simd, half[i]);
    }
    y
}
