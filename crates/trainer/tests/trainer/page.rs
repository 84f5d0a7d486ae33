//! `trainer serve`, asked as its page asks it, and `trainer report`.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
#[cfg(target_os = "linux")]
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use datasets::{DatasetName, ImageDataset, Split};
use image::{DynamicImage, GrayImage, ImageFormat, Luma};
use serde_json::{Value, json};
use training::{Purpose, Streams};

use super::support::{checkpoint, command, fail, grid_of, repository, run, succeed, train};
#[cfg(target_os = "linux")]
use super::support::{command_of, program};

/// A page that is served, for as long as this value lives.
pub(crate) struct Page {
    pub(crate) program: Child,
    host: String,
    pub(crate) token: String,
}

impl Drop for Page {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

impl Page {
    pub(crate) fn open(folder: &Path) -> Self {
        Self::open_with(folder, &[]).0
    }

    /// The page of the runs of `folder`, with these arguments more, and what was said of it.
    fn open_with(folder: &Path, more: &[&str]) -> (Self, Value) {
        Self::of(command(folder, &[]), more)
    }

    /// The page of `command`, which has no arguments yet, with these `more`.
    fn of(mut command: Command, more: &[&str]) -> (Self, Value) {
        command.args(["serve", "--port", "0", "--json", "--data-dir"]);
        command.arg(repository().join("data")).args(more);
        let mut program = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        let mut said = BufReader::new(program.stdout.take().unwrap());
        said.read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).unwrap();
        let link = said["link"].as_str().unwrap().to_owned();
        let (host, token) = link
            .strip_prefix("http://")
            .and_then(|link| link.split_once("/#token="))
            .unwrap();
        assert!(host.starts_with("127.0.0.1:"), "{host}");
        let page = Self {
            program,
            host: host.to_owned(),
            token: token.to_owned(),
        };
        (page, said)
    }

    pub(crate) fn ask(&self, method: &str, target: &str, body: &str) -> (u16, Vec<u8>) {
        self.ask_with(&self.token, method, target, body.as_bytes())
    }

    pub(crate) fn ask_with(
        &self,
        token: &str,
        method: &str,
        target: &str,
        body: &[u8],
    ) -> (u16, Vec<u8>) {
        let Self { host, .. } = self;
        let mut stream = TcpStream::connect(host).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(120)))
            .unwrap();
        let length = body.len();
        let request = format!(
            "{method} /api/{target} HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\n\
             Authorization: Bearer {token}\r\nContent-Length: {length}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        // What is refused for its head alone is not read to its end.
        let _ = stream.write_all(body);
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
        let head = String::from_utf8_lossy(&answer[..end.unwrap()]).into_owned();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, answer[end.unwrap() + 4..].to_vec())
    }

    pub(crate) fn get(&self, target: &str) -> Value {
        let (status, body) = self.ask("GET", target, "");
        let text = String::from_utf8_lossy(&body);
        assert_eq!(status, 200, "{target}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    pub(crate) fn post(&self, target: &str, body: &Value) -> Value {
        let (status, answer) = self.ask("POST", target, &body.to_string());
        let text = String::from_utf8_lossy(&answer);
        assert_eq!(status, 200, "{target}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    #[track_caller]
    pub(crate) fn refuses(&self, target: &str, body: &Value, part: &str) {
        let (status, answer) = self.ask("POST", target, &body.to_string());
        let text = String::from_utf8_lossy(&answer);
        assert_eq!(status, 400, "{target}: {text}");
        assert!(text.contains(part), "{text}");
    }

    /// All events that answer a POST.
    pub(crate) fn events(&self, target: &str, body: &Value) -> Vec<(String, String)> {
        let (status, answer) = self.ask("POST", target, &body.to_string());
        let text = String::from_utf8_lossy(&answer).into_owned();
        assert_eq!(status, 200, "{text}");
        let event = |part: &str| {
            let (name, data) = part.strip_prefix("event: ")?.split_once("\ndata: ")?;
            Some((name.to_owned(), data.replace("\ndata: ", "\n")))
        };
        text.split("\n\n").filter_map(event).collect()
    }

    /// The only run that is called so.
    pub(crate) fn run(&self, name: &str) -> Value {
        self.listed(name).unwrap()
    }

    fn listed(&self, name: &str) -> Option<Value> {
        let runs = self.get("runs");
        let mut runs = runs.as_array().unwrap().iter();
        runs.find(|run| run["name"] == name).cloned()
    }

    /// Waits until `is_so` holds for the run of this name.
    pub(crate) fn wait(&self, name: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            // The list is up to a second old.
            let run = self.listed(name);
            match run {
                Some(run) if is_so(&run) => return run,
                run => assert!(began.elapsed() < Duration::from_secs(120), "{run:?}"),
            }
            thread::sleep(Duration::from_millis(200));
        }
    }
}

#[test]
fn what_the_page_draws_carries_how_and_is_drawn_again_to_the_byte() {
    let folder = tempfile::tempdir().unwrap();
    train(folder.path(), "runs/mine", &[]);
    let page = Page::open(folder.path());
    let mine = page.run("mine");
    assert_eq!(mine["state"], "finished");
    assert_eq!(mine["step"], 20);
    assert_eq!(mine["problem"], Value::Null);
    let id = mine["id"].as_str().unwrap();

    let about = page.get(&format!("runs/{id}"));
    assert_eq!(about["class_names"].as_array().unwrap().len(), 10);
    let curves = page.get(&format!("runs/{id}/curves"));
    assert_eq!(curves["training"]["step"], json!([5, 10, 15, 20]));
    assert_eq!(curves["measured"]["step"], json!([10, 20]));
    assert_eq!(page.get(&format!("runs/{id}/grids")), json!([20]));
    let (status, png) = page.ask("GET", &format!("runs/{id}/grids/20"), "");
    assert!(status == 200 && png.starts_with(b"\x89PNG"));
    let schedule = page.get(&format!("runs/{id}/schedule"));
    assert_eq!(schedule["num_train_timesteps"], 1000);

    let draw = format!("runs/{id}/draw");
    let asked = json!({
        "classes": [3, 7], "count": 3, "seed": 5, "sampler": "ddim", "steps": 4, "eta": 0.5, "guidance": 2.0,
    });
    let events = page.events(&draw, &asked);
    let names: Vec<&str> = events.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["begun", "step", "step", "step", "step", "done"]);
    let step: Value = serde_json::from_str(&events[1].1).unwrap();
    assert_eq!(step["sheet"]["width"], 28);
    let done: Value = serde_json::from_str(&events[5].1).unwrap();
    let pictures: Vec<Vec<u8>> = done["pictures"]
        .as_array()
        .unwrap()
        .iter()
        .map(|png| STANDARD.decode(png.as_str().unwrap()).unwrap())
        .collect();
    assert_eq!(pictures.len(), 3);
    for (place, png) in pictures.iter().enumerate() {
        let (saved, again) = (
            folder.path().join("saved.png"),
            folder.path().join("again.png"),
        );
        fs::write(&saved, png).unwrap();
        let arguments = [
            "sample",
            "runs/mine",
            "--like",
            "saved.png",
            "--out",
            "again.png",
        ];
        succeed(folder.path(), &arguments);
        assert!(
            fs::read(again).unwrap() == *png,
            "the sample at place {place}"
        );
    }
    // The last one alone is what it was beside the others.
    let alone = json!({
        "classes": [3], "count": 1, "first": 2, "seed": 5, "sampler": "ddim", "steps": 4, "eta": 0.5, "guidance": 2.0,
    });
    let events = page.events(&draw, &alone);
    let done: Value = serde_json::from_str(&events[5].1).unwrap();
    assert_eq!(done["pictures"][0], STANDARD.encode(&pictures[2]));

    for (change, part) in [
        (json!({ "classes": [10] }), "no class 10"),
        (json!({ "count": 1_000_000 }), "too many"),
        (json!({ "count": 0 }), "at least 1"),
        (json!({ "sampler": "heun", "eta": 0.5 }), "heun"),
        (json!({ "sampler": "../ddim" }), "../ddim"),
        (json!({ "steps": 0 }), "num_inference_steps"),
        (json!({ "guidance": 3.0, "classes": [null] }), "guidance"),
    ] {
        let events = page.events(&draw, &change);
        assert_eq!(events[0].0, "failed", "{change}: {events:?}");
        assert!(events[0].1.contains(part), "{change}: {events:?}");
    }
    page.refuses(&draw, &json!({ "path": "/etc" }), "unknown field");
    page.refuses(&draw, &json!([]), "not what the page asks");
    for missing in ["runs/mine", "runs/0000000000000000/draw", "runs"] {
        assert_eq!(page.ask("POST", &format!("{missing}/x"), "{}").0, 404);
    }

    // Another network, or a picture that carries nothing, is refused.
    train(folder.path(), "runs/other", &["--set", "seed=7"]);
    fail(
        folder.path(),
        &["sample", "runs/other", "--like", "saved.png"],
        2,
        &["step 20", "no checkpoint with these weights"],
    );
    fail(
        folder.path(),
        &["sample", "runs/mine", "--like", "runs/mine/loss.png"],
        2,
        &["carries no settings"],
    );
    // What would draw something else.
    for other in [["--seed", "3"], ["--precision", "f16"]] {
        let again = ["sample", "runs/mine", "--like", "saved.png"];
        fail(
            folder.path(),
            &[&again[..], &other].concat(),
            2,
            &[other[0]],
        );
    }
}

