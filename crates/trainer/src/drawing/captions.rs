//! Text above pictures: a title, and the timestep of each column.

use anyhow::{Context, Result};
use image::{DynamicImage, GenericImage};
use plotters::element::Text;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{IntoFont, TextStyle};

use super::canvas::{FONT, canvas, text_width};

/// The height of letters in pixels.
const TITLE_SIZE: u32 = 15;
const LABEL_SIZE: u32 = 13;
/// The height of a line of text.
const LINE: u32 = 22;
/// Room beside a title.
const MARGIN: u32 = 6;

/// The width that a title takes.
pub fn title_width(title: &str) -> Result<u32> {
    Ok(text_width(title, TITLE_SIZE)? + 2 * MARGIN)
}

/// `picture` below a title and, where there are any, a line of labels in the middle of its columns.
/// It is at least `min_width` pixels wide, and wide enough for the title. Grey stays grey, and
/// what is transparent stays so.
pub fn captioned(
    picture: &DynamicImage,
    title: &str,
    columns: &[String],
    min_width: u32,
) -> Result<DynamicImage> {
    let width = picture.width().max(min_width).max(title_width(title)?);
    let left = (width - picture.width()) / 2;
    let top = if columns.is_empty() { LINE } else { 2 * LINE };
    let column_width = f64::from(picture.width()) / columns.len().max(1) as f64;
    let label_size = fitting_size(columns, column_width)?;

    let text = canvas((width, top + picture.height()), |area| {
        let style =
            TextStyle::from((FONT, TITLE_SIZE).into_font()).pos(Pos::new(HPos::Left, VPos::Center));
        let line = LINE as i32;
        area.draw(&Text::new(title, (MARGIN as i32, line / 2), style))?;
        let style = TextStyle::from((FONT, label_size).into_font())
            .pos(Pos::new(HPos::Center, VPos::Center));
        for (index, label) in columns.iter().enumerate() {
            let x = f64::from(left) + (index as f64 + 0.5) * column_width;
            let middle = (x.round() as i32, line + line / 2);
            area.draw(&Text::new(label.as_str(), middle, style.clone()))?;
        }
        Ok(())
    })?;
    let mut whole = match picture {
        DynamicImage::ImageLuma8(_) => DynamicImage::ImageLuma8(text.to_luma8()),
        DynamicImage::ImageRgba8(_) => DynamicImage::ImageRgba8(text.to_rgba8()),
        _ => text,
    };
    whole
        .copy_from(picture, left, top)
        .context("cannot draw a caption")?;
    Ok(whole)
}

/// The largest height of letters at which every label fits into its column.
fn fitting_size(labels: &[String], column_width: f64) -> Result<f64> {
    let mut widest = 1;
    for label in labels {
        widest = widest.max(text_width(label, LABEL_SIZE)?);
    }
    let share = (column_width - 2.0) / f64::from(widest);
    Ok(f64::from(LABEL_SIZE) * share.clamp(0.1, 1.0))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use image::GenericImageView;

    use super::*;

    #[test]
    fn the_picture_stays_as_it_is_below_its_caption() {
        let labels: Vec<String> = ["x₀", "t = 1"].map(str::to_owned).to_vec();
        for picture in [
            DynamicImage::new_luma8(40, 30),
            DynamicImage::new_rgb8(900, 30),
        ] {
            let whole = captioned(&picture, "a title", &labels, 200).unwrap();
            assert_eq!(whole.color(), picture.color());
            assert_eq!(whole.height(), 30 + 2 * LINE);
            assert_eq!(whole.width(), picture.width().max(200));
            let left = (whole.width() - picture.width()) / 2;
            let below = whole.view(left, 2 * LINE, picture.width(), 30);
            assert!(
                below
                    .pixels()
                    .all(|(_, _, pixel)| pixel.0 == [0, 0, 0, 255])
            );
            let dark = whole.crop_imm(0, 0, whole.width(), 2 * LINE).to_luma8();
            assert!(dark.pixels().filter(|pixel| pixel.0[0] < 128).count() > 50);
        }
    }
}
