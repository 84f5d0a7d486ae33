//! Every reader of the program against damaged files, for some seconds: `scripts/fuzz [SECONDS]`.
//!
//! Small whole files (the corpus, made here) are damaged by a seeded generator and read. A reader may give
//! its contents or an error. It has failed if it panics, takes more memory than its files can need, takes
//! longer than 10 seconds, or says what is wrong in more than 4 KiB. The input is then kept, to be read again
//! with `--input READER FILE`.

#![allow(clippy::unwrap_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs;
use std::io::{Cursor, Write};
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use burn::tensor::Device;
use datasets::images::{array, cifar10, idx};
use datasets::tables::parse_table;
use datasets::{Audio, Channels, FolderOptions, SoundOptions, TableOptions, TableSchema};
use flate2::{Compression, write::GzEncoder};
use image::codecs::gif::GifEncoder;
use image::{DynamicImage, Frame, ImageFormat, Rgba, RgbaImage};
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};
use trainer::config::RunConfig;
use trainer::diffusers::{self, PipelineFolder};
use trainer::run::checkpoint::Checkpoint;
use trainer::run::metrics::read_until;
use trainer::sampling::tensor_file;
use unet::{UNet, UNetConfig};
use zip::CompressionMethod;
use zip::write::{SimpleFileOptions, ZipWriter};

/// The longest that an input may take.
const TIME_LIMIT: Duration = Duration::from_secs(10);
/// The longest text of an error, with all its causes.
const MAX_MESSAGE: usize = 4096;
/// Inputs of a reader before the next one has its turn.
const TURN: u32 = 20;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
/// What one picture of the most pixels may take while it is decoded and coloured.
const OF_A_PICTURE: usize = 1600 * MIB;

/// Counts the bytes that are in use, and the most that ever were.
struct Counting;

static IN_USE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
/// More than this is not given: the machine is to survive.
const MOST: usize = 8 << 30;

// SAFETY: memory comes from the system's allocator as it was asked for; only numbers are kept beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = IN_USE.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(now, Ordering::Relaxed);
        if now > MOST {
            IN_USE.fetch_sub(layout.size(), Ordering::Relaxed);
            return std::ptr::null_mut();
        }
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Reads a file; an error is its text.
type Read = dyn Fn(&Path) -> Result<(), String>;

/// A reader: what it is called, its corpus, where its input lies in a folder of its own, the most memory
/// that it may take beside the input, and how it is called.
struct Reader {
    name: &'static str,
    corpus: Vec<Vec<u8>>,
    place: &'static str,
    limit: usize,
    read: Box<Read>,
}

/// An error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}

fn said<T, E: std::error::Error>(result: Result<T, E>) -> Result<(), String> {
    result.map(drop).map_err(|error| chain(&error))
}

fn reader(
    name: &'static str,
    place: &'static str,
    limit: usize,
    corpus: Vec<Vec<u8>>,
    read: impl Fn(&Path) -> Result<(), String> + 'static,
) -> Reader {
    let read = Box::new(read);
    Reader {
        name,
        corpus,
        place,
        limit,
        read,
    }
}

