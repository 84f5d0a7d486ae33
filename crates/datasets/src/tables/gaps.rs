//! What stands in a cell that has no value. Every cell is asked several times, so the words are patterns, which compile
//! to comparisons of a few bytes.

/// Whether a cell is a gap in any column: it is empty, or says so.
pub(crate) fn is_gap(text: &str) -> bool {
    matches!(
        text,
        "" | "NA"
            | "N/A"
            | "n/a"
            | "#N/A"
            | "<NA>"
            | "NaN"
            | "nan"
            | "NAN"
            | "-nan"
            | "NULL"
            | "Null"
            | "null"
            | "?"
            | "#NULL!"
            | "#VALUE!"
            | "#DIV/0!"
            | "#REF!"
    )
}

/// Whether a cell is a gap in a column of numbers or dates, which has more words for it: elsewhere they may be
/// categories.
pub(crate) fn is_gap_among_numbers(text: &str) -> bool {
    is_gap(text)
        || matches!(
            text,
            "-" | "--"
                | "---"
                | "."
                | ".."
                | "*"
                | "None"
                | "none"
                | "na"
                | "missing"
                | "Missing"
                | "unknown"
        )
}
