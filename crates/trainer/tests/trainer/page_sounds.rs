//! Sounds on the page of `trainer serve`: drawn over, a gap filled, and the nearest training recordings.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use datasets::{Audio, read_wav};
use serde_json::{Value, json};

use super::page::Page;
use super::sounds::{SAMPLES, folder};
use super::support::succeed;

/// The pause between the sounds of one file.
const PAUSE: usize = 1200;

/// The sound of a WAV file in base64.
fn sound(folder: &Path, file: &Value) -> Audio {
    let path = folder.join("heard.wav");
    fs::write(&path, STANDARD.decode(file.as_str().unwrap()).unwrap()).unwrap();
    read_wav(&path).unwrap()
}

fn width(png: &Value) -> u32 {
    let png = STANDARD.decode(png.as_str().unwrap()).unwrap();
    image::load_from_memory(&png).unwrap().width()
}

/// `given`, with what `more` has.
fn with(given: &Value, more: Value) -> Value {
    let mut given = given.clone();
    let more = more.as_object().unwrap().clone();
    given.as_object_mut().unwrap().extend(more);
    given
}

#[test]
fn a_recording_is_drawn_over_a_gap_of_it_filled_and_the_nearest_ones_are_heard() {
    let dir = folder();
    let dir = dir.path();
    let train = ["train", "--config", "sounds.toml", "--out", "runs/mine"];
    succeed(dir, &train);
    succeed(dir, &["train", "points", "--steps", "5"]);
    let page = Page::open(dir);
    let id = |name: &str| page.run(name)["id"].as_str().unwrap().to_owned();
    let (mine, points) = (id("mine"), id("points"));
    let about = page.get(&format!("runs/{mine}"));
    assert_eq!(about["seconds"], json!([0.248, 0.016]));
    assert_eq!(page.get(&format!("runs/{points}"))["seconds"], Value::Null);

    // What is sent is heard as the network sees it: its middle, at its rate.
    let from = "sounds/tone/03.wav";
    let file = fs::read(dir.join(from)).unwrap();
    let files = format!("runs/{mine}/files");
    let (status, seen) = page.ask_with(&page.token, "POST", &files, &file);
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&seen));
    let seen: Value = serde_json::from_slice(&seen).unwrap();
    assert!(width(&seen["png"]) > 90);
    let heard = sound(dir, &seen["sound"]);
    assert_eq!((heard.sample_rate(), heard.frames()), (4000, SAMPLES));

    // The examples of the data are files, too.
    let examples = page.post(&format!("runs/{mine}/examples"), &json!({}));
    let count = examples["pictures"].as_array().unwrap().len();
    assert_eq!(examples["sounds"].as_array().unwrap().len(), count);
    assert_eq!(sound(dir, &examples["sounds"][0]).frames(), SAMPLES);

    // The same as `trainer edit` makes of it, with a gap and without; each step is shown.
    let draw = format!("runs/{mine}/draw");
    let recording = STANDARD.encode(&file);
    let over = |more: Value| {
        let over = with(&json!({ "recording": recording }), more);
        json!({ "classes": [2], "count": 2, "seed": 5, "steps": 4, "from": { "recording": over } })
    };
    for (more, options, before, steps) in [
        (json!({ "strength": 0.5 }), &["--strength", "0.5"][..], 1, 2),
        (
            json!({ "seconds": [0.1, 0.15], "resamplings": 2 }),
            &["--mask", "0.1:0.15", "--resamplings", "2"][..],
            2,
            4,
        ),
    ] {
        let events = page.events(&draw, &over(more));
        let (last, told) = events.last().unwrap();
        assert_eq!(last, "done", "{events:?}");
        let shown = events.iter().filter(|(name, _)| name == "step").count();
        assert_eq!(shown, steps);
        let done: Value = serde_json::from_str(told).unwrap();
        let edit = [
            "edit",
            "runs/mine",
            "--from",
            from,
            "--class",
            "tone",
            "--count",
            "2",
            "--seed",
            "5",
            "--steps",
            "4",
            "--out",
            "out.png",
        ];
        succeed(dir, &[&edit[..], options].concat());
        let all = read_wav(&dir.join("out.wav")).unwrap();
        for place in 0..2 {
            let drawn = sound(dir, &done["sounds"][place]);
            let edited = &all.samples()[(before + place) * (SAMPLES + PAUSE)..][..SAMPLES];
            assert!(drawn.samples() == edited, "{options:?}, sample {place}");
            assert!(width(&done["pictures"][place]) > 90);
            if before == 2 {
                // What is kept is the recording's own.
                assert_eq!(drawn.samples()[..300], heard.samples()[..300]);
                assert_eq!(drawn.samples()[720..], heard.samples()[720..]);
                assert_ne!(drawn.samples()[440..560], heard.samples()[440..560]);
            }
        }
    }

    // What is wrong is told as the command line tells it.
    let text = STANDARD.encode("just text");
    for (asked, part) in [
        (
            over(json!({ "recording": text })),
            "the recording is no sound that can be read",
        ),
        (over(json!({ "recording": "" })), "the recording is empty"),
        (
            over(json!({ "recording": "%%%" })),
            "the recording is not in base64",
        ),
        (over(json!({ "strength": 0.0 })), "--strength 0"),
        (over(json!({ "seconds": [0.2, 0.9] })), "0.248 seconds"),
        (over(json!({ "seconds": [0.15, 0.1] })), "FROM:TO"),
        (over(json!({ "seconds": [-1.0, 0.1] })), "FROM:TO"),
        (
            over(json!({ "seconds": [0.001, 0.002] })),
            "nothing of the spectrogram begins there",
        ),
        (
            over(json!({ "seconds": [0.1, 0.15], "resamplings": 0 })),
            "--resamplings is 0",
        ),
        (
            json!({ "from": { "picture": { "picture": text } } }),
            "this is for images",
        ),
    ] {
        let events = page.events(&draw, &asked);
        assert_eq!(events[0].0, "failed", "{part}: {events:?}");
        assert!(events[0].1.contains(part), "{part}: {events:?}");
    }
    for forged in [
        json!({ "from": { "recording": { "path": "/etc/passwd" } } }),
        json!({ "from": { "recording": { "recording": recording, "mask": "0.1:0.2" } } }),
        json!({ "from": { "recording": { "recording": recording, "seconds": "/etc/passwd" } } }),
        json!({ "from": { "recording": { "recording": recording, "seconds": [0.1, 0.2, 0.3] } } }),
        json!({ "from": { "recording": { "recording": recording, "seconds": [0.1, null] } } }),
    ] {
        page.refuses(&draw, &forged, "not what the page asks");
    }
    let events = page.events(&format!("runs/{points}/draw"), &over(json!({})));
    assert!(events[0].1.contains("this is for sounds"), "{events:?}");

    // Files that are cut, that claim more than they hold, that are too long; no token.
    let mut claims = file.clone();
    let at = claims.windows(4).position(|four| four == b"data").unwrap();
    claims[at + 4..at + 8].copy_from_slice(&[0xf0, 0xff, 0xff, 0x7f]);
    for (body, status, part) in [
        (
            file[..file.len() / 2].to_vec(),
            400,
            "the recording breaks off",
        ),
        (claims, 400, "the recording"),
        (b"RIFF".to_vec(), 400, "the recording is no WAV file"),
        (b"fLaC".to_vec(), 400, "the recording is no"),
        (
            b"../../etc/passwd".to_vec(),
            400,
            "is no sound that can be read",
        ),
        (Vec::new(), 400, "is empty"),
        (vec![0; (16 << 20) + 1], 413, "too long"),
    ] {
        let (found, answer) = page.ask_with(&page.token, "POST", &files, &body);
        let text = String::from_utf8_lossy(&answer);
        assert!(
            found == status && text.contains(part),
            "{found} {text}, not {part}"
        );
    }
    assert_eq!(page.ask_with("made-up", "POST", &files, &file).0, 401);

    the_nearest_are_heard(&page, dir, &mine);
}

