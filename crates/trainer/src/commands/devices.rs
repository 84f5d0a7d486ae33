//! `trainer devices`: what this build can use, and what it would pick.

use anyhow::Result;

use crate::device::{self, Backend};

/// Prints the devices of this build, the one that it would pick marked, and the backends that are
/// not compiled in.
pub fn run() -> Result<()> {
    let picked = device::select(None)?;
    println!("devices that this build can use (* is the one it would pick):");
    for device in device::available() {
        let mark = if device.name == picked.name { '*' } else { ' ' };
        let note = if device.is_software {
            " (played by the processor: for tests)"
        } else {
            ""
        };
        println!("{mark} {}{note}", device.name);
    }
    for backend in Backend::ALL {
        if !backend.is_compiled_in() {
            println!("  {backend}: not compiled in; add --features {backend}");
        }
    }
    Ok(())
}
