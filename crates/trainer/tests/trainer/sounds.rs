//! Sounds, from a folder of them, through the whole program.

use std::f32::consts::TAU;
use std::fs;
use std::path::Path;

use datasets::{Audio, read_wav};
use image::GenericImageView;

use crate::support::{checkpoint, fail, run, succeed, tensors};

/// A tiny network on spectrograms of 0.25 seconds.
const CONFIG: &str = "[data]\npath = \"sounds\"\n[data.sound]\nsample_rate = 4000\nhop = 32\npatch_size = 2\n\
    [data.augment]\nspeed = 0.1\n[network]\nsample_size = [16, 16]\nin_channels = 8\nout_channels = 8\n\
    block_out_channels = [8, 16]\nlayers_per_block = 1\ndown_block_attention = [false, true]\n\
    norm_num_groups = 4\n[conditioning]\nclass_labels = true\n[objective]\n\
    prediction_type = \"v-prediction\"\n[training]\nbatch_size = 8\nsteps = 12\nlearning_rate = 1e-3\n\
    [checkpoint]\nevery = 4\n[held_out]\nexamples = 10\nbuckets = 2\n[sampling]\nevery = 12\ncount = 6\n\
    num_inference_steps = 4\nclipping = { kind = \"none\" }\nguidance_scale = 2.0\n";

/// The samples of a window: 31 hops of 32.
pub(crate) const SAMPLES: usize = 31 * 32;

fn write(path: &Path, rate: u32, channels: usize, samples: Vec<f32>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let sound = Audio::new(rate, channels, samples).unwrap();
    fs::write(path, sound.to_wav().unwrap()).unwrap();
}

/// Tones, chirps and clicks, of several rates, lengths and channels.
fn write_sounds(dir: &Path) {
    for index in 0..14_usize {
        let rate = [4000, 8000, 11_025][index % 3];
        let frames = rate as usize / 10 * (1 + index % 4);
        let time = |n: usize| n as f32 / rate as f32;
        let pitch = 300.0 + 40.0 * index as f32;
        let tone = |n: usize| 0.5 * (TAU * pitch * time(n)).sin();
        let chirp = |n: usize| 0.3 * (TAU * (pitch + 900.0 * time(n)) * time(n)).sin();
        let click = |n: usize| f32::from(u8::from(n % 200 < 3)) * 0.8;
        let both = |sound: &dyn Fn(usize) -> f32, channels: usize| -> Vec<f32> {
            let one: Vec<f32> = (0..frames).map(sound).collect();
            one.repeat(channels)
        };
        let channels = 1 + index % 2;
        let name = format!("{index:02}.wav");
        write(
            &dir.join("tone").join(&name),
            rate,
            channels,
            both(&tone, channels),
        );
        write(&dir.join("chirp").join(&name), rate, 1, both(&chirp, 1));
        write(&dir.join("click").join(&name), rate, 1, both(&click, 1));
    }
}

/// A folder with the sounds and the configuration.
pub(crate) fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    write_sounds(&dir.path().join("sounds"));
    fs::write(dir.path().join("sounds.toml"), CONFIG).unwrap();
    dir
}

/// What makes the network of [`CONFIG`] one of mel spectrograms, of as many samples.
const MEL: [&str; 6] = [
    "data.sound.representation=mel-spectrogram",
    "data.sound.patch_size=1",
    "network.sample_size=[16,32]",
    "network.in_channels=1",
    "network.out_channels=1",
    "sampling.clipping={kind=\"clamp\",range=1.0}",
];

#[test]
fn sounds_are_learned_sampled_edited_and_scored() {
    learn_sample_edit_and_score(&[]);
}

#[test]
fn mel_spectrograms_are_learned_sampled_edited_and_scored() {
    learn_sample_edit_and_score(&MEL);
}

