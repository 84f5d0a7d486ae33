//! What the files of a folder are.

use std::fmt;
use std::path::Path;

/// A kind of file: what one is called, and how the names of such files end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileKind {
    noun: &'static str,
    extensions: &'static [&'static str],
}

impl FileKind {
    /// Files called a `noun` whose names end in one of `extensions`, in lower case and without the dot.
    pub(crate) const fn new(noun: &'static str, extensions: &'static [&'static str]) -> Self {
        Self { noun, extensions }
    }

    /// Whether a file is of this kind by its extension, in any case.
    pub(crate) fn is_named_so(self, path: &Path) -> bool {
        let extension = path.extension().unwrap_or_default();
        let mut known = self.extensions.iter();
        known.any(|known| extension.eq_ignore_ascii_case(known))
    }

    /// The ends of names as a message lists them: `.png, .jpg or .gif`.
    pub(super) fn file_names(self) -> String {
        let names: Vec<String> = self
            .extensions
            .iter()
            .map(|end| format!(".{end}"))
            .collect();
        match names.split_last() {
            Some((last, [])) => last.clone(),
            Some((last, others)) => format!("{} or {last}", others.join(", ")),
            None => String::new(),
        }
    }
}

impl fmt::Display for FileKind {
    /// What one file is called.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.noun)
    }
}
