//! Rows of a table and lines of text through the whole program.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{checkpoint, run, succeed, tensors};

const HEADER: &str =
    "species,island,bill_length_mm,bill_depth_mm,flipper_length_mm,body_mass_g,sex,year";

fn penguins() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data/penguins/penguins.csv")
}

/// Trains on the penguins, with no configuration file at all.
fn train(dir: &Path, name: &str, steps: &str, set: &[&str]) {
    fs::copy(penguins(), dir.join("birds.csv")).unwrap();
    let mut args = vec!["train", "--steps", steps, "--out", name];
    let all = [
        "data.path=birds.csv",
        "network.width=64",
        "network.blocks=2",
        "training.batch_size=64",
        "sampling.num_inference_steps=20",
    ];
    for set in all.iter().chain(set) {
        args.extend(["--set", *set]);
    }
    succeed(dir, &args);
}

/// What is said where something is refused.
fn refused(dir: &Path, args: &[&str]) -> String {
    let ended = run(dir, args);
    assert_ne!(ended.code, Some(0), "{args:?}: {}", ended.stderr);
    ended.stderr
}

/// The fields of a file without quotes.
fn rows(path: &Path) -> Vec<Vec<String>> {
    let text = fs::read_to_string(path).unwrap();
    let fields = |line: &str| line.split(',').map(str::to_owned).collect();
    text.lines().map(fields).collect()
}

#[test]
fn a_table_is_learned_from_memory_and_from_temporary_files_alike() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let class = [
        "data.class_column=species",
        "conditioning.class_labels=true",
    ];
    train(dir, "held", "8", &class);
    train(
        dir,
        "streamed",
        "8",
        &[&class[..], &["data.cache_mib=0"]].concat(),
    );
    let weights = |run: &str| tensors(&checkpoint(&dir.join(run), 8));
    assert_eq!(weights("streamed"), weights("held"));
    // What needs all cells reads them from the files.
    succeed(dir, &["evaluate", "streamed", "--count", "50"]);
}

#[test]
fn a_table_without_any_configuration_gives_rows_like_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    train(dir, "birds", "300", &[]);
    let real = rows(&dir.join("birds.csv"));
    let said = succeed(
        dir,
        &["sample", "birds", "--count", "200", "--out", "drawn.csv"],
    );
    assert!(said.stdout.contains("wrote drawn.csv"), "{}", said.stdout);
    assert!(dir.join("drawn.png").is_file());
    let drawn = rows(&dir.join("drawn.csv"));
    assert_eq!(drawn[0].join(","), HEADER);
    assert_eq!(drawn.len(), 201);
    for (column, name) in real[0].iter().enumerate() {
        let known: HashSet<&String> = real[1..].iter().map(|row| &row[column]).collect();
        for row in &drawn[1..] {
            let cell = &row[column];
            if known.len() < 10 {
                assert!(known.contains(cell), "{name}: {cell}");
            } else if cell != "NA" {
                let value: f64 = cell.parse().unwrap();
                let numbers = || known.iter().filter_map(|cell| cell.parse::<f64>().ok());
                let (least, most) = (
                    numbers().fold(f64::MAX, f64::min),
                    numbers().fold(f64::MIN, f64::max),
                );
                assert!((least..=most).contains(&value), "{name}: {cell}");
                // As many places as the table has.
                let places =
                    |cell: &str| cell.split_once('.').map_or(0, |(_, places)| places.len());
                assert!(
                    known.iter().any(|cell_of| places(cell_of) == places(cell)),
                    "{name}: {cell}"
                );
            }
        }
    }

    // The same again, and other rows by another seed.
    let text = fs::read_to_string(dir.join("drawn.csv")).unwrap();
    succeed(
        dir,
        &["sample", "birds", "--count", "200", "--out", "again.csv"],
    );
    assert_eq!(fs::read_to_string(dir.join("again.csv")).unwrap(), text);
    succeed(
        dir,
        &[
            "sample",
            "birds",
            "--count",
            "200",
            "--seed",
            "1",
            "--out",
            "other.csv",
        ],
    );
    assert_ne!(fs::read_to_string(dir.join("other.csv")).unwrap(), text);

    succeed(dir, &["train", "--resume", "birds", "--steps", "320"]);
    succeed(
        dir,
        &["evaluate", "birds", "--count", "100", "--target", "species"],
    );
    let scores = fs::read_to_string(dir.join("birds/scores.json")).unwrap();
    for name in [
        "column shapes",
        "pair trends",
        "detection (C2ST)",
        "copies of training rows",
        "utility: AUC",
        "nats a category",
    ] {
        assert!(scores.contains(name), "{name}: {scores}");
    }
    assert!(dir.join("birds/trends.png").is_file());
    // Each of them gives samples of every sampler's kind.
    for sampler in [
        "ddpm",
        "ddim",
        "euler",
        "euler-ancestral",
        "heun",
        "dpmpp-2m",
        "dpmpp-2s",
        "dpmpp-2m-sde",
        "unipc",
        "deis",
    ] {
        let args = [
            "sample",
            "birds",
            "--count",
            "5",
            "--sampler",
            sampler,
            "--steps",
            "5",
            "--out",
            "few.csv",
        ];
        succeed(dir, &args);
        assert_eq!(rows(&dir.join("few.csv")).len(), 6, "{sampler}");
    }
}

