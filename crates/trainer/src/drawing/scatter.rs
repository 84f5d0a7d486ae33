//! Points and numbers as pictures: scatters and histograms, over the N(0, I) that they dissolve into.

use anyhow::{Context, Result};
use image::DynamicImage;
use plotters::element::{Circle, PathElement, Rectangle};
use plotters::prelude::ChartBuilder;
use plotters::style::{Color, ShapeStyle};

use super::canvas::{COLOURS, canvas};

/// The side of a panel in pixels, in a strip and in an animation.
pub const SMALL: u32 = 180;
/// See [`SMALL`].
pub const LARGE: u32 = 420;

/// The least and the greatest limit of the axes, in standard deviations of the noise.
const LEAST_AXIS_LIMIT: f64 = 3.5;
const GREATEST_AXIS_LIMIT: f64 = 6.0;

/// Bars of a histogram.
const BARS: usize = 40;

/// The limit of axes that show `coordinates`, normalised ones.
pub fn axis_limit(coordinates: &[f32]) -> f64 {
    let farthest = coordinates
        .iter()
        .fold(0.0, |farthest, value| value.abs().max(farthest));
    (1.1 * f64::from(farthest)).clamp(LEAST_AXIS_LIMIT, GREATEST_AXIS_LIMIT)
}

/// Points of so many dimensions, coordinate by coordinate: the first two as a scatter, or the only one
/// as a histogram, on axes from −`axis_limit` to `axis_limit`.
pub fn panel(
    coordinates: &[f32],
    dimensions: usize,
    axis_limit: f64,
    side: u32,
) -> Result<DynamicImage> {
    if dimensions == 1 {
        return histogram(coordinates, axis_limit, side);
    }
    let points: Vec<[f32; 2]> = coordinates
        .chunks_exact(dimensions)
        .map(|point| [point[0], point[1]])
        .collect();
    scatter(&points, axis_limit, side)
}

/// The points on axes from −`axis_limit` to `axis_limit`, under the circles of one and two
/// standard deviations of N(0, I), which hold 1 − e^(−½) = 39 % and 1 − e^(−2) = 86 % of it.
fn scatter(points: &[[f32; 2]], axis_limit: f64, side: u32) -> Result<DynamicImage> {
    canvas((side, side), |area| {
        let mut chart = ChartBuilder::on(area)
            .build_cartesian_2d(-axis_limit..axis_limit, -axis_limit..axis_limit)?;
        // Few points are drawn larger.
        let size = if points.len() < 500 { 2 } else { 1 };
        let size = size + i32::from(side == LARGE);
        let style = ShapeStyle::from(COLOURS[0].mix(0.5)).filled();
        let points = points
            .iter()
            .map(|&[x, y]| (f64::from(x), f64::from(y)))
            .filter(|(x, y)| x.abs() < axis_limit && y.abs() < axis_limit);
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
fn histogram(values: &[f32], axis_limit: f64, side: u32) -> Result<DynamicImage> {
    let width = 2.0 * axis_limit / BARS as f64;
    let mut counts = [0_usize; BARS];
    for &value in values {
        let bar = ((f64::from(value) + axis_limit) / width).floor();
        if (0.0..BARS as f64).contains(&bar) {
            counts[bar as usize] += 1;
        }
    }
    let density = |count: usize| count as f64 / (values.len() as f64 * width);
    // Data that stands in few places is cut off at the top, so that the bell can be seen.
    let top = 1.0;
    canvas((side, side), |area| {
        let mut chart =
            ChartBuilder::on(area).build_cartesian_2d(-axis_limit..axis_limit, 0.0..top)?;
        let bars = counts.iter().enumerate().map(|(bar, &count)| {
            let left = bar as f64 * width - axis_limit;
            let corners = [(left, 0.0), (left + width, density(count).min(top))];
            Rectangle::new(corners, COLOURS[0].mix(0.6).filled())
        });
        chart.draw_series(bars)?;
        let bell: Vec<(f64, f64)> = (0..=100)
            .map(|i| axis_limit * (f64::from(i) / 50.0 - 1.0))
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
        let panel = scatter(&[[2.0, 1.0], [9.0, 9.0]], 3.5, SMALL).unwrap();
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
