//! Which kernels were launched: what a GPU's time goes into before it computes anything.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use cubecl::logging::{LaunchObservation, LaunchObserver};

#[derive(Default)]
struct Counts(Mutex<BTreeMap<&'static str, usize>>);

impl LaunchObserver for Counts {
    fn launched(&self, kernel: &'static str) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(kernel).or_default() += 1;
    }
}

/// The kernels that `work` launches on GPUs, and how often: the short name of each, the most frequent
/// first. What other threads launch meanwhile counts as well.
pub fn count_launches<T>(work: impl FnOnce() -> T) -> (T, Vec<(String, usize)>) {
    let counts = Arc::new(Counts::default());
    let observation = LaunchObservation::new(counts.clone());
    let result = work();
    drop(observation);
    let counts = counts.0.lock().unwrap_or_else(PoisonError::into_inner);
    // Kernels of one name differ in their types.
    let mut short = BTreeMap::<String, usize>::new();
    for (kernel, count) in counts.iter() {
        *short.entry(short_name(kernel)).or_default() += count;
    }
    let mut short: Vec<_> = short.into_iter().collect();
    short.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    (result, short)
}

/// The name of a kernel without its path and its type parameters.
fn short_name(kernel: &str) -> String {
    let name = kernel.split('<').next().unwrap_or(kernel);
    let mut parts: Vec<&str> = name.rsplit("::").take(2).collect();
    parts.reverse();
    parts.join("::")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short() {
        assert_eq!(
            short_name("burn_cubecl::kernel::unary_float::UnaryFloat<f32, u32>"),
            "unary_float::UnaryFloat"
        );
        assert_eq!(short_name("forward"), "forward");
    }
}
