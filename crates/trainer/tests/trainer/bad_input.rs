//! Damaged files, wrong configurations and places that cannot be written: one clear message, the
//! right exit code, nothing half-written, no panic.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::support::{checkpoint, command, config, copy_folder, fail, repository, succeed, train};

/// A run of a few steps, trained once, to be damaged in copies.
fn damaged_copy(damage: impl FnOnce(&Path)) -> tempfile::TempDir {
    static RUN: OnceLock<PathBuf> = OnceLock::new();
    let run = RUN.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap().keep();
        train(&folder, "run", &["--steps", "4"]);
        folder.join("run")
    });
    let folder = tempfile::tempdir().unwrap();
    copy_folder(run, &folder.path().join("run"));
    damage(&checkpoint(&folder.path().join("run"), 4));
    folder
}

const SAMPLE: [&str; 6] = ["sample", "run", "--count", "1", "--steps", "1"];
const RESUME: [&str; 5] = ["train", "--resume", "run", "--steps", "6"];

#[test]
fn a_checkpoint_cut_short_is_refused() {
    let folder = damaged_copy(|checkpoint| {
        let path = checkpoint.join("ema.safetensors");
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    });
    let parts = ["ema.safetensors is damaged", "bytes, expected"];
    fail(folder.path(), &SAMPLE, 1, &parts);
    fail(folder.path(), &RESUME, 1, &parts);
    assert!(!folder.path().join("run/samples.png").exists());
}

#[test]
fn a_checkpoint_with_a_flipped_bit_is_refused() {
    let folder = damaged_copy(|checkpoint| {
        let path = checkpoint.join("first_moment.safetensors");
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, &bytes).unwrap();
    });
    fail(
        folder.path(),
        &RESUME,
        1,
        &["first_moment.safetensors is damaged", "SHA-256"],
    );
    // What it does not need, it does not miss.
    succeed(folder.path(), &SAMPLE);
}

#[test]
fn a_checkpoint_with_a_file_missing_is_refused() {
    let folder = damaged_copy(|checkpoint| {
        fs::remove_file(checkpoint.join("model.safetensors")).unwrap();
    });
    fail(
        folder.path(),
        &RESUME,
        1,
        &["model.safetensors is damaged: it is missing"],
    );
}

#[test]
fn a_checkpoint_of_another_version_is_refused() {
    let folder = damaged_copy(|checkpoint| {
        let path = checkpoint.join("state.json");
        let state = fs::read_to_string(&path).unwrap();
        fs::write(
            &path,
            state.replace("\"format_version\": 1", "\"format_version\": 99"),
        )
        .unwrap();
    });
    fail(
        folder.path(),
        &SAMPLE,
        1,
        &["format version 99", "reads version 1"],
    );
}

#[test]
fn a_state_that_is_not_json_is_refused() {
    for garbage in ["", "{", "[]", "\u{0}\u{1}"] {
        let folder = damaged_copy(|checkpoint| {
            fs::write(checkpoint.join("state.json"), garbage).unwrap();
        });
        fail(
            folder.path(),
            &SAMPLE,
            1,
            &["state.json: not the state of a checkpoint"],
        );
    }
}

/// Puts other weights into a checkpoint and makes its checksum agree, as somebody's own tool would.
fn replace_weights(checkpoint: &Path, bytes: &[u8]) {
    use sha2::{Digest, Sha256};
    fs::write(checkpoint.join("ema.safetensors"), bytes).unwrap();
    let path = checkpoint.join("state.json");
    let mut state: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    let digest: String = Sha256::digest(bytes)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    state["files"]["ema.safetensors"] =
        serde_json::json!({ "bytes": bytes.len(), "sha256": digest });
    fs::write(&path, state.to_string()).unwrap();
}

/// The header of a safetensors file, and what comes after it.
fn split(bytes: &[u8]) -> (serde_json::Value, &[u8]) {
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    (header, &bytes[8 + length..])
}

