//! The command line.

use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use datasets::DatasetName;
use denoising::{SamplerKind, TimestepSpacing};
use serde::Serialize;

/// Trains a denoising diffusion model and samples from it.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true)]
pub struct Cli {
    /// Say more; twice for everything. `RUST_LOG` overrides it.
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Train a network.
    Train(TrainArgs),
    /// Draw images or points from a trained network.
    Sample(SampleArgs),
    /// Draw over an image, fill a part of it in, or go from one image to another.
    Edit(EditArgs),
    /// Compare all samplers, as pictures or by their distance from DDPM.
    Samplers(SamplersArgs),
    /// Score the images of a trained network: FID, KID, precision and recall, copies, classes, bits per
    /// dimension. scores.json in the folder of the run has them.
    Evaluate(EvaluateArgs),
    /// Show the forward process: data that dissolves into noise.
    Noise(NoiseArgs),
    /// Look at images or points, or fetch a published data set.
    #[command(subcommand)]
    Data(DataCommand),
    /// Write a trained network as a folder that Hugging Face diffusers opens.
    Export(ExportArgs),
    /// Make a run of a folder of Hugging Face diffusers.
    Import(ImportArgs),
    /// Measure how fast a network trains and is called.
    Bench(BenchArgs),
    /// List the devices that this build can use.
    Devices,
}

/// Where to compute.
#[derive(Debug, Clone, Args)]
pub struct DeviceArgs {
    /// Device to compute on, as in `flex` or `wgpu:1` [default: the environment variable
    /// BURN_DEVICE, else the best device of this build].
    #[arg(long, value_name = "NAME")]
    pub device: Option<String>,
}

/// `trainer train`
#[derive(Debug, Args)]
pub struct TrainArgs {
    /// Configuration of the run [default: configs/mnist.toml of the repository around the working
    /// folder].
    #[arg(long, value_name = "FILE", conflicts_with = "resume")]
    pub config: Option<PathBuf>,
    /// Folder of the run [default: runs/ and the name of the configuration].
    #[arg(long, value_name = "DIR", conflicts_with = "resume")]
    pub out: Option<PathBuf>,
    /// Folder that holds the data set, or a folder of that name [default: data/ of the repository
    /// around the working folder].
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Go on with the run in this folder, from its newest checkpoint.
    #[arg(long, value_name = "RUN")]
    pub resume: Option<PathBuf>,
    /// Start over where a run is already: it is removed.
    #[arg(long, conflicts_with = "resume")]
    pub overwrite: bool,
    /// Override a key of the configuration, as in training.batch_size=64. May be given again.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Budget of the run.
    #[command(flatten)]
    pub budget: BudgetArgs,
    /// Where to compute.
    #[command(flatten)]
    pub device: DeviceArgs,
}

/// The budget of a run; it replaces the one of the configuration.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub struct BudgetArgs {
    /// Train for this many steps in all.
    #[arg(long, value_name = "N")]
    pub steps: Option<u64>,
    /// Train for this many passes over the training split in all.
    #[arg(long, value_name = "N")]
    pub epochs: Option<f64>,
    /// Train for this many minutes in all.
    #[arg(long, value_name = "M")]
    pub minutes: Option<f64>,
}

