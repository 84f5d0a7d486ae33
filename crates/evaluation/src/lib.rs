#![forbid(unsafe_code)]
#![doc = include_str!("../README.md")]
//!
//! # What is measured
//!
//! Two kinds of score, neither of which knows how the images were made:
//!
//! - of features: two sets of vectors, one a generated and one a real image each, such as the layer
//!   before the logits of a classifier ([`Features`]). [`frechet_distance`] (FID), [`kernel_distance`]
//!   (KID), [`precision_recall`] and [`nearest_training`] compare them as distributions. Their figures can be held
//!   against each other only where network, number of images and reference set are the same.
//!   [`sliced_wasserstein`] needs no network: pixels will do;
//! - of the model itself: [`VariationalBound`], the bits that an image costs under it.
//!
//! Rows of tables have scores of their own: [`tables`].
//!
//! [`ClassShares`] counts classes that some classifier sees in the images.

mod classes;
mod error;
mod features;
mod frechet;
mod kernel;
mod likelihood;
mod nearest;
mod neighbours;
mod precision_recall;
mod sliced_wasserstein;
pub mod tables;

pub use crate::classes::{ClassShares, class_agreement};
pub use crate::error::ScoreError;
pub use crate::features::Features;
pub use crate::frechet::{FeatureStatistics, frechet_distance};
pub use crate::kernel::{KernelDistance, KernelSubsets, kernel_distance, squared_mmd};
pub use crate::likelihood::{BitsPerDimension, ReverseVariance, VariationalBound};
pub use crate::nearest::{NearestTraining, Neighbour, nearest, nearest_training};
pub use crate::precision_recall::{PrecisionRecall, precision_recall};
pub use crate::sliced_wasserstein::sliced_wasserstein;
