//! Utility: how well one column is predicted in real rows by boosted trees that have seen drawn rows only ("train on
//! synthetic, test on real").
//!
//! To be read beside the same figure of trees that have seen the real training rows. A ninth of the rows that are
//! learned from is set aside, by which the best of 36 ways to grow the trees is chosen, as TabSyn and those after it
//! do (Zhang et al. 2024): 10, 50 or 100 rounds of depth 5, 10 or 20, a least child weight of 1 or 10, a least gain
//! of 0 or 1.

use rand::Rng;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use crate::error::ScoreError;
use crate::tables::boosting::{Bins, BoostedTrees, Growth, Loss};
use crate::tables::inputs::stacked;
use crate::tables::ranking::area_under_curve;
use crate::tables::table::{Column, Table, check_tables, dense_codes};

const ROUNDS: [usize; 3] = [10, 50, 100];
const DEPTHS: [usize; 3] = [5, 10, 20];
const CHILD_WEIGHTS: [f64; 2] = [1.0, 10.0];
const LEAST_GAINS: [f64; 2] = [0.0, 1.0];
/// One of so many rows chooses.
const SET_ASIDE: usize = 9;
/// Each class takes a tree a round.
const MOST_CLASSES: usize = 100;

/// How well a column is predicted.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Utility {
    /// Of a column of two categories.
    Binary {
        /// The area under the curve.
        auc: f64,
        /// The share of rows whose likelier category is right.
        accuracy: f64,
    },
    /// Of a column of more categories.
    Classes {
        /// The mean area under the curve of each category against the others.
        auc: f64,
        /// The share of rows whose likeliest category is right.
        accuracy: f64,
    },
    /// Of a column of numbers.
    Numbers {
        /// The share of the variance that is explained; below 0 where the mean would be nearer.
        r2: f64,
        /// The root of the mean squared error, in units of the column.
        rmse: f64,
    },
}

/// Predicts the column `target` of `test`, which is real, from all other columns by trees that learn from `train`,
/// which is drawn (or, for comparison, the real training rows). Rows where the target has a gap are left out. The
/// random numbers choose the ninth that is set aside.
///
/// ```
/// use evaluation::tables::{Column, Table, Utility, utility};
/// use rand::SeedableRng;
/// use rand_chacha::ChaCha8Rng;
///
/// let table = |rows: u32| {
///     let x = (0..rows).map(|row| f64::from(row % 10)).collect();
///     let y = (0..rows).map(|row| Some(u32::from(row % 10 > 6))).collect();
///     Table::new(vec![("x".into(), Column::Numbers(x)), ("y".into(), Column::Categories(y))])
/// };
/// let mut rng = ChaCha8Rng::seed_from_u64(0);
/// let found = utility(&table(200)?, &table(50)?, "y", &mut rng)?;
/// assert_eq!(found, Utility::Binary { auc: 1.0, accuracy: 1.0 });
/// # Ok::<(), evaluation::ScoreError>(())
/// ```
///
/// # Errors
///
/// [`ScoreError::Columns`], [`ScoreError::NoColumn`], [`ScoreError::TooFewSamples`] where there are fewer than 18
/// rows to learn from or none to predict, [`ScoreError::Target`] where there is nothing to predict or there are too
/// many categories.
pub fn utility<R: Rng + ?Sized>(
    train: &Table,
    test: &Table,
    target: &str,
    rng: &mut R,
) -> Result<Utility, ScoreError> {
    const SCORE: &str = "utility";
    check_tables(SCORE, train, test, 1)?;
    let place = train.find(target)?;
    let known = |table: &Table| table.select(&rows_with(&table.columns()[place]));
    let (train, test) = (known(train), known(test));
    check_tables(SCORE, &train, &test, 1)?;
    if train.len() < 2 * SET_ASIDE {
        return Err(ScoreError::TooFewSamples {
            score: SCORE,
            found: train.len(),
            needed: 2 * SET_ASIDE,
        });
    }
    let (targets, loss) = targets(&train, &test, place)?;
    let columns: Vec<usize> = (0..train.columns().len())
        .filter(|&column| column != place)
        .collect();
    let inputs = stacked(&train, &test, &columns);

    let mut order: Vec<u32> = (0..train.len() as u32).collect();
    order.shuffle(rng);
    let (set_aside, learned) = order.split_at(train.len() / SET_ASIDE);
    let mut learned = learned.to_vec();
    learned.sort_unstable();
    let tested: Vec<u32> = (train.len() as u32..(train.len() + test.len()) as u32).collect();

    let bins = Bins::new(&inputs, &learned);
    let mut best: Option<(f64, Utility)> = None;
    for min_gain in LEAST_GAINS {
        for depth in DEPTHS {
            for min_child_weight in CHILD_WEIGHTS {
                let growth = Growth {
                    depth,
                    min_child_weight,
                    min_gain,
                    ..Growth::default()
                };
                let trees = BoostedTrees::grow(&bins, &learned, &targets, loss, &growth);
                for rounds in ROUNDS {
                    let judged = |rows: &[u32]| {
                        judge(&trees.margins(&bins, rows, rounds), rows, &targets, loss)
                    };
                    let rank = rank(&judged(set_aside));
                    if best.is_none_or(|(best, _)| rank > best) {
                        best = Some((rank, judged(&tested)));
                    }
                }
            }
        }
    }
    let nothing = || ScoreError::Target {
        column: target.to_owned(),
        reason: "its errors are not finite",
    };
    best.map(|(_, utility)| utility).ok_or_else(nothing)
}

