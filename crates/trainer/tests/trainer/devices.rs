//! Several devices do the same as one: what is learned depends on the batches of a step alone, and what is drawn and
//! scored on nothing but the run. The same device several times is as many devices that compute alike.

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{checkpoint, command, config, fail, succeed, tensors, train};

/// Four batches a step, for any number of devices up to four.
const FOUR_BATCHES: &[&str] = &[
    "--steps",
    "6",
    "--set",
    "training.gradient_accumulation=4",
    "--set",
    "training.batch_size=4",
    "--set",
    "checkpoint.every=3",
    "--set",
    "log.every=1",
];

const DEVICES: [&str; 4] = ["flex", "flex,flex", "flex,flex,flex", "flex,flex,flex,flex"];

/// Numbers of the metrics, without those of time.
fn losses(run: &Path) -> Vec<Value> {
    let metrics = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let losses = metrics.lines().map(|line| {
        let mut record: Value = serde_json::from_str(line).unwrap();
        let record = record.as_object_mut().unwrap();
        record.remove("seconds");
        record.remove("images_per_second");
        Value::Object(record.clone())
    });
    losses.collect()
}

#[test]
fn any_number_of_like_devices_learns_the_same_to_the_last_bit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    // Dropout draws from a generator that all devices of a process share.
    for (kind, more) in [
        ("plain", &[][..]),
        ("dropout", &["--set", "network.dropout=0.3"][..]),
    ] {
        let run = |devices: &str| {
            let out = format!("{kind}-{}", devices.replace(',', "-"));
            let args = [FOUR_BATCHES, more, &["--device", devices]].concat();
            let ended = train(path, &out, &args);
            assert_eq!(
                ended.stderr.contains("a device"),
                devices.contains(','),
                "{ended:#?}"
            );
            path.join(out)
        };
        let alone = run("flex");
        let weights = tensors(&checkpoint(&alone, 6));
        for devices in &DEVICES[1..] {
            let run = run(devices);
            assert!(tensors(&checkpoint(&run, 6)) == weights, "{kind} {devices}");
            assert_eq!(losses(&run), losses(&alone), "{kind} {devices}");
            let grid = "samples/step-00000006.png";
            assert!(
                fs::read(run.join(grid)).unwrap() == fs::read(alone.join(grid)).unwrap(),
                "{kind} {devices}"
            );
        }
    }
    // Dropout did something.
    let at = |kind: &str| tensors(&checkpoint(&path.join(format!("{kind}-flex")), 6));
    assert!(at("plain") != at("dropout"));
}

#[test]
fn a_run_goes_on_with_other_devices() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    train(path, "whole", FOUR_BATCHES);
    let devices = ["--device", "flex,flex,flex"];
    train(
        path,
        "parts",
        &[FOUR_BATCHES, &["--steps", "3"], &devices].concat()[2..],
    );
    let resume = [
        "train",
        "--resume",
        "parts",
        "--steps",
        "6",
        "--device",
        "flex,flex",
    ];
    succeed(path, &resume);
    let weights = |run: &str| tensors(&checkpoint(&path.join(run), 6));
    assert!(weights("whole") == weights("parts"));
}

#[test]
fn more_devices_than_a_step_has_batches_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let config = config("smoke.toml");
    let args = [
        "train",
        "--config",
        &config,
        "--out",
        "run",
        "--device",
        "flex,flex",
    ];
    let advice = "--set training.gradient_accumulation=2 --set training.batch_size=4";
    let parts = ["names 2 devices", "a step has 1 batch ", advice];
    fail(folder.path(), &args, 2, &parts);
    assert!(!folder.path().join("run").exists());

    // What it advises has as many examples a step, and works.
    let followed: Vec<&str> = args.into_iter().chain(advice.split(' ')).collect();
    let ended = succeed(folder.path(), &[&followed[..], &["--steps", "1"]].concat());
    assert!(!ended.stderr.contains("evenly"), "{ended:#?}");
    let three = [
        "--set",
        "training.gradient_accumulation=3",
        "--steps",
        "1",
        "--overwrite",
    ];
    let ended = succeed(folder.path(), &[&args[..], &three].concat());
    assert!(ended.stderr.contains("cannot share evenly"), "{ended:#?}");
}

#[test]
fn one_of_several_devices_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    for (devices, part) in [
        ("flex,flex:7", "\"flex:7\""),
        ("flex,", "unknown device \"\""),
        ("flex,gpu", "unknown device \"gpu\""),
    ] {
        let args = [
            "train",
            "--device",
            devices,
            "--set",
            "training.gradient_accumulation=4",
        ];
        fail(folder.path(), &args, 2, &[part]);
    }
}

