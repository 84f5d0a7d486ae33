//! Pictures from PNG, JPEG, WebP, BMP and GIF files (the first frame), in grey, RGB or RGBA.
//!
//! A file is known by its content, not its name. What is read is turned upright as its EXIF tag
//! asks, laid on a background where it is transparent (c' = α c + (1 − α) background, in the file's own
//! colour space, as browsers do), made grey if asked (the luma of Rec. 709), then, if a size is given,
//! cropped to the central square and resized with a Lanczos filter of three lobes.
//!
//! In RGBA the alpha is kept instead. Colours are weighed by it while they are resized, so that what
//! cannot be seen does not bleed into edges, and pixels that cannot be seen at all take the background's
//! colour, whatever the file has there.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Cursor, Seek};
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use image::imageops::FilterType;
use image::{
    DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, Rgb, RgbImage, Rgba32FImage,
    RgbaImage,
};

use super::budget::{self, Share};
use super::claims;
pub use super::claims::{ClaimError, MAX_PIXELS};
use crate::files::{open, read_at_most, read_whole};
use crate::folders::first_messages;

/// The background that transparent pictures are laid on where no other is asked for.
pub const WHITE: [u8; 3] = [255; 3];

/// The most bytes of an image file.
pub const MAX_FILE_LEN: u64 = 256 << 20;

/// The most bytes that decoding one file may take.
const MAX_ALLOC: u64 = 1 << 30;

/// The formats that are read.
const READ: [ImageFormat; 5] = [
    ImageFormat::Png,
    ImageFormat::Jpeg,
    ImageFormat::WebP,
    ImageFormat::Bmp,
    ImageFormat::Gif,
];

/// How many bytes tell the format of a file.
const SIGNATURE_LEN: usize = 64;

/// The colours of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channels {
    /// One channel of luma.
    Grey,
    /// Red, green, blue.
    Rgb,
    /// Red, green, blue, and alpha: how opaque a pixel is.
    Rgba,
}

/// A picture of 8-bit values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    path: PathBuf,
    /// Channels, height, width.
    shape: [usize; 3],
    /// Each channel, row, column.
    pixels: Vec<u8>,
}

/// Why a file or folder gives no pictures.
#[derive(Debug, thiserror::Error)]
pub enum ImageFileError {
    /// The file or folder cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// There is not one byte.
    #[error("{} is empty (0 bytes); an image is wanted", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The file is none of the formats that are read.
    #[error("{} is no image: expected PNG, JPEG, WebP, BMP or GIF", path.display())]
    UnknownFormat {
        /// The file.
        path: PathBuf,
    },
    /// The file is longer than [`MAX_FILE_LEN`].
    #[error("{} is longer than {MAX_FILE_LEN} bytes, the limit of an image file", path.display())]
    FileTooLong {
        /// The file.
        path: PathBuf,
    },
    /// The picture has more than [`MAX_PIXELS`].
    #[error(
        "{} is {width} × {height} pixels; the limit is {MAX_PIXELS} in all: scale it down first",
        path.display()
    )]
    TooManyPixels {
        /// The file.
        path: PathBuf,
        /// Its width in pixels.
        width: u32,
        /// Its height in pixels.
        height: u32,
    },
    /// A JPEG file without an end: a decoder would fill the rest with grey.
    #[error("{} is cut short: the JPEG data has no end marker", path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
    },
    /// A header inside the file claims what the file cannot hold.
    #[error("cannot decode {}: it may be damaged or cut short", path.display())]
    Claim {
        /// The file.
        path: PathBuf,
        /// What it claims.
        source: ClaimError,
    },
    /// The file is damaged, cut short, or of a kind that is not read.
    #[error("cannot decode {}: it may be damaged or cut short", path.display())]
    Decode {
        /// The file.
        path: PathBuf,
        /// What the decoder says.
        source: image::ImageError,
    },
    /// The size asked for makes no sense.
    #[error("a picture cannot be resized to {height} × {width} pixels: choose 1 to 8192")]
    Size {
        /// The height asked for.
        height: usize,
        /// The width asked for.
        width: usize,
    },
    /// A folder holds no image.
    #[error("the folder {} holds no images (folders inside it are not searched)", path.display())]
    NoImages {
        /// The folder.
        path: PathBuf,
    },
    /// A folder holds image files that cannot be read.
    #[error(
        "{} of the {files} image files in {} cannot be read; repair or remove them. The first: {}",
        errors.len(), path.display(), first_messages(errors)
    )]
    BadFiles {
        /// The folder.
        path: PathBuf,
        /// How many image files were tried.
        files: usize,
        /// One error a bad file.
        errors: Vec<ImageFileError>,
    },
}

impl Channels {
    /// The colours of so many channels, if there are such.
    pub fn of(count: usize) -> Option<Self> {
        [Self::Grey, Self::Rgb, Self::Rgba]
            .into_iter()
            .find(|channels| channels.count() == count)
    }

    /// 1, 3 or 4.
    pub fn count(self) -> usize {
        match self {
            Self::Grey => 1,
            Self::Rgb => 3,
            Self::Rgba => 4,
        }
    }
}

