//! `trainer evaluate`, run as a user runs it.

#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use support::{fail, run, succeed, train};

/// Few images, a classifier of few steps: quick, and coarse. `changes` are other options, or other values.
fn arguments(changes: &[(&str, &str)]) -> Vec<String> {
    let data = support::repository().join("data").display().to_string();
    let mut options = vec![
        ("--data-dir", data.as_str()),
        ("--steps", "2"),
        ("--count", "12"),
        ("--reference-images", "40"),
        ("--classifier-steps", "3"),
        ("--likelihood-images", "3"),
        ("--likelihood-timesteps", "4"),
    ];
    for &change in changes {
        options.retain(|(option, _)| *option != change.0);
        options.push(change);
    }
    let options = options
        .into_iter()
        .flat_map(|(option, value)| [option, value]);
    let all = ["evaluate", "run"].into_iter().chain(options);
    all.map(str::to_owned).collect()
}

fn evaluate(folder: &Path, changes: &[(&str, &str)]) -> support::Ended {
    let arguments = arguments(changes);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    succeed(folder, &arguments)
}

fn scores(folder: &Path) -> Value {
    serde_json::from_slice(&fs::read(folder.join("run/scores.json")).unwrap()).unwrap()
}

fn kept(folder: &Path) -> Vec<PathBuf> {
    let mut kept: Vec<PathBuf> = fs::read_dir(folder.join(".cache"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    kept.sort();
    kept
}

#[test]
fn every_score_says_what_it_was_measured_on_and_comes_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    train(path, "run", &["--steps", "2"]);

    let first = evaluate(path, &[]);
    let report = scores(path);
    let entries = report["scores"].as_array().unwrap();
    let names: Vec<&str> = entries
        .iter()
        .map(|s| s["name"].as_str().unwrap())
        .collect();
    for name in [
        "FID",
        "KID",
        "precision",
        "recall",
        "distance to nearest",
        "nearer than real",
        "class agreement",
        "class imbalance",
        "bits per dimension",
    ] {
        assert!(names.contains(&name), "{names:?}");
        assert!(first.stdout.contains(name), "{first:#?}");
    }
    for score in entries {
        assert!(score["value"].is_f64(), "{score}");
        let of_the_model = score["name"].as_str().unwrap().contains("of the")
            || score["name"] == "bits per dimension";
        assert_eq!(
            score["samples"],
            if of_the_model { 3 } else { 12 },
            "{score}"
        );
        assert!(score["reference"].is_string(), "{score}");
        if !of_the_model {
            assert!(
                score["features"]
                    .as_str()
                    .unwrap()
                    .starts_with("classifier 1 (")
            );
            let sampler = score["sampler"].as_str().unwrap();
            assert!(sampler.starts_with("ddim, 2 steps, trailing"), "{sampler}");
        }
    }
    assert_eq!(entries[0]["reference_samples"], 40);
    assert_eq!(report["step"], 2);
    // A network of two steps draws nothing like digits.
    let [fid, real] = ["value", "real"].map(|key| entries[0][key].as_f64().unwrap());
    assert!(fid > 2.0 * real, "{fid} {real}");

    // What was kept is taken again, and gives the same figures.
    assert!(
        first.stderr.contains("training the classifier"),
        "{first:#?}"
    );
    let files = kept(path);
    assert_eq!(files.len(), 3);
    let second = evaluate(path, &[]);
    assert!(
        !second.stderr.contains("training the classifier"),
        "{second:#?}"
    );
    assert_eq!(scores(path), report);

    // What is damaged is made anew; so is what another number of steps is asked of.
    for file in &files {
        let bytes = fs::read(file).unwrap();
        fs::write(file, &bytes[..bytes.len() - 3]).unwrap();
    }
    let third = evaluate(path, &[("--batch-size", "5")]);
    assert_eq!(
        third.stderr.matches("is made anew").count(),
        3,
        "{third:#?}"
    );
    assert_eq!(kept(path), files);
    evaluate(
        path,
        &[("--classifier-steps", "2"), ("--likelihood-images", "0")],
    );
    assert_eq!(kept(path).len(), 6);
    assert_eq!(
        scores(path)["scores"].as_array().unwrap().len(),
        entries.len() - 4
    );
}

#[test]
fn numbers_that_mean_nothing_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    train(folder.path(), "run", &["--steps", "1"]);
    for (option, value, least) in [
        ("--count", "3", "at least 4"),
        ("--neighbours", "0", "at least 1"),
        ("--neighbours", "18446744073709551615", "--count is 12"),
        ("--batch-size", "0", "at least 1"),
        ("--likelihood-timesteps", "0", "at least 1"),
        ("--reference-images", "2", "at least 4"),
        ("--classifier-steps", "0", "at least 1"),
        ("--set", "training.steps=3", "only keys of [sampling]"),
    ] {
        let arguments = arguments(&[(option, value)]);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        fail(folder.path(), &arguments, 2, &[least]);
        assert!(!folder.path().join("run/scores.json").exists());
    }
    let missing = run(folder.path(), &["evaluate", "nowhere"]);
    assert_eq!(missing.code, Some(1));
    assert!(
        missing.stderr.contains("holds no checkpoint"),
        "{missing:#?}"
    );
}
