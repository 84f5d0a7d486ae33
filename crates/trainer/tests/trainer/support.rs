//! Running the built program as a user runs it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use image::DynamicImage;

/// The top of the repository.
pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

pub(crate) fn config(name: &str) -> String {
    repository()
        .join("configs")
        .join(name)
        .display()
        .to_string()
}

/// The program, in the working folder `folder`, with the data of the repository at hand.
pub(crate) fn command(folder: &Path, args: &[&str]) -> Command {
    command_of(program(), folder, args)
}

/// The file of the program.
pub(crate) fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_trainer"))
}

/// As [`command`], of a copy of the program.
pub(crate) fn command_of(program: &Path, folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command
        .args(args)
        .current_dir(folder)
        .env_remove("RUST_LOG")
        .env_remove("BURN_DEVICE")
        .env_remove("DIFFUSION_TOKEN_FILE")
        .env_remove("DIFFUSION_WORKER_TIMEOUT")
        // As of a program that cargo runs.
        .env_remove("CARGO_PKG_NAME")
        .stdin(Stdio::null());
    if args.first() == Some(&"train") {
        command.arg("--data-dir").arg(repository().join("data"));
    }
    command
}

/// What the program said and how it ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

pub(crate) fn run(folder: &Path, args: &[&str]) -> Ended {
    let ended: Ended = command(folder, args).output().unwrap().into();
    assert!(!ended.stderr.contains("panicked"), "{ended:#?}");
    ended
}

/// Runs the program, which must succeed.
#[track_caller]
pub(crate) fn succeed(folder: &Path, args: &[&str]) -> Ended {
    let ended = run(folder, args);
    assert_eq!(ended.code, Some(0), "{args:?}: {ended:#?}");
    ended
}

/// Runs the program, which must fail with `code` and a message that holds all of `parts`.
#[track_caller]
pub(crate) fn fail(folder: &Path, args: &[&str], code: i32, parts: &[&str]) {
    let ended = run(folder, args);
    assert_eq!(ended.code, Some(code), "{args:?}: {ended:#?}");
    for part in parts {
        assert!(
            ended.stderr.contains(part),
            "{args:?}: no {part:?} in {}",
            ended.stderr
        );
    }
}

/// A run of a few steps of the smoke configuration in `folder/run`.
pub(crate) fn train(folder: &Path, out: &str, more: &[&str]) -> Ended {
    let config = config("smoke.toml");
    succeed(
        folder,
        &[&["train", "--config", &config, "--out", out], more].concat(),
    )
}

/// The folder of the checkpoint of a step.
pub(crate) fn checkpoint(run: &Path, step: u64) -> PathBuf {
    run.join(format!("checkpoints/step-{step:08}"))
}

/// The tensors of a checkpoint, byte by byte.
pub(crate) fn tensors(checkpoint: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(checkpoint)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "safetensors"))
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, fs::read(&path).unwrap())
        })
        .collect();
    files.sort();
    assert_eq!(files.len(), 4, "{}", checkpoint.display());
    files
}

/// Copies a folder and all that is in it.
pub(crate) fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_folder(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

/// The grid of images in a picture, without what is written around it: it lies at the bottom, in a frame of
/// middle grey.
pub(crate) fn grid_of(picture: &DynamicImage) -> DynamicImage {
    let grey = picture.to_luma8();
    let is_frame = |x: u32, y: u32| grey.get_pixel(x, y).0 == [127];
    let bottom = grey.height() - 1;
    let frame: Vec<u32> = (0..grey.width()).filter(|&x| is_frame(x, bottom)).collect();
    let (left, right) = (frame[0], frame[frame.len() - 1]);
    let top = (0..=bottom)
        .rev()
        .take_while(|&y| is_frame(left, y))
        .last()
        .unwrap();
    picture.crop_imm(left, top, right + 1 - left, bottom + 1 - top)
}
