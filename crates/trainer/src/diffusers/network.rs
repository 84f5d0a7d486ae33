//! The configuration of diffusers' `UNet2DModel`, as far as [`UNetConfig`] can express it.

use serde_json::{Value, json};
use unet::{SampleSize, TimeScaleShift, UNetConfig, UNetConfigError};

use super::error::DiffusersError;
use super::keys::{DIFFUSERS_VERSION, Keys};

pub(super) const CLASS_NAME: &str = "UNet2DModel";

const DOWN: &str = "DownBlock2D";
const ATTENTION_DOWN: &str = "AttnDownBlock2D";
const UP: &str = "UpBlock2D";
const ATTENTION_UP: &str = "AttnUpBlock2D";

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
    let expected = "a number, or two: [height, width]";
    let Some(sample_size) = keys.get::<Option<SampleSize>>("sample_size", None, expected)? else {
        return Err(keys.error("sample_size", expected));
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn keys(values: Value) -> Keys {
        Keys {
            path: "unet/config.json".into(),
            values: values.as_object().unwrap().clone(),
        }
    }

    /// unet/config.json of google/ddpm-cifar10-32.
    fn ddpm_cifar10_32() -> Value {
        json!({
            "_class_name": "UNet2DModel",
            "_diffusers_version": "0.0.4",
            "act_fn": "silu",
            "attention_head_dim": null,
            "block_out_channels": [128, 256, 256, 256],
            "center_input_sample": false,
            "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"],
            "downsample_padding": 0,
            "flip_sin_to_cos": false,
            "freq_shift": 1,
            "in_channels": 3,
            "layers_per_block": 2,
            "mid_block_scale_factor": 1,
            "norm_eps": 1e-06,
            "norm_num_groups": 32,
            "out_channels": 3,
            "sample_size": 32,
            "time_embedding_type": "positional",
            "up_block_types": ["UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"]
        })
    }

    #[test]
    fn the_hub_s_networks_are_read() {
        let expected = UNetConfig {
            downsample_padding: 0,
            ..UNetConfig::default()
        };
        assert_eq!(read(&keys(ddpm_cifar10_32())).unwrap(), expected);

        // google/ddpm-cat-256, -celebahq-256 and -church-256.
        let mut values = ddpm_cifar10_32();
        let down = ["DownBlock2D"; 6].map(Value::from);
        let up = ["UpBlock2D"; 6].map(Value::from);
        values["sample_size"] = json!(256);
        values["block_out_channels"] = json!([128, 128, 256, 256, 512, 512]);
        values["down_block_types"] = json!(down);
        values["down_block_types"][4] = json!("AttnDownBlock2D");
        values["up_block_types"] = json!(up);
        values["up_block_types"][1] = json!("AttnUpBlock2D");
        let expected = UNetConfig {
            sample_size: 256.into(),
            block_out_channels: vec![128, 128, 256, 256, 512, 512],
            down_block_attention: vec![false, false, false, false, true, false],
            ..expected
        };
        assert_eq!(read(&keys(values)).unwrap(), expected);
    }

    #[test]
    fn keys_left_out_take_diffusers_defaults() {
        let wide = read(&keys(json!({ "sample_size": [64, 96] }))).unwrap();
        assert_eq!(wide.sample_size, [64, 96].into());
        assert_eq!(to_json(&wide)["sample_size"], json!([64, 96]));
        let config = read(&keys(json!({ "sample_size": [64, 64] }))).unwrap();
        assert_eq!(to_json(&config)["sample_size"], json!(64));
        let expected = UNetConfig {
            sample_size: 64.into(),
            block_out_channels: vec![224, 448, 672, 896],
            down_block_attention: vec![false, true, true, true],
            attention_head_dim: Some(8),
            norm_eps: 1e-5,
            flip_sin_to_cos: true,
            freq_shift: 0,
            ..UNetConfig::default()
        };
        assert_eq!(config, expected);
    }

    #[test]
    fn what_is_written_reads_back_the_same() {
        let configs = [
            UNetConfig::default(),
            UNetConfig {
                sample_size: 28.into(),
                in_channels: 1,
                out_channels: 1,
                block_out_channels: vec![16, 32],
                layers_per_block: 3,
                down_block_attention: vec![true, false],
                mid_block_attention: false,
                attention_head_dim: Some(4),
                norm_num_groups: 8,
                attn_norm_num_groups: Some(4),
                norm_eps: 0.25,
                dropout: 0.5,
                flip_sin_to_cos: true,
                freq_shift: 0,
                resnet_time_scale_shift: TimeScaleShift::ScaleShift,
                downsample_padding: 0,
                num_class_embeds: Some(11),
            },
        ];
        for config in configs {
            assert_eq!(read(&keys(to_json(&config))).unwrap(), config);
        }
    }

    #[test]
    fn what_cannot_be_expressed_is_named_with_its_key() {
        let cases = [
            (
                "_class_name",
                json!("UNet2DConditionModel"),
                "\"UNet2DModel\"",
            ),
            ("act_fn", json!("mish"), "\"silu\" or \"swish\""),
            ("center_input_sample", json!(true), "false"),
            ("time_embedding_type", json!("fourier"), "\"positional\""),
            ("time_embedding_dim", json!(256), "null or 512"),
            ("mid_block_type", Value::Null, "\"UNetMidBlock2D\""),
            ("mid_block_scale_factor", json!(1.5), "1 or 1.0"),
            ("downsample_type", json!("resnet"), "\"conv\" or null"),
            ("upsample_type", json!("resnet"), "\"conv\" or null"),
            ("class_embed_type", json!("timestep"), "null"),
            (
                "resnet_time_scale_shift",
                json!("spatial"),
                "\"default\" or \"scale_shift\"",
            ),
            (
                "downsample_padding",
                json!(2),
                "1 (a pixel on every side) or 0",
            ),
            (
                "sample_size",
                Value::Null,
                "a number, or two: [height, width]",
            ),
            ("sample_size", json!([32, 60]), "a multiple of 2^3"),
            ("sample_size", json!([32]), "a number, or two"),
            ("sample_size", json!(30), "a multiple of 2^3"),
            ("norm_num_groups", json!(48), "a divisor"),
            ("out_channels", json!(6), "3, as many as `in_channels`"),
            ("layers_per_block", json!(-1), "a number"),
            ("block_out_channels", json!("wide"), "a list of numbers"),
            (
                "down_block_types",
                json!(["DownBlock2D"]),
                "[\"UpBlock2D\"], the mirror image",
            ),
            (
                "down_block_types",
                json!(["SkipDownBlock2D"]),
                "\"DownBlock2D\" and",
            ),
            (
                "up_block_types",
                json!(["UpBlock2D", "AttnUpBlock2D", "UpBlock2D", "UpBlock2D"]),
                "the mirror image of `down_block_types`",
            ),
        ];
        for (key, value, expected) in cases {
            let mut values = ddpm_cifar10_32();
            values[key] = value.clone();
            let error = read(&keys(values)).unwrap_err().to_string();
            // Of the two lists of blocks it is the second that is out of step.
            let key = if expected.contains("mirror") {
                "up_block_types"
            } else {
                key
            };
            assert!(
                error.starts_with(&format!("unet/config.json: `{key}` is ")),
                "{error}"
            );
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn the_least_size_is_below_the_true_one() {
        // 35.7 million parameters.
        let least = least_bytes(&UNetConfig::default());
        assert!(least < 4 * 35_746_307 && least > 4 * 9_000_000, "{least}");
        let huge = UNetConfig {
            block_out_channels: vec![65_536; 10],
            layers_per_block: 65_536,
            ..UNetConfig::default()
        };
        assert!(least_bytes(&huge) > 1 << 50);
    }
}