impl Picture {
    /// The file that it came from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// 1 for grey, 3 for RGB, 4 for RGBA.
    pub fn channels(&self) -> usize {
        self.shape[0]
    }

    /// The height in pixels.
    pub fn height(&self) -> usize {
        self.shape[1]
    }

    /// The width in pixels.
    pub fn width(&self) -> usize {
        self.shape[2]
    }

    /// The values: each channel, row, column.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// The values, without a copy.
    pub(crate) fn into_pixels(self) -> Vec<u8> {
        self.pixels
    }

    /// The picture as `[C, H, W]` in [-1, 1]: a byte b becomes b / 127.5 − 1.
    pub fn to_tensor(&self, device: &Device) -> Tensor<3> {
        let normalised = normalised_bytes();
        let values: Vec<f32> = self
            .pixels
            .iter()
            .map(|&byte| normalised[usize::from(byte)])
            .collect();
        Tensor::from_data(TensorData::new(values, self.shape), device)
    }
}

/// Reads one picture, on white where it is transparent. With a `size`, height and
/// width, the largest part of that shape in its middle is resized to it; without, it keeps its own size.
///
/// ```no_run
/// use datasets::{Channels, read_image};
///
/// let picture = read_image("cat.webp".as_ref(), Channels::Rgb, Some([64, 64]))?;
/// assert_eq!(picture.pixels().len(), 3 * 64 * 64);
/// # Ok::<(), datasets::ImageFileError>(())
/// ```
///
/// # Errors
///
/// See [`ImageFileError`].
pub fn read_image(
    path: &Path,
    channels: Channels,
    size: Option<[usize; 2]>,
) -> Result<Picture, ImageFileError> {
    read_image_on(path, channels, size, WHITE)
}

/// As [`read_image`], on a `background` of this colour (red, green, blue) where it is transparent.
///
/// # Errors
///
/// See [`ImageFileError`].
pub fn read_image_on(
    path: &Path,
    channels: Channels,
    size: Option<[usize; 2]>,
    background: [u8; 3],
) -> Result<Picture, ImageFileError> {
    let size = size.map(checked_size).transpose()?;
    let (image, _share) = decode(path, channels, size)?;
    Ok(fitted(image, path, channels, size, background))
}

/// As [`read_image`], of the `bytes` of a file, which messages call `name`.
///
/// # Errors
///
/// See [`ImageFileError`].
pub fn decode_image(
    bytes: Vec<u8>,
    name: &Path,
    channels: Channels,
    size: Option<[usize; 2]>,
) -> Result<Picture, ImageFileError> {
    let size = size.map(checked_size).transpose()?;
    if bytes.len() as u64 > MAX_FILE_LEN {
        return Err(ImageFileError::FileTooLong {
            path: name.to_owned(),
        });
    }
    let format = format_of(&bytes[..bytes.len().min(SIGNATURE_LEN)], name)?;
    let (image, _share) = decode_bytes(bytes, format, name, channels, size)?;
    Ok(fitted(image, name, channels, size, WHITE))
}

/// A decoded image in these colours and of this size.
fn fitted(
    image: DynamicImage,
    path: &Path,
    channels: Channels,
    size: Option<[u32; 2]>,
    background: [u8; 3],
) -> Picture {
    // Cropped first, so that what follows takes memory for what is kept alone.
    let image = match size {
        Some(size) => central_part(image, size),
        None => image,
    };
    let on_background = |image| DynamicImage::ImageRgb8(on_background(image, background));
    let image = match channels {
        Channels::Grey => DynamicImage::ImageLuma8(on_background(image).into_luma8()),
        Channels::Rgb => on_background(image),
        Channels::Rgba => DynamicImage::ImageRgba32F(weighed_by_alpha(image.into_rgba32f())),
    };
    let image = match size {
        Some([height, width]) => image.resize_exact(width, height, FilterType::Lanczos3),
        None => image,
    };
    let image = match image {
        DynamicImage::ImageRgba32F(image) => {
            DynamicImage::ImageRgba8(not_weighed_by_alpha(&image, background))
        }
        image => image,
    };
    let (width, height) = (image.width() as usize, image.height() as usize);
    let interleaved = image.into_bytes();
    let count = channels.count();
    let pixels = (0..count)
        .flat_map(|channel| interleaved.iter().skip(channel).step_by(count).copied())
        .collect();
    Picture {
        path: path.to_owned(),
        shape: [count, height, width],
        pixels,
    }
}

