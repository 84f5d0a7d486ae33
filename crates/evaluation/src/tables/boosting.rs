//! Gradient-boosted trees on histograms, as XGBoost's `hist` grows them (Chen and Guestrin 2016).
//!
//! A tree splits a set of rows in two where that lowers the second-order expansion of the loss most (equation 7):
//!
//! ```text
//! gain   = G_l²/(H_l + λ) + G_r²/(H_r + λ) − G²/(H + λ)      G, H sums of first and second derivatives
//! weight = −η G/(H + λ)                                      of a leaf
//! ```
//!
//! Numbers are put into at most 256 bins before, one a value where there are no more, and a split lies between two
//! bins. A split of a category is one against all others, which is what XGBoost sees where categories are
//! columns of 0 and 1; here they are one column, so that many categories cost no more than few. All else is
//! XGBoost's too, so that the judges of tables that others publish can be had without it: trees grow level by
//! level, of equal gains the first column's and the least bin's counts, gains are compared in f32, and there is
//! nothing random.

use rayon::prelude::*;

use crate::tables::inputs::Input;

/// XGBoost's `max_bin`.
const MAX_BINS: usize = 256;
/// XGBoost's `kRtEps`: a split that gains no more is none.
const LEAST_GAIN: f32 = 1e-6;

/// How trees are grown. The names in quotes are XGBoost's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Growth {
    /// Rounds, each of a tree an output ("n_estimators").
    pub(crate) rounds: usize,
    /// The most splits from the root to a leaf ("max_depth").
    pub(crate) depth: usize,
    /// η, by which each leaf is shrunk ("learning_rate").
    pub(crate) learning_rate: f64,
    /// λ ("reg_lambda").
    pub(crate) l2: f64,
    /// The least H of both sides of a split ("min_child_weight").
    pub(crate) min_child_weight: f64,
    /// The least gain of a split ("gamma").
    pub(crate) min_gain: f64,
}

impl Default for Growth {
    /// XGBoost's defaults.
    fn default() -> Self {
        Self {
            rounds: 100,
            depth: 6,
            learning_rate: 0.3,
            l2: 1.0,
            min_child_weight: 1.0,
            min_gain: 0.0,
        }
    }
}

/// What is learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// The chance that a target of 0 or 1 is 1; the margin is its log odds.
    Logistic,
    /// A number; the margin is the number.
    Squared,
    /// One of so many classes, counted from 0; a margin a class, the logarithm of its chance up to a constant.
    Softmax(usize),
}

impl Loss {
    /// Margins a row.
    pub(crate) fn outputs(self) -> usize {
        match self {
            Self::Logistic | Self::Squared => 1,
            Self::Softmax(classes) => classes,
        }
    }

    /// The margins that all rows begin with: those of the share or the mean of the targets.
    fn base(self, targets: &[f64], rows: &[u32]) -> Vec<f64> {
        let count = rows.len() as f64;
        let targets = rows.iter().map(|&row| targets[row as usize]);
        // A share of 0 would be a margin of no return.
        let share = |ones: f64| (ones / count).clamp(1e-6, 1.0 - 1e-6);
        match self {
            Self::Logistic => {
                let share = share(targets.sum());
                vec![(share / (1.0 - share)).ln()]
            }
            Self::Squared => vec![targets.sum::<f64>() / count],
            Self::Softmax(classes) => {
                let mut counts = vec![0.0; classes];
                for target in targets {
                    counts[target as usize] += 1.0;
                }
                let margins: Vec<f64> = counts.into_iter().map(|ones| share(ones).ln()).collect();
                let mean = margins.iter().sum::<f64>() / classes as f64;
                margins.into_iter().map(|margin| margin - mean).collect()
            }
        }
    }

    /// First and second derivatives of the loss of a row by its margins.
    fn derivatives(self, margins: &[f64], target: f64, mut give: impl FnMut(usize, [f64; 2])) {
        match self {
            Self::Logistic => {
                let p = 1.0 / (1.0 + (-margins[0]).exp());
                give(0, [p - target, (p * (1.0 - p)).max(1e-16)]);
            }
            Self::Squared => give(0, [margins[0] - target, 1.0]),
            Self::Softmax(_) => {
                let largest = margins.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let sum: f64 = margins.iter().map(|margin| (margin - largest).exp()).sum();
                for (class, margin) in margins.iter().enumerate() {
                    let p = (margin - largest).exp() / sum;
                    let is = f64::from(u8::from(class as f64 == target));
                    give(class, [p - is, (2.0 * p * (1.0 - p)).max(1e-16)]);
                }
            }
        }
    }
}

