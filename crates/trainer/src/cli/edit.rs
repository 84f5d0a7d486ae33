//! `trainer edit`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use super::ModelArgs;
use super::values::{finite, picture_or_rows};

/// `trainer edit`
#[derive(Debug, Args)]
pub struct EditArgs {
    /// The network, and how it is sampled from.
    #[command(flatten)]
    pub model: ModelArgs,
    /// Image or sound to start from (image-to-image); it is cropped and brought to the network's size. Of a table a
    /// file of rows, whose empty cells are filled; of lines of text a pattern such as a__n_, whose blanks are.
    #[arg(long, value_name = "FILE", required_unless_present = "between")]
    pub from: Option<PathBuf>,
    /// How much of it is given up to noise first, above 0 and at most 1 [default: 0.5, or 1 with
    /// --mask; of rows and lines none, but what is empty is filled].
    #[arg(long, conflicts_with = "between", value_parser = finite)]
    pub strength: Option<f64>,
    /// What is made anew: of an image, an image of the same shape, white where it is and black where it is kept;
    /// of a sound, a part of it as FROM:TO in seconds.
    #[arg(long, value_name = "MASK", requires = "from")]
    pub mask: Option<OsString>,
    /// How often each step is taken with --mask, so that what is new comes to fit what is kept
    /// [default: 4].
    #[arg(long, value_name = "N", requires = "mask")]
    pub resamplings: Option<usize>,
    /// Number of images or sounds made of --from, of lines, or of rows made of each of its rows [default: 8; 1 of
    /// each row].
    #[arg(short = 'n', long, value_name = "N", conflicts_with = "between")]
    pub count: Option<usize>,
    /// Fill each empty cell of rows with the mean of N draws, or the category that is drawn most: nearest to the truth
    /// on average, and less varied than real rows.
    #[arg(long, value_name = "N", conflicts_with_all = ["count", "strength", "between"])]
    pub mean: Option<usize>,
    /// Two images or sounds to interpolate between, as a strip, through the noise that DDIM makes each of them from.
    #[arg(
        long,
        value_name = "FILE",
        num_args = 2,
        conflicts_with_all = ["from", "mask", "sampler", "eta", "guidance", "seed", "batch_size"]
    )]
    pub between: Vec<PathBuf>,
    /// Images or sounds of the strip, both ends among them [default: 9].
    #[arg(long, value_name = "N", requires = "between")]
    pub frames: Option<usize>,
    /// Class to sample: a name, a number or `none`.
    #[arg(long, default_value = "none")]
    pub class: String,
    /// The picture: the image, what --mask keeps of it, and what was made of it; or the strip. Of sounds, a WAV
    /// file of all is written beside it, of tables their rows [default: edited.png in the folder of the run].
    #[arg(short, long, value_name = "FILE", value_parser = picture_or_rows())]
    pub out: Option<PathBuf>,
}
