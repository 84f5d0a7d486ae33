//! `trainer noise`, run as a user runs it.

use std::fs;
use std::path::Path;

use crate::support::{Ended, config, fail, repository, succeed};
use datasets::{Audio, DatasetName, ImageDataset, Split, read_wav};
use image::{DynamicImage, GrayImage, RgbImage};
use noising::{BetaSchedule, NoiseSchedule};

/// Pixels: the gap between cells, a cell of MNIST, and the two lines of text above a strip.
const GAP: u32 = 2;
const CELL: u32 = 112;
const TEXT: u32 = 48;

/// The share of N(0, 1) outside [-1, 1], with what rounds to the ends.
const OUTSIDE: f64 = 0.319;

/// Runs `trainer noise` with the smoke configuration of the repository.
#[track_caller]
fn noise(folder: &Path, args: &[&str]) -> Ended {
    let config = config("smoke.toml");
    succeed(folder, &[&["noise", "--config", &config], args].concat())
}

#[track_caller]
fn refuse(folder: &Path, args: &[&str], code: i32, parts: &[&str]) {
    let config = config("smoke.toml");
    fail(
        folder,
        &[&["noise", "--config", &config], args].concat(),
        code,
        parts,
    );
}

/// The names in a folder, in order.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// The rows of table.csv: t, ᾱ, SNR, KL.
fn table(folder: &Path) -> Vec<[f64; 4]> {
    let text = fs::read_to_string(folder.join("table.csv")).unwrap();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("t,alpha_cumprod,snr,kl_to_pure_noise"));
    lines
        .map(|line| {
            let row: Vec<f64> = line.split(',').map(|cell| cell.parse().unwrap()).collect();
            row.try_into().unwrap()
        })
        .collect()
}

/// The shares of black and of white pixels in a column of a strip of MNIST images.
fn black_and_white(strip: &DynamicImage, column: u32) -> [f64; 2] {
    let x = GAP + column * (CELL + GAP);
    let (mut black, mut white, mut all) = (0, 0, 0);
    for row in 0..10 {
        let cell = strip.crop_imm(x, TEXT + GAP + row * (CELL + GAP), CELL, CELL);
        // Each pixel of an image is enlarged to four by four.
        for (_, _, pixel) in cell
            .to_luma8()
            .enumerate_pixels()
            .filter(|(x, y, _)| x % 4 == 0 && y % 4 == 0)
        {
            all += 1;
            black += usize::from(pixel.0[0] == 0);
            white += usize::from(pixel.0[0] == 255);
        }
    }
    assert_eq!(all, 10 * 28 * 28);
    [black, white].map(|count| count as f64 / f64::from(all))
}

