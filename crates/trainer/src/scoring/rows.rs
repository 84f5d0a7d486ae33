//! How good the rows or lines of a network of tables are: the scores of [`evaluation::tables`], and shares of lines, each
//! beside that of those that were held out.

use std::collections::HashSet;

use anyhow::{Context, Result};
use burn::tensor::{Tensor, TensorData};
use datasets::TableSchema;
use datasets::tables::{Cells, Content};
use evaluation::tables::{
    Column, NatsPerCell, PairTrend, Table, Utility, column_shapes, detection,
    importance_weighted_bound, nearest_records, pair_trends, utility,
};
use kernels::segment_log_softmax;
use noising::Transition;
use rand::seq::index;
use training::{Purpose, Streams, streams};

use super::scores::{Score, TEST, TRAINING, sample, scoring_rng};
use crate::sampling::Model;

/// Rows that are compared, of each of the tables, at the most: the time of some scores is its square.
const MOST_ROWS: usize = 20_000;

/// Rows whose bound is measured, and timesteps of each.
const BOUND_ROWS: usize = 1000;
const BOUND_TIMESTEPS: usize = 64;
/// Orders in which the cells of each of them are found.
const ORDERS: usize = 64;

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

/// The bound on the negative log-likelihood of the categories of held-out rows, in nats a row, of each of at most a
/// thousand of them: each at timesteps of its own, spread evenly over the chain. `None` where rows have no categories.
///
/// # Errors
///
/// Rows that cannot be read, and values that the device does not give back.
pub fn category_bounds(
    model: &Model,
    rows: usize,
    read: impl Fn(&[usize]) -> Result<Vec<f32>>,
    label: impl Fn(usize) -> Option<usize>,
) -> Result<Option<Vec<f64>>> {
    let chain = model.chain.categories();
    if chain.num_columns() == 0 {
        return Ok(None);
    }
    let [len, ..] = model.network.example_shape();
    let timesteps = model.chain.schedule().num_train_timesteps();
    let prior: f64 = chain.prior_terms().iter().sum();
    let mut bounds = Vec::new();
    for row in sample(BOUND_ROWS, rows, 4) {
        let mut rng = Streams::new(0).at(Purpose::HeldOut, row as u64);
        let shape = [BOUND_TIMESTEPS, len, 1, 1];
        let values = read(&[row])?.repeat(BOUND_TIMESTEPS);
        let x_0 = Tensor::<4>::from_data(TensorData::new(values, shape), &model.device);
        let noise = streams::noise(shape, &mut rng, &model.device);
        // One in each of as many equal parts of the chain.
        let offset = streams::timesteps(1, timesteps, &mut rng)[0];
        let stride = timesteps as f64 / BOUND_TIMESTEPS as f64;
        let chosen: Vec<usize> = (0..BOUND_TIMESTEPS)
            .map(|part| (part as f64 * stride + offset as f64 / BOUND_TIMESTEPS as f64) as usize)
            .map(|t| t.min(timesteps - 1))
            .collect();
        let x_t = model.chain.q_sample(x_0.clone(), noise, &chosen);
        let predicted = model.predict_each(
            0,
            x_t.clone(),
            &chosen,
            &[label(row)].repeat(BOUND_TIMESTEPS),
        );
        let numbers = len - chain.num_columns();
        let logits = predicted
            .narrow(1, numbers, chain.num_logits())
            .flatten::<2>(1, 3);
        let log_p = segment_log_softmax(logits, chain.num_categories());
        let (_, x_0) = model.chain.split(x_0);
        let (_, x_t) = model.chain.split(x_t);
        let terms: Vec<f32> = chain
            .bound(x_0, x_t, log_p, &chosen)
            .try_into_vec_as()
            .context("cannot read the bound back from the device")?;
        let sum: f64 = terms.iter().map(|&term| f64::from(term)).sum();
        bounds.push(prior + sum * timesteps as f64 / BOUND_TIMESTEPS as f64);
    }
    Ok(Some(bounds))
}

