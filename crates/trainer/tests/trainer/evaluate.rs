//! `trainer evaluate`, run as a user runs it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{fail, grid_of, succeed, train};
use burn::tensor::Device;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::Value;

/// Few images, a classifier of few steps: quick, and coarse. `changes` are other options, or other values.
fn arguments(changes: &[(&str, &str)]) -> Vec<String> {
    let data = crate::support::repository()
        .join("data")
        .display()
        .to_string();
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

fn evaluate(folder: &Path, changes: &[(&str, &str)]) -> crate::support::Ended {
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
        if of_the_model {
            let definition = score["definition"].as_str().unwrap();
            assert!(definition.contains("p(x | class)"), "{definition}");
        } else {
            assert_eq!(score["real_samples"], 12, "{score}");
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

    // Twelve pairs, one above the other: 28 pixels enlarged to 112, and 2 between and around.
    let pairs = grid_of(&image::open(path.join("run/nearest.png")).unwrap());
    assert_eq!((pairs.width(), pairs.height()), (12 * 114 + 2, 2 * 114 + 2));

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
    // Neither is any figure one of the batches: not the bits either.
    assert_eq!(scores(path), report);
    evaluate(path, &[("--batch-size", "2")]);
    assert_eq!(scores(path), report);
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
fn scores_are_measured_during_training_and_tell_the_best_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    for index in 0..40_u8 {
        let class = path.join(if index % 2 == 0 {
            "images/dark"
        } else {
            "images/light"
        });
        fs::create_dir_all(&class).unwrap();
        let shade = |x: u32| {
            if index % 2 == 0 {
                index + x as u8
            } else {
                255 - index - x as u8
            }
        };
        let image = image::GrayImage::from_fn(8, 8, |x, y| image::Luma([shade(x * y)]));
        image.save(class.join(format!("{index}.png"))).unwrap();
    }
    let smoke = crate::support::config("smoke.toml");
    let sets = [
        "data.path=images",
        "network.sample_size=8",
        "evaluation.every=2",
        "evaluation.count=6",
        "checkpoint.every=3",
        "checkpoint.keep=1",
        "sampling.num_inference_steps=3",
    ];
    let mut args = vec!["train", "--config", &smoke, "--out", "run", "--steps", "7"];
    args.extend(sets.iter().flat_map(|set| ["--set", set]));
    let trained = succeed(path, &args);
    assert!(
        trained.stderr.contains("training the classifier"),
        "{trained:#?}"
    );

    let text = fs::read_to_string(path.join("run/metrics.jsonl")).unwrap();
    let records: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let fids: Vec<(u64, f64)> = records
        .iter()
        .filter_map(|record| Some((record["step"].as_u64()?, record["fid"].as_f64()?)))
        .collect();
    let steps: Vec<u64> = fids.iter().map(|&(step, _)| step).collect();
    assert_eq!(steps, [2, 4, 6, 7]);
    assert!(
        fids.iter().all(|&(_, fid)| fid.is_finite() && fid > 0.0),
        "{fids:?}"
    );
    let csv = fs::read_to_string(path.join("run/metrics.csv")).unwrap();
    let header = csv.lines().next().unwrap();
    assert!(header.ends_with(",fid,nearer_than_real"), "{csv}");
    for record in records.iter().filter(|record| record["fid"].is_f64()) {
        let nearer = record["nearer_than_real"].as_f64().unwrap();
        assert!((0.0..=1.0).contains(&nearer), "{record}");
    }

    assert!(image::open(path.join("run/fid.png")).is_ok());

    // The best is the one of the lowest FID: it is kept, and it is found.
    let (best, _) = fids
        .iter()
        .min_by(|(_, a), (_, b)| a.total_cmp(b))
        .copied()
        .unwrap();
    assert!(crate::support::checkpoint(&path.join("run"), best).is_dir());
    let sample = ["sample", "run", "--best", "--steps", "2", "--count", "2"];
    let drawn = succeed(path, &sample);
    assert!(
        drawn.stderr.contains(&format!("at step {best}: ")),
        "{drawn:#?}"
    );

    // Where there are no classes, no classifier can be trained, and the run says so before it begins.
    fs::rename(path.join("images/dark"), path.join("plain")).unwrap();
    let mut plain = args.clone();
    plain.extend(["--overwrite", "--set", "data.path=plain"]);
    plain.extend(["--set", "conditioning.class_labels=false"]);
    fail(
        path,
        &plain,
        1,
        &["evaluation.every", "at least two classes"],
    );
}

/// Images of 8 × 8 in folders of two classes, below `train/` and `test/`: `shade` of the split, the number
/// of the image and the place of the pixel.
fn two_splits(folder: &Path, [train, test]: [u32; 2], shade: impl Fn(&str, u32, u32) -> u8) {
    for (split, count) in [("train", train), ("test", test)] {
        for index in 0..count {
            let class = folder.join(split).join(["a", "b"][index as usize % 2]);
            fs::create_dir_all(&class).unwrap();
            let pixel = |x, y| image::Luma([shade(split, index, 8 * y + x)]);
            let image = image::GrayImage::from_fn(8, 8, pixel);
            image.save(class.join(format!("{index}.png"))).unwrap();
        }
    }
}

/// One of 256 shades that looks drawn by chance.
fn noise(index: u32, place: u32) -> u8 {
    let mixed = (index * 64 + place + 1).wrapping_mul(2_654_435_761);
    ((mixed ^ (mixed >> 15)).wrapping_mul(2_246_822_519) >> 24) as u8
}

fn train_on_images(path: &Path, steps: &str, sets: &[&str]) -> crate::support::Ended {
    let smoke = crate::support::config("smoke.toml");
    let mut args = vec![
        "train", "--config", &smoke, "--out", "run", "--steps", steps,
    ];
    let always = [
        "data.path=images",
        "network.sample_size=8",
        "sampling.num_inference_steps=3",
    ];
    args.extend(always.iter().chain(sets).flat_map(|set| ["--set", set]));
    succeed(path, &args)
}

/// Training images are grey, as is what a network that predicts x_0 makes before it has learnt anything;
/// held-out ones are noise.
#[test]
fn a_warning_says_when_copies_begin() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    two_splits(&path.join("images"), [60, 40], |split, index, place| {
        if split == "train" {
            (120 + index % 2 * 16 + index % 3) as u8
        } else {
            noise(index, place)
        }
    });
    let sets = [
        "evaluation.every=2",
        "evaluation.count=40",
        "objective.prediction_type=sample",
    ];
    let trained = train_on_images(path, "4", &sets);
    let warning = "begins to repeat training images";
    assert_eq!(trained.stderr.matches(warning).count(), 1, "{trained:#?}");
    let text = fs::read_to_string(path.join("run/metrics.jsonl")).unwrap();
    let nearer = |line: &str| -> Option<f64> {
        let record: Value = serde_json::from_str(line).unwrap();
        record["nearer_than_real"].as_f64()
    };
    let nearer: Vec<f64> = text.lines().filter_map(nearer).collect();
    assert_eq!(nearer.len(), 2);
    assert!(nearer.iter().all(|&nearer| nearer > 0.8), "{nearer:?}");
}

#[test]
fn small_splits_are_told_before_anything_is_sampled() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    two_splits(&path.join("images"), [9, 3], |_, index, place| {
        noise(index, place) / 2 + 127 * (index % 2) as u8
    });
    train_on_images(path, "1", &["held_out.examples=10"]);
    let small = [
        ("--reference-images", "100"),
        ("--likelihood-images", "0"),
        ("--count", "12"),
    ];
    let ended = evaluate(path, &small);
    for part in [
        "`real` is of 3 images",
        "12 are sampled",
        "more than 3 held-out images",
    ] {
        assert!(ended.stderr.contains(part), "no {part:?} in {ended:#?}");
    }
    let report = scores(path);
    for score in report["scores"].as_array().unwrap() {
        assert_eq!(score["samples"], 12, "{score}");
        let name = score["name"].as_str().unwrap();
        let is_left_out = name == "precision" || name == "recall";
        assert_eq!(score["real"].is_null(), is_left_out, "{score}");
        let expected = if is_left_out { Value::Null } else { 3.into() };
        assert_eq!(score["real_samples"], expected, "{score}");
    }
    let enough = [&small[..], &[("--neighbours", "2")]].concat();
    evaluate(path, &enough);
    assert!(scores(path)["scores"][2]["real"].is_f64());

    fs::remove_file(path.join("run/scores.json")).unwrap();
    let too_few = [&small[..], &[("--neighbours", "9")]].concat();
    let too_few = arguments(&too_few);
    let too_few: Vec<&str> = too_few.iter().map(String::as_str).collect();
    fail(
        path,
        &too_few,
        2,
        &["9 training images", "--neighbours 9 needs 10"],
    );
    assert!(!path.join("run/scores.json").exists());
}

