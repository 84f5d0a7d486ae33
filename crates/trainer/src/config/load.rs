//! From a file and the overrides of the command line to a checked configuration, and back to a file.

use std::io;
use std::path::Path;

use datasets::files::read_file;
use toml::{Table, Value};

use super::RunConfig;
use super::check::{BadValue, check, check_guidance};
use super::diagnostics::{ConfigError, explain, line_of_key, position};
use crate::kinds::DataConfig;
use crate::network::NetworkConfig;

/// The text of a configuration: a regular file, and no longer than one can be.
pub(super) fn read_text(path: &Path) -> Result<String, ConfigError> {
    /// The most bytes of a configuration.
    const MAX_LEN: u64 = 16 << 20;
    let text = read_file(path, MAX_LEN).and_then(|bytes| {
        String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    });
    text.map_err(|source| ConfigError::Read {
        path: path.to_owned(),
        source,
    })
}

impl RunConfig {
    /// Reads the configuration of a new run, the file at `path`, applies the overrides (`key.key=value` each)
    /// in order and checks every value.
    pub fn load(path: &Path, overrides: &[String]) -> Result<Self, ConfigError> {
        let text = read_text(path)?;
        Self::parse_new(&text, path, overrides)
    }

    /// As [`RunConfig::load`], from text; `path` only serves the messages.
    pub fn parse_new(text: &str, path: &Path, overrides: &[String]) -> Result<Self, ConfigError> {
        let config = Self::parse(text, path, overrides)?;
        check_guidance(&config).map_err(|value| located(value, text, path, overrides))?;
        Ok(config)
    }

    /// As [`RunConfig::parse_new`], of a run that may be old.
    pub fn parse(text: &str, path: &Path, overrides: &[String]) -> Result<Self, ConfigError> {
        let config: Self = toml::from_str(text).map_err(|error| {
            let (line, column) = position(text, error.span().map_or(0, |span| span.start));
            // Of `[network]`, which is read as what its kind says, the key is in the message.
            let of_network = error
                .message()
                .split('`')
                .skip(1)
                .step_by(2)
                .find_map(|key| line_of_key(text, &format!("network.{key}")).filter(|&l| l > line))
                .filter(|_| line_of_key(text, "network") == Some(line));
            let (line, column) = of_network.map_or((line, column), |line| (line, 1));
            ConfigError::Parse {
                path: path.to_owned(),
                line,
                column,
                message: explain(error.message()),
            }
        })?;
        let config = config.with_overrides(overrides)?;
        check(&config).map_err(|value| located(value, text, path, overrides))?;
        Ok(config)
    }

    /// This configuration with overrides (`key.key=value` each) applied in order, and checked.
    pub fn overridden(&self, overrides: &[String]) -> Result<Self, ConfigError> {
        let config = self.clone().with_overrides(overrides)?;
        let checked = check(&config).and_then(|()| match check_guidance(self) {
            Ok(()) => check_guidance(&config),
            // So it was saved; there is nothing new to refuse.
            Err(_) => Ok(()),
        });
        checked.map_err(|BadValue { key, message }| ConfigError::Value {
            path: None,
            line: None,
            key,
            message,
        })?;
        Ok(config)
    }