fn readers() -> Vec<Reader> {
    let mut readers = vec![
        reader("idx", "input", 80 * MIB, idx_files(), |path| {
            said(idx::read(path, 3))
        }),
        reader(
            "cifar10",
            "input",
            80 * MIB,
            vec![vec![7; cifar10::RECORD_LEN]],
            |path| said(cifar10::parse(fs::File::open(path).unwrap())),
        ),
        reader("npy", "input.npy", 16 * MIB, npy_files(), |path| {
            said(array::load_array(path, MIB as u64))
        }),
        reader("npz", "input.npz", 16 * MIB, npz_files(), |path| {
            said(array::load_array(path, MIB as u64))
        }),
        reader("wav", "input.wav", 16 * MIB, wav_files(), |path| {
            said(datasets::read_wav(path))
        }),
        sound("flac", FLAC_FILES),
        sound("mp3", MP3_FILES),
        sound("ogg", OGG_FILES),
        reader(
            "sounds",
            "folder/a/input.wav",
            16 * MIB,
            wav_files(),
            |path| {
                let folder = path.ancestors().nth(2).unwrap();
                let options = SoundOptions {
                    sample_rate: 8000,
                    skip_bad: true,
                    cache_bytes: MIB as u64,
                    min_samples: 8,
                };
                said(datasets::load_sounds(folder, &options))
            },
        ),
        reader(
            "csv",
            "input.csv",
            16 * MIB,
            texts(&[
                "x,y\n1,2\n3.5,-4e-3\n5,6\n",
                "# comment\n1,2,3\n\n4,5,6\n\"7\", 8 ,9\r\n",
            ]),
            |path| said(datasets::load_points(path)),
        ),
        reader("table", "input.csv", 32 * MIB, tables(), |path| {
            let splits = datasets::load_table(path, &TableOptions::default(), 0, 0);
            if let Ok(splits) = &splits {
                let rows = Vec::from_iter(0..splits.train.len());
                let schema = splits.train.schema();
                let labels = vec![0; rows.len()];
                let cells = schema
                    .decode(&splits.train.read(&rows).unwrap(), &labels)
                    .unwrap();
                schema.write(&cells);
            }
            said(splits)
        }),
        reader(
            "table-schema",
            "input.json",
            16 * MIB,
            vec![schema()],
            |path| {
                let schema = serde_json::from_slice::<TableSchema>(&fs::read(path).unwrap());
                if let Ok(schema) = &schema
                    && let Ok(cells) = schema.decode(&vec![0.5; schema.example_len()], &[0])
                {
                    schema.write(&cells);
                }
                said(schema)
            },
        ),
        reader(
            "partial-rows",
            "input.csv",
            16 * MIB,
            tables()[..1].to_vec(),
            |path| {
                let schema: TableSchema = serde_json::from_slice(&schema()).unwrap();
                said(schema.parse_partial(&fs::read(path).unwrap()))
            },
        ),
        reader(
            "lines",
            "input.txt",
            16 * MIB,
            texts(&["anna\nbo\ncarla\n", "\u{feff}z\u{fc}rich\r\nbern\r\n"]),
            |path| said(datasets::load_lines(path)),
        ),
        reader(
            "metadata-csv",
            "folder/metadata.csv",
            16 * MIB,
            texts(&[
                "file_name,label\na/1.png,cat\nb/2.png,\"do,g\"\n",
                "\u{feff}kind,file_name\r\n1,a/1.png\r\n\r\n2,b/2.png\r\n",
            ]),
            read_folder,
        ),
        reader(
            "metadata-jsonl",
            "folder/metadata.jsonl",
            16 * MIB,
            texts(&[
                "{\"file_name\": \"a/1.png\", \"label\": \"cat\"}\n{\"file_name\": \"b/2.png\", \"label\": 3}\n",
            ]),
            read_folder,
        ),
        reader(
            "configuration",
            "input.toml",
            64 * MIB,
            texts(&[
                include_str!("../../../configs/smoke.toml"),
                include_str!("../../../configs/mnist.toml"),
                "[data]\npath = \"a.csv\"\n[found]\nfingerprint = \"0\"\nclass_names = [\"a\"]\n\
             [found.normalisation]\ncolumns = [\"x\"]\noffset = [0.0]\nscale = 1.0\n\
             [mlp]\ndimensions = 1\n[training]\nsteps = 1\n[sampling.clipping]\nkind = \"none\"\n",
            ]),
            |path| {
                let bytes = fs::read(path).unwrap();
                said(RunConfig::parse(
                    &String::from_utf8_lossy(&bytes),
                    path,
                    &[],
                ))
            },
        ),
        reader(
            "metrics",
            "run/metrics.jsonl",
            16 * MIB,
            texts(&[
                "{\"step\":1,\"epoch\":0.5,\"seconds\":1.0,\"loss\":0.5,\"smoothed_loss\":0.5,\
             \"learning_rate\":0.001,\"grad_norm\":1.0,\"examples_per_second\":10.0}\n\
             {\"step\":2,\"epoch\":0.5,\"seconds\":1.0,\"held_out_loss\":0.5}\n",
            ]),
            |path| said(read_until(path.parent().unwrap(), 1000)),
        ),
        reader(
            "state",
            "checkpoint/state.json",
            16 * MIB,
            vec![state()],
            |path| said(Checkpoint::open(path.parent().unwrap(), false)),
        ),
        reader(
            "tensors",
            "input.safetensors",
            16 * MIB,
            vec![tensors()],
            |path| {
                let read = tensor_file::read(path, "noise", &Device::flex());
                read.map(drop).map_err(|error| format!("{error:#}"))
            },
        ),
    ];
    let network = small_network();
    let weights = weights::to_safetensors(&network, &[].into()).unwrap();
    readers.push(reader(
        "weights",
        "input.safetensors",
        16 * MIB,
        vec![weights],
        move |path| {
            let bytes = fs::read(path).unwrap();
            said(weights::from_safetensors(network.clone(), &bytes))
        },
    ));
    for (name, place, file) in PIPELINE {
        let whole = tempfile::tempdir().unwrap();
        write_pipeline(whole.path());
        let corpus = vec![fs::read(whole.path().join(file)).unwrap()];
        readers.push(reader(name, place, 16 * MIB, corpus, |path| {
            let folders = path.ancestors();
            let folder = folders
                .into_iter()
                .find(|folder| folder.ends_with("pipeline"));
            said(PipelineFolder::open(folder.unwrap()))
        }));
    }
    for (name, corpus) in pictures() {
        readers.push(reader(name, "input", OF_A_PICTURE, corpus, |path| {
            let size = said(datasets::image_size(path));
            let channels = [Channels::Grey, Channels::Rgb, Channels::Rgba];
            // Each file one way, by its length.
            let channels = channels[fs::metadata(path).unwrap().len() as usize % 3];
            let read = said(datasets::read_image(path, channels, Some([8, 8])));
            read.and(size)
        }));
    }
    readers
}

