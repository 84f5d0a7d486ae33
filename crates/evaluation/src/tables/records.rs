//! Nearest records: whether drawn rows are copies of training rows ("distance to the closest record").
//!
//! Rows held out are as near to a drawn row as the training rows are, if nothing was learned by heart. So with as many
//! of both, the training row is the nearer one for half of the drawn rows:
//!
//! ```text
//! share = P(d(drawn, training) < d(drawn, held out)),   d the distance to the nearest row
//! d(a, b) = Σ_numbers |a − b| / range + Σ_categories 2 [a ≠ b]
//! ```
//!
//! with the range of the column in the training rows. It is the share that TabSyn and those after it publish (Zhang
//! et al. 2024), who write categories as columns of 0 and 1, whence the 2.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::ScoreError;
use crate::tables::inputs::mean_of_known;
use crate::tables::table::{Column, Table, check_tables, dense_codes};

/// Distances that differ by less are equal, but for rounding.
const TIE: f64 = 1e-9;
/// Rows compared at once, so that they stay in the cache.
const BLOCK: usize = 256;
/// Drawn rows that a block is compared with.
const CHUNK: usize = 64;

/// To which rows drawn ones are nearer. The shares are of the drawn rows.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct NearestRecords {
    /// The share that is nearer to a training row than to all held-out ones.
    pub nearer: f64,
    /// The share that is as near to both.
    pub as_near: f64,
    /// The share that equals a training row.
    pub copies: f64,
    /// The share that equals a held-out row, which is by chance.
    pub copies_of_held_out: f64,
}

impl NearestRecords {
    /// The share of drawn rows nearer to training rows, ties counted half: ½ where nothing was learned by heart. What
    /// others publish counts ties as not nearer, but for those that their rounding breaks.
    pub fn share(&self) -> f64 {
        self.nearer + self.as_near / 2.0
    }
}

/// Finds whether the rows of `drawn` are nearer to those of `training` or of `held_out`. Gaps of numbers are a value of
/// their own, 2 from all others and beside that as far as the mean.
///
/// ```
/// use evaluation::tables::{Column, Table, nearest_records};
///
/// let table = |values: &[f64]| Table::new(vec![("x".into(), Column::Numbers(values.to_vec()))]);
/// let found = nearest_records(&table(&[1.1, 5.0])?, &table(&[1.0, 2.0])?, &table(&[3.0, 4.0])?)?;
/// assert_eq!((found.nearer, found.as_near), (0.5, 0.0));
/// # Ok::<(), evaluation::ScoreError>(())
/// ```
///
/// # Errors
///
/// [`ScoreError::Columns`], [`ScoreError::TooFewSamples`] where a table is empty, and [`ScoreError::Counts`]
/// unless there are as many training as held-out rows: among more rows, one that is near is found by chance. Take a
/// random part of the larger set.
pub fn nearest_records(
    drawn: &Table,
    training: &Table,
    held_out: &Table,
) -> Result<NearestRecords, ScoreError> {
    const SCORE: &str = "the share of nearest records";
    check_tables(SCORE, drawn, training, 1)?;
    check_tables(SCORE, drawn, held_out, 1)?;
    if training.len() != held_out.len() {
        return Err(ScoreError::Counts {
            first: training.len(),
            second: held_out.len(),
        });
    }
    let [drawn, training, held_out] = records([drawn, training, held_out]);
    let chunks: Vec<usize> = (0..drawn.rows).step_by(CHUNK).collect();
    let counts = chunks.into_par_iter().map(|start| {
        let chunk = drawn.chunk(start, CHUNK);
        let mut counts = [0usize; 4];
        let (to_training, to_held_out) = (training.nearest(&chunk), held_out.nearest(&chunk));
        for (training, held_out) in to_training.into_iter().zip(to_held_out) {
            counts[0] += usize::from(training < held_out - TIE);
            counts[1] += usize::from((training - held_out).abs() <= TIE);
            counts[2] += usize::from(training == 0.0);
            counts[3] += usize::from(held_out == 0.0);
        }
        counts
    });
    let counts = counts.reduce(|| [0; 4], |a, b| [0, 1, 2, 3].map(|i| a[i] + b[i]));
    let [nearer, as_near, copies, copies_of_held_out] =
        counts.map(|count| count as f64 / drawn.rows as f64);
    Ok(NearestRecords {
        nearer,
        as_near,
        copies,
        copies_of_held_out,
    })
}

