//! What a picture shows, written around it: a title above, names above its columns and left of its rows.

use anyhow::{Context, Result};
use image::{DynamicImage, GenericImage, GrayImage, Luma};

use super::text::{self, Align};

/// The height of letters in pixels.
const TITLE_SIZE: u32 = 16;
const NAME_SIZE: u32 = 14;
const LEAST_NAME_SIZE: u32 = 8;
/// The height of a line of text.
const LINE: u32 = 24;
/// Room beside text.
const MARGIN: u32 = 8;
/// The most pixels that names of rows take; longer ones are cut.
const MAX_ROW_NAME: u32 = 260;

/// What is written around a picture. What is left empty takes no room.
#[derive(Debug, Clone, Default)]
pub struct Captions {
    /// Above the picture.
    pub title: String,
    /// Above its columns, which are equally wide.
    pub columns: Vec<String>,
    /// Left of its rows, which are equally high.
    pub rows: Vec<String>,
    /// The pixels at the bottom of the picture that are of no row, such as those of an axis.
    pub below_rows: u32,
}

impl Captions {
    /// A title alone.
    pub fn title(title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            ..Self::default()
        }
    }

    /// The same with names of the rows.
    #[must_use]
    pub fn rows(self, rows: Vec<String>) -> Self {
        Self { rows, ..self }
    }

    /// The same for a picture of whose height so many pixels at the bottom are of no row.
    #[must_use]
    pub fn below_rows(self, below_rows: u32) -> Self {
        Self { below_rows, ..self }
    }

    /// The same with names of the columns.
    #[must_use]
    pub fn columns(self, columns: Vec<String>) -> Self {
        Self { columns, ..self }
    }
}

/// The width that a title takes.
pub fn title_width(title: &str) -> Result<u32> {
    Ok(text::width(title, TITLE_SIZE)? + 2 * MARGIN)
}

/// `picture` with its captions, on white. It lies at the bottom; what is at least `min_width` pixels wide is
/// also wide enough for the title. Grey stays grey, and what is transparent stays so.
pub fn captioned(
    picture: &DynamicImage,
    captions: &Captions,
    min_width: u32,
) -> Result<DynamicImage> {
    let Captions {
        title,
        columns,
        rows,
        below_rows,
    } = captions;
    let rows: Vec<String> = rows
        .iter()
        .map(|name| text::cut_to(name, NAME_SIZE, MAX_ROW_NAME))
        .collect::<Result<_>>()?;
    let mut beside = 0;
    for name in &rows {
        beside = beside.max(text::width(name, NAME_SIZE)? + 2 * MARGIN);
    }
    let needed = (beside + picture.width()).max(min_width);
    let width = if title.is_empty() {
        needed
    } else {
        needed.max(title_width(title)?)
    };
    let left = beside + (width - beside - picture.width()) / 2;
    let lines = u32::from(!title.is_empty()) + u32::from(!columns.is_empty());
    let top = lines * LINE;

    let blank = GrayImage::from_pixel(width, top + picture.height(), Luma([255]));
    let mut whole: DynamicImage = match picture {
        DynamicImage::ImageLuma8(_) => blank.into(),
        DynamicImage::ImageRgba8(_) => DynamicImage::from(blank).into_rgba8().into(),
        _ => DynamicImage::from(blank).into_rgb8().into(),
    };
    text::write(
        &mut whole,
        title,
        TITLE_SIZE,
        Align::Left,
        (MARGIN, LINE / 2),
    )?;
    let column_width = f64::from(picture.width()) / columns.len().max(1) as f64;
    let size = fitting_size(columns, column_width)?;
    for (index, name) in columns.iter().enumerate() {
        let x = f64::from(left) + (index as f64 + 0.5) * column_width;
        let name = text::cut_to(name, size, column_width as u32)?;
        let place = (x.round() as u32, top - LINE / 2);
        text::write(&mut whole, &name, size, Align::Centre, place)?;
    }
    let height = picture.height().saturating_sub(*below_rows);
    let row_height = f64::from(height) / rows.len().max(1) as f64;
    for (index, name) in rows.iter().enumerate() {
        let y = f64::from(top) + (index as f64 + 0.5) * row_height;
        let place = (left - MARGIN, y.round() as u32);
        text::write(&mut whole, name, NAME_SIZE, Align::Right, place)?;
    }
    whole
        .copy_from(picture, left, top)
        .context("cannot draw a caption")?;
    Ok(whole)
}