/// A folder of images beside the file of their classes.
fn read_folder(path: &Path) -> Result<(), String> {
    let options = FolderOptions {
        channels: Channels::Rgb,
        size: [2, 2],
        background: datasets::WHITE,
        skip_bad: false,
        cache_bytes: 0,
    };
    said(datasets::load_folder(path.parent().unwrap(), &options))
}

/// Tables with numbers, dates, categories and gaps.
fn tables() -> Vec<Vec<u8>> {
    let mut plain = "id,age,price,day,kind,smokes\n".to_owned();
    let mut other = "alter;preis;\"art\"\r\n".to_owned();
    for i in 0..40 {
        let (kind, smokes) = (["a", "b,c", "NA"][i % 3], ["yes", "no"][i % 2]);
        plain += &format!(
            "{},{},{}.5,2020-01-{:02},\"{kind}\",{smokes}\n",
            i + 1,
            20 + i,
            i * 7,
            i % 28 + 1
        );
        other += &format!("{},5;1.{:03},25;\"{kind}\"\r\n", i, i * 7);
    }
    let utf_16 = other.encode_utf16().flat_map(u16::to_le_bytes);
    let utf_16 = [0xff, 0xfe].into_iter().chain(utf_16).collect();
    vec![plain.into_bytes(), other.into_bytes(), utf_16]
}

/// What is saved of the first of them.
fn schema() -> Vec<u8> {
    let (schema, _) = parse_table(&tables()[0], &TableOptions::default()).unwrap();
    serde_json::to_vec(&schema).unwrap()
}

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

fn idx_files() -> Vec<Vec<u8>> {
    let mut plain = vec![0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 4, 0, 0, 0, 4];
    plain.extend(0..32);
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(&plain).unwrap();
    vec![plain, packed.finish().unwrap()]
}

/// A `.npy` file of zeros and ones.
fn npy(element_type: &str, shape: &str, len: usize) -> Vec<u8> {
    let header =
        format!("{{'descr': '{element_type}', 'fortran_order': False, 'shape': {shape}, }}\n");
    let header_len = (header.len() as u16).to_le_bytes();
    let data: Vec<u8> = (0..len).map(|index| (index % 2) as u8).collect();
    [
        b"\x93NUMPY\x01\x00",
        &header_len[..],
        header.as_bytes(),
        &data,
    ]
    .concat()
}