#[test]
fn a_training_is_started_stopped_and_gone_on_with() {
    let folder = tempfile::tempdir().unwrap();
    let page = Page::open(folder.path());
    assert_eq!(page.get("runs"), json!([]));
    let configurations = page.get("configurations");
    assert!(
        configurations
            .as_array()
            .unwrap()
            .iter()
            .any(|one| one["name"] == "smoke")
    );

    let started = page.post(
        "runs",
        &json!({
            "configuration": "smoke",
            "values": { "training.batch_size": 4, "log.every": 1, "sampling.sampler": "euler" },
            "budget": { "steps": 100_000 },
        }),
    );
    assert_eq!(started, json!({ "name": "smoke" }));
    let smoke = page.wait("smoke", |run| run["step"].as_u64() > Some(3));
    assert_eq!(
        (&smoke["state"], &smoke["is_ours"]),
        (&json!("training"), &json!(true))
    );
    let id = smoke["id"].as_str().unwrap();
    page.refuses(
        &format!("runs/{id}/resume"),
        &json!({}),
        "in training already",
    );
    page.post(&format!("runs/{id}/stop"), &json!({}));
    let stopped = page.wait("smoke", |run| run["state"] == "stopped");
    assert_eq!(stopped["has_checkpoint"], true);
    assert_eq!(stopped["device"], "flex");
    assert_eq!(stopped["problem"], Value::Null);
    let step = stopped["step"].as_u64().unwrap();
    let path = folder.path().join("runs/smoke");
    assert!(
        checkpoint(&path, step).is_dir(),
        "the last step was not saved"
    );
    let config = fs::read_to_string(path.join("config.toml")).unwrap();
    assert!(
        config.contains("batch_size = 4") && config.contains("\"euler\""),
        "{config}"
    );
    page.refuses(&format!("runs/{id}/stop"), &json!({}), "not in training");

    page.post(&format!("runs/{id}/resume"), &json!({ "steps": step + 5 }));
    let finished = page.wait("smoke", |run| run["state"] == "finished");
    assert_eq!(finished["step"], step + 5);
    // What it says in a terminal.
    page.refuses(
        &format!("runs/{id}/resume"),
        &json!({}),
        "the budget of the run is used up",
    );

    let branch = page.post(&format!("runs/{id}/branch"), &json!({ "steps": 3 }));
    assert_eq!(branch, json!({ "name": "smoke-branch" }));
    page.wait("smoke-branch", |run| {
        run["state"] == "finished" && run["step"] == 3
    });

    for (start, part) in [
        (json!({ "configuration": "nothing" }), "nothing"),
        (json!({ "configuration": "../smoke" }), "../smoke"),
        (
            json!({ "configuration": "smoke", "values": { "data.path": "/etc" } }),
            "cannot be set",
        ),
        (
            json!({ "configuration": "smoke", "values": { "training.batch_size": 0 } }),
            "batch_size",
        ),
        (
            json!({ "configuration": "smoke", "budget": { "minutes": -1.0 } }),
            "minutes",
        ),
        (
            json!({ "configuration": "smoke", "out": "/tmp/x" }),
            "unknown field",
        ),
    ] {
        page.refuses("runs", &start, part);
    }
    // What never began is no run, and leaves nothing.
    assert_eq!(page.get("runs").as_array().unwrap().len(), 2);
    assert_eq!(fs::read_dir(folder.path().join("runs")).unwrap().count(), 2);
}