/// How noise is turned into images; what is not given is as in the run's configuration.
#[derive(Debug, Args)]
pub struct SamplerArgs {
    /// How noise is turned into an image.
    #[arg(long, value_parser = samplers())]
    pub sampler: Option<SamplerKind>,
    /// Denoising steps [default: for ddpm all of the chain's, else as in the run's configuration].
    #[arg(long, value_name = "N")]
    pub steps: Option<usize>,
    /// Which timesteps they visit.
    #[arg(long, value_parser = spacings())]
    pub spacing: Option<TimestepSpacing>,
    /// Share of fresh noise in DDIM's steps, from 0 to 1.
    #[arg(long, allow_negative_numbers = true)]
    pub eta: Option<f64>,
    /// Strength of guidance towards the class, 1 being none.
    #[arg(long, value_name = "SCALE", allow_negative_numbers = true)]
    pub guidance: Option<f64>,
    /// Override a key of the run's `[sampling]` table, as in sampling.clipping.kind=none. May be given again.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// The names of the samplers; those that other programs have for them are read too.
fn samplers() -> impl TypedValueParser<Value = SamplerKind> {
    let value = |kind: &SamplerKind| {
        PossibleValue::new(kind.name())
            .aliases(kind.aliases())
            .help(kind.summary())
    };
    PossibleValuesParser::new(SamplerKind::ALL.iter().map(value)).try_map(|name| name.parse())
}

/// The names of the timestep spacings.
fn spacings() -> impl TypedValueParser<Value = TimestepSpacing> {
    let value =
        |spacing: &TimestepSpacing| PossibleValue::new(spacing.name()).help(spacing.summary());
    PossibleValuesParser::new(TimestepSpacing::ALL.iter().map(value)).try_map(|name| name.parse())
}

/// A trained network, and how it is drawn from.
#[derive(Debug, Args)]
pub struct ModelArgs {
    /// Folder of a run, or of one of its checkpoints.
    pub run: PathBuf,
    /// Take not the newest checkpoint but the best: of the lowest FID, where [evaluation] measured it, else
    /// of the lowest held-out loss.
    #[arg(long)]
    pub best: bool,
    /// Seed of the noise.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// How noise is turned into images.
    #[command(flatten)]
    pub sampler: SamplerArgs,
    /// Images that go through the network at once; it changes the speed, not the images.
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub batch_size: usize,
    /// Where to compute.
    #[command(flatten)]
    pub device: DeviceArgs,
}

/// `trainer sample`
#[derive(Debug, Args)]
pub struct SampleArgs {
    /// The network, and how it is drawn from.
    #[command(flatten)]
    pub model: ModelArgs,
    /// Number of images or points [default: 10 of each class, else 64; 2000 points].
    #[arg(long, value_name = "N")]
    pub count: Option<usize>,
    /// Classes to draw, in turn: names or numbers with commas between them, or `none` [default: all].
    #[arg(long, value_name = "CLASSES")]
    pub class: Option<String>,
    /// The noise to begin with, x_T: the tensor `noise` [N, C, H, W] of a safetensors file. Without
    /// --count there are N images.
    #[arg(long, value_name = "FILE")]
    pub noise: Option<PathBuf>,
    /// The grid, or the points on their way from noise [default: samples.png in the folder of the run].
    #[arg(long, value_name = "PNG")]
    pub out: Option<PathBuf>,
    /// Also write each image by itself, with labels.csv, into this folder. Points are always written, as a
    /// CSV beside the picture.
    #[arg(long, value_name = "DIR")]
    pub each: Option<PathBuf>,
    /// Also write the images as numbers in [-1, 1], and the noise that they began with, as the tensors
    /// `images` and `noise` of a safetensors file.
    #[arg(long, value_name = "FILE")]
    pub tensors: Option<PathBuf>,
    /// Also write the denoising of the grid in motion.
    #[arg(long, value_name = "GIF")]
    pub gif: Option<PathBuf>,
    /// Also write a strip of the first images on their way: x_t above, the predicted x_0 below.
    #[arg(long, value_name = "PNG")]
    pub trajectory: Option<PathBuf>,
}

/// `trainer edit`
#[derive(Debug, Args)]
pub struct EditArgs {
    /// The network, and how it is drawn from.
    #[command(flatten)]
    pub model: ModelArgs,
    /// Image to draw over; it is cut and resized to the network's size.
    #[arg(long, value_name = "FILE", required_unless_present = "between")]
    pub from: Option<PathBuf>,
    /// How much of the image is given up to noise first, above 0 and at most 1 [default: 0.5, or 1 with
    /// --mask].
    #[arg(long, conflicts_with = "between", allow_negative_numbers = true)]
    pub strength: Option<f64>,
    /// Image of the same shape: white is drawn anew, black is kept.
    #[arg(long, value_name = "FILE", requires = "from")]
    pub mask: Option<PathBuf>,
    /// How often each step is taken with --mask, so that what is drawn comes to agree with what is kept
    /// [default: 4].
    #[arg(long, value_name = "N", requires = "mask")]
    pub resamplings: Option<usize>,
    /// Number of images made of --from.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 8,
        conflicts_with = "between"
    )]
    pub count: usize,
    /// Two images to go between, as a strip: both are led to the noise that DDIM draws them from.
    #[arg(
        long,
        value_name = "FILE",
        num_args = 2,
        conflicts_with_all = ["from", "mask", "sampler", "eta", "guidance", "seed", "batch_size"]
    )]
    pub between: Vec<PathBuf>,
    /// Images of the strip, both ends among them [default: 9].
    #[arg(long, value_name = "N", requires = "between")]
    pub frames: Option<usize>,
    /// Class to draw: a name, a number or `none`.
    #[arg(long, default_value = "none")]
    pub class: String,
    /// The picture: the image, what --mask keeps of it, and what was made of it; or the strip [default:
    /// edited.png in the folder of the run].
    #[arg(long, value_name = "PNG")]
    pub out: Option<PathBuf>,
}

