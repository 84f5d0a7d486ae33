//! Matrix product for operands that lie in cache.
//!
//! ```text
//! C[m, n] = Σ_k A[m, k] B[k, n]        or C[m, n] += …
//! ```
//!
//! Rows of B and C are contiguous; A may be strided either way, so that `Aᵀ B` needs no transposed
//! copy. Operands are not packed: the callers cut their work into pieces that fit the second-level
//! cache. Registers hold a block of 6 rows and up to 4 vectors (Goto and van de Geijn 2008, section
//! 4.2). Each element is one sum in the order of k, whatever the block that it falls into: results
//! do not depend on how callers cut the rows.

use crate::cpu::simd::Simd;

/// Rows of a register block.
pub(crate) const ROWS: usize = 6;

/// The operands, by the address of their first element and their strides in numbers.
#[derive(Clone, Copy)]
pub(crate) struct Product {
    /// A, whose element (m, k) lies at `m * a_row + k * a_step`.
    pub(crate) a: *const f32,
    /// From one row of A to the next.
    pub(crate) a_row: usize,
    /// From one k of A to the next.
    pub(crate) a_step: usize,
    /// B, whose element (k, n) lies at `k * b_row + n`.
    pub(crate) b: *const f32,
    /// From one row of B to the next.
    pub(crate) b_row: usize,
    /// C, whose element (m, n) lies at `m * c_row + n`.
    pub(crate) c: *mut f32,
    /// From one row of C to the next.
    pub(crate) c_row: usize,
    /// Rows of A and C.
    pub(crate) m: usize,
    /// Columns of B and C.
    pub(crate) n: usize,
    /// Columns of A, rows of B.
    pub(crate) k: usize,
    /// Whether the product is added to what is in C.
    pub(crate) accumulate: bool,
}

/// Computes the product.
///
/// # Safety
///
/// All elements of A and B must be readable, all of C writable and, where `accumulate`, set; C must
/// overlap neither A nor B.
#[inline(always)]
pub(crate) unsafe fn product<S: Simd>(simd: S, p: Product) {
    let mut n = 0;
    // SAFETY (all of them): the blocks cover C once, without passing its edges.
    unsafe {
        if S::BLOCK == 4 {
            while p.n - n >= 4 * S::LANES {
                panel::<S, 4>(simd, p, n);
                n += 4 * S::LANES;
            }
        }
        while p.n - n >= 2 * S::LANES {
            panel::<S, 2>(simd, p, n);
            n += 2 * S::LANES;
        }
        while p.n - n >= S::LANES {
            panel::<S, 1>(simd, p, n);
            n += S::LANES;
        }
        if p.n > n {
            edge(simd, p, n);
        }
    }
}

/// All rows of the `V` vectors from column `n` on.
#[inline(always)]
unsafe fn panel<S: Simd, const V: usize>(simd: S, p: Product, n: usize) {
    // As even as can be, for a block of few rows is as slow as one of many.
    let blocks = p.m.div_ceil(ROWS);
    let mut m = 0;
    for block in 0..blocks {
        let rows = (p.m - m).div_ceil(blocks - block);
        // SAFETY: rows m to m + rows and columns n to n + V · LANES lie inside C.
        unsafe {
            match rows {
                1 => tile::<S, 1, V>(simd, p, m, n),
                2 => tile::<S, 2, V>(simd, p, m, n),
                3 => tile::<S, 3, V>(simd, p, m, n),
                4 => tile::<S, 4, V>(simd, p, m, n),
                5 => tile::<S, 5, V>(simd, p, m, n),
                _ => tile::<S, 6, V>(simd, p, m, n),
            }
        }
        m += rows;
    }
}

/// A register block: `R` rows from `m` on, `V` vectors from column `n` on.
#[inline(always)]
unsafe fn tile<S: Simd, const R: usize, const V: usize>(simd: S, p: Product, m: usize, n: usize) {
    // SAFETY: inside the operands, by the caller's promise.
    unsafe {
        let mut sums = [[simd.splat(0.0); V]; R];
        let c = p.c.add(m * p.c_row + n);
        if p.accumulate {
            for r in 0..R {
                for v in 0..V {
                    sums[r][v] = simd.load(c.add(r * p.c_row + v * S::LANES));
                }
            }
        }
        let mut a = p.a.add(m * p.a_row);
        let mut b = p.b.add(n);
        for _ in 0..p.k {
            let mut columns = [simd.splat(0.0); V];
            for v in 0..V {
                columns[v] = simd.load(b.add(v * S::LANES));
            }
            for r in 0..R {
                let x = simd.splat(*a.add(r * p.a_row));
                for v in 0..V {
                    sums[r][v] = simd.mul_add(x, columns[v], sums[r][v]);
                }
            }
            a = a.wrapping_add(p.a_step);
            b = b.wrapping_add(p.b_row);
        }
        for r in 0..R {
            for v in 0..V {
                simd.store(c.add(r * p.c_row + v * S::LANES), sums[r][v]);
            }
        }
    }
}

/// All rows of the last columns, fewer than a vector.
#[inline(always)]
unsafe fn edge<S: Simd>(simd: S, p: Product, n: usize) {
    let count = p.n - n;
    let mut m = 0;
    // SAFETY: inside the operands, by the caller's promise.
    unsafe {
        while m < p.m {
            let rows = (p.m - m).min(ROWS);
            let mut sums = [simd.splat(0.0); ROWS];
            let c = p.c.add(m * p.c_row + n);
            if p.accumulate {
                for (r, sum) in sums.iter_mut().enumerate().take(rows) {
                    *sum = simd.load_first(c.add(r * p.c_row), count);
                }
            }
            // Rows past the last repeat it, and are not written.
            let mut a = [p.a; ROWS];
            for (r, a) in a.iter_mut().enumerate() {
                *a = p.a.add((m + r).min(p.m - 1) * p.a_row);
            }
            for k in 0..p.k {
                let column = simd.load_first(p.b.add(k * p.b_row + n), count);
                for r in 0..ROWS {
                    let x = simd.splat(*a[r].add(k * p.a_step));
                    sums[r] = simd.mul_add(x, column, sums[r]);
                }
            }
            for (r, sum) in sums.iter().enumerate().take(rows) {
                simd.store_first(c.add(r * p.c_row), count, *sum);
            }
            m += rows;
        }
    }
}
