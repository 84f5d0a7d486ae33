//! Matrix products by the tiles of AMX, of f32 with 16 of its 24 bits.
//!
//! ```text
//! x = h + l,  h = bf16(x),  l = bf16(x - h)        C = A_h B_l + A_h B_h + A_l B_h
//! ```
//!
//! A tile instruction multiplies numbers of bf16 and adds in f32 (Intel, "Architecture Instruction Set
//! Extensions Programming Reference", chapter 3). Two numbers of bf16 hold 16 bits of one of f32; the
//! product that is left out, A_l B_l, is smaller than 2^-18 of the whole. So three tile instructions do
//! what one of f32 would (Henry et al. 2019, "Leveraging the bfloat16 Artificial Intelligence Datatype",
//! section 4), and the processor does 16 times as much with them as with vectors of AVX-512.
//!
//! A matrix is packed into strips of 32 lines, rows of A or columns of B; a strip is cut into steps of 32
//! along k. A step is four tiles of 16 lines: h of the first and of the last 16 lines, then l of both. A
//! tile is 16 rows of 16 pairs of numbers, the two of a pair following each other along k:
//!
//! ```text
//! of A: row = line, column = pair        of B: row = pair, column = line
//! ```
//!
//! Every element is one sum in the order of k, whatever the block that it falls into. A number that is
//! not finite makes those it meets NaN.

use crate::cpu::memory::{Buffer, filled};

/// Lines of a strip, and steps of k.
pub(crate) const STRIP: usize = 32;

/// Numbers of f32 that a step of a strip takes the place of: as many bits, h and l.
pub(crate) const STEP_LEN: usize = STRIP * STRIP;

/// A matrix whose products are taken over k: `[lines, k]`, or `[k, lines]`.
#[derive(Clone, Copy)]
pub(crate) struct Side<'a> {
    /// The numbers.
    pub(crate) values: &'a [f32],
    /// Rows of A, columns of B.
    pub(crate) lines: usize,
    /// The length of the sums.
    pub(crate) k: usize,
    /// Whether it is `[lines, k]`.
    pub(crate) is_along_k: bool,
}

/// Which operand a strip is packed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operand {
    /// The left one.
    A,
    /// The right one.
    B,
}

/// All of a right operand, packed: `[strips, steps, STEP_LEN]`.
pub(crate) fn pack_all(side: Side<'_>) -> Buffer {
    use rayon::prelude::*;

    /// Steps of a task.
    const STEPS: usize = 8;
    let steps = side.k.div_ceil(STRIP);
    let strips = side.lines.div_ceil(STRIP);
    filled(strips * steps * STEP_LEN, |packed| {
        packed
            .par_chunks_mut(steps * STEP_LEN)
            .enumerate()
            .flat_map(|(strip, packed)| {
                let parts = packed.par_chunks_mut(STEPS * STEP_LEN).enumerate();
                parts.map(move |(part, packed)| (strip * STRIP, part * STEPS * STRIP, packed))
            })
            .for_each(|(line, k, packed)| pack(side, Operand::B, line, k, packed));
    })
}

/// Packs the lines from `line` on and the steps of k from `k` on, as many as `packed` holds.
///
/// # Panics
///
/// If this processor has no tiles.
pub(crate) fn pack(side: Side<'_>, operand: Operand, line: usize, k: usize, packed: &mut [f32]) {
    assert!(side.values.len() >= side.lines * side.k);
    machine::pack(side, operand, line, k, packed);
}

/// `C[32, 32] = A B`, or `+=` the whole sum, of a packed strip of A and one of B, of as many steps.
///
/// Rows of C lie `c_row` apart; only `rows` and `columns` of them are read and written.
///
/// # Panics
///
/// If the lengths do not fit each other, or this processor has no tiles.
pub(crate) fn multiply(
    [a, b]: [&[f32]; 2],
    c: &mut [f32],
    c_row: usize,
    [rows, columns]: [usize; 2],
    accumulate: bool,
) {
    assert!(a.len() == b.len() && a.len().is_multiple_of(STEP_LEN) && !a.is_empty());
    assert!(rows > 0 && columns > 0 && rows <= STRIP && columns <= STRIP);
    assert!(columns <= c_row && c.len() >= (rows - 1) * c_row + columns);
    let steps = a.len() / STEP_LEN;
    if rows == STRIP && columns == STRIP && !accumulate {
        // SAFETY: the lengths are asserted.
        unsafe { machine::multiply(a.as_ptr(), b.as_ptr(), steps, c.as_mut_ptr(), c_row) };
        return;
    }
    let mut whole = [0.0f32; STRIP * STRIP];
    // SAFETY: the same, for a C of all rows and columns.
    unsafe { machine::multiply(a.as_ptr(), b.as_ptr(), steps, whole.as_mut_ptr(), STRIP) };
    for (row, whole) in whole.chunks_exact(STRIP).take(rows).enumerate() {
        let c = &mut c[row * c_row..][..columns];
        if accumulate {
            for (c, x) in c.iter_mut().zip(whole) {
                *c += x;
            }
        } else {
            c.copy_from_slice(&whole[..columns]);
        }
    }
}

