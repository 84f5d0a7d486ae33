//! Curves, among them the schedule of a chain.

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use image::imageops::FilterType;
use image::{DynamicImage, GenericImage};
use noising::NoiseSchedule;
use plotters::coord::combinators::BindKeyPoints;
use plotters::coord::ranged1d::AsRangedCoord;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::canvas::{Area, COLOURS, FONT, canvas};
use super::pictures;

/// The size of a plot in pixels.
const SIZE: (u32, u32) = (800, 500);

/// How much larger a plot is drawn than it is shown: the rasteriser puts every letter on a whole pixel, which
/// at the true size makes uneven gaps, and lines without it have steps.
const OVERSAMPLING: u32 = 3;

/// The most parts that a linear axis is marked in.
const MARKS: usize = 8;

/// A named line of a plot.
#[derive(Debug, Clone)]
pub struct Curve {
    /// Its name in the legend.
    pub name: String,
    /// Its points, from left to right; those that are not finite are left out.
    pub points: Vec<(f64, f64)>,
    /// Whether the points are marked.
    pub marked: bool,
}

/// How a plot is labelled.
#[derive(Debug, Clone, Copy)]
pub struct Labels<'a> {
    /// Above it.
    pub title: &'a str,
    /// Below it.
    pub x: &'a str,
    /// Beside it.
    pub y: &'a str,
}

/// How values are spread along the vertical axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// As they are.
    Linear,
    /// By their logarithm, for positive values.
    Logarithmic,
}

/// Draws up to three curves into one plot.
pub fn draw(labels: &Labels<'_>, curves: &[Curve], scale: Scale) -> Result<DynamicImage> {
    let is_drawn = |&(_, y): &(f64, f64)| y.is_finite() && (scale == Scale::Linear || y > 0.0);
    let curves: Vec<Curve> = curves
        .iter()
        .map(|curve| Curve {
            points: curve.points.iter().copied().filter(is_drawn).collect(),
            ..curve.clone()
        })
        .collect();
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let xs = range(points().map(|point| point.0));
    let ys = range(points().map(|point| point.1));

    let large = (SIZE.0 * OVERSAMPLING, SIZE.1 * OVERSAMPLING);
    let drawn = canvas(large, |area| match scale {
        Scale::Linear => {
            let margin = (ys.1 - ys.0) * 0.05;
            chart(
                area,
                labels,
                &curves,
                xs.0..xs.1,
                (ys.0 - margin)..(ys.1 + margin),
            )
        }
        Scale::Logarithmic => {
            let (least, greatest) = (ys.0 / 1.1, ys.1 * 1.1);
            let ys = (least..greatest)
                .log_scale()
                .with_key_points(logarithmic_ticks(least, greatest));
            chart(area, labels, &curves, xs.0..xs.1, ys)
        }
    })?;
    Ok(drawn.resize_exact(SIZE.0, SIZE.1, FilterType::Triangle))
}

