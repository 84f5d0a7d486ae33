//! How the program was called, so that what it says to do next can be typed as it stands, and how it calls itself.

use std::env;
use std::ffi::{OsStr, OsString};
#[cfg(unix)]
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

use anyhow::{Context, Result};

/// What is in a build only if it is asked for.
const FEATURES: [(&str, bool); 7] = [
    ("ndarray", cfg!(feature = "ndarray")),
    ("wgpu", cfg!(feature = "wgpu")),
    ("vulkan", cfg!(feature = "vulkan")),
    ("metal", cfg!(feature = "metal")),
    ("cuda", cfg!(feature = "cuda")),
    ("rocm", cfg!(feature = "rocm")),
    ("remote", cfg!(feature = "remote")),
];

/// A command as it is typed here: `hint("devices")` is `trainer devices`, or `cargo run -p trainer -- devices`
/// where cargo runs the program.
pub fn hint(arguments: &str) -> String {
    static PROGRAM: OnceLock<String> = OnceLock::new();
    let program = PROGRAM.get_or_init(|| {
        let called = env::args().next().unwrap_or_default();
        // Cargo tells a program that it runs which package it is of.
        let package = env::var("CARGO_PKG_NAME").ok();
        program(&called, package.as_deref(), &features())
    });
    format!("{program} {arguments}")
}

/// How a build with other features is made and run, as the program was called: `… --features wgpu`.
pub fn build_hint(features: &str) -> String {
    if hint("").starts_with("cargo run") {
        format!("cargo run -p trainer --features {features} -- …")
    } else {
        format!("cargo install --path crates/trainer --features {features}")
    }
}

/// Environment variables of processes of this program that it starts itself.
static HANDED_DOWN: Mutex<Vec<(&'static str, OsString)>> = Mutex::new(Vec::new());

/// From now on [`another`] has this environment variable: what was an option here is known there too.
pub fn hand_down(variable: &'static str, value: &OsStr) {
    let mut all = HANDED_DOWN.lock().unwrap_or_else(PoisonError::into_inner);
    all.push((variable, value.to_owned()));
}

/// This program as a process of its own, with these arguments, data and device.
///
/// # Errors
///
/// The system does not say where the program is.
pub fn another(
    arguments: impl IntoIterator<Item = OsString>,
    data_dir: Option<&Path>,
    device: Option<&str>,
) -> Result<Command> {
    let mut command = this_program()?;
    command.args(arguments);
    if let Some(folder) = data_dir {
        command.arg("--data-dir").arg(folder);
    }
    if let Some(device) = device {
        command.arg("--device").arg(device);
    }
    let all = HANDED_DOWN.lock().unwrap_or_else(PoisonError::into_inner);
    command.envs(all.iter().map(|(variable, value)| (variable, value)));
    Ok(command)
}

/// This very program, also where another file lies in its place meanwhile: what a page starts is of the version that
/// the page is of.
fn this_program() -> Result<Command> {
    let path = env::current_exe().context("cannot find this program")?;
    // The kernel's link to what is running leads to it also where it has no name any more (proc_pid_exe(5)).
    let running = PathBuf::from("/proc/self/exe");
    let is_there = path.exists() || !running.exists();
    let mut command = Command::new(if is_there { path } else { running });
    command.stdin(Stdio::null());
    // By which it tells how it is called.
    #[cfg(unix)]
    command.arg0(env::args_os().next().unwrap_or_default());
    Ok(command)
}

fn program(called: &str, package: Option<&str>, features: &str) -> String {
    let path = Path::new(called);
    let is_below_target = path.components().any(|part| part.as_os_str() == "target");
    if is_below_target && package == Some(env!("CARGO_PKG_NAME")) {
        return format!("cargo run -p trainer{features} --");
    }
    if path.components().count() > 1 {
        called.to_owned()
    } else {
        "trainer".to_owned()
    }
}

/// The features of this build that were asked for, as cargo takes them.
fn features() -> String {
    let names: Vec<&str> = FEATURES
        .iter()
        .filter(|(_, is_in)| *is_in)
        .map(|(name, _)| *name)
        .collect();
    if names.is_empty() {
        String::new()
    } else {
        format!(" --features {}", names.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_fit_how_the_program_was_called() {
        for (called, package, expected) in [
            ("trainer", None, "trainer"),
            ("trainer", Some("trainer"), "trainer"),
            ("./trainer", None, "./trainer"),
            (
                "target/debug/trainer",
                Some("trainer"),
                "cargo run -p trainer --",
            ),
            (
                "/clone/target/debug/trainer",
                Some("trainer"),
                "cargo run -p trainer --",
            ),
            ("target/debug/trainer", None, "target/debug/trainer"),
            (
                "/clone/target/debug/trainer",
                Some("other"),
                "/clone/target/debug/trainer",
            ),
        ] {
            assert_eq!(
                program(called, package, ""),
                expected,
                "{called} {package:?}"
            );
        }
        let with = program("target/debug/trainer", Some("trainer"), " --features wgpu");
        assert_eq!(with, "cargo run -p trainer --features wgpu --");
    }
}