fn npy_files() -> Vec<Vec<u8>> {
    vec![
        npy("|u1", "(4, 3, 5)", 60),
        npy("|u1", "(4, 2, 2, 3)", 48),
        npy("<f2", "(4, 2, 2)", 32),
        npy("<f4", "(4, 2, 2)", 64),
        npy("<f8", "(4, 2, 2)", 128),
    ]
}

fn npz_files() -> Vec<Vec<u8>> {
    let archive = |members: &[(&str, Vec<u8>)], method| {
        let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, bytes) in members {
            let options = SimpleFileOptions::default().compression_method(method);
            archive.start_file(format!("{name}.npy"), options).unwrap();
            archive.write_all(bytes).unwrap();
        }
        archive.finish().unwrap().into_inner()
    };
    let members = [
        ("x_train", npy("|u1", "(4, 2, 2)", 16)),
        ("y_train", npy("|u1", "(4, 1)", 4)),
        ("x_test", npy("|u1", "(2, 2, 2)", 8)),
        ("y_test", npy("|u1", "(2,)", 2)),
    ];
    vec![
        archive(&members, CompressionMethod::Stored),
        archive(&members[..2], CompressionMethod::Deflated),
    ]
}

/// `crates/datasets/tests/sounds/README.md` says how these were made.
const FLAC_FILES: [&[u8]; 2] = [
    include_bytes!("../../datasets/tests/sounds/mono.flac"),
    include_bytes!("../../datasets/tests/sounds/stereo.flac"),
];
const MP3_FILES: [&[u8]; 2] = [
    include_bytes!("../../datasets/tests/sounds/mono.mp3"),
    include_bytes!("../../datasets/tests/sounds/stereo.mp3"),
];
const OGG_FILES: [&[u8]; 2] = [
    include_bytes!("../../datasets/tests/sounds/mono.ogg"),
    include_bytes!("../../datasets/tests/sounds/stereo.ogg"),
];

/// A format of sound that is decoded. A few bytes of silence may stand for many samples.
fn sound(name: &'static str, files: [&[u8]; 2]) -> Reader {
    let corpus = files.map(<[u8]>::to_vec).to_vec();
    reader(name, "input", 64 * MIB, corpus, |path| {
        said(datasets::read_sound(path))
    })
}

fn wav_files() -> Vec<Vec<u8>> {
    [1, 2]
        .map(|channels| {
            let samples = (0..24).map(|i| (i as f32).sin()).collect();
            Audio::new(8000, channels, samples)
                .unwrap()
                .to_wav()
                .unwrap()
        })
        .to_vec()
}

fn pictures() -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let colours = RgbaImage::from_fn(20, 12, |x, y| {
        Rgba([x as u8 * 10, y as u8 * 15, 128, if x < 5 { 0 } else { 255 }])
    });
    let rgba = DynamicImage::from(colours);
    let all = [rgba.clone(), rgba.to_rgb8().into(), rgba.to_luma8().into()];
    let encoded = |format: ImageFormat, images: &[DynamicImage]| -> Vec<Vec<u8>> {
        images
            .iter()
            .map(|image| {
                let mut bytes = Cursor::new(Vec::new());
                image.write_to(&mut bytes, format).unwrap();
                bytes.into_inner()
            })
            .collect()
    };
    let mut gifs = encoded(ImageFormat::Gif, &all[..1]);
    let mut animation = Vec::new();
    let mut encoder = GifEncoder::new(&mut animation);
    let frames = [0, 1].map(|_| Frame::new(rgba.to_rgba8()));
    encoder.encode_frames(frames).unwrap();
    drop(encoder);
    gifs.push(animation);
    let mut webps = encoded(ImageFormat::WebP, &all[..2]);
    webps.extend(extended_webps(&webps[1]));
    vec![
        ("png", encoded(ImageFormat::Png, &all)),
        ("jpeg", encoded(ImageFormat::Jpeg, &all[1..])),
        ("bmp", encoded(ImageFormat::Bmp, &all[..2])),
        ("gif", gifs),
        ("webp", webps),
    ]
}