/// The bound on the negative log-likelihood of held-out rows of categories alone, in nats a row, of each of at most a
/// thousand of them, for cells that are found one by one, in an order that is drawn by chance: 64 orders a row
/// are weighed by how likely they make it ([`importance_weighted_bound`]). That is how the absorbing chain finds a row,
/// in as many steps as there are cells or more (Hoogeboom et al. 2022, "Autoregressive Diffusion Models", section
/// 3), and nearer to its likelihood than [`category_bounds`], where all orders count the same. `None` for other rows.
///
/// # Errors
///
/// Rows that cannot be read, and values that the device does not give back.
pub fn order_bounds(
    model: &Model,
    rows: usize,
    read: impl Fn(&[usize]) -> Result<Vec<f32>>,
    label: impl Fn(usize) -> Option<usize>,
) -> Result<Option<Vec<f64>>> {
    let chain = model.chain.categories();
    let columns = chain.num_columns();
    if chain.transition() != Transition::Absorbing || model.network.example_shape()[0] != columns {
        return Ok(None);
    }
    let masks = chain.num_categories().iter().map(|&count| count as f32);
    let masks: Vec<f32> = masks.collect();
    let alphas_cumprod = chain.schedule().alphas_cumprod();
    let shape = [ORDERS, columns];
    let mut bounds = Vec::new();
    for row in sample(BOUND_ROWS, rows, 4) {
        let mut rng = Streams::new(0).at(Purpose::Scores, row as u64);
        let orders: Vec<Vec<usize>> = (0..ORDERS)
            .map(|_| index::sample(&mut rng, columns, columns).into_vec())
            .collect();
        let cells = read(&[row])?;
        let x_0 = TensorData::new(cells.repeat(ORDERS), shape);
        let x_0 = Tensor::<2>::from_data(x_0, &model.device);
        let labels = [label(row)].repeat(ORDERS);
        let mut states = masks.repeat(ORDERS);
        let mut costs = vec![0.0; ORDERS];
        for found in 0..columns {
            // The first timestep that keeps no more cells than are found.
            let kept = found as f64 / columns as f64;
            let t = alphas_cumprod.partition_point(|&alpha_cumprod| alpha_cumprod > kept);
            let t = t.min(alphas_cumprod.len() - 1);
            let x_t = TensorData::new(states.clone(), shape);
            let x_t = Tensor::<2>::from_data(x_t, &model.device);
            let asked = x_t.clone().reshape([ORDERS, columns, 1, 1]);
            let logits = model.predict_each(0, asked, &[t; ORDERS], &labels);
            let log_p = segment_log_softmax(logits.flatten::<2>(1, 3), chain.num_categories());
            let of_cells: Vec<f32> = chain
                .cross_entropy(x_0.clone(), x_t, log_p)
                .try_into_vec_as()
                .context("cannot read the bound back from the device")?;
            for (place, (order, cost)) in orders.iter().zip(&mut costs).enumerate() {
                let column = order[found];
                *cost += f64::from(of_cells[place * columns + column]);
                states[place * columns + column] = cells[column];
            }
        }
        bounds.push(importance_weighted_bound(&costs));
    }
    Ok(Some(bounds))
}

/// The score of bounds in nats a row, for so many cells a row on average.
///
/// # Errors
///
/// Fewer than two rows.
pub fn bound_score(name: &'static str, bounds: &[f64], cells: f64) -> Result<Score> {
    let found = NatsPerCell::of(bounds, 1)?;
    Ok(Score {
        name,
        value: found.mean / cells,
        deviation: Some(found.standard_error / cells),
        real: None,
        samples: bounds.len(),
        real_samples: None,
        features: None,
        reference: TEST.to_owned(),
        reference_samples: None,
        sampler: None,
        definition: None,
    })
}
