//! What survives flipped bits, kills, full disks, pipes in place of files and numbers that no machine holds.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::support::{
    checkpoint, command, config, copy_folder, fail, repository, run, succeed, train,
};

/// A copy of a run of 4 steps, with a checkpoint and a line of metrics each.
fn copy() -> tempfile::TempDir {
    static RUN: OnceLock<PathBuf> = OnceLock::new();
    let run = RUN.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap().keep();
        let settings = [
            "checkpoint.every=1",
            "checkpoint.keep=9",
            "log.every=1",
            "sampling.every=100",
        ];
        let set = settings.iter().flat_map(|&set| ["--set", set]);
        let args: Vec<&str> = ["--steps", "4"].into_iter().chain(set).collect();
        train(&folder, "run", &args);
        folder.join("run")
    });
    let folder = tempfile::tempdir().unwrap();
    copy_folder(run, &folder.path().join("run"));
    folder
}

fn resume(steps: &str) -> [&str; 5] {
    ["train", "--resume", "run", "--steps", steps]
}

/// Every file of a folder with its bytes.
fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else if path.is_file() {
            let bytes = fs::read(&path).unwrap();
            found.push((path, bytes));
        }
    }
    found.sort();
    found
}

fn make_pipe(path: &Path) {
    let _ = fs::remove_file(path);
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// Whether the path names something unfinished.
fn is_unfinished(path: &Path) -> bool {
    let name = path.file_name().unwrap().to_string_lossy();
    name.starts_with(".unfinished-")
}

#[test]
fn a_flipped_bit_in_the_metrics_costs_no_other_line() {
    let folder = copy();
    let path = folder.path().join("run/metrics.jsonl");
    let mut bytes = fs::read(&path).unwrap();
    let lines = bytes.iter().filter(|&&byte| byte == b'\n').count();
    let second = bytes.iter().position(|&byte| byte == b'\n').unwrap() + 1;
    bytes[second] ^= 1;
    fs::write(&path, bytes).unwrap();
    let ended = succeed(folder.path(), &resume("5"));
    assert!(
        ended.stderr.contains("metrics.jsonl") && ended.stderr.contains("line 2"),
        "{ended:#?}"
    );
    let text = fs::read_to_string(&path).unwrap();
    let steps: Vec<u64> = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|record| record["step"].as_u64().unwrap())
        .collect();
    // Two lines of the fifth step, and one less of before.
    assert_eq!(steps.len(), lines - 1 + 2, "{text}");
    for step in 1..=5 {
        assert!(steps.contains(&step), "{text}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_log_that_cannot_be_written_ends_no_training() {
    let smoke = config("smoke.toml");
    let full = || fs::File::options().write(true).open("/dev/full").unwrap();
    for (name, close) in [("full", false), ("closed", true)] {
        let folder = tempfile::tempdir().unwrap();
        let args = ["train", "--config", &smoke, "--out", "run", "--steps", "12"];
        let mut command = command(folder.path(), &[&args[..], &["-v", "-v"]].concat());
        let code = if close {
            let mut child = command
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            drop(child.stdout.take());
            // The first words, as `head` takes them.
            let mut first = [0; 8];
            child.stderr.take().unwrap().read_exact(&mut first).unwrap();
            child.wait().unwrap().code()
        } else {
            command
                .stdout(full())
                .stderr(full())
                .status()
                .unwrap()
                .code()
        };
        assert_eq!(code, Some(0), "{name}");
        assert!(
            checkpoint(&folder.path().join("run"), 12).exists(),
            "{name}"
        );
        assert!(folder.path().join("run/summary.json").exists(), "{name}");
    }
}

#[test]
fn a_best_checkpoint_that_cannot_be_read_is_told_and_kept() {
    let folder = copy();
    let run = folder.path().join("run");
    // Made the best one, and old enough to be pruned.
    let best = checkpoint(&run, 1);
    let path = best.join("state.json");
    let mut state: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    state["held_out_loss"] = 1e-9.into();
    fs::write(&path, state.to_string()).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    bytes[0] ^= 1;
    fs::write(&path, bytes).unwrap();

    let sample = ["sample", "run", "--best", "--count", "1", "--steps", "1"];
    let told = ["step-00000001 cannot be read", "may have been the best"];
    let ended = succeed(folder.path(), &sample);
    for part in told {
        assert!(ended.stderr.contains(part), "{ended:#?}");
    }
    let more = ["--set", "checkpoint.keep=1"];
    let ended = succeed(folder.path(), &[&resume("6")[..], &more].concat());
    for part in told {
        assert!(ended.stderr.contains(part), "{ended:#?}");
    }
    assert!(best.join("model.safetensors").exists());
    assert!(!checkpoint(&run, 5).exists() || best_of_rest(&run, 5));
}

/// Whether a step is the best of those that can be read, and so was kept.
fn best_of_rest(run: &Path, step: u64) -> bool {
    let loss = |step: u64| {
        let state = fs::read(checkpoint(run, step).join("state.json")).ok()?;
        let state: serde_json::Value = serde_json::from_slice(&state).ok()?;
        state["held_out_loss"].as_f64()
    };
    let own = loss(step).unwrap();
    (2..=6).filter_map(loss).all(|other| own <= other)
}

#[test]
fn a_resume_that_fails_changes_nothing_on_disk() {
    let folder = copy();
    let run = folder.path().join("run");
    // Behind the newest checkpoint there is a line that a resume would drop.
    let metrics = run.join("metrics.jsonl");
    let text = fs::read_to_string(&metrics).unwrap();
    fs::write(&metrics, text + "{\"step\":9,\"epoch\":1,\"seconds\":1}\n").unwrap();
    let moment = checkpoint(&run, 4).join("second_moment.safetensors");
    let whole = fs::read(&moment).unwrap();
    let mut damaged = whole.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    fs::write(&moment, damaged).unwrap();
    let before = contents(&run);
    let changed = ["--set", "training.learning_rate=0.5"];
    fail(
        folder.path(),
        &[&resume("9")[..], &changed].concat(),
        1,
        &["second_moment.safetensors is damaged"],
    );
    assert!(contents(&run) == before);
    fs::write(&moment, whole).unwrap();

    // Numbers, data and scores that fail later than the checkpoint.
    let before = contents(&run);
    for (set, code, part) in [
        ("training.batch_size=99999999999", 2, "training.batch_size"),
        ("sampling.count=99999999999", 2, "sampling.count"),
    ] {
        fail(
            folder.path(),
            &[&resume("9")[..], &["--set", set]].concat(),
            code,
            &[part],
        );
        assert!(contents(&run) == before, "{set}");
    }
}

#[test]
fn numbers_that_no_machine_holds_are_refused_before_a_run_is_removed() {
    let folder = copy();
    let run = folder.path().join("run");
    let before = contents(&run);
    let smoke = config("smoke.toml");
    let huge = "99999999999";
    for key in [
        "training.batch_size",
        "training.gradient_accumulation",
        "held_out.examples",
        "sampling.count",
        "network.block_out_channels",
    ] {
        let set = if key.starts_with("network") {
            format!("{key}=[65536, 65536]")
        } else {
            format!("{key}={huge}")
        };
        let part = if key.starts_with("network") {
            "network"
        } else {
            key
        };
        let args = [
            "train",
            "--config",
            &smoke,
            "--out",
            "run",
            "--overwrite",
            "--set",
            &set,
        ];
        fail(folder.path(), &args, 2, &[part, "memory"]);
        assert!(contents(&run) == before, "{key}");
        let new = ["train", "--config", &smoke, "--out", "new", "--set", &set];
        fail(folder.path(), &new, 2, &[part, "memory"]);
        assert!(!folder.path().join("new").exists(), "{key}");
    }
    let set = "evaluation.count=99999999999";
    let args = [
        "train",
        "--config",
        &smoke,
        "--out",
        "run",
        "--overwrite",
        "--set",
        "evaluation.every=1",
        "--set",
        set,
    ];
    fail(folder.path(), &args, 2, &["evaluation.count", "memory"]);
    assert!(contents(&run) == before);

    let data = repository().join("data").display().to_string();
    image::GrayImage::new(28, 28)
        .save(folder.path().join("x.png"))
        .unwrap();
    for huge in [huge, "99999999999999", "18446744073709551615"] {
        for typed in [
            vec!["sample", "run", "--count", huge],
            vec!["samplers", "run", "--count", huge],
            vec!["edit", "run", "--from", "x.png", "--count", huge],
            vec!["evaluate", "run", "--data-dir", &data, "--count", huge],
            vec!["bench", "--config", &smoke, "--batch-sizes", huge],
            vec![
                "edit",
                "run",
                "--between",
                "x.png",
                "x.png",
                "--frames",
                huge,
            ],
        ] {
            fail(
                folder.path(),
                &typed,
                2,
                &["memory", typed[typed.len() - 2]],
            );
        }
    }
}

#[test]
fn what_killed_processes_left_is_removed() {
    let folder = copy();
    let run = folder.path().join("run");
    // A process that is gone.
    let mut gone = Command::new(env!("CARGO_BIN_EXE_trainer"));
    let mut gone = gone.arg("--version").stdout(Stdio::null()).spawn().unwrap();
    gone.wait().unwrap();
    let left = |place: &str, name: &str| {
        let path = run
            .join(place)
            .join(format!(".unfinished-{name}.{}", gone.id()));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    };
    for (place, name) in [("", "loss.png"), ("samples", "step-00000004.png")] {
        fs::write(left(place, name), "half").unwrap();
    }
    fs::create_dir(left("checkpoints", "step-00000005")).unwrap();
    fs::write(left("checkpoints", "step-00000005").join("model"), "half").unwrap();
    // A plain file where a folder would be, and a name that says no process.
    fs::write(left("checkpoints", "step-00000006"), "half").unwrap();
    fs::write(run.join("checkpoints/.unfinished-x"), "half").unwrap();
    succeed(folder.path(), &resume("5"));
    let found = contents(folder.path());
    let found: Vec<_> = found
        .iter()
        .filter(|(path, _)| {
            path.ancestors()
                .any(|part| part.file_name().is_some() && is_unfinished(part))
        })
        .collect();
    assert!(found.is_empty(), "{found:?}");
}

/// At whatever moment `import` is killed, the run is the old one, whole, or the new one, and it goes on.
#[cfg(unix)]
#[test]
fn a_killed_import_leaves_a_whole_run_or_none() {
    let folder = copy();
    succeed(folder.path(), &["export", "run", "exported"]);
    let import = ["import", "exported", "imported"];
    for (overwrite, pause) in [
        (false, 3),
        (false, 20),
        (false, 35),
        (true, 10),
        (true, 25),
        (true, 40),
        (true, 70),
    ] {
        if overwrite && !folder.path().join("imported").exists() {
            succeed(folder.path(), &import);
        }
        let more: &[&str] = if overwrite { &["--overwrite"] } else { &[] };
        let mut child = command(folder.path(), &[&import[..], more].concat())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(pause));
        let _ = child.kill();
        child.wait().unwrap();
        let imported = folder.path().join("imported");
        if imported.exists() {
            assert!(checkpoint(&imported, 0).join("state.json").exists());
            let sample = ["sample", "imported", "--count", "1", "--steps", "1"];
            succeed(folder.path(), &sample);
        } else {
            assert!(!overwrite);
        }
    }
    succeed(folder.path(), &[&import[..], &["--overwrite"]].concat());
    succeed(
        folder.path(),
        &["train", "--resume", "imported", "--steps", "1"],
    );
    let names: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| is_unfinished(path))
        .collect();
    assert!(names.is_empty(), "{names:?}");
}