#[test]
fn conditions_hold_in_every_row() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    for (transition, name) in [("absorbing", "masks"), ("uniform", "others")] {
        let transition = format!("objective.transition={transition}");
        train(dir, name, "60", &[&transition]);
        let drawn = |conditions: &[&str]| {
            let mut args = vec!["sample", name, "--count", "40", "--out", "drawn.csv"];
            for condition in conditions {
                args.extend(["--where", *condition]);
            }
            succeed(dir, &args);
            let drawn = rows(&dir.join("drawn.csv"));
            assert_eq!(drawn.len(), 41, "{conditions:?}");
            drawn[1..].to_vec()
        };
        let number = |cell: &str| cell.parse::<f64>().unwrap();
        for row in drawn(&["species=Gentoo", "year=2008", "bill_depth_mm=15"]) {
            assert_eq!(
                [&row[0], &row[7], &row[3]],
                ["Gentoo", "2008", "15"],
                "{name}"
            );
        }
        for row in drawn(&["body_mass_g>=5000", "sex!=male", "island=Dream"]) {
            assert!(
                number(&row[5]) >= 5000.0 && row[6] != "male" && row[1] == "Dream",
                "{name}: {row:?}"
            );
        }
        // So rare that no row would come so by itself.
        for row in drawn(&["body_mass_g>6200", "bill_length_mm<=33", "species=Adelie"]) {
            assert!(
                number(&row[5]) > 6200.0 && number(&row[2]) <= 33.0 && row[0] == "Adelie",
                "{name}: {row:?}"
            );
        }
        for row in drawn(&["sex=NA"]) {
            assert_eq!(row[6], "NA");
        }
    }
    for (condition, expected) in [
        ("bill=3", "there is no column \"bill\""),
        ("species=Emperor", "there is no category \"Emperor\""),
        ("body_mass_g>9000", "no row can be so"),
        ("species", "is no condition"),
    ] {
        let stderr = refused(dir, &["sample", "masks", "--where", condition]);
        assert!(
            stderr.contains("--where") && stderr.contains(expected),
            "{stderr}"
        );
    }
}

