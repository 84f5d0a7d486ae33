//! `trainer data show` of tables: rows, the type of each column, and a picture of all.

use std::path::Path;

use anyhow::Result;
use datasets::tables::{Column, Content, State};
use datasets::{LineRows, Splits, TableRows, TableSchema};
use serde_json::json;

use super::form::{Drawn, TableForm};
use super::{TableExamples, draw, read};
use crate::drawing::pictures;
use crate::kinds::DataConfig;
use crate::report;

/// The most columns that are said one by one, and the most categories of each.
const MAX_COLUMNS: usize = 40;
const MAX_CATEGORIES: usize = 6;
/// Lines that are said.
const LINES: usize = 5;

/// Says what is in a table or in lines of text, and writes the picture `out`.
pub fn show(data: &DataConfig, data_dir: Option<&Path>, out: &Path) -> Result<()> {
    let splits = read(data, data_dir, 0)?;
    let name = data.name();
    let (form, drawn, title) = match (&splits.train, &splits.test) {
        (TableExamples::Rows(train), TableExamples::Rows(test)) => show_rows(&name, train, test)?,
        (TableExamples::Lines(train), _) => show_lines(&name, train, &splits)?,
        _ => anyhow::bail!("the two splits are of different kinds"),
    };
    pictures::save(&draw(&form, &drawn, &title)?, out)?;
    report::wrote(out);
    Ok(())
}

fn show_rows(
    name: &str,
    train: &TableRows,
    test: &TableRows,
) -> Result<(TableForm, Drawn, String)> {
    let schema = train.schema();
    report::figures(format!(
        "{name}: {} training rows, {} held out; {} columns, of which {} numbers and {} categories are learned",
        train.len(),
        test.len(),
        schema.columns().len(),
        schema.numbers().len(),
        schema.categories().len()
    ));
    for (index, column) in schema.columns().iter().enumerate().take(MAX_COLUMNS) {
        report::figures(format!(
            "  {}: {}",
            schema.display_name(index),
            described(column)
        ));
    }
    if schema.columns().len() > MAX_COLUMNS {
        report::figures(format!(
            "  … {} more columns",
            schema.columns().len() - MAX_COLUMNS
        ));
    }
    report::json(&json!({
        "data": name,
        "training_rows": train.len(),
        "held_out_rows": test.len(),
        "columns": columns(schema),
    }))?;
    let title = format!("{name}: {} training rows", train.len());
    Ok((
        TableForm::Rows(schema.as_ref().clone()),
        Drawn::Rows(train.cells()?),
        title,
    ))
}

/// Columns as JSON.
fn columns(schema: &TableSchema) -> Vec<serde_json::Value> {
    let column = |(index, column): (usize, &Column)| {
        json!({
            "name": schema.display_name(index),
            "type": column.column_type(),
            "learned": !matches!(
                column.content,
                Content::LeftOut { .. } | Content::RowNumbers { .. } | Content::Constant { .. }
            ),
            "categories": column.num_categories(),
            "gap": column.gap,
        })
    };
    schema.columns().iter().enumerate().map(column).collect()
}

/// What a column holds, in words.
fn described(column: &Column) -> String {
    let type_name = column.column_type();
    let mut text = match &column.content {
        Content::Numbers(numbers) => {
            let [least, largest] = numbers.range();
            let mut text = format!(
                "{type_name}, {} to {}",
                numbers.write(least),
                numbers.write(largest)
            );
            let states = column.states();
            let all: u64 = column.counts.iter().sum();
            for (state, count) in states.iter().zip(&column.counts) {
                if let State::Spike(value) = state {
                    let share = 100.0 * *count as f64 / all.max(1) as f64;
                    text += &format!(", {} in {share:.0} % of the rows", numbers.write(*value));
                }
            }
            text
        }
        Content::Categories { texts, .. } => {
            let mut shown: Vec<&str> = texts
                .iter()
                .take(MAX_CATEGORIES)
                .map(String::as_str)
                .collect();
            if texts.len() > MAX_CATEGORIES {
                shown.push("…");
            }
            format!("{type_name}, {} values: {}", texts.len(), shown.join(", "))
        }
        Content::Constant { text } => format!("{text:?} in every row"),
        Content::RowNumbers { first } => format!("row numbers from {first}, counted anew"),
        Content::LeftOut { of } => format!("{of}, left out"),
    };
    if let Some(gap) = &column.gap {
        let place = column
            .states()
            .iter()
            .position(|state| *state == State::Gap);
        let place = place.or_else(|| column.num_categories().checked_sub(1));
        let count = place
            .and_then(|place| column.counts.get(place))
            .copied()
            .unwrap_or_default();
        text += &format!("; {count} gaps ({gap:?})");
    }
    text
}

fn show_lines(
    name: &str,
    train: &LineRows,
    splits: &Splits<TableExamples>,
) -> Result<(TableForm, Drawn, String)> {
    let schema = train.schema();
    report::figures(format!(
        "{name}: {} training lines, {} held out; up to {} characters of {}",
        train.len(),
        splits.test.count(),
        schema.example_len(),
        schema.num_categories() - 1
    ));
    report::figures(format!("characters: {}", schema.alphabet()));
    let count = train.len();
    let shown: Vec<String> = (0..LINES.min(count))
        .map(|index| train.line(index))
        .collect();
    report::figures(format!("lines such as {}", shown.join(", ")));
    report::json(&json!({
        "data": name,
        "training_lines": count,
        "held_out_lines": splits.test.count(),
        "longest": schema.example_len(),
        "alphabet": schema.alphabet(),
    }))?;
    let lines = (0..count.min(super::LINES))
        .map(|place| train.line(place * count / count.min(super::LINES)));
    let form = TableForm::Lines(schema.as_ref().clone());
    Ok((
        form,
        Drawn::Lines(lines.collect()),
        format!("{name}: {count} training lines"),
    ))
}
