//! The configuration of diffusers' `DDPMScheduler` and `DDIMScheduler`: the chain, what is predicted,
//! and how it is sampled.

use denoising::{DdpmVariance, TimestepSpacing, X0Clipping};
use noising::{BetaSchedule, MAX_TRAIN_TIMESTEPS, NoiseSchedule, PredictionType};
use serde_json::{Value, json};

use super::error::DiffusersError;
use super::keys::{DIFFUSERS_VERSION, Keys};
use crate::config::RunConfig;
use noising::NoiseConfig;

pub(super) const CLASS_NAME: &str = "DDPMScheduler";

/// Offset and largest β of the one cosine schedule that diffusers knows, `squaredcos_cap_v2`.
const COSINE_OFFSET: f64 = 0.008;
const COSINE_MAX_BETA: f64 = 0.999;

/// What a scheduler says.
#[derive(Debug, Clone, PartialEq)]
pub struct Scheduler {
    /// The chain.
    pub noise: NoiseConfig,
    /// What the network predicts.
    pub prediction_type: PredictionType,
    /// Which timesteps a sampler visits.
    pub timestep_spacing: TimestepSpacing,
    /// What a sampler does to the predicted x_0.
    pub clipping: X0Clipping,
    /// The variance of DDPM's steps.
    pub variance: DdpmVariance,
    /// What our samplers do in another way, for a person to read.
    pub differences: Vec<String>,
}

/// The scheduler of a configuration.
pub(super) fn read(keys: &Keys) -> Result<Scheduler, DiffusersError> {
    keys.must_be("_class_name", &[json!(CLASS_NAME), json!("DDIMScheduler")])?;
    let noise = noise(keys)?;
    NoiseSchedule::new(&noise.schedule, noise.num_train_timesteps).map_err(|source| {
        DiffusersError::Schedule {
            path: keys.path.clone(),
            source,
        }
    })?;

    let key = "prediction_type";
    let expected = "\"epsilon\", \"sample\" or \"v_prediction\"";
    // The name of the choice before it had a third.
    let default = match keys.get("predict_epsilon", Some(true), "true, false or null")? {
        Some(false) => "sample",
        _ => "epsilon",
    };
    let prediction_type = match keys.get(key, default.to_owned(), expected)?.as_str() {
        "epsilon" => PredictionType::Epsilon,
        "sample" => PredictionType::Sample,
        "v_prediction" => PredictionType::VPrediction,
        _ => return Err(keys.error(key, expected)),
    };
    let key = "timestep_spacing";
    let expected = "\"leading\", \"trailing\" or \"linspace\"";
    let timestep_spacing = match keys.get(key, "leading".to_owned(), expected)?.as_str() {
        "leading" => TimestepSpacing::Leading,
        "trailing" => TimestepSpacing::Trailing,
        "linspace" => TimestepSpacing::Linspace,
        _ => return Err(keys.error(key, expected)),
    };
    let key = "variance_type";
    let expected = "\"fixed_small\" or \"fixed_large\"";
    let variance = match keys.get(key, "fixed_small".to_owned(), expected)?.as_str() {
        // The second takes the root by way of the logarithm.
        "fixed_small" | "fixed_small_log" => DdpmVariance::FixedSmall,
        "fixed_large" => DdpmVariance::FixedLarge,
        _ => return Err(keys.error(key, expected)),
    };

    let mut differences = Vec::new();
    for (key, ours) in [
        ("steps_offset", &[json!(0)][..]),
        ("set_alpha_to_one", &[json!(true)]),
    ] {
        if let Err(error) = keys.must_be(key, ours) {
            differences.push(error.to_string());
        }
    }
    Ok(Scheduler {
        noise,
        prediction_type,
        timestep_spacing,
        clipping: clipping(keys)?,
        variance,
        differences,
    })
}

/// What is done to the predicted x_0: thresholding comes before clipping.
fn clipping(keys: &Keys) -> Result<X0Clipping, DiffusersError> {
    let (flag, number) = ("true or false", "a number");
    let threshold = X0Clipping::DynamicThreshold {
        ratio: keys.get("dynamic_thresholding_ratio", 0.995, number)?,
        max: keys.get("sample_max_value", 1.0, number)?,
    };
    let clamp = X0Clipping::Clamp {
        range: keys.get("clip_sample_range", 1.0, number)?,
    };
    Ok(if keys.get("thresholding", false, flag)? {
        threshold
    } else if keys.get("clip_sample", true, flag)? {
        clamp
    } else {
        X0Clipping::None
    })
}

