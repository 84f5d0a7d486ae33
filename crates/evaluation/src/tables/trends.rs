//! Pair trends: how near the dependence between each two columns comes to the real one.
//!
//! ```text
//! two columns of numbers:  1 − ½ |ρ − ρ'|                   ρ, ρ' Pearson's correlations
//! otherwise:               1 − ½ Σ_kl |p_kl − q_kl|         p, q the shares of pairs of categories
//! ```
//!
//! These are CorrelationSimilarity and ContingencySimilarity of sdmetrics, their mean its "Column Pair Trends", and all
//! that it does is done: numbers beside categories are put into ten bins of equal width between the least and the
//! greatest number *of their own table*, the greatest alone in one more, which gaps share. So one drawn number far
//! outside the range moves all bins of its column.
//!
//! All pairs count, as up to sdmetrics 0.24, which made the published figures; later reports leave out pairs whose
//! correlation is below .5 or whose Cramér's V is below .3, unless both thresholds are set to 0.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::ScoreError;
use crate::tables::shapes::mean;
use crate::tables::table::{Column, Table, check_tables, dense_codes};

/// Bins of equal width between the least and the greatest number.
const BINS: usize = 10;

/// Two columns and how they depend on each other.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PairTrend {
    /// The place of the first column.
    pub first: usize,
    /// The place of the second column, after the first.
    pub second: usize,
    /// The score in [0, 1], 1 for equal dependence; `None` where two columns of numbers have no correlation in
    /// one of the tables, for one of them is constant.
    pub score: Option<f64>,
    /// How much they depend on each other in the real table: Pearson's correlation of numbers, Cramér's V of
    /// categories and bins. `None` where it is not defined.
    pub real: Option<f64>,
    /// The same in the drawn table.
    pub drawn: Option<f64>,
}

/// Trends of all pairs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PairTrends {
    /// The pairs, in the order of the first and then of the second column.
    pub pairs: Vec<PairTrend>,
    /// The mean of the scores that there are.
    pub mean: Option<f64>,
}

/// Compares the dependence of each two columns of `drawn` with that in `real`.
///
/// ```
/// use evaluation::tables::{Column, Table, pair_trends};
///
/// let table = |y: [f64; 3]| {
///     let x = Column::Numbers(vec![1.0, 2.0, 3.0]);
///     Table::new(vec![("x".into(), x), ("y".into(), Column::Numbers(y.to_vec()))])
/// };
/// // Correlations of 1 and −1 are as different as can be.
/// let trends = pair_trends(&table([2.0, 4.0, 6.0])?, &table([6.0, 4.0, 2.0])?)?;
/// assert!(trends.mean.is_some_and(|mean| mean.abs() < 1e-12));
/// # Ok::<(), evaluation::ScoreError>(())
/// ```
///
/// # Errors
///
/// [`ScoreError::Columns`], [`ScoreError::TooFewSamples`] where a table is empty.
pub fn pair_trends(real: &Table, drawn: &Table) -> Result<PairTrends, ScoreError> {
    check_tables("pair trends", real, drawn, 1)?;
    let columns = real.columns().iter().zip(drawn.columns());
    let discrete: Vec<Discrete> = columns
        .map(|(real, drawn)| Discrete::new(real, drawn))
        .collect();
    let places: Vec<(usize, usize)> = (0..discrete.len())
        .flat_map(|first| (first + 1..discrete.len()).map(move |second| (first, second)))
        .collect();
    let trend = |&(first, second): &(usize, usize)| {
        let numbers =
            [real, drawn].map(
                |table| match (&table.columns()[first], &table.columns()[second]) {
                    (Column::Numbers(a), Column::Numbers(b)) => Some(correlation(a, b)),
                    _ => None,
                },
            );
        let (score, real, drawn) = match numbers {
            [Some(real), Some(drawn)] => {
                let score = real.zip(drawn).map(|(a, b)| 1.0 - (a - b).abs() / 2.0);
                (score, real, drawn)
            }
            _ => contingency(&discrete[first], &discrete[second]),
        };
        PairTrend {
            first,
            second,
            score,
            real,
            drawn,
        }
    };
    let pairs: Vec<PairTrend> = places.par_iter().map(trend).collect();
    let scores: Vec<Option<f64>> = pairs.iter().map(|pair| pair.score).collect();
    Ok(PairTrends {
        pairs,
        mean: mean(&scores),
    })
}

/// A column of both tables as codes from 0 to one below `count`.
struct Discrete {
    real: Vec<u32>,
    drawn: Vec<u32>,
    count: usize,
}

