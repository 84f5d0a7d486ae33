//! Text out of a file as an error message can show it: a file may hold kilobytes where a word is expected.

/// The most characters that are shown.
const LONGEST: usize = 40;

/// The beginning of a text.
pub(crate) fn shown(text: &[u8]) -> String {
    // Four bytes a character are enough, and a long text is not converted whole.
    let start = &text[..text.len().min(4 * LONGEST)];
    let start = String::from_utf8_lossy(start);
    let short: String = start.chars().take(LONGEST).collect();
    if short.len() < text.len() && short.chars().count() == LONGEST {
        return short + "…";
    }
    short
}

/// The first few of many names, and how many there are.
pub(crate) fn shown_list<T: AsRef<[u8]>>(names: &[T]) -> String {
    const MOST: usize = 10;
    let mut shown_names: Vec<String> = names
        .iter()
        .take(MOST)
        .map(|name| shown(name.as_ref()))
        .collect();
    if names.len() > MOST {
        shown_names.push(format!("… ({} in all)", names.len()));
    }
    shown_names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut() {
        assert_eq!(shown(b"cat"), "cat");
        assert_eq!(shown(&[b'a'; 40]), "a".repeat(40));
        assert_eq!(shown(&[b'a'; 41]), "a".repeat(40) + "…");
        assert_eq!(shown("ö".repeat(9000).as_bytes()), "ö".repeat(40) + "…");
        assert!(shown(&[0xff; 9000]).len() < 200);
        assert_eq!(shown_list(&["a", "b"]), "a, b");
        assert!(shown_list(&vec!["x".repeat(1000); 1000]).ends_with("… (1000 in all)"));
    }
}
