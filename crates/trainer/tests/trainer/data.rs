//! A person's own images as data: trained on, resumed and looked at as a user does, and what is said
//! where they are wrong; published data sets fetched from a server of the test's own.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::support::{checkpoint, config, fail, grid_of, repository, run, succeed, tensors};
use datasets::DatasetName;
use flate2::{Compression, write::GzEncoder};
use image::{ColorType, Rgba, RgbaImage};

/// A folder `images` of 24 images of two kinds, in mixed sizes and formats.
fn make_images(folder: &Path) {
    for index in 0..24_u32 {
        let (class, colour) =
            [("circles", [200, 30, 30]), ("squares", [30, 30, 200])][index as usize % 2];
        let (width, height) = (20 + index, 40 - index);
        let image = RgbaImage::from_fn(width, height, |x, y| {
            let (dx, dy) = (x.abs_diff(width / 2), y.abs_diff(height / 2));
            let inside = if index % 2 == 0 {
                dx * dx + dy * dy < 60
            } else {
                dx.max(dy) < 7
            };
            let [red, green, blue] = colour;
            Rgba([red, green, blue, if inside { 255 } else { 0 }])
        });
        let format = ["png", "webp", "gif", "bmp", "jpg"][index as usize % 5];
        let path = folder.join(format!("images/{class}/{index:02}.{format}"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        if format == "jpg" {
            image::DynamicImage::from(image)
                .into_rgb8()
                .save(path)
                .unwrap();
        } else {
            image.save(path).unwrap();
        }
    }
}

/// The arguments of a run of a few steps on `path`.
fn train_args(path: &str, channels: u32, more: &[&str]) -> Vec<String> {
    let sets = [
        format!("data.path={path}"),
        "network.sample_size=16".to_owned(),
        format!("network.in_channels={channels}"),
        format!("network.out_channels={channels}"),
        "checkpoint.every=4".to_owned(),
        "held_out.examples=6".to_owned(),
        "sampling.count=3".to_owned(),
    ];
    let mut args = vec![
        "train".to_owned(),
        "--config".to_owned(),
        config("smoke.toml"),
    ];
    args.extend(sets.into_iter().flat_map(|set| ["--set".to_owned(), set]));
    args.extend(more.iter().map(|&text| text.to_owned()));
    args
}

fn as_strs(args: &[String]) -> Vec<&str> {
    args.iter().map(String::as_str).collect()
}

#[test]
fn a_folder_is_learned_from_memory_and_from_its_files_alike() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    make_images(folder);
    let train = |out: &str, more: &[&str]| {
        let more = [&["--out", out, "--set", "data.flip=true"], more].concat();
        succeed(folder, &as_strs(&train_args("images", 3, &more)))
    };
    let ended = train("held", &["--steps", "8"]);
    assert!(ended.stderr.contains("training images"), "{ended:#?}");
    let streamed = train("streamed", &["--steps", "8", "--set", "data.cache_mib=0"]);
    assert!(streamed.stderr.contains("read anew"), "{streamed:#?}");
    train("parts", &["--steps", "4"]);
    // Moved, and streamed from here on: the run goes on all the same.
    fs::rename(folder.join("images"), folder.join("moved")).unwrap();
    let resume = ["train", "--resume", "parts", "--steps", "8"];
    fail(folder, &resume, 1, &["images", "No such file"]);
    let moved = ["--set", "data.path=moved", "--set", "data.cache_mib=0"];
    succeed(folder, &[&resume[..], &moved].concat());
    let whole = tensors(&checkpoint(&folder.join("held"), 8));
    for other in ["streamed", "parts"] {
        assert_eq!(
            tensors(&checkpoint(&folder.join(other), 8)),
            whole,
            "{other}"
        );
    }

    let saved = fs::read_to_string(folder.join("held/config.toml")).unwrap();
    assert!(saved.contains("num_class_embeds = 3"), "{saved}");
    succeed(folder, &["sample", "held", "--count", "2", "--steps", "2"]);
    assert!(
        image::open(folder.join("held/samples.png"))
            .unwrap()
            .color()
            .has_color()
    );

    // Other images are another run.
    fs::remove_file(folder.join("moved/circles/00.png")).unwrap();
    let resume = ["train", "--resume", "parts", "--steps", "12"];
    fail(
        folder,
        &resume,
        1,
        &["moved", "not those that the run began with"],
    );
    let flip = ["--set", "data.flip=false"];
    fail(
        folder,
        &[&resume[..], &flip].concat(),
        2,
        &["data cannot change"],
    );
}

#[test]
fn classes_have_names() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    make_images(folder);
    succeed(
        folder,
        &as_strs(&train_args("images", 3, &["--out", "run", "--steps", "2"])),
    );
    let saved = fs::read_to_string(folder.join("run/config.toml")).unwrap();
    let (_, found) = saved.split_once("[found]").unwrap();
    assert!(
        found.contains("class_names = [\"circles\", \"squares\"]"),
        "{saved}"
    );

    let sample = ["sample", "run", "--steps", "2", "--count", "3", "--each"];
    succeed(
        folder,
        &[&sample[..], &["named", "--class", "squares,circles"]].concat(),
    );
    succeed(
        folder,
        &[&sample[..], &["numbered", "--class", "1,0"]].concat(),
    );
    let labels = fs::read_to_string(folder.join("named/labels.csv")).unwrap();
    let expected =
        "file,class,name\n000000.png,1,squares\n000001.png,0,circles\n000002.png,1,squares\n";
    assert_eq!(labels, expected);
    for image in ["000000.png", "000001.png"] {
        let read = |each: &str| fs::read(folder.join(each).join(image)).unwrap();
        assert_eq!(read("named"), read("numbered"));
    }
    let wrong = [&sample[..], &["wrong", "--class", "sqares"]].concat();
    let parts = [
        "--class \"sqares\"",
        "circles, squares",
        "did you mean \"squares\"?",
    ];
    fail(folder, &wrong, 2, &parts);
    let edit = [
        "edit",
        "run",
        "--from",
        "named/000000.png",
        "--steps",
        "2",
        "--count",
        "1",
    ];
    succeed(folder, &[&edit[..], &["--class", "circles"]].concat());
    fail(
        folder,
        &[&edit[..], &["--class", "circles,squares"]].concat(),
        2,
        &["one class"],
    );

    let few = [
        "--steps",
        "2",
        "--count",
        "4",
        "--classifier-steps",
        "2",
        "--likelihood-images",
        "0",
    ];
    let evaluate = [
        &["evaluate", "run", "--neighbours", "1", "--class"][..],
        &["circles"],
        &few,
    ]
    .concat();
    let of_one = run(folder, &evaluate);
    // Of 24 images there may be too few of a class held out.
    let refused = of_one.stderr.contains("to compare with");
    assert!(of_one.code == Some(0) || refused, "{of_one:#?}");
    fail(
        folder,
        &[&evaluate[..4], &["--class", "trees"]].concat(),
        2,
        &["circles, squares"],
    );

    succeed(folder, &["export", "run", "exported"]);
    let index = fs::read_to_string(folder.join("exported/model_index.json")).unwrap();
    let index: serde_json::Value = serde_json::from_str(&index).unwrap();
    assert_eq!(
        index["id2label"],
        serde_json::json!({"0": "circles", "1": "squares"})
    );
    succeed(
        folder,
        &["import", "exported", "back", "--set", "data.path=images"],
    );
    succeed(
        folder,
        &[
            "sample", "back", "--class", "squares", "--steps", "2", "--count", "1",
        ],
    );
    succeed(folder, &["export", "run", "one", "--class", "squares"]);
    let index = fs::read_to_string(folder.join("one/model_index.json")).unwrap();
    assert!(!index.contains("id2label"), "{index}");
}