/// Reads the pictures of a folder in the order of their file names, at most `limit` of them.
///
/// Hidden files and the folders inside are passed over. A file that is no image by its name or its
/// content is passed over with a warning.
///
/// # Errors
///
/// See [`ImageFileError`]; all unreadable images are reported at once.
pub fn read_folder(
    path: &Path,
    channels: Channels,
    size: Option<[usize; 2]>,
    limit: Option<usize>,
) -> Result<Vec<Picture>, ImageFileError> {
    if let Some(size) = size {
        checked_size(size)?;
    }
    let mut pictures = Vec::new();
    let mut errors = Vec::new();
    for file in visible_files(path)? {
        if limit.is_some_and(|limit| pictures.len() >= limit) {
            break;
        }
        match read_image(&file, channels, size) {
            Ok(picture) => pictures.push(picture),
            Err(ImageFileError::UnknownFormat { .. } | ImageFileError::Empty { .. })
                if ImageFormat::from_path(&file).is_err() =>
            {
                tracing::warn!("{} is no image; passed over", file.display());
            }
            Err(error) => errors.push(error),
        }
    }
    if !errors.is_empty() {
        return Err(ImageFileError::BadFiles {
            path: path.to_owned(),
            files: pictures.len() + errors.len(),
            errors,
        });
    }
    if pictures.is_empty() {
        let path = path.to_owned();
        return Err(ImageFileError::NoImages { path });
    }
    Ok(pictures)
}

/// The files of a folder in the order of their names, without hidden ones.
fn visible_files(folder: &Path) -> Result<Vec<PathBuf>, ImageFileError> {
    let list = || -> io::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
            if !hidden && entry.path().is_file() {
                files.push(entry.path());
            }
        }
        files.sort();
        Ok(files)
    };
    list().map_err(|source| ImageFileError::Read {
        path: folder.to_owned(),
        source,
    })
}

/// The width and height in pixels that the header of a file says, before it is turned upright. The
/// pixels are not looked at.
///
/// # Errors
///
/// See [`ImageFileError`].
pub fn image_size(path: &Path) -> Result<(u32, u32), ImageFileError> {
    let opened = Opened::new(path)?;
    let _share = budget::FILES.take(opened.len);
    let decoder = decoder(BufReader::new(opened.file), opened.format, path)?;
    Ok(decoder.dimensions())
}

/// Decodes a file, upright. The share of the budget is for what is made of the image, too.
fn decode(
    path: &Path,
    channels: Channels,
    size: Option<[u32; 2]>,
) -> Result<(DynamicImage, Share<'static>), ImageFileError> {
    let Opened { file, format, len } = Opened::new(path)?;
    let _share_of_files = budget::FILES.take(len);
    let bytes = read_whole(file, len).map_err(|source| read_error(path, source))?;
    let bytes = bytes.ok_or_else(|| ImageFileError::FileTooLong {
        path: path.to_owned(),
    })?;
    decode_bytes(bytes, format, path, channels, size)
}

/// The same of the bytes of a file.
fn decode_bytes(
    bytes: Vec<u8>,
    format: ImageFormat,
    path: &Path,
    channels: Channels,
    size: Option<[u32; 2]>,
) -> Result<(DynamicImage, Share<'static>), ImageFileError> {
    let owned = || path.to_owned();
    let decode_error = |source| ImageFileError::Decode {
        path: owned(),
        source,
    };

    if format == ImageFormat::Jpeg && !jpeg_has_end(&bytes) {
        return Err(ImageFileError::Truncated { path: owned() });
    }
    claims::check(&bytes, format).map_err(|source| ImageFileError::Claim {
        path: owned(),
        source,
    })?;
    let mut decoder = decoder(Cursor::new(bytes), format, path)?;
    let orientation = decoder.orientation().map_err(decode_error)?;
    let share = budget::PIXELS.take(working_memory(&decoder, channels, size));
    let mut image = DynamicImage::from_decoder(decoder).map_err(decode_error)?;
    image.apply_orientation(orientation);
    Ok((image, share))
}

/// About how many bytes it takes to decode an image and to bring it to its colours and size.
fn working_memory(decoder: &impl ImageDecoder, channels: Channels, size: Option<[u32; 2]>) -> u64 {
    /// Decoders keep a frame, a canvas or coefficients beside what they give.
    const COPIES: u64 = 4;
    /// Of a pixel as four 32-bit floats, as filters work on it.
    const FLOATS: u64 = 16;
    let (width, height) = decoder.dimensions();
    let decoded = decoder.total_bytes();
    // An orientation that lies turns the part on its side.
    let upright = size.map(|size| part_of([height, width], size));
    let turned = size.map(|size| part_of([width, height], size));
    let area = |[height, width]: [u32; 2]| u64::from(height) * u64::from(width);
    let pixels = match (upright, turned) {
        (Some(upright), Some(turned)) => area(upright).max(area(turned)),
        _ => area([height, width]),
    };
    let coloured = pixels
        * match channels {
            Channels::Grey | Channels::Rgb => 2 * channels.count() as u64,
            Channels::Rgba => FLOATS,
        };
    let half_resized = FLOATS
        * size.map_or(0, |[tall, wide]| {
            let longest = u64::from(width.max(height));
            longest * u64::from(tall.max(wide))
        });
    (COPIES * decoded).max(decoded + coloured + half_resized)
}

/// A file, read from its start.
struct Opened {
    file: File,
    /// As its first bytes say.
    format: ImageFormat,
    /// In bytes.
    len: u64,
}

