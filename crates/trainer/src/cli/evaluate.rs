//! `trainer evaluate`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::ModelArgs;

/// `trainer evaluate`
#[derive(Debug, Args)]
pub struct EvaluateArgs {
    /// The network, and how it is sampled from.
    #[command(flatten)]
    pub model: ModelArgs,
    /// Number of images, sounds or rows to sample and score, in the classes' shares of the training split. Figures of
    /// different numbers cannot be compared [default: 1000; as many rows as were learned from, at most 10,000].
    #[arg(short = 'n', long, value_name = "N")]
    pub count: Option<usize>,
    /// Of a table: the column that a model which learns from the rows that were drawn is to predict in held-out rows
    /// [default: the column of the classes, if the run has one].
    #[arg(long, value_name = "COLUMN")]
    pub target: Option<String>,
    /// Score the files of this folder in place of samples of the network: as `sample --each` writes them, with
    /// labels.csv. The scores are written into it.
    #[arg(
        long,
        value_name = "DIR",
        conflicts_with_all = [
            "count", "unconditional", "class", "seed", "sampler", "steps", "spacing", "eta", "guidance", "set",
            "likelihood_images",
        ]
    )]
    pub samples: Option<PathBuf>,
    /// Ask for no classes: their balance is then the network's own.
    #[arg(long, conflicts_with = "class")]
    pub unconditional: bool,
    /// Sample these classes alone, names or numbers with commas between them, and compare them with the
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
    /// Precision and recall count what lies within the distance of the N-th neighbour.
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub neighbours: usize,
    /// Test images whose bits per dimension are measured; 0 for none [default: 50; none of sounds].
    #[arg(long, value_name = "N")]
    pub likelihood_images: Option<usize>,
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
    /// Folder that holds the data set, or a folder of that name [default: data/ of the working folder or of
    /// one above it].
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
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
