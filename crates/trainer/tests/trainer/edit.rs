//! `trainer edit`, run as a user runs it.

use std::path::Path;
use std::sync::OnceLock;

use crate::support::{fail, grid_of, succeed, train};
use image::{GrayImage, Luma};

/// A run of a few steps, trained once for all tests of this file.
fn run() -> &'static str {
    static RUN: OnceLock<String> = OnceLock::new();
    RUN.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap().keep();
        train(&folder, "run", &["--steps", "3"]);
        folder.join("run").display().to_string()
    })
}

/// Writes an image of the network's size.
fn image(path: &Path, value: impl Fn(u32, u32) -> u8) {
    GrayImage::from_fn(28, 28, |x, y| Luma([value(x, y)]))
        .save(path)
        .unwrap();
}

/// Cell `index` of a grid of enlarged MNIST images with so many columns, at its own size.
fn cell(picture: &GrayImage, index: u32, columns: u32) -> GrayImage {
    let (left, top) = (2 + index % columns * 114, 2 + index / columns * 114);
    GrayImage::from_fn(28, 28, |x, y| *picture.get_pixel(left + 4 * x, top + 4 * y))
}

fn difference(a: &GrayImage, b: &GrayImage) -> f64 {
    let pixels = a.pixels().zip(b.pixels());
    let sum: u32 = pixels
        .map(|(a, b)| u32::from(a.0[0].abs_diff(b.0[0])))
        .sum();
    f64::from(sum) / f64::from(a.width() * a.height())
}

#[test]
fn the_weaker_the_edit_the_more_of_the_image_is_left() {
    let folder = tempfile::tempdir().unwrap();
    image(
        &folder.path().join("in.png"),
        |x, _| if x < 14 { 0 } else { 255 },
    );
    let edit = |strength: &str| {
        let args = [
            "edit",
            run(),
            "--from",
            "in.png",
            "--count",
            "3",
            "--steps",
            "20",
        ];
        let more = ["--strength", strength, "--class", "3", "--out", "out.png"];
        let ended = succeed(folder.path(), &[&args[..], &more].concat());
        assert!(ended.stdout.contains("wrote out.png"), "{ended:#?}");
        let picture = grid_of(&image::open(folder.path().join("out.png")).unwrap()).into_luma8();
        assert_eq!(
            (picture.width(), picture.height()),
            (2 + 2 * 114, 2 + 2 * 114)
        );
        [0, 1, 2, 3].map(|index| cell(&picture, index, 2))
    };
    let [original, slight, ..] = edit("0.05");
    assert_eq!(original.get_pixel(3, 3).0, [0]);
    assert_eq!(original.get_pixel(20, 3).0, [255]);
    let [_, strong, other, _] = edit("0.9");
    assert_ne!(strong, other);
    let (slight, strong) = (
        difference(&original, &slight),
        difference(&original, &strong),
    );
    assert!(slight < 40.0 && strong > 2.0 * slight, "{slight} {strong}");
}

#[test]
fn what_a_mask_keeps_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    image(&folder.path().join("in.png"), |x, y| (x * 4 + y * 5) as u8);
    image(&folder.path().join("mask.png"), |x, _| {
        if x < 14 { 255 } else { 0 }
    });
    for sampler in ["ddpm", "unipc"] {
        let args = [
            "edit",
            run(),
            "--from",
            "in.png",
            "--mask",
            "mask.png",
            "--count",
            "2",
        ];
        let more = [
            "--sampler",
            sampler,
            "--steps",
            "6",
            "--resamplings",
            "2",
            "--out",
            "out.png",
        ];
        succeed(folder.path(), &[&args[..], &more].concat());
        let picture = grid_of(&image::open(folder.path().join("out.png")).unwrap()).into_luma8();
        let [original, kept, first, second] = [0, 1, 2, 3].map(|index| cell(&picture, index, 2));
        for y in 0..28 {
            // What is drawn anew is grey in the picture of what is kept.
            assert_eq!(kept.get_pixel(3, y).0, [128]);
            for x in 14..28 {
                assert_eq!(first.get_pixel(x, y), original.get_pixel(x, y), "{sampler}");
            }
        }
        assert_ne!(first, original);
        assert_ne!(first, second);
    }
}

