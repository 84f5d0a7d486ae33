//! How good the rows or lines of a network of tables are: the scores of [`evaluation::tables`], and shares of lines, each
//! beside that of those that were held out.

use std::collections::HashSet;

use anyhow::Result;
use datasets::TableSchema;
use datasets::tables::{Cells, Content};
use evaluation::tables::{
    Column, PairTrend, Table, Utility, column_shapes, detection, nearest_records, pair_trends,
    utility,
};

use super::scores::{Score, TEST, TRAINING, sample, scoring_rng};

/// Rows that are compared, of each of the tables, at the most: the time of some scores is its square.
const MOST_ROWS: usize = 20_000;

/// Rows of a table, as the scores see them: all columns that are learned.
///
/// # Errors
///
/// A number that is infinite.
pub fn table_of(schema: &TableSchema, cells: &Cells) -> Result<Table> {
    let rows = 0..cells.rows();
    let columns = schema
        .columns()
        .iter()
        .enumerate()
        .filter_map(|(index, column)| {
            let values = match &column.content {
                Content::Numbers(_) => Column::Numbers(
                    rows.clone()
                        .map(|row| cells.number(index, row).unwrap_or(f64::NAN))
                        .collect(),
                ),
                Content::Categories { texts, .. } => Column::Categories(
                    rows.clone()
                        .map(|row| {
                            cells
                                .category(index, row)
                                .filter(|&place| place < texts.len())
                        })
                        .map(|place| place.map(|place| place as u32))
                        .collect(),
                ),
                _ => return None,
            };
            Some((schema.display_name(index), values))
        });
    Ok(Table::new(columns.collect())?)
}

/// What is scored.
#[derive(Debug, Clone, Copy)]
pub struct ScoredTables<'a> {
    /// What was drawn.
    pub drawn: &'a Table,
    /// What the network learned from.
    pub training: &'a Table,
    /// What it did not.
    pub held_out: &'a Table,
    /// The column that is to be predicted, if one is.
    pub target: Option<&'a str>,
    /// How the rows were drawn.
    pub sampler: &'a str,
}

/// The scores, and how well each two columns go together, of what was drawn and of what was held out.
pub struct RowScores {
    /// The scores.
    pub scores: Vec<Score>,
    /// Those of each two columns of what was drawn.
    pub drawn_pairs: Vec<PairTrend>,
    /// Those of each two columns of what was held out.
    pub held_out_pairs: Vec<PairTrend>,
}

/// Scores rows. `observe` is told what begins.
///
/// # Errors
///
/// Too few rows, and a target that there is not.
pub fn row_scores(of: ScoredTables<'_>, mut observe: impl FnMut(&str)) -> Result<RowScores> {
    let some = |table: &Table, purpose| table.select(&sample(MOST_ROWS, table.len(), purpose));
    let (drawn, training, held_out) = (
        some(of.drawn, 1),
        some(of.training, 2),
        some(of.held_out, 3),
    );
    let score = |name, value, real, reference: &str, reference_samples| Score {
        name,
        value,
        deviation: None,
        real,
        samples: drawn.len(),
        real_samples: Some(held_out.len()),
        features: None,
        reference: reference.to_owned(),
        reference_samples: Some(reference_samples),
        sampler: Some(of.sampler.to_owned()),
        definition: None,
    };
    let mut scores = Vec::new();
    observe("column shapes");
    let shapes = [&drawn, &held_out].map(|table| column_shapes(&training, table));
    let [shapes, real] = shapes;
    if let Some(mean) = shapes?.mean {
        scores.push(score(
            "column shapes",
            mean,
            real?.mean,
            TRAINING,
            training.len(),
        ));
    }
    observe("pair trends");
    let drawn_trends = pair_trends(&training, &drawn)?;
    let real_trends = pair_trends(&training, &held_out)?;
    if let Some(mean) = drawn_trends.mean {
        scores.push(score(
            "pair trends",
            mean,
            real_trends.mean,
            TRAINING,
            training.len(),
        ));
    }
    observe("detection");
    let found = detection(&training, &drawn, &mut scoring_rng(1)).map(|found| found.score)?;
    let real = detection(&training, &held_out, &mut scoring_rng(1)).map(|found| found.score);
    scores.push(score(
        "detection (C2ST)",
        found,
        real.ok(),
        TRAINING,
        training.len(),
    ));
    observe("nearest records");
    // As many of each, so that rows that are no copies have ½.
    let equal = training.len().min(held_out.len());
    let of_each = [(&training, 5), (&held_out, 6)]
        .map(|(table, purpose)| table.select(&sample(equal, table.len(), purpose)));
    let records = nearest_records(&drawn, &of_each[0], &of_each[1])?;
    let reference = "as many of both splits";
    scores.push(score(
        "nearest is a training row",
        records.share(),
        Some(0.5),
        reference,
        2 * equal,
    ));
    scores.push(score(
        "copies of training rows",
        records.copies,
        None,
        TRAINING,
        training.len(),
    ));
    if let Some(target) = of.target {
        observe("utility");
        // Its time grows with the rows alone, and what is learned grows with them, too.
        let of_all = |table| utility(table, of.held_out, target, &mut scoring_rng(2));
        let (found, real) = (of_all(of.drawn)?, of_all(of.training)?);
        for ((name, value), (_, real)) in figures(found).into_iter().zip(figures(real)) {
            let mut score = score(name, value, Some(real), TEST, of.held_out.len());
            score.samples = of.drawn.len();
            scores.push(score);
        }
    }
    Ok(RowScores {
        scores,
        drawn_pairs: drawn_trends.pairs,
        held_out_pairs: real_trends.pairs,
    })
}

fn figures(utility: Utility) -> Vec<(&'static str, f64)> {
    match utility {
        Utility::Binary { auc, accuracy } | Utility::Classes { auc, accuracy } => {
            vec![("utility: AUC", auc), ("utility: accuracy", accuracy)]
        }
        Utility::Numbers { r2, rmse } => vec![("utility: R2", r2), ("utility: RMSE", rmse)],
        _ => Vec::new(),
    }
}

/// The scores of lines of text: how many are new (`known` are those that were learned), how many different, and how long
/// they are.
pub fn line_scores(
    drawn: &[String],
    held_out: &[String],
    known: &HashSet<String>,
    sampler: &str,
) -> Vec<Score> {
    let score = |name, value: f64, real: f64| Score {
        name,
        value,
        deviation: None,
        real: Some(real),
        samples: drawn.len(),
        real_samples: Some(held_out.len()),
        features: None,
        reference: TRAINING.to_owned(),
        reference_samples: Some(known.len()),
        sampler: Some(sampler.to_owned()),
        definition: None,
    };
    let share = |of: usize, all: usize| of as f64 / all.max(1) as f64;
    let new = |lines: &[String]| {
        share(
            lines.iter().filter(|line| !known.contains(*line)).count(),
            lines.len(),
        )
    };
    let different =
        |lines: &[String]| share(lines.iter().collect::<HashSet<_>>().len(), lines.len());
    let length = |lines: &[String]| {
        share(
            lines.iter().map(|line| line.chars().count()).sum(),
            lines.len(),
        )
    };
    vec![
        score("new", new(drawn), new(held_out)),
        score("different", different(drawn), different(held_out)),
        score("characters a line", length(drawn), length(held_out)),
    ]
}
