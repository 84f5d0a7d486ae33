//! `trainer sample` and `trainer devices`, run as a user runs them.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use crate::support::{fail, grid_of, succeed, train};

/// A run of a few steps, trained once for all tests of this file.
fn run() -> &'static str {
    static RUN: OnceLock<String> = OnceLock::new();
    RUN.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap().keep();
        train(&folder, "run", &["--steps", "10"]);
        folder.join("run").display().to_string()
    })
}

/// The size of the grid in a picture.
fn size(path: &Path) -> (u32, u32) {
    let picture = grid_of(&image::open(path).unwrap());
    (picture.width(), picture.height())
}

/// The size of a grid of MNIST images.
fn grid(columns: u32, rows: u32) -> (u32, u32) {
    (2 + columns * 114, 2 + rows * 114)
}

#[test]
fn a_grid_shows_ten_of_each_class() {
    let folder = tempfile::tempdir().unwrap();
    crate::support::copy_folder(Path::new(run()), &folder.path().join("run"));
    let ended = succeed(folder.path(), &["sample", "run", "--steps", "2"]);
    assert!(ended.stdout.contains("wrote run/samples.png"), "{ended:#?}");
    assert_eq!(size(&folder.path().join("run/samples.png")), grid(10, 10));
}

#[test]
fn the_same_seed_gives_the_same_pictures_whatever_the_batch_size() {
    let folder = tempfile::tempdir().unwrap();
    let samplers: [&[&str]; 2] = [&["--sampler", "ddpm"], &["--sampler", "ddim", "--eta", "1"]];
    for sampler in samplers {
        let sample = |out: &str, seed: &str, batch_size: &str| {
            succeed(
                folder.path(),
                &[
                    &["sample", run()],
                    sampler,
                    &[
                        "--steps",
                        "4",
                        "--count",
                        "7",
                        "--guidance",
                        "2",
                        "--seed",
                        seed,
                        "--batch-size",
                        batch_size,
                        "--out",
                        out,
                    ],
                ]
                .concat(),
            );
            image::open(folder.path().join(out)).unwrap().to_luma8()
        };
        let all_at_once = sample("a.png", "3", "7");
        assert_eq!(all_at_once, sample("b.png", "3", "7"));
        assert_ne!(all_at_once, sample("c.png", "4", "7"));
        for batch_size in ["1", "2", "5"] {
            let in_parts = sample("d.png", "3", batch_size);
            let largest = all_at_once
                .pixels()
                .zip(in_parts.pixels())
                .map(|(a, b)| a.0[0].abs_diff(b.0[0]))
                .max();
            // Sums may be taken in another order, which can tip a value over the edge of a byte.
            assert!(
                largest <= Some(1),
                "{sampler:?}, batches of {batch_size}: {largest:?}"
            );
        }
    }
}

#[test]
fn classes_and_guidance_change_the_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let sample = |out: &str, more: &[&str]| {
        succeed(
            folder.path(),
            &[
                &[
                    "sample",
                    run(),
                    "--steps",
                    "3",
                    "--count",
                    "4",
                    "--out",
                    out,
                ],
                more,
            ]
            .concat(),
        );
        image::open(folder.path().join(out)).unwrap()
    };
    let seven = sample("seven.png", &["--class", "7"]);
    assert_ne!(seven, sample("one.png", &["--class", "1"]));
    assert_ne!(seven, sample("none.png", &["--class", "none"]));
    assert_ne!(
        seven,
        sample("guided.png", &["--class", "7", "--guidance", "5"])
    );
    // Guidance of 1 is none, and there is nothing to guide without a class.
    assert_eq!(
        sample("a.png", &["--class", "none"]),
        sample("b.png", &["--class", "none", "--guidance", "1"])
    );
    for guidance in [
        &["--guidance", "5"][..],
        &["--set", "sampling.guidance_scale=5"],
    ] {
        let args = ["sample", run(), "--class", "none", "--out", "never.png"];
        let args = [&args[..], guidance].concat();
        fail(folder.path(), &args, 2, &["leads towards a class"]);
    }
    assert_eq!(size(&folder.path().join("seven.png")), grid(2, 2));
}

