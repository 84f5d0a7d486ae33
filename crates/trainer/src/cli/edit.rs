//! `trainer edit`.

use std::path::PathBuf;

use clap::Args;

use super::ModelArgs;
use super::values::{finite, picture};

/// `trainer edit`
#[derive(Debug, Args)]
pub struct EditArgs {
    /// The network, and how it is sampled from.
    #[command(flatten)]
    pub model: ModelArgs,
    /// Image to start from (image-to-image); it is cropped and resized to the network's size.
    #[arg(long, value_name = "FILE", required_unless_present = "between")]
    pub from: Option<PathBuf>,
    /// How much of the image is given up to noise first, above 0 and at most 1 [default: 0.5, or 1 with
    /// --mask].
    #[arg(long, conflicts_with = "between", value_parser = finite)]
    pub strength: Option<f64>,
    /// Image of the same shape: white is made anew, black is kept.
    #[arg(long, value_name = "FILE", requires = "from")]
    pub mask: Option<PathBuf>,
    /// How often each step is taken with --mask, so that what is new comes to fit what is kept
    /// [default: 4].
    #[arg(long, value_name = "N", requires = "mask")]
    pub resamplings: Option<usize>,
    /// Number of images made of --from.
    #[arg(
        short = 'n',
        long,
        value_name = "N",
        default_value_t = 8,
        conflicts_with = "between"
    )]
    pub count: usize,
    /// Two images to interpolate between, as a strip, through the noise that DDIM makes each of them from.
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
    /// Class to sample: a name, a number or `none`.
    #[arg(long, default_value = "none")]
    pub class: String,
    /// The picture: the image, what --mask keeps of it, and what was made of it; or the strip [default:
    /// edited.png in the folder of the run].
    #[arg(short, long, value_name = "PICTURE", value_parser = picture())]
    pub out: Option<PathBuf>,
}