pub(crate) use machine::{have_tiles, with_tiles};

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod machine {
    use core::arch::asm;
    use core::arch::x86_64::*;
    use std::sync::LazyLock;

    use super::{Operand, STEP_LEN, STRIP, Side};

    /// Rows of a tile, pairs in a row.
    const TILE: usize = 16;

    /// Whether processor and kernel have tiles of bf16, and let this process use them.
    pub(crate) fn have_tiles() -> bool {
        static HAVE: LazyLock<bool> = LazyLock::new(|| {
            const AMX_BF16: u32 = 1 << 22;
            const AMX_TILE: u32 = 1 << 24;
            const SYS_ARCH_PRCTL: i64 = 158;
            const ARCH_REQ_XCOMP_PERM: u64 = 0x1023;
            const XFEATURE_XTILEDATA: u64 = 18;
            if __cpuid(0).eax < 7 {
                return false;
            }
            let features = __cpuid_count(7, 0).edx;
            if features & AMX_BF16 == 0 || features & AMX_TILE == 0 {
                return false;
            }
            // Every processor with tiles can round to bf16, but a virtual machine may hide it.
            if !is_x86_feature_detected!("avx512bf16") {
                return false;
            }
            // The registers are large: Linux saves them for those that have asked.
            let refused: i64;
            // SAFETY: a system call that touches no memory of the process.
            unsafe {
                asm!(
                    "syscall",
                    inlateout("rax") SYS_ARCH_PRCTL => refused,
                    in("rdi") ARCH_REQ_XCOMP_PERM,
                    in("rsi") XFEATURE_XTILEDATA,
                    lateout("rcx") _,
                    lateout("r11") _,
                    options(nostack),
                );
            }
            refused == 0
        });
        *HAVE
    }

    /// How the eight tiles are cut: 16 rows of 64 bytes each.
    #[repr(C, align(64))]
    struct Shapes {
        palette: u8,
        start_row: u8,
        reserved: [u8; 14],
        bytes_in_a_row: [u16; 16],
        rows: [u8; 16],
    }

    /// Does `work` with the tiles of this thread set up.
    pub(crate) fn with_tiles<R>(work: impl FnOnce() -> R) -> R {
        /// Without it, every switch of threads would save 8 KiB.
        struct Release;

        impl Drop for Release {
            fn drop(&mut self) {
                // SAFETY: made below only, where there are tiles.
                unsafe { asm!("tilerelease", options(nostack, nomem)) };
            }
        }

        assert!(have_tiles(), "this processor has no tiles");
        let mut shapes = Shapes {
            palette: 1,
            start_row: 0,
            reserved: [0; 14],
            bytes_in_a_row: [0; 16],
            rows: [0; 16],
        };
        shapes.bytes_in_a_row[..8].fill(64);
        shapes.rows[..8].fill(16);
        // SAFETY: there are tiles, and palette 1 has eight of this shape.
        unsafe {
            asm!(
                "ldtilecfg [{}]",
                in(reg) &raw const shapes,
                options(nostack, readonly),
            );
        }
        let _release = Release;
        work()
    }

    /// See [`super::multiply`]; inside [`with_tiles`], or the processor raises a fault.
    ///
    /// # Safety
    ///
    /// `steps > 0` steps of A and of B must be readable, 32 rows of 32 numbers of C writable.
    pub(super) unsafe fn multiply(
        a: *const f32,
        b: *const f32,
        steps: usize,
        c: *mut f32,
        c_row: usize,
    ) {
        let lower = c.wrapping_add(TILE * c_row);
        // SAFETY: the caller's promise. Tiles 0 to 3 are C; 4 and 5 hold A's, 6 and 7 B's.
        unsafe {
            asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                "2:",
                "tileloadd tmm4, [{a} + {row}*1]",
                "tileloadd tmm5, [{a} + {row}*1 + 1024]",
                "tileloadd tmm6, [{b} + {row}*1 + 2048]",
                "tileloadd tmm7, [{b} + {row}*1 + 3072]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "tileloadd tmm6, [{b} + {row}*1]",
                "tileloadd tmm7, [{b} + {row}*1 + 1024]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "tileloadd tmm4, [{a} + {row}*1 + 2048]",
                "tileloadd tmm5, [{a} + {row}*1 + 3072]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "add {a}, 4096",
                "add {b}, 4096",
                "dec {steps}",
                "jnz 2b",
                "tilestored [{c} + {c_row}*1], tmm0",
                "tilestored [{c} + {c_row}*1 + 64], tmm1",
                "tilestored [{lower} + {c_row}*1], tmm2",
                "tilestored [{lower} + {c_row}*1 + 64], tmm3",
                a = inout(reg) a => _,
                b = inout(reg) b => _,
                steps = inout(reg) steps => _,
                c = in(reg) c,
                lower = in(reg) lower,
                c_row = in(reg) c_row * size_of::<f32>(),
                row = in(reg) 64usize,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack),
            );
        }
    }

    /// See [`super::pack`].
    pub(super) fn pack(
        side: Side<'_>,
        operand: Operand,
        line: usize,
        k: usize,
        packed: &mut [f32],
    ) {
        assert!(have_tiles(), "this processor has no tiles");
        // SAFETY: where there are tiles there is AVX-512 with bf16; the caller has checked the lengths.
        unsafe { pack_with_avx512(side, operand, line, k, packed) };
    }

    #[target_feature(enable = "avx512f,avx512bf16")]
    fn pack_with_avx512(
        side: Side<'_>,
        operand: Operand,
        line: usize,
        k: usize,
        packed: &mut [f32],
    ) {
        let mut padded = [0.0f32; TILE * STRIP];
        // Pairs are made as the numbers lie; the other operand has them transposed.
        let transposes = side.is_along_k != (operand == Operand::A);
        for (step, packed) in packed.chunks_exact_mut(STEP_LEN).enumerate() {
            let k = k + step * STRIP;
            for half in 0..2 {
                let line = line + half * TILE;
                let lines = side.lines.saturating_sub(line).min(TILE);
                let length = side.k.saturating_sub(k).min(STRIP);
                let (stride, start) = if side.is_along_k {
                    (side.k, line * side.k + k)
                } else {
                    (side.lines, k * side.lines + line)
                };
                let (from, stride) = if lines == TILE && length == STRIP {
                    (side.values[start..].as_ptr(), stride)
                } else {
                    let (rows, columns) = if side.is_along_k {
                        (lines, length)
                    } else {
                        (length, lines)
                    };
                    let row_len = if side.is_along_k { STRIP } else { TILE };
                    padded.fill(0.0);
                    if columns > 0 {
                        for (row, to) in padded.chunks_exact_mut(row_len).take(rows).enumerate() {
                            to[..columns]
                                .copy_from_slice(&side.values[start + row * stride..][..columns]);
                        }
                    }
                    (padded.as_ptr(), row_len)
                };
                // SAFETY: 16 lines of 32 numbers, or 32 of 16, that far apart, are readable: the last of
                // them is one of the side's, whose length is asserted, or of the padding's.
                let [mut high, mut low] = unsafe {
                    if side.is_along_k {
                        pairs_along(from, stride)
                    } else {
                        pairs_across(from, stride)
                    }
                };
                if transposes {
                    high = transpose(high);
                    low = transpose(low);
                }
                let tile = TILE * TILE;
                for (place, rows) in [(half, high), (2 + half, low)] {
                    let to = packed[place * tile..][..tile].as_mut_ptr();
                    for (row, x) in rows.into_iter().enumerate() {
                        // SAFETY: 16 rows of 16 pairs.
                        unsafe { _mm512_storeu_si512(to.add(row * TILE).cast(), x) };
                    }
                }
            }
        }
    }

    /// The numbers rounded to bf16, and what is left rounded to it too. Of 16 numbers each.
    #[target_feature(enable = "avx512f,avx512bf16")]
    fn split(x: __m512) -> [__m256i; 2] {
        let round = |x: __m512| -> __m256i {
            // SAFETY: both are 16 numbers of 16 bits.
            unsafe { core::mem::transmute(_mm512_cvtneps_pbh(x)) }
        };
        let high = round(x);
        let widened = _mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(high));
        [high, round(_mm512_sub_ps(x, _mm512_castsi512_ps(widened)))]
    }

    /// Rows of 16 lines of 32 numbers each: row = line, column = pair.
    ///
    /// # Safety
    ///
    /// The lines, `stride` apart, must be readable.
    #[target_feature(enable = "avx512f,avx512bf16")]
    unsafe fn pairs_along(from: *const f32, stride: usize) -> [[__m512i; TILE]; 2] {
        let mut tiles = [[_mm512_setzero_si512(); TILE]; 2];
        for line in 0..TILE {
            // SAFETY: the caller's promise.
            let [first, second] = unsafe {
                let line = from.add(line * stride);
                [_mm512_loadu_ps(line), _mm512_loadu_ps(line.add(TILE))].map(|x| split(x))
            };
            for part in 0..2 {
                let first = _mm512_castsi256_si512(first[part]);
                tiles[part][line] = _mm512_inserti64x4::<1>(first, second[part]);
            }
        }
        tiles
    }

    /// Rows of 32 numbers' 16 lines each: row = pair, column = line.
    ///
    /// # Safety
    ///
    /// The rows, `stride` apart, must be readable.
    #[target_feature(enable = "avx512f,avx512bf16")]
    unsafe fn pairs_across(from: *const f32, stride: usize) -> [[__m512i; TILE]; 2] {
        let mut tiles = [[_mm512_setzero_si512(); TILE]; 2];
        for pair in 0..TILE {
            // SAFETY: the caller's promise.
            let [first, second] = unsafe {
                let row = from.add(2 * pair * stride);
                [_mm512_loadu_ps(row), _mm512_loadu_ps(row.add(stride))].map(|x| split(x))
            };
            for part in 0..2 {
                let [first, second] = [first[part], second[part]].map(|x| _mm512_cvtepu16_epi32(x));
                tiles[part][pair] = _mm512_or_si512(first, _mm512_slli_epi32::<16>(second));
            }
        }
        tiles
    }

    /// Rows as columns.
    #[target_feature(enable = "avx512f")]
    fn transpose(rows: [__m512i; TILE]) -> [__m512i; TILE] {
        let mut twos = rows;
        for i in 0..8 {
            twos[2 * i] = _mm512_unpacklo_epi32(rows[2 * i], rows[2 * i + 1]);
            twos[2 * i + 1] = _mm512_unpackhi_epi32(rows[2 * i], rows[2 * i + 1]);
        }
        // fours[4 i + c] has, in its quarter q, column 4 q + c of the rows from 4 i on.
        let mut fours = rows;
        for i in 0..4 {
            for half in 0..2 {
                let (first, second) = (twos[4 * i + half], twos[4 * i + 2 + half]);
                fours[4 * i + 2 * half] = _mm512_unpacklo_epi64(first, second);
                fours[4 * i + 2 * half + 1] = _mm512_unpackhi_epi64(first, second);
            }
        }
        let mut columns = rows;
        for c in 0..4 {
            let [a, b, d, e] = [0, 4, 8, 12].map(|i| fours[i + c]);
            let even = [
                _mm512_shuffle_i32x4::<0x88>(a, b),
                _mm512_shuffle_i32x4::<0x88>(d, e),
            ];
            let odd = [
                _mm512_shuffle_i32x4::<0xdd>(a, b),
                _mm512_shuffle_i32x4::<0xdd>(d, e),
            ];
            columns[c] = _mm512_shuffle_i32x4::<0x88>(even[0], even[1]);
            columns[4 + c] = _mm512_shuffle_i32x4::<0x88>(odd[0], odd[1]);
            columns[8 + c] = _mm512_shuffle_i32x4::<0xdd>(even[0], even[1]);
            columns[12 + c] = _mm512_shuffle_i32x4::<0xdd>(odd[0], odd[1]);
        }
        columns
    }
}

/// Where there are no tiles.
#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
mod machine {
    use super::{Operand, Side};

    pub(crate) fn have_tiles() -> bool {
        false
    }

    pub(crate) fn with_tiles<R>(_work: impl FnOnce() -> R) -> R {
        panic!("this processor has no tiles")
    }

    pub(super) unsafe fn multiply(
        _a: *const f32,
        _b: *const f32,
        _steps: usize,
        _c: *mut f32,
        _c_row: usize,
    ) {
        panic!("this processor has no tiles")
    }

    pub(super) fn pack(
        _side: Side<'_>,
        _operand: Operand,
        _line: usize,
        _k: usize,
        _packed: &mut [f32],
    ) {
        panic!("this processor has no tiles")
    }
}
