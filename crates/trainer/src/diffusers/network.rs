//! The configuration of diffusers' `UNet2DModel`, as far as [`UNetConfig`] can express it.

use serde::Deserialize;
use serde_json::{Value, json};
use unet::{TimeScaleShift, UNetConfig, UNetConfigError};

use super::{DIFFUSERS_VERSION, DiffusersError, Keys};

pub(super) const CLASS_NAME: &str = "UNet2DModel";

const DOWN: &str = "DownBlock2D";
const ATTENTION_DOWN: &str = "AttnDownBlock2D";
const UP: &str = "UpBlock2D";
const ATTENTION_UP: &str = "AttnUpBlock2D";

/// Height and width.
#[derive(Deserialize)]
#[serde(untagged)]
enum SampleSize {
    Square(usize),
    Sides([usize; 2]),
}

/// The network of a configuration.
pub(super) fn read(keys: &Keys) -> Result<UNetConfig, DiffusersError> {
    // What our network does not have has one value here, the one that leaves it out.
    for (key, allowed) in [
        ("_class_name", &[json!(CLASS_NAME)][..]),
        ("act_fn", &[json!("silu"), json!("swish")]),
        ("center_input_sample", &[json!(false)]),
        ("time_embedding_type", &[json!("positional")]),
        ("mid_block_type", &[json!("UNetMidBlock2D")]),
        ("mid_block_scale_factor", &[json!(1), json!(1.0)]),
        ("downsample_type", &[json!("conv"), Value::Null]),
        ("upsample_type", &[json!("conv"), Value::Null]),
        ("class_embed_type", &[Value::Null]),
    ] {
        keys.must_be(key, allowed)?;
    }

    let number = "a number";
    let optional = "a number or null";
    let flag = "true or false";
    let expected = "a number, or two that are the same: our images are square";
    let sample_size = match keys.get("sample_size", None, expected)? {
        Some(SampleSize::Square(side)) => side,
        Some(SampleSize::Sides([height, width])) if height == width => height,
        _ => return Err(keys.error("sample_size", expected)),
    };
    let config = UNetConfig {
        sample_size,
        in_channels: keys.get("in_channels", 3, number)?,
        out_channels: keys.get("out_channels", 3, number)?,
        block_out_channels: keys.get(
            "block_out_channels",
            vec![224, 448, 672, 896],
            "a list of numbers",
        )?,
        layers_per_block: keys.get("layers_per_block", 2, number)?,
        down_block_attention: attention(keys)?,
        mid_block_attention: keys.get("add_attention", true, flag)?,
        attention_head_dim: keys.get("attention_head_dim", Some(8), optional)?,
        norm_num_groups: keys.get("norm_num_groups", 32, number)?,
        attn_norm_num_groups: keys.get("attn_norm_num_groups", None, optional)?,
        norm_eps: keys.get("norm_eps", 1e-5, number)?,
        dropout: keys.get("dropout", 0.0, number)?,
        flip_sin_to_cos: keys.get("flip_sin_to_cos", true, flag)?,
        freq_shift: keys.get("freq_shift", 0, "a whole number")?,
        resnet_time_scale_shift: keys.get(
            "resnet_time_scale_shift",
            TimeScaleShift::Default,
            "\"default\" or \"scale_shift\"",
        )?,
        downsample_padding: keys.get("downsample_padding", 1, "0 or 1")?,
        num_class_embeds: keys.get("num_class_embeds", None, optional)?,
    };
    config.validate().map_err(|error| {
        let UNetConfigError { key, expected, .. } = error;
        // Where our key is diffusers' under another name.
        let key = match key {
            "down_block_attention" => "down_block_types",
            key => key,
        };
        keys.error(key, expected)
    })?;

    let width = 4 * config.block_out_channels[0];
    keys.must_be("time_embedding_dim", &[Value::Null, json!(width)])?;
    if config.out_channels != config.in_channels {
        return Err(keys.error(
            "out_channels",
            format!(
                "{}, as many as `in_channels`: a predicted variance is not read",
                config.in_channels
            ),
        ));
    }
    Ok(config)
}

