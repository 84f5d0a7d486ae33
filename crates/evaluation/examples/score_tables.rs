//! Scores of drawn rows, as JSON.
//!
//! ```text
//! cargo run -p evaluation --example score_tables -- REAL.csv DRAWN.csv [TEST.csv TARGET]
//! ```
//!
//! REAL has the rows that were learned from, DRAWN those that were made, TEST others that were held out, and TARGET is
//! the column to predict. The files begin with one and the same line of names. A column whose cells are numbers in all
//! of them is one of numbers, any other one of categories; an empty cell is a gap.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::time::Instant;

use evaluation::tables::{
    Column, Table, column_shapes, detection, nearest_records, pair_trends, utility,
};
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

/// A file: names and rows of text.
struct Text {
    names: Vec<String>,
    rows: Vec<csv::StringRecord>,
}

fn read(path: &str) -> Result<Text, Box<dyn Error>> {
    let mut reader = csv::Reader::from_path(path).map_err(|error| format!("{path}: {error}"))?;
    let names = reader.headers()?.iter().map(str::to_owned).collect();
    let rows = reader
        .into_records()
        .collect::<Result<_, _>>()
        .map_err(|error| format!("{path}: {error}"))?;
    Ok(Text { names, rows })
}

/// The tables of files with the same columns.
fn tables(files: &[Text]) -> Result<Vec<Table>, Box<dyn Error>> {
    let names = &files[0].names;
    if files.iter().any(|file| file.names != *names) {
        return Err("the files have not the same line of names".into());
    }
    let mut columns: Vec<Vec<(String, Column)>> = files.iter().map(|_| Vec::new()).collect();
    for (place, name) in names.iter().enumerate() {
        let cells = |file: &'_ Text| -> Vec<Option<String>> {
            let cells = file
                .rows
                .iter()
                .map(|row| row.get(place).unwrap_or_default());
            cells
                .map(|cell| (!cell.is_empty()).then(|| cell.to_owned()))
                .collect()
        };
        let cells: Vec<_> = files.iter().map(cells).collect();
        let known: BTreeSet<&str> = cells
            .iter()
            .flatten()
            .flatten()
            .map(String::as_str)
            .collect();
        if known.iter().all(|cell| cell.parse::<f64>().is_ok()) {
            for (columns, cells) in columns.iter_mut().zip(&cells) {
                let number = |cell: &Option<String>| -> f64 {
                    let cell = cell.as_deref().unwrap_or("NaN");
                    cell.parse().unwrap_or(f64::NAN)
                };
                let numbers = cells.iter().map(number).collect();
                columns.push((name.clone(), Column::Numbers(numbers)));
            }
        } else {
            let codes: BTreeMap<&str, u32> = known.into_iter().zip(0..).collect();
            for (columns, cells) in columns.iter_mut().zip(&cells) {
                let cells = cells.iter();
                let codes = cells
                    .map(|cell| codes.get(cell.as_deref()?).copied())
                    .collect();
                columns.push((name.clone(), Column::Categories(codes)));
            }
        }
    }
    Ok(columns
        .into_iter()
        .map(Table::new)
        .collect::<Result<_, _>>()?)
}

/// `count` random rows.
fn part<R: Rng>(table: &Table, count: usize, rng: &mut R) -> Table {
    let mut rows: Vec<usize> = (0..table.len()).collect();
    rows.shuffle(rng);
    rows.truncate(count);
    table.select(&rows)
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (paths, target) = match arguments.as_slice() {
        [real, drawn] => (vec![real, drawn], None),
        [real, drawn, test, target] => (vec![real, drawn, test], Some(target)),
        _ => return Err("usage: score_tables REAL.csv DRAWN.csv [TEST.csv TARGET]".into()),
    };
    let files = paths
        .into_iter()
        .map(|path| read(path))
        .collect::<Result<Vec<_>, _>>()?;
    let tables = tables(&files)?;
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut scores = serde_json::Map::new();
    let mut add = |name: &str, started: Instant, value: Value| {
        eprintln!("{name}: {:.1} s", started.elapsed().as_secs_f64());
        scores.insert(name.to_owned(), value);
    };
    let (real, drawn) = (&tables[0], &tables[1]);
    let started = Instant::now();
    add("shapes", started, json!(column_shapes(real, drawn)?));
    let started = Instant::now();
    add("trends", started, json!(pair_trends(real, drawn)?));
    let started = Instant::now();
    add(
        "detection",
        started,
        json!(detection(real, drawn, &mut rng)?),
    );
    if let (Some(test), Some(target)) = (tables.get(2), target) {
        let started = Instant::now();
        let rows = real.len().min(test.len());
        let (training, held_out) = (part(real, rows, &mut rng), part(test, rows, &mut rng));
        let records = nearest_records(drawn, &training, &held_out)?;
        add("records", started, json!(records));
        for (name, train) in [("utility", drawn), ("utility_of_real", real)] {
            let started = Instant::now();
            add(
                name,
                started,
                json!(utility(train, test, target, &mut rng)?),
            );
        }
    }
    println!("{:#}", Value::Object(scores));
    Ok(())
}
