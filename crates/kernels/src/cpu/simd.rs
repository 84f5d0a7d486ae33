//! Vectors of f32, chosen for the processor at run time.
//!
//! A kernel is written once, over [`Simd`], and compiled for AVX-512, for AVX2 with FMA and for the
//! plain instructions of the target; [`run`] picks the widest that the processor has, or a lower one
//! where `KERNELS_SIMD` names it. Everything that a kernel calls must be `#[inline(always)]`, for only
//! then is it compiled with the instructions of the chosen level.

use std::fmt;
use std::sync::LazyLock;

use crate::cpu::tiles::have_tiles;

/// A vector type of `LANES` f32 and its operations.
///
/// Methods are unsafe where they follow a pointer. The others are safe because a value of an
/// implementing type exists only where the processor was found to have its instructions.
pub(crate) trait Simd: Copy {
    /// The vector.
    type V: Copy;
    /// Numbers in a vector.
    const LANES: usize;
    /// Vectors in a row of the block of the matrix product that registers hold.
    const BLOCK: usize;

    /// All lanes `x`.
    fn splat(self, x: f32) -> Self::V;
    /// Reads `LANES` numbers.
    ///
    /// # Safety
    ///
    /// They must be readable.
    unsafe fn load(self, from: *const f32) -> Self::V;
    /// Writes `LANES` numbers.
    ///
    /// # Safety
    ///
    /// They must be writable.
    unsafe fn store(self, to: *mut f32, x: Self::V);
    /// Reads the first `count < LANES` numbers; the others are 0.
    ///
    /// # Safety
    ///
    /// They must be readable.
    unsafe fn load_first(self, from: *const f32, count: usize) -> Self::V;
    /// Writes the first `count < LANES` numbers.
    ///
    /// # Safety
    ///
    /// They must be writable.
    unsafe fn store_first(self, to: *mut f32, count: usize, x: Self::V);
    /// a + b
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    /// a - b
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    /// a · b
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// 1 / a, to about a unit in the last place.
    fn reciprocal(self, a: Self::V) -> Self::V;
    /// a · b + c
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// The smaller of each pair.
    fn min(self, a: Self::V, b: Self::V) -> Self::V;
    /// The larger of each pair.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// 2^n of whole numbers n between -126 and 127.
    fn exp2_whole(self, n: Self::V) -> Self::V;

    /// e^x, to about 2 units in the last place; x is clamped to [-87, 88].
    ///
    /// x = n ln 2 + r with n whole; e^r by the polynomial of degree 5 of Cephes' `expf`.
    #[inline(always)]
    fn exp(self, x: Self::V) -> Self::V {
        // Added and taken away again, it leaves the nearest whole number.
        const ROUND: f32 = 12_582_912.0;
        let x = self.max(self.min(x, self.splat(88.0)), self.splat(-87.0));
        let shifted = self.mul_add(x, self.splat(core::f32::consts::LOG2_E), self.splat(ROUND));
        let n = self.sub(shifted, self.splat(ROUND));
        // ln 2 in two parts, the first of which n multiplies without rounding.
        let r = self.mul_add(n, self.splat(-0.693_359_4), x);
        let r = self.mul_add(n, self.splat(2.121_944_4e-4), r);
        let mut p = self.splat(1.987_569_1e-4);
        p = self.mul_add(p, r, self.splat(1.398_199_9e-3));
        p = self.mul_add(p, r, self.splat(8.333_452e-3));
        p = self.mul_add(p, r, self.splat(4.166_579_6e-2));
        p = self.mul_add(p, r, self.splat(1.666_666_5e-1));
        p = self.mul_add(p, r, self.splat(5e-1));
        let e_r = self.add(self.mul_add(self.mul(r, r), p, r), self.splat(1.0));
        self.mul(e_r, self.exp2_whole(n))
    }

    /// σ(x) = 1 / (1 + e^-x)
    #[inline(always)]
    fn sigmoid(self, x: Self::V) -> Self::V {
        let one = self.splat(1.0);
        let e = self.exp(self.sub(self.splat(0.0), x));
        self.reciprocal(self.add(one, e))
    }
}

