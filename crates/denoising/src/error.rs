//! What no sampler can be made of.

use thiserror::Error;

/// Settings from which no sampler can be made.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum SamplerError {
    /// There is no timestep to visit.
    #[error("the list of timesteps is empty; a sampler needs one step at least")]
    NoTimesteps,
    /// A timestep that the noise schedule does not have.
    #[error("timestep {timestep} is not on the chain, whose last is {last}")]
    OffTheChain {
        /// The timestep found.
        timestep: f64,
        /// T − 1.
        last: usize,
    },
    /// Timesteps that do not fall strictly.
    #[error("timestep {next} follows {timestep}; timesteps must fall from each to the next")]
    NotFalling {
        /// A timestep.
        timestep: f64,
        /// The one after it, which should be smaller.
        next: f64,
    },
    /// Noise predicted where there is nothing else.
    #[error(
        "timestep {timestep} has zero SNR, where predicted noise says nothing of x_0; use \
         v-prediction or sample, or a schedule that is not rescaled to zero terminal SNR"
    )]
    EpsilonAtZeroSnr {
        /// The timestep.
        timestep: f64,
    },
    /// A way back to data that would pass where data has left no trace.
    #[error(
        "timestep {timestep} has zero SNR: x_t is the same for all data there, so data cannot be led \
         to it and back; leave that timestep out"
    )]
    InversionAtZeroSnr {
        /// The timestep.
        timestep: f64,
    },
    /// An interval whose end comes before its start, or that has no numbers for them.
    #[error("[{first}, {last}] is no interval; expected [first, last] timesteps, both finite")]
    Interval {
        /// Its start.
        first: f64,
        /// Its end.
        last: f64,
    },
    /// An order in which masks are lifted, where there are none.
    #[error(
        "masks are lifted in an order, but the categories are on the uniform chain, which has none; use \
         by-chance, or the absorbing chain"
    )]
    NoMasks,
    /// An order of columns that leaves one out or has one twice.
    #[error(
        "the order in which masks are lifted must name each of the {columns} categorical columns once, \
         counted from 0"
    )]
    Order {
        /// C, the number of categorical columns.
        columns: usize,
    },
    /// A number out of its range.
    #[error("{parameter} is {value}; it must be {expected}")]
    Parameter {
        /// Its name.
        parameter: &'static str,
        /// The value found.
        value: f64,
        /// The values allowed.
        expected: &'static str,
    },
}

/// A name that nothing has.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("there is no {what} {name:?}; choose one of {known}")]
pub struct UnknownName {
    what: &'static str,
    name: String,
    known: String,
}

impl UnknownName {
    pub(crate) fn new(
        what: &'static str,
        name: &str,
        known: impl Iterator<Item = &'static str>,
    ) -> Self {
        Self {
            what,
            name: name.to_owned(),
            known: known.collect::<Vec<_>>().join(", "),
        }
    }
}
