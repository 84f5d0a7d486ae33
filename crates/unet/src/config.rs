//! What a network looks like: its sizes, where it attends, how time enters.
//!
//! The keys are those of `UNet2DModel` in Hugging Face diffusers. Two are plainer here:
//! `down_block_attention` stands for `down_block_types` and its mirror image `up_block_types`, and
//! `mid_block_attention` for `add_attention`.

use std::fmt;

use serde::{Deserialize, Serialize};

/// No size in a configuration may be larger: beyond it products of sizes make no sense.
const MAX_SIZE: usize = 65_536;

/// How the time embedding enters a residual block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TimeScaleShift {
    /// The projected embedding is added before the second normalisation, as in DDPM.
    #[default]
    Default,
    /// The projected embedding scales and shifts the output of the second normalisation:
    /// `h · (1 + scale) + shift` (Dhariwal and Nichol 2021, "adaptive group normalisation").
    ScaleShift,
}

/// Height and width of images. In files it is one number where they are the same, else `[height, width]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Sides", into = "Sides")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(with = "Sides"))]
pub struct SampleSize {
    /// Rows of pixels.
    pub height: usize,
    /// Pixels of a row.
    pub width: usize,
}

impl From<usize> for SampleSize {
    fn from(side: usize) -> Self {
        [side, side].into()
    }
}

impl From<[usize; 2]> for SampleSize {
    /// From height and width.
    fn from([height, width]: [usize; 2]) -> Self {
        Self { height, width }
    }
}

impl fmt::Display for SampleSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Sides::from(*self) {
            Sides::Square(side) => write!(f, "{side}"),
            Sides::Both(sides) => write!(f, "{sides:?}"),
        }
    }
}

/// A [`SampleSize`] as it stands in files.
#[derive(Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(untagged, expecting = "a number, or two: [height, width]")]
enum Sides {
    Square(usize),
    Both([usize; 2]),
}

impl From<Sides> for SampleSize {
    fn from(sides: Sides) -> Self {
        match sides {
            Sides::Square(side) => side.into(),
            Sides::Both(sides) => sides.into(),
        }
    }
}

impl From<SampleSize> for Sides {
    fn from(SampleSize { height, width }: SampleSize) -> Self {
        if height == width {
            Self::Square(height)
        } else {
            Self::Both([height, width])
        }
    }
}

/// The description of a [`UNet`](crate::UNet).
///
/// The default is the network that Ho et al. trained on CIFAR-10 (35.7 M parameters), without
/// dropout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct UNetConfig {
    /// Height and width of the images, multiples of `2^(levels - 1)`.
    pub sample_size: SampleSize,
    /// Channels of `x_t`.
    pub in_channels: usize,
    /// Channels of the prediction.
    pub out_channels: usize,
    /// Channels of each level, from full resolution down; each level halves the resolution of the
    /// one before.
    pub block_out_channels: Vec<usize>,
    /// Residual blocks in each level on the way down; the way up has one more.
    pub layers_per_block: usize,
    /// Whether each level attends, on the way down and on the way up: one entry a level.
    pub down_block_attention: Vec<bool>,
    /// Whether the middle block attends.
    pub mid_block_attention: bool,
    /// Channels of an attention head; without it, one head spans all channels of its level.
    pub attention_head_dim: Option<usize>,
    /// Groups of every group normalisation.
    pub norm_num_groups: usize,
    /// Groups of the normalisation before the middle block's attention. Without it they are
    /// `norm_num_groups` where time is added, and there is no such normalisation where time scales
    /// and shifts, as in diffusers.
    pub attn_norm_num_groups: Option<usize>,
    /// Added to the variance in every group normalisation.
    pub norm_eps: f64,
    /// Probability of dropping an activation in a residual block during training, in `[0, 1)`.
    ///
    /// The mask comes from the device's own random generator, so a run with dropout can be neither
    /// repeated nor resumed exactly. 0 costs nothing.
    pub dropout: f64,
    /// Whether the time embedding holds the cosines before the sines.
    pub flip_sin_to_cos: bool,
    /// Subtracted from the number of frequencies in the denominator of the time embedding's
    /// exponent: 1 as in DDPM, or 0.
    pub freq_shift: usize,
    /// How the time embedding enters a residual block.
    pub resnet_time_scale_shift: TimeScaleShift,
    /// Padding of the stride-2 convolutions: 1 pads a pixel on every side; 0 pads a pixel below and
    /// on the right only, as Ho et al.'s own code and the networks converted from it do.
    pub downsample_padding: usize,
    /// Number of class embeddings; without it the network knows no classes.
    pub num_class_embeds: Option<usize>,
}

