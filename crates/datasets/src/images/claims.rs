//! What the headers inside an image file claim, checked against the file before a decoder believes them and
//! asks for that much memory.
//!
//! PNG, JPEG and BMP say their size once, and the decoder is asked for it before it decodes. GIF and WebP
//! say sizes again for each frame and chunk:
//!
//! - a GIF's frame may be larger than its canvas, and a code of at least 3 bits stands for at most 4096
//!   pixels (the table of LZW has as many entries);
//! - a WebP's chunks may claim to be longer than the file, and the bitstream inside a chunk to be larger than
//!   the canvas.
//!
//! Sources: the GIF89a specification (1990); RFC 9649, "WebP Image Format".

use image::ImageFormat;

/// The most pixels of a picture, before and after resizing: 8192 × 8192.
pub const MAX_PIXELS: u64 = 1 << 26;

/// The most pixels that a byte of a GIF can stand for.
const GIF_PIXELS_A_BYTE: u64 = 4096 * 8 / 3;

/// A claim that the file cannot hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    /// A chunk of a WebP is longer than what is left of the file.
    #[error(
        "the chunk {:?} at byte {offset} claims {claimed} bytes, and {left} are left in the file",
        String::from_utf8_lossy(name)
    )]
    Chunk {
        /// Its four letters.
        name: [u8; 4],
        /// Where it starts.
        offset: usize,
        /// The bytes that it claims to have.
        claimed: usize,
        /// The bytes that the file has after the chunk's header.
        left: usize,
    },
    /// A frame of a GIF has more pixels than the file can hold.
    #[error(
        "its first frame claims {width} × {height} pixels, more than {len} bytes of a GIF can hold"
    )]
    Frame {
        /// The width of the frame in pixels.
        width: u16,
        /// The height of the frame in pixels.
        height: u16,
        /// The length of the file in bytes.
        len: usize,
    },
    /// The bitstream of a WebP has another size than the frame that it is for.
    #[error(
        "the image data claims {} × {} pixels, and the frame is {} × {}", found[0], found[1],
        expected[0], expected[1]
    )]
    Size {
        /// Width and height in the image data.
        found: [u32; 2],
        /// Width and height of the frame.
        expected: [u32; 2],
    },
}

/// Checks the claims of a file of this format that a decoder would believe. What is damaged in another way
/// is left to the decoder.
pub(super) fn check(bytes: &[u8], format: ImageFormat) -> Result<(), ClaimError> {
    match format {
        ImageFormat::Gif => gif(bytes),
        ImageFormat::WebP => webp(bytes),
        _ => Ok(()),
    }
}

fn gif(bytes: &[u8]) -> Result<(), ClaimError> {
    let Some([width, height]) = first_gif_frame(bytes) else {
        return Ok(());
    };
    let len = bytes.len();
    let most = MAX_PIXELS.min(len as u64 * GIF_PIXELS_A_BYTE);
    if u64::from(width) * u64::from(height) > most {
        return Err(ClaimError::Frame { width, height, len });
    }
    Ok(())
}

/// Width and height of the first frame, if the file gets that far.
fn first_gif_frame(bytes: &[u8]) -> Option<[u16; 2]> {
    const HEADER_LEN: usize = 13;
    const EXTENSION: u8 = 0x21;
    const IMAGE: u8 = 0x2c;
    let flags = *bytes.get(10)?;
    let has_palette = flags & 0x80 != 0;
    let palette_len = if has_palette { 6 << (flags & 7) } else { 0 };
    let mut rest = bytes.get(HEADER_LEN + palette_len..)?;
    loop {
        match *rest {
            [EXTENSION, _, ref blocks @ ..] => rest = after_blocks(blocks)?,
            [IMAGE, _, _, _, _, w0, w1, h0, h1, ..] => {
                return Some([u16::from_le_bytes([w0, w1]), u16::from_le_bytes([h0, h1])]);
            }
            _ => return None,
        }
    }
}

