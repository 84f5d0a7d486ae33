//! Sounds, learned as spectrograms by a network for images.

mod cells;
pub(super) mod form;
mod noise;
mod sample;
mod sheet;
pub(super) mod windows;

use std::ffi::{OsStr, OsString};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use burn::tensor::{Device, Tensor, TensorData};
use datasets::sounds::{SpectrogramError, decode_recording, read_recording};
use datasets::{SoundDataset, SoundOptions, Splits, load_sounds};
use denoising::X0Clipping;
use image::DynamicImage;

pub(super) use self::cells::MOST_CELL_BYTES;
use self::cells::SoundCells;
use self::form::{Representation, SoundForm};
pub(super) use self::noise::noise_examples;
pub use self::noise::show as noise;
pub(super) use self::sample::{
    files, heard, sample, seen, shown, write_edit, write_files, write_nearest,
};
pub use self::sheet::show;
use self::windows::SoundWindows;
use super::grids::{Cells, titled_grid};
use super::outputs::{Refused, Sections, Source};
use crate::drawing::pictures;
use crate::error::Usage;
use crate::network::NetworkConfig;

/// Sounds that are sampled when no number is given and there are no classes.
pub(super) const COUNT: usize = 16;

/// What x_0 may be clipped to at the least: the values of spectrograms go beyond those of images.
const LEAST_CLAMP: f64 = 3.0;

/// What makes no sense for sounds.
pub(super) fn check(sections: &Sections<'_>) -> Result<(), Refused> {
    let refused = |key: &str, message: String| Err((key.to_owned(), message));
    let NetworkConfig::UNet(network) = sections.network else {
        return refused(
            "network.kind",
            "it is \"mlp\", which is for points, and the data are sounds: expected \"unet\""
                .to_owned(),
        );
    };
    let sound = sections.data.sound.clone().unwrap_or_default();
    if let Err(error) = sound.check() {
        return refused(&format!("data.sound.{}", error.key), error.message);
    }
    let channels = sound.channels();
    if [network.in_channels, network.out_channels] != [channels; 2] {
        return refused(
            "network.in_channels",
            format!(
                "it is {} and network.out_channels {}, but {what} in patches of {p} × {p} have {channels} \
                 channels: set both to {channels}",
                network.in_channels,
                network.out_channels,
                what = match sound.representation {
                    Representation::ComplexSpectrogram =>
                        "complex spectrograms, of real and imaginary parts,",
                    Representation::MelSpectrogram => "mel spectrograms",
                },
                p = sound.patch_size
            ),
        );
    }
    let size = [network.sample_size.height, network.sample_size.width];
    if let Err(error) = SoundForm::new(&sound, size, 1.0) {
        let key = match error {
            SpectrogramError::TooSmall { .. } => "network.sample_size",
            SpectrogramError::Hop { .. } => "data.sound.hop",
            SpectrogramError::Bands { .. } => "network.sample_size",
        };
        return refused(key, error.to_string());
    }
    if sections.data.flip {
        return refused(
            "data.flip",
            "the data are sounds, and one played backwards is another".to_owned(),
        );
    }
    match sections.clipping {
        X0Clipping::Clamp { range }
            if range < LEAST_CLAMP
                && sound.representation == Representation::ComplexSpectrogram =>
        {
            refused(
                "sampling.clipping",
                format!(
                    "the data are sounds, whose spectrograms are not confined to [-1, 1] as images are: expected \
                 kind = \"none\", or a range of {LEAST_CLAMP} or more, not {range}"
                ),
            )
        }
        _ => Ok(()),
    }
}

/// How sounds become examples of a network that learned from `source`.
pub(super) fn form(source: &Source<'_>) -> Result<SoundForm> {
    let [_, frequencies, frames] = source.network.example_shape();
    let config = source.data.sound.clone().unwrap_or_default();
    let factor = source.found.spectrogram_factor.unwrap_or(1.0);
    ensure!(
        factor.is_finite() && factor > 0.0,
        "found.spectrogram_factor is {factor}: the configuration of the run was changed by hand"
    );
    Ok(SoundForm::new(&config, [frequencies, frames], factor)?)
}

/// Both splits of sounds. A published data set is looked for as [`datasets::find`] says; a path is taken as it
/// stands.
pub(super) fn load(source: &Source<'_>) -> Result<Splits<SoundWindows>> {
    let data = source.data;
    let form = form(source)?;
    let options = SoundOptions {
        skip_bad: data.skip_bad,
        cache_bytes: data.cache_mib.saturating_mul(1 << 20),
        ..SoundOptions::of_rate(form.sample_rate())
    };
    let splits = match (data.dataset, &data.path) {
        (Some(name), _) => {
            let dir = datasets::find(name, source.data_dir)?;
            SoundDataset::load_fsdd(&dir, &options)?
        }
        (None, Some(path)) => load_sounds(path, &options)?,
        (None, None) => bail!("the configuration names no data"),
    };
    source
        .found
        .check_fingerprint(splits.fingerprint.as_deref(), data)?;
    let form = match source.found.spectrogram_factor {
        None if form.has_factor() => {
            let factor = SoundWindows::measure_factor(&splits.train, &form)
                .context("cannot measure the spectrograms of the recordings")?;
            form.with_factor(factor)
        }
        _ => form,
    };
    let windows = |recordings| SoundWindows::new(recordings, form.clone(), data.augment.speed);
    Ok(Splits {
        train: windows(splits.train),
        test: windows(splits.test),
        fingerprint: splits.fingerprint,
    })
}

