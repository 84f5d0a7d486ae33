//! Scores, with all that a figure must be read with: how many images, which feature network, which
//! reference, which sampler.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use training::{Purpose, Streams};

/// The split that the model learnt from, as scores name it.
pub(super) const TRAINING: &str = "training split";
/// The split that it did not.
pub(super) const TEST: &str = "test split";

/// A score and what it belongs to.
#[derive(Debug, Clone, Serialize)]
pub struct Score {
    /// What is measured.
    pub name: &'static str,
    /// Of the generated images, or of the model.
    pub value: f64,
    /// Where the score is a mean over subsets or images: their standard deviation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deviation: Option<f64>,
    /// The same score of images of the test split in place of the generated ones; left out where the split
    /// has too few for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub real: Option<f64>,
    /// How many images were scored.
    pub samples: usize,
    /// How many images of the test split `real` is of: as many, or all that there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub real_samples: Option<usize>,
    /// The network whose features were compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub features: Option<String>,
    /// What they were compared with.
    pub reference: String,
    /// How many images of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference_samples: Option<usize>,
    /// How the images were drawn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sampler: Option<String>,
    /// Of a likelihood: which one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub definition: Option<&'static str>,
}

/// The scores as a table, a line each, and what is to be said of its columns.
pub fn table(scores: &[Score]) -> String {
    let mut table = format!(
        "{:<24}{:>20}{:>12}{:>9}  reference\n",
        "score", "value", "real", "samples"
    );
    let mut notes = BTreeSet::new();
    for score in scores {
        let value = match score.deviation {
            Some(deviation) => format!("{:.4} ± {deviation:.4}", score.value),
            None => format!("{:.4}", score.value),
        };
        let real = score
            .real
            .map_or("-".to_owned(), |real| format!("{real:.4}"));
        let reference = match score.reference_samples {
            Some(count) => format!("{} ({count})", score.reference),
            None => score.reference.clone(),
        };
        // Writing into a string cannot fail.
        let _ = writeln!(
            table,
            "{:<24}{value:>20}{real:>12}{:>9}  {reference}",
            score.name, score.samples
        );
        if let Some(count) = score.real_samples {
            notes.insert(format!(
                "real: {count} of the test split in place of generated ones"
            ));
        }
        if let Some(definition) = score.definition {
            notes.insert(format!("bits: {definition}, ± deviation between images"));
        }
    }
    for note in notes {
        let _ = writeln!(table, "({note})");
    }
    table
}

/// `count` of so many images, or all of them in order where there are no more: by chance, since the first
/// ones of a split need not be like the others (those of MNIST's test split are easier). For each purpose
/// others.
pub(super) fn sample(count: usize, images: usize, purpose: u64) -> Vec<usize> {
    if count >= images {
        return (0..images).collect();
    }
    rand::seq::index::sample(&mut scoring_rng(purpose), images, count).into_vec()
}

/// The random numbers of scoring: always the same ones, so that figures differ by the images alone.
pub(super) fn scoring_rng(index: u64) -> ChaCha8Rng {
    Streams::new(0).at(Purpose::Scores, index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_images_are_taken_by_chance_and_always_the_same() {
        assert_eq!(sample(9, 5, 0), [0, 1, 2, 3, 4]);
        let some = sample(50, 100, 0);
        let mut distinct = some.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), 50);
        // Were they the first ones, none would be of the second half.
        let late = some.iter().filter(|&&index| index >= 50).count();
        assert!((10..40).contains(&late), "{late}");
        assert_eq!(sample(50, 100, 0), some);
        assert_ne!(sample(50, 100, 1), some);
    }
}
