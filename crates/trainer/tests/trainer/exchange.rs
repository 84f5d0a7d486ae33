//! `trainer export` and `trainer import`, run as a user runs them, one against the other.
//! `scripts/check-diffusers` has the real diffusers at the other end.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::support::{checkpoint, copy_folder, fail, succeed, train};
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};

/// A run that knows classes, and far enough from its beginning for them to show.
fn run() -> &'static str {
    static RUN: OnceLock<String> = OnceLock::new();
    RUN.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap().keep();
        let fast = "training.learning_rate=1e-2";
        train(&folder, "run", &["--steps", "30", "--set", fast]);
        folder.join("run").display().to_string()
    })
}

/// That run, exported whole into `folder/theirs`, and damaged.
fn exported(damage: impl FnOnce(&Path)) -> tempfile::TempDir {
    static EXPORTED: OnceLock<PathBuf> = OnceLock::new();
    let whole = EXPORTED.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap().keep();
        succeed(&folder, &["export", run(), "whole"]);
        folder.join("whole")
    });
    let folder = tempfile::tempdir().unwrap();
    let theirs = folder.path().join("theirs");
    copy_folder(whole, &theirs);
    damage(&theirs);
    folder
}

const UNET: &str = "unet/config.json";
const WEIGHTS: &str = "unet/diffusion_pytorch_model.safetensors";
const SCHEDULER: &str = "scheduler/scheduler_config.json";