#[test]
fn single_images_an_animation_and_a_strip_are_written_too() {
    let folder = tempfile::tempdir().unwrap();
    succeed(
        folder.path(),
        &[
            "sample",
            run(),
            "--steps",
            "12",
            "--class",
            "0,1,2",
            "--count",
            "6",
            "--batch-size",
            "4",
            "--out",
            "grid.png",
            "--each",
            "each",
            "--gif",
            "motion.gif",
            "--trajectory",
            "strip.png",
        ],
    );
    let labels = fs::read_to_string(folder.path().join("each/labels.csv")).unwrap();
    let expected = "file,class,name\n000000.png,0,0\n000001.png,1,1\n000002.png,2,2\n000003.png,0,0\n\
                    000004.png,1,1\n000005.png,2,2\n";
    assert_eq!(labels, expected);
    let single = image::open(folder.path().join("each/000005.png")).unwrap();
    assert_eq!(
        (single.width(), single.height(), single.color()),
        (28, 28, image::ColorType::L8)
    );
    // A title and the same grid. A GIF has a palette of its own, by which its frame is not found.
    let [motion, whole] =
        ["motion.gif", "grid.png"].map(|name| image::open(folder.path().join(name)).unwrap());
    assert_eq!(motion.height(), whole.height());
    assert!(motion.width() >= size(&folder.path().join("grid.png")).0);
    // Four images, two rows each, at ten moments.
    assert_eq!(size(&folder.path().join("strip.png")), grid(10, 8));
}

#[test]
fn what_cannot_be_drawn_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let out = ["--out", "never.png"];
    for (args, code, parts) in [
        (vec!["--class", "10"], 2, vec!["--class \"10\"", "0 to 9"]),
        (vec!["--count", "0"], 2, vec!["--count"]),
        (vec!["--batch-size", "0"], 2, vec!["--batch-size"]),
        (vec!["--steps", "0"], 2, vec!["num_inference_steps"]),
        (
            vec!["--steps", "1001"],
            2,
            vec!["num_inference_steps", "1001"],
        ),
        (vec!["--eta", "2"], 2, vec!["sampling.eta"]),
        (vec!["--sampler", "magic"], 2, vec!["magic", "ddpm"]),
        (
            vec!["--device", "quantum"],
            2,
            vec!["unknown device", "flex"],
        ),
    ] {
        let args = [&["sample", run()], &args[..], &out].concat();
        fail(folder.path(), &args, code, &parts);
    }
    fail(
        folder.path(),
        &["sample", "nowhere"],
        2,
        &["nowhere does not exist"],
    );
    fail(
        folder.path(),
        &[
            "sample",
            run(),
            "--count",
            "1",
            "--steps",
            "1",
            "--out",
            "/dev/null/x.png",
        ],
        2,
        &["/dev/null is a file"],
    );
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn devices_are_listed_and_one_is_picked() {
    let folder = tempfile::tempdir().unwrap();
    let ended = succeed(folder.path(), &["devices"]);
    assert!(
        ended.stdout.contains("* ") && ended.stdout.contains("flex"),
        "{ended:#?}"
    );
}