/// `trainer samplers`
#[derive(Debug, Args)]
pub struct SamplersArgs {
    /// The network, and how it is drawn from.
    #[command(flatten)]
    pub model: ModelArgs,
    /// Print how far each sampler's images are from those of DDPM over every step, for these numbers of
    /// network calls, with commas between them; else draw a row of images a sampler.
    #[arg(
        long,
        value_name = "CALLS",
        value_delimiter = ',',
        conflicts_with = "steps"
    )]
    pub calls: Vec<usize>,
    /// Number of images of each sampler.
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub count: usize,
    /// The picture [default: samplers.png in the folder of the run].
    #[arg(long, value_name = "PNG", conflicts_with = "calls")]
    pub out: Option<PathBuf>,
}

/// `trainer evaluate`
#[derive(Debug, Args)]
pub struct EvaluateArgs {
    /// The network, and how it is drawn from.
    #[command(flatten)]
    pub model: ModelArgs,
    /// Number of images to draw and score, in the classes' shares of the training split. Figures of
    /// different numbers cannot be compared.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub count: usize,
    /// Ask for no classes: their balance is then the network's own.
    #[arg(long, conflicts_with = "class")]
    pub unconditional: bool,
    /// Draw these classes alone, names or numbers with commas between them, and compare them with the
    /// images of these classes [default: all].
    #[arg(long, value_name = "CLASSES")]
    pub class: Option<String>,
    /// The network whose features are scored.
    #[arg(long, value_enum, default_value_t = FeatureKind::Classifier)]
    pub features: FeatureKind,
    /// How images are resized for Inception-v3.
    #[arg(long, value_enum, default_value_t = InceptionResize::Tensorflow)]
    pub inception_resize: InceptionResize,
    /// Weights of Inception-v3, as `scripts/fetch-data inception` makes them [default:
    /// inception/inception-v3-2015-12-05.safetensors where data sets are].
    #[arg(long, value_name = "FILE")]
    pub inception_weights: Option<PathBuf>,
    /// How far precision and recall reach: to the N-th neighbour.
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub neighbours: usize,
    /// Test images whose bits per dimension are measured; 0 for none.
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub likelihood_images: usize,
    /// Timesteps of the chain that they are measured at; the others are estimated from these.
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub likelihood_timesteps: usize,
    /// Take only N images of each split, by chance, to train the classifier and to compare with.
    #[arg(long, value_name = "N")]
    pub reference_images: Option<usize>,
    /// Steps that the classifier is trained for, whose features are scored [default: three passes over
    /// the training split].
    #[arg(long, value_name = "N")]
    pub classifier_steps: Option<usize>,
    /// Folder that keeps the classifier and its features for the next time [default: .cache/ in the
    /// folder that holds the run].
    #[arg(long, value_name = "DIR")]
    pub cache: Option<PathBuf>,
    /// Folder that holds the data set, or a folder of that name [default: data/ of the repository
    /// around the working folder].
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Print what scores.json holds in place of the table.
    #[arg(long)]
    pub json: bool,
}

/// Whose features are scored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FeatureKind {
    /// Of a small classifier that is trained on the labelled training split.
    Classifier,
    /// Of Inception-v3, as papers print them.
    Inception,
}

/// How images are resized for Inception-v3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum InceptionResize {
    /// As TensorFlow 1 does, which most papers' figures are by.
    Tensorflow,
    /// As clean-fid does.
    Clean,
}