/// The rows without gaps.
fn rows_with(column: &Column) -> Vec<usize> {
    let is_known = |row: &usize| match column {
        Column::Numbers(values) => !values[*row].is_nan(),
        Column::Categories(codes) => codes[*row].is_some(),
    };
    let rows = match column {
        Column::Numbers(values) => values.len(),
        Column::Categories(codes) => codes.len(),
    };
    (0..rows).filter(is_known).collect()
}

/// The targets of both tables, those of `test` last, and the loss that learns them.
fn targets(train: &Table, test: &Table, place: usize) -> Result<(Vec<f64>, Loss), ScoreError> {
    let wrong = |reason| ScoreError::Target {
        column: train.names()[place].clone(),
        reason,
    };
    match (&train.columns()[place], &test.columns()[place]) {
        (Column::Categories(train), Column::Categories(test)) => {
            let ([train, test], count) = dense_codes([train, test]);
            if count > MOST_CLASSES {
                return Err(wrong("it has more than 100 categories"));
            }
            if test.iter().all(|&code| code == test[0]) {
                return Err(wrong("it has one value only in the rows to be predicted"));
            }
            let loss = if count == 2 {
                Loss::Logistic
            } else {
                Loss::Softmax(count)
            };
            Ok((train.into_iter().chain(test).map(f64::from).collect(), loss))
        }
        (Column::Numbers(train), Column::Numbers(test)) => {
            if test.iter().all(|&value| value == test[0]) {
                return Err(wrong("it has one value only in the rows to be predicted"));
            }
            Ok(([train.as_slice(), test].concat(), Loss::Squared))
        }
        // Tables of other kinds of columns were refused.
        _ => Err(wrong("it is of two kinds")),
    }
}

/// What is chosen by: the greater, the better.
fn rank(utility: &Utility) -> f64 {
    match *utility {
        Utility::Binary { auc, .. } => auc,
        Utility::Classes { accuracy, .. } => accuracy,
        Utility::Numbers { rmse, .. } => -rmse,
    }
}

/// How good the margins of these rows are.
fn judge(margins: &[f64], rows: &[u32], targets: &[f64], loss: Loss) -> Utility {
    let targets: Vec<f64> = rows.iter().map(|&row| targets[row as usize]).collect();
    let count = targets.len() as f64;
    match loss {
        Loss::Logistic => {
            let is_one: Vec<bool> = targets.iter().map(|&target| target == 1.0).collect();
            let right = margins
                .iter()
                .zip(&is_one)
                .filter(|(margin, is_one)| (**margin > 0.0) == **is_one);
            Utility::Binary {
                accuracy: right.count() as f64 / count,
                auc: area_under_curve(margins, &is_one).unwrap_or(0.5),
            }
        }
        Loss::Squared => {
            let mean = targets.iter().sum::<f64>() / count;
            let squares = |from: &dyn Fn(usize) -> f64| -> f64 {
                targets
                    .iter()
                    .enumerate()
                    .map(|(row, target)| (target - from(row)).powi(2))
                    .sum()
            };
            let error = squares(&|row| margins[row]);
            Utility::Numbers {
                r2: 1.0 - error / squares(&|_| mean),
                rmse: (error / count).sqrt(),
            }
        }
        Loss::Softmax(classes) => {
            let chances: Vec<Vec<f64>> = margins.chunks(classes).map(softmax).collect();
            let areas: Vec<f64> = (0..classes)
                .filter_map(|class| {
                    let scores: Vec<f64> = chances.iter().map(|chances| chances[class]).collect();
                    let is_it: Vec<bool> = targets
                        .iter()
                        .map(|&target| target == class as f64)
                        .collect();
                    area_under_curve(&scores, &is_it)
                })
                .collect();
            let likeliest = |chances: &Vec<f64>| {
                let classes = chances.iter().enumerate();
                classes
                    .max_by(|a, b| a.1.total_cmp(b.1))
                    .map_or(0, |(class, _)| class)
            };
            let right = chances
                .iter()
                .zip(&targets)
                .filter(|(chances, target)| likeliest(chances) as f64 == **target);
            Utility::Classes {
                accuracy: right.count() as f64 / count,
                auc: areas.iter().sum::<f64>() / areas.len().max(1) as f64,
            }
        }
    }
}

