//! The sum of embeddings, one for each column of codes.
//!
//! ```text
//! y[row] = Σ_j table[start_j + code[row, j]]
//! ```
//!
//! which is one-hot codes times the table. The gradient adds a row's to every row of the table that it
//! read; a column's part of the table is its own, and a task.

use rayon::prelude::*;

use crate::cpu::memory::{Buffer, filled, pieces};
use crate::cpu::simd::{Kernel, Simd, read, run, write};

/// Rows of a task.
const ROWS: usize = 64;

/// The row of a column's part of the table that a code means: codes are rounded to whole numbers and
/// held within the column's; NaN is 0.
pub(crate) fn row_of(code: f32, size: usize) -> usize {
    // The cast saturates, and takes NaN to 0.
    (code.round() as usize).min(size.saturating_sub(1))
}

/// `[rows, width]` from codes `[rows, columns]` and a table `[Σ sizes, width]`.
pub(crate) fn forward(codes: &[f32], table: &[f32], sizes: &[usize], width: usize) -> Buffer {
    let columns = sizes.len();
    filled(codes.len() / columns * width, |y| {
        y.par_chunks_mut(ROWS * width)
            .zip(codes.par_chunks(ROWS * columns))
            .for_each(|(y, codes)| {
                for (y, codes) in y.chunks_exact_mut(width).zip(codes.chunks_exact(columns)) {
                    y.fill(0.0);
                    let mut start = 0;
                    for (code, size) in codes.iter().zip(sizes) {
                        let row = start + row_of(*code, *size);
                        run(Add {
                            x: &table[row * width..][..width],
                            to: y,
                        });
                        start += size;
                    }
                }
            });
    })
}

/// The gradient of the table.
pub(crate) fn table_gradient(codes: &[f32], dy: &[f32], sizes: &[usize], width: usize) -> Buffer {
    let columns = sizes.len();
    let mut gradient = Buffer::zeros(sizes.iter().sum::<usize>() * width);
    pieces(&mut gradient, sizes.iter().map(|size| size * width))
        .into_par_iter()
        .enumerate()
        .for_each(|(column, gradient)| {
            let size = sizes[column];
            for (codes, dy) in codes.chunks_exact(columns).zip(dy.chunks_exact(width)) {
                let row = row_of(codes[column], size);
                run(Add {
                    x: dy,
                    to: &mut gradient[row * width..][..width],
                });
            }
        });
    gradient
}

/// to += x
struct Add<'a> {
    x: &'a [f32],
    to: &'a mut [f32],
}

impl Kernel for Add<'_> {
    type Output = ();

    #[inline(always)]
    fn with<S: Simd>(self, simd: S) {
        for (x, to) in self.x.chunks(S::LANES).zip(self.to.chunks_mut(S::LANES)) {
            assert!(x.len() == to.len());
            // SAFETY: as many numbers as the chunks have.
            unsafe {
                let sum = simd.add(
                    read(simd, to.as_ptr(), to.len()),
                    read(simd, x.as_ptr(), x.len()),
                );
                write(simd, to.as_mut_ptr(), to.len(), sum);
            }
        }
    }
}