/// The pictures of a drawing that must succeed, and the names of the events that came before it was done.
fn drawn(page: &Page, id: &str, asked: &Value) -> (Vec<Vec<u8>>, Vec<String>) {
    let events = page.events(&format!("runs/{id}/draw"), asked);
    let (last, before) = events.split_last().unwrap();
    assert_eq!(last.0, "done", "{asked}: {events:?}");
    let done: Value = serde_json::from_str(&last.1).unwrap();
    let pictures = done["pictures"].as_array().unwrap().iter();
    let pictures = pictures.map(|png| STANDARD.decode(png.as_str().unwrap()).unwrap());
    let names = before.iter().map(|(name, _)| name.clone()).collect();
    (pictures.collect(), names)
}

fn grey(png: &[u8]) -> GrayImage {
    image::load_from_memory(png).unwrap().into_luma8()
}

fn png(picture: GrayImage) -> Vec<u8> {
    let mut file = std::io::Cursor::new(Vec::new());
    DynamicImage::from(picture)
        .write_to(&mut file, ImageFormat::Png)
        .unwrap();
    file.into_inner()
}

#[test]
fn any_checkpoint_is_drawn_from_and_guided_for_a_part_of_the_way() {
    let folder = tempfile::tempdir().unwrap();
    train(
        folder.path(),
        "runs/mine",
        &["--set", "checkpoint.every=10"],
    );
    let page = Page::open(folder.path());
    let id = page.run("mine")["id"].as_str().unwrap().to_owned();
    let about = page.get(&format!("runs/{id}"));
    assert_eq!(about["checkpoints"], json!([20, 10]));
    let asked = |more: Value| {
        let mut asked =
            json!({ "classes": [3], "count": 1, "seed": 5, "steps": 4, "guidance": 3.0 });
        asked
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        asked
    };
    let draw = |more: Value| drawn(&page, &id, &asked(more)).0.remove(0);
    let newest = draw(json!({}));
    assert_eq!(draw(json!({ "checkpoint": "newest" })), newest);
    assert_eq!(draw(json!({ "checkpoint": { "step": 20 } })), newest);
    let older = draw(json!({ "checkpoint": { "step": 10 } }));
    assert_ne!(grey(&older), grey(&newest));
    // It carries which one it was, and is drawn again by it.
    fs::write(folder.path().join("older.png"), &older).unwrap();
    let again = [
        "sample",
        "runs/mine/checkpoints/step-00000010",
        "--like",
        "older.png",
        "--out",
        "again.png",
    ];
    succeed(folder.path(), &again);
    assert!(fs::read(folder.path().join("again.png")).unwrap() == older);

    let guided = draw(json!({ "guidance_interval": [0.0, 999.0] }));
    assert_eq!(grey(&guided), grey(&newest));
    let partly = draw(json!({ "guidance_interval": [0.0, 300.0] }));
    assert_ne!(grey(&partly), grey(&newest));

    for (change, part) in [
        (
            json!({ "checkpoint": { "step": 7 } }),
            "no checkpoint of step 7; the run has those of 20, 10",
        ),
        (json!({ "guidance_interval": [300.0, 100.0] }), "interval"),
        (
            json!({ "guidance": 1.0, "guidance_interval": [0.0, 100.0] }),
            "without guidance",
        ),
    ] {
        let events = page.events(&format!("runs/{id}/draw"), &asked(change.clone()));
        assert_eq!(events[0].0, "failed", "{change}: {events:?}");
        assert!(events[0].1.contains(part), "{change}: {events:?}");
    }
    for forged in [
        json!("../mine"),
        json!({ "step": "../10" }),
        json!({ "path": "/etc" }),
        json!(10),
    ] {
        page.refuses(
            &format!("runs/{id}/draw"),
            &asked(json!({ "checkpoint": forged })),
            "not what the page asks",
        );
    }
}