fn softmax(margins: &[f64]) -> Vec<f64> {
    let largest = margins.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = margins
        .iter()
        .map(|margin| (margin - largest).exp())
        .collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// A number, a category and what is made of both with `noise`.
    fn table(rows: usize, seed: u64, target: impl Fn(f64, u32, f64) -> Target) -> Table {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let (mut x, mut k, mut numbers, mut codes) = (vec![], vec![], vec![], vec![]);
        for _ in 0..rows {
            let (a, b) = (rng.random::<f64>(), rng.random_range(0..4));
            x.push(a);
            k.push(Some(b));
            match target(a, b, rng.random()) {
                Target::Number(value) => numbers.push(value),
                Target::Category(code) => codes.push(Some(code)),
            }
        }
        let y = if codes.is_empty() {
            Column::Numbers(numbers)
        } else {
            Column::Categories(codes)
        };
        Table::new(vec![
            ("x".into(), Column::Numbers(x)),
            ("y".into(), y),
            ("k".into(), Column::Categories(k)),
        ])
        .unwrap()
    }

    enum Target {
        Number(f64),
        Category(u32),
    }

    #[test]
    fn what_can_be_known_is_found() {
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let number = |a: f64, b: u32, noise: f64| Target::Number(a + f64::from(b) + noise);
        let found = utility(
            &table(2000, 1, number),
            &table(1000, 2, number),
            "y",
            &mut rng,
        )
        .unwrap();
        // The noise has a deviation of 1/√12, all of it one of √(17/12): R² is at best 1 − 1/17.
        let Utility::Numbers { r2, rmse } = found else {
            panic!("{found:?}");
        };
        assert!(r2 > 0.92 && r2 < 0.95, "{r2}");
        assert!((rmse - (1f64 / 12.0).sqrt()).abs() < 0.04, "{rmse}");

        // One of ten classes is another one.
        let class = |a: f64, b: u32, noise: f64| {
            Target::Category(if noise < 0.1 {
                7
            } else {
                b + 4 * u32::from(a > 0.5)
            })
        };
        let found = utility(
            &table(2000, 1, class),
            &table(1000, 2, class),
            "y",
            &mut rng,
        )
        .unwrap();
        let Utility::Classes { accuracy, auc } = found else {
            panic!("{found:?}");
        };
        assert!((accuracy - (0.9 + 0.1 / 8.0)).abs() < 0.03, "{accuracy}");
        assert!(auc > 0.9, "{auc}");

        // A coin with a bias of ±.3: the best AUC of two steps is ½ + .3.
        let coin = |_: f64, b: u32, noise: f64| {
            Target::Category(u32::from(noise < if b < 2 { 0.2 } else { 0.8 }))
        };
        let found = utility(&table(3000, 1, coin), &table(2000, 2, coin), "y", &mut rng).unwrap();
        let Utility::Binary { accuracy, auc } = found else {
            panic!("{found:?}");
        };
        assert!((accuracy - 0.8).abs() < 0.03, "{accuracy}");
        assert!((auc - 0.8).abs() < 0.03, "{auc}");
    }

    #[test]
    fn what_was_not_learned_is_not_predicted() {
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let real = |_: f64, b: u32, _: f64| Target::Category(b % 2);
        let drawn = |_: f64, _: u32, noise: f64| Target::Category(u32::from(noise < 0.5));
        let found = utility(&table(900, 1, drawn), &table(900, 2, real), "y", &mut rng).unwrap();
        let Utility::Binary { auc, .. } = found else {
            panic!("{found:?}");
        };
        assert!((auc - 0.5).abs() < 0.2, "{auc}");
        // A class that was never drawn costs its rows.
        let two = |_: f64, b: u32, _: f64| Target::Category(b.min(1));
        let three = |_: f64, b: u32, _: f64| Target::Category(b.min(2));
        let found = utility(&table(900, 1, two), &table(900, 2, three), "y", &mut rng).unwrap();
        let Utility::Classes { accuracy, .. } = found else {
            panic!("{found:?}");
        };
        assert!((accuracy - 0.5).abs() < 0.05, "{accuracy}");
    }

    #[test]
    fn nothing_to_predict_is_an_error() {
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let coin = |_: f64, _: u32, noise: f64| Target::Category(u32::from(noise < 0.5));
        let one = |_: f64, _: u32, _: f64| Target::Number(3.0);
        let gap = |_: f64, _: u32, _: f64| Target::Number(f64::NAN);
        let coins = table(60, 1, coin);
        let found = utility(&coins, &coins, "z", &mut rng);
        assert!(matches!(found, Err(ScoreError::NoColumn { .. })));
        let constant = table(60, 1, one);
        let found = utility(&constant, &constant, "y", &mut rng);
        assert!(matches!(found, Err(ScoreError::Target { .. })));
        let gaps = table(60, 1, gap);
        let found = utility(&gaps, &gaps, "y", &mut rng);
        assert!(matches!(found, Err(ScoreError::TooFewSamples { .. })));
        let few = table(17, 1, coin);
        let found = utility(&few, &coins, "y", &mut rng);
        assert!(matches!(found, Err(ScoreError::TooFewSamples { .. })));
        let many = |a: f64, _: u32, _: f64| Target::Category((a * 1e6) as u32);
        let many = table(200, 1, many);
        let found = utility(&many, &many, "y", &mut rng);
        assert!(matches!(found, Err(ScoreError::Target { .. })));
    }
}
