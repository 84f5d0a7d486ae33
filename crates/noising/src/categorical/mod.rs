//! The forward Markov chain over categories, next to the Gaussian one for numbers.
//!
//! A cell holds one of K categories, as a code 0 … K − 1. A step keeps it with probability α_t and else
//! replaces it ([`Transition`]): by a category drawn uniformly, or by the mask, which is code K. ᾱ_t =
//! α_0 … α_t is the probability that steps 0 to t have kept it, so a [`NoiseSchedule`](crate::NoiseSchedule)
//! describes this chain as it describes that of numbers.

mod bound;
mod chain;
mod posterior;
mod step_back;
mod transition;

pub use chain::{CategoricalChain, CategoryCountError};
pub use posterior::CategoricalPosterior;
pub use transition::Transition;