#[test]
fn a_picture_is_drawn_over_a_part_of_it_filled_in_and_two_seeds_are_joined() {
    let folder = tempfile::tempdir().unwrap();
    train(folder.path(), "runs/mine", &[]);
    succeed(folder.path(), &["train", "points", "--steps", "5"]);
    let page = Page::open(folder.path());
    let id = |name: &str| page.run(name)["id"].as_str().unwrap().to_owned();
    let (mine, points) = (id("mine"), id("points"));

    // What is sent is shown as the network sees it: its middle, in its size.
    let wide = GrayImage::from_fn(56, 28, |x, _| {
        Luma([if (14..42).contains(&x) { 200 } else { 0 }])
    });
    let pictures = format!("runs/{mine}/files");
    let (status, seen) = page.ask_with(&page.token, "POST", &pictures, &png(wide));
    assert_eq!(status, 200);
    let seen: Value = serde_json::from_slice(&seen).unwrap();
    assert_eq!((&seen["width"], &seen["height"]), (&json!(28), &json!(28)));
    let seen = grey(&STANDARD.decode(seen["png"].as_str().unwrap()).unwrap());
    assert!(seen.pixels().all(|pixel| pixel.0 == [200]));

    // The same as `trainer edit` makes of it, with a mask and without; each step is shown.
    let original = GrayImage::from_fn(28, 28, |x, y| Luma([(x * 4 + y * 5) as u8]));
    let mask = GrayImage::from_fn(28, 28, |x, _| Luma([if x < 14 { 255 } else { 0 }]));
    fs::write(folder.path().join("in.png"), png(original.clone())).unwrap();
    fs::write(folder.path().join("mask.png"), png(mask.clone())).unwrap();
    let picture = STANDARD.encode(png(original.clone()));
    let painted = STANDARD.encode(mask.as_raw());
    let over = |more: Value| {
        let mut over = json!({ "picture": picture });
        over.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        json!({ "classes": [3], "count": 2, "seed": 5, "steps": 6, "from": { "picture": over } })
    };
    for (more, options, cells, steps) in [
        (json!({ "strength": 0.5 }), &["--strength", "0.5"][..], 1, 3),
        (
            json!({ "mask": painted, "resamplings": 2 }),
            &["--mask", "mask.png", "--resamplings", "2"][..],
            2,
            6,
        ),
    ] {
        let (pictures, events) = drawn(&page, &mine, &over(more));
        assert_eq!(events.iter().filter(|name| *name == "step").count(), steps);
        let edit = [
            "edit",
            "runs/mine",
            "--from",
            "in.png",
            "--class",
            "3",
            "--count",
            "2",
            "--seed",
            "5",
            "--steps",
            "6",
        ];
        succeed(
            folder.path(),
            &[&edit[..], &["--out", "out.png"], options].concat(),
        );
        let grid = grid_of(&image::open(folder.path().join("out.png")).unwrap()).into_luma8();
        // Cells of enlarged images, in rows as long as there are rows.
        let columns = 2u32.min(cells + 2).min(((cells + 2) as f64).sqrt() as u32);
        for (place, png) in (cells..).zip(&pictures) {
            let (left, top) = (2 + place % columns * 114, 2 + place / columns * 114);
            let cell =
                GrayImage::from_fn(28, 28, |x, y| *grid.get_pixel(left + 4 * x, top + 4 * y));
            assert_eq!(grey(png), cell, "{options:?}, sample {place}");
            // These settings alone would not draw it again.
            assert!(!String::from_utf8_lossy(png).contains("diffusion-trainer"));
        }
        if cells == 2 {
            for (x, y, pixel) in grey(&pictures[0]).enumerate_pixels() {
                assert!(x < 14 || pixel == original.get_pixel(x, y), "{x} {y}");
            }
        }
    }

    // Both ends are what their seeds draw.
    let seeds = |more: Value| {
        let mut asked = json!({ "classes": [3], "seed": 5, "steps": 4, "sampler": "ddim" });
        asked
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        asked
    };
    let between = json!({ "from": { "seeds": { "last": 9 } } });
    let (frames, _) = drawn(&page, &mine, &seeds(between));
    assert_eq!(frames.len(), 9);
    for (frame, seed) in [(0, 5), (8, 9)] {
        let (alone, _) = drawn(&page, &mine, &seeds(json!({ "seed": seed, "count": 1 })));
        assert_eq!(grey(&frames[frame]), grey(&alone[0]), "{frame}");
    }
    assert_ne!(grey(&frames[0]), grey(&frames[4]));

    // What is wrong is told as the command line tells it.
    let text = STANDARD.encode("just text");
    let half = STANDARD.encode([255; 14 * 28]);
    let nothing = STANDARD.encode([0; 28 * 28]);
    let draw = format!("runs/{mine}/draw");
    for (asked, part) in [
        (
            over(json!({ "picture": text })),
            "is no image: expected PNG",
        ),
        (over(json!({ "picture": "" })), "is empty"),
        (
            over(json!({ "picture": "%%%" })),
            "the picture is not in base64",
        ),
        (over(json!({ "strength": 0.0 })), "--strength 0"),
        (over(json!({ "strength": 1.5 })), "--strength 1.5"),
        (over(json!({ "mask": half })), "the mask has 392 pixels"),
        (over(json!({ "mask": nothing })), "nothing is painted"),
        (
            over(json!({ "mask": painted, "resamplings": 0 })),
            "--resamplings is 0",
        ),
        (
            seeds(json!({ "from": { "seeds": { "last": 9 } }, "eta": 0.5 })),
            "fresh noise",
        ),
        (
            seeds(json!({ "from": { "seeds": { "last": 9 } }, "sampler": "ddpm" })),
            "fresh noise",
        ),
        (
            seeds(json!({ "from": { "seeds": { "last": 9 } }, "classes": [1, 2] })),
            "one class",
        ),
        (
            seeds(json!({ "from": { "seeds": { "last": 9 } }, "count": 1 })),
            "at least 2",
        ),
    ] {
        let events = page.events(&draw, &asked);
        assert_eq!(events[0].0, "failed", "{part}: {events:?}");
        assert!(events[0].1.contains(part), "{part}: {events:?}");
    }
    for forged in [
        json!({ "from": { "picture": { "path": "/etc/passwd" } } }),
        json!({ "from": { "file": "in.png" } }),
        json!({ "from": { "seeds": { "last": -1 } } }),
    ] {
        page.refuses(&draw, &forged, "not what the page asks");
    }
    let events = page.events(&format!("runs/{points}/draw"), &over(json!({})));
    assert!(events[0].1.contains("this is for images"), "{events:?}");

    // A picture that claims more pixels than are read; one that is cut; more bytes than are taken; no token.
    let mut bomb = png(GrayImage::new(8, 8));
    bomb[16..24].copy_from_slice(&[0, 1, 0x86, 0xa0, 0, 1, 0x86, 0xa0]);
    let mut crc = flate2::Crc::new();
    crc.update(&bomb[12..29]);
    let crc = crc.sum().to_be_bytes();
    bomb[29..33].copy_from_slice(&crc);
    let whole = png(original);
    for (body, status, part) in [
        (bomb, 400, "100000 × 100000 pixels"),
        (
            whole[..whole.len() / 2].to_vec(),
            400,
            "damaged or cut short",
        ),
        (b"GIF89a".to_vec(), 400, "cannot decode the picture"),
        (Vec::new(), 400, "is empty"),
        (vec![0; (16 << 20) + 1], 413, "too long"),
    ] {
        let (found, answer) = page.ask_with(&page.token, "POST", &pictures, &body);
        let text = String::from_utf8_lossy(&answer);
        assert!(
            found == status && text.contains(part),
            "{found} {text}, not {part}"
        );
    }
    let (status, _) = page.ask_with("made-up", "POST", &pictures, &whole);
    assert_eq!(status, 401);
    // Other requests stay small.
    let long = vec![b' '; (1 << 20) + 1];
    assert_eq!(page.ask_with(&page.token, "POST", "runs", &long).0, 413);
}

