//! `trainer train`, run as a user runs it: what it leaves behind, how it goes on, how it stops.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::support::{checkpoint, command, config, fail, grid_of, succeed, tensors, train};

#[test]
fn a_run_leaves_everything_behind_that_it_promises() {
    let folder = tempfile::tempdir().unwrap();
    let ended = train(folder.path(), "run", &[]);
    assert!(ended.stdout.contains("trainer sample run"), "{ended:#?}");
    assert!(ended.stderr.contains("held-out loss"), "{ended:#?}");

    let run = folder.path().join("run");
    let metrics = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let steps = |key: &str| -> Vec<u64> {
        metrics
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
            .filter(|record| record[key].is_number())
            .map(|record| record["step"].as_u64().unwrap())
            .collect()
    };
    assert_eq!(steps("loss"), [5, 10, 15, 20]);
    assert_eq!(steps("held_out_loss"), [10, 20]);
    assert_eq!(
        fs::read_to_string(run.join("metrics.csv"))
            .unwrap()
            .lines()
            .count(),
        7
    );

    let grid = grid_of(&image::open(run.join("samples/step-00000020.png")).unwrap());
    assert_eq!((grid.width(), grid.height()), (2 + 114, 2 + 10 * 114));
    assert!(image::open(run.join("loss.png")).unwrap().width() > 100);
    let saved = fs::read_to_string(run.join("config.toml")).unwrap();
    assert!(saved.contains("num_class_embeds = 11"), "{saved}");
    let summary = fs::read_to_string(run.join("summary.json")).unwrap();
    assert!(summary.contains("\"steps\": 20"), "{summary}");
    assert_eq!(tensors(&checkpoint(&run, 20)).len(), 4);
}

#[test]
fn the_network_learns() {
    let folder = tempfile::tempdir().unwrap();
    train(
        folder.path(),
        "run",
        &[
            "--steps",
            "150",
            "--set",
            "checkpoint.every=150",
            "--set",
            "log.every=30",
            "--set",
            "training.batch_size=16",
        ],
    );
    let metrics = fs::read_to_string(folder.path().join("run/metrics.jsonl")).unwrap();
    let losses: Vec<f64> = metrics
        .lines()
        .filter_map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["loss"].as_f64()
        })
        .collect();
    // A network that predicts nothing has a loss of 1, the variance of the noise.
    assert!(losses[0] > 0.5 && losses[4] < 0.25, "{losses:?}");
}

/// What is predicted, how its error is weighted and how the noise is made: each changes the weights, is
/// saved with them and understood when they are sampled from.
#[test]
fn every_objective_trains_and_is_sampled_from() {
    let folder = tempfile::tempdir().unwrap();
    let objectives = [
        ("plain", &[][..]),
        ("offset", &["objective.offset_noise=0.1"]),
        ("x-0", &["objective.prediction_type=sample"]),
        (
            "min-snr",
            &["objective.loss_weight={kind=\"min-snr\", gamma=5.0}"],
        ),
        (
            "p2",
            &["objective.loss_weight={kind=\"p2\", k=1.0, gamma=1.0}"],
        ),
        (
            "zero-terminal-snr",
            &[
                "objective.prediction_type=v-prediction",
                "noise.rescale_zero_terminal_snr=true",
            ],
        ),
    ];
    let mut weights = Vec::new();
    for (name, set) in objectives {
        let mut args = vec!["--steps", "3"];
        args.extend(set.iter().flat_map(|&set| ["--set", set]));
        train(folder.path(), name, &args);
        let found = tensors(&checkpoint(&folder.path().join(name), 3));
        assert!(!weights.contains(&found), "{name}");
        weights.push(found);
        for sampler in ["ddpm", "dpmpp-2m", "unipc"] {
            let args = ["sample", name, "--count", "2", "--steps", "4"];
            let more = ["--sampler", sampler, "--out", "drawn.png"];
            succeed(folder.path(), &[&args[..], &more].concat());
            let drawn = image::open(folder.path().join("drawn.png")).unwrap();
            let pixels = drawn.into_luma8().into_raw();
            assert!(pixels.iter().any(|&p| p != pixels[0]), "{name}, {sampler}");
        }
    }
}

