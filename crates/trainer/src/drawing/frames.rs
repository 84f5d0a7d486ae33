//! Which steps of a long process are shown.

use std::time::Duration;

/// The most frames of an animation of sampling.
pub const MAX_FRAMES: usize = 40;
/// How long each is shown.
pub const FRAME_TIME: Duration = Duration::from_millis(80);

/// `count` of so many steps, evenly spread, in order, the last step among them; all of them where there
/// are no more.
pub fn evenly_spread(steps: usize, count: usize) -> Vec<usize> {
    let count = count.min(steps);
    (1..=count).map(|i| i * steps / count - 1).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_evenly_spread_and_end_with_the_chain() {
        assert_eq!(evenly_spread(1000, 4), [249, 499, 749, 999]);
        assert_eq!(evenly_spread(3, 9), [0, 1, 2]);
        assert_eq!(evenly_spread(1, 9), [0]);
        for (num_train_timesteps, count) in [(1000, 9), (1000, 40), (41, 40), (1_000_000, 99)] {
            let frames = evenly_spread(num_train_timesteps, count);
            assert_eq!(frames.len(), count);
            assert_eq!(frames.last(), Some(&(num_train_timesteps - 1)));
            assert!(frames.is_sorted_by(|a, b| a < b));
        }
    }
}
