//! Column shapes: how near the distribution of each column comes to the real one.
//!
//! ```text
//! numbers:     1 − sup_x |F(x) − G(x)|        F, G the empirical distribution functions (Kolmogorov, Smirnov)
//! categories:  1 − ½ Σ_k |p_k − q_k|          p, q the shares of the categories (total variation)
//! ```
//!
//! These are KSComplement and TVComplement of sdmetrics, their mean its "Column Shapes". As there, gaps are
//! left out; [`super::pair_trends`] and [`super::detection`] see them. Independent columns have perfect shapes: it
//! is the least that can be asked.

use serde::{Deserialize, Serialize};

use crate::error::ScoreError;
use crate::tables::table::{Column, Table, check_tables, dense_codes};

/// Shapes of all columns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ColumnShapes {
    /// The score of each column in [0, 1], 1 for equal distributions; `None` where one of the tables has
    /// nothing but gaps.
    pub columns: Vec<Option<f64>>,
    /// The mean of those that there are.
    pub mean: Option<f64>,
}

/// Compares each column of `drawn` with that of `real`.
///
/// ```
/// use evaluation::tables::{Column, Table, column_shapes};
///
/// let table = |values: &[f64]| Table::new(vec![("x".into(), Column::Numbers(values.to_vec()))]);
/// let shapes = column_shapes(&table(&[1.0, 2.0, 3.0, 4.0])?, &table(&[1.0, 2.0])?)?;
/// // All drawn numbers are at most 2, and half of the real ones.
/// assert_eq!(shapes.mean, Some(0.5));
/// # Ok::<(), evaluation::ScoreError>(())
/// ```
///
/// # Errors
///
/// [`ScoreError::Columns`], [`ScoreError::TooFewSamples`] where a table is empty.
pub fn column_shapes(real: &Table, drawn: &Table) -> Result<ColumnShapes, ScoreError> {
    check_tables("column shapes", real, drawn, 1)?;
    let pairs = real.columns().iter().zip(drawn.columns());
    let columns: Vec<Option<f64>> = pairs
        .map(|pair| match pair {
            (Column::Numbers(real), Column::Numbers(drawn)) => {
                largest_difference(real, drawn).map(|difference| 1.0 - difference)
            }
            (Column::Categories(real), Column::Categories(drawn)) => {
                total_variation(real, drawn).map(|variation| 1.0 - variation)
            }
            // Tables of other kinds of columns were refused.
            _ => None,
        })
        .collect();
    Ok(ColumnShapes {
        mean: mean(&columns),
        columns,
    })
}

/// The mean of the scores that there are.
pub(crate) fn mean(scores: &[Option<f64>]) -> Option<f64> {
    let known: Vec<f64> = scores.iter().flatten().copied().collect();
    (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
}

/// The statistic of Kolmogorov and Smirnov, without gaps.
fn largest_difference(first: &[f64], second: &[f64]) -> Option<f64> {
    let sorted = |values: &[f64]| {
        let mut values: Vec<f64> = values.iter().copied().filter(|x| !x.is_nan()).collect();
        values.sort_unstable_by(f64::total_cmp);
        values
    };
    let (first, second) = (sorted(first), sorted(second));
    if first.is_empty() || second.is_empty() {
        return None;
    }
    let (mut i, mut j, mut largest) = (0, 0, 0.0f64);
    while i < first.len() && j < second.len() {
        // Both functions step over all values that are equal before they are compared.
        let x = first[i].min(second[j]);
        i += first[i..].iter().take_while(|&&value| value == x).count();
        j += second[j..].iter().take_while(|&&value| value == x).count();
        let difference = i as f64 / first.len() as f64 - j as f64 / second.len() as f64;
        largest = largest.max(difference.abs());
    }
    Some(largest)
}

/// The total variation distance, without gaps.
fn total_variation(first: &[Option<u32>], second: &[Option<u32>]) -> Option<f64> {
    let known = |codes: &[Option<u32>]| -> Vec<Option<u32>> {
        codes.iter().copied().filter(Option::is_some).collect()
    };
    let (first, second) = (known(first), known(second));
    if first.is_empty() || second.is_empty() {
        return None;
    }
    let ([a, b], count) = dense_codes([&first, &second]);
    let mut differences = vec![0.0; count];
    for (codes, share) in [(&a, 1.0 / a.len() as f64), (&b, -1.0 / b.len() as f64)] {
        for &code in codes {
            differences[code as usize] += share;
        }
    }
    Some(
        0.5 * differences
            .iter()
            .map(|difference| difference.abs())
            .sum::<f64>(),
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn by_hand() {
        // After 2: 2/4 against 1/3; after 3: 3/4 against 1/3.
        let difference = largest_difference(&[1.0, 2.0, 3.0, 9.0], &[2.0, 5.0, 7.0]).unwrap();
        assert!((difference - (0.75 - 1.0 / 3.0)).abs() < 1e-15);
        // Shares ½, ½, 0 and ¼, ½, ¼; gaps are left out.
        let first = [Some(0), Some(1), None];
        let second = [Some(0), Some(1), Some(1), Some(4)];
        assert_eq!(total_variation(&first, &second), Some(0.25));
        assert_eq!(total_variation(&[None], &second), None);
        assert_eq!(largest_difference(&[1.0], &[f64::NAN]), None);
        assert_eq!(mean(&[Some(1.0), None, Some(0.5)]), Some(0.75));
        assert_eq!(mean(&[None]), None);
    }

    proptest! {
        /// Against the definition, at every value.
        #[test]
        fn of_numbers_by_definition(
            a in prop::collection::vec(-5i32..5, 1..30),
            b in prop::collection::vec(-5i32..5, 1..30),
        ) {
            let up_to = |values: &[i32], x: i32| {
                values.iter().filter(|&&value| value <= x).count() as f64 / values.len() as f64
            };
            let expected = (-5..5)
                .map(|x| (up_to(&a, x) - up_to(&b, x)).abs())
                .fold(0.0, f64::max);
            let [a, b] = [a, b].map(|values| values.into_iter().map(f64::from).collect::<Vec<_>>());
            let found = largest_difference(&a, &b).unwrap();
            prop_assert!((found - expected).abs() < 1e-12);
        }
    }
}
