//! Sound that drowns in noise: to be heard, as WAV files, and to be seen, as waveforms.

use anyhow::{Context, Result};
use burn::tensor::Tensor;
use datasets::Audio;
use image::DynamicImage;
use plotters::element::PathElement;
use plotters::prelude::ChartBuilder;
use plotters::style::Color;
use tracing::info;

use crate::drawing::canvas::{Area, COLOURS, canvas};
use crate::drawing::captions::{Captions, captioned};
use crate::drawing::grid;
use crate::kinds::forward::{Forward, mean_square, values};
use crate::progress;
use crate::report;
use crate::run::atomic_file;
use training::streams;

/// The width of a waveform in pixels, and the height of that of one channel.
const WIDTH: u32 = 900;
const LANE: u32 = 80;

/// The most channels that are drawn; the files hold all.
const MAX_LANES: usize = 2;

/// What the vertical axis reaches, in standard deviations of the noise; sound lies in [-1, 1].
const REACH: f64 = 3.0;

/// The samples of a channel in one of a number of equal spans of time.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Span {
    least: f32,
    greatest: f32,
    /// The root of their mean square: how loud they are.
    rms: f32,
}

/// Shows a sound on its way, in closed form: minutes of sound have millions of samples, too many to
/// take a thousand steps with each.
pub fn show(forward: &Forward, audio: &Audio) -> Result<()> {
    info!(
        "noising {:.2} s of sound, {} channel(s), {} samples a second",
        audio.frames() as f64 / f64::from(audio.sample_rate()),
        audio.channels(),
        audio.sample_rate()
    );
    forward.make_folder()?;
    let x_0: Tensor<4> = audio.to_tensor(&forward.device).unsqueeze_dims(&[0, 2]);
    let noise = streams::noise(x_0.dims(), &mut forward.rng(0), &forward.device);
    let x_t = |t: usize| {
        let x_t = forward.chain.q_sample(x_0.clone(), noise.clone(), &[t]);
        values(x_t)
    };
    let panel = |samples: &[f32]| {
        let channels: Vec<Vec<Span>> = samples
            .chunks(audio.frames())
            .take(MAX_LANES)
            .map(spans)
            .collect();
        panel(&channels)
    };

    let bar = progress::bar(forward.columns.len() + forward.frames.len(), "noising");
    let mut panels = vec![panel(audio.samples())?];
    let mut names = vec!["x₀".to_owned()];
    for &t in &forward.columns {
        let samples = x_t(t)?;
        panels.push(panel(&samples)?);
        names.push(format!("t = {t}"));
        save_sound(forward, audio, samples, t)?;
        bar.inc(1);
    }
    let channels = match audio.channels() {
        1 => String::new(),
        2 => " of both channels".to_owned(),
        n => format!(" of the first {MAX_LANES} of {n} channels"),
    };
    let title = format!(
        "Waveforms{channels}: xₜ = √ᾱₜ x₀ + √(1 − ᾱₜ) ε (light: all samples, dark: how loud)"
    );
    let waveforms = captioned(
        &grid::grid(&panels, 1)?,
        &Captions::title(title).rows(names),
        0,
    )?;
    forward.save(&waveforms, "waveforms.png")?;

    let mut frames = vec![panel(audio.samples())?];
    for &t in &forward.frames {
        frames.push(panel(&x_t(t)?)?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    forward.save_animation(&frames)?;
    forward.finish(mean_square(audio.samples()))
}

/// Writes noised samples as WAV. Noise is louder than full scale: what would be clipped is turned
/// down as a whole, which changes nothing but the volume.
fn save_sound(forward: &Forward, audio: &Audio, mut samples: Vec<f32>, t: usize) -> Result<()> {
    let volume = turn_down(&mut samples);
    let noised = Audio::new(audio.sample_rate(), audio.channels(), samples)
        .context("the noised sound cannot be written")?;
    let path = forward.out.join(format!("x-t-{t:04}.wav"));
    let bytes = noised
        .to_wav()
        .context("the noised sound cannot be written")?;
    atomic_file::write(&path, &bytes)
        .with_context(|| format!("cannot write {}", path.display()))?;
    report::wrote(&path);
    if volume < 1.0 {
        report::tell(format!("(turned down to {:.0} %)", 100.0 * volume));
    }
    Ok(())
}

/// Brings samples into [-1, 1] by one factor, which it returns; they keep their volume where they
/// are there already.
fn turn_down(samples: &mut [f32]) -> f32 {
    let peak = samples.iter().fold(1.0_f32, |peak, s| s.abs().max(peak));
    for sample in samples {
        *sample /= peak;
    }
    1.0 / peak
}

/// The spans of a channel, at most one for each pixel.
fn spans(samples: &[f32]) -> Vec<Span> {
    let count = samples.len().min(WIDTH as usize);
    let edge = |span: usize| span * samples.len() / count;
    (0..count)
        .map(|span| {
            let samples = &samples[edge(span)..edge(span + 1)];
            Span {
                least: samples.iter().copied().fold(f32::INFINITY, f32::min),
                greatest: samples.iter().copied().fold(f32::NEG_INFINITY, f32::max),
                rms: mean_square(samples).sqrt() as f32,
            }
        })
        .collect()
}

/// The waveforms of one timestep, a channel below the other.
fn panel(channels: &[Vec<Span>]) -> Result<DynamicImage> {
    canvas((WIDTH, LANE * channels.len() as u32), |area| {
        for (lane, spans) in area.split_evenly((channels.len(), 1)).iter().zip(channels) {
            waveform(lane, spans)?;
        }
        Ok(())
    })
}

fn waveform(area: &Area<'_>, spans: &[Span]) -> Result<()> {
    let end = (spans.len() as f64 - 1.0).max(1.0);
    let mut chart = ChartBuilder::on(area)
        .margin_top(2)
        .margin_bottom(2)
        .build_cartesian_2d(0.0..end, -REACH..REACH)?;
    // Up and down between the two values of each span.
    let band = |ends: &dyn Fn(&Span) -> [f32; 2]| -> Vec<(f64, f64)> {
        spans
            .iter()
            .enumerate()
            .flat_map(|(x, span)| ends(span).map(|y| (x as f64, f64::from(y))))
            .map(|(x, y)| (x, y.clamp(-REACH, REACH)))
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
        assert_eq!(spans(&[0.5, -0.5]), [span(0.5), span(-0.5)]);
        let mut samples = vec![0.0; 100_000];
        samples[77_777] = 0.9;
        samples[12_345] = -0.8;
        let spans = spans(&samples);
        assert_eq!(spans.len(), WIDTH as usize);
        let greatest = spans.iter().map(|span| span.greatest).fold(0.0, f32::max);
        let least = spans.iter().map(|span| span.least).fold(0.0, f32::min);
        assert_eq!((least, greatest), (-0.8, 0.9));
    }

    #[test]
    fn only_what_would_be_clipped_is_turned_down() {
        let mut quiet = [0.5, -0.25];
        assert_eq!(turn_down(&mut quiet), 1.0);
        assert_eq!(quiet, [0.5, -0.25]);
        let mut loud = [1.0, -4.0];
        assert_eq!(turn_down(&mut loud), 0.25);
        assert_eq!(loud, [0.25, -1.0]);
    }
}