#[test]
fn a_network_without_a_label_for_no_class_needs_the_class_of_every_image() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    two_splits(&path.join("images"), [12, 4], |_, index, place| {
        noise(index, place)
    });
    let loose = image::GrayImage::from_pixel(8, 8, image::Luma([90]));
    loose.save(path.join("images/test/loose.png")).unwrap();
    let smoke = crate::support::config("smoke.toml");
    let mut args = vec!["train", "--config", &smoke, "--out", "run", "--steps", "1"];
    let sets = [
        "data.path=images",
        "network.sample_size=8",
        "conditioning.null_label=false",
        "conditioning.label_dropout=0",
    ];
    args.extend(sets.iter().flat_map(|set| ["--set", set]));
    let parts = ["conditioning.null_label", "held-out image", "has no class"];
    fail(path, &args, 2, &parts);
    fs::remove_file(path.join("images/test/loose.png")).unwrap();
    succeed(path, &args);
}

/// What was imported may know fewer classes than the data that it is held against.
#[test]
fn classes_that_the_network_does_not_know_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    for index in 0..24_u8 {
        let class = path.join("images").join(["a", "b"][usize::from(index % 2)]);
        fs::create_dir_all(&class).unwrap();
        let image = image::GrayImage::from_pixel(28, 28, image::Luma([10 * index]));
        image.save(class.join(format!("{index}.png"))).unwrap();
    }
    train(path, "two", &["--steps", "1", "--set", "data.path=images"]);
    succeed(path, &["export", "two", "theirs"]);
    succeed(path, &["import", "theirs", "run"]);
    let arguments = arguments(&[]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let parts = ["the network knows 2 classes", "--unconditional"];
    fail(path, &arguments, 2, &parts);
    succeed(path, &[&arguments[..], &["--unconditional"]].concat());
}

