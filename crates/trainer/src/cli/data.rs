//! `trainer data`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use datasets::DatasetName;

use super::values::picture;

/// `trainer data`
#[derive(Debug, Subcommand)]
pub enum DataCommand {
    /// Count the images or sounds of a data set, and draw a contact sheet of them.
    Show(DataShowArgs),
    /// Fetch a published data set from the internet, and check it.
    Fetch(DataFetchArgs),
}

/// `trainer data show`
#[derive(Debug, Args)]
pub struct DataShowArgs {
    /// A data set (mnist, fashion-mnist, cifar10, fsdd, adult or names), a cloud of points (two-moons, swiss-roll, spiral or
    /// eight-gaussians), a folder of images or of sounds, a .npy or .npz file, a .csv of points or of a table, or a .txt
    /// of lines of text.
    pub what: String,
    /// Folder that holds the data set, or a folder of that name [default: data/ of the working folder or of
    /// one above it].
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
    /// Pass over files of a folder that cannot be read.
    #[arg(long)]
    pub skip_bad: bool,
    /// Images or sounds on the contact sheet, one of each class first [default: 100 images, 20 sounds].
    #[arg(short = 'n', long, value_name = "N")]
    pub count: Option<usize>,
    /// The contact sheet [default: runs/data/ and the name].
    #[arg(short, long, value_name = "PICTURE", value_parser = picture())]
    pub out: Option<PathBuf>,
}

/// `trainer data fetch`
#[derive(Debug, Args)]
pub struct DataFetchArgs {
    /// The data set: mnist, fashion-mnist, cifar10, fsdd, adult or names.
    pub name: DatasetName,
    /// Folder that gets a folder of the data set's name [default: data/ of the working folder or of one
    /// above it, else made in it].
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Address of a folder with the files, instead of those that are known. May be given again: the next
    /// is asked where one fails.
    #[arg(long, value_name = "URL")]
    pub mirror: Vec<String>,
}