/// Every sampler draws the same picture from the same seed, and none that of another. (Euler and its
/// ancestral variant are DDIM and DDPM by other names.)
#[test]
fn every_sampler_draws() {
    let folder = tempfile::tempdir().unwrap();
    let mut pictures = Vec::new();
    for sampler in [
        "ddpm",
        "ddim",
        "heun",
        "dpmpp-2m",
        "dpmpp-2s",
        "dpmpp-2m-sde",
        "unipc",
        "deis",
    ] {
        let sample = |out: &str| {
            let args = ["sample", run(), "--count", "2", "--steps", "4"];
            let more = ["--spacing", "karras", "--sampler", sampler, "--out", out];
            succeed(folder.path(), &[&args[..], &more].concat());
            image::open(folder.path().join(out)).unwrap()
        };
        let picture = sample("a.png");
        assert_eq!(picture, sample("b.png"), "{sampler}");
        assert!(!pictures.contains(&picture), "{sampler}");
        pictures.push(picture);
    }
}

#[test]
fn settings_of_sampling_can_be_overridden_and_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let args = [
        "sample",
        run(),
        "--count",
        "2",
        "--steps",
        "3",
        "--out",
        "a.png",
    ];
    let sample = |set: &[&str]| {
        succeed(folder.path(), &[&args[..], set].concat());
        // Without the title, which says the settings.
        grid_of(&image::open(folder.path().join("a.png")).unwrap())
    };
    let plain = sample(&[]);
    assert_eq!(
        plain,
        sample(&["--set", "sampling.clipping={kind=\"clamp\"}"])
    );
    assert_ne!(
        plain,
        sample(&["--set", "sampling.clipping={kind=\"clamp\", range=0.5}"])
    );
    let guided = ["--guidance", "4", "--set"];
    let everywhere = sample(&guided[..2]);
    assert_ne!(
        everywhere,
        sample(&[&guided[..], &["sampling.guidance_rescale=0.7"]].concat())
    );
    let within = |interval: &str| sample(&[&guided[..], &[interval]].concat());
    assert_ne!(everywhere, within("sampling.guidance_interval=[0, 400]"));
    assert_eq!(everywhere, within("sampling.guidance_interval=[0, 999]"));
    let without = sample(&["--guidance", "1"]);
    assert_eq!(without, within("sampling.guidance_interval=[1000, 1001]"));
    for (set, parts) in [
        (
            "training.steps=3",
            vec!["training.steps=3", "only keys of [sampling]"],
        ),
        (
            "sampling.clipping={kind=\"some\"}",
            vec!["some", "dynamic-threshold"],
        ),
        (
            "sampling.clipping={kind=\"clamp\", range=-1}",
            vec!["sampling.clipping: the range that x_0 is clamped to is -1"],
        ),
        (
            "sampling.guidance_interval=[5, 1]",
            vec!["sampling.guidance_interval: [5, 1]"],
        ),
        ("sampling.timestep_spacing=even", vec!["even", "log-linear"]),
    ] {
        fail(
            folder.path(),
            &[&args[..], &["--set", set]].concat(),
            2,
            &parts,
        );
    }
    let churn = ["--sampler", "heun", "--set", "sampling.heun.s_churn=-2"];
    fail(
        folder.path(),
        &[&args[..], &churn].concat(),
        2,
        &["s_churn is -2"],
    );
}

#[test]
fn samplers_are_drawn_side_by_side_and_measured() {
    let folder = tempfile::tempdir().unwrap();
    let drawn = succeed(
        folder.path(),
        &[
            "samplers",
            run(),
            "--count",
            "3",
            "--steps",
            "2",
            "--out",
            "all.png",
        ],
    );
    assert!(drawn.stdout.contains("row 10: deis"), "{drawn:#?}");
    assert_eq!(size(&folder.path().join("all.png")), grid(3, 10));
    // A chain of few steps, for which every step is soon taken.
    train(
        folder.path(),
        "short",
        &[
            "--steps",
            "2",
            "--set",
            "noise.num_train_timesteps=20",
            "--set",
            "sampling.num_inference_steps=2",
        ],
    );
    let measured = succeed(folder.path(), &["samplers", "short", "--calls", "2,4,8"]);
    assert!(measured.stdout.contains("network calls"), "{measured:#?}");
    assert!(measured.stdout.contains("in 20 steps"), "{measured:#?}");
}
