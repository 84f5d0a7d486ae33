//! Files from the internet: resumed where a connection broke, taken from the next address where one
//! fails, checked, and only then put in their place.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use indicatif::ProgressBar;
use thiserror::Error;
use tracing::{info, warn};
use ureq::Agent;

use crate::run::{atomic_file, read};

/// Tries of one address that bring nothing, and tries in all, before the next address is taken.
const MAX_VAIN_TRIES: u32 = 3;
const MAX_TRIES: u32 = 50;

/// How long to wait for a connection, for an answer and for the next bytes of a file.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long to wait before an address that gave nothing is asked again, times the tries in vain.
const PAUSE: Duration = Duration::from_millis(500);

/// The most bytes of a file.
const MAX_FILE_LEN: u64 = 1 << 30;

/// Why a try ended.
#[derive(Debug, Error)]
enum Failure {
    /// Trying again brings the same.
    #[error("{0}")]
    Final(String),
    /// Trying again may help.
    #[error("{0}")]
    Passing(String),
    /// Nothing of the address: the file cannot be written here.
    #[error("cannot write {}", path.display())]
    Disk { path: PathBuf, source: io::Error },
}

/// Brings the file at the first of `urls` that has it to `target`, where an older file stays until the
/// new one is whole. What has arrived is kept beside it in a file that ends in `.part`, from which a
/// later call goes on. `verify` says whether the file at a path is the right one.
///
/// # Errors
///
/// What is wrong with each address, or with the disk.
pub fn download(
    urls: &[String],
    target: &Path,
    verify: impl Fn(&Path) -> Result<()>,
    bar: &ProgressBar,
) -> Result<()> {
    let mut part = target.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent)
            .with_context(|| format!("cannot make the folder {}", parent.display()))?;
    }
    let agent: Agent = Agent::config_builder()
        .timeout_connect(Some(PATIENCE))
        .timeout_recv_response(Some(PATIENCE))
        .timeout_per_read(Some(PATIENCE))
        .http_status_as_error(false)
        .build()
        .into();
    let mut failures = String::new();
    for url in urls {
        info!("fetching {url}");
        match fetch_checked(&agent, url, &part, &verify, bar) {
            Ok(()) => {
                let place = || -> io::Result<()> {
                    File::open(&part)?.sync_all()?;
                    fs::rename(&part, target)?;
                    target.parent().map_or(Ok(()), atomic_file::sync_folder)
                };
                return place().with_context(|| format!("cannot write {}", target.display()));
            }
            Err(failure @ Failure::Disk { .. }) => return Err(failure.into()),
            Err(failure) => {
                warn!("{url}: {failure}");
                write!(failures, "; {url}: {failure}")?;
            }
        }
    }
    bail!("no address gives it{failures}")
}

/// Fetches one address into `part`, over broken connections, and checks what came.
fn fetch_checked(
    agent: &Agent,
    url: &str,
    part: &Path,
    verify: impl Fn(&Path) -> Result<()>,
    bar: &ProgressBar,
) -> Result<(), Failure> {
    let remove = || fs::remove_file(part).map_err(|source| disk(part, source));
    let mut vain = 0;
    let mut last = None;
    for _ in 0..MAX_TRIES {
        let before = part.metadata().map_or(0, |metadata| metadata.len());
        match fetch(agent, url, part, before, bar) {
            Ok(()) => match verify(part) {
                Ok(()) => return Ok(()),
                // The first bytes may have come from another address, or an older file.
                Err(_) if before > 0 => remove()?,
                Err(error) => {
                    remove()?;
                    return Err(Failure::Final(format!("{error:#}")));
                }
            },
            Err(failure @ Failure::Passing(_)) => {
                let after = part.metadata().map_or(0, |metadata| metadata.len());
                vain = if after > before { 0 } else { vain + 1 };
                if vain == MAX_VAIN_TRIES {
                    return Err(failure);
                }
                if vain > 0 {
                    thread::sleep(PAUSE * vain);
                }
                last = Some(failure);
            }
            Err(failure) => return Err(failure),
        }
    }
    Err(last.unwrap_or_else(|| Failure::Final("it never gives the whole file".to_owned())))
}

/// Fetches what comes after the first `before` bytes, which `part` holds.
fn fetch(
    agent: &Agent,
    url: &str,
    part: &Path,
    before: u64,
    bar: &ProgressBar,
) -> Result<(), Failure> {
    // The file is wanted as it is: packed once more, its bytes could not be counted.
    let mut request = agent.get(url).header("Accept-Encoding", "identity");
    if before > 0 {
        request = request.header("Range", format!("bytes={before}-"));
    }
    let mut response = request.call().map_err(|error| match error {
        ureq::Error::BadUri(_) | ureq::Error::Http(_) | ureq::Error::HostNotFound => {
            Failure::Final(error.to_string())
        }
        error => Failure::Passing(error.to_string()),
    })?;
    let header = |name: &str| {
        response
            .headers()
            .get(name)
            .and_then(|value| value.to_str().ok())
    };
    let starts_at_end =
        header("content-range").is_some_and(|range| range.starts_with(&format!("bytes {before}-")));
    let announced = header("content-length").and_then(|length| length.parse::<u64>().ok());
    let kept = match response.status().as_u16() {
        206 if starts_at_end => before,
        206 => {
            return Err(Failure::Final(
                "it answers with another range than asked for".into(),
            ));
        }
        200 => 0,
        // There is nothing after what is here: it is whole, or not the file.
        416 if before > 0 => return Ok(()),
        status @ (408 | 429 | 500..=599) => {
            return Err(Failure::Passing(format!("it answers with status {status}")));
        }
        status => return Err(Failure::Final(format!("it answers with status {status}"))),
    };

    let mut options = OpenOptions::new();
    let options = if kept > 0 {
        options.append(true)
    } else {
        options.write(true).create(true).truncate(true)
    };
    // Opening a pipe would wait for a reader.
    match read::check_regular(part) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        checked => checked.map_err(|source| disk(part, source))?,
    }
    let mut file = options.open(part).map_err(|source| disk(part, source))?;
    if let Some(announced) = announced {
        bar.set_length(kept + announced);
    }
    bar.set_position(kept);
    let body = response.body_mut().with_config().limit(u64::MAX);
    let mut reader = body.reader().take((MAX_FILE_LEN + 1).saturating_sub(kept));
    let mut block = vec![0; 1 << 16];
    let mut arrived = 0_u64;
    loop {
        let length = match reader.read(&mut block) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                return Err(Failure::Passing(format!(
                    "the connection broke after {} bytes: {error}",
                    kept + arrived
                )));
            }
        };
        file.write_all(&block[..length])
            .map_err(|source| disk(part, source))?;
        arrived += length as u64;
        bar.inc(length as u64);
    }
    if kept + arrived > MAX_FILE_LEN {
        // Nothing that this program fetches is as long.
        drop(file);
        fs::remove_file(part).map_err(|source| disk(part, source))?;
        return Err(Failure::Final(format!(
            "it is longer than {MAX_FILE_LEN} bytes"
        )));
    }
    match announced {
        Some(announced) if arrived < announced => Err(Failure::Passing(format!(
            "the connection broke after {} of {} bytes",
            kept + arrived,
            kept + announced
        ))),
        _ => Ok(()),
    }
}

fn disk(path: &Path, source: io::Error) -> Failure {
    Failure::Disk {
        path: path.to_owned(),
        source,
    }
}
