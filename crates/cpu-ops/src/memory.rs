//! Memory for kernels: aligned buffers, reused by each thread from call to call.

use std::cell::RefCell;

/// A cache line.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; 16]);

/// Numbers that begin at a cache line: no vector that is loaded from a multiple of 16 crosses one.
#[derive(Default)]
pub(crate) struct Aligned {
    lines: Vec<Line>,
}

impl Aligned {
    /// `len` zeros.
    pub(crate) fn zeros(len: usize) -> Self {
        Self {
            lines: vec![Line([0.0; 16]); len.div_ceil(16)],
        }
    }

    /// All numbers, up to 15 more than were asked for.
    pub(crate) fn as_slice(&self) -> &[f32] {
        // SAFETY: a line is 16 numbers without padding.
        unsafe { core::slice::from_raw_parts(self.lines.as_ptr().cast(), 16 * self.lines.len()) }
    }

    /// All numbers, up to 15 more than were asked for.
    pub(crate) fn as_mut_slice(&mut self) -> &mut [f32] {
        // SAFETY: a line is 16 numbers without padding.
        unsafe {
            core::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), 16 * self.lines.len())
        }
    }
}

thread_local! {
    static SCRATCH: RefCell<Aligned> = RefCell::default();
}

/// Lends `len` numbers of this thread's scratch memory, of any value.
pub(crate) fn with_scratch<R>(len: usize, work: impl FnOnce(&mut [f32]) -> R) -> R {
    // Taken out while lent, so that work that comes back here on the same thread finds none and
    // makes its own.
    let mut scratch = SCRATCH.take();
    if scratch.as_slice().len() < len {
        scratch = Aligned::zeros(len);
    }
    let result = work(&mut scratch.as_mut_slice()[..len]);
    SCRATCH.set(scratch);
    result
}

/// A vector of `len` numbers, all of which `fill` must write.
///
/// # Safety
///
/// `fill` must write every number before it returns, and read none that it has not written.
pub(crate) unsafe fn filled(len: usize, fill: impl FnOnce(&mut [f32])) -> Vec<f32> {
    let mut values = Vec::<f32>::with_capacity(len);
    // SAFETY: the memory is there; f32 has no invalid values, and `fill` writes before it reads.
    unsafe {
        fill(core::slice::from_raw_parts_mut(values.as_mut_ptr(), len));
        values.set_len(len);
    }
    values
}

/// Cuts `values` into pieces of the given lengths.
pub(crate) fn pieces<'a>(
    mut values: &'a mut [f32],
    lengths: impl IntoIterator<Item = usize>,
) -> Vec<&'a mut [f32]> {
    lengths
        .into_iter()
        .map(|len| {
            let (piece, rest) = core::mem::take(&mut values).split_at_mut(len);
            values = rest;
            piece
        })
        .collect()
}
