//! A square of scores of each two columns, as colours.

use anyhow::{Context, Result};
use image::{DynamicImage, Rgb, RgbImage};

/// The side of a square of a pair in pixels.
const CELL: u32 = 14;
/// Where there is no score, and between squares.
const NOTHING: Rgb<u8> = Rgb([255; 3]);
/// The colours of the score 1 and of [`LOWEST`] and less.
const GOOD: [f64; 3] = [31.0, 119.0, 180.0];
const BAD: [f64; 3] = [250.0, 235.0, 220.0];
/// What is below is as bad.
const LOWEST: f64 = 0.8;

/// The scores in [0, 1] of pairs (first, second) of so many columns, on both sides of the diagonal.
///
/// # Errors
///
/// More columns than a picture can have.
pub fn matrix(columns: usize, pairs: &[(usize, usize, Option<f64>)]) -> Result<DynamicImage> {
    let side = u32::try_from(columns)
        .ok()
        .and_then(|columns| columns.checked_mul(CELL))
        .context("too many columns for a picture")?;
    let mut picture = RgbImage::from_pixel(side.max(1), side.max(1), NOTHING);
    let mut fill = |x: usize, y: usize, colour: Rgb<u8>| {
        for (i, j) in (0..CELL - 1).flat_map(|i| (0..CELL - 1).map(move |j| (i, j))) {
            picture.put_pixel(x as u32 * CELL + i, y as u32 * CELL + j, colour);
        }
    };
    for &(first, second, score) in pairs {
        let Some(score) = score else { continue };
        let share = ((score - LOWEST) / (1.0 - LOWEST)).clamp(0.0, 1.0);
        let colour = Rgb([0, 1, 2].map(|i| (BAD[i] + share * (GOOD[i] - BAD[i])).round() as u8));
        fill(first, second, colour);
        fill(second, first, colour);
    }
    Ok(picture.into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn better_pairs_are_darker_on_both_sides() {
        let picture = matrix(3, &[(0, 1, Some(1.0)), (0, 2, Some(0.85)), (1, 2, None)]).unwrap();
        let picture = picture.to_luma8();
        let at = |x: u32, y: u32| picture.get_pixel(x * CELL + 2, y * CELL + 2).0[0];
        assert_eq!(at(0, 1), at(1, 0));
        assert!(at(0, 1) < at(0, 2));
        assert_eq!((at(1, 2), at(0, 0)), (255, 255));
    }
}