impl Opened {
    fn new(path: &Path) -> Result<Self, ImageFileError> {
        let owned = || path.to_owned();
        let read_error = |source| read_error(path, source);
        let mut file = open(path).map_err(read_error)?;
        let len = file.metadata().map_err(read_error)?.len();
        if len > MAX_FILE_LEN {
            return Err(ImageFileError::FileTooLong { path: owned() });
        }
        let signature = read_at_most(&mut file, SIGNATURE_LEN).map_err(|e| read_error(e.source))?;
        let format = format_of(&signature, path)?;
        file.rewind().map_err(read_error)?;
        Ok(Self { file, format, len })
    }
}

/// The format that the first bytes of a file tell.
fn format_of(signature: &[u8], path: &Path) -> Result<ImageFormat, ImageFileError> {
    let path = || path.to_owned();
    if signature.is_empty() {
        return Err(ImageFileError::Empty { path: path() });
    }
    image::guess_format(signature)
        .ok()
        .filter(|format| READ.contains(format))
        .ok_or_else(|| ImageFileError::UnknownFormat { path: path() })
}

/// A decoder that has read the header of a file and found its size to be within the limits.
fn decoder<'a>(
    bytes: impl BufRead + Seek + 'a,
    format: ImageFormat,
    path: &Path,
) -> Result<impl ImageDecoder + 'a, ImageFileError> {
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MAX_ALLOC);
    let mut reader = ImageReader::with_format(bytes, format);
    reader.limits(limits);
    let decoder = reader
        .into_decoder()
        .map_err(|source| ImageFileError::Decode {
            path: path.to_owned(),
            source,
        })?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(ImageFileError::TooManyPixels {
            path: path.to_owned(),
            width,
            height,
        });
    }
    Ok(decoder)
}

fn read_error(path: &Path, source: io::Error) -> ImageFileError {
    ImageFileError::Read {
        path: path.to_owned(),
        source,
    }
}

/// Whether a JPEG file reaches its end-of-image marker (ITU-T T.81, annex B). Markers inside
/// segments, such as those of a thumbnail, do not count.
fn jpeg_has_end(bytes: &[u8]) -> bool {
    const END_OF_IMAGE: u8 = 0xd9;
    /// TEM, RST0 to RST7 and SOI stand alone; all other markers start a segment.
    const ALONE: [u8; 10] = [0x01, 0xd0, 0xd1, 0xd2, 0xd3, 0xd4, 0xd5, 0xd6, 0xd7, 0xd8];

    let mut rest = bytes;
    while let [first, tail @ ..] = rest {
        rest = match (first, tail) {
            (0xff, [END_OF_IMAGE, ..]) => return true,
            // A stuffed zero inside the coded data, or a fill byte before a marker.
            (0xff, [0x00 | 0xff, ..]) => tail,
            (0xff, [marker, ..]) if ALONE.contains(marker) => tail,
            (0xff, [_, high, low, ..]) => {
                let segment = usize::from(u16::from_be_bytes([*high, *low]));
                tail.get(1 + segment..).unwrap_or_default()
            }
            _ => tail,
        };
    }
    false
}

/// Lays an image on a background: c' = α c + (1 − α) background, rounded.
fn on_background(image: DynamicImage, background: [u8; 3]) -> RgbImage {
    if !image.color().has_alpha() {
        return image.into_rgb8();
    }
    let image = image.into_rgba8();
    let (width, height) = image.dimensions();
    let mut flat = RgbImage::new(width, height);
    for (target, source) in flat.pixels_mut().zip(image.pixels()) {
        let [red, green, blue, alpha] = source.0;
        let alpha = u32::from(alpha);
        let blend = |c: u8, ground: u8| {
            ((u32::from(c) * alpha + u32::from(ground) * (255 - alpha) + 127) / 255) as u8
        };
        let [under_red, under_green, under_blue] = background;
        *target = Rgb([
            blend(red, under_red),
            blend(green, under_green),
            blend(blue, under_blue),
        ]);
    }
    flat
}

/// What is resized is made smaller by: the filter overshoots at edges, and what would come above 1 is cut off
/// there, which would change the ratio of colour and alpha.
const HEADROOM: f32 = 0.5;

/// Each colour times its alpha, as it is to be added up.
fn weighed_by_alpha(mut image: Rgba32FImage) -> Rgba32FImage {
    for pixel in image.pixels_mut() {
        let [red, green, blue, alpha] = pixel.0;
        let weight = HEADROOM * alpha;
        pixel.0 = [red * weight, green * weight, blue * weight, weight];
    }
    image
}

/// The colours that were weighed by alpha, as bytes; of pixels that cannot be seen, the background's.
fn not_weighed_by_alpha(image: &Rgba32FImage, [red, green, blue]: [u8; 3]) -> RgbaImage {
    let byte = |value: f32| (value * 255.0).round().clamp(0.0, 255.0) as u8;
    let mut bytes = RgbaImage::new(image.width(), image.height());
    for (to, from) in bytes.pixels_mut().zip(image.pixels()) {
        let [.., weight] = from.0;
        to.0 = match byte(weight / HEADROOM) {
            0 => [red, green, blue, 0],
            alpha => {
                let [red, green, blue, _] = from.0.map(|value| byte(value / weight));
                [red, green, blue, alpha]
            }
        };
    }
    bytes
}