fn json_file(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Puts a value into a JSON file.
fn set(path: &Path, key: &str, value: Value) {
    let mut json = json_file(path);
    json[key] = value;
    fs::write(path, json.to_string()).unwrap();
}

type Tensors = BTreeMap<String, (Vec<usize>, Vec<u8>)>;

/// Shape and bytes of the tensors of a file.
fn tensors(path: &Path) -> Tensors {
    let bytes = fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    file.iter()
        .map(|(name, view)| {
            (
                name.to_owned(),
                (view.shape().to_vec(), view.data().to_vec()),
            )
        })
        .collect()
}

fn write_tensors(path: &Path, tensors: &Tensors) {
    let views = tensors.iter().map(|(name, (shape, bytes))| {
        let dtype = safetensors::Dtype::F32;
        (name, TensorView::new(dtype, shape.clone(), bytes).unwrap())
    });
    fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

/// The numbers of four images that a run draws without guidance.
fn sample(folder: &Path, run: &str, more: &[&str]) -> Vec<f32> {
    let args = [
        "sample",
        run,
        "--steps",
        "4",
        "--count",
        "4",
        "--guidance",
        "1",
    ];
    let files = ["--out", "grid.png", "--tensors", "images.safetensors"];
    succeed(folder, &[&args[..], &files, more].concat());
    let (shape, bytes) = tensors(&folder.join("images.safetensors"))["images"].clone();
    assert_eq!(shape, [4, 1, 28, 28]);
    let (numbers, _) = bytes.as_chunks();
    numbers.iter().map(|&b| f32::from_le_bytes(b)).collect()
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max)
}

/// What stands in a folder, by name.
fn entries(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn what_is_exported_comes_back_the_same() {
    let folder = exported(|_| {});
    let theirs = folder.path().join("theirs");
    assert_eq!(entries(&theirs), ["model_index.json", "scheduler", "unet"]);
    let averaged = tensors(&checkpoint(Path::new(run()), 30).join("ema.safetensors"));
    assert!(tensors(&theirs.join(WEIGHTS)) == averaged);
    assert_eq!(json_file(&theirs.join(UNET))["num_class_embeds"], 11);

    let ended = succeed(folder.path(), &["import", "theirs", "back"]);
    assert!(
        ended
            .stdout
            .contains("10 classes and one embedding for no class"),
        "{ended:#?}"
    );
    let back = checkpoint(&folder.path().join("back"), 0);
    for name in ["model.safetensors", "ema.safetensors"] {
        assert!(tensors(&back.join(name)) == averaged, "{name}");
    }
    let ours = sample(folder.path(), run(), &["--class", "1,7,none,3"]);
    assert_eq!(
        ours,
        sample(folder.path(), "back", &["--class", "1,7,none,3"])
    );
}

#[test]
fn a_folded_class_draws_what_the_class_does() {
    let folder = tempfile::tempdir().unwrap();
    let mut drawn = Vec::new();
    for (flags, class) in [(&["--class", "7"][..], "7"), (&["--unconditional"], "none")] {
        let folded = format!("folded-{class}");
        succeed(
            folder.path(),
            &[&["export", run(), &folded], flags].concat(),
        );
        let network = json_file(&folder.path().join(&folded).join(UNET));
        assert_eq!(network["num_class_embeds"], Value::Null);
        let imported = format!("imported-{class}");
        let ended = succeed(folder.path(), &["import", &folded, &imported]);
        assert!(ended.stdout.contains("no classes"), "{ended:#?}");

        let told = sample(folder.path(), run(), &["--class", class]);
        let alone = sample(folder.path(), &imported, &[]);
        let difference = largest_difference(&told, &alone);
        assert!(difference < 1e-4, "class {class}: {difference}");
        drawn.push(told);
    }
    assert!(largest_difference(&drawn[0], &drawn[1]) > 0.01);
}

#[test]
fn an_imported_run_is_trained_further() {
    let folder = exported(|_| {});
    let overrides = [
        "--set",
        "data.dataset=mnist",
        "--set",
        "training.batch_size=8",
        "--set",
        "held_out.examples=10",
        "--set",
        "sampling.num_inference_steps=2",
        "--set",
        "sampling.count=2",
    ];
    succeed(
        folder.path(),
        &[&["import", "theirs", "run"][..], &overrides].concat(),
    );
    let before = tensors(&checkpoint(&folder.path().join("run"), 0).join("ema.safetensors"));
    succeed(folder.path(), &["train", "--resume", "run", "--steps", "2"]);
    let after = tensors(&checkpoint(&folder.path().join("run"), 2).join("ema.safetensors"));
    assert!(before.keys().eq(after.keys()) && before != after);
}

#[test]
fn a_configuration_says_what_the_folder_does_not() {
    let folder = exported(|theirs| {
        set(&theirs.join(SCHEDULER), "beta_end", json!(0.03));
        set(&theirs.join(SCHEDULER), "clip_sample_range", json!(1.25));
    });
    let config = crate::support::config("fashion-mnist.toml");
    let overrides = [
        "--set",
        "training.batch_size=3",
        "--set",
        "network.dropout=0.25",
    ];
    let args = ["import", "theirs", "run", "--config", &config];
    succeed(folder.path(), &[&args[..], &overrides].concat());
    let text = fs::read_to_string(folder.path().join("run/config.toml")).unwrap();
    let config: toml::Table = text.parse().unwrap();
    // From --config, from --set, and from the folder.
    assert_eq!(config["data"]["dataset"].as_str(), Some("fashion-mnist"));
    assert_eq!(config["training"]["batch_size"].as_integer(), Some(3));
    assert_eq!(config["network"]["dropout"].as_float(), Some(0.25));
    assert_eq!(
        config["noise"]["schedule"]["beta_end"].as_float(),
        Some(0.03)
    );
    assert_eq!(config["network"]["norm_num_groups"].as_integer(), Some(4));
    assert_eq!(
        config["sampling"]["clipping"]["range"].as_float(),
        Some(1.25)
    );
}

#[test]
fn early_folders_are_read() {
    let folder = exported(|theirs| {
        for name in [UNET, WEIGHTS, SCHEDULER] {
            let path = theirs.join(name);
            fs::rename(&path, theirs.join(path.file_name().unwrap())).unwrap();
        }
        fs::remove_dir(theirs.join("unet")).unwrap();
        fs::remove_dir(theirs.join("scheduler")).unwrap();
        let weights = theirs.join("diffusion_pytorch_model.safetensors");
        let early: Tensors = tensors(&weights)
            .into_iter()
            .map(|(name, tensor)| {
                let name = name
                    .replace(".to_q.", ".query.")
                    .replace(".to_k.", ".key.")
                    .replace(".to_v.", ".value.")
                    .replace(".to_out.0.", ".proj_attn.");
                (name, tensor)
            })
            .collect();
        assert!(early.contains_key("mid_block.attentions.0.proj_attn.bias"));
        write_tensors(&weights, &early);
    });
    succeed(folder.path(), &["import", "theirs", "run"]);
    let ours = sample(folder.path(), run(), &["--class", "5"]);
    assert_eq!(ours, sample(folder.path(), "run", &["--class", "5"]));
}

#[test]
fn a_folder_that_cannot_be_expressed_or_is_damaged_makes_no_run() {
    let refused = |damage: &dyn Fn(&Path), code: i32, parts: &[&str]| {
        let folder = exported(damage);
        fail(folder.path(), &["import", "theirs", "run"], code, parts);
        assert_eq!(entries(folder.path()), ["theirs"]);
    };
    let key = |file: &'static str, key: &'static str, value: Value, expected: &str| {
        let damage = |theirs: &Path| set(&theirs.join(file), key, value.clone());
        refused(
            &damage,
            1,
            &[file, &format!("`{key}` is {value}"), "expected", expected],
        );
    };
    key(UNET, "act_fn", json!("gelu"), "\"silu\"");
    key(
        UNET,
        "_class_name",
        json!("UNet2DConditionModel"),
        "UNet2DModel",
    );
    key(UNET, "mid_block_scale_factor", json!(2), "1");
    key(UNET, "layers_per_block", json!(1e99), "a number");
    key(SCHEDULER, "variance_type", json!("learned"), "fixed_small");
    key(
        SCHEDULER,
        "_class_name",
        json!("LCMScheduler"),
        "DDPMScheduler",
    );

    let cut = |name: &'static str| {
        move |theirs: &Path| {
            let bytes = fs::read(theirs.join(name)).unwrap();
            fs::write(theirs.join(name), &bytes[..bytes.len() / 2]).unwrap();
        }
    };
    refused(&cut(UNET), 1, &[UNET, "not a configuration of diffusers"]);
    refused(
        &cut(SCHEDULER),
        1,
        &[SCHEDULER, "not a configuration of diffusers"],
    );
    refused(&cut(WEIGHTS), 1, &[WEIGHTS]);
    let write = |name: &'static str, bytes: &'static [u8]| {
        move |theirs: &Path| fs::write(theirs.join(name), bytes).unwrap()
    };
    refused(&write(UNET, b"[1, 2]"), 1, &[UNET, "not a configuration"]);
    refused(&write(UNET, b"\xff\xfe"), 1, &[UNET, "not a configuration"]);
    refused(&write(UNET, b""), 1, &[UNET, "not a configuration"]);
    refused(&write(WEIGHTS, b""), 1, &[WEIGHTS, "0 bytes"]);
    let odd = |theirs: &Path| fs::write(theirs.join(WEIGHTS), vec![0xff; 1 << 20]).unwrap();
    refused(&odd, 1, &[WEIGHTS, "not a safetensors file"]);
    // Sizes that no memory holds are not asked for.
    let wide = |theirs: &Path| {
        set(&theirs.join(UNET), "layers_per_block", json!(65536));
        set(
            &theirs.join(UNET),
            "block_out_channels",
            json!([65536, 65536]),
        );
    };
    refused(
        &wide,
        1,
        &[WEIGHTS, "the weights belong to another network"],
    );
    let narrow = |theirs: &Path| set(&theirs.join(UNET), "block_out_channels", json!([8, 8]));
    refused(
        &narrow,
        1,
        &[WEIGHTS, "tensor `", "belong to another network"],
    );

    let pickled = |theirs: &Path| {
        let weights = theirs.join(WEIGHTS);
        fs::rename(&weights, weights.with_extension("bin")).unwrap();
    };
    refused(
        &pickled,
        1,
        &[
            "diffusion_pytorch_model.bin is a pickle",
            "save_pretrained(\"theirs/unet\")",
        ],
    );
    let gone = |theirs: &Path| fs::remove_file(theirs.join(WEIGHTS)).unwrap();
    refused(&gone, 1, &[WEIGHTS, "No such file"]);
    let no_network = |theirs: &Path| fs::remove_dir_all(theirs.join("unet")).unwrap();
    refused(
        &no_network,
        1,
        &["theirs holds no network", "unet/config.json"],
    );
    let no_chain = |theirs: &Path| fs::remove_dir_all(theirs.join("scheduler")).unwrap();
    refused(&no_chain, 2, &["theirs holds no scheduler", "--config"]);
    // What our configuration refuses for its own reasons.
    let blind = |theirs: &Path| {
        set(
            &theirs.join(SCHEDULER),
            "rescale_betas_zero_snr",
            json!(true),
        )
    };
    refused(&blind, 2, &["theirs", "objective.prediction_type"]);
}

#[test]
fn a_network_alone_takes_its_chain_from_a_configuration() {
    let folder = exported(|theirs| fs::remove_dir_all(theirs.join("scheduler")).unwrap());
    let config = crate::support::config("smoke.toml");
    succeed(
        folder.path(),
        &["import", "theirs", "run", "--config", &config],
    );
    let ours = sample(folder.path(), run(), &["--class", "5"]);
    assert_eq!(ours, sample(folder.path(), "run", &["--class", "5"]));
}

#[test]
fn nothing_is_overwritten_unasked() {
    let folder = exported(|_| {});
    let place = folder.path();
    let before = fs::read(place.join("theirs").join(WEIGHTS)).unwrap();
    let export = ["export", run(), "theirs", "--class", "3"];
    fail(
        place,
        &export,
        2,
        &["theirs holds a pipeline", "--overwrite"],
    );
    assert!(fs::read(place.join("theirs").join(WEIGHTS)).unwrap() == before);
    succeed(place, &[&export[..], &["--overwrite"]].concat());
    assert!(fs::read(place.join("theirs").join(WEIGHTS)).unwrap() != before);
    assert_eq!(entries(place), ["theirs"]);

    // A pipeline with more in it than is written is someone else's.
    fs::write(place.join("theirs/README.md"), "precious").unwrap();
    let overwrite = ["export", run(), "theirs", "--overwrite"];
    fail(place, &overwrite, 2, &["is not empty and no pipeline"]);
    fs::remove_file(place.join("theirs/README.md")).unwrap();

    // What is no pipeline is not touched, whatever is asked for.
    fs::create_dir(place.join("precious")).unwrap();
    fs::write(place.join("precious/file"), "precious").unwrap();
    fs::write(place.join("file"), "precious").unwrap();
    for out in ["precious", run()] {
        let args = ["export", run(), out, "--overwrite"];
        fail(place, &args, 2, &["is not empty and no pipeline"]);
    }
    fail(
        place,
        &["export", run(), "file", "--overwrite"],
        1,
        &["cannot use file"],
    );
    assert_eq!(
        fs::read_to_string(place.join("precious/file")).unwrap(),
        "precious"
    );
    fail(
        place,
        &["export", run(), "/dev/null/out"],
        1,
        &["/dev/null/out"],
    );

    succeed(place, &["import", "theirs", "run"]);
    fail(
        place,
        &["import", "theirs", "run"],
        2,
        &["run holds a run already", "--overwrite"],
    );
    fail(
        place,
        &["import", "theirs", "precious", "--overwrite"],
        2,
        &["not a run"],
    );
    succeed(place, &["import", "theirs", "run", "--overwrite"]);
    assert_eq!(entries(place), ["file", "precious", "run", "theirs"]);
}

#[test]
fn classes_that_there_are_not_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path();
    fail(
        place,
        &["export", run(), "out", "--class", "10"],
        2,
        &["--class \"10\"", "0 to 9"],
    );
    let both = ["export", run(), "out", "--class", "1", "--unconditional"];
    fail(place, &both, 2, &["--unconditional"]);
    succeed(place, &["export", run(), "seven", "--class", "7"]);
    succeed(place, &["import", "seven", "run"]);
    for flags in [&["--class", "7"][..], &["--unconditional"]] {
        let args = [&["export", "run", "out"], flags].concat();
        fail(place, &args, 2, &["knows no classes"]);
    }
    fail(
        place,
        &["export", "nowhere", "out"],
        2,
        &["nowhere", "does not exist"],
    );
    assert_eq!(entries(place), ["run", "seven"]);
}