/// Whether each level attends.
fn attention(keys: &Keys) -> Result<Vec<bool>, DiffusersError> {
    let read = |key, default: [&str; 4], kinds: [&str; 2]| {
        let expected = format!("a list of \"{}\" and \"{}\"", kinds[0], kinds[1]);
        let default = default.map(str::to_owned).to_vec();
        let types: Vec<String> = keys.get(key, default, &expected)?;
        types
            .iter()
            .map(|kind| kinds.iter().position(|known| known == kind))
            .map(|position| position.map(|position| position == 1))
            .collect::<Option<Vec<bool>>>()
            .ok_or_else(|| keys.error(key, expected))
    };
    let down = read(
        "down_block_types",
        [DOWN, ATTENTION_DOWN, ATTENTION_DOWN, ATTENTION_DOWN],
        [DOWN, ATTENTION_DOWN],
    )?;
    let up = read(
        "up_block_types",
        [ATTENTION_UP, ATTENTION_UP, ATTENTION_UP, UP],
        [UP, ATTENTION_UP],
    )?;
    if !down.iter().eq(up.iter().rev()) {
        let mirrored = json!(up_block_types(&down));
        return Err(keys.error(
            "up_block_types",
            format!("{mirrored}, the mirror image of `down_block_types`"),
        ));
    }
    Ok(down)
}

fn up_block_types(down_block_attention: &[bool]) -> Vec<&'static str> {
    let kind = |&attends: &bool| if attends { ATTENTION_UP } else { UP };
    down_block_attention.iter().rev().map(kind).collect()
}

/// The configuration, every key of diffusers' class in it.
pub(super) fn to_json(config: &UNetConfig) -> Value {
    let kind = |&attends: &bool| if attends { ATTENTION_DOWN } else { DOWN };
    let down: Vec<&str> = config.down_block_attention.iter().map(kind).collect();
    json!({
        "_class_name": CLASS_NAME,
        "_diffusers_version": DIFFUSERS_VERSION,
        "act_fn": "silu",
        "add_attention": config.mid_block_attention,
        "attention_head_dim": config.attention_head_dim,
        "attn_norm_num_groups": config.attn_norm_num_groups,
        "block_out_channels": config.block_out_channels,
        "center_input_sample": false,
        "class_embed_type": null,
        "down_block_types": down,
        "downsample_padding": config.downsample_padding,
        "downsample_type": "conv",
        "dropout": config.dropout,
        "flip_sin_to_cos": config.flip_sin_to_cos,
        "freq_shift": config.freq_shift,
        "in_channels": config.in_channels,
        "layers_per_block": config.layers_per_block,
        "mid_block_scale_factor": 1,
        "mid_block_type": "UNetMidBlock2D",
        "norm_eps": config.norm_eps,
        "norm_num_groups": config.norm_num_groups,
        "num_class_embeds": config.num_class_embeds,
        "num_train_timesteps": null,
        "out_channels": config.out_channels,
        "resnet_time_scale_shift": config.resnet_time_scale_shift,
        "sample_size": config.sample_size,
        "time_embedding_dim": null,
        "time_embedding_type": "positional",
        "up_block_types": up_block_types(&config.down_block_attention),
        "upsample_type": "conv",
    })
}

/// Bytes that the weights of a valid configuration take at the least: those of its 3×3 convolutions
/// and of its class embeddings. They are most of what there is.
pub(super) fn least_bytes(config: &UNetConfig) -> u128 {
    let channels = || {
        config
            .block_out_channels
            .iter()
            .map(|&channels| channels as u128)
    };
    let layers = config.layers_per_block as u128;
    // Two blocks a layer, and one more on the way up; the second convolution of each keeps its channels.
    let blocks = channels().map(|channels| (2 * layers + 1) * channels * channels);
    let ends = (config.in_channels + config.out_channels) as u128 * channels().next().unwrap_or(0);
    let embeddings =
        config.num_class_embeds.unwrap_or(0) as u128 * 4 * channels().next().unwrap_or(0);
    let parameters = 9 * (blocks.sum::<u128>() + ends) + embeddings;
    parameters * size_of::<f32>() as u128
}
