//! Images from a trained network: pictures of all of them, and each by itself.

use std::path::Path;

use anyhow::Result;
use burn::tensor::Tensor;
use image::DynamicImage;

use crate::drawing::pictures;
use crate::kinds::grids::{self, Cells};
use crate::kinds::labels::write_labels;
use crate::kinds::outputs::Outputs;
use crate::report;
use crate::sampling::{Model, Request};

/// Images as they are.
#[derive(Debug)]
pub(super) struct Pixels;

impl Cells for Pixels {
    fn draw(&self, images: Tensor<4>) -> Result<Vec<DynamicImage>> {
        pictures::from_tensor(images)
    }
}

/// Draws images and writes pictures of them. Returns the images, `[N, C, H, W]`.
pub(crate) fn sample(model: &Model, request: &Request, outputs: &Outputs<'_>) -> Result<Tensor<4>> {
    let images = grids::sample(model, request, outputs, &Pixels)?;
    if let Some(folder) = outputs.each {
        let names = &outputs.source.found.class_names;
        write_each(images.clone(), &request.classes, names, folder)?;
        report::wrote(folder);
    }
    Ok(images)
}

/// Each of the images `[N, C, H, W]` by itself, and `labels.csv` with its class.
pub(crate) fn write_each(
    images: Tensor<4>,
    classes: &[Option<usize>],
    names: &[String],
    folder: &Path,
) -> Result<()> {
    let file_name = |index| format!("{index:06}.png");
    for (index, image) in pictures::from_tensor(images)?.iter().enumerate() {
        pictures::save_png(image, &folder.join(file_name(index)))?;
    }
    write_labels(classes, names, folder, file_name)
}
