//! A budget of memory that all threads which decode images share: without it, each would need as much as
//! its largest image takes.

use std::sync::{Condvar, Mutex, PoisonError};

/// Bytes of files that are read whole to be decoded.
pub(super) static FILES: Budget = Budget::new(256 << 20);

/// Bytes that decoding, and what is made of the decoded image, take. Whoever has a share of these waits for
/// nothing more, so shares always come back.
pub(super) static PIXELS: Budget = Budget::new(2 << 30);

/// A number of bytes that are lent out.
#[derive(Debug)]
pub(super) struct Budget {
    total: u64,
    lent: Mutex<u64>,
    returned: Condvar,
}

/// A share of a budget, which goes back when this is dropped.
#[derive(Debug)]
pub(super) struct Share<'a> {
    budget: &'a Budget,
    bytes: u64,
}

impl Budget {
    const fn new(total: u64) -> Self {
        Self {
            total,
            lent: Mutex::new(0),
            returned: Condvar::new(),
        }
    }

    /// Waits until `bytes` are free and takes them. Who asks for more than there is gets all of it: one
    /// that is too large for the budget is alone with it.
    pub(super) fn take(&self, bytes: u64) -> Share<'_> {
        let bytes = bytes.min(self.total);
        // The number is whole at every moment: a thread that panicked has not left it half changed.
        let lent = self.lent.lock().unwrap_or_else(PoisonError::into_inner);
        let is_too_much = |lent: &mut u64| *lent + bytes > self.total;
        let mut lent = self
            .returned
            .wait_while(lent, is_too_much)
            .unwrap_or_else(PoisonError::into_inner);
        *lent += bytes;
        Share {
            budget: self,
            bytes,
        }
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        let mut lent = self
            .budget
            .lent
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *lent -= self.bytes;
        self.budget.returned.notify_all();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::atomic::{AtomicU64, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn threads_together_keep_to_the_budget_and_all_have_their_turn() {
        let budget = Budget::new(100);
        let (held, most) = (AtomicU64::new(0), AtomicU64::new(0));
        let done = AtomicU64::new(0);
        thread::scope(|scope| {
            for thread in 0..8_u64 {
                let (budget, held, most, done) = (&budget, &held, &most, &done);
                scope.spawn(move || {
                    for turn in 0..50 {
                        // Some ask for more than there is.
                        let bytes = (thread * 37 + turn * 11) % 130;
                        let _share = budget.take(bytes);
                        let now = held.fetch_add(bytes.min(100), Ordering::SeqCst);
                        most.fetch_max(now + bytes.min(100), Ordering::SeqCst);
                        thread::yield_now();
                        held.fetch_sub(bytes.min(100), Ordering::SeqCst);
                        done.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!(done.into_inner(), 400);
        let most = most.into_inner();
        assert!((50..=100).contains(&most), "{most}");
        assert_eq!(*budget.lent.lock().unwrap(), 0);
    }
}
