//! `trainer evaluate`, started from the page: of a run, and of what was just drawn from one.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::{Value, json};
use serving::{Events, Gone};
use tempfile::TempDir;

use super::draw::{decoded, encoded, in_base64};
use super::processes::{Doing, LOOK, Processes};
use super::runs::config_in;
use crate::error::Usage;
use crate::invocation::another;
use crate::run::overview::scores_of;
use crate::run::read::read;

/// The runs that are scored at once, and the drawings.
const RUNS_AT_ONCE: usize = 2;
const DRAWINGS_AT_ONCE: usize = 2;

/// Precision and recall, which `evaluate` measures too, need more samples than this many neighbours.
const NEIGHBOURS: usize = 3;

/// The bytes of a file of what was found.
const MOST_BYTES: u64 = 256 << 20;

/// What a page asks of the scores of a run.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Asked {
    /// How many samples are drawn and scored.
    count: Option<usize>,
    /// How many examples of each split they are compared with.
    reference_images: Option<usize>,
}

/// What was drawn, whose nearest training examples are asked for.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Drawn {
    /// Picture or sound files in base64.
    samples: Vec<String>,
    /// The class of each.
    classes: Vec<Option<usize>>,
    reference_images: Option<usize>,
}

/// The scorings that were started here.
#[derive(Debug)]
pub(super) struct Scorings {
    data_dir: Option<PathBuf>,
    device: Option<String>,
    runs: Processes,
    drawings: Processes,
}

impl Scorings {
    /// None yet.
    pub(super) fn new(data_dir: Option<PathBuf>, device: Option<String>) -> Self {
        Self {
            data_dir,
            device,
            runs: Processes::new("scorings", RUNS_AT_ONCE),
            drawings: Processes::new("searches", DRAWINGS_AT_ONCE),
        }
    }

    /// What the scoring of `run` does.
    pub(super) fn of(&self, run: &Path) -> Doing {
        self.runs.of(run)
    }

    /// Starts to score `run`; the scores are written into its folder.
    ///
    /// # Errors
    ///
    /// [`Usage`] where it is scored already, or too many are.
    pub(super) fn start(&self, run: &Path, asked: Asked) -> Result<()> {
        let mut arguments: Vec<OsString> = vec!["evaluate".into(), run.into()];
        arguments.extend(asked.count.map(|count| format!("--count={count}").into()));
        arguments.extend(reference_images(asked.reference_images));
        let command = another(arguments, self.data_dir.as_deref(), self.device.as_deref())?;
        self.runs.start(run, command)
    }

    /// Stops the scoring of `run`.
    ///
    /// # Errors
    ///
    /// [`Usage`] where it is not scored.
    pub(super) fn stop(&self, run: &Path) -> Result<()> {
        if !self.runs.stop(run)? {
            bail!(Usage("it is not being scored".to_owned()));
        }
        Ok(())
    }

    /// Looks for the training images or recordings that are nearest to what was `drawn` from `run`, and tells how it
    /// goes on.
    pub(super) fn nearest(
        &self,
        run: &Path,
        drawn: &Drawn,
        events: &mut Events<'_>,
    ) -> Result<(), Gone> {
        let found = self.search(run, drawn, events);
        match found {
            Ok(Some(found)) => events.send("done", &found.to_string()),
            Ok(None) => Err(Gone),
            Err(error) => events.send("failed", &format!("{error:#}")),
        }
    }

    /// Nothing where nobody listens any more.
    fn search(&self, run: &Path, drawn: &Drawn, events: &mut Events<'_>) -> Result<Option<Value>> {
        let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
        drawn.write(run, &folder)?;
        let folder = folder.path();
        let mut arguments: Vec<OsString> = vec!["evaluate".into(), run.into()];
        arguments.extend([OsString::from("--samples"), folder.into()]);
        arguments.extend(reference_images(drawn.reference_images));
        let command = another(arguments, self.data_dir.as_deref(), self.device.as_deref())?;
        self.drawings.start(folder, command)?;
        let mut told = String::new();
        let problem = loop {
            let now = match self.drawings.of(folder) {
                Doing::Running(said) => said,
                Doing::Nothing(problem) => break problem,
            };
            let is_news = now != told;
            let heard = if is_news {
                events.send("said", &now)
            } else {
                Ok(())
            };
            told = now;
            if heard.and_then(|()| events.wait(LOOK)).is_err() {
                self.drawings.stop(folder)?;
                self.wait_for(folder);
                return Ok(None);
            }
        };
        self.drawings.forget(folder);
        if let Some(problem) = problem {
            bail!(Usage(problem));
        }
        found(run, folder).map(Some)
    }

    /// Waits until the process of `folder` has ended, which writes into it.
    fn wait_for(&self, folder: &Path) {
        while let Doing::Running(_) = self.drawings.of(folder) {
            std::thread::sleep(LOOK);
        }
        self.drawings.forget(folder);
    }
}

impl Drawn {
    /// Writes what was drawn as `sample --each` does.
    fn write(&self, run: &Path, folder: &TempDir) -> Result<()> {
        let config = config_in(run)?;
        let kind = config.data.kind();
        let source = config.source(None);
        let (_, most) = kind.shown_count();
        let count = self.samples.len();
        if !(NEIGHBOURS + 1..=most).contains(&count) || self.classes.len() != count {
            bail!(Usage(format!(
                "the nearest training examples are looked for of {} to {most} samples, each with its class or none, not \
                 of {count}",
                NEIGHBOURS + 1
            )));
        }
        let known = config.num_classes().unwrap_or(0);
        if let Some(class) = self.classes.iter().flatten().find(|&&class| class >= known) {
            bail!(Usage(format!("there is no class {class}")));
        }
        let files = self.samples.iter().map(|text| decoded(text, "the sample"));
        let files: Vec<Vec<u8>> = files.collect::<Result<_>>()?;
        kind.write_each(&source, files, &self.classes, folder.path())
    }
}

/// What `evaluate` wrote into `folder` of samples of `run`.
fn found(run: &Path, folder: &Path) -> Result<Value> {
    let config = config_in(run)?;
    let file = |name: &str| {
        let bytes = read(&folder.join(name), MOST_BYTES);
        bytes.with_context(|| format!("cannot read {name}"))
    };
    let all = scores_of(folder);
    let kind = config.data.kind();
    let heard = kind.heard(&config.source(None), || file("nearest.wav"))?;
    let samples = all["nearest"].as_array().into_iter().flatten();
    let heard: Vec<Value> = samples
        .zip(heard)
        .map(|(near, (picture, sound))| {
            let picture = encoded(&picture)?;
            Ok(json!({ "sample": near["sample"], "png": picture, "sound": in_base64(sound) }))
        })
        .collect::<Result<_>>()?;
    Ok(json!({
        "scores": all["scores"],
        "png": in_base64(file("nearest.png")?),
        "heard": heard,
    }))
}

fn reference_images(count: Option<usize>) -> Option<OsString> {
    count.map(|count| format!("--reference-images={count}").into())
}
