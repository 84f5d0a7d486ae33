//! `trainer devices`: what this build can use, and what it would pick.

use anyhow::Result;
use serde::Serialize;

use crate::device::{self, Backend};
use crate::invocation::hint;
use crate::report;

/// A device, or a backend that is not compiled in.
#[derive(Debug, Serialize)]
struct Line<'a> {
    name: &'a str,
    /// Whether the program would pick it.
    picked: bool,
    /// Whether a processor plays it.
    software: bool,
    compiled_in: bool,
    /// What it computes in: `training.precision`.
    precisions: Vec<&'static str>,
}

/// Prints the devices of this build, the one that it would pick marked, and the backends that are
/// not compiled in.
pub fn run() -> Result<()> {
    let picked = device::select(None)?;
    report::figures("devices that this build can use (* is the one it would pick):");
    for device in device::available() {
        let picked = device.name == picked.name;
        let mark = if picked { '*' } else { ' ' };
        let note = if device.is_software {
            "; played by the processor: for tests"
        } else {
            ""
        };
        let precisions = device::precisions(&device.device);
        report::figures(format!(
            "{mark} {} ({}{note})",
            device.name,
            precisions.join(", ")
        ));
        report::json(&Line {
            name: &device.name,
            picked,
            software: device.is_software,
            compiled_in: true,
            precisions,
        })?;
    }
    for backend in Backend::ALL {
        if backend == Backend::Remote && backend.is_compiled_in() {
            let list = hint("devices --remote ws://HOST:PORT");
            report::figures(format!(
                "  {backend}:ws://HOST:PORT#INDEX; `{list}` lists those of a worker"
            ));
        }
        if !backend.is_compiled_in() {
            report::figures(format!(
                "  {backend}: not compiled in; add --features {backend}"
            ));
            report::json(&Line {
                name: backend.name(),
                picked: false,
                software: false,
                compiled_in: false,
                precisions: Vec::new(),
            })?;
        }
    }
    Ok(())
}

/// Prints the devices that the worker at `ws://HOST:PORT` serves.
#[cfg(feature = "remote")]
pub fn run_remote(worker: &str) -> Result<()> {
    report::figures(format!("devices that {worker} serves:"));
    for device in device::available_at(worker)? {
        let precisions = device::precisions(&device.device);
        report::figures(format!("  {} ({})", device.name, precisions.join(", ")));
        report::json(&Line {
            name: &device.name,
            picked: false,
            software: false,
            compiled_in: true,
            precisions,
        })?;
    }
    Ok(())
}