fn noise(keys: &Keys) -> Result<NoiseConfig, DiffusersError> {
    let key = "num_train_timesteps";
    let expected = format!("a number from 1 to {MAX_TRAIN_TIMESTEPS}");
    let num_train_timesteps = keys.get(key, 1000, &expected)?;
    if !(1..=MAX_TRAIN_TIMESTEPS).contains(&num_train_timesteps) {
        return Err(keys.error(key, expected));
    }
    let beta_start = keys.get("beta_start", 1e-4, "a number")?;
    let beta_end = keys.get("beta_end", 0.02, "a number")?;
    let key = "beta_schedule";
    let expected = "\"linear\", \"scaled_linear\", \"squaredcos_cap_v2\" or \"sigmoid\"";
    let kind = keys.get(key, "linear".to_owned(), expected)?;
    let trained_betas = keys.get("trained_betas", None, "a list of numbers or null")?;
    let schedule = match (trained_betas, kind.as_str()) {
        (Some(betas), _) => BetaSchedule::Given { betas },
        (None, "linear") => BetaSchedule::Linear {
            beta_start,
            beta_end,
        },
        (None, "scaled_linear") => BetaSchedule::ScaledLinear {
            beta_start,
            beta_end,
        },
        (None, "squaredcos_cap_v2") => BetaSchedule::Cosine {
            offset: COSINE_OFFSET,
            max_beta: COSINE_MAX_BETA,
        },
        // A sigmoid of β; the one that this program has by name is one of alphas_cumprod.
        (None, "sigmoid") => BetaSchedule::Given {
            betas: sigmoid_betas(beta_start, beta_end, num_train_timesteps),
        },
        _ => return Err(keys.error(key, expected)),
    };
    Ok(NoiseConfig {
        num_train_timesteps,
        schedule,
        rescale_zero_terminal_snr: keys.get("rescale_betas_zero_snr", false, "true or false")?,
    })
}

/// β_t on a sigmoid from −6 to 6.
fn sigmoid_betas(beta_start: f64, beta_end: f64, count: usize) -> Vec<f64> {
    let intervals = count.saturating_sub(1).max(1) as f64;
    (0..count)
        .map(|t| 12.0 * t as f64 / intervals - 6.0)
        .map(|x| beta_start + (beta_end - beta_start) / (1.0 + (-x).exp()))
        .collect()
}