#[test]
fn json_is_what_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    train(path, "run", &["--steps", "1"]);
    let mut arguments = arguments(&[("--likelihood-images", "0")]);
    arguments.push("--json".to_owned());
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let ended = succeed(path, &arguments);
    let lines: Vec<Value> = ended
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let printed = &lines[0];
    assert_eq!(*printed, scores(path));
    assert!(
        printed["sampler"]
            .as_str()
            .unwrap()
            .contains("clamped to 1")
    );
}

#[cfg(unix)]
#[test]
fn an_interrupted_evaluation_leaves_no_half_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    train(path, "run", &["--steps", "1"]);
    let arguments = arguments(&[("--steps", "1000"), ("--count", "500")]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut child = crate::support::command(path, &arguments)
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    let mut stderr = std::io::BufReader::new(child.stderr.take().unwrap());
    while !said.contains("500 images by") {
        assert_ne!(
            std::io::BufRead::read_line(&mut stderr, &mut said).unwrap(),
            0,
            "{said}"
        );
    }
    let pid = child.id().to_string();
    let sent = std::process::Command::new("kill")
        .args(["-INT", &pid])
        .status();
    assert!(sent.unwrap().success());
    let begun = std::time::Instant::now();
    assert!(!child.wait().unwrap().success());
    assert!(begun.elapsed().as_secs() < 5, "{:?}", begun.elapsed());
    let files = fs::read_dir(path.join("run")).unwrap();
    for file in files.map(|entry| entry.unwrap().file_name().into_string().unwrap()) {
        assert!(
            file != "scores.json" && file != "nearest.png" && !file.starts_with(".unfinished"),
            "{file}"
        );
    }
}