/// `trainer noise`
#[derive(Debug, Args)]
pub struct NoiseArgs {
    /// What is noised: an image file, a folder of images, a .wav file or a .csv of points, a line a
    /// point [default: test images of the configuration's data set, one of each class first].
    pub input: Option<PathBuf>,
    /// Folder that the pictures and tables are written into.
    #[arg(long, value_name = "DIR", default_value = "runs/noise")]
    pub out: PathBuf,
    /// Configuration whose `[noise]` table is the chain [default: configs/mnist.toml of the repository
    /// around the working folder].
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Folder that holds the data set, or a folder of that name [default: data/ of the repository
    /// around the working folder].
    #[arg(long, value_name = "DIR", conflicts_with = "input")]
    pub data_dir: Option<PathBuf>,
    /// Number of images, or of points [default: 10 images, 2000 points].
    #[arg(long, value_name = "N")]
    pub count: Option<usize>,
    /// Moments that are drawn side by side, x_0 being the first.
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub columns: usize,
    /// Side of the central square that image files are cut and resized to [default: the shorter side
    /// of the first, at most 128].
    #[arg(long, value_name = "PX")]
    pub size: Option<usize>,
    /// Read image files in grey.
    #[arg(long)]
    pub grey: bool,
    /// Seed of the noise.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Override a key of the configuration, as in noise.schedule.kind=cosine. May be given again.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Where to compute.
    #[command(flatten)]
    pub device: DeviceArgs,
}

/// `trainer data`
#[derive(Debug, Subcommand)]
pub enum DataCommand {
    /// Count the images of a data set, and draw a contact sheet of them.
    Show(DataShowArgs),
    /// Fetch a published data set from the internet, and check it.
    Fetch(DataFetchArgs),
}

/// `trainer data show`
#[derive(Debug, Args)]
pub struct DataShowArgs {
    /// A data set (mnist, fashion-mnist or cifar10), a cloud of points (two-moons, swiss-roll, spiral or
    /// eight-gaussians), a folder of images, a .npy or .npz file, or a .csv of points.
    pub what: String,
    /// Folder that holds the data set, or a folder of that name [default: data/ of the repository
    /// around the working folder].
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Side of the central square that the images of a folder are cut and resized to.
    #[arg(long, value_name = "PX", default_value_t = 64)]
    pub size: usize,
    /// Read the images of a folder in grey.
    #[arg(long)]
    pub grey: bool,
    /// Colour that transparent images of a folder are laid on: red, green, blue.
    #[arg(
        long,
        value_name = "R,G,B",
        value_delimiter = ',',
        num_args = 1,
        default_value = "255,255,255"
    )]
    pub background: Vec<u8>,
    /// Pass over images of a folder that cannot be read.
    #[arg(long)]
    pub skip_bad: bool,
    /// Images on the contact sheet, one of each class first.
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub count: usize,
    /// The contact sheet [default: runs/data/ and the name].
    #[arg(long, value_name = "PNG")]
    pub out: Option<PathBuf>,
}

/// `trainer data fetch`
#[derive(Debug, Args)]
pub struct DataFetchArgs {
    /// The data set: mnist, fashion-mnist or cifar10.
    pub name: DatasetName,
    /// Folder that gets a folder of the data set's name [default: data/ of the repository around the
    /// working folder].
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Address of a folder with the files, instead of those that are known. May be given again: the next
    /// is asked where one fails.
    #[arg(long, value_name = "URL")]
    pub mirror: Vec<String>,
}

/// `trainer export`
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Folder of a run, or of one of its checkpoints.
    pub run: PathBuf,
    /// Folder to write: model_index.json, unet/ and scheduler/.
    pub out: PathBuf,
    /// Take not the newest checkpoint but the best: of the lowest FID, where [evaluation] measured it, else
    /// of the lowest held-out loss.
    #[arg(long)]
    pub best: bool,
    /// Write the network of this class (a name or a number) alone, which is told no class: an ordinary DDPM.
    #[arg(long, value_name = "CLASS", conflicts_with = "unconditional")]
    pub class: Option<String>,
    /// Write the network of no class alone, which is told no class: an ordinary DDPM.
    #[arg(long)]
    pub unconditional: bool,
    /// Replace a folder that was exported before.
    #[arg(long)]
    pub overwrite: bool,
}

/// `trainer import`
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// Folder of a DDPM or DDIM pipeline of diffusers, with weights as safetensors.
    pub folder: PathBuf,
    /// Folder of the run to make.
    pub run: PathBuf,
    /// Configuration for what the folder says nothing of: data, training, sampling [default: mnist for
    /// grey images, else cifar10, for ten minutes].
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Override a key of the configuration, as in data.dataset=cifar10. May be given again.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Start over where a run is already: it is removed.
    #[arg(long)]
    pub overwrite: bool,
}

/// `trainer bench`
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// Configuration whose network is measured [default: configs/mnist.toml of the repository around
    /// the working folder].
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Sizes of the batches, with commas between them.
    #[arg(
        long,
        value_name = "SIZES",
        value_delimiter = ',',
        default_value = "1,16,64,128"
    )]
    pub batch_sizes: Vec<usize>,
    /// Measure only this.
    #[arg(long, value_enum)]
    pub only: Option<BenchMeasure>,
    /// Seconds that each line of the table is measured for, at least five repetitions.
    #[arg(long, value_name = "S", default_value_t = 5.0)]
    pub seconds: f64,
    /// Print a line of JSON for each measurement.
    #[arg(long)]
    pub json: bool,
    /// Override a key of the configuration, as in network.layers_per_block=2. May be given again.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Where to compute.
    #[command(flatten)]
    pub device: DeviceArgs,
}

/// What `trainer bench` measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BenchMeasure {
    /// Steps of training: noise, both passes, optimiser, moving average.
    Train,
    /// Calls of the network, as in sampling.
    Call,
}