/// The configuration of a `DDPMScheduler`, every key of diffusers' class in it. Schedules that diffusers
/// does not know by name are written out.
pub(super) fn to_json(config: &RunConfig) -> Value {
    let NoiseConfig {
        num_train_timesteps,
        ref schedule,
        rescale_zero_terminal_snr,
    } = config.noise;
    let (mut beta_start, mut beta_end, mut kind, mut trained_betas) = (1e-4, 0.02, "linear", None);
    match *schedule {
        BetaSchedule::Linear {
            beta_start: start,
            beta_end: end,
        } => (beta_start, beta_end) = (start, end),
        BetaSchedule::ScaledLinear {
            beta_start: start,
            beta_end: end,
        } => (beta_start, beta_end, kind) = (start, end, "scaled_linear"),
        BetaSchedule::Cosine { offset, max_beta }
            if offset == COSINE_OFFSET && max_beta == COSINE_MAX_BETA =>
        {
            kind = "squaredcos_cap_v2";
        }
        _ => {
            let schedule = NoiseSchedule::new(schedule, num_train_timesteps);
            trained_betas = schedule.ok().map(|schedule| schedule.betas().to_vec());
        }
    }
    let prediction_type = match config.objective.prediction_type {
        PredictionType::Epsilon => "epsilon",
        PredictionType::Sample => "sample",
        PredictionType::VPrediction => "v_prediction",
    };
    let timestep_spacing = match config.sampling.options.timestep_spacing {
        TimestepSpacing::Leading => "leading",
        TimestepSpacing::Linspace => "linspace",
        // What diffusers' DDPM does not have becomes what starts at T − 1 like it.
        _ => "trailing",
    };
    let variance_type = match config.sampling.options.ddpm_variance {
        DdpmVariance::FixedSmall => "fixed_small",
        DdpmVariance::FixedLarge => "fixed_large",
    };
    let (mut clip_sample_range, mut dynamic_thresholding_ratio, mut sample_max_value) =
        (1.0, 0.995, 1.0);
    let (clip_sample, thresholding) = match config.sampling.options.clipping {
        X0Clipping::None => (false, false),
        X0Clipping::Clamp { range } => {
            clip_sample_range = range;
            (true, false)
        }
        X0Clipping::DynamicThreshold { ratio, max } => {
            (dynamic_thresholding_ratio, sample_max_value) = (ratio, max);
            (false, true)
        }
    };
    json!({
        "_class_name": CLASS_NAME,
        "_diffusers_version": DIFFUSERS_VERSION,
        "beta_end": beta_end,
        "beta_schedule": kind,
        "beta_start": beta_start,
        "clip_sample": clip_sample,
        "clip_sample_range": clip_sample_range,
        "dynamic_thresholding_ratio": dynamic_thresholding_ratio,
        "num_train_timesteps": num_train_timesteps,
        "prediction_type": prediction_type,
        "rescale_betas_zero_snr": rescale_zero_terminal_snr,
        "sample_max_value": sample_max_value,
        "steps_offset": 0,
        "thresholding": thresholding,
        "timestep_spacing": timestep_spacing,
        "trained_betas": trained_betas,
        "variance_type": variance_type,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::Path;

    use super::*;

    fn keys(values: Value) -> Keys {
        Keys {
            path: "scheduler_config.json".into(),
            values: values.as_object().unwrap().clone(),
        }
    }

    fn config(overrides: &[&str]) -> RunConfig {
        let text = "[data]\ndataset = \"mnist\"\n[training]\nsteps = 1\n";
        let overrides: Vec<String> = overrides.iter().map(|text| (*text).to_owned()).collect();
        RunConfig::parse(text, Path::new("run.toml"), &overrides).unwrap()
    }

    /// What is written for a configuration, and what it is read as.
    fn exchanged(overrides: &[&str]) -> (RunConfig, Value, Scheduler) {
        let config = config(overrides);
        let json = to_json(&config);
        let scheduler = read(&keys(json.clone())).unwrap();
        (config, json, scheduler)
    }

    #[test]
    fn the_hub_s_scheduler_is_read() {
        // scheduler_config.json of google/ddpm-cifar10-32.
        let scheduler = read(&keys(json!({
            "_class_name": "DDPMScheduler",
            "_diffusers_version": "0.1.1",
            "beta_end": 0.02,
            "beta_schedule": "linear",
            "beta_start": 0.0001,
            "clip_sample": true,
            "num_train_timesteps": 1000,
            "trained_betas": null,
            "variance_type": "fixed_large"
        })));
        let expected = Scheduler {
            noise: NoiseConfig::default(),
            prediction_type: PredictionType::Epsilon,
            timestep_spacing: TimestepSpacing::Leading,
            clipping: X0Clipping::Clamp { range: 1.0 },
            variance: DdpmVariance::FixedLarge,
            differences: Vec::new(),
        };
        assert_eq!(scheduler.unwrap(), expected);
    }

    #[test]
    fn what_diffusers_knows_by_name_reads_back_the_same() {
        for (overrides, name) in [
            (
                &["noise.schedule={ kind = \"linear\", beta_end = 0.03 }"][..],
                "linear",
            ),
            (
                &[
                    "noise.schedule={ kind = \"scaled-linear\" }",
                    "noise.num_train_timesteps=500",
                    "sampling.clipping={ kind = \"none\" }",
                    "sampling.ddpm_variance=fixed-large",
                ],
                "scaled_linear",
            ),
            (
                &[
                    "noise.schedule={ kind = \"cosine\" }",
                    "objective.prediction_type=sample",
                    "sampling.timestep_spacing=linspace",
                    "sampling.clipping={ kind = \"clamp\", range = 1.5 }",
                ],
                "squaredcos_cap_v2",
            ),
            (
                &[
                    "noise.schedule={ kind = \"scaled-linear\" }",
                    "objective.prediction_type=v-prediction",
                    "noise.rescale_zero_terminal_snr=true",
                    "sampling.timestep_spacing=leading",
                    "sampling.clipping={ kind = \"dynamic-threshold\", ratio = 0.9, max = 3.0 }",
                ],
                "scaled_linear",
            ),
        ] {
            let (config, json, scheduler) = exchanged(overrides);
            assert_eq!(json["beta_schedule"], name);
            assert_eq!(json["trained_betas"], Value::Null);
            let expected = Scheduler {
                noise: config.noise,
                prediction_type: config.objective.prediction_type,
                timestep_spacing: config.sampling.options.timestep_spacing,
                clipping: config.sampling.options.clipping,
                variance: config.sampling.options.ddpm_variance,
                differences: Vec::new(),
            };
            assert_eq!(scheduler, expected);
        }
    }

    #[test]
    fn other_schedules_are_written_out() {
        for schedule in [
            "noise.schedule={ kind = \"sigmoid\" }",
            "noise.schedule={ kind = \"cosine\", offset = 0.01 }",
            "noise.schedule={ kind = \"cosine\", max_beta = 0.5 }",
        ] {
            let (config, json, scheduler) = exchanged(&[schedule]);
            assert_eq!(json["trained_betas"].as_array().unwrap().len(), 1000);
            let chain = config.noise.chain().unwrap();
            let betas = chain.schedule().betas().to_vec();
            assert_eq!(scheduler.noise.schedule, BetaSchedule::Given { betas });
        }
    }

    #[test]
    fn timesteps_that_diffusers_does_not_have_become_trailing() {
        let (_, _, scheduler) = exchanged(&["sampling.timestep_spacing=karras"]);
        assert_eq!(scheduler.timestep_spacing, TimestepSpacing::Trailing);
    }

    #[test]
    fn diffusers_sigmoid_is_one_of_beta() {
        let json = json!({ "beta_schedule": "sigmoid", "num_train_timesteps": 3 });
        let BetaSchedule::Given { betas } = read(&keys(json)).unwrap().noise.schedule else {
            panic!("not written out");
        };
        // sigmoid(-6), sigmoid(0) and sigmoid(6) of the way from 1e-4 to 0.02.
        for (beta, expected) in betas.iter().zip([1.492_051_0e-4, 0.010_05, 0.019_950_795]) {
            assert!((beta - expected).abs() < 1e-9, "{beta} and {expected}");
        }
    }

    #[test]
    fn what_is_only_sampled_in_another_way_is_told() {
        let json =
            json!({ "_class_name": "DDIMScheduler", "steps_offset": 1, "set_alpha_to_one": true });
        let differences = read(&keys(json)).unwrap().differences;
        assert_eq!(
            differences,
            ["scheduler_config.json: `steps_offset` is 1, expected 0"]
        );
    }

    #[test]
    fn predict_epsilon_is_the_early_name_of_a_choice() {
        let scheduler = read(&keys(json!({ "predict_epsilon": false }))).unwrap();
        assert_eq!(scheduler.prediction_type, PredictionType::Sample);
    }

    #[test]
    fn what_makes_no_chain_is_named_with_its_key() {
        for (json, expected) in [
            (
                json!({ "_class_name": "EulerDiscreteScheduler" }),
                "`_class_name` is \"Euler",
            ),
            (
                json!({ "beta_schedule": "laplace" }),
                "`beta_schedule` is \"laplace\"",
            ),
            (
                json!({ "prediction_type": "flow" }),
                "`prediction_type` is \"flow\"",
            ),
            (
                json!({ "variance_type": "learned_range" }),
                "`variance_type` is \"learned_range\"",
            ),
            (
                json!({ "timestep_spacing": "karras" }),
                "`timestep_spacing` is \"karras\"",
            ),
            (
                json!({ "num_train_timesteps": 0 }),
                "`num_train_timesteps` is 0",
            ),
            (
                json!({ "num_train_timesteps": 1e30 }),
                "`num_train_timesteps` is 1e+30",
            ),
            (
                json!({ "trained_betas": "some" }),
                "`trained_betas` is \"some\"",
            ),
            (json!({ "clip_sample": "yes" }), "`clip_sample` is \"yes\""),
            (json!({ "beta_start": null }), "`beta_start` is null"),
        ] {
            let error = read(&keys(json)).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        for json in [
            json!({ "beta_start": 2.0 }),
            json!({ "trained_betas": [0.1, 0.2] }),
        ] {
            let error = read(&keys(json)).unwrap_err();
            assert!(matches!(error, DiffusersError::Schedule { .. }), "{error}");
        }
    }

    #[test]
    fn long_values_are_cut_short_in_errors() {
        let betas = vec![0.5; 1000];
        let json = json!({ "beta_schedule": betas });
        let error = read(&keys(json)).unwrap_err().to_string();
        assert!(error.len() < 300 && error.contains('…'), "{error}");
    }
}