#[test]
fn mnist_dissolves_in_both_ways() {
    let folder = tempfile::tempdir().unwrap();
    let data = repository().join("data").display().to_string();
    let ended = noise(folder.path(), &["--data-dir", &data]);
    let out = folder.path().join("runs/noise");
    assert_eq!(
        names(&out),
        [
            "closed-form.png",
            "noising.gif",
            "schedule.png",
            "step-by-step.png",
            "table.csv"
        ]
    );
    for name in ["closed-form.png", "step-by-step.png"] {
        assert!(
            ended.stdout.contains(&format!("wrote runs/noise/{name}")),
            "{ended:#?}"
        );
        let strip = image::open(out.join(name)).unwrap();
        assert!(
            matches!(strip, DynamicImage::ImageLuma8(_)),
            "{name} is not grey"
        );
        let side = GAP + 10 * (CELL + GAP);
        assert_eq!((strip.width(), strip.height()), (side, TEXT + side));
        // At the end a standard deviation of 1: what lies outside [-1, 1] is clipped. Six standard
        // errors of 7840 pixels are 0.032; a deviation of 0.9 or 1.1 would be 0.05 off.
        let [black, white] = black_and_white(&strip, 9);
        assert!(
            (black + white - OUTSIDE).abs() < 0.032,
            "{name}: {black} and {white}"
        );
        // And a mean of 0: of the images, mostly black, nothing is left.
        assert!((black - white).abs() < 0.04, "{name}: {black} and {white}");
        // Digits are white on black.
        assert!(black_and_white(&strip, 0)[0] > 0.7);
    }

    // The table is the formula with the mean square of these ten images.
    let dataset = ImageDataset::load(
        DatasetName::Mnist,
        Split::Test,
        Path::new(&data).join("mnist").as_path(),
    )
    .unwrap();
    let first = |class| {
        dataset
            .labels()
            .iter()
            .position(|&label| label == Some(class))
            .unwrap()
    };
    let values: Vec<f64> = (0..10)
        .flat_map(|class| dataset.read(&[first(class)]).unwrap())
        .map(|byte| f64::from(byte) / 127.5 - 1.0)
        .collect();
    let mean_square = values.iter().map(|v| v * v).sum::<f64>() / values.len() as f64;
    let schedule = NoiseSchedule::new(&BetaSchedule::default(), 1000).unwrap();
    let table = table(&out);
    assert_eq!(table.len(), 12);
    assert_eq!((table[0][0], table[11][0]), (0.0, 999.0));
    for [t, alpha_cumprod, snr, kl] in table {
        let t = t as usize;
        assert_eq!(alpha_cumprod, schedule.alphas_cumprod()[t]);
        assert_eq!(snr, schedule.snr(t));
        let expected = 0.5 * (alpha_cumprod * (mean_square - 1.0) - (1.0 - alpha_cumprod).ln());
        assert!(
            (kl - expected).abs() < 1e-6,
            "t = {t}: {kl}, not {expected}"
        );
    }
    // It is also printed, and aligned.
    assert!(
        ended.stdout.contains("999   4.036e-5   4.036e-5"),
        "{ended:#?}"
    );
}

#[test]
fn the_seed_decides() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.png");
    GrayImage::from_fn(8, 8, |x, y| image::Luma([(x * 30 + y) as u8]))
        .save(&path)
        .unwrap();
    let run = |out: &str, seed: &str| {
        noise(folder.path(), &["a.png", "--out", out, "--seed", seed]);
        ["closed-form.png", "step-by-step.png", "noising.gif"]
            .map(|name| fs::read(folder.path().join(out).join(name)).unwrap())
    };
    let (one, again, other) = (run("1", "7"), run("2", "7"), run("3", "8"));
    assert_eq!(one, again);
    for (one, other) in one.iter().zip(&other) {
        assert_ne!(one, other);
    }
}

#[test]
fn an_image_file_and_a_folder_of_images() {
    let folder = tempfile::tempdir().unwrap();
    let images = folder.path().join("images");
    fs::create_dir(&images).unwrap();
    for (name, width, height) in [("a.png", 300, 200), ("b.png", 64, 90), ("c.png", 60, 60)] {
        RgbImage::from_fn(width, height, |x, y| image::Rgb([x as u8, y as u8, 90]))
            .save(images.join(name))
            .unwrap();
    }
    let strip = |out: &str| image::open(folder.path().join(out).join("closed-form.png")).unwrap();

    noise(folder.path(), &["images/a.png", "--out", "one"]);
    assert!(matches!(strip("one"), DynamicImage::ImageRgb8(_)));
    assert_eq!(strip("one").width(), GAP + 10 * (128 + GAP));
    assert_eq!(strip("one").height(), TEXT + GAP + 128 + GAP);

    noise(
        folder.path(),
        &[
            "images",
            "--out",
            "all",
            "--grey",
            "--size",
            "60",
            "--columns",
            "12",
        ],
    );
    assert!(matches!(strip("all"), DynamicImage::ImageLuma8(_)));
    assert_eq!(strip("all").width(), GAP + 12 * (120 + GAP));
    assert_eq!(strip("all").height(), TEXT + GAP + 3 * (120 + GAP));

    noise(folder.path(), &["images", "--out", "two", "--count", "2"]);
    assert_eq!(strip("two").height(), TEXT + GAP + 2 * (128 + GAP));
}

