//! Images in [-1, 1] to pictures, and pictures to files. Grey stays grey, and what is transparent stays so.

use std::borrow::Cow;
use std::io::Cursor;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use burn::tensor::Tensor;
use datasets::Channels;
use image::codecs::gif::{GifEncoder, Repeat};
use image::codecs::jpeg::JpegEncoder;
use image::imageops;
use image::{Delay, DynamicImage, Frame, GrayImage, ImageFormat, RgbImage, Rgba, RgbaImage};

use crate::run::atomic_file;

/// The images of a batch `[B, C, H, W]` in [-1, 1], C being 1 (grey), 3 (RGB) or 4 (RGBA). Values outside
/// are clipped.
pub fn from_tensor(images: Tensor<4>) -> Result<Vec<DynamicImage>> {
    let [batch, channels, height, width] = images.dims();
    ensure!(
        Channels::of(channels).is_some(),
        "images of {channels} channels cannot be drawn: 1 (grey), 3 (RGB) or 4 (RGBA) can"
    );
    let values: Vec<f32> = images
        .permute([0, 2, 3, 1])
        .try_into_vec_as()
        .context("cannot read the images back from the device")?;
    let bytes: Vec<u8> = values.into_iter().map(to_byte).collect();
    let (width_px, height_px) = (u32::try_from(width)?, u32::try_from(height)?);
    bytes
        .chunks(channels * height * width)
        .take(batch)
        .map(|pixels| {
            let pixels = pixels.to_vec();
            let picture = match channels {
                1 => GrayImage::from_raw(width_px, height_px, pixels).map(DynamicImage::from),
                3 => RgbImage::from_raw(width_px, height_px, pixels).map(DynamicImage::from),
                _ => RgbaImage::from_raw(width_px, height_px, pixels).map(DynamicImage::from),
            };
            picture.context("an image has no pixels")
        })
        .collect()
}

/// The byte of a pixel in [-1, 1]; values outside are clipped.
pub fn to_byte(value: f32) -> u8 {
    ((value + 1.0) * 127.5).round().clamp(0.0, 255.0) as u8
}

/// The extensions of pictures that can be written.
pub const EXTENSIONS: &str = ".png, .jpg, .jpeg, .webp";

/// The quality of JPEGs, of 100: no artefacts that the eye takes for the network's.
const JPEG_QUALITY: u8 = 95;

/// The format that the extension of `path` names, if pictures are written in it.
pub fn format_of(path: &Path) -> Option<ImageFormat> {
    let extension = path.extension()?.to_string_lossy().to_lowercase();
    match extension.as_str() {
        "png" => Some(ImageFormat::Png),
        "jpg" | "jpeg" => Some(ImageFormat::Jpeg),
        "webp" => Some(ImageFormat::WebP),
        _ => None,
    }
}

/// Writes a picture in the format that the extension of `path` names: PNG, WebP without loss, or JPEG, which
/// has what is transparent laid on white.
pub fn save(picture: &DynamicImage, path: &Path) -> Result<()> {
    let Some(format) = format_of(path) else {
        bail!(
            "cannot write {}: expected a name that ends in one of {EXTENSIONS}",
            path.display()
        );
    };
    let mut bytes = Cursor::new(Vec::new());
    let encoded = match format {
        ImageFormat::Jpeg => {
            let opaque = if picture.color().has_alpha() {
                DynamicImage::from(on_white(picture)).into_rgb8().into()
            } else {
                picture.clone()
            };
            opaque.write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY))
        }
        // The encoder knows no grey.
        ImageFormat::WebP if !picture.color().has_alpha() => {
            DynamicImage::from(picture.to_rgb8()).write_to(&mut bytes, format)
        }
        format => picture.write_to(&mut bytes, format),
    };
    encoded.with_context(|| format!("cannot encode {}", path.display()))?;
    atomic_file::write(path, bytes.get_ref())
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Writes a picture as PNG.
pub fn save_png(picture: &DynamicImage, path: &Path) -> Result<()> {
    let mut bytes = Cursor::new(Vec::new());
    picture
        .write_to(&mut bytes, ImageFormat::Png)
        .context("cannot encode a PNG")?;
    atomic_file::write(path, bytes.get_ref())
        .with_context(|| format!("cannot write {}", path.display()))
}

/// A picture as a PNG, with `texts` by keyword (`iTXt`).
pub fn png(picture: &DynamicImage, texts: &[(&str, &str)]) -> Result<Vec<u8>> {
    let (colour, bytes) = match picture {
        DynamicImage::ImageLuma8(grey) => (png::ColorType::Grayscale, Cow::from(grey.as_raw())),
        DynamicImage::ImageRgba8(rgba) => (png::ColorType::Rgba, Cow::from(rgba.as_raw())),
        other => (png::ColorType::Rgb, other.to_rgb8().into_raw().into()),
    };
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, picture.width(), picture.height());
    encoder.set_color(colour);
    encoder.set_depth(png::BitDepth::Eight);
    let encode = |mut encoder: png::Encoder<'_, _>| {
        for (keyword, text) in texts {
            encoder.add_itxt_chunk((*keyword).to_owned(), (*text).to_owned())?;
        }
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&bytes)?;
        writer.finish()
    };
    encode(encoder).context("cannot encode a PNG")?;
    Ok(file)
}

/// The text under `keyword` (`iTXt`) of a PNG; `None` where it has none.
///
/// # Errors
///
/// What is no PNG, or damaged before its pixels.
pub fn text_in_png(bytes: &[u8], keyword: &str) -> Result<Option<String>> {
    let reader = png::Decoder::new(Cursor::new(bytes)).read_info()?;
    let texts = &reader.info().utf8_text;
    let text = texts.iter().find(|text| text.keyword == keyword);
    Ok(text.map(|text| text.get_text()).transpose()?)
}