#[test]
fn empty_cells_are_filled_and_the_others_stay() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    train(dir, "birds", "60", &[]);
    let part = format!("{HEADER}\nAdelie,,39.1,,181,,,2007\n,Biscoe,,14.2,,5700,male,\n,,,,,,,\n");
    fs::write(dir.join("part.csv"), part).unwrap();
    succeed(
        dir,
        &["edit", "birds", "--from", "part.csv", "--out", "filled.csv"],
    );
    let filled = rows(&dir.join("filled.csv"));
    assert_eq!(filled.len(), 4);
    for (given, row) in [
        (
            vec![(0, "Adelie"), (2, "39.1"), (4, "181"), (7, "2007")],
            &filled[1],
        ),
        (
            vec![(1, "Biscoe"), (3, "14.2"), (5, "5700"), (6, "male")],
            &filled[2],
        ),
    ] {
        for (column, cell) in given {
            assert_eq!(row[column], cell);
        }
    }
    assert!(
        filled.iter().flatten().all(|cell| !cell.is_empty()),
        "{filled:?}"
    );

    // Three of each row, and rows that are varied.
    succeed(
        dir,
        &[
            "edit",
            "birds",
            "--from",
            "part.csv",
            "--count",
            "3",
            "--out",
            "three.csv",
        ],
    );
    assert_eq!(rows(&dir.join("three.csv")).len(), 10);
    // One of each from many draws: what is given stays, and numbers are written as the table writes them.
    let mean = "edit birds --from part.csv --mean 8 --out mean.csv";
    succeed(dir, &mean.split(' ').collect::<Vec<_>>());
    let mean = rows(&dir.join("mean.csv"));
    assert_eq!(mean.len(), 4);
    assert_eq!((&mean[1][2], &mean[2][5]), (&"39.1".into(), &"5700".into()));
    assert!(mean.iter().flatten().all(|cell| !cell.is_empty()));
    let places = mean[3][2]
        .split_once('.')
        .map_or(0, |(_, places)| places.len());
    assert!(places <= 1, "{}", mean[3][2]);
    let both = [
        "edit", "birds", "--from", "part.csv", "--mean", "2", "--count", "2",
    ];
    assert!(refused(dir, &both).contains("--count"));
    succeed(
        dir,
        &[
            "edit",
            "birds",
            "--from",
            "filled.csv",
            "--strength",
            "0.3",
            "--out",
            "varied.csv",
        ],
    );
    assert_eq!(rows(&dir.join("varied.csv")).len(), 4);
    let stderr = refused(
        dir,
        &["edit", "birds", "--from", "part.csv", "--strength", "0.3"],
    );
    assert!(stderr.contains("in row 1 the cell of"), "{stderr}");
    fs::write(dir.join("bad.csv"), "species,weight\nAdelie,3\n").unwrap();
    let stderr = refused(dir, &["edit", "birds", "--from", "bad.csv"]);
    assert!(stderr.contains("weight"), "{stderr}");
    let stderr = refused(
        dir,
        &["edit", "birds", "--from", "part.csv", "--mask", "0:1"],
    );
    assert!(
        stderr.contains("--mask is for images and sounds"),
        "{stderr}"
    );
}

#[test]
fn a_column_can_be_the_class() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let class = [
        "data.class_column=species",
        "conditioning.class_labels=true",
    ];
    train(dir, "birds", "60", &class);
    succeed(
        dir,
        &[
            "sample",
            "birds",
            "--class",
            "Gentoo",
            "--count",
            "20",
            "--out",
            "gentoo.csv",
        ],
    );
    assert!(
        rows(&dir.join("gentoo.csv"))[1..]
            .iter()
            .all(|row| row[0] == "Gentoo")
    );
    // Without one, as often as the table has each: 152, 68 and 124 of 344.
    succeed(
        dir,
        &["sample", "birds", "--count", "344", "--out", "all.csv"],
    );
    let all = rows(&dir.join("all.csv"));
    let of = |name: &str| all.iter().filter(|row| row[0] == name).count();
    for (name, expected) in [("Adelie", 152), ("Chinstrap", 68), ("Gentoo", 124)] {
        assert!(of(name).abs_diff(expected) < 12, "{name}: {}", of(name));
    }
    succeed(
        dir,
        &[
            "sample",
            "birds",
            "--where",
            "species=Chinstrap",
            "--count",
            "9",
            "--out",
            "some.csv",
        ],
    );
    assert!(
        rows(&dir.join("some.csv"))[1..]
            .iter()
            .all(|row| row[0] == "Chinstrap")
    );
    succeed(dir, &["evaluate", "birds", "--count", "60"]);
    assert!(
        fs::read_to_string(dir.join("birds/scores.json"))
            .unwrap()
            .contains("utility")
    );
}

