//! What stands in a cell that has no value.

/// Words that say in any column that there is no value, besides an empty cell.
const ALWAYS: [&str; 17] = [
    "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "NAN", "-nan", "NULL", "Null", "null", "?",
    "#NULL!", "#VALUE!", "#DIV/0!", "#REF!",
];

/// Words that say so among numbers and dates, and may be categories elsewhere.
const AMONG_NUMBERS: [&str; 12] = [
    "-", "--", "---", ".", "..", "*", "None", "none", "na", "missing", "Missing", "unknown",
];

/// Whether a cell is a gap in any column.
pub(crate) fn is_gap(text: &str) -> bool {
    text.is_empty() || ALWAYS.contains(&text)
}

/// Whether a cell is a gap in a column of numbers or dates.
pub(crate) fn is_gap_among_numbers(text: &str) -> bool {
    is_gap(text) || AMONG_NUMBERS.contains(&text)
}
