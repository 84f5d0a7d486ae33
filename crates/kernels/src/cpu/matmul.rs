//! The product of two matrices of any size, in rows of the result that tasks share out.
//!
//! With AMX by tiles, else by vectors. Every element is one sum in the order of k, cut into parts by the
//! shape of B alone, so results depend neither on the number of threads nor on the other rows.

use rayon::prelude::*;

use crate::cpu::gemm::{self, Product, product};
use crate::cpu::memory::{Buffer, filled, with_scratch};
use crate::cpu::simd::{Kernel, Simd, run, use_tiles};
use crate::cpu::tiles::{self, Operand, STEP_LEN, STRIP, Side};

/// Rows of C of a task, at most.
const ROWS: usize = 128;

/// The length of a part of the sums, by tiles: so much of the rows of a task stays in the second-level
/// cache, and is read from there for every strip of columns. Parts are summed each by itself, then added in their order.
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
    let by_tiles = use_tiles() && columns * k >= MANY;
    let enough_tasks = 2 * rayon::current_num_threads();
    let block = if by_tiles { STRIP } else { gemm::ROWS };
    let task_rows = ROWS.min(rows.div_ceil(enough_tasks).next_multiple_of(block));
    let len = task_rows * columns;
    let count = rows.div_ceil(task_rows);
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
            finish(task * task_rows, c, beside);
        });
    } else if by_tiles {
        let packed = tiles::pack_all(b);
        let tiled = Tiled {
            a,
            b: &packed,
            columns,
        };
        let parts = k.div_ceil(PART);
        if parts > 1 && count < enough_tasks {
            // Long sums of few rows, as of the gradients of weights: the parts are shared out too.
            let len = rows * columns;
            let mut sums = Buffer::new(parts * len);
            sums.par_chunks_mut(len).enumerate().for_each(|(part, c)| {
                for (task, c) in c.chunks_mut(ROWS * columns).enumerate() {
                    tiled.part(part, task * ROWS, c, false);
                }
            });
            tasks.for_each(|(task, (c, beside))| {
                let start = task * task_rows * columns;
                c.copy_from_slice(&sums[start..][..c.len()]);
                for sums in sums.chunks_exact(len).skip(1) {
                    for (c, x) in c.iter_mut().zip(&sums[start..]) {
                        *c += x;
                    }
                }
                finish(task * task_rows, c, beside);
            });
        } else {
            tasks.for_each(|(task, (c, beside))| {
                for part in 0..parts {
                    tiled.part(part, task * task_rows, c, part > 0);
                }
                finish(task * task_rows, c, beside);
            });
        }
    } else {
        // Rows of B must lie along its columns.
        let turned = b.is_along_k.then(|| transposed(b));
        let b = turned.as_deref().unwrap_or(b.values);
        tasks.for_each(|(task, (c, beside))| {
            by_vectors(a, b, columns, task * task_rows, c);
            finish(task * task_rows, c, beside);
        });
    }
}

/// A product by tiles, of a right operand that is packed.
struct Tiled<'a> {
    a: Side<'a>,
    b: &'a [f32],
    columns: usize,
}

impl Tiled<'_> {
    /// A part of the sums of the rows of C from `row` on, which are written, or added where they `accumulate`.
    fn part(&self, part: usize, row: usize, c: &mut [f32], accumulate: bool) {
        let columns = self.columns;
        let steps = self.a.k.div_ceil(STRIP);
        let first = part * (PART / STRIP);
        let part = (PART / STRIP).min(steps - first);
        let rows = c.len() / columns;
        let strips = rows.div_ceil(STRIP);
        with_scratch(strips * part * STEP_LEN, |packed| {
            for (strip, packed) in packed.chunks_exact_mut(part * STEP_LEN).enumerate() {
                let line = row + strip * STRIP;
                tiles::pack(self.a, Operand::A, line, first * STRIP, packed);
            }
            tiles::with_tiles(|| {
                for (column, b) in self.b.chunks_exact(steps * STEP_LEN).enumerate() {
                    let b = &b[first * STEP_LEN..][..part * STEP_LEN];
                    let column = column * STRIP;
                    for (strip, a) in packed.chunks_exact(part * STEP_LEN).enumerate() {
                        let row = strip * STRIP;
                        let c = &mut c[row * columns + column..];
                        let size = [(rows - row).min(STRIP), (columns - column).min(STRIP)];
                        tiles::multiply([a, b], c, columns, size, accumulate);
                    }
                }
            });
        });
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_does_not_depend_on_how_many_there_are() {
        let (columns, k) = (70, 2 * PART + 50);
        // So many that tasks share rows alone, and so few that they share the parts of the sums.
        let many = ROWS * 2 * rayon::current_num_threads() + 1;
        let number = |i: usize| ((i * 37) % 101) as f32 / 50.0 - 1.0;
        let a: Vec<f32> = (0..many * k).map(number).collect();
        let b: Vec<f32> = (0..columns * k).map(|i| number(i + 5)).collect();
        let product = |rows: usize| {
            let side = |values, lines| Side {
                values,
                lines,
                k,
                is_along_k: true,
            };
            let mut c = vec![0.0; rows * columns];
            multiply(
                side(&a[..rows * k], rows),
                side(&b, columns),
                &mut c,
                &mut [],
                |_, _, _| {},
            );
            c
        };
        let all = product(many);
        for rows in [1, 33, ROWS] {
            assert_eq!(product(rows), all[..rows * columns], "{rows} rows");
        }
        let first: f64 = (0..k).map(|i| f64::from(a[i]) * f64::from(b[i])).sum();
        assert!((f64::from(all[0]) - first).abs() < 1e-3);
    }
}