#[test]
fn a_run_is_scored_and_the_nearest_training_images_of_what_was_drawn_are_found() {
    let folder = tempfile::tempdir().unwrap();
    train(folder.path(), "runs/mine", &[]);
    succeed(folder.path(), &["train", "points", "--steps", "5"]);
    let page = Page::open(folder.path());
    let mine = page.run("mine");
    assert_eq!(
        (&mine["scored"], &mine["scoring"]),
        (&Value::Null, &Value::Null)
    );
    let id = mine["id"].as_str().unwrap();
    let evaluate = format!("runs/{id}/evaluate");
    let few = json!({ "count": 8, "reference_images": 40 });
    page.post(&evaluate, &few);
    page.refuses(&evaluate, &few, "goes on there already");
    let scored = page.wait("mine", |run| {
        run["scored"].is_u64() && run["scoring"].is_null()
    });
    assert_eq!(scored["scoring_problem"], Value::Null);
    let report = page.get(&format!("runs/{id}/scores"));
    let fid = report["scores"]
        .as_array()
        .unwrap()
        .iter()
        .find(|score| score["name"] == "FID");
    assert_eq!(fid.unwrap()["samples"], 8);
    assert_eq!(page.get(&format!("runs/{id}"))["has_nearest"], true);
    page.refuses(
        &format!("runs/{id}/stop-evaluate"),
        &json!({}),
        "not being scored",
    );

    // Stopped, it leaves what was there.
    page.post(&evaluate, &json!({}));
    page.wait("mine", |run| {
        run["scoring"].as_str().is_some_and(|said| !said.is_empty())
    });
    page.post(&format!("runs/{id}/stop-evaluate"), &json!({}));
    let stopped = page.wait("mine", |run| run["scoring"].is_null());
    assert_eq!(
        (&stopped["scoring_problem"], &stopped["scored"]),
        (&Value::Null, &scored["scored"])
    );

    // What is wrong is said as the command line says it.
    page.post(&evaluate, &json!({ "count": 1 }));
    let refused = page.wait("mine", |run| {
        run["scoring"].is_null() && run["scoring_problem"].is_string()
    });
    assert!(
        refused["scoring_problem"]
            .as_str()
            .unwrap()
            .contains("--count"),
        "{refused}"
    );
    let points = page.run("points")["id"].as_str().unwrap().to_owned();
    page.post(&format!("runs/{points}/evaluate"), &json!({}));
    let refused = page.wait("points", |run| run["scoring_problem"].is_string());
    assert!(
        refused["scoring_problem"]
            .as_str()
            .unwrap()
            .contains("this is for images"),
        "{refused}"
    );
    page.refuses(&evaluate, &json!({ "out": "/tmp/x" }), "unknown field");

    // Copies of training images are found to be copies, among those that are compared with.
    let mnist = repository().join("data/mnist");
    let training = ImageDataset::load(DatasetName::Mnist, Split::Train, &mnist).unwrap();
    let mut rng = Streams::new(0).at(Purpose::Reference, Split::Train as u64);
    let compared = rand::seq::index::sample(&mut rng, training.len(), 40).into_vec();
    let copies: Vec<String> = compared[..12]
        .iter()
        .map(|&index| {
            let pixels = training.read(&[index]).unwrap();
            STANDARD.encode(png(GrayImage::from_raw(28, 28, pixels).unwrap()))
        })
        .collect();
    let nearest = format!("runs/{id}/nearest");
    let asked =
        json!({ "samples": copies, "classes": vec![Value::Null; 12], "reference_images": 40 });
    let events = page.events(&nearest, &asked);
    let (last, data) = events.last().unwrap();
    assert_eq!(last, "done", "{events:?}");
    let found: Value = serde_json::from_str(data).unwrap();
    let score = |name: &str| {
        let mut scores = found["scores"].as_array().unwrap().iter();
        scores.find(|score| score["name"] == name).unwrap()["value"]
            .as_f64()
            .unwrap()
    };
    assert_eq!(score("distance to nearest"), 0.0);
    assert!(score("nearer than real") > 0.9, "{found}");
    let pairs = STANDARD.decode(found["png"].as_str().unwrap()).unwrap();
    assert!(image::load_from_memory(&pairs).unwrap().width() > 12 * 28);
    // Nothing of it is left in the run.
    assert_eq!(page.run("mine")["scored"], scored["scored"]);

    let three = json!({ "samples": ["", "", ""], "classes": [null, null, null] });
    let text = STANDARD.encode("text");
    let texts = json!({ "samples": [text, text, text, text], "classes": [0, 0, 0, 0] });
    let unknown = json!({ "samples": ["", "", "", ""], "classes": [0, 0, 0, 10] });
    for (asked, part) in [
        (three, "4 to 100 samples"),
        (texts, "is no image"),
        (unknown, "no class 10"),
        (json!({ "samples": [], "classes": [] }), "4 to 100 samples"),
    ] {
        let events = page.events(&nearest, &asked);
        assert_eq!(events[0].0, "failed", "{events:?}");
        assert!(events[0].1.contains(part), "{events:?}");
    }
    page.refuses(
        &nearest,
        &json!({ "samples": ["/etc/passwd"] }),
        "missing field",
    );
}

/// A training in a terminal of its own.
#[cfg(target_os = "linux")]
#[test]
fn a_training_that_was_started_elsewhere_is_stopped_and_no_other_process_is() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("runs")).unwrap();
    let page = Page::open(folder.path());
    let config = super::support::config("smoke.toml");
    let arguments = [
        "train",
        "--config",
        &config,
        "--out",
        "runs/elsewhere",
        "--steps",
        "1000000",
    ];
    let mut training = command(folder.path(), &arguments)
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let began = Instant::now();
    while !folder.path().join("runs/elsewhere/metrics.jsonl").is_file() {
        assert!(began.elapsed() < Duration::from_secs(120));
        thread::sleep(Duration::from_millis(100));
    }
    let run = page.wait("elsewhere", |run| run["step"].as_u64() > Some(0));
    assert_eq!(
        (&run["state"], &run["is_ours"]),
        (&json!("training"), &json!(false))
    );
    let stop = format!("runs/{}/stop", run["id"].as_str().unwrap());
    // Twice at once: a second signal would end it before it has saved.
    page.post(&stop, &json!({}));
    let (status, answer) = page.ask("POST", &stop, "{}");
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(
        status == 200 || answer.contains("ended") || answer.contains("not in training"),
        "{answer}"
    );
    assert_eq!(training.wait().unwrap().code(), Some(130));
    let stopped = page.wait("elsewhere", |run| run["state"] == "stopped");
    let step = stopped["step"].as_u64().unwrap();
    assert!(checkpoint(&folder.path().join("runs/elsewhere"), step).is_dir());
    page.refuses(&stop, &json!({}), "not in training");

    // Another program that holds the lock is left alone.
    let mut other = std::process::Command::new("flock")
        .args(["--no-fork", "runs/elsewhere/.run", "sleep", "600"])
        .current_dir(folder.path())
        .spawn()
        .unwrap();
    page.wait("elsewhere", |run| run["state"] == "training");
    page.refuses(&stop, &json!({}), "another program holds the lock");
    assert!(other.try_wait().unwrap().is_none(), "it was ended");
    other.kill().unwrap();
    other.wait().unwrap();
}

