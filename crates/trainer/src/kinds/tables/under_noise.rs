//! One row under noise, cell by cell, as a person reads it.

use anyhow::{Result, ensure};
use datasets::TableSchema;
use datasets::tables::{Column, Content, State};
use noising::Transition;
use serde::Serialize;

use super::form::TableForm;

/// The categories that are named of those that a cell may have been.
const LIKELY: usize = 3;

/// What stands for the end of a line, and for a blank in it.
const END: &str = "∎";
const BLANK: &str = "␣";

/// A row on its chain, and what a network makes of it. Values are numbers, then category codes.
#[derive(Debug, Clone)]
pub struct RowUnderNoise {
    /// The row.
    pub x_0: Vec<f32>,
    /// The same at a timestep.
    pub x_t: Vec<f32>,
    /// The same, where each step was taken.
    pub step_by_step: Option<Vec<f32>>,
    /// The numbers of x_0 as they are predicted.
    pub predicted_numbers: Vec<f32>,
    /// What the network says of the categories of x_0, column by column.
    pub logits: Vec<f32>,
    /// What categories become.
    pub transition: Transition,
}

/// A cell of a row under noise.
#[derive(Debug, Clone, Serialize)]
pub struct CellUnderNoise {
    /// Its column; of a line, its place.
    name: String,
    x_0: Written,
    x_t: Written,
    predicted_x_0: Written,
    #[serde(skip_serializing_if = "Option::is_none")]
    step_by_step: Option<Written>,
}

/// What stands in a cell.
#[derive(Debug, Clone, Default, Serialize)]
struct Written {
    /// `None` is a mask.
    text: Option<String>,
    /// Of a number, the normal one that the network sees.
    #[serde(skip_serializing_if = "Option::is_none")]
    z: Option<f32>,
    /// Of a predicted category, the most probable ones and how probable they are; none where x_t says which it is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    likely: Vec<(String, f64)>,
}

/// The cells of a row of this form: a number and a category each.
///
/// # Errors
///
/// A row of another form.
pub(crate) fn cells(form: &TableForm, row: &RowUnderNoise) -> Result<Vec<CellUnderNoise>> {
    let (numbers, counts) = (form.numbers(), form.categories());
    let len = numbers + counts.len();
    let mut states = [&row.x_0, &row.x_t].into_iter().chain(&row.step_by_step);
    ensure!(
        states.all(|values| values.len() == len)
            && row.predicted_numbers.len() == numbers
            && row.logits.len() == counts.iter().sum::<usize>(),
        "a row of another table"
    );
    let mut cells = Vec::with_capacity(len);
    if let TableForm::Rows(schema) = form {
        cells.extend((0..numbers).map(|channel| number_cell(schema, row, channel)));
    }
    let mut logits = &row.logits[..];
    for (place, &count) in counts.iter().enumerate() {
        let (of_column, after) = logits.split_at(count);
        logits = after;
        let channel = numbers + place;
        let text = |code| category(form, place, code);
        let written = |values: &Vec<f32>| {
            let code = values[channel].max(0.0) as usize;
            Written {
                text: (code < count).then(|| text(code)),
                ..Written::default()
            }
        };
        let x_t = written(&row.x_t);
        // On the absorbing chain what is no mask is x_0.
        let predicted_x_0 = match row.transition {
            Transition::Absorbing if x_t.text.is_some() => x_t.clone(),
            _ => likely(of_column, text),
        };
        cells.push(CellUnderNoise {
            name: category_name(form, place),
            x_0: written(&row.x_0),
            x_t,
            predicted_x_0,
            step_by_step: row.step_by_step.as_ref().map(written),
        });
    }
    Ok(cells)
}

fn number_cell(schema: &TableSchema, row: &RowUnderNoise, channel: usize) -> CellUnderNoise {
    let column = schema.numbers()[channel];
    let described = &schema.columns()[column];
    let written = |z: f32| {
        let text = match &described.content {
            Content::Numbers(numbers) => numbers.quantiles.as_ref().map(|quantiles| {
                let value = numbers.nearest(quantiles.decode(z));
                numbers.write(value.clamp(quantiles.least(), quantiles.largest()))
            }),
            _ => None,
        };
        Written {
            text: Some(text.unwrap_or_default()),
            z: Some(z),
            ..Written::default()
        }
    };
    let states = described.states();
    let beside = schema.categories().iter().position(|&(of, _)| of == column);
    let state = beside.and_then(|place| {
        let code = row.x_0[schema.numbers().len() + place].max(0.0) as usize;
        states.get(code)
    });
    let mut x_0 = written(row.x_0[channel]);
    // Where its category says all, the number is noise.
    if state.is_some_and(|state| *state != State::Regular) {
        x_0.text = Some("–".to_owned());
    }
    CellUnderNoise {
        name: schema.display_name(column),
        x_0,
        x_t: written(row.x_t[channel]),
        predicted_x_0: written(row.predicted_numbers[channel]),
        step_by_step: row.step_by_step.as_ref().map(|x| written(x[channel])),
    }
}

