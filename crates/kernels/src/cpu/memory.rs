//! Memory for results and for work in between, kept when it is given back.
//!
//! A training step needs the same lengths as the one before. Memory that goes back to the operating
//! system must be mapped, cleared and faulted in anew, page by page, which takes longer than many a
//! kernel. So buffers are kept by length and handed out again. They begin at a cache line.

use std::collections::HashMap;
use std::mem::MaybeUninit;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use burn_std::{AccessError, AccessPolicy, AllocationController, AllocationProperty, Bytes};

/// Bytes that are kept at most; what is given back beyond them is freed.
static MOST_KEPT: AtomicUsize = AtomicUsize::new(1 << 30);

/// How many bytes of memory that nothing uses the kernels of the CPU keep at most, in the whole process, for what they
/// compute next: 1 GiB unless told otherwise. With less, memory is mapped and cleared anew more often.
pub fn keep_at_most(bytes: usize) {
    MOST_KEPT.store(bytes, Ordering::Relaxed);
}

/// A cache line.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; 16]);

/// Numbers in a cache line.
const LINE: usize = 16;

/// Buffers that nobody uses.
#[derive(Default)]
struct Kept {
    by_lines: HashMap<usize, Vec<Vec<Line>>>,
    bytes: usize,
}

static KEPT_BUFFERS: LazyLock<Mutex<Kept>> = LazyLock::new(Mutex::default);

fn kept() -> MutexGuard<'static, Kept> {
    // No panic can leave the lists half changed.
    KEPT_BUFFERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Numbers of any value, to be written.
pub(crate) struct Buffer {
    lines: Vec<Line>,
    len: usize,
}

impl Buffer {
    /// `len` numbers of any value.
    pub(crate) fn new(len: usize) -> Self {
        // Lengths that are nearly the same share their buffers.
        let lines = len.div_ceil(LINE);
        let lines = lines.next_multiple_of((lines.next_power_of_two() / 8).max(1));
        let reused = {
            let mut kept = kept();
            let reused = kept.by_lines.get_mut(&lines).and_then(Vec::pop);
            if reused.is_some() {
                kept.bytes -= lines * size_of::<Line>();
            }
            reused
        };
        Self {
            lines: reused.unwrap_or_else(|| vec![Line([0.0; LINE]); lines]),
            len,
        }
    }

    /// `len` zeros.
    pub(crate) fn zeros(len: usize) -> Self {
        let mut buffer = Self::new(len);
        buffer.fill(0.0);
        buffer
    }

    /// The buffer as a tensor's storage, which gives it back when the tensor goes.
    pub(crate) fn into_bytes(self) -> Bytes {
        let len = self.len * size_of::<f32>();
        // SAFETY: the controller's memory is `len` bytes long, all of them set.
        unsafe { Bytes::from_controller(Box::new(Storage(self)), len) }
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        // SAFETY: a line is 16 numbers without padding, and there are enough of them.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: a line is 16 numbers without padding, and there are enough of them.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let lines = std::mem::take(&mut self.lines);
        let bytes = lines.len() * size_of::<Line>();
        let mut kept = kept();
        if kept.bytes + bytes <= MOST_KEPT.load(Ordering::Relaxed) {
            kept.bytes += bytes;
            kept.by_lines.entry(lines.len()).or_default().push(lines);
        }
    }
}

/// A buffer as burn sees it.
struct Storage(Buffer);

impl AllocationController for Storage {
    fn alloc_align(&self) -> usize {
        align_of::<Line>()
    }

    fn property(&self) -> AllocationProperty {
        AllocationProperty::Other
    }

    unsafe fn memory_mut(
        &mut self,
        _policy: AccessPolicy,
    ) -> Result<&mut [MaybeUninit<u8>], AccessError> {
        let numbers: &mut [f32] = &mut self.0;
        // SAFETY: any byte is part of one number, and bytes need no alignment; the caller promises
        // to write initialised bytes only.
        Ok(unsafe {
            std::slice::from_raw_parts_mut(numbers.as_mut_ptr().cast(), size_of_val(numbers))
        })
    }

    fn memory(&self, _policy: AccessPolicy) -> Result<&[MaybeUninit<u8>], AccessError> {
        let numbers: &[f32] = &self.0;
        // SAFETY: any byte is part of one number, and bytes need no alignment.
        Ok(unsafe { std::slice::from_raw_parts(numbers.as_ptr().cast(), size_of_val(numbers)) })
    }
}

/// Lends `len` numbers of any value.
pub(crate) fn with_scratch<R>(len: usize, work: impl FnOnce(&mut [f32]) -> R) -> R {
    work(&mut Buffer::new(len))
}

/// `len` numbers, all of which `fill` must write: before, they are of any value.
pub(crate) fn filled(len: usize, fill: impl FnOnce(&mut [f32])) -> Buffer {
    let mut buffer = Buffer::new(len);
    fill(&mut buffer);
    buffer
}

/// Cuts `values` into pieces of the given lengths.
pub(crate) fn pieces(
    mut values: &mut [f32],
    lengths: impl IntoIterator<Item = usize>,
) -> Vec<&mut [f32]> {
    lengths
        .into_iter()
        .map(|len| {
            let (piece, rest) = std::mem::take(&mut values).split_at_mut(len);
            values = rest;
            piece
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_aligned_and_its_bytes_are_its_numbers() {
        for len in [0, 1, 15, 16, 17, 1000, 4097] {
            let mut buffer = Buffer::new(len);
            assert_eq!(buffer.len(), len);
            assert_eq!(buffer.as_ptr() as usize % 64, 0);
            for (i, x) in buffer.iter_mut().enumerate() {
                *x = i as f32;
            }
            let bytes = buffer.into_bytes();
            let copy = bytes.clone();
            drop(bytes);
            let numbers = copy.chunks_exact(4);
            assert_eq!(numbers.len(), len);
            for (i, x) in numbers.enumerate() {
                assert_eq!(f32::from_ne_bytes([x[0], x[1], x[2], x[3]]), i as f32);
            }
        }
    }
}