/// The largest part of an image that has the shape of a size, height and width, from its middle.
fn central_part(image: DynamicImage, size: [u32; 2]) -> DynamicImage {
    let (width, height) = (image.width(), image.height());
    let [tall, wide] = part_of([height, width], size);
    if [tall, wide] == [height, width] {
        return image;
    }
    image.crop_imm((width - wide) / 2, (height - tall) / 2, wide, tall)
}

/// Height and width of the largest part of `whole` that has the shape of `size`.
fn part_of(whole: [u32; 2], size: [u32; 2]) -> [u32; 2] {
    let [height, width] = whole.map(u64::from);
    let [tall, wide] = size.map(u64::from);
    // Both fit into 32 bits, being no larger than the whole.
    if height * wide <= width * tall {
        [height as u32, ((height * wide / tall).max(1)) as u32]
    } else {
        [((width * tall / wide).max(1)) as u32, width as u32]
    }
}

fn checked_size(size: [usize; 2]) -> Result<[u32; 2], ImageFileError> {
    let [height, width] = size;
    match (u32::try_from(height), u32::try_from(width)) {
        (Ok(tall), Ok(wide))
            if tall > 0 && wide > 0 && u64::from(tall.max(wide)).pow(2) <= MAX_PIXELS =>
        {
            Ok([tall, wide])
        }
        _ => Err(ImageFileError::Size { height, width }),
    }
}

