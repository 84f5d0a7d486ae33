//! `trainer bench` measures what it is asked to, and refuses what cannot be measured.

use crate::support::{command, config, fail, succeed};
use serde_json::Value;

#[test]
fn every_measurement_is_a_line_that_agrees_with_itself() {
    let folder = tempfile::tempdir().unwrap();
    let smoke = config("smoke.toml");
    let args = [
        "bench",
        "--config",
        &smoke,
        "--batch-sizes",
        "1,3",
        "--seconds",
        "0",
        "--json",
        "--device",
        "flex",
    ];
    let ended = succeed(folder.path(), &args);
    let lines: Vec<Value> = ended
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let found: Vec<(&str, u64)> = lines
        .iter()
        .map(|line| {
            let batch_size = line["batch_size"].as_u64().unwrap();
            (line["measure"].as_str().unwrap(), batch_size)
        })
        .collect();
    assert_eq!(
        found,
        [("train", 1), ("train", 3), ("call", 1), ("call", 3)]
    );
    for line in &lines {
        let [seconds, speed, batch_size] =
            ["seconds", "images_per_second", "batch_size"].map(|key| line[key].as_f64().unwrap());
        assert!(seconds > 0.0 && line["repeats"].as_u64().unwrap() >= 5);
        assert!((speed * seconds / batch_size - 1.0).abs() < 1e-9);
    }
}

#[test]
fn what_cannot_be_measured_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let smoke = config("smoke.toml");
    let bench = ["bench", "--config", &smoke];
    for (args, part) in [
        (["--batch-sizes", "0"], "at least 1 image"),
        (["--batch-sizes", "one"], "invalid value"),
        (["--seconds", "NaN"], "from 0 to 3600"),
        (["--set", "network.layers_per_block=0"], "layers_per_block"),
    ] {
        fail(folder.path(), &[&bench[..], &args[..]].concat(), 2, &[part]);
    }
    for rows in ["adult", "names"] {
        let said = format!("train {rows} --dry-run");
        fail(folder.path(), &["bench", "--config", rows], 2, &[&said]);
    }
}

#[test]
fn a_level_that_does_not_exist_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = command(folder.path(), &["devices"]);
    let output = command.env("KERNELS_SIMD", "avx").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("KERNELS_SIMD") && said.contains("avx512"),
        "{said}"
    );
    let output = command_empty_level(folder.path());
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn a_number_of_threads_that_no_machine_starts_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (threads, code) in [
        ("100000", 2),
        ("many", 2),
        ("-1", 2),
        ("", 0),
        ("0", 0),
        ("2", 0),
    ] {
        let mut command = command(folder.path(), &["devices"]);
        let output = command.env("RAYON_NUM_THREADS", threads).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{threads}: {said}");
        assert_eq!(said.contains("RAYON_NUM_THREADS"), code == 2, "{said}");
    }
}

/// An empty variable is as good as none, as of `KERNELS_SIMD= trainer`.
fn command_empty_level(folder: &std::path::Path) -> std::process::Output {
    command(folder, &["devices"])
        .env("KERNELS_SIMD", "")
        .output()
        .unwrap()
}
