//! Lines of text as a picture.

use anyhow::{Context, Result};
use image::{DynamicImage, Rgb, RgbImage};

use super::text::{self, Align};

/// The height of letters in pixels.
const LETTERS: u32 = 14;
/// Room beside columns.
const MARGIN: u32 = 12;
/// Lines of a column, and the most pixels that one is wide.
const ROWS: usize = 20;
const MAX_WIDTH: u32 = 480;

/// The lines in columns, black on white.
///
/// # Errors
///
/// What keeps them from being drawn.
pub fn page(lines: &[&str]) -> Result<DynamicImage> {
    let mut widest = 1;
    for line in lines {
        widest = text::width(line, LETTERS)?.clamp(widest, MAX_WIDTH.max(widest));
    }
    let columns = u32::try_from(lines.len().div_ceil(ROWS).max(1)).context("too many lines")?;
    let rows = u32::try_from(lines.len().clamp(1, ROWS)).context("too many lines")?;
    let line_height = text::line_height(LETTERS);
    let size = (
        MARGIN + columns * (widest + MARGIN),
        2 * MARGIN + rows * line_height,
    );
    let mut picture = DynamicImage::from(RgbImage::from_pixel(size.0, size.1, Rgb([255; 3])));
    for (place, line) in (0u32..).zip(lines) {
        let (column, row) = (place / ROWS as u32, place % ROWS as u32);
        let at = (
            MARGIN + column * (widest + MARGIN),
            MARGIN + row * line_height + line_height / 2,
        );
        let line = text::cut_to(line, LETTERS, widest)?;
        text::write(&mut picture, &line, LETTERS, Align::Left, at)?;
    }
    Ok(picture)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn lines_stand_in_columns() {
        let one = page(&["anna"]).unwrap();
        let many = page(&vec!["anna"; ROWS + 1]).unwrap();
        assert!(many.width() > one.width() && many.height() > one.height());
        let dark =
            |picture: &DynamicImage| picture.to_luma8().pixels().filter(|p| p.0[0] < 128).count();
        assert_eq!(dark(&many), (ROWS + 1) * dark(&one));
        assert!(dark(&one) > 20);
        assert_eq!(dark(&page(&[]).unwrap()), 0);
    }
}
