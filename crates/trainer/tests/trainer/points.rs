//! Points, from a made-up cloud and from a CSV, through the whole program.

use std::fs;
use std::path::Path;

use crate::support::{fail, succeed};

fn stdout_of(dir: &Path, args: &[&str]) -> String {
    succeed(dir, args).stdout
}

const CONFIG: &str = "[data]\npath = \"cloud.csv\"\n[mlp]\nwidth = 64\n[training]\nbatch_size = 256\n\
    steps = 400\nlearning_rate = 3e-3\nlearning_rate_schedule = \"cosine\"\n[held_out]\nexamples = 100\n\
    [sampling]\nclipping = { kind = \"none\" }\nnum_inference_steps = 20\n";

/// Two heaps in three dimensions, one twice as large as the other: (100, −20, 5) and (104, −18, 5), each
/// 0.2 wide.
fn write_heaps(path: &Path) {
    let mut text = "east,north,up\n".to_owned();
    for i in 0..1500_u32 {
        let wobble = |k: u32| 0.2 * f64::from((i * k) % 101) / 50.0 - 0.2;
        let heap = if i % 3 == 0 {
            (104.0, -18.0)
        } else {
            (100.0, -20.0)
        };
        let (x, y) = (heap.0 + wobble(37), heap.1 + wobble(53));
        text += &format!("{x},{y},{}\n", 5.0 + wobble(71));
    }
    fs::write(path, text).unwrap();
}

#[test]
fn a_csv_of_any_dimension_trains_resumes_and_is_drawn_from() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    write_heaps(&dir.join("cloud.csv"));
    fs::write(dir.join("cloud.toml"), CONFIG).unwrap();
    stdout_of(dir, &["train", "--config", "cloud.toml", "--out", "whole"]);
    stdout_of(
        dir,
        &[
            "train",
            "--config",
            "cloud.toml",
            "--out",
            "parts",
            "--set",
            "checkpoint.every=150",
            "--steps",
            "150",
        ],
    );
    let config = fs::read_to_string(dir.join("whole/config.toml")).unwrap();
    assert!(
        config.contains("[network]\nkind = \"mlp\"\ndimensions = 3\nwidth = 64\n"),
        "{config}"
    );
    assert!(!config.contains("[mlp]"), "{config}");
    assert!(config.find("[data]") < config.find("[noise]"), "{config}");

    let out = stdout_of(
        dir,
        &["sample", "whole", "--count", "600", "--gif", "way.gif"],
    );
    assert!(out.contains("wrote whole/samples.png"), "{out}");
    assert!(dir.join("way.gif").is_file());
    let text = fs::read_to_string(dir.join("whole/samples.csv")).unwrap();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("\"east\",\"north\",\"up\""));
    let points: Vec<[f64; 3]> = lines
        .map(|line| {
            let numbers: Vec<f64> = line.split(',').map(|x| x.parse().unwrap()).collect();
            numbers.try_into().unwrap()
        })
        .collect();
    assert_eq!(points.len(), 600);
    let near = |x: f64, y: f64| {
        let near = points.iter().filter(|p| {
            (p[0] - x).abs() < 0.6 && (p[1] - y).abs() < 0.6 && (p[2] - 5.0).abs() < 0.6
        });
        near.count() as f64 / 600.0
    };
    let (large, small) = (near(100.0, -20.0), near(104.0, -18.0));
    assert!(large + small > 0.9, "{large} and {small} near the heaps");
    assert!((large - 0.667).abs() < 0.1, "{large} in the larger heap");

    // The CSV may be named in place of the picture.
    stdout_of(
        dir,
        &["sample", "whole", "--count", "9", "--out", "nine.csv"],
    );
    assert!(dir.join("nine.png").is_file());
    let nine = fs::read_to_string(dir.join("nine.csv")).unwrap();
    assert_eq!(nine.lines().count(), 10);

    // Other sampler, other points; the same again, the same.
    stdout_of(
        dir,
        &["sample", "whole", "--count", "600", "--out", "again.png"],
    );
    assert_eq!(fs::read_to_string(dir.join("again.csv")).unwrap(), text);
    stdout_of(
        dir,
        &[
            "sample",
            "whole",
            "--count",
            "600",
            "--sampler",
            "dpmpp-2m-sde",
            "--out",
            "sde.png",
        ],
    );
    assert_ne!(fs::read_to_string(dir.join("sde.csv")).unwrap(), text);

    // A run that goes on with other points is refused.
    fs::write(dir.join("cloud.csv"), "1,2,3\n4,5,6\n7,8,9\n").unwrap();
    let resume = ["train", "--resume", "parts", "--steps", "300"];
    fail(dir, &resume, 1, &["are not those that the run began with"]);
    write_heaps(&dir.join("cloud.csv"));
    stdout_of(dir, &["train", "--resume", "parts", "--steps", "151"]);
}

