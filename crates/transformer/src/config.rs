//! What a network is like.

use serde::{Deserialize, Serialize};

/// The most of any size; beyond it products of sizes make no sense.
const MAX_SIZE: usize = 65_536;

/// The most that a network predicts for a row.
const MAX_OUTPUTS: usize = 1 << 20;

/// The description of a [`Transformer`](crate::Transformer).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct TransformerConfig {
    /// Columns of a row; they follow from the data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub columns: Option<usize>,
    /// Categories of each column, without the mask; they follow from the data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub categories: Option<usize>,
    /// Features of a column within the network, and of the time embedding.
    pub width: usize,
    /// Layers of attention.
    pub layers: usize,
    /// Heads of attention; they divide the width.
    pub heads: usize,
    /// Probability of dropout of what a layer adds.
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

impl Default for TransformerConfig {
    fn default() -> Self {
        Self {
            columns: None,
            categories: None,
            width: 96,
            layers: 4,
            heads: 4,
            dropout: 0.0,
            num_class_embeds: None,
        }
    }
}

impl TransformerConfig {
    /// Columns of a row; 1 where the data have not said.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.columns.unwrap_or(1)
    }

    /// Categories of a column; 2 where the data have not said.
    #[must_use]
    pub fn categories(&self) -> usize {
        self.categories.unwrap_or(2)
    }

    /// Columns of a prediction: the logits of a column's categories, column by column.
    #[must_use]
    pub fn outputs(&self) -> usize {
        self.columns().saturating_mul(self.categories())
    }

    /// The first key that holds what makes no sense, and what was expected.
    pub fn validate(&self) -> Result<(), (&'static str, String)> {
        let sizes = [
            // Two frequencies at least, of a sine and a cosine each.
            ("width", self.width, 4),
            ("layers", self.layers, 1),
            ("heads", self.heads, 1),
            ("columns", self.columns(), 1),
            ("categories", self.categories(), 1),
            ("num_class_embeds", self.num_class_embeds.unwrap_or(1), 1),
        ];
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
                "with the columns they are {} predictions a row, expected {MAX_OUTPUTS} at most",
                self.outputs()
            );
            return Err(("categories", message));
        }
        if !self.width.is_multiple_of(self.heads) {
            let message = format!(
                "it is {}, expected a number that divides the width, {}",
                self.heads, self.width
            );
            return Err(("heads", message));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            let message = format!(
                "it is {}, expected a number from 0 to below 1",
                self.dropout
            );
            return Err(("dropout", message));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let config = TransformerConfig {
            columns: Some(16),
            categories: Some(28),
            dropout: 0.1,
            num_class_embeds: Some(3),
            ..TransformerConfig::default()
        };
        let text = toml::to_string(&config).unwrap();
        assert_eq!(toml::from_str::<TransformerConfig>(&text).unwrap(), config);
        assert_eq!(config.outputs(), 448);
        assert!(toml::from_str::<TransformerConfig>("depth = 3").is_err());
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_its_key() {
        let of = |change: fn(&mut TransformerConfig)| {
            let mut config = TransformerConfig::default();
            change(&mut config);
            config.validate().err().map(|(key, _)| key)
        };
        assert_eq!(of(|_| {}), None);
        assert_eq!(of(|c| c.width = 3), Some("width"));
        assert_eq!(of(|c| c.layers = 0), Some("layers"));
        assert_eq!(of(|c| c.heads = 5), Some("heads"));
        assert_eq!(of(|c| c.heads = 0), Some("heads"));
        assert_eq!(of(|c| c.columns = Some(0)), Some("columns"));
        assert_eq!(of(|c| c.categories = Some(0)), Some("categories"));
        assert_eq!(
            of(|c| {
                c.columns = Some(65_536);
                c.categories = Some(65_536);
            }),
            Some("categories")
        );
        assert_eq!(
            of(|c| c.num_class_embeds = Some(0)),
            Some("num_class_embeds")
        );
        assert_eq!(of(|c| c.dropout = 1.0), Some("dropout"));
        assert_eq!(of(|c| c.dropout = f64::NAN), Some("dropout"));
    }
}