/// Sounds `[N, C, H, W]` as a grid of spectrograms below `title`, a row a class where every class has as many.
pub(super) fn picture(
    source: &Source<'_>,
    samples: Tensor<4>,
    num_classes: Option<usize>,
    title: &str,
) -> Result<DynamicImage> {
    let cells = SoundCells::new(form(source)?);
    let pictures = cells.draw(samples)?;
    titled_grid(
        &cells,
        &pictures,
        num_classes,
        &source.found.class_names,
        title,
        0,
    )
}

/// The first channel of spectrograms `[N, C, H, W]` as the network sees it, low frequencies at the bottom: what can be
/// shown of a sound that is still noise.
pub(super) fn glimpse(spectrograms: Tensor<4>) -> Result<Vec<DynamicImage>> {
    pictures::from_tensor(spectrograms.narrow(1, 0, 1).flip([2]))
}

/// What stays as it is of a recording: its own samples, outside the seconds that are drawn anew.
#[derive(Debug, Clone)]
pub struct Kept {
    pub(super) samples: Vec<f32>,
    /// The seconds, as in `0.2:0.4`.
    pub(super) mask: OsString,
}

/// The middle of a sound file.
fn middle(form: &SoundForm, path: &Path) -> Result<Vec<f32>> {
    let recording = read_recording(path, &SoundOptions::of_rate(form.sample_rate()))?;
    Ok(form::window(&recording, form.spectrogram().samples(), 0.5))
}

/// The middle of the bytes of a sound file.
pub(super) fn decode(source: &Source<'_>, bytes: Vec<u8>) -> Result<Vec<f32>> {
    let form = form(source)?;
    let options = SoundOptions::of_rate(form.sample_rate());
    let recording = decode_recording(bytes, Path::new("the recording"), &options)?;
    Ok(form::window(&recording, form.spectrogram().samples(), 0.5))
}

/// The middle of a sound file as an example: `[1, C, H, W]`.
pub(super) fn read(source: &Source<'_>, path: &Path, device: &Device) -> Result<Tensor<4>> {
    let samples = middle(&form(source)?, path)?;
    example(source, &samples, device)
}

/// As many samples as an example has, as one: `[1, C, H, W]`.
pub(super) fn example(source: &Source<'_>, samples: &[f32], device: &Device) -> Result<Tensor<4>> {
    let form = form(source)?;
    let [channels, height, width] = form.shape();
    let data = TensorData::new(form.encode(samples), [1, channels, height, width]);
    Ok(Tensor::from_data(data, device))
}

/// What is kept of a sound where the seconds from `A` to `B` of `A:B` are drawn anew: `[1, 1, H, W]`.
pub(super) fn mask(source: &Source<'_>, mask: &OsStr, device: &Device) -> Result<Tensor<4>> {
    let form = form(source)?;
    let (from, to) = seconds_of(&form, mask)?;
    let [_, height, width] = form.shape();
    let step = form.seconds_a_column();
    let keep = |column: usize| {
        let time = column as f64 * step;
        f32::from(u8::from(time < from || time > to))
    };
    let row: Vec<f32> = (0..width).map(keep).collect();
    ensure!(
        row.contains(&0.0),
        Usage(format!(
            "--mask {}: nothing of the spectrogram begins there; its columns are {step:.4} seconds apart",
            mask.display()
        ))
    );
    let data = TensorData::new(row.repeat(height), [1, 1, height, width]);
    Ok(Tensor::from_data(data, device))
}

/// The seconds from A to B of `A:B`.
fn seconds_of(form: &SoundForm, mask: &OsStr) -> Result<(f64, f64)> {
    let seconds = form.seconds();
    let parsed = mask.to_str().and_then(|text| {
        let (from, to) = text.split_once(':')?;
        let (from, to): (f64, f64) = (from.trim().parse().ok()?, to.trim().parse().ok()?);
        (0.0 <= from && from < to && to <= seconds).then_some((from, to))
    });
    let refused = || {
        Usage(format!(
            "--mask {}: the run draws sounds of {seconds:.3} seconds: expected the part of it that is drawn anew \
             as FROM:TO in seconds, as in 0.2:0.4",
            mask.display()
        ))
    };
    Ok(parsed.ok_or_else(refused)?)
}
