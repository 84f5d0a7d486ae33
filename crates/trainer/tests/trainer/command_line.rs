//! The command line as a whole: what is typed wrong, what is said to whom, how a command ends.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::Duration;

use clap::Command as Definition;
use serde_json::Value;
use trainer::cli::Cli;
use trainer::config::EMBEDDED;

use crate::support::{command, fail, repository, run, succeed, train};

/// A run of a few steps, trained once for all tests of this file.
fn trained() -> &'static str {
    static RUN: OnceLock<String> = OnceLock::new();
    RUN.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap().keep();
        train(&folder, "run", &["--steps", "2"]);
        folder.join("run").display().to_string()
    })
}

fn data_dir() -> String {
    repository().join("data").display().to_string()
}

/// Every command that there is, as it is typed.
fn commands() -> Vec<Vec<String>> {
    fn below(definition: &Definition, typed: &[String], all: &mut Vec<Vec<String>>) {
        for command in definition.get_subcommands() {
            let typed = [typed, &[command.get_name().to_owned()]].concat();
            below(command, &typed, all);
            all.push(typed);
        }
    }
    let mut all = Vec::new();
    below(&Cli::definition(), &[], &mut all);
    all
}

#[test]
fn the_definition_is_sound() {
    Cli::definition().debug_assert();
}

#[test]
fn every_command_helps_and_refuses_what_it_does_not_know() {
    let folder = tempfile::tempdir().unwrap();
    for typed in commands() {
        let typed: Vec<&str> = typed.iter().map(String::as_str).collect();
        let help = succeed(folder.path(), &[&typed[..], &["--help"]].concat());
        assert!(help.stdout.contains("Usage:"), "{typed:?}");
        fail(
            folder.path(),
            &[&typed[..], &["--no-such-option"]].concat(),
            2,
            &["--no-such-option"],
        );
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_run_that_does_not_exist_is_a_mistake_of_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("runs/mnist/checkpoints")).unwrap();
    for typed in [
        vec!["sample", "runs/nope"],
        vec!["edit", "runs/nope", "--from", "x.png"],
        vec!["samplers", "runs/nope"],
        vec!["evaluate", "runs/nope"],
        vec!["export", "runs/nope", "out"],
        vec!["info", "runs/nope"],
        vec!["compare", "runs/nope", "runs/nope"],
        vec!["train", "--resume", "runs/nope"],
        vec!["train", "--from", "runs/nope"],
    ] {
        let parts = ["runs/nope does not exist", "runs nearby: runs/mnist"];
        fail(folder.path(), &typed, 2, &parts);
    }
    fs::remove_dir_all(folder.path().join("runs")).unwrap();
    let parts = ["runs/nope does not exist", "trainer train` makes a run"];
    fail(folder.path(), &["sample", "runs/nope"], 2, &parts);
}

#[test]
fn numbers_that_mean_nothing_are_refused_by_their_option() {
    let folder = tempfile::tempdir().unwrap();
    let numbers: [(&[&str], &[&str]); 6] = [
        (
            &["sample"],
            &[
                "--eta",
                "--guidance",
                "--count",
                "--steps",
                "--seed",
                "--batch-size",
            ],
        ),
        (
            &["edit", "--from", "x.png"],
            &["--strength", "--eta", "--guidance", "--count"],
        ),
        (
            &["samplers"],
            &["--count", "--eta", "--guidance", "--calls"],
        ),
        (
            &["evaluate"],
            &["--count", "--eta", "--neighbours", "--likelihood-images"],
        ),
        (&["bench"], &["--seconds", "--batch-sizes"]),
        (&["noise"], &["--count", "--columns", "--size"]),
    ];
    for (typed, options) in numbers {
        for option in options {
            for value in ["nan", "NaN", "inf", "-1", "-0.5", "", "1e999", "many"] {
                let takes_run = !["bench", "noise"].contains(&typed[0]);
                let mut typed = typed.to_vec();
                if takes_run {
                    typed.push(trained());
                }
                typed.extend([option, value]);
                let ended = run(folder.path(), &typed);
                // A guidance below zero leads away from the class.
                let is_fine =
                    *option == "--guidance" && value.parse::<f64>().is_ok_and(f64::is_finite);
                if !is_fine {
                    assert_eq!(ended.code, Some(2), "{typed:?}: {ended:#?}");
                    let named = option.trim_start_matches('-');
                    assert!(ended.stderr.contains(named), "{typed:?}: {ended:#?}");
                    assert!(!ended.stderr.contains("unexpected argument"), "{ended:#?}");
                }
            }
        }
    }
    for option in ["--minutes", "--epochs"] {
        for value in ["-1", "nan", "inf"] {
            let typed = ["train", "smoke", option, value];
            fail(folder.path(), &typed, 2, &[&option[2..]]);
        }
    }
}