/// A table for distances: columns of scaled numbers and of codes.
struct Records {
    rows: usize,
    numbers: Vec<Vec<f64>>,
    codes: Vec<Vec<f64>>,
}

/// Drawn, training and held-out rows with the ranges of the second.
fn records(tables: [&Table; 3]) -> [Records; 3] {
    let mut all = tables.map(|table| Records {
        rows: table.len(),
        numbers: Vec::new(),
        codes: Vec::new(),
    });
    for place in 0..tables[0].columns().len() {
        let columns = tables.map(|table| &table.columns()[place]);
        let codes = match columns {
            [
                Column::Categories(a),
                Column::Categories(b),
                Column::Categories(c),
            ] => Some(dense_codes([a, b, c]).0),
            columns => {
                let numbers = columns.map(|column| match column {
                    Column::Numbers(values) => values.as_slice(),
                    // Tables of other kinds of columns were refused.
                    Column::Categories(_) => &[],
                });
                let scaled = scaled(numbers);
                for (records, column) in all.iter_mut().zip(scaled) {
                    records.numbers.push(column);
                }
                let has_gaps = numbers
                    .iter()
                    .any(|values| values.iter().any(|x| x.is_nan()));
                has_gaps.then(|| {
                    numbers.map(|values| values.iter().map(|x| u32::from(x.is_nan())).collect())
                })
            }
        };
        for (records, column) in all.iter_mut().zip(codes.into_iter().flatten()) {
            records
                .codes
                .push(column.into_iter().map(f64::from).collect());
        }
    }
    all
}

/// Numbers in units of the range that they have in the second of the tables, gaps at its mean.
fn scaled(tables: [&[f64]; 3]) -> [Vec<f64>; 3] {
    let known = tables[1].iter().filter(|value| !value.is_nan());
    let (low, high) = known.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), &value| {
        (low.min(value), high.max(value))
    });
    // A column of one value has no unit.
    let range = if high > low { high - low } else { 1.0 };
    let mean = mean_of_known(tables[1]);
    tables.map(|values| {
        let filled = |value: &f64| if value.is_nan() { mean } else { *value };
        values.iter().map(|value| filled(value) / range).collect()
    })
}

impl Records {
    /// At most `count` rows from `start` on, each its numbers and its codes.
    fn chunk(&self, start: usize, count: usize) -> Vec<[Vec<f64>; 2]> {
        let row = |row: usize| {
            [&self.numbers, &self.codes]
                .map(|columns| columns.iter().map(|column| column[row]).collect())
        };
        (start..self.rows.min(start + count)).map(row).collect()
    }

    /// The distance from each row of `chunk` to the nearest of these.
    fn nearest(&self, chunk: &[[Vec<f64>; 2]]) -> Vec<f64> {
        let mut nearest = vec![f64::INFINITY; chunk.len()];
        for start in (0..self.rows).step_by(BLOCK) {
            let end = self.rows.min(start + BLOCK);
            for ([numbers, codes], nearest) in chunk.iter().zip(&mut nearest) {
                let mut block = [0.0f64; BLOCK];
                let distances = &mut block[..end - start];
                for (x, column) in numbers.iter().zip(&self.numbers) {
                    for (distance, y) in distances.iter_mut().zip(&column[start..end]) {
                        *distance += (x - y).abs();
                    }
                }
                for (x, column) in codes.iter().zip(&self.codes) {
                    for (distance, y) in distances.iter_mut().zip(&column[start..end]) {
                        *distance += if x == y { 0.0 } else { 2.0 };
                    }
                }
                *nearest = nearest.min(least(distances));
            }
        }
        nearest
    }
}