impl Discrete {
    fn new(real: &Column, drawn: &Column) -> Self {
        match (real, drawn) {
            (Column::Categories(real), Column::Categories(drawn)) => {
                let ([real, drawn], count) = dense_codes([real, drawn]);
                Self { real, drawn, count }
            }
            (real, drawn) => {
                let [real, drawn] = [real, drawn].map(|column| match column {
                    Column::Numbers(values) => bins(values),
                    // Tables of other kinds of columns were refused.
                    Column::Categories(codes) => vec![0; codes.len()],
                });
                let count = BINS + 2;
                Self { real, drawn, count }
            }
        }
    }

    /// Pairs of the codes of two columns as codes of their own.
    fn joined(&self, other: &Self) -> Self {
        let join = |a: &[u32], b: &[u32]| -> Vec<u64> {
            let pairs = a.iter().zip(b);
            pairs
                .map(|(&a, &b)| u64::from(a) * other.count as u64 + u64::from(b))
                .collect()
        };
        let real = join(&self.real, &other.real);
        let drawn = join(&self.drawn, &other.drawn);
        let count = self.count * other.count;
        let rows = real.len() + drawn.len();
        if count <= 1024.max(rows) {
            let [real, drawn] =
                [real, drawn].map(|codes| codes.iter().map(|&code| code as u32).collect());
            return Self { real, drawn, count };
        }
        // Of two columns of very many categories only the pairs that occur are counted.
        let mut known = [&real[..], &drawn[..]].concat();
        known.sort_unstable();
        known.dedup();
        let [real, drawn] = [real, drawn].map(|codes| {
            let place = |code: &u64| known.partition_point(|other| other < code) as u32;
            codes.iter().map(place).collect()
        });
        let count = known.len();
        Self { real, drawn, count }
    }

    /// How often each code occurs in each table.
    fn counts(&self) -> [Vec<f64>; 2] {
        [&self.real, &self.drawn].map(|codes| {
            let mut counts = vec![0.0; self.count];
            for &code in codes {
                counts[code as usize] += 1.0;
            }
            counts
        })
    }
}

/// The number of edges at or below each value, as NumPy's `digitize` with the edges of `histogram_bin_edges` has it:
/// 1 to 10, and 11 for the greatest number and for gaps.
fn bins(values: &[f64]) -> Vec<u32> {
    let known = values.iter().copied().filter(|value| !value.is_nan());
    let (low, high) = known.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
        (low.min(value), high.max(value))
    });
    let (low, high) = match (low, high) {
        (low, high) if low > high => (0.0, 1.0),
        (low, high) if low == high => (low - 0.5, high + 0.5),
        range => range,
    };
    let step = (high - low) / BINS as f64;
    let mut edges: Vec<f64> = (0..=BINS).map(|bin| bin as f64 * step + low).collect();
    edges[BINS] = high;
    let bin = |value: &f64| {
        if value.is_nan() {
            return edges.len() as u32;
        }
        edges.partition_point(|edge| edge <= value) as u32
    };
    values.iter().map(bin).collect()
}

/// Pearson's correlation over the rows without gaps; `None` where one of the columns is constant in them.
fn correlation(first: &[f64], second: &[f64]) -> Option<f64> {
    let pairs = first.iter().zip(second);
    let pairs: Vec<(f64, f64)> = pairs
        .map(|(&a, &b)| (a, b))
        .filter(|(a, b)| !a.is_nan() && !b.is_nan())
        .collect();
    let &(a, b) = pairs.first()?;
    if pairs.iter().all(|pair| pair.0 == a) || pairs.iter().all(|pair| pair.1 == b) {
        return None;
    }
    let count = pairs.len() as f64;
    let mean_a = pairs.iter().map(|pair| pair.0).sum::<f64>() / count;
    let mean_b = pairs.iter().map(|pair| pair.1).sum::<f64>() / count;
    // Scaled first, so that no square overflows.
    let scale = |mean: f64, of: fn(&(f64, f64)) -> f64| {
        let largest = pairs.iter().map(|pair| (of(pair) - mean).abs());
        largest.fold(f64::MIN_POSITIVE, f64::max)
    };
    let (scale_a, scale_b) = (scale(mean_a, |pair| pair.0), scale(mean_b, |pair| pair.1));
    let (mut aa, mut ab, mut bb) = (0.0, 0.0, 0.0);
    for (a, b) in &pairs {
        let (a, b) = ((a - mean_a) / scale_a, (b - mean_b) / scale_b);
        aa += a * a;
        ab += a * b;
        bb += b * b;
    }
    let correlation = ab / (aa.sqrt() * bb.sqrt());
    correlation
        .is_finite()
        .then(|| correlation.clamp(-1.0, 1.0))
}

