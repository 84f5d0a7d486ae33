//! Values of options that are checked as they are typed, before anything is done.

use std::path::PathBuf;

use clap::builder::{PathBufValueParser, TypedValueParser};

use crate::drawing::pictures::{EXTENSIONS, format_of};
use crate::kinds::is_rows_file;

/// A number that is neither infinite nor no number at all.
pub(super) fn finite(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(value),
        _ => Err("expected a number, as in 0.5".to_owned()),
    }
}

/// The name of a picture, whose extension says its format.
pub(super) fn picture() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(|path| match format_of(&path) {
        Some(_) => Ok(path),
        None => Err(format!(
            "the extension says how a picture is written: expected one of {EXTENSIONS}"
        )),
    })
}

/// The name of a picture, or of a file of rows.
pub(super) fn picture_or_rows() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(|path| {
        if format_of(&path).is_some() || is_rows_file(&path) {
            Ok(path)
        } else {
            Err(format!(
                "the extension says what is written: expected a picture ({EXTENSIONS}) or, of a table, its rows (.csv, \
                 .tsv, .tab, .txt)"
            ))
        }
    })
}

/// The name of an animation.
pub(super) fn gif() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(|path| {
        let is_gif = path
            .extension()
            .is_some_and(|e| e.eq_ignore_ascii_case("gif"));
        if is_gif {
            Ok(path)
        } else {
            Err("an animation is written as a GIF: expected a name that ends in .gif".to_owned())
        }
    })
}
