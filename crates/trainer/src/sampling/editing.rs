//! What is drawn from something that is there: over an image, into a part of it, or on the way between two noises.

use burn::tensor::Tensor;
use denoising::slerp;

use super::request::Edit;
use crate::error::Usage;

/// How far along the chain an image is noised when no strength is given: half of it, or all of it where
/// a mask says what is kept.
const STRENGTH: f64 = 0.5;
const STRENGTH_WITH_MASK: f64 = 1.0;

/// How often each step is taken with a mask when no number is given.
const RESAMPLINGS: usize = 4;

/// Frames of the way from one noise to another when no number is given.
pub const FRAMES: usize = 9;

impl Edit {
    /// An edit of `image`, `[1, C, H, W]`, of which `keep` says what stays, `[1, 1, H, W]`; a strength and a number of
    /// resamplings that are not given are the usual ones.
    ///
    /// # Errors
    ///
    /// A strength that is none, and no resampling.
    pub fn of_image(
        image: Tensor<4>,
        keep: Option<Tensor<4>>,
        strength: Option<f64>,
        resamplings: Option<usize>,
    ) -> Result<Self, Usage> {
        let usual = if keep.is_some() {
            STRENGTH_WITH_MASK
        } else {
            STRENGTH
        };
        let strength = strength.unwrap_or(usual);
        check_strength(strength)?;
        let resamplings = resamplings.unwrap_or(RESAMPLINGS);
        if resamplings == 0 {
            return Err(Usage(
                "--resamplings is 0, and must be at least 1".to_owned(),
            ));
        }
        Ok(Self {
            image,
            strength,
            mask: keep.map(|keep| (keep, resamplings)),
        })
    }
}

/// Refuses a strength that is no part of the chain.
///
/// # Errors
///
/// What was expected.
pub fn check_strength(strength: f64) -> Result<(), Usage> {
    if strength > 0.0 && strength <= 1.0 {
        return Ok(());
    }
    Err(Usage(format!(
        "--strength {strength}: expected a number above 0, at most 1"
    )))
}

/// `count` noises from `first` to `last`, both `[1, C, H, W]` and both among them, along the arc between them:
/// `[count, C, H, W]`.
///
/// # Panics
///
/// Unless `count` is 2 or more.
pub fn frames_between(first: &Tensor<4>, last: &Tensor<4>, count: usize) -> Tensor<4> {
    assert!(count >= 2, "both ends are among the frames");
    let shares = (0..count).map(|frame| frame as f64 / (count - 1) as f64);
    Tensor::cat(shares.map(|u| slerp(first, last, u)).collect(), 0)
}