/// A WebP with EXIF and one that is an animation, of the bitstream of a plain one.
fn extended_webps(plain: &[u8]) -> [Vec<u8>; 2] {
    let bitstream = &plain[12..];
    let chunk = |name: &[u8], data: &[u8]| {
        let len = (data.len() as u32).to_le_bytes();
        let padding = vec![0; data.len() % 2];
        [name, &len, data, &padding].concat()
    };
    let file = |chunks: &[Vec<u8>]| chunk(b"RIFF", &[b"WEBP", &chunks.concat()[..]].concat());
    let header = |flags: u8| chunk(b"VP8X", &[flags, 0, 0, 0, 19, 0, 0, 11, 0, 0]);
    let exif = chunk(
        b"EXIF",
        b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0",
    );
    let mut frame = vec![0, 0, 0, 0, 0, 0, 19, 0, 0, 11, 0, 0, 9, 0, 0, 0];
    frame.extend(bitstream);
    let animation = [header(2), chunk(b"ANIM", &[0; 6]), chunk(b"ANMF", &frame)];
    [
        file(&[header(8), bitstream.to_vec(), exif]),
        file(&animation),
    ]
}

fn state() -> Vec<u8> {
    let config = include_bytes!("../../../configs/smoke.toml");
    let digest = Sha256::digest(config);
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!(
        "{{\"format_version\":1,\"program_version\":\"0.1.0\",\"seed\":0,\"step\":1,\"examples_seen\":8,\
         \"ema_steps\":1,\"optimizer_steps\":1,\"seconds\":1.5,\"held_out_loss\":null,\
         \"files\":{{\"config.toml\":{{\"bytes\":{},\"sha256\":\"{digest}\"}}}}}}",
        config.len()
    )
    .into_bytes()
}

fn small_network() -> UNet {
    let config = UNetConfig {
        sample_size: 4.into(),
        in_channels: 1,
        out_channels: 1,
        block_out_channels: vec![4],
        layers_per_block: 1,
        down_block_attention: vec![false],
        norm_num_groups: 2,
        ..UNetConfig::default()
    };
    config
        .init(&Device::flex(), &mut ChaCha8Rng::seed_from_u64(0))
        .unwrap()
}

/// The readers of a folder of diffusers: the file that each damages, as it lies for the reader and in the
/// folder.
const PIPELINE: [(&str, &str, &str); 3] = [
    (
        "diffusers-index",
        "pipeline/model_index.json",
        "model_index.json",
    ),
    (
        "diffusers-unet",
        "pipeline/unet/config.json",
        "unet/config.json",
    ),
    (
        "diffusers-chain",
        "pipeline/scheduler/scheduler_config.json",
        "scheduler/scheduler_config.json",
    ),
];

fn write_pipeline(folder: &Path) {
    let text = "[data]\ndataset = \"mnist\"\n[found]\nclass_names = [\"a\", \"b\"]\n[training]\nsteps = 1\n";
    let config = RunConfig::parse(text, Path::new("here"), &[]).unwrap();
    diffusers::write(folder, &small_network(), &config).unwrap();
}

fn tensors() -> Vec<u8> {
    let header = "{\"noise\":{\"dtype\":\"F32\",\"shape\":[2,1,2,2],\"data_offsets\":[0,32]}}  ";
    [
        &(header.len() as u64).to_le_bytes()[..],
        header.as_bytes(),
        &[0; 32],
    ]
    .concat()
}