#[test]
fn options_without_effect_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let run = trained();
    for (typed, part) in [
        (
            vec!["sample", run, "--sampler", "heun", "--eta", "1"],
            "--eta",
        ),
        (vec!["samplers", run, "--sampler", "ddim"], "--sampler"),
        (
            vec!["samplers", run, "--calls", "2", "--steps", "2"],
            "--steps",
        ),
        (
            vec!["sample", run, "--set", "sampling.guidance_rescale=0.5"],
            "sampling.guidance_rescale",
        ),
        (
            vec!["sample", run, "--set", "sampling.count=3"],
            "sampling.count",
        ),
    ] {
        fail(folder.path(), &typed, 2, &[part]);
    }
}

#[test]
fn the_configurations_are_in_the_program() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    for (name, text) in EMBEDDED {
        let ended = succeed(path, &["init", name]);
        assert!(ended.stdout.contains("trainer train"), "{ended:#?}");
        let written = fs::read_to_string(path.join(format!("{name}.toml"))).unwrap();
        assert!(!written.contains("#:schema"), "{written}");
        assert!(text.ends_with(&written), "{name}");
        fail(path, &["init", name], 2, &["is there already", "--out"]);
    }
    fail(path, &["init", "mnits"], 2, &["did you mean `mnist`?"]);
    fail(
        path,
        &["init", "smoke", "-o", "smoke.toml/x.toml"],
        2,
        &["smoke.toml is a file"],
    );
    fail(
        path,
        &["train", "mnits"],
        2,
        &["`mnits`", "did you mean `mnist`?"],
    );
    fail(path, &["train", "-c", "none.toml"], 2, &["none.toml"]);
    fail(
        path,
        &["train", "smoke", "--config", "smoke"],
        2,
        &["--config"],
    );

    succeed(path, &["train", "smoke", "--steps", "1"]);
    assert!(path.join("runs/smoke/checkpoints").is_dir());
    let own = fs::read_to_string(path.join("smoke.toml")).unwrap();
    fs::write(
        path.join("mine.toml"),
        own.replace("steps = 20", "steps = 1"),
    )
    .unwrap();
    succeed(path, &["train", "mine.toml"]);
    assert!(path.join("runs/mine/checkpoints").is_dir());
    let typed = [
        "bench",
        "-c",
        "smoke",
        "--seconds",
        "0",
        "--batch-sizes",
        "1",
    ];
    assert!(succeed(path, &typed).stdout.contains("parameters"));
}