impl Default for UNetConfig {
    fn default() -> Self {
        Self {
            sample_size: 32.into(),
            in_channels: 3,
            out_channels: 3,
            block_out_channels: vec![128, 256, 256, 256],
            layers_per_block: 2,
            down_block_attention: vec![false, true, false, false],
            mid_block_attention: true,
            attention_head_dim: None,
            norm_num_groups: 32,
            attn_norm_num_groups: None,
            norm_eps: 1e-6,
            dropout: 0.0,
            flip_sin_to_cos: false,
            freq_shift: 1,
            resnet_time_scale_shift: TimeScaleShift::Default,
            downsample_padding: 1,
            num_class_embeds: None,
        }
    }
}

/// A value of a [`UNetConfig`] that makes no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{key}` is {found}, expected {expected}")]
#[non_exhaustive]
pub struct UNetConfigError {
    /// The key of the configuration.
    pub key: &'static str,
    /// The value that it has.
    pub found: String,
    /// What was expected of it.
    pub expected: String,
}

impl UNetConfig {
    /// Checks that the configuration describes a network.
    ///
    /// # Errors
    ///
    /// The first value that does not fit: its key, the value and what was expected.
    pub fn validate(&self) -> Result<(), UNetConfigError> {
        let channels = &self.block_out_channels;
        let size_range = format!("between 1 and {MAX_SIZE}");

        for (key, size) in [
            ("in_channels", self.in_channels),
            ("out_channels", self.out_channels),
            ("layers_per_block", self.layers_per_block),
            ("norm_num_groups", self.norm_num_groups),
            ("attention_head_dim", self.attention_head_dim.unwrap_or(1)),
            (
                "attn_norm_num_groups",
                self.attn_norm_num_groups.unwrap_or(1),
            ),
            ("num_class_embeds", self.num_class_embeds.unwrap_or(1)),
        ] {
            require(is_size(size), key, size, || {
                format!("a number {size_range}")
            })?;
        }

        let SampleSize { height, width } = self.sample_size;
        require(
            is_size(height) && is_size(width),
            "sample_size",
            self.sample_size,
            || format!("a number {size_range}"),
        )?;

        let key = "block_out_channels";
        let (Some(&first), Some(&last)) = (channels.first(), channels.last()) else {
            return Err(mismatch(key, "empty", "the channels of at least one level"));
        };
        require(
            channels.iter().all(|&channels| is_size(channels)),
            key,
            format!("{channels:?}"),
            || format!("numbers {size_range}"),
        )?;
        require(
            first / 2 > self.freq_shift,
            key,
            format!("{channels:?}"),
            || {
                format!(
                    "at least {} channels in the first level, which the time embedding needs with `freq_shift` {}",
                    2 * (self.freq_shift.saturating_add(1)),
                    self.freq_shift
                )
            },
        )?;

        let levels = channels.len();
        let shrink = u32::try_from(levels - 1)
            .ok()
            .and_then(|halvings| 2_usize.checked_pow(halvings))
            .filter(|shrink| height.is_multiple_of(*shrink) && width.is_multiple_of(*shrink));
        require(shrink.is_some(), "sample_size", self.sample_size, || {
            format!(
                "a multiple of 2^{}, since {levels} levels halve it {} times",
                levels - 1,
                levels - 1
            )
        })?;

        require(
            self.down_block_attention.len() == levels,
            "down_block_attention",
            format!("a list of {}", self.down_block_attention.len()),
            || format!("{levels} entries, one for each of `block_out_channels`"),
        )?;

        let groups = self.norm_num_groups;
        require(
            channels
                .iter()
                .all(|channels| channels.is_multiple_of(groups)),
            "norm_num_groups",
            groups,
            || format!("a divisor of each of `block_out_channels`, {channels:?}"),
        )?;

        let middle = self.mid_block_attention.then_some(last);
        if let Some(groups) = self.attn_norm_num_groups {
            require(
                middle.is_none_or(|channels| channels.is_multiple_of(groups)),
                "attn_norm_num_groups",
                groups,
                || format!("a divisor of the middle block's {last} channels"),
            )?;
        }
        if let Some(head_dim) = self.attention_head_dim {
            let attending: Vec<usize> = channels
                .iter()
                .zip(&self.down_block_attention)
                .filter_map(|(&channels, &attends)| attends.then_some(channels))
                .chain(middle)
                .collect();
            require(
                attending
                    .iter()
                    .all(|channels| channels.is_multiple_of(head_dim)),
                "attention_head_dim",
                head_dim,
                || format!("a divisor of the channels of every level that attends, {attending:?}"),
            )?;
        }

        require(
            self.norm_eps.is_finite() && self.norm_eps > 0.0,
            "norm_eps",
            self.norm_eps,
            || "a number above 0".to_owned(),
        )?;
        require(
            (0.0..1.0).contains(&self.dropout),
            "dropout",
            self.dropout,
            || "a probability in [0, 1)".to_owned(),
        )?;
        require(
            self.downsample_padding <= 1,
            "downsample_padding",
            self.downsample_padding,
            || "1 (a pixel on every side) or 0 (below and on the right)".to_owned(),
        )
    }