#[test]
fn a_sound_drowns() {
    const FRAMES: usize = 6000;
    let folder = tempfile::tempdir().unwrap();
    let sine = |period: f32| (0..FRAMES).map(move |i| 0.8 * (i as f32 / period).sin());
    let samples: Vec<f32> = sine(7.0).chain(sine(23.0)).collect();
    let tone = Audio::new(22_050, 2, samples.clone()).unwrap();
    fs::write(folder.path().join("tone.wav"), tone.to_wav().unwrap()).unwrap();
    noise(
        folder.path(),
        &["tone.wav", "--out", "out", "--columns", "4"],
    );
    let out = folder.path().join("out");
    assert_eq!(
        names(&out),
        [
            "noising.gif",
            "schedule.png",
            "spectrograms.png",
            "table.csv",
            "waveforms.png",
            "x-t-0332.wav",
            "x-t-0665.wav",
            "x-t-0999.wav"
        ]
    );

    let correlation = |t: usize| {
        let noised = read_wav(&out.join(format!("x-t-{t:04}.wav"))).unwrap();
        assert_eq!(
            (noised.sample_rate(), noised.channels(), noised.frames()),
            (22_050, 2, FRAMES)
        );
        let sum = |f: &dyn Fn(f64, f64) -> f64| {
            let pairs = noised.samples().iter().zip(&samples);
            pairs.map(|(&a, &b)| f(a.into(), b.into())).sum::<f64>()
        };
        let correlation = sum(&|a, b| a * b) / (sum(&|a, _| a * a) * sum(&|_, b| b * b)).sqrt();
        let deviation = (sum(&|a, _| a * a) / samples.len() as f64).sqrt();
        let outside = sum(&|a, _| f64::from(a.abs() > deviation)) / samples.len() as f64;
        (correlation, outside)
    };
    // √ᾱ r / √(ᾱ r² + 1 − ᾱ) with r² = 0.32, the mean square of the tones.
    let schedule = NoiseSchedule::new(&BetaSchedule::default(), 1000).unwrap();
    for t in [332, 665, 999] {
        let alpha_cumprod = schedule.alphas_cumprod()[t];
        let signal = alpha_cumprod * 0.32;
        let expected = (signal / (signal + 1.0 - alpha_cumprod)).sqrt();
        let (correlation, _) = correlation(t);
        assert!(
            (correlation - expected).abs() < 0.05,
            "t = {t}: {correlation}, not {expected}"
        );
    }
    // The last one is normal noise, turned down but not clipped.
    let (_, outside) = correlation(999);
    assert!((outside - 0.317).abs() < 0.025, "{outside}");
}

#[test]
fn points_dissolve() {
    let folder = tempfile::tempdir().unwrap();
    let line: String = (0..300).map(|i| format!("{i},{},7\n", 2 * i)).collect();
    fs::write(
        folder.path().join("line.csv"),
        format!("east,north,up\n{line}"),
    )
    .unwrap();
    noise(folder.path(), &["line.csv", "--out", "line"]);
    assert_eq!(
        names(&folder.path().join("line")),
        [
            "noising.gif",
            "scatter-closed-form.png",
            "scatter-step-by-step.png",
            "schedule.png",
            "table.csv"
        ]
    );

    let values: String = (0..300).map(|i| format!("{}\n", i % 2)).collect();
    fs::write(folder.path().join("coin.CSV"), values).unwrap();
    noise(
        folder.path(),
        &["coin.CSV", "--out", "coin", "--count", "100"],
    );
    assert!(
        folder
            .path()
            .join("coin/histogram-step-by-step.png")
            .is_file()
    );
    // Values of 0 and 1 are normalised to about −1 and 1.
    let [_, alpha_cumprod, _, kl] = table(&folder.path().join("coin"))[5];
    let expected = -0.5 * (1.0 - alpha_cumprod).ln();
    assert!(
        (kl - expected).abs() < 0.05 * expected,
        "{kl}, not {expected}"
    );
}