#[test]
fn what_is_drawn_and_scored_does_not_depend_on_the_number_of_devices() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    train(path, "run", &[]);
    let draw = |devices: &str| -> Vec<Vec<u8>> {
        let args = [
            "sample",
            "run",
            "--count",
            "11",
            "--batch-size",
            "3",
            "--steps",
            "4",
            "--eta",
            "0.5",
            "--out",
            "grid.png",
            "--gif",
            "way.gif",
            "--trajectory",
            "strip.png",
            "--tensors",
            "all.safetensors",
            "--device",
            devices,
        ];
        succeed(path, &args);
        ["grid.png", "way.gif", "strip.png", "all.safetensors"]
            .map(|file| fs::read(path.join(file)).unwrap())
            .to_vec()
    };
    let score = |devices: &str| -> Vec<u8> {
        let args = [
            "evaluate",
            "run",
            "--count",
            "12",
            "--batch-size",
            "5",
            "--steps",
            "3",
            "--likelihood-images",
            "9",
            "--likelihood-timesteps",
            "4",
            "--classifier-steps",
            "3",
            "--reference-images",
            "60",
            "--device",
            devices,
        ];
        let data = crate::support::repository()
            .join("data")
            .display()
            .to_string();
        succeed(path, &[&args[..], &["--data-dir", &data]].concat());
        fs::read(path.join("run/scores.json")).unwrap()
    };
    let (drawn, scored) = (draw("flex"), score("flex"));
    for devices in &DEVICES[1..] {
        assert!(draw(devices) == drawn, "{devices}");
        assert!(score(devices) == scored, "{devices}");
    }
    // From given noise, and over a given picture.
    let again = |devices: &str| {
        let noise = [
            "sample",
            "run",
            "--noise",
            "all.safetensors",
            "--batch-size",
            "3",
            "--steps",
            "4",
        ];
        succeed(
            path,
            &[&noise[..], &["--out", "again.png", "--device", devices]].concat(),
        );
        let edit = [
            "edit",
            "run",
            "--from",
            "grid.png",
            "--count",
            "5",
            "--batch-size",
            "2",
            "--steps",
            "4",
        ];
        succeed(
            path,
            &[&edit[..], &["--out", "edited.png", "--device", devices]].concat(),
        );
        ["again.png", "edited.png"].map(|file| fs::read(path.join(file)).unwrap())
    };
    let alone = again("flex");
    assert!(again("flex,flex,flex") == alone);
}

#[test]
fn a_benchmark_of_several_devices_says_what_they_gain() {
    let folder = tempfile::tempdir().unwrap();
    let smoke = config("smoke.toml");
    let args = [
        "bench",
        "--config",
        &smoke,
        "--batch-sizes",
        "2",
        "--seconds",
        "0",
        "--json",
    ];
    let ended = succeed(
        folder.path(),
        &[&args[..], &["--device", "flex,flex"]].concat(),
    );
    let lines = ended
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    let lines: Vec<Value> = lines.collect();
    let of = |line: &Value| (line["measure"].clone(), line["devices"].as_u64().unwrap());
    let found: Vec<_> = lines.iter().map(of).collect();
    let expected = [
        ("train", 1),
        ("train", 2),
        ("call", 1),
        ("call", 2),
        ("exchange", 2),
    ];
    assert_eq!(
        found,
        expected.map(|(measure, devices)| (measure.into(), devices))
    );
    let number = |line: usize, key: &str| lines[line][key].as_f64().unwrap();
    assert_eq!(number(0, "speedup"), 1.0);
    let gained = number(1, "images_per_second") / number(0, "images_per_second");
    assert!((number(1, "speedup") / gained - 1.0).abs() < 1e-9);
    assert!(number(4, "bytes") > 1000.0);
}

#[test]
fn a_dry_run_takes_its_steps_on_all_devices() {
    let folder = tempfile::tempdir().unwrap();
    let config = config("smoke.toml");
    let args = [
        "train",
        "--config",
        &config,
        "--dry-run",
        "--json",
        "--device",
        "flex,flex",
    ];
    let ended = succeed(folder.path(), &[&args[..], FOUR_BATCHES].concat());
    assert!(
        ended.stdout.contains("\"device\":\"flex,flex\""),
        "{ended:#?}"
    );
}

/// The thread that waits for the other devices is then the only one that kernels can run on.
#[test]
fn one_thread_to_compute_in_is_enough() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    train(path, "run", &["--steps", "1"]);
    let config = config("smoke.toml");
    let learn = [
        &[
            "train",
            "--config",
            &config,
            "--out",
            "two",
            "--device",
            "flex,flex",
        ][..],
        &["--set", "network.dropout=0.3"],
        FOUR_BATCHES,
    ];
    let draw = [
        "sample",
        "run",
        "--count",
        "6",
        "--batch-size",
        "2",
        "--steps",
        "4",
        "--gif",
        "way.gif",
        "--device",
        "flex,flex",
    ];
    for args in [&learn.concat()[..], &draw] {
        let mut child = command(path, args)
            .env("RAYON_NUM_THREADS", "1")
            .spawn()
            .unwrap();
        let begin = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if begin.elapsed() > Duration::from_secs(120) {
                child.kill().unwrap();
                panic!("it hangs: {args:?}");
            }
            sleep(Duration::from_millis(20));
        };
        assert!(status.success(), "{args:?}");
    }
}
