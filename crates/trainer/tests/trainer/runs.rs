//! `trainer list`, `trainer info`, `train --dry-run`, `train --from`, and runs that have no checkpoint yet.

use std::fs;
use std::path::Path;

use image::{Rgb, RgbImage};
use serde_json::Value;

use crate::support::{checkpoint, command, config, fail, succeed, tensors, train};

fn json(stdout: &str) -> Vec<Value> {
    stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The names of what is in a folder.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn runs_are_listed_and_each_says_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let none = succeed(path, &["list"]).stdout;
    assert!(none.contains("there are no runs in runs"), "{none}");
    fail(path, &["list", "nowhere"], 2, &["nowhere does not exist"]);
    fail(
        path,
        &["info", "runs/nope"],
        2,
        &["runs/nope does not exist"],
    );

    train(path, "runs/one", &["--steps", "5"]);
    // Another one is damaged, and one has no checkpoint yet.
    train(path, "runs/two", &["--steps", "1"]);
    fs::write(
        checkpoint(&path.join("runs/two"), 1).join("state.json"),
        "{",
    )
    .unwrap();
    fs::create_dir_all(path.join("runs/three")).unwrap();
    fs::write(path.join("runs/three/.run"), "").unwrap();
    fs::copy(
        path.join("runs/one/config.toml"),
        path.join("runs/three/config.toml"),
    )
    .unwrap();
    fs::create_dir_all(path.join("runs/no run")).unwrap();

    let listed = succeed(path, &["list"]).stdout;
    let lines: Vec<&str> = listed.lines().collect();
    assert_eq!(lines.len(), 4, "{listed}");
    for part in ["run", "step", "budget", "loss", "data", "classes", "size"] {
        assert!(lines[0].contains(part), "no {part} in {listed}");
    }
    for part in ["runs/one", "5 steps", "mnist", "10", "1×28×28"] {
        assert!(lines[1].contains(part), "no {part} in {listed}");
    }
    assert!(lines[2].contains("no checkpoint yet"), "{listed}");
    assert!(
        lines[3].contains("not the state of a checkpoint"),
        "{listed}"
    );
    let lines = json(&succeed(path, &["list", "--json"]).stdout);
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[0]["step"], 5);
    assert!(lines[2]["problem"].is_string());
    let one = succeed(path, &["list", "runs/one"]).stdout;
    assert_eq!(one.lines().count(), 2, "{one}");

    let info = succeed(path, &["info", "runs/one"]).stdout;
    for part in [
        "step-00000005",
        "5 of 5 steps",
        "in training",
        "held out",
        "mnist (images)",
        "10: 0, 1, 2",
        "channels 1, height 28, width 28",
        "parameters, predicts epsilon",
        "ddim in ",
        "trainer sample runs/one",
        "trainer train --resume runs/one --steps 10",
    ] {
        assert!(info.contains(part), "no {part:?} in {info}");
    }
    let info = &json(&succeed(path, &["info", "runs/one", "--json"]).stdout)[0];
    assert_eq!(info["step"], 5);
    assert!(info["loss"].is_f64() && info["held_out_loss"].is_f64());
    assert!(info["parameters"].as_u64() > Some(0));
    assert_eq!(info["shape"], serde_json::json!([1, 28, 28]));
    assert_eq!(info["class_names"].as_array().unwrap().len(), 10);
    // What it says works.
    succeed(path, &["train", "--resume", "runs/one", "--steps", "10"]);

    for typed in [["info", "runs/three"], ["sample", "runs/three"]] {
        let parts = ["has no checkpoint yet", "train --resume runs/three"];
        fail(path, &typed, 2, &parts);
    }
}