#[test]
fn grey_images_without_classes_are_learned() {
    let folder = tempfile::tempdir().unwrap();
    make_images(folder.path());
    for (path, out) in [("images/circles", "run-1"), ("images", "run-2")] {
        let out = ["--out", out, "--steps", "2"];
        let without = [&out[..], &["--set", "conditioning.class_labels=false"]].concat();
        succeed(folder.path(), &as_strs(&train_args(path, 1, &without)));
    }
    fail(
        folder.path(),
        &as_strs(&train_args("images/circles", 1, &[])),
        2,
        &["conditioning.class_labels", "have no classes"],
    );
}

#[test]
fn transparent_images_are_learned_and_drawn_as_such() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    make_images(path);
    let four = train_args("images", 4, &["--out", "run", "--steps", "2"]);
    succeed(path, &as_strs(&four));
    let sample = [
        "sample", "run", "--count", "2", "--steps", "2", "--each", "each",
    ];
    let files = [
        "--gif",
        "way.gif",
        "--trajectory",
        "way.png",
        "--out",
        "grid.png",
    ];
    succeed(path, &[&sample[..], &files].concat());
    let edit = ["edit", "run", "--from", "each/000000.png", "--steps", "2"];
    succeed(path, &[&edit[..], &["--out", "edited.png"]].concat());
    for file in ["grid.png", "way.png", "each/000001.png", "edited.png"] {
        let picture = image::open(path.join(file)).unwrap();
        assert_eq!(picture.color(), ColorType::Rgba8, "{file}");
    }
    // Through a GIF nothing shows.
    let frame = image::open(path.join("way.gif")).unwrap().into_rgba8();
    assert!(frame.pixels().all(|pixel| pixel.0[3] == 255));
}

