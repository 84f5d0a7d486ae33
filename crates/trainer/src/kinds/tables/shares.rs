//! The histograms of the columns of a table: of the data, as far as its description knows them, and of rows.

use datasets::TableSchema;
use datasets::tables::{Cells, Column, Content, State};

use crate::drawing::histograms::Histogram;

/// Bars of the numbers of a column, and of its categories.
const BARS: usize = 24;
/// The normal quantile of the part of the numbers that bars are drawn of, 99 %; what is beyond stands in the bars at
/// the ends.
const CENTRE: f32 = 2.576;

/// The histograms of all columns that are learned.
pub(super) fn histograms(schema: &TableSchema, cells: &Cells) -> Vec<Histogram> {
    let columns = schema.columns().iter().enumerate();
    let learned = columns.filter(|(_, column)| column.num_categories() > 1 || is_numeric(column));
    learned
        .map(|(index, column)| histogram(schema, index, column, cells))
        .collect()
}

fn is_numeric(column: &Column) -> bool {
    matches!(&column.content, Content::Numbers(numbers) if numbers.quantiles.is_some())
}

fn histogram(schema: &TableSchema, index: usize, column: &Column, cells: &Cells) -> Histogram {
    let rows = 0..cells.rows();
    let mut drawn_counts = vec![0; column.num_categories()];
    for row in rows.clone() {
        let place = cells.category(index, row);
        let place = place.unwrap_or_else(|| column.state_of(cells.number(index, row)));
        if let Some(count) = drawn_counts.get_mut(place) {
            *count += 1;
        }
    }
    let (real_shares, drawn_shares) = (shares(&column.counts), shares(&drawn_counts));
    let name = schema.display_name(index);
    let Content::Numbers(numbers) = &column.content else {
        return of_categories(name, column, &real_shares, &drawn_shares);
    };
    let (mut real, mut drawn) = (Vec::new(), Vec::new());
    let mut ends = [String::new(), String::new()];
    let states = column.states();
    if let Some(quantiles) = &numbers.quantiles {
        let share = |shares: &[f64]| {
            let regular = states.iter().position(|state| *state == State::Regular);
            regular
                .and_then(|place| shares.get(place))
                .copied()
                .unwrap_or(1.0)
        };
        let (least, largest) = (quantiles.decode(-CENTRE), quantiles.decode(CENTRE));
        let limits: Vec<f64> = (1..BARS)
            .map(|bar| least + (largest - least) * bar as f64 / BARS as f64)
            .collect();
        let mut up_to: Vec<f64> = limits
            .iter()
            .map(|&limit| quantiles.share_up_to(limit))
            .collect();
        up_to.push(1.0);
        let mut before = 0.0;
        for up_to in up_to {
            real.push((up_to - before) * share(&real_shares));
            before = up_to;
        }
        let mut counts = vec![0u64; BARS];
        for number in rows.filter_map(|row| cells.number(index, row)) {
            if !numbers.spikes.contains(&number) {
                counts[limits.partition_point(|limit| *limit < number)] += 1;
            }
        }
        drawn = self::shares(&counts)
            .iter()
            .map(|of| of * share(&drawn_shares))
            .collect();
        ends = [
            numbers.write(numbers.nearest(least)),
            numbers.write(numbers.nearest(largest)),
        ];
    }
    for (place, state) in states.iter().enumerate() {
        if let State::Gap | State::Spike(_) = state {
            // A bar stands apart from the numbers.
            for (bars, shares) in [(&mut real, &real_shares), (&mut drawn, &drawn_shares)] {
                bars.push(0.0);
                bars.push(shares.get(place).copied().unwrap_or_default());
            }
            let text = match state {
                State::Spike(value) => numbers.write(*value),
                _ => "gap".to_owned(),
            };
            ends[1] = if ends[1].is_empty() {
                text
            } else {
                format!("{} | {text}", ends[1])
            };
        }
    }
    Histogram {
        name,
        ends,
        real,
        drawn,
    }
}

/// The categories that the data have most, in their order, and all others as one bar.
fn of_categories(name: String, column: &Column, real: &[f64], drawn: &[f64]) -> Histogram {
    let mut places = Vec::from_iter(0..real.len());
    if places.len() > BARS {
        places.sort_by(|&a, &b| real[b].total_cmp(&real[a]));
        places.truncate(BARS - 1);
        places.sort_unstable();
    }
    let mut bars = [real, drawn].map(|shares| {
        places
            .iter()
            .map(|&place| shares[place])
            .collect::<Vec<f64>>()
    });
    let text = |place: Option<&usize>| {
        place
            .map_or("", |&place| column.category_text(place))
            .to_owned()
    };
    let mut ends = [text(places.first()), text(places.last())];
    if places.len() < real.len() {
        for bars in &mut bars {
            let shown: f64 = bars.iter().sum();
            bars.push((1.0 - shown).max(0.0));
        }
        ends[1] = "others".to_owned();
    }
    let [real, drawn] = bars;
    Histogram {
        name,
        ends,
        real,
        drawn,
    }
}

fn shares(counts: &[u64]) -> Vec<f64> {
    let all = counts.iter().sum::<u64>().max(1) as f64;
    counts.iter().map(|&count| count as f64 / all).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use datasets::TableOptions;
    use datasets::tables::parse_table;

    use super::*;

    #[test]
    fn the_data_have_their_own_histograms() {
        let mut text = "age,gain,city\n".to_owned();
        for i in 0..600 {
            let age = if i % 6 == 0 {
                String::new()
            } else {
                (i * 7 % 71).to_string()
            };
            let gain = if i % 3 == 0 { i } else { 0 };
            text += &format!("{age},{gain},c{}\n", i * i % 53);
        }
        let (schema, cells) = parse_table(text.as_bytes(), &TableOptions::default()).unwrap();
        let all = histograms(&schema, &cells);
        assert_eq!(all.len(), 3);
        for histogram in &all {
            let sums = [&histogram.real, &histogram.drawn].map(|shares| shares.iter().sum::<f64>());
            assert!(
                sums.iter().all(|sum| (sum - 1.0).abs() < 1e-9),
                "{histogram:?}"
            );
            // The rows are those of the data.
            for (real, drawn) in histogram.real.iter().zip(&histogram.drawn) {
                assert!((real - drawn).abs() < 1e-9, "{histogram:?}");
            }
        }
        assert_eq!(all[0].real.len(), BARS + 2);
        assert_eq!(all[1].ends[1].split(" | ").nth(1), Some("0"));
        assert_eq!(all[2].real.len(), BARS);
    }
}
