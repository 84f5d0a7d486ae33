//! SiLU and its slope: y = z σ(z), y' = σ(z) (1 + z (1 - σ(z))) (Elfwing et al. 2018, equation 3).

use crate::cpu::simd::{Kernel, Simd, read, run, write};

/// y of z.
pub(crate) fn forward(z: &[f32], y: &mut [f32]) {
    run(Forward { z, y });
}

/// ∂L/∂z of z and ∂L/∂y.
pub(crate) fn backward(z: &[f32], dy: &[f32], dz: &mut [f32]) {
    run(Backward { z, dy, dz });
}

struct Forward<'a> {
    z: &'a [f32],
    y: &'a mut [f32],
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn with<S: Simd>(self, simd: S) {
        for (z, y) in self.z.chunks(S::LANES).zip(self.y.chunks_mut(S::LANES)) {
            assert!(z.len() == y.len());
            // SAFETY: as many numbers as the chunks have.
            unsafe {
                let z = read(simd, z.as_ptr(), y.len());
                write(simd, y.as_mut_ptr(), y.len(), simd.mul(z, simd.sigmoid(z)));
            }
        }
    }
}

struct Backward<'a> {
    z: &'a [f32],
    dy: &'a [f32],
    dz: &'a mut [f32],
}

impl Kernel for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn with<S: Simd>(self, simd: S) {
        let inputs = self.z.chunks(S::LANES).zip(self.dy.chunks(S::LANES));
        for ((z, dy), dz) in inputs.zip(self.dz.chunks_mut(S::LANES)) {
            assert!(z.len() == dz.len() && dy.len() == dz.len());
            // SAFETY: as many numbers as the chunks have.
            unsafe {
                let z = read(simd, z.as_ptr(), dz.len());
                let dy = read(simd, dy.as_ptr(), dz.len());
                let slope = slope(simd, z);
                write(simd, dz.as_mut_ptr(), dz.len(), simd.mul(dy, slope));
            }
        }
    }
}

/// σ(z) (1 + z (1 - σ(z)))
#[inline(always)]
pub(crate) fn slope<S: Simd>(simd: S, z: S::V) -> S::V {
    let one = simd.splat(1.0);
    let sigma = simd.sigmoid(z);
    simd.mul(sigma, simd.mul_add(z, simd.sub(one, sigma), one))
}
