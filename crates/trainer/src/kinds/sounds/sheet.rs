//! Recordings of a data set on a contact sheet.

use std::path::Path;

use anyhow::Result;
use datasets::SoundDataset;
use image::DynamicImage;

use super::cells::SoundCells;
use super::form::{SoundForm, window};
use crate::drawing::captions::{Captions, captioned};
use crate::drawing::pictures;
use crate::kinds::grids::Cells;
use crate::report;

/// The longest part of a recording that is shown, in seconds.
const MOST_SECONDS: f64 = 10.0;

/// Writes these recordings into the picture `out`, in rows of `columns`, with `captions`.
///
/// # Errors
///
/// A recording that cannot be read, or a picture that cannot be written.
pub fn show(
    recordings: &SoundDataset,
    indices: &[usize],
    columns: usize,
    captions: &Captions,
    out: &Path,
) -> Result<()> {
    let lengths = indices.iter().map(|&index| recordings.lengths()[index]);
    let most = (MOST_SECONDS * f64::from(recordings.sample_rate())) as usize;
    let samples = lengths.max().unwrap_or(0).min(most);
    let form = SoundForm::to_show(recordings.sample_rate(), samples)?;
    let samples = form.spectrogram().samples();
    let cells = SoundCells::new(form);
    let pictures: Vec<DynamicImage> = indices
        .iter()
        .map(|&index| cells.cell(&window(&recordings.recording(index)?, samples, 0.0)))
        .collect::<Result<_>>()?;
    let grid = cells.grid(&pictures, columns)?;
    pictures::save(&captioned(&grid, captions, 0)?, out)?;
    report::wrote(out);
    Ok(())
}
