//! Numbers to a normal distribution and back, through their ranks.
//!
//! Of n numbers, the one of rank r = 0, …, n − 1 becomes z = Φ⁻¹((r + ½) / n) (Hazen's plotting positions), so the
//! column becomes normal whatever its distribution was. Equal numbers hold all the ranks that they have, and each of
//! them gets any place between the first and the last, by a random number of the caller: so their z are normal,
//! too, and a value is drawn as often as it was seen. The way back is linear between neighbouring numbers, and a z
//! in the ranks of a number is that number exactly; beyond the ends are the least and the largest.
//!
//! Φ⁻¹ is Wichura's algorithm AS 241 (PPND16; Applied Statistics 37, 1988), exact to 1e-16.

use rand::Rng;
use rand::distr::{Distribution, Open01};
use serde::{Deserialize, Serialize};

/// The most different numbers that are kept. Of a column with more, those at equal ranks are, and those that are
/// seen often.
const MAX_KNOTS: usize = 1 << 16;

/// The quantile of a standard normal distribution: z with Φ(z) = `p`, which is in (0, 1).
#[expect(
    clippy::excessive_precision,
    reason = "the coefficients as they were published"
)]
pub fn normal_quantile(p: f64) -> f64 {
    const A: [f64; 8] = [
        2.5090809287301226727e+3,
        3.3430575583588128105e+4,
        6.7265770927008700853e+4,
        4.5921953931549871457e+4,
        1.3731693765509461125e+4,
        1.9715909503065514427e+3,
        1.3314166789178437745e+2,
        3.3871328727963666080e+0,
    ];
    const B: [f64; 8] = [
        5.2264952788528545610e+3,
        2.8729085735721942674e+4,
        3.9307895800092710610e+4,
        2.1213794301586595867e+4,
        5.3941960214247511077e+3,
        6.8718700749205790830e+2,
        4.2313330701600911252e+1,
        1.0,
    ];
    const C: [f64; 8] = [
        7.74545014278341407640e-4,
        2.27238449892691845833e-2,
        2.41780725177450611770e-1,
        1.27045825245236838258e+0,
        3.64784832476320460504e+0,
        5.76949722146069140550e+0,
        4.63033784615654529590e+0,
        1.42343711074968357734e+0,
    ];
    const D: [f64; 8] = [
        1.05075007164441684324e-9,
        5.47593808499534494600e-4,
        1.51986665636164571966e-2,
        1.48103976427480074590e-1,
        6.89767334985100004550e-1,
        1.67638483018380384940e+0,
        2.05319162663775882187e+0,
        1.0,
    ];
    const E: [f64; 8] = [
        2.01033439929228813265e-7,
        2.71155556874348757815e-5,
        1.24266094738807843860e-3,
        2.65321895265761230930e-2,
        2.96560571828504891230e-1,
        1.78482653991729133580e+0,
        5.46378491116411436990e+0,
        6.65790464350110377720e+0,
    ];
    const F: [f64; 8] = [
        2.04426310338993978564e-15,
        1.42151175831644588870e-7,
        1.84631831751005468180e-5,
        7.86869131145613259100e-4,
        1.48753612908506148525e-2,
        1.36929880922735805310e-1,
        5.99832206555887937690e-1,
        1.0,
    ];
    let ratio = |above: &[f64; 8], below: &[f64; 8], r: f64| {
        let horner = |c: &[f64; 8]| c.iter().fold(0.0, |sum, c| sum * r + c);
        horner(above) / horner(below)
    };
    let q = p - 0.5;
    if q.abs() <= 0.425 {
        return q * ratio(&A, &B, 0.180_625 - q * q);
    }
    let tail = if q < 0.0 { p } else { 1.0 - p };
    let r = (-tail.ln()).sqrt();
    let z = if r <= 5.0 {
        ratio(&C, &D, r - 1.6)
    } else {
        ratio(&E, &F, r - 5.0)
    };
    z.copysign(q)
}

/// A normal number z of a uniform one of (0, 1).
pub(crate) fn normal(uniform: f64) -> f32 {
    normal_quantile(uniform.clamp(f64::EPSILON, 1.0 - f64::EPSILON)) as f32
}

