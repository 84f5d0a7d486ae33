//! What a person sees while the program works: bars on a terminal, lines elsewhere, and the log
//! above both.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tracing::info;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

use crate::output::shortened;
use crate::report;
use crate::run::metrics::{Record, Smoothed};

/// The bars of the process; the log steps out of their way.
fn bars() -> &'static MultiProgress {
    static BARS: OnceLock<MultiProgress> = OnceLock::new();
    BARS.get_or_init(MultiProgress::new)
}

/// Starts the log on standard error, with the seconds since the start: warnings and events; more
/// with each `-v`; only warnings where it is to be quiet; or as `RUST_LOG` says.
pub fn start_log(verbosity: u8, quiet: bool) {
    // Of a worker that is lost burn complains with each message that it cannot send, thousands of them.
    let level = match verbosity {
        0 if quiet => "warn,burn_remote=error",
        0 => "warn,burn_remote=error,trainer=info",
        1 => "info,trainer=debug",
        _ => "trace",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    // A second start, as in tests, changes nothing.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_timer(SinceStart(Instant::now()))
        .with_target(verbosity > 0)
        .with_ansi(io::stderr().is_terminal() && is_colour_wanted())
        .with_writer(AboveBars)
        .try_init();
}

/// Whether nobody has said otherwise (no-color.org).
fn is_colour_wanted() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Whether bars are drawn: on a terminal, unless it is to be quiet.
fn are_bars_wanted() -> bool {
    io::stderr().is_terminal() && !report::style().quiet
}

/// Stamps the log with the seconds since the start, to a tenth.
struct SinceStart(Instant);

impl FormatTime for SinceStart {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        write!(writer, "{:8.1}s", self.0.elapsed().as_secs_f64())
    }
}

/// Writes to standard error with the bars out of the way. What cannot be written there, as into a closed pipe
/// or a full disk, is lost: whoever logs must not end for it, nor complain in the same place, as
/// `tracing-subscriber` would.
#[derive(Debug, Clone, Copy)]
struct AboveBars;

impl Write for AboveBars {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        let _ = bars().suspend(|| io::stderr().write_all(shortened(&text).as_bytes()));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let _ = io::stderr().flush();
        Ok(())
    }
}

impl MakeWriter<'_> for AboveBars {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        Self
    }
}

/// The progress of a training session: a bar that fills with the budget, or a line each time the
/// loss is logged.
#[derive(Debug)]
pub struct TrainingProgress {
    bar: Option<ProgressBar>,
    smoothed: Smoothed,
    /// Devices that share the examples.
    devices: usize,
}

/// Parts into which the budget is divided on the bar.
const PARTS: u64 = 10_000;

impl TrainingProgress {
    /// A session on so many devices that starts with a share `progress` of the budget used up.
    pub fn new(progress: f64, step: u64, devices: usize) -> Self {
        let bar = are_bars_wanted().then(|| {
            let style = ProgressStyle::with_template(
                "step {prefix} {wide_bar} {percent}% {msg} [{elapsed_precise}, left {eta}]",
            );
            let bar = bars().add(ProgressBar::new(PARTS));
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.set_position(parts(progress));
            // The time left is judged by this session alone.
            bar.reset_eta();
            bar.set_prefix(step.to_string());
            bar
        });
        Self {
            bar,
            smoothed: Smoothed::default(),
            devices,
        }
    }

    /// One more step was taken.
    pub fn step(&self, progress: f64, step: u64) {
        if let Some(bar) = &self.bar {
            bar.set_prefix(step.to_string());
            bar.set_position(parts(progress));
        }
    }

    /// The loss was logged.
    pub fn log(&mut self, record: &Record) {
        let loss = self.smoothed.push(record.loss.unwrap_or_default());
        let speed = record.images_per_second.unwrap_or_default();
        let each = if self.devices > 1 {
            format!(", {:.0} a device", speed / self.devices as f64)
        } else {
            String::new()
        };
        let message = format!("loss {loss:.4}, {speed:.0} examples/s{each}");
        match &self.bar {
            Some(bar) => bar.set_message(message),
            None => info!("step {}, epoch {:.2}: {message}", record.step, record.epoch),
        }
    }

    /// The session is over.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn parts(progress: f64) -> u64 {
    (progress.clamp(0.0, 1.0) * PARTS as f64) as u64
}

/// A bar over the bytes of a file that is being fetched, on a terminal; nothing elsewhere.
pub fn download_bar(file: &str) -> ProgressBar {
    if !are_bars_wanted() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template(
        "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} [left {eta}]",
    );
    bars()
        .add(ProgressBar::no_length())
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        .with_message(file.to_owned())
}

/// The progress over pieces of work: a bar on a terminal, a line now and then elsewhere.
#[derive(Debug)]
pub struct Bar {
    bar: ProgressBar,
    what: &'static str,
    lines: Option<Mutex<Lines>>,
}

/// When lines are written.
#[derive(Debug)]
struct Lines {
    began: Instant,
    last: Instant,
}

/// The least time between two lines.
const BETWEEN_LINES: Duration = Duration::from_secs(2);

/// A bar over `length` pieces of work, which are `what`.
pub fn bar(length: usize, what: &'static str) -> Bar {
    let is_shown = are_bars_wanted();
    let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} [left {eta}]");
    let bar = if is_shown {
        bars()
            .add(ProgressBar::new(length as u64))
            .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
            .with_message(what)
    } else {
        ProgressBar::with_draw_target(Some(length as u64), ProgressDrawTarget::hidden())
    };
    let now = Instant::now();
    let lines = Lines {
        began: now,
        last: now,
    };
    Bar {
        bar,
        what,
        lines: (!is_shown).then(|| Mutex::new(lines)),
    }
}

impl Bar {
    /// So many pieces more are done.
    pub fn inc(&self, count: u64) {
        self.bar.inc(count);
        let Some(lines) = &self.lines else { return };
        let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
        // Rarer the longer it takes, so that a log of hours is a screenful.
        if lines.last.elapsed() >= BETWEEN_LINES.max(lines.began.elapsed() / 20) {
            lines.last = Instant::now();
            let (done, all) = (self.bar.position(), self.bar.length().unwrap_or_default());
            info!("{}: {done} of {all}", self.what);
        }
    }

    /// All is done.
    pub fn finish_and_clear(&self) {
        self.bar.finish_and_clear();
    }
}
