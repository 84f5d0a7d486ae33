//! All tests once more, with fewer instructions than the processor has.

use std::process::{Command, Output};

/// A processor level is chosen once a process, so another level takes another process.
fn all_but_these(level: &str) -> Output {
    Command::new(std::env::current_exe().unwrap())
        .args(["--skip", "levels::"])
        .env("KERNELS_SIMD", level)
        .env("RUST_BACKTRACE", "0")
        .output()
        .unwrap()
}

#[test]
fn every_test_passes_at_every_level() {
    // An empty variable is as good as none.
    for level in ["", "amx", "avx512", "avx2", "plain"] {
        let output = all_but_these(level);
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{level}: {said}");
        // A run that skipped everything would pass too.
        assert!(!said.contains(" 0 passed"), "{level}: {said}");
    }
    // What shows that the others were heeded.
    let output = all_but_these("none");
    assert!(!output.status.success(), "a level of no name was accepted");
}