#[test]
fn classes_are_scored_by_themselves() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    train(path, "run", &["--steps", "1"]);
    evaluate(path, &[("--class", "3,7"), ("--reference-images", "200")]);
    let scores = scores(path);
    let sampler = scores["scores"][0]["sampler"].as_str().unwrap();
    assert!(sampler.ends_with("of class 3,7"), "{sampler}");
    // About a fifth of 200 by chance; of the first 200 it would be another number.
    let compared = scores["scores"][0]["reference_samples"].as_u64().unwrap();
    assert!((20..60).contains(&compared), "{compared}");
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
        ("--inception-weights", "file", "needs --features inception"),
        (
            "--features",
            "vgg",
            "possible values: classifier, inception",
        ),
    ] {
        let arguments = arguments(&[(option, value)]);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        fail(folder.path(), &arguments, 2, &[least]);
        assert!(!folder.path().join("run/scores.json").exists());
    }
    fail(
        folder.path(),
        &["evaluate", "nowhere"],
        2,
        &["nowhere does not exist"],
    );
}

/// Inception-v3 with drawn weights, in a file.
fn inception_weights(path: &Path) {
    let network = inception::Inception::new(&Device::flex());
    let file = weights::to_safetensors(&network, &BTreeMap::new()).unwrap();
    let file = SafeTensors::deserialize(&file).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let drawn = file.iter().map(|(name, tensor)| {
        let shape = tensor.shape().to_vec();
        let fan_in: usize = shape[1..].iter().product();
        let deviation = (2.0 / fan_in as f32).sqrt();
        let values = (0..shape.iter().product()).map(|_| {
            let normal: f32 = rng.sample(StandardNormal);
            deviation * normal
        });
        let bytes: Vec<u8> = values.flat_map(f32::to_le_bytes).collect();
        (name, shape, bytes)
    });
    let drawn: Vec<_> = drawn.collect();
    let views = drawn.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap();
        (*name, view)
    });
    fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

#[test]
fn classes_that_were_not_asked_for_are_weighed_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    train(path, "run", &["--steps", "2"]);
    let mut options = arguments(&[]);
    options.push("--unconditional".to_owned());
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    succeed(path, &options);
    let report = scores(path);
    let entries = report["scores"].as_array().unwrap();
    let named = |name: &str| entries.iter().find(|score| score["name"] == name);
    assert!(named("class agreement").is_none());
    let sampler = named("class imbalance").unwrap()["sampler"].as_str();
    assert!(sampler.unwrap().ends_with("unconditional"), "{sampler:?}");
    let bits = named("bits per dimension").unwrap().clone();
    let definition = bits["definition"].as_str().unwrap();
    assert!(definition.contains("p(x)"), "{definition}");

    // Without classes other images are drawn.
    let fid = named("FID").unwrap()["value"].clone();
    evaluate(path, &[]);
    let with_classes = scores(path);
    assert_ne!(with_classes["scores"][0]["value"], fid);
    // And the bound is another one.
    let of_class = with_classes["scores"].as_array().unwrap().iter();
    let of_class = of_class
        .clone()
        .find(|score| score["name"] == bits["name"])
        .unwrap();
    assert_ne!(of_class["value"], bits["value"]);
}

