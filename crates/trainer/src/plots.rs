//! Curves: loss and FID of a run, and the schedule of a chain.

use std::path::Path;
use std::sync::OnceLock;

use anyhow::{Context, Result, anyhow};
use image::{DynamicImage, GenericImage, RgbImage};
use noising::NoiseSchedule;
use plotters::coord::Shift;
use plotters::coord::combinators::BindKeyPoints;
use plotters::coord::ranged1d::AsRangedCoord;
use plotters::prelude::*;
use plotters::style::register_font;

use crate::metrics::{Record, Smoothed};
use crate::pictures;

/// The size of a plot in pixels.
const SIZE: (u32, u32) = (800, 500);

/// The font of all labels; it comes with the program.
pub(crate) const FONT: &str = "sans-serif";
/// The colours of curves, in order.
pub(crate) const COLOURS: [RGBColor; 3] = [
    RGBColor(31, 119, 180),
    RGBColor(214, 90, 30),
    RGBColor(44, 140, 60),
];

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

/// Draws the training loss, smoothed, and the held-out loss of a run over its steps, as PNG.
pub fn loss_curve(records: &[Record], path: &Path) -> Result<()> {
    let mut smoothed = Smoothed::default();
    let training = records
        .iter()
        .filter_map(|record| Some((record.step as f64, smoothed.push(record.loss?))))
        .collect();
    let held_out = records
        .iter()
        .filter_map(|record| Some((record.step as f64, record.held_out_loss?)))
        .collect();
    let curves = [
        Curve {
            name: "training (smoothed)".to_owned(),
            points: training,
            marked: false,
        },
        Curve {
            name: "test split, averaged weights".to_owned(),
            points: held_out,
            marked: true,
        },
    ];
    let labels = Labels {
        title: "Loss",
        x: "step",
        y: "mean squared error",
    };
    let picture = draw(&labels, &curves, Scale::Logarithmic)?;
    pictures::save_png(&picture, path)
}

/// Draws the FID of a run over the minutes that it has trained for, as PNG.
pub fn fid_curve(records: &[Record], path: &Path) -> Result<()> {
    let points = records
        .iter()
        .filter_map(|record| Some((record.seconds / 60.0, record.fid?)))
        .collect();
    let curve = Curve {
        name: "drawn by the averaged weights".to_owned(),
        points,
        marked: true,
    };
    let labels = Labels {
        title: "FID on the features of the classifier",
        x: "minutes of training",
        y: "FID",
    };
    pictures::save_png(&draw(&labels, &[curve], Scale::Logarithmic)?, path)
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
    register_fonts()?;
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

    canvas(SIZE, |area| match scale {
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
    })
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

/// What is drawn on.
pub(crate) type Area<'a> = DrawingArea<BitMapBackend<'a>, Shift>;

/// A white picture of `size` pixels with what `paint` draws on it.
pub(crate) fn canvas(
    size: (u32, u32),
    paint: impl FnOnce(&Area<'_>) -> Result<()>,
) -> Result<DynamicImage> {
    register_fonts()?;
    let mut pixels = vec![255; size.0 as usize * size.1 as usize * 3];
    {
        let area = BitMapBackend::with_buffer(&mut pixels, size).into_drawing_area();
        paint(&area).context("cannot draw a plot")?;
    }
    RgbImage::from_raw(size.0, size.1, pixels)
        .map(DynamicImage::from)
        .context("cannot draw a plot")
}

/// The width in pixels of `text` in letters of height `size`.
pub(crate) fn text_width(text: &str, size: u32) -> Result<u32> {
    register_fonts()?;
    let (width, _) = (FONT, size).into_font().box_size(text)?;
    Ok(width)
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
    let mut chart = ChartBuilder::on(area)
        .caption(labels.title, (FONT, 22))
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(64)
        .build_cartesian_2d(xs, ys)
        .map_err(|e| failed(&e))?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .label_style((FONT, 14))
        .axis_desc_style((FONT, 16))
        .x_desc(labels.x)
        .y_desc(labels.y)
        .x_label_formatter(&|x| tick(*x))
        .y_label_formatter(&|y| tick(*y))
        .draw()
        .map_err(|e| failed(&e))?;
    for (curve, colour) in curves.iter().zip(COLOURS.iter().cycle()) {
        let style = ShapeStyle::from(colour).stroke_width(2);
        chart
            .draw_series(LineSeries::new(curve.points.iter().copied(), style))
            .map_err(|e| failed(&e))?
            .label(&curve.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
        if curve.marked {
            let marks = curve
                .points
                .iter()
                .map(|&point| Circle::new(point, 3, style.filled()));
            chart.draw_series(marks).map_err(|e| failed(&e))?;
        }
    }
    chart
        .configure_series_labels()
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .label_font((FONT, 14))
        .draw()
        .map_err(|e| failed(&e))
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

/// Fonts come with the program: a machine without any still gets labels.
fn register_fonts() -> Result<()> {
    static REGISTERED: OnceLock<bool> = OnceLock::new();
    let registered = REGISTERED
        .get_or_init(|| register_font(FONT, FontStyle::Normal, dejavu::sans::regular()).is_ok());
    anyhow::ensure!(registered, "the built-in font cannot be read");
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn record(step: u64, loss: f64) -> Record {
        Record {
            step,
            loss: Some(loss),
            held_out_loss: Some(loss * 1.1),
            ..Record::default()
        }
    }

    #[test]
    fn runs_of_any_length_have_a_curve() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("loss.png");
        for records in [
            vec![],
            vec![record(1, 0.5)],
            vec![record(1, f64::NAN)],
            vec![record(1, 0.5), record(2, 0.25)],
        ] {
            loss_curve(&records, &path).unwrap();
            let picture = image::open(&path).unwrap();
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
        let coloured = picture
            .pixels()
            .filter(|p| p.0 == [colour.0, colour.1, colour.2]);
        assert!(coloured.count() > 500);
    }
}