#[test]
fn bad_folders_are_refused_and_leave_no_run() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    make_images(folder);
    let images = folder.join("images");
    let args = train_args("images", 3, &["--steps", "2", "--out", "run"]);
    let refused = |parts: &[&str]| {
        fail(folder, &as_strs(&args), 1, parts);
        assert!(!folder.join("run").exists());
    };
    let png = fs::read(images.join("circles/00.png")).unwrap();
    let bad = images.join("circles/bad.png");

    fs::write(&bad, b"").unwrap();
    refused(&[
        "circles/bad.png is empty (0 bytes)",
        "1 of the 25 images",
        "skip_bad",
    ]);
    fs::write(&bad, &png[..png.len() / 2]).unwrap();
    refused(&["cannot decode", "bad.png", "cut short"]);
    fs::write(&bad, b"a web page, by mistake").unwrap();
    refused(&["bad.png is no image: expected PNG"]);
    // A header that announces 100,000 × 100,000 pixels.
    let mut bomb = png.clone();
    bomb[16..24].copy_from_slice(&[0, 1, 0x86, 0xa0, 0, 1, 0x86, 0xa0]);
    let checksum = crc32(&bomb[12..29]);
    bomb[29..33].copy_from_slice(&checksum.to_be_bytes());
    fs::write(&bad, &bomb).unwrap();
    refused(&["bad.png is 100000 × 100000 pixels", "the limit is 67108864"]);

    let skipping = ["--set", "data.skip_bad=true"].map(str::to_owned);
    let ended = succeed(folder, &as_strs(&[&args[..], &skipping].concat()));
    for part in ["bad.png is 100000", "1 of the 25 images", "passed over"] {
        assert!(
            ended.stderr.contains(part),
            "no {part:?} in {}",
            ended.stderr
        );
    }
    fs::remove_dir_all(folder.join("run")).unwrap();

    fs::remove_dir_all(&images).unwrap();
    refused(&["cannot read the folder images", "No such file"]);
    fs::create_dir(&images).unwrap();
    refused(&["no images below images"]);
    fs::write(images.join("one.png"), &png).unwrap();
    refused(&["only one image below images"]);
    if running_as_ordinary_user(folder) {
        use std::os::unix::fs::PermissionsExt;
        fs::create_dir(images.join("closed")).unwrap();
        let closed = fs::Permissions::from_mode(0o000);
        fs::set_permissions(images.join("closed"), closed).unwrap();
        refused(&["images/closed", "ermission denied"]);
    }
}

