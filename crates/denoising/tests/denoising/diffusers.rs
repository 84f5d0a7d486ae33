//! Every sampler against diffusers' schedulers (Heun with churn: against Karras et al. 2022, algorithm 2,
//! in Python), step by step through whole loops, with the same start, network and noises. The numbers are
//! those of `scripts/reference/samplers_golden.py`.

use std::collections::{BTreeMap, BTreeSet};

use burn::tensor::{DType, Device, Tensor, TensorData};
use denoising::{
    Ddim, DdimInversion, DdimOptions, Ddpm, DdpmVariance, Deis, Denoising, DpmSolver2M,
    DpmSolver2MSde, DpmSolver2S, Heun, HeunOptions, MultistepOptions, Sampler, TimestepSpacing,
    UniPc, X0Clipping, euler, euler_ancestral,
};
use noising::{BetaSchedule, NoiseSchedule, PredictionType};
use safetensors::SafeTensors;
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::{Error, StrDeserializer};

use crate::{linear, values};

/// Largest difference, over the largest number of diffusers' state. Both sides reckon in f64; the file
/// is in f32, which alone is 6e-8 off.
const TOLERANCE: f64 = 1e-6;

/// As in the script.
fn network(x: Tensor<4>, t: f64) -> Tensor<4> {
    let waves = (x.clone().mul_scalar(2.0) + t / 200.0).sin();
    x.tanh().mul_scalar(1.2) + waves.mul_scalar(0.4)
}

struct Golden<'a>(SafeTensors<'a>);

impl Golden<'_> {
    fn numbers(&self, name: &str) -> Vec<f64> {
        let tensor = self.0.tensor(name).unwrap();
        let data = tensor.data();
        match tensor.dtype() {
            safetensors::Dtype::F64 => {
                let numbers = data.as_chunks().0.iter();
                numbers.map(|bytes| f64::from_le_bytes(*bytes)).collect()
            }
            safetensors::Dtype::F32 => {
                let numbers = data.as_chunks().0.iter();
                numbers
                    .map(|bytes| f32::from_le_bytes(*bytes).into())
                    .collect()
            }
            other => panic!("{name} is of {other:?}"),
        }
    }

    /// The tensor cut along its first dimension.
    fn sequence(&self, name: &str, shape: [usize; 4]) -> Vec<Tensor<4>> {
        let numbers = self.numbers(name);
        let tensors = numbers.chunks_exact(shape.iter().product());
        tensors.map(|numbers| tensor(numbers, shape)).collect()
    }
}

fn tensor(numbers: &[f64], shape: [usize; 4]) -> Tensor<4> {
    let data = TensorData::new(numbers.to_vec(), shape);
    Tensor::from_data(data, (&Device::flex(), DType::F64))
}

/// A line of the file: what to run.
struct Case<'a> {
    name: &'a str,
    sampler: &'a str,
    spacing: &'a str,
    steps: usize,
    prediction_type: &'a str,
    clipping: &'a str,
    schedule: &'a str,
    options: BTreeMap<&'a str, &'a str>,
}

impl<'a> Case<'a> {
    fn parse(line: &'a str) -> Self {
        let words: Vec<&str> = line.split(' ').collect();
        let (
            &[
                name,
                sampler,
                spacing,
                steps,
                prediction_type,
                clipping,
                schedule,
            ],
            options,
        ) = words.split_first_chunk().unwrap();
        Self {
            name,
            sampler,
            spacing,
            steps: steps.parse().unwrap(),
            prediction_type,
            clipping,
            schedule,
            options: options
                .iter()
                .map(|option| option.split_once('=').unwrap())
                .collect(),
        }
    }

    fn schedule(&self) -> NoiseSchedule {
        match self.schedule {
            "linear" => linear(),
            "zero-snr" => linear().rescale_zero_terminal_snr(),
            "cosine" => {
                let cosine = BetaSchedule::Cosine {
                    offset: 0.008,
                    max_beta: 0.999,
                };
                NoiseSchedule::new(&cosine, 1000).unwrap()
            }
            other => panic!("schedule {other}"),
        }
    }

    fn clipping(&self) -> X0Clipping {
        let (kind, numbers) = self.clipping.split_once('=').unwrap_or((self.clipping, ""));
        match kind {
            "none" => X0Clipping::None,
            "clamp" => X0Clipping::Clamp {
                range: numbers.parse().unwrap(),
            },
            "dynamic" => {
                let (ratio, max) = numbers.split_once(',').unwrap();
                X0Clipping::DynamicThreshold {
                    ratio: ratio.parse().unwrap(),
                    max: max.parse().unwrap(),
                }
            }
            other => panic!("clipping {other}"),
        }
    }

    fn option<T: std::str::FromStr>(&self, name: &str, default: T) -> T {
        match self.options.get(name) {
            Some(value) => value
                .parse()
                .unwrap_or_else(|_| panic!("{name} is {value}")),
            None => default,
        }
    }

