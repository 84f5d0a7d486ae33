//! The network for lines of text: a transformer over columns of one alphabet.
//!
//! ```text
//! h_column = embedding(letter) + embedding(column) + embedding(class) + embedding(t)
//! layers:    h + linear(attention(linear(LayerNorm(h))))
//!            h + linear(SiLU(linear(LayerNorm(h))))
//! LayerNorm → linear → logits of each column's letters
//! ```
//!
//! Vaswani et al. 2017 with the normalisation before each part (Xiong et al. 2020) and attention both ways,
//! as masked diffusion has it (Austin et al. 2021, section 5; Sahoo et al. 2024). All columns share their
//! weights, so that what is learnt of letters in one place holds in every other.

#![forbid(unsafe_code)]

mod config;
mod network;

pub use config::TransformerConfig;
pub use network::Transformer;
