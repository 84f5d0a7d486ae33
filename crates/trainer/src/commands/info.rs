//! `trainer info`: what a run is, how far it is, and how to go on with it.

use anyhow::Result;
use burn::module::Module;
use noising::PredictionType;
use serde::Serialize;

use crate::cli::InfoArgs;
use crate::commands::opened::{exists, open_model};
use crate::device;
use crate::invocation::hint;
use crate::report;
use crate::run::overview::Overview;

/// The most classes whose names are printed.
const MOST_NAMES: usize = 20;

/// What is printed.
#[derive(Debug, Serialize)]
struct Info {
    #[serde(flatten)]
    overview: Overview,
    /// The kind of network.
    network: &'static str,
    parameters: usize,
    /// What the network predicts.
    prediction_type: PredictionType,
    /// Commands that go on with the run.
    next: Vec<String>,
}

/// Prints it.
pub fn run(args: &InfoArgs) -> Result<()> {
    exists(&args.run)?;
    // The weights are read, too: what is damaged is told here and not when it is wanted.
    let device = device::select(None)?;
    let (checkpoint, model) = open_model(&args.run, args.best, &device.device)?;
    let config = checkpoint.config();
    let overview = Overview::of(&args.run, &checkpoint)?;
    let run = args.run.display();
    let is_used_up = {
        let minutes = overview.seconds / 60.0;
        config
            .training
            .steps
            .is_some_and(|steps| overview.step >= steps)
            || config.training.minutes.is_some_and(|most| minutes >= most)
            // How many epochs there were, the data alone could say.
            || (config.training.epochs.is_some() && args.run.join("summary.json").is_file())
    };
    let resume = match (is_used_up, config.training.minutes) {
        (false, _) => format!("train --resume {run}"),
        (true, Some(minutes)) => format!("train --resume {run} --minutes {}", 2.0 * minutes),
        (true, None) => format!("train --resume {run} --steps {}", 2 * overview.step.max(1)),
    };
    let info = Info {
        network: model.network.kind(),
        parameters: model.network.num_params(),
        prediction_type: config.objective.prediction_type,
        next: vec![hint(&format!("sample {run}")), hint(&resume)],
        overview,
    };
    report::figures(text(&info)?);
    report::json(&info)
}

fn text(info: &Info) -> Result<String> {
    let overview = &info.overview;
    let number = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.4}"));
    let classes = match (overview.classes, &overview.class_names[..]) {
        (None, _) => "none that the network is told".to_owned(),
        (Some(count), []) => count.to_string(),
        (Some(count), names) => {
            let shown = names.iter().take(MOST_NAMES).cloned().collect::<Vec<_>>();
            let more = if names.len() > MOST_NAMES {
                ", …"
            } else {
                ""
            };
            format!("{count}: {}{more}", shown.join(", "))
        }
    };
    let [channels, height, width] = overview.shape;
    // As configurations have it.
    let predicts = serde_json::to_value(info.prediction_type)?;
    let mut loss = format!(
        "{} in training (smoothed), {} held out",
        number(overview.loss),
        number(overview.held_out_loss)
    );
    if overview.fid.is_some() {
        loss += &format!(", FID {}", number(overview.fid));
    }
    let mut rows = vec![
        ("checkpoint", overview.checkpoint.display().to_string()),
        (
            "step",
            format!(
                "{} of {}; {} examples in {:.1} minutes",
                overview.step,
                overview.budget,
                overview.examples_seen,
                overview.seconds / 60.0
            ),
        ),
        ("loss", loss),
        ("data", format!("{} ({})", overview.data, overview.kind)),
        ("classes", classes),
        (
            "size",
            format!("channels {channels}, height {height}, width {width}"),
        ),
        (
            "network",
            format!(
                "{}, {} parameters, predicts {}",
                info.network,
                info.parameters,
                predicts.as_str().unwrap_or_default()
            ),
        ),
        ("sampler", overview.sampler.clone()),
    ];
    let does = ["sample", "go on"];
    rows.extend(does.into_iter().zip(info.next.iter().cloned()));
    let rows: Vec<Vec<String>> = rows
        .into_iter()
        .map(|(name, value)| vec![name.to_owned(), value])
        .collect();
    Ok(report::table(&rows))
}
