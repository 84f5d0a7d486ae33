//! Spectrograms: how loud each frequency is over time, as colours.

use anyhow::Result;
use image::imageops::{self, FilterType};
use image::{DynamicImage, GrayImage, Rgb, RgbImage};
use plotters::style::colors::colormaps::{ColorMap, ViridisRGB};

use crate::drawing::grid::{GAP, MIDDLE_GREY};
use crate::drawing::text::{self, Align};

/// The height of a time axis in pixels, that of its marks and that of its letters.
pub const AXIS: u32 = 22;
const MARK: u32 = 4;
const LETTERS: u32 = 11;

/// The room that the label of a mark takes.
const LABEL: f64 = 48.0;

/// Levels of `[frequencies, frames]`, 0 being dark and 1 bright, as a picture of `size` pixels (width, height), the
/// low frequencies below.
pub fn spectrogram(
    levels: &[f32],
    [frequencies, frames]: [usize; 2],
    size: (u32, u32),
) -> Result<DynamicImage> {
    let (width, height) = (u32::try_from(frames)?, u32::try_from(frequencies)?);
    let small = GrayImage::from_fn(width, height, |x, y| {
        let frequency = frequencies - 1 - y as usize;
        let level = levels[frequency * frames + x as usize];
        image::Luma([(255.0 * level).round().clamp(0.0, 255.0) as u8])
    });
    let grey = imageops::resize(&small, size.0, size.1, FilterType::Triangle);
    let colours: Vec<Rgb<u8>> = (0..=255)
        .map(|byte| {
            let colour = ViridisRGB.get_color(byte as f32 / 255.0);
            Rgb([colour.0, colour.1, colour.2])
        })
        .collect();
    let colour = |x, y| colours[usize::from(grey.get_pixel(x, y).0[0])];
    Ok(RgbImage::from_fn(size.0, size.1, colour).into())
}

/// `grid`, a grid of `columns` cells of `cell` pixels' width, with an axis of so many seconds below each column.
pub fn with_time_axis(
    grid: &DynamicImage,
    columns: usize,
    cell: u32,
    seconds: f64,
) -> Result<DynamicImage> {
    let step = step(seconds, (f64::from(cell) / LABEL).max(1.0));
    let mut whole: DynamicImage =
        RgbImage::from_pixel(grid.width(), grid.height() + AXIS, Rgb([255; 3])).into();
    imageops::replace(&mut whole, &DynamicImage::from(grid.to_rgb8()), 0, 0);
    let marks = (seconds / step * (1.0 + 1e-9)) as u32;
    for column in 0..u32::try_from(columns)? {
        let left = GAP + column * (cell + GAP);
        for mark in 0..=marks {
            let time = f64::from(mark) * step;
            let x = left + ((time / seconds) * f64::from(cell - 1)).round() as u32;
            if let DynamicImage::ImageRgb8(pixels) = &mut whole {
                for y in grid.height()..grid.height() + MARK {
                    if let Some(pixel) = pixels.get_pixel_mut_checked(x, y) {
                        *pixel = Rgb([MIDDLE_GREY.0[0]; 3]);
                    }
                }
            }
            // A whole label fits beside the edges of the cell.
            let (align, at) = match mark {
                0 => (Align::Left, left),
                _ if x + LABEL as u32 / 2 > left + cell => (Align::Right, left + cell),
                _ => (Align::Centre, x),
            };
            let label = match mark {
                0 => "0 s".to_owned(),
                _ => format!("{}", (time * 1e6).round() / 1e6),
            };
            let middle = grid.height() + (AXIS + MARK) / 2;
            text::write(&mut whole, &label, LETTERS, align, (at, middle))?;
        }
    }
    Ok(whole)
}

/// The least of 1, 2 and 5 times a power of ten of which at most `most` fit into `length`.
fn step(length: f64, most: f64) -> f64 {
    let least = length / most;
    let power = 10_f64.powf(least.log10().floor());
    let mut steps = [1.0, 2.0, 5.0, 10.0].into_iter().map(|n| n * power);
    steps
        .find(|&step| step >= least * (1.0 - 1e-9))
        .unwrap_or(10.0 * power)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn low_frequencies_lie_below_and_loud_ones_are_bright() {
        // The second frame is loud at the low frequency.
        let picture = spectrogram(&[0.0, 1.0, 0.0, 0.0], [2, 2], (40, 40)).unwrap();
        let luma = picture.to_luma8();
        let [loud, quiet] = [(35, 35), (35, 5)].map(|(x, y)| luma.get_pixel(x, y).0[0]);
        assert!(loud > 200 && quiet < 60, "{loud} {quiet}");
        assert_eq!(luma.get_pixel(5, 35).0[0], quiet);
    }

    #[test]
    fn marks_are_round_numbers() {
        for (length, most, expected) in [
            (0.76, 4.0, 0.2),
            (10.0, 4.0, 5.0),
            (10.0, 5.0, 2.0),
            (0.76, 1.0, 1.0),
            (60.0, 12.0, 5.0),
        ] {
            assert!((step(length, most) - expected).abs() < 1e-12, "{length}");
        }
        let grid = DynamicImage::new_rgb8(202, 50);
        let whole = with_time_axis(&grid, 1, 198, 0.76).unwrap().to_luma8();
        assert_eq!((whole.width(), whole.height()), (202, 72));
        // Marks at 0, 0.2, 0.4 and 0.6 seconds, in grey.
        let marks: Vec<u32> = (0..202)
            .filter(|&x| whole.get_pixel(x, 51).0 == [127])
            .collect();
        assert_eq!(marks, [2, 54, 106, 158]);
    }
}