fn learn_sample_edit_and_score(settings: &[&str]) {
    let dir = folder();
    let dir = dir.path();
    let settings: Vec<&str> = settings.iter().flat_map(|set| ["--set", set]).collect();
    let train = ["train", "--config", "sounds.toml", "--out", "run"];
    succeed(dir, &[&train[..], &settings].concat());
    let config = fs::read_to_string(dir.join("run/config.toml")).unwrap();
    assert!(config.contains("spectrogram_factor = "), "{config}");
    assert!(
        config.contains("class_names = [\"chirp\", \"click\", \"tone\"]"),
        "{config}"
    );
    assert!(dir.join("run/samples/step-00000012.png").is_file());

    // A sound each, one file of all, and pictures of them.
    let sample = [
        "sample",
        "run",
        "--class",
        "tone,click",
        "--count",
        "4",
        "--each",
        "each",
        "--gif",
        "way.gif",
        "--trajectory",
        "way.png",
        "--out",
        "four.png",
    ];
    succeed(dir, &sample);
    let labels = fs::read_to_string(dir.join("each/labels.csv")).unwrap();
    assert_eq!(
        labels,
        "file,class,name\n000000.wav,2,tone\n000001.wav,1,click\n000002.wav,2,tone\n000003.wav,1,click\n"
    );
    let each: Vec<Audio> = (0..4)
        .map(|index| read_wav(&dir.join(format!("each/{index:06}.wav"))).unwrap())
        .collect();
    for sound in &each {
        assert_eq!(
            (sound.sample_rate(), sound.channels(), sound.frames()),
            (4000, 1, SAMPLES)
        );
        assert!(sound.samples().iter().any(|&sample| sample != 0.0));
    }
    let all = read_wav(&dir.join("four.wav")).unwrap();
    let pause = 1200;
    assert_eq!(all.frames(), 4 * (SAMPLES + pause));
    assert_eq!(
        all.samples()[SAMPLES + pause..][..SAMPLES],
        *each[1].samples()
    );
    for picture in ["four.png", "way.png", "way.gif"] {
        assert!(
            image::open(dir.join(picture)).unwrap().width() > 96,
            "{picture}"
        );
    }

    // The batch size changes nothing.
    let mut again = sample;
    again[7] = "again";
    again[13] = "again.png";
    succeed(dir, &[&again[..], &["--batch-size", "3"]].concat());
    for index in 0..4 {
        let file = |folder: &str| fs::read(dir.join(format!("{folder}/{index:06}.wav"))).unwrap();
        let [a, b] = ["each", "again"].map(file);
        let differs = a.iter().zip(&b).filter(|(a, b)| a != b).count();
        assert!(
            differs * 100 < a.len(),
            "sound {index}: {differs} bytes of {}",
            a.len()
        );
    }

    // Edits: over a recording, a part of it anew, from one to another.
    let from = "sounds/tone/03.wav";
    let edit = [
        "edit", "run", "--from", from, "--class", "tone", "--count", "2",
    ];
    succeed(
        dir,
        &[&edit[..], &["--strength", "0.5", "--out", "over.png"]].concat(),
    );
    let over = read_wav(&dir.join("over.wav")).unwrap();
    assert_eq!(over.frames(), 3 * (SAMPLES + pause));
    succeed(
        dir,
        &[&edit[..], &["--mask", "0.1:0.15", "--out", "part.png"]].concat(),
    );
    let part = read_wav(&dir.join("part.wav")).unwrap();
    let sound = |index: usize| &part.samples()[index * (SAMPLES + pause)..][..SAMPLES];
    // What is kept is the recording's, but for the edge.
    for index in [1, 2, 3] {
        let worst = |range: std::ops::Range<usize>| {
            let pairs = sound(0)[range.clone()].iter().zip(&sound(index)[range]);
            pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
        };
        assert!(worst(0..300) < 1e-3, "{}", worst(0..300));
        assert!(worst(720..SAMPLES) < 1e-3, "{}", worst(720..SAMPLES));
        assert!(worst(440..560) > 1e-2, "{}", worst(440..560));
    }
    let between = [
        "edit",
        "run",
        "--between",
        from,
        "sounds/chirp/02.wav",
        "--frames",
        "3",
    ];
    succeed(
        dir,
        &[&between[..], &["--class", "tone", "--out", "between.png"]].concat(),
    );
    assert_eq!(
        read_wav(&dir.join("between.wav")).unwrap().frames(),
        3 * (SAMPLES + pause)
    );

    let evaluate = [
        "evaluate",
        "run",
        "--count",
        "9",
        "--classifier-steps",
        "5",
        "--json",
    ];
    let scores = succeed(dir, &evaluate).stdout;
    for name in [
        "FID",
        "KID",
        "precision",
        "recall",
        "nearer than real",
        "class agreement",
    ] {
        assert!(
            scores.contains(&format!("\"name\":\"{name}\"")),
            "{name}: {scores}"
        );
    }
    assert!(!scores.contains("bits per dimension"), "{scores}");
    // As all spectrograms: in colour, the low frequencies below.
    let nearest = image::open(dir.join("run/nearest.png")).unwrap().to_rgb8();
    assert!(nearest.pixels().any(|pixel| pixel.0[0] != pixel.0[1]));
    // The training recordings that they are nearest to, one after the other.
    let nearest = read_wav(&dir.join("run/nearest.wav")).unwrap();
    assert_eq!(nearest.frames(), 9 * (SAMPLES + pause));
    let report = fs::read_to_string(dir.join("run/scores.json")).unwrap();
    assert_eq!(report.matches("\"example\":").count(), 9, "{report}");

    // Files are scored as samples are.
    let files = [
        "evaluate",
        "run",
        "--samples",
        "each",
        "--classifier-steps",
        "5",
        "--neighbours",
        "2",
        "--json",
    ];
    let scores = succeed(dir, &files).stdout;
    assert!(scores.contains("the files of each"), "{scores}");
    assert!(dir.join("each/scores.json").is_file());
    fail(
        dir,
        &["evaluate", "run", "--samples", "sounds"],
        1,
        &["labels.csv"],
    );
    fail(
        dir,
        &["evaluate", "run", "--samples", "each", "--neighbours", "4"],
        2,
        &["4 samples"],
    );

    // A file that claims a sample a second would be of gigabytes at the run's rate.
    write(&dir.join("slow/a.wav"), 1, 1, vec![0.5; 80_000]);
    let labels = "file,class,name\na.wav,0,\na.wav,1,\na.wav,2,\n";
    fs::write(dir.join("slow/labels.csv"), labels).unwrap();
    fail(
        dir,
        &[
            "evaluate",
            "run",
            "--samples",
            "slow",
            "--neighbours",
            "2",
            "--classifier-steps",
            "5",
        ],
        1,
        &["a.wav", "limit"],
    );

    let export = ["export", "run", "exported"];
    succeed(dir, &export);
    let sound = fs::read_to_string(dir.join("exported/sound.json")).unwrap();
    assert!(sound.contains("\"sample_rate\": 4000"), "{sound}");

    // What is for images alone, or makes no sense here.
    for (args, code, parts) in [
        (
            &["samplers", "run"][..],
            2,
            &["draws sounds, and this is for images"][..],
        ),
        (
            &["edit", "run", "--from", from, "--mask", "0.1"],
            2,
            &["FROM:TO in seconds"],
        ),
        (
            &["edit", "run", "--from", from, "--mask", "0.2:0.9"],
            2,
            &["0.248 seconds"],
        ),
        (
            &["edit", "run", "--from", from, "--mask", "NaN:0.2"],
            2,
            &["FROM:TO"],
        ),
        (
            &["edit", "run", "--from", "sounds.toml"],
            1,
            &["sounds.toml"],
        ),
        (
            &["evaluate", "run", "--likelihood-images", "3"],
            2,
            &["--likelihood-images"],
        ),
        (
            &["evaluate", "run", "--features", "inception"],
            2,
            &["Inception-v3 sees photographs"],
        ),
    ] {
        fail(dir, args, code, parts);
    }
}

