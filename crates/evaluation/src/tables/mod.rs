//! Scores of tables: whether rows that were drawn can be told from real ones, are of use, and are no copies.
//!
//! All take [`Table`]s of plain columns, whoever read them:
//!
//! - [`column_shapes`] and [`pair_trends`]: distributions of the columns, and the dependence of each two, with the
//!   numbers of sdmetrics' quality report;
//! - [`detection`]: whether boosted trees tell drawn rows from real ones (C2ST);
//! - [`utility`]: how well trees predict a column of real rows that have seen drawn ones only;
//! - [`nearest_records`]: how often a training row is nearer than a held-out one;
//! - [`NatsPerCell`]: the bound of the model itself; [`importance_weighted_bound`]: one that is tighter.
//!
//! Each is to be read beside the same score of real rows that were held out.

mod boosting;
mod bound;
mod detection;
mod inputs;
mod ranking;
mod records;
mod shapes;
mod table;
mod trends;
mod utility;

pub use crate::tables::bound::{NatsPerCell, importance_weighted_bound};
pub use crate::tables::detection::{Detection, detection};
pub use crate::tables::records::{NearestRecords, nearest_records};
pub use crate::tables::shapes::{ColumnShapes, column_shapes};
pub use crate::tables::table::{Column, Table};
pub use crate::tables::trends::{PairTrend, PairTrends, pair_trends};
pub use crate::tables::utility::{Utility, utility};
