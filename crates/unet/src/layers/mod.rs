//! What the levels are made of.

pub(crate) mod attention;
pub(crate) mod conv;
pub(crate) mod embedding;
pub(crate) mod norm;
pub(crate) mod resample;
pub(crate) mod resnet;