#[test]
fn drawings_and_trainings_take_as_many_threads_as_they_are_given() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("runs")).unwrap();
    let (page, said) = Page::open_with(folder.path(), &["--threads", "1"]);
    assert_eq!(said["threads"], 1);
    let start = json!({ "configuration": "smoke", "budget": { "steps": 100_000 } });
    page.post("runs", &start);
    page.wait("smoke", |run| run["state"] == "training");
    #[cfg(target_os = "linux")]
    {
        let parent = page.program.id().to_string();
        let processes = fs::read_dir("/proc").unwrap().flatten();
        let of_page = processes.filter(|entry| {
            let about = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            let fields = about.rsplit_once(')').map_or("", |(_, fields)| fields);
            fields.split_whitespace().nth(1) == Some(&parent)
        });
        let environments: Vec<String> = of_page
            .map(|entry| fs::read(entry.path().join("environ")).unwrap())
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .collect();
        let has_one = |all: &String| all.split('\0').any(|one| one == "RAYON_NUM_THREADS=1");
        assert!(!environments.is_empty() && environments.iter().all(has_one));
    }
    let id = page.run("smoke")["id"].as_str().unwrap().to_owned();
    page.post(&format!("runs/{id}/stop"), &json!({}));
    page.wait("smoke", |run| run["state"] == "stopped");
    for threads in ["0", "1025", "x"] {
        fail(
            folder.path(),
            &["serve", "--threads", threads],
            2,
            &["--threads"],
        );
    }
}

#[test]
fn one_example_is_explained_and_points_and_tables_are_shown_in_their_way() {
    let folder = tempfile::tempdir().unwrap();
    train(folder.path(), "runs/mine", &[]);
    succeed(folder.path(), &["train", "points", "--steps", "5"]);
    let penguins = repository().join("data/penguins/penguins.csv");
    let penguins = format!("data.path={}", penguins.display());
    succeed(
        folder.path(),
        &["train", "penguins", "--steps", "5", "--set", &penguins],
    );
    let page = Page::open(folder.path());
    let id = |name: &str| page.run(name)["id"].as_str().unwrap().to_owned();

    let mine = id("mine");
    let examples = page.post(&format!("runs/{mine}/examples"), &json!({}));
    assert_eq!(examples["pictures"].as_array().unwrap().len(), 20);
    assert_eq!(examples["classes"][3], 3);
    let explain = |t: usize| {
        let asked = json!({ "example": 3, "timestep": t, "seed": 1, "step_by_step": true });
        page.post(&format!("runs/{mine}/explain"), &asked)
    };
    let (first, last) = (explain(0), explain(999));
    for told in [&first, &last] {
        let (signal, sigma) = (
            told["signal"].as_f64().unwrap(),
            told["sigma"].as_f64().unwrap(),
        );
        assert!((signal * signal + sigma * sigma - 1.0).abs() < 1e-9);
        for picture in [
            "x_0",
            "noise",
            "x_t",
            "predicted_x_0",
            "predicted_noise",
            "step_by_step",
        ] {
            let png = STANDARD.decode(told[picture].as_str().unwrap()).unwrap();
            assert_eq!(
                image::load_from_memory(&png).unwrap().width(),
                28,
                "{picture}"
            );
        }
    }
    // At the end of the chain x_t is N(0, 1), in one step as step by step.
    for deviation in ["deviation", "step_by_step_deviation"] {
        let deviation = last[deviation].as_f64().unwrap();
        assert!((deviation - 1.0).abs() < 0.1, "{deviation}");
    }
    let beyond = json!({ "example": 3, "timestep": 1000 });
    page.refuses(&format!("runs/{mine}/explain"), &beyond, "from 0 to 999");
    let missing = json!({ "example": 20, "timestep": 0 });
    page.refuses(&format!("runs/{mine}/explain"), &missing, "no such example");

    let points = id("points");
    let events = page.events(
        &format!("runs/{points}/draw"),
        &json!({ "steps": 3, "count": 100 }),
    );
    let done: Value = serde_json::from_str(&events.last().unwrap().1).unwrap();
    assert_eq!(done["pictures"].as_array().unwrap().len(), 1, "{events:?}");
    let told = page.post(
        &format!("runs/{points}/explain"),
        &json!({ "example": 0, "timestep": 500 }),
    );
    assert!(told["loss"].as_f64().unwrap() > 0.0);

    let penguins = id("penguins");
    let events = page.events(
        &format!("runs/{penguins}/draw"),
        &json!({ "steps": 3, "count": 20 }),
    );
    let step: Value = serde_json::from_str(&events[1].1).unwrap();
    assert_eq!(step["rows"].as_array().unwrap().len(), 12, "{events:?}");
    let done: Value = serde_json::from_str(&events.last().unwrap().1).unwrap();
    assert_eq!(done["rows"].as_array().unwrap().len(), 20);
    let names = done["names"].as_array().unwrap();
    assert_eq!(names.len(), done["rows"][0].as_array().unwrap().len());

    // Conditions hold in every row, and those that make no sense are said to.
    let draw = |conditions: Value| {
        let asked = json!({ "steps": 3, "count": 7, "from": { "conditions": conditions } });
        let events = page.events(&format!("runs/{penguins}/draw"), &asked);
        events.last().unwrap().clone()
    };
    let (name, data) = draw(json!(["species=Gentoo", "body_mass_g>=4000"]));
    assert_eq!(name, "done", "{data}");
    let done: Value = serde_json::from_str(&data).unwrap();
    let place = |column: &str| names.iter().position(|name| name == column).unwrap();
    let (species, mass) = (place("species"), place("body_mass_g"));
    let rows = done["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 7);
    for row in rows {
        assert_eq!(row[species], "Gentoo");
        let mass: f64 = row[mass].as_str().unwrap().parse().unwrap();
        assert!(mass >= 4000.0, "{row}");
    }
    for wrong in [json!(["colour=red"]), json!(["species~x"]), json!([""])] {
        let (name, data) = draw(wrong.clone());
        assert_eq!(name, "failed", "{wrong}: {data}");
    }
    let asked = json!({ "steps": 3, "from": { "conditions": ["x>=0"] } });
    let events = page.events(&format!("runs/{points}/draw"), &asked);
    assert_eq!(events.last().unwrap().0, "failed", "{events:?}");
}

#[test]
fn a_report_is_one_file_that_loads_nothing() {
    let folder = tempfile::tempdir().unwrap();
    train(folder.path(), "runs/mine", &[]);
    succeed(
        folder.path(),
        &["report", "runs/mine", "--out", "mine.html"],
    );
    let html = fs::read_to_string(folder.path().join("mine.html")).unwrap();
    for part in [
        "Content-Security-Policy",
        "\"step\":20",
        "batch_size = 8",
        "class Chart",
    ] {
        assert!(html.contains(part), "{part}");
    }
    for foreign in ["src=\"/", "href=\"/", "https://", "\nimport ", "\nexport "] {
        assert!(!html.contains(foreign), "{foreign}");
    }
    fail(
        folder.path(),
        &["report", "runs/none"],
        2,
        &["does not exist"],
    );
}

#[test]
fn train_opens_the_page_for_as_long_as_it_trains() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["train", "smoke", "--serve", "--json"];
    let ended = run(folder.path(), &arguments);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let link = ended.stdout.lines().find(|line| line.contains("\"link\""));
    let link: Value = serde_json::from_str(link.unwrap()).unwrap();
    let host = link["link"].as_str().unwrap().split('/').nth(2).unwrap();
    assert!(TcpStream::connect(host).is_err(), "the page is still there");
}