/// What comes after blocks that start with their lengths, the last of which is 0.
fn after_blocks(mut rest: &[u8]) -> Option<&[u8]> {
    loop {
        let (&len, blocks) = rest.split_first()?;
        if len == 0 {
            return Some(blocks);
        }
        rest = blocks.get(usize::from(len)..)?;
    }
}

/// The chunks of a WebP that are read.
const CHUNKS: [&[u8; 4]; 9] = [
    b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"ICCP", b"EXIF", b"XMP ",
];

fn webp(bytes: &[u8]) -> Result<(), ClaimError> {
    const RIFF_HEADER_LEN: usize = 12;
    const FRAME_HEADER_LEN: usize = 16;
    let mut canvas = None;
    let mut is_first_frame = true;
    for chunk in (Chunks {
        bytes,
        at: RIFF_HEADER_LEN,
    }) {
        let (name, data) = chunk?;
        match (name, data) {
            (b"VP8X", &[_, _, _, _, w0, w1, w2, h0, h1, h2, ..]) => {
                canvas = Some([size_24(w0, w1, w2), size_24(h0, h1, h2)]);
            }
            (b"ANMF", &[_, _, _, _, _, _, w0, w1, w2, h0, h1, h2, ..]) if is_first_frame => {
                is_first_frame = false;
                let frame = Some([size_24(w0, w1, w2), size_24(h0, h1, h2)]);
                let inner = data.get(FRAME_HEADER_LEN..).unwrap_or_default();
                for chunk in (Chunks {
                    bytes: inner,
                    at: 0,
                }) {
                    let (name, data) = chunk?;
                    check_size(name, data, frame)?;
                }
            }
            _ => check_size(name, data, canvas)?,
        }
    }
    Ok(())
}

/// A number of three bytes that stands for the one above it.
fn size_24(low: u8, middle: u8, high: u8) -> u32 {
    1 + u32::from_le_bytes([low, middle, high, 0])
}

/// Checks the size that a bitstream claims, where the file has said what size it is to be.
fn check_size(name: &[u8], data: &[u8], expected: Option<[u32; 2]>) -> Result<(), ClaimError> {
    const BITS: u32 = 0x3fff;
    let found = match (name, data) {
        (b"VP8 ", &[_, _, _, 0x9d, 0x01, 0x2a, w0, w1, h0, h1, ..]) => {
            let size = |low, high| u32::from(u16::from_le_bytes([low, high])) & BITS;
            [size(w0, w1), size(h0, h1)]
        }
        (b"VP8L", &[0x2f, a, b, c, d, ..]) => {
            let both = u32::from_le_bytes([a, b, c, d]);
            [1 + (both & BITS), 1 + ((both >> 14) & BITS)]
        }
        _ => return Ok(()),
    };
    match expected {
        Some(expected) if expected != found => Err(ClaimError::Size { found, expected }),
        _ => Ok(()),
    }
}

