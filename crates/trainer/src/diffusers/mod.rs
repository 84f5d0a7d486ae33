//! Folders as Hugging Face diffusers writes and reads them: a U-Net and the schedule of its chain.
//!
//! ```text
//! model_index.json                             which class loads which subfolder
//! unet/config.json                             see network.rs
//! unet/diffusion_pytorch_model.safetensors     the weights
//! scheduler/scheduler_config.json              see scheduler.rs
//! sound.json                                   of a network of sounds alone: how its examples become sounds
//! ```
//!
//! Early folders of the hub hold the same files without the subfolders. Every key that diffusers'
//! classes know is read; one that is absent has the default of diffusers 0.42.1, one that they do not
//! know is passed over, as they do.

mod error;
mod keys;
mod network;
mod scheduler;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use datasets::files::read_file;
use serde_json::{Value, json};
use unet::{UNet, UNetConfig};

use crate::config::RunConfig;
use crate::kinds::Representation;
use crate::run::atomic_file;

use self::error::{UNET_CONFIG, io_error};
use self::keys::{DIFFUSERS_VERSION, Keys};

pub use self::error::DiffusersError;
pub use self::scheduler::Scheduler;

const MODEL_INDEX: &str = "model_index.json";
/// The key of the class names in it, as in diffusers' pipelines with classes (DiT).
const ID2LABEL: &str = "id2label";
/// The key, which is ours, of whether the last class embedding is that of "no class".
const NULL_LABEL: &str = "_null_label";
const UNET: &str = "unet";
const SCHEDULER: &str = "scheduler";
/// What diffusers does not know of: the spectrograms that a network of sounds draws.
const SOUND: &str = "sound.json";
const CONTENTS: [&str; 4] = [MODEL_INDEX, UNET, SCHEDULER, SOUND];
const UNET_WEIGHTS: &str = "diffusion_pytorch_model.safetensors";
/// The most bytes of weights.
const MAX_WEIGHTS_LEN: u64 = 64 << 30;
const UNET_PICKLE: &str = "diffusion_pytorch_model.bin";
const SCHEDULER_CONFIG: &str = "scheduler_config.json";

/// What a folder holds, apart from the weights, which are only found as yet.
#[derive(Debug)]
pub struct PipelineFolder {
    /// The network.
    pub network: UNetConfig,
    /// The chain and how it is sampled; none where the folder is that of a network alone.
    pub scheduler: Option<Scheduler>,
    /// The names of the classes, by label; empty where the folder names none.
    pub class_names: Vec<String>,
    /// Whether the network's last class embedding is that of "no class", as in ours; networks of others know
    /// classes alone.
    pub has_null_label: bool,
    weights: PathBuf,
}

impl PipelineFolder {
    /// Reads the configurations in `folder`.
    pub fn open(folder: &Path) -> Result<Self, DiffusersError> {
        let place = |subfolder: &str, name: &str| {
            [folder.join(subfolder), folder.to_owned()]
                .into_iter()
                .find(|place| place.join(name).is_file())
        };
        let Some(unet) = place(UNET, UNET_CONFIG) else {
            return Err(DiffusersError::NoNetwork {
                folder: folder.to_owned(),
            });
        };
        let network = network::read(&Keys::read(&unet.join(UNET_CONFIG))?)?;
        let scheduler = place(SCHEDULER, SCHEDULER_CONFIG)
            .map(|place| scheduler::read(&Keys::read(&place.join(SCHEDULER_CONFIG))?))
            .transpose()?;
        let index = place("", MODEL_INDEX)
            .map(|place| Keys::read(&place.join(MODEL_INDEX)))
            .transpose()?;
        let class_names = index.as_ref().map(class_names).unwrap_or_default();
        let has_null_label = index
            .as_ref()
            .map_or(Ok(None), |index| {
                index.get(NULL_LABEL, None, "true or false")
            })?
            // What says nothing of it may still name all classes but one.
            .unwrap_or_else(|| network.num_class_embeds == Some(class_names.len() + 1));
        let (weights, pickle) = (unet.join(UNET_WEIGHTS), unet.join(UNET_PICKLE));
        if !weights.is_file() && pickle.is_file() {
            return Err(DiffusersError::Pickle { path: pickle });
        }
        Ok(Self {
            network,
            scheduler,
            class_names,
            has_null_label,
            weights,
        })
    }

    /// The network that `init` makes of `config`, with the weights of the folder.
    pub fn load_weights<E: From<DiffusersError>>(
        &self,
        config: &UNetConfig,
        init: impl FnOnce() -> Result<UNet, E>,
    ) -> Result<UNet, E> {
        let path = &self.weights;
        let bytes = read_file(path, MAX_WEIGHTS_LEN).map_err(io_error(path))?;
        // A mistyped configuration must not ask for more memory than there is.
        let least = network::least_bytes(config);
        if (bytes.len() as u128) < least {
            Err(DiffusersError::TooFewWeights {
                path: path.clone(),
                bytes: bytes.len() as u64,
                least,
            })?;
        }
        let unet = init()?;
        let weights = weights::from_safetensors(unet, &bytes);
        Ok(weights.map_err(|source| DiffusersError::Weights {
            path: path.clone(),
            source,
        })?)
    }
}

