//! Scores of tables against sdmetrics and NumPy, whose numbers are those of `scripts/reference/tables_golden.py`.

use evaluation::tables::{Column, Table, column_shapes, nearest_records, pair_trends};
use serde_json::Value;

const GOLDEN: &str = include_str!("tables/tables.json");

fn golden() -> Value {
    serde_json::from_str(GOLDEN).unwrap()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

/// A table of the file.
fn table(value: &Value) -> Table {
    let columns = list(value).iter().map(|column| {
        let name = column["name"].as_str().unwrap().to_owned();
        let values = list(&column["values"]).iter();
        let column = match column["kind"].as_str().unwrap() {
            "numbers" => Column::Numbers(values.map(|v| v.as_f64().unwrap_or(f64::NAN)).collect()),
            _ => Column::Categories(values.map(|v| v.as_u64().map(|code| code as u32)).collect()),
        };
        (name, column)
    });
    Table::new(columns.collect()).unwrap()
}

#[track_caller]
fn assert_scores(found: &[Option<f64>], expected: &[Value], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (place, (found, expected)) in found.iter().zip(expected).enumerate() {
        let expected = expected.as_f64();
        let agree = match (found, expected) {
            (Some(found), Some(expected)) => (found - expected).abs() < 1e-6,
            (None, None) => true,
            _ => false,
        };
        assert!(agree, "{what} {place}: {found:?}, expected {expected:?}");
    }
}

#[test]
fn shapes_and_trends_are_those_of_sdmetrics() {
    let golden = golden();
    let cases = list(&golden["tables"]);
    assert_eq!(cases.len(), 4);
    for case in cases {
        let name = case["name"].as_str().unwrap();
        let (real, drawn) = (table(&case["real"]), table(&case["drawn"]));
        let shapes = column_shapes(&real, &drawn).unwrap();
        assert_scores(&shapes.columns, list(&case["shapes"]), name);
        assert_scores(&[shapes.mean], &[case["mean_shape"].clone()], name);
        let trends = pair_trends(&real, &drawn).unwrap();
        let scores: Vec<Option<f64>> = trends.pairs.iter().map(|pair| pair.score).collect();
        assert_scores(&scores, list(&case["trends"]), name);
        assert_scores(&[trends.mean], &[case["mean_trend"].clone()], name);
    }
}

#[test]
fn nearest_records_are_those_of_all_distances() {
    let golden = golden();
    let records = &golden["records"];
    let [drawn, training, held_out] =
        ["drawn", "training", "held_out"].map(|name| table(&records[name]));
    let found = nearest_records(&drawn, &training, &held_out).unwrap();
    assert_eq!(found.as_near, 0.0);
    for (found, name) in [
        (found.nearer, "nearer"),
        (found.copies, "copies"),
        (found.copies_of_held_out, "copies_of_held_out"),
    ] {
        assert_scores(&[Some(found)], &[records[name].clone()], name);
    }
}