/// Reads `count` numbers, at most a vector.
///
/// # Safety
///
/// They must be readable.
#[inline(always)]
pub(crate) unsafe fn read<S: Simd>(simd: S, from: *const f32, count: usize) -> S::V {
    // SAFETY: the caller's promise.
    unsafe {
        if count == S::LANES {
            simd.load(from)
        } else {
            simd.load_first(from, count)
        }
    }
}

/// Writes `count` numbers, at most a vector.
///
/// # Safety
///
/// They must be writable.
#[inline(always)]
pub(crate) unsafe fn write<S: Simd>(simd: S, to: *mut f32, count: usize, x: S::V) {
    // SAFETY: the caller's promise.
    unsafe {
        if count == S::LANES {
            simd.store(to, x);
        } else {
            simd.store_first(to, count, x);
        }
    }
}

/// A kernel that [`run`] compiles for every level.
pub(crate) trait Kernel {
    /// What it gives back.
    type Output;
    /// Its work; `#[inline(always)]`.
    fn with<S: Simd>(self, simd: S) -> Self::Output;
}

/// The instructions that a kernel is compiled for, the wider the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Plain,
    Avx2,
    Avx512,
    /// The vectors of AVX-512, and tiles for the products of large matrices.
    Amx,
}

impl Level {
    /// The widest that the processor has.
    fn widest() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = std::arch::is_x86_feature_detected!("avx2")
                && std::arch::is_x86_feature_detected!("fma");
            if avx2 && std::arch::is_x86_feature_detected!("avx512f") {
                return if have_tiles() {
                    Self::Amx
                } else {
                    Self::Avx512
                };
            }
            if avx2 {
                return Self::Avx2;
            }
        }
        Self::Plain
    }

    /// The level of a name, or the widest where there is none or an empty one; never above the widest.
    ///
    /// # Errors
    ///
    /// If no level has the name: ignored, a misspelt one would leave a level untested that seems
    /// tested.
    fn named(name: Option<&str>) -> Result<Self, UnknownLevel> {
        let level = match name {
            None | Some("" | "amx") => Self::Amx,
            Some("avx512") => Self::Avx512,
            Some("avx2") => Self::Avx2,
            Some("plain") => Self::Plain,
            Some(name) => return Err(UnknownLevel(name.to_owned())),
        };
        Ok(level.min(Self::widest()))
    }
}

/// `KERNELS_SIMD` names no level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownLevel(String);

impl fmt::Display for UnknownLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(name) = self;
        write!(
            f,
            "the environment variable KERNELS_SIMD is {name:?}, expected amx, avx512, avx2 or plain"
        )
    }
}

impl std::error::Error for UnknownLevel {}

/// The level of every kernel. It is read once, so that all of a process computes alike.
static LEVEL: LazyLock<Result<Level, UnknownLevel>> = LazyLock::new(|| {
    let name = std::env::var_os("KERNELS_SIMD").map(|name| name.to_string_lossy().into_owned());
    Level::named(name.as_deref())
});

/// Whether the environment variable `KERNELS_SIMD` can be followed, for a program to say so before the
/// kernels panic.
///
/// # Errors
///
/// Where it names no level.
pub fn check_level() -> Result<(), UnknownLevel> {
    LEVEL.clone().map(|_| ())
}

/// Whether matrix products are to use tiles; see [`crate::cpu::tiles`].
pub(crate) fn use_tiles() -> bool {
    matches!(&*LEVEL, Ok(Level::Amx))
}

/// Runs a kernel with the widest vectors that the processor has and `KERNELS_SIMD` allows.
pub(crate) fn run<K: Kernel>(kernel: K) -> K::Output {
    match &*LEVEL {
        Ok(level) => run_at(*level, kernel),
        Err(error) => panic!("{error}"),
    }
}

