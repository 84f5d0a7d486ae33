//! All that a drawn example depends on, as a picture of it carries along, so that it can be drawn again.

use denoising::SamplingOptions;
use serde::{Deserialize, Serialize};

/// What was asked for, and of which network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// Version of the program.
    pub program_version: String,
    /// The name of the run.
    pub run: String,
    /// Steps that its network had been trained for.
    pub step: u64,
    /// SHA-256 of the network's averaged weights.
    pub weights: String,
    /// The seed.
    pub seed: u64,
    /// The place of the example among all of the seed.
    pub place: usize,
    /// Its class; none for no class.
    pub class: Option<usize>,
    /// The sampler and its settings.
    pub sampling: SamplingOptions,
}

impl Recipe {
    /// The keyword under which a PNG holds it (`iTXt`).
    pub const KEYWORD: &str = "diffusion-trainer";

    /// It as text.
    ///
    /// # Errors
    ///
    /// Numbers that JSON does not have.
    pub fn to_text(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }
}