/// Whether permissions hold anything back from this process, as they do not from root.
fn running_as_ordinary_user(folder: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    let path = folder.join("closed");
    fs::write(&path, "").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    fs::File::open(path).is_err()
}

/// The CRC-32 of PNG (ISO 3309), bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            (crc >> 1) ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 }
        })
    })
}

/// A `.npy` file.
fn npy(element_type: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let header =
        format!("{{'descr': '{element_type}', 'fortran_order': False, 'shape': {shape}, }}\n");
    let length = (header.len() as u16).to_le_bytes();
    [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes(), data].concat()
}

#[test]
fn labels_are_learned_from_a_file_and_numbers_that_are_too_large_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    make_images(folder);
    let images = folder.join("images");
    let mut lines = "file_name,kind\n".to_owned();
    for class in ["circles", "squares"] {
        for entry in fs::read_dir(images.join(class)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            lines += &format!(
                "{class}/{name},{}\n",
                if name.as_str() < "12" {
                    "first"
                } else {
                    "last"
                }
            );
        }
    }
    fs::write(images.join("metadata.csv"), &lines).unwrap();
    succeed(
        folder,
        &as_strs(&train_args("images", 3, &["--out", "run", "--steps", "1"])),
    );
    let saved = fs::read_to_string(folder.join("run/config.toml")).unwrap();
    assert!(
        saved.contains("class_names = [\"first\", \"last\"]"),
        "{saved}"
    );
    fs::write(images.join("metadata.csv"), lines + "missing.png,first\n").unwrap();
    let args = train_args("images", 3, &["--out", "other", "--steps", "1"]);
    fail(
        folder,
        &as_strs(&args),
        1,
        &["images/metadata.csv:26", "\"missing.png\" is no image"],
    );
    fs::remove_file(images.join("metadata.csv")).unwrap();
    // In place of a file.
    let pipe = folder.join("pipe.npy");
    assert!(
        std::process::Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    fail(
        folder,
        &["data", "show", "pipe.npy"],
        1,
        &["pipe.npy", "regular file"],
    );
    let many = [
        "data", "show", "images", "--count", "10000", "--size", "2048",
    ];
    fail(
        folder,
        &[&many[..], &["--skip-bad"]].concat(),
        2,
        &["--count 10000", "smaller --size"],
    );
    fail(
        folder,
        &["data", "show", "images", "--count", "99999999999999"],
        2,
        &["--count"],
    );
    let constant = "1e99,1,2\n".repeat(3);
    fs::write(folder.join("constant.csv"), constant).unwrap();
    succeed(folder, &["data", "show", "constant.csv"]);
    let wide = "1,".repeat(50_000);
    fs::write(
        folder.join("wide.csv"),
        format!("{wide}1\n{wide}2\n{wide}3\n"),
    )
    .unwrap();
    let shown = succeed(folder, &["data", "show", "wide.csv"]);
    assert!(shown.stdout.len() < 2000, "{}", shown.stdout.len());
}