/// Runs a kernel with the vectors of a level, or of the widest that the processor has if that is
/// lower.
#[inline]
fn run_at<K: Kernel>(level: Level, kernel: K) -> K::Output {
    match level.min(Level::widest()) {
        // SAFETY: the processor has AVX-512F, AVX2 and FMA, for it has no lower level.
        #[cfg(target_arch = "x86_64")]
        Level::Amx | Level::Avx512 => unsafe { x86::with_avx512(kernel) },
        // SAFETY: the processor has AVX2 and FMA, for it has no lower level.
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => unsafe { x86::with_avx2(kernel) },
        _ => kernel.with(plain::Plain),
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use core::arch::x86_64::*;

    use super::{Kernel, Simd};

    /// # Safety
    ///
    /// The processor must have AVX-512F.
    #[target_feature(enable = "avx512f,avx2,fma")]
    pub(super) unsafe fn with_avx512<K: Kernel>(kernel: K) -> K::Output {
        kernel.with(Avx512(()))
    }

    /// # Safety
    ///
    /// The processor must have AVX2 and FMA.
    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn with_avx2<K: Kernel>(kernel: K) -> K::Output {
        kernel.with(Avx2(()))
    }

    /// Made by `with_avx512` only.
    #[derive(Clone, Copy)]
    pub(super) struct Avx512(());

    // SAFETY of every call below: a value of `Avx512` exists only where the processor has
    // AVX-512F; pointers are the caller's promise.
    impl Simd for Avx512 {
        type V = __m512;
        const LANES: usize = 16;
        const BLOCK: usize = 4;

        #[inline(always)]
        fn splat(self, x: f32) -> __m512 {
            unsafe { _mm512_set1_ps(x) }
        }
        #[inline(always)]
        unsafe fn load(self, from: *const f32) -> __m512 {
            unsafe { _mm512_loadu_ps(from) }
        }
        #[inline(always)]
        unsafe fn store(self, to: *mut f32, x: __m512) {
            unsafe { _mm512_storeu_ps(to, x) }
        }
        #[inline(always)]
        unsafe fn load_first(self, from: *const f32, count: usize) -> __m512 {
            unsafe { _mm512_maskz_loadu_ps((1u16 << count) - 1, from) }
        }
        #[inline(always)]
        unsafe fn store_first(self, to: *mut f32, count: usize, x: __m512) {
            unsafe { _mm512_mask_storeu_ps(to, (1u16 << count) - 1, x) }
        }
        #[inline(always)]
        fn add(self, a: __m512, b: __m512) -> __m512 {
            unsafe { _mm512_add_ps(a, b) }
        }
        #[inline(always)]
        fn sub(self, a: __m512, b: __m512) -> __m512 {
            unsafe { _mm512_sub_ps(a, b) }
        }
        #[inline(always)]
        fn mul(self, a: __m512, b: __m512) -> __m512 {
            unsafe { _mm512_mul_ps(a, b) }
        }
        #[inline(always)]
        fn reciprocal(self, a: __m512) -> __m512 {
            // The division takes 16 cycles. 14 bits, doubled by a step of Newton's.
            unsafe {
                let r = _mm512_rcp14_ps(a);
                let error = _mm512_fnmadd_ps(a, r, _mm512_set1_ps(1.0));
                _mm512_fmadd_ps(r, error, r)
            }
        }
        #[inline(always)]
        fn mul_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
            unsafe { _mm512_fmadd_ps(a, b, c) }
        }
        #[inline(always)]
        fn min(self, a: __m512, b: __m512) -> __m512 {
            unsafe { _mm512_min_ps(a, b) }
        }
        #[inline(always)]
        fn max(self, a: __m512, b: __m512) -> __m512 {
            unsafe { _mm512_max_ps(a, b) }
        }
        #[inline(always)]
        fn exp2_whole(self, n: __m512) -> __m512 {
            unsafe { _mm512_scalef_ps(_mm512_set1_ps(1.0), n) }
        }
    }

    /// Made by `with_avx2` only.
    #[derive(Clone, Copy)]
    pub(super) struct Avx2(());

    impl Avx2 {
        /// All bits set in the first `count` lanes.
        #[inline(always)]
        fn first(self, count: usize) -> __m256i {
            // SAFETY: as for the trait's methods.
            unsafe {
                let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
                _mm256_cmpgt_epi32(_mm256_set1_epi32(count as i32), lanes)
            }
        }
    }

    // SAFETY of every call below: a value of `Avx2` exists only where the processor has AVX2 and
    // FMA; pointers are the caller's promise.
    impl Simd for Avx2 {
        type V = __m256;
        const LANES: usize = 8;
        const BLOCK: usize = 2;

        #[inline(always)]
        fn splat(self, x: f32) -> __m256 {
            unsafe { _mm256_set1_ps(x) }
        }
        #[inline(always)]
        unsafe fn load(self, from: *const f32) -> __m256 {
            unsafe { _mm256_loadu_ps(from) }
        }
        #[inline(always)]
        unsafe fn store(self, to: *mut f32, x: __m256) {
            unsafe { _mm256_storeu_ps(to, x) }
        }
        #[inline(always)]
        unsafe fn load_first(self, from: *const f32, count: usize) -> __m256 {
            unsafe { _mm256_maskload_ps(from, self.first(count)) }
        }
        #[inline(always)]
        unsafe fn store_first(self, to: *mut f32, count: usize, x: __m256) {
            unsafe { _mm256_maskstore_ps(to, self.first(count), x) }
        }
        #[inline(always)]
        fn add(self, a: __m256, b: __m256) -> __m256 {
            unsafe { _mm256_add_ps(a, b) }
        }
        #[inline(always)]
        fn sub(self, a: __m256, b: __m256) -> __m256 {
            unsafe { _mm256_sub_ps(a, b) }
        }
        #[inline(always)]
        fn mul(self, a: __m256, b: __m256) -> __m256 {
            unsafe { _mm256_mul_ps(a, b) }
        }
        #[inline(always)]
        fn reciprocal(self, a: __m256) -> __m256 {
            unsafe { _mm256_div_ps(_mm256_set1_ps(1.0), a) }
        }
        #[inline(always)]
        fn mul_add(self, a: __m256, b: __m256, c: __m256) -> __m256 {
            unsafe { _mm256_fmadd_ps(a, b, c) }
        }
        #[inline(always)]
        fn min(self, a: __m256, b: __m256) -> __m256 {
            unsafe { _mm256_min_ps(a, b) }
        }
        #[inline(always)]
        fn max(self, a: __m256, b: __m256) -> __m256 {
            unsafe { _mm256_max_ps(a, b) }
        }
        #[inline(always)]
        fn exp2_whole(self, n: __m256) -> __m256 {
            unsafe {
                let biased = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
                _mm256_castsi256_ps(_mm256_slli_epi32::<23>(biased))
            }
        }
    }
}

