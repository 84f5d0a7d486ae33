//! All that a drawn example depends on, as a picture of it carries along, so that it can be drawn again.

use denoising::SamplingOptions;
use serde::{Deserialize, Serialize};
use serde_json::Value;

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

    /// It as JSON. A number that JSON does not have, as infinity, is left out: it is the default of its key.
    ///
    /// # Errors
    ///
    /// None are known.
    pub fn to_text(&self) -> serde_json::Result<String> {
        let mut recipe = serde_json::to_value(self)?;
        leave_nulls_out(&mut recipe);
        Ok(recipe.to_string())
    }
}

fn leave_nulls_out(value: &mut Value) {
    if let Value::Object(table) = value {
        table.retain(|_, value| !value.is_null());
        table.values_mut().for_each(leave_nulls_out);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_is_written_is_what_is_read() {
        for class in [None, Some(3)] {
            let recipe = Recipe {
                program_version: "0.1.0".to_owned(),
                run: "grün".to_owned(),
                step: 7,
                weights: "ab".to_owned(),
                seed: u64::MAX,
                place: 2,
                class,
                sampling: SamplingOptions::default(),
            };
            let text = recipe.to_text().unwrap();
            assert_eq!(serde_json::from_str::<Recipe>(&text).unwrap(), recipe);
        }
    }
}