#[test]
fn lines_of_text_are_learned_letter_by_letter() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let syllables = ["ka", "lo", "mi", "ru", "ta"];
    let name = |i: usize| {
        format!(
            "{}{}{}",
            syllables[i % 5],
            syllables[i / 5 % 5],
            ["", "n"][i / 25 % 2]
        )
    };
    let text: String = (0..200).map(|i| name(i) + "\n").collect();
    fs::write(dir.join("tribe.txt"), text).unwrap();
    let sets = [
        "network.width=32",
        "network.layers=1",
        "training.batch_size=64",
        "sampling.num_inference_steps=20",
    ];
    let mut args = vec!["train", "--steps", "200", "--set", "data.path=tribe.txt"];
    for set in &sets {
        args.extend(["--set", *set]);
    }
    succeed(dir, &args);
    // Named after the file.
    let run = "runs/tribe";
    succeed(dir, &["sample", run, "--count", "30", "--out", "new.txt"]);
    let drawn = fs::read_to_string(dir.join("new.txt")).unwrap();
    assert_eq!(drawn.lines().count(), 30);
    assert!(
        drawn.chars().all(|c| c == '\n' || "kalomirutn".contains(c)),
        "{drawn}"
    );

    succeed(
        dir,
        &[
            "edit",
            run,
            "--from",
            "k_m_",
            "--count",
            "6",
            "--out",
            "filled.txt",
        ],
    );
    let filled = fs::read_to_string(dir.join("filled.txt")).unwrap();
    assert_eq!(filled.lines().count(), 6);
    for line in filled.lines() {
        let letters: Vec<char> = line.chars().collect();
        assert_eq!(
            (letters.first(), letters.get(2)),
            (Some(&'k'), Some(&'m')),
            "{line}"
        );
    }
    let stderr = refused(dir, &["edit", run, "--from", "k_z_"]);
    assert!(
        stderr.contains("--from") && stderr.contains('z'),
        "{stderr}"
    );
    let stderr = refused(dir, &["sample", run, "--where", "a=b"]);
    assert!(stderr.contains("--where is for tables"), "{stderr}");

    succeed(dir, &["evaluate", run, "--count", "50"]);
    let scores = fs::read(dir.join(run).join("scores.json")).unwrap();
    let scores: serde_json::Value = serde_json::from_slice(&scores).unwrap();
    let value = |name: &str| -> f64 {
        let scores = scores["scores"].as_array().unwrap();
        let score = scores.iter().find(|score| score["name"] == name);
        score.expect(name)["value"].as_f64().unwrap()
    };
    assert!(value("new") <= 1.0 && value("different") <= 1.0);
    // 50 lines of 5.5 characters with their end, all as likely: no bound is below that, and many orders are nearer to it.
    let names = ["nats a character", "nats a character, importance-weighted"];
    let [one, many] = names.map(value);
    let least = 50.0_f64.ln() / 5.5;
    assert!(
        0.95 * least < many && many < one + 0.02,
        "{least} {many} {one}"
    );
}

#[test]
fn tables_dissolve_and_are_shown() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    fs::copy(penguins(), dir.join("birds.csv")).unwrap();
    fs::write(dir.join("words.txt"), "one\ntwo\nthree\nfour\n".repeat(20)).unwrap();
    for data in ["data.path=birds.csv", "data.path=words.txt"] {
        succeed(dir, &["noise", "--set", data, "--out", "noise"]);
        for file in ["absorbing.png", "uniform.png", "schedule.png", "table.csv"] {
            assert!(dir.join("noise").join(file).is_file(), "{data}: {file}");
        }
        fs::remove_dir_all(dir.join("noise")).unwrap();
    }
    let said = succeed(dir, &["data", "show", "birds.csv"]).stdout;
    for text in ["306 training rows", "bill_length_mm", "species"] {
        assert!(said.contains(text), "{said}");
    }
}

#[test]
fn what_makes_no_sense_for_tables_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    fs::copy(penguins(), dir.join("birds.csv")).unwrap();
    for (set, expected) in [
        ("data.flip=true", "data.flip"),
        ("sampling.clipping={kind=\"clamp\"}", "sampling.clipping"),
        ("objective.offset_noise=0.1", "objective.offset_noise"),
        ("conditioning.class_labels=true", "data.class_column"),
        ("data.columns.wings=\"category\"", "wings"),
        ("network.categories=[2]", "network.categories"),
    ] {
        let args = [
            "train",
            "--steps",
            "2",
            "--set",
            "data.path=birds.csv",
            "--set",
            set,
            "--out",
            "run",
        ];
        let stderr = refused(dir, &args);
        assert!(stderr.contains(expected), "{set}: {stderr}");
        assert!(!dir.join("run").exists(), "{set}");
    }
    for (name, bytes, expected) in [
        ("empty.csv", &b""[..], "empty"),
        ("header.csv", b"a,b\n", "header"),
        ("ragged.csv", b"a,b\nx,1\ny\n", "line 3"),
        ("quote.csv", b"a,b\nx,\"1\ny,2\n", "line 2"),
        ("nul.csv", b"a,b\nx\0,1\ny,2\n", "line 2"),
    ] {
        fs::write(dir.join(name), bytes).unwrap();
        let path = format!("data.path={name}");
        let stderr = refused(
            dir,
            &[
                "train",
                "--steps",
                "2",
                "--set",
                &path,
                "--set",
                "data.table=true",
                "--out",
                "run",
            ],
        );
        assert!(stderr.contains(expected), "{name}: {stderr}");
    }
    let stderr = refused(
        dir,
        &[
            "train",
            "points",
            "--steps",
            "2",
            "--set",
            "data.path=birds.csv",
            "--set",
            "network.kind=transformer",
            "--out",
            "run",
        ],
    );
    assert!(stderr.contains("network.kind"), "{stderr}");
}