mod plain {
    use super::Simd;

    /// Four lanes in plain Rust, which the compiler turns into SSE2 or NEON.
    #[derive(Clone, Copy)]
    pub(super) struct Plain;

    #[inline(always)]
    fn zip(a: [f32; 4], b: [f32; 4], f: impl Fn(f32, f32) -> f32) -> [f32; 4] {
        [f(a[0], b[0]), f(a[1], b[1]), f(a[2], b[2]), f(a[3], b[3])]
    }

    impl Simd for Plain {
        type V = [f32; 4];
        const LANES: usize = 4;
        const BLOCK: usize = 2;

        #[inline(always)]
        fn splat(self, x: f32) -> [f32; 4] {
            [x; 4]
        }
        #[inline(always)]
        unsafe fn load(self, from: *const f32) -> [f32; 4] {
            // SAFETY: readable by the caller's promise.
            unsafe { from.cast::<[f32; 4]>().read_unaligned() }
        }
        #[inline(always)]
        unsafe fn store(self, to: *mut f32, x: [f32; 4]) {
            // SAFETY: writable by the caller's promise.
            unsafe { to.cast::<[f32; 4]>().write_unaligned(x) }
        }
        #[inline(always)]
        unsafe fn load_first(self, from: *const f32, count: usize) -> [f32; 4] {
            let mut x = [0.0; 4];
            for (i, x) in x.iter_mut().enumerate().take(count) {
                // SAFETY: readable by the caller's promise.
                *x = unsafe { *from.add(i) };
            }
            x
        }
        #[inline(always)]
        unsafe fn store_first(self, to: *mut f32, count: usize, x: [f32; 4]) {
            for (i, x) in x.iter().enumerate().take(count) {
                // SAFETY: writable by the caller's promise.
                unsafe { *to.add(i) = *x };
            }
        }
        #[inline(always)]
        fn add(self, a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
            zip(a, b, |a, b| a + b)
        }
        #[inline(always)]
        fn sub(self, a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
            zip(a, b, |a, b| a - b)
        }
        #[inline(always)]
        fn mul(self, a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
            zip(a, b, |a, b| a * b)
        }
        #[inline(always)]
        fn reciprocal(self, a: [f32; 4]) -> [f32; 4] {
            a.map(|a| 1.0 / a)
        }
        #[inline(always)]
        fn mul_add(self, a: [f32; 4], b: [f32; 4], c: [f32; 4]) -> [f32; 4] {
            // Without the instruction, `f32::mul_add` is a slow call.
            if cfg!(target_arch = "aarch64") {
                [
                    a[0].mul_add(b[0], c[0]),
                    a[1].mul_add(b[1], c[1]),
                    a[2].mul_add(b[2], c[2]),
                    a[3].mul_add(b[3], c[3]),
                ]
            } else {
                self.add(self.mul(a, b), c)
            }
        }
        #[inline(always)]
        fn min(self, a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
            zip(a, b, |a, b| if a < b { a } else { b })
        }
        #[inline(always)]
        fn max(self, a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
            zip(a, b, |a, b| if a > b { a } else { b })
        }
        #[inline(always)]
        fn exp2_whole(self, n: [f32; 4]) -> [f32; 4] {
            let pow = |n: f32| f32::from_bits(((n as i32 + 127) as u32) << 23);
            [pow(n[0]), pow(n[1]), pow(n[2]), pow(n[3])]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Exp<'a>(&'a mut [f32]);

