//! Rows of which something is known: conditions that hold in each, or cells that are kept.

use anyhow::{Context, Result, anyhow, bail};
use burn::tensor::{Tensor, TensorData};
use datasets::TableSchema;
use datasets::tables::{Cells, Conditions, Partial};
use rand_chacha::ChaCha8Rng;
use training::{Purpose, Streams};

use super::form::{Drawn, TableForm};
use crate::error::Usage;
use crate::kinds::forward::values as values_of;
use crate::sampling::{Edit, Model, Request};

/// How often a step is taken where numbers are known, so that the rest comes to fit them.
const RESAMPLINGS: usize = 10;

/// Rounds of drawing rows and keeping those in which all conditions hold. What is missing then gets values that the
/// conditions allow.
const ROUNDS: u64 = 8;

/// The least share of rows that hold for which another round is worth its time.
const LEAST_SHARE: f64 = 0.02;

/// What is reported of each step, as of [`Model::sample`].
pub(super) type Observe<'a> = &'a mut (dyn FnMut() -> Result<()> + Send);

/// Rows in all of which these conditions hold.
pub(super) fn drawn_where(
    form: &TableForm,
    model: &Model,
    request: &Request,
    conditions: &[String],
    observe: Observe<'_>,
) -> Result<Drawn> {
    let TableForm::Rows(schema) = form else {
        bail!(Usage(
            "--where is for tables with columns; a part of a line is asked for with `edit --from \"a__n_\"`".to_owned()
        ));
    };
    let conditions = Conditions::parse(conditions, schema);
    let conditions = conditions.map_err(|error| Usage(format!("--where: {:#}", anyhow!(error))))?;
    draw_where(model, request, schema, &conditions, observe).map(Drawn::Rows)
}

/// As many rows as `request` has classes, in all of which the conditions hold. Cells that a condition says are kept by
/// the chain; rows are drawn until the other conditions hold, too.
fn draw_where(
    model: &Model,
    request: &Request,
    schema: &TableSchema,
    conditions: &Conditions,
    observe: Observe<'_>,
) -> Result<Cells> {
    let count = request.classes.len();
    let mut found: Option<Cells> = None;
    let mut is_rare = false;
    for round in 0.. {
        let missing = count - found.as_ref().map_or(0, Cells::rows);
        if missing == 0 {
            break;
        }
        let mut rng = Streams::new(request.seed).at(Purpose::Forward, round);
        let partial = if is_rare {
            conditions.partial_within(schema, missing, &mut rng)?
        } else {
            conditions.partial(schema, missing)
        };
        let asked = Request {
            classes: request.classes[count - missing..].to_vec(),
            // Other rows than those of the rounds before.
            seed: request.seed.wrapping_add(round << 32),
            ..request.clone()
        };
        let drawn = draw_partial(model, &asked, schema, &partial, &mut rng, observe)?;
        let rows: Vec<usize> = (0..missing)
            .filter(|&row| conditions.hold(&drawn, row))
            .collect();
        is_rare |= round + 2 > ROUNDS || (rows.len() as f64) < LEAST_SHARE * missing as f64;
        let kept = drawn.select(&rows);
        match &mut found {
            Some(found) => found.append(&kept),
            None => found = Some(kept),
        }
    }
    found.context("no row was asked for")
}

/// A row for each of `request`'s classes, with the cells that are known: row i has those of row i modulo their number.
/// Cells of the column of the classes that are known go before the classes that are asked for.
pub(super) fn draw_partial(
    model: &Model,
    request: &Request,
    schema: &TableSchema,
    partial: &Partial,
    rng: &mut ChaCha8Rng,
    observe: Observe<'_>,
) -> Result<Cells> {
    let count = request.classes.len();
    let of_rows = partial.labels(schema);
    let classes: Vec<Option<usize>> = request
        .classes
        .iter()
        .enumerate()
        .map(|(row, class)| of_rows[row % of_rows.len()].or(*class))
        .collect();
    let (values, mask) = partial.encode(schema, rng);
    let edit = mask.contains(&1.0).then(|| Edit {
        image: repeated(values, count, model),
        strength: 1.0,
        mask: Some((repeated(mask, count, model), RESAMPLINGS)),
    });
    let request = Request {
        classes,
        edit,
        ..request.clone()
    };
    let drawn = values_of(model.sample(&request, |_, _| observe())?)?;
    let labels: Vec<usize> = request.classes.iter().flatten().copied().collect();
    let mut cells = schema.decode(&drawn, &labels)?;
    partial.restore(schema, &mut cells);
    Ok(cells)
}

/// `count` examples `[count, C, 1, 1]`: these, which stand one after the other, again and again.
pub(super) fn repeated(values: Vec<f32>, count: usize, model: &Model) -> Tensor<4> {
    let [len, ..] = model.network.example_shape();
    let values: Vec<f32> = values.into_iter().cycle().take(count * len).collect();
    Tensor::from_data(TensorData::new(values, [count, len, 1, 1]), &model.device)
}
