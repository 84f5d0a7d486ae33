//! Clouds of points in the plane that are made by a formula: small data on which a network learns in
//! seconds, and whose shape a person knows.
//!
//! Each is a curve or a set of places and Gaussian noise around it:
//!
//! | cloud | places, u uniform in [0, 1) | deviation |
//! | --- | --- | --- |
//! | two moons | (cos πu, sin πu) and (1 − cos πu, ½ − sin πu) | 0.05 |
//! | Swiss roll | t (cos t, sin t), t = 3π/2 · (1 + 2u) | 0.3 |
//! | spiral | ±t (cos t, sin t), t = 2π √u: two arms | 0.2 |
//! | eight Gaussians | 4 (cos kπ/4, sin kπ/4), k = 0, …, 7 | 0.3 |
//!
//! The first two are scikit-learn's `make_moons` and the plane of its `make_swiss_roll`.

use std::f64::consts::PI;
use std::fmt;
use std::str::FromStr;

use rand::{Rng, RngExt};
use rand_distr::StandardNormal;
use serde::{Deserialize, Serialize};

use super::points::Points;
use crate::splits::Splits;

/// Points to learn from, and points held out.
const TRAIN: usize = 20_000;
const TEST: usize = 2_000;

/// A cloud that is made by a formula.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum CloudName {
    /// Two half circles, one inside the other.
    TwoMoons,
    /// A spiral of one arm that starts away from the middle.
    SwissRoll,
    /// A spiral of two arms.
    Spiral,
    /// Eight small Gaussians on a circle.
    EightGaussians,
}

/// A text that names no cloud.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no cloud {0:?}: expected two-moons, swiss-roll, spiral or eight-gaussians")]
pub struct UnknownCloud(pub String);

impl CloudName {
    /// All clouds.
    pub const ALL: [Self; 4] = [
        Self::TwoMoons,
        Self::SwissRoll,
        Self::Spiral,
        Self::EightGaussians,
    ];

    /// The name, as in configurations.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TwoMoons => "two-moons",
            Self::SwissRoll => "swiss-roll",
            Self::Spiral => "spiral",
            Self::EightGaussians => "eight-gaussians",
        }
    }

    /// 20,000 points of the cloud to learn from and 2,000 held out, normalised together.
    pub fn draw(self, rng: &mut impl Rng) -> Splits<Points> {
        let mut values = Vec::with_capacity(2 * (TRAIN + TEST));
        for _ in 0..TRAIN + TEST {
            let (place, deviation) = self.place(rng);
            for coordinate in place {
                values.push(coordinate + deviation * rng.sample::<f64, _>(StandardNormal));
            }
        }
        let points = Points::of(&values, vec!["x".to_owned(), "y".to_owned()]);
        Splits {
            train: points.select(&Vec::from_iter(0..TRAIN)),
            test: points.select(&Vec::from_iter(TRAIN..TRAIN + TEST)),
            fingerprint: None,
        }
    }

    /// A place, and the deviation around it.
    fn place(self, rng: &mut impl Rng) -> ([f64; 2], f64) {
        let at = |radius: f64, angle: f64| [radius * angle.cos(), radius * angle.sin()];
        let u: f64 = rng.random();
        match self {
            Self::TwoMoons => {
                let [x, y] = at(1.0, PI * u);
                let place = if rng.random() {
                    [x, y]
                } else {
                    [1.0 - x, 0.5 - y]
                };
                (place, 0.05)
            }
            Self::SwissRoll => {
                let t = 1.5 * PI * (1.0 + 2.0 * u);
                (at(t, t), 0.3)
            }
            Self::Spiral => {
                let t = 2.0 * PI * u.sqrt();
                let arm = if rng.random() { 1.0 } else { -1.0 };
                (at(arm * t, t), 0.2)
            }
            Self::EightGaussians => {
                let k = rng.random_range(0..8);
                (at(4.0, f64::from(k) * PI / 4.0), 0.3)
            }
        }
    }
}

impl fmt::Display for CloudName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for CloudName {
    type Err = UnknownCloud;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|name| name.as_str() == text)
            .ok_or_else(|| UnknownCloud(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use burn::tensor::Device;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// The points as they were before they were normalised.
    fn points(name: CloudName) -> Vec<[f64; 2]> {
        let splits = name.draw(&mut ChaCha8Rng::seed_from_u64(1));
        assert_eq!((splits.train.len(), splits.test.len()), (TRAIN, TEST));
        let tensor = splits.train.to_tensor(&Device::flex());
        let values = tensor.into_data().try_to_vec::<f32>().unwrap();
        splits
            .train
            .normalisation()
            .undo(&values)
            .as_chunks()
            .0
            .to_vec()
    }

    /// The share of points that are within four deviations of a place where `distance` is zero.
    fn share_near(name: CloudName, deviation: f64, distance: impl Fn([f64; 2]) -> f64) -> f64 {
        let points = points(name);
        let near = points
            .iter()
            .filter(|&&point| distance(point) < 4.0 * deviation);
        near.count() as f64 / points.len() as f64
    }

    #[test]
    fn points_lie_around_their_curves() {
        let moons = |[x, y]: [f64; 2]| {
            let upper = (x.hypot(y) - 1.0).abs();
            let lower = ((1.0 - x).hypot(0.5 - y) - 1.0).abs();
            upper.min(lower)
        };
        // Arms are 2π apart along each ray, or π for two.
        let roll = |period: f64| {
            move |[x, y]: [f64; 2]| {
                let turn = (x.hypot(y) - y.atan2(x)).rem_euclid(period);
                turn.min(period - turn)
            }
        };
        let circle = |[x, y]: [f64; 2]| {
            let nearest = (y.atan2(x) / (PI / 4.0)).round() * PI / 4.0;
            (x - 4.0 * nearest.cos()).hypot(y - 4.0 * nearest.sin())
        };
        assert!(share_near(CloudName::TwoMoons, 0.05, moons) > 0.99);
        assert!(share_near(CloudName::SwissRoll, 0.3, roll(2.0 * PI)) > 0.99);
        assert!(share_near(CloudName::Spiral, 0.2, roll(PI)) > 0.9);
        assert!(share_near(CloudName::EightGaussians, 0.3, circle) > 0.99);
    }

    #[test]
    fn names_are_those_of_configurations() {
        for name in CloudName::ALL {
            assert_eq!(name.to_string().parse(), Ok(name));
            assert_eq!(serde_json::to_value(name).unwrap(), name.as_str());
        }
        assert!("moons".parse::<CloudName>().is_err());
    }
}
