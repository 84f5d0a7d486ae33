//! `trainer list`: the runs of a folder, a line each.

use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::Serialize;

use crate::cli::ListArgs;
use crate::invocation::hint;
use crate::report;
use crate::run::checkpoint::{Checkpoint, CheckpointError};
use crate::run::overview::{Overview, runs_in};

/// A run as far as it can be read.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Listed {
    Read(Box<Overview>),
    /// Why there is nothing to say of it.
    NotRead {
        run: PathBuf,
        problem: String,
    },
}

/// Prints them.
pub fn run(args: &ListArgs) -> Result<()> {
    let mut runs = Vec::new();
    for folder in &args.folders {
        runs.extend(runs_in(folder)?);
    }
    if runs.is_empty() {
        let folders: Vec<String> = args
            .folders
            .iter()
            .map(|f| f.display().to_string())
            .collect();
        report::tell(format!(
            "there are no runs in {}; `{}` makes one",
            folders.join(", "),
            hint("train")
        ));
        return Ok(());
    }
    let listed: Vec<Listed> = runs.iter().map(|run| read(run)).collect();
    report::figures(table(&listed));
    listed.iter().try_for_each(report::json)
}

/// One that is damaged does not hide the others.
fn read(run: &Path) -> Listed {
    let overview = match Checkpoint::open(run, false) {
        Ok(checkpoint) => Overview::of(run, &checkpoint),
        Err(CheckpointError::Missing { .. }) => Err(anyhow::anyhow!("no checkpoint yet")),
        Err(error) => Err(error.into()),
    };
    match overview {
        Ok(overview) => Listed::Read(Box::new(overview)),
        Err(error) => Listed::NotRead {
            run: run.to_owned(),
            problem: format!("{error:#}"),
        },
    }
}

fn table(listed: &[Listed]) -> String {
    let head = [
        "run", "step", "budget", "minutes", "loss", "held-out", "data", "classes", "size",
    ];
    let number = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.4}"));
    let row = |run: &Listed| match run {
        Listed::NotRead { run, problem } => vec![run.display().to_string(), problem.clone()],
        Listed::Read(run) => vec![
            run.run.display().to_string(),
            run.step.to_string(),
            run.budget.clone(),
            format!("{:.1}", run.seconds / 60.0),
            number(run.loss),
            number(run.held_out_loss),
            run.data.clone(),
            run.classes
                .map_or("-".to_owned(), |classes| classes.to_string()),
            run.shape.map(|side| side.to_string()).join("×"),
        ],
    };
    let head = head.map(str::to_owned).to_vec();
    let rows: Vec<Vec<String>> = [head].into_iter().chain(listed.iter().map(row)).collect();
    report::table(&rows)
}
