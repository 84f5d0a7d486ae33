//! Sounds from a trained network: pictures of all of them, each as a WAV file, and one file of all, a pause
//! behind each.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use burn::tensor::Tensor;
use datasets::Audio;
use datasets::sounds::decode_mono;
use image::DynamicImage;

use super::cells::SoundCells;
use super::form::{SoundForm, window};
use super::windows::SoundWindows;
use super::{Kept, decode, form, middle, seconds_of};
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
        let sounds = sounds.into_iter().map(Ok);
        write_each(outputs.source, sounds, &request.classes, folder)?;
        report::wrote(folder);
    }
    Ok(sampled)
}

/// Each sound by itself, and `labels.csv` with its class.
fn write_each(
    source: &Source<'_>,
    sounds: impl Iterator<Item = Result<Vec<f32>>>,
    classes: &[Option<usize>],
    folder: &Path,
) -> Result<()> {
    let rate = form(source)?.sample_rate();
    let file_name = |index| format!("{index:06}.wav");
    for (index, sound) in sounds.enumerate() {
        write(sound?, rate, &folder.join(file_name(index)))?;
    }
    write_labels(classes, &source.found.class_names, folder, file_name)
}

/// The bytes of sound files in `folder` as [`sample`] writes sounds: as long as those.
pub(crate) fn write_files(
    source: &Source<'_>,
    files: Vec<Vec<u8>>,
    classes: &[Option<usize>],
    folder: &Path,
) -> Result<()> {
    let form = form(source)?;
    let sounds = files.into_iter().map(|bytes| -> Result<Vec<f32>> {
        let sound = decode_mono(bytes, Path::new("the recording"), form.sample_rate())?;
        Ok(window(&sound, form.spectrogram().samples(), 0.5))
    });
    write_each(source, sounds, classes, folder)
}

/// Sounds `[N, C, H, W]`, each as a picture and as a WAV file; what is `kept` of a recording that they were made of
/// is its own samples.
pub(crate) fn shown(
    source: &Source<'_>,
    samples: Tensor<4>,
    kept: Option<&Kept>,
) -> Result<Vec<(DynamicImage, Vec<u8>)>> {
    let form = form(source)?;
    let mut sounds = form.sounds(samples)?;
    if let Some(Kept { samples, mask }) = kept {
        keep_outside(&form, mask, samples, &mut sounds)?;
    }
    with_pictures(form, sounds)
}

/// The bytes of a sound file, as much as the network sees of them, as a picture and as a WAV file.
pub(crate) fn seen(source: &Source<'_>, bytes: Vec<u8>) -> Result<(DynamicImage, Vec<u8>)> {
    let sounds = vec![decode(source, bytes)?];
    let mut seen = with_pictures(form(source)?, sounds)?;
    seen.pop().context("there is nothing to show")
}

/// The middle of these recordings as WAV files.
pub(crate) fn files(recordings: &SoundWindows, indices: &[usize]) -> Result<Vec<Vec<u8>>> {
    let rate = recordings.form().sample_rate();
    let file = |&index: &usize| wav(recordings.middle(index)?, rate);
    indices.iter().map(file).collect()
}

/// Writes the middle of these recordings into one file, which [`heard`] takes apart.
pub(crate) fn write_nearest(
    recordings: &SoundWindows,
    indices: &[usize],
    path: &Path,
) -> Result<()> {
    let sounds: Vec<Vec<f32>> = indices
        .iter()
        .map(|&index| recordings.middle(index))
        .collect::<Result<_, _>>()?;
    write_all(&sounds, recordings.form().sample_rate(), path)
}

/// The sounds of a file of several, each as a picture and as a WAV file.
pub(crate) fn heard(source: &Source<'_>, bytes: Vec<u8>) -> Result<Vec<(DynamicImage, Vec<u8>)>> {
    let form = form(source)?;
    let rate = form.sample_rate();
    let all = decode_mono(bytes, Path::new("the file of recordings"), rate)?;
    let samples = form.spectrogram().samples();
    let sounds = all
        .chunks(samples + pause(rate))
        .map(|sound| window(sound, samples, 0.0))
        .collect();
    with_pictures(form, sounds)
}

/// Sounds of this form, each with its picture and as a WAV file.
fn with_pictures(form: SoundForm, sounds: Vec<Vec<f32>>) -> Result<Vec<(DynamicImage, Vec<u8>)>> {
    let rate = form.sample_rate();
    let cells = SoundCells::new(form);
    let shown = |sound: Vec<f32>| Ok((cells.cell(&sound)?, wav(sound, rate)?));
    sounds.into_iter().map(shown).collect()
}

/// Puts the samples of a recording into `sounds` where `mask` does not draw them anew; over a column they go over into
/// each other.
fn keep_outside(
    form: &SoundForm,
    mask: &OsStr,
    recording: &[f32],
    sounds: &mut [Vec<f32>],
) -> Result<()> {
    let (from, to) = seconds_of(form, mask)?;
    let fade = form.seconds_a_column();
    for sound in sounds {
        for (index, (sample, kept)) in sound.iter_mut().zip(recording).enumerate() {
            let time = index as f64 / f64::from(form.sample_rate());
            let away = (from - time).max(time - to).max(0.0);
            let share = (away / fade).min(1.0) as f32;
            *sample = (1.0 - share) * *sample + share * kept;
        }
    }
    Ok(())
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
            // The second shows what is kept, with silence for the rest.
            if let Some(second) = sounds.get_mut(1) {
                second.fill(0.0);
            }
            keep_outside(&form, mask, &kept, &mut sounds)?;
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

/// The samples of the pause behind each sound.
fn pause(sample_rate: u32) -> usize {
    (PAUSE * f64::from(sample_rate)).round() as usize
}

/// Writes all sounds into one file.
fn write_all(sounds: &[Vec<f32>], sample_rate: u32, path: &Path) -> Result<()> {
    let pause = vec![0.0; pause(sample_rate)];
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