#[test]
fn without_data_it_says_how_it_comes() {
    let folder = tempfile::tempdir().unwrap();
    let ended = Command::new(env!("CARGO_BIN_EXE_trainer"))
        .args(["train"])
        .current_dir(folder.path())
        .env("CARGO_PKG_NAME", "trainer")
        .output()
        .unwrap();
    let stderr = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{stderr}");
    // As below a target folder, where the tests' programs are.
    let hint = "`cargo run -p trainer -- data fetch mnist` brings them";
    assert!(stderr.contains(hint), "{stderr}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_place_that_cannot_be_written_is_refused_before_anything_is_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    fs::write(path.join("file"), "").unwrap();
    fs::create_dir(path.join("folder.png")).unwrap();
    // Many images: drawing them would take minutes.
    let many = ["sample", trained(), "-n", "100000"];
    let few = ["samplers", trained()];
    for (typed, option, value, part) in [
        (&many[..], "--out", "a.txt", ".png, .jpg, .jpeg, .webp"),
        (&many, "-o", "a", ".png, .jpg, .jpeg, .webp"),
        (&many, "-o", "a.gif", ".png, .jpg, .jpeg, .webp"),
        (&many, "--gif", "a.png", ".gif"),
        (&many, "--trajectory", "a.bmp", ".png"),
        (&many, "--out", "folder.png", "is a folder"),
        (&many, "--out", "file/a.png", "file is a file"),
        (&many, "--gif", "file/a.gif", "file is a file"),
        (&many, "--tensors", "file/a", "file is a file"),
        (&many, "--each", "file/a", "file is a file"),
        (&few, "--out", "a.txt", ".png"),
        (&few, "--out", "file/a.png", "file is a file"),
    ] {
        fail(path, &[typed, &[option, value]].concat(), 2, &[part]);
    }
    let show = ["data", "show", "mnist", "--data-dir", &data_dir(), "--out"];
    fail(
        path,
        &[&show[..], &["file/a.png"]].concat(),
        2,
        &["file is a file"],
    );
    assert_eq!(fs::read_dir(path).unwrap().count(), 2);

    for (name, format) in [
        ("a.png", image::ImageFormat::Png),
        ("new/a.jpg", image::ImageFormat::Jpeg),
        ("a.webp", image::ImageFormat::WebP),
    ] {
        let typed = ["sample", trained(), "-n", "2", "--steps", "1", "-o", name];
        succeed(path, &typed);
        let bytes = fs::read(path.join(name)).unwrap();
        assert_eq!(image::guess_format(&bytes).unwrap(), format);
    }
}

/// Commands that print, each quickly done.
fn that_print() -> Vec<Vec<String>> {
    let data = data_dir();
    let split = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    vec![
        split("devices"),
        split("train smoke --steps 1 --overwrite -o again"),
        split("bench -c smoke --seconds 0 --batch-sizes 1"),
        split(&format!(
            "sample {} -n 2 --steps 1 --each each --gif a.gif",
            trained()
        )),
        split(&format!("samplers {} -n 1 --steps 2", trained())),
        split(&format!("samplers {} -n 2 --calls 2", trained())),
        split(&format!("noise -n 1 --columns 2 --data-dir {data}")),
        split(&format!(
            "data show mnist --data-dir {data} -n 10 -o sheet.png"
        )),
        split("data show spiral -o spiral.png"),
        split("init smoke"),
        split("man pages"),
        split(&format!("export {} exported", trained())),
        split(&format!("list {}", trained())),
        split(&format!("info {}", trained())),
        split(&format!("compare {0} {0}", trained())),
    ]
}

#[test]
fn a_program_reads_lines_of_json() {
    let folder = tempfile::tempdir().unwrap();
    for typed in that_print() {
        let typed: Vec<&str> = typed.iter().map(String::as_str).collect();
        let ended = succeed(folder.path(), &[&typed[..], &["--json"]].concat());
        let lines: Vec<Value> = ended
            .stdout
            .lines()
            .map(|line| {
                serde_json::from_str(line).unwrap_or_else(|e| panic!("{typed:?}: {line}: {e}"))
            })
            .collect();
        assert!(
            !lines.is_empty() && lines.iter().all(Value::is_object),
            "{typed:?}: {ended:#?}"
        );
    }
}

#[test]
fn a_quiet_command_prints_only_what_it_was_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    for typed in that_print() {
        let typed: Vec<&str> = typed.iter().map(String::as_str).collect();
        let ended = succeed(folder.path(), &[&typed[..], &["-q"]].concat());
        assert!(!ended.stdout.contains("wrote"), "{typed:?}: {ended:#?}");
        assert_eq!(ended.stderr, "", "{typed:?}");
        let figures = [
            "devices", "bench", "samplers", "noise", "data", "list", "info", "compare",
        ];
        let asks_for_figures = figures.contains(&typed[0]);
        assert_eq!(
            !ended.stdout.is_empty(),
            asks_for_figures,
            "{typed:?}: {ended:#?}"
        );
    }
}

