//! Work on several devices at once: a thread a device, results in the order of the work.
//!
//! Item i goes to device i mod n, and what is made of the items is taken in the order of i. A sum of results is
//! then the same sum, number by number, on one device and on many that compute alike.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{Receiver, RecvError, RecvTimeoutError, TryRecvError, sync_channel};
use std::sync::{Mutex, MutexGuard, TryLockError};
use std::thread;
use std::time::Duration;

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData, TensorReadError};

use crate::parameters::{flatten, unflatten_of};

/// Calls `work` with each item and the place of its device, below `devices`: on a thread a device, of which the
/// calling thread is the first. `take` gets the results on the calling thread, in the order of the items; no device
/// is more than two results ahead of it. With one device, or one item, there is no other thread.
///
/// # Errors
///
/// The first error of `work` or of `take`, once all threads have done the item at hand; a thread that the system
/// does not start.
///
/// # Panics
///
/// Where `work` or `take` does.
pub fn spread<I: Send, T: Send, E: Send + From<io::Error>>(
    devices: usize,
    items: Vec<I>,
    work: impl Fn(usize, I) -> Result<T, E> + Sync,
    mut take: impl FnMut(T) -> Result<(), E>,
) -> Result<(), E> {
    let count = items.len();
    let devices = devices.clamp(1, count.max(1));
    let mut shares: Vec<Vec<I>> = (0..devices).map(|_| Vec::new()).collect();
    for (index, item) in items.into_iter().enumerate() {
        shares[index % devices].push(item);
    }
    let mut own = shares.remove(0).into_iter();
    thread::scope(|scope| {
        let mut others = Vec::with_capacity(shares.len());
        for (device, share) in (1..).zip(shares) {
            let work = &work;
            let (sender, receiver) = sync_channel(1);
            let run = move || {
                for item in share {
                    let result = catch_unwind(AssertUnwindSafe(|| work(device, item)));
                    let is_last = !matches!(result, Ok(Ok(_)));
                    // Where another device has failed, nobody takes it.
                    if sender.send(result).is_err() || is_last {
                        break;
                    }
                }
            };
            thread::Builder::new().spawn_scoped(scope, run)?;
            others.push(receiver);
        }
        for index in 0..count {
            let result = match index % devices {
                0 => own.next().map(|item| Ok(work(0, item))),
                device => received(&others[device - 1]).ok(),
            };
            // Every thread has a result for each of its items, up to the first that is none.
            let Some(result) = result else { break };
            take(result.unwrap_or_else(|panic| resume_unwind(panic))?)?;
        }
        Ok(())
    })
}

/// The turn of this thread among those of [`spread`], for what one of them does at a time, kernels included: as it
/// waits, it computes for the others where it is of the pool that the kernels compute in.
pub fn turn<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    loop {
        match mutex.try_lock() {
            Ok(guard) => return guard,
            // Whoever panicked ends the work of all.
            Err(TryLockError::Poisoned(poisoned)) => return poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => {}
        }
        if rayon::yield_now() != Some(rayon::Yield::Executed) {
            thread::sleep(PAUSE);
        }
    }
}

/// Between two looks at the pool, where it had nothing to do.
const PAUSE: Duration = Duration::from_micros(50);

/// What the other thread sends next. Where this thread is one of the pool that the kernels compute in, it computes
/// for the others while it waits, as they could not go on without it where it is the only one.
fn received<T>(receiver: &Receiver<T>) -> Result<T, RecvError> {
    loop {
        match rayon::yield_now() {
            None => return receiver.recv(),
            Some(rayon::Yield::Executed) => match receiver.try_recv() {
                Ok(sent) => return Ok(sent),
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => return Err(RecvError),
            },
            Some(rayon::Yield::Idle) => match receiver.recv_timeout(PAUSE) {
                Ok(sent) => return Ok(sent),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(RecvError),
            },
        }
    }
}

/// A tensor without autodiff on its way to a device: itself where it is there already, else its numbers in the memory
/// of this machine. That works between any two devices, and what fails on the way is an error.
#[derive(Debug)]
pub enum Passage<const D: usize> {
    /// It is there. (In a box, for with all backends a tensor takes more room than numbers on their way.)
    There(Box<Tensor<D>>),
    /// It is between two devices.
    Between(TensorData),
}

impl<const D: usize> Passage<D> {
    /// `tensor` on its way to `device`.
    ///
    /// # Errors
    ///
    /// A device that gives nothing back.
    pub fn to(device: &Device, tensor: Tensor<D>) -> Result<Self, TensorReadError> {
        if tensor.device() == *device {
            return Ok(Self::There(Box::new(tensor)));
        }
        tensor.try_into_data_as::<f32>().map(Self::Between)
    }

    /// The tensor on `device`, to which it was on its way.
    pub fn arrive(self, device: &Device) -> Tensor<D> {
        match self {
            Self::There(tensor) => *tensor,
            Self::Between(data) => Tensor::from_data(data, device),
        }
    }
}

