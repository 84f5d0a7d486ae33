//! Linear layers over rows, with what follows them folded in.
//!
//! ```text
//! z = x W + b + residual        y = z, or y = z σ(z)
//! ∂L/∂z = ∂L/∂y, or ∂L/∂y σ(z) (1 + z (1 - σ(z)))
//! ∂L/∂x = ∂L/∂z Wᵀ      ∂L/∂W = xᵀ ∂L/∂z      ∂L/∂b = Σ_rows ∂L/∂z
//! ```
//!
//! x is `[rows, inputs]`, W `[inputs, outputs]`, as burn's `Linear` has it.

use rayon::prelude::*;

use crate::cpu::matmul::multiply;
use crate::cpu::memory::{Buffer, filled};
use crate::cpu::silu;
use crate::cpu::tiles::Side;

/// Lengths of a layer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layer {
    /// Rows of x.
    pub(crate) rows: usize,
    /// Columns of x.
    pub(crate) inputs: usize,
    /// Columns of y.
    pub(crate) outputs: usize,
}

/// What is added to x W, empty where it is nothing.
#[derive(Clone, Copy)]
pub(crate) struct Addends<'a> {
    /// `[outputs]`
    pub(crate) bias: &'a [f32],
    /// `[rows, outputs]`
    pub(crate) residual: &'a [f32],
}

impl Addends<'_> {
    /// Adds to the rows from `first` on.
    fn add(&self, first: usize, z: &mut [f32], outputs: usize) {
        if !self.bias.is_empty() {
            for z in z.chunks_exact_mut(outputs) {
                for (z, b) in z.iter_mut().zip(self.bias) {
                    *z += b;
                }
            }
        }
        if !self.residual.is_empty() {
            for (z, x) in z.iter_mut().zip(&self.residual[first * outputs..]) {
                *z += x;
            }
        }
    }
}

/// z.
pub(crate) fn forward(layer: Layer, x: &[f32], weight: &[f32], addends: Addends<'_>) -> Buffer {
    filled(layer.rows * layer.outputs, |z| {
        let finish = |first: usize, z: &mut [f32], _: &mut [f32]| {
            addends.add(first, z, layer.outputs);
        };
        multiply(
            rows_of(layer, x),
            weight_of(layer, weight),
            z,
            &mut [],
            finish,
        );
    })
}

/// z, and y = z σ(z).
pub(crate) fn forward_silu(
    layer: Layer,
    x: &[f32],
    weight: &[f32],
    addends: Addends<'_>,
) -> (Buffer, Buffer) {
    let len = layer.rows * layer.outputs;
    let mut y = Buffer::new(len);
    let z = filled(len, |z| {
        let finish = |first: usize, z: &mut [f32], y: &mut [f32]| {
            addends.add(first, z, layer.outputs);
            silu::forward(z, y);
        };
        multiply(
            rows_of(layer, x),
            weight_of(layer, weight),
            z,
            &mut y,
            finish,
        );
    });
    (z, y)
}

fn rows_of(layer: Layer, x: &[f32]) -> Side<'_> {
    Side {
        values: x,
        lines: layer.rows,
        k: layer.inputs,
        is_along_k: true,
    }
}

fn weight_of(layer: Layer, weight: &[f32]) -> Side<'_> {
    Side {
        values: weight,
        lines: layer.outputs,
        k: layer.inputs,
        is_along_k: false,
    }
}

/// ∂L/∂z of y = z σ(z).
pub(crate) fn through_silu(z: &[f32], dy: &[f32]) -> Buffer {
    const NUMBERS: usize = 1 << 14;
    filled(z.len(), |dz| {
        dz.par_chunks_mut(NUMBERS)
            .zip(z.par_chunks(NUMBERS))
            .zip(dy.par_chunks(NUMBERS))
            .for_each(|((dz, z), dy)| silu::backward(z, dy, dz));
    })
}

/// ∂L/∂x.
pub(crate) fn input_gradient(layer: Layer, weight: &[f32], dz: &[f32]) -> Buffer {
    let dz = Side {
        values: dz,
        lines: layer.rows,
        k: layer.outputs,
        is_along_k: true,
    };
    let weight = Side {
        values: weight,
        lines: layer.inputs,
        k: layer.outputs,
        is_along_k: true,
    };
    filled(layer.rows * layer.inputs, |dx| {
        multiply(dz, weight, dx, &mut [], |_, _, _| {});
    })
}

/// ∂L/∂W.
pub(crate) fn weight_gradient(layer: Layer, x: &[f32], dz: &[f32]) -> Buffer {
    let x = Side {
        values: x,
        lines: layer.inputs,
        k: layer.rows,
        is_along_k: false,
    };
    let dz = Side {
        values: dz,
        lines: layer.outputs,
        k: layer.rows,
        is_along_k: false,
    };
    filled(layer.inputs * layer.outputs, |dw| {
        multiply(x, dz, dw, &mut [], |_, _, _| {});
    })
}

/// Rows that are summed in f32 before their sum goes to f64.
const RUN: usize = 64;

/// The sums of the columns of rows of `width` numbers.
pub(crate) fn column_sums(rows: &[f32], width: usize) -> Vec<f32> {
    if width == 0 {
        return Vec::new();
    }
    let parts: Vec<Vec<f32>> = rows
        .par_chunks(RUN * width)
        .map(|rows| {
            let mut sums = vec![0.0; width];
            for row in rows.chunks_exact(width) {
                for (sum, x) in sums.iter_mut().zip(row) {
                    *sum += x;
                }
            }
            sums
        })
        .collect();
    total(&parts, width)
}

/// The sum of the parts, in their order, in f64: they may cancel.
pub(crate) fn total(parts: &[Vec<f32>], width: usize) -> Vec<f32> {
    let mut sums = vec![0.0f64; width];
    for part in parts {
        for (sum, x) in sums.iter_mut().zip(part) {
            *sum += f64::from(*x);
        }
    }
    sums.into_iter().map(|x| x as f32).collect()
}
