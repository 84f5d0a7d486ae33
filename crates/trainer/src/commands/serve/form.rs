//! The form of a new run: the keys of a configuration that are numbers, switches or choices, with what the schema says
//! of them. Free text, as paths are, is never taken from a page.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use schemars::schema_for;
use serde::Serialize;
use serde_json::Value;

use crate::config::{EMBEDDED, NamedConfig, RunConfig};
use crate::error::Usage;

/// A configuration of the program.
#[derive(Debug, Serialize)]
pub(super) struct Configuration {
    name: &'static str,
    /// What it trains, in a sentence.
    summary: String,
    keys: Vec<Key>,
}

/// A key that may be set.
#[derive(Debug, Serialize)]
struct Key {
    /// With dots.
    key: String,
    /// What it means.
    meaning: String,
    /// What it is in the configuration.
    value: Value,
    /// What it may be, where it is a choice.
    choices: Vec<String>,
}

/// All configurations of the program.
///
/// # Errors
///
/// One that cannot be read.
pub(super) fn configurations() -> Result<Vec<Configuration>> {
    let schema = serde_json::to_value(schema_for!(RunConfig)).context("there is no schema")?;
    EMBEDDED
        .iter()
        .map(|(name, text)| {
            Ok(Configuration {
                name,
                summary: summary(text),
                keys: keys(name, &schema)?,
            })
        })
        .collect()
}

/// Values that a page sent for a configuration, as overrides (`key.key=value`).
///
/// # Errors
///
/// [`Usage`] for what the form does not have.
pub(super) fn overrides(
    configuration: &str,
    values: &BTreeMap<String, Value>,
) -> Result<Vec<String>> {
    let schema = serde_json::to_value(schema_for!(RunConfig)).context("there is no schema")?;
    let keys = keys(configuration, &schema)?;
    values
        .iter()
        .map(|(name, value)| {
            let Some(key) = keys.iter().find(|key| key.key == *name) else {
                bail!(Usage(format!(
                    "{name} cannot be set on the page; in a terminal, `train --set` can"
                )));
            };
            let is_allowed = match value {
                Value::Number(_) => key.value.is_number(),
                Value::Bool(_) => key.value.is_boolean(),
                Value::String(text) => key.choices.contains(text),
                _ => false,
            };
            if !is_allowed {
                bail!(Usage(format!(
                    "{name}: a value like {} is expected",
                    key.value
                )));
            }
            let value = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            Ok(format!("{name}={value}"))
        })
        .collect()
}

/// The first sentence of a file of configuration.
fn summary(text: &str) -> String {
    let comment = text
        .lines()
        .filter(|line| !line.starts_with("#:"))
        .map_while(|line| line.strip_prefix('#'))
        .map(str::trim)
        .collect::<Vec<_>>()
        .join(" ");
    let end = comment.find(". ").map_or(comment.len(), |end| end + 1);
    comment[..end].to_owned()
}

fn keys(configuration: &str, schema: &Value) -> Result<Vec<Key>> {
    let Some(named) = NamedConfig::embedded(configuration) else {
        bail!(NamedConfig::unknown(configuration));
    };
    let config = serde_json::to_value(named.load(&[])?).context("it has no form in JSON")?;
    let mut keys = Vec::new();
    collect("", &config, &mut keys);
    keys.retain(|(key, _)| !key.starts_with("found."));
    let keys = keys.into_iter().map(|(key, value)| {
        let (meaning, choices) = described(schema, &key);
        Key {
            key,
            meaning,
            value,
            choices,
        }
    });
    Ok(keys
        .filter(|key| !key.value.is_string() || !key.choices.is_empty())
        .collect())
}

/// All values that are no tables and no lists, by their keys with dots.
fn collect(prefix: &str, value: &Value, into: &mut Vec<(String, Value)>) {
    match value {
        Value::Object(table) => {
            for (key, value) in table {
                let key = if prefix.is_empty() {
                    key.clone()
                } else {
                    format!("{prefix}.{key}")
                };
                collect(&key, value, into);
            }
        }
        Value::Number(_) | Value::Bool(_) | Value::String(_) => {
            into.push((prefix.to_owned(), value.clone()));
        }
        Value::Null | Value::Array(_) => {}
    }
}

/// What the schema says of a key, and what it may be.
fn described(schema: &Value, key: &str) -> (String, Vec<String>) {
    let mut places = vec![schema];
    for part in key.split('.') {
        let alternatives = places.iter().flat_map(|place| alternatives(schema, place));
        places = alternatives
            .filter_map(|place| place.get("properties")?.get(part))
            .collect();
    }
    let all: Vec<&Value> = places
        .iter()
        .flat_map(|place| alternatives(schema, place))
        .collect();
    let meaning = places
        .iter()
        .chain(&all)
        .find_map(|place| place.get("description")?.as_str());
    let mut choices = Vec::new();
    for place in all {
        let listed = place.get("enum").and_then(Value::as_array);
        let values = listed.into_iter().flatten().chain(place.get("const"));
        for choice in values.filter_map(Value::as_str) {
            if !choices.iter().any(|known| known == choice) {
                choices.push(choice.to_owned());
            }
        }
    }
    (meaning.unwrap_or_default().to_owned(), choices)
}

/// A part of a schema, and all that it may be instead.
fn alternatives<'a>(schema: &'a Value, place: &'a Value) -> Vec<&'a Value> {
    let mut found = vec![place];
    let referred = place.get("$ref").and_then(Value::as_str);
    let referred = referred.and_then(|to| schema.pointer(to.trim_start_matches('#')));
    let lists = ["anyOf", "oneOf", "allOf"].map(|name| place.get(name).and_then(Value::as_array));
    let parts = lists.into_iter().flatten().flatten().chain(referred);
    for part in parts {
        found.extend(alternatives(schema, part));
    }
    found
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    #[test]
    fn every_configuration_has_a_form_with_words_and_choices() {
        let all = configurations().unwrap();
        assert_eq!(all.len(), EMBEDDED.len());
        for configuration in &all {
            assert!(configuration.summary.ends_with('.'), "{configuration:?}");
            let find = |name: &str| configuration.keys.iter().find(|key| key.key == name);
            let sampler = find("sampling.sampler").unwrap();
            assert!(sampler.choices.contains(&"heun".to_owned()), "{sampler:?}");
            let batch_size = find("training.batch_size").unwrap();
            assert!(batch_size.value.is_number() && !batch_size.meaning.is_empty());
            let wordless = configuration
                .keys
                .iter()
                .filter(|key| key.meaning.is_empty());
            let mut wordless = wordless.map(|key| key.key.as_str());
            // The choice of a kind is explained by its choices.
            assert!(wordless.all(|key| key.ends_with(".kind")));
        }
    }

    #[test]
    fn only_what_the_form_has_is_taken() {
        let set = |key: &str, value: Value| {
            overrides("smoke", &BTreeMap::from([(key.to_owned(), value)]))
        };
        assert_eq!(
            set("training.batch_size", json!(4)).unwrap(),
            ["training.batch_size=4"]
        );
        assert_eq!(
            set("sampling.sampler", json!("heun")).unwrap(),
            ["sampling.sampler=heun"]
        );
        for (key, value) in [
            ("data.path", json!("/etc")),
            ("found.fingerprint", json!("x")),
            ("training.batch_size", json!("4\nseed=3")),
            ("training.batch_size", json!({"a": 1})),
            ("sampling.sampler", json!("../x")),
            ("seed\n", json!(1)),
        ] {
            assert!(set(key, value).is_err(), "{key}");
        }
        assert!(overrides("/etc/passwd", &BTreeMap::new()).is_err());
    }
}