#[test]
fn networks_of_others_know_every_class_and_no_other_label() {
    // As another program would have written it: eleven classes, and not a word about "no class".
    let index = "model_index.json";
    let folder = exported(|theirs| {
        let mut json = json_file(&theirs.join(index));
        assert_eq!(json["_null_label"], json!(true));
        let keys = json.as_object_mut().unwrap();
        keys.retain(|key, _| key != "_null_label" && key != "id2label");
        fs::write(theirs.join(index), json.to_string()).unwrap();
    });
    let place = folder.path();
    let ended = succeed(place, &["import", "theirs", "run"]);
    assert!(ended.stdout.contains("11 classes"), "{ended:#?}");
    // The data of the defaults have ten.
    assert!(ended.stderr.contains("knows 11 classes"), "{ended:#?}");

    // The last class is one like any other: what the network that it came from calls "none".
    let last = sample(place, "run", &["--class", "10"]);
    assert_eq!(last, sample(place, run(), &["--class", "none"]));
    let grid = [
        "sample", "run", "--steps", "2", "--out", "grid.png", "--each", "each",
    ];
    succeed(place, &[&grid[..], &["--count", "11"]].concat());

    for (args, part) in [
        (&["--class", "none"][..], "no label for \"no class\""),
        (
            &["--class", "3", "--guidance", "2"],
            "sampling.guidance_scale",
        ),
        (&["--class", "11"], "0 to 10"),
    ] {
        let args = [&["sample", "run", "--out", "never.png"], args].concat();
        fail(place, &args, 2, &[part]);
    }
    fail(
        place,
        &["export", "run", "out", "--unconditional"],
        2,
        &["null_label"],
    );
    // It comes back as it is.
    succeed(place, &["export", "run", "again"]);
    assert_eq!(
        json_file(&place.join("again").join(index))["_null_label"],
        json!(false)
    );

    // Whoever knows better says so.
    let told = ["--set", "conditioning.null_label=true"];
    let ended = succeed(place, &[&["import", "theirs", "known"], &told[..]].concat());
    assert!(
        ended.stdout.contains("10 classes and one embedding"),
        "{ended:#?}"
    );
    // Then it can be guided.
    let guided = ["--class", "3", "--guidance", "2", "--out", "guided.png"];
    let args = ["sample", "known", "--count", "1", "--steps", "2"];
    succeed(place, &[&args[..], &guided].concat());
}

