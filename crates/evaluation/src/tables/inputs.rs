//! Columns of two tables as boosted trees see them.

use crate::tables::table::{Column, Table, dense_codes};

/// A column, a row each.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Input {
    /// Numbers without gaps.
    Numbers(Vec<f64>),
    /// Categories from 0 to one below `count`, of which one may be the gap.
    Categories {
        /// A category a row.
        codes: Vec<u32>,
        /// The number of categories.
        count: usize,
    },
}

/// The `columns` of two tables with the same columns, the rows of `second` below those of `first`. Gaps of numbers
/// get the mean of `first`, as in sdmetrics.
pub(crate) fn stacked(first: &Table, second: &Table, columns: &[usize]) -> Vec<Input> {
    let input = |&place: &usize| match (&first.columns()[place], &second.columns()[place]) {
        (Column::Categories(first), Column::Categories(second)) => {
            let ([mut codes, rest], count) = dense_codes([first, second]);
            codes.extend(rest);
            Input::Categories { codes, count }
        }
        (first, second) => {
            let numbers = |column: &Column| match column {
                Column::Numbers(values) => values.clone(),
                // Tables of other kinds of columns were refused.
                Column::Categories(codes) => vec![0.0; codes.len()],
            };
            let (mut values, rest) = (numbers(first), numbers(second));
            let mean = mean_of_known(&values);
            values.extend(rest);
            for value in &mut values {
                if value.is_nan() {
                    *value = mean;
                }
            }
            Input::Numbers(values)
        }
    };
    columns.iter().map(input).collect()
}

/// The mean without gaps; 0 where there is nothing else.
pub(crate) fn mean_of_known(values: &[f64]) -> f64 {
    let known = values.iter().filter(|value| !value.is_nan());
    // By steps, for a sum may overflow where its mean does not.
    let step = |(count, mean): (f64, f64), value: &f64| {
        let count = count + 1.0;
        (count, mean + (value / count - mean / count))
    };
    known.fold((0.0, 0.0), step).1
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn gaps_become_the_mean_of_the_first_table() {
        let table = |numbers: &[f64], codes: &[Option<u32>]| {
            Table::new(vec![
                ("a".into(), Column::Numbers(numbers.to_vec())),
                ("b".into(), Column::Categories(codes.to_vec())),
            ])
            .unwrap()
        };
        let first = table(&[1.0, f64::NAN, 5.0], &[Some(4), None, Some(4)]);
        let second = table(&[f64::NAN, 9.0], &[Some(2), None]);
        let expected = [
            Input::Numbers(vec![1.0, 3.0, 5.0, 3.0, 9.0]),
            Input::Categories {
                codes: vec![2, 0, 2, 1, 0],
                count: 3,
            },
        ];
        assert_eq!(stacked(&first, &second, &[0, 1]), expected);
        assert_eq!(mean_of_known(&[f64::NAN]), 0.0);
        assert_eq!(mean_of_known(&[f64::MAX, f64::MAX]), f64::MAX);
    }
}
