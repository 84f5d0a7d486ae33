//! Names in error messages: the nearest one, and all that there are.

use crate::shown::{shown, shown_list};

/// The longest name that is compared.
const LONGEST: usize = 40;

/// The name that is most like another, if one is like it: by the number of letters that must be changed (Levenshtein
/// 1966), capitals aside.
pub(crate) fn closest<T: AsRef<str>>(name: &str, names: &[T]) -> Option<String> {
    let name: Vec<char> = name.to_lowercase().chars().take(LONGEST).collect();
    let distances = names.iter().filter_map(|known| {
        let known = known.as_ref();
        let letters: Vec<char> = known.to_lowercase().chars().take(LONGEST).collect();
        let distance = distance(&name, &letters);
        (distance * 2 <= name.len().max(letters.len())).then_some((distance, known))
    });
    let (_, known) = distances.min_by_key(|(distance, _)| *distance)?;
    Some(shown(known.as_bytes()))
}

fn distance(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut before = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let changed = before + usize::from(x != y);
            before = row[j + 1];
            row[j + 1] = changed.min(before + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// The first few of many names.
pub(crate) fn list<T: AsRef<str>>(names: &[T]) -> String {
    let names: Vec<&[u8]> = names
        .iter()
        .map(|name| name.as_ref().as_bytes())
        .filter(|name| !name.is_empty())
        .collect();
    shown_list(&names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closest_name_is_found() {
        let names = ["education", "age", "income"];
        assert_eq!(closest("eduction", &names).as_deref(), Some("education"));
        assert_eq!(closest("AGE", &names).as_deref(), Some("age"));
        assert_eq!(closest("weight", &names), None);
        assert_eq!(closest("", &names), None);
        let letters = |text: &str| text.chars().collect::<Vec<_>>();
        assert_eq!(distance(&letters("kitten"), &letters("sitting")), 3);
        assert_eq!(distance(&letters(""), &letters("abc")), 3);
    }
}
