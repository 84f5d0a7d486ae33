//! Clouds of points that dissolve into N(0, I).

use anyhow::{Context, Result};
use burn::tensor::Tensor;
use datasets::Points;
use image::DynamicImage;
use plotters::element::{Circle, PathElement, Rectangle};
use plotters::prelude::ChartBuilder;
use plotters::style::{Color, ShapeStyle};
use rand::seq::index;
use tracing::info;

use super::{Forward, Strips, values};
use crate::plots::{COLOURS, canvas};
use crate::streams;

/// The side of a panel in pixels, in a strip and in an animation.
const SMALL: u32 = 180;
const LARGE: u32 = 420;

/// What the axes reach at least and at most, in standard deviations of the noise.
const LEAST_REACH: f64 = 3.5;
const MOST_REACH: f64 = 6.0;

/// Bars of a histogram.
const BARS: usize = 40;

/// Shows at most `count` points on their way. The noise of each dimension is independent of the
/// others', so only those that are drawn, the first two, are noised.
pub(super) fn show(forward: &Forward, points: &Points, count: usize) -> Result<()> {
    let dimensions = points.dimensions().min(2);
    let x_0 = points.to_tensor(&forward.device).narrow(1, 0, dimensions);
    let x_0 = some_of(x_0, count, forward);
    let drawn = x_0.dims()[0];
    info!(
        "noising {drawn} of {} points; drawn: {} (moved by their mean and divided by {:.4})",
        points.len(),
        points.columns()[..dimensions].join(" across, "),
        points.scale()
    );
    let farthest = values(x_0.clone())?
        .iter()
        .fold(0.0, |farthest, value| value.abs().max(farthest));
    let reach = (1.1 * f64::from(farthest)).clamp(LEAST_REACH, MOST_REACH);

    let shape = x_0.dims();
    // Index 0 chose the points.
    let mut rng = forward.rng(1);
    let panel = |x: Tensor<2>, side: u32| match dimensions {
        1 => histogram(&values(x)?, reach, side),
        _ => scatter(&values(x)?, reach, side),
    };
    let strips = match dimensions {
        1 => Strips {
            closed_form: "histogram-closed-form.png",
            step_by_step: "histogram-step-by-step.png",
            note: " (orange: N(0, 1), pure noise)",
        },
        _ => Strips {
            closed_form: "scatter-closed-form.png",
            step_by_step: "scatter-step-by-step.png",
            note: " (orange: where pure noise N(0, I) has 39 % and 86 % of its points)",
        },
    };
    forward.show(
        x_0,
        || streams::noise(shape, &mut rng, &forward.device),
        |x| Ok(vec![panel(x, SMALL)?]),
        |x| panel(x, LARGE),
        strips,
    )
}

/// All points, or `count` of them chosen at random.
fn some_of(points: Tensor<2>, count: usize, forward: &Forward) -> Tensor<2> {
    let all = points.dims()[0];
    if all <= count {
        return points;
    }
    let mut rng = forward.rng(0);
    let chosen: Vec<i64> = index::sample(&mut rng, all, count)
        .into_iter()
        .map(|index| index as i64)
        .collect();
    points.select(0, Tensor::from_data(chosen.as_slice(), &forward.device))
}

/// The points x, y, x, y, … on axes from −`reach` to `reach`, under the circles of one and two
/// standard deviations of N(0, I), which hold 1 − e^(−½) = 39 % and 1 − e^(−2) = 86 % of it.
fn scatter(coordinates: &[f32], reach: f64, side: u32) -> Result<DynamicImage> {
    canvas((side, side), |area| {
        let mut chart = ChartBuilder::on(area).build_cartesian_2d(-reach..reach, -reach..reach)?;
        // Few points are drawn larger.
        let size = if coordinates.len() < 1000 { 2 } else { 1 };
        let size = size + i32::from(side == LARGE);
        let style = ShapeStyle::from(COLOURS[0].mix(0.5)).filled();
        let (points, _) = coordinates.as_chunks::<2>();
        let points = points
            .iter()
            .map(|&[x, y]| (f64::from(x), f64::from(y)))
            .filter(|(x, y)| x.abs() < reach && y.abs() < reach);
        chart.draw_series(points.map(|point| Circle::new(point, size, style)))?;
        for radius in [1.0, 2.0] {
            let circle: Vec<(f64, f64)> = (0..=90)
                .map(|i| f64::from(i) * std::f64::consts::TAU / 90.0)
                .map(|angle| (radius * angle.cos(), radius * angle.sin()))
                .collect();
            chart.draw_series(std::iter::once(PathElement::new(circle, COLOURS[1])))?;
        }
        Ok(())
    })
}

/// How often the values fall where, as a density, with the one of N(0, 1) over it.
fn histogram(values: &[f32], reach: f64, side: u32) -> Result<DynamicImage> {
    let width = 2.0 * reach / BARS as f64;
    let mut counts = [0_usize; BARS];
    for &value in values {
        let bar = ((f64::from(value) + reach) / width).floor();
        if (0.0..BARS as f64).contains(&bar) {
            counts[bar as usize] += 1;
        }
    }
    let density = |count: usize| count as f64 / (values.len() as f64 * width);
    // Data that stands in few places is cut off at the top, so that the bell can be seen.
    let top = 1.0;
    canvas((side, side), |area| {
        let mut chart = ChartBuilder::on(area).build_cartesian_2d(-reach..reach, 0.0..top)?;
        let bars = counts.iter().enumerate().map(|(bar, &count)| {
            let left = bar as f64 * width - reach;
            let corners = [(left, 0.0), (left + width, density(count).min(top))];
            Rectangle::new(corners, COLOURS[0].mix(0.6).filled())
        });
        chart.draw_series(bars)?;
        let bell: Vec<(f64, f64)> = (0..=100)
            .map(|i| reach * (f64::from(i) / 50.0 - 1.0))
            .map(|x| (x, (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt()))
            .collect();
        chart.draw_series(std::iter::once(PathElement::new(bell, COLOURS[1])))?;
        Ok(())
    })
    .context("cannot draw a histogram")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// The coloured pixels of a panel in its four quarters: top left, top right, bottom left, right.
    fn quarters(panel: &DynamicImage) -> [usize; 4] {
        let half = panel.width() / 2;
        let mut counts = [0; 4];
        for (x, y, pixel) in panel.to_rgb8().enumerate_pixels() {
            let [red, _, blue] = pixel.0;
            if blue > red.saturating_add(40) {
                counts[usize::from(x >= half) + 2 * usize::from(y >= half)] += 1;
            }
        }
        counts
    }

    #[test]
    fn points_are_drawn_where_they_are() {
        // Right and up; the second one lies outside.
        let panel = scatter(&[2.0, 1.0, 9.0, 9.0], 3.5, SMALL).unwrap();
        let [top_left, top_right, bottom_left, bottom_right] = quarters(&panel);
        assert_eq!([top_left, bottom_left, bottom_right], [0; 3]);
        assert!(top_right > 5);
    }

    #[test]
    fn bars_stand_where_the_values_are() {
        let panel = histogram(&[-1.0, -1.1, -1.2, -50.0], 3.5, SMALL).unwrap();
        let [top_left, top_right, bottom_left, bottom_right] = quarters(&panel);
        assert_eq!([top_right, bottom_right], [0; 2]);
        assert!(top_left + bottom_left > 100);
    }
}
