//! What can be wrong with what is to be scored.

/// Why a score cannot be computed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ScoreError {
    /// There are fewer samples than the score is defined for.
    #[error("{score} needs at least {needed} samples in each set, and one set has {found}")]
    TooFewSamples {
        /// The score.
        score: &'static str,
        /// The number of samples found.
        found: usize,
        /// The least number.
        needed: usize,
    },
    /// The two sets of features do not come from one network.
    #[error("features of {first} and of {second} numbers a sample cannot be compared")]
    Widths {
        /// Numbers a sample of the first set.
        first: usize,
        /// Numbers a sample of the second set.
        second: usize,
    },
    /// The score compares sets of one size.
    #[error(
        "sets of {first} and of {second} samples cannot be compared: there must be as many in both"
    )]
    Counts {
        /// Samples of the first set.
        first: usize,
        /// Samples of the second set.
        second: usize,
    },
    /// The values are no whole number of samples.
    #[error("{values} values are no whole number of samples of {width} features each")]
    Shape {
        /// The number of values.
        values: usize,
        /// Numbers a sample.
        width: usize,
    },
    /// A feature is an infinity or not a number.
    #[error("feature {feature} of sample {sample} is {found}, expected finite numbers")]
    NotFinite {
        /// The sample, from 0.
        sample: usize,
        /// The feature, from 0.
        feature: usize,
        /// Its value.
        found: f32,
    },
    /// Moments that no distribution has.
    #[error(
        "a mean of {width} numbers and a covariance of {covariance} do not fit, or hold numbers that \
         are not finite"
    )]
    Moments {
        /// Numbers of the mean.
        width: usize,
        /// Numbers of the covariance.
        covariance: usize,
    },
    /// A number of neighbours or subsets that means nothing.
    #[error("{name} must be at least 1")]
    Zero {
        /// What was 0.
        name: &'static str,
    },
    /// A class that does not exist.
    #[error("class {class} is out of range: there are {num_classes} classes")]
    Class {
        /// The class found.
        class: usize,
        /// Classes run from 0 to one below this.
        num_classes: usize,
    },
    /// The columns of a table are not of one length.
    #[error("column `{column}` has {found} rows, and the first column {expected}")]
    Rows {
        /// The column.
        column: String,
        /// Its rows.
        found: usize,
        /// Those of the first column.
        expected: usize,
    },
    /// A number of a table is infinite.
    #[error("row {row} of column `{column}` is infinite: expected a number, or NaN for a gap")]
    Infinite {
        /// The column.
        column: String,
        /// The row, from 0.
        row: usize,
    },
    /// Two tables do not have the same columns.
    #[error("the columns of two tables differ: {reason}")]
    Columns {
        /// In what.
        reason: String,
    },
    /// A table has no such column.
    #[error("there is no column `{column}`")]
    NoColumn {
        /// The column asked for.
        column: String,
    },
    /// A column cannot be predicted.
    #[error("column `{column}` cannot be predicted: {reason}")]
    Target {
        /// The column.
        column: String,
        /// Why.
        reason: &'static str,
    },
    /// The terms of a bound could not be read back from the device.
    #[error("cannot read a term of the bound back from the device: {0}")]
    Device(String),
}