/// The chunks of a RIFF file: names and contents. It ends at the first unknown one that is too long, which
/// is passed over, as what comes after the end of the image is.
struct Chunks<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Chunks<'a> {
    type Item = Result<(&'a [u8; 4], &'a [u8]), ClaimError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.bytes.get(self.at..)?;
        let (name, rest) = rest.split_first_chunk::<4>()?;
        let (len, rest) = rest.split_first_chunk::<4>()?;
        let claimed = u32::from_le_bytes(*len) as usize;
        let offset = self.at;
        let Some(data) = rest.get(..claimed) else {
            self.at = self.bytes.len();
            let left = rest.len();
            let error = ClaimError::Chunk {
                name: *name,
                offset,
                claimed,
                left,
            };
            return CHUNKS.contains(&name).then_some(Err(error));
        };
        self.at += 8 + claimed + claimed % 2;
        Some(Ok((name, data)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// A GIF without a palette whose first frame, behind an extension, claims this size.
    fn gif_of(width: u16, height: u16) -> Vec<u8> {
        let mut bytes = b"GIF89a\x01\x00\x01\x00\x00\x00\x00".to_vec();
        bytes.extend(b"\x21\xfe\x04text\x00");
        bytes.extend(b"\x2c\x00\x00\x00\x00");
        bytes.extend([width.to_le_bytes(), height.to_le_bytes()].concat());
        bytes.extend(b"\x00\x02\x02\x44\x01\x00\x3b");
        bytes
    }

    fn chunk(name: &[u8; 4], data: &[u8]) -> Vec<u8> {
        let mut bytes = name.to_vec();
        bytes.extend((data.len() as u32).to_le_bytes());
        bytes.extend(data);
        bytes.resize(bytes.len().next_multiple_of(2), 0);
        bytes
    }

    fn webp_of(chunks: &[Vec<u8>]) -> Vec<u8> {
        let body = [&b"WEBP"[..], &chunks.concat()].concat();
        chunk(b"RIFF", &body)
    }

    fn vp8x(side: u8) -> Vec<u8> {
        chunk(b"VP8X", &[0, 0, 0, 0, side - 1, 0, 0, side - 1, 0, 0])
    }

    fn vp8l(side: u32) -> Vec<u8> {
        let both = (side - 1) | (side - 1) << 14;
        chunk(
            b"VP8L",
            &[&[0x2f][..], &both.to_le_bytes(), &[0; 8]].concat(),
        )
    }

    #[test]
    fn a_gif_frame_is_no_larger_than_its_bytes_can_make_it() {
        assert_eq!(gif(&gif_of(100, 100)), Ok(()));
        let len = gif_of(1, 1).len();
        for (width, height) in [(16_384, 16_384), (65_535, 65_535), (60_000, 10)] {
            let error = ClaimError::Frame { width, height, len };
            assert_eq!(gif(&gif_of(width, height)), Err(error));
        }
        // What is cut short is the decoder's to refuse.
        let whole = gif_of(65_535, 1);
        for end in 0..20 {
            assert_eq!(gif(&whole[..end]), Ok(()));
        }
    }

    #[test]
    fn a_webp_chunk_is_no_longer_than_the_file() {
        let mut exif = chunk(b"EXIF", &[0; 4]);
        exif[4..8].copy_from_slice(&0xdead_0000_u32.to_le_bytes());
        let error = webp(&webp_of(&[vp8x(9), vp8l(9), exif.clone()])).unwrap_err();
        let ClaimError::Chunk { claimed, left, .. } = error else {
            panic!("{error:?}");
        };
        assert_eq!((claimed, left), (0xdead_0000, 4));
        // One that nobody reads may say what it likes.
        exif[..4].copy_from_slice(b"junk");
        assert_eq!(webp(&webp_of(&[vp8x(9), vp8l(9), exif])), Ok(()));
    }

    #[test]
    fn a_webp_bitstream_is_as_large_as_its_frame() {
        assert_eq!(webp(&webp_of(&[vp8l(16_384)])), Ok(()));
        assert_eq!(webp(&webp_of(&[vp8x(9), vp8l(9)])), Ok(()));
        let size = |found: u32, expected: u32| ClaimError::Size {
            found: [found; 2],
            expected: [expected; 2],
        };
        assert_eq!(
            webp(&webp_of(&[vp8x(9), vp8l(16_000)])),
            Err(size(16_000, 9))
        );
        let lossy = b"\0\0\0\x9d\x01\x2a\xff\x3f\xff\x3f\0\0";
        assert_eq!(
            webp(&webp_of(&[vp8x(9), chunk(b"VP8 ", lossy)])),
            Err(size(0x3fff, 9))
        );
        let frame = |side: u32| {
            let header = [0, 0, 0, 0, 0, 0, 4, 0, 0, 4, 0, 0, 0, 0, 0, 0];
            chunk(b"ANMF", &[&header[..], &vp8l(side)].concat())
        };
        let animation = |second: u32| webp_of(&[vp8x(9), frame(5), frame(second)]);
        assert_eq!(webp(&animation(5)), Ok(()));
        // Frames after the first one are not decoded.
        assert_eq!(webp(&animation(6)), Ok(()));
        assert_eq!(webp(&webp_of(&[vp8x(9), frame(6)])), Err(size(6, 5)));
    }
}
