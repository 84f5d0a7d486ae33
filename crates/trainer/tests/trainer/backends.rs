//! Every backend of the build does the same: the losses of flex on the same seeds, and checkpoints
//! that go from one to the other.
//!
//! Tested are all devices of the build besides flex, or those that `TEST_DEVICES` names (with commas
//! between them), which then must be there.

use std::path::Path;

#[cfg(feature = "persistence")]
use crate::support::command;
use crate::support::{config, fail, succeed};

/// A network as small as it can be: a software GPU takes minutes to compile kernels.
const TINY: &[&str] = &[
    "--set",
    "network.block_out_channels=[4, 4]",
    "--set",
    "network.norm_num_groups=2",
    "--set",
    "network.down_block_attention=[false, false]",
    "--set",
    "training.batch_size=2",
    "--set",
    "training.warmup_steps=0",
    "--set",
    "log.every=1",
    "--set",
    "checkpoint.every=1000",
    "--set",
    "held_out.examples=5",
    "--set",
    "sampling.count=1",
    "--set",
    "sampling.num_inference_steps=1",
];

const STEPS: usize = 3;

fn devices() -> Vec<String> {
    match std::env::var("TEST_DEVICES") {
        Ok(names) => names.split(',').map(str::to_owned).collect(),
        Err(_) => trainer::device::available()
            .into_iter()
            .map(|device| device.name)
            .filter(|name| name != "flex")
            .collect(),
    }
}

fn train_on(folder: &Path, device: &str) -> Vec<f64> {
    train_with(folder, device, &[])
}

fn train_with(folder: &Path, device: &str, more: &[&str]) -> Vec<f64> {
    let config = config("smoke.toml");
    let steps = STEPS.to_string();
    let out = device.replace([':', ','], "-");
    let args = [
        "train", "--config", &config, "--out", &out, "--device", device, "--steps", &steps,
    ];
    succeed(folder, &[&args[..], TINY, more].concat());
    let metrics = std::fs::read_to_string(folder.join(out).join("metrics.jsonl")).unwrap();
    let losses: Vec<f64> = metrics
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .flat_map(|record| [record["loss"].as_f64(), record["held_out_loss"].as_f64()])
        .flatten()
        .collect();
    assert_eq!(losses.len(), STEPS + 1, "{metrics}");
    losses
}

#[test]
fn every_device_trains_like_flex_and_reads_its_checkpoints() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let reference = train_on(path, "flex");
    let sample = |run: &str, device: &str| {
        succeed(
            path,
            &[
                "sample", run, "--device", device, "--count", "2", "--steps", "2", "--out",
                "grid.png",
            ],
        );
        image::open(path.join("grid.png")).unwrap().to_luma8()
    };
    for device in devices() {
        let losses = train_on(path, &device);
        eprintln!("flex {reference:?}\n{device} {losses:?}");
        for (loss, expected) in losses.iter().zip(&reference) {
            assert!(
                (loss - expected).abs() < 1e-4 * expected.max(1.0),
                "{device}: {losses:?}, flex: {reference:?}"
            );
        }

        // Written there and read here, and the other way round.
        let run = device.replace(':', "-");
        for run in [run.as_str(), "flex"] {
            let (here, there) = (sample(run, "flex"), sample(run, &device));
            let largest = here
                .pixels()
                .zip(there.pixels())
                .map(|(a, b)| a.0[0].abs_diff(b.0[0]))
                .max();
            assert!(largest <= Some(1), "{device}: {largest:?}");
        }
    }
}

/// Half precision learns what f32 does, on every device that has it; the others say what they have.
#[test]
fn half_precision_is_near_f32_wherever_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let reference = train_on(folder.path(), "flex");
    for device in devices() {
        let mut available = trainer::device::available().into_iter();
        let named = available.find(|named| named.name == device).unwrap();
        let has = trainer::device::precisions(&named.device);
        for (precision, tolerance) in [("bf16", 0.03), ("f16", 0.005)] {
            let key = format!("training.precision={precision}");
            if !has.contains(&precision) {
                let smoke = config("smoke.toml");
                let args = ["train", "-c", &smoke, "--device", &device, "--set", &key];
                fail(folder.path(), &args, 2, &[&device, precision, "it has f32"]);
                continue;
            }
            let losses = train_with(folder.path(), &device, &["--set", &key, "--overwrite"]);
            eprintln!("flex {reference:?}\n{device} in {precision} {losses:?}");
            for (loss, expected) in losses.iter().zip(&reference) {
                assert!(
                    (loss / expected - 1.0).abs() < tolerance,
                    "{device} in {precision}: {losses:?}, flex: {reference:?}"
                );
            }
        }
    }
}

