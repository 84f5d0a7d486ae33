//! Sound that drowns in noise: to be heard, as WAV files, and to be seen, as waveforms.

use anyhow::{Context, Result};
use burn::tensor::Tensor;
use datasets::{Audio, Splits};
use image::DynamicImage;
use tracing::info;
use training::{Data as _, streams, to_tensor};

use super::cells::SoundCells;
use super::form::{SoundForm, window};
use super::load;
use crate::drawing::captions::{Captions, captioned};
use crate::drawing::grid;
use crate::drawing::waveform::waveforms;
use crate::kinds::data::Dataset;
use crate::kinds::dissolving;
use crate::kinds::forward::{Forward, mean_square, values};
use crate::kinds::grids::Cells as _;
use crate::kinds::order::one_of_each_class_first;
use crate::kinds::outputs::Source;
use crate::progress;
use crate::report;
use crate::run::atomic_file;

/// The width of a waveform in pixels, and the height of that of one channel.
const WIDTH: u32 = 900;
const LANE: u32 = 80;

/// The most channels that are drawn; the files hold all.
const MAX_LANES: usize = 2;

/// The vertical axis ends there, in standard deviations of the noise; sound lies in [-1, 1].
const AXIS_LIMIT: f64 = 3.0;

/// The longest part of a sound whose spectrogram is drawn, in seconds.
const MOST_SECONDS: f64 = 10.0;

/// Recordings of a data set that are noised when no number is given.
const NOISED: usize = 6;

/// Shows held-out recordings on their way to noise, as spectrograms.
pub(crate) fn noise_examples(
    source: &Source<'_>,
    forward: &Forward,
    count: Option<usize>,
) -> Result<()> {
    let Splits { test, .. } = load(source)?;
    let cells = SoundCells::new(test.form().clone());
    let test = Dataset::Sounds(test);
    let labels: Vec<Option<u16>> = (0..test.len())
        .map(|index| {
            test.label(index)
                .and_then(|label| u16::try_from(label).ok())
        })
        .collect();
    let indices = one_of_each_class_first(&labels, count.unwrap_or(NOISED));
    let values = test.read(&indices).map_err(anyhow::Error::from_boxed)?;
    let x_0 = to_tensor(values, test.example_shape(), &forward.device);
    dissolving::show(forward, x_0, &cells)
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
        let channels = samples.chunks(audio.frames()).take(MAX_LANES);
        waveforms(channels, (WIDTH, LANE), AXIS_LIMIT)
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
    forward.save(&spectrograms(forward, audio)?, "spectrograms.png")?;

    let mut frames = vec![panel(audio.samples())?];
    for &t in &forward.frames {
        frames.push(panel(&x_t(t)?)?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    forward.save_animation(&frames)?;
    forward.finish(mean_square(audio.samples()))
}

/// The first channel of a sound on its way as a network learns it, as a spectrogram.
fn spectrograms(forward: &Forward, audio: &Audio) -> Result<DynamicImage> {
    let most = (MOST_SECONDS * f64::from(audio.sample_rate())) as usize;
    let shown = &audio.channel(0)[..audio.frames().min(most)];
    let form = SoundForm::to_show(audio.sample_rate(), shown.len())?;
    let sound = window(shown, form.spectrogram().samples(), 0.0);
    let form = form.with_deviation(&sound);
    let values = form.encode(&sound);
    let x_0 = to_tensor(values, form.shape(), &forward.device);
    let noise = streams::noise(x_0.dims(), &mut forward.rng(0), &forward.device);
    let cells = SoundCells::new(form);
    let mut pictures = cells.draw(x_0.clone())?;
    let mut names = vec!["x₀".to_owned()];
    for &t in &forward.columns {
        let x_t = forward.chain.q_sample(x_0.clone(), noise.clone(), &[t]);
        pictures.extend(cells.draw(x_t)?);
        names.push(format!("t = {t}"));
    }
    let part = if shown.len() < audio.frames() {
        format!(" (the first {MOST_SECONDS} seconds)")
    } else {
        String::new()
    };
    let title = format!("Spectrograms, as a network learns them{part}: xₜ = √ᾱₜ x₀ + √(1 − ᾱₜ) ε");
    captioned(
        &cells.grid(&pictures, 1)?,
        &Captions::title(title)
            .rows(names)
            .below_rows(cells.below_rows()),
        0,
    )
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

#[cfg(test)]
mod tests {
    use super::*;

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
