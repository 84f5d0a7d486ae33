//! The chain over categories against its matrices, multiplied out by torch:
//! `scripts/reference/categorical_golden.py`.
#![allow(clippy::unwrap_used)]

use burn::tensor::{DType, Device, Tensor, TensorData};
use noising::{BetaSchedule, CategoricalChain, CategoricalPosterior, NoiseSchedule, Transition};
use safetensors::SafeTensors;

struct Golden<'a> {
    tensors: SafeTensors<'a>,
    case: String,
}

impl Golden<'_> {
    fn read(&self, part: &str) -> Vec<f64> {
        let tensor = self
            .tensors
            .tensor(&format!("{}/{part}", self.case))
            .unwrap();
        let numbers = tensor.data().chunks(8);
        numbers
            .map(|bytes| f64::from_le_bytes(bytes.try_into().unwrap()))
            .collect()
    }
}

fn schedule(name: &str) -> NoiseSchedule {
    match name {
        "linear" => NoiseSchedule::new(&BetaSchedule::default(), 1000).unwrap(),
        _ => NoiseSchedule::from_betas(vec![0.1, 0.3, 0.6, 1.0]).unwrap(),
    }
}

#[track_caller]
fn assert_close(found: f64, expected: f64, what: &str) {
    assert!(
        (found - expected).abs() < 1e-11,
        "{what}: {found}, not {expected}"
    );
}

#[test]
fn matrices_posteriors_and_bound_are_those_of_torch() {
    let bytes = include_bytes!("golden/categorical.safetensors");
    let (_, metadata) = SafeTensors::read_metadata(bytes).unwrap();
    let cases = metadata.metadata().as_ref().unwrap()["cases"].clone();
    assert_eq!(cases.lines().count(), 12);
    for line in cases.lines() {
        let [name, transition, count, of_schedule, t, s] =
            line.split(' ').collect::<Vec<_>>().try_into().unwrap();
        let transition = match transition {
            "uniform" => Transition::Uniform,
            _ => Transition::Absorbing,
        };
        let count: usize = count.parse().unwrap();
        let (t, s): (usize, i64) = (t.parse().unwrap(), s.parse().unwrap());
        let golden = Golden {
            tensors: SafeTensors::deserialize(bytes).unwrap(),
            case: name.to_owned(),
        };
        let schedule = schedule(of_schedule);
        let now = schedule.alphas_cumprod()[t];
        let before = usize::try_from(s).map_or(1.0, |s| schedule.alphas_cumprod()[s]);
        let chain = CategoricalChain::new(schedule, transition, vec![count]).unwrap();
        let states = transition.num_states(count);

        let found = chain.cumulative_matrix(0, t).concat();
        for (found, expected) in found.into_iter().zip(golden.read("cumulative")) {
            assert_close(found, expected, name);
        }
        let posterior = CategoricalPosterior::between(transition, count, now, before);
        let log_p = golden.read("log_p_x_0");
        let [of_q, of_p, of_kl] = ["posterior", "p", "kl"].map(|part| golden.read(part));
        for x_t in 0..states {
            // A state that the chain cannot be in at t has no way back.
            let is_impossible = of_p[x_t * states..][..states].iter().all(|&p| p == 0.0);
            if is_impossible {
                continue;
            }
            let log_x_0 = &log_p[x_t * count..][..count];
            for (x_s, found) in posterior.log_p(x_t, log_x_0).into_iter().enumerate() {
                assert_close(found.exp(), of_p[x_t * states + x_s], name);
            }
            for x_0 in 0..count {
                let at = x_0 * states + x_t;
                if of_kl[at] < -0.5 {
                    continue;
                }
                for (x_s, found) in posterior.log_q(x_t, x_0).into_iter().enumerate() {
                    assert_close(found.exp(), of_q[at * states + x_s], name);
                }
                assert_close(posterior.kl(x_t, x_0, log_x_0), of_kl[at], name);
                // On tensors the bound goes one step back.
                if s + 1 == t as i64 {
                    let row = |values: Vec<f64>| {
                        let shape = [1, values.len()];
                        let data = TensorData::new(values, shape);
                        Tensor::<2>::from_data(data, (&Device::flex(), DType::F64))
                    };
                    let (x_0, x_t) = (row(vec![x_0 as f64]), row(vec![x_t as f64]));
                    let bound = chain.bound(x_0, x_t, row(log_x_0.to_vec()), &[t]);
                    let bound: Vec<f64> = bound.try_into_vec_as().unwrap();
                    assert_close(bound[0], of_kl[at], name);
                }
            }
        }
    }
}