/// A uniform number of (0, 1).
pub(crate) fn uniform(rng: &mut impl Rng) -> f64 {
    Open01.sample(rng)
}

/// The empirical quantiles of a column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Knots", into = "Knots")]
pub struct Quantiles {
    knots: Knots,
    /// z of the first and the last rank of each number.
    first: Vec<f32>,
    last: Vec<f32>,
}

/// What is saved of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct Knots {
    /// How many numbers there are.
    count: u64,
    /// Different numbers, the least first.
    values: Vec<f64>,
    /// The rank of the first of those that are equal.
    ranks: Vec<u64>,
    /// How many are equal.
    ties: Vec<u64>,
}

/// Quantiles that are not those of any numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the quantiles of a column are damaged: numbers and ranks must be finite and rise")]
pub struct DamagedQuantiles;

impl TryFrom<Knots> for Quantiles {
    type Error = DamagedQuantiles;

    fn try_from(knots: Knots) -> Result<Self, DamagedQuantiles> {
        let len = knots.values.len();
        let is_sound = (1..=MAX_KNOTS * 2).contains(&len)
            && [knots.ranks.len(), knots.ties.len()] == [len; 2]
            && knots.count < 1 << 53
            && knots.values.iter().all(|value| value.is_finite())
            && knots
                .values
                .windows(2)
                .all(|pair| pair[0] < pair[1] && (pair[1] - pair[0]).is_finite());
        let mut end = 0;
        for (&rank, &ties) in knots.ranks.iter().zip(&knots.ties) {
            if rank < end || ties == 0 || ties > knots.count || rank > knots.count - ties {
                return Err(DamagedQuantiles);
            }
            end = rank + ties;
        }
        if !is_sound {
            return Err(DamagedQuantiles);
        }
        let z = |rank: u64| normal_quantile((rank as f64 + 0.5) / knots.count as f64) as f32;
        let first = knots.ranks.iter().map(|&rank| z(rank)).collect();
        let last = knots
            .ranks
            .iter()
            .zip(&knots.ties)
            .map(|(&rank, &ties)| z(rank + ties - 1))
            .collect();
        Ok(Self { knots, first, last })
    }
}

impl From<Quantiles> for Knots {
    fn from(quantiles: Quantiles) -> Self {
        quantiles.knots
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Quantiles {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Quantiles".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        Knots::json_schema(generator)
    }
}

impl Quantiles {
    /// The quantiles of numbers that are finite; `None` where there are none. They are sorted where they are.
    pub fn of(numbers: &mut [f64]) -> Option<Self> {
        Self::thinned(numbers, MAX_KNOTS)
    }

    fn thinned(numbers: &mut [f64], most: usize) -> Option<Self> {
        numbers.sort_unstable_by(f64::total_cmp);
        let count = numbers.len();
        let groups = || numbers.chunk_by(|a, b| a == b);
        let different = groups().count();
        // Half of the places for values at equal ranks, half for those that are seen often.
        let grid = (count / (most / 2).max(1)).max(1);
        let mut knots = Knots {
            count: count as u64,
            values: Vec::with_capacity(different.min(most)),
            ranks: Vec::with_capacity(different.min(most)),
            ties: Vec::with_capacity(different.min(most)),
        };
        let (mut rank, mut next) = (0, 0);
        for (place, group) in groups().enumerate() {
            let is_end = place + 1 == different;
            if different <= most || rank >= next || group.len() > grid || is_end {
                knots.values.push(group[0] + 0.0);
                knots.ranks.push(rank as u64);
                knots.ties.push(group.len() as u64);
                next = rank + grid;
            }
            rank += group.len();
        }
        Self::try_from(knots).ok()
    }

    /// The least number.
    pub fn least(&self) -> f64 {
        self.knots.values[0]
    }

    /// The largest number.
    pub fn largest(&self) -> f64 {
        self.knots.values[self.knots.values.len() - 1]
    }

    /// The different numbers, or as many of them as are kept, the least first.
    pub fn values(&self) -> &[f64] {
        &self.knots.values
    }