/// The training recordings that come nearest to what is drawn.
fn the_nearest_are_heard(page: &Page, dir: &Path, mine: &str) {
    let asked = json!({ "classes": [0, 1], "count": 5, "steps": 4 });
    let events = page.events(&format!("runs/{mine}/draw"), &asked);
    let done: Value = serde_json::from_str(&events.last().unwrap().1).unwrap();
    let drawn = json!({ "samples": done["sounds"], "classes": [0, 1, 0, 1, 0] });
    let nearest = format!("runs/{mine}/nearest");
    let events = page.events(&nearest, &drawn);
    let (last, told) = events.last().unwrap();
    assert_eq!(last, "done", "{events:?}");
    let found: Value = serde_json::from_str(told).unwrap();
    assert!(width(&found["png"]) > 90);
    let mut heard: Vec<u64> = (found["heard"].as_array().unwrap().iter())
        .map(|near| {
            let training = sound(dir, &near["sound"]);
            assert_eq!((training.sample_rate(), training.frames()), (4000, SAMPLES));
            assert!(training.samples().iter().any(|sample| sample.abs() > 0.1));
            assert!(width(&near["png"]) > 90);
            near["sample"].as_u64().unwrap()
        })
        .collect();
    heard.sort_unstable();
    assert_eq!(heard, [0, 1, 2, 3, 4]);
    // Nothing of it is left in the run.
    assert!(!dir.join("runs/mine/nearest.wav").exists());

    let text = STANDARD.encode("text");
    let texts = json!({ "samples": [text, text, text, text], "classes": [0, 0, 0, 0] });
    let events = page.events(&nearest, &texts);
    assert_eq!(events[0].0, "failed", "{events:?}");
    assert!(
        events[0].1.contains("no sound that can be read"),
        "{events:?}"
    );
    page.refuses(
        &nearest,
        &json!({ "samples": "sounds" }),
        "not what the page asks",
    );
}
