//! Columns of a table as pairs of histograms: what the data have, filled, and what was drawn, as a line over it.

use anyhow::{Context, Result};
use image::DynamicImage;
use plotters::element::{PathElement, Rectangle};
use plotters::prelude::ChartBuilder;
use plotters::style::Color;

use super::canvas::{COLOURS, canvas};
use super::grid;
use super::text::{self, Align};

/// The size of a panel in pixels, and of its letters.
const WIDTH: u32 = 240;
const HEIGHT: u32 = 150;
const LETTERS: u32 = 12;
/// Room for a line of letters above and below the bars, and beside them.
const LINE: u32 = 20;
const MARGIN: u32 = 6;
/// Panels side by side.
const COLUMNS: usize = 5;

/// The two histograms of a column. All shares of each are at most 1 together.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    /// The column.
    pub name: String,
    /// What the first and the last bar stand for.
    pub ends: [String; 2],
    /// The share of each bar in the data.
    pub real: Vec<f64>,
    /// The share of each bar in what was drawn.
    pub drawn: Vec<f64>,
}

/// The histograms in rows of panels.
///
/// # Errors
///
/// No histogram, and what keeps one from being drawn.
pub fn histograms(all: &[Histogram]) -> Result<DynamicImage> {
    let panels: Vec<DynamicImage> = all.iter().map(panel).collect::<Result<_>>()?;
    grid::grid(&panels, COLUMNS)
}

fn panel(histogram: &Histogram) -> Result<DynamicImage> {
    let Histogram { real, drawn, .. } = histogram;
    let largest = real
        .iter()
        .chain(drawn)
        .fold(0.0f64, |top, &share| top.max(share));
    let top = if largest > 0.0 { 1.05 * largest } else { 1.0 };
    let bars = real.len().max(drawn.len()).max(1);
    let mut picture = canvas((WIDTH, HEIGHT), |area| {
        let mut chart = ChartBuilder::on(area)
            .margin_top(LINE)
            .margin_bottom(LINE)
            .margin_left(MARGIN)
            .margin_right(MARGIN)
            .build_cartesian_2d(0.0..bars as f64, 0.0..top)?;
        let filled = real.iter().enumerate().map(|(bar, &share)| {
            let corners = [(bar as f64, 0.0), (bar as f64 + 1.0, share)];
            Rectangle::new(corners, COLOURS[0].mix(0.45).filled())
        });
        chart.draw_series(filled)?;
        let steps = drawn.iter().enumerate();
        let mut line: Vec<(f64, f64)> = vec![(0.0, 0.0)];
        line.extend(
            steps.flat_map(|(bar, &share)| [(bar as f64, share), (bar as f64 + 1.0, share)]),
        );
        line.push((drawn.len() as f64, 0.0));
        chart.draw_series(std::iter::once(PathElement::new(
            line,
            COLOURS[1].stroke_width(2),
        )))?;
        Ok(())
    })
    .context("cannot draw a histogram")?;
    let room = WIDTH - 2 * MARGIN;
    let name = text::cut_to(&histogram.name, LETTERS, room)?;
    text::write(
        &mut picture,
        &name,
        LETTERS,
        Align::Centre,
        (WIDTH / 2, LINE / 2),
    )?;
    let bottom = HEIGHT - LINE / 2;
    let [first, last] = &histogram.ends;
    let first = text::cut_to(first, LETTERS, room / 2)?;
    text::write(&mut picture, &first, LETTERS, Align::Left, (MARGIN, bottom))?;
    let last = text::cut_to(last, LETTERS, room / 2)?;
    text::write(
        &mut picture,
        &last,
        LETTERS,
        Align::Right,
        (WIDTH - MARGIN, bottom),
    )?;
    Ok(picture)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn bars_stand_where_the_shares_are() {
        let histogram = Histogram {
            name: "age".to_owned(),
            ends: ["17".to_owned(), "90".to_owned()],
            real: vec![0.9, 0.1],
            drawn: vec![0.1, 0.9],
        };
        let picture = histograms(&[histogram.clone(), histogram])
            .unwrap()
            .to_rgb8();
        // Of the first panel, halfway up: the filled bar left, nothing filled right, the line in the right half.
        let row = 2 + HEIGHT / 2;
        let blue = |x: u32| {
            let [red, _, blue] = picture.get_pixel(x, row).0;
            blue > red.saturating_add(40)
        };
        assert!(blue(2 + WIDTH / 4) && !blue(2 + 3 * WIDTH / 4));
        let is_orange = |x: u32, y: u32| {
            let [red, _, blue] = picture.get_pixel(x, y).0;
            red > blue.saturating_add(80)
        };
        let orange = |columns: std::ops::Range<u32>| {
            columns
                .filter(|&x| (LINE..HEIGHT / 2).any(|y| is_orange(x, y)))
                .count()
        };
        assert!(orange(2 + WIDTH / 2 + 4..WIDTH) > 80);
        assert_eq!(orange(2 + MARGIN..WIDTH / 2 - 4), 0);
        assert!(histograms(&[]).is_err());
    }
}