#[test]
fn an_array_is_learned_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let pixels: Vec<u8> = (0..20 * 256_u32).map(|i| (i * 7) as u8).collect();
    fs::write(folder.join("a.npy"), npy("|u1", "(20, 16, 16)", &pixels)).unwrap();
    let without = ["--set", "conditioning.class_labels=false", "--steps", "2"];
    succeed(folder, &as_strs(&train_args("a.npy", 1, &without)));
    let ended = succeed(folder, &["data", "show", "a.npy", "--out", "a.png"]);
    assert!(ended.stdout.contains("16 × 16 pixels, grey"), "{ended:#?}");
    assert!(folder.join("a.png").is_file());

    let bad = train_args("bad.npy", 1, &without);
    let refused = |bytes: &[u8], code: i32, parts: &[&str]| {
        fs::write(folder.join("bad.npy"), bytes).unwrap();
        fail(folder, &as_strs(&bad), code, parts);
    };
    let whole = npy("|u1", "(20, 16, 16)", &pixels);
    refused(&whole[..4000], 1, &["bad.npy", "cut short", "5120 bytes"]);
    refused(
        &npy("<i8", "(20, 16, 16)", &pixels),
        1,
        &["bad.npy", "\"<i8\"", "uint8"],
    );
    refused(
        &npy("|u1", "(20, 256)", &pixels),
        1,
        &["bad.npy", "[20, 256]", "[N, H, W]"],
    );
    refused(
        &npy("|u1", "(80, 8, 8)", &pixels),
        2,
        &["network.sample_size", "need 8"],
    );
    fs::write(folder.join("b.npy"), npy("|u1", "(20, 16, 16)", &pixels)).unwrap();
    let labelled = train_args("b.npy", 1, &["--out", "labelled"]);
    fail(
        folder,
        &as_strs(&labelled),
        2,
        &["conditioning.class_labels", "no classes"],
    );
}

#[test]
fn data_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    make_images(folder);
    let shown = succeed(folder, &["data", "show", "images", "--size", "16"]);
    for part in [
        "16 × 16 pixels, RGB",
        "20 to 43 wide, 17 to 40 high",
        "circles",
        "squares",
        "mean",
    ] {
        assert!(
            shown.stdout.contains(part),
            "no {part:?} in {}",
            shown.stdout
        );
    }
    let sheet = grid_of(&image::open(folder.join("runs/data/images.png")).unwrap());
    assert_eq!(sheet.width(), 2 + 2 * (96 + 2));

    let data_dir = repository().join("data").display().to_string();
    let shown = succeed(
        folder,
        &[
            "data",
            "show",
            "mnist",
            "--data-dir",
            &data_dir,
            "--out",
            "m.png",
        ],
    );
    for part in [
        "60000 training images, 10000 held out",
        "   7     6265      1028  7",
        "mean 0.1307, deviation 0.3081",
    ] {
        assert!(
            shown.stdout.contains(part),
            "no {part:?} in {}",
            shown.stdout
        );
    }
    assert!(folder.join("m.png").is_file());

    fail(
        folder,
        &["data", "show", "nothing"],
        2,
        &["nothing is neither", "fashion-mnist"],
    );
    fail(
        folder,
        &["data", "show", "images", "--count", "0"],
        2,
        &["--count"],
    );
    fail(
        folder,
        &["data", "show", "images", "--background", "1,2"],
        2,
        &["--background"],
    );
    let grey = [
        "data",
        "show",
        "images",
        "--grey",
        "--background",
        "0,0,0",
        "--out",
        "g.png",
    ];
    assert!(succeed(folder, &grey).stdout.contains("grey"));
}

/// What a server does with a request for a file: its whole content, and the place to begin.
type Answer = fn(&mut TcpStream, &[u8], usize);

/// A server of the files of MNIST; see [`serve_folder`].
fn serve(answers: &'static [Answer]) -> (String, Arc<Mutex<Vec<String>>>) {
    serve_folder(repository().join("data/mnist"), answers)
}