    impl Kernel for Exp<'_> {
        type Output = ();
        #[inline(always)]
        fn with<S: Simd>(self, simd: S) {
            for x in self.0.chunks_exact_mut(S::LANES) {
                // SAFETY: the chunk has `LANES` numbers.
                unsafe {
                    let e = simd.exp(simd.load(x.as_ptr()));
                    simd.store(x.as_mut_ptr(), e);
                }
            }
        }
    }

    #[test]
    fn exp_is_right_to_two_units_in_the_last_place() {
        let x: Vec<f32> = (0..160_000).map(|i| -80.0 + i as f32 * 1e-3).collect();
        for level in [Level::Plain, Level::Avx2, Level::Avx512, Level::Amx] {
            let mut y = x.clone();
            run_at(level, Exp(&mut y));
            for (x, y) in x.iter().zip(y) {
                let exact = f64::from(*x).exp();
                let error = (f64::from(y) - exact).abs() / exact;
                assert!(error < 2.5e-7, "e^{x} is {exact}, not {y}");
            }
        }
    }

    struct Lanes;

    impl Kernel for Lanes {
        type Output = usize;
        #[inline(always)]
        fn with<S: Simd>(self, _: S) -> usize {
            S::LANES
        }
    }

    #[test]
    fn a_name_lowers_the_level_and_never_raises_it() {
        assert_eq!(Level::named(None), Ok(Level::widest()));
        assert_eq!(Level::named(Some("")), Ok(Level::widest()));
        assert_eq!(Level::named(Some("amx")), Ok(Level::widest()));
        for (name, lanes) in [("plain", 4), ("avx2", 8), ("avx512", 16), ("amx", 16)] {
            let widest = run_at(Level::widest(), Lanes);
            let level = Level::named(Some(name)).expect("a level");
            assert_eq!(run_at(level, Lanes), widest.min(lanes));
        }
    }

    #[test]
    fn a_name_of_no_level_is_refused() {
        let error = UnknownLevel("avx".to_owned());
        assert_eq!(Level::named(Some("avx")), Err(error));
    }
}