/// What is opaque: through a transparent pixel of a GIF the frame before would be seen.
fn on_white(picture: &DynamicImage) -> RgbaImage {
    let mut white = RgbaImage::from_pixel(picture.width(), picture.height(), Rgba([255; 4]));
    imageops::overlay(&mut white, &picture.to_rgba8(), 0, 0);
    white
}

/// Writes pictures as an endlessly repeated GIF that rests on its last one.
pub fn save_gif(frames: &[DynamicImage], frame_time: Duration, path: &Path) -> Result<()> {
    const REST: Duration = Duration::from_secs(2);
    let mut bytes = Vec::new();
    let mut encoder = GifEncoder::new_with_speed(&mut bytes, 10);
    let encode = |encoder: &mut GifEncoder<_>| {
        encoder.set_repeat(Repeat::Infinite)?;
        for (index, frame) in frames.iter().enumerate() {
            let last = index + 1 == frames.len();
            let delay = Delay::from_saturating_duration(if last { REST } else { frame_time });
            encoder.encode_frame(Frame::from_parts(on_white(frame), 0, 0, delay))?;
        }
        Ok::<(), image::ImageError>(())
    };
    encode(&mut encoder).context("cannot encode a GIF")?;
    drop(encoder);
    atomic_file::write(path, &bytes).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use burn::tensor::Device;

    use super::*;

    fn images<const N: usize>(values: [f32; N], shape: [usize; 4]) -> Tensor<4> {
        Tensor::<1>::from_floats(values, &Device::flex()).reshape(shape)
    }

    #[test]
    fn values_become_bytes() {
        let pictures = from_tensor(images([-1.0, 0.0, 1.0, 7.0], [1, 1, 2, 2])).unwrap();
        assert_eq!(pictures[0].as_bytes(), [0, 128, 255, 255]);
        assert!(matches!(pictures[0], DynamicImage::ImageLuma8(_)));
    }

    #[test]
    fn a_png_carries_text_and_damaged_ones_are_errors() {
        let picture = DynamicImage::new_rgba8(3, 2);
        let written = png(&picture, &[("key", "grün <&>\n")]).unwrap();
        let text = |keyword| text_in_png(&written, keyword).unwrap();
        assert_eq!(text("key").as_deref(), Some("grün <&>\n"));
        assert_eq!(text("other"), None);
        assert_eq!(image::load_from_memory(&written).unwrap(), picture);
        for end in 0..written.len() {
            // Whole before its pixels is whole enough.
            let _ = text_in_png(&written[..end], "key");
        }
        assert!(text_in_png(&written[..20], "key").is_err());
        assert!(text_in_png(b"no picture", "key").is_err());
    }

    #[test]
    fn channels_are_interleaved() {
        let pictures = from_tensor(images([-1.0, 1.0, 0.0], [1, 3, 1, 1])).unwrap();
        assert_eq!(pictures[0].as_bytes(), [0, 255, 128]);
        assert!(from_tensor(images([0.0, 0.0], [1, 2, 1, 1])).is_err());
        let pictures = from_tensor(images([-1.0, 1.0, 0.0, -1.0], [1, 4, 1, 1])).unwrap();
        assert_eq!(pictures[0].as_bytes(), [0, 255, 128, 0]);
    }

    #[test]
    fn what_is_transparent_is_white_in_a_gif() {
        let hidden = DynamicImage::ImageRgba8(RgbaImage::from_pixel(60, 60, Rgba([9, 9, 9, 0])));
        assert_eq!(on_white(&hidden).get_pixel(30, 30).0, [255; 4]);
    }

    #[test]
    fn the_extension_is_the_format() {
        let folder = tempfile::tempdir().unwrap();
        let grey = DynamicImage::new_luma8(8, 8);
        let clear = DynamicImage::ImageRgba8(RgbaImage::from_pixel(8, 8, Rgba([9, 9, 9, 0])));
        for (name, format) in [
            ("a.png", ImageFormat::Png),
            ("a.JPG", ImageFormat::Jpeg),
            ("a.jpeg", ImageFormat::Jpeg),
            ("a.webp", ImageFormat::WebP),
        ] {
            for picture in [&grey, &clear] {
                let path = folder.path().join(name);
                save(picture, &path).unwrap();
                let bytes = std::fs::read(&path).unwrap();
                assert_eq!(image::guess_format(&bytes).unwrap(), format, "{name}");
                let read = image::load_from_memory_with_format(&bytes, format).unwrap();
                assert_eq!(read.width(), 8);
                if format == ImageFormat::Jpeg && picture.color().has_alpha() {
                    assert_eq!(read.to_rgb8().get_pixel(4, 4).0, [255; 3]);
                }
            }
        }
        for name in ["a", "a.gif", "a.txt", ".png"] {
            assert!(save(&grey, &folder.path().join(name)).is_err(), "{name}");
        }
    }

    #[test]
    fn files_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let picture = DynamicImage::new_luma8(4, 4);
        let (png, gif) = (folder.path().join("a.png"), folder.path().join("a.gif"));
        save_png(&picture, &png).unwrap();
        save_gif(
            &[picture.clone(), picture.clone()],
            Duration::from_millis(50),
            &gif,
        )
        .unwrap();
        assert_eq!(image::open(&png).unwrap(), picture);
        assert_eq!(image::open(&gif).unwrap().width(), 4);
    }
}