/// The largest height of letters at which every name fits into its column.
fn fitting_size(names: &[String], column_width: f64) -> Result<u32> {
    let mut widest = 1;
    for name in names {
        widest = widest.max(text::width(name, NAME_SIZE)?);
    }
    let share = (column_width - 4.0) / f64::from(widest);
    let size = (f64::from(NAME_SIZE) * share.min(1.0)).floor() as u32;
    Ok(size.clamp(LEAST_NAME_SIZE, NAME_SIZE))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use image::GenericImageView;

    use super::*;

    fn names<const N: usize>(names: [&str; N]) -> Vec<String> {
        names.map(str::to_owned).to_vec()
    }

    /// The dark pixels of a part of a picture.
    fn ink(whole: &DynamicImage, x: u32, y: u32, width: u32, height: u32) -> usize {
        let part = whole.crop_imm(x, y, width, height).to_luma8();
        part.pixels().filter(|pixel| pixel.0[0] < 128).count()
    }

    #[test]
    fn the_picture_stays_as_it_is_below_its_title() {
        let captions = Captions::title("a title").columns(names(["x₀", "t = 1"]));
        for picture in [
            DynamicImage::new_luma8(100, 30),
            DynamicImage::new_rgb8(900, 30),
            DynamicImage::new_rgba8(120, 30),
        ] {
            let whole = captioned(&picture, &captions, 200).unwrap();
            assert_eq!(whole.color(), picture.color());
            assert_eq!(whole.height(), 30 + 2 * LINE);
            assert_eq!(whole.width(), picture.width().max(200));
            let left = (whole.width() - picture.width()) / 2;
            let below = whole.view(left, 2 * LINE, picture.width(), 30);
            let corner = picture.get_pixel(0, 0);
            assert!(below.pixels().all(|(_, _, pixel)| pixel == corner));
            assert!(ink(&whole, 0, 0, whole.width(), LINE) > 50);
            assert!(ink(&whole, 0, LINE, whole.width(), LINE) > 20);
        }
    }

    #[test]
    fn every_row_has_its_name_beside_it() {
        for count in [1, 10, 100] {
            let picture = DynamicImage::new_luma8(120, 110 * count);
            let rows: Vec<String> = (0..count).map(|row| format!("class {row}")).collect();
            let whole = captioned(&picture, &Captions::title("").rows(rows), 0).unwrap();
            assert_eq!(whole.height(), picture.height());
            let beside = whole.width() - picture.width();
            for row in 0..count {
                assert!(
                    ink(&whole, 0, 110 * row + 43, beside, LINE) > 20,
                    "row {row}"
                );
                // Nothing between two names, and nothing that touches the picture.
                assert_eq!(ink(&whole, 0, 110 * row, beside, 30), 0, "row {row}");
                assert_eq!(ink(&whole, beside - 4, 110 * row, 4, 110), 0, "row {row}");
            }
        }
    }

    #[test]
    fn long_names_are_cut_and_do_not_run_into_one_another() {
        let long = "the name of a class that somebody wrote a whole sentence for".to_owned();
        let picture = DynamicImage::new_luma8(220, 50);
        let captions = Captions::title("t")
            .rows(vec![long.clone()])
            .columns(vec![long.clone(), long]);
        let whole = captioned(&picture, &captions, 0).unwrap();
        let beside = whole.width() - picture.width();
        assert!(beside <= MAX_ROW_NAME + 2 * MARGIN);
        // Left of the first column, and between the two.
        assert_eq!(ink(&whole, 0, LINE, beside, LINE), 0);
        assert!(ink(&whole, beside, LINE, 110, LINE) > 20);
        assert!(ink(&whole, beside + 110, LINE, 110, LINE) > 20);
    }

    #[test]
    fn a_hundred_columns_keep_to_themselves() {
        let columns: Vec<String> = (0..100).map(|t| format!("t = {t}")).collect();
        let picture = DynamicImage::new_luma8(100 * 98 + 2, 20);
        let whole = captioned(&picture, &Captions::title("").columns(columns), 0).unwrap();
        assert_eq!(whole.width(), picture.width());
        for column in 0..100 {
            let left = (f64::from(picture.width()) / 100.0 * f64::from(column)) as u32;
            assert!(ink(&whole, left + 10, 0, 80, LINE) > 10, "column {column}");
            assert_eq!(ink(&whole, left, 0, 4, LINE), 0, "column {column}");
        }
    }
}