/// Columns of bins.
pub(crate) struct Bins {
    columns: Vec<BinColumn>,
}

struct BinColumn {
    is_category: bool,
    count: usize,
    /// A bin a row.
    bins: Vec<u32>,
}

impl Bins {
    /// All rows of `inputs`, in bins of the numbers that stand in `rows`.
    pub(crate) fn new(inputs: &[Input], rows: &[u32]) -> Self {
        let column = |input: &Input| match input {
            Input::Categories { codes, count } => BinColumn {
                is_category: true,
                count: *count,
                bins: codes.clone(),
            },
            Input::Numbers(values) => {
                let starts = bin_starts(rows.iter().map(|&row| values[row as usize]).collect());
                let bin = |value: &f64| starts.partition_point(|start| start <= value) as u32;
                BinColumn {
                    is_category: false,
                    count: starts.len() + 1,
                    bins: values.iter().map(bin).collect(),
                }
            }
        };
        Self {
            columns: inputs.par_iter().map(column).collect(),
        }
    }
}

/// The least numbers of all bins but the first.
fn bin_starts(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let mut distinct = values.clone();
    distinct.dedup();
    if distinct.len() > MAX_BINS {
        // Of as many rows each, as far as equal numbers allow.
        let rank = |bin: usize| bin * values.len() / MAX_BINS;
        distinct = (0..MAX_BINS).map(|bin| values[rank(bin)]).collect();
        distinct.dedup();
    }
    distinct.split_off(distinct.len().min(1))
}

/// A node of a tree, all in one list.
enum Node {
    Leaf(f64),
    Split {
        column: usize,
        bin: u32,
        is_category: bool,
        /// The place of the left node; the right one stands behind it.
        left: usize,
    },
}

struct Tree(Vec<Node>);

impl Tree {
    /// The weight of the leaf that a row falls into.
    fn weight(&self, bins: &Bins, row: usize) -> f64 {
        let mut place = 0;
        loop {
            match self.0[place] {
                Node::Leaf(weight) => return weight,
                Node::Split {
                    column,
                    bin,
                    is_category,
                    left,
                } => {
                    let found = bins.columns[column].bins[row];
                    place = left + usize::from(is_right(is_category, found, bin));
                }
            }
        }
    }
}

/// Numbers above the bin and rows of the category go to the right.
fn is_right(is_category: bool, found: u32, bin: u32) -> bool {
    if is_category {
        found == bin
    } else {
        found > bin
    }
}

/// Boosted trees.
pub(crate) struct BoostedTrees {
    loss: Loss,
    base: Vec<f64>,
    /// A tree an output in each round.
    rounds: Vec<Vec<Tree>>,
    /// The sum of the gains of all splits by a column.
    pub(crate) gains: Vec<f64>,
}

impl BoostedTrees {
    /// Trees that learn `targets`, a number a row, from these `rows`, of which there is at least one.
    pub(crate) fn grow(
        bins: &Bins,
        rows: &[u32],
        targets: &[f64],
        loss: Loss,
        growth: &Growth,
    ) -> Self {
        let outputs = loss.outputs();
        let base = loss.base(targets, rows);
        let mut trees = Self {
            loss,
            rounds: Vec::with_capacity(growth.rounds),
            gains: vec![0.0; bins.columns.len()],
            base,
        };
        // By place in the table, as the derivatives: rows are moved from node to node, their numbers are not.
        let mut margins: Vec<f64> = targets.iter().flat_map(|_| trees.base.clone()).collect();
        let mut derivatives = vec![[0f32; 2]; targets.len() * outputs];
        for _ in 0..growth.rounds {
            derivatives
                .par_chunks_mut(outputs)
                .zip(margins.par_chunks(outputs))
                .zip(targets)
                .for_each(|((derivatives, margins), &target)| {
                    loss.derivatives(margins, target, |output, [first, second]| {
                        derivatives[output] = [first as f32, second as f32];
                    });
                });
            let round = (0..outputs).map(|output| {
                let mut growing = Growing {
                    bins,
                    growth,
                    derivatives: derivatives
                        .iter()
                        .skip(output)
                        .step_by(outputs)
                        .copied()
                        .collect(),
                    order: rows.to_vec(),
                    gains: &mut trees.gains,
                };
                let (tree, leaves) = growing.tree();
                for (leaf, weight) in leaves {
                    for &row in &growing.order[leaf] {
                        margins[row as usize * outputs + output] += weight;
                    }
                }
                tree
            });
            let round = round.collect();
            trees.rounds.push(round);
        }
        trees
    }

