//! `trainer report`: curves, grids, scores and configuration of a run in one file that opens from disk, made of the
//! same scripts as the page.

use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::cli::ReportArgs;
use crate::commands::assets::{self, REPORT};
use crate::commands::opened::exists;
use crate::destination::check_file;
use crate::drawing::frames::evenly_spread;
use crate::invocation::hint;
use crate::report;
use crate::run::atomic_file;
use crate::run::checkpoint::Checkpoint;
use crate::run::folder::{grid, grids};
use crate::run::metrics::read_until;
use crate::run::overview::{Overview, scores_of};
use crate::run::read::{SMALL, read};
use crate::run::series::Series;
use crate::run::summary::utc;

/// The grids that are shown at the most, spread over the training.
const GRIDS: usize = 24;

/// The places of a curve at the most.
const PLACES: usize = 1000;

/// Writes it.
pub fn run(args: &ReportArgs) -> Result<()> {
    exists(&args.run)?;
    let out = match &args.out {
        Some(out) => out.clone(),
        None => args.run.join("report.html"),
    };
    check_file("--out", &out)?;
    let checkpoint = Checkpoint::open(&args.run, false)?;
    let overview = Overview::of(&args.run, &checkpoint)?;
    let records = read_until(&args.run, u64::MAX).context("cannot read the metrics")?;
    let name = args.run.file_name().unwrap_or(args.run.as_os_str());
    let name = name.to_string_lossy();
    let data = json!({
        "name": name,
        "date": utc(SystemTime::now()),
        "program_version": env!("CARGO_PKG_VERSION"),
        "overview": overview,
        "series": Series::of(&records, 0, u64::MAX, PLACES),
        "grids": shown_grids(&args.run),
        "scores": scores_of(&args.run),
        "nearest": encoded(&args.run.join("nearest.png")),
        "configuration": checkpoint.config().to_toml()?,
        "commands": [
            hint(&format!("train again.toml --out runs/{name}-again")),
            hint(&format!("sample runs/{name}-again")),
        ],
    });
    atomic_file::write(&out, page(&name, &data).as_bytes())
        .with_context(|| format!("cannot write {}", out.display()))?;
    report::wrote(&out);
    Ok(())
}

/// Some of the grids of a run, the last one among them.
fn shown_grids(run: &Path) -> Vec<Value> {
    let steps = grids(run);
    evenly_spread(steps.len(), GRIDS)
        .into_iter()
        .filter_map(|place| {
            let step = steps[place];
            let png = encoded(&grid(run, step))?;
            Some(json!({ "step": step, "png": png }))
        })
        .collect()
}

/// A file as text; none where it cannot be read.
fn encoded(path: &Path) -> Option<String> {
    read(path, SMALL).ok().map(|bytes| STANDARD.encode(bytes))
}

/// The whole file. It loads nothing: scripts, style and pictures stand in it.
fn page(name: &str, data: &Value) -> String {
    // Neither a script nor a comment ends in what stands between quotes.
    let data = data.to_string().replace('<', "\\u003c");
    let name = name.replace('&', "&amp;").replace('<', "&lt;");
    let (style, script) = (assets::text("/style.css"), assets::one_script(REPORT));
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; script-src 'unsafe-inline'; \
         style-src 'unsafe-inline'; img-src data:\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{name}</title>\n<style>\n{style}</style>\n</head>\n\
         <body>\n<main id=\"view\"></main>\n<script type=\"application/json\" id=\"data\">{data}</script>\n\
         <script type=\"module\">\n{script}</script>\n</body>\n</html>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_run_ends_the_script() {
        let data = json!({ "configuration": "</script><script>alert(1)</script><!--" });
        let page = page("<b>\"mine\" & more</b>", &data);
        assert_eq!(page.matches("</script>").count(), 2);
        assert!(!page.contains("<!--") && !page.contains("<b>"), "{page}");
        assert!(
            !page.contains("\nimport ") && !page.contains("\nexport "),
            "{page}"
        );
    }
}