/// A file of the corpus with some damage.
fn damaged(corpus: &[Vec<u8>], rng: &mut ChaCha8Rng) -> Vec<u8> {
    /// What lengths, sizes and counts are often wrong by.
    const NUMBERS: [u64; 8] = [0, 1, 0x7f, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, u64::MAX];
    const LONGEST: usize = 64 * KIB;
    let mut bytes = corpus.choose(rng).unwrap().clone();
    for _ in 0..rng.random_range(1..=6) {
        let len = bytes.len();
        if len == 0 {
            break;
        }
        let at = rng.random_range(0..len);
        let to = rng.random_range(at..=len.min(at + 64));
        match rng.random_range(0..10) {
            0 | 1 => bytes[at] ^= 1 << rng.random_range(0..8),
            2 => bytes[at] = rng.random(),
            3 | 4 => {
                let number = *NUMBERS.choose(rng).unwrap();
                let width = *[1, 2, 4, 8].choose(rng).unwrap();
                let mut number = number.to_le_bytes();
                if rng.random() {
                    number[..width].reverse();
                }
                let end = len.min(at + width);
                bytes[at..end].copy_from_slice(&number[..end - at]);
            }
            5 => bytes.truncate(at),
            6 => drop(bytes.drain(at..to)),
            7 if len < LONGEST => {
                let part = bytes[at..to].repeat(rng.random_range(1..=40));
                bytes.splice(at..at, part);
            }
            8 => {
                // A digit of a text.
                let is_digit = |&place: &usize| bytes[place].is_ascii_digit();
                if let Some(place) = (at..len).find(is_digit) {
                    let digits = ["9999999999999999999", "-1", "1e999", "nan", "0"];
                    bytes.splice(place..=place, digits.choose(rng).unwrap().bytes());
                }
            }
            _ => {
                let other = corpus.choose(rng).unwrap();
                let from = rng.random_range(0..other.len());
                let part = &other[from..other.len().min(from + 64)];
                bytes.splice(at..to, part.iter().copied());
            }
        }
    }
    bytes
}

/// When the reader began, in milliseconds from the start of the program and 1 above; 0 where none reads.
static BEGAN: AtomicU64 = AtomicU64::new(0);
/// What the last panic said.
static PANIC: Mutex<String> = Mutex::new(String::new());

/// What became of an input.
struct Outcome {
    /// Why it is a failure.
    failure: Option<String>,
    is_read: bool,
    peak: usize,
    time: Duration,
}

fn read_once(reader: &Reader, input: &Path, start: Instant) -> Outcome {
    let before = IN_USE.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    BEGAN.store(start.elapsed().as_millis() as u64 + 1, Ordering::SeqCst);
    let began = Instant::now();
    let result = panic::catch_unwind(AssertUnwindSafe(|| (reader.read)(input)));
    let time = began.elapsed();
    BEGAN.store(0, Ordering::SeqCst);
    let peak = PEAK.load(Ordering::Relaxed) - before;
    let len = fs::metadata(input).map_or(0, |metadata| metadata.len()) as usize;
    let failure = match &result {
        Err(_) => Some(format!("it panics: {}", PANIC.lock().unwrap())),
        _ if peak > reader.limit + 64 * len => Some(format!("it takes {peak} bytes of memory")),
        Ok(Err(text)) if text.len() > MAX_MESSAGE => {
            Some(format!("its error has {} bytes", text.len()))
        }
        _ => None,
    };
    Outcome {
        failure,
        is_read: matches!(result, Ok(Ok(()))),
        peak,
        time,
    }
}