    /// The margins of these rows by the trees of the first `rounds` rounds, all outputs of a row together.
    pub(crate) fn margins(&self, bins: &Bins, rows: &[u32], rounds: usize) -> Vec<f64> {
        let outputs = self.loss.outputs();
        let mut margins: Vec<f64> = rows.iter().flat_map(|_| self.base.clone()).collect();
        margins
            .par_chunks_mut(outputs)
            .zip(rows)
            .for_each(|(margins, &row)| {
                for round in self.rounds.iter().take(rounds) {
                    for (margin, tree) in margins.iter_mut().zip(round) {
                        *margin += tree.weight(bins, row as usize);
                    }
                }
            });
        margins
    }
}

/// A set of rows that may be split.
struct Open {
    /// Its place in the tree.
    place: usize,
    /// Its rows, a stretch of the order.
    rows: std::ops::Range<usize>,
    /// G and H.
    sums: [f64; 2],
}

/// The best split of a node.
#[derive(Clone, Copy)]
struct Split {
    gain: f32,
    column: usize,
    bin: u32,
    is_category: bool,
    /// G and H of the right side.
    right: [f64; 2],
}

/// A tree while it grows.
struct Growing<'a> {
    bins: &'a Bins,
    growth: &'a Growth,
    /// First and second derivative of each row of the table.
    derivatives: Vec<[f32; 2]>,
    /// The rows that are learned from, those of a node together.
    order: Vec<u32>,
    gains: &'a mut [f64],
}

