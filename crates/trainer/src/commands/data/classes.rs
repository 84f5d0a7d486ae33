//! How many examples each class has.

use serde::Serialize;

use crate::report;

/// The most classes that are listed.
const MAX_LISTED: usize = 200;

/// The examples of a class, or of none.
#[derive(Debug, Serialize)]
pub(super) struct Class<'a> {
    class: Option<usize>,
    name: &'a str,
    training: usize,
    held_out: usize,
}

/// How many images each class has; those without a class come last, where there are such.
pub(super) fn count<'a>(
    names: &'a [String],
    train: &[Option<u16>],
    test: &[Option<u16>],
) -> Vec<Class<'a>> {
    if names.is_empty() {
        return Vec::new();
    }
    let count = |labels: &[Option<u16>]| {
        // The last count is that of examples without a class.
        let mut counts = vec![0_usize; names.len() + 1];
        for label in labels {
            counts[label.map_or(names.len(), usize::from)] += 1;
        }
        counts
    };
    let (train, test) = (count(train), count(test));
    (0..=names.len())
        .map(|class| Class {
            class: (class < names.len()).then_some(class),
            name: names.get(class).map_or("(no class)", String::as_str),
            training: train[class],
            held_out: test[class],
        })
        .filter(|class| class.class.is_some() || class.training + class.held_out > 0)
        .collect()
}

pub(super) fn print(classes: &[Class<'_>]) {
    if classes.is_empty() {
        report::figures("no classes");
        return;
    }
    report::figures("class    train  held out  name");
    let with_name = classes.iter().filter(|class| class.class.is_some()).count();
    for (place, class) in classes.iter().enumerate() {
        if place >= MAX_LISTED && place < with_name {
            continue;
        }
        if place == with_name {
            print_left_out(with_name);
        }
        let number = class.class.map_or(String::new(), |class| class.to_string());
        report::figures(format!(
            "{number:>5} {:8} {:9}  {}",
            class.training, class.held_out, class.name
        ));
    }
    if classes.len() == with_name {
        print_left_out(with_name);
    }
}

fn print_left_out(classes: usize) {
    if classes > MAX_LISTED {
        report::figures(format!("      … and {} more", classes - MAX_LISTED));
    }
}