/// Draws how much signal and noise x_t = √ᾱ_t x_0 + √(1 − ᾱ_t) ε holds over the steps of a chain,
/// and below it their ratio as log-SNR, as PNG.
pub fn schedule(schedule: &NoiseSchedule, path: &Path) -> Result<()> {
    /// More points than pixels would not show.
    const MAX_POINTS: usize = 2000;
    let num_train_timesteps = schedule.num_train_timesteps();
    let count = num_train_timesteps.min(MAX_POINTS);
    let curve = |name: &str, value: &dyn Fn(usize) -> f64| Curve {
        name: name.to_owned(),
        points: (1..=count)
            .map(|i| i * num_train_timesteps / count - 1)
            .map(|t| (t as f64, value(t)))
            .collect(),
        marked: count < 50,
    };
    let alphas_cumprod = schedule.alphas_cumprod();
    let coefficients = draw(
        &Labels {
            title: "xₜ = √ᾱₜ x₀ + √(1 − ᾱₜ) ε: the signal fades, the noise takes over",
            x: "timestep t",
            y: "coefficient",
        },
        &[
            curve("signal √ᾱₜ", &|t| alphas_cumprod[t].sqrt()),
            curve("noise √(1 − ᾱₜ)", &|t| {
                (1.0 - alphas_cumprod[t]).sqrt()
            }),
        ],
        Scale::Linear,
    )?;
    let log_snr = draw(
        &Labels {
            title: "Signal-to-noise ratio: above 0 the signal is stronger, below 0 the noise",
            x: "timestep t",
            y: "log-SNR in nats",
        },
        &[curve("ln (ᾱₜ / (1 − ᾱₜ))", &|t| {
            schedule.log_snr(t)
        })],
        Scale::Linear,
    )?;
    let mut both = DynamicImage::new_rgb8(SIZE.0, 2 * SIZE.1);
    both.copy_from(&coefficients, 0, 0)
        .and_then(|()| both.copy_from(&log_snr, 0, SIZE.1))
        .context("cannot draw a plot")?;
    pictures::save_png(&both, path)
}

fn chart<Y>(
    area: &Area<'_>,
    labels: &Labels<'_>,
    curves: &[Curve],
    xs: std::ops::Range<f64>,
    ys: Y,
) -> Result<()>
where
    Y: AsRangedCoord<Value = f64>,
    Y::CoordDescType: plotters::coord::ranged1d::ValueFormatter<f64>,
{
    let failed = |error: &dyn std::error::Error| anyhow!("{error}");
    let font = |size: u32| (FONT, size * OVERSAMPLING);
    let pixels = |count: u32| count * OVERSAMPLING;
    let mut chart = ChartBuilder::on(area)
        .caption(labels.title, font(20))
        .margin(pixels(16))
        // Room for the last value of a curve that ends at the edge.
        .margin_right(pixels(72))
        .x_label_area_size(pixels(44))
        .y_label_area_size(pixels(68))
        .build_cartesian_2d(xs, ys)
        .map_err(|e| failed(&e))?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .bold_line_style(ShapeStyle::from(BLACK.mix(0.15)).stroke_width(pixels(1)))
        .axis_style(ShapeStyle::from(BLACK).stroke_width(pixels(1)))
        .set_all_tick_mark_size(pixels(4))
        .x_labels(MARKS)
        .y_labels(MARKS)
        .label_style(font(13))
        .axis_desc_style(font(15))
        .x_desc(labels.x)
        .y_desc(labels.y)
        .x_label_formatter(&|x| tick(*x))
        .y_label_formatter(&|y| tick(*y))
        .draw()
        .map_err(|e| failed(&e))?;
    let mut last_values = Vec::new();
    for (curve, colour) in curves.iter().zip(COLOURS.iter().cycle()) {
        let style = ShapeStyle::from(colour).stroke_width(pixels(2));
        chart
            .draw_series(LineSeries::new(curve.points.iter().copied(), style))
            .map_err(|e| failed(&e))?
            .label(&curve.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + pixels(18) as i32, y)], style));
        if curve.marked {
            let marks = curve
                .points
                .iter()
                .map(|&point| Circle::new(point, pixels(3), style.filled()));
            chart.draw_series(marks).map_err(|e| failed(&e))?;
        }
        if let Some(&(x, y)) = curve.points.last() {
            let (right, middle) = chart.backend_coord(&(x, y));
            last_values.push((right + pixels(6) as i32, middle, tick(y), *colour));
        }
    }
    chart
        .configure_series_labels()
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .position(SeriesLabelPosition::UpperRight)
        .legend_area_size(pixels(30))
        .margin(pixels(8))
        .label_font(font(13))
        .draw()
        .map_err(|e| failed(&e))?;
    // From top to bottom, none of them on another.
    last_values.sort_by_key(|&(_, middle, ..)| middle);
    let mut least = i32::MIN;
    for (left, middle, value, colour) in last_values {
        let middle = middle.max(least);
        least = middle + pixels(14) as i32;
        let style = TextStyle::from(font(13).into_font())
            .color(&colour)
            .pos(Pos::new(HPos::Left, VPos::Center));
        area.draw(&Text::new(value, (left, middle), style))
            .map_err(|e| failed(&e))?;
    }
    Ok(())
}