    /// The share of the numbers that are at most `value`; where not all are kept, the greatest kept one is meant.
    pub fn share_up_to(&self, value: f64) -> f64 {
        let above = self.knots.values.partition_point(|known| *known <= value);
        let Some(at) = above.checked_sub(1) else {
            return 0.0;
        };
        (self.knots.ranks[at] + self.knots.ties[at]) as f64 / self.knots.count as f64
    }

    /// z of a number; of equal ones the place that `uniform`, in [0, 1], says. A number that was not seen lies
    /// between its neighbours, one outside the range at its end.
    pub fn encode(&self, value: f64, uniform: f64) -> f32 {
        let values = &self.knots.values;
        let above = values.partition_point(|known| *known <= value);
        let Some(at) = above.checked_sub(1) else {
            return self.first[0];
        };
        let (first, last) = (self.first[at], self.last[at]);
        if values[at] == value {
            if first == last {
                return first;
            }
            let [rank, ties] = [self.knots.ranks[at], self.knots.ties[at]].map(|rank| rank as f64);
            let place = rank + 0.5 + uniform.clamp(0.0, 1.0) * (ties - 1.0);
            return (normal_quantile(place / self.knots.count as f64) as f32).clamp(first, last);
        }
        let (Some(next), Some(&z)) = (values.get(above), self.first.get(above)) else {
            return last;
        };
        let share = (value - values[at]) / (next - values[at]);
        let z_at = f64::from(last) + share * (f64::from(z) - f64::from(last));
        // Never in the ranks of a neighbour.
        (z_at as f32).clamp(last, z)
    }

