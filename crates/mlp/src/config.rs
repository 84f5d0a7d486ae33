//! What a network is like.

use serde::{Deserialize, Serialize};

/// The most of any size; beyond it products of sizes make no sense.
const MAX_SIZE: usize = 65_536;

/// The most that a network predicts for a row.
const MAX_OUTPUTS: usize = 1 << 20;

/// The most frequencies: of the highest a wave is 2^-13 deviations long, and f32 tells little more apart.
const MAX_FREQUENCIES: usize = 16;

/// The description of an [`Mlp`](crate::Mlp).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct MlpConfig {
    /// Coordinates of a point, or numbers of a row; they follow from the data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dimensions: Option<usize>,
    /// Categories of each categorical column of a row, without the mask; they follow from the data. Points
    /// have none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub categories: Vec<usize>,
    /// Features of an example within the network, and of the time embedding.
    pub width: usize,
    /// Residual blocks.
    pub blocks: usize,
    /// Frequencies of the sines and cosines of each number that the network sees beside it. Of the first a wave is as
    /// long as four deviations of the data, of each other half as long as of the one before: the shortest says how
    /// finely columns that hang together are told apart.
    #[serde(skip_serializing_if = "is_as_ever")]
    pub frequencies: usize,
    /// Whether it is the network of tables, with LayerNorm, where there are neither categories nor classes;
    /// where there are, it always is.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub normalize: bool,
    /// Probability of dropout within the blocks of the network of tables.
    #[serde(skip_serializing_if = "is_zero")]
    pub dropout: f64,
    /// Number of class embeddings; without it the network knows no classes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_class_embeds: Option<usize>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields so")]
fn is_zero(x: &f64) -> bool {
    *x == 0.0
}

/// What all networks had before they could say it.
const FREQUENCIES: usize = 3;

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields so")]
fn is_as_ever(frequencies: &usize) -> bool {
    *frequencies == FREQUENCIES
}

impl Default for MlpConfig {
    fn default() -> Self {
        Self {
            dimensions: None,
            categories: Vec::new(),
            width: 96,
            blocks: 4,
            frequencies: FREQUENCIES,
            normalize: false,
            dropout: 0.0,
            num_class_embeds: None,
        }
    }
}

impl MlpConfig {
    /// Coordinates of a point where the data have not said: those of the plane.
    const PLANE: usize = 2;

    /// Coordinates of a point, or numbers of a row.
    #[must_use]
    pub fn dimensions(&self) -> usize {
        self.dimensions.unwrap_or(Self::PLANE)
    }

    /// Whether it is the network of tables.
    #[must_use]
    pub fn is_for_rows(&self) -> bool {
        self.normalize || !self.categories.is_empty() || self.num_class_embeds.is_some()
    }

    /// Columns of x_t: the numbers, then a code for each categorical column.
    #[must_use]
    pub fn inputs(&self) -> usize {
        self.dimensions() + self.categories.len()
    }

    /// Columns of a prediction: the numbers, then a logit for each category of each categorical column.
    #[must_use]
    pub fn outputs(&self) -> usize {
        let logits = self.categories.iter();
        logits.fold(self.dimensions(), |sum, &size| sum.saturating_add(size))
    }

    /// The first key that holds what makes no sense, and what was expected.
    pub fn validate(&self) -> Result<(), (&'static str, String)> {
        // A row may be of categories alone.
        let least_dimensions = usize::from(self.categories.is_empty());
        let mut sizes = vec![
            // Two frequencies at least, of a sine and a cosine each.
            ("width", self.width, 4),
            ("blocks", self.blocks, 1),
            ("dimensions", self.dimensions(), least_dimensions),
            ("num_class_embeds", self.num_class_embeds.unwrap_or(1), 1),
        ];
        sizes.extend(self.categories.iter().map(|&size| ("categories", size, 1)));
        for (key, found, least) in sizes {
            if !(least..=MAX_SIZE).contains(&found) {
                return Err((
                    key,
                    format!("it is {found}, expected {least} to {MAX_SIZE}"),
                ));
            }
        }
        if self.outputs() > MAX_OUTPUTS {
            let message = format!(
                "they and the numbers are {} predictions a row, expected {MAX_OUTPUTS} at most",
                self.outputs()
            );
            return Err(("categories", message));
        }
        if self.frequencies > MAX_FREQUENCIES {
            let message = format!(
                "it is {}, expected {MAX_FREQUENCIES} at most",
                self.frequencies
            );
            return Err(("frequencies", message));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            let message = format!(
                "it is {}, expected a number from 0 to below 1",
                self.dropout
            );
            return Err(("dropout", message));
        }
        if self.dropout > 0.0 && !self.is_for_rows() {
            return Err(("dropout", "the network of points has none".to_owned()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn files_of_points_are_as_before() {
        let text = "dimensions = 3\nwidth = 64\nblocks = 2\n";
        let config: MlpConfig = toml::from_str(text).unwrap();
        assert!(!config.is_for_rows());
        assert_eq!(toml::to_string(&config).unwrap(), text);
        assert_eq!([config.inputs(), config.outputs()], [3, 3]);
    }

    #[test]
    fn files_of_tables_are_read_as_they_were_written() {
        let config = MlpConfig {
            dimensions: Some(2),
            categories: vec![7, 16],
            dropout: 0.1,
            frequencies: 6,
            num_class_embeds: Some(3),
            ..MlpConfig::default()
        };
        assert!(config.is_for_rows());
        assert_eq!([config.inputs(), config.outputs()], [4, 25]);
        let text = toml::to_string(&config).unwrap();
        assert_eq!(toml::from_str::<MlpConfig>(&text).unwrap(), config);
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_its_key() {
        let of = |change: fn(&mut MlpConfig)| {
            let mut config = MlpConfig::default();
            change(&mut config);
            config.validate().err().map(|(key, _)| key)
        };
        assert_eq!(of(|_| {}), None);
        assert_eq!(of(|c| c.dimensions = Some(0)), Some("dimensions"));
        assert_eq!(
            of(|c| {
                c.dimensions = Some(0);
                c.categories = vec![2];
            }),
            None
        );
        assert_eq!(of(|c| c.categories = vec![3, 0]), Some("categories"));
        assert_eq!(of(|c| c.categories = vec![65_536; 17]), Some("categories"));
        assert_eq!(
            of(|c| c.categories = vec![usize::MAX; 2]),
            Some("categories")
        );
        assert_eq!(
            of(|c| c.num_class_embeds = Some(0)),
            Some("num_class_embeds")
        );
        assert_eq!(of(|c| c.frequencies = 0), None);
        assert_eq!(of(|c| c.frequencies = 17), Some("frequencies"));
        assert_eq!(of(|c| c.dropout = 0.1), Some("dropout"));
        for dropout in [1.0, -0.1, f64::NAN] {
            let config = MlpConfig {
                dropout,
                normalize: true,
                ..MlpConfig::default()
            };
            assert_eq!(config.validate().err().map(|(key, _)| key), Some("dropout"));
        }
    }
}