#[test]
fn a_closed_or_full_output_ends_no_command() {
    let folder = tempfile::tempdir().unwrap();
    let others = ["--help", "--version", "completions bash", "sample --help"];
    let others = others.map(|text| text.split(' ').map(str::to_owned).collect());
    for typed in that_print().into_iter().chain(others) {
        let _ = fs::remove_file(folder.path().join("smoke.toml"));
        let _ = fs::remove_dir_all(folder.path().join("exported"));
        let typed: Vec<&str> = typed.iter().map(String::as_str).collect();
        let mut child = command(folder.path(), &typed)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let ended = child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&ended.stderr);
        assert!(!stderr.contains("panicked"), "{typed:?}: {stderr}");
        assert_eq!(ended.status.code(), Some(0), "{typed:?}: {stderr}");
    }
    if cfg!(target_os = "linux") {
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let ended = command(folder.path(), &["devices"])
            .stdout(full)
            .output()
            .unwrap();
        assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    }
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_a_command_at_once_and_leaves_no_half_file() {
    let data = data_dir();
    let image = Path::new(trained()).join("ctrl-c.png");
    image::GrayImage::new(28, 28).save(&image).unwrap();
    let image = image.display().to_string();
    let long: [&[&str]; 6] = [
        &["sample", trained(), "-n", "100000", "-o", "a.png"],
        &[
            "edit",
            trained(),
            "--from",
            &image,
            "-n",
            "100000",
            "-o",
            "a.png",
        ],
        &["samplers", trained(), "-n", "100000", "-o", "a.png"],
        &[
            "evaluate",
            trained(),
            "-n",
            "100000",
            "--data-dir",
            &data,
            "--reference-images",
            "500",
            "--classifier-steps",
            "1",
            "--cache",
            "cache",
        ],
        &["bench", "-c", "smoke", "--seconds", "600"],
        &[
            "noise",
            "--data-dir",
            &data,
            "--set",
            "noise.num_train_timesteps=100000",
            "--set",
            "noise.schedule={kind=\"linear\", beta_start=1e-9, beta_end=1e-6}",
        ],
    ];
    for typed in long {
        let folder = tempfile::tempdir().unwrap();
        let child = command(folder.path(), typed)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        sleep(Duration::from_millis(1500));
        let pid = child.id().to_string();
        let sent = Command::new("kill").args(["-INT", &pid]).status().unwrap();
        assert!(sent.success(), "{typed:?}: it ended by itself");
        let ended = child.wait_with_output().unwrap();
        assert_eq!(ended.status.code(), Some(130), "{typed:?}: {ended:?}");
        assert!(!folder.path().join("a.png").exists());
        for entry in walk(folder.path()) {
            assert!(!entry.contains(".unfinished"), "{typed:?}: {entry}");
        }
    }
}

/// Every file below a folder.
fn walk(folder: &Path) -> Vec<String> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(walk(&path));
        } else {
            files.push(path.display().to_string());
        }
    }
    files
}

#[test]
fn colour_is_for_those_who_want_it() {
    let folder = tempfile::tempdir().unwrap();
    let typed = ["sample", trained(), "-n", "1", "--steps", "1"];
    let ended = command(folder.path(), &typed)
        .env("NO_COLOR", "1")
        .output()
        .unwrap();
    assert!(!ended.stderr.contains(&0x1b) && !ended.stdout.contains(&0x1b));
}

#[test]
fn shells_complete_and_man_has_a_page_for_each_command() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let text = succeed(folder.path(), &["completions", shell]).stdout;
        assert!(
            text.contains("samplers") && text.contains("guidance"),
            "{shell}"
        );
    }
    fail(
        folder.path(),
        &["completions", "tcsh"],
        2,
        &["bash", "zsh", "fish"],
    );
    succeed(folder.path(), &["man", "pages"]);
    for typed in commands() {
        let name = format!("trainer-{}.1", typed.join("-"));
        let page = fs::read_to_string(folder.path().join("pages").join(&name)).unwrap();
        assert!(page.contains(".TH") && page.contains("SYNOPSIS"), "{name}");
    }
    assert!(folder.path().join("pages/trainer.1").is_file());
}

#[test]
fn the_schema_of_the_repository_is_the_programs_and_knows_every_key() {
    let folder = tempfile::tempdir().unwrap();
    let printed = succeed(folder.path(), &["schema"]).stdout;
    let committed = fs::read_to_string(repository().join("configs/schema.json")).unwrap();
    assert_eq!(
        printed, committed,
        "write it anew: cargo run -p trainer -- schema > configs/schema.json"
    );
    let schema: Value = serde_json::from_str(&printed).unwrap();
    for (name, text) in EMBEDDED {
        assert!(text.starts_with("#:schema ./schema.json\n"), "{name}");
        let config: toml::Table = toml::from_str(text).unwrap();
        for (table, value) in &config {
            let section = resolved(&schema, &schema["properties"][table]);
            assert!(section.is_object(), "{name}: {table}");
            // Of a table with a kind, what that kind has.
            let kinds = section["oneOf"].as_array().into_iter().flatten();
            let parts: Vec<&Value> = [section].into_iter().chain(kinds).collect();
            let knows = |key: &String| parts.iter().any(|part| part["properties"][key].is_object());
            for key in value.as_table().into_iter().flat_map(toml::Table::keys) {
                assert!(knows(key), "{name}: {table}.{key}");
            }
        }
    }
}

/// What a part of a schema refers to.
fn resolved<'a>(schema: &'a Value, part: &'a Value) -> &'a Value {
    match part["$ref"]
        .as_str()
        .and_then(|path| path.strip_prefix('#'))
    {
        Some(path) => schema.pointer(path).unwrap(),
        None => part,
    }
}