/// A row is explained cell by cell, each kind of cell on its own chain.
#[test]
fn a_row_of_a_table_and_a_line_of_text_are_explained_cell_by_cell() {
    let folder = tempfile::tempdir().unwrap();
    let penguins = repository().join("data/penguins/penguins.csv");
    let path = format!("data.path={}", penguins.display());
    let small = ["--steps", "5", "--set", "network.width=32"];
    let class = [
        "--set",
        "data.class_column=sex",
        "--set",
        "conditioning.class_labels=true",
    ];
    let arguments = ["train", "penguins", "--set", &path, "--out", "runs/birds"];
    succeed(folder.path(), &[&arguments[..], &small, &class].concat());
    let lines: String = (0..200)
        .map(|i| format!("a{}b\n", "xy z".repeat(i % 3)))
        .collect();
    fs::write(folder.path().join("lines.txt"), lines).unwrap();
    let arguments = [
        "train",
        "--out",
        "runs/lines",
        "--set",
        "data.path=lines.txt",
    ];
    let uniform = [
        "--set",
        "objective.transition=uniform",
        "--set",
        "network.layers=1",
    ];
    succeed(folder.path(), &[&arguments[..], &small, &uniform].concat());
    let page = Page::open(folder.path());
    let id = |name: &str| page.run(name)["id"].as_str().unwrap().to_owned();

    let birds = id("birds");
    let examples = page.post(&format!("runs/{birds}/examples"), &json!({}));
    assert_eq!(examples["pictures"], Value::Null);
    let rows = examples["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 20);
    for (key, value) in [
        ("transition", json!("absorbing")),
        ("has_numbers", json!(true)),
        ("is_of_lines", json!(false)),
        ("is_told_classes", json!(true)),
    ] {
        assert_eq!(examples[key], value, "{key}");
    }
    let explained = format!("runs/{birds}/explain");
    let explain = |t: usize| {
        let asked = json!({ "example": 1, "timestep": t, "seed": 3, "step_by_step": true });
        page.post(&explained, &asked)
    };
    let number = |value: &Value| value.as_f64().unwrap();
    for t in [0, 100, 500, 999] {
        let told = explain(t);
        let [numbers, categories] =
            ["loss_of_numbers", "loss_of_categories"].map(|part| number(&told[part]));
        assert!((number(&told["loss"]) - numbers - categories).abs() < 1e-9);
        let kept = number(&told["kept"]);
        assert!((number(&told["signal"]).powi(2) - kept).abs() < 1e-9);
        let cells = told["cells"].as_array().unwrap();
        let cell = |name: &str| cells.iter().find(|cell| cell["name"] == name).unwrap();
        // As the file has them, at every t.
        for (place, name) in [(0, "species"), (1, "island"), (2, "bill_length_mm")] {
            assert_eq!(cell(name)["x_0"]["text"], rows[1][place], "{name}");
        }
        // The class is told, and so no cell.
        assert!(cells.iter().all(|cell| cell["name"] != "sex"), "{told}");
        assert!(cell("bill_length_mm")["x_t"]["z"].is_f64());
        let mut masks = 0;
        for cell in cells.iter().filter(|cell| cell["x_0"]["z"].is_null()) {
            let (x_t, predicted) = (&cell["x_t"]["text"], &cell["predicted_x_0"]);
            if x_t.is_null() {
                masks += 1;
                let likely = predicted["likely"].as_array().unwrap();
                let p: Vec<f64> = likely.iter().map(|one| number(&one[1])).collect();
                assert!(p.is_sorted_by(|a, b| a >= b) && p.iter().sum::<f64>() < 1.0 + 1e-9);
                assert_eq!(predicted["text"], likely[0][0]);
            } else {
                // What is no mask is known.
                assert_eq!((x_t, &predicted["text"]), (&cell["x_0"]["text"], x_t));
                assert_eq!(predicted["likely"], Value::Null);
            }
        }
        assert!(t != 999 || masks >= 2, "{told}");
        // Two standard errors and more of 256 rows.
        let unchanged = &told["unchanged"];
        assert!((number(&unchanged["expected"]) - kept).abs() < 1e-9);
        for way in ["at_once", "step_by_step"] {
            let share = number(&unchanged[way]);
            assert!((share - kept).abs() < 0.1, "{t}: {way} {share}, not {kept}");
        }
        let [at_once, by_steps] =
            ["deviation", "step_by_step_deviation"].map(|way| number(&told[way]));
        assert!(
            (at_once - by_steps).abs() < 0.1,
            "{t}: {at_once} {by_steps}"
        );
    }
    // Without the steps, the same row.
    let asked = json!({ "example": 1, "timestep": 500, "seed": 3 });
    let (told, by_steps) = (page.post(&explained, &asked), explain(500));
    assert_eq!(told["unchanged"], Value::Null);
    for (at, cell) in told["cells"].as_array().unwrap().iter().enumerate() {
        assert_eq!(cell["x_t"], by_steps["cells"][at]["x_t"]);
        assert_eq!(cell["step_by_step"], Value::Null);
    }

    // On the uniform chain nothing is masked, and what is lost may come back by chance.
    let lines = id("lines");
    let examples = page.post(&format!("runs/{lines}/examples"), &json!({}));
    let shown = [
        "transition",
        "has_numbers",
        "is_of_lines",
        "is_told_classes",
    ];
    let shown = shown.map(|key| examples[key].clone());
    assert_eq!(json!(shown), json!(["uniform", false, true, false]));
    let asked = json!({ "example": 0, "timestep": 999, "step_by_step": true });
    let told = page.post(&format!("runs/{lines}/explain"), &asked);
    assert_eq!(told["loss_of_numbers"], Value::Null);
    assert_eq!(told["deviation"], Value::Null);
    let line: String = (told["cells"].as_array().unwrap().iter())
        .map(|cell| cell["x_0"]["text"].as_str().unwrap())
        .filter(|letter| *letter != "∎")
        .collect();
    assert_eq!(
        line.replace('␣', " "),
        examples["rows"][0][0].as_str().unwrap()
    );
    for cell in told["cells"].as_array().unwrap() {
        assert!(cell["x_t"]["text"].is_string() && cell["predicted_x_0"]["likely"].is_array());
    }
    // Of a, b, x, y, z, a blank and the end.
    let unchanged = &told["unchanged"];
    for way in ["expected", "at_once", "step_by_step"] {
        assert!(
            (number(&unchanged[way]) - 1.0 / 7.0).abs() < 0.05,
            "{unchanged}"
        );
    }

    for (asked, part) in [
        (json!({ "example": 20, "timestep": 0 }), "no such example"),
        (json!({ "example": 0, "timestep": 1000 }), "from 0 to 999"),
        (
            json!({ "example": -1, "timestep": 0 }),
            "not what the page asks",
        ),
        (
            json!({ "example": 0, "timestep": 0, "row": "../x" }),
            "not what the page asks",
        ),
        (
            json!({ "example": "penguins.csv", "timestep": 0 }),
            "not what the page asks",
        ),
    ] {
        page.refuses(&explained, &asked, part);
    }
}

/// As root a process of another user can be made; `run/holder.rs` tests who is refused without it.
#[cfg(target_os = "linux")]
#[test]
fn a_training_of_another_user_is_left_alone() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
    use std::os::unix::process::CommandExt as _;

    /// Nobody's, on every Linux.
    const OTHER: u32 = 65_534;
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        eprintln!("not run as root, which alone can start a process of another user");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let runs = folder.path().join("runs");
    fs::create_dir(&runs).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    chown(&runs, Some(OTHER), Some(OTHER)).unwrap();
    let mine = program_in(folder.path());
    let arguments = [
        "train",
        "points",
        "--out",
        "runs/theirs",
        "--steps",
        "100000000",
    ];
    let mut command = command_of(&mine, folder.path(), &arguments);
    let mut training = Elsewhere::start(command.uid(OTHER).gid(OTHER));
    let page = Page::open(folder.path());
    training.wait_for_metrics(&runs.join("theirs"));
    let theirs = page.wait("theirs", |run| run["state"] == "training");
    let stop = format!("runs/{}/stop", theirs["id"].as_str().unwrap());
    for _ in 0..2 {
        page.refuses(&stop, &json!({}), "another user holds the lock of the run");
    }
    thread::sleep(Duration::from_millis(300));
    assert!(training.0.try_wait().unwrap().is_none(), "it was stopped");
    assert_eq!(page.run("theirs")["state"], "training");
    drop(training);
    page.wait("theirs", |run| run["state"] == "stopped");
}

