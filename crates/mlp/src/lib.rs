//! The networks for points and tables: residual multilayer perceptrons.
//!
//! Points:
//!
//! ```text
//! x_t, sines and cosines of ω x_t → linear → W
//! blocks:  h + linear(SiLU(linear(SiLU(h)) + linear(SiLU(embedding(t)))))
//! SiLU → linear → prediction
//! ```
//!
//! The residual block of the U-Net (Ho et al. 2020, appendix B) with linear layers in the place of
//! convolutions, and without normalisation, which would take from a point how far out it lies. Without the
//! sines, a perceptron is slow to learn what changes over short distances (Tancik et al. 2020).
//!
//! Rows of tables, of numbers and categories:
//!
//! ```text
//! h = linear(x_t, sines, cosines) + Σ_columns embedding(category) + embedding(class) + embedding(t)
//! blocks:  h + linear(dropout(SiLU(linear(LayerNorm(h)))))
//! LayerNorm → SiLU → linear → predictions of the numbers, logits of the categories
//! ```
//!
//! The residual network of Gorishniy et al. 2021, section 3.2, which holds its own against any other on
//! tables, with LayerNorm for its batch normalisation: that would carry the noise levels of a batch from
//! row to row. Time enters once, as an addend of the input, as in TabDDPM (Kotelnikov et al. 2023, equation
//! 6), TabSyn (Zhang et al. 2024, appendix D) and TabDiff (Shi et al. 2025).

#![forbid(unsafe_code)]

mod config;
mod network;
mod rows;

pub use config::MlpConfig;
pub use network::Mlp;