    /// The configuration as TOML, every key in it.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string(self)
    }

    /// What older files hold elsewhere, put in its place: what was found, from `[data]` to `[found]`, and the
    /// network of points, from `[mlp]` to `[network]`. A CSV of a new run is looked at, whether it is a table.
    fn with_older_keys_moved(mut self) -> Self {
        let (data, found) = (&mut self.data, &mut self.found);
        let (fingerprint, normalisation) = (data.fingerprint.take(), data.normalisation.take());
        found.fingerprint = found.fingerprint.take().or(fingerprint);
        found.normalisation = found.normalisation.take().or(normalisation);
        let mlp = self.mlp.take();
        if self.found.is_empty() {
            self.data.look();
        }
        if let Some(usual) = self.data.usual_network() {
            match (&self.network, mlp) {
                (_, Some(mlp)) => self.network = NetworkConfig::Mlp(mlp),
                // The default, or that of the images that points were put in the place of.
                (NetworkConfig::UNet(_), None) => self.network = usual,
                (NetworkConfig::Mlp(_) | NetworkConfig::Transformer(_), None) => {}
            }
        }
        if self.data.is_table()
            && let NetworkConfig::Mlp(mlp) = &mut self.network
        {
            mlp.normalize = true;
        }
        self
    }

    /// The data that overrides name, if they name any that make sense.
    pub(super) fn data_of(overrides: &[String]) -> Option<DataConfig> {
        let mut data = Table::new();
        for text in overrides
            .iter()
            .filter(|text| text.trim_start().starts_with("data."))
        {
            let (key, value) = text.split_once('=')?;
            merge(&mut data, parse_override(key, value).ok()?);
        }
        let mut data: DataConfig = data.remove("data")?.try_into().ok()?;
        data.check().ok()?;
        data.look();
        Some(data)
    }

    fn with_overrides(self, overrides: &[String]) -> Result<Self, ConfigError> {
        let mut config = self.with_older_keys_moved();
        for text in overrides {
            let error = |message: String| ConfigError::Override {
                text: text.clone(),
                message,
            };
            let (key, value) = text
                .split_once('=')
                .ok_or_else(|| error("expected key=value, as in training.batch_size=64".into()))?;
            let mut table =
                parse_override(key, value).map_err(|e| error(e.message().to_owned()))?;
            let mut merged = Table::try_from(&config).map_err(|e| error(e.to_string()))?;
            choose_data(&mut merged, &table);
            rename_mlp(&merged, &mut table);
            merge(&mut merged, table);
            config = merged
                .try_into()
                .map_err(|e: toml::de::Error| error(explain(e.message())))?;
        }
        Ok(config.with_older_keys_moved())
    }
}

/// An override as a table of its own.
fn parse_override(key: &str, value: &str) -> Result<Table, toml::de::Error> {
    // What is not a TOML value is taken as a string, so that quotes can be left out.
    toml::from_str(&format!("{key} = {value}")).or_else(|_| {
        let quoted = Value::String(value.trim().to_owned());
        toml::from_str(&format!("{key} = {quoted}"))
    })
}

/// `[mlp]`, as it was called before `[network]` had a kind, is `[network]` where that is an MLP.
fn rename_mlp(old: &Table, new: &mut Table) {
    let kind = old.get("network").and_then(|network| network.get("kind"));
    if kind.and_then(Value::as_str) == Some("mlp")
        && let Some(mlp) = new.remove("mlp")
    {
        new.insert("network".to_owned(), mlp);
    }
}

/// A data set, a path and a cloud are a choice: where `new` says one of them, the others go from `old`; in a new
/// run, what is said of a table goes, too.
fn choose_data(old: &mut Table, new: &Table) {
    let Some(Value::Table(new)) = new.get("data") else {
        return;
    };
    let of_tables = ["table", "columns", "class_column"];
    let is_begun = old.contains_key("found");
    if let Some(Value::Table(old)) = old.get_mut("data") {
        let sources = ["dataset", "path", "cloud"];
        if sources.iter().any(|source| new.contains_key(*source)) {
            for key in sources
                .into_iter()
                .chain(of_tables.into_iter().filter(|_| !is_begun))
            {
                old.remove(key);
            }
        }
    }
}

/// Puts `new` into `old`, table by table. A table with a `kind` is a choice of its own and
/// replaces what was there.
fn merge(old: &mut Table, new: Table) {
    for (key, value) in new {
        match (old.get_mut(&key), value) {
            (Some(Value::Table(old)), Value::Table(new)) if !new.contains_key("kind") => {
                merge(old, new);
            }
            (_, value) => {
                old.insert(key, value);
            }
        }
    }
}

