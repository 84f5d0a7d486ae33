//! Waveforms: sound over time.

use anyhow::Result;
use image::DynamicImage;
use plotters::element::PathElement;
use plotters::prelude::ChartBuilder;
use plotters::style::Color;

use crate::drawing::canvas::{Area, COLOURS, canvas};

/// The samples of a channel in one of a number of equal spans of time.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Span {
    least: f32,
    greatest: f32,
    /// The root of their mean square: how loud they are.
    rms: f32,
}

/// The waveforms of so many channels, one below the other in lanes of `lane` pixels (width, height); the vertical
/// axis runs from `-axis_limit` to `axis_limit`. Light is where all samples lie, dark how loud they are.
pub fn waveforms<'a>(
    channels: impl IntoIterator<Item = &'a [f32]>,
    lane: (u32, u32),
    axis_limit: f64,
) -> Result<DynamicImage> {
    let spans = |channel| spans(channel, lane.0);
    let channels: Vec<Vec<Span>> = channels.into_iter().map(spans).collect();
    canvas((lane.0, lane.1 * channels.len() as u32), |area| {
        for (lane, spans) in area.split_evenly((channels.len(), 1)).iter().zip(&channels) {
            draw(lane, spans, axis_limit)?;
        }
        Ok(())
    })
}

/// The spans of a channel, at most one for each of `width` pixels.
fn spans(samples: &[f32], width: u32) -> Vec<Span> {
    let count = samples.len().min(width as usize);
    let edge = |span: usize| span * samples.len() / count;
    (0..count)
        .map(|span| {
            let samples = &samples[edge(span)..edge(span + 1)];
            let squares = samples.iter().map(|&s| f64::from(s).powi(2));
            Span {
                least: samples.iter().copied().fold(f32::INFINITY, f32::min),
                greatest: samples.iter().copied().fold(f32::NEG_INFINITY, f32::max),
                rms: (squares.sum::<f64>() / samples.len() as f64).sqrt() as f32,
            }
        })
        .collect()
}

fn draw(area: &Area<'_>, spans: &[Span], axis_limit: f64) -> Result<()> {
    let end = (spans.len() as f64 - 1.0).max(1.0);
    let mut chart = ChartBuilder::on(area)
        .margin_top(2)
        .margin_bottom(2)
        .build_cartesian_2d(0.0..end, -axis_limit..axis_limit)?;
    // Up and down between the two values of each span.
    let band = |ends: &dyn Fn(&Span) -> [f32; 2]| -> Vec<(f64, f64)> {
        spans
            .iter()
            .enumerate()
            .flat_map(|(x, span)| ends(span).map(|y| (x as f64, f64::from(y))))
            .map(|(x, y)| (x, y.clamp(-axis_limit, axis_limit)))
            .collect()
    };
    let all = band(&|span| [span.least, span.greatest]);
    // Where each span is a single sample, the line is the waveform itself.
    let is_line = spans.iter().all(|span| span.least == span.greatest);
    let colour = COLOURS[0].mix(if is_line { 1.0 } else { 0.4 });
    chart.draw_series(std::iter::once(PathElement::new(all, colour)))?;
    if !is_line {
        let loud = band(&|span| [-span.rms, span.rms]);
        chart.draw_series(std::iter::once(PathElement::new(loud, COLOURS[0])))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_hold_every_sample() {
        let span = |s: f32| Span {
            least: s,
            greatest: s,
            rms: s.abs(),
        };
        assert_eq!(spans(&[0.5, -0.5], 900), [span(0.5), span(-0.5)]);
        let mut samples = vec![0.0; 100_000];
        samples[77_777] = 0.9;
        samples[12_345] = -0.8;
        let spans = spans(&samples, 900);
        assert_eq!(spans.len(), 900);
        let greatest = spans.iter().map(|span| span.greatest).fold(0.0, f32::max);
        let least = spans.iter().map(|span| span.least).fold(0.0, f32::min);
        assert_eq!((least, greatest), (-0.8, 0.9));
    }
}
