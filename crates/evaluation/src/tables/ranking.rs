//! The area under the receiver operating characteristic.

/// The chance that a row of the first kind (`true`) has a higher score than one of the other, ties counted half: Mann
/// and Whitney's statistic. `None` unless there are both.
pub(crate) fn area_under_curve(scores: &[f64], is_first: &[bool]) -> Option<f64> {
    let mut order: Vec<(f64, bool)> = scores
        .iter()
        .copied()
        .zip(is_first.iter().copied())
        .collect();
    order.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let (mut above, mut firsts, mut others) = (0.0, 0.0, 0.0);
    for tied in order.chunk_by(|a, b| a.0 == b.0) {
        let first = tied.iter().filter(|(_, is_first)| *is_first).count() as f64;
        let other = tied.len() as f64 - first;
        above += first * (others + other / 2.0);
        firsts += first;
        others += other;
    }
    (firsts > 0.0 && others > 0.0).then(|| above / (firsts * others))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn of_one_kind_there_is_none() {
        assert_eq!(area_under_curve(&[1.0, 2.0], &[true, true]), None);
        assert_eq!(area_under_curve(&[], &[]), None);
        assert_eq!(area_under_curve(&[1.0, 2.0], &[false, true]), Some(1.0));
    }

    proptest! {
        /// Against all pairs.
        #[test]
        fn by_definition(rows in prop::collection::vec((-3i32..3, any::<bool>()), 2..40)) {
            let scores: Vec<f64> = rows.iter().map(|row| f64::from(row.0)).collect();
            let is_first: Vec<bool> = rows.iter().map(|row| row.1).collect();
            let (mut sum, mut pairs) = (0.0, 0.0);
            for a in rows.iter().filter(|row| row.1) {
                for b in rows.iter().filter(|row| !row.1) {
                    sum += match a.0.cmp(&b.0) {
                        std::cmp::Ordering::Greater => 1.0,
                        std::cmp::Ordering::Equal => 0.5,
                        std::cmp::Ordering::Less => 0.0,
                    };
                    pairs += 1.0;
                }
            }
            let expected = (pairs > 0.0).then_some(sum / pairs);
            let found = area_under_curve(&scores, &is_first);
            prop_assert_eq!(found.is_some(), expected.is_some());
            if let (Some(found), Some(expected)) = (found, expected) {
                prop_assert!((found - expected).abs() < 1e-12);
            }
        }
    }
}
