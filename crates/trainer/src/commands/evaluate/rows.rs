//! The scores of a network of tables or of lines.

use std::collections::HashSet;

use anyhow::{Context, Result, bail};
use image::DynamicImage;
use serde_json::json;
use tracing::info;

use crate::cli::{EvaluateArgs, FeatureKind};
use crate::commands::opened::Opened;
use crate::drawing::captions::{Captions, captioned};
use crate::drawing::{grid, matrix, pictures};
use crate::error::Usage;
use crate::kinds::{Rows, TableExamples, TableForm};
use crate::report;
use crate::run::atomic_file;
use crate::sampling::{Request, describe};
use crate::scoring::bounds::{HeldOutRows, bound_score};
use crate::scoring::rows::{ScoredTables, line_scores, row_scores, table_of};
use crate::scoring::scores::{Score, table};

/// The most rows that are drawn when no number is given; fewer where the table has fewer.
const COUNT: usize = 10_000;

/// Draws rows, scores them, prints and writes.
pub(super) fn run(args: &EvaluateArgs, opened: Opened) -> Result<()> {
    refuse_what_is_for_images(args)?;
    let Opened {
        checkpoint,
        model,
        sampling,
        ..
    } = &opened;
    let config = checkpoint.config();
    let Rows {
        training,
        held_out,
        form,
    } = config
        .data
        .kind()
        .rows(&config.source(args.data_dir.as_deref()))?;
    let count = args.count.unwrap_or(COUNT.min(training.count()));
    opened.check_memory("--count", count, args.model.batch_size)?;
    let classes = form.classes_in_proportion(count);
    let request = Request::new(
        classes,
        sampling.clone(),
        args.model.seed,
        config.data.kind().batch_size(args.model.batch_size, count),
    );
    let settings = describe(sampling, model.classes.is_some())?;
    info!(
        "{} at step {}: {count} {} by {settings} on {}",
        checkpoint.folder().display(),
        checkpoint.counters().step,
        form.noun(),
        opened.device_names
    );
    let drawn: Vec<f32> = model
        .sample_with_bar(&request)?
        .try_into_vec_as()
        .context("cannot read the rows back from the device")?;
    let unseen = HeldOutRows {
        model,
        count: held_out.count(),
        read: &|rows| Ok(held_out.read(rows)?),
        label: &|row| held_out.label(row),
    };
    let bounds = unseen.by_timesteps()?;
    let (scores, picture) = match (&form, &training, &held_out) {
        (TableForm::Rows(schema), TableExamples::Rows(training), TableExamples::Rows(held_out)) => {
            let labels: Vec<usize> = request.classes.iter().flatten().copied().collect();
            let drawn = table_of(schema, &schema.decode(&drawn, &labels)?)?;
            let training = table_of(schema, &training.cells()?)?;
            let held_out = table_of(schema, &held_out.cells()?)?;
            let class = schema.class().map(|class| schema.display_name(class));
            let target = args.target.as_deref().or(class.as_deref());
            let of = ScoredTables {
                drawn: &drawn,
                training: &training,
                held_out: &held_out,
                target,
                sampler: &settings,
            };
            let found = row_scores(of, |score| info!("{score}"))?;
            let mut scores = found.scores;
            if let Some(bounds) = &bounds {
                let cells = schema.categories().len() as f64;
                scores.push(bound_score("nats a category", bounds, cells)?);
            }
            let columns = drawn.columns().len();
            let square = |pairs: &[evaluation::tables::PairTrend]| {
                let pairs: Vec<_> = pairs
                    .iter()
                    .map(|pair| (pair.first, pair.second, pair.score))
                    .collect();
                matrix::matrix(columns, &pairs)
            };
            let both = [square(&found.held_out_pairs)?, square(&found.drawn_pairs)?];
            let captions = Captions::title(
                "how alike each two columns go together (dark: as in the training rows)",
            )
            .columns(["held out", "drawn"].map(str::to_owned).to_vec());
            (
                scores,
                Some(captioned(&grid::grid(&both, 2)?, &captions, 0)?),
            )
        }
        (
            TableForm::Lines(schema),
            TableExamples::Lines(training),
            TableExamples::Lines(held_out),
        ) => {
            if args.target.is_some() {
                bail!(Usage("--target is for tables with columns".to_owned()));
            }
            let known: HashSet<String> = (0..training.len())
                .map(|index| training.line(index))
                .collect();
            let drawn = schema.decode(&drawn)?;
            let of_held_out: Vec<String> = (0..held_out.len())
                .map(|index| held_out.line(index))
                .collect();
            let mut scores = line_scores(&drawn, &of_held_out, &known, &settings);
            if let Some(bounds) = &bounds {
                // The end of a line is a character, too.
                let all: usize = of_held_out
                    .iter()
                    .map(|line| line.chars().count() + 1)
                    .sum();
                let characters = all as f64 / of_held_out.len().max(1) as f64;
                scores.push(bound_score("nats a character", bounds, characters)?);
                info!("orders in which characters are found");
                if let Some(bounds) = unseen.by_orders()? {
                    let name = "nats a character, importance-weighted";
                    scores.push(bound_score(name, &bounds, characters)?);
                }
            }
            (scores, None)
        }
        _ => bail!("the data are not those that the run learned from"),
    };
    write(args, &opened, &settings, &scores, picture)
}

fn write(
    args: &EvaluateArgs,
    opened: &Opened,
    settings: &str,
    scores: &[Score],
    picture: Option<DynamicImage>,
) -> Result<()> {
    let checkpoint = &opened.checkpoint;
    let place = checkpoint.folder().display().to_string();
    let step = checkpoint.counters().step;
    let scored = json!({
        "program_version": env!("CARGO_PKG_VERSION"),
        "checkpoint": place,
        "step": step,
        "sampler": settings,
        "sampling": opened.sampling,
        "seed": args.model.seed,
        "scores": scores,
    });
    report::figures(format!("{place} at step {step}, sampled by {settings}"));
    report::figures(table(scores).trim_end());
    report::json(&scored)?;
    let path = args.model.run.join("scores.json");
    atomic_file::write(&path, &serde_json::to_vec_pretty(&scored)?)
        .with_context(|| format!("cannot write {}", path.display()))?;
    report::wrote(&path);
    if let Some(picture) = picture {
        let path = args.model.run.join("trends.png");
        pictures::save_png(&picture, &path)?;
        report::wrote(&path);
    }
    Ok(())
}

/// Options that mean nothing for tables.
fn refuse_what_is_for_images(args: &EvaluateArgs) -> Result<()> {
    for (option, given) in [
        ("--samples", args.samples.is_some()),
        ("--unconditional", args.unconditional),
        ("--class", args.class.is_some()),
        (
            "--features inception",
            args.features == FeatureKind::Inception,
        ),
        ("--inception-weights", args.inception_weights.is_some()),
        ("--likelihood-images", args.likelihood_images.is_some()),
        ("--reference-images", args.reference_images.is_some()),
        ("--classifier-steps", args.classifier_steps.is_some()),
    ] {
        if given {
            bail!(Usage(format!(
                "{option} is for images and sounds, and the run draws rows of a table"
            )));
        }
    }
    Ok(())
}