/// Ends the program when a reader does not end.
fn watch(start: Instant, input: impl Fn() -> String + Send + 'static) {
    thread::spawn(move || {
        loop {
            thread::sleep(Duration::from_millis(200));
            let began = BEGAN.load(Ordering::SeqCst);
            let now = start.elapsed().as_millis() as u64;
            if began > 0 && now > began + TIME_LIMIT.as_millis() as u64 {
                eprintln!("FAILED: longer than {TIME_LIMIT:?}: {}", input());
                std::process::exit(1);
            }
        }
    });
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let start = Instant::now();
    panic::set_hook(Box::new(|info| {
        *PANIC.lock().unwrap() = info.to_string();
    }));
    let readers = readers();
    // In memory where that can be: some readers wait until what they write is on the disk.
    let memory = Path::new("/dev/shm");
    let work = if memory.is_dir() {
        tempfile::tempdir_in(memory).unwrap()
    } else {
        tempfile::tempdir().unwrap()
    };
    let kept = PathBuf::from("target/fuzz");
    let (seconds, seed) = match args[..] {
        ["--input", name, file] => {
            let reader = readers.iter().find(|reader| reader.name == name).unwrap();
            let input = prepare(reader, work.path());
            fs::copy(file, &input).unwrap();
            watch(start, || "this input".to_owned());
            let outcome = read_once(reader, &input, start);
            let Outcome {
                failure,
                is_read,
                peak,
                time,
            } = outcome;
            println!("read: {is_read}, {peak} bytes, {time:?}, {failure:?}");
            return ExitCode::from(u8::from(failure.is_some()));
        }
        [] => (60, 0),
        [seconds] => (seconds.parse().unwrap(), 0),
        [seconds, seed] => (seconds.parse().unwrap(), seed.parse().unwrap()),
        _ => {
            eprintln!("usage: fuzz [SECONDS [SEED]] | --input READER FILE");
            return ExitCode::from(2);
        }
    };
    let inputs: Vec<PathBuf> = readers
        .iter()
        .map(|reader| prepare(reader, work.path()))
        .collect();
    let folder = work.path().display().to_string();
    watch(start, move || {
        format!("the input of the newest file below {folder}")
    });
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut failures = 0;
    // Of each reader: inputs, how many were read, the most memory and the longest time.
    let mut figures = vec![(0_u64, 0_u64, 0_usize, Duration::ZERO); readers.len()];
    // What is not damaged is read.
    for (reader, input) in readers.iter().zip(&inputs) {
        for bytes in reader.corpus.iter().filter(|_| reader.name != "cifar10") {
            fs::write(input, bytes).unwrap();
            if let Err(error) = (reader.read)(input) {
                eprintln!("FAILED: {}: a whole file is refused: {error}", reader.name);
                failures += 1;
            }
        }
    }
    while start.elapsed() < Duration::from_secs(seconds) {
        for (place, (reader, input)) in readers.iter().zip(&inputs).enumerate() {
            for _ in 0..TURN {
                let bytes = damaged(&reader.corpus, &mut rng);
                fs::write(input, &bytes).unwrap();
                let outcome = read_once(reader, input, start);
                let figures = &mut figures[place];
                figures.0 += 1;
                figures.1 += u64::from(outcome.is_read);
                figures.2 = figures.2.max(outcome.peak);
                figures.3 = figures.3.max(outcome.time);
                if let Some(failure) = outcome.failure {
                    fs::create_dir_all(&kept).unwrap();
                    let file = kept.join(format!("{}-{failures}", reader.name));
                    fs::write(&file, &bytes).unwrap();
                    eprintln!("FAILED: {}: {failure} ({})", reader.name, file.display());
                    failures += 1;
                }
            }
        }
        if failures > 20 {
            break;
        }
    }
    println!(
        "{:<16}{:>10}{:>10}{:>12}{:>12}",
        "reader", "inputs", "read", "most MiB", "longest ms"
    );
    for (reader, (inputs, read, peak, time)) in readers.iter().zip(&figures) {
        println!(
            "{:<16}{inputs:>10}{read:>10}{:>12.1}{:>12}",
            reader.name,
            *peak as f64 / MIB as f64,
            time.as_millis()
        );
    }
    println!("{failures} failures, seed {seed}");
    ExitCode::from(u8::from(failures > 0))
}

/// Makes what a reader wants beside its input; where the input goes.
fn prepare(reader: &Reader, work: &Path) -> PathBuf {
    let folder = work.join(reader.name);
    let input = folder.join(reader.place);
    let beside = input.parent().unwrap();
    fs::create_dir_all(beside).unwrap();
    match reader.name {
        "state" => {
            let config = include_bytes!("../../../configs/smoke.toml");
            fs::write(beside.join("config.toml"), config).unwrap();
        }
        name if PIPELINE.iter().any(|(known, ..)| *known == name) => {
            write_pipeline(&folder.join("pipeline"));
        }
        "metadata-csv" | "metadata-jsonl" => {
            for image in ["a/1.png", "b/2.png"] {
                let path = beside.join(image);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                RgbaImage::new(2, 2).save(path).unwrap();
            }
        }
        "sounds" => {
            let other = Audio::new(8000, 1, (0..64).map(|i| (i as f32).sin()).collect());
            fs::write(beside.join("other.wav"), other.unwrap().to_wav().unwrap()).unwrap();
        }
        _ => {}
    }
    input
}
