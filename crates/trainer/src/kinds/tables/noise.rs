//! Rows and lines that dissolve, on both chains of categories.

use anyhow::{Result, ensure};
use burn::tensor::{Tensor, TensorData};
use datasets::Splits;
use image::{DynamicImage, Rgb, RgbImage};
use noising::{MixedChain, Transition};
use rand::seq::index;
use training::streams;

use super::examples::TableExamples;
use super::form::TableForm;
use crate::drawing::page::page;
use crate::drawing::pictures;
use crate::kinds::forward::{Forward, values};

/// Rows, and lines, that are shown when no number is given.
const ROWS: usize = 32;
const LINES: usize = 12;
/// The side of a cell in pixels.
const CELL: u32 = 9;
/// The colour of a mask.
const MASK: Rgb<u8> = Rgb([225; 3]);

/// Shows some of the rows at the timesteps of `forward`: `absorbing.png`, whose categories become masks, and
/// `uniform.png`, whose categories become others. Numbers go to N(0, 1) in both.
pub(crate) fn noise(
    forward: &Forward,
    splits: &Splits<TableExamples>,
    count: Option<usize>,
) -> Result<()> {
    let examples = &splits.test;
    ensure!(
        examples.count() > 0,
        "no row is held out: there is nothing to show"
    );
    let form = examples.form();
    let usual = if matches!(form, TableForm::Lines(_)) {
        LINES
    } else {
        ROWS
    };
    let count = count.unwrap_or(usual).min(examples.count());
    // Index 0 chose the rows.
    let chosen = index::sample(&mut forward.rng(0), examples.count(), count).into_vec();
    let shape = [count, examples.example_len(), 1, 1];
    let x_0 = Tensor::<4>::from_data(
        TensorData::new(examples.read(&chosen)?, shape),
        &forward.device,
    );
    let noise = streams::noise(shape, &mut forward.rng(1), &forward.device);
    forward.make_folder()?;
    for (transition, file, becomes) in [
        (Transition::Absorbing, "absorbing.png", "masks"),
        (Transition::Uniform, "uniform.png", "others"),
    ] {
        let chain = MixedChain::new(
            forward.chain.schedule().clone(),
            transition,
            form.categories(),
        )?;
        let mut columns = vec![vec![state(&form, x_0.clone())?]];
        for &t in &forward.columns {
            let x_t = chain.q_sample(x_0.clone(), noise.clone(), &vec![t; count]);
            columns.push(vec![state(&form, x_t)?]);
        }
        let title = format!(
            "{count} {}: categories become {becomes}, each cell with probability 1 - ᾱ",
            form.noun()
        );
        forward.save(&forward.strip(&columns, &title)?, file)?;
    }
    // Numbers have the variance 1.
    forward.finish(1.0)
}

/// Rows `[N, C, 1, 1]` as cells in colour, lines as text.
fn state(form: &TableForm, x: Tensor<4>) -> Result<DynamicImage> {
    let values = values(x)?;
    let schema = match form {
        TableForm::Lines(schema) => {
            let lines = schema.decode_noised(&values)?;
            return page(&lines.iter().map(String::as_str).collect::<Vec<_>>());
        }
        TableForm::Rows(schema) => schema,
    };
    let (numbers, len) = (schema.numbers().len(), schema.example_len());
    let categories = schema.categories();
    let rows = u32::try_from(values.len() / len)?;
    let mut picture = RgbImage::from_pixel(u32::try_from(len)? * CELL, rows * CELL, Rgb([255; 3]));
    for (row, cells) in (0..).zip(values.chunks(len)) {
        for (column, &value) in cells.iter().enumerate() {
            let colour = match column.checked_sub(numbers) {
                None => of_number(value),
                Some(place) => of_category(value as usize, categories[place].1),
            };
            for (x, y) in (0..CELL - 1).flat_map(|x| (0..CELL - 1).map(move |y| (x, y))) {
                picture.put_pixel(column as u32 * CELL + x, row * CELL + y, colour);
            }
        }
    }
    Ok(picture.into())
}

/// From blue over white to red: −2 to 2.
fn of_number(value: f32) -> Rgb<u8> {
    let share = (value / 2.0).clamp(-1.0, 1.0);
    let fade = pictures::to_byte(1.0 - 2.0 * share.abs());
    if share < 0.0 {
        Rgb([fade, fade, 255])
    } else {
        Rgb([255, fade, fade])
    }
}

/// A hue for each category.
fn of_category(category: usize, count: usize) -> Rgb<u8> {
    if category >= count {
        return MASK;
    }
    let hue = 6.0 * category as f32 / count as f32;
    // Hue to red, green and blue: a triangle each, a third apart (Smith 1978, "Color gamut transform pairs").
    let channel = |shift: f32| {
        let distance = (hue + shift).rem_euclid(6.0);
        let level = (distance.min(6.0 - distance) - 1.0).clamp(0.0, 1.0);
        pictures::to_byte(2.0 * (0.25 + 0.6 * (1.0 - level)) - 1.0)
    };
    Rgb([channel(0.0), channel(4.0), channel(2.0)])
}
