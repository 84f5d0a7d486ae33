//! What a batch is made of, before it is on a device: examples in the order that the seed fixes, timesteps and
//! noise. Put together when it is asked for or, where the device does not wait for the processor or reading takes
//! time, a few batches ahead by a thread of its own.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use rand::RngExt;
use rand_distr::StandardNormal;

use crate::batch::BatchOptions;
use crate::data::Data;
use crate::error::TrainingError;
use crate::objective::Objective;
use crate::order::{DataOrder, Position};
use crate::streams::{Purpose, Streams};

/// Batches that may wait, read, for the step that needs them.
const BATCHES_AHEAD: usize = 4;

/// The examples of a batch.
#[derive(Debug, PartialEq)]
pub(crate) struct Examples {
    /// Which ones.
    pub(crate) indices: Vec<usize>,
    /// Their values, some of the examples mirrored: each channel, row, column.
    pub(crate) values: Vec<f32>,
    /// The timestep of each.
    pub(crate) timesteps: Vec<usize>,
    /// Standard normal, as many as values.
    pub(crate) noise: Vec<f32>,
}

/// An endless supply of examples.
#[derive(Debug)]
pub(crate) struct Loader<D> {
    data: Arc<D>,
    supply: Supply<D>,
}

#[derive(Debug)]
enum Supply<D> {
    /// A batch is put together when it is asked for.
    Direct(Box<Source<D>>),
    /// A thread puts them together ahead; it ends when the receiver is gone.
    Ahead(Receiver<Result<Examples, TrainingError>>),
}

/// What makes the batches: their place in the order of the data is all that changes.
#[derive(Debug)]
struct Source<D> {
    data: Arc<D>,
    order: DataOrder,
    objective: Objective,
    streams: Streams,
    flip: bool,
    batch_size: usize,
    /// Where the next batch stands.
    position: Position,
}

impl<D: Data> Loader<D> {
    pub(crate) fn new(
        data: D,
        options: &BatchOptions,
        objective: &Objective,
        streams: Streams,
        position: Position,
    ) -> Self {
        let data = Arc::new(data);
        let mut source = Source {
            data: Arc::clone(&data),
            order: DataOrder::new(data.len(), streams),
            objective: objective.clone(),
            streams,
            flip: options.flip,
            batch_size: options.batch_size,
            position,
        };
        let supply = if options.is_ahead || data.is_streamed() {
            let (sender, receiver) = sync_channel(BATCHES_AHEAD);
            thread::spawn(move || while sender.send(source.next()).is_ok() {});
            Supply::Ahead(receiver)
        } else {
            Supply::Direct(Box::new(source))
        };
        Self { data, supply }
    }

    pub(crate) fn data(&self) -> &Arc<D> {
        &self.data
    }

    /// The examples of the next batch.
    pub(crate) fn next(&mut self) -> Result<Examples, TrainingError> {
        match &mut self.supply {
            Supply::Direct(source) => source.next(),
            Supply::Ahead(receiver) => receiver.recv().map_err(|_| TrainingError::ReaderDied)?,
        }
    }
}