#[test]
fn a_run_that_computes_activations_again_learns_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let again = ["--set", "training.checkpoint_activations=true"];
    train(path, "kept", &[]);
    train(path, "again", &again);
    let numbers = |run: &str| -> Vec<f64> {
        let records = losses(&path.join(run)).into_iter();
        let both = records.flat_map(|(_, loss, held_out)| [loss, held_out]);
        both.flatten().collect()
    };
    let (kept, found) = (numbers("kept"), numbers("again"));
    assert_eq!(kept.len(), found.len());
    for (kept, found) in kept.iter().zip(&found) {
        assert!((found / kept - 1.0).abs() < 1e-4, "{found} for {kept}");
    }

    let dropped = [&again[..], &["--set", "network.dropout=0.2"]].concat();
    train(path, "dropped", &dropped);
    train(path, "parts", &[&["--steps", "10"], &dropped[..]].concat());
    succeed(path, &["train", "--resume", "parts", "--steps", "20"]);
    assert_eq!(
        tensors(&checkpoint(&path.join("dropped"), 20)),
        tensors(&checkpoint(&path.join("parts"), 20))
    );

    let key = "training.checkpoint_activations";
    let penguins = format!("data.path={}", config("../data/penguins/penguins.csv"));
    let mut refused = vec!["train", "--set", &penguins, "--dry-run"];
    refused.extend(again);
    fail(path, &refused, 2, &[key, "images and sounds"]);
}

#[test]
fn going_on_gives_the_bytes_of_an_uninterrupted_run() {
    let folder = tempfile::tempdir().unwrap();
    let more: &[&str] = &[
        "--set",
        "training.gradient_accumulation=2",
        "--set",
        "network.dropout=0.2",
    ];
    train(folder.path(), "whole", more);
    train(folder.path(), "parts", &[&["--steps", "10"], more].concat());
    succeed(
        folder.path(),
        &["train", "--resume", "parts", "--steps", "20"],
    );
    assert_eq!(
        tensors(&checkpoint(&folder.path().join("whole"), 20)),
        tensors(&checkpoint(&folder.path().join("parts"), 20))
    );
    assert_eq!(
        losses(&folder.path().join("whole")),
        losses(&folder.path().join("parts"))
    );
    // The weights moved at all.
    assert_ne!(
        tensors(&checkpoint(&folder.path().join("whole"), 10)),
        tensors(&checkpoint(&folder.path().join("whole"), 20))
    );
}

/// A batch draws its timesteps and noise by its number, so no two may have the same one, whatever sizes the
/// sessions of a run had.
#[test]
fn batches_are_counted_where_their_size_changes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let seen = |step| {
        let state = checkpoint(&path.join("run"), step).join("state.json");
        let state: serde_json::Value = serde_json::from_slice(&fs::read(state).unwrap()).unwrap();
        [&state["examples_seen"], &state["batches_seen"]].map(|seen| seen.as_u64().unwrap())
    };
    train(path, "run", &["--steps", "4"]);
    assert_eq!(seen(4), [4 * 8, 4]);
    let go_on = |steps: &str, sets: &[&str]| {
        let mut args = vec!["train", "--resume", "run", "--steps", steps];
        args.extend(sets.iter().flat_map(|&set| ["--set", set]));
        succeed(path, &args);
    };
    // By examples and size, batches 2 and 3 would come again.
    go_on("6", &["training.batch_size=16"]);
    assert_eq!(seen(6), [64, 6]);
    let smaller = ["training.batch_size=2", "training.gradient_accumulation=3"];
    go_on("8", &smaller);
    assert_eq!(seen(8), [64 + 2 * 3 * 2, 6 + 2 * 3]);
}

/// Without a class to guide towards, or without having learned to do without one, there is nothing to guide.
#[test]
fn guidance_that_a_network_cannot_have_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let smoke = config("smoke.toml");
    let cannot = [
        ("conditioning.class_labels=false", "knows no classes"),
        ("conditioning.label_dropout=0", "label_dropout = 0"),
    ];
    for (set, why) in cannot {
        for guidance in [
            "sampling.guidance_scale=2",
            "sampling.guidance_interval=[100, 500]",
            "sampling.guidance_rescale=0.7",
        ] {
            let args = ["train", "--config", &smoke, "--out", "never"];
            let sets = ["--set", set, "--set", guidance];
            let (key, _) = guidance.split_once('=').unwrap();
            fail(path, &[&args[..], &sets].concat(), 2, &[key, why]);
        }
    }
    assert!(!path.join("never").exists());

    for (run, (set, why)) in ["plain", "told"].into_iter().zip(cannot) {
        train(path, run, &["--steps", "1", "--set", set]);
        let data = crate::support::repository().join("data");
        let data = data.display().to_string();
        for command in [
            vec!["sample", run],
            vec!["samplers", run],
            vec!["edit", run, "--from", "none.png"],
            vec!["evaluate", run, "--data-dir", &data],
        ] {
            let guided = [&command[..], &["--guidance", "2"]].concat();
            fail(path, &guided, 2, &["sampling.guidance_scale", why]);
        }
        let resume = ["train", "--resume", run, "--steps", "2"];
        let guided = ["--set", "sampling.guidance_scale=2"];
        let args = [&resume[..], &guided].concat();
        fail(path, &args, 2, &["sampling.guidance_scale", why]);
        let few = ["--count", "1", "--steps", "1", "--out", "a.png"];
        succeed(path, &[&["sample", run], &few[..]].concat());
    }
}

