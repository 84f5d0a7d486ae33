//! Pictures side by side.

use anyhow::{Context, Result};
use image::imageops::{self, FilterType};
use image::{DynamicImage, GrayImage, Luma};

/// Pixels between the images of a grid.
pub(super) const GAP: u32 = 2;

/// What is between them.
pub(super) const MIDDLE_GREY: Luma<u8> = Luma([127]);

/// Images smaller than this are enlarged in grids and strips, by a whole factor, until they are as large.
const LEAST_CELL: u32 = 96;

/// The pictures in rows of `columns`, on a background of middle grey. All are of the size and kind
/// of the first; small ones are enlarged.
pub fn grid(pictures: &[DynamicImage], columns: usize) -> Result<DynamicImage> {
    let first = pictures.first().context("there is no image to draw")?;
    let columns = u32::try_from(columns.clamp(1, pictures.len()))?;
    let rows = u32::try_from(pictures.len())?.div_ceil(columns);
    let scale = scale(first.width().max(first.height()));
    let (width, height) = (first.width() * scale, first.height() * scale);

    let (whole_width, whole_height) = (GAP + columns * (width + GAP), GAP + rows * (height + GAP));
    let grey = DynamicImage::from(GrayImage::from_pixel(
        whole_width,
        whole_height,
        MIDDLE_GREY,
    ));
    let mut background = match first {
        DynamicImage::ImageLuma8(_) => grey,
        DynamicImage::ImageRgba8(_) => grey.into_rgba8().into(),
        _ => grey.into_rgb8().into(),
    };
    for (index, picture) in (0u32..).zip(pictures) {
        let (row, column) = (index / columns, index % columns);
        let enlarged = picture.resize_exact(width, height, FilterType::Nearest);
        let x = GAP + column * (width + GAP);
        let y = GAP + row * (height + GAP);
        imageops::replace(&mut background, &enlarged, i64::from(x), i64::from(y));
    }
    Ok(background)
}

/// By which factor a picture of this longer side is enlarged.
fn scale(side: u32) -> u32 {
    LEAST_CELL.div_ceil(side.max(1)).max(1)
}

/// Bytes of the cell of an image of these channels, height and width.
pub fn cell_bytes([channels, height, width]: [usize; 3]) -> u64 {
    let scale = u32::try_from(height.max(width)).map_or(1, scale);
    let side = |side: usize| (side as u64).saturating_mul(scale.into());
    side(height)
        .saturating_mul(side(width))
        .saturating_mul(channels as u64)
}

/// Columns of a grid of `count` images: a row a class where every class has the same number of them
/// (`num_classes` being the number of classes), else as square as can be.
pub fn columns(count: usize, num_classes: Option<usize>) -> usize {
    match num_classes {
        Some(classes) if count.is_multiple_of(classes) => count / classes,
        _ => count.isqrt().max(1),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use image::{Rgba, RgbaImage};

    use super::*;

    #[test]
    fn a_grid_has_room_for_every_picture() {
        let picture = DynamicImage::new_luma8(28, 28);
        let grid = grid(&vec![picture; 7], 3).unwrap();
        assert_eq!((grid.width(), grid.height()), (2 + 3 * 114, 2 + 3 * 114));
        // The background, a picture, and the place of the eighth picture, which is not there.
        assert_eq!(grid.to_luma8().get_pixel(0, 0).0, [127]);
        assert_eq!(grid.to_luma8().get_pixel(5, 5).0, [0]);
        assert_eq!(grid.to_luma8().get_pixel(200, 300).0, [127]);
    }

    #[test]
    fn transparency_stays() {
        let hidden = DynamicImage::ImageRgba8(RgbaImage::from_pixel(100, 100, Rgba([9, 9, 9, 0])));
        let grid = grid(std::slice::from_ref(&hidden), 1).unwrap().into_rgba8();
        assert_eq!(grid.get_pixel(0, 0).0, [127, 127, 127, 255]);
        assert_eq!(grid.get_pixel(30, 30).0, [9, 9, 9, 0]);
    }
}