/// The class names of a pipeline, where it has one for each number from 0.
fn class_names(index: &Keys) -> Vec<String> {
    let Some(names) = index.values.get(ID2LABEL).and_then(Value::as_object) else {
        return Vec::new();
    };
    let name = |class: usize| names.get(&class.to_string())?.as_str().map(str::to_owned);
    let names: Option<_> = (0..names.len()).map(name).collect();
    names.unwrap_or_default()
}

/// Whether `folder` holds what [`write()`] writes, and nothing else.
pub fn is_pipeline(folder: &Path) -> bool {
    let is_ours = |entry: io::Result<fs::DirEntry>| {
        entry.is_ok_and(|entry| CONTENTS.iter().any(|name| entry.file_name() == *name))
    };
    folder.join(MODEL_INDEX).is_file()
        && fs::read_dir(folder).is_ok_and(|mut entries| entries.all(is_ours))
}

/// Writes `unet` and the chain of `config` into the new folder `folder`, every file synced.
pub fn write(folder: &Path, unet: &UNet, config: &RunConfig) -> Result<(), DiffusersError> {
    let mut index = json!({
        "_class_name": "DDPMPipeline",
        "_diffusers_version": DIFFUSERS_VERSION,
        "unet": ["diffusers", network::CLASS_NAME],
        "scheduler": ["diffusers", scheduler::CLASS_NAME],
    });
    if unet.config().num_class_embeds.is_some() {
        index[NULL_LABEL] = json!(config.conditioning.null_label);
    }
    let names = &config.found.class_names;
    if unet.config().num_class_embeds.is_some() && !names.is_empty() {
        let numbered = names.iter().enumerate();
        let numbered = numbered.map(|(class, name)| (class.to_string(), json!(name)));
        index[ID2LABEL] = Value::Object(numbered.collect());
    }
    let (unet_folder, scheduler_folder) = (folder.join(UNET), folder.join(SCHEDULER));
    let weights = unet_folder.join(UNET_WEIGHTS);
    let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    let bytes =
        weights::to_safetensors(unet, &metadata).map_err(|source| DiffusersError::Weights {
            path: weights.clone(),
            source,
        })?;
    let sound = sound(config).map(|sound| (folder.join(SOUND), pretty(&sound)));
    let files = [
        (
            unet_folder.join(UNET_CONFIG),
            pretty(&network::to_json(unet.config())),
        ),
        (weights, bytes),
        (
            scheduler_folder.join(SCHEDULER_CONFIG),
            pretty(&scheduler::to_json(config)),
        ),
        (folder.join(MODEL_INDEX), pretty(&index)),
    ];
    for place in [&unet_folder, &scheduler_folder] {
        fs::create_dir_all(place).map_err(io_error(place))?;
    }
    for (path, bytes) in files.into_iter().chain(sound) {
        atomic_file::write_synced(&path, &bytes).map_err(io_error(&path))?;
    }
    for place in [&unet_folder, &scheduler_folder, folder] {
        atomic_file::sync_folder(place).map_err(io_error(place))?;
    }
    Ok(())
}

/// How the examples of a network of sounds become sounds; `None` of other networks.
fn sound(config: &RunConfig) -> Option<Value> {
    let factor = config.found.spectrogram_factor?;
    let sound = config.data.sound.clone().unwrap_or_default();
    let patch = sound.patch_size;
    let [_, height, width] = config.network.example_shape();
    let mut described = json!({
        "representation": sound.representation,
        "sample_rate": sound.sample_rate,
        "hop_length": sound.hop,
        "window": "hann, periodic",
        "frames": width * patch,
        "patch_size": patch,
    });
    let particulars = match sound.representation {
        Representation::ComplexSpectrogram => json!({
            "n_fft": 2 * (height * patch - 1),
            "frequencies": height * patch,
            "factor": factor,
            "values": "factor * |X|^0.5 * exp(i * arg X); channel = (part * patch_size + frequency % patch_size) * \
                       patch_size + frame % patch_size, part 0 being real and 1 imaginary",
        }),
        Representation::MelSpectrogram => json!({
            "n_fft": 2 * sound.hop,
            "bands": height * patch,
            "values": "max((20 * log10(F |X| / full scale) + 30) / 40, -1), F being triangles from 60 Hz to half the \
                       sample rate, evenly spaced on the mel scale 2595 * log10(1 + f / 700), and full scale half \
                       the sum of the window; channel = (band % patch_size) * patch_size + frame % patch_size",
        }),
    };
    if let (Some(described), Value::Object(particulars)) = (described.as_object_mut(), particulars)
    {
        described.extend(particulars);
    }
    Some(described)
}

fn pretty(value: &Value) -> Vec<u8> {
    format!("{value:#}\n").into_bytes()
}
