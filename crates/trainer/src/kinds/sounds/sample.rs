//! Sounds from a trained network: pictures of all of them, each as a WAV file, and one file of all, a pause
//! behind each.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use burn::tensor::Tensor;
use datasets::Audio;
use image::DynamicImage;

use super::cells::SoundCells;
use super::{form, middle, seconds_of};
use crate::drawing::captions::{Captions, captioned};
use crate::drawing::pictures;
use crate::error::Usage;
use crate::kinds::grids::{self, Cells};
use crate::kinds::labels::write_labels;
use crate::kinds::outputs::{Original, Outputs, Source};
use crate::report;
use crate::run::atomic_file;
use crate::sampling::{Model, Request};

/// The pause behind each sound of the file of all, in seconds.
const PAUSE: f64 = 0.3;

/// Draws sounds and writes them. Returns the samples, `[N, C, H, W]`.
pub(crate) fn sample(model: &Model, request: &Request, outputs: &Outputs<'_>) -> Result<Tensor<4>> {
    let form = form(outputs.source)?;
    let all = beside(outputs.picture)?;
    let sampled = grids::sample(model, request, outputs, &SoundCells::new(form.clone()))?;
    let sounds = form.sounds(sampled.clone())?;
    write_all(&sounds, form.sample_rate(), &all)?;
    if let Some(folder) = outputs.each {
        let file_name = |index| format!("{index:06}.wav");
        for (index, sound) in sounds.into_iter().enumerate() {
            write(sound, form.sample_rate(), &folder.join(file_name(index)))?;
        }
        let names = &outputs.source.found.class_names;
        write_labels(&request.classes, names, folder, file_name)?;
        report::wrote(folder);
    }
    Ok(sampled)
}

/// Sounds `[N, C, H, W]`, each as a picture and as a WAV file.
pub(crate) fn shown(
    source: &Source<'_>,
    samples: Tensor<4>,
) -> Result<Vec<(DynamicImage, Vec<u8>)>> {
    let form = form(source)?;
    let cells = SoundCells::new(form.clone());
    let shown = |sound: Vec<f32>| {
        let picture = cells.cell(&sound)?;
        Ok((picture, wav(sound, form.sample_rate())?))
    };
    form.sounds(samples)?.into_iter().map(shown).collect()
}

/// Writes the sounds of an edit, `[N, C, H, W]`: a picture in rows of `columns`, and one file of all. What is kept of
/// the `original` is its own samples, not those of its spectrogram.
pub(crate) fn write_edit(
    source: &Source<'_>,
    examples: Tensor<4>,
    columns: usize,
    captions: &Captions,
    out: &Path,
    original: Option<Original<'_>>,
) -> Result<()> {
    let form = form(source)?;
    let cells = SoundCells::new(form.clone());
    let all = beside(out)?;
    let mut sounds = form.sounds(examples)?;
    if let Some(original) = original {
        let kept = middle(&form, original.path)?;
        if let Some(mask) = original.mask {
            let (from, to) = seconds_of(&form, mask)?;
            // Over a column they go over into each other.
            let fade = form.seconds_a_column();
            // The second shows what is kept, with silence for the rest.
            if let Some(second) = sounds.get_mut(1) {
                second.fill(0.0);
            }
            for sound in &mut sounds {
                for (index, (sample, kept)) in sound.iter_mut().zip(&kept).enumerate() {
                    let time = index as f64 / f64::from(form.sample_rate());
                    let away = (from - time).max(time - to).max(0.0);
                    let share = (away / fade).min(1.0) as f32;
                    *sample += share * (kept - *sample);
                }
            }
        }
        if let Some(first) = sounds.first_mut() {
            *first = kept;
        }
    }
    let pictures: Result<Vec<_>> = sounds.iter().map(|sound| cells.cell(sound)).collect();
    let grid = cells.grid(&pictures?, columns)?;
    pictures::save(&captioned(&grid, captions, 0)?, out)?;
    report::wrote(out);
    write_all(&sounds, form.sample_rate(), &all)
}

/// The file of all sounds beside a picture.
fn beside(picture: &Path) -> Result<PathBuf> {
    let all = picture.with_extension("wav");
    if all == picture {
        bail!(Usage(format!(
            "--out {}: expected the name of a picture, beside which a WAV file is written",
            picture.display()
        )));
    }
    Ok(all)
}

/// Writes all sounds into one file.
fn write_all(sounds: &[Vec<f32>], sample_rate: u32, path: &Path) -> Result<()> {
    let pause = vec![0.0; (PAUSE * f64::from(sample_rate)).round() as usize];
    let all = sounds
        .iter()
        .flat_map(|sound| sound.iter().chain(&pause))
        .copied()
        .collect();
    write(all, sample_rate, path)?;
    report::wrote(path);
    Ok(())
}

/// A sound as a WAV file.
fn wav(sound: Vec<f32>, sample_rate: u32) -> Result<Vec<u8>> {
    Audio::new(sample_rate, 1, sound)
        .map_err(anyhow::Error::from)
        .and_then(|audio| Ok(audio.to_wav()?))
        .context("a sound cannot be written")
}

/// Writes a sound as WAV.
fn write(sound: Vec<f32>, sample_rate: u32, path: &Path) -> Result<()> {
    let bytes = wav(sound, sample_rate)?;
    atomic_file::write(path, &bytes).with_context(|| format!("cannot write {}", path.display()))
}