#[test]
fn a_resumed_run_of_sounds_is_byte_for_byte_the_uninterrupted_one() {
    let dir = folder();
    let dir = dir.path();
    let train = |out: &str, more: &[&str]| {
        let args = ["train", "--config", "sounds.toml", "--out", out];
        succeed(dir, &[&args[..], more].concat());
    };
    train("whole", &[]);
    train("parts", &["--steps", "4"]);
    succeed(dir, &["train", "--resume", "parts", "--steps", "12"]);
    let at_end = |run: &str| tensors(&checkpoint(&dir.join(run), 12));
    assert_eq!(at_end("parts"), at_end("whole"));
    // Where the sounds do not fit into memory, they are read again for each batch, to the same end.
    train("streamed", &["--set", "data.cache_mib=0"]);
    assert_eq!(at_end("streamed"), at_end("whole"));

    // Other sounds are another run.
    fs::remove_file(dir.join("sounds/tone/05.wav")).unwrap();
    let resume = ["train", "--resume", "whole", "--steps", "14"];
    fail(dir, &resume, 1, &["are not those that the run began with"]);
}

#[test]
fn settings_that_sounds_cannot_have_are_refused_by_key() {
    let dir = folder();
    let dir = dir.path();
    for (set, parts) in [
        ("data.flip=true", &["data.flip", "backwards"][..]),
        (
            "network.in_channels=2",
            &["network.in_channels", "set both to 8"],
        ),
        (
            "data.sound.patch_size=3",
            &["network.in_channels", "set both to 18"],
        ),
        (
            "data.sound.patch_size=9",
            &["data.sound.patch_size", "at most 8"],
        ),
        ("data.sound.hop=100", &["data.sound.hop", "leaves gaps"]),
        ("data.sound.hop=0", &["data.sound.hop", "at least 1"]),
        (
            "data.sound.representation=mel-spectrogram",
            &["network.in_channels", "set both to 4"],
        ),
        (
            "data.sound.representation=mel",
            &["data.sound.representation", "mel-spectrogram"],
        ),
        (
            "data.sound.sample_rate=0",
            &["data.sound.sample_rate", "at least 1"],
        ),
        (
            "data.sound.sample_rate=4294967295",
            &["data.sound.sample_rate", "at most"],
        ),
        ("data.sound.rate=1", &["data.sound", "rate"]),
        (
            "data.augment.speed=0.9",
            &["data.augment.speed", "expected 0 to 0.5"],
        ),
        ("data.augment.speed=nan", &["data.augment.speed"]),
        (
            "sampling.clipping={kind=\"clamp\",range=1.0}",
            &["sampling.clipping", "3 or more"],
        ),
        ("network.kind=mlp", &["network"]),
    ] {
        let args = [
            "train",
            "--config",
            "sounds.toml",
            "--out",
            "none",
            "--set",
            set,
        ];
        fail(dir, &args, 2, parts);
    }
    for (set, parts) in [
        ("data.sound.hop=31", &["data.sound.hop", "must be even"][..]),
        (
            "data.sound.hop=99999999998",
            &["network.sample_size", "at most 32,768"],
        ),
        (
            "network.sample_size=[33,32]",
            &["network.sample_size", "33 mel bands"],
        ),
        ("network.sample_size=[16,1]", &["network.sample_size"]),
    ] {
        let sets = MEL.iter().chain([&set]).flat_map(|set| ["--set", set]);
        let args = ["train", "--config", "sounds.toml", "--out", "none"];
        fail(
            dir,
            &args.into_iter().chain(sets).collect::<Vec<_>>(),
            2,
            parts,
        );
    }
    assert!(!dir.join("none").exists());
    // Augmentation of sounds is nothing for images.
    let args = [
        "train",
        "smoke",
        "--set",
        "data.augment.speed=0.1",
        "--out",
        "none",
    ];
    fail(
        dir,
        &args,
        2,
        &["data.augment.speed", "the data are images"],
    );
    // A folder of sounds under a configuration for images says what to do.
    let args = [
        "train",
        "smoke",
        "--set",
        "data.path=sounds",
        "--out",
        "none",
    ];
    fail(dir, &args, 1, &["[data.sound]", "speech"]);
}

