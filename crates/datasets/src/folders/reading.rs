//! Many files at once, and another in the place of one that cannot be read.

use std::error::Error;
use std::num::NonZero;
use std::panic;
use std::slice;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::error::first_messages;

/// How many files are tried in the place of one that cannot be read; when that many are bad, so is all.
const MAX_SUBSTITUTES: usize = 100;

/// What `read` gives of file `index`; in the place of one that cannot be read, what it gives of the next one
/// of its class that can, with a warning, if bad files are to be passed over.
pub(crate) fn read_or_next_of_class<T, E: Error>(
    index: usize,
    labels: &[Option<u16>],
    skip_bad: bool,
    read: impl Fn(usize) -> Result<T, E>,
) -> Result<T, E> {
    let contents = read(index);
    let (true, Err(error)) = (skip_bad, &contents) else {
        return contents;
    };
    tracing::warn!("{}; passed over", first_messages(slice::from_ref(error)));
    let len = labels.len();
    (1..len)
        .map(|step| (index + step) % len)
        .filter(|&other| labels[other] == labels[index])
        .take(MAX_SUBSTITUTES)
        .find_map(|other| read(other).ok())
        .map_or(contents, Ok)
}

/// Does `work` for each of `0..count` on all cores, in threads of its own: those of a pool may all be
/// waiting for what is being read.
pub(crate) fn in_parallel<T: Send>(count: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let next = AtomicUsize::new(0);
    let take_turns = || {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                return done;
            }
            done.push((index, work(index)));
        }
    };
    let mut results = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.min(count))
            .map(|_| scope.spawn(take_turns))
            .collect();
        let mut results = Vec::with_capacity(count);
        for worker in workers {
            match worker.join() {
                Ok(done) => results.extend(done),
                Err(payload) => panic::resume_unwind(payload),
            }
        }
        results
    });
    results.sort_unstable_by_key(|&(index, _)| index);
    results.into_iter().map(|(_, result)| result).collect()
}