/// Where a logarithmic axis of positive values is marked: at powers of ten and, until there are four marks,
/// at 2 and 5 times, at each multiple of, and at each tenth between them.
fn logarithmic_ticks(least: f64, greatest: f64) -> Vec<f64> {
    const ENOUGH: usize = 4;
    let digits = |tenths: &[i32]| -> Vec<f64> {
        let exponents = least.log10().floor() as i32..=greatest.log10().floor() as i32;
        exponents
            .flat_map(|exponent| {
                let unit = 10_f64.powi(exponent);
                tenths
                    .iter()
                    .map(move |&tenths| f64::from(tenths) * unit / 10.0)
            })
            .filter(|value| (least..=greatest).contains(value))
            .collect()
    };
    let multiples: Vec<i32> = (10..100).step_by(10).collect();
    let every: Vec<i32> = (10..100).collect();
    [&[10][..], &[10, 20, 50], &multiples]
        .into_iter()
        .map(digits)
        .find(|ticks| ticks.len() >= ENOUGH)
        .unwrap_or_else(|| digits(&every))
}

/// A number at a tick, without the zeros that say nothing.
fn tick(value: f64) -> String {
    if value != 0.0 && value.abs() < 0.001 {
        return format!("{value:.0e}");
    }
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The least and the greatest of some values, apart even where they are one or none.
fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (least, greatest) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |range, value| {
        (range.0.min(value), range.1.max(value))
    });
    if least > greatest {
        return (0.1, 1.0);
    }
    if least == greatest {
        let margin = if least == 0.0 { 0.5 } else { least.abs() * 0.5 };
        return (least - margin, greatest + margin);
    }
    (least, greatest)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn any_number_of_points_makes_a_curve() {
        let labels = Labels {
            title: "",
            x: "",
            y: "",
        };
        for points in [vec![], vec![(1.0, 0.5)], vec![(1.0, f64::NAN)]] {
            let curve = Curve {
                name: "curve".to_owned(),
                points,
                marked: true,
            };
            let picture = draw(&labels, &[curve], Scale::Logarithmic).unwrap();
            assert_eq!((picture.width(), picture.height()), SIZE);
        }
    }

    #[test]
    fn logarithmic_axes_have_marks_however_short_or_long() {
        let ticks = |least, greatest| -> Vec<String> {
            let ticks = logarithmic_ticks(least, greatest);
            ticks.into_iter().map(tick).collect()
        };
        assert_eq!(
            ticks(0.018, 1.1),
            ["0.02", "0.05", "0.1", "0.2", "0.5", "1"]
        );
        assert_eq!(ticks(5.7, 13.7), ["6", "7", "8", "9", "10"]);
        assert_eq!(ticks(0.155, 0.19), ["0.16", "0.17", "0.18", "0.19"]);
        assert_eq!(ticks(2e-5, 2.0), ["1e-4", "0.001", "0.01", "0.1", "1"]);
    }

    #[test]
    fn curves_leave_their_colour() {
        let curve = Curve {
            name: "line".to_owned(),
            points: vec![(0.0, -1.0), (1.0, 1.0)],
            marked: false,
        };
        let labels = Labels {
            title: "",
            x: "",
            y: "",
        };
        let picture = draw(&labels, &[curve], Scale::Linear).unwrap().to_rgb8();
        let colour = COLOURS[0];
        let coloured = picture.pixels().filter(|pixel| {
            let pairs = pixel.0.iter().zip([colour.0, colour.1, colour.2]);
            pairs.into_iter().all(|(a, b)| a.abs_diff(b) < 40)
        });
        assert!(coloured.count() > 500);
    }
}