#[test]
fn damaged_and_silent_sounds_are_named_or_passed_over() {
    let dir = folder();
    let dir = dir.path();
    let sounds = dir.join("sounds");
    let good = fs::read(sounds.join("tone/00.wav")).unwrap();
    fs::write(sounds.join("tone/cut.wav"), &good[..good.len() / 2]).unwrap();
    fs::write(sounds.join("tone/empty.wav"), "").unwrap();
    fs::write(sounds.join("tone/text.mp3"), "no sound at all").unwrap();
    write(&sounds.join("tone/silent.wav"), 4000, 1, vec![0.0; 800]);
    write(&sounds.join("tone/short.wav"), 4000, 1, vec![0.5; 20]);
    let args = [
        "train",
        "--config",
        "sounds.toml",
        "--out",
        "run",
        "--steps",
        "1",
    ];
    fail(dir, &args, 1, &["5 of the 47 sounds", "skip_bad"]);
    let skip = [&args[..], &["--set", "data.skip_bad=true"]].concat();
    let ended = succeed(dir, &skip);
    for name in [
        "cut.wav",
        "empty.wav",
        "text.mp3",
        "silent.wav",
        "short.wav",
    ] {
        assert!(ended.stderr.contains(name), "{name}: {}", ended.stderr);
    }
}

#[test]
fn recordings_are_counted_and_drawn() {
    let dir = folder();
    let dir = dir.path();
    let out = succeed(dir, &["data", "show", "sounds", "--out", "sheet.png"]).stdout;
    for part in [
        "training sounds",
        "seconds: 0.100 to 0.400",
        "4000 (",
        "8000 (",
        "11025 (",
        "channels: 1 (",
        "2 (7 files)",
        "chirp",
        "click",
        "tone",
        "dB of full scale",
    ] {
        assert!(out.contains(part), "{part}: {out}");
    }
    let sheet = image::open(dir.join("sheet.png")).unwrap();
    assert!(sheet.dimensions().0 > 300);
    let json = succeed(
        dir,
        &["data", "show", "sounds", "--json", "--out", "sheet.png"],
    )
    .stdout;
    let json: serde_json::Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    assert_eq!(json["classes"][2]["name"], "tone");

    // The forward process on a file, and on the data of a configuration.
    succeed(
        dir,
        &[
            "noise",
            "sounds/tone/03.wav",
            "--out",
            "noise",
            "--columns",
            "4",
        ],
    );
    for file in ["waveforms.png", "spectrograms.png", "x-t-0999.wav"] {
        assert!(dir.join("noise").join(file).is_file(), "{file}");
    }
    let noise = [
        "noise",
        "--config",
        "sounds.toml",
        "--out",
        "all",
        "--columns",
        "4",
        "--count",
        "3",
    ];
    succeed(dir, &noise);
    assert!(dir.join("all/step-by-step.png").is_file());
    let ended = run(dir, &["data", "show", "sounds.toml"]);
    assert_ne!(ended.code, Some(0));
}