/// Copies of a network on further devices.
#[derive(Debug, Clone)]
pub struct Replicas<N> {
    networks: Vec<(N, Device)>,
}

impl<N> Default for Replicas<N> {
    /// None.
    fn default() -> Self {
        Self {
            networks: Vec::new(),
        }
    }
}

impl<N: Module> Replicas<N> {
    /// A copy of `network` on each of these devices, with autodiff if it has it. A device may come more than once.
    ///
    /// # Errors
    ///
    /// A device that gives nothing back.
    pub fn new(network: &N, devices: &[Device]) -> Result<Self, TensorReadError> {
        let networks = devices.iter().map(|device| {
            let device = device.clone().without_autodiff();
            (network.clone(), device)
        });
        let mut replicas = Self {
            networks: networks.collect(),
        };
        replicas.load(flatten(network))?;
        Ok(replicas)
    }

    /// Gives all of them these parameters, of [`flatten`], from whatever device.
    ///
    /// # Errors
    ///
    /// A device that gives nothing back.
    pub fn load(&mut self, parameters: Tensor<1>) -> Result<(), TensorReadError> {
        let home = parameters.device();
        let mut data: Option<TensorData> = None;
        for (network, device) in &mut self.networks {
            let on_device = if *device == home {
                parameters.clone()
            } else {
                // Read once for all of them.
                let data = match &data {
                    Some(data) => data.clone(),
                    None => data
                        .insert(parameters.clone().try_into_data_as::<f32>()?)
                        .clone(),
                };
                Tensor::from_data(data, &*device)
            };
            *network = unflatten_of(network.clone(), on_device, &home);
        }
        Ok(())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.networks.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.networks.is_empty()
    }

    /// The network that computes in this place, and its device: `first` in place 0, then the copies.
    ///
    /// # Panics
    ///
    /// If there are not so many.
    pub fn at<'a>(&'a self, first: (&'a N, &'a Device), place: usize) -> (&'a N, &'a Device) {
        match place.checked_sub(1) {
            None => first,
            Some(place) => {
                let (network, device) = &self.networks[place];
                (network, device)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn items_go_round_and_results_come_in_order() {
        for (devices, count) in [(1, 5), (2, 5), (4, 3), (3, 0), (0, 2)] {
            let mut taken = Vec::new();
            let work = |device, item: usize| {
                assert_eq!(device, item % devices.clamp(1, count.max(1)));
                Ok::<_, io::Error>(10 * item)
            };
            let take = |result| {
                taken.push(result);
                Ok(())
            };
            spread(devices, (0..count).collect(), work, take).unwrap();
            assert_eq!(taken, (0..count).map(|item| 10 * item).collect::<Vec<_>>());
        }
    }

    #[test]
    fn each_device_has_a_thread_of_its_own() {
        let threads = Mutex::new(vec![None; 3]);
        let work = |device: usize, _| {
            let id = thread::current().id();
            let before = threads.lock().unwrap()[device].replace(id);
            assert!(before.is_none_or(|before| before == id));
            Ok::<_, io::Error>(())
        };
        spread(3, vec![(); 9], work, |()| Ok(())).unwrap();
        let mut threads = threads.into_inner().unwrap();
        assert_eq!(threads[0], Some(thread::current().id()));
        threads.dedup();
        assert_eq!(threads.len(), 3);
    }

    #[test]
    fn the_first_error_ends_it() {
        for bad in 0..4 {
            let mut taken = 0;
            let work = |_, item| {
                if item >= bad {
                    return Err(io::Error::other(format!("item {item}")));
                }
                Ok(())
            };
            let take = |()| {
                taken += 1;
                Ok(())
            };
            let error = spread(2, (0..50).collect(), work, take).unwrap_err();
            assert_eq!(error.to_string(), format!("item {bad}"));
            assert_eq!(taken, bad);
        }
        let refuse = |()| Err(io::Error::other("not taken"));
        let error = spread(2, vec![(); 50], |_, ()| Ok(()), refuse).unwrap_err();
        assert_eq!(error.to_string(), "not taken");
    }

    #[test]
    #[should_panic(expected = "of the second device")]
    fn a_panic_is_that_of_the_caller() {
        let work = |device, ()| {
            assert!(device == 0, "of the second device");
            Ok::<_, io::Error>(())
        };
        let _ = spread(2, vec![(); 2], work, |()| Ok(()));
    }

    /// Work that computes in a pool of one thread, called from that thread.
    #[test]
    fn the_only_thread_of_the_pool_computes_while_it_waits() {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(1)
            .build()
            .unwrap();
        let mut sum = 0;
        pool.install(|| {
            let one_at_a_time = Mutex::new(());
            let work = |_, item: usize| {
                let _turn = turn(&one_at_a_time);
                Ok::<_, io::Error>(pool.install(|| item + 1))
            };
            let take = |result| {
                sum += result;
                Ok(())
            };
            spread(3, (0..9).collect(), work, take).unwrap();
        });
        assert_eq!(sum, 45);
    }
}
