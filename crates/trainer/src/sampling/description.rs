//! How samples were drawn, in words.

use anyhow::{Result, bail};
use denoising::{HeunOptions, SamplingOptions, X0Clipping};
use serde::Serialize;

/// The settings of a sampler in one line: all that the images depend on beside the network, the seed and the
/// classes.
pub fn describe(sampling: &SamplingOptions, guided: bool) -> Result<String> {
    // By name, so that a new option cannot be forgotten here.
    let SamplingOptions {
        sampler,
        num_inference_steps,
        timestep_spacing,
        clipping,
        eta,
        ddpm_variance,
        heun,
        guidance_scale,
        guidance_interval,
        guidance_rescale,
    } = sampling;
    let mut parts = vec![
        sampler.to_string(),
        format!("{num_inference_steps} steps"),
        name_of(timestep_spacing)?,
    ];
    parts.push(match clipping {
        X0Clipping::None => "no clipping".to_owned(),
        X0Clipping::Clamp { range } => format!("clamped to {range}"),
        X0Clipping::DynamicThreshold { ratio, max } => {
            format!("dynamic threshold {ratio} to {max}")
        }
    });
    for option in sampler.options() {
        parts.push(match *option {
            "eta" => format!("eta {eta}"),
            "ddpm_variance" => format!("variance {}", name_of(ddpm_variance)?),
            "heun" => {
                let HeunOptions {
                    s_churn,
                    s_tmin,
                    s_tmax,
                    s_noise,
                } = heun;
                format!("churn {s_churn} from {s_tmin} to {s_tmax}, noise {s_noise}")
            }
            other => bail!("the option {other} of {sampler} is described nowhere"),
        });
    }
    if guided {
        parts.push(format!("guidance {guidance_scale}"));
        if let Some([first, last]) = guidance_interval {
            parts.push(format!("guided from timestep {first} to {last}"));
        }
        if *guidance_rescale != 0.0 {
            parts.push(format!("rescale {guidance_rescale}"));
        }
    }
    Ok(parts.join(", "))
}

/// The name of a choice, as in configurations.
fn name_of(choice: impl Serialize) -> Result<String> {
    let value = serde_json::to_value(choice)?;
    Ok(value.as_str().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use denoising::SamplerKind;
    use serde_json::{Value, json};

    use super::*;

    /// Whatever changes the images of some sampler changes what is said of them.
    #[test]
    fn every_option_is_described() {
        let changes = [
            ("sampler", json!("heun")),
            ("num_inference_steps", json!(7)),
            ("timestep_spacing", json!("karras")),
            ("clipping", json!({"kind": "none"})),
            ("clipping", json!({"kind": "clamp", "range": 2.0})),
            (
                "clipping",
                json!({"kind": "dynamic-threshold", "ratio": 0.9}),
            ),
            ("eta", json!(0.5)),
            ("ddpm_variance", json!("fixed-large")),
            ("heun", json!({"s_churn": 3.0})),
            ("heun", json!({"s_tmin": 0.1})),
            ("heun", json!({"s_tmax": 9.0})),
            ("heun", json!({"s_noise": 1.1})),
            ("guidance_scale", json!(2.0)),
            ("guidance_interval", json!([100.0, 600.0])),
            ("guidance_rescale", json!(0.7)),
        ];
        let keys: Vec<&str> = changes.iter().map(|(key, _)| *key).collect();
        let plain = serde_json::to_value(SamplingOptions::default()).unwrap();
        for key in plain.as_object().unwrap().keys() {
            assert!(keys.contains(&key.as_str()), "{key}");
        }
        let described = |kind: SamplerKind, change: Option<(&str, &Value)>| {
            let mut options = json!({"sampler": kind});
            if let Some((key, value)) = change {
                options[key] = value.clone();
            }
            describe(&serde_json::from_value(options).unwrap(), true).unwrap()
        };
        for (key, value) in &changes {
            let told = SamplerKind::ALL
                .iter()
                .filter(|kind| described(**kind, None) != described(**kind, Some((key, value))));
            let told: Vec<&SamplerKind> = told.collect();
            match *key {
                "eta" | "ddpm_variance" | "heun" => assert_eq!(told.len(), 1, "{key} {value}"),
                "sampler" => assert_eq!(told.len(), SamplerKind::ALL.len() - 1),
                _ => assert_eq!(told.len(), SamplerKind::ALL.len(), "{key} {value}"),
            }
        }
        let text = described(SamplerKind::Ddpm, Some(("guidance_rescale", &json!(0.7))));
        assert_eq!(
            text,
            "ddpm, 50 steps, trailing, clamped to 1, variance fixed-small, guidance 1, rescale 0.7"
        );
    }
}