#[test]
fn a_summary_says_all_that_its_figures_must_be_read_with() {
    let folder = tempfile::tempdir().unwrap();
    train(folder.path(), "run", &["--steps", "2", "--set", "seed=7"]);
    let text = fs::read_to_string(folder.path().join("run/summary.json")).unwrap();
    let summary: Value = serde_json::from_str(&text).unwrap();
    let date = summary["date"].as_str().unwrap();
    assert!(date.starts_with("20") && date.ends_with('Z'), "{date}");
    assert_eq!(summary["program_version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(summary["seed"], 7);
    assert_eq!(summary["data"], "mnist");
    assert_eq!(summary["steps"], 2);
    assert_eq!(summary["configuration"]["training"]["steps"], 2);
    assert_eq!(summary["configuration"]["data"]["dataset"], "mnist");
}

#[test]
fn a_run_that_was_stopped_before_its_first_checkpoint_starts_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    train(path, "whole", &["--steps", "2"]);
    // As a kill before the first checkpoint leaves it.
    fs::create_dir_all(path.join("run/samples")).unwrap();
    fs::write(path.join("run/.run"), "").unwrap();
    fs::write(path.join("run/metrics.jsonl"), "").unwrap();
    fs::copy(path.join("whole/config.toml"), path.join("run/config.toml")).unwrap();

    // `train` says to go on with --resume, and that is what --resume then does.
    let smoke = config("smoke.toml");
    let parts = ["holds a run already", "trainer train --resume run`"];
    fail(path, &["train", "-c", &smoke, "-o", "run"], 2, &parts);
    let ended = succeed(path, &["train", "--resume", "run"]);
    assert!(ended.stderr.contains("starts over"), "{ended:#?}");
    assert_eq!(
        tensors(&checkpoint(&path.join("run"), 2)),
        tensors(&checkpoint(&path.join("whole"), 2))
    );
    // Of what is no run, nothing is made.
    fs::create_dir(path.join("thesis")).unwrap();
    let typed = ["train", "--resume", "thesis"];
    fail(path, &typed, 2, &["thesis holds no checkpoint"]);
    let parts = ["runs/nope does not exist"];
    fail(path, &["train", "--resume", "runs/nope"], 2, &parts);
}

#[test]
fn a_dry_run_says_what_a_run_takes_and_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let smoke = config("smoke.toml");
    let typed = ["train", "-c", &smoke, "--dry-run", "--steps", "1000"];
    let text = succeed(path, &typed).stdout;
    for part in [
        "runs/smoke (not written)",
        "60000 training images",
        "parameters",
        "memory",
        "MiB a checkpoint",
        "a step",
        "1000 steps in about",
    ] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
    let found = &json(&succeed(path, &[&typed[..], &["--json"]].concat()).stdout)[0];
    assert_eq!(found["steps"], 1000);
    let [seconds, step] = ["seconds", "seconds_a_step"].map(|key| found[key].as_f64().unwrap());
    assert!(step > 0.0 && (seconds / step / 1000.0 - 1.0).abs() < 1e-6);
    if cfg!(target_os = "linux") {
        assert!(found["memory_bytes"].as_u64() > Some(1 << 20));
    }
    let typed = ["train", "-c", &smoke, "--dry-run", "--epochs", "0.5"];
    let text = succeed(
        path,
        &[&typed[..], &["--set", "training.batch_size=32"]].concat(),
    )
    .stdout;
    assert!(text.contains("938 steps in about"), "{text}");
    assert_eq!(names(path), [""; 0]);

    // What stands in the way of the run is told here, too.
    train(path, "runs/smoke", &["--steps", "1"]);
    let typed = ["train", "-c", &smoke, "--dry-run"];
    fail(path, &typed, 2, &["holds a run already"]);
    succeed(path, &[&typed[..], &["--overwrite"]].concat());
    assert!(checkpoint(&path.join("runs/smoke"), 1).is_dir());
    let typed = ["train", "--resume", "runs/smoke", "--dry-run"];
    fail(path, &typed, 2, &["--dry-run"]);
}

/// A folder of two classes of grey squares.
fn own_images(folder: &Path, classes: [&str; 2]) {
    for (shade, class) in classes.iter().enumerate() {
        fs::create_dir_all(folder.join(class)).unwrap();
        for index in 0..20_u8 {
            let value = 100 * shade as u8 + index;
            let image = RgbImage::from_pixel(28, 28, Rgb([value; 3]));
            image
                .save(folder.join(format!("{class}/{index}.png")))
                .unwrap();
        }
    }
}

/// Tensors by name, byte by byte.
type Tensors = Vec<(String, Vec<u8>)>;