    fn sampler(&self, schedule: &NoiseSchedule, timesteps: &[f64]) -> Box<dyn Sampler<4>> {
        let kind: PredictionType = named(self.prediction_type);
        let clipping = self.clipping();
        let multistep = MultistepOptions {
            set_alpha_to_one: self.option("set_alpha_to_one", true),
            lower_order_final: self.option("lower_order_final", true),
        };
        match self.sampler {
            "ddpm" => {
                let variance: DdpmVariance = named(self.options["variance"]);
                Box::new(Ddpm::new(schedule, timesteps, kind, clipping, variance).unwrap())
            }
            "ddim" => {
                let options = DdimOptions {
                    eta: self.option("eta", 0.0),
                    rederive_epsilon: self.option("rederive_epsilon", true),
                    set_alpha_to_one: self.option("set_alpha_to_one", true),
                };
                Box::new(Ddim::new(schedule, timesteps, kind, clipping, options).unwrap())
            }
            "ddim-inversion" => {
                assert_eq!(clipping, X0Clipping::None, "inversion knows no clipping");
                Box::new(DdimInversion::new(schedule, timesteps, kind, 1).unwrap())
            }
            "euler" => Box::new(euler(schedule, timesteps, kind, clipping).unwrap()),
            "euler-ancestral" => {
                Box::new(euler_ancestral(schedule, timesteps, kind, clipping).unwrap())
            }
            "heun" | "heun-churn" => {
                let default = HeunOptions::default();
                let options = HeunOptions {
                    s_churn: self.option("s_churn", default.s_churn),
                    s_tmin: self.option("s_tmin", default.s_tmin),
                    s_tmax: self.option("s_tmax", default.s_tmax),
                    s_noise: self.option("s_noise", default.s_noise),
                };
                Box::new(Heun::new(schedule, timesteps, kind, clipping, options).unwrap())
            }
            "dpmpp-2m" => {
                Box::new(DpmSolver2M::new(schedule, timesteps, kind, clipping, multistep).unwrap())
            }
            "dpmpp-2m-sde" => {
                Box::new(DpmSolver2MSde::new(schedule, timesteps, kind, clipping).unwrap())
            }
            "dpmpp-2s" => Box::new(DpmSolver2S::new(schedule, timesteps, kind, clipping).unwrap()),
            "unipc" => {
                Box::new(UniPc::new(schedule, timesteps, kind, clipping, multistep).unwrap())
            }
            "deis" => Box::new(Deis::new(schedule, timesteps, kind, clipping).unwrap()),
            other => panic!("sampler {other}"),
        }
    }
}

/// What a word of the file stands for, under the name that configurations use.
fn named<'a, T: Deserialize<'a>>(name: &'a str) -> T {
    let deserializer: StrDeserializer<'a, Error> = name.into_deserializer();
    T::deserialize(deserializer).unwrap()
}

/// The largest absolute value; NaN is larger than any.
fn most(numbers: impl Iterator<Item = f64>) -> f64 {
    numbers.map(f64::abs).max_by(f64::total_cmp).unwrap()
}

#[test]
fn every_step_is_that_of_diffusers() {
    let bytes = include_bytes!("../golden/samplers.safetensors");
    let golden = Golden(SafeTensors::deserialize(bytes).unwrap());
    let (_, header) = SafeTensors::read_metadata(bytes).unwrap();
    let cases = &header.metadata().as_ref().unwrap()["cases"];
    let shape: [usize; 4] = golden.0.tensor("x_T").unwrap().shape().try_into().unwrap();
    let start = tensor(&golden.numbers("x_T"), shape);
    let noises = golden.sequence("noise", shape);

    let mut used = BTreeSet::from(["x_T".to_string(), "noise".to_string()]);
    let mut largest = BTreeMap::<&str, f64>::new();
    let mut failures = String::new();
    for line in cases.lines() {
        let case = Case::parse(line);
        let schedule = case.schedule();
        let name = format!(
            "{} {} {}/timesteps",
            case.spacing, case.steps, case.schedule
        );
        let spacing: TimestepSpacing = named(case.spacing);
        let timesteps = spacing.timesteps(&schedule, case.steps).unwrap();
        let expected = golden.numbers(&name);
        let close = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-8;
        assert!(
            timesteps.len() == expected.len() && timesteps.iter().zip(&expected).all(close),
            "{name}: {timesteps:?} are not {expected:?}"
        );
        used.insert(name);

        let name = format!("{}/states", case.name);
        let expected = golden.sequence(&name, shape);
        used.insert(name);
        let mut noises = noises.iter().cloned();
        let noise = || noises.next().unwrap();
        let sampler = case.sampler(&schedule, &timesteps);
        let states = Denoising::new(sampler, start.clone(), network, noise);
        assert_eq!(states.len(), expected.len(), "steps of {line}");
        for (state, expected) in states.zip(expected) {
            let (found, expected) = (values(state.x), values(expected));
            let difference = most(found.iter().zip(&expected).map(|(a, b)| a - b));
            let error = difference / most(expected.iter().copied());
            let largest = largest.entry(case.sampler).or_default();
            *largest = most([*largest, error].into_iter());
            if error > TOLERANCE || error.is_nan() {
                let index = state.index;
                failures += &format!("step {index} of {line} is off by {error:.1e}\n");
                break;
            }
        }
    }
    for (sampler, error) in &largest {
        println!("{error:.1e} {sampler}");
    }
    assert!(failures.is_empty(), "{failures}");
    assert_eq!(used.len(), golden.0.len(), "a tensor of the file is unused");
}
