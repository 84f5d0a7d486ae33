//! The samplers, a file each.
//!
//! A new one is a file, which is declared here, and a line in [`kind`](crate::SamplerKind).

mod ddim;
mod ddpm;
mod deis;
mod dpm_solver_2m;
mod dpm_solver_2m_sde;
mod dpm_solver_2s;
mod euler;
mod exponential;
mod heun;
mod uni_pc;

pub use ddim::{Ddim, DdimOptions};
pub use ddpm::{Ddpm, DdpmVariance};
pub use deis::Deis;
pub use dpm_solver_2m::DpmSolver2M;
pub use dpm_solver_2m_sde::DpmSolver2MSde;
pub use dpm_solver_2s::DpmSolver2S;
pub use euler::{euler, euler_ancestral};
pub use exponential::MultistepOptions;
pub use heun::{Heun, HeunOptions};
pub use uni_pc::UniPc;