fn join(header: &serde_json::Value, data: &[u8]) -> Vec<u8> {
    let header = header.to_string().into_bytes();
    [&(header.len() as u64).to_le_bytes()[..], &header, data].concat()
}

#[test]
fn weights_that_do_not_fit_are_refused() {
    let folder = damaged_copy(|checkpoint| {
        let bytes = fs::read(checkpoint.join("ema.safetensors")).unwrap();
        let (mut header, data) = split(&bytes);
        header["conv_in.weight"]["shape"] = serde_json::json!([1, 8, 3, 3]);
        replace_weights(checkpoint, &join(&header, data));
    });
    fail(
        folder.path(),
        &SAMPLE,
        1,
        &["ema.safetensors", "conv_in.weight", "[1, 8, 3, 3]"],
    );

    let folder = damaged_copy(|checkpoint| {
        let bytes = fs::read(checkpoint.join("ema.safetensors")).unwrap();
        let (mut header, data) = split(&bytes);
        let moved = header
            .as_object_mut()
            .unwrap()
            .remove("conv_in.bias")
            .unwrap();
        header["conv_in.beas"] = moved;
        replace_weights(checkpoint, &join(&header, data));
    });
    fail(folder.path(), &SAMPLE, 1, &["ema.safetensors", "conv_in.b"]);

    for garbage in [&b""[..], b"short", &[0xff; 64], &[0; 64]] {
        let folder = damaged_copy(|checkpoint| replace_weights(checkpoint, garbage));
        fail(folder.path(), &SAMPLE, 1, &["ema.safetensors"]);
    }
}

#[test]
fn a_damaged_data_set_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mnist = folder.path().join("data/mnist");
    copy_folder(&repository().join("data/mnist"), &mnist);
    let images = mnist.join("train-images-idx3-ubyte.gz");
    let whole = fs::read(&images).unwrap();
    let smoke = config("smoke.toml");
    let args = [
        "train",
        "--config",
        &smoke,
        "--out",
        "run",
        "--data-dir",
        "data",
    ];
    let check = |parts: &[&str]| {
        // `command` would add the data of the repository.
        let ended = Command::new(env!("CARGO_BIN_EXE_trainer"))
            .args(args)
            .current_dir(folder.path())
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(1), "{stderr}");
        for part in parts.iter().chain(&["train-images-idx3-ubyte"]) {
            assert!(stderr.contains(part), "no {part:?} in {stderr}");
        }
        assert!(!stderr.contains("panicked"), "{stderr}");
        assert!(!folder.path().join("run").exists());
    };
    fs::write(&images, &whole[..whole.len() / 2]).unwrap();
    check(&[]);
    fs::write(&images, b"").unwrap();
    check(&[]);
    // Labels where images should be.
    fs::copy(mnist.join("train-labels-idx1-ubyte.gz"), &images).unwrap();
    check(&["magic"]);
    fs::remove_file(&images).unwrap();
    check(&[]);
}

