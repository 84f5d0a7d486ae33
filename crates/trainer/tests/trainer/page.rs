//! `trainer serve`, asked as its page asks it, and `trainer report`.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::support::{checkpoint, command, fail, repository, run, succeed, train};

/// A page that is served, for as long as this value lives.
struct Page {
    program: Child,
    host: String,
    token: String,
}

impl Drop for Page {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

impl Page {
    fn open(folder: &Path) -> Self {
        let mut command = command(folder, &["serve", "--port", "0", "--json", "--data-dir"]);
        command.arg(repository().join("data"));
        let mut program = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        let mut said = BufReader::new(program.stdout.take().unwrap());
        said.read_line(&mut line).unwrap();
        let link: Value = serde_json::from_str(&line).unwrap();
        let link = link["link"].as_str().unwrap().to_owned();
        let (host, token) = link
            .strip_prefix("http://")
            .and_then(|link| link.split_once("/#token="))
            .unwrap();
        assert!(host.starts_with("127.0.0.1:"), "{host}");
        Self {
            program,
            host: host.to_owned(),
            token: token.to_owned(),
        }
    }

    fn ask(&self, method: &str, target: &str, body: &str) -> (u16, Vec<u8>) {
        let Self { host, token, .. } = self;
        let mut stream = TcpStream::connect(host).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(120)))
            .unwrap();
        let length = body.len();
        let request = format!(
            "{method} /api/{target} HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\n\
             Authorization: Bearer {token}\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
        let head = String::from_utf8_lossy(&answer[..end.unwrap()]).into_owned();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, answer[end.unwrap() + 4..].to_vec())
    }

    fn get(&self, target: &str) -> Value {
        let (status, body) = self.ask("GET", target, "");
        let text = String::from_utf8_lossy(&body);
        assert_eq!(status, 200, "{target}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    fn post(&self, target: &str, body: &Value) -> Value {
        let (status, answer) = self.ask("POST", target, &body.to_string());
        let text = String::from_utf8_lossy(&answer);
        assert_eq!(status, 200, "{target}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    #[track_caller]
    fn refuses(&self, target: &str, body: &Value, part: &str) {
        let (status, answer) = self.ask("POST", target, &body.to_string());
        let text = String::from_utf8_lossy(&answer);
        assert_eq!(status, 400, "{target}: {text}");
        assert!(text.contains(part), "{text}");
    }

    /// All events that answer a POST.
    fn events(&self, target: &str, body: &Value) -> Vec<(String, String)> {
        let (status, answer) = self.ask("POST", target, &body.to_string());
        let text = String::from_utf8_lossy(&answer).into_owned();
        assert_eq!(status, 200, "{text}");
        let event = |part: &str| {
            let (name, data) = part.strip_prefix("event: ")?.split_once("\ndata: ")?;
            Some((name.to_owned(), data.replace("\ndata: ", "\n")))
        };
        text.split("\n\n").filter_map(event).collect()
    }

    /// The only run that is called so, if it is listed yet.
    fn listed(&self, name: &str) -> Option<Value> {
        let runs = self.get("runs");
        let mut runs = runs.as_array().unwrap().iter();
        runs.find(|run| run["name"] == name).cloned()
    }

    fn run(&self, name: &str) -> Value {
        self.listed(name).unwrap()
    }

    /// Waits until `is_so` holds for the run of this name.
    fn wait(&self, name: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            // A list may be a second old.
            let run = self.listed(name);
            if let Some(run) = run.as_ref().filter(|run| is_so(run)) {
                return run.clone();
            }
            assert!(began.elapsed() < Duration::from_secs(120), "{run:?}");
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
    fail(
        folder.path(),
        &["sample", "runs/mine", "--like", "saved.png", "--seed", "3"],
        2,
        &["--seed"],
    );
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
    page.refuses(&format!("runs/{id}/stop"), &json!({}), "not started here");

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
    assert_eq!(
        done["names"].as_array().unwrap().len(),
        done["rows"][0].as_array().unwrap().len()
    );
    page.refuses(
        &format!("runs/{penguins}/examples"),
        &json!({}),
        "not shown as pictures",
    );
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