impl<D: Data> Source<D> {
    fn next(&mut self) -> Result<Examples, TrainingError> {
        let Position { examples, batches } = self.position;
        let indices = self.order.indices(examples, self.batch_size);
        self.position.examples += self.batch_size as u64;
        self.position.batches += 1;
        let mut rng = self.streams.at(Purpose::Augmentation, batches);
        let read = self.data.read_augmented(&indices, &mut rng);
        let mut values = read.map_err(|error| TrainingError::Read(error.into()))?;
        if self.flip {
            let mut rng = self.streams.at(Purpose::Flip, batches);
            let [.., width] = self.data.example_shape();
            let example_len = values.len() / self.batch_size;
            for example in values.chunks_mut(example_len) {
                if rng.random::<bool>() {
                    example.chunks_mut(width).for_each(<[f32]>::reverse);
                }
            }
        }
        let mut rng = self.streams.at(Purpose::Training, batches);
        Ok(Examples {
            timesteps: self.objective.timesteps(indices.len(), &mut rng),
            noise: rng.sample_iter(StandardNormal).take(values.len()).collect(),
            indices,
            values,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use noising::NoiseConfig;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::objective::ObjectiveConfig;

    /// A hundred images of 3 × 2, each value another. One that is broken cannot be read. Some are moved by a
    /// number of chance in training.
    #[derive(Debug)]
    struct Numbered {
        is_streamed: bool,
        is_moved: bool,
        broken: Option<usize>,
    }

    impl Data for Numbered {
        type Error = String;

        fn len(&self) -> usize {
            100
        }

        fn example_shape(&self) -> [usize; 3] {
            [1, 2, 3]
        }

        fn read(&self, indices: &[usize]) -> Result<Vec<f32>, String> {
            if self.broken.is_some_and(|broken| indices.contains(&broken)) {
                return Err("it is broken".to_owned());
            }
            let values = indices.iter().flat_map(|index| 6 * index..6 * index + 6);
            Ok(values.map(|value| value as f32).collect())
        }

        fn read_augmented(
            &self,
            indices: &[usize],
            rng: &mut ChaCha8Rng,
        ) -> Result<Vec<f32>, String> {
            let mut values = self.read(indices)?;
            if self.is_moved {
                for value in &mut values {
                    *value += rng.random::<f32>();
                }
            }
            Ok(values)
        }

        fn is_streamed(&self) -> bool {
            self.is_streamed
        }
    }

    const IN_MEMORY: Numbered = Numbered {
        is_streamed: false,
        is_moved: false,
        broken: None,
    };

    fn loader(data: Numbered, flip: bool, batches: u64) -> Loader<Numbered> {
        let options = BatchOptions {
            batch_size: 6,
            flip,
            ..BatchOptions::default()
        };
        loader_of(data, &options, batches)
    }

    fn loader_of(data: Numbered, options: &BatchOptions, batches: u64) -> Loader<Numbered> {
        let chain = NoiseConfig::default().chain().unwrap();
        let objective = Objective::new(chain, &ObjectiveConfig::default());
        let position = Position {
            examples: 6 * batches,
            batches,
        };
        Loader::new(data, options, &objective, Streams::new(0), position)
    }

    fn take(mut loader: Loader<Numbered>, count: usize) -> Vec<Examples> {
        (0..count).map(|_| loader.next().unwrap()).collect()
    }

    #[test]
    fn half_of_the_images_are_mirrored_and_a_resumed_run_mirrors_the_same() {
        let plain = take(loader(IN_MEMORY, false, 0), 40);
        let flipped = take(loader(IN_MEMORY, true, 0), 40);
        let mut mirrored = 0;
        for (plain, flipped) in plain.iter().zip(&flipped) {
            assert_eq!(plain.indices, flipped.indices);
            for (a, b) in plain.values.chunks(6).zip(flipped.values.chunks(6)) {
                if a != b {
                    assert_eq!([a[2], a[1], a[0], a[5], a[4], a[3]], b);
                    mirrored += 1;
                }
            }
        }
        assert!((80..160).contains(&mirrored), "{mirrored} of 240");
        let resumed = take(loader(IN_MEMORY, true, 25), 15);
        assert_eq!(resumed, flipped[25..]);
    }

    #[test]
    fn examples_change_from_epoch_to_epoch_and_a_resumed_run_changes_them_alike() {
        let moved = Numbered {
            is_moved: true,
            ..IN_MEMORY
        };
        let (plain, all) = (
            take(loader(IN_MEMORY, false, 0), 40),
            take(loader(moved, false, 0), 40),
        );
        for (plain, moved) in plain.iter().zip(&all) {
            assert_eq!(plain.indices, moved.indices);
            let both = plain.values.iter().zip(&moved.values);
            assert!(both.clone().all(|(a, b)| (0.0..1.0).contains(&(b - a))));
            assert!(both.filter(|(a, b)| a != b).count() > 30);
        }
        let moved = Numbered {
            is_moved: true,
            ..IN_MEMORY
        };
        assert_eq!(take(loader(moved, false, 25), 15), all[25..]);
    }

    #[test]
    fn what_is_read_ahead_is_what_is_in_memory_and_what_cannot_be_read_is_told() {
        let streamed = |broken| Numbered {
            is_streamed: true,
            is_moved: true,
            broken,
        };
        let ahead = loader(streamed(None), true, 2);
        assert!(matches!(ahead.supply, Supply::Ahead(_)));
        let in_memory = Numbered {
            is_moved: true,
            ..IN_MEMORY
        };
        let expected = take(loader(in_memory, true, 2), 30);
        assert_eq!(take(ahead, 30), expected);

        let options = BatchOptions {
            batch_size: 6,
            flip: true,
            is_ahead: true,
            ..BatchOptions::default()
        };
        let in_memory = Numbered {
            is_moved: true,
            ..IN_MEMORY
        };
        let ahead = loader_of(in_memory, &options, 2);
        assert!(matches!(ahead.supply, Supply::Ahead(_)));
        assert_eq!(take(ahead, 30), expected);

        let mut broken = loader(streamed(Some(50)), false, 0);
        let error = (0..17).find_map(|_| broken.next().err()).unwrap();
        assert!(matches!(error, TrainingError::Read(_)), "{error}");
    }
}