#[test]
fn a_wrong_configuration_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let smoke = fs::read_to_string(config("smoke.toml")).unwrap();
    for (from, to, parts) in [
        (
            "batch_size",
            "batchsize",
            vec![
                "bad.toml:",
                "unknown key `batchsize`",
                "did you mean `batch_size`?",
            ],
        ),
        (
            "steps = 20",
            "steps = 0",
            vec!["bad.toml:", "training.steps", "at least 1"],
        ),
        ("steps = 20", "steps = -3", vec!["bad.toml:"]),
        ("steps = 20", "steps = \"many\"", vec!["bad.toml:"]),
        (
            "norm_num_groups = 4",
            "norm_num_groups = 3",
            vec!["bad.toml:", "network.norm_num_groups"],
        ),
        (
            "sample_size = 28",
            "sample_size = 27",
            vec!["bad.toml:", "network.sample_size"],
        ),
        (
            "sample_size = 28",
            "sample_size = 32",
            vec!["network.sample_size", "28"],
        ),
        (
            "in_channels = 1",
            "in_channels = 3",
            vec!["network.in_channels", "1"],
        ),
        (
            "\"mnist\"",
            "\"emnist\"",
            vec!["bad.toml:", "emnist", "mnist"],
        ),
        ("seed = 0", "seed = ", vec!["bad.toml:"]),
        (
            "layers_per_block = 1",
            "layers_per_block = 1\nnum_class_embeds = 5",
            vec!["num_class_embeds"],
        ),
    ] {
        fs::write(folder.path().join("bad.toml"), smoke.replacen(from, to, 1)).unwrap();
        fail(folder.path(), &["train", "--config", "bad.toml"], 2, &parts);
    }
    fail(
        folder.path(),
        &["train", "--config", "missing.toml"],
        2,
        &["missing.toml"],
    );
    fail(
        folder.path(),
        &["train", "--config", "."],
        2,
        &["configuration"],
    );
    let smoke = config("smoke.toml");
    for (args, parts) in [
        (
            vec!["--set", "training.batchsize=1"],
            vec!["--set training.batchsize=1", "did you mean"],
        ),
        (vec!["--set", "nonsense"], vec!["key=value"]),
        (vec!["--minutes", "0"], vec!["training.minutes"]),
        (vec!["--minutes", "nan"], vec!["training.minutes"]),
        (
            vec!["--steps", "1", "--minutes", "1"],
            vec!["--steps", "--minutes"],
        ),
        (vec!["--device", "flex:9"], vec!["flex:9", "finds 1 device"]),
    ] {
        fail(
            folder.path(),
            &[&["train", "--config", &smoke], &args[..]].concat(),
            2,
            &parts,
        );
    }
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[test]
fn a_place_that_cannot_be_written_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "a file").unwrap();
    let smoke = config("smoke.toml");
    for out in ["file", "file/run"] {
        let args = ["train", "--config", &smoke, "--out", out];
        fail(folder.path(), &args, 1, &[out, "Not a directory"]);
    }
    if cfg!(target_os = "linux") {
        // Where not even root may write.
        let args = ["train", "--config", &smoke, "--out", "/sys/kernel/run"];
        fail(folder.path(), &args, 1, &["/sys/kernel/run", "ermi"]);
    }
    assert_eq!(
        fs::read_to_string(folder.path().join("file")).unwrap(),
        "a file"
    );
}

/// A file system of one megabyte, where the machine lets one be made.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_told_and_leaves_the_older_checkpoints_whole() {
    struct Unmount(PathBuf);
    impl Drop for Unmount {
        fn drop(&mut self) {
            let _ = Command::new("umount").arg(&self.0).status();
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk");
    fs::create_dir(&disk).unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
        .arg(&disk)
        .output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        eprintln!("not tested: only root can make a small file system");
        return;
    }
    let _unmount = Unmount(disk.clone());
    let smoke = config("smoke.toml");
    let args = [
        "train",
        "--config",
        &smoke,
        "--out",
        "disk/run",
        "--steps",
        "20",
        "--set",
        "checkpoint.every=1",
        "--set",
        "checkpoint.keep=100",
    ];
    let ended: crate::support::Ended = command(folder.path(), &args).output().unwrap().into();
    assert_eq!(ended.code, Some(1), "{ended:#?}");
    assert!(ended.stderr.contains("No space left"), "{ended:#?}");
    assert!(!ended.stderr.contains("panicked"), "{ended:#?}");

    let left: Vec<_> = fs::read_dir(disk.join("run/checkpoints"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(
        !left.is_empty() && left.iter().all(|name| name.starts_with("step-")),
        "{left:?}"
    );
    copy_folder(&disk.join("run"), &folder.path().join("run"));
    succeed(
        folder.path(),
        &[
            "train",
            "--resume",
            "run",
            "--steps",
            "20",
            "--set",
            "checkpoint.keep=1",
        ],
    );
}
