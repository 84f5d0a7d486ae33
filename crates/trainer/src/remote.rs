//! Devices of other machines: those that `trainer worker` serves, by burn's remote backend over WebSockets.
//!
//! burn opens a session with a worker once in a process, never anew, and waits for its answers for as long as it takes.
//! What stands here is the rest: a worker is asked first who it is, within a time limit, and then every few seconds
//! whether it is still there ([`IDENTITY`]). One that is gone, that hangs, that is cut off or was started anew ends the
//! program with an error, from whatever thread that notices, or starts it anew ([`Remedy`]). Nothing is lost by that
//! but the steps since the last checkpoint, for files of a run are whole at every moment.

use std::io;
#[cfg(unix)]
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Error;
use burn::remote::{ConnectError, RemoteHost};
use burn::tensor::{Device, TensorReadError};
use kernels::WORKER_OPERATIONS;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tracing::warn;
use ureq::Agent;

use crate::invocation::{hand_down, hint};
use crate::output::shortened;
use crate::token_file::{Token, TokenError, read_token};

/// What a worker is asked, by HTTP, to say who it is. It takes no token, and says nothing of devices.
pub const IDENTITY: &str = "/identity";

/// The field of that request by which a client says which burn it is built on.
pub const BURN_FIELD: &str = "x-burn";

/// The burn that this program is built on: both sides of a session must have the same.
pub const BURN: &str = "0.22.1";

/// The environment variables that stand for the options of the command line.
pub const TOKEN_FILE: &str = "DIFFUSION_TOKEN_FILE";
/// See [`TOKEN_FILE`].
pub const WORKER_TIMEOUT: &str = "DIFFUSION_WORKER_TIMEOUT";

/// How often a worker is asked whether it is there, at the most; more often where the time limit is short.
const PULSE: Duration = Duration::from_secs(5);

/// How long a training that may try again waits for a worker that does not answer.
const LONGEST_WAIT: Duration = Duration::from_secs(600);

/// Who a worker is, as it says itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// A number of this start of it.
    pub worker: String,
    /// The version of the program.
    pub version: String,
    /// The burn that it is built on.
    pub burn: String,
    /// The version of the operations that it computes, [`kernels::WORKER_OPERATIONS`]; those before the first say none.
    #[serde(default)]
    pub operations: u32,
}

impl Identity {
    /// Whether the worker and this program understand each other.
    fn fits(&self) -> bool {
        let ours = (env!("CARGO_PKG_VERSION"), BURN, WORKER_OPERATIONS);
        (&self.version[..], &self.burn[..], self.operations) == ours
    }
}

