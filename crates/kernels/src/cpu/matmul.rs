//! The product of two matrices of any size, in rows of the result that tasks share out.
//!
//! With AMX by tiles, else by vectors. Every element is one sum in the order of k, cut into parts by the
//! shape of B alone, so results depend neither on the number of threads nor on the other rows.

use rayon::prelude::*;

use crate::cpu::gemm::{Product, product};
use crate::cpu::memory::{Buffer, filled, with_scratch};
use crate::cpu::simd::{Kernel, Simd, run, use_tiles};
use crate::cpu::tiles::{self, Operand, STEP_LEN, STRIP, Side};

/// Rows of C of a task.
const ROWS: usize = 128;

/// The length of a part of the sums, by tiles: so much of the rows of a task stays in the second-level
/// cache, and is read from there for every strip of columns.
const PART: usize = 1024;

/// Numbers of B from which on tiles are used. The rows of A do not count, so that a row of C does not depend
/// on how many there are.
const MANY: usize = 1 << 12;

/// C = A B `[rows, columns]` into `c`. `finish` is called with the first of a task's rows, these, and the
/// same rows of `beside`, which is empty or as long as C.
///
/// # Panics
///
/// If the lengths do not fit each other.
pub(crate) fn multiply(
    a: Side<'_>,
    b: Side<'_>,
    c: &mut [f32],
    beside: &mut [f32],
    finish: impl Fn(usize, &mut [f32], &mut [f32]) + Sync,
) {
    let (rows, columns, k) = (a.lines, b.lines, a.k);
    assert!(
        b.k == k && c.len() == rows * columns && (beside.is_empty() || beside.len() == c.len())
    );
    assert!(a.values.len() == rows * k && b.values.len() == columns * k);
    if c.is_empty() {
        return;
    }
    let len = ROWS * columns;
    let count = rows.div_ceil(ROWS);
    // Pieces of `beside`, or as many empty ones.
    let mut beside: Vec<&mut [f32]> = if beside.is_empty() {
        (0..count).map(|_| [].as_mut_slice()).collect()
    } else {
        beside.chunks_mut(len).collect()
    };
    let tasks = c.par_chunks_mut(len).zip(&mut beside).enumerate();
    if k == 0 {
        tasks.for_each(|(task, (c, beside))| {
            c.fill(0.0);
            finish(task * ROWS, c, beside);
        });
    } else if use_tiles() && columns * k >= MANY {
        let packed = tiles::pack_all(b);
        tasks.for_each(|(task, (c, beside))| {
            by_tiles(a, &packed, columns, task * ROWS, c);
            finish(task * ROWS, c, beside);
        });
    } else {
        // Rows of B must lie along its columns.
        let turned = b.is_along_k.then(|| transposed(b));
        let b = turned.as_deref().unwrap_or(b.values);
        tasks.for_each(|(task, (c, beside))| {
            by_vectors(a, b, columns, task * ROWS, c);
            finish(task * ROWS, c, beside);
        });
    }
}

/// The rows of C from `row` on, of a right operand that is packed.
fn by_tiles(a: Side<'_>, b: &[f32], columns: usize, row: usize, c: &mut [f32]) {
    let steps = a.k.div_ceil(STRIP);
    let rows = c.len() / columns;
    let strips = rows.div_ceil(STRIP);
    let part = steps.min(PART / STRIP);
    with_scratch(strips * part * STEP_LEN, |scratch| {
        for first in (0..steps).step_by(part) {
            let part = part.min(steps - first);
            let packed = &mut scratch[..strips * part * STEP_LEN];
            for (strip, packed) in packed.chunks_exact_mut(part * STEP_LEN).enumerate() {
                let line = row + strip * STRIP;
                tiles::pack(a, Operand::A, line, first * STRIP, packed);
            }
            tiles::with_tiles(|| {
                for (column, b) in b.chunks_exact(steps * STEP_LEN).enumerate() {
                    let b = &b[first * STEP_LEN..][..part * STEP_LEN];
                    let column = column * STRIP;
                    for (strip, a) in packed.chunks_exact(part * STEP_LEN).enumerate() {
                        let row = strip * STRIP;
                        let c = &mut c[row * columns + column..];
                        let size = [(rows - row).min(STRIP), (columns - column).min(STRIP)];
                        tiles::multiply([a, b], c, columns, size, first > 0);
                    }
                }
            });
        }
    });
}

/// B `[k, columns]` of one that is `[columns, k]`.
fn transposed(b: Side<'_>) -> Buffer {
    const SQUARE: usize = 16;
    let (columns, k) = (b.lines, b.k);
    filled(columns * k, |turned| {
        turned
            .par_chunks_mut(SQUARE * columns)
            .enumerate()
            .for_each(|(square, turned)| {
                let first = square * SQUARE;
                for (column, row) in b.values.chunks_exact(k).enumerate() {
                    let row = &row[first..k.min(first + SQUARE)];
                    for (to, x) in turned[column..].iter_mut().step_by(columns).zip(row) {
                        *to = *x;
                    }
                }
            });
    })
}

/// The rows of C from `row` on, of B `[k, columns]`.
fn by_vectors(a: Side<'_>, b: &[f32], columns: usize, row: usize, c: &mut [f32]) {
    let (start, [a_row, a_step]) = if a.is_along_k {
        (row * a.k, [a.k, 1])
    } else {
        (row, [1, a.lines])
    };
    run(Rows {
        a: &a.values[start..],
        a_row,
        a_step,
        b,
        c,
        k: a.k,
        columns,
    });
}

/// Rows of C = A B, of A with any strides.
struct Rows<'a> {
    a: &'a [f32],
    a_row: usize,
    a_step: usize,
    b: &'a [f32],
    c: &'a mut [f32],
    k: usize,
    columns: usize,
}

impl Kernel for Rows<'_> {
    type Output = ();

    #[inline(always)]
    fn with<S: Simd>(self, simd: S) {
        /// Rows of B, and columns, that stay in the first-level cache.
        const DEPTH: usize = 256;
        let panel = 4 * S::LANES;
        let rows = self.c.len() / self.columns;
        assert!(self.c.len() == rows * self.columns && self.b.len() == self.k * self.columns);
        assert!(self.a.len() > (rows - 1) * self.a_row + (self.k - 1) * self.a_step);
        for first in (0..self.k).step_by(DEPTH) {
            for column in (0..self.columns).step_by(panel) {
                // SAFETY: the lengths are asserted; C is borrowed for writing and overlaps nothing.
                unsafe {
                    product(
                        simd,
                        Product {
                            a: self.a.as_ptr().add(first * self.a_step),
                            a_row: self.a_row,
                            a_step: self.a_step,
                            b: self.b.as_ptr().add(first * self.columns + column),
                            b_row: self.columns,
                            c: self.c.as_mut_ptr().add(column),
                            c_row: self.columns,
                            m: rows,
                            n: panel.min(self.columns - column),
                            k: DEPTH.min(self.k - first),
                            accumulate: first > 0,
                        },
                    );
                }
            }
        }
    }
}
