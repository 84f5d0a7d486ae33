//! What commands print: for a person, or with `--json` a line of JSON for each thing; with `--quiet` only what
//! was asked for.

use std::path::Path;
use std::sync::OnceLock;

use anyhow::{Context, Result};
use serde::Serialize;

/// How much is printed, and for whom.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Style {
    /// Leaves out what only tells that something was done.
    pub quiet: bool,
    /// Prints JSON.
    pub json: bool,
}

static STYLE: OnceLock<Style> = OnceLock::new();

/// Says once how everything is printed; a second call changes nothing.
pub fn start(style: Style) {
    let _ = STYLE.set(style);
}

/// How everything is printed.
pub fn style() -> Style {
    STYLE.get().copied().unwrap_or_default()
}

/// Tells a person that something was done or what to do next; nothing to a program, or where it is to be
/// quiet.
pub fn tell(text: impl AsRef<str>) {
    let Style { quiet, json } = style();
    if !quiet && !json {
        println!("{}", text.as_ref());
    }
}

/// Prints figures that were asked for, as a person reads them; nothing to a program, which gets them by
/// [`json`].
pub fn figures(text: impl AsRef<str>) {
    if !style().json {
        println!("{}", text.as_ref());
    }
}

/// Prints figures that were asked for as a line of JSON; nothing to a person, who gets them by [`figures`].
///
/// # Errors
///
/// What has no form in JSON.
pub fn json(value: &impl Serialize) -> Result<()> {
    if style().json {
        let line = serde_json::to_string(value).context("cannot print it as JSON")?;
        println!("{line}");
    }
    Ok(())
}

/// Tells that a file or folder was written: `wrote PATH`, or `{"wrote":"PATH"}`.
pub fn wrote(path: &Path) {
    let Style { quiet, json } = style();
    if json {
        println!("{}", serde_json::json!({ "wrote": path }));
    } else if !quiet {
        println!("wrote {}", path.display());
    }
}

/// Rows of cells as columns that begin below each other; a row may have fewer cells than others, and its last
/// then takes no width.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let is_wide = |row: &&Vec<String>| row.len() == columns || row.len() > column + 1;
        let cells = rows
            .iter()
            .filter(is_wide)
            .filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let lines: Vec<String> = rows
        .iter()
        .map(|row| {
            let cells = row.iter().zip(&widths);
            let cells: Vec<String> = cells
                .map(|(cell, &width)| format!("{cell:<width$}"))
                .collect();
            cells.join("  ").trim_end().to_owned()
        })
        .collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_begin_below_each_other() {
        let rows = [
            vec!["a", "b", "c"],
            vec!["long", "-", "1"],
            vec!["x", "a whole sentence"],
        ];
        let rows = rows.map(|row| row.into_iter().map(str::to_owned).collect());
        assert_eq!(
            table(&rows),
            "a     b  c\nlong  -  1\nx     a whole sentence"
        );
        assert_eq!(table(&[]), "");
    }
}
