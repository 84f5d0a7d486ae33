//! Where networks are called: one job after the other, on one thread, with the networks that were asked for last
//! kept open.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::slice::from_ref;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use anyhow::{Result, bail};
use serde::Deserialize;

use crate::commands::opened::{exists, open_model};
use crate::device::NamedDevice;
use crate::error::Usage;
use crate::kinds::Examples;
use crate::memory::Needs;
use crate::run::checkpoint::{Checkpoint, by_step};
use crate::sampling::Model;

/// The jobs that may wait.
const WAITING: usize = 16;

/// The networks that are kept open: two runs side by side.
const OPEN: usize = 2;

/// One of the checkpoints of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Which {
    /// The newest.
    #[default]
    Newest,
    /// That of the lowest FID or, where none was measured, of the lowest held-out loss.
    Best,
    /// That of a step.
    Step(u64),
}

/// Something to be done with networks.
pub(super) type Job = Box<dyn FnOnce(&mut Desk) + Send>;

/// Where jobs are handed in.
#[derive(Debug, Clone)]
pub(super) struct Jobs(SyncSender<Job>);

/// Too many wait.
#[derive(Debug, Clone, Copy)]
pub(super) struct Busy;

impl Jobs {
    /// Hands in a job.
    ///
    /// # Errors
    ///
    /// [`Busy`].
    pub(super) fn hand_in(&self, job: impl FnOnce(&mut Desk) + Send + 'static) -> Result<(), Busy> {
        self.0.try_send(Box::new(job)).map_err(|error| match error {
            TrySendError::Full(_) | TrySendError::Disconnected(_) => Busy,
        })
    }
}

/// The thread's own things.
pub(super) struct Desk {
    device: NamedDevice,
    pub(super) data_dir: Option<PathBuf>,
    jobs: Option<Receiver<Job>>,
    /// The one that was asked for last stands last.
    open: Vec<Open>,
}

/// A network that is ready to be drawn from.
pub(super) struct Open {
    pub(super) checkpoint: Checkpoint,
    pub(super) model: Model,
    pub(super) needs: Needs,
    /// Examples of the test split, once they are asked for.
    pub(super) examples: Option<Examples>,
}

impl Desk {
    /// A desk on `device`, and where jobs for it are handed in.
    pub(super) fn new(device: NamedDevice, data_dir: Option<PathBuf>) -> (Self, Jobs) {
        let (sender, receiver) = sync_channel(WAITING);
        let desk = Self {
            device,
            data_dir,
            jobs: Some(receiver),
            open: Vec::new(),
        };
        (desk, Jobs(sender))
    }

    /// Does one job after the other until nobody can hand one in any more.
    pub(super) fn work(mut self) {
        let Some(jobs) = self.jobs.take() else { return };
        for job in jobs {
            // A network that fails in the middle takes its drawing along, not the page.
            if catch_unwind(AssertUnwindSafe(|| job(&mut self))).is_err() {
                self.open.clear();
            }
        }
    }

    /// The name of the device.
    pub(super) fn device_name(&self) -> &str {
        &self.device.name
    }

    /// The network of a checkpoint of `run`.
    ///
    /// # Errors
    ///
    /// Why it cannot be opened.
    pub(super) fn open(&mut self, run: &Path, which: Which) -> Result<&mut Open> {
        exists(run)?;
        let folder = match which {
            Which::Newest | Which::Best => run.to_owned(),
            Which::Step(step) => of_step(run, step)?,
        };
        let best = which == Which::Best;
        let now = Checkpoint::open(&folder, best)?;
        let known = self
            .open
            .iter()
            .position(|open| open.checkpoint.folder() == now.folder() && open.is_same(&now));
        let open = match known {
            Some(place) => self.open.remove(place),
            None => {
                let (checkpoint, model) = open_model(&folder, best, &self.device.device)?;
                Open {
                    needs: Needs::of(&checkpoint.config().network, from_ref(&self.device)),
                    checkpoint,
                    model,
                    examples: None,
                }
            }
        };
        if self.open.len() >= OPEN {
            self.open.remove(0);
        }
        self.open.push(open);
        let last = self.open.len() - 1;
        Ok(&mut self.open[last])
    }
}

impl Open {
    /// Whether a checkpoint in the same place is the same: another run may have taken it.
    fn is_same(&self, now: &Checkpoint) -> bool {
        self.checkpoint.weights_digest() == now.weights_digest()
    }
}

/// The folder of the checkpoint of `step`, out of those that `run` has.
fn of_step(run: &Path, step: u64) -> Result<PathBuf> {
    let all = by_step(&run.join("checkpoints"))?;
    if let Some((_, folder)) = all.iter().find(|(known, _)| *known == step) {
        return Ok(folder.clone());
    }
    let steps: Vec<String> = all.iter().map(|(step, _)| step.to_string()).collect();
    bail!(Usage(format!(
        "there is no checkpoint of step {step}; the run has those of {}",
        steps.join(", ")
    )))
}