/// As after `cargo build` while a page is open.
#[cfg(target_os = "linux")]
#[test]
fn a_page_whose_program_was_built_anew_still_starts_and_stops_trainings() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("runs")).unwrap();
    let old = program_in(folder.path());
    let (page, _) = Page::of(command_of(&old, folder.path(), &[]), &[]);
    // Another file in its place, as a build puts it there: this one is not even a program.
    fs::write(folder.path().join("new"), "built anew").unwrap();
    fs::rename(folder.path().join("new"), &old).unwrap();
    let start = json!({ "configuration": "smoke", "budget": { "steps": 1_000_000 } });
    page.post("runs", &start);
    let run = page.wait("smoke", |run| run["step"].as_u64() > Some(0));
    assert_eq!(
        (&run["state"], &run["is_ours"]),
        (&json!("training"), &json!(true))
    );
    let id = run["id"].as_str().unwrap();
    page.post(&format!("runs/{id}/stop"), &json!({}));
    let stopped = page.wait("smoke", |run| run["state"] == "stopped");
    assert_eq!(stopped["problem"], Value::Null);
    // One of the program that lies there now is of the same name, and stopped from here, too.
    let arguments = [
        "train",
        "points",
        "--out",
        "runs/elsewhere",
        "--steps",
        "100000000",
    ];
    let mut training = Elsewhere::start(&mut command(folder.path(), &arguments));
    training.wait_for_metrics(&folder.path().join("runs/elsewhere"));
    let run = page.wait("elsewhere", |run| run["state"] == "training");
    let stop = format!("runs/{}/stop", run["id"].as_str().unwrap());
    page.post(&stop, &json!({}));
    assert_eq!(training.0.wait().unwrap().code(), Some(130));
}

/// The program in `folder`, too. A file that was just written may be open in a process that another test starts, and is
/// then not run: a link never is.
#[cfg(target_os = "linux")]
fn program_in(folder: &Path) -> PathBuf {
    let path = folder.join("trainer");
    if fs::hard_link(program(), &path).is_err() {
        fs::copy(program(), &path).unwrap();
    }
    path
}

/// A training that was not started from the page; it ends with the test, however that ends.
#[cfg(target_os = "linux")]
struct Elsewhere(Child);

#[cfg(target_os = "linux")]
impl Elsewhere {
    fn start(command: &mut Command) -> Self {
        let command = command.stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }

    fn wait_for_metrics(&mut self, run: &Path) {
        let began = Instant::now();
        while !run.join("metrics.jsonl").is_file() {
            assert!(self.0.try_wait().unwrap().is_none(), "it did not train");
            assert!(began.elapsed() < Duration::from_secs(120));
            thread::sleep(Duration::from_millis(100));
        }
    }
}

#[cfg(target_os = "linux")]
impl Drop for Elsewhere {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
