//! Euler's method on the probability flow (Karras et al. 2022, algorithm 1 without its correction), and
//! its ancestral variant, under the names that most programs give them.
//!
//! With x̂ = x / √ᾱ and ρ = √(1 − ᾱ) / √ᾱ the flow is dx̂ / dρ = ε, and a step of Euler
//!
//! ```text
//! x̂_s = x̂_t + (ρ_s − ρ_t) ε = x_0 + ρ_s ε
//! ```
//!
//! is DDIM's with η = 0. The ancestral step replaces ρ_s by ρ_down = √(ρ_s² − ρ_up²) and adds ρ_up z,
//! where ρ_up² = ρ_s² (ρ_t² − ρ_s²) / ρ_t²: DDIM's with η = 1. So both are made of [`Ddim`].

use noising::{NoiseSchedule, PredictionType};

use super::ddim::{Ddim, DdimOptions};
use crate::clipping::X0Clipping;
use crate::error::SamplerError;

/// Euler's method: DDIM with η = 0, ε derived from the clipped x_0.
///
/// # Errors
///
/// As [`Ddim::new`].
pub fn euler(
    schedule: &NoiseSchedule,
    timesteps: &[f64],
    prediction_type: PredictionType,
    clipping: X0Clipping,
) -> Result<Ddim, SamplerError> {
    let options = DdimOptions::default();
    Ddim::new(schedule, timesteps, prediction_type, clipping, options)
}

/// Euler's method with fresh noise in every step but the last: DDIM with η = 1, which has the distribution of
/// DDPM with the small variance.
///
/// # Errors
///
/// As [`Ddim::new`].
pub fn euler_ancestral(
    schedule: &NoiseSchedule,
    timesteps: &[f64],
    prediction_type: PredictionType,
    clipping: X0Clipping,
) -> Result<Ddim, SamplerError> {
    let options = DdimOptions::with_eta(1.0);
    Ddim::new(schedule, timesteps, prediction_type, clipping, options)
}
