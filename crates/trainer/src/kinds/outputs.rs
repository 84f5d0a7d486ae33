//! What is asked of a room of data: where from, beside which settings, where to.

use std::ffi::OsStr;
use std::path::Path;

use denoising::X0Clipping;
use training::{ConditioningConfig, ObjectiveConfig};

use super::data::{DataConfig, Found};
use crate::network::NetworkConfig;

/// Where data come from.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// What was asked for.
    pub data: &'a DataConfig,
    /// What was found before, which must be found again.
    pub found: &'a Found,
    /// The network, whose channels and size the images of a folder are brought to.
    pub network: &'a NetworkConfig,
    /// The seed of what the program makes up.
    pub seed: u64,
    /// Where published data sets are looked for first.
    pub data_dir: Option<&'a Path>,
}

/// The sections of a configuration that must fit the kind of data.
#[derive(Debug, Clone, Copy)]
pub struct Sections<'a> {
    /// `[data]`
    pub data: &'a DataConfig,
    /// `[found]`
    pub found: &'a Found,
    /// `[network]`
    pub network: &'a NetworkConfig,
    /// `[conditioning]`
    pub conditioning: &'a ConditioningConfig,
    /// `[objective]`
    pub objective: &'a ObjectiveConfig,
    /// `sampling.clipping`
    pub clipping: X0Clipping,
    /// Whether `evaluation.every` is given.
    pub is_scored: bool,
}

/// The sections that follow from the data where they were left open.
#[derive(Debug)]
pub struct Fitted<'a> {
    /// `[network]`
    pub network: &'a mut NetworkConfig,
    /// `[conditioning]`
    pub conditioning: &'a ConditioningConfig,
    /// What the data are called in messages.
    pub name: String,
}

/// The file that an edit began with.
#[derive(Debug, Clone, Copy)]
pub struct Original<'a> {
    /// Where it lies.
    pub path: &'a Path,
    /// What of it is made anew; `None` is all of it.
    pub mask: Option<&'a OsStr>,
}

/// What was wrong with a value: its key, with dots, and what was expected.
pub type Refused = (String, String);

/// What is written of samples.
#[derive(Debug, Clone, Copy)]
pub struct Outputs<'a> {
    /// The picture of all.
    pub picture: &'a Path,
    /// A folder for each by itself.
    pub each: Option<&'a Path>,
    /// An animation of the way from noise.
    pub gif: Option<&'a Path>,
    /// A strip of it.
    pub trajectory: Option<&'a Path>,
    /// Conditions that hold in all rows.
    pub conditions: &'a [String],
    /// Whether the classes are all of them in order, so that a row of the picture can be a class.
    pub class_a_row: bool,
    /// What the network learned from.
    pub source: &'a Source<'a>,
}