/// A step's two batches on a processor and on another device: gradients and weights go to and fro, and whichever is the
/// first, the losses are those of flex alone.
#[test]
fn unlike_devices_share_a_step() {
    let folder = tempfile::tempdir().unwrap();
    let two = ["--set", "training.gradient_accumulation=2"];
    let reference = train_with(folder.path(), "flex", &two);
    for device in devices() {
        for both in [format!("flex,{device}"), format!("{device},flex")] {
            let losses = train_with(folder.path(), &both, &two);
            eprintln!("flex {reference:?}\n{both} {losses:?}");
            for (loss, expected) in losses.iter().zip(&reference) {
                assert!(
                    (loss - expected).abs() < 1e-4 * expected.max(1.0),
                    "{both}: {losses:?}, flex: {reference:?}"
                );
            }
        }
    }
}

/// A GPU is made to launch few kernels a step: a bound, for which kernels burn's tuning picks differs from
/// device to device. Mesa's software Vulkan was made to launch 476.
#[test]
fn a_step_launches_few_kernels() {
    const MOST: u64 = 530;
    let folder = tempfile::tempdir().unwrap();
    let smoke = config("smoke.toml");
    for device in devices() {
        if ["flex", "ndarray"].contains(&device.as_str()) {
            continue;
        }
        let args = [
            "bench",
            "-c",
            &smoke,
            "--launches",
            "--json",
            "--only",
            "train",
            "--device",
            &device,
            "--batch-sizes",
            "2",
        ];
        let said = succeed(folder.path(), &[&args[..], &TINY[..6]].concat()).stdout;
        let all: serde_json::Value = serde_json::from_str(said.lines().next().unwrap()).unwrap();
        assert_eq!(all["kernel"], "all", "{said}");
        let launches = all["launches"].as_u64().unwrap();
        assert!((1..=MOST).contains(&launches), "{device}: {said}");
    }
}

/// The second start tunes nothing: it finds what the first has kept.
#[cfg(feature = "persistence")]
#[test]
fn what_was_tuned_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let smoke = config("smoke.toml");
    for device in devices() {
        if ["flex", "ndarray"].contains(&device.as_str()) {
            continue;
        }
        // Each kernel that is tuned is a line of the log.
        let tuned = |log: &str| {
            let args = [
                "bench",
                "-c",
                &smoke,
                "--only",
                "train",
                "--batch-sizes",
                "2",
            ];
            let args = [&args[..], &["--device", &device], &TINY[..6]].concat();
            let ended = command(folder.path(), &args)
                .env("XDG_CACHE_HOME", folder.path().join("cache"))
                .env("CUBECL_DEBUG_LOG", folder.path().join(log))
                .env("CUBECL_DEBUG_OPTION", "debug")
                .output()
                .unwrap();
            assert!(ended.status.success(), "{ended:?}");
            let log = std::fs::read_to_string(folder.path().join(log)).unwrap();
            log.matches("Fastest result").count()
        };
        let (first, second) = (tuned("first.log"), tuned("second.log"));
        assert!(first > 0 && second == 0, "{device}: {first}, {second}");
    }
}

/// Weights that no buffer of a software GPU holds are refused before anything is written.
#[test]
fn weights_longer_than_a_vector_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for device in devices() {
        let mut available = trainer::device::available().into_iter();
        let named = available.find(|named| named.name == device).unwrap();
        let Some(most) = kernels::longest_vector(&named.device) else {
            continue;
        };
        // 35.7 million parameters.
        if most > 35_000_000 {
            continue;
        }
        let args = ["bench", "-c", "cifar10", "--device", &device];
        let most = most.to_string();
        fail(folder.path(), &args, 2, &["network", "weights", &most]);
    }
}

#[test]
fn launches_of_a_processor_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let smoke = config("smoke.toml");
    let args = ["bench", "-c", &smoke, "--launches", "--device", "flex"];
    fail(folder.path(), &args, 2, &["--launches", "flex", "--device"]);
}