#[test]
fn the_chain_is_the_configurations_and_can_be_overridden() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("point.csv"), "1,2\n").unwrap();
    noise(
        folder.path(),
        &[
            "point.csv",
            "--out",
            "out",
            "--set",
            "noise.schedule.kind=cosine",
            "--set",
            "noise.num_train_timesteps=6",
            "--set",
            "noise.rescale_zero_terminal_snr=true",
        ],
    );
    let table = table(&folder.path().join("out"));
    assert_eq!(table.len(), 6);
    let schedule: BetaSchedule = BetaSchedule::Cosine {
        offset: 0.008,
        max_beta: 0.999,
    };
    let schedule = NoiseSchedule::new(&schedule, 6)
        .unwrap()
        .rescale_zero_terminal_snr();
    for (row, &alpha_cumprod) in table.iter().zip(schedule.alphas_cumprod()) {
        assert_eq!(row[1], alpha_cumprod);
    }
    assert_eq!(table[5][1..], [0.0; 3]);
}

#[test]
fn input_that_cannot_be_noised_is_refused_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let write = |name: &str, bytes: &[u8]| fs::write(path.join(name), bytes).unwrap();
    write("notes.txt", b"hello");
    write("plain", b"hello");
    write("bad.png", b"\x89PNG\r\n\x1a\n and no more");
    write("bad.wav", b"RIFF");
    write("bad.csv", b"1,2\n3,x\n");
    fs::create_dir(path.join("empty")).unwrap();
    write("point.csv", b"1,2\n");
    GrayImage::new(9, 9).save(path.join("good.png")).unwrap();
    let before = names(path);

    for (args, code, parts) in [
        (
            &["none.png"][..],
            2,
            &["there is no none.png", "expected an image"][..],
        ),
        (&["notes.txt"], 2, &["notes.txt", ".wav"]),
        (&["plain"], 2, &["plain", ".wav"]),
        (&["bad.png"], 1, &["bad.png", "damaged"]),
        (&["bad.wav"], 1, &["bad.wav", "no WAV file"]),
        (&["bad.csv"], 1, &["bad.csv", "line 2, column 2"]),
        (&["empty"], 1, &["empty", "holds no images"]),
        (&["point.csv", "--out", "plain"], 2, &["plain is a file"]),
        (
            &["point.csv", "--out", "plain/below"],
            2,
            &["plain is a file"],
        ),
        (
            &["point.csv", "--columns", "1"],
            2,
            &["--columns must be 2 to 100, not 1"],
        ),
        (
            &["point.csv", "--columns", "101"],
            2,
            &["--columns must be"],
        ),
        (&["point.csv", "--count", "0"], 2, &["--count must be 1"]),
        (
            &["point.csv", "--size", "8"],
            2,
            &["--size is for image files"],
        ),
        (&["point.csv", "--grey"], 2, &["--grey is for image files"]),
        (
            &["bad.wav", "--count", "8"],
            2,
            &["--count is for images, points and data sets of sounds"],
        ),
        (&["good.png", "--size", "0"], 2, &["--size must be"]),
        (&["good.png", "--size", "2048"], 2, &["too much to draw"]),
        (&["good.png", "--data-dir", "empty"], 2, &["--data-dir"]),
        (
            &["point.csv", "--set", "noise.steps=3"],
            2,
            &["unknown key `steps`"],
        ),
        (
            &["point.csv", "--set", "noise.num_train_timesteps=0"],
            2,
            &["at least 1"],
        ),
        (
            &["point.csv", "--set", "noise.schedule.kind=square"],
            2,
            &["square"],
        ),
        (&["point.csv", "--device", "gpu"], 2, &["unknown device"]),
        (
            &["--data-dir", "empty"],
            1,
            &["no files of the dataset mnist"],
        ),
    ] {
        refuse(path, args, code, parts);
        assert_eq!(names(path), before, "{args:?} left something behind");
    }
}
