//! `trainer compare`, run as a user runs it.

use std::fs;

use serde_json::Value;

use crate::support::{fail, succeed, train};

#[test]
fn runs_are_laid_side_by_side() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    train(path, "a", &["--steps", "1"]);
    train(path, "b", &["--steps", "2", "--set", "ema.decay=0.5"]);
    let scores = |samples: usize, value: f64| {
        format!(
            r#"{{"scores": [{{"name": "FID", "value": {value}, "samples": {samples}, "reference": "x"}}]}}"#
        )
    };
    fs::write(path.join("a/scores.json"), scores(10, 1.5)).unwrap();
    fs::write(path.join("b/scores.json"), scores(10, 2.5)).unwrap();

    let ended = succeed(path, &["compare", "a", "b", "--json"]);
    let found: Value = serde_json::from_str(&ended.stdout).unwrap();
    let runs = found["runs"].as_array().unwrap();
    let of = |key: &str| -> Vec<Value> { runs.iter().map(|run| run[key].clone()).collect() };
    assert_eq!(of("step"), [1, 2]);
    assert_eq!(of("parameters")[0], of("parameters")[1]);
    assert!(runs.iter().all(|run| run["held_out_loss"].is_f64()));
    assert_eq!(runs[1]["scores"][0]["value"], 2.5);
    let configuration = found["configuration"].as_object().unwrap();
    let keys: Vec<&String> = configuration.keys().collect();
    assert_eq!(keys, ["ema.decay", "training.steps"]);
    assert_eq!(configuration["training.steps"], serde_json::json!([1, 2]));

    let table = succeed(path, &["compare", "a", "b"]).stdout;
    for part in [
        "ema.decay",
        "0.5",
        "held-out loss",
        "FID",
        "1.5000",
        "2.5000",
    ] {
        assert!(table.contains(part), "no {part:?} in {table}");
    }
    assert!(!table.contains('*'), "{table}");
    // Of other numbers of images, figures cannot be compared, and it says so.
    fs::write(path.join("b/scores.json"), scores(20, 2.5)).unwrap();
    let table = succeed(path, &["compare", "a", "b"]).stdout;
    assert!(
        table.contains("2.5000 *") && table.contains("cannot be compared"),
        "{table}"
    );
    // A file that is damaged is passed over with a word.
    fs::write(path.join("b/scores.json"), "{").unwrap();
    let ended = succeed(path, &["compare", "a", "b"]);
    assert!(ended.stderr.contains("is passed over"), "{ended:#?}");

    let same = succeed(path, &["compare", "a", "a"]).stdout;
    assert!(same.contains("the configurations are the same"), "{same}");
    fail(
        path,
        &["compare", "a", "nowhere"],
        2,
        &["nowhere does not exist"],
    );
    fail(path, &["compare", "a"], 2, &["2 values required"]);
}