/// A configuration may be that of a network that can be guided.
#[test]
fn an_imported_network_without_classes_is_not_guided() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path();
    succeed(place, &["export", run(), "seven", "--class", "7"]);
    succeed(place, &["import", "seven", "run", "--config", "mnist"]);
    let drawn = ["sample", "run", "--count", "1", "--steps", "2"];
    let ended = succeed(place, &[&drawn[..], &["--out", "a.png"]].concat());
    assert!(!ended.stderr.contains("guidance"), "{ended:#?}");
    let guided = [&drawn[..], &["--guidance", "2"]].concat();
    fail(place, &guided, 2, &["nothing to guide", "knows no classes"]);
}

#[test]
fn data_that_are_named_must_have_the_classes_of_the_network() {
    let folder = exported(|theirs| {
        let index = theirs.join("model_index.json");
        set(&index, "_null_label", json!(false));
    });
    let args = [
        "import",
        "theirs",
        "run",
        "--set",
        "data.dataset=fashion-mnist",
    ];
    let parts = ["knows 11 classes", "fashion-mnist has 10"];
    fail(folder.path(), &args, 2, &parts);
    assert_eq!(entries(folder.path()), ["theirs"]);
}

#[test]
fn images_begin_with_the_noise_that_is_given() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path();
    let drawn = sample(place, run(), &["--class", "7", "--seed", "3"]);
    fs::rename(
        place.join("images.safetensors"),
        place.join("noise.safetensors"),
    )
    .unwrap();
    let args =
        |more: &[&'static str]| [&["--class", "7", "--noise", "noise.safetensors"], more].concat();
    assert_eq!(drawn, sample(place, run(), &args(&[])));
    assert_eq!(drawn, sample(place, run(), &args(&["--batch-size", "4"])));
    // The steps of a stochastic sampler draw what they drew.
    let stochastic = ["--class", "7", "--seed", "3", "--eta", "1"];
    let with_noise = [&stochastic[..], &["--noise", "noise.safetensors"]].concat();
    assert_eq!(
        sample(place, run(), &stochastic),
        sample(place, run(), &with_noise)
    );
    // The noise that went in is the noise that comes out.
    let noise = |file: &str| tensors(&place.join(file))["noise"].clone();
    assert!(noise("noise.safetensors") == noise("images.safetensors"));

    let refused = |name: &str, code: i32, parts: &[&str]| {
        let args = ["sample", run(), "--noise", name, "--out", "never.png"];
        fail(place, &args, code, parts);
    };
    let with = |name: &str, file: &str, shape: &[usize], value: f32| {
        let bytes = vec![value.to_le_bytes(); shape.iter().product()].concat();
        let tensor = (shape.to_vec(), bytes);
        write_tensors(
            &place.join(file),
            &BTreeMap::from([(name.to_owned(), tensor)]),
        );
    };
    with("x", "unnamed", &[1, 1, 28, 28], 0.0);
    refused(
        "unnamed",
        1,
        &["unnamed", "no tensor `noise`", "its 1 tensors: x"],
    );
    with("noise", "flat", &[784], 0.0);
    refused("flat", 1, &["flat", "shape [784]"]);
    with("noise", "rgb", &[2, 3, 28, 28], 0.0);
    refused(
        "rgb",
        2,
        &["shape [2, 3, 28, 28]", "[2 or more, 1, 28, 28]"],
    );
    with("noise", "none", &[0, 1, 28, 28], 0.0);
    refused("none", 2, &["--count"]);
    with("noise", "nan", &[1, 1, 28, 28], f32::NAN);
    refused("nan", 1, &["nan", "NaN at position 0"]);
    fs::write(place.join("text"), "noise").unwrap();
    refused("text", 1, &["text", "not a safetensors file"]);
    refused("nowhere", 1, &["cannot read nowhere"]);
    let few = [
        "sample",
        run(),
        "--noise",
        "noise.safetensors",
        "--count",
        "5",
    ];
    fail(place, &few, 2, &["[5 or more"]);
    assert!(!place.join("never.png").exists());
}
