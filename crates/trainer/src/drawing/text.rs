//! Lines of text. The rasteriser puts every letter on a whole pixel, which at the size of a caption makes
//! uneven gaps; so letters are drawn larger and scaled down.

use anyhow::Result;
use image::imageops::{self, FilterType};
use image::{DynamicImage, GrayImage, Luma, RgbaImage};
use plotters::element::Text;
use plotters::style::IntoFont;
use plotters::style::TextStyle;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::canvas::{FONT, canvas, text_width};

/// How much larger letters are drawn than they are shown.
const OVERSAMPLING: u32 = 4;

/// Where a line of text lies against its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    /// It begins there.
    Left,
    /// Its middle is there.
    Centre,
    /// It ends there.
    Right,
}

/// The height of a line in letters of height `size`, in pixels.
pub(crate) fn line_height(size: u32) -> u32 {
    size + size / 2
}

/// The width of a line in letters of height `size`, in pixels.
pub(crate) fn width(text: &str, size: u32) -> Result<u32> {
    Ok(text_width(text, size * OVERSAMPLING)?.div_ceil(OVERSAMPLING) + 1)
}

/// The line as ink: 0 is none, 255 is black.
fn ink(text: &str, size: u32) -> Result<GrayImage> {
    let (width, height) = (width(text, size)?, line_height(size));
    let large = (width * OVERSAMPLING, height * OVERSAMPLING);
    let font = (FONT, size * OVERSAMPLING).into_font();
    let style = TextStyle::from(font).pos(Pos::new(HPos::Left, VPos::Center));
    let drawn = canvas(large, |area| {
        let middle = (0, large.1 as i32 / 2);
        Ok(area.draw(&Text::new(text, middle, style))?)
    })?;
    let mut small = imageops::resize(&drawn.to_luma8(), width, height, FilterType::Triangle);
    image::imageops::invert(&mut small);
    Ok(small)
}

/// Writes a line of text in black onto `picture`, its place being `x` as `align` says and `middle` its
/// middle from top to bottom. What lies outside is cut off.
pub(crate) fn write(
    picture: &mut DynamicImage,
    text: &str,
    size: u32,
    align: Align,
    (x, middle): (u32, u32),
) -> Result<()> {
    if text.is_empty() {
        return Ok(());
    }
    let ink = ink(text, size)?;
    let left = i64::from(x)
        - match align {
            Align::Left => 0,
            Align::Centre => i64::from(ink.width()) / 2,
            Align::Right => i64::from(ink.width()),
        };
    let top = i64::from(middle) - i64::from(ink.height()) / 2;
    match picture {
        DynamicImage::ImageLuma8(grey) => {
            for (dx, dy, &Luma([ink])) in ink.enumerate_pixels() {
                let (x, y) = (left + i64::from(dx), top + i64::from(dy));
                let (Ok(x), Ok(y)) = (u32::try_from(x), u32::try_from(y)) else {
                    continue;
                };
                if let Some(pixel) = grey.get_pixel_mut_checked(x, y) {
                    let share = 255 - u32::from(ink);
                    pixel.0 = [(u32::from(pixel.0[0]) * share / 255) as u8];
                }
            }
        }
        _ => {
            let mut letters = RgbaImage::new(ink.width(), ink.height());
            for (pixel, &Luma([ink])) in letters.pixels_mut().zip(ink.pixels()) {
                pixel.0 = [0, 0, 0, ink];
            }
            imageops::overlay(picture, &DynamicImage::from(letters), left, top);
        }
    }
    Ok(())
}

/// `text`, cut to what fits into `room` pixels in letters of height `size`, with an ellipsis where it was cut.
pub(crate) fn cut_to(text: &str, size: u32, room: u32) -> Result<String> {
    if width(text, size)? <= room {
        return Ok(text.to_owned());
    }
    let letters: Vec<char> = text.chars().collect();
    for count in (0..letters.len()).rev() {
        let cut: String = letters[..count].iter().chain(&['…']).collect();
        if width(&cut, size)? <= room {
            return Ok(cut);
        }
    }
    Ok(String::new())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// The columns of a picture that hold ink, the first and the last.
    fn inked(picture: &DynamicImage) -> (u32, u32) {
        let grey = picture.to_luma8();
        let dark = grey.enumerate_pixels().filter(|(_, _, p)| p.0[0] < 128);
        let columns: Vec<u32> = dark.map(|(x, _, _)| x).collect();
        (
            *columns.iter().min().unwrap(),
            *columns.iter().max().unwrap(),
        )
    }

    #[test]
    fn a_line_lies_where_it_is_put_in_every_kind_of_picture() {
        let width = width("frog", 14).unwrap();
        for blank in [
            DynamicImage::ImageLuma8(GrayImage::from_pixel(200, 30, Luma([255]))),
            DynamicImage::from(GrayImage::from_pixel(200, 30, Luma([255])))
                .into_rgb8()
                .into(),
            DynamicImage::from(GrayImage::from_pixel(200, 30, Luma([255])))
                .into_rgba8()
                .into(),
        ] {
            for (align, left) in [
                (Align::Left, 100),
                (Align::Centre, 100 - width / 2),
                (Align::Right, 100 - width),
            ] {
                let mut picture = blank.clone();
                write(&mut picture, "frog", 14, align, (100, 15)).unwrap();
                assert_eq!(picture.color(), blank.color());
                let (first, last) = inked(&picture);
                assert!(
                    first >= left && last <= left + width,
                    "{align:?}: {first} to {last}"
                );
                assert!(
                    last - first + 6 > width,
                    "{align:?}: {first} to {last} of {width}"
                );
            }
        }
    }

    #[test]
    fn letters_of_the_same_kind_are_as_far_apart() {
        // Columns without ink between eight equal letters.
        let mut picture = DynamicImage::ImageLuma8(GrayImage::from_pixel(200, 30, Luma([255])));
        write(&mut picture, "l l l l l l l l", 15, Align::Left, (5, 15)).unwrap();
        let grey = picture.to_luma8();
        let ink = |x: u32| {
            (0..30)
                .map(|y| 255.0 - f64::from(grey.get_pixel(x, y).0[0]))
                .sum::<f64>()
        };
        let columns: Vec<f64> = (0..200).map(ink).collect();
        let mut centres = Vec::new();
        let mut x = 0;
        while x < 200 {
            let end = (x..200).find(|&i| columns[i] < 1.0).unwrap_or(200);
            let mass: f64 = columns[x..end].iter().sum();
            if mass > 0.0 {
                let moment: f64 = (x..end).map(|i| i as f64 * columns[i]).sum();
                centres.push(moment / mass);
            }
            x = end + 1;
        }
        assert_eq!(centres.len(), 8, "{centres:?}");
        let steps: Vec<f64> = centres.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let mean = steps.iter().sum::<f64>() / 7.0;
        assert!(
            steps.iter().all(|step| (step - mean).abs() < 0.35),
            "{steps:?}"
        );
    }

    #[test]
    fn what_is_too_long_is_cut() {
        assert_eq!(cut_to("frog", 14, 100).unwrap(), "frog");
        let cut = cut_to("a very long name of a class", 14, 100).unwrap();
        assert!(
            cut.ends_with('…') && width(&cut, 14).unwrap() <= 100,
            "{cut}"
        );
        assert_eq!(cut_to("frog", 14, 1).unwrap(), "");
    }
}
