//! The keys of a JSON file, each with its default and what it may hold.

use std::path::{Path, PathBuf};

use datasets::files::read_file;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::error::{DiffusersError, io_error};

/// The most bytes of a configuration.
const MAX_CONFIG_LEN: u64 = 16 << 20;

/// The version of diffusers whose files are written.
pub(super) const DIFFUSERS_VERSION: &str = "0.42.1";

/// A configuration of diffusers: a JSON object.
#[derive(Debug)]
pub(super) struct Keys {
    pub(super) path: PathBuf,
    pub(super) values: Map<String, Value>,
}

impl Keys {
    pub(super) fn read(path: &Path) -> Result<Self, DiffusersError> {
        let bytes = read_file(path, MAX_CONFIG_LEN).map_err(io_error(path))?;
        let values = serde_json::from_slice(&bytes).map_err(|source| DiffusersError::Json {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            path: path.to_owned(),
            values,
        })
    }

    /// The value of a key, or `default` where it is absent. `expected` says what can be read.
    pub(super) fn get<T: DeserializeOwned>(
        &self,
        key: &str,
        default: T,
        expected: &str,
    ) -> Result<T, DiffusersError> {
        match self.values.get(key) {
            None => Ok(default),
            Some(value) => T::deserialize(value).map_err(|_| self.error(key, expected)),
        }
    }

    /// Checks that a key is absent, or holds one of `allowed`.
    pub(super) fn must_be(&self, key: &str, allowed: &[Value]) -> Result<(), DiffusersError> {
        match self.values.get(key) {
            Some(value) if !allowed.contains(value) => {
                let allowed: Vec<String> = allowed.iter().map(Value::to_string).collect();
                Err(self.error(key, allowed.join(" or ")))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn error(&self, key: &str, expected: impl Into<String>) -> DiffusersError {
        /// Characters of a value that are shown.
        const SHOWN: usize = 100;
        let found = match self.values.get(key) {
            Some(value) => value.to_string(),
            None => "missing".to_owned(),
        };
        DiffusersError::Value {
            path: self.path.clone(),
            key: key.to_owned(),
            found: match found.char_indices().nth(SHOWN) {
                Some((end, _)) => format!("{}…", &found[..end]),
                None => found,
            },
            expected: expected.into(),
        }
    }
}