/// A worker that cannot be used, and why.
#[derive(Debug, Error)]
pub enum RemoteError {
    /// The name of a device names none.
    #[error(
        "{given:?} names no device of a worker: expected remote:ws://HOST:PORT#INDEX, as in \
         remote:ws://127.0.0.1:7651#0 (#0 may be left out)"
    )]
    Address {
        /// As it was given.
        given: String,
    },
    /// The address of a worker is none.
    #[error(
        "{given:?} is no address of a worker: expected ws://HOST:PORT, as in ws://127.0.0.1:7651"
    )]
    Worker {
        /// As it was given.
        given: String,
    },
    /// There is no token for it.
    #[error(
        "the worker {worker} wants a token: --token-file FILE, or the environment variable {TOKEN_FILE}, names the \
         file that holds the one it was started with"
    )]
    NoToken {
        /// Its address.
        worker: String,
    },
    /// The file of the token gives none.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// Nobody is there.
    #[error(
        "the worker {worker} cannot be reached: {why}; start it there with `trainer worker`, and see whether host, port \
         and tunnel are right"
    )]
    Unreachable {
        /// Its address.
        worker: String,
        /// Why.
        why: String,
    },
    /// Nobody answers.
    #[error(
        "the worker {worker} has not answered for {} s: it hangs, or the network is cut (--worker-timeout allows more)",
        seconds.as_secs()
    )]
    Silent {
        /// Its address.
        worker: String,
        /// For how long.
        seconds: Duration,
    },
    /// Somebody else is there.
    #[error("what listens at {worker} is no worker of this program: {why}")]
    Other {
        /// The address.
        worker: String,
        /// What it does.
        why: String,
    },
    /// It is of another version.
    #[error(
        "the worker {worker} is of version {} on burn {} with operations {}, and this program of version {} on burn \
         {BURN} with operations {WORKER_OPERATIONS}: build both from the same sources",
        theirs.version, theirs.burn, theirs.operations, env!("CARGO_PKG_VERSION")
    )]
    Version {
        /// Its address.
        worker: String,
        /// What it is.
        theirs: Identity,
    },
    /// It knows another token.
    #[error("the worker {worker} refuses the token in {}: copy the file that it was started with", file.display())]
    WrongToken {
        /// Its address.
        worker: String,
        /// Where the token was read.
        file: PathBuf,
    },
    /// It has no such device.
    #[error(
        "the worker {worker} has no device #{index}: it serves {count} (#0 to #{}); `{}` lists them",
        count.saturating_sub(1), hint(&format!("devices --remote {worker}"))
    )]
    NoSuchDevice {
        /// Its address.
        worker: String,
        /// What was asked for.
        index: usize,
        /// How many it has.
        count: usize,
    },
    /// burn opens no session.
    #[error("the worker {worker} opens no session: {source}")]
    Session {
        /// Its address.
        worker: String,
        /// Why.
        source: ConnectError,
    },
    /// It was another process when the session began.
    #[error("the worker {worker} was started anew, and what it computed is lost")]
    Replaced {
        /// Its address.
        worker: String,
    },
    /// The system gives no thread to watch it.
    #[error("cannot watch the worker {worker}: {source}")]
    Watch {
        /// Its address.
        worker: String,
        /// Why.
        source: io::Error,
    },
}

impl RemoteError {
    /// Whether what was typed is wrong, and not the other machine.
    pub fn is_usage(&self) -> bool {
        use RemoteError as E;
        matches!(
            self,
            E::Address { .. }
                | E::Worker { .. }
                | E::NoToken { .. }
                | E::Token(_)
                | E::NoSuchDevice { .. }
        )
    }

    /// Whether it may go away by waiting.
    fn is_passing(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Silent { .. })
    }
}

/// What the command line says of all workers.
#[derive(Debug)]
struct Settings {
    token_file: Option<PathBuf>,
    timeout: Duration,
}

static SETTINGS: OnceLock<Settings> = OnceLock::new();

/// Whether a worker that does not answer at first is waited for.
static IS_PATIENT: AtomicBool = AtomicBool::new(false);

/// The workers of this process, with who they were when it came to them.
static WATCHED: Mutex<Vec<(Worker, Identity)>> = Mutex::new(Vec::new());

/// What is done when one is lost. Held by the thread that ends the program.
static REMEDY: Mutex<Option<Remedy>> = Mutex::new(None);

/// What is done when a worker is lost.
#[derive(Debug, Default)]
pub struct Remedy {
    /// How to go on, as it is typed, where there is something to go on with.
    pub go_on: Option<String>,
    /// This program, to be started anew by itself.
    pub again: Option<Command>,
}

/// Keeps what the command line says: the file of the token, and for how long a worker may be silent.
pub fn start(token_file: Option<&Path>, timeout: Duration) {
    if let Some(file) = token_file {
        hand_down(TOKEN_FILE, file.as_os_str());
    }
    hand_down(WORKER_TIMEOUT, timeout.as_secs().to_string().as_ref());
    // A second start, as in tests, changes nothing.
    let _ = SETTINGS.set(Settings {
        token_file: token_file.map(Path::to_owned),
        timeout,
    });
}

/// The file of the token, if one was named.
pub fn token_file() -> Option<&'static Path> {
    SETTINGS.get()?.token_file.as_deref()
}

fn timeout() -> Duration {
    SETTINGS
        .get()
        .map_or(Duration::from_secs(30), |settings| settings.timeout)
}