/// The similarity of two tables of counts, and Cramér's V of each.
fn contingency(first: &Discrete, second: &Discrete) -> (Option<f64>, Option<f64>, Option<f64>) {
    let joint = first.joined(second);
    let [real, drawn] = joint.counts();
    let rows = [joint.real.len() as f64, joint.drawn.len() as f64];
    let differences = real.iter().zip(&drawn);
    let variation: f64 = differences
        .map(|(real, drawn)| (real / rows[0] - drawn / rows[1]).abs())
        .sum();

    let [real_first, drawn_first] = first.counts();
    let [real_second, drawn_second] = second.counts();
    // Σ_kl n_kl²/(r_k c_l) as a sum over rows, each of which adds n_kl/(r_k c_l).
    let cramers_v = |codes: [&[u32]; 3], counts: [&[f64]; 3]| {
        let rows = codes[0].iter().zip(codes[1]).zip(codes[2]);
        let sum: f64 = rows
            .map(|((&a, &b), &ab)| {
                counts[2][ab as usize] / (counts[0][a as usize] * counts[1][b as usize])
            })
            .sum();
        let occurring = |counts: &[f64]| counts.iter().filter(|&&count| count > 0.0).count();
        let fewest = occurring(counts[0]).min(occurring(counts[1]));
        (fewest > 1).then(|| ((sum - 1.0).max(0.0) / (fewest - 1) as f64).sqrt())
    };
    (
        Some(1.0 - variation / 2.0),
        cramers_v(
            [&first.real, &second.real, &joint.real],
            [&real_first, &real_second, &real],
        ),
        cramers_v(
            [&first.drawn, &second.drawn, &joint.drawn],
            [&drawn_first, &drawn_second, &drawn],
        ),
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bins_are_those_of_numpy() {
        let values = [0.0, 0.99, 1.0, 5.0, 9.5, 10.0, f64::NAN];
        assert_eq!(bins(&values), [1, 1, 2, 6, 10, 11, 11]);
        // Around a constant the edges are half a unit away.
        assert_eq!(bins(&[3.0, 3.0]), [6, 6]);
        assert_eq!(bins(&[f64::NAN]), [11]);
    }

    #[test]
    fn correlations_by_hand() {
        let found = correlation(&[1.0, 2.0, 3.0, 4.0], &[1.0, 3.0, 2.0, 4.0]).unwrap();
        assert!((found - 0.8).abs() < 1e-12);
        // Rows with gaps are left out; a constant has none.
        let gaps = [1.0, f64::NAN, 3.0, 4.0];
        assert!((correlation(&gaps, &[2.0, 9.0, 6.0, 8.0]).unwrap() - 1.0).abs() < 1e-12);
        assert_eq!(correlation(&[1.0, 1.0], &[1.0, 2.0]), None);
        assert_eq!(correlation(&[], &[]), None);
        let large = [1e300, -1e300, 1e300];
        assert!((correlation(&large, &large).unwrap() - 1.0).abs() < 1e-12);
    }

    fn discrete(real: &[u32], drawn: &[u32], count: usize) -> Discrete {
        Discrete {
            real: real.to_vec(),
            drawn: drawn.to_vec(),
            count,
        }
    }

    #[test]
    fn contingency_by_hand() {
        let first = discrete(&[0, 0, 1, 1], &[0, 0, 1, 1], 2);
        let second = discrete(&[0, 0, 1, 1], &[0, 1, 0, 1], 2);
        // Shares ½, 0, 0, ½ and ¼ each; V is 1 and 0.
        assert_eq!(
            contingency(&first, &second),
            (Some(0.5), Some(1.0), Some(0.0))
        );
        let constant = discrete(&[0; 4], &[0; 4], 1);
        assert_eq!(contingency(&first, &constant), (Some(1.0), None, None));
    }

    proptest! {
        /// Many categories take the other way of counting, to the same score.
        #[test]
        fn of_many_categories_as_of_few(
            a in prop::collection::vec(0u32..6, 40),
            b in prop::collection::vec(0u32..6, 40),
        ) {
            let split = |codes: &[u32], scale: u32, count: usize| {
                let codes: Vec<u32> = codes.iter().map(|code| code * scale).collect();
                discrete(&codes[..25], &codes[25..], count)
            };
            let few = contingency(&split(&a, 1, 6), &split(&b, 1, 6));
            let many = contingency(&split(&a, 900, 5000), &split(&b, 900, 5000));
            prop_assert!((few.0.unwrap() - many.0.unwrap()).abs() < 1e-12);
            prop_assert_eq!(few.1.is_some(), many.1.is_some());
            if let (Some(few), Some(many)) = (few.1, many.1) {
                prop_assert!((few - many).abs() < 1e-9);
            }
        }
    }
}