/// A server of the files of a folder; keeps the requests, as `NAME START`. Answers the n-th request for a
/// file by the n-th answer, or the last.
fn serve_folder(folder: PathBuf, answers: &'static [Answer]) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/files/", listener.local_addr().unwrap());
    let requests = Arc::new(Mutex::new(Vec::<String>::new()));
    let seen = Arc::clone(&requests);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let path = lines.next().unwrap().unwrap();
            let name = path
                .split([' ', '/'])
                .rfind(|part| part.ends_with(".gz"))
                .unwrap()
                .to_owned();
            let mut start = 0;
            for line in lines {
                let line = line.unwrap().to_lowercase();
                if let Some(range) = line.strip_prefix("range: bytes=") {
                    start = range.trim_end_matches('-').parse().unwrap();
                }
                if line.is_empty() {
                    break;
                }
            }
            let earlier = {
                let mut seen = seen.lock().unwrap();
                seen.push(format!("{name} {start}"));
                seen.iter()
                    .filter(|request| request.starts_with(&name))
                    .count()
                    - 1
            };
            let bytes = fs::read(folder.join(name)).unwrap();
            answers[earlier.min(answers.len() - 1)](&mut stream, &bytes, start);
        }
    });
    (address, requests)
}

fn respond(stream: &mut TcpStream, head: &str, length: usize, body: &[u8]) {
    // A client that has seen enough may be gone.
    let _ = write!(
        stream,
        "HTTP/1.1 {head}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    let _ = stream.write_all(body);
}

fn whole_or_rest(stream: &mut TcpStream, bytes: &[u8], start: usize) {
    if start == 0 {
        return respond(stream, "200 OK", bytes.len(), bytes);
    }
    if start >= bytes.len() {
        return respond(stream, "416 Range Not Satisfiable", 0, b"");
    }
    let range = format!(
        "Content-Range: bytes {start}-{}/{}",
        bytes.len() - 1,
        bytes.len()
    );
    let rest = &bytes[start..];
    respond(
        stream,
        &format!("206 Partial Content\r\n{range}"),
        rest.len(),
        rest,
    );
}

fn cut_in_half(stream: &mut TcpStream, bytes: &[u8], _start: usize) {
    respond(stream, "200 OK", bytes.len(), &bytes[..bytes.len() / 2]);
}

fn without_ranges(stream: &mut TcpStream, bytes: &[u8], _start: usize) {
    respond(stream, "200 OK", bytes.len(), bytes);
}

fn not_found(stream: &mut TcpStream, _bytes: &[u8], _start: usize) {
    respond(stream, "404 Not Found", 5, b"where");
}

fn wrong_bytes(stream: &mut TcpStream, bytes: &[u8], _start: usize) {
    let mut bytes = bytes.to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    respond(stream, "200 OK", bytes.len(), &bytes);
}

/// Fetches MNIST into `folder/data` from these servers.
fn fetch(folder: &Path, mirrors: &[&str]) -> crate::support::Ended {
    fetch_named("mnist", folder, mirrors)
}

/// Fetches a data set into `folder/data` from these servers.
fn fetch_named(name: &str, folder: &Path, mirrors: &[&str]) -> crate::support::Ended {
    let mirrors = mirrors.iter().flat_map(|mirror| ["--mirror", mirror]);
    let args: Vec<&str> = ["data", "fetch", name, "--data-dir", "data"]
        .into_iter()
        .chain(mirrors)
        .collect();
    run(folder, &args)
}

#[track_caller]
fn is_whole(folder: &Path) {
    let names = |folder: &Path| {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        names.sort();
        names
    };
    let there = repository().join("data/mnist");
    let fetched = folder.join("data/mnist");
    assert_eq!(names(&fetched), names(&there));
    for name in names(&there) {
        assert_eq!(
            fs::read(fetched.join(&name)).unwrap(),
            fs::read(there.join(&name)).unwrap()
        );
    }
}

const LABELS: &str = "t10k-labels-idx1-ubyte.gz";

#[test]
fn two_that_fetch_at_once_take_turns() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (address, _) = serve(&[whole_or_rest]);
    let ended = thread::scope(|scope| {
        let both = [0, 1].map(|_| scope.spawn(|| fetch(folder, &[&address])));
        both.map(|one| one.join().unwrap())
    });
    for one in &ended {
        assert_eq!(one.code, Some(0), "{one:#?}");
    }
    let count = |text: &str| -> usize {
        ended
            .iter()
            .map(|one| one.stdout.matches(text).count())
            .sum()
    };
    assert_eq!(
        (count("wrote "), count("is there already")),
        (4, 4),
        "{ended:#?}"
    );
    is_whole(folder);
}