#[test]
fn a_run_is_exported_while_its_training_prunes() {
    let folder = tempfile::tempdir().unwrap();
    let smoke = config("smoke.toml");
    let settings = [
        "checkpoint.every=1",
        "checkpoint.keep=1",
        "held_out.examples=5",
        "sampling.every=100000",
    ];
    let set = settings.iter().flat_map(|&set| ["--set", set]);
    let args = ["train", "--config", &smoke, "--out", "run"];
    let args: Vec<&str> = args
        .into_iter()
        .chain(["--steps", "100000"])
        .chain(set)
        .collect();
    let mut child = command(folder.path(), &args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let started = Instant::now();
    while !checkpoint(&folder.path().join("run"), 2).exists() {
        assert!(started.elapsed() < Duration::from_secs(120));
        std::thread::sleep(Duration::from_millis(5));
        if checkpoint(&folder.path().join("run"), 3).exists() {
            break;
        }
    }
    for _ in 0..12 {
        let args = ["export", "run", "exported", "--overwrite"];
        let ended = run(folder.path(), &args);
        assert_eq!(ended.code, Some(0), "{ended:#?}");
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Runs the program, which must end by itself in good time.
#[cfg(unix)]
#[track_caller]
fn refused_at_once(folder: &Path, args: &[&str], part: &str) {
    let mut child = command(folder, args)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let started = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if started.elapsed() > Duration::from_secs(60) {
            child.kill().unwrap();
            panic!("{args:?} waits for the pipe");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let ended = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&ended.stderr);
    assert!(
        matches!(ended.status.code(), Some(1 | 2)),
        "{args:?}: {stderr}"
    );
    assert!(!stderr.contains("panicked"), "{stderr}");
    assert!(stderr.contains(part), "{args:?}: {stderr}");
    assert!(stderr.len() < 2000, "{stderr}");
}

#[cfg(unix)]
#[test]
fn pipes_and_devices_in_place_of_files_are_refused_at_once() {
    let sample = ["sample", "run", "--count", "1", "--steps", "1"];
    for (place, args) in [
        ("run/metrics.jsonl", &resume("5")[..]),
        ("run/.run", &resume("5")[..]),
        ("run/checkpoints/step-00000004/state.json", &resume("5")[..]),
        ("run/checkpoints/step-00000004/config.toml", &sample),
        ("run/checkpoints/step-00000004/ema.safetensors", &sample),
    ] {
        let folder = copy();
        let path = folder.path().join(place);
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        make_pipe(&path);
        let part = if name == "metrics.jsonl" {
            "metrics"
        } else {
            &name
        };
        refused_at_once(folder.path(), args, part);
        fs::remove_file(&path).unwrap();
        if cfg!(target_os = "linux") {
            std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
            refused_at_once(folder.path(), args, part);
        }
    }
    let folder = copy();
    for name in [
        "x.npy",
        "x.npz",
        "x.csv",
        "x.toml",
        "x.png",
        "x.safetensors",
    ] {
        make_pipe(&folder.path().join(name));
    }
    let smoke = config("smoke.toml");
    for name in ["x.npy", "x.npz", "x.csv"] {
        let set = format!("data.path={name}");
        let config = if name == "x.csv" { "points" } else { &smoke };
        let args = ["train", "--config", config, "--out", "new", "--set", &set];
        refused_at_once(folder.path(), &args, name);
        assert!(!folder.path().join("new").exists());
    }
    for args in [
        &["train", "--config", "x.toml"][..],
        &["edit", "run", "--from", "x.png"],
        &["sample", "run", "--noise", "x.safetensors"],
        &["noise", "x.csv"],
    ] {
        refused_at_once(folder.path(), args, args[args.len() - 1]);
    }
}

#[test]
fn errors_stay_short_whatever_was_typed() {
    let folder = copy();
    let long = "x".repeat(50_000);
    let smoke = config("smoke.toml");
    let key = format!("{long}=1");
    let value = format!("data.dataset={long}");
    let unknown = format!("training.{long}=1");
    fs::write(
        folder.path().join("long.toml"),
        format!("[data]\ndataset = \"mnist\"\n[training]\nsteps = 1\n{long} = 2\n"),
    )
    .unwrap();
    fs::write(
        folder.path().join("value.toml"),
        format!("[data]\ndataset = \"{long}\"\n[training]\nsteps = 1\n"),
    )
    .unwrap();
    let state = checkpoint(&folder.path().join("run"), 4).join("state.json");
    for args in [
        &["train", "--config", &smoke, "--set", &key][..],
        &["train", "--config", &smoke, "--set", &value],
        &["train", "--config", &smoke, "--set", &unknown],
        &["train", "--config", "long.toml"],
        &["train", "--config", "value.toml"],
        &["train", &long],
        &["sample", "run", "--class", &long],
        &["sample", "run", "--sampler", &long],
        &["sample", "run", "--count", &long],
        &["sample", "run", "--set", &key],
        &["sample", "run", "--device", &long],
        &["data", "fetch", &long],
        &["data", "fetch", "mnist", "--mirror", &long],
        &[&long],
    ] {
        let ended = run(folder.path(), args);
        assert!(matches!(ended.code, Some(1 | 2)), "{:?}", ended.code);
        assert!(
            ended.stderr.len() < 3000,
            "{} bytes: {}…",
            ended.stderr.len(),
            &ended.stderr.chars().take(300).collect::<String>()
        );
    }
    fs::write(&state, format!("{{\"format_version\": \"{long}\"}}")).unwrap();
    let ended = run(folder.path(), &["sample", "run"]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.len() < 3000, "{} bytes", ended.stderr.len());
}
