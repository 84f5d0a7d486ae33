//! The tests of a file once more, with fewer instructions than the processor has.

use std::process::{Command, Output};

/// A processor level is chosen once a process, so another level takes another process.
fn tests_but(this: &str, level: &str) -> Output {
    Command::new(std::env::current_exe().unwrap())
        .args(["--skip", this])
        .env("KERNELS_SIMD", level)
        .env("RUST_BACKTRACE", "0")
        .output()
        .unwrap()
}

/// Runs the tests of the calling file, but for the test `this`, at each level.
pub(crate) fn assert_all_pass_but(this: &str) {
    for level in ["avx512", "avx2", "plain"] {
        let output = tests_but(this, level);
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{level}: {said}");
        // A run that skipped everything would pass too.
        assert!(!said.contains(" 0 passed"), "{level}: {said}");
    }
    // What shows that the others were heeded.
    let output = tests_but(this, "none");
    assert!(!output.status.success(), "a level of no name was accepted");
}
