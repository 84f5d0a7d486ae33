//! Sound that drowns in noise: to be heard, as WAV files, and to be seen, as waveforms.

use anyhow::{Context, Result};
use burn::tensor::Tensor;
use datasets::{Audio, write_wav};
use image::DynamicImage;
use plotters::element::{PathElement, Text};
use plotters::prelude::ChartBuilder;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{BLACK, Color, IntoFont, TextStyle};
use tracing::info;

use super::{Forward, captions::captioned, mean_square, values};
use crate::pictures;
use crate::plots::{Area, COLOURS, FONT, canvas};
use crate::progress;
use crate::streams;

/// The width of a waveform in pixels, and the height of that of one channel.
const WIDTH: u32 = 900;
const LANE: u32 = 64;

/// The most channels that are drawn; the files hold all.
const MAX_LANES: usize = 2;

/// What the vertical axis reaches, in standard deviations of the noise; sound lies in [-1, 1].
const REACH: f64 = 3.0;

/// The least and the greatest sample of a channel in each of a number of equal spans of time.
type Envelope = Vec<(f32, f32)>;

/// Shows a sound on its way, in closed form: minutes of sound have millions of samples, too many to
/// take a thousand steps with each.
pub(super) fn show(forward: &Forward, audio: &Audio) -> Result<()> {
    info!(
        "noising {:.2} s of sound, {} channel(s), {} samples a second",
        audio.frames() as f64 / f64::from(audio.sample_rate()),
        audio.channels(),
        audio.sample_rate()
    );
    forward.make_folder()?;
    let x_0: Tensor<2> = audio.to_tensor(&forward.device);
    let noise = streams::noise(x_0.dims(), &mut forward.rng(0), &forward.device);
    let x_t = |t: usize| {
        let x_t = forward.chain.q_sample(x_0.clone(), noise.clone(), &[t]);
        values(x_t)
    };
    let envelopes = |samples: &[f32]| -> Vec<Envelope> {
        samples
            .chunks(audio.frames())
            .take(MAX_LANES)
            .map(envelope)
            .collect()
    };

    let bar = progress::bar(forward.columns.len() + forward.frames.len(), "noising");
    let mut panels = vec![panel(&envelopes(audio.samples()), "x₀")?];
    for &t in &forward.columns {
        let samples = x_t(t)?;
        panels.push(panel(&envelopes(&samples), &format!("t = {t}"))?);
        save_sound(forward, audio, samples, t)?;
        bar.inc(1);
    }
    let title = match audio.channels() {
        1 => "Waveforms: xₜ = √ᾱₜ x₀ + √(1 − ᾱₜ) ε".to_owned(),
        2 => "Waveforms of both channels: xₜ = √ᾱₜ x₀ + √(1 − ᾱₜ) ε".to_owned(),
        n => format!("Waveforms of channels 1 and 2 of {n}: xₜ = √ᾱₜ x₀ + √(1 − ᾱₜ) ε"),
    };
    let waveforms = captioned(&pictures::grid(&panels, 1)?, &title, &[], 0)?;
    forward.save(&waveforms, "waveforms.png")?;

    let mut frames = vec![panel(&envelopes(audio.samples()), "")?];
    for &t in &forward.frames {
        frames.push(panel(&envelopes(&x_t(t)?), "")?);
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
    write_wav(&path, &noised)?;
    println!("wrote {} (volume {:.0} %)", path.display(), 100.0 * volume);
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

/// The envelope of a channel, at most a span for each pixel.
fn envelope(samples: &[f32]) -> Envelope {
    let spans = samples.len().min(WIDTH as usize);
    let edge = |span: usize| span * samples.len() / spans;
    (0..spans)
        .map(|span| {
            let samples = &samples[edge(span)..edge(span + 1)];
            samples.iter().fold(
                (f32::INFINITY, f32::NEG_INFINITY),
                |(least, greatest), &s| (least.min(s), greatest.max(s)),
            )
        })
        .collect()
}

/// The waveforms of one moment, a channel below the other, with its name in the corner.
fn panel(channels: &[Envelope], name: &str) -> Result<DynamicImage> {
    canvas((WIDTH, LANE * channels.len() as u32), |area| {
        for (lane, envelope) in area.split_evenly((channels.len(), 1)).iter().zip(channels) {
            waveform(lane, envelope)?;
        }
        let style = TextStyle::from((FONT, 14).into_font()).pos(Pos::new(HPos::Left, VPos::Top));
        area.draw(&Text::new(name, (6, 4), style))?;
        Ok(())
    })
}

fn waveform(area: &Area<'_>, envelope: &Envelope) -> Result<()> {
    let end = (envelope.len() as f64 - 1.0).max(1.0);
    let mut chart = ChartBuilder::on(area).build_cartesian_2d(0.0..end, -REACH..REACH)?;
    let zero = PathElement::new([(0.0, 0.0), (end, 0.0)], BLACK.mix(0.3));
    chart.draw_series(std::iter::once(zero))?;
    let line: Vec<(f64, f64)> = envelope
        .iter()
        .enumerate()
        .flat_map(|(x, &(least, greatest))| [least, greatest].map(|y| (x as f64, f64::from(y))))
        .map(|(x, y)| (x, y.clamp(-REACH, REACH)))
        .collect();
    chart.draw_series(std::iter::once(PathElement::new(line, COLOURS[0])))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_holds_every_sample() {
        assert_eq!(envelope(&[0.5, -0.5]), [(0.5, 0.5), (-0.5, -0.5)]);
        let mut samples = vec![0.0; 100_000];
        samples[77_777] = 0.9;
        samples[12_345] = -0.8;
        let envelope = envelope(&samples);
        assert_eq!(envelope.len(), WIDTH as usize);
        let greatest = envelope.iter().map(|span| span.1).fold(0.0, f32::max);
        let least = envelope.iter().map(|span| span.0).fold(0.0, f32::min);
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