/// Step and loss of each line of metrics.
fn losses(run: &Path) -> Vec<(u64, Option<f64>, Option<f64>)> {
    fs::read_to_string(run.join("metrics.jsonl"))
        .unwrap()
        .lines()
        .map(|line| {
            let record: serde_json::Value = serde_json::from_str(line).unwrap();
            (
                record["step"].as_u64().unwrap(),
                record["loss"].as_f64(),
                record["held_out_loss"].as_f64(),
            )
        })
        .collect()
}

/// Starts a long run with a checkpoint every other step.
fn start(folder: &Path, args: &[&str]) -> Child {
    command(folder, args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn wait_for(path: &Path) {
    let started = Instant::now();
    while !path.exists() {
        assert!(
            started.elapsed() < Duration::from_secs(120),
            "no {}",
            path.display()
        );
        sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_killed_run_goes_on_from_a_whole_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let config = config("smoke.toml");
    let settings = [
        "--config",
        &config,
        "--set",
        "checkpoint.every=1",
        "--set",
        "checkpoint.keep=1",
        "--set",
        "held_out.examples=5",
        "--set",
        "log.every=1",
        "--set",
        "sampling.every=1000",
    ];
    let run_path = folder.path().join("killed");

    // Kills at several moments, most of them in the middle of a checkpoint, there being one a step.
    let mut child = start(
        folder.path(),
        &[
            &["train", "--out", "killed", "--steps", "30"],
            &settings[..],
        ]
        .concat(),
    );
    wait_for(&checkpoint(&run_path, 3));
    for pause in [0, 7, 13, 29, 51] {
        sleep(Duration::from_millis(pause));
        child.kill().unwrap();
        child.wait().unwrap();
        let newest = fs::read_dir(run_path.join("checkpoints"))
            .unwrap()
            .filter_map(|entry| entry.unwrap().file_name().into_string().ok())
            .filter(|name| {
                name.starts_with("step-")
                    && run_path
                        .join("checkpoints")
                        .join(name)
                        .join("state.json")
                        .exists()
            })
            .max();
        let newest = newest.expect("a whole checkpoint at every moment");
        child = start(
            folder.path(),
            &["train", "--resume", "killed", "--steps", "30"],
        );
        let step: u64 = newest["step-".len()..].parse().unwrap();
        if step < 28 {
            wait_for(&checkpoint(&run_path, step + 1));
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    succeed(
        folder.path(),
        &["train", "--resume", "killed", "--steps", "40"],
    );

    succeed(
        folder.path(),
        &[&["train", "--out", "whole", "--steps", "40"], &settings[..]].concat(),
    );
    let whole = folder.path().join("whole");
    assert_eq!(
        tensors(&checkpoint(&run_path, 40)),
        tensors(&checkpoint(&whole, 40))
    );
    assert_eq!(losses(&run_path), losses(&whole));
    let left: Vec<_> = fs::read_dir(run_path.join("checkpoints"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with("step-"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[cfg(unix)]
#[test]
fn ctrl_c_saves_and_says_how_to_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let config = config("smoke.toml");
    let child = start(
        folder.path(),
        &[
            "train", "--config", &config, "--out", "run", "--steps", "100000",
        ],
    );
    wait_for(&checkpoint(&folder.path().join("run"), 10));
    let interrupted = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(interrupted.unwrap().success());
    let ended: crate::support::Ended = child.wait_with_output().unwrap().into();
    assert_eq!(ended.code, Some(130), "{ended:#?}");
    assert!(
        ended.stdout.contains("trainer train --resume run"),
        "{ended:#?}"
    );

    let (step, ..) = *losses(&folder.path().join("run")).last().unwrap();
    assert!(step >= 10);
    assert_eq!(
        tensors(&checkpoint(&folder.path().join("run"), step)).len(),
        4
    );
    let steps = (step + 2).to_string();
    succeed(
        folder.path(),
        &["train", "--resume", "run", "--steps", &steps],
    );
}

#[test]
fn a_run_is_never_started_over_unasked() {
    let folder = tempfile::tempdir().unwrap();
    train(folder.path(), "run", &["--steps", "2"]);
    let config = config("smoke.toml");
    let again = ["train", "--config", &config, "--out", "run", "--steps", "1"];
    fail(
        folder.path(),
        &again,
        2,
        &["holds a run already", "--resume run", "--overwrite"],
    );
    assert!(checkpoint(&folder.path().join("run"), 2).exists());
    succeed(folder.path(), &[&again[..], &["--overwrite"]].concat());
    assert!(!checkpoint(&folder.path().join("run"), 2).exists());

    // A folder of something else is not touched, asked or not.
    fs::create_dir(folder.path().join("thesis")).unwrap();
    fs::write(folder.path().join("thesis/config.toml"), "years of work").unwrap();
    let there = [
        "train",
        "--config",
        &config,
        "--out",
        "thesis",
        "--overwrite",
    ];
    fail(folder.path(), &there, 2, &["not empty and not a run"]);
    assert_eq!(
        fs::read_to_string(folder.path().join("thesis/config.toml")).unwrap(),
        "years of work"
    );
}

#[test]
fn a_loss_that_is_not_finite_stops_the_run() {
    let folder = tempfile::tempdir().unwrap();
    train(folder.path(), "run", &["--steps", "10"]);
    let args = [
        "train",
        "--resume",
        "run",
        "--steps",
        "100",
        "--set",
        "training.learning_rate=1e30",
        "--set",
        "checkpoint.every=1000",
    ];
    let good = tensors(&checkpoint(&folder.path().join("run"), 10));
    fail(
        folder.path(),
        &args,
        1,
        &["the loss is not finite", "step-00000010", "learning_rate"],
    );
    assert_eq!(tensors(&checkpoint(&folder.path().join("run"), 10)), good);
    assert_eq!(
        fs::read_dir(folder.path().join("run/checkpoints"))
            .unwrap()
            .count(),
        1
    );
    // The run goes on from there.
    succeed(
        folder.path(),
        &[
            "train",
            "--resume",
            "run",
            "--steps",
            "12",
            "--set",
            "training.learning_rate=1e-4",
        ],
    );
}

#[test]
fn the_newest_and_the_best_checkpoints_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    train(
        folder.path(),
        "run",
        &[
            "--steps",
            "8",
            "--set",
            "checkpoint.every=1",
            "--set",
            "checkpoint.keep=2",
        ],
    );
    let run = folder.path().join("run");
    let kept = fs::read_dir(run.join("checkpoints")).unwrap().count();
    assert!((2..=3).contains(&kept), "{kept}");
    assert!(checkpoint(&run, 8).exists() && checkpoint(&run, 7).exists());
    let best = losses(&run)
        .into_iter()
        .filter_map(|(step, _, held_out)| Some((held_out?, step)))
        .min_by(|a, b| a.0.total_cmp(&b.0))
        .unwrap();
    assert!(checkpoint(&run, best.1).exists(), "{best:?}");
}

#[test]
fn what_a_run_has_learned_with_is_fixed() {
    let folder = tempfile::tempdir().unwrap();
    train(folder.path(), "run", &["--steps", "2"]);
    for set in [
        "seed=1",
        "network.layers_per_block=2",
        "noise.num_train_timesteps=500",
    ] {
        let args = ["train", "--resume", "run", "--steps", "4", "--set", set];
        fail(
            folder.path(),
            &args,
            2,
            &["cannot change when a run goes on"],
        );
    }
    fail(
        folder.path(),
        &["train", "--resume", "run"],
        2,
        &["used up", "--steps 4"],
    );
    fail(
        folder.path(),
        &["train", "--resume", "nowhere"],
        2,
        &["nowhere does not exist"],
    );
}

#[test]
fn a_budget_in_minutes_ends_in_time() {
    let folder = tempfile::tempdir().unwrap();
    let started = Instant::now();
    train(folder.path(), "run", &["--minutes", "0.05"]);
    let (step, ..) = *losses(&folder.path().join("run")).last().unwrap();
    assert!(step > 5, "{step}");
    assert!(started.elapsed() < Duration::from_secs(60));
}

#[test]
fn the_default_configuration_is_in_the_program() {
    let folder = tempfile::tempdir().unwrap();
    let below = crate::support::repository().join("crates/trainer/src");
    for (from, out) in [(folder.path(), "run"), (&below, "below")] {
        let out = folder.path().join(out).display().to_string();
        let changes = [
            "--set",
            "held_out.examples=10",
            "--set",
            "sampling.count=1",
            "--set",
            "sampling.num_inference_steps=1",
        ];
        succeed(
            from,
            &[&["train", "--steps", "1", "--out", &out], &changes[..]].concat(),
        );
        let config = fs::read_to_string(Path::new(&out).join("config.toml")).unwrap();
        assert!(config.contains("dataset = \"mnist\""), "{config}");
    }
}