/// The least of some numbers, in lanes of their own, which the processor compares at once.
fn least(numbers: &[f64]) -> f64 {
    const LANES: usize = 8;
    let (chunks, rest) = numbers.as_chunks::<LANES>();
    let mut least = [f64::INFINITY; LANES];
    for chunk in chunks {
        for (least, number) in least.iter_mut().zip(chunk) {
            *least = if *number < *least { *number } else { *least };
        }
    }
    least
        .iter()
        .chain(rest)
        .copied()
        .fold(f64::INFINITY, f64::min)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn table(numbers: &[f64], codes: &[Option<u32>]) -> Table {
        Table::new(vec![
            ("x".into(), Column::Numbers(numbers.to_vec())),
            ("k".into(), Column::Categories(codes.to_vec())),
        ])
        .unwrap()
    }

    #[test]
    fn by_hand() {
        // The range is 10. Distances to the nearest of both: 0 and 2.1; 2.2 and .1; 3.05 and 2.95.
        let training = table(&[0.0, 10.0], &[Some(1), None]);
        let held_out = table(&[1.0, 11.0], &[Some(2), None]);
        let drawn = table(&[0.0, 2.0, 20.5], &[Some(1), Some(2), Some(7)]);
        let found = nearest_records(&drawn, &training, &held_out).unwrap();
        let third = 1.0 / 3.0;
        assert_eq!(found.nearer, third);
        assert_eq!((found.as_near, found.copies), (0.0, third));
        assert_eq!(found.copies_of_held_out, 0.0);
        let same = nearest_records(&drawn, &training, &training).unwrap();
        assert_eq!((same.nearer, same.as_near, same.share()), (0.0, 1.0, 0.5));
    }

    #[test]
    fn gaps_are_near_gaps() {
        let codes = [Some(0); 2];
        let training = table(&[f64::NAN, 1.0], &codes);
        let held_out = table(&[3.0, 2.0], &codes);
        let found = nearest_records(&table(&[f64::NAN], &codes[..1]), &training, &held_out);
        assert_eq!(found.unwrap().copies, 1.0);
    }

    #[test]
    fn sets_of_other_sizes_are_refused() {
        let (one, two) = (table(&[1.0], &[None]), table(&[1.0, 2.0], &[None, None]));
        assert!(matches!(
            nearest_records(&one, &one, &two),
            Err(ScoreError::Counts {
                first: 1,
                second: 2
            })
        ));
    }

    /// Over more than a block and a chunk, against all pairs.
    #[test]
    fn blocks_leave_no_row_out() {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let mut random = |rows: usize| {
            let numbers: Vec<f64> = (0..rows).map(|_| rng.random::<f64>()).collect();
            let codes: Vec<_> = (0..rows).map(|_| Some(rng.random_range(0..3))).collect();
            (numbers, codes)
        };
        let (drawn, training, held_out) = (random(150), random(600), random(600));
        let numbers = training.0.iter().copied();
        let range = numbers.clone().fold(0.0, f64::max) - numbers.fold(1.0, f64::min);
        let to_nearest = |row: usize, rows: &(Vec<f64>, Vec<Option<u32>>)| {
            let distance = |other: usize| {
                (drawn.0[row] - rows.0[other]).abs() / range
                    + if drawn.1[row] == rows.1[other] {
                        0.0
                    } else {
                        2.0
                    }
            };
            (0..rows.0.len())
                .map(distance)
                .fold(f64::INFINITY, f64::min)
        };
        let nearer =
            (0..150).filter(|&row| to_nearest(row, &training) < to_nearest(row, &held_out));
        let expected = nearer.count() as f64 / 150.0;
        let [drawn, training, held_out] =
            [&drawn, &training, &held_out].map(|rows| table(&rows.0, &rows.1));
        let found = nearest_records(&drawn, &training, &held_out).unwrap();
        assert_eq!(found.nearer, expected);
        assert!(expected > 0.2 && expected < 0.8);
    }
}