#[test]
fn a_broken_download_goes_on_where_it_broke() {
    let folder = tempfile::tempdir().unwrap();
    let (server, requests) = serve(&[cut_in_half, whole_or_rest]);
    let ended = fetch(folder.path(), &[&server]);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    is_whole(folder.path());
    let half = fs::read(repository().join("data/mnist").join(LABELS))
        .unwrap()
        .len()
        / 2;
    let requests = requests.lock().unwrap();
    assert_eq!(requests.len(), 8, "{requests:?}");
    assert!(
        requests.contains(&format!("{LABELS} {half}")),
        "{requests:?}"
    );

    // What is there is not fetched again.
    drop(requests);
    let (server, requests) = serve(&[not_found]);
    let ended = fetch(folder.path(), &[&server]);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert!(ended.stdout.contains("there already"), "{ended:#?}");
    assert!(requests.lock().unwrap().is_empty());
}

#[test]
fn the_next_address_is_taken_where_one_fails() {
    let folder = tempfile::tempdir().unwrap();
    let (missing, _) = serve(&[not_found]);
    let (wrong, _) = serve(&[wrong_bytes]);
    let (right, _) = serve(&[cut_in_half, without_ranges]);
    let failed = fetch(folder.path(), &[&missing, &wrong]);
    assert_eq!(failed.code, Some(1), "{failed:#?}");
    for part in [
        "status 404",
        "train-images-idx3-ubyte.gz",
        &missing[..],
        &wrong[..],
    ] {
        assert!(
            failed.stderr.contains(part),
            "no {part:?} in {}",
            failed.stderr
        );
    }
    let left = fs::read_dir(folder.path().join("data/mnist"))
        .unwrap()
        .count();
    assert_eq!(left, 0, "nothing wrong stays");

    // Bytes of something else in the way do not keep the right ones away.
    let part = folder.path().join(format!("data/mnist/{LABELS}.part"));
    fs::write(part, "something else").unwrap();
    // Nor does a damaged file.
    fs::write(
        folder.path().join("data/mnist/t10k-images-idx3-ubyte.gz"),
        "damaged",
    )
    .unwrap();
    let ended = fetch(folder.path(), &[&missing, &wrong, &right]);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    is_whole(folder.path());
}