/// From now on a worker that does not answer is waited for, ten minutes at the most, instead of an error.
pub fn be_patient() {
    IS_PATIENT.store(true, Ordering::Relaxed);
}

/// From now on this is done when a worker is lost.
pub fn on_loss(remedy: Remedy) {
    *locked(&REMEDY) = Some(remedy);
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The address of a worker: host and port, as they stand in it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Worker(String);

impl Worker {
    /// That of `ws://HOST:PORT`.
    fn of(url: &str) -> Option<Self> {
        let authority = url.strip_prefix("ws://")?;
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        let (host, port) = authority.rsplit_once(':')?;
        let is_port = port.parse::<u16>().is_ok_and(|port| port > 0);
        let is_address = host.starts_with('[') && host.ends_with(']');
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        let is_host = match host.get(1..host.len().saturating_sub(1)) {
            Some(inner) if is_address => inner.parse::<std::net::Ipv6Addr>().is_ok(),
            _ => !host.is_empty() && host.chars().all(is_plain),
        };
        (is_port && is_host).then(|| Self(authority.to_owned()))
    }

    fn url(&self) -> String {
        format!("ws://{}", self.0)
    }
}

/// The device that `remote:ws://HOST:PORT#INDEX` names, connected, and its name in full.
///
/// # Errors
///
/// What is wrong with the name, the token or the worker.
pub fn device(name: &str) -> Result<(Device, String), RemoteError> {
    let malformed = || RemoteError::Address {
        given: name.to_owned(),
    };
    let (_, url) = name.split_once(':').ok_or_else(malformed)?;
    let (url, index) = match url.split_once('#') {
        Some((url, index)) => (url, index.parse().map_err(|_| malformed())?),
        None => (url, 0),
    };
    let worker = Worker::of(url).ok_or_else(malformed)?;
    let host = host(&worker)?;
    let device = Device::remote_options(&host)
        .device_index(index)
        .init()
        .map_err(|error| refused(&worker, index, error))?;
    Ok((device, format!("remote:{}#{index}", worker.url())))
}

/// All devices of the worker at `ws://HOST:PORT`, with the names that pick them.
///
/// # Errors
///
/// As of [`device`].
pub fn devices(url: &str) -> Result<Vec<(Device, String)>, RemoteError> {
    let worker = Worker::of(url).ok_or_else(|| RemoteError::Worker {
        given: url.to_owned(),
    })?;
    let devices = host(&worker)?.devices();
    let devices = devices.map_err(|error| refused(&worker, 0, error))?;
    let name = |index: usize| format!("remote:{}#{index}", worker.url());
    let named = devices.into_vec().into_iter().enumerate();
    Ok(named.map(|(index, device)| (device, name(index))).collect())
}

/// What burn says of a session that it does not open.
fn refused(worker: &Worker, index: usize, error: ConnectError) -> RemoteError {
    let worker = worker.url();
    match error {
        ConnectError::Unauthorized => RemoteError::WrongToken {
            worker,
            file: token_file().unwrap_or(Path::new("")).to_owned(),
        },
        ConnectError::NoSuchDevice { device_count } => RemoteError::NoSuchDevice {
            worker,
            index,
            count: device_count,
        },
        source => RemoteError::Session { worker, source },
    }
}

/// The worker with its token, once it has said who it is; from then on it is watched.
fn host(worker: &Worker) -> Result<RemoteHost, RemoteError> {
    let token = token(worker)?;
    let is_watched = locked(&WATCHED).iter().any(|(known, _)| known == worker);
    if !is_watched {
        let identity = reach(worker)?;
        watch(worker.clone(), identity)?;
    }
    Ok(RemoteHost::websocket(&worker.url()).with_credential(token.secret()))
}

fn token(worker: &Worker) -> Result<Token, RemoteError> {
    let file = token_file().ok_or_else(|| RemoteError::NoToken {
        worker: worker.url(),
    })?;
    Ok(read_token(file)?)
}

/// Who the worker is. One that does not answer is waited for, where there is patience.
fn reach(worker: &Worker) -> Result<Identity, RemoteError> {
    /// Between two tries.
    const PAUSE: Duration = Duration::from_secs(1);
    let started = Instant::now();
    let mut has_said = false;
    loop {
        match ask(worker, timeout()) {
            Err(error)
                if error.is_passing()
                    && IS_PATIENT.load(Ordering::Relaxed)
                    && started.elapsed() < LONGEST_WAIT =>
            {
                if !has_said {
                    warn!("waiting for a worker: {error}");
                    has_said = true;
                }
                thread::sleep(PAUSE);
            }
            answer => {
                let identity = answer?;
                if !identity.fits() {
                    return Err(RemoteError::Version {
                        worker: worker.url(),
                        theirs: identity,
                    });
                }
                return Ok(identity);
            }
        }
    }
}

/// Asks the worker who it is, and waits so long.
fn ask(worker: &Worker, patience: Duration) -> Result<Identity, RemoteError> {
    /// The most bytes of an answer.
    const LONGEST: u64 = 4096;
    let agent: Agent = Agent::config_builder()
        .proxy(None)
        .max_redirects(0)
        .timeout_global(Some(patience))
        .http_status_as_error(false)
        .build()
        .into();
    let question = agent
        .get(format!("http://{}{IDENTITY}", worker.0))
        .header(BURN_FIELD, BURN);
    let other = |why: String| RemoteError::Other {
        worker: worker.url(),
        why,
    };
    let failed = |error: ureq::Error| match error {
        ureq::Error::Timeout(_) => RemoteError::Silent {
            worker: worker.url(),
            seconds: patience,
        },
        error
        @ (ureq::Error::Io(_) | ureq::Error::HostNotFound | ureq::Error::ConnectionFailed) => {
            RemoteError::Unreachable {
                worker: worker.url(),
                why: error.to_string(),
            }
        }
        error => other(error.to_string()),
    };
    let mut answer = question.call().map_err(failed)?;
    let status = answer.status();
    let text = answer.body_mut().with_config().limit(LONGEST);
    let text = text.read_to_string().map_err(failed)?;
    serde_json::from_str(&text).map_err(|_| other(format!("it answers with status {status}")))
}

/// From now on the worker is asked again and again, on a thread of its own, whether it is still the same.
fn watch(worker: Worker, identity: Identity) -> Result<(), RemoteError> {
    locked(&WATCHED).push((worker.clone(), identity.clone()));
    let url = worker.url();
    let builder = thread::Builder::new().name("watch".to_owned());
    let started = builder.spawn(move || keep_asking(&worker, &identity, timeout()));
    started.map(|_| ()).map_err(|source| RemoteError::Watch {
        worker: url,
        source,
    })
}

/// Asks until the worker is another one, or has been silent for too long; then the program ends.
fn keep_asking(worker: &Worker, identity: &Identity, patience: Duration) {
    /// The least that a worker has to answer.
    const LEAST: Duration = Duration::from_millis(100);
    let mut answered = Instant::now();
    loop {
        thread::sleep(PULSE.min(patience / 4));
        let left = patience.saturating_sub(answered.elapsed());
        match ask(worker, left.max(LEAST)) {
            Ok(found) if found == *identity => answered = Instant::now(),
            Ok(_) => end(&replaced(worker).to_string()),
            // One that refuses may be overrun at the moment: it is asked again until its time is up.
            Err(_) if answered.elapsed() < patience => {}
            Err(RemoteError::Silent { worker, .. }) => {
                let seconds = answered.elapsed();
                end(&RemoteError::Silent { worker, seconds }.to_string());
            }
            Err(error) => end(&error.to_string()),
        }
    }
}

fn replaced(worker: &Worker) -> RemoteError {
    RemoteError::Replaced {
        worker: worker.url(),
    }
}

/// The error, unless it comes of a worker that was lost: then the program ends here, or starts anew.
#[must_use]
pub fn unless_lost(error: Error) -> Error {
    /// How long a worker is asked.
    const PATIENCE: Duration = Duration::from_secs(3);
    let watched = locked(&WATCHED).clone();
    let is_read = error.chain().any(|cause| cause.is::<TensorReadError>());
    let why_lost = |(worker, identity): &(Worker, Identity)| match ask(worker, PATIENCE) {
        Ok(found) if found == *identity => None,
        Ok(_) => Some(replaced(worker).to_string()),
        Err(error) => Some(error.to_string()),
    };
    let mut lost: Vec<String> = watched.iter().filter_map(why_lost).collect();
    if lost.is_empty() && (watched.is_empty() || !is_read) {
        return error;
    }
    if lost.is_empty() {
        let workers: Vec<String> = watched.iter().map(|(worker, _)| worker.url()).collect();
        lost.push(format!(
            "the session with {} has ended, and the messages of the worker say why ({})",
            workers.join(" or "),
            one_line(&error)
        ));
    }
    end(&lost.join("; "))
}

/// An error in one line: burn's have several.
fn one_line(error: &Error) -> String {
    format!("{error:#}")
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

/// Ends the program with this error, or starts it anew where that is the remedy.
fn end(why: &str) -> ! {
    // Whoever comes second waits here until the first has ended the program.
    let mut remedy = locked(&REMEDY);
    let Remedy { go_on, again } = remedy.take().unwrap_or_default();
    let is_begun = go_on.is_some();
    let go_on = go_on.map_or_else(String::new, |typed| format!("; go on with: {typed}"));
    let Some(command) = again else {
        eprintln!("{}", shortened(&format!("error: {why}{go_on}")));
        std::process::exit(1);
    };
    let from = if is_begun {
        " from the last checkpoint"
    } else {
        ""
    };
    warn!("{why}; starting again{from}");
    let error = run_in_place(command);
    eprintln!("error: {why}; cannot start again: {error}{go_on}");
    std::process::exit(1);
}

/// Becomes another program. It has the number of this process, its terminal and those who wait for it.
#[cfg(unix)]
fn run_in_place(mut command: Command) -> io::Error {
    command.exec()
}

/// Runs another program to its end, and ends as it does.
#[cfg(not(unix))]
fn run_in_place(mut command: Command) -> io::Error {
    match command.status() {
        Ok(status) => std::process::exit(status.code().unwrap_or(1)),
        Err(error) => error,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn addresses_are_host_and_port() {
        for good in [
            "ws://127.0.0.1:7651",
            "ws://a-b.example:1/",
            "ws://[::1]:80",
        ] {
            let worker = Worker::of(good).unwrap();
            assert_eq!(worker.url(), good.trim_end_matches('/'));
        }
        for bad in [
            "",
            "ws://",
            "127.0.0.1:1",
            "http://a:1",
            "wss://a:1",
            "ws://a",
            "ws://a:0",
            "ws://a:65536",
            "ws://:1",
            "ws://a:1/x",
            "ws://u:p@a:1",
            "ws://[::1:1",
            "ws://[]:1",
            "ws://[:1",
            "ws://a b:1",
        ] {
            assert_eq!(Worker::of(bad), None, "{bad}");
        }
    }

    #[test]
    fn names_of_devices_are_checked_before_anybody_is_asked() {
        for bad in [
            "remote:",
            "remote",
            "remote:ws://a:1#",
            "remote:ws://a:1#-1",
            "remote:ws://a:1#x",
            "remote:3",
        ] {
            let error = device(bad).unwrap_err();
            assert!(
                matches!(error, RemoteError::Address { .. }),
                "{bad}: {error}"
            );
        }
        let error = device("remote:ws://127.0.0.1:1#0").unwrap_err();
        assert!(matches!(error, RemoteError::NoToken { .. }), "{error}");
    }

    /// Nothing of burn says its version to a program.
    #[test]
    fn the_version_of_burn_is_that_of_the_workspace() {
        let manifest = include_str!("../../../Cargo.toml");
        assert!(manifest.contains(&format!("burn = {{ version = \"={BURN}\"")));
    }
}
