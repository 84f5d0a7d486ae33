//! Scores against numbers of independent implementations.

#![allow(clippy::unwrap_used)]

mod reference;
mod tables;