/// A `.tar.gz` with a recording for each name, as the Free Spoken Digit Dataset comes.
fn recordings(archive: &Path, names: &[String], mut recording: impl FnMut(&str) -> Vec<u8>) {
    let packed = GzEncoder::new(fs::File::create(archive).unwrap(), Compression::fast());
    let mut tar = tar::Builder::new(packed);
    for name in names {
        let bytes = recording(name);
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        let path = format!("free-spoken-digit-dataset/recordings/{name}");
        tar.append_data(&mut header, path, &bytes[..]).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap();
}

#[test]
fn recordings_come_in_their_archive_and_are_checked() {
    const SPEAKERS: [&str; 6] = ["george", "jackson", "lucas", "nicolas", "theo", "yweweler"];
    let names: Vec<String> = (0..10)
        .flat_map(|digit| SPEAKERS.map(|speaker| format!("{digit}_{speaker}")))
        .flat_map(|group| (0..50).map(move |index| format!("{group}_{index}.wav")))
        .collect();
    let published = tempfile::tempdir().unwrap();
    let archive = published
        .path()
        .join(DatasetName::Fsdd.downloads().remove(0));
    let refused = |names: &[String], parts: &[&str]| {
        let folder = tempfile::tempdir().unwrap();
        recordings(&archive, names, |name| name.as_bytes().to_vec());
        let (server, requests) =
            serve_folder(published.path().to_owned(), &[cut_in_half, whole_or_rest]);
        let ended = fetch_named("fsdd", folder.path(), &[&server]);
        assert_eq!(ended.code, Some(1), "{ended:#?}");
        for part in parts {
            assert!(ended.stderr.contains(part), "no {part:?}: {}", ended.stderr);
        }
        // The half that broke off was gone on with.
        let requests = requests.lock().unwrap();
        assert!(requests.iter().any(|request| !request.ends_with(" 0")));
        let left = fs::read_dir(folder.path().join("data/fsdd"))
            .unwrap()
            .count();
        assert_eq!(left, 0, "nothing wrong stays");
    };
    refused(&names, &["0_george_0.wav to 0_george_49.wav", "SHA-256"]);
    refused(&names[1..], &["1 of the 3,000", "0_george_0.wav"]);

    // The published ones, where `FSDD_DIR` says they lie: they are not part of the repository.
    let Some(there) = std::env::var_os("FSDD_DIR") else {
        return;
    };
    let there = Path::new(&there);
    recordings(&archive, &names, |name| fs::read(there.join(name)).unwrap());
    let folder = tempfile::tempdir().unwrap();
    let (server, _) = serve_folder(published.path().to_owned(), &[cut_in_half, whole_or_rest]);
    let ended = fetch_named("fsdd", folder.path(), &[&server]);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    let shown = succeed(
        folder.path(),
        &["data", "show", "fsdd", "--data-dir", "data"],
    );
    assert!(shown.stdout.contains("2400 training sounds"), "{shown:#?}");
}

#[test]
fn a_wrong_fetch_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fail(
        folder.path(),
        &["data", "fetch", "imagenet"],
        2,
        &["imagenet", "cifar10"],
    );
    let args = ["data", "fetch", "mnist", "--mirror", "ftp://example.org"];
    fail(folder.path(), &args, 2, &["--mirror", "https://"]);
}

#[test]
fn images_may_be_wider_than_high() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path();
    make_images(place);
    let wide = ["--set", "network.sample_size=[8, 16]"];
    let args = train_args("images", 3, &["--steps", "2", "--out", "run"]);
    let args: Vec<&str> = args.iter().map(String::as_str).chain(wide).collect();
    succeed(place, &args);
    let saved = fs::read_to_string(place.join("run/config.toml")).unwrap();
    assert!(saved.contains("sample_size = [8, 16]"), "{saved}");

    // Through the format of others and back.
    succeed(place, &["export", "run", "theirs"]);
    let theirs = fs::read_to_string(place.join("theirs/unet/config.json")).unwrap();
    let theirs: serde_json::Value = serde_json::from_str(&theirs).unwrap();
    assert_eq!(theirs["sample_size"], serde_json::json!([8, 16]));
    succeed(
        place,
        &["import", "theirs", "back", "--set", "data.path=images"],
    );
    for run in ["run", "back"] {
        let draw = [
            "sample", run, "--steps", "2", "--count", "1", "--out", "one.png",
        ];
        succeed(place, &[&draw[..], &["--each", "each"]].concat());
        let first = fs::read_dir(place.join("each"))
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let first = first
            .filter(|path| path.extension().is_some_and(|e| e == "png"))
            .min();
        let image = image::open(first.unwrap()).unwrap();
        assert_eq!((image.width(), image.height()), (16, 8), "{run}");
    }
    let edit = [
        "edit",
        "back",
        "--class",
        "0",
        "--from",
        "images/circles/00.png",
        "--steps",
        "2",
        "--count",
        "1",
    ];
    succeed(place, &[&edit[..], &["--out", "edit.png"]].concat());

    let odd = [&args[..args.len() - 1], &["network.sample_size=[8, 15]"]].concat();
    fail(
        place,
        &odd,
        2,
        &["network.sample_size: it is [8, 15], expected a multiple of"],
    );
}