    /// Width of the time embedding behind its linear layers.
    pub(crate) fn time_embedding_channels(&self) -> usize {
        4 * self.block_out_channels[0]
    }
}

/// Whether `size` can be a size of a network.
fn is_size(size: usize) -> bool {
    (1..=MAX_SIZE).contains(&size)
}

/// The error for `key` unless `holds`.
fn require(
    holds: bool,
    key: &'static str,
    found: impl ToString,
    expected: impl FnOnce() -> String,
) -> Result<(), UNetConfigError> {
    if holds {
        Ok(())
    } else {
        Err(mismatch(key, found, expected()))
    }
}

/// The error for `key`.
fn mismatch(
    key: &'static str,
    found: impl ToString,
    expected: impl Into<String>,
) -> UNetConfigError {
    UNetConfigError {
        key,
        found: found.to_string(),
        expected: expected.into(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// The error of the default configuration after a change, as a person reads it.
    fn error_after(change: impl FnOnce(&mut UNetConfig)) -> String {
        let mut config = UNetConfig::default();
        change(&mut config);
        config.validate().unwrap_err().to_string()
    }

    #[test]
    fn the_default_is_valid() {
        assert_eq!(UNetConfig::default().validate(), Ok(()));
    }

    #[test]
    fn every_error_names_its_key_and_what_was_expected() {
        let range = "expected a number between 1 and 65536";
        let cases = [
            (
                error_after(|c| c.sample_size = 0.into()),
                format!("`sample_size` is 0, {range}"),
            ),
            (
                error_after(|c| c.in_channels = 0),
                format!("`in_channels` is 0, {range}"),
            ),
            (
                error_after(|c| c.out_channels = usize::MAX),
                format!("`out_channels` is {}, {range}", usize::MAX),
            ),
            (
                error_after(|c| c.layers_per_block = 0),
                format!("`layers_per_block` is 0, {range}"),
            ),
            (
                error_after(|c| c.norm_num_groups = 0),
                format!("`norm_num_groups` is 0, {range}"),
            ),
            (
                error_after(|c| c.attention_head_dim = Some(0)),
                format!("`attention_head_dim` is 0, {range}"),
            ),
            (
                error_after(|c| c.attn_norm_num_groups = Some(0)),
                format!("`attn_norm_num_groups` is 0, {range}"),
            ),
            (
                error_after(|c| c.num_class_embeds = Some(0)),
                format!("`num_class_embeds` is 0, {range}"),
            ),
            (
                error_after(|c| c.block_out_channels = vec![]),
                "`block_out_channels` is empty, expected the channels of at least one level".into(),
            ),
            (
                error_after(|c| c.block_out_channels[2] = 0),
                "`block_out_channels` is [128, 256, 0, 256], expected numbers between 1 and 65536"
                    .into(),
            ),
            (
                error_after(|c| c.freq_shift = 64),
                "`block_out_channels` is [128, 256, 256, 256], expected at least 130 channels in \
                 the first level, which the time embedding needs with `freq_shift` 64"
                    .into(),
            ),
            (
                error_after(|c| c.sample_size = 28.into()),
                "`sample_size` is 28, expected a multiple of 2^3, since 4 levels halve it 3 times"
                    .into(),
            ),
            (
                error_after(|c| c.block_out_channels = vec![32; 100]),
                "`sample_size` is 32, expected a multiple of 2^99, since 100 levels halve it 99 \
                 times"
                    .into(),
            ),
            (
                error_after(|c| c.down_block_attention = vec![true]),
                "`down_block_attention` is a list of 1, expected 4 entries, one for each of \
                 `block_out_channels`"
                    .into(),
            ),
            (
                error_after(|c| c.norm_num_groups = 48),
                "`norm_num_groups` is 48, expected a divisor of each of `block_out_channels`, \
                 [128, 256, 256, 256]"
                    .into(),
            ),
            (
                error_after(|c| c.attn_norm_num_groups = Some(7)),
                "`attn_norm_num_groups` is 7, expected a divisor of the middle block's 256 channels"
                    .into(),
            ),
            (
                error_after(|c| c.attention_head_dim = Some(48)),
                "`attention_head_dim` is 48, expected a divisor of the channels of every level \
                 that attends, [256, 256]"
                    .into(),
            ),
            (
                error_after(|c| c.norm_eps = 0.0),
                "`norm_eps` is 0, expected a number above 0".into(),
            ),
            (
                error_after(|c| c.norm_eps = f64::NAN),
                "`norm_eps` is NaN, expected a number above 0".into(),
            ),
            (
                error_after(|c| c.dropout = 1.0),
                "`dropout` is 1, expected a probability in [0, 1)".into(),
            ),
            (
                error_after(|c| c.downsample_padding = 2),
                "`downsample_padding` is 2, expected 1 (a pixel on every side) or 0 (below and on \
                 the right)"
                    .into(),
            ),
            (
                error_after(|c| c.dropout = f64::NAN),
                "`dropout` is NaN, expected a probability in [0, 1)".into(),
            ),
        ];
        for (found, expected) in cases {
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn sizes_that_no_attention_uses_are_free() {
        let config = UNetConfig {
            down_block_attention: vec![false; 4],
            mid_block_attention: false,
            attention_head_dim: Some(7),
            attn_norm_num_groups: Some(7),
            ..UNetConfig::default()
        };
        assert_eq!(config.validate(), Ok(()));
    }

    #[test]
    fn unknown_keys_are_refused_and_missing_ones_take_the_default() {
        let config: UNetConfig =
            serde_json::from_str(r#"{"resnet_time_scale_shift": "scale_shift"}"#).unwrap();
        assert_eq!(
            config,
            UNetConfig {
                resnet_time_scale_shift: TimeScaleShift::ScaleShift,
                ..UNetConfig::default()
            }
        );
        let error = serde_json::from_str::<UNetConfig>(r#"{"layers_per_blok": 2}"#).unwrap_err();
        assert!(error.to_string().contains("layers_per_blok"), "{error}");
    }
}
