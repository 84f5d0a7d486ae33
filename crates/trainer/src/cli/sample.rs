//! `trainer sample`.

use std::path::PathBuf;

use clap::Args;

use super::ModelArgs;
use super::values::{gif, picture, picture_or_rows};

/// Heading of the options that name what is written.
const OUTPUT: &str = "Output";

/// `trainer sample`
#[derive(Debug, Args)]
pub struct SampleArgs {
    /// The network, and how it is sampled from.
    #[command(flatten)]
    pub model: ModelArgs,
    /// Number of images, sounds, points or rows [default: 10 of each class, else 64; 2000 points; 1000 rows].
    #[arg(short = 'n', long, value_name = "N")]
    pub count: Option<usize>,
    /// Classes to sample, in turn: names or numbers with commas between them, or `none` [default: all].
    #[arg(long, value_name = "CLASSES")]
    pub class: Option<String>,
    /// A condition that holds in every row of a table, as in "age>=40" or education=Bachelors: a column, one of
    /// = != < <= > >=, and a value. May be given again; then all hold.
    #[arg(long = "where", value_name = "CONDITION", conflicts_with_all = ["noise", "tensors"])]
    pub conditions: Vec<String>,
    /// The noise to begin with, x_T: the tensor `noise` [N, C, H, W] of a safetensors file. Without
    /// --count there are N images.
    #[arg(long, value_name = "FILE")]
    pub noise: Option<PathBuf>,
    /// Draw again what this picture shows, to the same bytes: one that the page of `trainer serve` drew carries its
    /// settings. The picture is all that is written.
    #[arg(long, value_name = "PNG", conflicts_with_all = [
        "count", "class", "conditions", "noise", "each", "tensors", "gif", "trajectory", "best", "seed", "sampler",
        "steps", "spacing", "eta", "guidance", "set", "precision",
    ])]
    pub like: Option<PathBuf>,
    /// The grid, or the points on their way from noise: .png, .jpg or .webp; of a table its rows (.csv), or the
    /// picture of them, which lie beside each other [default: samples.png in the folder of the run].
    #[arg(short, long, value_name = "FILE", value_parser = picture_or_rows(), help_heading = OUTPUT)]
    pub out: Option<PathBuf>,
    /// Also write each image by itself, with labels.csv, into this folder. Points and rows are always
    /// written, as a CSV beside the picture.
    #[arg(long, value_name = "DIR", help_heading = OUTPUT)]
    pub each: Option<PathBuf>,
    /// Also write the images as numbers in [-1, 1], and the noise that they began with, as the tensors
    /// `images` and `noise` of a safetensors file.
    #[arg(long, value_name = "FILE", help_heading = OUTPUT)]
    pub tensors: Option<PathBuf>,
    /// Also write the denoising of the grid in motion.
    #[arg(long, value_name = "GIF", value_parser = gif(), help_heading = OUTPUT)]
    pub gif: Option<PathBuf>,
    /// Also write a strip of the first images on their way: x_t above, the predicted x_0 below.
    #[arg(long, value_name = "PICTURE", value_parser = picture(), help_heading = OUTPUT)]
    pub trajectory: Option<PathBuf>,
}
