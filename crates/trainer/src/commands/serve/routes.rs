//! What the page may ask: a request is words, and becomes a question to one of the files beside this one.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result};
use denoising::SamplerKind;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use serving::{App, Events, Query, Reply, Words};

use super::desk::{Desk, Jobs};
use super::draw::{self, draw, seen, warm};
use super::explain::{self, examples, explain, schedule};
use super::form::{configurations, overrides};
use super::processes::Doing;
use super::runs::{Runs, State, config_in};
use super::scoring::{self, Scorings};
use super::trainings::{Budget, Trainings};
use crate::invocation::hint;
use crate::kinds::Kind;
use crate::run::checkpoint::by_step;
use crate::run::folder::{grid, grids};
use crate::run::overview::scores_of;
use crate::run::read::{SMALL, read};
use crate::run::series::Series;

/// The places of a curve, where none are asked for and at the most.
const PLACES: usize = 1000;
const MOST_PLACES: usize = 4000;

/// The bytes of pictures or recordings that are sent at once; in base64 they are a third longer.
const MOST_FILE_BYTES: usize = 16 << 20;
const MOST_BODY_BYTES: usize = (MOST_FILE_BYTES / 3 + 1) * 4 + (1 << 20);

/// How long a page waits for a network to be called before it is told to try again.
const PATIENCE: Duration = Duration::from_secs(120);

/// How often the list of runs is looked at for a page that watches it, and how often a word goes to one where nothing
/// happens.
const LOOK: Duration = Duration::from_secs(1);
const ALIVE: Duration = Duration::from_secs(15);

/// What answers the page.
#[derive(Clone)]
pub(super) struct Page {
    pub(super) runs: Arc<Runs>,
    pub(super) trainings: Arc<Trainings>,
    pub(super) scorings: Arc<Scorings>,
    pub(super) jobs: Jobs,
}

/// A run that is to be begun.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Start {
    configuration: String,
    #[serde(default)]
    values: BTreeMap<String, Value>,
    #[serde(default)]
    budget: Budget,
}

impl App for Page {
    fn get(&self, words: Words<'_>, query: &Query<'_>) -> Reply {
        match words {
            ["runs"] => replied(self.list()),
            ["runs", "watched"] => {
                let page = self.clone();
                Reply::events(move |events| page.watch(events))
            }
            ["configurations"] => replied(configurations().map(|all| json!(all))),
            ["runs", id, rest @ ..] => match self.runs.path(id) {
                Some(run) => self.of_run(id, &run, rest, query),
                None => Reply::not_found(),
            },
            _ => Reply::not_found(),
        }
    }

    fn body_bytes(&self, words: Words<'_>, usual: usize) -> usize {
        match words {
            ["runs", _, "files"] => MOST_FILE_BYTES,
            ["runs", _, "draw" | "nearest"] => MOST_BODY_BYTES,
            _ => usual,
        }
    }

    fn post(&self, words: Words<'_>, body: &[u8]) -> Reply {
        let reply = match words {
            ["runs"] => replied(parsed(body).and_then(|start: Start| {
                let overrides = overrides(&start.configuration, &start.values)?;
                let name = self
                    .trainings
                    .start(&start.configuration, &overrides, start.budget)?;
                Ok(json!({ "name": name }))
            })),
            ["runs", id, verb] => match self.runs.path(id) {
                Some(run) => self.change(run, verb, body),
                None => Reply::not_found(),
            },
            _ => Reply::not_found(),
        };
        // A run that was started is in the list that is asked for next.
        self.runs.look_again();
        reply
    }
}

impl Page {
    /// What there is to know of a run.
    fn of_run(&self, id: &str, run: &Path, words: Words<'_>, query: &Query<'_>) -> Reply {
        match words {
            [] => replied(about(run)),
            ["curves"] => {
                let (from, to) = (query.number("from"), query.number("to"));
                let places = query.number("places").unwrap_or(PLACES).min(MOST_PLACES);
                let series = self.runs.metrics(id, run, |records| {
                    Series::of(records, from.unwrap_or(0), to.unwrap_or(u64::MAX), places)
                });
                replied(series.map(|series| json!(series)))
            }
            ["schedule"] => replied(schedule(run)),
            ["grids"] => Reply::json(json!(grids(run)).to_string()),
            ["grids", step] => match step.parse() {
                Ok(step) => picture(&grid(run, step)),
                Err(_) => Reply::not_found(),
            },
            ["scores"] => Reply::json(scores_of(run).to_string()),
            ["nearest"] => picture(&run.join("nearest.png")),
            _ => Reply::not_found(),
        }
    }

    /// What a POST does with a run.
    fn change(&self, run: PathBuf, verb: &str, body: &[u8]) -> Reply {
        match verb {
            "stop" => replied(self.trainings.stop(&run).map(|()| json!({}))),
            "resume" => replied(parsed(body).and_then(|budget| {
                self.trainings.resume(&run, budget)?;
                Ok(json!({}))
            })),
            "branch" => replied(parsed(body).and_then(|budget| {
                let name = self.trainings.branch(&run, budget)?;
                Ok(json!({ "name": name }))
            })),
            "warm" => {
                // Nobody waits for it, and what is wrong with the run is told when it is drawn from.
                let handed_in = self.jobs.hand_in(move |desk| {
                    let _ = warm(desk, &run);
                });
                handed_in.map_or_else(|_| busy(), |()| Reply::json("{}"))
            }
            "draw" => match parsed::<draw::Asked>(body) {
                Ok(asked) => {
                    let jobs = self.jobs.clone();
                    Reply::events(move |events| {
                        // Who has gone is told nothing.
                        let _ = draw(&jobs, run, asked, events);
                    })
                }
                Err(error) => refused(&error),
            },
            "evaluate" => replied(parsed(body).and_then(|asked| {
                self.scorings.start(&run, asked)?;
                Ok(json!({}))
            })),
            "stop-evaluate" => replied(self.scorings.stop(&run).map(|()| json!({}))),
            "nearest" => match parsed::<scoring::Drawn>(body) {
                Ok(drawn) => {
                    let scorings = Arc::clone(&self.scorings);
                    Reply::events(move |events| {
                        // Who has gone is told nothing.
                        let _ = scorings.nearest(&run, &drawn, events);
                    })
                }
                Err(error) => refused(&error),
            },
            "files" => replied(seen(&run, body.to_vec())),
            "examples" => self.ask(move |desk| examples(desk, &run)),
            "explain" => match parsed::<explain::Asked>(body) {
                Ok(asked) => self.ask(move |desk| explain(desk, &run, asked)),
                Err(error) => refused(&error),
            },
            _ => Reply::not_found(),
        }
    }