/// What the category in this place among those of an example is called.
fn category_name(form: &TableForm, place: usize) -> String {
    match form {
        TableForm::Rows(schema) => {
            let (column, _) = schema.categories()[place];
            let name = schema.display_name(column);
            match schema.columns()[column].content {
                Content::Numbers(_) => format!("{name}: what kind"),
                _ => name,
            }
        }
        TableForm::Lines(_) => (place + 1).to_string(),
    }
}

/// The text of a category in this place.
fn category(form: &TableForm, place: usize, code: usize) -> String {
    match form {
        TableForm::Rows(schema) => {
            let (column, _) = schema.categories()[place];
            category_of(&schema.columns()[column], code)
        }
        TableForm::Lines(schema) => {
            let letter = code
                .checked_sub(1)
                .and_then(|place| schema.alphabet().chars().nth(place));
            match letter {
                Some(' ') => BLANK.to_owned(),
                Some(letter) => letter.to_string(),
                None => END.to_owned(),
            }
        }
    }
}

fn category_of(column: &Column, code: usize) -> String {
    match &column.content {
        Content::Numbers(numbers) => match column.states().get(code) {
            Some(State::Spike(value)) => numbers.write(*value),
            Some(State::Gap) => "gap".to_owned(),
            Some(State::Regular) | None => "a number".to_owned(),
        },
        Content::Categories { texts, .. } => {
            texts.get(code).map_or("gap", String::as_str).to_owned()
        }
        _ => String::new(),
    }
}

/// The most probable categories by their logits.
fn likely(logits: &[f32], text: impl Fn(usize) -> String) -> Written {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weights: Vec<f64> = logits
        .iter()
        .map(|&logit| f64::from(logit - most).exp())
        .collect();
    let all: f64 = weights.iter().sum();
    let mut order: Vec<usize> = (0..weights.len()).collect();
    order.sort_by(|&a, &b| weights[b].total_cmp(&weights[a]));
    order.truncate(LIKELY);
    let likely: Vec<(String, f64)> = order
        .into_iter()
        .map(|code| (text(code), weights[code] / all))
        .collect();
    Written {
        text: likely.first().map(|(text, _)| text.clone()),
        z: None,
        likely,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use datasets::tables::lines::parse_lines;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_has_its_letters_its_masks_and_the_likeliest_ones() {
        let lines = parse_lines(b"ab\nb a\nab\n").unwrap();
        let form = TableForm::Lines(lines.schema().as_ref().clone());
        // Three places of the end, a blank, a and b.
        assert_eq!(form.categories(), [4, 4, 4]);
        let even = [0.0; 4];
        let sure = [0.0, 0.0, 3.0_f32.ln(), 5.0_f32.ln()];
        let row = RowUnderNoise {
            x_0: vec![3.0, 1.0, 0.0],
            x_t: vec![4.0, 1.0, 0.0],
            step_by_step: None,
            predicted_numbers: Vec::new(),
            logits: [sure, even, even].concat(),
            transition: Transition::Absorbing,
        };
        let found = serde_json::to_value(cells(&form, &row).unwrap()).unwrap();
        assert_eq!(found[0]["x_0"], json!({ "text": "b" }));
        assert_eq!(found[0]["x_t"], json!({ "text": null }));
        let likely = &found[0]["predicted_x_0"]["likely"];
        for (place, (letter, p)) in [("b", 0.5), ("a", 0.3), (END, 0.1)].into_iter().enumerate() {
            assert_eq!(likely[place][0], letter);
            assert!((likely[place][1].as_f64().unwrap() - p).abs() < 1e-6);
        }
        // What is no mask is known.
        assert_eq!(found[1]["predicted_x_0"], json!({ "text": BLANK }));
        assert_eq!(found[2]["x_0"], json!({ "text": END }));
        // On the uniform chain it may have been another.
        let row = RowUnderNoise {
            transition: Transition::Uniform,
            ..row
        };
        let found = serde_json::to_value(cells(&form, &row).unwrap()).unwrap();
        assert_eq!(found[1]["predicted_x_0"]["likely"][0][1], 0.25);
        let short = RowUnderNoise {
            x_t: vec![0.0],
            ..row
        };
        assert!(cells(&form, &short).is_err());
    }
}