impl Growing<'_> {
    /// The tree, and the stretches of the order that its leaves are with their weights.
    fn tree(&mut self) -> (Tree, Vec<(std::ops::Range<usize>, f64)>) {
        let mut nodes = Vec::new();
        let mut leaves = Vec::new();
        let mut sums = [0.0; 2];
        for &row in &self.order {
            let [first, second] = self.derivatives[row as usize];
            sums[0] += f64::from(first);
            sums[1] += f64::from(second);
        }
        let mut open = vec![Open {
            place: 0,
            rows: 0..self.order.len(),
            sums,
        }];
        nodes.push(Node::Leaf(0.0));
        for level in 0..=self.growth.depth {
            let splits = if level < self.growth.depth {
                self.best_splits(&open)
            } else {
                open.iter().map(|_| None).collect()
            };
            let mut next = Vec::new();
            for (node, split) in open.into_iter().zip(splits) {
                let Some(split) = split else {
                    let weight = self.weight(node.sums);
                    nodes[node.place] = Node::Leaf(weight);
                    leaves.push((node.rows, weight));
                    continue;
                };
                self.gains[split.column] += f64::from(split.gain);
                let left = nodes.len();
                nodes[node.place] = Node::Split {
                    column: split.column,
                    bin: split.bin,
                    is_category: split.is_category,
                    left,
                };
                nodes.extend([Node::Leaf(0.0), Node::Leaf(0.0)]);
                let middle = self.part(&node.rows, &split);
                let rest = [0, 1].map(|i| node.sums[i] - split.right[i]);
                next.push(Open {
                    place: left,
                    rows: node.rows.start..middle,
                    sums: rest,
                });
                next.push(Open {
                    place: left + 1,
                    rows: middle..node.rows.end,
                    sums: split.right,
                });
            }
            open = next;
        }
        (Tree(nodes), leaves)
    }

    fn weight(&self, [first, second]: [f64; 2]) -> f64 {
        -self.growth.learning_rate * first / (second + self.growth.l2)
    }

    /// Moves the rows of a node so that those of its right side are the last, in their order, and says where
    /// these begin.
    fn part(&mut self, rows: &std::ops::Range<usize>, split: &Split) -> usize {
        let bins = &self.bins.columns[split.column].bins;
        let goes_right = |row: &u32| is_right(split.is_category, bins[*row as usize], split.bin);
        let stretch = &mut self.order[rows.clone()];
        let right: Vec<u32> = stretch.iter().copied().filter(goes_right).collect();
        let mut end = 0;
        for place in 0..stretch.len() {
            let row = stretch[place];
            if !goes_right(&row) {
                stretch[end] = row;
                end += 1;
            }
        }
        stretch[end..].copy_from_slice(&right);
        rows.start + end
    }

    /// The best split of each node over all columns.
    fn best_splits(&self, open: &[Open]) -> Vec<Option<Split>> {
        let by_column: Vec<Vec<Option<Split>>> = (0..self.bins.columns.len())
            .into_par_iter()
            .map(|column| self.best_splits_by(column, open))
            .collect();
        (0..open.len())
            .map(|node| {
                let splits = by_column.iter().filter_map(|splits| splits[node]);
                // Of equal ones the first.
                let best =
                    splits.reduce(|best, split| if split.gain > best.gain { split } else { best });
                best.filter(|best| {
                    best.gain > LEAST_GAIN && f64::from(best.gain) >= self.growth.min_gain
                })
            })
            .collect()
    }

    /// The best split of each node by one column.
    fn best_splits_by(&self, column: usize, open: &[Open]) -> Vec<Option<Split>> {
        let bin_column = &self.bins.columns[column];
        let mut histogram = vec![[0f64; 2]; bin_column.count];
        let mut split_of = |node: &Open| {
            let rows = &self.order[node.rows.clone()];
            for &row in rows {
                let [first, second] = self.derivatives[row as usize];
                let sums = &mut histogram[bin_column.bins[row as usize] as usize];
                sums[0] += f64::from(first);
                sums[1] += f64::from(second);
            }
            // Only bins that have rows, which of few rows and many categories are few.
            let occurring: Vec<u32> = if rows.len() < bin_column.count / 8 {
                let mut occurring: Vec<u32> = rows
                    .iter()
                    .map(|&row| bin_column.bins[row as usize])
                    .collect();
                occurring.sort_unstable();
                occurring.dedup();
                occurring
            } else {
                (0..bin_column.count as u32).collect()
            };
            let best = self.best_of(column, &occurring, &histogram, node.sums);
            for &bin in &occurring {
                histogram[bin as usize] = [0.0; 2];
            }
            best
        };
        open.iter().map(&mut split_of).collect()
    }

    fn best_of(
        &self,
        column: usize,
        occurring: &[u32],
        histogram: &[[f64; 2]],
        sums: [f64; 2],
    ) -> Option<Split> {
        let is_category = self.bins.columns[column].is_category;
        let gain_of = |[first, second]: [f64; 2]| first * first / (second + self.growth.l2);
        let unsplit = f64::from(gain_of(sums) as f32);
        let mut best: Option<Split> = None;
        let mut left = [0.0; 2];
        for &bin in occurring {
            let here = histogram[bin as usize];
            let right = if is_category {
                left = [sums[0] - here[0], sums[1] - here[1]];
                here
            } else {
                left = [left[0] + here[0], left[1] + here[1]];
                [sums[0] - left[0], sums[1] - left[1]]
            };
            let least = self.growth.min_child_weight;
            // XGBoost takes no side without weight either.
            if left[1] < least || right[1] < least || left[1] <= 0.0 || right[1] <= 0.0 {
                continue;
            }
            let gain = (gain_of(left) + gain_of(right) - unsplit) as f32;
            if best.is_none_or(|best| gain > best.gain) {
                best = Some(Split {
                    gain,
                    column,
                    bin,
                    is_category,
                    right,
                });
            }
        }
        best
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::Value;

    use super::*;

    /// Made by `scripts/reference/tables_golden.py`.
    const GOLDEN: &str = include_str!("../../tests/evaluation/tables/tables.json");

    fn list(value: &Value) -> Vec<f64> {
        let values = value.as_array().unwrap().iter();
        values.map(|value| value.as_f64().unwrap()).collect()
    }

    #[test]
    fn margins_are_those_of_xgboost() {
        let golden: Value = serde_json::from_str(GOLDEN).unwrap();
        let golden = &golden["trees"];
        let inputs: Vec<Input> = golden["columns"]
            .as_array()
            .unwrap()
            .iter()
            .map(|column| {
                let values = list(&column["values"]);
                if column["kind"] == "numbers" {
                    return Input::Numbers(values);
                }
                let codes: Vec<u32> = values.iter().map(|&code| code as u32).collect();
                let count = codes.iter().max().unwrap() + 1;
                Input::Categories {
                    codes,
                    count: count as usize,
                }
            })
            .collect();
        let learned: Vec<u32> = list(&golden["learned"])
            .iter()
            .map(|&row| row as u32)
            .collect();
        let bins = Bins::new(&inputs, &learned);
        let ways = golden["ways"].as_array().unwrap();
        assert_eq!(ways.len(), 5);
        for way in ways {
            let name = way["loss"].as_str().unwrap();
            let loss = match name {
                "logistic" => Loss::Logistic,
                "squared" => Loss::Squared,
                _ => Loss::Softmax(3),
            };
            let growth = Growth {
                rounds: way["rounds"].as_u64().unwrap() as usize,
                depth: way["depth"].as_u64().unwrap() as usize,
                min_child_weight: way["min_child_weight"].as_f64().unwrap(),
                min_gain: way["min_gain"].as_f64().unwrap(),
                ..Growth::default()
            };
            let targets = list(&golden["targets"][name]);
            let trees = BoostedTrees::grow(&bins, &learned, &targets, loss, &growth);
            let rows: Vec<u32> = (0..targets.len() as u32).collect();
            let found = trees.margins(&bins, &rows, growth.rounds);
            let expected = list(&way["margins"]);
            assert_eq!(found.len(), expected.len());
            for (place, (found, expected)) in found.iter().zip(&expected).enumerate() {
                assert!(
                    (found - expected).abs() < 1e-4,
                    "{name} {place}: {found}, expected {expected}"
                );
            }
        }
    }

    #[test]
    fn bins_have_one_value_each_or_as_many_rows() {
        assert_eq!(bin_starts(vec![3.0, 1.0, 3.0, 2.0]), [2.0, 3.0]);
        assert_eq!(bin_starts(vec![5.0, 5.0]), Vec::<f64>::new());
        assert_eq!(bin_starts(Vec::new()), Vec::<f64>::new());
        let starts = bin_starts((0..2560).map(f64::from).collect());
        assert_eq!(starts.len(), 255);
        assert!(
            starts
                .iter()
                .zip(1..)
                .all(|(&start, bin)| start == 10.0 * f64::from(bin))
        );
    }

    /// A stump on a category of 10,000: the leaves are those of its formula.
    #[test]
    fn one_category_of_many_is_split_off() {
        let codes: Vec<u32> = (0..30_000).map(|row| row % 10_000).collect();
        let targets: Vec<f64> = codes
            .iter()
            .map(|&code| f64::from(u8::from(code == 77)))
            .collect();
        let inputs = [Input::Categories {
            codes,
            count: 10_000,
        }];
        let rows: Vec<u32> = (0..30_000).collect();
        let bins = Bins::new(&inputs, &rows);
        let growth = Growth {
            rounds: 1,
            depth: 1,
            ..Growth::default()
        };
        let trees = BoostedTrees::grow(&bins, &rows, &targets, Loss::Squared, &growth);
        let margins = trees.margins(&bins, &rows, 1);
        // Three rows of 30,000 are 1: G = −3 (1 − 10⁻⁴), H = 3, λ = 1, η = .3.
        let expected = 1e-4 + 0.3 * 3.0 * (1.0 - 1e-4) / 4.0;
        assert!((margins[77] - expected).abs() < 1e-6, "{}", margins[77]);
        assert!(margins[78].abs() < 1e-4);
        assert_eq!(trees.margins(&bins, &[77], 0), [1e-4]);
    }
}
