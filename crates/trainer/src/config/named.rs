//! A configuration by its name: those of `configs/` are in the program, and any file may be named.

use std::path::{Path, PathBuf};

use super::embedded::EMBEDDED;
use super::load::read_text;
use super::{ConfigError, RunConfig};
use crate::kinds::DataConfig;

/// The name of the configuration that is used when none is named.
pub(super) const DEFAULT: &str = "mnist";

/// A configuration that was found, not yet read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedConfig {
    /// Its name: that of the file, without folder and extension.
    pub name: String,
    /// Where it was read from, or its name, for messages.
    pub path: PathBuf,
    text: String,
}

impl NamedConfig {
    /// The configuration `named`: a file, or the name of one of [`EMBEDDED`]; that of `mnist` without a name.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] where there is neither, or the file cannot be read.
    pub fn find(named: Option<&Path>) -> Result<Self, ConfigError> {
        let path = named.unwrap_or(Path::new(DEFAULT));
        // A folder beside us may happen to have the name of a configuration.
        let is_name = path.components().count() == 1 && path.extension().is_none();
        if is_name && !path.is_file() {
            let name = path.to_string_lossy();
            return Self::embedded(&name).ok_or_else(|| ConfigError::unknown_name(&name));
        }
        let text = read_text(path)?;
        Ok(Self {
            name: path
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
            path: path.to_owned(),
            text,
        })
    }

    /// The configuration for the data that `overrides` (`key.key=value` each) name, where no configuration is named:
    /// the usual one of their kind, under the name of a file of them, or that of `mnist`.
    pub fn for_data(overrides: &[String]) -> Self {
        let data = RunConfig::data_of(overrides);
        let usual = data.as_ref().map_or(DEFAULT, DataConfig::usual_config);
        let mut found = Self::embedded(usual).expect("it is in the program");
        if usual != DEFAULT
            && let Some(path) = data.and_then(|data| data.path)
            && let Some(stem) = path.file_stem()
        {
            found.name = stem.to_string_lossy().into_owned();
        }
        found
    }

    /// The configuration of this name that is in the program.
    pub fn embedded(name: &str) -> Option<Self> {
        let (name, text) = EMBEDDED.iter().find(|(known, _)| *known == name)?;
        Some(Self {
            name: (*name).to_owned(),
            path: name.into(),
            text: (*text).to_owned(),
        })
    }

    /// That no configuration of the program has this name.
    pub fn unknown(name: &str) -> ConfigError {
        ConfigError::unknown_name(name)
    }

    /// Its text as a file of its own, without the reference to the schema beside it.
    pub fn text(&self) -> String {
        self.text
            .split_inclusive('\n')
            .filter(|line| !line.starts_with("#:schema"))
            .collect()
    }

    /// Reads it, applies the overrides (`key.key=value` each) and checks every value.
    ///
    /// # Errors
    ///
    /// [`ConfigError`], as of [`RunConfig::parse_new`].
    pub fn load(&self, overrides: &[String]) -> Result<RunConfig, ConfigError> {
        RunConfig::parse_new(&self.text, &self.path, overrides)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs;

    use super::*;

    #[test]
    fn every_file_of_the_repository_is_embedded_and_loads() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs");
        let mut files: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|e| e == "toml"))
            .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
            .collect();
        let mut names: Vec<&str> = EMBEDDED.iter().map(|(name, _)| *name).collect();
        files.sort();
        names.sort_unstable();
        assert_eq!(files, names);
        for name in names {
            let config = NamedConfig::find(Some(Path::new(name))).unwrap();
            config.load(&[]).unwrap();
        }
        assert_eq!(NamedConfig::find(None).unwrap().name, DEFAULT);
    }

    #[test]
    fn data_that_are_named_have_the_usual_configuration_of_their_kind() {
        for (overrides, name, text) in [
            (&["data.dataset=fsdd"][..], "speech", "speech"),
            (&["data.dataset=names"], "names", "names"),
            (&["data.path=lists/words.txt"], "words", "names"),
            (&["data.path=rows.tsv", "training.steps=3"], "rows", "adult"),
            (&["data.path=rows.csv", "data.table=true"], "rows", "adult"),
            (&["data.cloud=spiral"], "points", "points"),
            (&["data.dataset=cifar10"], DEFAULT, DEFAULT),
            (&["data.path=pictures"], DEFAULT, DEFAULT),
            (&["data.dataset=no-such"], DEFAULT, DEFAULT),
            (&["training.steps=3", "no override"], DEFAULT, DEFAULT),
            (&[], DEFAULT, DEFAULT),
        ] {
            let overrides: Vec<String> = overrides.iter().map(|&text| text.to_owned()).collect();
            let found = NamedConfig::for_data(&overrides);
            assert_eq!(found.name, name, "{overrides:?}");
            assert_eq!(found.text, NamedConfig::embedded(text).unwrap().text);
        }
    }

    #[test]
    fn a_name_that_is_none_gets_the_nearest_one() {
        let error = NamedConfig::find(Some(Path::new("mnits"))).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("`mnits`") && text.contains("did you mean `mnist`?"),
            "{text}"
        );
        let error = NamedConfig::find(Some(Path::new("no/mnist.toml"))).unwrap_err();
        assert!(matches!(error, ConfigError::Read { .. }), "{error}");
    }
}