/// Where a value that makes no sense stands: in the file, unless an override of the command line says it.
fn located(value: BadValue, text: &str, path: &Path, overrides: &[String]) -> ConfigError {
    let BadValue { key, message } = value;
    let overridden = overrides.iter().any(|text| text.starts_with(&key));
    let (path, line) = if overridden {
        (None, None)
    } else {
        (Some(path.to_owned()), line_of_key(text, &key))
    };
    ConfigError::Value {
        path,
        line,
        key,
        message,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use datasets::DatasetName;
    use mlp::MlpConfig;
    use noising::BetaSchedule;
    use training::OptimizerConfig;
    use unet::UNetConfig;

    use super::*;

    const TEXT: &str =
        "seed = 3\n[data]\ndataset = \"mnist\"\n[training]\nsteps = 10\nbatch_size = 8\n";

    fn parse(text: &str, overrides: &[&str]) -> Result<RunConfig, String> {
        let overrides: Vec<String> = overrides.iter().map(|text| (*text).to_owned()).collect();
        RunConfig::parse(text, Path::new("run.toml"), &overrides).map_err(|e| e.to_string())
    }

    #[test]
    fn keys_left_out_take_their_defaults() {
        let config = parse(TEXT, &[]).unwrap();
        assert_eq!(config.seed, 3);
        assert_eq!(config.training.batch_size, 8);
        assert_eq!(config.optimizer, OptimizerConfig::default());
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line_and_the_nearest_known_one() {
        let error = parse(&TEXT.replace("batch_size", "batchsize"), &[]).unwrap_err();
        assert!(
            error.starts_with("run.toml:6:1: unknown key `batchsize`"),
            "{error}"
        );
        assert!(error.ends_with("did you mean `batch_size`?"), "{error}");
    }

    #[test]
    fn an_unknown_choice_is_named_with_the_known_ones() {
        let error = parse(&TEXT.replace("mnist", "mnits"), &[]).unwrap_err();
        assert!(error.starts_with("run.toml:3:"), "{error}");
        assert!(error.contains("mnist"), "{error}");
    }

    #[test]
    fn a_value_of_the_wrong_kind_is_named_with_its_line() {
        let error = parse(
            &TEXT.replace("batch_size = 8", "batch_size = \"many\""),
            &[],
        );
        let error = error.unwrap_err();
        assert!(error.starts_with("run.toml:6:"), "{error}");
    }

    #[test]
    fn values_that_make_no_sense_are_named_with_their_line() {
        for (from, to, start) in [
            ("steps = 10", "steps = 0", "run.toml:5: training.steps"),
            (
                "steps = 10",
                "minutes = -1.0",
                "run.toml:5: training.minutes",
            ),
            (
                "steps = 10",
                "learning_rate = nan",
                "run.toml:5: training.learning_rate",
            ),
            ("steps = 10", "", "run.toml:4: training: no budget"),
        ] {
            let error = parse(&TEXT.replace(from, to), &[]).unwrap_err();
            assert!(error.starts_with(start), "{error}");
        }
    }

    #[test]
    fn networks_that_cannot_be_built_are_refused() {
        for set in [
            "network.norm_num_groups=7",
            "network.block_out_channels=[]",
            "network.sample_size=27",
        ] {
            let error = parse(TEXT, &[set]).unwrap_err();
            assert!(error.starts_with("network."), "{error}");
        }
    }

    #[test]
    fn overrides_reach_any_key() {
        let config = parse(
            TEXT,
            &[
                "training.batch_size=64",
                "data.dataset=cifar10",
                "noise.schedule={kind=\"cosine\"}",
                "ema.decay = 0.5",
            ],
        )
        .unwrap();
        assert_eq!(config.training.batch_size, 64);
        assert_eq!(config.data.dataset, Some(DatasetName::Cifar10));
        assert!(matches!(config.noise.schedule, BetaSchedule::Cosine { .. }));
        assert_eq!(config.ema.decay, 0.5);
        assert_eq!(config.training.steps, Some(10));
    }

    #[test]
    fn data_is_a_name_or_a_path() {
        let config = parse(TEXT, &["data.path=pictures/cats"]).unwrap();
        assert_eq!(config.data.path, Some("pictures/cats".into()));
        assert_eq!(config.data.dataset, None);
        assert_eq!(config.data.name(), "pictures/cats");
        let back = parse(TEXT, &["data.path=cats", "data.dataset=cifar10"]).unwrap();
        assert_eq!(back.data.name(), "cifar10");

        let both = TEXT.replace("[data]", "[data]\npath = \"cats\"");
        let error = parse(&both, &[]).unwrap_err();
        assert!(
            error.starts_with("run.toml:2: data: give dataset, path or cloud"),
            "{error}"
        );
        let none = TEXT.replace("dataset = \"mnist\"", "");
        let error = parse(&none, &[]).unwrap_err();
        assert!(error.starts_with("run.toml:2: data: no data"), "{error}");
        let sets = ["data.path=cats", "network.in_channels=2"];
        let error = parse(TEXT, &sets).unwrap_err();
        assert!(error.starts_with("network.in_channels"), "{error}");
    }

    #[test]
    fn an_override_that_does_not_fit_is_named() {
        let error = parse(TEXT, &["training.batchsize=64"]).unwrap_err();
        assert!(
            error.starts_with("--set training.batchsize=64: unknown key"),
            "{error}"
        );
        assert!(error.ends_with("did you mean `batch_size`?"), "{error}");
        let error = parse(TEXT, &["training.batch_size"]).unwrap_err();
        assert!(error.contains("expected key=value"), "{error}");
        let error = parse(TEXT, &["training.batch_size=0"]).unwrap_err();
        assert!(
            error.starts_with("training.batch_size: 0 makes no sense"),
            "{error}"
        );
    }

    #[test]
    fn what_is_saved_reads_back_the_same() {
        let config = parse(TEXT, &["noise.schedule={kind=\"cosine\"}"]).unwrap();
        assert_eq!(parse(&config.to_toml().unwrap(), &[]).unwrap(), config);
    }

    #[test]
    fn what_was_found_is_read_where_older_files_hold_it() {
        let normalisation = "columns = [\"x\", \"y\"]\noffset = [1.0, 2.0]\nscale = 3.0\n";
        let text = |found: &str, of_found: &str| {
            format!(
                "[data]\npath = \"a.csv\"\n{found}fingerprint = \"abc\"\n[{of_found}.normalisation]\n\
                 {normalisation}[mlp]\ndimensions = 2\n[training]\nsteps = 10\n\
                 [sampling.clipping]\nkind = \"none\"\n"
            )
        };
        let old = parse(&text("", "data"), &[]).unwrap();
        let new = parse(&text("[found]\n", "found"), &[]).unwrap();
        assert_eq!(old, new);
        assert_eq!(new.found.fingerprint.as_deref(), Some("abc"));
        assert_eq!(new.found.normalisation.as_ref().unwrap().scale, 3.0);
        let saved = old.to_toml().unwrap();
        let (asked, found) = saved.split_once("[found]").unwrap();
        assert!(
            !asked.contains("fingerprint") && found.contains("fingerprint"),
            "{saved}"
        );
        assert_eq!(parse(&saved, &[]).unwrap(), old);
        assert_eq!(
            old.overridden(&["data.path=b.csv".to_owned()])
                .unwrap()
                .found,
            old.found
        );
    }

    #[test]
    fn a_network_is_of_a_kind_and_older_files_open() {
        let network = |text: &str, overrides: &[&str]| {
            let text = format!("[data]\n{text}[training]\nsteps = 10\n");
            parse(&text, overrides).map(|config| {
                // Whatever it was read from, it is saved in one way and read back the same.
                let saved = config.to_toml().unwrap();
                assert!(
                    saved.contains("[network]\nkind = ") && !saved.contains("[mlp]"),
                    "{saved}"
                );
                assert_eq!(parse(&saved, &[]).unwrap(), config);
                config.network
            })
        };
        let unet = NetworkConfig::UNet(UNetConfig {
            norm_num_groups: 16,
            ..UNetConfig::default()
        });
        let mlp = NetworkConfig::Mlp(MlpConfig {
            width: 64,
            ..MlpConfig::default()
        });
        let (images, points) = ("dataset = \"cifar10\"\n", "cloud = \"spiral\"\n");
        let points_network = format!("{points}[network]\nkind = \"mlp\"\nwidth = 64\n");
        let unclipped = "sampling.clipping={kind=\"none\"}";
        for (text, overrides, expected) in [
            (
                "[network]\nkind = \"unet\"\nnorm_num_groups = 16\n",
                &[][..],
                &unet,
            ),
            ("[network]\nnorm_num_groups = 16\n", &[], &unet),
            ("", &["network.norm_num_groups=16"], &unet),
            // The perceptron of points that are not there was passed over.
            (
                "[mlp]\nwidth = 8\n[network]\nnorm_num_groups = 16\n",
                &[],
                &unet,
            ),
        ] {
            assert_eq!(
                &network(&format!("{images}{text}"), overrides).unwrap(),
                expected
            );
        }
        for (text, overrides) in [
            (points_network.as_str(), &[unclipped][..]),
            (&format!("{points}[mlp]\nwidth = 64\n"), &[unclipped]),
            (points, &[unclipped, "network.width=64"]),
            (points, &[unclipped, "mlp.width=64"]),
            (images, &["data.cloud=spiral", unclipped, "mlp.width=64"]),
        ] {
            assert_eq!(
                network(text, overrides).unwrap(),
                mlp,
                "{text} {overrides:?}"
            );
        }

        for (text, start) in [
            (
                "[network]\nkind = \"mlp\"\n",
                "run.toml:4: network.kind: it is \"mlp\"",
            ),
            (
                "[network]\nkind = \"rnn\"\n",
                "run.toml:3:1: unknown kind of network, \"rnn\"",
            ),
            (
                "[network]\ndropout = 0.0\nlayers = 2\n",
                "run.toml:5:1: unknown key `layers`",
            ),
            (
                "[network]\ndropout = 0.0\nnorm_eps = \"x\"\n",
                "run.toml:5:1: invalid type",
            ),
        ] {
            let error = network(&format!("{images}{text}"), &[]).unwrap_err();
            assert!(error.starts_with(start), "{error}");
        }
    }

    #[test]
    fn a_network_without_a_label_for_no_class_drops_none_and_is_not_guided() {
        let told = [
            "conditioning.class_labels=true",
            "conditioning.null_label=false",
        ];
        let error = parse(TEXT, &told).unwrap_err();
        assert!(
            error.contains("conditioning.label_dropout: labels cannot be dropped"),
            "{error}"
        );
        let told = [told[0], told[1], "conditioning.label_dropout=0"];
        let config = parse(TEXT, &told).unwrap();
        assert!(config.why_no_guidance().unwrap().contains("null_label"));
    }

    /// Before it was refused, runs were saved with guidance that had no effect, or that of an embedding which
    /// was never trained. They open, and are not guided.
    #[test]
    fn a_run_that_was_saved_with_idle_guidance_opens_without_it() {
        for (told, why) in [
            ("class_labels = false", "knows no classes"),
            ("class_labels = true\nlabel_dropout = 0.0", "label_dropout"),
        ] {
            let guided = "[sampling]\nguidance_scale = 2.0\nguidance_interval = [5.0, 9.0]\n\
                          guidance_rescale = 0.5\n";
            let text = format!("{TEXT}[conditioning]\n{told}\n{guided}");
            let new = RunConfig::parse_new(&text, Path::new("run.toml"), &[]);
            let error = new.unwrap_err().to_string();
            assert!(error.contains(why), "{error}");

            let mut old = parse(&text, &[]).unwrap();
            assert!(old.overridden(&["seed=4".to_owned()]).is_ok());
            assert!(old.leave_idle_guidance_out().unwrap().contains(why));
            assert_eq!(old.sampling, parse(TEXT, &[]).unwrap().sampling);
            assert_eq!(old.leave_idle_guidance_out(), None);
        }
        let mut guided = parse(TEXT, &["sampling.guidance_scale=2"]).unwrap();
        guided.conditioning.class_labels = true;
        let before = guided.clone();
        assert_eq!(guided.leave_idle_guidance_out(), None);
        assert_eq!(guided, before);
    }

    #[test]
    fn no_text_makes_it_panic() {
        for text in [
            "",
            "=",
            "[",
            "[data]\ndataset = 3",
            "\u{1F600} = 1",
            "a.b.c = {",
        ] {
            assert!(parse(text, &[]).is_err());
        }
    }
}
