//! What version 0.1 wrote still opens: a run of images and one of points of three steps each are sampled
//! from, and go on to the weights that version 0.1 went on to.
//!
//! `tests/runs-0.1/expected/` holds what version 0.1 made of them: weights after six steps
//! (`train --resume RUN --steps 6`), four images (`--sampler ddpm --steps 3 --count 4 --tensors`) and
//! twenty points (`--steps 3 --count 20`).

use std::fs;
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;

use crate::support::{checkpoint, copy_folder, succeed};

fn old_runs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/runs-0.1")
}

/// A copy of an old run in `folder/run`.
fn old_run(folder: &Path, kind: &str) -> PathBuf {
    let run = folder.join("run");
    copy_folder(&old_runs().join(kind), &run);
    run
}

/// Names and values of a file of tensors, in the order of the names.
fn tensors(path: &Path) -> Vec<(String, Vec<f32>)> {
    let bytes = fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut tensors: Vec<_> = file
        .tensors()
        .into_iter()
        .map(|(name, view)| {
            let values = view.data().chunks_exact(4);
            let values = values.map(|b| f32::from_le_bytes(b.try_into().unwrap()));
            (name, values.collect::<Vec<f32>>())
        })
        .collect();
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    tensors
}

/// The mean absolute difference between two files of the same tensors.
fn difference(a: &Path, b: &Path) -> f64 {
    let (a, b) = (tensors(a), tensors(b));
    let names = |tensors: &[(String, Vec<f32>)]| -> Vec<(String, usize)> {
        let name = |(name, values): &(String, Vec<f32>)| (name.clone(), values.len());
        tensors.iter().map(name).collect()
    };
    assert_eq!(names(&a), names(&b));
    let pairs = a.iter().zip(&b).flat_map(|(a, b)| a.1.iter().zip(&b.1));
    let differences: Vec<f64> = pairs.map(|(a, b)| f64::from((a - b).abs())).collect();
    differences.iter().sum::<f64>() / differences.len() as f64
}

#[test]
fn runs_of_version_0_1_go_on_to_the_same_weights() {
    for kind in ["images", "points"] {
        let folder = tempfile::tempdir().unwrap();
        let run = old_run(folder.path(), kind);
        succeed(folder.path(), &["train", "--resume", "run", "--steps", "6"]);
        let weights = checkpoint(&run, 6).join("model.safetensors");
        let expected = old_runs().join(format!("expected/{kind}-step-6.safetensors"));
        let off = difference(&weights, &expected);
        let moved = difference(&checkpoint(&run, 3).join("model.safetensors"), &expected);
        // Processors round differently, and AdamW turns the sign of a gradient near zero into a step.
        assert!(off < 0.01 * moved, "{kind}: off by {off}, moved by {moved}");
    }
}

/// Version 0.1 did not count batches; its runs go on behind those that they have seen, whatever size comes
/// next.
#[test]
fn batches_of_a_run_of_version_0_1_do_not_come_again() {
    let folder = tempfile::tempdir().unwrap();
    let run = old_run(folder.path(), "images");
    let larger = ["--set", "training.batch_size=12"];
    let args = [&["train", "--resume", "run", "--steps", "5"], &larger[..]].concat();
    succeed(folder.path(), &args);
    let state = fs::read(checkpoint(&run, 5).join("state.json")).unwrap();
    let state: serde_json::Value = serde_json::from_slice(&state).unwrap();
    assert_eq!(state["examples_seen"], 3 * 4 + 2 * 12);
    assert_eq!(state["batches_seen"], 3 + 2);
}

#[test]
fn images_of_a_run_of_version_0_1_are_the_same() {
    let folder = tempfile::tempdir().unwrap();
    old_run(folder.path(), "images");
    succeed(
        folder.path(),
        &[
            "sample",
            "run",
            "--sampler",
            "ddpm",
            "--steps",
            "3",
            "--count",
            "4",
            "--tensors",
            "sampled.safetensors",
            "--out",
            "sampled.png",
        ],
    );
    let expected = old_runs().join("expected/images-sampled.safetensors");
    let off = difference(&folder.path().join("sampled.safetensors"), &expected);
    assert!(off < 1e-5, "off by {off}");
}

#[test]
fn points_of_a_run_of_version_0_1_are_the_same() {
    let folder = tempfile::tempdir().unwrap();
    old_run(folder.path(), "points");
    succeed(
        folder.path(),
        &[
            "sample",
            "run",
            "--steps",
            "3",
            "--count",
            "20",
            "--out",
            "points.png",
        ],
    );
    let read = |path: &Path| -> Vec<Vec<f64>> {
        let text = fs::read_to_string(path).unwrap();
        let lines = text.lines().skip(1);
        lines
            .map(|line| {
                line.split(',')
                    .map(|value| value.parse().unwrap())
                    .collect()
            })
            .collect()
    };
    let points = read(&folder.path().join("points.csv"));
    let expected = read(&old_runs().join("expected/points-sampled.csv"));
    assert_eq!(points.len(), expected.len());
    for (point, expected) in points.iter().flatten().zip(expected.iter().flatten()) {
        assert!((point - expected).abs() < 1e-4, "{point} and {expected}");
    }
}
