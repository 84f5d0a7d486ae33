//! The order in which examples are shown: all classes before the second of any.

use std::collections::HashMap;

/// The first example of each class in order, then the second of each, and so on: `count` indices, or
/// as many as there are.
pub fn one_of_each_class_first(labels: &[Option<u16>], count: usize) -> Vec<usize> {
    let mut seen = HashMap::<Option<u16>, usize>::new();
    let mut order: Vec<(usize, Option<u16>, usize)> = labels
        .iter()
        .enumerate()
        .map(|(index, &label)| {
            let rank = seen.entry(label).or_default();
            *rank += 1;
            (*rank, label, index)
        })
        .collect();
    order.sort_unstable();
    order
        .into_iter()
        .map(|(_, _, index)| index)
        .take(count)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_come_in_turn() {
        let labels = [1, 1, 0, 2, 0, 1].map(Some);
        assert_eq!(one_of_each_class_first(&labels, 4), [2, 0, 3, 4]);
        assert_eq!(one_of_each_class_first(&labels, 9), [2, 0, 3, 4, 1, 5]);
        assert_eq!(one_of_each_class_first(&[None; 3], 2), [0, 1]);
    }
}