#[test]
fn a_resumed_cloud_is_byte_for_byte_the_uninterrupted_one() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let config = CONFIG
        .replace("path = \"cloud.csv\"", "cloud = \"spiral\"")
        .replace("\"cosine\"", "\"constant\"");
    fs::write(dir.join("cloud.toml"), config).unwrap();
    let train = |out, steps| {
        stdout_of(
            dir,
            &[
                "train",
                "--config",
                "cloud.toml",
                "--out",
                out,
                "--steps",
                steps,
            ],
        );
    };
    train("whole", "12");
    train("parts", "5");
    stdout_of(dir, &["train", "--resume", "parts", "--steps", "12"]);
    for file in ["model", "ema", "first_moment", "second_moment"] {
        let read = |run: &str| {
            let folder = dir.join(run).join("checkpoints/step-00000012");
            fs::read(folder.join(format!("{file}.safetensors"))).unwrap()
        };
        assert_eq!(read("whole"), read("parts"), "{file}");
    }

    // What is for images says so.
    for (args, part) in [
        (&["evaluate", "whole"][..], "draws points"),
        (&["samplers", "whole"], "draws points"),
        (&["edit", "whole", "--from", "x.png"], "draws points"),
        (&["export", "whole", "out"], "draws points"),
        (
            &["sample", "whole", "--each", "folder"],
            "--each is for images",
        ),
        (&["sample", "whole", "--class", "1"], "knows no classes"),
    ] {
        fail(dir, args, 2, &[part]);
    }
    stdout_of(dir, &["noise", "--config", "cloud.toml", "--count", "50"]);
    assert!(dir.join("runs/noise/scatter-closed-form.png").is_file());
    let shown = stdout_of(dir, &["data", "show", "two-moons"]);
    assert!(
        shown.contains("20000 training points, 2000 held out"),
        "{shown}"
    );
}

#[test]
fn what_makes_no_sense_for_points_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    fs::write(dir.join("cloud.toml"), CONFIG).unwrap();
    for (set, expected) in [
        ("data.flip=true", "data.flip: the data are points"),
        (
            "conditioning.class_labels=true",
            "conditioning.class_labels: the data are points",
        ),
        (
            "objective.offset_noise=0.1",
            "objective.offset_noise: the data are points",
        ),
        (
            "sampling.clipping.kind=clamp",
            "sampling.clipping: the data are points",
        ),
        ("mlp.width=2", "network.width: it is 2, expected 4"),
        ("network.blocks=0", "network.blocks: it is 0, expected 1"),
        (
            "mlp.dimensions=3",
            "network.dimensions: the points of two-moons have 2 coordinates",
        ),
        ("data.cloud=moon", "two-moons"),
    ] {
        let cloud = "data.cloud=two-moons";
        let args = [
            "train",
            "--config",
            "cloud.toml",
            "--set",
            cloud,
            "--set",
            set,
        ];
        fail(dir, &args, 2, &[expected]);
    }
    // Bad files, with line and column.
    for (text, expected) in [
        (
            "1,2\n3,four\n",
            "line 2, column 2: expected a number, found \"four\"",
        ),
        ("1,2\n3,NaN\n", "line 2, column 2: NaN"),
        ("1,2\n3\n", "line 2 has 1 columns; the first line has 2"),
        ("", "there are no points"),
        ("1,2\n", "there is one point"),
    ] {
        fs::write(dir.join("cloud.csv"), text).unwrap();
        // Without that, what is no point makes it a table.
        let args = [
            "train",
            "--config",
            "cloud.toml",
            "--set",
            "data.table=false",
        ];
        fail(dir, &args, 1, &["cloud.csv", expected]);
    }
}
