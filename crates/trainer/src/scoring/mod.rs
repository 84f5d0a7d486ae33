//! How good a network's images are.
//!
//! ```text
//! image_set ──▶ classifier ──▶ features ──▶ cache ──▶ reference ──▶ evaluator
//! ```
//!
//! A split of the data (`image_set`) goes through a feature network (`features`: the program's own
//! `classifier`, or Inception-v3), whose features are kept on disk (`cache`). `reference` holds generated
//! images against them, `evaluator` does so during training, `likelihood` scores the model itself;
//! `scores` is what both give. Rows of tables have scores of their own (`rows`, `bounds`).

pub mod bounds;
pub mod cache;
pub mod classifier;
pub mod evaluator;
pub mod features;
pub mod image_set;
pub mod likelihood;
pub mod reference;
pub mod rows;
pub mod scores;
