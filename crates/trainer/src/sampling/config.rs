//! `[sampling]`: how to sample, which is [`SamplingOptions`], and the grids drawn during training.

use std::fmt;

use denoising::SamplingOptions;
use noising::{NoiseSchedule, PredictionType};
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeSeed, Error, IntoDeserializer, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use training::InvalidValue;

/// `[sampling]`
#[derive(Debug, Clone, PartialEq, Serialize, schemars::JsonSchema)]
pub struct SamplingConfig {
    /// Steps of training between two grids.
    pub every: u64,
    /// Images of a grid drawn during training.
    pub count: usize,
    /// How they are sampled, and what `trainer sample` does unless told otherwise.
    #[serde(flatten)]
    pub options: SamplingOptions,
}

impl Default for SamplingConfig {
    fn default() -> Self {
        Self {
            every: 500,
            count: 50,
            options: SamplingOptions::default(),
        }
    }
}

impl SamplingConfig {
    /// # Errors
    ///
    /// The first value that makes no sense for a network of `prediction_type` over this schedule.
    pub fn check(
        &self,
        schedule: &NoiseSchedule,
        prediction_type: PredictionType,
    ) -> Result<(), InvalidValue> {
        InvalidValue::at_least("every", self.every, 1)?;
        InvalidValue::at_least("count", self.count as u64, 1)?;
        let checked = self.options.check(schedule, prediction_type);
        checked.map_err(|error| InvalidValue::new(error.key, error.message))
    }
}

/// By hand, since serde's `flatten` forgets in which line a value stands and accepts unknown keys: the
/// keys of the grids are taken out as they come, and the options read all the others.
impl<'de> Deserialize<'de> for SamplingConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Table)
    }
}

struct Table;

impl<'de> Visitor<'de> for Table {
    type Value = SamplingConfig;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<SamplingConfig, A::Error> {
        let (mut every, mut count) = (None, None);
        let rest = Rest {
            map,
            every: &mut every,
            count: &mut count,
        };
        let options = SamplingOptions::deserialize(MapAccessDeserializer::new(rest))?;
        let default = SamplingConfig::default();
        Ok(SamplingConfig {
            every: every.unwrap_or(default.every),
            count: count.unwrap_or(default.count),
            options,
        })
    }
}

/// The map without the keys of the grids, whose values it keeps.
struct Rest<'a, A> {
    map: A,
    every: &'a mut Option<u64>,
    count: &'a mut Option<usize>,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Rest<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        let mut seed = seed;
        loop {
            seed = match self.map.next_key_seed(Key(seed))? {
                None => return Ok(None),
                Some(Read::Option(key)) => return Ok(Some(key)),
                Some(Read::Every(seed)) => {
                    *self.every = Some(self.map.next_value()?);
                    seed
                }
                Some(Read::Count(seed)) => {
                    *self.count = Some(self.map.next_value()?);
                    seed
                }
            };
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.map.next_value_seed(seed)
    }
}

/// A key as it is read, where what reads the keys of the options is `K`.
struct Key<K>(K);

/// Whose key it was. What reads the next one is given back if it has not been used.
enum Read<'de, K: DeserializeSeed<'de>> {
    Every(K),
    Count(K),
    Option(K::Value),
}

impl<'de, K: DeserializeSeed<'de>> DeserializeSeed<'de> for Key<K> {
    type Value = Read<'de, K>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl<'de, K: DeserializeSeed<'de>> Visitor<'de> for Key<K> {
    type Value = Read<'de, K>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Self::Value, E> {
        Ok(match key {
            "every" => Read::Every(self.0),
            "count" => Read::Count(self.0),
            _ => Read::Option(self.0.deserialize(key.into_deserializer())?),
        })
    }
}
