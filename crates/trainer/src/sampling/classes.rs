//! Classes as people type and read them: by number or by name.

use anyhow::{Result, bail};

use crate::error::Usage;

/// The classes that a network is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Classes {
    /// How many there are.
    pub count: usize,
    /// Whether the network also knows "no class", as guidance needs.
    pub has_null_label: bool,
}

impl Classes {
    /// As many classes, and "no class".
    #[cfg(test)]
    pub(crate) fn with_null_label(count: usize) -> Self {
        Self {
            count,
            has_null_label: true,
        }
    }
}

/// How alike two names must be, from 0 to 1, for one to be offered in place of the other.
const ALIKE: f64 = 0.5;

/// The most names that an error lists.
const SHOWN: usize = 20;

/// Classes as they are typed: names or numbers with commas between them, or `none`. `names` are those of
/// the run, by label. A name that is also the number of another
/// class is taken as a name.
///
/// # Errors
///
/// [`Usage`] where a class is unknown, or the network knows no classes.
pub fn parse_classes(
    text: &str,
    classes: Option<Classes>,
    names: &[String],
) -> Result<Vec<Option<usize>>> {
    // A name may have a comma in it.
    if let (Some(class), Some(_)) = (by_name(text.trim(), names), classes) {
        return Ok(vec![Some(class)]);
    }
    text.split(',')
        .map(|class| parse_class(class.trim(), classes, names))
        .collect()
}

fn parse_class(text: &str, classes: Option<Classes>, names: &[String]) -> Result<Option<usize>> {
    if text == "none" {
        if classes.is_some_and(|classes| !classes.has_null_label) {
            bail!(Usage(
                "--class none: the network of this run has no label for \"no class\" \
                 (conditioning.null_label = false)"
                    .to_owned()
            ));
        }
        return Ok(None);
    }
    let Some(classes) = classes.map(|classes| classes.count) else {
        bail!(Usage(
            "--class: the network of this run knows no classes (conditioning.class_labels = false)"
                .to_owned()
        ));
    };
    let number = text.parse().ok().filter(|&number| number < classes);
    match by_name(text, names)
        .filter(|&class| class < classes)
        .or(number)
    {
        Some(class) => Ok(Some(class)),
        None => bail!(Usage(unknown(text, classes, names))),
    }
}

/// The class of this name; capitals do not count where they are not needed to tell names apart.
fn by_name(text: &str, names: &[String]) -> Option<usize> {
    let exact = names.iter().position(|name| name == text);
    let alike = || {
        let lower = text.to_lowercase();
        let mut found = (0..names.len()).filter(|&class| names[class].to_lowercase() == lower);
        found.next().filter(|_| found.next().is_none())
    };
    exact.or_else(alike)
}

fn unknown(text: &str, classes: usize, names: &[String]) -> String {
    let nearest = names
        .iter()
        .map(|name| (strsim::normalized_damerau_levenshtein(text, name), name))
        .filter(|(similarity, _)| *similarity > ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    let suggestion = match nearest {
        Some((_, name)) => format!("; did you mean {name:?}?"),
        None => String::new(),
    };
    let numbers = format!("numbers from 0 to {}", classes.saturating_sub(1));
    let expected = if names.is_empty() {
        format!("expected {numbers} with commas between them, or `none`")
    } else {
        let mut shown: Vec<String> = names.iter().take(SHOWN).map(shortened).collect();
        if names.len() > SHOWN {
            shown.push(format!("… ({} in all)", names.len()));
        }
        format!(
            "expected names or {numbers} with commas between them, or `none`; the names: {}",
            shown.join(", ")
        )
    };
    format!("--class {:?}: {expected}{suggestion}", shortened(text))
}

/// A name as far as it can be shown in a line.
fn shortened(name: impl AsRef<str>) -> String {
    const LONGEST: usize = 40;
    let name = name.as_ref();
    match name.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn classes_are_numbers_or_none() {
        assert_eq!(
            parse_classes("7", Some(Classes::with_null_label(10)), &[]).unwrap(),
            [Some(7)]
        );
        assert_eq!(
            parse_classes("0, 1,none", Some(Classes::with_null_label(10)), &[]).unwrap(),
            [Some(0), Some(1), None]
        );
        for text in ["10", "-1", "x", "", "1,,2"] {
            let error = parse_classes(text, Some(Classes::with_null_label(10)), &[])
                .unwrap_err()
                .to_string();
            assert!(error.contains("0 to 9"), "{error}");
        }
        assert!(parse_classes("3", None, &[]).is_err());
        assert_eq!(parse_classes("none", None, &[]).unwrap(), [None]);

        // A network of others: every label is a class, and there is none beside them.
        let all = Some(Classes {
            count: 10,
            has_null_label: false,
        });
        assert_eq!(parse_classes("9", all, &[]).unwrap(), [Some(9)]);
        let error = parse_classes("none", all, &[]).unwrap_err().to_string();
        assert!(error.contains("conditioning.null_label"), "{error}");
    }

    #[test]
    fn classes_are_names_too() {
        let animals = names(&["cat", "Dog", "dog", "big, bad wolf"]);
        let parse = |text| parse_classes(text, Some(Classes::with_null_label(4)), &animals);
        assert_eq!(parse("cat").unwrap(), [Some(0)]);
        assert_eq!(
            parse("CAT, dog,Dog,3,none").unwrap(),
            [0, 2, 1, 3]
                .map(Some)
                .into_iter()
                .chain([None])
                .collect::<Vec<_>>()
        );
        assert_eq!(parse("big, bad wolf").unwrap(), [Some(3)]);
        let error = parse("cta").unwrap_err().to_string();
        for part in ["cat, Dog, dog", "0 to 3", "did you mean \"cat\""] {
            assert!(error.contains(part), "{error}");
        }
        assert!(parse("DOG").is_err(), "two classes are called so");
        // Numbers that are names are names: the folders 1, 10 and 2 have the labels 0, 1 and 2.
        let numbers = names(&["1", "10", "2"]);
        let parse = |text| parse_classes(text, Some(Classes::with_null_label(3)), &numbers);
        assert_eq!(parse("1,0,10").unwrap(), [0, 0, 1].map(Some));
        assert!(parse_classes("cat", None, &animals).is_err());
        // An error is short, however long what was typed or what the classes are called.
        let many: Vec<String> = (0..1000)
            .map(|i| format!("{i}{}", "x".repeat(500)))
            .collect();
        let error = parse_classes(
            &"y".repeat(9000),
            Some(Classes::with_null_label(1000)),
            &many,
        )
        .unwrap_err()
        .to_string();
        assert!(error.len() < 1500, "{}", error.len());
    }
}
