//! Sounds as pictures: the waveform, and below it the spectrogram.

use anyhow::Result;
use burn::tensor::Tensor;
use image::{DynamicImage, RgbImage, imageops};

use super::form::{FLOOR, SoundForm};
use crate::drawing::grid;
use crate::drawing::spectrogram::{AXIS, spectrogram, with_time_axis};
use crate::drawing::waveform::waveforms;
use crate::kinds::grids::Cells;

/// The height of a waveform in pixels.
const WAVEFORM: u32 = 40;

/// The pixels that a frequency and a frame take, as far as a picture is not too large by that.
const SCALE: usize = 2;
const MOST_WIDTH: usize = 640;
const MOST_HEIGHT: usize = 256;
const LEAST_SIDE: usize = 96;

/// The most bytes that a picture takes.
pub(crate) const MOST_CELL_BYTES: u64 = 3 * (MOST_WIDTH * (MOST_HEIGHT + WAVEFORM as usize)) as u64;

/// Draws sounds of one form.
#[derive(Debug)]
pub(super) struct SoundCells {
    form: SoundForm,
}

impl SoundCells {
    pub(super) fn new(form: SoundForm) -> Self {
        Self { form }
    }

    /// The width and height of a spectrogram in pixels.
    fn size(&self) -> (u32, u32) {
        let [_, frequencies, frames] = self.form.spectrogram().shape();
        let side = |length: usize, most: usize| (SCALE * length).clamp(LEAST_SIDE, most) as u32;
        (side(frames, MOST_WIDTH), side(frequencies, MOST_HEIGHT))
    }

    /// A sound as a picture.
    pub(super) fn cell(&self, sound: &[f32]) -> Result<DynamicImage> {
        let [_, frequencies, frames] = self.form.spectrogram().shape();
        let (width, height) = self.size();
        let levels = self.form.spectrogram().levels(sound, FLOOR);
        let levels: Vec<f32> = levels.iter().map(|level| 1.0 - level / FLOOR).collect();
        let below = spectrogram(&levels, [frequencies, frames], (width, height))?;
        let above = waveforms([sound], (width, WAVEFORM), 1.0)?;
        let mut cell = RgbImage::new(width, WAVEFORM + height);
        imageops::replace(&mut cell, &above.to_rgb8(), 0, 0);
        imageops::replace(&mut cell, &below.to_rgb8(), 0, i64::from(WAVEFORM));
        Ok(cell.into())
    }
}

impl Cells for SoundCells {
    fn draw(&self, examples: Tensor<4>) -> Result<Vec<DynamicImage>> {
        let sounds = self.form.sounds(examples)?;
        sounds.iter().map(|sound| self.cell(sound)).collect()
    }

    fn grid(&self, cells: &[DynamicImage], columns: usize) -> Result<DynamicImage> {
        let columns = columns.clamp(1, cells.len().max(1));
        let grid = grid::grid(cells, columns)?;
        with_time_axis(&grid, columns, self.size().0, self.form.seconds())
    }

    fn below_rows(&self) -> u32 {
        AXIS
    }
}