/// b / 127.5 − 1 for each byte b, computed in f64.
pub(super) fn normalised_bytes() -> [f32; 256] {
    std::array::from_fn(|byte| (byte as f64 / 127.5 - 1.0) as f32)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use burn::tensor::Device;
    use image::{GrayImage, Luma, Rgba};
    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;

    const FORMATS: [ImageFormat; 5] = [
        ImageFormat::Png,
        ImageFormat::Jpeg,
        ImageFormat::WebP,
        ImageFormat::Bmp,
        ImageFormat::Gif,
    ];

    /// Smooth colours, so that JPEG stays close; 20 × 12, few enough for a palette.
    fn colours() -> RgbImage {
        RgbImage::from_fn(20, 12, |x, y| Rgb([x as u8 * 10, y as u8 * 15, 128]))
    }

    fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    /// A folder with one file of these bytes.
    fn file(name: &str, bytes: &[u8]) -> (TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        (dir, path)
    }

    /// What is read of a file with these bytes, which is what is read of the bytes alone.
    fn read_bytes(bytes: &[u8], channels: Channels) -> Result<Picture, ImageFileError> {
        let (_dir, path) = file("picture", bytes);
        let read = read_image(&path, channels, None);
        let decoded = decode_image(bytes.to_vec(), &path, channels, None);
        match (&read, &decoded) {
            (Ok(read), Ok(decoded)) => assert_eq!(read, decoded),
            (Err(read), Err(decoded)) => assert_eq!(read.to_string(), decoded.to_string()),
            other => panic!("{other:?}"),
        }
        read
    }

    #[test]
    fn every_format_is_read_by_its_content() {
        let image = colours();
        for format in FORMATS {
            let picture =
                read_bytes(&encoded(&image.clone().into(), format), Channels::Rgb).unwrap();
            assert_eq!(
                (picture.channels(), picture.height(), picture.width()),
                (3, 12, 20)
            );
            let tolerance = match format {
                ImageFormat::Jpeg => 24,
                _ => 0,
            };
            for (x, y, pixel) in image.enumerate_pixels() {
                for channel in 0..3 {
                    let index = (channel * 12 + y as usize) * 20 + x as usize;
                    let difference = picture.pixels()[index].abs_diff(pixel.0[channel]);
                    assert!(difference <= tolerance, "{format:?} {x} {y}: {difference}");
                }
            }
        }
    }

    #[test]
    fn a_grey_file_keeps_its_values_on_one_channel() {
        let image = GrayImage::from_fn(16, 16, |x, y| Luma([(y * 16 + x) as u8]));
        let bytes = encoded(&image.clone().into(), ImageFormat::Png);
        let picture = read_bytes(&bytes, Channels::Grey).unwrap();
        assert_eq!(picture.channels(), 1);
        assert_eq!(picture.pixels(), image.as_raw());
        let tensor = picture.to_tensor(&Device::flex());
        assert_eq!(tensor.dims(), [1, 16, 16]);
        let values = tensor.into_data().try_to_vec::<f32>().unwrap();
        assert_eq!((values[0], values[255]), (-1.0, 1.0));
        assert!((values[64] - (64.0 / 127.5 - 1.0)).abs() < 1e-6);
    }

    #[test]
    fn transparency_is_laid_on_white() {
        let image = RgbaImage::from_fn(3, 1, |x, _| Rgba([0, 100, 200, [0, 128, 255][x as usize]]));
        for format in [ImageFormat::Png, ImageFormat::WebP] {
            let bytes = encoded(&image.clone().into(), format);
            let picture = read_bytes(&bytes, Channels::Rgb).unwrap();
            assert_eq!(
                picture.pixels(),
                [255, 127, 0, 255, 177, 100, 255, 227, 200]
            );
        }
    }

    #[test]
    fn transparency_is_laid_on_the_colour_asked_for() {
        let image = RgbaImage::from_pixel(1, 1, Rgba([255, 255, 255, 51]));
        let (_dir, path) = file("a.png", &encoded(&image.into(), ImageFormat::Png));
        let picture = read_image_on(&path, Channels::Rgb, None, [0, 100, 200]).unwrap();
        // A fifth of white, the rest of the background.
        assert_eq!(picture.pixels(), [51, 131, 211]);
    }

    #[test]
    fn alpha_is_kept_where_it_is_asked_for() {
        let pixels = [[10, 20, 30, 128], [40, 50, 60, 255], [70, 80, 90, 0]];
        let image = RgbaImage::from_fn(3, 1, |x, _| Rgba(pixels[x as usize]));
        let (_dir, path) = file("a.png", &encoded(&image.into(), ImageFormat::Png));
        let picture = read_image_on(&path, Channels::Rgba, None, [1, 2, 3]).unwrap();
        assert_eq!(picture.channels(), 4);
        // Channel by channel; of the pixel that cannot be seen, the background's colour.
        let expected = [[10, 40, 1], [20, 50, 2], [30, 60, 3], [128, 255, 0]];
        assert_eq!(picture.pixels(), expected.concat());

        let opaque = read_bytes(
            &encoded(&colours().into(), ImageFormat::Bmp),
            Channels::Rgba,
        );
        let opaque = opaque.unwrap();
        assert!(opaque.pixels()[3 * 240..].iter().all(|&alpha| alpha == 255));
    }

    #[test]
    fn what_cannot_be_seen_does_not_bleed_into_edges() {
        let image = RgbaImage::from_fn(40, 40, |x, _| {
            Rgba(if x < 20 {
                [200, 0, 0, 255]
            } else {
                [0, 255, 0, 0]
            })
        });
        let (_dir, path) = file("a.png", &encoded(&image.into(), ImageFormat::Png));
        let picture = read_image(&path, Channels::Rgba, Some([5, 5])).unwrap();
        let pixels = picture.pixels();
        let alphas = &pixels[75..];
        for (pixel, &alpha) in alphas.iter().enumerate() {
            let [red, green, blue] = [0, 25, 50].map(|plane| pixels[plane + pixel]);
            let expected = if alpha == 0 { [255; 3] } else { [200, 0, 0] };
            assert_eq!([red, green, blue], expected, "pixel {pixel}, alpha {alpha}");
        }
        // The pixel in the middle is half seen.
        assert!((100..156).contains(&alphas[2]), "{}", alphas[2]);
    }

    #[test]
    fn the_size_is_read_without_the_pixels() {
        let image = DynamicImage::from(colours());
        for format in FORMATS {
            let bytes = encoded(&image, format);
            let (_dir, path) = file("a", &bytes[..bytes.len() - 12]);
            assert_eq!(image_size(&path).unwrap(), (20, 12), "{format:?}");
        }
    }

    #[test]
    fn deep_pixels_become_bytes() {
        let image =
            image::ImageBuffer::from_fn(2, 1, |x, _| Luma([[0x1234u16, 0xffff][x as usize]]));
        let bytes = encoded(&DynamicImage::ImageLuma16(image), ImageFormat::Png);
        let picture = read_bytes(&bytes, Channels::Grey).unwrap();
        assert_eq!(picture.pixels(), [0x12, 0xff]);
    }

    #[test]
    fn resizing_keeps_the_centre() {
        // A red square between blue margins.
        let image = RgbImage::from_fn(60, 20, |x, _| {
            Rgb(if (20..40).contains(&x) {
                [255, 0, 0]
            } else {
                [0, 0, 255]
            })
        });
        let (_dir, path) = file("a.png", &encoded(&image.into(), ImageFormat::Png));
        for size in [1, 8, 20, 32] {
            let picture = read_image(&path, Channels::Rgb, Some([size, size])).unwrap();
            assert_eq!((picture.height(), picture.width()), (size, size));
            let (red, rest) = picture.pixels().split_at(size * size);
            assert!(red.iter().all(|&value| value == 255));
            assert!(rest.iter().all(|&value| value == 0));
        }
        for size in [0, 8193, usize::MAX] {
            assert!(matches!(
                read_image(&path, Channels::Rgb, Some([size, size])),
                Err(ImageFileError::Size { .. })
            ));
        }
    }

    #[test]
    fn the_largest_part_of_the_shape_in_the_middle_is_kept() {
        for (whole, size, part) in [
            ([10, 20], [4, 4], [10, 10]),
            ([20, 10], [4, 8], [5, 10]),
            ([20, 10], [8, 4], [20, 10]),
            ([3, 100], [1, 2], [3, 6]),
            ([100, 1], [1, 64], [1, 1]),
            ([1, 100], [64, 1], [1, 1]),
        ] {
            assert_eq!(part_of(whole, size), part, "{size:?} of {whole:?}");
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("wide.png");
        // Columns of their own shade: the two in the middle are kept.
        let image = image::GrayImage::from_fn(6, 4, |x, _| image::Luma([10 * x as u8]));
        image.save(&path).unwrap();
        let picture = read_image(&path, Channels::Grey, Some([4, 2])).unwrap();
        assert_eq!((picture.height(), picture.width()), (4, 2));
        assert_eq!(picture.pixels(), [20, 30].repeat(4));
    }

    #[test]
    fn shrinking_averages() {
        // A chessboard of single pixels: a filter gives mid-grey, picking pixels would not.
        let image = GrayImage::from_fn(64, 64, |x, y| Luma([((x + y) % 2 * 255) as u8]));
        let (_dir, path) = file("a.png", &encoded(&image.into(), ImageFormat::Png));
        let picture = read_image(&path, Channels::Grey, Some([8, 8])).unwrap();
        assert!(
            picture
                .pixels()
                .iter()
                .all(|&value| value.abs_diff(127) <= 2)
        );
    }

    #[test]
    fn cut_files_are_refused() {
        // Noise, so that the pixels fill most of the file.
        let image = RgbImage::from_fn(32, 32, |x, y| {
            let hash = (y * 32 + x).wrapping_mul(2_654_435_761);
            Rgb([(hash >> 8) as u8, (hash >> 16) as u8, (hash >> 24) as u8])
        });
        for format in FORMATS {
            let bytes = encoded(&image.clone().into(), format);
            for percent in [1, 10, 30, 50, 70, 90, 95] {
                let len = (bytes.len() * percent / 100).max(12);
                let result = read_bytes(&bytes[..len], Channels::Rgb);
                assert!(result.is_err(), "{format:?} cut to {percent} %");
            }
        }
    }

    #[test]
    fn a_jpeg_ends_at_its_own_marker_not_at_that_of_a_thumbnail() {
        let whole = encoded(&colours().into(), ImageFormat::Jpeg);
        assert!(jpeg_has_end(&whole));
        assert!(!jpeg_has_end(&whole[..whole.len() - 1]));
        let mut nested = vec![0xff, 0xd8, 0xff, 0xe1, 0, 6, 0xff, 0xd9, 0, 0];
        assert!(!jpeg_has_end(&nested));
        nested.extend([0xff, 0xda, 0, 2, 7, 0xff, 0x00, 0xff, 0xd0, 9]);
        assert!(!jpeg_has_end(&nested));
        nested.extend([0xff, 0xd9, 1, 2, 3]);
        assert!(jpeg_has_end(&nested));
    }

    #[test]
    fn an_exif_rotation_is_undone() {
        // A JPEG whose EXIF segment says "rotate by 90° to view": what was wide becomes tall.
        let plain = encoded(&colours().into(), ImageFormat::Jpeg);
        let exif = [
            &[0xff, 0xe1, 0, 34][..],
            b"Exif\0\0MM\0\x2a\0\0\0\x08",
            &[0, 1, 1, 0x12, 0, 3, 0, 0, 0, 1, 0, 6, 0, 0, 0, 0, 0, 0],
        ]
        .concat();
        let rotated = [&plain[..2], &exif, &plain[2..]].concat();
        let picture = read_bytes(&rotated, Channels::Rgb).unwrap();
        assert_eq!((picture.height(), picture.width()), (20, 12));
    }

    #[test]
    fn what_a_frame_or_a_chunk_claims_is_checked_first() {
        let message = |bytes: &[u8]| {
            let error = read_bytes(bytes, Channels::Rgb).unwrap_err();
            let source = std::error::Error::source(&error).map(ToString::to_string);
            format!("{error}: {}", source.unwrap_or_default())
        };
        // The frame of a GIF has its size after its place, behind the palette and an extension.
        let mut gif = encoded(&colours().into(), ImageFormat::Gif);
        let start = [b',', 0, 0, 0, 0, 20, 0, 12, 0];
        let frame = gif.windows(9).position(|bytes| bytes == start).unwrap();
        gif[frame + 5..frame + 9].copy_from_slice(&[0xff; 4]);
        assert!(
            message(&gif).contains("65535 × 65535 pixels"),
            "{}",
            message(&gif)
        );
        // A WebP whose EXIF chunk, in which its orientation is looked for, claims 3.7 GB.
        let webp = encoded(&colours().into(), ImageFormat::WebP);
        let mut extended = b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\x08\0\0\0\x13\0\0\x0b\0\0".to_vec();
        extended.extend(&webp[12..]);
        extended.extend(b"EXIF\0\0\xad\xde1234");
        let len = extended.len() as u32 - 8;
        extended[4..8].copy_from_slice(&len.to_le_bytes());
        let message = message(&extended);
        assert!(
            message.contains("\"EXIF\"") && message.contains("4 are left"),
            "{message}"
        );
    }

    #[test]
    fn of_an_animation_only_the_first_frame_is_looked_at() {
        let first = colours();
        let frame =
            |image: &RgbImage| image::Frame::new(DynamicImage::from(image.clone()).into_rgba8());
        let mut gif = Vec::new();
        let mut encoder = image::codecs::gif::GifEncoder::new(&mut gif);
        let other = RgbImage::from_pixel(20, 12, Rgb([9; 3]));
        encoder
            .encode_frames([&first, &other, &other].map(frame))
            .unwrap();
        drop(encoder);
        let whole = read_bytes(&gif, Channels::Rgb).unwrap();
        let cut = read_bytes(&gif[..gif.len() - 60], Channels::Rgb).unwrap();
        assert_eq!(whole.pixels(), cut.pixels());
        let alone = encoded(&first.into(), ImageFormat::Gif);
        assert_eq!(
            whole.pixels(),
            read_bytes(&alone, Channels::Rgb).unwrap().pixels()
        );
    }

    #[test]
    fn bombs_are_refused_before_they_unpack() {
        // A PNG header that announces 100,000 × 100,000 pixels, its checksum made right.
        let mut png = encoded(&colours().into(), ImageFormat::Png);
        png[16..20].copy_from_slice(&100_000u32.to_be_bytes());
        png[20..24].copy_from_slice(&100_000u32.to_be_bytes());
        let mut crc = flate2::Crc::new();
        crc.update(&png[12..29]);
        png[29..33].copy_from_slice(&crc.sum().to_be_bytes());
        match read_bytes(&png, Channels::Rgb) {
            Err(ImageFileError::TooManyPixels {
                width: 100_000,
                height: 100_000,
                ..
            }) => {}
            other => panic!("{other:?}"),
        }
        // A BMP of the same size.
        let mut bmp = encoded(&colours().into(), ImageFormat::Bmp);
        bmp[18..22].copy_from_slice(&60_000u32.to_le_bytes());
        bmp[22..26].copy_from_slice(&60_000u32.to_le_bytes());
        assert!(matches!(
            read_bytes(&bmp, Channels::Rgb),
            Err(ImageFileError::TooManyPixels { .. })
        ));
    }

    #[test]
    fn what_is_no_image_is_refused() {
        assert!(matches!(
            read_bytes(&[], Channels::Rgb),
            Err(ImageFileError::Empty { .. })
        ));
        assert!(matches!(
            read_bytes(b"just text", Channels::Rgb),
            Err(ImageFileError::UnknownFormat { .. })
        ));
        let dir = tempfile::tempdir().unwrap();
        for path in [dir.path().to_owned(), dir.path().join("none.png")] {
            assert!(matches!(
                read_image(&path, Channels::Rgb, None),
                Err(ImageFileError::Read { .. })
            ));
        }
    }

    #[test]
    fn a_folder_is_read_in_the_order_of_names() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| fs::write(dir.path().join(name), bytes).unwrap();
        let read = |limit| read_folder(dir.path(), Channels::Grey, Some([4, 4]), limit);
        assert!(matches!(read(None), Err(ImageFileError::NoImages { .. })));

        // Mixed sizes and formats, beside files that are no images.
        let small = GrayImage::from_pixel(5, 9, Luma([200]));
        write("c.png", &encoded(&small.into(), ImageFormat::Png));
        write("a.bmp", &encoded(&colours().into(), ImageFormat::Bmp));
        write("b", &encoded(&colours().into(), ImageFormat::Gif));
        write("labels.csv", b"a,1\n");
        write(".hidden.png", b"not an image");
        fs::create_dir(dir.path().join("inner.png")).unwrap();
        let names = |pictures: Vec<Picture>| -> Vec<String> {
            let name = |p: &Picture| p.path().file_name().unwrap().to_string_lossy().into_owned();
            pictures.iter().map(name).collect()
        };
        assert_eq!(names(read(None).unwrap()), ["a.bmp", "b", "c.png"]);
        assert_eq!(names(read(Some(2)).unwrap()), ["a.bmp", "b"]);

        // Unreadable images are reported together.
        write("d.png", b"");
        write("e.jpg", b"text");
        match read(None) {
            Err(error @ ImageFileError::BadFiles { files: 5, .. }) => {
                let message = error.to_string();
                assert!(message.contains("d.png is empty"), "{message}");
                assert!(message.contains("e.jpg is no image"), "{message}");
            }
            other => panic!("{other:?}"),
        }
        assert!(matches!(
            read_folder(&dir.path().join("none"), Channels::Grey, None, None),
            Err(ImageFileError::Read { .. })
        ));
    }

    proptest! {
        /// Damage of any kind is read or refused, never a panic.
        #[test]
        fn damaged_files_do_not_panic(
            format in 0..FORMATS.len(),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
            keep in any::<prop::sample::Index>(),
        ) {
            let mut bytes = encoded(&colours().into(), FORMATS[format]);
            for (position, value) in changes {
                let position = position.index(bytes.len());
                bytes[position] = value;
            }
            bytes.truncate(1 + keep.index(bytes.len()));
            let _ = read_bytes(&bytes, Channels::Rgb);
        }
    }
}