    /// All runs, and what is done with them here.
    fn list(&self) -> Result<Value> {
        let mut listed = Vec::new();
        for (path, mut run) in self.runs.list() {
            let (is_ours, problem) = self.trainings.of(&path);
            run.is_ours = is_ours;
            if is_ours {
                // Until its process has ended, too.
                run.state = State::Training;
            }
            let has_ended = run.state != State::Training;
            run.problem = run.problem.or(problem.filter(|_| has_ended));
            match self.scorings.of(&path) {
                Doing::Running(said) => run.scoring = Some(said),
                Doing::Nothing(problem) => run.scoring_problem = problem,
            }
            listed.push(run);
        }
        serde_json::to_value(listed).context("the runs have no form in JSON")
    }

    /// Sends the list of runs whenever it has changed.
    fn watch(&self, events: &mut Events<'_>) {
        let mut sent = String::new();
        let mut since = Instant::now();
        loop {
            let text = self
                .list()
                .map_or_else(|_| sent.clone(), |list| list.to_string());
            let told = if text != sent {
                events.send("runs", &text)
            } else if since.elapsed() >= ALIVE {
                events.send("alive", "")
            } else {
                Ok(())
            };
            if text != sent || since.elapsed() >= ALIVE {
                since = Instant::now();
            }
            sent = text;
            if told.and_then(|()| events.wait(LOOK)).is_err() {
                return;
            }
        }
    }

    /// Has something done at the desk and waits for what it comes to.
    fn ask(&self, what: impl FnOnce(&mut Desk) -> Result<Value> + Send + 'static) -> Reply {
        let (sender, receiver) = sync_channel(1);
        let handed_in = self.jobs.hand_in(move |desk| {
            // Nobody may be waiting any more.
            let _ = sender.try_send(what(desk));
        });
        if handed_in.is_err() {
            return busy();
        }
        receiver
            .recv_timeout(PATIENCE)
            .map_or_else(|_| busy(), replied)
    }
}

fn busy() -> Reply {
    Reply::busy("others are being served: try again in a moment")
}

fn replied(made: Result<Value>) -> Reply {
    match made {
        Ok(value) => Reply::json(value.to_string()),
        Err(error) => refused(&error),
    }
}

/// An error as the command line says it.
fn refused(error: &Error) -> Reply {
    Reply::refused(format!("{error:#}"))
}

fn parsed<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    serde_json::from_slice(body).context("this is not what the page asks")
}

/// A picture of a run, whose name no client said.
fn picture(path: &Path) -> Reply {
    match read(path, SMALL) {
        Ok(bytes) => Reply::bytes("image/png", bytes),
        Err(_) => Reply::not_found(),
    }
}

/// What a page needs to know of a run to draw from it.
fn about(run: &Path) -> Result<Value> {
    let config = config_in(run)?;
    let kind = config.data.kind();
    let (count, most) = kind.shown_count();
    let classes = config.classes();
    let samplers: Vec<Value> = SamplerKind::ALL
        .iter()
        .map(|kind| {
            json!({ "name": kind.name(), "summary": kind.summary(), "options": kind.options() })
        })
        .collect();
    let checkpoints = by_step(&run.join("checkpoints"))?;
    let checkpoints: Vec<u64> = checkpoints.into_iter().map(|(step, _)| step).collect();
    let text = fs::metadata(run.join("config.toml")).ok().and_then(|_| {
        let bytes = read(&run.join("config.toml"), SMALL).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    });
    let path = run.display();
    Ok(json!({
        "kind": kind.to_string(),
        "classes": classes.map(|classes| classes.count),
        "class_names": config.found.class_names,
        "has_null_label": classes.is_none_or(|classes| classes.has_null_label),
        "why_no_guidance": config.why_no_guidance(),
        "sampling": config.sampling.options,
        "checkpoints": checkpoints,
        "num_train_timesteps": config.noise.num_train_timesteps,
        "prediction_type": config.objective.prediction_type,
        "shape": config.network.example_shape(),
        "count": count,
        "most": most,
        "samplers": samplers,
        "is_of_pictures": Kind::of_pixels().contains(&kind),
        "is_of_files": Kind::of_files().contains(&kind),
        // Of tables, whether they have columns, in which conditions can hold.
        "has_columns": Kind::of_rows().contains(&kind) && !config.data.is_of_lines(),
        // Of sounds, how long they are and how finely a part of them is chosen.
        "seconds": kind.seconds(&config.source(None))?,
        "most_file_bytes": MOST_FILE_BYTES,
        "has_nearest": run.join("nearest.png").is_file(),
        "configuration": text,
        "commands": {
            "sample": hint(&format!("sample {path}")),
            "resume": hint(&format!("train --resume {path}")),
            "evaluate": hint(&format!("evaluate {path}")),
        },
    }))
}
