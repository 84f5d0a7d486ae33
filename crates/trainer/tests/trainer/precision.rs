//! Half precision, by `training.precision` and `--precision`.

use std::path::Path;

use crate::support::{config, fail, succeed};

const TINY: &[&str] = &[
    "--set",
    "network.block_out_channels=[4, 4]",
    "--set",
    "network.norm_num_groups=2",
    "--set",
    "training.batch_size=4",
    "--set",
    "log.every=5",
    "--set",
    "checkpoint.every=10",
    "--set",
    "held_out.examples=20",
    "--set",
    "sampling.count=1",
    "--set",
    "sampling.num_inference_steps=2",
];

fn train(folder: &Path, out: &str, precision: &str, more: &[&str]) -> Vec<f64> {
    let precision = format!("training.precision={precision}");
    let config = config("smoke.toml");
    let args = [
        "train", "--config", &config, "--out", out, "--device", "flex", "--set", &precision,
    ];
    succeed(folder, &[&args[..], TINY, more].concat());
    losses(&folder.join(out))
}

fn losses(run: &Path) -> Vec<f64> {
    let metrics = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    metrics
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .flat_map(|record| [record["loss"].as_f64(), record["held_out_loss"].as_f64()])
        .flatten()
        .collect()
}

/// Weights are f32 in every precision: a checkpoint is read by whoever reads one.
#[test]
fn half_precision_learns_as_f32_and_resumes_to_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let expected = train(path, "f32", "f32", &["--steps", "20"]);
    for (precision, tolerance) in [("bf16", 0.03), ("f16", 0.005)] {
        let found = train(path, precision, precision, &["--steps", "20"]);
        assert_eq!(found.len(), expected.len());
        assert_ne!(found, expected, "nothing was computed in {precision}");
        for (found, expected) in found.iter().zip(&expected) {
            let error = (found / expected - 1.0).abs();
            assert!(error < tolerance, "{precision}: {found} for {expected}");
        }

        let halves = format!("{precision}-in-two");
        train(path, &halves, precision, &["--steps", "10"]);
        let resume = [
            "train", "--resume", &halves, "--device", "flex", "--steps", "20",
        ];
        succeed(path, &resume);
        let weights = |run: &str| {
            let file = path
                .join(run)
                .join("checkpoints/step-00000020/ema.safetensors");
            std::fs::read(file).unwrap()
        };
        assert!(weights(&halves) == weights(precision), "{precision}");
    }
}

#[test]
fn samples_of_half_precision_are_those_of_f32_nearly() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    train(path, "run", "f32", &["--steps", "10"]);
    let draw = |precision: &str| {
        succeed(
            path,
            &[
                "sample",
                "run",
                "--device",
                "flex",
                "--count",
                "4",
                "--steps",
                "3",
                "--precision",
                precision,
                "--out",
                "grid.png",
            ],
        );
        image::open(path.join("grid.png")).unwrap().to_luma8()
    };
    let expected = draw("f32");
    for precision in ["bf16", "f16"] {
        let found = draw(precision);
        assert_ne!(found, expected, "nothing was computed in {precision}");
        let differences = found.pixels().zip(expected.pixels());
        let sum: u64 = differences
            .map(|(a, b)| u64::from(a.0[0].abs_diff(b.0[0])))
            .sum();
        let mean = sum as f64 / f64::from(found.width() * found.height());
        assert!(mean < 2.0, "{precision}: {mean} of 255");
    }
}

#[test]
fn what_cannot_be_half_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let birds = crate::support::config("../data/penguins/penguins.csv");
    let birds = format!("data.path={birds}");
    let tables = [
        "train",
        "--set",
        &birds,
        "--set",
        "training.precision=bf16",
        "--dry-run",
    ];
    fail(
        path,
        &tables,
        2,
        &["training.precision", "images and sounds"],
    );
    let smoke = config("smoke.toml");
    let unknown = [
        "train",
        "-c",
        &smoke,
        "--set",
        "training.precision=half",
        "--dry-run",
    ];
    fail(path, &unknown, 2, &["training.precision", "`bf16`"]);
    succeed(
        path,
        &[
            "train",
            "--set",
            &birds,
            "--steps",
            "1",
            "--out",
            "rows",
            "--device",
            "flex",
            "--set",
            "network.width=8",
        ],
    );
    let rows = ["sample", "rows", "--device", "flex", "--precision", "f16"];
    fail(path, &rows, 2, &["--precision f16", "images and sounds"]);
    fail(
        path,
        &["sample", "rows", "--precision", "f8"],
        2,
        &["--precision", "f32, bf16, f16"],
    );
}
