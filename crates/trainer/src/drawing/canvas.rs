//! What all pictures with text or lines are painted on.

use std::sync::OnceLock;

use anyhow::{Context, Result};
use image::{DynamicImage, RgbImage};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::register_font;

/// The font of all labels; it comes with the program.
pub(crate) const FONT: &str = "sans-serif";
/// The colours of curves, in order.
pub(crate) const COLOURS: [RGBColor; 3] = [
    RGBColor(31, 119, 180),
    RGBColor(214, 90, 30),
    RGBColor(44, 140, 60),
];

/// What is drawn on.
pub(crate) type Area<'a> = DrawingArea<BitMapBackend<'a>, Shift>;

/// A white picture of `size` pixels with what `paint` draws on it.
pub(crate) fn canvas(
    size: (u32, u32),
    paint: impl FnOnce(&Area<'_>) -> Result<()>,
) -> Result<DynamicImage> {
    register_fonts()?;
    let mut pixels = vec![255; size.0 as usize * size.1 as usize * 3];
    {
        let area = BitMapBackend::with_buffer(&mut pixels, size).into_drawing_area();
        paint(&area).context("cannot draw a plot")?;
    }
    RgbImage::from_raw(size.0, size.1, pixels)
        .map(DynamicImage::from)
        .context("cannot draw a plot")
}

/// The width in pixels of `text` in letters of height `size`.
pub(crate) fn text_width(text: &str, size: u32) -> Result<u32> {
    register_fonts()?;
    let (width, _) = (FONT, size).into_font().box_size(text)?;
    Ok(width)
}

/// Fonts come with the program: a machine without any still gets labels.
fn register_fonts() -> Result<()> {
    static REGISTERED: OnceLock<bool> = OnceLock::new();
    let registered = REGISTERED
        .get_or_init(|| register_font(FONT, FontStyle::Normal, dejavu::sans::regular()).is_ok());
    anyhow::ensure!(registered, "the built-in font cannot be read");
    Ok(())
}
