//! Tables of numbers: clouds of points, from a CSV or made by a formula.

pub mod clouds;
pub mod points;

pub use clouds::{CloudName, UnknownCloud};
pub use points::{CsvError, Normalisation, Points, PointsError, load_points, read_points};