const INCEPTION: [(&str, &str); 4] = [
    ("--features", "inception"),
    ("--count", "4"),
    ("--reference-images", "5"),
    ("--likelihood-images", "0"),
];

#[test]
fn inception_scores_what_needs_no_classes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    train(path, "run", &["--steps", "1"]);
    let data = path.join("data");
    fs::create_dir_all(data.join("inception")).unwrap();
    crate::support::copy_folder(
        &crate::support::repository().join("data/mnist"),
        &data.join("mnist"),
    );
    // Where it is looked for.
    inception_weights(&data.join("inception/inception-v3-2015-12-05.safetensors"));
    let data = data.display().to_string();
    let options = [&INCEPTION[..], &[("--data-dir", data.as_str())]].concat();

    evaluate(path, &options);
    let report = scores(path);
    let entries = report["scores"].as_array().unwrap();
    let names: Vec<&str> = entries
        .iter()
        .map(|score| score["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "FID",
            "KID",
            "precision",
            "recall",
            "distance to nearest",
            "nearer than real"
        ]
    );
    assert!(report["feature_network_accuracy"].is_null());
    let network = |report: &Value| report["scores"][0]["features"].as_str().unwrap().to_owned();
    let tensorflow = network(&report);
    assert!(
        tensorflow.starts_with("inception-v3 2015-12-05, resize tensorflow ("),
        "{tensorflow}"
    );
    // Noise is farther from digits than digits are.
    let [fid, real] = ["value", "real"].map(|key| entries[0][key].as_f64().unwrap());
    assert!(fid > real && real > 0.0, "{fid} {real}");

    // The features of both splits are kept, and those of each way of resizing by themselves.
    assert_eq!(kept(path).len(), 2);
    let again = evaluate(path, &options);
    assert!(!again.stderr.contains("features of"), "{again:#?}");
    assert_eq!(scores(path), report);
    evaluate(
        path,
        &[&options[..], &[("--inception-resize", "clean")]].concat(),
    );
    assert_eq!(kept(path).len(), 4);
    let clean = scores(path);
    assert_eq!(network(&clean), tensorflow.replace("tensorflow", "clean"));
    assert_ne!(clean["scores"][0]["value"], report["scores"][0]["value"]);
}

#[test]
fn weights_that_are_not_those_of_inception_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    train(path, "run", &["--steps", "1"]);
    let refused = |weights: Option<&str>, parts: &[&str]| {
        let weights = weights.map(|file| ("--inception-weights", file));
        let empty = path.display().to_string();
        let mut options = [&INCEPTION[..], Vec::from_iter(weights).as_slice()].concat();
        if weights.is_none() {
            options.push(("--data-dir", empty.as_str()));
        }
        let arguments = arguments(&options);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        fail(path, &arguments, 1, parts);
        assert!(!path.join("run/scores.json").exists());
    };

    crate::support::copy_folder(
        &crate::support::repository().join("data/mnist"),
        &path.join("mnist"),
    );
    refused(
        None,
        &[
            "weights of Inception-v3 are missing",
            "scripts/fetch-data inception",
            "--inception-weights",
        ],
    );
    refused(Some("nowhere"), &["cannot read nowhere"]);

    let fetch = "scripts/fetch-data inception";
    let network = crate::support::checkpoint(&path.join("run"), 1).join("model.safetensors");
    let whole = fs::read(&network).unwrap();
    fs::write(path.join("cut"), &whole[..whole.len() / 2]).unwrap();
    refused(Some("cut"), &[fetch, "damaged or cut short"]);
    fs::write(path.join("empty"), "").unwrap();
    refused(Some("empty"), &[fetch, "damaged or cut short"]);
    refused(
        Some(&network.display().to_string()),
        &[fetch, "tensor `conv.weight` is missing", "another network"],
    );
}