/// The embeddings of the classes in a checkpoint, row by row, and the bytes of all other tensors.
fn embeddings(checkpoint: &Path) -> (Vec<Vec<f32>>, Tensors) {
    let bytes = fs::read(checkpoint.join("ema.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut others = Vec::new();
    let mut rows = Vec::new();
    for (name, tensor) in file.iter() {
        if name == "class_embedding.weight" {
            let values = tensor.data().chunks_exact(4);
            let values: Vec<f32> = values
                .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
                .collect();
            rows = values
                .chunks(tensor.shape()[1])
                .map(<[f32]>::to_vec)
                .collect();
        } else {
            others.push((name.to_owned(), tensor.data().to_vec()));
        }
    }
    others.sort();
    (rows, others)
}

#[test]
fn a_run_begins_with_the_weights_of_another() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    train(path, "runs/old", &["--steps", "3"]);
    let old = embeddings(&checkpoint(&path.join("runs/old"), 3));
    // Two classes, of which MNIST has one by that name.
    own_images(&path.join("own"), ["7", "square"]);
    let typed = ["train", "--from", "runs/old", "--set", "data.path=own"];
    let keep = ["--steps", "2", "--set", "checkpoint.keep=9"];
    let ended = succeed(path, &[&typed[..], &keep].concat());
    assert!(ended.stdout.contains("sample runs/old-tuned"), "{ended:#?}");
    let begun = embeddings(&checkpoint(&path.join("runs/old-tuned"), 0));
    assert_eq!(begun.1, old.1);
    // The seven, then "no class" for the square, and "no class".
    assert_eq!(
        begun.0,
        [&old.0[7], &old.0[10], &old.0[10]].map(Clone::clone)
    );
    let trained = embeddings(&checkpoint(&path.join("runs/old-tuned"), 2));
    assert_ne!(trained.1, old.1);
    let saved = fs::read_to_string(path.join("runs/old-tuned/config.toml")).unwrap();
    assert!(
        saved.contains("class_names = [\"7\", \"square\"]"),
        "{saved}"
    );
    succeed(
        path,
        &[
            "sample",
            "runs/old-tuned",
            "--class",
            "square",
            "-n",
            "1",
            "--steps",
            "1",
        ],
    );
    succeed(
        path,
        &["train", "--resume", "runs/old-tuned", "--steps", "3"],
    );

    // Without classes the network is that of "no class", and back again.
    let none = ["--set", "conditioning.class_labels=false", "-o", "none"];
    succeed(path, &[&typed[..], &none, &["--steps", "1"]].concat());
    let (rows, _) = embeddings(&checkpoint(&path.join("none"), 1));
    assert!(rows.is_empty());
    let back = [
        "train",
        "--from",
        "none",
        "-c",
        &config("smoke.toml"),
        "-o",
        "back",
        "--steps",
        "1",
        "--set",
        "checkpoint.keep=9",
    ];
    succeed(path, &back);
    let (rows, _) = embeddings(&checkpoint(&path.join("back"), 0));
    assert_eq!(rows.len(), 11);
    assert!(rows.iter().flatten().all(|&value| value == 0.0));

    // What the weights would not mean is refused, and nothing is written.
    let typed = ["train", "--from", "runs/old", "-o", "refused", "--set"];
    for (set, part) in [
        (
            "network.layers_per_block=2",
            "network.layers_per_block is 2",
        ),
        (
            "noise.num_train_timesteps=50",
            "noise.num_train_timesteps is 50",
        ),
        (
            "objective.prediction_type=v-prediction",
            "objective.prediction_type is",
        ),
    ] {
        fail(path, &[&typed[..], &[set]].concat(), 2, &[part]);
    }
    fail(
        path,
        &["train", "--from", "nope"],
        2,
        &["nope does not exist"],
    );
    let both = ["train", "--from", "none", "--resume", "none"];
    fail(path, &both, 2, &["cannot be used with"]);
    assert!(!path.join("refused").exists());
    // Out of the way, unless asked.
    let again = ["train", "--from", "runs/old", "--steps", "1"];
    fail(
        path,
        &[&again[..], &["-o", "none"]].concat(),
        2,
        &["--overwrite"],
    );
    let mut dry = command(
        path,
        &["train", "--from", "runs/old", "--dry-run", "-o", "dry"],
    );
    assert!(dry.output().unwrap().status.success());
    assert!(!path.join("dry").exists());
}
