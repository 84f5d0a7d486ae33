//! Rows that begin with those of a file: empty cells are filled, or all cells are drawn anew in part.

use std::ffi::OsStr;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use datasets::TableSchema;
use datasets::files::read_file;
use datasets::tables::{MAX_FILE_LEN, Partial};
use training::{Purpose, Streams};

use super::form;
use super::form::{Drawn, TableForm};
use super::known::{draw_partial, repeated};
use super::sample::write;
use crate::error::Usage;
use crate::kinds::forward::values as values_of;
use crate::kinds::outputs::Source;
use crate::memory::{self, F32};
use crate::progress;
use crate::sampling::{Edit, Model, Request, every_class};

/// What is drawn anew of rows, and how often.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Anew {
    /// What is empty, `count` times; what is not stays.
    Filled {
        /// Rows made of each.
        count: usize,
    },
    /// What is empty, as one guess from all draws: see [`TableSchema::estimate`].
    Mean {
        /// Draws of each row.
        draws: usize,
    },
    /// All cells, noised so far first.
    Varied {
        /// How far, above 0 and at most 1.
        strength: f64,
        /// Rows made of each.
        count: usize,
    },
}

impl Anew {
    /// Draws of each row, and the option that says how many.
    fn draws(self) -> (usize, &'static str) {
        match self {
            Self::Filled { count } | Self::Varied { count, .. } => (count, "--count"),
            Self::Mean { draws } => (draws, "--mean"),
        }
    }

    fn strength(self) -> Option<f64> {
        match self {
            Self::Varied { strength, .. } => Some(strength),
            Self::Filled { .. } | Self::Mean { .. } => None,
        }
    }
}

/// Begins with the rows of a file, or of lines with a pattern, and writes what comes of them to `out`.
pub fn edit(
    source: &Source<'_>,
    model: &Model,
    request: &Request,
    from: &OsStr,
    anew: Anew,
    out: &Path,
) -> Result<()> {
    let form = form(source)?;
    let ((count, option), strength) = (anew.draws(), anew.strength());
    let mut rng = Streams::new(request.seed).at(Purpose::Forward, 0);
    let (drawn, what) = match form {
        TableForm::Rows(schema) => {
            let partial = read_rows(schema, from.as_ref())?;
            let rows = partial.rows().saturating_mul(count);
            // As they are sampled batch by batch, and all together.
            let bytes = 2 * F32 * memory::values(model.network.example_shape());
            memory::check(rows, bytes).map_err(|error| Usage(format!("{option}: {error}")))?;
            let classes = class_of_each(source, model, request, rows);
            let request = Request {
                classes,
                ..request.clone()
            };
            let cells = match strength {
                None => {
                    let bar = progress::bar(model.num_states(&request)?, "denoising");
                    let mut observe = || {
                        bar.inc(1);
                        Ok(())
                    };
                    let cells =
                        draw_partial(model, &request, schema, &partial, &mut rng, &mut observe)?;
                    bar.finish_and_clear();
                    cells
                }
                Some(strength) => {
                    let known = whole(schema, &partial)?;
                    let classes = partial
                        .labels(schema)
                        .into_iter()
                        .cycle()
                        .take(rows)
                        .collect();
                    let (values, _) = known.encode(schema, &mut rng);
                    let request = Request { classes, ..request };
                    let values = drawn_from(model, request, values, strength, None)?;
                    let labels = partial.labels(schema).into_iter().flatten().cycle();
                    let labels: Vec<usize> = labels.take(rows).collect();
                    schema.decode(&values, &labels)?
                }
            };
            let cells = match anew {
                Anew::Mean { .. } => {
                    let mut cells = schema.estimate(&cells, partial.rows());
                    // The mean of a number with itself may be another in its last digit.
                    partial.restore(schema, &mut cells);
                    cells
                }
                Anew::Filled { .. } | Anew::Varied { .. } => cells,
            };
            let what = format!("{} rows from {}", cells.rows(), from.display());
            (Drawn::Rows(cells), what)
        }
        TableForm::Lines(schema) => {
            let pattern = from.to_str().context("the pattern is no text")?;
            let (values, mask) = schema
                .parse_pattern(pattern)
                .map_err(|error| Usage(format!("--from: {:#}", anyhow!(error))))?;
            let request = Request {
                classes: vec![None; count],
                ..request.clone()
            };
            let values = match strength {
                Some(_) if mask.contains(&0.0) => bail!(Usage(format!(
                    "--strength varies whole lines, and \"{pattern}\" has blanks: leave it out to fill them"
                ))),
                Some(strength) => drawn_from(model, request, values, strength, None)?,
                None => drawn_from(model, request, values, 1.0, Some(mask))?,
            };
            (
                Drawn::Lines(schema.decode(&values)?),
                format!("{count} lines from \"{pattern}\""),
            )
        }
    };
    write(form, &drawn, &what, out)
}

fn read_rows(schema: &TableSchema, path: &Path) -> Result<Partial> {
    let of = || format!("cannot read {}", path.display());
    let bytes = read_file(path, MAX_FILE_LEN).with_context(of)?;
    schema.parse_partial(&bytes).with_context(of)
}

/// The rows, where no cell of them is empty.
fn whole<'a>(schema: &TableSchema, partial: &'a Partial) -> Result<&'a Partial> {
    for row in 0..partial.rows() {
        let numbers = schema.numbers().iter().copied();
        let categories = schema.categories().iter().map(|&(column, _)| column);
        let mut learned = numbers.chain(categories).chain(schema.class());
        let empty = learned.find(|&column| !partial.is_known(column, row));
        if let Some(column) = empty {
            bail!(Usage(format!(
                "--strength varies whole rows, and in row {} the cell of {} is empty: leave it out to fill empty cells",
                row + 1,
                schema.display_name(column)
            )));
        }
    }
    Ok(partial)
}

/// Classes for rows of which none is known: in turn, where the network is told any.
fn class_of_each(
    source: &Source<'_>,
    model: &Model,
    request: &Request,
    count: usize,
) -> Vec<Option<usize>> {
    match request.classes.first() {
        Some(Some(class)) => vec![Some(*class); count],
        _ if source.data.class_column.is_some() => every_class(count, model.num_classes()),
        _ => vec![None; count],
    }
}

/// Examples that begin with these, one after the other, noised so far; what `mask` has 1 for stays.
fn drawn_from(
    model: &Model,
    request: Request,
    values: Vec<f32>,
    strength: f64,
    mask: Option<Vec<f32>>,
) -> Result<Vec<f32>> {
    let count = request.classes.len();
    let request = Request {
        edit: Some(Edit {
            image: repeated(values, count, model),
            strength,
            mask: mask.map(|mask| (repeated(mask, count, model), 1)),
        }),
        ..request
    };
    values_of(model.sample_with_bar(&request)?)
}
