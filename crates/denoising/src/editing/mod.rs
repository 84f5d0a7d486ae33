//! Editing: filling in a part, from data back to noise, and between two noises.

mod inpainting;
mod interpolation;
mod inversion;

pub use inpainting::Inpainting;
pub use interpolation::slerp;
pub use inversion::DdimInversion;
