//! The order in which training examples are seen: each epoch is a new permutation, and batches run
//! on across the end of an epoch, so that a number of examples seen is a position in the data.

use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use crate::streams::{Purpose, Streams};

/// How far a training has come in its data and in its random streams.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Examples seen.
    pub examples: u64,
    /// Batches seen.
    pub batches: u64,
}

/// An endless, reproducible order over `len` examples.
#[derive(Debug)]
pub struct DataOrder {
    len: usize,
    streams: Streams,
    /// The epoch whose permutation is at hand.
    current: Option<(u64, Vec<usize>)>,
}

impl DataOrder {
    /// The order over `len` examples (at least one) under the seed of `streams`.
    pub fn new(len: usize, streams: Streams) -> Self {
        assert!(len > 0, "there must be an example to order");
        Self {
            len,
            streams,
            current: None,
        }
    }

    /// The examples at the positions `seen..seen + count`.
    pub fn indices(&mut self, seen: u64, count: usize) -> Vec<usize> {
        (seen..seen + count as u64)
            .map(|position| {
                let place = (position % self.len as u64) as usize;
                self.permutation(position / self.len as u64)[place]
            })
            .collect()
    }

    fn permutation(&mut self, epoch: u64) -> &[usize] {
        let (len, streams) = (self.len, self.streams);
        let shuffle = || {
            let mut permutation: Vec<usize> = (0..len).collect();
            permutation.shuffle(&mut streams.at(Purpose::Shuffle, epoch));
            (epoch, permutation)
        };
        if self.current.as_ref().is_none_or(|(at, _)| *at != epoch) {
            self.current = None;
        }
        &self.current.get_or_insert_with(shuffle).1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_epoch_sees_every_example_once_in_another_order() {
        let mut order = DataOrder::new(10, Streams::new(0));
        let first = order.indices(0, 10);
        let second = order.indices(10, 10);
        assert_ne!(first, second);
        for mut epoch in [first, second] {
            epoch.sort_unstable();
            assert_eq!(epoch, (0..10).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_position_does_not_depend_on_how_it_was_reached() {
        let whole = DataOrder::new(7, Streams::new(3)).indices(0, 30);
        let mut resumed = DataOrder::new(7, Streams::new(3));
        assert_eq!(resumed.indices(12, 5), whole[12..17]);
        assert_eq!(resumed.indices(3, 4), whole[3..7]);
    }
}