    /// The number of a z; of NaN, the least.
    pub fn decode(&self, z: f32) -> f64 {
        let values = &self.knots.values;
        let above = self.first.partition_point(|first| *first <= z);
        let Some(at) = above.checked_sub(1) else {
            return values[0];
        };
        let (Some(next), Some(&next_z)) = (values.get(above), self.first.get(above)) else {
            return values[at];
        };
        let last = self.last[at];
        if z <= last {
            return values[at];
        }
        let share = (f64::from(z) - f64::from(last)) / (f64::from(next_z) - f64::from(last));
        values[at] + share * (next - values[at])
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// Of Python's `statistics.NormalDist().inv_cdf`.
    #[test]
    fn the_quantile_is_that_of_python() {
        let cases = [
            (0.5, 0.0),
            (0.975, 1.959_963_984_540_054),
            (0.3, -0.524_400_512_708_041),
            (0.08, -1.405_071_560_309_632_3),
            (1e-3, -3.090_232_306_167_813),
            (1e-10, -6.361_340_902_404_056),
            (1e-20, -9.262_340_089_798_409),
            (0.999_999, 4.753_424_308_817_1),
        ];
        for (p, z) in cases {
            assert!(
                (normal_quantile(p) - z).abs() < 1e-11,
                "{p}: {}",
                normal_quantile(p)
            );
        }
    }

    #[test]
    fn equal_numbers_are_as_likely_as_they_were_and_nothing_is_between_them_and_themselves() {
        // 0 holds 60 %, 1 holds 30 %, 5 and 9 the rest.
        let mut numbers = [vec![0.0; 600], vec![1.0; 300], vec![5.0; 50], vec![9.0; 50]].concat();
        let quantiles = Quantiles::of(&mut numbers).unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let draws = 100_000;
        let mut seen = [0; 4];
        for _ in 0..draws {
            let value = quantiles.decode(normal(uniform(&mut rng)));
            // The way from one value to the next is as wide as one rank of a thousand.
            if let Some(place) = [0.0, 1.0, 5.0, 9.0]
                .iter()
                .position(|known| *known == value)
            {
                seen[place] += 1;
            }
        }
        for (seen, share) in seen.iter().zip([0.6, 0.3, 0.05, 0.05]) {
            let found = f64::from(*seen) / f64::from(draws);
            assert!((found - share).abs() < 0.006, "{found} for {share}");
        }
        assert!(seen.iter().sum::<i32>() > draws * 99 / 100);
        // And what is encoded is normal: mean 0, variance 1.
        let z: Vec<f64> = numbers
            .iter()
            .map(|&x| f64::from(quantiles.encode(x, uniform(&mut rng))))
            .collect();
        let mean = z.iter().sum::<f64>() / 1000.0;
        let square = z.iter().map(|z| z * z).sum::<f64>() / 1000.0;
        assert!(
            mean.abs() < 0.1 && (square - 1.0).abs() < 0.12,
            "{mean} {square}"
        );
    }

    #[test]
    fn many_numbers_are_thinned_and_those_seen_often_are_kept() {
        let mut numbers: Vec<f64> = (0..10_000).map(|i| f64::from(i) * 0.37).collect();
        numbers.extend([1234.5; 500]);
        let quantiles = Quantiles::thinned(&mut numbers, 200).unwrap();
        assert!(
            quantiles.values().len() <= 210,
            "{}",
            quantiles.values().len()
        );
        assert_eq!(
            [quantiles.least(), quantiles.largest()],
            [0.0, 9999.0 * 0.37]
        );
        assert!(quantiles.values().contains(&1234.5));
        for value in numbers {
            let back = quantiles.decode(quantiles.encode(value, 0.5));
            assert!((back - value).abs() < 1e-2, "{value}: {back}");
        }
    }

    #[test]
    fn damaged_ones_are_refused() {
        let quantiles = Quantiles::of(&mut [3.0, 1.0, 1.0]).unwrap();
        let text = serde_json::to_string(&quantiles).unwrap();
        assert_eq!(
            text,
            r#"{"count":3,"values":[1.0,3.0],"ranks":[0,2],"ties":[2,1]}"#
        );
        assert_eq!(serde_json::from_str::<Quantiles>(&text).unwrap(), quantiles);
        for damaged in [
            r#"{"count":3,"values":[3.0,1.0],"ranks":[0,2],"ties":[2,1]}"#,
            r#"{"count":3,"values":[1.0,3.0],"ranks":[0,1],"ties":[2,1]}"#,
            r#"{"count":3,"values":[1.0,3.0],"ranks":[0,2],"ties":[2,2]}"#,
            r#"{"count":3,"values":[1.0,3.0],"ranks":[0],"ties":[2,1]}"#,
            r#"{"count":3,"values":[],"ranks":[],"ties":[]}"#,
            r#"{"count":3,"values":[-1e308,1.7e308],"ranks":[0,2],"ties":[2,1]}"#,
            r#"{"count":0,"values":[1.0],"ranks":[0],"ties":[1]}"#,
        ] {
            assert!(
                serde_json::from_str::<Quantiles>(damaged).is_err(),
                "{damaged}"
            );
        }
        assert!(Quantiles::of(&mut []).is_none());
        let shares = [0.0, 1.0, 2.0, 3.0, 4.0].map(|value| quantiles.share_up_to(value));
        assert_eq!(shares, [0.0, 2.0 / 3.0, 2.0 / 3.0, 1.0, 1.0]);
    }

    proptest! {
        /// Every number comes back, wherever among its equals it is put.
        #[test]
        fn numbers_come_back(
            mut numbers in prop::collection::vec(prop_oneof![-9.0..9.0f64, (-5i32..5).prop_map(f64::from)], 1..80),
            uniform in 0.0..1.0f64,
        ) {
            let quantiles = Quantiles::of(&mut numbers).unwrap();
            for &value in &numbers {
                let z = quantiles.encode(value, uniform);
                prop_assert_eq!(quantiles.decode(z), value);
            }
        }

        /// Any z is a number of the range, and larger z are no smaller numbers.
        #[test]
        fn the_way_back_rises(
            mut numbers in prop::collection::vec(-1e6..1e6f64, 1..50),
            mut z in prop::collection::vec(-6.0..6.0f32, 2..20),
        ) {
            let quantiles = Quantiles::of(&mut numbers).unwrap();
            z.sort_unstable_by(f32::total_cmp);
            let back: Vec<f64> = z.iter().map(|&z| quantiles.decode(z)).collect();
            prop_assert!(back.is_sorted());
            let range = quantiles.least()..=quantiles.largest();
            prop_assert!(back.iter().all(|value| range.contains(value)));
            for special in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                prop_assert!(range.contains(&quantiles.decode(special)));
            }
        }
    }
}