/// A chain of few steps does not end in pure noise: six tenths of an image are left in its x_T, of which nothing
/// may show where it was given up.
#[test]
fn what_a_mask_gives_up_leaves_no_trace() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let short = ["--steps", "1", "--set", "noise.num_train_timesteps=100"];
    train(path, "run", &short);
    for (name, given_up) in [("dark.png", 0), ("light.png", 255)] {
        image(&path.join(name), |x, _| if x < 14 { given_up } else { 90 });
    }
    image(&path.join("mask.png"), |x, _| if x < 14 { 255 } else { 0 });
    let drawn = |from: &str, more: &[&str]| {
        let args = ["edit", "run", "--from", from, "--mask", "mask.png"];
        let few = ["--count", "2", "--steps", "4", "--out", "out.png"];
        succeed(path, &[&args[..], &few, more].concat());
        let picture = grid_of(&image::open(path.join("out.png")).unwrap()).into_luma8();
        [2, 3].map(|index| cell(&picture, index, 2))
    };
    assert_eq!(drawn("dark.png", &[]), drawn("light.png", &[]));
    // Where the image is asked to show, it does.
    let weaker = ["--strength", "0.9"];
    assert_ne!(drawn("dark.png", &weaker), drawn("light.png", &weaker));
}

#[test]
fn the_way_between_two_images_begins_and_ends_with_them() {
    let folder = tempfile::tempdir().unwrap();
    image(
        &folder.path().join("a.png"),
        |x, _| if x < 14 { 20 } else { 200 },
    );
    image(
        &folder.path().join("b.png"),
        |_, y| if y < 10 { 240 } else { 90 },
    );
    let args = [
        "edit",
        run(),
        "--between",
        "a.png",
        "b.png",
        "--steps",
        "100",
    ];
    succeed(
        folder.path(),
        &[&args[..], &["--frames", "5", "--out", "strip.png"]].concat(),
    );
    let strip = grid_of(&image::open(folder.path().join("strip.png")).unwrap()).into_luma8();
    assert_eq!((strip.width(), strip.height()), (2 + 5 * 114, 2 + 114));
    let frames = [0, 1, 2, 3, 4].map(|index| cell(&strip, index, 5));
    let open = |name| image::open(folder.path().join(name)).unwrap().into_luma8();
    let (a, b) = (open("a.png"), open("b.png"));
    let (start, end) = (difference(&frames[0], &a), difference(&frames[4], &b));
    assert!(start < 4.0 && end < 4.0, "{start} {end}");
    assert!(difference(&frames[2], &a) > 4.0 && difference(&frames[2], &b) > 4.0);
}

#[test]
fn edits_that_cannot_be_made_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    image(&folder.path().join("in.png"), |x, _| x as u8);
    for (args, code, parts) in [
        (vec![], 2, vec!["--from"]),
        (vec!["--from", "none.png"], 1, vec!["none.png"]),
        (
            vec!["--from", "in.png", "--mask", "none.png"],
            1,
            vec!["none.png"],
        ),
        (
            vec!["--from", "in.png", "--strength", "0"],
            2,
            vec!["--strength 0"],
        ),
        (
            vec!["--from", "in.png", "--strength", "1.5"],
            2,
            vec!["--strength 1.5"],
        ),
        (
            vec!["--from", "in.png", "--strength", "nan"],
            2,
            vec!["--strength"],
        ),
        (vec!["--from", "in.png", "--count", "0"], 2, vec!["--count"]),
        (
            vec!["--from", "in.png", "--resamplings", "0"],
            2,
            vec!["--resamplings"],
        ),
        (vec!["--from", "in.png", "--class", "10"], 2, vec!["0 to 9"]),
        (
            vec!["--from", "in.png", "--class", "1,2"],
            2,
            vec!["one class"],
        ),
        (vec!["--between", "in.png"], 2, vec!["--between"]),
        (
            vec!["--between", "in.png", "in.png", "--frames", "1"],
            2,
            vec!["--frames"],
        ),
        (
            vec!["--between", "in.png", "in.png", "--seed", "1"],
            2,
            vec!["--seed"],
        ),
        (
            vec!["--mask", "in.png", "--between", "in.png", "in.png"],
            2,
            vec!["--between"],
        ),
    ] {
        let args = [&["edit", run()], &args[..], &["--out", "never.png"]].concat();
        fail(folder.path(), &args, code, &parts);
    }
    assert!(!folder.path().join("never.png").exists());
}
